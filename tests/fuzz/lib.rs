//! What is fuzzed: every parser that meets bytes of strangers, and the whole server in the scripted world of tests/world.
//!
//! `make fuzz` gives these functions to libFuzzer. `cargo test` gives them what that has found so far: the files under
//! tests/fuzz/corpus, a folder for each. None of them may panic, and overflow checks are on; what else must hold is
//! asserted here.

#![cfg(debug_assertions)]

#[path = "../world/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "../world/play.rs"]
#[allow(dead_code)]
mod play;
#[path = "../world/stage.rs"]
#[allow(dead_code)]
mod stage;
#[path = "../bench/wire.rs"]
#[allow(dead_code)]
mod wire;

use bytes::Bytes;
use salon::config::{Config, TrustProxy};
use salon::engineio::jsonp;
use salon::engineio::packet::{self, Data};
use salon::engineio::v3::{self, Framing, Version};
use salon::http::origin;
use salon::server::access;
use salon::{http, socketio, ws};

/// Limits that small inputs reach.
fn small() -> Config {
    Config { max_head: 256, max_headers: 8, max_payload: 100, max_fragments: 4, max_depth: 8, ..Config::default() }
}

/// The packets that a payload may have.
const MOST: usize = 50;

/// The first byte says where the rest is cut in two.
fn cut(data: &[u8]) -> Option<(&[u8], usize)> {
    let (at, data) = data.split_first()?;
    Some((data, usize::from(*at).min(data.len())))
}

/// Requests: the same are read however the bytes are cut, and no more is taken than was given.
pub fn http(data: &[u8]) {
    let Some((input, at)) = cut(data) else { return };
    assert_eq!(requests([input, b""]), requests([&input[..at], &input[at..]]));
}

fn requests(pieces: [&[u8]; 2]) -> Vec<String> {
    let (mut parser, config) = (http::Parser::default(), small());
    let (mut left, mut seen, mut body) = (Vec::new(), Vec::new(), Vec::new());
    for piece in pieces {
        left.extend_from_slice(piece);
        loop {
            let mut buffer = http::FIELD_BUFFER;
            let (count, event) = match parser.next(&left, &mut buffer, &config) {
                Ok(None) => break,
                Ok(Some(found)) => found,
                Err(error) => {
                    seen.push(error.status.to_string());
                    return seen;
                }
            };
            match event {
                http::Part::Head(head) => {
                    let [value] = http::parameters(head.query, ["sid"]);
                    let origin = head.header("Origin").unwrap_or_default();
                    let page = String::from_utf8_lossy(origin);
                    let same = origin::is_same_origin(&origin::origin_of(&page), head.host, None);
                    let trusting = Config { trust_proxy: TrustProxy::Hops(2), ..small() };
                    let address = access::client_address(&trusting, &head, [192, 0, 2, 1].into());
                    let allowed = access::check_origin(&trusting, &head, [192, 0, 2, 1].into(), true);
                    let flags =
                        (head.keep_alive, head.accepts_gzip(), ws::is_upgrade(&head), ws::accept(&head).is_ok());
                    seen.push(format!(
                        "{:?} {} {value:?} {same} {address} {allowed:?} {flags:?}",
                        head.method, head.path
                    ));
                }
                http::Part::Data(data) => {
                    assert!(count > 0, "would be called for ever");
                    body.extend_from_slice(data);
                }
                http::Part::End => seen.push(format!("{:?}", std::mem::take(&mut body))),
            }
            left.drain(..count);
        }
    }
    seen
}

/// Payloads of protocol 4: what is read has as many packets as separators allow, and binary comes back as it was.
pub fn payload_v4(data: &[u8]) {
    if let Ok(text) = ws::Text::try_from(Bytes::copy_from_slice(data)) {
        let _ = packet::decode(text);
    }
    let Ok(packets) = packet::decode_payload(Bytes::copy_from_slice(data), MOST) else { return };
    let sent = 1 + data.iter().filter(|byte| **byte == 0x1e).count();
    assert_eq!(packets.len(), sent.min(MOST + 1), "one more shows that there are too many");
    let encoded: Vec<Bytes> = packets.iter().filter_map(message).map(|message| message.packet()).collect();
    let messages: Vec<_> = packets.into_iter().filter(|packet| matches!(packet, packet::Packet::Message(_))).collect();
    if !messages.is_empty() {
        assert_eq!(packet::decode_payload(packet::payload(&encoded).into(), usize::MAX), Ok(messages));
    }
}

fn message(packet: &packet::Packet) -> Option<packet::Encoded> {
    match packet {
        packet::Packet::Message(Data::Text(text)) => {
            Some(packet::Encoded::text(|out| out.extend_from_slice(text.as_bytes())))
        }
        packet::Packet::Message(Data::Binary(bytes)) => Some(packet::Encoded::binary(bytes.clone())),
        _ => None,
    }
}

