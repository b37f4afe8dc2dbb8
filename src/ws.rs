//! WebSocket (RFC 6455): the upgrade, frames of clients in, frames of ours out.
//!
//! Our frames are unmasked, so one frame is the same for all recipients and is written here. Frames of clients
//! are judged by their heads (length, opcode, number of fragments), before their payload has come. tungstenite
//! reads these heads; its own reader of messages would keep buffers for every connection and allocate what a head claims.
//! Extensions and subprotocols are never agreed to: IIS cannot carry compressed frames.

use crate::config::Config;
use crate::http::{Method, RequestHead, Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use sha1::{Digest, Sha1};
use std::io::Cursor;
pub use tungstenite::Utf8Bytes as Text;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// What makes a key an answer (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The longest head of our frames.
pub const MAX_HEAD: usize = 10;
/// The most a control frame may carry (RFC 6455 section 5.5).
const MAX_CONTROL: usize = 125;

/// Opcodes of our frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Text = 1,
    Binary = 2,
    Close = 8,
    Pong = 10,
}

/// Whether a request asks for a WebSocket. `Upgrade` with anything else is ignored, as RFC 9110 section 7.8 lets us.
pub fn is_upgrade(head: &RequestHead) -> bool {
    head.method == Method::Get
        && head.minor == 1
        && head.has_token("Connection", "upgrade")
        && head.has_token("Upgrade", "websocket")
}

/// The whole 101 answer (RFC 6455 section 4.2.2), or the refusal.
pub fn accept(head: &RequestHead) -> Result<Bytes, Response> {
    let refused = |status, why| Response::new(status).body("text/plain", why).close();
    if head.header("Sec-WebSocket-Version") != Some(b"13") {
        let refusal = refused(426, "WebSocket version 13 is spoken here");
        let refusal = refusal.header("Sec-WebSocket-Version", "13");
        return Err(refusal.header("Upgrade", "websocket").header("Connection", "Upgrade, close"));
    }
    let mut keys = head.headers("Sec-WebSocket-Key");
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) if STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16) => key,
        _ => return Err(refused(400, "Sec-WebSocket-Key is not 16 bytes in base64")),
    };
    let answer = STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {answer}\r\n\r\n"
    );
    Ok(head.into())
}

/// Writes the head of a frame right-aligned into `room`, where the payload may follow; returns where it starts.
pub fn frame_head(opcode: Opcode, length: usize, room: &mut [u8; MAX_HEAD]) -> usize {
    let (start, mark) = match length {
        0..=125 => (8, length as u8),
        126..=0xffff => (6, 126),
        _ => (0, 127),
    };
    // All eight bytes of the length: what is not needed of them lies before the start, or under the mark.
    room[2..].copy_from_slice(&(length as u64).to_be_bytes());
    room[start..start + 2].copy_from_slice(&[0x80 | opcode as u8, mark]);
    start
}

/// A whole frame.
pub fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut room = [0; MAX_HEAD];
    let start = frame_head(opcode, payload.len(), &mut room);
    [&room[start..], payload].concat().into()
}

/// A close frame; the reason is cut to what fits.
pub fn close_frame(code: u16, reason: &str) -> Bytes {
    let reason = &reason[..reason.floor_char_boundary(MAX_CONTROL - 2)];
    frame(Opcode::Close, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// What a whole frame has brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    Text(Text),
    Binary(Bytes),
    /// A ping is answered with this frame.
    Ping(Bytes),
    /// The client closes: this frame is the answer, and then the connection ends.
    Close(Bytes),
    /// A fragment, or a pong.
    Nothing,
}

/// The client broke the protocol: a close frame with this code, and the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolError {
    /// See RFC 6455 section 7.4.1.
    pub code: u16,
    pub reason: &'static str,
}

fn protocol(reason: &'static str) -> ProtocolError {
    ProtocolError { code: 1002, reason }
}

const NOT_UTF_8: ProtocolError = ProtocolError { code: 1007, reason: "text is not UTF-8" };

/// A message between its first fragment and its last.
struct FragmentedMessage {
    text: bool,
    bytes: Vec<u8>,
    fragments: usize,
    /// So many of the bytes of a text are known to be whole characters.
    checked: usize,
}

/// The incoming side of one connection: the fragmented message that is open, if there is one.
#[derive(Default)]
pub struct Incoming(Option<Box<FragmentedMessage>>);

impl Incoming {
    /// Whether a fragmented message is open.
    pub fn in_message(&self) -> bool {
        self.0.is_some()
    }

