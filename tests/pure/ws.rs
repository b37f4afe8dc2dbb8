//! WebSocket: upgrades, client frames as literal bytes (whole, byte by byte, split in two), and server frames.

use crate::{
    http::with_head,
    random::{Random, splits},
};
use salon::{
    config::Config,
    ws::{BINARY, CLOSE, Incoming, MAX_HEAD, Received, TEXT, accept, close_frame, frame, frame_head, is_upgrade},
};

/// Small limits, so that tests reach them quickly.
fn config() -> Config {
    Config { max_payload: 300, max_fragments: 4, ..Config::default() }
}

/// The mask of the examples in RFC 6455.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn mask(payload: &[u8]) -> Vec<u8> {
    payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
}

/// A masked client frame; the first byte has FIN and opcode.
fn client(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    [&head(first, payload.len() as u64)[..], &mask(payload)].concat()
}

/// The head of a client frame.
fn head(first: u8, length: u64) -> Vec<u8> {
    let length = match length {
        0..=125 => vec![0x80 | length as u8],
        126..=0xffff => [&[0xfe][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[0xff][..], &length.to_be_bytes()].concat(),
    };
    [&[first][..], &length, &MASK].concat()
}

/// A connection, and what was received on it.
#[derive(Default)]
struct Connection {
    incoming: Incoming,
    input: Vec<u8>,
    events: Vec<String>,
    over: bool,
}

impl Connection {
    fn feed(&mut self, config: &Config, piece: &[u8]) {
        self.input.extend_from_slice(piece);
        while !self.over {
            let event = match self.incoming.next(&self.input, config) {
                Ok(None) => break,
                Ok(Some((count, event))) => {
                    assert!((1..=self.input.len()).contains(&count));
                    self.input.drain(..count);
                    event
                }
                Err(failure) => {
                    self.events.push(failure.code.to_string());
                    self.over = true;
                    break;
                }
            };
            self.events.extend(match event {
                Received::Text(text) => Some(format!("text {}", text.as_str())),
                Received::Binary(bytes) => Some(format!("binary {bytes:?}")),
                Received::Ping(frame) => Some(format!("reply {frame:?}")),
                Received::Close(frame) => {
                    self.over = true;
                    Some(format!("close {frame:?}"))
                }
                Received::Nothing => None,
            });
        }
    }
}

/// A connection that receives these pieces.
fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Connection {
    let mut connection = Connection::default();
    for piece in pieces {
        connection.feed(&config(), piece);
    }
    connection
}

/// What is received from an input. Fails unless it is the same however the input is split.
fn events(input: impl AsRef<[u8]>) -> String {
    let mut results = splits(input.as_ref()).map(|pieces| feed(pieces).events.join(" | "));
    let whole = results.next().expect("the whole");
    for cut in results {
        assert_eq!(cut, whole, "{:x?}", input.as_ref());
    }
    whole
}

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";

#[test]
fn which_requests_are_upgrades() {
    for (start, lines, expected) in [
        ("GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n", true),
        ("GET / HTTP/1.1", "connection: keep-alive, upgrade\r\nUPGRADE: WebSocket\r\n", true),
        ("GET / HTTP/1.1", "Connection: x\r\nConnection: Upgrade\r\nUpgrade: h2c, websocket\r\n", true),
        ("GET / HTTP/1.1", "Upgrade: websocket\r\n", false),
        ("GET / HTTP/1.1", "Connection: close\r\nUpgrade: websocket\r\n", false),
        ("GET / HTTP/1.1", "Connection: Upgrade\r\n", false),
        ("GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade:\r\n", false),
        ("GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: h2c\r\n", false),
        ("GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websockets\r\n", false),
        ("GET / HTTP/1.0", "Connection: Upgrade\r\nUpgrade: websocket\r\n", false),
        ("HEAD / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n", false),
        ("POST / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n", false),
    ] {
        let request = format!("{start}\r\nHost: h\r\n{lines}{KEY}{VERSION}\r\n");
        assert_eq!(with_head(&request, is_upgrade), expected, "{request:?}");
    }
}

/// The response to an upgrade with these header lines.
fn upgrade(lines: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{lines}\r\n");
    let bytes = with_head(&request, |head| match accept(head) {
        Ok(answer) => answer.to_vec(),
        Err(refusal) => {
            assert!(refusal.close);
            let (head, body) = refusal.encode("", false, false, false);
            [head, body].concat()
        }
    });
    bytes.try_into().expect("ASCII")
}

#[test]
fn upgrades() {
    // Key and response of RFC 6455 section 1.3.
    let accepted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    assert_eq!(upgrade(&format!("{KEY}{VERSION}")), accepted);
    assert_eq!(upgrade(&format!("{VERSION}{}", KEY.replace(": ", ":"))), accepted);
    // Extensions that the client offers are declined, and so is what is no token: the response does not name them.
    for offer in [
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
        "Sec-WebSocket-Protocol: a b, \"c\"\r\n",
        "Sec-WebSocket-Protocol: ,\r\n",
        "Cookie: a=b\r\n",
    ] {
        assert_eq!(upgrade(&format!("{offer}{KEY}{VERSION}")), accepted, "{offer}");
    }
    // The first subprotocol is chosen: without one, browsers fail the connection.
    let with_protocol =
        |name: &str| accepted.replacen("\r\n\r\n", &format!("\r\nSec-WebSocket-Protocol: {name}\r\n\r\n"), 1);
    for (offer, chosen) in [
        ("Sec-WebSocket-Protocol: chat, superchat\r\n", "chat"),
        ("Sec-WebSocket-Protocol: token-1\r\nSec-WebSocket-Protocol: b\r\n", "token-1"),
    ] {
        assert_eq!(upgrade(&format!("{offer}{KEY}{VERSION}")), with_protocol(chosen), "{offer}");
    }
    // The last character of the example in RFC 6455 section 4.1 has bits that are left over.
    let example = upgrade(&format!("Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC==\r\n{VERSION}"));
    assert!(example.starts_with("HTTP/1.1 101 "), "{example}");
}

#[test]
fn refused_upgrades() {
    for version in ["", "8", "12", "14", "013", "13, 8", "x"] {
        let answer = upgrade(&format!("{KEY}Sec-WebSocket-Version: {version}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{version}: {answer}");
        assert!(answer.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{answer}");
        assert!(answer.contains("\r\nUpgrade: websocket\r\n"), "RFC 9110 section 15.5.22: {answer}");
    }
    assert!(upgrade(KEY).starts_with("HTTP/1.1 426 "));
    for key in [
        "",
        "x",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ===",
        "dGhlIHNhbXBsZSBub25j",
        "dGhlIHNhbXBsZSBub25jZTEy",
        "dGhlIHNhbXBsZSBub25jZTEyMzQ1Njc4",
        "dGhlIHNhbXBsZSBub25j!Q==",
        "dGhlIHNhbXBs ZSBub25jZQ==",
        "____________________ZQ==",
    ] {
        let answer = upgrade(&format!("{VERSION}Sec-WebSocket-Key: {key}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{key}: {answer}");
        assert!(answer.contains("\r\nContent-Length: ") && answer.contains("\r\nConnection: close\r\n"), "{answer}");
    }
    assert!(upgrade(VERSION).starts_with("HTTP/1.1 400 "));
    // What follows the head is frames.
    for lines in [
        "Content-Length: 1\r\n",
        "Content-Length: 18446744073709551615\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Expect: 100-continue\r\n",
        "Expect: 100-Continue\r\nContent-Length: 0\r\n",
        "Expect: x\r\n",
    ] {
        let answer = upgrade(&format!("{VERSION}{KEY}{lines}"));
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("\r\nConnection: close\r\n"),
            "{lines}: {answer}"
        );
    }
    assert!(upgrade(&format!("{VERSION}{KEY}Content-Length: 0\r\n")).starts_with("HTTP/1.1 101 "));
    assert!(upgrade(&format!("{VERSION}{KEY}{KEY}")).starts_with("HTTP/1.1 400 "), "two keys");
}

/// RFC 9110 section 7.8: an Upgrade field counts only if Connection lists it.
#[test]
fn upgrade_goes_with_connection() {
    let answer = upgrade(&format!("{KEY}Sec-WebSocket-Version: 8\r\n"));
    let mut members =
        answer.lines().filter_map(|line| line.strip_prefix("Connection: ")).flat_map(|line| line.split(", "));
    assert!(members.any(|member| member.eq_ignore_ascii_case("upgrade")), "{answer}");
}

#[test]
fn examples_of_the_rfc() {
    assert_eq!(events(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), "text Hello");
    assert_eq!(events(b"\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), r#"reply b"\x8a\x05Hello""#);
    assert_eq!(
        events(b"\x01\x83\x37\xfa\x21\x3d\x7f\x9f\x4d\x80\x82\x37\xfa\x21\x3d\x5b\x95"),
        "text Hello",
        "in two fragments"
    );
    assert_eq!(events(b"\x82\x83\0\0\0\0\x01\x02\xff"), r#"binary b"\x01\x02\xff""#, "a mask of zeros");
    assert_eq!(events(b"\x81\x80abcd\x82\x80abcd"), "text  | binary b\"\"");
    assert_eq!(events(b"\x8a\x80abcd"), "", "an unsolicited pong");
    assert_eq!(events(b""), "");
}

/// These are refused as soon as their head has arrived.
#[test]
fn heads_that_break_the_protocol() {
    let short = |first| head(first, 5);
    let long = |byte, length: &[u8]| [&[0x82, byte][..], length, &MASK].concat();
    for (input, code) in [
        // Unmasked (RFC 6455 section 5.1).
        (b"\x81\x05".to_vec(), 1002),
        (b"\x89\x00".to_vec(), 1002),
        (b"\x82\x7e\x01\x00".to_vec(), 1002),
        // Reserved bits, on data and control frames.
        (short(0xc1), 1002),
        (short(0xa1), 1002),
        (short(0x91), 1002),
        (short(0xf2), 1002),
        (short(0xc9), 1002),
        (short(0xd8), 1002),
        // A fragmented control frame, and one that is too long.
        (short(0x08), 1002),
        (short(0x09), 1002),
        (short(0x0a), 1002),
        (head(0x88, 126), 1002),
        (head(0x89, 126), 1002),
        (head(0x8a, 65536), 1002),
        // A truncated close code.
        (head(0x88, 1), 1002),
        // A continuation without a message.
        (short(0x80), 1002),
        (short(0x00), 1002),
        // Lengths not in their shortest form.
        (long(0xfe, &[0, 0]), 1002),
        (long(0xfe, &[0, 125]), 1002),
        (long(0xff, &[0, 0, 0, 0, 0, 0, 0, 0]), 1002),
        (long(0xff, &[0, 0, 0, 0, 0, 0, 0, 125]), 1002),
        (long(0xff, &[0, 0, 0, 0, 0, 0, 0xff, 0xff]), 1002),
        // The highest bit of a 64-bit length must be 0.
        (head(0x82, 1 << 63), 1002),
        (head(0x82, u64::MAX), 1002),
        // A length above `max_payload`, before any of the payload has arrived.
        (head(0x81, 301), 1009),
        (head(0x82, 301), 1009),
        (head(0x01, 301), 1009),
        (head(0x82, 65536), 1009),
        (head(0x82, u64::MAX >> 1), 1009),
    ] {
        assert_eq!(events(&input), code.to_string(), "{input:x?}");
        let before = feed([&input[..input.len() - 1]]);
        assert!(before.events.is_empty() && !before.incoming.in_message(), "{input:x?}");
    }
    let unmasked = Incoming::default().next(b"\x81\x05Hello", &config()).expect_err("refused");
    assert_eq!(unmasked.reason, "unmasked frame", "the reason names the mistake");
    for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        assert_eq!(events(short(0x80 | opcode)), "1002", "{opcode}");
        assert_eq!(events(short(opcode)), "1002", "{opcode}");
    }
}

/// A head may claim any length. If memory were reserved for the claim, this test would exhaust it.
#[cfg(target_pointer_width = "64")]
#[test]
fn nothing_is_reserved_for_a_claim() {
    let config = Config { max_payload: usize::MAX, ..config() };
    let claim = 1 << 62;
    for start in [head(0x82, claim), head(0x01, claim), [client(0x01, "a"), head(0x80, claim)].concat()] {
        let mut connection = Connection::default();
        connection.feed(&config, &start);
        connection.feed(&config, b"some of it");
        assert!(connection.events.is_empty() && !connection.over, "it waits");
        assert!(connection.input.ends_with(b"some of it"));
    }
}

#[test]
fn messages_of_all_lengths() {
    let config = Config { max_payload: 65536, ..Config::default() };
    for length in [0, 1, 124, 125, 126, 127, 4082, 4096, 4097, 65535, 65536] {
        for first in [0x81, 0x82] {
            let input = client(first, vec![b'x'; length]);
            let expected = match first {
                0x81 => format!("text {}", "x".repeat(length)),
                _ => format!("binary b\"{}\"", "x".repeat(length)),
            };
            let cuts = [1, 2, 3, 4, 6, 7, 8, 10, 13, 14, 15, input.len() / 2, input.len() - 1];
            let in_two = cuts.into_iter().filter(|at| *at < input.len()).map(|at| vec![&input[..at], &input[at..]]);
            for pieces in [vec![&input[..]], input.chunks(1).collect()].into_iter().chain(in_two) {
                let mut connection = Connection::default();
                for piece in pieces {
                    connection.feed(&config, piece);
                }
                assert_eq!(connection.events, [&expected[..]], "{length}");
                assert!(connection.input.is_empty());
            }
        }
    }
    // One byte above the limit.
    let mut connection = Connection::default();
    connection.feed(&config, &head(0x82, 65537));
    assert_eq!(connection.events, ["1009"]);
}

/// First byte (FIN and opcode) and payload.
type Frame = (u8, &'static [u8]);

/// Half of the longest message.
const MANY: &[u8] = &[b'x'; 150];

#[test]
fn fragments() {
    let join = |frames: &[Frame]| frames.iter().flat_map(|(first, payload)| client(*first, payload)).collect();
    let all = format!("text {}", "x".repeat(300));
    let frames: &[(&[Frame], &str)] = &[
        (&[(0x01, b"a"), (0x00, b"b"), (0x80, b"c")], "text abc"),
        (&[(0x02, b"a"), (0x80, b"b")], r#"binary b"ab""#),
        // Empty fragments are allowed; all may be empty.
        (&[(0x01, b""), (0x00, b""), (0x80, b"")], "text "),
        (&[(0x01, b""), (0x80, b"a")], "text a"),
        (&[(0x02, b"a"), (0x80, b"")], r#"binary b"a""#),
        // A fragmented message, then another message.
        (&[(0x01, b"a"), (0x80, b"b"), (0x81, b"c"), (0x02, b"d"), (0x80, b"e")], r#"text ab | text c | binary b"de""#),
        // Control frames between fragments.
        (
            &[(0x01, b"a"), (0x89, b"1"), (0x00, b"b"), (0x8a, b"2"), (0x89, b""), (0x80, b"c")],
            r#"reply b"\x8a\x011" | reply b"\x8a\0" | text abc"#,
        ),
        (&[(0x01, b"a"), (0x88, b"\x03\xe8"), (0x80, b"b")], r#"close b"\x88\x02\x03\xe8""#),
        // A new message before the last fragment of the present one.
        (&[(0x01, b"a"), (0x81, b"b")], "1002"),
        (&[(0x01, b"a"), (0x02, b"b")], "1002"),
        (&[(0x02, b"a"), (0x01, b"b")], "1002"),
        // A continuation after the last fragment.
        (&[(0x01, b"a"), (0x80, b"b"), (0x80, b"c")], "text ab | 1002"),
        (&[(0x81, b"a"), (0x00, b"b")], "text a | 1002"),
        // A message may have four fragments, not five, even if they are empty.
        (&[(0x01, b"a"), (0x00, b""), (0x00, b"b"), (0x80, b"c")], "text abc"),
        (&[(0x01, b"a"), (0x00, b"b"), (0x00, b"c"), (0x00, b"d"), (0x80, b"e")], "1008"),
        (&[(0x01, b""), (0x00, b""), (0x00, b""), (0x00, b""), (0x80, b"")], "1008"),
        // Control frames do not count.
        (
            &[(0x01, b""), (0x89, b""), (0x8a, b""), (0x8a, b""), (0x00, b""), (0x00, b""), (0x80, b"a")],
            "reply b\"\\x8a\\0\" | text a",
        ),
        // All fragments together may be as long as a message; one byte more is too long.
        (&[(0x01, MANY), (0x80, MANY)], &all),
        (&[(0x01, MANY), (0x00, MANY), (0x80, b"")], &all),
        (&[(0x01, MANY), (0x00, MANY), (0x80, b"x")], "1009"),
    ];
    for (frames, expected) in frames {
        let input: Vec<u8> = join(frames);
        assert_eq!(events(&input), *expected, "{frames:x?}");
    }
    // A new message inside another, and the sum of lengths, are refused by the head alone too.
    assert_eq!(events([client(0x01, "a"), head(0x81, 5)].concat()), "1002");
    let input: Vec<u8> = [client(0x01, "a"), head(0x00, 300)].concat();
    assert_eq!(events(input), "1009");
    let input: Vec<u8> = [client(0x01, "a"), head(0x00, u64::MAX >> 1)].concat();
    assert_eq!(events(input), "1009");
}

#[test]
fn whether_a_message_is_open() {
    let config = config();
    let mut connection = Connection::default();
    for (first, open) in [(0x81, false), (0x01, true), (0x89, true), (0x00, true), (0x80, false), (0x82, false)] {
        connection.feed(&config, &client(first, "a"));
        assert_eq!(connection.incoming.in_message(), open, "{first:#x}");
    }
    connection.feed(&config, &client(0x01, "a"));
    connection.feed(&config, &client(0x00, b"\xff"));
    assert_eq!(connection.events.last().map(String::as_str), Some("1007"));
    assert!(!connection.incoming.in_message(), "it is thrown away with the connection");
}

#[test]
fn text_is_utf_8() {
    for text in ["κόσμε", "é€😀\u{0}\u{7f}\u{feff}\u{fffe}\u{10ffff}", "\u{d7ff}\u{e000}"] {
        assert_eq!(events(client(0x81, text)), format!("text {text}"));
        // A fragment may end within a character.
        for at in 0..=text.len() {
            let (start, end) = text.as_bytes().split_at(at);
            let input = [client(0x01, start), client(0x89, ""), client(0x80, end)].concat();
            assert_eq!(events(input), format!("reply b\"\\x8a\\0\" | text {text}"));
        }
    }
    let bytes: Vec<u8> = "€".bytes().collect();
    let apart = [client(0x01, &bytes[..1]), client(0x00, &bytes[1..2]), client(0x00, ""), client(0x80, &bytes[2..])];
    assert_eq!(events(apart.concat()), "text €");

    for bad in [
        &b"\xff"[..],
        b"a\x80",
        b"\xc0\x80",
        b"\xc1\xbf",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xed\xa0\xbd\xed\xb8\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xe2\x82",
        b"\xe2\x82a",
        b"\xf0\x9f\x98",
    ] {
        assert_eq!(events(client(0x81, bad)), "1007", "{bad:x?}");
        for at in 0..=bad.len() {
            let input = [client(0x01, &bad[..at]), client(0x80, &bad[at..])].concat();
            assert_eq!(events(input), "1007", "{bad:x?} at {at}");
        }
        assert_eq!(events(client(0x82, bad)), format!("binary {:?}", bytes::Bytes::from_static(bad)));
        assert_eq!(events(client(0x88, [b"\x03\xe8", bad].concat())), "1007", "the reason of a close: {bad:x?}");
    }
    // Bytes that cannot become valid UTF-8 are refused before the message ends.
    assert_eq!(events(client(0x01, b"a\xff")), "1007");
    assert_eq!(events([client(0x01, b"a\xf4"), client(0x00, b"\x90")].concat()), "1007");
    assert_eq!(events([client(0x01, b"\xce\xba"), client(0x00, b"\xf4"), client(0x00, b"\x8f\xbf")].concat()), "");
}

#[test]
fn pings() {
    assert_eq!(events(client(0x89, "")), r#"reply b"\x8a\0""#);
    assert_eq!(events(client(0x89, b"\0\xff")), r#"reply b"\x8a\x02\0\xff""#);
    let longest = "p".repeat(125);
    assert_eq!(events(client(0x89, &longest)), format!(r#"reply b"\x8a}}{longest}""#));
    // Each ping has its own pong.
    let input = [client(0x89, "1"), client(0x81, "a"), client(0x89, "2"), client(0x8a, "x"), client(0x89, "3")];
    assert_eq!(events(input.concat()), r#"reply b"\x8a\x011" | text a | reply b"\x8a\x012" | reply b"\x8a\x013""#);
}

#[test]
fn closes() {
    assert_eq!(events(client(0x88, "")), r#"close b"\x88\0""#);
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999u16] {
        let payload = [&code.to_be_bytes()[..], "why €".as_bytes()].concat();
        let answer = frame(CLOSE, &payload);
        assert_eq!(events(client(0x88, &payload)), format!("close {answer:?}"), "{code}");
    }
    let longest = [b"\x03\xe8".to_vec(), vec![b'r'; 123]].concat();
    assert_eq!(events(client(0x88, &longest)), format!("close {:?}", frame(CLOSE, &longest)));
    // Codes that must not be sent (RFC 6455 section 7.4).
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535u16] {
        assert_eq!(events(client(0x88, code.to_be_bytes())), "1002", "{code}");
    }
    // Nothing is read after a close frame.
    assert_eq!(events([client(0x88, b"\x03\xe8"), client(0x81, "a")].concat()), r#"close b"\x88\x02\x03\xe8""#);
}

/// Random frames, and what must be received from them.
fn random_frames(random: &mut Random) -> (Vec<u8>, Vec<String>) {
    let (mut input, mut events) = (Vec::new(), Vec::new());
    for _ in 0..1 + random.below(4) {
        let text = random.pick(&["", "a", "κόσμε", "😀😀"]).repeat(1 + random.below(16));
        let is_text = random.below(2) == 0;
        let mut pieces = random.pieces(text.as_bytes());
        if pieces.len() > 4 {
            pieces = vec![text.as_bytes()];
        }
        let last = pieces.len() - 1;
        for (index, piece) in pieces.into_iter().enumerate() {
            if random.below(4) == 0 {
                input.extend(client(0x89, "p"));
                events.push(r#"reply b"\x8a\x01p""#.to_owned());
            }
            let opcode = if index > 0 {
                0
            } else if is_text {
                1
            } else {
                2
            };
            input.extend(client(if index == last { 0x80 | opcode } else { opcode }, piece));
        }
        events.push(if is_text { format!("text {text}") } else { format!("binary {:?}", bytes::Bytes::from(text)) });
    }
    (input, events)
}

#[test]
fn random_frames_in_random_pieces() {
    let (mut random, config) = (Random(3), config());
    for _ in 0..500 {
        let mut scripts: Vec<_> = (0..3).map(|_| random_frames(&mut random)).collect();
        let mut connections: [Connection; 3] = Default::default();
        let mut fed = [0; 3];
        while (0..3).any(|index| fed[index] < scripts[index].0.len()) {
            let index = random.below(3);
            let rest = &scripts[index].0[fed[index]..];
            let piece = &rest[..rest.len().min(random.below(40))];
            connections[index].feed(&config, piece);
            fed[index] += piece.len();
        }
        for (connection, (_, expected)) in connections.iter().zip(scripts.drain(..)) {
            assert_eq!(connection.events, expected);
            assert!(connection.input.is_empty());
        }
    }
}

/// Damaged input never panics, and is read the same however it is split.
#[test]
fn random_damage() {
    let (mut random, config) = (Random(4), config());
    let mut refused = 0;
    for _ in 0..5_000 {
        let mut input = random_frames(&mut random).0;
        random.mutate(&mut input);
        let whole = feed([&input[..]]);
        let mut cut = Connection::default();
        for piece in random.pieces(&input) {
            cut.feed(&config, piece);
        }
        assert_eq!(whole.events, cut.events, "{input:x?}");
        refused += usize::from(whole.over);
    }
    assert!((1_000..4_500).contains(&refused), "both happens often: {refused}");
}

#[test]
fn our_frames() {
    for (opcode, payload, expected) in [
        (TEXT, &b"Hello"[..], &b"\x81\x05Hello"[..]),
        (BINARY, b"\x00\xff", b"\x82\x02\x00\xff"),
        (TEXT, b"", b"\x81\x00"),
        (CLOSE, b"\x03\xe8", b"\x88\x02\x03\xe8"),
    ] {
        assert_eq!(frame(opcode, payload), expected);
    }
    for (length, expected) in [
        (0, &b"\x82\x00"[..]),
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\x00\x7e"),
        (127, b"\x82\x7e\x00\x7f"),
        (65535, b"\x82\x7e\xff\xff"),
        (65536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ] {
        let payload = vec![b'x'; length];
        assert_eq!(frame(BINARY, &payload), [expected, &payload].concat(), "{length}");
        let mut room = [0; MAX_HEAD];
        let start = frame_head(BINARY, length, &mut room);
        assert_eq!(room[start..], *expected, "{length}");
    }
}

#[test]
fn our_close_frames() {
    assert_eq!(close_frame(1000, ""), &b"\x88\x02\x03\xe8"[..]);
    assert_eq!(close_frame(1002, "why €"), &b"\x88\x09\x03\xeawhy \xe2\x82\xac"[..]);
    // At most 125 bytes of payload, and no character is split.
    for (reason, length) in
        [("r".repeat(123), 125), ("r".repeat(124), 125), ("€".repeat(41), 125), ("é".repeat(62), 124)]
    {
        let frame = close_frame(1009, &reason);
        assert_eq!(frame[..4], [0x88, length, 0x03, 0xf1], "{reason}");
        assert_eq!(frame.len(), 2 + usize::from(length));
        assert!(reason.starts_with(str::from_utf8(&frame[4..]).expect("whole characters")));
    }
}
