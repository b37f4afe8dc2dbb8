//! The encodings of old clients: `EIO=3` (Socket.IO 1.1 to 2.x) and `EIO=2` (Socket.IO 1.0).
//! Source: docs/engine.io-protocol/v3.md, "Encoding" and "JSONP".
//!
//! ```text
//! WebSocket       text frame: type data              binary frame: 04 data
//! text payload    length ":" type data ...           length ":" "b4" base64 ...
//! binary payload  00 digits ff type data ...         01 digits ff 04 data ...
//! ```
//!
//! A length in a text payload counts UTF-16 code units, as the JavaScript clients do (the specification says characters). A
//! length in a binary payload counts bytes, and its digits are the bytes 0 to 9.
//!
//! Clients 1.x encode text as UTF-8 twice: 1.0 on WebSocket and in text payloads, 1.1 to 1.7 in text payloads only. Clients
//! 2.x encode text once, but cannot be distinguished from 1.1 to 1.7, because all send `EIO=3`. Therefore text to clients,
//! except in WebSocket frames of `EIO=3`, has JSON escapes for all that is not ASCII, which every client reads correctly.
//! Text that clients may have encoded twice is decoded a second time if it can be (see [`undouble`]).
//!
//! A packet in the queue of a polling session looks like the payload of a WebSocket frame: a binary packet begins with the
//! byte 04, any other packet with a digit. [`payload`] decides whether the framing is text or binary.

pub use super::packet::Version;
use super::packet::{self, Data, Encoded, Invalid, Packet};
use crate::ws::{self, Text};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Buf, Bytes};
use std::{io::Write, str::FromStr};

/// The type of a binary message: a byte with the value 4. A text message has the digit `4` instead.
const MESSAGE: u8 = 4;
/// The byte after the digits of a length in a binary payload.
const END_OF_LENGTH: u8 = 0xff;

/// How the packets of a polling payload are framed in protocols 2 and 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// As text, with binary messages in base64: the client sent `b64=1`, or uses JSONP.
    Text,
    /// As text unless one of the messages is binary.
    ByContent,
    /// As bytes: socket.io-client 1.0 to 1.3 cannot read text over XHR, not even the handshake.
    Binary,
}

// Encoding, from the server to the client.

/// Returns a message as a WebSocket frame for a client of this version.
pub fn frame(message: &Encoded, version: Version) -> Bytes {
    // Some `EIO=3` clients decode UTF-8 twice, but only in text payloads: in a frame they read the text of protocol 4.
    if version == Version::V3 && message.text { message.frame() } else { old_form(message).frame() }
}

/// Returns a message as a packet for [`payload`], the same for `EIO=2` and `EIO=3`.
pub fn packet(message: &Encoded) -> Bytes {
    old_form(message).payload()
}

/// Converts a packet that was queued before an upgrade to a WebSocket frame.
pub fn packet_to_frame(packet: &Bytes) -> Bytes {
    let opcode = if binary_data(packet).is_some() { ws::BINARY } else { ws::TEXT };
    ws::frame(opcode, packet)
}

fn old_form(message: &Encoded) -> &Encoded {
    message.old.get_or_init(|| {
        let data = message.data();
        Box::new(match message.text {
            true if data.is_ascii() => message.clone(),
            true => Encoded::text(|out| escape(&String::from_utf8_lossy(data), out)),
            false => Encoded::new(ws::BINARY, 1 + data.len(), |out| {
                out.push(MESSAGE);
                out.extend_from_slice(data);
            }),
        })
    })
}

/// Returns the data of a queued packet, or `None` if the packet is not binary.
fn binary_data(packet: &[u8]) -> Option<&[u8]> {
    packet.strip_prefix(&[MESSAGE])
}

/// Encodes packets as a polling payload. Returns the body and its Content-Type.
pub fn payload(packets: &[Bytes], framing: Framing) -> (Vec<u8>, &'static str) {
    let binary = match framing {
        Framing::Text => false,
        Framing::ByContent => packets.iter().any(|packet| binary_data(packet).is_some()),
        Framing::Binary => true,
    };
    let mut body = Vec::new();
    for packet in packets {
        match binary_data(packet) {
            data if binary => {
                body.push(u8::from(data.is_some()));
                body.extend(packet.len().to_string().bytes().map(|digit| digit - b'0'));
                body.push(END_OF_LENGTH);
                body.extend_from_slice(packet);
            }
            Some(data) => {
                let data = STANDARD.encode(data);
                body.extend_from_slice(format!("{}:b4{data}", data.len() + 2).as_bytes());
            }
            None => {
                body.extend_from_slice(format!("{}:", utf16_length(packet)).as_bytes());
                body.extend_from_slice(packet);
            }
        }
    }
    (body, if binary { "application/octet-stream" } else { "text/plain; charset=UTF-8" })
}

/// Returns an upper bound for the bytes that a packet takes in a payload, whether the framing is text or binary.
pub fn framed_length(packet: &[u8]) -> usize {
    let length = binary_data(packet).map_or(packet.len(), |data| 2 + data.len().div_ceil(3) * 4);
    // Binary framing adds the kind, the digits of the length, and 0xff; text framing adds only the digits and a colon.
    length + 3 + length.checked_ilog10().unwrap_or(0) as usize
}

/// Counts the UTF-16 code units of UTF-8 text: one for each character, two for a character of four bytes.
fn utf16_length(text: &[u8]) -> usize {
    text.iter().map(|byte| usize::from(byte & 0xc0 != 0x80) + usize::from(*byte >= 0xf0)).sum()
}