/// Payloads and frames of older clients, as text, binary and forms; what is read can be sent to all of them.
pub fn payload_v3(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let mut packets = Vec::new();
    for result in [v3::decode_payload(bytes.clone(), false, MOST), v3::decode_payload(bytes.clone(), true, MOST)] {
        packets.extend(result.unwrap_or_default());
    }
    for version in [Version::V2, Version::V3] {
        packets.extend(v3::decode_frame(Data::Binary(bytes.clone()), version));
        if let Ok(text) = ws::Text::try_from(bytes.clone()) {
            packets.extend(v3::decode_frame(Data::Text(text), version));
        }
    }
    if let Ok(body) = jsonp::decode(data) {
        assert!(body.len() <= 3 * data.len());
    }
    let encoded: Vec<Bytes> = packets.iter().filter_map(message).map(|message| v3::packet(&message)).collect();
    for framing in [Framing::Binary, Framing::ByContent, Framing::Text] {
        let (body, content_type) = v3::payload(&encoded, framing);
        assert!(body.len() <= encoded.iter().map(|packet| v3::framed_length(packet)).sum());
        assert!(jsonp::encode(7, &body).is_ascii());
        let again = v3::decode_payload(body.into(), content_type.starts_with("application/"), usize::MAX);
        assert_eq!(again.map_or(0, |packets| packets.len()), encoded.len(), "{encoded:?}");
    }
}

/// Packets of Socket.IO: what is read has JSON that can be taken apart.
pub fn socketio(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(packet) = socketio::packet::decode(text, &small()) else { return };
    let _ = socketio::packet::placeholders(packet.data, packet.attachments);
    let Ok(elements) = socketio::packet::elements(packet.data) else { return };
    for element in elements {
        let _ = socketio::packet::event_name(element);
        assert_eq!(socketio::packet::string(element).is_some(), element.get().starts_with('"'));
    }
}

/// Frames of clients: the same is read however they are cut.
pub fn websocket(data: &[u8]) {
    let Some((input, at)) = cut(data) else { return };
    assert_eq!(frames([input, b""]), frames([&input[..at], &input[at..]]));
}

fn frames(pieces: [&[u8]; 2]) -> Vec<String> {
    let (mut incoming, config) = (ws::Incoming::default(), small());
    let (mut left, mut seen) = (Vec::new(), Vec::new());
    for piece in pieces {
        left.extend_from_slice(piece);
        loop {
            match incoming.next(&left, &config) {
                Ok(None) => break,
                Ok(Some((count, event))) => {
                    left.drain(..count);
                    let ends = matches!(event, ws::Received::Close(_));
                    match &event {
                        ws::Received::Text(text) => assert!(text.len() <= config.max_payload),
                        ws::Received::Binary(bytes) => assert!(bytes.len() <= config.max_payload),
                        _ => {}
                    }
                    seen.push(format!("{event:?}"));
                    if ends {
                        return seen;
                    }
                }
                Err(failure) => {
                    seen.push(failure.code.to_string());
                    return seen;
                }
            }
        }
    }
    seen
}

/// Replies of Redis, one after the other; part of one is never an error, and never another reply.
#[cfg(feature = "redis")]
pub fn resp(mut data: &[u8]) {
    while let Ok(Some((_, length))) = salon::cluster::resp::reply(data) {
        assert!((1..=data.len()).contains(&length));
        for part in 0..length {
            assert_eq!(salon::cluster::resp::reply(&data[..part]), Ok(None));
        }
        data = &data[length..];
    }
}

/// Publications of other servers.
#[cfg(feature = "redis")]
pub fn messagepack(data: &[u8]) {
    let _ = salon::cluster::wire::decode(data, &small());
}

/// A script of tests/world; the first byte may ask for a hostile kernel.
pub fn world(data: &[u8]) {
    let Some((kernel, script)) = data.split_first() else { return };
    play::play(&play::script(script), (*kernel >= 240).then_some(u64::from(*kernel)));
}

#[cfg(test)]
mod corpus {
    use std::{fs, path::Path};

    type Target = fn(&[u8]);
    const TARGETS: &[(&str, Target)] = &[
        ("http", super::http),
        ("payload_v4", super::payload_v4),
        ("payload_v3", super::payload_v3),
        ("socketio", super::socketio),
        ("websocket", super::websocket),
        #[cfg(feature = "redis")]
        ("resp", super::resp),
        #[cfg(feature = "redis")]
        ("messagepack", super::messagepack),
        ("world", super::world),
    ];

    /// What the fuzzer has found before stays found.
    #[test]
    fn replay() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
        for (name, target) in TARGETS {
            let files: Vec<_> = fs::read_dir(corpus.join(name)).expect(name).collect();
            assert!(files.len() >= 5, "{name} has a corpus");
            for file in files {
                let path = file.expect(name).path();
                println!("{}", path.display());
                target(&fs::read(&path).expect("a file"));
            }
        }
    }
}
