//! Engine.IO packets of protocol 4: a type, then data. A WebSocket frame carries one packet; a polling payload carries
//! several packets with 0x1e between them, binary packets in base64.
//! Source: docs/engine.io-protocol/v4-current.md, "Packet encoding".
//!
//! [`Encoded`] is a message for clients that is encoded once per wire format, however many recipients a broadcast has.

use crate::ws::{self, OpCode, Text};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Buf, Bytes};
use std::cell::OnceCell;

/// Stands between two packets of a payload. JSON does not contain this byte: a JSON string writes it as `\u001e`.
const SEPARATOR: u8 = 0x1e;
/// Initial capacity for a text message, in bytes: most messages fit, so that the vector does not grow.
const ORDINARY: usize = 256;

/// A ping, as a polling packet.
pub const PING: Bytes = Bytes::from_static(b"2");
/// A ping, as a whole WebSocket frame.
pub const PING_FRAME: Bytes = Bytes::from_static(b"\x81\x012");
/// The answer to a probe, as a whole WebSocket frame.
pub const PONG_PROBE_FRAME: Bytes = Bytes::from_static(b"\x81\x063probe");
/// A packet without effect, to answer a GET that must not wait any longer; as a polling packet.
pub const NOOP: Bytes = Bytes::from_static(b"6");
/// Tells the client that the session is closed, as a polling packet.
pub const CLOSE: Bytes = Bytes::from_static(b"1");

/// Protocol version that the client asked for with `EIO=2`, `EIO=3` or `EIO=4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V2,
    V3,
    V4,
}

/// The data of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    Text(Text),
    Binary(Bytes),
}

/// A packet from a client. Data to which the protocol gives no meaning are dropped.
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

/// Decodes a polling payload in one pass; one invalid packet makes the whole payload invalid. If it has more than `most`
/// packets, `most + 1` packets are returned, which shows the caller that there are too many.
pub fn decode_payload(body: Bytes, most: usize) -> Result<Vec<Packet>, Invalid> {
    let packets = body.split(|byte| *byte == SEPARATOR).take(most.saturating_add(1));
    packets.map(|packet| decode(body.slice_ref(packet))).collect()
}

/// Decodes a packet of a payload or of a WebSocket text frame. (A binary frame is the message itself.) Base64 is accepted
/// in frames too: the protocol text has it in payloads only, but the official client with `forceBase64` uses it in frames.
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

/// Decodes a binary message from its base64. The caller has removed the packet type in front.
pub(super) fn decode_base64(base64: &[u8]) -> Result<Packet, Invalid> {
    let bytes = STANDARD.decode(base64).map_err(|_| Invalid("a binary packet is not base64"))?;
    Ok(Packet::Message(Data::Binary(bytes.into())))
}

/// Joins packets into a payload.
pub fn payload(packets: &[Bytes]) -> Vec<u8> {
    packets.join(&SEPARATOR)
}

/// Returns the pong to a ping with this text, as a polling packet.
pub fn pong(text: &str) -> Bytes {
    ["3", text].concat().into()
}

/// Turns a polling packet that was queued before an upgrade into a WebSocket frame.
pub fn packet_to_frame(packet: &Bytes) -> Bytes {
    match packet.strip_prefix(b"b").map(|base64| STANDARD.decode(base64)) {
        Some(Ok(bytes)) => ws::frame(ws::BINARY, &bytes),
        _ => ws::frame(ws::TEXT, packet),
    }
}

/// A message for any number of sessions. One allocation holds the WebSocket frame of protocol 4. The payload of a text
/// frame is also the polling packet.
#[derive(Clone, Debug)]
pub struct Encoded {
    frame: Bytes,
    /// Length of the head of the frame, in bytes.
    head: usize,
    pub text: bool,
    /// The polling packet of a binary message, encoded for the first session that polls.
    base64: OnceCell<Bytes>,
    /// The message for older protocols, encoded by `v3` for the first session that needs it.
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

    /// Encodes a frame. `write` appends the payload; `length` is the initial capacity for the payload, in bytes.
    pub(super) fn new(opcode: OpCode, length: usize, write: impl FnOnce(&mut Vec<u8>)) -> Encoded {
        let mut buffer = Vec::with_capacity(ws::MAX_HEAD + length);
        buffer.extend_from_slice(&[0; ws::MAX_HEAD]);
        write(&mut buffer);
        let length = buffer.len() - ws::MAX_HEAD;
        let room = buffer.first_chunk_mut().expect("the buffer begins with room for the head");
        let start = ws::frame_head(opcode, length, room);
        let (frame, head) = (Bytes::from(buffer).slice(start..), ws::MAX_HEAD - start);
        Encoded { frame, head, text: opcode == ws::TEXT, base64: OnceCell::new(), old: OnceCell::new() }
    }

    /// Returns the message without frame head and packet type.
    pub fn data(&self) -> &[u8] {
        &self.frame[self.head + usize::from(self.text)..]
    }

    /// Returns the same bytes as [`Encoded::data`], sharing the allocation.
    pub fn bytes(&self) -> Bytes {
        self.frame.slice_ref(self.data())
    }

    /// Returns the WebSocket frame of protocol 4.
    pub fn frame(&self) -> Bytes {
        self.frame.clone()
    }

    /// Returns the frame without its head.
    pub(super) fn payload(&self) -> Bytes {
        self.frame.slice(self.head..)
    }

    /// Returns the polling packet of protocol 4.
    pub fn packet(&self) -> Bytes {
        if self.text {
            return self.payload();
        }
        self.base64.get_or_init(|| format!("b{}", STANDARD.encode(self.data())).into()).clone()
    }
}
