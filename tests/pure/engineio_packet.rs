//! Engine.IO protocol 4, with the examples of the protocol text.

use crate::watch::Watch;
use bytes::Bytes;
use salon::{
    engineio::packet::{self, Data, Encoded, Invalid, Packet},
    ws::Text,
};
use std::time::Duration;

fn text(text: &'static str) -> Packet {
    Packet::Message(Data::Text(Text::from_static(text)))
}

fn binary(bytes: &'static [u8]) -> Packet {
    Packet::Message(Data::Binary(Bytes::from_static(bytes)))
}

fn decode(text: &str) -> Result<Packet, Invalid> {
    packet::decode(Text::from(text))
}

fn decode_payload(body: impl AsRef<[u8]>) -> Result<Vec<Packet>, Invalid> {
    packet::decode_payload(Bytes::copy_from_slice(body.as_ref()), usize::MAX)
}

#[test]
fn all_types() {
    assert_eq!(decode("0{}"), Ok(Packet::Open));
    assert_eq!(decode("1"), Ok(Packet::Close));
    assert_eq!(decode("2"), Ok(Packet::Ping("".into())));
    assert_eq!(decode("2probe"), Ok(Packet::Ping("probe".into())));
    assert_eq!(decode("3probe"), Ok(Packet::Pong("probe".into())));
    assert_eq!(decode("4hello"), Ok(text("hello")));
    assert_eq!(decode("4"), Ok(text("")));
    assert_eq!(decode("4€😀\u{0}"), Ok(text("€😀\u{0}")));
    assert_eq!(decode("5"), Ok(Packet::Upgrade));
    assert_eq!(decode("6"), Ok(Packet::Noop));
    // The official client with `forceBase64` sends this over WebSocket.
    assert_eq!(decode("bAQIDBA=="), Ok(binary(&[1, 2, 3, 4])));
    for bad in ["", "7", "9x", "abc", "€", "\u{4}a", " 4", "b&", "bAQIDBA"] {
        assert!(decode(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn payloads() {
    assert_eq!(
        decode_payload("4hello\x1e2\x1e4world"),
        Ok(vec![text("hello"), Packet::Ping("".into()), text("world")])
    );
    assert_eq!(decode_payload("4hello\x1ebAQIDBA=="), Ok(vec![text("hello"), binary(&[1, 2, 3, 4])]));
    assert_eq!(decode_payload("b"), Ok(vec![binary(b"")]));
    assert_eq!(decode_payload("4€\x1e4😀"), Ok(vec![text("€"), text("😀")]));
    // One invalid packet makes the payload invalid, with the packets before it.
    for bad in ["", "\x1e", "4a\x1e", "\x1e4a", "4a\x1e\x1e4b", "4a\x1eabc", "4a\x1eb=", "4a\x1ebAQ", "4a\x1ebAQI$"] {
        assert!(decode_payload(bad).is_err(), "{bad:?}");
    }
    for bad in [&b"4\xff"[..], b"2\x80", b"3\xed\xa0\xbd", b"\xff", b"b\xff", b"4a\x1e4\xe2\x82"] {
        assert!(decode_payload(bad).is_err(), "{bad:x?}");
    }
}

#[test]
fn every_prefix_of_a_payload() {
    let whole = "4h€llo\x1e2\x1ebAQIDBA==\x1e5\x1e4😀".as_bytes();
    let complete = ["4", "4h", "4h€", "4h€l", "4h€ll", "4h€llo"].map(str::len);
    for end in 0..whole.len() {
        let result = decode_payload(&whole[..end]);
        if end <= "4h€llo".len() {
            assert_eq!(result.is_ok(), complete.contains(&end), "{end}");
        }
    }
    assert_eq!(decode_payload(whole).map(|packets| packets.len()), Ok(5));
}

#[test]
fn a_payload_of_tiny_packets_is_read_in_linear_time() {
    for (part, count) in [("4\x1e", 500_000), ("6\x1e", 500_000), ("b\x1e", 500_000), ("4a\x1e", 100_000)] {
        let mut body = part.repeat(count);
        body.pop();
        let start = Watch::start();
        assert_eq!(decode_payload(body).unwrap().len(), count);
        // About 100 ms without optimization; a quadratic parser takes minutes.
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    }
}

#[test]
fn joined() {
    let packets = [Bytes::from_static(b"4hello"), packet::PING, Bytes::from_static(b"bAQIDBA==")];
    assert_eq!(packet::payload(&packets), b"4hello\x1e2\x1ebAQIDBA==");
    assert_eq!(packet::payload(&[packet::NOOP]), b"6");
    assert_eq!(packet::payload(&[packet::CLOSE]), b"1");
    assert_eq!(packet::pong("probe"), "3probe");
    assert_eq!(packet::packet_to_frame(&packet::PING), &b"\x81\x012"[..]);
    assert_eq!(packet::PONG_PROBE_FRAME, packet::packet_to_frame(&packet::pong("probe")));
}

#[test]
fn text_is_encoded_once() {
    let message = Encoded::text(|out| out.extend_from_slice(b"2[\"foo\"]"));
    assert!(message.text);
    assert_eq!(message.data(), b"2[\"foo\"]");
    assert_eq!(message.frame(), &b"\x81\x0942[\"foo\"]"[..]);
    assert_eq!(message.packet(), &b"42[\"foo\"]"[..]);
    // The packet is a part of the frame, and each call returns the same memory.
    assert_eq!(message.packet().as_ptr(), message.frame()[2..].as_ptr());
    assert_eq!(message.frame().as_ptr(), message.frame().as_ptr());
}

#[test]
fn binary_is_encoded_once() {
    let message = Encoded::binary(Bytes::from_static(&[1, 2, 3, 4]));
    assert!(!message.text);
    assert_eq!(message.data(), [1, 2, 3, 4]);
    assert_eq!(message.frame(), &b"\x82\x04\x01\x02\x03\x04"[..]);
    assert_eq!(message.packet(), "bAQIDBA==");
    assert_eq!(message.packet().as_ptr(), message.packet().as_ptr());
    assert_eq!(packet::packet_to_frame(&message.packet()), message.frame());
    assert_eq!(Encoded::binary(Bytes::new()).frame(), &b"\x82\x00"[..]);
    assert_eq!(Encoded::binary(Bytes::new()).packet(), "b");
}

#[test]
fn heads_of_all_lengths() {
    // The length of a text frame counts the packet type.
    for (length, head) in [
        (0, &b"\x81\x01"[..]),
        (124, b"\x81\x7d"),
        (125, b"\x81\x7e\x00\x7e"),
        (300, b"\x81\x7e\x01\x2d"),
        (65534, b"\x81\x7e\xff\xff"),
        (65535, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ] {
        let message = Encoded::text(|out| out.resize(out.len() + length, b'x'));
        assert_eq!(message.frame()[..head.len()], *head, "{length}");
        assert_eq!(message.packet(), format!("4{}", "x".repeat(length)));
        assert_eq!(message.packet().as_ptr(), message.frame()[head.len()..].as_ptr());
        assert_eq!(packet::packet_to_frame(&message.packet()), message.frame());
    }
}
