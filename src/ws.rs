//! WebSocket (RFC 6455): the upgrade response, frames from clients, frames to clients.
//!
//! Frames of the server are not masked, so one encoded frame serves all recipients of a broadcast. The head of a client's
//! frame is checked (length, opcode, number of fragments) before the payload has arrived. tungstenite parses only these
//! heads: its message reader would keep a buffer per connection and allocate any length that a head claims.
//!
//! The server accepts no extension, because IIS cannot carry compressed frames. A subprotocol means nothing to Socket.IO.

use crate::base::held;
use crate::config::Config;
use crate::http::{Method, RequestHead, Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use sha1::{Digest, Sha1};
use std::io::Cursor;
pub use tungstenite::Utf8Bytes as Text;
use tungstenite::protocol::frame::FrameHeader;
pub use tungstenite::protocol::frame::coding::OpCode;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data};

/// The constant that RFC 6455 section 1.3 appends to the client's key before the key is hashed.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Maximum length of the head of a server frame, in bytes.
pub const MAX_HEAD: usize = 10;
/// Maximum length of the payload of a control frame, in bytes (RFC 6455 section 5.5).
const MAX_CONTROL: usize = 125;

/// Opcodes of the frames that the server sends.
pub const TEXT: OpCode = OpCode::Data(Data::Text);
pub const BINARY: OpCode = OpCode::Data(Data::Binary);
pub const CLOSE: OpCode = OpCode::Control(Control::Close);
const PONG: OpCode = OpCode::Control(Control::Pong);

/// Whether a request asks for a WebSocket. An upgrade to anything else is ignored, as RFC 9110 section 7.8 permits.
pub fn is_upgrade(head: &RequestHead) -> bool {
    head.method == Method::Get
        && head.minor == 1
        && head.has_token("Connection", "upgrade")
        && head.has_token("Upgrade", "websocket")
}

/// Returns the encoded 101 response to an upgrade request (RFC 6455 section 4.2.2). `Err` is the response that refuses it.
pub fn accept(head: &RequestHead) -> Result<Bytes, Response> {
    // Frames directly follow the head: a body would be read as frames, and a wait for `100 Continue` would be in vain.
    if head.length != Some(0) || head.header("Expect").is_some() {
        return Err(Response::text(400, "an upgrade request has no body").close());
    }
    if head.header("Sec-WebSocket-Version") != Some(b"13") {
        let refusal =
            Response::text(426, "only WebSocket version 13 is supported").header("Sec-WebSocket-Version", "13");
        return Err(refusal.header("Upgrade", "websocket").close());
    }
    let mut keys = head.headers("Sec-WebSocket-Key");
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) if is_key(key) => key,
        _ => return Err(Response::text(400, "Sec-WebSocket-Key is not 16 bytes in base64").close()),
    };
    let answer = STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize());
    // Browsers fail a connection for which none of the subprotocols that they offer is chosen.
    let protocol = head.tokens("Sec-WebSocket-Protocol").next();
    let protocol = protocol.map_or(String::new(), |token| format!("Sec-WebSocket-Protocol: {token}\r\n"));
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade";
    Ok(format!("{head}\r\nSec-WebSocket-Accept: {answer}\r\n{protocol}\r\n").into())
}

/// Whether a key has the form of 16 bytes in base64. Its last character may have bits that mean nothing, as in the example
/// of RFC 6455 section 4.1.
fn is_key(key: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.strip_suffix(b"==").is_some_and(|digits| digits.iter().all(is_base64))
}

/// Writes the head for a payload of `length` bytes to the end of `buffer`. Returns the index at which the head starts.
pub fn frame_head(opcode: OpCode, length: usize, buffer: &mut [u8; MAX_HEAD]) -> usize {
    let head = FrameHeader { opcode, ..FrameHeader::default() };
    let start = MAX_HEAD - head.len(length as u64);
    head.format(length as u64, &mut &mut buffer[start..]).expect("the rest of the buffer is as long as the head");
    start
}

