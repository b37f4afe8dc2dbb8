//! The rules of the Socket.IO protocol texts (5, and 3 and 4 for older clients) that a server has to keep, over every
//! transport and encoding, against the conformance app: the top of its source says what it does.
//!
//! Packets are written as a WebSocket carries them, bytes in angle brackets: `42["message"]`, `<01 ff>`. [`Session`]
//! packs them as the way it goes wants it; the tests named `literal` check the packing.

use crate::harness::{
    BINARY, CLOSE, Client, PING, PONG, Response, Server, TEXT, WebSocket, frame, get, request, upgrade,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{
    collections::{BTreeSet, VecDeque},
    iter, mem,
};

/// How a session gets to the server.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// `EIO`: 4, 3 and 2 come with the protocols 5, 4 and 3 of Socket.IO.
    version: u8,
    websocket: bool,
    /// An older client that wants binary in payloads as base64.
    base64: bool,
}

const POLLING: Way = Way { version: 4, websocket: false, base64: false };
const WEBSOCKET: Way = Way { version: 4, websocket: true, base64: false };
const OLD_POLLING: Way = Way { version: 3, websocket: false, base64: false };
const OLD_BASE64: Way = Way { version: 3, websocket: false, base64: true };
const OLD_WEBSOCKET: Way = Way { version: 3, websocket: true, base64: false };
const OLDEST_POLLING: Way = Way { version: 2, websocket: false, base64: false };
const OLDEST_WEBSOCKET: Way = Way { version: 2, websocket: true, base64: false };

const CURRENT: &[Way] = &[POLLING, WEBSOCKET];
const OLD: &[Way] = &[OLD_POLLING, OLD_BASE64, OLD_WEBSOCKET, OLDEST_POLLING, OLDEST_WEBSOCKET];
const ALL: &[Way] = &[POLLING, WEBSOCKET, OLD_POLLING, OLD_BASE64, OLD_WEBSOCKET, OLDEST_POLLING, OLDEST_WEBSOCKET];

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
    /// The id of the Engine.IO session, and those in the answers to CONNECT, where what is expected has `{sid}`.
    sids: Vec<String>,
    received: VecDeque<String>,
}

