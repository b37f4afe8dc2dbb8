//! WebSocket (RFC 6455): the upgrade, frames of clients in, frames of ours out.
//!
//! Our frames are unmasked, so one frame is the same for all recipients and is written here. Frames of clients
//! are judged here by their heads (length, opcode, number of fragments), before their payload has come; only
//! whole frames go to tungstenite, which unmasks, joins fragments and checks UTF-8. One tungstenite context
//! serves all connections; a connection owns one only between a fragment and the last fragment of a message.
//! Extensions and subprotocols are never agreed to: IIS cannot carry compressed frames.

use crate::config::Config;
use crate::http::{Head, Method, Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use sha1::{Digest, Sha1};
use std::io::{self, Cursor, Read, Write};
pub use tungstenite::Utf8Bytes as Text;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

/// What makes a key an answer (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The longest head of our frames.
pub const MAX_HEAD: usize = 10;
/// The most a control frame may carry (RFC 6455 section 5.5).
const MAX_CONTROL: usize = 125;
/// The buffer of a tungstenite context.
const CONTEXT_BUFFER: usize = 4 * 1024;

/// Opcodes of our frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Text = 1,
    Binary = 2,
    Close = 8,
}

/// Whether a request asks for a WebSocket. `Upgrade` with anything else is ignored, as RFC 9110 section 7.8 lets us.
pub fn is_upgrade(head: &Head) -> bool {
    head.method == Method::Get
        && head.minor == 1
        && head.has_token("Connection", "upgrade")
        && head.has_token("Upgrade", "websocket")
}

