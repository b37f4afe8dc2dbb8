//! WebSocket: the upgrade, and every framing rule of RFC 6455 that a server must hold a client to. Every input is fed
//! whole, byte by byte, and at every cut in two.

use salon::{
    config::Config,
    http::{self, Parser},
    ws::{self, Decoder, Event, Incoming, Opcode},
};
use std::sync::LazyLock;

static CONFIG: LazyLock<Config> =
    LazyLock::new(|| Config { max_payload: 70_000, max_fragments: 4, ..Config::default() });
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame of a client: first byte as it is, the payload masked, the length in its shortest form.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ ..126 => bytes.push(0x80 | short as u8),
        medium @ 126..0x10000 => {
            bytes.push(0x80 | 126);
            bytes.extend((medium as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const TEXT_BEGINS: u8 = 0x01;
const GOES_ON: u8 = 0x00;
const ENDS: u8 = 0x80;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// What came out, in words: messages, replies, and the code of a failure.
fn outcome(decoder: &mut Decoder, pieces: &[&[u8]]) -> Vec<String> {
    let (mut incoming, mut input, mut seen) = (Incoming::default(), Vec::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match incoming.next(decoder, &input, &CONFIG) {
                Ok(None) => break,
                Err(failure) => {
                    seen.push(format!("!{}", failure.code));
                    return seen;
                }
                Ok(Some((used, event))) => {
                    match event {
                        Event::Text(text) => seen.push(format!("text {text}")),
                        Event::Binary(bytes) => seen.push(format!("binary {}", bytes.escape_ascii())),
                        Event::Reply(frame) => seen.push(format!("reply {}", frame.escape_ascii())),
                        Event::Close(frame) => {
                            seen.push(format!("close {}", frame.escape_ascii()));
                            return seen;
                        }
                        Event::Nothing => {}
                    }
                    input.drain(..used);
                }
            }
        }
    }
    seen
}

/// What comes of these frames, however they are cut.
fn decode(frames: &[Vec<u8>]) -> Vec<String> {
    let input = frames.concat();
    let mut decoder = Decoder::default();
    let whole = outcome(&mut decoder, &[&input]);
    let single: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(outcome(&mut decoder, &single), whole, "byte by byte");
    for cut in 1..input.len().min(300) {
        let (one, other) = input.split_at(cut);
        assert_eq!(outcome(&mut decoder, &[one, other]), whole, "cut at {cut}");
    }
    // One that broke the protocol leaves nothing behind for the others.
    assert_eq!(outcome(&mut decoder, &[&frame(TEXT, b"next")]), ["text next"]);
    whole
}

fn head_with<T>(lines: &str, judge: impl FnOnce(&http::Head) -> T) -> T {
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    match Parser::default().next(request.as_bytes(), &CONFIG) {
        Ok(Some((_, http::Event::Head(head)))) => judge(&head),
        _ => panic!("no head: {request}"),
    }
}

const UPGRADE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n";
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The example of RFC 6455 section 1.3; extensions and subprotocols that are asked for are not agreed to.
#[test]
fn the_answer_to_an_upgrade() {
    let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    for more in ["", "Sec-WebSocket-Extensions: permessage-deflate; constructor; a\r\nSec-WebSocket-Protocol: chat\r\n"]
    {
        head_with(&format!("{UPGRADE}{KEY}{more}"), |head| {
            assert!(ws::is_upgrade(head));
            assert_eq!(ws::accept(head).unwrap(), expected);
        });
    }
}

#[test]
fn refused_upgrades() {
    let refused = [
        (UPGRADE.to_owned(), 400),
        (format!("{UPGRADE}{KEY}{KEY}"), 400),
        (format!("{UPGRADE}Sec-WebSocket-Key:\r\n"), 400),
        (format!("{UPGRADE}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n"), 400),
        (format!("{UPGRADE}Sec-WebSocket-Key: dG9vIHNob3J0\r\n"), 400),
        (format!("{UPGRADE}Sec-WebSocket-Key: not base64!!!!!!!!!!\r\n"), 400),
        (format!("{}{KEY}", UPGRADE.replace("13", "8")), 426),
        (format!("{}{KEY}", UPGRADE.replace("13", "13, 8")), 426),
        (format!("{}{KEY}", UPGRADE.replace("Sec-WebSocket-Version: 13\r\n", "")), 426),
    ];
    for (lines, status) in refused {
        head_with(&lines, |head| {
            assert!(ws::is_upgrade(head), "{lines}");
            let response = ws::accept(head).unwrap_err();
            assert_eq!((response.status, response.close), (status, true), "{lines}");
            let (text, _) = response.encode("", false, false, false);
            assert_eq!(status == 426, text.escape_ascii().to_string().contains("Sec-WebSocket-Version: 13"));
        });
    }
    let ignored = ["", "Connection: Upgrade\r\n", "Upgrade: websocket\r\n", "Connection: Upgrade\r\nUpgrade: h2c\r\n"];
    for lines in ignored {
        head_with(lines, |head| assert!(!ws::is_upgrade(head), "{lines}"));
    }
}

#[test]
fn messages_of_every_length() {
    for length in [0, 1, 125, 126, 127, 0xffff, 0x10000, 70_000] {
        let text = "x".repeat(length);
        let bytes = frame(TEXT, text.as_bytes());
        let whole = outcome(&mut Decoder::default(), &[&bytes]);
        assert!(whole == [format!("text {text}")], "{length}");
        // Cut inside the head, behind it, and before the last byte.
        for cut in [1, 2, 3, 5, 7, 9, bytes.len() - 1] {
            let (one, other) = bytes.split_at(cut.min(bytes.len() - 1));
            assert!(outcome(&mut Decoder::default(), &[one, other]) == whole, "{length} cut at {cut}");
        }
    }
    assert_eq!(decode(&[frame(TEXT, "Καλημέρα 👍🏽".as_bytes())]), ["text Καλημέρα 👍🏽"]);
    assert_eq!(decode(&[frame(BINARY, b"\x00\xff\x80"), frame(TEXT, b"")]), ["binary \\x00\\xff\\x80", "text "]);
}

#[test]
fn fragments() {
    let hello = || [frame(TEXT_BEGINS, b"he"), frame(GOES_ON, b""), frame(GOES_ON, b"ll"), frame(ENDS, b"o")].to_vec();
    assert_eq!(decode(&hello()), ["text hello"]);
    // Control frames may stand between fragments, and are answered at once.
    let mut frames = hello();
    frames.insert(1, frame(PING, b"!"));
    frames.insert(3, frame(PONG, b"?"));
    assert_eq!(decode(&frames), ["reply \\x8a\\x01!", "text hello"]);
    // A code point may lie across two of them.
    let euro = "€".as_bytes();
    assert_eq!(decode(&[frame(TEXT_BEGINS, &euro[..1]), frame(ENDS, &euro[1..])]), ["text €"]);
    assert_eq!(decode(&[frame(0x02, b"\xff"), frame(ENDS, b"\x00")]), ["binary \\xff\\x00"]);
    // Empty ones count as well.
    let endless: Vec<_> = [frame(TEXT_BEGINS, b"")].into_iter().chain((0..9).map(|_| frame(GOES_ON, b""))).collect();
    assert_eq!(decode(&endless), ["!1008"]);
    let big = vec![b'x'; 40_000];
    assert_eq!(
        outcome(&mut Decoder::default(), &[&[frame(TEXT_BEGINS, &big), frame(GOES_ON, &big)].concat()]),
        ["!1009"]
    );
    assert_eq!(decode(&[frame(ENDS, b"x")]), ["!1002"]);
    assert_eq!(decode(&[frame(GOES_ON, b"x")]), ["!1002"]);
    assert_eq!(decode(&[frame(TEXT_BEGINS, b"x"), frame(TEXT, b"y")]), ["!1002"]);
    assert_eq!(decode(&[frame(TEXT, b"x"), frame(ENDS, b"y")]), ["text x", "!1002"]);
}

#[test]
fn control_frames() {
    let most = [b'p'; 125];
    let reply = format!("reply \\x8a}}{}", "p".repeat(125));
    assert_eq!(decode(&[frame(PING, &most), frame(PING, b"")]), [reply, "reply \\x8a\\x00".to_owned()]);
    assert_eq!(decode(&[frame(PONG, b"unasked"), frame(PONG, b"")]), [""; 0]);
    assert_eq!(decode(&[frame(PING, &[b'p'; 126])]), ["!1002"]);
    assert_eq!(decode(&[frame(0x09, b"p")]), ["!1002"]);
    assert_eq!(decode(&[frame(0x08, b"")]), ["!1002"]);
}

/// RFC 6455 sections 5.5.1 and 7.4: the code comes back, if it is one that may be sent.
#[test]
fn closes() {
    assert_eq!(decode(&[frame(CLOSE, b"")]), ["close \\x88\\x00"]);
    for code in [1000_u16, 1001, 1003, 1007, 1011, 3000, 4999] {
        let payload = [&code.to_be_bytes()[..], "bye €".as_bytes()].concat();
        let seen = decode(&[frame(CLOSE, &payload)]);
        let echoed = code.to_be_bytes().escape_ascii().to_string();
        assert!(seen.len() == 1 && seen[0].starts_with("close ") && seen[0].contains(&echoed), "{code}: {seen:?}");
    }
    assert_eq!(decode(&[frame(CLOSE, b"\x03")]), ["!1002"]);
    assert_eq!(decode(&[frame(CLOSE, b"\x03\xe8\xff")]), ["!1007"]);
    assert_eq!(decode(&[frame(CLOSE, b""), frame(TEXT, b"too late")]), ["close \\x88\\x00"]);
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
        let seen = decode(&[frame(CLOSE, &code.to_be_bytes())]);
        let refused = seen[0].starts_with("close ") && seen[0].contains("\\x03\\xea");
        assert!(seen == ["!1002"] || refused, "{code}: {seen:?}");
    }
}

/// What a head alone shows is judged before a byte of the payload has come.
#[test]
fn heads() {
    let table: [(&[u8], &str); 18] = [
        (b"\x81\x00", "not masked"),
        (b"\x81\x05", "not masked"),
        (b"\xc1\x80", "first reserved bit: compressed"),
        (b"\xa1\x80", "second reserved bit"),
        (b"\x91\x80", "third reserved bit"),
        (b"\x83\x80", "reserved opcode"),
        (b"\x87\x80", "reserved opcode"),
        (b"\x8b\x80", "reserved opcode"),
        (b"\x8f\x80", "reserved opcode"),
        (b"\x81\xfe\x00\x7d", "125 in two bytes"),
        (b"\x81\xfe\x00\x00", "0 in two bytes"),
        (b"\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff", "65535 in eight bytes"),
        (b"\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00", "2^63"),
        (b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff", "2^64 - 1"),
        (b"\x89\xfe\x00\x7e", "a long ping"),
        (b"\x09\x80", "half a ping"),
        (b"\x80\x80", "a continuation of nothing"),
        (b"\x88\x81", "half a close code"),
    ];
    for (head, what) in table {
        assert_eq!(decode(&[head.to_vec(), MASK.to_vec()]), ["!1002"], "{what}");
    }
    for length in [70_001_u64, 1 << 32, (1 << 63) - 1] {
        let head = [b"\x82\xff".as_slice(), &length.to_be_bytes(), &MASK].concat();
        assert_eq!(decode(&[head]), ["!1009"], "{length}");
    }
}

#[test]
fn text_is_utf8() {
    let invalid: [&[u8]; 8] = [
        b"\xff",
        b"\x80",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe2\x82",
        b"a\xf0\x9f",
        b"\xf8\x88\x80\x80\x80",
    ];
    for text in invalid {
        assert_eq!(decode(&[frame(TEXT, text)]), ["!1007"], "{}", text.escape_ascii());
        assert_eq!(decode(&[frame(TEXT_BEGINS, text), frame(ENDS, b"")]), ["!1007"], "{}", text.escape_ascii());
    }
}

/// All connections share one context, and a message that is open on one of them does not concern the others.
#[test]
fn connections_side_by_side() {
    let mut decoder = Decoder::default();
    let mut connections: Vec<Incoming> = (0..5).map(|_| Incoming::default()).collect();
    let mut feed = |index: usize, bytes: &[u8]| connections[index].next(&mut decoder, bytes, &CONFIG);
    let event = |result: Result<Option<(usize, Event)>, ws::Failure>| result.unwrap().unwrap().1;
    assert_eq!(event(feed(0, &frame(TEXT_BEGINS, b"ze"))), Event::Nothing);
    assert_eq!(event(feed(1, &frame(0x02, b"on"))), Event::Nothing);
    assert_eq!(event(feed(2, &frame(TEXT, b"two"))), Event::Text("two".into()));
    assert_eq!(feed(3, &frame(TEXT, b"\xff")).unwrap_err().code, 1007);
    assert_eq!(event(feed(2, &frame(TEXT, b"again"))), Event::Text("again".into()));
    assert_eq!(feed(4, b"\x83\x80abcd").unwrap_err().code, 1002);
    assert!(matches!(event(feed(2, &frame(CLOSE, b""))), Event::Close(_)));
    assert_eq!(event(feed(0, &frame(ENDS, b"ro"))), Event::Text("zero".into()));
    assert_eq!(event(feed(1, &frame(ENDS, b"e"))), Event::Binary("one".into()));
    assert!(!connections[0].in_message());
}

#[test]
fn our_frames() {
    assert_eq!(ws::frame(Opcode::Text, b"Hello"), b"\x81\x05Hello".as_slice());
    assert_eq!(ws::frame(Opcode::Binary, b""), b"\x82\x00".as_slice());
    for (length, head) in [
        (125, b"\x81\x7d".as_slice()),
        (126, b"\x81\x7e\x00\x7e"),
        (0xffff, b"\x81\x7e\xff\xff"),
        (0x10000, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ] {
        let frame = ws::frame(Opcode::Text, &vec![b'x'; length]);
        assert!(frame.starts_with(head) && frame.len() == head.len() + length, "{length}");
    }
    assert_eq!(ws::close_frame(1001, ""), b"\x88\x02\x03\xe9".as_slice());
    assert_eq!(ws::close_frame(1008, "why"), b"\x88\x05\x03\xf0why".as_slice());
    // A long reason is cut to what fits, between two characters.
    let long = ws::close_frame(1008, &"é".repeat(100));
    assert_eq!(long.len(), 2 + 2 + 122);
    assert!(str::from_utf8(&long[4..]).is_ok());
}
