//! RFC 6455 by the cases of the Autobahn test suite (github.com/crossbario/autobahn-testsuite), against the echo of the
//! conformance app. The suite itself is a Python 2 program and speaks to a bare echo, so its cases are written here anew
//! from their descriptions, by their numbers: what the client sends, and what must come back.
//!
//! A text message of Engine.IO begins with its type, so a `4` stands in front of each here, and of its echo; the lengths
//! that a case is about are those of the frame. Every case is sent three times: at once, frame by frame, and octet by
//! octet, which the suite counts as cases of their own. Where it leaves a choice, the table has the strict result.

use crate::harness::{
    BINARY, CLOSE, Client, Frame, PING, PONG, Server, TEXT, WebSocket, frame, hostile, raw_frame, upgrade,
};

/// As the suite is to be run: the limits of group 9, and no pings of ours in between.
const OPTIONS: [&str; 12] = [
    "--ping-interval",
    "25s",
    "--ping-timeout",
    "20s",
    "--max-payload",
    "17MiB",
    "--max-fragments",
    "65537",
    "--max-queue",
    "64MiB",
    "--soft-queue",
    "64MiB",
];
/// In the first byte of a frame: more of the message follows.
const MORE: u8 = 0x40;
const CONTINUATION: u8 = 0;

/// Number of the case in the suite, the frames of the client (opcode, perhaps with [`MORE`], and payload), those of
/// the server. After a failed connection or an answered close comes the end; else the client closes with 1000.
type Case = (&'static str, Vec<Frame>, Vec<Frame>);

fn text(text: impl AsRef<[u8]>) -> Frame {
    (TEXT, text.as_ref().to_vec())
}

fn binary(bytes: impl AsRef<[u8]>) -> Frame {
    (BINARY, bytes.as_ref().to_vec())
}

fn ping(payload: impl AsRef<[u8]>) -> Frame {
    (PING, payload.as_ref().to_vec())
}

fn pong(payload: impl AsRef<[u8]>) -> Frame {
    (PONG, payload.as_ref().to_vec())
}

fn more(payload: impl AsRef<[u8]>) -> Frame {
    (CONTINUATION | MORE, payload.as_ref().to_vec())
}

fn last(payload: impl AsRef<[u8]>) -> Frame {
    (CONTINUATION, payload.as_ref().to_vec())
}

fn first((opcode, payload): Frame) -> Frame {
    (opcode | MORE, payload)
}

/// A close frame. Of those that the server sends by itself only the code is compared.
fn close(code: u16, reason: impl AsRef<[u8]>) -> Frame {
    (CLOSE, [&code.to_be_bytes()[..], reason.as_ref()].concat())
}

/// The connection is failed with this code.
fn fail(code: u16) -> Frame {
    close(code, "")
}

/// A message in fragments of so many bytes.
fn fragments((opcode, payload): Frame, size: usize) -> Vec<Frame> {
    let mut frames: Vec<Frame> = payload.chunks(size).map(more).collect();
    frames[0].0 |= opcode;
    frames.last_mut().expect("not empty").0 &= !MORE;
    frames
}

/// The bytes of a frame; a text message gets its `4`.
fn encode((opcode, payload): &Frame) -> Vec<u8> {
    let reserved_and_fin = if opcode & MORE == 0 { opcode | 0x80 } else { opcode & !MORE };
    let payload = if opcode & !MORE == TEXT { [b"4", &payload[..]].concat() } else { payload.clone() };
    raw_frame(reserved_and_fin, payload.len(), &payload)
}

fn open(server: &Server) -> WebSocket {
    let mut client = server.connect();
    client.send(upgrade("/engine.io/?EIO=4&transport=websocket", ""));
    let mut socket = WebSocket::upgraded(client);
    assert!(socket.text().starts_with(r#"0{"sid":""#));
    socket
}

/// How the bytes of a case are cut on their way.
type Cut = fn(&mut Client, &[Vec<u8>]);
const CUTS: [(&str, Cut); 3] = [
    ("at once", |client, frames| client.send_anyway(frames.concat())),
    ("frame by frame", |client, frames| frames.iter().for_each(|frame| client.send_anyway(frame))),
    ("octet by octet", |client, frames| frames.concat().iter().for_each(|octet| client.send_anyway([*octet]))),
];

fn run(server: &Server, (number, sent, expected): &Case, cut: &str, send: Cut) {
    let mut socket = open(server);
    let mut expected = expected.clone();
    send(&mut socket.client, &sent.iter().map(encode).collect::<Vec<_>>());
    if expected.last().is_none_or(|frame| frame.0 != CLOSE) {
        socket.client.send(frame(CLOSE, b"\x03\xe8"));
        expected.push(close(1000, ""));
    }
    let echoes_close = sent.iter().any(|frame| Some(frame) == expected.last()) || sent.is_empty();
    for (opcode, payload) in expected {
        let (seen, mut received) = socket.frame();
        match seen {
            TEXT => assert_eq!(received.remove(0), b'4'),
            CLOSE if !echoes_close => received.truncate(2),
            _ => {}
        }
        let brief = String::from_utf8_lossy(&received[..received.len().min(100)]);
        assert!((seen, &received) == (opcode, &payload), "case {number} {cut}: {seen} {brief:?}");
    }
    socket.client.assert_end();
}

/// Runs cases that are small enough to be cut in every way.
fn check(cases: impl IntoIterator<Item = Case>) {
    let server = Server::conformance(&OPTIONS);
    for case in cases {
        for (cut, send) in CUTS {
            run(&server, &case, cut, send);
        }
    }
}

/// Echoes: one frame each comes back as it went out.
fn echoes(frames: impl IntoIterator<Item = (&'static str, Frame)>) -> Vec<Case> {
    frames.into_iter().map(|(number, frame)| (number, vec![frame.clone()], vec![frame])).collect()
}

#[test]
fn case_1_framing() {
    // The 4 of a text is a part of the length.
    check(echoes([
        ("1.1.1", text("")),
        ("1.1.2", text([b'*'; 124])),
        ("1.1.3", text([b'*'; 125])),
        ("1.1.4", text([b'*'; 126])),
        ("1.1.5", text([b'*'; 127])),
        ("1.2.1", binary("")),
        ("1.2.2", binary([0xfe; 125])),
        ("1.2.3", binary([0xfe; 126])),
        ("1.2.4", binary([0xfe; 127])),
        ("1.2.5", binary([0xfe; 128])),
    ]));
}

#[test]
fn bulk_case_1_framing() {
    let server = Server::conformance(&OPTIONS);
    for case in echoes([
        ("1.1.6", text(vec![b'*'; 65_534])),
        ("1.1.7", text(vec![b'*'; 65_535])),
        ("1.2.6", binary(vec![0xfe; 65_535])),
        ("1.2.7", binary(vec![0xfe; 65_536])),
    ]) {
        run(&server, &case, "at once", CUTS[0].1);
        // 1.1.8 and 1.2.8: in pieces of 997 octets.
        run(&server, &case, "in pieces", |client, frames| {
            frames.concat().chunks(997).for_each(|piece| client.send(piece));
        });
    }
}

#[test]
fn case_2_pings_and_pongs() {
    let many: Vec<String> = (0..10).map(|number| format!("payload-{number}")).collect();
    check([
        ("2.1", vec![ping("")], vec![pong("")]),
        ("2.2", vec![ping("Hello, world!")], vec![pong("Hello, world!")]),
        ("2.3", vec![ping(b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff")], vec![pong(b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff")]),
        ("2.4, 2.6", vec![ping([0xfe; 125])], vec![pong([0xfe; 125])]),
        ("2.5", vec![ping([0xfe; 126])], vec![fail(1002)]),
        ("2.7", vec![pong("")], vec![]),
        ("2.8", vec![pong("unsolicited pong payload")], vec![]),
        ("2.9", vec![pong("unsolicited"), ping("ping payload")], vec![pong("ping payload")]),
        ("2.10, 2.11", many.iter().map(ping).collect(), many.iter().map(pong).collect()),
    ]);
}

#[test]
fn case_3_reserved_bits() {
    let hello = || text("Hello, world!");
    // MORE is the first of them in a frame that ends a message: these frames have their first byte whole.
    let server = Server::conformance(&OPTIONS);
    for (number, before, reserved, opcode) in [
        ("3.1", vec![], 1, TEXT),
        ("3.2", vec![hello()], 2, TEXT),
        ("3.3", vec![hello()], 3, TEXT),
        ("3.4", vec![hello()], 4, TEXT),
        ("3.5", vec![], 5, BINARY),
        ("3.6", vec![], 6, PING),
        ("3.7", vec![], 7, CLOSE),
    ] {
        for (cut, send) in CUTS {
            let mut socket = open(&server);
            let broken = raw_frame(0x80 | reserved << 4 | opcode, 2, b"\x03\xe8");
            let frames = before.iter().map(encode).chain([broken, frame(PING, b"")]);
            send(&mut socket.client, &frames.collect::<Vec<_>>());
            for (_, payload) in &before {
                assert_eq!(socket.frame(), (TEXT, [b"4", &payload[..]].concat()), "case {number} {cut}");
            }
            socket.assert_closed(1002);
        }
    }
}

#[test]
fn case_4_opcodes() {
    // 4.1.1 to 4.1.5, and 4.2.1 to 4.2.5.
    let unknown = (3..=7).chain(11..=15);
    check(unknown.flat_map(|opcode| {
        let alone = ("4, at first", vec![(opcode, vec![]), ping("")], vec![fail(1002)]);
        let sent = vec![text("Hello, world!"), (opcode, b"Hello, world!".to_vec()), ping("")];
        [alone, ("4, later", sent, vec![text("Hello, world!"), fail(1002)])]
    }));
}

#[test]
fn case_5_fragmentation() {
    let (one, two) = (|| first(text("fragment1")), || last("fragment2"));
    let both = || text("fragment1fragment2");
    let fail = || vec![fail(1002)];
    let interleaved = || {
        let mut frames = vec![first(text("1")), more("2"), ping("pongme 1!"), more("3"), more("4"), ping("pongme 2!")];
        frames.push(last("5"));
        frames
    };
    check([
        ("5.1", vec![first(ping("fragment1")), two()], fail()),
        ("5.2", vec![first(pong("fragment1")), two()], fail()),
        ("5.3 to 5.5", vec![one(), two()], vec![both()]),
        ("5.6 to 5.8", vec![one(), ping("ping payload"), two()], vec![pong("ping payload"), both()]),
        ("5.9 to 5.11", vec![last("non-continuation payload"), text("Hello, world!")], fail()),
        ("5.12 to 5.14", vec![more("non-continuation payload"), text("Hello, world!")], fail()),
        ("5.15", vec![one(), two(), more("fragment3"), text("fragment4")], [vec![both()], fail()].concat()),
        (
            "5.16",
            [
                [more("fragment1"), first(text("fragment2")), last("fragment3")],
                [more("fragment1"), first(text("fragment2")), last("fragment3")],
            ]
            .concat(),
            fail(),
        ),
        (
            "5.17",
            [
                [last("fragment1"), first(text("fragment2")), last("fragment3")],
                [last("fragment1"), first(text("fragment2")), last("fragment3")],
            ]
            .concat(),
            fail(),
        ),
        ("5.18", vec![one(), text("fragment2")], fail()),
        ("5.19, 5.20", interleaved(), vec![pong("pongme 1!"), pong("pongme 2!"), text("12345")]),
    ]);
}

/// The Greek word that the suite begins with.
const KOSME: &[u8] = "κόσμε".as_bytes();

#[test]
fn case_6_text() {
    let mixed = "Hello-µ@ßöäüàá-UTF-8!!";
    let invalid = [KOSME, b"\xed\xa0\x80edited"].concat();
    check([
        ("6.1.1", vec![text("")], vec![text("")]),
        ("6.1.2", vec![first(text("")), more(""), last("")], vec![text("")]),
        ("6.1.3", vec![first(text("")), more("middle frame payload"), last("")], vec![text("middle frame payload")]),
        ("6.2.1", vec![text(mixed)], vec![text(mixed)]),
        ("6.2.2", fragments(text(mixed), 12), vec![text(mixed)]),
        ("6.2.3", fragments(text(mixed), 1), vec![text(mixed)]),
        ("6.2.4", fragments(text(KOSME), 1), vec![text(KOSME)]),
        ("6.3.1", vec![text(&invalid)], vec![fail(1007)]),
        ("6.3.2", fragments(text(&invalid), 1), vec![fail(1007)]),
        // What breaks the text is refused when it comes: the last fragment never does.
        ("6.4.1", vec![first(text(KOSME)), more(b"\xf4\x90\x80\x80")], vec![fail(1007)]),
        ("6.4.2", vec![first(text([KOSME, b"\xf4"].concat())), more(b"\x90")], vec![fail(1007)]),
        // In one frame that is not whole yet the suite lets it wait until it is.
        ("6.4.3, 6.4.4", vec![text([KOSME, b"\xf4\x90\x80\x80edited"].concat())], vec![fail(1007)]),
    ]);
}

/// By Markus Kuhn's UTF-8 decoder stress test, whose sections the groups follow.
#[test]
fn case_6_utf_8() {
    let lonely: Vec<Vec<u8>> = [0xc0..=0xde, 0xe0..=0xee, 0xf0..=0xf6, 0xf8..=0xfa, 0xfc..=0xfc]
        .map(|range: std::ops::RangeInclusive<u8>| range.flat_map(|byte| [byte, b' ']).collect())
        .into();
    let cut: [&[u8]; 10] = [
        b"\xc0",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xf8\x80\x80\x80",
        b"\xfc\x80\x80\x80\x80",
        b"\xdf",
        b"\xef\xbf",
        b"\xf7\xbf\xbf",
        b"\xfb\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf",
    ];
    let surrogates: [&[u8]; 7] = [
        b"\xed\xa0\x80",
        b"\xed\xad\xbf",
        b"\xed\xae\x80",
        b"\xed\xaf\xbf",
        b"\xed\xb0\x80",
        b"\xed\xbe\x80",
        b"\xed\xbf\xbf",
    ];
    let pairs = surrogates[..4].iter().flat_map(|high| [surrogates[4], surrogates[6]].map(|low| [high, low].concat()));
    // Plane by plane, the two code points that are no characters and may be sent all the same.
    let non_characters = (0..=0x10).flat_map(|plane| [0xfffe, 0xffff].map(|low| char::from_u32(plane << 16 | low)));
    let non_characters: String = non_characters.flatten().collect();
    let good: Vec<(&'static str, &[u8])> = vec![
        ("6.5", b"hello\x24world"),
        ("6.5", b"hello\xc2\xa2world"),
        ("6.5", b"hello\xe2\x82\xacworld"),
        ("6.5", b"hello\xf0\xa4\xad\xa2world"),
        ("6.7", b"\x00"),
        ("6.7", b"\xc2\x80"),
        ("6.7", b"\xe0\xa0\x80"),
        ("6.7", b"\xf0\x90\x80\x80"),
        ("6.9", b"\x7f"),
        ("6.9", b"\xdf\xbf"),
        ("6.9", b"\xef\xbf\xbf"),
        ("6.9", b"\xf4\x8f\xbf\xbf"),
        ("6.11", b"\xed\x9f\xbf"),
        ("6.11", b"\xee\x80\x80"),
        ("6.11", b"\xef\xbf\xbd"),
        ("6.22", non_characters.as_bytes()),
        ("6.23", b"\xef\xbf\xb9\xef\xbf\xba\xef\xbf\xbb\xef\xbf\xbc\xef\xbf\xbd\xef\xbf\xbe\xef\xbf\xbf"),
    ];
    let bad: Vec<(&'static str, &[u8])> = vec![
        ("6.8", b"\xf8\x88\x80\x80\x80"),
        ("6.8", b"\xfc\x84\x80\x80\x80\x80"),
        ("6.10", b"\xf7\xbf\xbf\xbf"),
        ("6.10", b"\xfb\xbf\xbf\xbf\xbf"),
        ("6.10", b"\xfd\xbf\xbf\xbf\xbf\xbf"),
        ("6.11", b"\xf4\x90\x80\x80"),
        ("6.12", b"\x80"),
        ("6.12", b"\xbf"),
        ("6.12", b"\x80\xbf"),
        ("6.12", b"\x80\xbf\x80\xbf\x80\xbf"),
        ("6.16", b"\xfe"),
        ("6.16", b"\xff"),
        ("6.16", b"\xfe\xfe\xff\xff"),
        ("6.17", b"\xc0\xaf"),
        ("6.17", b"\xe0\x80\xaf"),
        ("6.17", b"\xf0\x80\x80\xaf"),
        ("6.17", b"\xf8\x80\x80\x80\xaf"),
        ("6.17", b"\xfc\x80\x80\x80\x80\xaf"),
        ("6.18", b"\xc1\xbf"),
        ("6.18", b"\xe0\x9f\xbf"),
        ("6.18", b"\xf0\x8f\xbf\xbf"),
        ("6.18", b"\xf8\x87\xbf\xbf\xbf"),
        ("6.18", b"\xfc\x83\xbf\xbf\xbf\xbf"),
        ("6.19", b"\xc0\x80"),
        ("6.19", b"\xe0\x80\x80"),
        ("6.19", b"\xf0\x80\x80\x80"),
        ("6.19", b"\xf8\x80\x80\x80\x80"),
        ("6.19", b"\xfc\x80\x80\x80\x80\x80"),
    ];
    let mut cases = echoes(good.into_iter().map(|(number, bytes)| (number, text(bytes))));
    let mut refuse = |number, bytes: &[u8]| cases.push((number, vec![text(bytes)], vec![fail(1007)]));
    bad.into_iter().for_each(|(number, bytes)| refuse(number, bytes));
    refuse("6.12", &(0x80..0xbf).collect::<Vec<u8>>());
    lonely.iter().for_each(|bytes| refuse("6.13", bytes));
    cut.iter().for_each(|bytes| refuse("6.14", bytes));
    refuse("6.15", &cut.concat());
    surrogates.iter().for_each(|bytes| refuse("6.20", bytes));
    pairs.for_each(|bytes| refuse("6.21", &bytes));
    // All prefixes of the Greek word; whole are those that end with a character.
    for end in 1..=KOSME.len() {
        match str::from_utf8(&KOSME[..end]) {
            Ok(whole) => cases.extend(echoes([("6.6", text(whole))])),
            Err(_) => cases.push(("6.6", vec![text(&KOSME[..end])], vec![fail(1007)])),
        }
    }
    assert_eq!(cases.iter().filter(|case| case.0 == "6.6" && case.2[0].0 == TEXT).count(), 5);
    check(cases);
}

#[test]
fn case_7_closes() {
    let hello = || text("Hello World!");
    let normal = || close(1000, "");
    let reason = "*".repeat(123);
    let invalid = [&b"\x03\xe8"[..], KOSME, b"\xed\xa0\x80edited"].concat();
    check([
        ("7.1.1", vec![hello(), normal()], vec![hello(), normal()]),
        ("7.1.2", vec![normal(), normal()], vec![normal()]),
        ("7.1.3", vec![normal(), ping("")], vec![normal()]),
        ("7.1.4", vec![normal(), hello()], vec![normal()]),
        ("7.1.5", vec![first(text("fragment1")), normal(), last("fragment2")], vec![normal()]),
        ("7.3.1", vec![(CLOSE, vec![])], vec![(CLOSE, vec![])]),
        ("7.3.2", vec![(CLOSE, b"a".to_vec())], vec![fail(1002)]),
        ("7.3.3", vec![normal()], vec![normal()]),
        ("7.3.4", vec![close(1000, "Hello World!")], vec![close(1000, "Hello World!")]),
        ("7.3.5", vec![close(1000, &reason)], vec![close(1000, &reason)]),
        ("7.3.6", vec![close(1000, reason.clone() + "*")], vec![fail(1002)]),
        ("7.5.1", vec![(CLOSE, invalid)], vec![fail(1007)]),
    ]);
    let good = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999];
    check(good.map(|code| ("7.7", vec![close(code, "")], vec![close(code, "")])));
    // 7.13.1 and 7.13.2 are 5000 and 65535, of which the suite expects nothing in particular.
    let bad = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535];
    check(bad.map(|code| ("7.9, 7.13", vec![close(code, "")], vec![fail(1002)])));
}

/// 7.1.6: what came before the close is echoed before it is answered.
#[test]
fn bulk_case_7_a_long_message_and_a_close() {
    let server = Server::conformance(&OPTIONS);
    let long = || text(vec![b'*'; 256 * 1024]);
    let normal = || close(1000, "");
    let case =
        ("7.1.6", vec![long(), text("Hello World!"), normal(), ping("")], vec![long(), text("Hello World!"), normal()]);
    run(&server, &case, "at once", CUTS[0].1);
}

const MIB: usize = 1024 * 1024;

#[test]
fn bulk_case_9_sizes() {
    let server = Server::conformance(&OPTIONS);
    // 9.1.1 to 9.1.6 and 9.2.1 to 9.2.6, without the 8 MiB of each fifth.
    for size in [MIB / 16, MIB / 4, MIB, 4 * MIB, 16 * MIB] {
        for case in echoes([("9.1", text(vec![b'*'; size])), ("9.2", binary(vec![0xfe; size]))]) {
            run(&server, &case, "at once", CUTS[0].1);
        }
    }
    // 9.3.1 to 9.3.9 and 9.4.1 to 9.4.9: 4 MiB in as many fragments as there may be, the others with 1 MiB to save time.
    for (total, size) in
        [(4, 64), (1, 256), (1, 1024), (1, 4096), (1, 16 * 1024), (1, MIB / 16), (1, MIB / 4), (4, MIB)]
    {
        for (number, whole) in [("9.3", text(vec![b'*'; total * MIB])), ("9.4", binary(vec![0xfe; total * MIB]))] {
            run(&server, &(number, fragments(whole.clone(), size), vec![whole]), "at once", CUTS[0].1);
        }
    }
    // 9.5.1 to 9.5.6 and 9.6.1 to 9.6.6.
    let pieces: [Cut; 6] = [
        |client, frames| frames.concat().chunks(64).for_each(|piece| client.send(piece)),
        |client, frames| frames.concat().chunks(128).for_each(|piece| client.send(piece)),
        |client, frames| frames.concat().chunks(256).for_each(|piece| client.send(piece)),
        |client, frames| frames.concat().chunks(512).for_each(|piece| client.send(piece)),
        |client, frames| frames.concat().chunks(1024).for_each(|piece| client.send(piece)),
        |client, frames| frames.concat().chunks(2048).for_each(|piece| client.send(piece)),
    ];
    for case in echoes([("9.5", text(vec![b'*'; MIB])), ("9.6", binary(vec![0xfe; MIB]))]) {
        pieces.iter().for_each(|send| run(&server, &case, "in pieces", *send));
    }
}

/// 9.7.1 to 9.7.6 and 9.8.1 to 9.8.6: 1,000 messages, each when the one before has come back.
#[test]
fn case_9_round_trips() {
    let server = Server::conformance(&OPTIONS);
    let count = if hostile() { 10 } else { 1000 };
    for size in [0, 16, 64, 256, 1024, 4096] {
        for (opcode, payload) in [(TEXT, [b"4", &vec![b'*'; size][..]].concat()), (BINARY, vec![0xfe; size])] {
            let mut socket = open(&server);
            for _ in 0..count {
                socket.client.send(frame(opcode, &payload));
                assert_eq!(socket.frame(), (opcode, payload.clone()), "{size}");
            }
        }
    }
}

/// One fragment and one byte more than the limits allow.
#[test]
fn bulk_case_9_beyond_the_limits() {
    let server = Server::conformance(&["--max-payload", "65536", "--max-fragments", "1000", "--ping-interval", "25s"]);
    let whole = binary(vec![0xfe; 65_536]);
    let head = |length| raw_frame(0x80 | BINARY, length, b"");
    run(&server, &("the most", fragments(whole.clone(), 66), vec![whole]), "at once", CUTS[0].1);
    for (sent, code) in
        [(head(65_537), 1009), (fragments(binary([0; 1001]), 1).iter().flat_map(encode).collect(), 1008)]
    {
        let mut socket = open(&server);
        socket.client.send_anyway(sent);
        socket.assert_closed(code);
    }
}

#[test]
fn bulk_case_10_automatic_fragmentation() {
    let server = Server::conformance(&OPTIONS);
    let whole = text(vec![b'*'; 65_536]);
    run(&server, &("10.1.1", fragments(whole.clone(), 1300), vec![whole]), "at once", CUTS[0].1);
}