/// The whole 101 answer (RFC 6455 section 4.2.2), or the refusal.
pub fn accept(head: &Head) -> Result<Bytes, Response> {
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

/// Writes the head of an unfragmented frame right-aligned into `room`, where the payload may follow; returns
/// where it starts.
pub fn frame_head(opcode: Opcode, length: usize, room: &mut [u8; MAX_HEAD]) -> usize {
    let first = 0x80 | opcode as u8;
    match length {
        0..=125 => {
            room[8..].copy_from_slice(&[first, length as u8]);
            8
        }
        126..=0xffff => {
            room[6..8].copy_from_slice(&[first, 126]);
            room[8..].copy_from_slice(&(length as u16).to_be_bytes());
            6
        }
        _ => {
            room[..2].copy_from_slice(&[first, 127]);
            room[2..].copy_from_slice(&(length as u64).to_be_bytes());
            0
        }
    }
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
pub enum Event {
    /// A text message.
    Text(Text),
    /// A binary message.
    Binary(Bytes),
    /// A ping is answered with this frame.
    Reply(Bytes),
    /// The client closes: this frame is the answer, and then the connection ends.
    Close(Bytes),
    /// A fragment, or a pong.
    Nothing,
}

/// The client broke the protocol: a close frame with this code, and the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// See RFC 6455 section 7.4.1.
    pub code: u16,
    /// In a few words.
    pub reason: &'static str,
}

fn protocol(reason: &'static str) -> Failure {
    Failure { code: 1002, reason }
}

/// The tungstenite context that all connections share which have no message open.
pub struct Decoder(WebSocketContext);

impl Default for Decoder {
    fn default() -> Self {
        Decoder(context())
    }
}

/// A fresh context. Lengths are limited here, by frame heads, so its own limits are off.
fn context() -> WebSocketContext {
    let config = WebSocketConfig::default()
        .read_buffer_size(CONTEXT_BUFFER)
        .write_buffer_size(0)
        .max_message_size(None)
        .max_frame_size(None);
    WebSocketContext::new(Role::Server, Some(config))
}

/// A message between its first fragment and its last.
struct Open {
    context: WebSocketContext,
    bytes: u64,
    fragments: usize,
}

/// The incoming side of one connection: the fragmented message that is open, if there is one.
#[derive(Default)]
pub struct Incoming(Option<Box<Open>>);

impl Incoming {
    /// Whether a fragmented message is open.
    pub fn in_message(&self) -> bool {
        self.0.is_some()
    }

    /// The next event at the start of `input`, and the bytes it takes; `None` if the frame is not whole yet.
    /// Then the caller shows the same bytes again with more behind them; nothing is allocated for what a head
    /// only claims.
    pub fn next(
        &mut self, decoder: &mut Decoder, input: &[u8], config: &Config,
    ) -> Result<Option<(usize, Event)>, Failure> {
        let mut cursor = Cursor::new(input);
        let Some((head, length)) = FrameHeader::parse(&mut cursor).map_err(|_| protocol("an unknown opcode"))? else {
            return Ok(None);
        };
        let head_length = cursor.position() as usize;
        self.judge(&head, length, head_length, config)?;
        // Below the limit of a message, so it fits.
        let end = head_length + length as usize;
        let Some(whole) = input.get(..end) else { return Ok(None) };
        let is_data = matches!(head.opcode, OpCode::Data(_));
        if is_data && !head.is_final {
            let open = self.0.get_or_insert_with(|| Box::new(Open { context: context(), bytes: 0, fragments: 0 }));
            open.bytes += length;
            open.fragments += 1;
        }
        let event = match &mut self.0 {
            Some(open) if is_data => feed(&mut open.context, whole),
            _ => feed(&mut decoder.0, whole),
        };
        if is_data && head.is_final {
            self.0 = None;
        }
        if matches!(event, Err(_) | Ok(Event::Close(_))) {
            // The state of a context after this is of no use to others.
            *self = Incoming::default();
            *decoder = Decoder::default();
        }
        event.map(|event| Some((end, event)))
    }

    /// What can be said of a frame by its head alone (RFC 6455 section 5).
    fn judge(&self, head: &FrameHeader, length: u64, head_length: usize, config: &Config) -> Result<(), Failure> {
        if head.rsv1 || head.rsv2 || head.rsv3 {
            return Err(protocol("a reserved bit is set"));
        }
        if head.mask.is_none() {
            return Err(protocol("a frame is not masked"));
        }
        let minimal = 6 + match length {
            0..=125 => 0,
            126..=0xffff => 2,
            _ => 8,
        };
        if head_length != minimal || length > i64::MAX as u64 {
            return Err(protocol("a length is not in its shortest form"));
        }
        let too_big = Failure { code: 1009, reason: "message too big" };
        match (head.opcode, &self.0) {
            (OpCode::Control(_), _) if !head.is_final || length > MAX_CONTROL as u64 => {
                Err(protocol("a control frame is fragmented or too long"))
            }
            (OpCode::Control(Control::Close), _) if length == 1 => Err(protocol("half a close code")),
            (OpCode::Control(_), _) => Ok(()),
            (OpCode::Data(Data::Continue), None) => Err(protocol("a continuation of nothing")),
            (OpCode::Data(Data::Continue), Some(open)) if open.fragments >= config.max_fragments => {
                Err(Failure { code: 1008, reason: "too many fragments" })
            }
            (OpCode::Data(Data::Continue), Some(open)) if open.bytes + length > config.max_payload as u64 => {
                Err(too_big)
            }
            (OpCode::Data(Data::Continue), Some(_)) => Ok(()),
            (OpCode::Data(_), Some(_)) => Err(protocol("a message inside a message")),
            (OpCode::Data(_), None) if length > config.max_payload as u64 => Err(too_big),
            (OpCode::Data(_), None) => Ok(()),
        }
    }
}

/// Shows one whole frame to tungstenite.
fn feed(context: &mut WebSocketContext, frame: &[u8]) -> Result<Event, Failure> {
    let mut stream = Stream { input: frame, output: Vec::new() };
    match context.read(&mut stream) {
        Ok(Message::Text(text)) => Ok(Event::Text(text)),
        Ok(Message::Binary(bytes)) => Ok(Event::Binary(bytes)),
        Ok(Message::Ping(_)) => {
            // The pong waits inside; nothing can go wrong writing it to memory.
            let _ = context.flush(&mut stream);
            Ok(Event::Reply(stream.output.into()))
        }
        Ok(Message::Close(_)) => {
            // Says that the connection is closed, after it has written the answer.
            let _ = context.flush(&mut stream);
            Ok(Event::Close(stream.output.into()))
        }
        Ok(_) => Ok(Event::Nothing),
        Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(Event::Nothing),
        Err(Error::Utf8(_)) => Err(Failure { code: 1007, reason: "text is not UTF-8" }),
        Err(_) => Err(protocol("a frame breaks the protocol")),
    }
}

/// What tungstenite reads from and writes to: one frame, and memory.
struct Stream<'a> {
    input: &'a [u8],
    output: Vec<u8>,
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Not Ok(0): that would be a peer that is gone.
        if self.input.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { self.input.read(buffer) }
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
