//! Engine.IO packets of protocol 4 (`EIO=4`): a digit for the type, then the data. A WebSocket frame carries one packet. A
//! polling payload carries one or more, with the byte 0x1e between them and binary messages in base64.
//! Source: docs/engine.io-protocol/v4-current.md, "Packet encoding".
//!
//! [`Encoded`] is a message to clients. Each wire format of it is encoded at most once, for all recipients of a broadcast.

use crate::base::held;
use crate::ws::{self, OpCode, Text};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Buf, Bytes};
use std::cell::OnceCell;

/// The byte between two packets of a payload. JSON does not contain it: a JSON string has `\u001e` in its place.
const SEPARATOR: u8 = 0x1e;
/// Initial capacity of the buffer for a text message, in bytes. Most messages fit, so that the buffer need not grow.
const ORDINARY: usize = 256;

/// A ping, as a polling packet.
pub const PING: Bytes = Bytes::from_static(b"2");
/// A ping, as a whole WebSocket frame.
pub const PING_FRAME: Bytes = Bytes::from_static(b"\x81\x012");
/// The pong that answers a probe, as a whole WebSocket frame.
pub const PONG_PROBE_FRAME: Bytes = Bytes::from_static(b"\x81\x063probe");
/// A noop, as a polling packet. It answers a GET that must not wait any longer, and has no other effect.
pub const NOOP: Bytes = Bytes::from_static(b"6");
/// A close packet, as a polling packet. It tells the client that the session is closed.
pub const CLOSE: Bytes = Bytes::from_static(b"1");

/// The version of the Engine.IO protocol that the client asked for with `EIO=2`, `EIO=3` or `EIO=4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V2,
    V3,
    V4,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    Text(Text),
    Binary(Bytes),
}

/// A packet from a client. The data of an open, close, upgrade or noop packet are dropped, because they mean nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// `0`: the open packet, which only servers may send.
    Open,
    /// `1`: the client closes the session.
    Close,
    /// `2`: a ping; its text is `probe` during an upgrade.
    Ping(Text),
    /// `3`: the answer to a ping.
    Pong(Text),
    Message(Data),
    /// `5`: completes the upgrade to the WebSocket on which it arrives.
    Upgrade,
    /// `6`: has no effect.
    Noop,
}

/// The reason why bytes are not a packet, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid(pub &'static str);

/// Decodes a polling payload of at most `most` packets; one invalid packet makes the whole payload invalid. Of a payload
/// with more packets, the first `most + 1` are returned, so that the caller can tell that there are too many.
pub fn decode_payload(body: Bytes, most: usize) -> Result<Vec<Packet>, Invalid> {
    let packets = body.split(|byte| *byte == SEPARATOR).take(most.saturating_add(1));
    packets.map(|packet| decode(body.slice_ref(packet))).collect()
}

/// Decodes a packet of a payload, or a WebSocket text frame. (A binary frame is the message itself.) Base64 is accepted in
/// frames too: the specification has it in payloads only, but the official client with `forceBase64` sends it in frames.
pub fn decode(packet: impl Into<Bytes>) -> Result<Packet, Invalid> {
    let mut packet = packet.into();
    let kind = *packet.first().ok_or(Invalid("an empty packet"))?;
    packet.advance(1);
    let text = |bytes| Text::try_from(bytes).map_err(|_| Invalid("a packet is not UTF-8"));
    Ok(match kind {
        b'0' => Packet::Open,
        b'1' => Packet::Close,
        b'2' => Packet::Ping(text(packet)?),
        b'3' => Packet::Pong(text(packet)?),
        b'4' => Packet::Message(Data::Text(text(packet)?)),
        b'5' => Packet::Upgrade,
        b'6' => Packet::Noop,
        b'b' => decode_base64(&packet)?,
        _ => return Err(Invalid("a packet of unknown type")),
    })
}