/// Appends JSON to `out`, with `\uXXXX` for each non-ASCII character in a string. JSON has no escapes outside strings.
pub(super) fn escape(json: &str, out: &mut Vec<u8>) {
    let (mut quoted, mut escaped) = (false, false);
    for character in json.chars() {
        if quoted && !character.is_ascii() {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").expect("writing to memory does not fail");
            }
        } else {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        quoted ^= character == '"' && !escaped;
        escaped = character == '\\' && quoted && !escaped;
    }
}

/// Parses a number. Returns `None` if `text` has anything but ASCII digits: `parse` alone would accept a sign.
pub fn digits<T: FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

// Decoding, from the client to the server.

pub fn decode_frame(data: Data, version: Version) -> Result<Packet, Invalid> {
    match data {
        Data::Binary(bytes) => decode_binary(bytes),
        Data::Text(text) if version == Version::V2 => decode_text(undouble(text)),
        Data::Text(text) => decode_text(text),
    }
}

/// Decodes a polling payload of `EIO=2` or `EIO=3`; `binary`: the framing is binary, not text. Of more than `most` packets
/// only the first `most + 1` are returned, so that the caller can tell that there are too many.
pub fn decode_payload(mut rest: Bytes, binary: bool, most: usize) -> Result<Vec<Packet>, Invalid> {
    if !binary && str::from_utf8(&rest).is_err() {
        return Err(Invalid("a payload is not UTF-8"));
    }
    let end_of_length = if binary { END_OF_LENGTH } else { b':' };
    let mut packets = Vec::new();
    loop {
        let end = rest.iter().position(|byte| *byte == end_of_length).ok_or(Invalid("a payload without a length"))?;
        let head = rest.split_to(end);
        rest.advance(1);
        packets.push(if binary { next_binary(&head, &mut rest)? } else { next_text(&head, &mut rest)? });
        if rest.is_empty() || packets.len() > most {
            return Ok(packets);
        }
    }
}

/// Decodes the packet at the start of `rest`, and removes it. `rest` is UTF-8; `length` has the digits before the colon.
fn next_text(length: &[u8], rest: &mut Bytes) -> Result<Packet, Invalid> {
    let length = str::from_utf8(length).ok().and_then(digits).ok_or(Invalid("a length is not a number"))?;
    let end = utf16_end(rest, length).ok_or(Invalid("a length does not fit the payload"))?;
    let packet = Text::try_from(rest.split_to(end)).expect("a part of UTF-8 text, cut between characters");
    decode_text(undouble(packet))
}

/// Returns the byte index after the first `units` UTF-16 code units of UTF-8 text. Returns `None` if `text` is shorter, or
/// if the index would be inside a character.
fn utf16_end(text: &[u8], mut units: usize) -> Option<usize> {
    let first_bytes = text.iter().enumerate().filter(|(_, byte)| **byte & 0xc0 != 0x80);
    for (index, byte) in first_bytes {
        if units == 0 {
            return Some(index);
        }
        units = units.checked_sub(utf16_length(&[*byte]))?;
    }
    (units == 0).then_some(text.len())
}

/// Decodes the packet at the start of `rest`, and removes it. `head` is its kind and the digits of its length.
fn next_binary(head: &[u8], rest: &mut Bytes) -> Result<Packet, Invalid> {
    let [kind, digits @ ..] = head else { return Err(Invalid("a packet without a kind")) };
    let length = digits.iter().try_fold(0usize, |length, digit| match digit {
        0..=9 => length.checked_mul(10)?.checked_add(usize::from(*digit)),
        _ => None,
    });
    let length = length.filter(|length| !digits.is_empty() && *length <= rest.len());
    let packet = rest.split_to(length.ok_or(Invalid("a length does not fit the payload"))?);
    match kind {
        // In binary framing clients 1.x encode text only once, so the text is decoded only once.
        0 => decode_text(Text::try_from(packet).map_err(|_| Invalid("a packet is not UTF-8"))?),
        1 => decode_binary(packet),
        _ => Err(Invalid("a packet is neither text nor binary")),
    }
}

/// Decodes a text packet. A `b` in front of the type marks a binary message in base64.
fn decode_text(text: Text) -> Result<Packet, Invalid> {
    match text.strip_prefix('b') {
        Some(rest) => packet::decode_base64(
            rest.strip_prefix('4').ok_or(Invalid("a base64 packet that is not a message"))?.as_bytes(),
        ),
        None => packet::decode(text),
    }
}

/// Decodes a binary packet. The protocol allows any type, but only messages are accepted: no other type needs binary data.
fn decode_binary(mut packet: Bytes) -> Result<Packet, Invalid> {
    if packet.first() != Some(&MESSAGE) {
        return Err(Invalid("a binary packet that is not a message"));
    }
    packet.advance(1);
    Ok(Packet::Message(Data::Binary(packet)))
}

/// Undoes the second UTF-8 encoding of clients 1.x. Text counts as encoded twice if all its characters are below U+0100 and
/// their values, taken as bytes, are valid UTF-8. This test is wrong for text that was encoded once but looks as if it were
/// encoded twice, such as "Ã©". Such text is very rare.
fn undouble(text: Text) -> Text {
    if text.is_ascii() {
        return text;
    }
    let bytes: Option<Vec<u8>> = text.chars().map(|character| u8::try_from(character).ok()).collect();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).map_or(text, Text::from)
}
