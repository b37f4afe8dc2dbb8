//! Engine.IO packets of protocol 4: `<type><data>`, joined by 0x1e in polling payloads.
//! Source: docs/engine.io-protocol/v4-current.md.
//!
//! [`Encoded`] is a message on its way to many: each wire form is made once, however many recipients there are.

use crate::ws::{self, Opcode, Text};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use std::cell::OnceCell;

/// Between two packets of a payload.
const SEPARATOR: u8 = 0x1e;
/// Polling packets that never change.
pub const PING: Bytes = Bytes::from_static(b"2");
/// See [`PING`].
pub const NOOP: Bytes = Bytes::from_static(b"6");
/// See [`PING`].
pub const CLOSE: Bytes = Bytes::from_static(b"1");
/// The answer to a probe, as a ready frame.
pub const PONG_PROBE_FRAME: Bytes = Bytes::from_static(b"\x81\x063probe");

/// What a message carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Text.
    Text(Text),
    /// Bytes.
    Binary(Bytes),
}

/// A packet of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// `0`: only servers open.
    Open,
    /// `1`
    Close,
    /// `2`, with `probe` during an upgrade.
    Ping(Text),
    /// `3`
    Pong(Text),
    /// `4`
    Message(Data),
    /// `5`
    Upgrade,
    /// `6`
    Noop,
}

/// Bytes that are no packet, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid(pub &'static str);

/// Reads a text packet.
pub fn decode(text: Text) -> Result<Packet, Invalid> {
    let rest = || Text::try_from(Bytes::from(text.clone()).slice(1..)).map_err(|_| Invalid("not UTF-8"));
    match text.as_bytes().first() {
        Some(b'0') => Ok(Packet::Open),
        Some(b'1') => Ok(Packet::Close),
        Some(b'2') => Ok(Packet::Ping(rest()?)),
        Some(b'3') => Ok(Packet::Pong(rest()?)),
        Some(b'4') => Ok(Packet::Message(Data::Text(rest()?))),
        Some(b'5') => Ok(Packet::Upgrade),
        Some(b'6') => Ok(Packet::Noop),
        _ => Err(Invalid("a packet of unknown type")),
    }
}

/// Reads a polling payload: all of it or nothing.
pub fn decode_payload(body: Bytes) -> Result<Vec<Packet>, Invalid> {
    body.split(|byte| *byte == SEPARATOR)
        .map(|part| match part.strip_prefix(b"b") {
            Some(base64) => {
                let bytes = STANDARD.decode(base64).map_err(|_| Invalid("a binary packet is not base64"))?;
                Ok(Packet::Message(Data::Binary(bytes.into())))
            }
            None => {
                let text = Text::try_from(body.slice_ref(part)).map_err(|_| Invalid("a packet is not UTF-8"))?;
                decode(text)
            }
        })
        .collect()
}

/// Joins packets to a payload.
pub fn payload(packets: &[Bytes]) -> Vec<u8> {
    packets.join(&SEPARATOR)
}

/// A pong, as a polling packet.
pub fn pong(text: &str) -> Bytes {
    ["3", text].concat().into()
}

/// The frame of a packet that was meant for polling.
pub fn packet_to_frame(packet: &Bytes) -> Bytes {
    match packet.strip_prefix(b"b").map(|base64| STANDARD.decode(base64)) {
        Some(Ok(bytes)) => ws::frame(Opcode::Binary, &bytes),
        _ => ws::frame(Opcode::Text, packet),
    }
}

/// A message for any number of sessions.
#[derive(Debug)]
pub struct Encoded {
    /// The server frame of protocol 4, and where its payload starts.
    frame: Bytes,
    payload: usize,
    text: bool,
    /// Binary as a polling packet; made when the first polling session gets it.
    base64: OnceCell<Bytes>,
    /// What sessions of older protocols get; see `v3`.
    pub(super) old: OnceCell<Box<super::v3::Forms>>,
}

impl Encoded {
    /// A text message; `write` appends it to a vector that has room in front. One allocation holds the frame,
    /// and behind its head the packet.
    pub fn text(write: impl FnOnce(&mut Vec<u8>)) -> Encoded {
        let mut buffer = Vec::with_capacity(256);
        buffer.extend_from_slice(&[0; ws::MAX_HEAD]);
        buffer.push(b'4');
        write(&mut buffer);
        Encoded::framed(Opcode::Text, buffer)
    }

    /// A binary message.
    pub fn binary(data: Bytes) -> Encoded {
        Encoded::framed(Opcode::Binary, [&[0; ws::MAX_HEAD], &data[..]].concat())
    }

    fn framed(opcode: Opcode, mut buffer: Vec<u8>) -> Encoded {
        let length = buffer.len() - ws::MAX_HEAD;
        let room = buffer.first_chunk_mut().expect("the buffer begins with room for the head");
        let start = ws::frame_head(opcode, length, room);
        Encoded {
            frame: Bytes::from(buffer).slice(start..),
            payload: ws::MAX_HEAD - start,
            text: opcode == Opcode::Text,
            base64: OnceCell::new(),
            old: OnceCell::new(),
        }
    }

    /// Whether it is text.
    pub fn is_text(&self) -> bool {
        self.text
    }

    /// The message itself: without frame head and packet type.
    pub fn data(&self) -> Bytes {
        self.frame.slice(self.payload + usize::from(self.text)..)
    }

    /// As a WebSocket frame of protocol 4.
    pub fn frame(&self) -> Bytes {
        self.frame.clone()
    }

    /// As a polling packet of protocol 4.
    pub fn packet(&self) -> Bytes {
        if self.text {
            return self.frame.slice(self.payload..);
        }
        self.base64.get_or_init(|| format!("b{}", STANDARD.encode(self.data())).into()).clone()
    }
}
