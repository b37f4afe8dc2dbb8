//! WebSocket (RFC 6455): the upgrade response, frames from clients, frames to clients.
//!
//! Frames of the server are not masked, so one encoded frame serves all recipients of a broadcast. The head of a client's
//! frame is checked (length, opcode, number of fragments) before the payload has arrived. tungstenite parses only these
//! heads: its message reader would keep a buffer per connection and allocate any length that a head claims.
//!
//! The server accepts no extension, because IIS cannot carry compressed frames, and no subprotocol: Socket.IO has none.

use crate::config::Config;
use crate::http::{Method, RequestHead, Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use sha1::{Digest, Sha1};
use std::io::Cursor;
pub use tungstenite::Utf8Bytes as Text;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// The constant that RFC 6455 section 1.3 appends to the client's key before the key is hashed.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Maximum length of the head of a server frame, in bytes.
pub const MAX_HEAD: usize = 10;
/// Maximum length of the payload of a control frame, in bytes (RFC 6455 section 5.5).
const MAX_CONTROL: usize = 125;

/// Opcodes of the frames that the server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Text = 1,
    Binary = 2,
    Close = 8,
    Pong = 10,
}

/// Whether a request asks for a WebSocket. An upgrade to anything else is ignored, as RFC 9110 section 7.8 permits.
pub fn is_upgrade(head: &RequestHead) -> bool {
    head.method == Method::Get
        && head.minor == 1
        && head.has_token("Connection", "upgrade")
        && head.has_token("Upgrade", "websocket")
}

/// Returns the encoded 101 response to an upgrade request (RFC 6455 section 4.2.2). `Err` is the response that refuses it.
pub fn accept(head: &RequestHead) -> Result<Bytes, Response> {
    if head.header("Sec-WebSocket-Version") != Some(b"13") {
        let refusal =
            Response::text(426, "only WebSocket version 13 is supported").header("Sec-WebSocket-Version", "13");
        return Err(refusal.header("Upgrade", "websocket").header("Connection", "Upgrade, close").close());
    }
    let mut keys = head.headers("Sec-WebSocket-Key");
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) if STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16) => key,
        _ => return Err(Response::text(400, "Sec-WebSocket-Key is not 16 bytes in base64").close()),
    };
    let answer = STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {answer}\r\n\r\n"
    );
    Ok(head.into())
}

/// Writes the head for a payload of `length` bytes to the end of `buffer`. Returns the index at which the head starts.
pub fn frame_head(opcode: Opcode, length: usize, buffer: &mut [u8; MAX_HEAD]) -> usize {
    let (start, length_byte) = match length {
        0..=125 => (8, length as u8),
        126..=0xffff => (6, 126),
        _ => (0, 127),
    };
    // First the length is written in 64 bits. In a shorter head, opcode and `length_byte` then overwrite a part of it.
    buffer[2..].copy_from_slice(&(length as u64).to_be_bytes());
    buffer[start..start + 2].copy_from_slice(&[0x80 | opcode as u8, length_byte]);
    start
}

pub fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut buffer = [0; MAX_HEAD];
    let start = frame_head(opcode, payload.len(), &mut buffer);
    [&buffer[start..], payload].concat().into()
}

/// Returns an encoded close frame. `reason` is cut to the length that a control frame allows.
pub fn close_frame(code: u16, reason: &str) -> Bytes {
    let reason = &reason[..reason.floor_char_boundary(MAX_CONTROL - 2)];
    frame(Opcode::Close, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// The result of one complete frame from a client. `Text` and `Binary` are whole messages, joined from their fragments.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    Text(Text),
    Binary(Bytes),
    /// The client sent a ping. The bytes are the encoded pong frame to send.
    Ping(Bytes),
    /// The client sent a close frame. The bytes are the encoded reply to send before the connection is closed.
    Close(Bytes),
    /// The frame was a pong, or a fragment that does not complete a message. The caller has nothing to do.
    Nothing,
}

/// The client violated the protocol or a limit. The server must send a close frame with this code and reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolError {
    /// Status code of the close frame (RFC 6455 section 7.4.1).
    pub code: u16,
    pub reason: &'static str,
}

fn protocol_error(reason: &'static str) -> ProtocolError {
    ProtocolError { code: 1002, reason }
}

const NOT_UTF_8: ProtocolError = ProtocolError { code: 1007, reason: "text is not UTF-8" };

/// A fragmented message from a client, as far as its fragments have arrived.
struct FragmentedMessage {
    text: bool,
    bytes: Vec<u8>,
    fragments: usize,
    /// Number of bytes at the start of `bytes` that are validated as UTF-8 already, if the message is text.
    checked: usize,
}

/// The receiving side of one connection: the fragmented message whose last fragment is missing, if there is one.
#[derive(Default)]
pub struct Incoming(Option<Box<FragmentedMessage>>);

impl Incoming {
    pub fn in_message(&self) -> bool {
        self.0.is_some()
    }

