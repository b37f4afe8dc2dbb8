//! The rules of the Socket.IO protocol texts (5, and 3 and 4 for older clients) that a server has to keep, over every
//! transport and encoding, against the conformance app: see its table for what it does.
//!
//! Rows are packets as a WebSocket carries them: `42["message"]`. Bytes stand in angle brackets, as in the protocol
//! text: `<01 ff>`. [`Session`] packs them as the way it goes wants it; tests named `literal` check the packing.

use crate::harness::{
    BINARY, CLOSE, Client, PING, PONG, Response, Server, TEXT, WebSocket, frame, get, request, upgrade,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{
    collections::{BTreeSet, VecDeque},
    iter, slice,
};

/// How a session gets to the server.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// `EIO`; with 4 comes protocol 5 of Socket.IO, with 3 protocol 4.
    version: u8,
    websocket: bool,
    /// Protocol 3: binary in payloads is base64.
    base64: bool,
}

const POLLING: Way = Way { version: 4, websocket: false, base64: false };
const WEBSOCKET: Way = Way { version: 4, websocket: true, base64: false };
const OLD_POLLING: Way = Way { version: 3, websocket: false, base64: false };
const OLD_BASE64: Way = Way { version: 3, websocket: false, base64: true };
const OLD_WEBSOCKET: Way = Way { version: 3, websocket: true, base64: false };

const CURRENT: &[Way] = &[POLLING, WEBSOCKET];
const OLD: &[Way] = &[OLD_POLLING, OLD_BASE64, OLD_WEBSOCKET];
const ALL: &[Way] = &[POLLING, WEBSOCKET, OLD_POLLING, OLD_BASE64, OLD_WEBSOCKET];

impl Way {
    fn target(self, path: &str) -> String {
        let transport = if self.websocket { "websocket" } else { "polling" };
        let base64 = if self.base64 { "&b64=1" } else { "" };
        format!("{path}?EIO={}&transport={transport}{base64}", self.version)
    }
}

/// The bytes that a packet in angle brackets stands for; `None` if it is text.
fn bytes(packet: &str) -> Option<Vec<u8>> {
    let hex = packet.strip_prefix('<')?.strip_suffix('>')?;
    Some(hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("two hex digits")).collect())
}

/// Bytes in angle brackets.
fn brackets(bytes: &[u8]) -> String {
    let hex: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("<{}>", hex.join(" "))
}

/// What a client POSTs.
fn payload(way: Way, packets: &[&str]) -> String {
    let mark = if way.version == 4 { "b" } else { "b4" };
    let packed = packets.iter().map(|packet| match bytes(packet) {
        Some(bytes) => format!("{mark}{}", STANDARD.encode(bytes)),
        None => packet.to_string(),
    });
    match way.version {
        4 => packed.collect::<Vec<_>>().join("\x1e"),
        _ => packed.map(|packet| format!("{}:{packet}", packet.encode_utf16().count())).collect(),
    }
}

/// The packets of an answer.
fn packets(way: Way, response: &Response) -> Vec<String> {
    let decoded = |base64: &str| brackets(&STANDARD.decode(base64).expect("base64"));
    if way.version == 4 {
        let packets = response.text().split('\x1e');
        return packets.map(|packet| packet.strip_prefix('b').map_or(packet.to_owned(), decoded)).collect();
    }
    let mut packets = Vec::new();
    if response.header("Content-Type") == Some("application/octet-stream") {
        assert!(!way.base64, "binary framing for a client that cannot take it");
        let mut rest = &response.body[..];
        while let [kind, tail @ ..] = rest {
            let end = tail.iter().position(|byte| *byte == 0xff).expect("a length ends");
            let length = tail[..end].iter().fold(0, |length, digit| length * 10 + usize::from(*digit));
            let (packet, next) = tail[end + 1..].split_at(length);
            packets.push(match (kind, packet) {
                (0, text) => String::from_utf8(text.to_vec()).expect("text"),
                (1, [4, bytes @ ..]) => brackets(bytes),
                _ => panic!("no message: {packet:?}"),
            });
            rest = next;
        }
        return packets;
    }
    let mut rest = response.text();
    while !rest.is_empty() {
        let (length, tail) = rest.split_once(':').expect("a length ends");
        let units: Vec<u16> = tail.encode_utf16().take(length.parse().expect("a number")).collect();
        let packet = String::from_utf16(&units).expect("no character is cut");
        rest = &tail[packet.len()..];
        packets.push(packet.strip_prefix("b4").map_or(packet.clone(), decoded));
    }
    packets
}

enum Carrier {
    Polling { target: String, gets: Client, posts: Client },
    WebSocket(WebSocket),
}

/// A session that takes and gives packets in the notation of the rows.
struct Session<'a> {
    server: &'a Server,
    way: Way,
    carrier: Carrier,
    /// Ids that CONNECT has been answered with, after that of the Engine.IO session; rows have `{sid}` for them.
    sids: Vec<String>,
    received: VecDeque<String>,
}