/// Returns an encoded server frame.
pub fn frame(opcode: OpCode, payload: &[u8]) -> Bytes {
    let mut buffer = [0; MAX_HEAD];
    let start = frame_head(opcode, payload.len(), &mut buffer);
    held::share([&buffer[start..], payload].concat())
}

/// Returns an encoded close frame. `reason` is cut to the length that a control frame allows.
pub fn close_frame(code: u16, reason: &str) -> Bytes {
    let reason = &reason[..reason.floor_char_boundary(MAX_CONTROL - 2)];
    frame(CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat())
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

/// The length in bytes and the content of a frame; `None` if it is incomplete.
pub type NextFrame = Result<Option<(usize, Received)>, ProtocolError>;

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

    /// Returns the bytes that the incomplete message holds.
    pub fn held(&self) -> usize {
        self.0.as_ref().map_or(0, |open| open.bytes.capacity())
    }

    /// Parses the frame at the start of `input`. Returns its length in bytes and its content, or `None` if the frame is
    /// incomplete: the caller then passes these bytes again, with more. Allocates only for a complete frame.
    pub fn next(&mut self, input: &[u8], config: &Config) -> NextFrame {
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
            OpCode::Control(Control::Ping) => Received::Ping(frame(PONG, &payload)),
            OpCode::Control(Control::Close) => Received::Close(answer_close(&payload)?),
            OpCode::Control(_) => Received::Nothing,
        };
        Ok(Some((end, received)))
    }

    /// Checks the head of a frame (RFC 6455 section 5) before its payload of `length` bytes has arrived.
    fn check_head(
        &self, head: &FrameHeader, length: u64, head_length: usize, config: &Config,
    ) -> Result<(), ProtocolError> {
        let (bytes, fragments) = self.0.as_ref().map_or((0, 0), |open| (open.bytes.len(), open.fragments));
        let (code, reason) = match head.opcode {
            _ if head.rsv1 || head.rsv2 || head.rsv3 => (1002, "reserved bit set"),
            _ if head_length != head.len(length) || length > i64::MAX as u64 => {
                (1002, "length not in its shortest form")
            }
            OpCode::Control(_) if !head.is_final || length > MAX_CONTROL as u64 => {
                (1002, "control frame fragmented or too long")
            }
            OpCode::Control(Control::Close) if length == 1 => (1002, "truncated close code"),
            OpCode::Data(Data::Continue) if self.0.is_none() => (1002, "continuation without a message"),
            OpCode::Data(Data::Text | Data::Binary) if self.0.is_some() => {
                (1002, "new message inside a fragmented one")
            }
            OpCode::Data(_) if fragments >= config.max_fragments => (1008, "too many fragments"),
            OpCode::Data(_) if bytes as u64 + length > config.max_payload as u64 => (1009, "message too big"),
            _ => return Ok(()),
        };
        Err(ProtocolError { code, reason })
    }

    /// Handles the payload of a data frame; `last`: the frame ends its message. The text of each fragment is validated when
    /// it arrives, so that invalid UTF-8 is refused early.
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
            open.checked += match str::from_utf8(&open.bytes[open.checked..]) {
                Ok(valid) => valid.len(),
                // A character is cut off at the end.
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                Err(_) => return Err(NOT_UTF_8),
            };
        }
        self.0 = Some(open);
        Ok(Received::Nothing)
    }
}

fn finish_message(text: bool, bytes: Vec<u8>) -> Result<Received, ProtocolError> {
    let bytes = Bytes::from(bytes);
    Ok(if text { Received::Text(Text::try_from(bytes).map_err(|_| NOT_UTF_8)?) } else { Received::Binary(bytes) })
}

/// Checks a close frame of the client and returns the reply: a close frame with the same payload (RFC 6455 section 5.5.1).
fn answer_close(payload: &[u8]) -> Result<Bytes, ProtocolError> {
    match payload.split_first_chunk() {
        Some((code, _)) if !CloseCode::from(u16::from_be_bytes(*code)).is_allowed() => {
            Err(protocol_error("invalid close code"))
        }
        Some((_, reason)) if str::from_utf8(reason).is_err() => Err(NOT_UTF_8),
        _ => Ok(frame(CLOSE, payload)),
    }
}