    /// Parses the frame at the start of `input`. Returns its length in bytes and its content, or `None` if the frame is
    /// incomplete: the caller then passes these bytes again, with more. Allocates only for a complete frame.
    pub fn next(&mut self, input: &[u8], config: &Config) -> Result<Option<(usize, Received)>, ProtocolError> {
        let mut cursor = Cursor::new(input);
        let Some((head, length)) = FrameHeader::parse(&mut cursor).map_err(|_| protocol_error("unknown opcode"))?
        else {
            return Ok(None);
        };
        let start = cursor.position() as usize;
        let mask = head.mask.ok_or(protocol_error("unmasked frame"))?;
        self.check_head(&head, length, start, config)?;
        // `check_head` has refused a length above `max_payload` or `MAX_CONTROL`, so the length fits in a usize.
        let end = start + length as usize;
        let Some(payload) = input.get(start..end) else { return Ok(None) };
        let mut payload = payload.to_vec();
        for four in payload.chunks_mut(4) {
            four.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        }
        let received = match head.opcode {
            OpCode::Data(kind) => self.receive_data(kind, head.is_final, payload)?,
            OpCode::Control(Control::Ping) => Received::Ping(frame(Opcode::Pong, &payload)),
            OpCode::Control(Control::Close) => Received::Close(answer_close(&payload)?),
            OpCode::Control(_) => Received::Nothing,
        };
        Ok(Some((end, received)))
    }

    /// Checks the head of a frame (RFC 6455 section 5) before its payload of `length` bytes has arrived.
    fn check_head(
        &self, head: &FrameHeader, length: u64, head_length: usize, config: &Config,
    ) -> Result<(), ProtocolError> {
        if head.rsv1 || head.rsv2 || head.rsv3 {
            return Err(protocol_error("reserved bit set"));
        }
        if head_length != head.len(length) || length > i64::MAX as u64 {
            return Err(protocol_error("length not in its shortest form"));
        }
        let (bytes, fragments) = self.0.as_ref().map_or((0, 0), |open| (open.bytes.len(), open.fragments));
        match head.opcode {
            OpCode::Control(_) if !head.is_final || length > MAX_CONTROL as u64 => {
                Err(protocol_error("control frame fragmented or too long"))
            }
            OpCode::Control(Control::Close) if length == 1 => Err(protocol_error("truncated close code")),
            OpCode::Control(_) => Ok(()),
            OpCode::Data(Data::Continue) if self.0.is_none() => Err(protocol_error("continuation without a message")),
            OpCode::Data(Data::Text | Data::Binary) if self.0.is_some() => {
                Err(protocol_error("new message inside a fragmented one"))
            }
            OpCode::Data(_) if fragments >= config.max_fragments => {
                Err(ProtocolError { code: 1008, reason: "too many fragments" })
            }
            OpCode::Data(_) if bytes as u64 + length > config.max_payload as u64 => {
                Err(ProtocolError { code: 1009, reason: "message too big" })
            }
            OpCode::Data(_) => Ok(()),
        }
    }

    /// Handles the payload of a data frame, the last one of its message if `last`. The text of each fragment is validated
    /// when it arrives, so invalid UTF-8 is refused early.
    fn receive_data(&mut self, kind: Data, last: bool, payload: Vec<u8>) -> Result<Received, ProtocolError> {
        if last && self.0.is_none() {
            return finish_message(kind == Data::Text, payload);
        }
        let text = kind == Data::Text;
        let fresh = || Box::new(FragmentedMessage { text, bytes: Vec::new(), fragments: 0, checked: 0 });
        let mut open = self.0.take().unwrap_or_else(fresh);
        open.bytes.extend_from_slice(&payload);
        open.fragments += 1;
        if last {
            return finish_message(open.text, open.bytes);
        }
        if open.text {
            open.checked += check_utf8(&open.bytes[open.checked..])?;
        }
        self.0 = Some(open);
        Ok(Received::Nothing)
    }
}

fn finish_message(text: bool, bytes: Vec<u8>) -> Result<Received, ProtocolError> {
    let bytes = Bytes::from(bytes);
    Ok(if text { Received::Text(Text::try_from(bytes).map_err(|_| NOT_UTF_8)?) } else { Received::Binary(bytes) })
}

/// Checks that a part of a text is UTF-8. Returns its length in bytes, without a character that is cut off at its end.
fn check_utf8(text: &[u8]) -> Result<usize, ProtocolError> {
    match str::from_utf8(text) {
        Ok(_) => Ok(text.len()),
        Err(error) if error.error_len().is_none() => Ok(error.valid_up_to()),
        Err(_) => Err(NOT_UTF_8),
    }
}

/// Checks a close frame of the client and returns the reply: a close frame with the same payload (RFC 6455 section 5.5.1).
fn answer_close(payload: &[u8]) -> Result<Bytes, ProtocolError> {
    match payload.split_first_chunk() {
        Some((code, _)) if !CloseCode::from(u16::from_be_bytes(*code)).is_allowed() => {
            Err(protocol_error("invalid close code"))
        }
        Some((_, reason)) if str::from_utf8(reason).is_err() => Err(NOT_UTF_8),
        _ => Ok(frame(Opcode::Close, payload)),
    }
}