/// Decodes a binary message from base64, without the packet type in front of it.
pub(super) fn decode_base64(base64: &[u8]) -> Result<Packet, Invalid> {
    let bytes = STANDARD.decode(base64).map_err(|_| Invalid("a binary packet is not base64"))?;
    Ok(Packet::Message(Data::Binary(held::share(bytes))))
}

pub fn payload(packets: &[Bytes]) -> Vec<u8> {
    packets.join(&SEPARATOR)
}

/// Returns the pong to a ping with this text, as a polling packet.
pub fn pong(text: &str) -> Bytes {
    if text.is_empty() { Bytes::from_static(b"3") } else { held::share(["3", text].concat()) }
}

/// Converts a polling packet, for example one that was queued before an upgrade, to a WebSocket frame.
pub fn packet_to_frame(packet: &Bytes) -> Bytes {
    match packet.strip_prefix(b"b").map(|base64| STANDARD.decode(base64)) {
        Some(Ok(bytes)) => ws::frame(ws::BINARY, &bytes),
        _ => ws::frame(ws::TEXT, packet),
    }
}

/// A message to any number of sessions. `frame` is the WebSocket frame of protocol 4. The payload of a text frame is also
/// the polling packet.
#[derive(Clone, Debug)]
pub struct Encoded {
    frame: Bytes,
    /// Length of the head of the frame, in bytes.
    head: usize,
    pub text: bool,
    /// The polling packet of a binary message, encoded for the first session that polls.
    base64: OnceCell<Bytes>,
    /// The message in the form of protocols 2 and 3, encoded by `v3` for the first session that needs it.
    pub(super) old: OnceCell<Box<Encoded>>,
}

impl Encoded {
    /// Encodes a text message. `write` appends the UTF-8 text, without packet type, and must not change the bytes before it.
    pub fn text(write: impl FnOnce(&mut Vec<u8>)) -> Encoded {
        Encoded::new(ws::TEXT, ORDINARY, |out| {
            out.push(b'4');
            write(out);
        })
    }

    /// Encodes a binary message. `data` is copied once, behind the head of the frame.
    pub fn binary(data: Bytes) -> Encoded {
        Encoded::new(ws::BINARY, data.len(), |out| out.extend_from_slice(&data))
    }

    /// Encodes a frame. `write` appends the payload; `length` is the initial capacity for it, in bytes.
    pub(super) fn new(opcode: OpCode, length: usize, write: impl FnOnce(&mut Vec<u8>)) -> Encoded {
        let mut buffer = Vec::with_capacity(ws::MAX_HEAD + length);
        buffer.extend_from_slice(&[0; ws::MAX_HEAD]);
        write(&mut buffer);
        let length = buffer.len() - ws::MAX_HEAD;
        let room = buffer.first_chunk_mut().expect("the buffer begins with room for the head");
        let start = ws::frame_head(opcode, length, room);
        let (frame, head) = (held::share(buffer).slice(start..), ws::MAX_HEAD - start);
        Encoded { frame, head, text: opcode == ws::TEXT, base64: OnceCell::new(), old: OnceCell::new() }
    }

    /// Returns the data of the message: the frame without its head and the packet type.
    pub fn data(&self) -> &[u8] {
        &self.frame[self.head + usize::from(self.text)..]
    }

    /// Returns the bytes of [`Encoded::data`], which share the allocation of the frame.
    pub fn bytes(&self) -> Bytes {
        self.frame.slice_ref(self.data())
    }

    /// Returns the message as a WebSocket frame of protocol 4.
    pub fn frame(&self) -> Bytes {
        self.frame.clone()
    }

    pub(super) fn payload(&self) -> Bytes {
        self.frame.slice(self.head..)
    }

    /// Returns the message as a polling packet of protocol 4.
    pub fn packet(&self) -> Bytes {
        if self.text {
            return self.payload();
        }
        self.base64.get_or_init(|| held::share(format!("b{}", STANDARD.encode(self.data())))).clone()
    }
}