impl<'a> Session<'a> {
    fn open(server: &'a Server, way: Way) -> Session<'a> {
        Session::open_at(server, way, "/socket.io/")
    }

    fn open_at(server: &'a Server, way: Way, path: &str) -> Session<'a> {
        let mut target = way.target(path);
        let mut client = server.connect();
        let (open, carrier) = if way.websocket {
            client.send(upgrade(&target, ""));
            let mut socket = WebSocket::upgraded(client);
            (socket.text(), Carrier::WebSocket(socket))
        } else {
            let response = client.ask(get(&target));
            let open = packets(way, &response).remove(0);
            (open, Carrier::Polling { target: String::new(), gets: client, posts: server.connect() })
        };
        let json = serde_json::from_str::<serde_json::Value>(open.strip_prefix('0').expect("an open packet"));
        let sid = json.expect("JSON")["sid"].as_str().expect("a string").to_owned();
        target += &format!("&sid={sid}");
        let carrier = match carrier {
            Carrier::Polling { gets, posts, .. } => Carrier::Polling { target, gets, posts },
            websocket => websocket,
        };
        Session { server, way, carrier, sids: vec![sid], received: VecDeque::new() }
    }

    /// A session that is connected to `/`.
    fn join(server: &'a Server, way: Way) -> Session<'a> {
        let mut session = Session::open(server, way);
        if way.version == 4 {
            session.send(&["40"]);
            session.assert_receives(&["40{sid}", r#"42["auth",{}]"#]);
        } else {
            session.assert_receives(&["40", r#"42["auth",{}]"#]);
        }
        session
    }

    /// Sends packets: over polling in one payload.
    fn send(&mut self, packets: &[&str]) {
        match &mut self.carrier {
            Carrier::Polling { target, posts, .. } => {
                let answer = posts.ask(request("POST", target, "", &payload(self.way, packets)));
                assert_eq!(answer.brief(), (200, "ok"), "{packets:?}");
            }
            Carrier::WebSocket(socket) => {
                let frames = packets.iter().map(|packet| match (bytes(packet), self.way.version) {
                    (Some(bytes), 4) => frame(BINARY, &bytes),
                    (Some(bytes), _) => frame(BINARY, &[&[4], &bytes[..]].concat()),
                    (None, _) => frame(TEXT, packet.as_bytes()),
                });
                socket.client.send(frames.collect::<Vec<_>>().concat());
            }
        }
    }

    fn receive(&mut self) -> String {
        while self.received.is_empty() {
            let packets = match &mut self.carrier {
                Carrier::Polling { target, gets, .. } => {
                    let answer = gets.ask(get(target));
                    assert_eq!(answer.status, 200, "{answer:?}");
                    packets(self.way, &answer)
                }
                Carrier::WebSocket(socket) => vec![match (socket.frame(), self.way.version) {
                    ((TEXT, text), _) => String::from_utf8(text).expect("text"),
                    ((BINARY, bytes), 4) => brackets(&bytes),
                    ((BINARY, bytes), _) => brackets(bytes.strip_prefix(&[4]).expect("the type of a message")),
                    (frame, _) => panic!("no packet: {frame:?}"),
                }],
            };
            self.received.extend(packets);
        }
        let packet = self.received.pop_front().expect("there is one");
        // The answer to a CONNECT has the key `sid` and no other.
        let parts = packet.strip_suffix("\"}").and_then(|packet| packet.split_once("{\"sid\":\""));
        match parts.filter(|(head, _)| head.starts_with("40")) {
            Some((head, sid)) => {
                self.sids.push(sid.to_owned());
                format!("{head}{{sid}}")
            }
            None => packet,
        }
    }

    fn assert_receives(&mut self, packets: &[&str]) {
        for (index, packet) in packets.iter().enumerate() {
            assert_eq!(self.receive(), *packet, "packet {index} of {packets:?}, {:?}", self.way);
        }
    }

    /// The session lives, and nothing has come of what was sent but what was received.
    fn assert_quiet(&mut self) {
        self.send(&["40/nowhere,"]);
        self.assert_receives(&[match self.way.version {
            4 => r#"44/nowhere,{"message":"Invalid namespace"}"#,
            _ => r#"44/nowhere,"Invalid namespace""#,
        }]);
    }

    /// The server has ended the session without another packet; over WebSocket with this code.
    fn assert_closed(&mut self, code: u16, what: &str) {
        assert!(self.received.is_empty(), "{what}: {:?}", self.received);
        match &mut self.carrier {
            Carrier::Polling { target, .. } => {
                let answer = self.server.ask(&get(target));
                let unknown = r#"{"code":1,"message":"Session ID unknown"}"#;
                assert_eq!(answer.brief(), (400, unknown), "{what}, {:?}", self.way);
            }
            Carrier::WebSocket(socket) => {
                let (opcode, payload) = socket.frame();
                let seen = (opcode, payload.get(..2));
                assert_eq!(seen, (CLOSE, Some(&code.to_be_bytes()[..])), "{what}: {payload:?}, {:?}", self.way);
                socket.client.assert_end();
            }
        }
    }
}

/// The conformance app, with its heartbeat out of the way.
fn start(flags: &[&str]) -> Server {
    Server::conformance(&[&["--ping-interval", "1h", "--connect-timeout", "1h"], flags].concat())
}

/// What a client sends at once, and what it gets.
type Row<'a> = (&'a [&'a str], &'a [&'a str]);

/// Plays rows one after the other in one session, and sees that nothing else came of them.
fn play(mut session: Session, rows: &[Row]) {
    for (sent, seen) in rows {
        session.send(sent);
        session.assert_receives(seen);
    }
    session.assert_quiet();
}

/// Each row ends its session, which was connected to `/` and `/custom` before.
fn check_closed(server: &Server, rows: &[&[&str]]) {
    for way in ALL {
        for row in rows {
            let mut session = Session::join(server, *way);
            session.send(&["40/custom,"]);
            let connected = if way.version == 4 { "40/custom,{sid}" } else { "40/custom," };
            session.assert_receives(&[connected, r#"42/custom,["auth",{}]"#]);
            session.send(row);
            session.assert_closed(1002, &row.join(" "));
        }
    }
}

// Connection to a namespace.

#[test]
fn a_connect_is_answered_with_a_sid() {
    let server = start(&[]);
    let rows: &[Row] = &[
        (&["40"], &["40{sid}", r#"42["auth",{}]"#]),
        (&["40/,"], &["40{sid}", r#"42["auth",{}]"#]),
        (&["40{}"], &["40{sid}", r#"42["auth",{}]"#]),
        (&[r#"40{"token":"123"}"#], &["40{sid}", r#"42["auth",{"token":"123"}]"#]),
        // Auth is shown as the bytes that came, like everything.
        (&[r#"40{"b":1e400, "a":"\ud83d"}"#], &["40{sid}", r#"42["auth",{"b":1e400, "a":"\ud83d"}]"#]),
        (&["40/custom,"], &["40/custom,{sid}", r#"42/custom,["auth",{}]"#]),
        (&["40/custom"], &["40/custom,{sid}", r#"42/custom,["auth",{}]"#]),
        (&[r#"40/custom,{"token":"é"}"#], &["40/custom,{sid}", r#"42/custom,["auth",{"token":"é"}]"#]),
        // The query that older clients put there names no other namespace.
        (&["40/custom?a=b"], &["40/custom,{sid}", r#"42/custom,["auth",{}]"#]),
        (&["40/custom?a=b,"], &["40/custom,{sid}", r#"42/custom,["auth",{}]"#]),
        (&[r#"40/custom?a=b&c=%2C,{"d":1}"#], &["40/custom,{sid}", r#"42/custom,["auth",{"d":1}]"#]),
        (&["40/?a=b,"], &["40{sid}", r#"42["auth",{}]"#]),
    ];
    let mut sids = BTreeSet::new();
    for way in CURRENT {
        for row in rows {
            let mut session = Session::open(&server, *way);
            session.send(row.0);
            session.assert_receives(row.1);
            session.assert_quiet();
            sids.extend(session.sids);
        }
    }
    // That of the Engine.IO session is a secret, and no other's either.
    assert_eq!(sids.len(), 2 * CURRENT.len() * rows.len(), "{sids:?}");
    assert!(sids.iter().all(|sid| sid.len() >= 20), "{sids:?}");
}

#[test]
fn a_connect_that_cannot_be_read_ends_the_session() {
    let server = start(&[]);
    for way in CURRENT {
        for packet in ["40null", "40[]", r#"40"x""#, "40{", "40{}x", r#"40{"a":}"#, "40/custom,null", "4", "49", "4abc"]
        {
            let mut session = Session::open(&server, *way);
            session.send(&[packet]);
            session.assert_closed(1002, packet);
        }
    }
}

#[test]
fn an_unknown_namespace_is_refused() {
    let server = start(&[]);
    let rows: &[Row] = &[
        (&["40/random,"], &[r#"44/random,{"message":"Invalid namespace"}"#]),
        (&["40/random"], &[r#"44/random,{"message":"Invalid namespace"}"#]),
        (&[r#"40/random,{"token":"123"}"#], &[r#"44/random,{"message":"Invalid namespace"}"#]),
        (&["40/random?a=b,"], &[r#"44/random,{"message":"Invalid namespace"}"#]),
        (&["40/Custom,"], &[r#"44/Custom,{"message":"Invalid namespace"}"#]),
        (&["40/custom/,"], &[r#"44/custom/,{"message":"Invalid namespace"}"#]),
        (&["40/cust,"], &[r#"44/cust,{"message":"Invalid namespace"}"#]),
        (&["40//,"], &[r#"44//,{"message":"Invalid namespace"}"#]),
        (&["40/é\"{,"], &["44/é\"{,{\"message\":\"Invalid namespace\"}"]),
        (&["40/__proto__,"], &[r#"44/__proto__,{"message":"Invalid namespace"}"#]),
        // It is no bar to another.
        (&["40"], &["40{sid}", r#"42["auth",{}]"#]),
        (&["40/random,"], &[r#"44/random,{"message":"Invalid namespace"}"#]),
        (&[r#"42["message",1]"#], &[r#"42["message-back",1]"#]),
    ];
    CURRENT.iter().for_each(|way| play(Session::open(&server, *way), rows));
}

#[test]
fn the_application_refuses_with_a_message_of_its_own() {
    let server = start(&[]);
    let rows: &[Row] = &[
        (&[r#"40{"refuse":"Not authorized"}"#], &[r#"44{"message":"Not authorized"}"#]),
        (&["40"], &["40{sid}", r#"42["auth",{}]"#]),
        (&[r#"40/custom,{"refuse":"\"é\"\n"}"#], &[r#"44/custom,{"message":"\"é\"\n"}"#]),
        // The other namespace lives, and the refused one can be asked for again.
        (&[r#"42["message",1]"#], &[r#"42["message-back",1]"#]),
        (&[r#"42/custom,["ask"]"#, "41/custom,"], &[]),
        (&["40/custom,"], &["40/custom,{sid}", r#"42/custom,["auth",{}]"#]),
        (&[r#"42/custom,["ask"]"#], &[r#"42/custom,0["question"]"#]),
    ];
    CURRENT.iter().for_each(|way| play(Session::open(&server, *way), rows));
}

#[test]
fn who_was_refused_is_not_connected() {
    let server = start(&[]);
    for way in CURRENT {
        for (sent, seen) in [
            (r#"40{"refuse":"no"}"#, r#"44{"message":"no"}"#),
            ("40/random,", r#"44/random,{"message":"Invalid namespace"}"#),
        ] {
            let mut session = Session::open(&server, *way);
            session.send(&[sent]);
            session.assert_receives(&[seen]);
            session.send(&[r#"42["message",1]"#]);
            session.assert_closed(1002, sent);
        }
    }
}

#[test]
fn a_session_without_a_connect_is_closed_in_time() {
    let server = start(&["--connect-timeout", "300ms"]);
    for way in CURRENT {
        let mut connected = Session::join(&server, *way);
        let mut left = Session::join(&server, *way);
        left.send(&["41"]);
        let mut idle = Session::open(&server, *way);
        let mut refused = Session::open(&server, *way);
        // Neither a refusal nor packets of Engine.IO are a connection.
        refused.send(&["40/random,", "6", "3"]);
        refused.assert_receives(&[r#"44/random,{"message":"Invalid namespace"}"#]);
        for session in [&mut idle, &mut refused] {
            if !way.websocket {
                session.assert_receives(&["1"]);
            }
            session.assert_closed(1001, "no CONNECT");
        }
        connected.assert_quiet();
        left.assert_quiet();
    }
    for way in OLD {
        let mut session = Session::join(&server, *way);
        Session::open(&server, POLLING).assert_receives(&["1"]);
        session.assert_quiet();
    }
}

#[test]
fn anything_before_connect_ends_the_session() {
    let server = start(&[]);
    let rows: &[&[&str]] = &[
        &[r#"42["message",1]"#],
        &[r#"42/custom,["message",1]"#],
        &[r#"42/random,["message",1]"#],
        &[r#"421["message-with-ack"]"#],
        &["430[]"],
        &["41"],
        &["41/custom,"],
        &[r#"44{"message":"no"}"#],
        // At the header: nothing is kept for somebody who is not there.
        &[r#"451-["message",{"_placeholder":true,"num":0}]"#],
        &[r#"451-["message",{"_placeholder":true,"num":0}]"#, "<01>"],
        &[r#"461-0[{"_placeholder":true,"num":0}]"#],
        &["<01>"],
        &["<>"],
    ];
    for way in CURRENT {
        for row in rows {
            let mut session = Session::open(&server, *way);
            session.send(row);
            session.assert_closed(1002, &row.join(" "));
        }
    }
}

// Sending and receiving data.

#[test]
fn events_come_back_byte_for_byte() {
    let server = start(&[]);
    let arguments = [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1.50",
        "-1e-7",
        "1e400",
        "12345678901234567890",
        "0.10000000000000000001",
        r#""""#,
        r#""text""#,
        r#""\u0000\u001e\/\b\"\\""#,
        r#""\ud83d""#,
        r#""\ude00\ud83d""#,
        r#""\u00e9\ud83d\udc4d""#,
        "[]",
        "[[],[[1]]]",
        "{}",
        r#"{"b":1,"a":2,"b":3,"1":0,"__proto__":{"x":1}}"#,
        "[ 1 ,\t{ \"a\" : 2 } ]",
        r#"{"_placeholder":true,"num":0}"#,
        r#"1,"2",{"3":[true]},null"#,
        r#""[{\"",{"]":"}"}"#,
    ];
    for way in ALL {
        let mut session = Session::join(&server, *way);
        session.send(&[r#"42["message"]"#, r#"42 [ "message" ] "#, r#"42["m\u0065ssage",1]"#, r#"42/,["message",2]"#]);
        session.assert_receives(&[
            r#"42["message-back"]"#,
            r#"42["message-back"]"#,
            r#"42["message-back",1]"#,
            r#"42["message-back",2]"#,
        ]);
        for arguments in arguments {
            session
                .send(&[&format!(r#"42["message",{arguments}]"#), &format!(r#"420["message-with-ack",{arguments}]"#)]);
            session.assert_receives(&[&format!(r#"42["message-back",{arguments}]"#), &format!("430[{arguments}]")]);
        }
        session.assert_quiet();
    }
}

#[test]
fn characters_beyond_ascii_come_back() {
    let server = start(&[]);
    for way in ALL {
        let mut session = Session::join(&server, *way);
        session.send(&["42[\"message\",\"é\u{2028}👍\",{\"€\":0}]"]);
        // What 1.x clients decode twice stays ASCII.
        session.assert_receives(&[match (way.version, way.websocket) {
            (3, false) => r#"42["message-back","\u00e9\u2028\ud83d\udc4d",{"\u20ac":0}]"#,
            _ => "42[\"message-back\",\"é\u{2028}👍\",{\"€\":0}]",
        }]);
        session.assert_quiet();
    }
}

#[test]
fn an_event_without_a_name_ends_the_session() {
    let rows: &[&[&str]] = &[
        &["42"],
        &["42/custom,"],
        &["42[]"],
        &["42{}"],
        &[r#"42{"0":"message"}"#],
        &[r#"42"message""#],
        &["42null"],
        &["42[null]"],
        &["42[true]"],
        &[r#"42[["message"]]"#],
        &[r#"42[{"toString":"message"}]"#],
        &[r#"42["message""#],
        &[r#"42["message"]x"#],
        &[r#"42["message"]["message"]"#],
        &[r#"42["message",]"#],
        &[r#"42["message",01]"#],
        &[r#"42["message",undefined]"#],
        &["42[\"message\",\"\n\"]"],
        &[r#"42abc["message"]"#],
        &[r#"42-1["message"]"#],
        &[r#"42/custom["message"]"#],
        &[r#"47["message"]"#],
        &[r#"450-[]"#],
        &["450-"],
    ];
    check_closed(&start(&[]), rows);
}

#[test]
fn events_that_nobody_handles_are_nothing() {
    let server = start(&[]);
    // A number may be a name, as in the reference.
    let rows: &[Row] = &[(&[r#"42["nobody",1]"#, r#"427["nobody"]"#, "42[5]", "42[-1.5e400]", r#"42[""]"#], &[])];
    ALL.iter().for_each(|way| play(Session::join(&server, *way), rows));
}

/// Names by which the two sides tell their own users what happens to a connection.
#[test]
fn reserved_names_end_the_session() {
    let rows: &[&[&str]] = &[
        &[r#"42["connect"]"#],
        &[r#"42["connect_error",{"message":"x"}]"#],
        &[r#"42["disconnect","io client disconnect"]"#],
        &[r#"42["disconnecting"]"#],
        &[r#"42["newListener"]"#],
        &[r#"421["removeListener"]"#],
        &[r#"42/custom,["connect"]"#],
        &[r#"42["\u0063onnect"]"#],
        &[r#"451-["connect",{"_placeholder":true,"num":0}]"#],
    ];
    let server = start(&[]);
    check_closed(&server, rows);
    let rows: &[Row] = &[
        (&[r#"42["message","connect"]"#], &[r#"42["message-back","connect"]"#]),
        (&[r#"42["connection"]"#, r#"42["error"]"#, r#"42["Connect"]"#], &[]),
    ];
    ALL.iter().for_each(|way| play(Session::join(&server, *way), rows));
}

/// JSON that many brackets deep, in an array that is one of them.
fn nested(open: &str, close: &str, depth: usize) -> String {
    format!("{}1{}", open.repeat(depth - 1), close.repeat(depth - 1))
}

#[test]
fn json_may_be_64_levels_deep() {
    let server = start(&[]);
    for way in ALL {
        let mut session = Session::join(&server, *way);
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let json = nested(open, close, 64);
            session.send(&[&format!(r#"42["message",{json}]"#)]);
            session.assert_receives(&[&format!(r#"42["message-back",{json}]"#)]);
        }
        session.assert_quiet();
    }
    for depth in [65, 10_000] {
        let (arrays, objects) = (nested("[", "]", depth), nested(r#"{"a":"#, "}", depth));
        let binary = format!(r#"451-["message",{{"_placeholder":true,"num":0}},{arrays}]"#);
        let packets = [
            format!(r#"42["message",{arrays}]"#),
            format!(r#"42["message",{objects}]"#),
            format!(r#"42["message",{}"#, "[".repeat(depth)),
            format!("430[{arrays}]"),
            format!("40/nowhere,{{\"a\":{objects}}}"),
            binary,
        ];
        let rows: Vec<&str> = packets.iter().map(String::as_str).collect();
        check_closed(&server, &rows.iter().map(slice::from_ref).collect::<Vec<_>>());
    }
}

// Acknowledgement.

#[test]
fn an_ack_has_the_id_of_its_event() {
    let server = start(&[]);
    let rows: &[Row] = &[
        (&[r#"420["message-with-ack"]"#], &["430[]"]),
        (&[r#"4212["message-with-ack","foo"]"#], &[r#"4312["foo"]"#]),
        (&[r#"42456["message-with-ack",1,"2",{"3":[false]}]"#], &[r#"43456[1,"2",{"3":[false]}]"#]),
        (&[r#"42/,13["message-with-ack"]"#], &["4313[]"]),
        (&[r#"42007["message-with-ack"]"#], &["437[]"]),
        (&[r#"429007199254740991["message-with-ack"]"#], &["439007199254740991[]"]),
        // The same again is another question.
        (&[r#"421["message-with-ack",1]"#, r#"421["message-with-ack",2]"#], &["431[1]", "431[2]"]),
        // Nobody asked.
        (&[r#"42["message-with-ack",1]"#], &[]),
    ];
    ALL.iter().for_each(|way| play(Session::join(&server, *way), rows));
}

#[test]
fn an_ack_id_that_is_no_exact_number_ends_the_session() {
    let digits = "9".repeat(1_000);
    let long = format!(r#"42{digits}["message-with-ack"]"#);
    let rows: &[&[&str]] = &[
        // Above this JavaScript would answer with another one.
        &[r#"429007199254740992["message-with-ack"]"#],
        &[r#"4218446744073709551616["message-with-ack"]"#],
        &[r#"4218446744073709551617["message-with-ack"]"#],
        &[&long],
        &[r#"42-1["message-with-ack"]"#],
        &[r#"421.5["message-with-ack"]"#],
        &[r#"421e1["message-with-ack"]"#],
        &["4318446744073709551616[]"],
        &["43[]"],
        &["43"],
        &["430"],
        &["430{}"],
        &[r#"430"yes""#],
        &["430[]x"],
        &["430[1"],
        &[r#"461-[{"_placeholder":true,"num":0}]"#],
    ];
    check_closed(&start(&[]), rows);
}

#[test]
fn the_server_asks_and_hears_the_answer() {
    let server = start(&[]);
    let rows: &[Row] = &[
        (&[r#"42["ask","foo"]"#], &[r#"420["question","foo"]"#]),
        (&[r#"430["bar",1e400]"#], &[r#"42["answer","bar",1e400]"#]),
        // The second answer is nothing, like one that was not asked for.
        (&["430[2]", "431[]", "439007199254740991[]"], &[]),
        (&[r#"42["ask"]"#, r#"42["ask"]"#], &[r#"421["question"]"#, r#"422["question"]"#]),
        // In any order, and with nothing in it.
        (&["432[]"], &[r#"42["answer"]"#]),
        (&["431[1]"], &[r#"42["answer",1]"#]),
        // With attachments.
        (&[r#"42["ask"]"#], &[r#"423["question"]"#]),
        (
            &[r#"462-3[{"_placeholder":true,"num":1},"x",{"_placeholder":true,"num":0}]"#, "<01 02>", "<>"],
            &[r#"452-["answer",{"_placeholder":true,"num":1},"x",{"_placeholder":true,"num":0}]"#, "<01 02>", "<>"],
        ),
        (&[r#"461-3[{"_placeholder":true,"num":0}]"#, "<01>"], &[]),
        // Our ids are not those of the client.
        (&[r#"42["ask"]"#, r#"424["message-with-ack",1]"#], &[r#"424["question"]"#, "434[1]"]),
        (&["434[2]"], &[r#"42["answer",2]"#]),
    ];
    ALL.iter().for_each(|way| play(Session::join(&server, *way), rows));
}

#[test]
fn each_namespace_has_answers_of_its_own() {
    let server = start(&[]);
    for way in ALL {
        let mut session = Session::join(&server, *way);
        session.send(&["40/custom,"]);
        let connected = if way.version == 4 { "40/custom,{sid}" } else { "40/custom," };
        session.assert_receives(&[connected, r#"42/custom,["auth",{}]"#]);
        let rows: &[Row] = &[
            (&[r#"42/custom,["ask","a"]"#], &[r#"42/custom,0["question","a"]"#]),
            // `/` was not asked.
            (&["430[1]"], &[]),
            (&[r#"42["ask","b"]"#], &[r#"420["question","b"]"#]),
            (&["43/custom,0[2]"], &[r#"42/custom,["answer",2]"#]),
            (&["430[3]"], &[r#"42["answer",3]"#]),
            (&[r#"42/custom,["ask"]"#], &[r#"42/custom,1["question"]"#]),
            (
                &[r#"461-/custom,1[{"_placeholder":true,"num":0}]"#, "<ff>"],
                &[r#"451-/custom,["answer",{"_placeholder":true,"num":0}]"#, "<ff>"],
            ),
        ];
        play(session, rows);
    }
}

#[test]
fn a_socket_owes_only_so_many_answers() {
    let server = start(&["--max-acks", "2"]);
    let rows: &[Row] = &[
        (&[r#"42["ask"]"#, r#"42["ask"]"#], &[r#"420["question"]"#, r#"421["question"]"#]),
        (&[r#"42["ask"]"#], &[r#"42["busy"]"#]),
        (&["430[]"], &[r#"42["answer"]"#]),
        (&[r#"42["ask"]"#, r#"42["ask"]"#], &[r#"422["question"]"#, r#"42["busy"]"#]),
        (&["430[]", "433[]"], &[]),
        (&["432[]", "431[]"], &[r#"42["answer"]"#, r#"42["answer"]"#]),
    ];
    ALL.iter().for_each(|way| play(Session::join(&server, *way), rows));
}

#[test]
fn an_answer_that_does_not_come_is_not_waited_for() {
    let server = start(&["--max-acks", "1"]);
    for way in ALL {
        let rows: &[Row] = &[
            (&[r#"42["ask-briefly"]"#], &[r#"420["question"]"#, r#"42["no-answer",0]"#]),
            // Too late.
            (&["430[1]"], &[]),
            (&[r#"42["ask"]"#], &[r#"421["question"]"#]),
            (&["431[2]"], &[r#"42["answer",2]"#]),
        ];
        play(Session::join(&server, *way), rows);
        // Who has gone is not waited for either.
        let mut session = Session::join(&server, *way);
        session.send(&[r#"42["ask-briefly"]"#, "41"]);
        session.assert_receives(&[r#"420["question"]"#]);
        Session::join(&server, WEBSOCKET).send(&[r#"42["ask-briefly"]"#]);
        session.assert_quiet();
    }
}

// Binary.

/// An event or answer with so many attachments, and the attachments.
fn with_attachments(head: &str, first: &str, count: u8) -> Vec<String> {
    let placeholders = (0..count).map(|number| format!(r#"{{"_placeholder":true,"num":{number}}}"#));
    let elements: Vec<_> = (!first.is_empty()).then(|| first.to_owned()).into_iter().chain(placeholders).collect();
    let packet = format!("{head}[{}]", elements.join(","));
    iter::once(packet).chain((0..count).map(|number| brackets(&[number, 0xff]))).collect()
}

fn borrow(packets: &[String]) -> Vec<&str> {
    packets.iter().map(String::as_str).collect()
}

#[test]
fn binary_events_and_acks_come_back() {
    let server = start(&[]);
    let rows: &[Row] = &[
        // A header may announce nothing.
        (&[r#"450-["message",1]"#], &[r#"42["message-back",1]"#]),
        (&[r#"450-7["message-with-ack",1]"#], &["437[1]"]),
        (
            &[r#"451-["message",{"_placeholder":true,"num":0}]"#, "<01 02 03 04>"],
            &[r#"451-["message-back",{"_placeholder":true,"num":0}]"#, "<01 02 03 04>"],
        ),
        (
            &[r#"452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#, "<01>", "<02 03>"],
            &[r#"452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#, "<01>", "<02 03>"],
        ),
        (&[r#"461-0[{"_placeholder":true,"num":0}]"#, "<01>", r#"42["message",1]"#], &[r#"42["message-back",1]"#]),
        (
            &[
                r#"452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#,
                "<01>",
                "<02>",
            ],
            &[r#"462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#, "<01>", "<02>"],
        ),
        // Anywhere, in any order, twice, with keys in any order; empty, and with every odd byte.
        (
            &[
                r#"452-["message",{"a":[{"num":1,"_placeholder":true}]}, { "_placeholder" : true, "num" : 0 } ]"#,
                "<>",
                "<04 ff 00 1e>",
            ],
            &[
                r#"452-["message-back",{"a":[{"num":1,"_placeholder":true}]},{ "_placeholder" : true, "num" : 0 }]"#,
                "<>",
                "<04 ff 00 1e>",
            ],
        ),
        (
            &[r#"451-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#, "<62 34>"],
            &[r#"451-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#, "<62 34>"],
        ),
        // Text that looks like a placeholder, and objects that are none.
        (
            &[
                r#"451-["message","{\"_placeholder\":true,\"num\":9}",{"_placeholder":false,"num":9},{"_placeholder":true,"num":0}]"#,
                "<01>",
            ],
            &[
                r#"451-["message-back","{\"_placeholder\":true,\"num\":9}",{"_placeholder":false,"num":9},{"_placeholder":true,"num":0}]"#,
                "<01>",
            ],
        ),
    ];
    ALL.iter().for_each(|way| play(Session::join(&server, *way), rows));
}

#[test]
fn a_packet_may_have_ten_attachments() {
    let server = start(&[]);
    for way in ALL {
        let mut session = Session::join(&server, *way);
        session.send(&borrow(&with_attachments("4510-", "\"message\"", 10)));
        session.assert_receives(&borrow(&with_attachments("4510-", "\"message-back\"", 10)));
        session.send(&borrow(&with_attachments("4510-1", "\"message-with-ack\"", 10)));
        session.assert_receives(&borrow(&with_attachments("4610-1", "", 10)));
        session.assert_quiet();
    }
}

#[test]
fn a_binary_header_is_judged_before_its_attachments() {
    let eleven = [with_attachments("4511-", "\"message\"", 11), with_attachments("4611-0", "", 11)];
    let rows: &[&[&str]] = &[
        &[&eleven[0][0]],
        &[&eleven[1][0]],
        &[r#"4599999999999999999999-["message"]"#],
        &[r#"45["message",{"_placeholder":true,"num":0}]"#],
        &[r#"45-["message",{"_placeholder":true,"num":0}]"#],
        &[r#"45+1-["message",{"_placeholder":true,"num":0}]"#],
        &[r#"451["message",{"_placeholder":true,"num":0}]"#],
        &[r#"451-1-["message",{"_placeholder":true,"num":0}]"#],
        &["451-"],
        &["451-[]"],
        &["451-{}"],
        &[r#"451-[{"_placeholder":true,"num":0}]"#],
        // Placeholders: none, one too many, none for an attachment, and those that are no numbers.
        &[r#"451-["message"]"#],
        &[r#"451-["message",{"_placeholder":true,"num":1}]"#],
        &[r#"451-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#],
        &[r#"452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#],
        &[r#"451-["message",{"_placeholder":true,"num":-1}]"#],
        &[r#"451-["message",{"_placeholder":true,"num":0.5}]"#],
        &[r#"451-["message",{"_placeholder":true,"num":"0"}]"#],
        &[r#"451-["message",{"_placeholder":true,"num":"splice"}]"#],
        &[r#"451-["message",{"_placeholder":true,"num":null}]"#],
        &[r#"451-["message",{"_placeholder":true,"num":99999999999999999999}]"#],
        &[r#"451-["message",{"_placeholder":true}]"#],
        &[r#"451-["message",{"num":0}]"#],
        &[r#"451-["message",{"_placeholder":true,"num":0},{"\u005fplaceholder":true,"num":1}]"#],
        &["461-0[]"],
        &[r#"461-0[{"_placeholder":true,"num":1}]"#],
    ];
    check_closed(&start(&[]), rows);
}

#[test]
fn attachments_follow_their_header_and_nothing_else() {
    const ONE: &str = r#"451-["message",{"_placeholder":true,"num":0}]"#;
    const TWO: &str = r#"452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    let rows: &[&[&str]] = &[
        &["<01>"],
        &["<>"],
        &[ONE, r#"42["message",1]"#],
        &[ONE, r#"42["message",1]"#, "<01>"],
        &[ONE, ONE],
        &[ONE, "40/nowhere,"],
        &[ONE, "41"],
        &[ONE, "41/custom,"],
        &[ONE, "430[]"],
        &[TWO, "<01>", r#"42["message",1]"#],
        &[TWO, "<01>", TWO],
    ];
    let server = start(&[]);
    check_closed(&server, rows);
    for way in ALL {
        // One too many.
        let mut session = Session::join(&server, *way);
        session.send(&[ONE, "<01>"]);
        session.assert_receives(&[r#"451-["message-back",{"_placeholder":true,"num":0}]"#, "<01>"]);
        session.send(&["<02>"]);
        session.assert_closed(1002, "a surplus attachment");
        // In pieces, with packets of Engine.IO between them.
        let mut session = Session::join(&server, *way);
        [TWO, "6", "<01>", "6", "<02>"].iter().for_each(|packet| session.send(&[packet]));
        let head = r#"452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
        session.assert_receives(&[head, "<01>", "<02>"]);
        session.assert_quiet();
    }
}

#[test]
fn heartbeats_pass_between_a_header_and_its_attachments() {
    let server = start(&[]);
    for (way, heartbeat) in [(POLLING, "3"), (WEBSOCKET, "3"), (OLD_POLLING, "2"), (OLD_WEBSOCKET, "2probe")] {
        let mut session = Session::join(&server, way);
        session.send(&[r#"451-["message",{"_placeholder":true,"num":0}]"#, heartbeat]);
        if let Carrier::WebSocket(socket) = &mut session.carrier {
            socket.client.send(frame(PING, b"x"));
        }
        match (way.version, way.websocket) {
            (3, false) => session.assert_receives(&["3"]),
            (3, true) => session.assert_receives(&["3probe"]),
            _ => {}
        }
        if let Carrier::WebSocket(socket) = &mut session.carrier {
            assert_eq!(socket.frame(), (PONG, b"x".to_vec()));
        }
        session.send(&["<01>"]);
        session.assert_receives(&[r#"451-["message-back",{"_placeholder":true,"num":0}]"#, "<01>"]);
        session.assert_quiet();
    }
}

#[test]
fn attachments_that_do_not_come_are_not_waited_for() {
    let server = start(&["--message-timeout", "200ms"]);
    for way in ALL {
        let mut session = Session::join(&server, *way);
        let head = r#"452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
        session.send(&[head, "<01>"]);
        if !way.websocket {
            session.assert_receives(&["1"]);
        }
        session.assert_closed(1001, head);
        // The whole time for each packet, and none when it is whole.
        let mut session = Session::join(&server, *way);
        session.send(&[head, "<01>", "<02>"]);
        session.assert_receives(&[&head.replace("message", "message-back"), "<01>", "<02>"]);
        Session::join(&server, WEBSOCKET).send(&[head]);
        session.assert_quiet();
    }
}

#[test]
fn an_attachment_is_at_most_as_large_as_a_message() {
    let server = start(&["--max-payload", "1000"]);
    let head = r#"451-["message",{"_placeholder":true,"num":0}]"#;
    let back = r#"451-["message-back",{"_placeholder":true,"num":0}]"#;
    for (way, most) in [(WEBSOCKET, 1000), (OLD_WEBSOCKET, 999), (POLLING, 747), (OLD_POLLING, 744), (OLD_BASE64, 744)]
    {
        let [fits, too_large] = [most, most + 1].map(|size| brackets(&vec![0xab; size]));
        let mut session = Session::join(&server, way);
        session.send(&[head]);
        session.send(&[&fits]);
        session.assert_receives(&[back, &fits]);
        session.send(&[head]);
        if way.websocket {
            session.send(&[&too_large]);
            session.assert_closed(1009, "too large");
            continue;
        }
        // The session lives, and still waits for what it was promised.
        let Carrier::Polling { target, .. } = &session.carrier else { unreachable!() };
        let post = request("POST", target, "", &payload(way, &[&too_large]));
        assert_eq!(server.ask(&post).status, 413, "{way:?}");
        session.send(&["<01>"]);
        session.assert_receives(&[back, "<01>"]);
        session.assert_quiet();
    }
}

#[test]
fn attachments_for_a_namespace_that_is_not_connected_are_dropped() {
    let server = start(&[]);
    let rows: &[Row] = &[
        (&[r#"451-/custom,["message",{"_placeholder":true,"num":0}]"#, "<01>"], &[]),
        (&[r#"462-/custom,0[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#, "<01>", "<02>"], &[]),
        (&[r#"451-/random,["message",{"_placeholder":true,"num":0}]"#, "<01>"], &[]),
        (&[r#"42["message",1]"#], &[r#"42["message-back",1]"#]),
        (&["41", r#"451-["message",{"_placeholder":true,"num":0}]"#, "<01>"], &[]),
    ];
    ALL.iter().for_each(|way| play(Session::join(&server, *way), rows));
}

#[test]
fn attachments_for_a_socket_that_was_ended_meanwhile_are_dropped() {
    let server = start(&[]);
    for way in ALL {
        let mut session = Session::join(&server, *way);
        session.send(&[r#"452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#, "<01>"]);
        let mut other = Session::join(&server, WEBSOCKET);
        other.send(&[r#"42["end-all"]"#]);
        other.assert_receives(&["41"]);
        session.assert_receives(&["41"]);
        session.send(&["<02>"]);
        session.assert_quiet();
    }
}

// Namespaces and how they are left.

#[test]
fn one_session_carries_several_namespaces() {
    let server = start(&[]);
    for way in CURRENT {
        let mut session = Session::open(&server, *way);
        session.send(&[r#"40/custom,{"a":1}"#, r#"40{"b":2}"#]);
        session.assert_receives(&[
            "40/custom,{sid}",
            r#"42/custom,["auth",{"a":1}]"#,
            "40{sid}",
            r#"42["auth",{"b":2}]"#,
        ]);
        assert_eq!(session.sids.iter().collect::<BTreeSet<_>>().len(), 3, "{:?}", session.sids);
        let rows: &[Row] = &[
            (
                &[r#"42["message",1]"#, r#"42/custom,["ask"]"#],
                &[r#"42["message-back",1]"#, r#"42/custom,0["question"]"#],
            ),
            // The echo is in `/` alone.
            (&[r#"42/custom,["message",1]"#], &[]),
            (&["41/custom,"], &[]),
            (&[r#"42["message",2]"#, r#"42/custom,["ask"]"#], &[r#"42["message-back",2]"#]),
            (&["41"], &[]),
            (&[r#"42["message",3]"#], &[]),
            (&["40/custom,"], &["40/custom,{sid}", r#"42/custom,["auth",{}]"#]),
            (&[r#"42["message",4]"#, r#"42/custom,["ask"]"#], &[r#"42/custom,0["question"]"#]),
            (&["40"], &["40{sid}", r#"42["auth",{}]"#]),
            (&[r#"42["message",5]"#], &[r#"42["message-back",5]"#]),
        ];
        play(session, rows);
    }
}

#[test]
fn a_namespace_that_was_left_is_joined_anew() {
    let server = start(&[]);
    for way in CURRENT {
        let mut session = Session::join(&server, *way);
        session.send(&[r#"42["ask"]"#, "41", "40"]);
        session.assert_receives(&[r#"420["question"]"#, "40{sid}", r#"42["auth",{}]"#]);
        assert_eq!(session.sids.iter().collect::<BTreeSet<_>>().len(), 3, "{:?}", session.sids);
        // It is another socket, which was asked nothing.
        play(session, &[(&["430[1]"], &[]), (&[r#"42["ask"]"#], &[r#"420["question"]"#])]);
    }
}

#[test]
fn what_comes_for_a_namespace_that_was_left_is_nothing() {
    let server = start(&[]);
    let rows: &[Row] = &[
        (&["41"], &[]),
        (&[r#"42["message",1]"#, r#"420["message-with-ack",1]"#, "430[]", "41"], &[]),
        (&["41/custom,", r#"42/custom,["ask"]"#, r#"42/random,["message"]"#, "41/random,"], &[]),
    ];
    ALL.iter().for_each(|way| play(Session::join(&server, *way), rows));
}

/// In protocol 5 a second CONNECT makes no sense; the text does not say so, but the reference closes as well.
#[test]
fn a_second_connect_ends_the_session() {
    let server = start(&[]);
    for way in CURRENT {
        for packet in ["40", "40/,", r#"40{"token":"123"}"#, r#"40{"refuse":"no"}"#, "44{}", r#"44"no""#] {
            let mut session = Session::join(&server, *way);
            session.send(&[packet]);
            session.assert_closed(1002, packet);
        }
    }
    check_closed(&server, &[&["40/custom,"], &["40/custom?a=b,"], &["44/custom,{}"], &["44/random,{}"]]);
}

#[test]
fn a_disconnect_carries_nothing() {
    check_closed(&start(&[]), &[&["41{}"], &["41[]"], &["41x"], &["41/custom,{}"], &[r#"41/custom,"bye""#]]);
}

#[test]
fn heartbeats_go_on_when_all_namespaces_are_left() {
    let server = start(&["--ping-interval", "100ms", "--ping-timeout", "10s"]);
    for way in CURRENT {
        let mut session = Session::join(&server, *way);
        session.send(&["40/custom,", "41/custom,", "41"]);
        while session.receive() != r#"42/custom,["auth",{}]"# {}
        for _ in 0..3 {
            assert_eq!(session.receive(), "2", "{way:?}");
            session.send(&["3"]);
        }
    }
    for way in OLD {
        let mut session = Session::join(&server, *way);
        play_old_heartbeat(&mut session);
        session.send(&["41"]);
        play_old_heartbeat(&mut session);
        session.assert_quiet();
    }
}

/// In protocol 3 it is the client that pings.
fn play_old_heartbeat(session: &mut Session) {
    session.send(&["2"]);
    session.assert_receives(&["3"]);
}

#[test]
fn the_server_ends_sockets_and_the_session_lives() {
    let server = start(&[]);
    for way in ALL {
        let mut session = Session::join(&server, *way);
        session.send(&["40/custom,"]);
        let connected = if way.version == 4 { "40/custom,{sid}" } else { "40/custom," };
        session.assert_receives(&[connected, r#"42/custom,["auth",{}]"#]);
        let again = if way.version == 4 { "40{sid}" } else { "40" };
        let rows: &[Row] = &[
            (&[r#"42["ask"]"#], &[r#"420["question"]"#]),
            (&[r#"42/custom,["end-all"]"#], &["41", "41/custom,"]),
            (&[r#"42["message",1]"#, "430[]", "41/custom,"], &[]),
            (&["40"], &[again, r#"42["auth",{}]"#]),
            (&[r#"42["message",2]"#], &[r#"42["message-back",2]"#]),
        ];
        play(session, rows);
    }
}

// Protocols 3 and 4.

#[test]
fn an_older_client_is_connected_without_asking() {
    let server = start(&[]);
    let rows: &[Row] = &[
        (&[], &["40", r#"42["auth",{}]"#]),
        (&["40/custom,"], &["40/custom,", r#"42/custom,["auth",{}]"#]),
        // Protocol 3 has no comma there, and some ask for what they have.
        (&["41/custom", "40/custom"], &["40/custom,", r#"42/custom,["auth",{}]"#]),
        (&["40", "40/"], &[]),
        (&["41/custom,", "40/custom?token=1234&uid=abcd"], &["40/custom,", r#"42/custom,["auth",{}]"#]),
        (&["40/random,"], &[r#"44/random,"Invalid namespace""#]),
        (&["40/random?token=1234,"], &[r#"44/random,"Invalid namespace""#]),
        (&["41/custom,", r#"40/custom,{"refuse":"Not \"authorized\""}"#], &[r#"44/custom,"Not \"authorized\"""#]),
        (&[r#"42["message",1]"#], &[r#"42["message-back",1]"#]),
        (&["41", r#"42["message",1]"#], &[]),
        (&["40"], &["40", r#"42["auth",{}]"#]),
    ];
    for way in OLD {
        let mut session = Session::open(&server, *way);
        session.assert_receives(rows[0].1);
        play(session, &rows[1..]);
    }
}

#[test]
fn what_an_older_client_sends_at_once_finds_it_connected() {
    let server = start(&[]);
    for way in OLD {
        let mut session = Session::open(&server, *way);
        session.send(&[r#"42["message",1]"#, r#"421["message-with-ack"]"#]);
        session.assert_receives(&["40", r#"42["auth",{}]"#, r#"42["message-back",1]"#, "431[]"]);
        session.assert_quiet();
    }
}

// How packets are packed.

/// POSTs a body and GETs the answer to it, all as bytes.
fn exchange(session: &mut Session, more: &str, body: &[u8]) -> Response {
    let Carrier::Polling { target, gets, posts } = &mut session.carrier else { unreachable!() };
    posts.send(format!("POST {target} HTTP/1.1\r\nHost: a\r\n{more}Content-Length: {}\r\n\r\n", body.len()));
    posts.send(body);
    assert_eq!(posts.response().brief(), (200, "ok"));
    gets.ask(get(target))
}

#[test]
fn literal_payloads_of_protocol_4() {
    let server = start(&[]);
    let mut session = Session::open(&server, POLLING);
    let rows: &[(&str, &str)] = &[
        (
            "40/custom,\x1e41/custom,\x1e40/random,",
            "40/custom,{sid}\x1e42/custom,[\"auth\",{}]\x1e44/random,{\"message\":\"Invalid namespace\"}",
        ),
        ("40{\"a\":1}\x1e42[\"message\"]", "40{sid}\x1e42[\"auth\",{\"a\":1}]\x1e42[\"message-back\"]"),
        (
            "452-[\"message\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]\x1ebAQIDBA==\x1eb",
            "452-[\"message-back\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]\x1ebAQIDBA==\x1eb",
        ),
        (
            "451-789[\"message-with-ack\",{\"_placeholder\":true,\"num\":0}]\x1eb/w==",
            "461-789[{\"_placeholder\":true,\"num\":0}]\x1eb/w==",
        ),
    ];
    for (sent, seen) in rows {
        let answer = exchange(&mut session, "", sent.as_bytes());
        assert_eq!(answer.header("Content-Type"), Some("text/plain; charset=UTF-8"));
        let text = answer.text();
        let text = match text.split_once("{\"sid\":\"").and_then(|(head, rest)| Some((head, rest.split_once("\"}")?.1)))
        {
            Some((head, tail)) => format!("{head}{{sid}}{tail}"),
            None => text.to_owned(),
        };
        assert_eq!(text, *seen);
    }
}

#[test]
fn literal_payloads_of_protocol_3() {
    let server = start(&[]);
    let head = r#"451-["message",{"_placeholder":true,"num":0}]"#;
    let ask = format!("{}:{head}10:b4AQIDBA==", head.len());
    for (way, expected) in [
        (OLD_BASE64, &b"50:451-[\"message-back\",{\"_placeholder\":true,\"num\":0}]10:b4AQIDBA=="[..]),
        (
            OLD_POLLING,
            b"\x00\x05\x00\xff451-[\"message-back\",{\"_placeholder\":true,\"num\":0}]\x01\x05\xff\x04\x01\x02\x03\x04",
        ),
    ] {
        let mut session = Session::open(&server, way);
        let Carrier::Polling { target, gets, .. } = &mut session.carrier else { unreachable!() };
        let answer = gets.ask(get(target));
        assert_eq!(answer.header("Content-Type"), Some("text/plain; charset=UTF-8"));
        assert_eq!(answer.text(), r#"2:4013:42["auth",{}]"#);

        let answer = exchange(&mut session, "", ask.as_bytes());
        let kind = if way.base64 { "text/plain; charset=UTF-8" } else { "application/octet-stream" };
        assert_eq!(answer.header("Content-Type"), Some(kind));
        assert_eq!(answer.body, expected, "{}", String::from_utf8_lossy(&answer.body));

        // Binary framing is understood from both.
        let body = [&b"\x00\x04\x05\xff"[..], head.as_bytes(), b"\x01\x05\xff\x04\x01\x02\x03\x04"].concat();
        let answer = exchange(&mut session, "Content-Type: application/octet-stream\r\n", &body);
        assert_eq!(answer.body, expected, "{}", String::from_utf8_lossy(&answer.body));

        // Text alone stays text.
        let answer = exchange(&mut session, "", br#"10:40/random,13:42["message"]"#);
        assert_eq!(answer.text(), r#"29:44/random,"Invalid namespace"18:42["message-back"]"#);
    }
}

#[test]
fn literal_frames() {
    let server = start(&[]);
    let head = r#"451-["message",{"_placeholder":true,"num":0}]"#;
    let back = br#"451-["message-back",{"_placeholder":true,"num":0}]"#;
    let rows: &[(Way, &[u8], &[u8])] =
        &[(WEBSOCKET, b"\x01\x02", b"\x01\x02"), (OLD_WEBSOCKET, b"\x04\x01\x02", b"\x04\x01\x02")];
    for (way, sent, seen) in rows {
        let mut session = Session::join(&server, *way);
        let Carrier::WebSocket(socket) = &mut session.carrier else { unreachable!() };
        socket.client.send([frame(TEXT, head.as_bytes()), frame(BINARY, sent)].concat());
        assert_eq!(socket.frame(), (TEXT, back.to_vec()));
        assert_eq!(socket.frame(), (BINARY, seen.to_vec()));
        // Clients that are told to use base64 do it here too.
        let base64 = if way.version == 4 { "bAQI=" } else { "b4AQI=" };
        socket.client.send([frame(TEXT, head.as_bytes()), frame(TEXT, base64.as_bytes())].concat());
        assert_eq!(socket.frame(), (TEXT, back.to_vec()));
        assert_eq!(socket.frame(), (BINARY, seen.to_vec()));
        session.assert_quiet();
    }
    // Binary of protocol 3 that is no message.
    for bytes in [&b""[..], b"\x01\x02", b"4\x01"] {
        let mut session = Session::join(&server, OLD_WEBSOCKET);
        let Carrier::WebSocket(socket) = &mut session.carrier else { unreachable!() };
        socket.client.send(frame(BINARY, bytes));
        session.assert_closed(1002, &brackets(bytes));
    }
}

#[test]
fn messages_without_socket_io_are_echoed() {
    let server = start(&["--connect-timeout", "100ms"]);
    let all: Vec<u8> = (0..=255).collect();
    let all = brackets(&all);
    let rows: &[&[&str]] = &[
        &["4hello"],
        &["4"],
        &["40", r#"42["message"]"#, "451-[", "4/custom,"],
        &["<>"],
        &["<01 02 03 04>"],
        &[&all],
        &["4hello", "<01 02 03 04>", "4€", "<04>", "<62 34>"],
    ];
    for way in ALL {
        let mut session = Session::open_at(&server, *way, "/engine.io/");
        // Nobody has to connect here.
        Session::open(&server, POLLING).assert_receives(&["1"]);
        for row in rows {
            session.send(row);
            session.assert_receives(row);
        }
    }
}
