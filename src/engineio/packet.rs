//! Engine.IO packets of protocol 4: a type, then data. A WebSocket frame carries one; a polling payload carries
//! several with 0x1e between them, binary ones in base64.
//! Source: docs/engine.io-protocol/v4-current.md, "Packet encoding".
//!
//! [`Encoded`] is a message on its way to many: each wire form is made once, however many recipients there are.

use crate::ws::{self, Opcode, Text};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Buf, Bytes};
use std::cell::OnceCell;

/// Between two packets of a payload. JSON has no such byte: in its strings it is written `\u001e`.
const SEPARATOR: u8 = 0x1e;
/// Room for a message of ordinary length, so that the vector it is written to need not grow.
const ORDINARY: usize = 256;

/// A ping for polling.
pub const PING: Bytes = Bytes::from_static(b"2");
/// A ping as a ready WebSocket frame.
pub const PING_FRAME: Bytes = Bytes::from_static(b"\x81\x012");
/// The answer to a probe as a ready WebSocket frame.
pub const PONG_PROBE_FRAME: Bytes = Bytes::from_static(b"\x81\x063probe");
/// What ends a GET that must not wait any longer.
pub const NOOP: Bytes = Bytes::from_static(b"6");
/// The end of the session, for polling.
pub const CLOSE: Bytes = Bytes::from_static(b"1");

/// `EIO=2`, `3` or `4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V2,
    V3,
    V4,
}

/// What a message carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    Text(Text),
    Binary(Bytes),
}

/// A packet of a client. Where the protocol gives the data no meaning they are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// `0`: only servers open.
    Open,
    /// `1`: the session ends.
    Close,
    /// `2`, with `probe` during an upgrade.
    Ping(Text),
    /// `3`, the answer to a ping.
    Pong(Text),
    Message(Data),
    /// `5`: the WebSocket takes over.
    Upgrade,
    /// `6`: nothing.
    Noop,
}

/// Bytes that are no packet, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid(pub &'static str);

/// Reads the packet of a WebSocket text frame. (A binary frame is the message itself.) Base64 is taken here as
/// well, although the text has it in payloads only: the official client with `forceBase64` sends it so.
pub fn decode(text: Text) -> Result<Packet, Invalid> {
    decode_bytes(text.into())
}

/// Reads a polling payload: all of it or nothing, in one pass. If it has more than `most` packets, one more is enough to show it.
pub fn decode_payload(body: Bytes, most: usize) -> Result<Vec<Packet>, Invalid> {
    let packets = body.split(|byte| *byte == SEPARATOR).take(most.saturating_add(1));
    packets.map(|packet| decode_bytes(body.slice_ref(packet))).collect()
}

fn decode_bytes(mut packet: Bytes) -> Result<Packet, Invalid> {
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

/// Reads a binary message as payloads carry it, without what marks it there.
pub(super) fn decode_base64(base64: &[u8]) -> Result<Packet, Invalid> {
    let bytes = STANDARD.decode(base64).map_err(|_| Invalid("a binary packet is not base64"))?;
    Ok(Packet::Message(Data::Binary(bytes.into())))
}

/// Joins packets to a payload.
pub fn payload(packets: &[Bytes]) -> Vec<u8> {
    packets.join(&SEPARATOR)
}

/// A pong, as a polling packet.
pub fn pong(text: &str) -> Bytes {
    ["3", text].concat().into()
}

/// The frame of a packet that was meant for polling, when an upgrade has come before the next GET.
pub fn packet_to_frame(packet: &Bytes) -> Bytes {
    match packet.strip_prefix(b"b").map(|base64| STANDARD.decode(base64)) {
        Some(Ok(bytes)) => ws::frame(Opcode::Binary, &bytes),
        _ => ws::frame(Opcode::Text, packet),
    }
}

/// A message for any number of sessions: a WebSocket frame of protocol 4, whose end is the polling packet.
#[derive(Clone, Debug)]
pub struct Encoded {
    frame: Bytes,
    head: usize,
    pub text: bool,
    /// Binary as a polling packet; made when the first polling session gets it.
    base64: OnceCell<Bytes>,
    /// What sessions of older protocols get; made by `v3` when the first of them gets the message.
    pub(super) old: OnceCell<Box<Encoded>>,
}

impl Encoded {
    /// A text message; `write` appends its UTF-8, without the packet type, to a vector that has room in front.
    pub fn text(write: impl FnOnce(&mut Vec<u8>)) -> Encoded {
        Encoded::new(Opcode::Text, ORDINARY, |out| {
            out.push(b'4');
            write(out);
        })
    }

    /// A binary message, copied once to stand behind the head of its frame.
    pub fn binary(data: Bytes) -> Encoded {
        Encoded::new(Opcode::Binary, data.len(), |out| out.extend_from_slice(&data))
    }

    /// `write` appends the payload of the frame, of about `length` bytes.
    pub(super) fn new(opcode: Opcode, length: usize, write: impl FnOnce(&mut Vec<u8>)) -> Encoded {
        let mut buffer = Vec::with_capacity(ws::MAX_HEAD + length);
        buffer.extend_from_slice(&[0; ws::MAX_HEAD]);
        write(&mut buffer);
        let length = buffer.len() - ws::MAX_HEAD;
        let room = buffer.first_chunk_mut().expect("the buffer begins with room for the head");
        let start = ws::frame_head(opcode, length, room);
        let (frame, head) = (Bytes::from(buffer).slice(start..), ws::MAX_HEAD - start);
        Encoded { frame, head, text: opcode == Opcode::Text, base64: OnceCell::new(), old: OnceCell::new() }
    }

    /// The message itself: without frame head and packet type.
    pub fn data(&self) -> &[u8] {
        &self.frame[self.head + usize::from(self.text)..]
    }

    /// The same, kept by who has it.
    pub fn bytes(&self) -> Bytes {
        self.frame.slice_ref(self.data())
    }

    /// As a WebSocket frame.
    pub fn frame(&self) -> Bytes {
        self.frame.clone()
    }

    /// What follows the head of the frame.
    pub(super) fn payload(&self) -> Bytes {
        self.frame.slice(self.head..)
    }

    /// As a polling packet.
    pub fn packet(&self) -> Bytes {
        if self.text {
            return self.payload();
        }
        self.base64.get_or_init(|| format!("b{}", STANDARD.encode(self.data())).into()).clone()
    }
}