    /// The next event at the start of `input`, and the bytes it takes; `None` if the frame is not whole yet: then the
    /// caller shows the same bytes again with more behind them. Nothing is allocated for what a head only claims.
    pub fn next(&mut self, input: &[u8], config: &Config) -> Result<Option<(usize, Received)>, ProtocolError> {
        let mut cursor = Cursor::new(input);
        let Some((head, length)) = FrameHeader::parse(&mut cursor).map_err(|_| protocol("an unknown opcode"))? else {
            return Ok(None);
        };
        let start = cursor.position() as usize;
        let mask = head.mask.ok_or(protocol("a frame is not masked"))?;
        self.check_head(&head, length, start, config)?;
        // Below the limit of a message, so it fits.
        let end = start + length as usize;
        let Some(payload) = input.get(start..end) else { return Ok(None) };
        let mut payload = payload.to_vec();
        for four in payload.chunks_mut(4) {
            four.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        }
        let event = match head.opcode {
            OpCode::Data(kind) => self.data(kind, head.is_final, payload)?,
            OpCode::Control(Control::Ping) => Received::Ping(frame(Opcode::Pong, &payload)),
            OpCode::Control(Control::Close) => Received::Close(answer_close(&payload)?),
            OpCode::Control(_) => Received::Nothing,
        };
        Ok(Some((end, event)))
    }

    /// What can be said of a frame by its head alone (RFC 6455 section 5).
    fn check_head(
        &self, head: &FrameHeader, length: u64, head_length: usize, config: &Config,
    ) -> Result<(), ProtocolError> {
        if head.rsv1 || head.rsv2 || head.rsv3 {
            return Err(protocol("a reserved bit is set"));
        }
        if head_length != head.len(length) || length > i64::MAX as u64 {
            return Err(protocol("a length is not in its shortest form"));
        }
        let (bytes, fragments) = self.0.as_ref().map_or((0, 0), |open| (open.bytes.len(), open.fragments));
        match head.opcode {
            OpCode::Control(_) if !head.is_final || length > MAX_CONTROL as u64 => {
                Err(protocol("a control frame is fragmented or too long"))
            }
            OpCode::Control(Control::Close) if length == 1 => Err(protocol("half a close code")),
            OpCode::Control(_) => Ok(()),
            OpCode::Data(Data::Continue) if self.0.is_none() => Err(protocol("a continuation of nothing")),
            OpCode::Data(Data::Text | Data::Binary) if self.0.is_some() => Err(protocol("a message inside a message")),
            OpCode::Data(_) if fragments >= config.max_fragments => {
                Err(ProtocolError { code: 1008, reason: "too many fragments" })
            }
            OpCode::Data(_) if bytes as u64 + length > config.max_payload as u64 => {
                Err(ProtocolError { code: 1009, reason: "message too big" })
            }
            OpCode::Data(_) => Ok(()),
        }
    }

    /// A message or a fragment of one. Text is checked as it comes: what cannot become UTF-8 is refused before the end.
    fn data(&mut self, kind: Data, last: bool, payload: Vec<u8>) -> Result<Received, ProtocolError> {
        if last && self.0.is_none() {
            return message(kind == Data::Text, payload);
        }
        let text = kind == Data::Text;
        let fresh = || Box::new(FragmentedMessage { text, bytes: Vec::new(), fragments: 0, checked: 0 });
        let mut open = self.0.take().unwrap_or_else(fresh);
        open.bytes.extend_from_slice(&payload);
        open.fragments += 1;
        if last {
            return message(open.text, open.bytes);
        }
        if open.text {
            open.checked += whole_characters(&open.bytes[open.checked..])?;
        }
        self.0 = Some(open);
        Ok(Received::Nothing)
    }
}

fn message(text: bool, bytes: Vec<u8>) -> Result<Received, ProtocolError> {
    let bytes = Bytes::from(bytes);
    Ok(if text { Received::Text(Text::try_from(bytes).map_err(|_| NOT_UTF_8)?) } else { Received::Binary(bytes) })
}

/// The length of `text` without a character that is cut at its end.
fn whole_characters(text: &[u8]) -> Result<usize, ProtocolError> {
    match str::from_utf8(text) {
        Ok(_) => Ok(text.len()),
        Err(error) if error.error_len().is_none() => Ok(error.valid_up_to()),
        Err(_) => Err(NOT_UTF_8),
    }
}

/// The answer to a close frame: the same code and reason (RFC 6455 section 5.5.1).
fn answer_close(payload: &[u8]) -> Result<Bytes, ProtocolError> {
    match payload.split_first_chunk() {
        Some((code, _)) if !CloseCode::from(u16::from_be_bytes(*code)).is_allowed() => {
            Err(protocol("a close code that nobody may send"))
        }
        Some((_, reason)) if str::from_utf8(reason).is_err() => Err(NOT_UTF_8),
        _ => Ok(frame(Opcode::Close, payload)),
    }
}