impl<'a> Session<'a> {
    fn open(server: &'a Server, way: Way) -> Session<'a> {
        Session::open_at(server, way, "/socket.io/")
    }

    fn open_at(server: &'a Server, way: Way, path: &str) -> Session<'a> {
        let mut client = server.connect();
        let sid_of = |open: &str| {
            let json = open.strip_prefix('0').expect("an open packet");
            let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
            json["sid"].as_str().expect("a string").to_owned()
        };
        let target = way.target(path);
        let (sid, carrier) = if way.websocket {
            client.send(upgrade(&target, ""));
            let mut socket = WebSocket::upgraded(client);
            (sid_of(&socket.text()), Carrier::WebSocket(socket))
        } else {
            let sid = sid_of(&packets(way, &client.ask(get(&target)))[0]);
            let target = format!("{target}&sid={sid}");
            (sid, Carrier::Polling { target, gets: client, posts: server.connect() })
        };
        Session { server, way, carrier, sids: vec![sid], received: VecDeque::new() }
    }

    /// A session that is connected to `/`, as older ones are by themselves.
    fn join(server: &'a Server, way: Way) -> Session<'a> {
        let mut session = Session::open(server, way);
        if way.version == 4 {
            session.send(&["40"]);
        }
        session.assert_receives(&["40{sid}", r#"42["auth",{}]"#]);
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
        let plain = |sid: &str| sid.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        match parts.filter(|(head, sid)| head.starts_with("40") && plain(sid)) {
            Some((head, sid)) => {
                self.sids.push(sid.to_owned());
                format!("{head}{{sid}}")
            }
            None => packet,
        }
    }

    /// Exactly these packets come next. Older clients know their sids, so there is none in their answers.
    fn assert_receives(&mut self, packets: &[&str]) {
        for (index, packet) in packets.iter().enumerate() {
            let packet = if self.way.version == 4 { (*packet).to_owned() } else { packet.replace("{sid}", "") };
            assert_eq!(self.receive(), packet, "packet {index} of {packets:?}, {:?}", self.way);
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
                socket.assert_end();
            }
        }
    }

    /// The server has ended the session because it had no time left.
    fn assert_closed_in_time(&mut self, code: u16, what: &str) {
        if !self.way.websocket {
            self.assert_receives(&["1"]);
        }
        self.assert_closed(code, what);
    }

    /// Older clients ping, and the server answers.
    fn assert_pong(&mut self) {
        self.send(&["2"]);
        self.assert_receives(&["3"]);
    }
}

fn start(flags: &[&str]) -> Server {
    Server::conformance(flags)
}

/// The lines of a script or table; `#` begins a comment.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.starts_with('#'))
}

/// Plays a script in a session, and sees that nothing else comes of it. `> ` is a packet of the client; those of
/// successive lines are sent at once, up to an empty line. `< ` is a packet of the server.
fn play(mut session: Session, script: &str) {
    let mut pending = Vec::new();
    for line in lines(script).chain([""]) {
        if let Some(packet) = line.strip_prefix("> ") {
            pending.push(packet);
            continue;
        }
        if !pending.is_empty() {
            session.send(&mem::take(&mut pending));
        }
        if !line.is_empty() {
            session.assert_receives(&[line.strip_prefix("< ").expect("a direction")]);
        }
    }
    session.assert_quiet();
}

/// The same over many ways, in sessions that are connected to `/`.
fn play_joined(server: &Server, ways: &[Way], script: &str) {
    ways.iter().for_each(|way| play(Session::join(server, *way), script));
}

/// Each line of the table, packets with ` + ` between them, ends a session that `open` makes.
fn check_closed<'a>(ways: &[Way], open: impl Fn(Way) -> Session<'a>, table: &str) {
    for way in ways {
        for line in lines(table).filter(|line| !line.is_empty()) {
            let mut session = open(*way);
            session.send(&line.split(" + ").collect::<Vec<_>>());
            session.assert_closed(1002, line);
        }
    }
}

/// A session that is connected to `/` and `/custom`.
fn join_both(server: &Server, way: Way) -> Session<'_> {
    let mut session = Session::join(server, way);
    session.send(&["40/custom,"]);
    session.assert_receives(&["40/custom,{sid}", r#"42/custom,["auth",{}]"#]);
    session
}

/// The same when it has left `/custom`.
fn leave_custom(server: &Server, way: Way) -> Session<'_> {
    let mut session = join_both(server, way);
    session.send(&["41/custom,"]);
    session
}

// Connection to a namespace.

#[test]
fn a_connect_is_answered_with_a_sid() {
    let server = start(&[]);
    let rows = [
        ("40", "40{sid}", r#"42["auth",{}]"#),
        ("40/,", "40{sid}", r#"42["auth",{}]"#),
        ("40{}", "40{sid}", r#"42["auth",{}]"#),
        (r#"40{"token":"123"}"#, "40{sid}", r#"42["auth",{"token":"123"}]"#),
        // Auth is shown as the bytes that came, like everything.
        (r#"40{"b":1e400, "a":"\ud83d"}"#, "40{sid}", r#"42["auth",{"b":1e400, "a":"\ud83d"}]"#),
        ("40/custom,", "40/custom,{sid}", r#"42/custom,["auth",{}]"#),
        ("40/custom", "40/custom,{sid}", r#"42/custom,["auth",{}]"#),
        (r#"40/custom,{"token":"é"}"#, "40/custom,{sid}", r#"42/custom,["auth",{"token":"é"}]"#),
        // A query, as older clients put there, does not make it another namespace.
        ("40/custom?a=b", "40/custom,{sid}", r#"42/custom,["auth",{}]"#),
        ("40/custom?a=b,", "40/custom,{sid}", r#"42/custom,["auth",{}]"#),
        (r#"40/custom?a=b&c=%2C,{"d":1}"#, "40/custom,{sid}", r#"42/custom,["auth",{"d":1}]"#),
        ("40/?a=b,", "40{sid}", r#"42["auth",{}]"#),
        // White space behind it.
        ("40 ", "40{sid}", r#"42["auth",{}]"#),
        ("40\n", "40{sid}", r#"42["auth",{}]"#),
        ("40/,\t", "40{sid}", r#"42["auth",{}]"#),
        ("40/custom, ", "40/custom,{sid}", r#"42/custom,["auth",{}]"#),
        ("40/custom,\r\n", "40/custom,{sid}", r#"42/custom,["auth",{}]"#),
        ("40/custom?a=b, ", "40/custom,{sid}", r#"42/custom,["auth",{}]"#),
    ];
    let mut sids = BTreeSet::new();
    for way in CURRENT {
        for (sent, answer, auth) in rows {
            let mut session = Session::open(&server, *way);
            session.send(&[sent]);
            session.assert_receives(&[answer, auth]);
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
    let table = r#"
        40null
        40[]
        40"x"
        40{
        40{}x
        40{"a":}
        40/custom,null
        4
        49
        4abc
    "#;
    check_closed(CURRENT, |way| Session::open(&server, way), table);
}

#[test]
fn an_unknown_namespace_is_refused() {
    let server = start(&[]);
    let script = r#"
        > 40/random,
        < 44/random,{"message":"Invalid namespace"}
        > 40/random
        < 44/random,{"message":"Invalid namespace"}
        > 40/random,{"token":"123"}
        < 44/random,{"message":"Invalid namespace"}
        > 40/random?a=b,
        < 44/random,{"message":"Invalid namespace"}
        > 40/Custom,
        < 44/Custom,{"message":"Invalid namespace"}
        > 40/custom/,
        < 44/custom/,{"message":"Invalid namespace"}
        > 40/cust,
        < 44/cust,{"message":"Invalid namespace"}
        > 40//,
        < 44//,{"message":"Invalid namespace"}
        > 40/é"{,
        < 44/é"{,{"message":"Invalid namespace"}
        > 40/__proto__,
        < 44/__proto__,{"message":"Invalid namespace"}
        # It is no bar to another.
        > 40
        < 40{sid}
        < 42["auth",{}]
        > 40/random,
        < 44/random,{"message":"Invalid namespace"}
        > 42["message",1]
        < 42["message-back",1]
    "#;
    CURRENT.iter().for_each(|way| play(Session::open(&server, *way), script));
}

#[test]
fn the_application_refuses_with_a_message_of_its_own() {
    let server = start(&[]);
    let script = r#"
        > 40{"refuse":"Not authorized"}
        < 44{"message":"Not authorized"}
        > 40
        < 40{sid}
        < 42["auth",{}]
        > 40/custom,{"refuse":"\"é\"\n"}
        < 44/custom,{"message":"\"é\"\n"}
        # The other namespace lives.
        > 42["message",1]
        < 42["message-back",1]
        # The refused one can be asked for again.
        > 40/custom,
        < 40/custom,{sid}
        < 42/custom,["auth",{}]
        > 42/custom,["ask"]
        < 42/custom,0["question"]
    "#;
    CURRENT.iter().for_each(|way| play(Session::open(&server, *way), script));
}

#[test]
fn who_was_refused_is_not_connected() {
    let server = start(&[]);
    for (sent, seen) in [
        (r#"40{"refuse":"no"}"#, r#"44{"message":"no"}"#),
        ("40/random,", r#"44/random,{"message":"Invalid namespace"}"#),
    ] {
        let refused = |way| {
            let mut session = Session::open(&server, way);
            session.send(&[sent]);
            session.assert_receives(&[seen]);
            session
        };
        check_closed(CURRENT, refused, r#"42["message",1]"#);
    }
    // Also in a session that is connected elsewhere. Older clients get the reason alone.
    let refused = |way: Way| {
        let mut session = Session::join(&server, way);
        session.send(&["40/random,", r#"40/custom,{"refuse":"no"}"#]);
        session.assert_receives(&match way.version {
            4 => [r#"44/random,{"message":"Invalid namespace"}"#, r#"44/custom,{"message":"no"}"#],
            _ => [r#"44/random,"Invalid namespace""#, r#"44/custom,"no""#],
        });
        session
    };
    let table = r#"
        42/custom,["ask"]
        41/custom,
        42/random,["message",1]
        41/random,
    "#;
    check_closed(ALL, refused, table);
}

#[test]
fn a_session_without_a_connect_is_closed_in_time() {
    let server = start(&["--connect-timeout", "2s"]);
    for way in CURRENT {
        let mut connected = Session::join(&server, *way);
        let mut left = Session::join(&server, *way);
        left.send(&["41"]);
        let mut idle = Session::open(&server, *way);
        let mut refused = Session::open(&server, *way);
        // Neither a refusal nor packets of Engine.IO are a connection.
        refused.send(&["40/random,", "6", "3"]);
        refused.assert_receives(&[r#"44/random,{"message":"Invalid namespace"}"#]);
        idle.assert_closed_in_time(1001, "no CONNECT");
        refused.assert_closed_in_time(1001, "a CONNECT that was refused");
        connected.assert_quiet();
        left.assert_quiet();
    }
    let mut old: Vec<_> = OLD.iter().map(|way| Session::join(&server, *way)).collect();
    Session::open(&server, POLLING).assert_closed_in_time(1001, "no CONNECT");
    old.iter_mut().for_each(|session| session.assert_quiet());
}

#[test]
fn anything_before_connect_ends_the_session() {
    let server = start(&[]);
    let table = r#"
        42["message",1]
        42/custom,["message",1]
        42/random,["message",1]
        421["message-with-ack"]
        430[]
        43
        41
        41/custom,
        44{"message":"no"}
        # At the header: nothing is kept for somebody who is not there.
        451-["message",{"_placeholder":true,"num":0}]
        451-["message",{"_placeholder":true,"num":0}] + <01>
        461-0[{"_placeholder":true,"num":0}]
        <01>
        <>
    "#;
    check_closed(CURRENT, |way| Session::open(&server, way), table);
}

// Sending and receiving data.

#[test]
fn events_come_back_byte_for_byte() {
    let server = start(&[]);
    let arguments = r#"
        null
        true
        false
        0
        -0
        1.50
        -1e-7
        1e400
        12345678901234567890
        0.10000000000000000001
        ""
        "text"
        "\u0000\u001e\/\b\"\\"
        "\ud83d"
        "\ude00\ud83d"
        "\u00e9\ud83d\udc4d"
        "[{\"",{"]":"}"}
        []
        [[],[[1]]]
        [ 1 , { "a" : 2 } ]
        {}
        {"b":1,"a":2,"b":3,"1":0,"__proto__":{"x":1}}
        {"_placeholder":true,"num":0}
        1,"2",{"3":[true]},null
    "#;
    for way in ALL {
        let mut session = Session::join(&server, *way);
        for arguments in lines(arguments).filter(|line| !line.is_empty()) {
            session
                .send(&[&format!(r#"42["message",{arguments}]"#), &format!(r#"420["message-with-ack",{arguments}]"#)]);
            session.assert_receives(&[&format!(r#"42["message-back",{arguments}]"#), &format!("430[{arguments}]")]);
        }
        session.send(&["42 [\t\"message\"\n,  1\r] "]);
        session.assert_receives(&[r#"42["message-back",1]"#]);
        let script = r#"
            > 42["message"]
            < 42["message-back"]
            > 42["m\u0065ssage",1]
            < 42["message-back",1]
            > 42/,["message",2]
            < 42["message-back",2]
        "#;
        play(session, script);
    }
}

#[test]
fn characters_beyond_ascii_come_back() {
    let server = start(&[]);
    for way in ALL {
        let mut session = Session::join(&server, *way);
        session.send(&["42[\"message\",\"é\u{2028}👍\",{\"€\":0}]"]);
        // What clients decode twice (1.1 over polling, 1.0 always) stays ASCII.
        session.assert_receives(&[match way {
            Way { version: 2, .. } | Way { version: 3, websocket: false, .. } => {
                r#"42["message-back","\u00e9\u2028\ud83d\udc4d",{"\u20ac":0}]"#
            }
            _ => "42[\"message-back\",\"é\u{2028}👍\",{\"€\":0}]",
        }]);
        session.assert_quiet();
    }
}

#[test]
fn an_event_without_a_name_ends_the_session() {
    let server = start(&[]);
    let table = r#"
        42
        42/custom,
        42[]
        42{}
        42{"0":"message"}
        42"message"
        42null
        42[null]
        42[true]
        42[["message"]]
        42[{"toString":"message"}]
        42["message"
        42["message"]x
        42["message"]["message"]
        42["message",]
        42["message",01]
        42["message",undefined]
        42["message","\x"]
        42abc["message"]
        42-1["message"]
        42/custom["message"]
        47["message"]
        450-
        450-[]
    "#;
    check_closed(ALL, |way| join_both(&server, way), table);
    for way in ALL {
        let mut session = Session::join(&server, *way);
        session.send(&["42[\"message\",\"\n\"]"]);
        session.assert_closed(1002, "a line end in a string");
    }
}

#[test]
fn events_that_nobody_handles_are_nothing() {
    let server = start(&[]);
    // A number may be a name, as in the reference.
    let script = r#"
        > 42["nobody",1]
        > 427["nobody"]
        > 42[5]
        > 42[-1.5e400]
        > 42[""]
    "#;
    play_joined(&server, ALL, script);
}

/// By these names the libraries at both ends tell their users what happens to a connection.
#[test]
fn reserved_names_end_the_session() {
    let server = start(&[]);
    let table = r#"
        42["connect"]
        42["connect_error",{"message":"x"}]
        42["disconnect","io client disconnect"]
        42["disconnecting"]
        42["newListener"]
        421["removeListener"]
        42/custom,["connect"]
        42["\u0063onnect"]
        451-["connect",{"_placeholder":true,"num":0}]
    "#;
    check_closed(ALL, |way| join_both(&server, way), table);
    let script = r#"
        > 42["message","connect"]
        < 42["message-back","connect"]
        > 42["connection"]
        > 42["error"]
        > 42["Connect"]
    "#;
    play_joined(&server, ALL, script);
}

/// JSON that many brackets deep, together with the array that it is an element of.
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
        let table = [
            format!(r#"42["message",{arrays}]"#),
            format!(r#"42["message",{objects}]"#),
            format!(r#"42["message",{}"#, "[".repeat(depth)),
            format!("430[{arrays}]"),
            format!(r#"40/nowhere,{{"a":{objects}}}"#),
            format!(r#"451-["message",{{"_placeholder":true,"num":0}},{arrays}]"#),
        ];
        check_closed(ALL, |way| join_both(&server, way), &table.join("\n"));
    }
}

// Acknowledgement.

#[test]
fn an_ack_has_the_id_of_its_event() {
    let server = start(&[]);
    let script = r#"
        > 420["message-with-ack"]
        < 430[]
        > 4212["message-with-ack","foo"]
        < 4312["foo"]
        > 42456["message-with-ack",1,"2",{"3":[false]}]
        < 43456[1,"2",{"3":[false]}]
        > 42/,13["message-with-ack"]
        < 4313[]
        > 42007["message-with-ack"]
        < 437[]
        > 429007199254740991["message-with-ack"]
        < 439007199254740991[]
        # The same again is another question.
        > 421["message-with-ack",1]
        > 421["message-with-ack",2]
        < 431[1]
        < 431[2]
        # Nobody asked.
        > 42["message-with-ack",1]
    "#;
    play_joined(&server, ALL, script);
}

#[test]
fn an_ack_without_an_exact_id_ends_the_session() {
    let server = start(&[]);
    // Above 2^53 JavaScript would answer with another one.
    let table = r#"
        429007199254740992["message-with-ack"]
        4218446744073709551616["message-with-ack"]
        4218446744073709551617["message-with-ack"]
        42-1["message-with-ack"]
        421.5["message-with-ack"]
        421e1["message-with-ack"]
        4318446744073709551616[]
        43{}
        430{}
        430"yes"
        430[]x
        430[1
        43/custom,0{}
    "#;
    check_closed(ALL, |way| join_both(&server, way), table);
    check_closed(ALL, |way| join_both(&server, way), &format!(r#"42{}["message-with-ack"]"#, "9".repeat(1_000)));
}

/// As in the reference, without an id or without arguments too.
#[test]
fn an_answer_that_nobody_waits_for_is_nothing() {
    let server = start(&[]);
    let script = r#"
        > 43
        > 43[]
        > 43[1]
        > 430
        > 430[]
        > 431
        > 43/,
        > 43/,0
        > 43/custom
        > 43/custom,
        > 43/custom,0
        > 43/custom,[1]
        > 460-
        > 460-0[]
        > 461-[{"_placeholder":true,"num":0}]
        > <01>
        > 461-/custom,[{"_placeholder":true,"num":0}]
        > <01>

        # One that is waited for may be as short, and none of those has taken its place.
        > 42["ask"]
        > 42/custom,["ask"]
        < 420["question"]
        < 42/custom,0["question"]
        > 43
        > 43[1]
        > 43/custom,[1]

        > 430
        < 42["answer"]
        > 43/custom,0
        < 42/custom,["answer"]
    "#;
    ALL.iter().for_each(|way| play(join_both(&server, *way), script));
}

#[test]
fn the_server_asks_and_hears_the_answer() {
    let server = start(&[]);
    let script = r#"
        > 42["ask","foo"]
        < 420["question","foo"]
        > 430["bar",1e400]
        < 42["answer","bar",1e400]
        # A second answer is nothing, like one that was not asked for.
        > 430[2]
        > 431[]
        > 439007199254740991[]

        > 42["ask"]
        > 42["ask"]
        < 421["question"]
        < 422["question"]
        # In any order, and with nothing in it.
        > 432[]
        < 42["answer"]
        > 431[1]
        < 42["answer",1]
        # With attachments, and twice.
        > 42["ask"]
        < 423["question"]
        > 462-3[{"_placeholder":true,"num":1},"x",{"_placeholder":true,"num":0}]
        > <01 02>
        > <>
        < 452-["answer",{"_placeholder":true,"num":1},"x",{"_placeholder":true,"num":0}]
        < <01 02>
        < <>
        > 461-3[{"_placeholder":true,"num":0}]
        > <01>

        # Our ids are not those of the client.
        > 42["ask"]
        > 424["message-with-ack",1]
        < 424["question"]
        < 434[1]
        > 434[2]
        < 42["answer",2]
    "#;
    play_joined(&server, ALL, script);
}

#[test]
fn each_namespace_has_answers_of_its_own() {
    let server = start(&[]);
    let script = r#"
        > 42/custom,["ask","a"]
        < 42/custom,0["question","a"]
        # `/` was not asked.
        > 430[1]

        > 42["ask","b"]
        < 420["question","b"]
        > 43/custom,0[2]
        < 42/custom,["answer",2]
        > 430[3]
        < 42["answer",3]
        > 42/custom,["ask"]
        < 42/custom,1["question"]
        > 461-/custom,1[{"_placeholder":true,"num":0}]
        > <ff>
        < 451-/custom,["answer",{"_placeholder":true,"num":0}]
        < <ff>
    "#;
    ALL.iter().for_each(|way| play(join_both(&server, *way), script));
}

#[test]
fn a_socket_owes_only_so_many_answers() {
    let server = start(&["--max-acks", "2"]);
    let script = r#"
        > 42["ask"]
        > 42["ask"]
        < 420["question"]
        < 421["question"]
        > 42["ask"]
        < 42["busy"]
        > 430[]
        < 42["answer"]
        > 42["ask"]
        > 42["ask"]
        < 422["question"]
        < 42["busy"]
        > 430[]
        > 433[]

        > 432[]
        > 431[]
        < 42["answer"]
        < 42["answer"]
    "#;
    play_joined(&server, ALL, script);
}

#[test]
fn an_answer_that_does_not_come_is_not_waited_for() {
    let server = start(&["--max-acks", "1"]);
    let script = r#"
        > 42["ask-briefly"]
        < 420["question"]
        < 42["no-answer",0]
        # Too late.
        > 430[1]

        > 42["ask"]
        < 421["question"]
        > 431[2]
        < 42["answer",2]
    "#;
    play_joined(&server, ALL, script);
    for way in ALL {
        let mut gone = Session::join(&server, *way);
        gone.send(&[r#"42["ask-briefly"]"#, "41"]);
        gone.assert_receives(&[r#"420["question"]"#]);
        play(Session::join(&server, WEBSOCKET), script);
        gone.assert_quiet();
    }
}

// Binary.

#[test]
fn binary_events_and_acks_come_back() {
    let server = start(&[]);
    let script = r#"
        # A header may announce nothing.
        > 450-["message",1]
        < 42["message-back",1]
        > 450-7["message-with-ack",1]
        < 437[1]
        > 451-["message",{"_placeholder":true,"num":0}]
        > <01 02 03 04>
        < 451-["message-back",{"_placeholder":true,"num":0}]
        < <01 02 03 04>
        > 452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]
        > <01>
        > <02 03>
        < 452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]
        < <01>
        < <02 03>
        > 452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]
        > <01>
        > <02>
        < 462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]
        < <01>
        < <02>
        # An answer to nothing takes its attachments with it.
        > 461-0[{"_placeholder":true,"num":0}]
        > <01>
        > 42["message",1]
        < 42["message-back",1]
        # Placeholders anywhere, in any order, twice, with keys in any order; attachments empty, or with odd bytes.
        > 452-["message",{"a":[{"num":1,"_placeholder":true}]},{ "_placeholder" : true, "num" : 0 }]
        > <>
        > <04 ff 00 1e>
        < 452-["message-back",{"a":[{"num":1,"_placeholder":true}]},{ "_placeholder" : true, "num" : 0 }]
        < <>
        < <04 ff 00 1e>
        > 451-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]
        > <62 34>
        < 451-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]
        < <62 34>
        # Text that looks like a placeholder, and an object that is none.
        > 451-["message","{\"_placeholder\":true,\"num\":9}",{"_placeholder":false,"num":9},{"_placeholder":true,"num":0}]
        > <01>
        < 451-["message-back","{\"_placeholder\":true,\"num\":9}",{"_placeholder":false,"num":9},{"_placeholder":true,"num":0}]
        < <01>
    "#;
    play_joined(&server, ALL, script);
}

/// A packet with that many attachments, and the attachments.
fn with_attachments(head: &str, first: Option<&str>, count: u8) -> Vec<String> {
    let placeholders = (0..count).map(|number| format!(r#"{{"_placeholder":true,"num":{number}}}"#));
    let elements: Vec<_> = first.map(str::to_owned).into_iter().chain(placeholders).collect();
    let packet = format!("{head}[{}]", elements.join(","));
    iter::once(packet).chain((0..count).map(|number| brackets(&[number, 0xff]))).collect()
}

#[test]
fn a_packet_may_have_ten_attachments() {
    let server = start(&[]);
    for way in ALL {
        let mut session = Session::join(&server, *way);
        for (sent, name, answered, first) in [
            ("4510-", r#""message""#, "4510-", Some(r#""message-back""#)),
            ("4510-1", r#""message-with-ack""#, "4610-1", None),
        ] {
            let [sent, seen] = [with_attachments(sent, Some(name), 10), with_attachments(answered, first, 10)];
            session.send(&sent.iter().map(String::as_str).collect::<Vec<_>>());
            session.assert_receives(&seen.iter().map(String::as_str).collect::<Vec<_>>());
        }
        session.assert_quiet();
    }
    // At the header.
    for (head, first) in [("4511-", Some(r#""message""#)), ("4611-0", None)] {
        check_closed(ALL, |way| join_both(&server, way), &with_attachments(head, first, 11)[0]);
    }
}

#[test]
fn a_binary_header_is_judged_before_its_attachments() {
    let server = start(&[]);
    let table = r#"
        4599999999999999999999-["message"]
        45["message",{"_placeholder":true,"num":0}]
        45-["message",{"_placeholder":true,"num":0}]
        45+1-["message",{"_placeholder":true,"num":0}]
        451["message",{"_placeholder":true,"num":0}]
        451-1-["message",{"_placeholder":true,"num":0}]
        451-
        451-[]
        451-{}
        451-[{"_placeholder":true,"num":0}]
        # No placeholder, one too many, one for no attachment, none for one of the attachments.
        451-["message"]
        461-0
        461-
        461-0[]
        461-0{"_placeholder":true,"num":0}
        451-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]
        451-["message",{"_placeholder":true,"num":1}]
        461-0[{"_placeholder":true,"num":1}]
        452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]
        # Indices that are none.
        451-["message",{"_placeholder":true,"num":-1}]
        451-["message",{"_placeholder":true,"num":0.5}]
        451-["message",{"_placeholder":true,"num":"0"}]
        451-["message",{"_placeholder":true,"num":"splice"}]
        451-["message",{"_placeholder":true,"num":null}]
        451-["message",{"_placeholder":true,"num":99999999999999999999}]
        451-["message",{"_placeholder":true}]
        451-["message",{"num":0}]
        451-["message",{"_placeholder":true,"num":0},{"\u005fplaceholder":true,"num":1}]
    "#;
    check_closed(ALL, |way| join_both(&server, way), table);
}

#[test]
fn nothing_comes_between_a_header_and_its_attachments() {
    let server = start(&[]);
    let table = r#"
        # Attachments of nothing.
        <01>
        <>
        # Packets in the midst.
        451-["x",{"_placeholder":true,"num":0}] + 42["message",1]
        451-["x",{"_placeholder":true,"num":0}] + 42["message",1] + <01>
        451-["x",{"_placeholder":true,"num":0}] + 451-["x",{"_placeholder":true,"num":0}]
        451-["x",{"_placeholder":true,"num":0}] + 40/nowhere,
        451-["x",{"_placeholder":true,"num":0}] + 41
        451-["x",{"_placeholder":true,"num":0}] + 41/custom,
        451-["x",{"_placeholder":true,"num":0}] + 430[]
        452-["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}] + <01> + 42["message",1]
        # One too many.
        451-["x",{"_placeholder":true,"num":0}] + <01> + <02>
        461-0[{"_placeholder":true,"num":0}] + <01> + <02>
    "#;
    check_closed(ALL, |way| join_both(&server, way), table);
    // The same for who is not there any more.
    let table = r#"
        451-/custom,["x",{"_placeholder":true,"num":0}] + 42["message",1]
        451-/custom,["x",{"_placeholder":true,"num":1}]
        451-/custom,["x",{"_placeholder":true,"num":0}] + <01> + <02>
    "#;
    check_closed(ALL, |way| leave_custom(&server, way), table);
}

#[test]
fn attachments_may_come_in_pieces_with_heartbeats_between() {
    let server = start(&[]);
    for way in ALL {
        let mut session = Session::join(&server, *way);
        session.send(&[r#"452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#]);
        session.send(&["6"]);
        session.send(&["<01>"]);
        if way.version == 4 {
            session.send(&["3"]);
        } else {
            session.assert_pong();
        }
        if let Carrier::WebSocket(socket) = &mut session.carrier {
            socket.client.send(frame(PING, b"x"));
            assert_eq!(socket.frame(), (PONG, b"x".to_vec()));
        }
        session.send(&["<02>"]);
        let back = r#"452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
        session.assert_receives(&[back, "<01>", "<02>"]);
        session.assert_quiet();
    }
}

#[test]
fn attachments_that_do_not_come_are_not_waited_for() {
    let server = start(&["--message-timeout", "1s"]);
    for way in ALL {
        let head = r#"452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
        let mut whole = Session::join(&server, *way);
        whole.send(&[head, "<01>", "<02>"]);
        whole.assert_receives(&[&head.replace("message", "message-back"), "<01>", "<02>"]);
        let mut partial = Session::join(&server, *way);
        partial.send(&[head, "<01>"]);
        partial.assert_closed_in_time(1002, head);
        whole.assert_quiet();
    }
}

#[test]
fn an_attachment_is_at_most_as_large_as_a_message() {
    let server = start(&["--max-payload", "1000"]);
    let head = r#"451-["message",{"_placeholder":true,"num":0}]"#;
    let back = r#"451-["message-back",{"_placeholder":true,"num":0}]"#;
    // What fits besides the byte 04, and in base64.
    for (way, most) in [(WEBSOCKET, 1000), (OLD_WEBSOCKET, 999), (POLLING, 747), (OLD_POLLING, 744), (OLD_BASE64, 744)]
    {
        let [fits, too_large] = [most, most + 1].map(|size| brackets(&vec![0xab; size]));
        let mut session = Session::join(&server, way);
        session.send(&[head]);
        session.send(&[&fits]);
        session.assert_receives(&[back, &fits]);
        session.send(&[head]);
        let Carrier::Polling { target, .. } = &session.carrier else {
            session.send(&[&too_large]);
            session.assert_closed(1009, "too large");
            continue;
        };
        // The session lives, and still waits for what was announced.
        let post = request("POST", target, "", &payload(way, &[&too_large]));
        assert_eq!(server.ask(&post).status, 413, "{way:?}");
        session.send(&["<01>"]);
        session.assert_receives(&[back, "<01>"]);
        session.assert_quiet();
    }
}

/// Like events without attachments, which may have been under way when the other side left.
#[test]
fn attachments_for_a_namespace_that_was_left_are_dropped() {
    let server = start(&[]);
    let script = r#"
        > 451-/custom,["message",{"_placeholder":true,"num":0}]
        > <01>

        > 462-/custom,0[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]
        > <01>
        > <02>

        > 42["message",1]
        < 42["message-back",1]
        > 41
        > 451-["message",{"_placeholder":true,"num":0}]
        > <01>
    "#;
    ALL.iter().for_each(|way| play(leave_custom(&server, *way), script));
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
    let script = r#"
        > 40/custom,{"a":1}
        > 40{"b":2}
        < 40/custom,{sid}
        < 42/custom,["auth",{"a":1}]
        < 40{sid}
        < 42["auth",{"b":2}]
        > 42["message",1]
        > 42/custom,["ask"]
        < 42["message-back",1]
        < 42/custom,0["question"]
        # The echo is in `/` alone.
        > 42/custom,["message",1]

        # To leave one is not to leave the other.
        > 41/custom,
        > 42["message",2]
        > 42/custom,["ask"]
        < 42["message-back",2]
        > 40/custom,
        < 40/custom,{sid}
        < 42/custom,["auth",{}]
        > 41
        > 42["message",3]
        > 42/custom,["ask"]
        < 42/custom,0["question"]
        > 41/custom

        # And without any the session lives.
        > 42/custom,["ask"]

        > 40
        < 40{sid}
        < 42["auth",{}]
        > 42["message",4]
        < 42["message-back",4]
    "#;
    CURRENT.iter().for_each(|way| play(Session::open(&server, *way), script));
}

#[test]
fn a_namespace_that_was_left_is_joined_as_another() {
    let server = start(&[]);
    for way in CURRENT {
        let mut session = join_both(&server, *way);
        session.send(&[r#"42["ask"]"#, "41", "40"]);
        session.assert_receives(&[r#"420["question"]"#, "40{sid}", r#"42["auth",{}]"#]);
        assert_eq!(session.sids.iter().collect::<BTreeSet<_>>().len(), 4, "{:?}", session.sids);
        // This one was asked nothing.
        let script = r#"
            > 430[1]

            > 42["ask"]
            < 420["question"]
        "#;
        play(session, script);
    }
}

/// It may have been under way when the other side left.
#[test]
fn what_comes_for_a_namespace_that_was_left_is_nothing() {
    let server = start(&[]);
    let script = r#"
        > 42/custom,["ask"]
        > 42/custom,0["ask"]
        > 43/custom,0[]
        > 43/custom
        > 41/custom,
        > 41/custom
        > 42["message",1]
        < 42["message-back",1]
        > 41
        > 42["message",1]
        > 420["message-with-ack",1]
        > 430[]
        > 41
    "#;
    ALL.iter().for_each(|way| play(leave_custom(&server, *way), script));
}

#[test]
fn what_comes_for_a_namespace_that_was_never_joined_ends_the_session() {
    let server = start(&[]);
    let table = r#"
        42/custom,["ask"]
        42/custom,0["ask"]
        43/custom,0[]
        43/custom
        41/custom,
        41/custom
        # At the header.
        451-/custom,["message",{"_placeholder":true,"num":0}]
        461-/custom,0[{"_placeholder":true,"num":0}]
        42/random,["message",1]
        421/random,["message-with-ack",1]
        43/random,0[]
        41/random,
        451-/random,["message",{"_placeholder":true,"num":0}]
        42//,["message",1]
        42/__proto__,["message",1]
    "#;
    check_closed(ALL, |way| Session::join(&server, way), table);
    // Nobody else has to have joined it for that, and it is no matter that somebody has.
    let mut other = join_both(&server, WEBSOCKET);
    check_closed(CURRENT, |way| Session::join(&server, way), r#"42/custom,["ask"]"#);
    other.assert_quiet();
}

/// The text does not say so, but the reference closes as well.
#[test]
fn a_second_connect_ends_the_session() {
    let server = start(&[]);
    let table = r#"
        40
        40/,
        40{"token":"123"}
        40{"refuse":"no"}
        40/?a=b,
    "#;
    check_closed(CURRENT, |way| join_both(&server, way), table);
    let table = r#"
        40/custom,
        40/custom?a=b,
        # What only servers say.
        44{}
        44"no"
        44/custom,{}
        44/random,{}
    "#;
    check_closed(ALL, |way| join_both(&server, way), table);
}

#[test]
fn a_disconnect_carries_nothing() {
    let server = start(&[]);
    let table = r#"
        41{}
        41[]
        41x
        41/custom,{}
        41/custom,"bye"
    "#;
    check_closed(ALL, |way| join_both(&server, way), table);
    // White space is allowed behind CONNECT alone.
    for way in ALL {
        for packet in ["41 ", "41/custom,\n", "43 ", "42 "] {
            let mut session = join_both(&server, *way);
            session.send(&[packet]);
            session.assert_closed(1002, packet);
        }
    }
}

#[test]
fn heartbeats_go_on_when_all_namespaces_are_left() {
    let server = start(&["--ping-interval", "100ms"]);
    for way in CURRENT {
        let mut session = Session::open(&server, *way);
        session.send(&["40", "41"]);
        // On a busy machine a ping may come before, and no other follows until it is answered.
        loop {
            match session.receive().as_str() {
                r#"42["auth",{}]"# => break,
                "2" => session.send(&["3"]),
                _ => {}
            }
        }
        for _ in 0..3 {
            session.assert_receives(&["2"]);
            session.send(&["3"]);
        }
    }
    for way in OLD {
        let mut session = Session::join(&server, *way);
        session.send(&["41"]);
        session.assert_pong();
        session.assert_quiet();
    }
}

#[test]
fn the_server_ends_sockets_and_the_session_lives() {
    let server = start(&[]);
    let script = r#"
        > 42["ask"]
        < 420["question"]
        > 42/custom,["end-all"]
        < 41
        < 41/custom,
        # What was under way when the client heard of it.
        > 42["message",1]
        > 430[]
        > 41/custom,
        > 40
        < 40{sid}
        < 42["auth",{}]
        > 42["message",2]
        < 42["message-back",2]
    "#;
    ALL.iter().for_each(|way| play(join_both(&server, *way), script));
}

// Protocols 3 and 4.

#[test]
fn an_older_client_is_connected_without_asking() {
    let server = start(&[]);
    let script = r#"
        < 40
        < 42["auth",{}]
        > 42["message",1]
        < 42["message-back",1]
        > 40/custom,
        < 40/custom,
        < 42/custom,["auth",{}]
        # Protocol 3 has no comma there.
        > 41/custom
        > 40/custom
        < 40/custom,
        < 42/custom,["auth",{}]
        > 41/custom,
        > 40/custom?token=1234&uid=abcd
        < 40/custom,
        < 42/custom,["auth",{}]
        > 40/random,
        < 44/random,"Invalid namespace"
        > 40/random?token=1234,
        < 44/random,"Invalid namespace"
        > 41/custom,
        > 40/custom,{"refuse":"Not \"authorized\""}
        < 44/custom,"Not \"authorized\""
        # Some ask for what they have.
        > 40
        > 40/
        > 42["message",2]
        < 42["message-back",2]
        > 41
        > 42["message",3]
        > 40
        < 40
        < 42["auth",{}]
    "#;
    OLD.iter().for_each(|way| play(Session::open(&server, *way), script));
    for way in OLD {
        let mut session = Session::join(&server, *way);
        session.send(&["40 ", "40/custom, "]);
        session.assert_receives(&["40/custom,", r#"42/custom,["auth",{}]"#]);
        session.assert_quiet();
    }
}

#[test]
fn what_an_older_client_sends_at_once_finds_it_connected() {
    let server = start(&[]);
    let script = r#"
        > 42["message",1]
        > 421["message-with-ack"]
        < 40
        < 42["auth",{}]
        < 42["message-back",1]
        < 431[]
    "#;
    OLD.iter().for_each(|way| play(Session::open(&server, *way), script));
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
    let mut session = Session::join(&server, POLLING);
    let rows = [
        ("42[\"message\"]\x1e420[\"message-with-ack\"]", "42[\"message-back\"]\x1e430[]"),
        (
            "40/random,\x1e6\x1e40/é,",
            "44/random,{\"message\":\"Invalid namespace\"}\x1e44/é,{\"message\":\"Invalid namespace\"}",
        ),
        (
            "451-[\"message\",{\"_placeholder\":true,\"num\":0}]\x1ebAQIDBA==",
            "451-[\"message-back\",{\"_placeholder\":true,\"num\":0}]\x1ebAQIDBA==",
        ),
        (
            "452-789[\"message-with-ack\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]\x1eb\x1eb+/8=",
            "462-789[{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]\x1eb\x1eb+/8=",
        ),
    ];
    for (sent, seen) in rows {
        let answer = exchange(&mut session, "", sent.as_bytes());
        assert_eq!(answer.text(), seen);
        assert_eq!(answer.header("Content-Type"), Some("text/plain; charset=UTF-8"));
    }
}

/// Body and content type.
type Answer<'a> = (&'a [u8], &'a str);

#[test]
fn literal_payloads_of_protocol_3() {
    const TEXT: &str = "text/plain; charset=UTF-8";
    const BINARY: &str = "application/octet-stream";
    const CONNECTED: Answer = (br#"2:4013:42["auth",{}]"#, TEXT);
    const BACK: Answer = (
        b"\0\x05\0\xff451-[\"message-back\",{\"_placeholder\":true,\"num\":0}]\x01\x05\xff\x04\x01\x02\x03\x04",
        BINARY,
    );
    const REFUSED: Answer = (br#"29:44/random,"Invalid namespace"18:42["message-back"]"#, TEXT);
    // Only payloads with something binary are framed so, but for the oldest clients all; others never want it.
    const CONNECTED_FRAMED: Answer = (b"\0\x02\xff40\0\x01\x03\xff42[\"auth\",{}]", BINARY);
    const BACK_BASE64: Answer = (br#"50:451-["message-back",{"_placeholder":true,"num":0}]10:b4AQIDBA=="#, TEXT);
    const REFUSED_FRAMED: Answer =
        (b"\0\x02\x09\xff44/random,\"Invalid namespace\"\0\x01\x08\xff42[\"message-back\"]", BINARY);
    let rows = [
        (OLD_POLLING, [CONNECTED, BACK, REFUSED]),
        (OLD_BASE64, [CONNECTED, BACK_BASE64, REFUSED]),
        (OLDEST_POLLING, [CONNECTED_FRAMED, BACK, REFUSED_FRAMED]),
    ];
    let head = br#"451-["message",{"_placeholder":true,"num":0}]"#;
    let as_text = [&b"45:"[..], head, b"10:b4AQIDBA=="].concat();
    let as_binary = [&b"\0\x04\x05\xff"[..], head, b"\x01\x05\xff\x04\x01\x02\x03\x04"].concat();
    let server = start(&[]);
    for (way, [connected, back, refused]) in rows {
        let check = |answer: Response, expected: Answer| {
            let kind = answer.header("Content-Type").expect("all have one");
            assert_eq!((&answer.body[..], kind), expected, "{way:?}: {}", String::from_utf8_lossy(&answer.body));
        };
        let mut session = Session::open(&server, way);
        let Carrier::Polling { target, gets, .. } = &mut session.carrier else { unreachable!() };
        check(gets.ask(get(target)), connected);
        // Both forms are understood from all.
        check(exchange(&mut session, "", &as_text), back);
        check(exchange(&mut session, "Content-Type: application/octet-stream\r\n", &as_binary), back);
        check(exchange(&mut session, "", br#"10:40/random,13:42["message"]"#), refused);
    }
}

#[test]
fn literal_frames() {
    let server = start(&[]);
    let head = br#"451-["message",{"_placeholder":true,"num":0}]"#;
    let back = br#"451-["message-back",{"_placeholder":true,"num":0}]"#;
    // Clients that are told to use base64 may do it here too.
    let rows: [(Way, &[u8], &[u8]); 3] = [
        (WEBSOCKET, b"\x01\x02", b"bAQI="),
        (OLD_WEBSOCKET, b"\x04\x01\x02", b"b4AQI="),
        (OLDEST_WEBSOCKET, b"\x04\x01\x02", b"b4AQI="),
    ];
    for (way, bytes, base64) in rows {
        let mut session = Session::join(&server, way);
        let Carrier::WebSocket(socket) = &mut session.carrier else { unreachable!() };
        for attachment in [frame(BINARY, bytes), frame(TEXT, base64)] {
            socket.client.send([frame(TEXT, head), attachment].concat());
            assert_eq!([socket.frame(), socket.frame()], [(TEXT, back.to_vec()), (BINARY, bytes.to_vec())]);
        }
        session.assert_quiet();
    }
    // Binary of protocol 3 that is no message.
    for bytes in [&b""[..], b"\x01\x02", b"4\x01"] {
        let mut session = Session::join(&server, OLD_WEBSOCKET);
        let Carrier::WebSocket(socket) = &mut session.carrier else { unreachable!() };
        socket.client.send([frame(TEXT, head), frame(BINARY, bytes)].concat());
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
        &["40", r#"42["message"]"#, "451-[", "4/custom,", "4\n"],
        &["<>"],
        &["<01 02 03 04>"],
        &[&all],
        &["4hello", "<01 02 03 04>", "4€", "<04>", "<62 34>"],
    ];
    for way in ALL {
        let mut session = Session::open_at(&server, *way, "/engine.io/");
        // Nobody has to connect here.
        Session::open(&server, POLLING).assert_closed_in_time(1001, "no CONNECT");
        for row in rows {
            session.send(row);
            session.assert_receives(row);
        }
    }
}
