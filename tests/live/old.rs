//! Engine.IO as older clients speak it, byte for byte: EIO=3 (Socket.IO 1.1 to 2.x) and EIO=2 (1.0). And what a polling
//! answer may hold, in all protocols: how many packets, how many bytes, and when it is compressed.

use crate::{
    echo,
    harness::{
        BINARY, Response, Server, Speaker, TEXT as TEXT_FRAME, Talk, WebSocket, frame, get, hostile, raw_frame,
        request, upgrade, wait_for, websocket,
    },
    poller::{FORM, OCTETS, Poller, TEXT, bytes, lengths, post},
};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use std::{
    io::Read,
    time::{Duration, Instant},
};

const UNKNOWN_SID: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;
const UNSUPPORTED: &str = r#"{"code":5,"message":"Unsupported protocol version"}"#;

/// Every older client there is, over polling.
const POLLERS: [&str; 5] = ["EIO=3", "EIO=3&b64=1", OF_1_3, "EIO=2", "EIO=2&b64=1"];
/// socket.io-client 1.1 to 1.3, which can be told by its timestamps.
const OF_1_3: &str = "EIO=3&t=1432912983123-0";

fn check(response: &Response, content_type: &str, body: impl AsRef<[u8]>) {
    let body = body.as_ref();
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("Content-Type"), Some(content_type));
    assert_eq!(response.header("Cache-Control"), Some("no-store"));
    assert!(response.body == body, "{}, not {}", response.body.escape_ascii(), body.escape_ascii());
}

/// A packet as this client gets it over polling, alone: Content-Type and body.
fn alone(parameters: &str, packet: &str) -> (&'static str, Vec<u8>) {
    match parameters {
        "EIO=4" => (TEXT, packet.into()),
        "EIO=2" | OF_1_3 => (OCTETS, bytes(packet)),
        _ => (TEXT, lengths(packet).into()),
    }
}

/// Returns when the server has read all that was sent before: it is told of readiness in order, and this request is
/// longer than those. Quicker than to wait until the server sleeps.
fn pass(server: &Server) {
    let padding = format!("X-Padding: {}\r\n", "x".repeat(2000));
    assert_eq!(server.ask(&request("GET", "/healthz", &padding, "")).status, 200);
}

/// The version in the parameters of a handshake.
fn version(parameters: &str) -> u8 {
    parameters.as_bytes()["EIO=".len()] - b'0'
}

// Handshake.

#[test]
fn a_handshake_over_polling_is_framed_as_the_client_can_read_it() {
    let server = Server::start(&["--ping-interval", "7s", "--ping-timeout", "3s", "--max-payload", "12345"]);
    let rows = [
        ("EIO=3", TEXT, "2:40"),
        ("EIO=3&b64=1", TEXT, "2:40"),
        ("EIO=3&b64=0", TEXT, "2:40"),
        ("EIO=2&b64=1", TEXT, "2:40"),
        ("b64=1&EIO=2", TEXT, "2:40"),
        ("EIO=2", OCTETS, "\0\u{2}\u{ff}40"),
        ("EIO=2&b64=0", OCTETS, "\0\u{2}\u{ff}40"),
        ("EIO=2&b64", OCTETS, "\0\u{2}\u{ff}40"),
        // Clients before 1.4 cannot read text over XHR.
        (OF_1_3, OCTETS, "\0\u{2}\u{ff}40"),
        ("t=1432912983123-17&EIO=3&b64=0", OCTETS, "\0\u{2}\u{ff}40"),
        ("EIO=3&t=1432912983123-0&b64=1", TEXT, "2:40"),
        ("EIO=2&t=1432912983123-0&b64=1", TEXT, "2:40"),
        ("EIO=3&t=1432912983123", TEXT, "2:40"),
        ("EIO=3&t=LpQ7-xZ", TEXT, "2:40"),
        ("EIO=3&t=LpQ7xZc-1", TEXT, "2:40"),
        ("EIO=3&t=1432912983123-", TEXT, "2:40"),
        ("EIO=3&t=-0", TEXT, "2:40"),
        ("EIO=3&t=1-2-3", TEXT, "2:40"),
        ("EIO=3&t=%D9%A1-0", TEXT, "2:40"),
    ];
    for (parameters, content_type, connected) in rows {
        let target = format!("/socket.io/?{parameters}&transport=polling");
        let mut client = server.connect();
        let response = client.ask(get(&target));
        assert_eq!(response.header("Content-Type"), Some(content_type), "{parameters}");
        assert_eq!(response.header("Cache-Control"), Some("no-store"));
        let start = response.body.iter().position(|byte| *byte == b'{').expect("JSON");
        let (head, json) = response.body.split_at(start);
        // The packet is the JSON with the 0 before it.
        let length = (json.len() + 1).to_string();
        let expected = match content_type {
            TEXT => format!("{length}:0").into_bytes(),
            _ => [vec![0], length.bytes().map(|digit| digit - b'0').collect(), b"\xff0".to_vec()].concat(),
        };
        assert_eq!(head, expected, "{parameters}");
        let mut open: Value = serde_json::from_slice(json).expect("JSON");
        let sid = open["sid"].take();
        let rest = json!({
            "sid": null, "upgrades": ["websocket"], "pingInterval": 7000, "pingTimeout": 3000, "maxPayload": 12345
        });
        assert_eq!(open, rest);
        // CONNECT of protocols 3 and 4: the server is the first to speak, and says no more than this.
        let sid = sid.as_str().expect("a string");
        let connected: Vec<u8> = connected.chars().map(|c| u8::try_from(c).expect("a byte")).collect();
        check(&client.ask(get(&format!("{target}&sid={sid}"))), content_type, connected);
    }
}

#[test]
fn a_handshake_over_websocket_is_two_text_frames() {
    let server = Server::start(&["--recovery", "always", "--ping-interval", "25s", "--ping-timeout", "20s"]);
    for version in [2, 3] {
        for more in ["", "&b64=1", "&recovery=1"] {
            let mut client = server.connect();
            client.send(upgrade(&format!("{}{more}", websocket(version)), ""));
            let mut socket = WebSocket::upgraded(client);
            let open = socket.text();
            let mut open: Value = serde_json::from_str(open.strip_prefix('0').expect("an open packet")).expect("JSON");
            assert_eq!(open["sid"].take().as_str().map(str::len), Some(20));
            let rest = json!({
                "sid": null, "upgrades": [], "pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 1000000
            });
            assert_eq!(open, rest);
            assert_eq!(socket.text(), "40");
        }
    }
}

#[test]
fn frames_that_come_with_the_upgrade_request_are_answered_after_the_handshake() {
    let server = Server::start(&[]);
    for version in [2, 3] {
        let mut client = server.connect();
        let frames = [frame(TEXT_FRAME, b"40/nowhere,"), frame(TEXT_FRAME, b"40/elsewhere,")].concat();
        client.send([upgrade(&websocket(version), "").into_bytes(), frames].concat());
        let mut socket = WebSocket::upgraded(client);
        assert!(socket.text().starts_with("0{"));
        let refused = |name| format!("44/{name},\"Invalid namespace\"");
        assert_eq!([(); 3].map(|()| socket.text()), ["40".to_owned(), refused("nowhere"), refused("elsewhere")]);

        let mut client = server.connect();
        client.send([upgrade(&websocket(version), "").into_bytes(), frame(TEXT_FRAME, b"2hello")].concat());
        let mut socket = WebSocket::upgraded(client);
        assert!(socket.text().starts_with("0{"));
        // In what order does not matter.
        let mut answers = [socket.text(), socket.text()];
        answers.sort();
        assert_eq!(answers, ["3hello", "40"]);
    }
}

/// What recovery adds for newer clients are arguments that older ones do not expect.
#[test]
fn no_client_of_old_is_told_of_recovery() {
    let server = Server::start(&["--recovery", "always"]);
    let mut newer = WebSocket::open(&server);
    newer.send(r#"0{"token":"x"}"#);
    assert!(newer.receive().contains(r#","pid":""#));
    let mut others: Vec<Box<dyn Talk>> = Vec::new();
    let fields = "User-Agent: Mozilla/5.0\r\nSec-Fetch-Site: same-origin\r\n";
    for parameters in [&POLLERS[..], &["EIO=3&recovery=1", "EIO=3&j=0", "EIO=2&j=0"]].concat() {
        others.push(Box::new(Poller::open_with(&server, parameters, fields)));
    }
    others.push(Box::new(WebSocket::open_old(&server, 2)));
    others.push(Box::new(WebSocket::open_old(&server, 3)));
    others.iter_mut().for_each(|other| other.join());
    newer.send(r#"2["add user","ann"]"#);
    assert!(newer.receive().starts_with(r#"2["login",{"numUsers":1},""#), "an offset");
    for other in &mut others {
        other.assert_receives(r#"2["user joined",{"username":"ann","numUsers":1}]"#);
        other.assert_quiet();
    }
}

#[test]
fn old_clients_may_be_turned_away() {
    let server = Server::start(&["--old-clients", "no"]);
    for parameters in POLLERS.iter().chain(&["EIO=3&j=0", "EIO=2&j=0"]) {
        let fields = "Sec-Fetch-Site: same-origin\r\n";
        let target = format!("/socket.io/?{parameters}&transport=polling");
        let response = server.ask(&request("GET", &target, fields, ""));
        assert_eq!(response.brief(), (400, UNSUPPORTED), "{parameters}");
        assert_eq!(response.header("Content-Type"), Some("application/json"));
    }
    for version in [2, 3] {
        let mut client = server.connect();
        let response = client.ask(upgrade(&websocket(version), ""));
        assert_eq!(response.brief(), (400, "Unsupported protocol version"));
        assert_eq!(response.header("Content-Type"), Some("text/html"));
        client.assert_end();
    }
    let mut session = Poller::open(&server, "EIO=4");
    session.join();
    session.assert_quiet();
    WebSocket::open(&server).assert_quiet();
}

// Heartbeat.

#[test]
fn pings_are_answered_with_their_data() {
    let server = Server::start(&[]);
    let rows = [
        ("2", "3"),
        ("2probe", "3probe"),
        ("2hello", "3hello"),
        ("22", "32"),
        ("2\u{20ac}", "3\u{20ac}"),
        (r#"2["a",{"b":1}]"#, r#"3["a",{"b":1}]"#),
    ];
    for parameters in POLLERS {
        let mut session = Poller::open(&server, parameters);
        session.join();
        for (ping, pong) in rows {
            assert_eq!(session.post(&[ping]).brief(), (200, "ok"));
            let (content_type, body) = alone(parameters, pong);
            check(&session.get(), content_type, body);
        }
        // One payload may have several, with other packets between them.
        assert_eq!(session.post(&["2a", "6", "2b", "5"]).brief(), (200, "ok"));
        let answer = session.get();
        assert_eq!(session.packets(&answer), ["3a", "3b"]);
    }
    for version in [2, 3] {
        let mut socket = WebSocket::open_old(&server, version);
        socket.join();
        for (ping, pong) in rows {
            socket.send_text(ping);
            assert_eq!(socket.text(), pong);
        }
    }
}

#[test]
fn pings_and_pongs_of_the_server_are_an_error() {
    let server = Server::start(&[]);
    for parameters in POLLERS {
        for packets in [&["3"][..], &["3probe"], &["0"], &["6", "3"]] {
            let mut session = Poller::open(&server, parameters);
            assert_eq!(session.post(packets).brief(), (200, "ok"));
            session.assert_gone();
        }
    }
    for version in [2, 3] {
        let mut socket = WebSocket::open_old(&server, version);
        socket.join();
        socket.send_text("3");
        socket.assert_closed(1002);
    }
}

#[test]
fn a_goodbye_over_websocket_is_answered_with_a_close_frame() {
    let server = Server::start(&[]);
    for version in [2, 3] {
        let mut socket = WebSocket::open_old(&server, version);
        socket.join();
        socket.client.send([frame(TEXT_FRAME, b"1"), frame(TEXT_FRAME, b"2hello")].concat());
        socket.assert_closed(1000);
    }
}

#[test]
fn who_does_not_ping_is_closed_after_both_times_together() {
    let server = Server::start(&["--ping-interval", "1s", "--ping-timeout", "2s"]);
    let both = Duration::from_secs(3);
    let begin = Instant::now();
    let mut sockets = [2, 3].map(|version| WebSocket::open_old(&server, version));
    let mut parked = POLLERS.map(|parameters| Poller::open(&server, parameters));
    let absent = POLLERS.map(|parameters| Poller::open(&server, parameters));
    parked.iter_mut().for_each(|session| {
        session.join();
        session.park();
    });
    // Nothing comes before, so the server does not ping.
    for (session, parameters) in parked.iter_mut().zip(POLLERS) {
        let (content_type, body) = alone(parameters, "1");
        check(&session.gets.response(), content_type, body);
        assert!(begin.elapsed() >= both);
        session.assert_gone();
    }
    for socket in &mut sockets {
        socket.join();
        socket.assert_closed(1001);
        assert!(begin.elapsed() >= both);
    }
    for mut session in absent {
        wait_for("the session is forgotten", || (session.post(&["6"]).brief() == (400, UNKNOWN_SID)).then_some(()));
    }
}

#[test]
fn a_ping_postpones_the_end() {
    let server = Server::start(&["--ping-interval", "500ms", "--ping-timeout", "2s"]);
    let both = Duration::from_millis(2500);
    let begin = Instant::now();
    let mut poller = Poller::open(&server, "EIO=3");
    poller.join();
    let mut socket = WebSocket::open_old(&server, 3);
    socket.join();
    // Pings of the server come to newer clients only: they serve as a clock.
    let mut clock = WebSocket::open(&server);
    let mut last = Instant::now();
    while begin.elapsed() < both + Duration::from_millis(300) {
        assert_eq!(clock.text(), "2");
        last = Instant::now();
        clock.send_text("3");
        assert_eq!(poller.post(&["2"]).brief(), (200, "ok"));
        check(&poller.get(), TEXT, "1:3");
        socket.send_text("2");
        assert_eq!(socket.text(), "3");
    }
    poller.park();
    check(&poller.gets.response(), TEXT, "1:1");
    assert!(last.elapsed() >= both);
    socket.assert_closed(1001);
    assert!(last.elapsed() >= both);
}

// From polling to WebSocket.

#[test]
fn a_session_moves_to_websocket() {
    let server = Server::start(&[]);
    let mut speaker = WebSocket::open(&server);
    speaker.log_in("speaker");
    for parameters in POLLERS {
        let version = version(parameters);
        let mut session = Poller::open(&server, parameters);
        session.join();
        session.park();
        server.settle();
        let mut socket = WebSocket::take_over_old(&server, version, &session.sid);
        socket.send_text("2probe");
        assert_eq!(socket.text(), "3probe");
        let (content_type, noop) = alone(parameters, "6");
        check(&session.gets.response(), content_type, &noop);
        // Until `5` polling carries what there is.
        let heard = |text| format!(r#"2["new message",{{"username":"speaker","message":"{text}"}}]"#);
        let mut say = |text| speaker.send(&format!(r#"2["new message","{text}"]"#));
        say("1");
        session.assert_receives(&heard("1"));
        say("2");
        say("\u{e9}");
        socket.send_text("5");
        server.settle();
        say("4");
        // What was meant for polling stays as it was written for it.
        for text in ["2", r"\u00e9", "4"] {
            socket.assert_receives(&heard(text));
        }
        // A ping is a ping again.
        socket.send_text("2probe");
        assert_eq!(socket.text(), "3probe");

        assert_eq!(session.get().brief(), (400, BAD_REQUEST));
        assert_eq!(session.post(&["2"]).brief(), (400, BAD_REQUEST));
        WebSocket::take_over_old(&server, version, &session.sid).assert_closed(1000);
        socket.assert_quiet();
    }
}

/// Some clients (elephant.io, SocketIOClient) do not wait for `3probe`, or send no `2probe` at all.
#[test]
fn a_session_may_move_without_a_probe() {
    let server = Server::start(&[]);
    let mut speaker = WebSocket::open(&server);
    speaker.log_in("speaker");
    let heard = |text| format!(r#"2["new message",{{"username":"speaker","message":"{text}"}}]"#);
    let mut say = |text| speaker.send(&format!(r#"2["new message","{text}"]"#));
    for parameters in POLLERS {
        for parked in [true, false] {
            let mut session = Poller::open(&server, parameters);
            session.join();
            if parked {
                session.park();
                pass(&server);
            } else {
                say("1");
                say("2");
            }
            let mut socket = WebSocket::take_over_old(&server, version(parameters), &session.sid);
            socket.client.send([frame(TEXT_FRAME, b"5"), frame(TEXT_FRAME, b"2hello")].concat());
            if parked {
                let (content_type, noop) = alone(parameters, "6");
                check(&session.gets.response(), content_type, noop);
            } else {
                socket.assert_receives(&heard("1"));
                socket.assert_receives(&heard("2"));
            }
            assert_eq!(socket.text(), "3hello");
            say("3");
            socket.assert_receives(&heard("3"));
            assert_eq!(session.get().brief(), (400, BAD_REQUEST));
            socket.assert_quiet();
        }
    }
}

#[test]
fn a_probe_is_answered_each_time() {
    let server = Server::start(&[]);
    for parameters in POLLERS {
        let mut session = Poller::open(&server, parameters);
        session.join();
        let mut socket = WebSocket::take_over_old(&server, version(parameters), &session.sid);
        for _ in 0..3 {
            session.park();
            pass(&server);
            socket.send_text("2probe");
            assert_eq!(socket.text(), "3probe");
            let (content_type, noop) = alone(parameters, "6");
            check(&session.gets.response(), content_type, noop);
        }
        socket.send_text("5");
        socket.assert_quiet();
    }
}

#[test]
fn a_get_parked_at_the_upgrade_ends_with_a_noop() {
    let server = Server::start(&[]);
    for parameters in POLLERS {
        let mut session = Poller::open(&server, parameters);
        session.join();
        let mut socket = WebSocket::take_over_old(&server, version(parameters), &session.sid);
        socket.send_text("2probe");
        assert_eq!(socket.text(), "3probe");
        session.park();
        pass(&server);
        socket.send_text("5");
        let (content_type, noop) = alone(parameters, "6");
        check(&session.gets.response(), content_type, noop);
        socket.assert_quiet();
    }
}

#[test]
fn a_second_probe_is_closed_and_the_first_goes_on() {
    let server = Server::start(&[]);
    for version in [2, 3] {
        let session = Poller::open(&server, &format!("EIO={version}"));
        let mut first = WebSocket::take_over_old(&server, version, &session.sid);
        first.send_text("2probe");
        assert_eq!(first.text(), "3probe");
        WebSocket::take_over_old(&server, version, &session.sid).assert_closed(1000);
        first.send_text("5");
        first.join();
        first.assert_quiet();
    }
}

// Requests that overlap, and the goodbye.

#[test]
fn two_gets_at_once_end_the_session() {
    let server = Server::start(&[]);
    for parameters in POLLERS {
        let mut session = Poller::open(&server, parameters);
        session.join();
        session.park();
        server.settle();
        assert_eq!(server.ask(&get(&session.target)).brief(), (400, BAD_REQUEST));
        let (content_type, body) = alone(parameters, "1");
        check(&session.gets.response(), content_type, body);
        session.assert_gone();
    }
}

#[test]
fn two_posts_at_once_end_the_session() {
    let server = Server::start(&[]);
    for parameters in POLLERS {
        let mut session = Poller::open(&server, parameters);
        let post = post(&session.target, TEXT, b"1:6");
        session.posts.send(&post[..post.len() - 1]);
        server.settle();
        assert_eq!(server.connect().ask(post).brief(), (400, BAD_REQUEST));
        session.posts.assert_end();
        session.assert_gone();
    }
}

#[test]
fn a_goodbye_over_polling_ends_the_get_that_waits() {
    let server = Server::start(&[]);
    for parameters in POLLERS {
        let mut session = Poller::open(&server, parameters);
        session.join();
        session.park();
        server.settle();
        let ok = session.post(&["1"]);
        assert_eq!((ok.brief(), ok.header("Content-Type")), ((200, "ok"), Some("text/html")));
        let (content_type, body) = alone(parameters, "6");
        check(&session.gets.response(), content_type, body);
        session.assert_gone();
    }
}

/// As in the reference only the type of binary framing itself stands for it.
#[test]
fn a_body_is_text_unless_its_type_is_that_of_binary() {
    let server = Server::start(&[]);
    let connect = "40/nowhere,";
    let types = [
        (FORM, true),
        ("application/x-www-form-urlencoded; charset=UTF-8", true),
        ("application/octet-stream; x=1", true),
        ("application/octet-streams", true),
        ("application/json", true),
        (OCTETS, false),
    ];
    for parameters in POLLERS {
        for (content_type, is_text) in types {
            for (body, fits) in [(lengths(connect).into_bytes(), is_text), (bytes(connect), !is_text)] {
                let mut session = Poller::open(&server, parameters);
                session.join();
                let response = session.post_raw(content_type, &body);
                if fits {
                    assert_eq!(response.brief(), (200, "ok"), "{parameters} {content_type}");
                    session.assert_receives(r#"4/nowhere,"Invalid namespace""#);
                } else {
                    assert_eq!(response.brief(), (400, BAD_REQUEST), "{parameters} {content_type}");
                    session.assert_gone();
                }
            }
        }
        // Nor is a form decoded.
        let mut session = Poller::open(&server, parameters);
        session.join();
        assert_eq!(session.post_raw(FORM, lengths("40/%2c+d=1,").as_bytes()).brief(), (200, "ok"));
        session.assert_receives(r#"4/%2c+d=1,"Invalid namespace""#);
        assert_eq!(session.post_raw(FORM, b"d=1:6").brief(), (400, BAD_REQUEST));
        session.assert_gone();
    }
}

// Payloads that cannot be read.

#[test]
fn a_payload_that_cannot_be_read_ends_the_session() {
    let server = Server::start(&[]);
    // What takes the square of such a length would not be answered in time.
    let many = if hostile() { 2_000 } else { 900_000 };
    let mut rows: Vec<(&str, Vec<u8>)> = [
        "",
        ":",
        "4",
        "4a",
        "42[\"typing\"]",
        "x:4a",
        "0x2:4a",
        "+2:4a",
        "-1:4a",
        " 2:4a",
        "2.0:4a",
        "2",
        "2:",
        "0:",
        "3:4a",
        "1:4a",
        "2:4a:4b",
        "2:4a3",
        "2:4a3:",
        "99999999999999999999:4a",
        "18446744073709551615:4a",
        "9223372036854775808:4a",
        "1:7",
        "2:9a",
        "1:b",
        "3:bAA",
        "6:b3AQID",
        "4:b4A!",
        "4:b4AB",
        "5:b4AB=",
        "2:4\u{1f600}",
        "1:6\n",
    ]
    .map(|payload| (TEXT, payload.as_bytes().to_vec()))
    .into();
    rows.extend([
        (TEXT, b"2:4\xff".to_vec()),
        (TEXT, vec![b'9'; many]),
        (TEXT, [&vec![b'0'; many][..], b":4a"].concat()),
        (TEXT, [&vec![b'9'; many][..], b":4a"].concat()),
        (TEXT, [&b"1:6".repeat(many / 3 - 1)[..], b"1:"].concat()),
    ]);
    rows.extend(
        [
            &b""[..],
            b"\x00",
            b"\x00\x01",
            b"\x00\x01\xff",
            b"\x00\xff",
            b"\x00\xff6",
            b"\x00\x016",              // without ff
            b"\x00\x02\xff6",          // beyond the end
            b"\x00\x01\xff6\x00",      // half of another
            b"\x00\x00\xff",           // empty packet
            b"\x00\x0a\xff4123456789", // ten is no digit
            b"\x00\x31\xff6",          // ASCII digits
            b"\x00\xfe\xff6",
            b"\x02\x01\xff6",     // neither text nor binary
            b"\x00\x01\xff7",     // unknown type
            b"\x00\x02\xff4\xff", // not UTF-8
            b"\x01\x02\xff\x034", // binary that is no message
            b"\x01\x02\xff4a",
            b"1:6", // the other framing
            b"\x00\x01\x08\x04\x04\x06\x07\x04\x04\x00\x07\x03\x07\x00\x09\x05\x05\x01\x06\x01\x07\xff6", // 2^64 + 1
        ]
        .map(|payload| (OCTETS, payload.to_vec())),
    );
    rows.extend([
        (OCTETS, [&[0][..], &vec![9; many], b"\xff6"].concat()),
        (OCTETS, [&[0][..], &vec![0; many]].concat()),
        (OCTETS, [&[0][..], &vec![0; many], b"\x09\xff6"].concat()),
        (OCTETS, [b"\x00\x01\xff6".repeat(many / 4 - 1), vec![0]].concat()),
    ]);
    for (number, (content_type, payload)) in rows.iter().enumerate() {
        let start = payload[..payload.len().min(40)].escape_ascii();
        for version in [2, 3] {
            let mut session = Poller::open(&server, &format!("EIO={version}"));
            session.join();
            let response = session.post_raw(content_type, payload);
            assert_eq!(response.brief(), (400, BAD_REQUEST), "row {number}: {start}");
            session.assert_gone();
        }
    }
}

/// What is in such a payload before the damage is not acted upon.
#[test]
fn a_payload_counts_as_a_whole() {
    let server = Server::start(&[]);
    let mut observer = WebSocket::open(&server);
    observer.join();
    let packet = r#"42["add user","ann"]"#;
    let rows = [
        (TEXT, [lengths(packet).as_bytes(), b"1:7"].concat()),
        (OCTETS, [&bytes(packet)[..], b"\x00\x01\xff7"].concat()),
    ];
    for (content_type, payload) in rows {
        let mut session = Poller::open(&server, "EIO=3");
        assert_eq!(session.post_raw(content_type, &payload).status, 400);
        observer.assert_quiet();
    }
}

/// Frames too: the connection is closed as one that breaks the protocol.
#[test]
fn frames_that_are_no_packets_end_the_session() {
    let server = Server::start(&[]);
    let rows = [
        (TEXT_FRAME, &b""[..]),
        (TEXT_FRAME, b"7"),
        (TEXT_FRAME, b"x"),
        (TEXT_FRAME, b"b"),
        (TEXT_FRAME, b"bAQID"),
        (TEXT_FRAME, b"b3AQID"),
        (TEXT_FRAME, b"b4A!"),
        (TEXT_FRAME, b"4"),
        (TEXT_FRAME, b"49"),
        (BINARY, b""),
        (BINARY, b"4"),
        (BINARY, b"\x03"),
        (BINARY, b"\x00\x02\xff40"),
        // A message, but the attachment of nothing.
        (BINARY, b"\x04"),
        (TEXT_FRAME, b"b4AQID"),
    ];
    for version in [2, 3] {
        for (opcode, payload) in rows {
            let mut socket = WebSocket::open_old(&server, version);
            socket.join();
            socket.client.send(frame(opcode, payload));
            socket.assert_closed(1002);
        }
    }
}

#[test]
fn what_is_too_long_is_refused() {
    let server = Server::start(&["--max-payload", "1000"]);
    for parameters in POLLERS {
        let mut session = Poller::open(&server, parameters);
        session.join();
        let fits = bytes(&format!("2{}", "x".repeat(994)));
        assert_eq!(fits.len(), 1000);
        assert_eq!(session.post_raw(OCTETS, &fits).brief(), (200, "ok"));
        let answer = session.get();
        assert_eq!(session.packets(&answer), [format!("3{}", "x".repeat(994))]);
        assert_eq!(session.post_raw(OCTETS, &[&fits[..], b"\0"].concat()).status, 413);
        session.posts.assert_end();
        session.posts = server.connect();
        session.assert_quiet();
    }
    for version in [2, 3] {
        let mut socket = WebSocket::open_old(&server, version);
        socket.join();
        socket.send_text(&format!("2{}", "x".repeat(999)));
        assert_eq!(socket.text(), format!("3{}", "x".repeat(999)));
        socket.client.send(raw_frame(0x80 | TEXT_FRAME, 1001, b"2"));
        socket.assert_closed(1009);
    }
}

// Text.

/// Lengths count UTF-16 code units: an emoji is two. What is not in quotes is never escaped, so names show it.
#[test]
fn lengths_count_utf16_in_both_directions() {
    let server = Server::start(&[]);
    let rows = [
        ("6:40/e\u{301},", "25:44/e\u{301},\"Invalid namespace\""),
        ("5:40/\u{20ac},", "24:44/\u{20ac},\"Invalid namespace\""),
        ("6:40/\u{1f600},", "25:44/\u{1f600},\"Invalid namespace\""),
        ("9:40/\u{1f600}\u{20ac}\u{1f600},", "28:44/\u{1f600}\u{20ac}\u{1f600},\"Invalid namespace\""),
    ];
    for parameters in ["EIO=3", "EIO=3&b64=1", "EIO=2&b64=1"] {
        let mut session = Poller::open(&server, parameters);
        session.join();
        for (sent, answer) in rows {
            assert_eq!(session.post_raw(TEXT, sent.as_bytes()).brief(), (200, "ok"), "{sent}");
            check(&session.get(), TEXT, answer);
        }
        let both = [rows[2].0, rows[1].0].concat();
        assert_eq!(session.post_raw(TEXT, both.as_bytes()).brief(), (200, "ok"));
        check(&session.get(), TEXT, [rows[2].1, rows[1].1].concat());
        // Counted as characters or as bytes.
        for wrong in ["5:40/\u{1f600},", "8:40/\u{1f600},"] {
            let mut session = Poller::open(&server, parameters);
            assert_eq!(session.post_raw(TEXT, wrong.as_bytes()).brief(), (400, BAD_REQUEST));
        }
    }
    // Binary framing counts bytes.
    let mut session = Poller::open(&server, "EIO=2");
    session.join();
    assert_eq!(session.post_raw(OCTETS, b"\x00\x08\xff40/\xf0\x9f\x98\x80,").brief(), (200, "ok"));
    check(&session.get(), OCTETS, b"\x00\x02\x07\xff44/\xf0\x9f\x98\x80,\"Invalid namespace\"");
}

#[test]
fn text_to_old_clients_is_ascii_where_some_of_them_decode_it_twice() {
    const PLAIN: &str = "\u{e9}\u{20ac}\u{1f600}\\u00e9\\\"";
    const ESCAPED: &str = "\\u00e9\\u20ac\\ud83d\\ude00\\u00e9\\\"";
    let server = Server::start(&[]);
    let mut speaker = WebSocket::open(&server);
    speaker.log_in("speaker");
    let mut rows: Vec<(Box<dyn Talk>, &str)> = POLLERS
        .iter()
        .map(|parameters| (Box::new(Poller::open(&server, parameters)) as Box<dyn Talk>, ESCAPED))
        .collect();
    rows.push((Box::new(WebSocket::open_old(&server, 2)), ESCAPED));
    rows.push((Box::new(WebSocket::open_old(&server, 3)), PLAIN));
    rows.push((Box::new(WebSocket::open(&server)), PLAIN));
    rows.push((Box::new(Poller::open(&server, "EIO=4")), PLAIN));
    rows.iter_mut().for_each(|(observer, _)| observer.join());
    speaker.send(&format!(r#"2["new message","{PLAIN}"]"#));
    for (number, (observer, text)) in rows.iter_mut().enumerate() {
        let expected = format!(r#"2["new message",{{"username":"speaker","message":"{text}"}}]"#);
        assert_eq!(observer.receive(), expected, "observer {number}");
        observer.assert_quiet();
    }
}

/// Clients 1.x encode text as UTF-8 before it is sent as UTF-8; those of 2.x do not.
#[test]
fn text_that_was_encoded_twice_is_decoded_twice() {
    let twice = |text: &str| text.bytes().map(char::from).collect::<String>();
    let server = Server::start(&[]);
    let mut observer = WebSocket::open(&server);
    observer.join();
    // What a client sends, and what is heard if it is right to decode that once more.
    let texts = [
        (twice("\u{e9}"), "\u{e9}"),
        (twice("\u{e9}\u{20ac}\u{1f600}\u{4f60}"), "\u{e9}\u{20ac}\u{1f600}\u{4f60}"),
        (twice(&twice("\u{e9}")), "\u{c3}\u{a9}"),
    ];
    // And what is never touched: it cannot be the result of that.
    let plain = ["ascii", "\u{e9}", "\u{e9}\u{20ac}", "\u{c3}\u{a9}\u{20ac}", "\u{1f600}", "\u{ff}\u{fe}", "\u{c3}1"];
    // Parameters, whether over WebSocket, and whether it is right.
    let clients = [
        ("EIO=3", false, true),
        ("EIO=3&b64=1", false, true),
        ("EIO=2&b64=1", false, true),
        // In the binary framing the bytes are those of the client's own UTF-8.
        ("EIO=2", false, false),
        (OF_1_3, false, false),
        ("EIO=3", true, false),
        ("EIO=2", true, true),
    ];
    let (mut senders, mut number) = (Vec::new(), 0);
    for (users, (parameters, over_websocket, decodes)) in (1..).zip(clients) {
        let mut sender: Box<dyn Talk> = match over_websocket {
            true => Box::new(WebSocket::open_old(&server, version(parameters))),
            false => Box::new(Poller::open(&server, parameters)),
        };
        sender.join();
        sender.send(r#"2["add user","old"]"#);
        sender.assert_receives(&format!(r#"2["login",{{"numUsers":{users}}}]"#));
        observer.assert_receives(&format!(r#"2["user joined",{{"username":"old","numUsers":{users}}}]"#));
        let mut hears = |sent: &str, heard: &str| {
            number += 1;
            sender.send(&format!(r#"2["new message","{number}{sent}"]"#));
            let expected = format!(r#"2["new message",{{"username":"old","message":"{number}{heard}"}}]"#);
            assert_eq!(observer.receive(), expected, "{parameters}, over WebSocket: {over_websocket}");
        };
        for (sent, heard) in &texts {
            hears(sent, if decodes { heard } else { sent });
        }
        plain.iter().for_each(|text| hears(text, text));
        senders.push(sender);
    }
}

// Binary, which the chat has no use for.

/// A session of plain Engine.IO: the target of its requests. The open packet has been read.
fn open_plain(server: &Server, parameters: &str) -> String {
    let target = format!("/engine.io/?{parameters}&transport=polling");
    let response = server.ask(&get(&target));
    let body = String::from_utf8_lossy(&response.body);
    let (_, rest) = body.split_once(r#""sid":""#).expect("an open packet");
    let (sid, _) = rest.split_once('"').expect("the end of the sid");
    format!("{target}&sid={sid}")
}

#[test]
fn binary_messages_over_polling_are_framed_as_the_client_can_read_them() {
    let server = echo::start();
    // POST: Content-Type and body; GET the same.
    let text = ("6:4hello2:4\u{20ac}", TEXT);
    let binary: (&[u8], &str) = (b"\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04", OCTETS);
    let base64 = ("6:4hello10:b4AQIDBA==", TEXT);
    let octets: (&[u8], &str) = (b"\x00\x06\xff4hello\x00\x04\xff4\xe2\x82\xac", OCTETS);
    let text = (text.0.as_bytes(), text.1);
    let base64 = (base64.0.as_bytes(), base64.1);
    let empty: (&[u8], &str) = (b"\x01\x01\xff\x04", OCTETS);
    let empty64: (&[u8], &str) = (b"2:b4", TEXT);
    // Long enough for three digits, and binary that looks like a separator.
    let long = [&b"\x01\x01\x00\x01\xff\x04"[..], &[0xff; 100]].concat();
    let long64 = format!("138:b4{}==", "/".repeat(133) + "w");
    let (long, long64) = ((&long[..], OCTETS), (long64.as_bytes(), TEXT));
    let rows = [
        ("EIO=3", text, text),
        ("EIO=3", octets, text),
        ("EIO=3", binary, binary),
        ("EIO=3", base64, binary),
        ("EIO=3", empty, empty),
        ("EIO=3", empty64, empty),
        ("EIO=3", long64, long),
        ("EIO=3&b64=1", text, text),
        ("EIO=3&b64=1", binary, base64),
        ("EIO=3&b64=1", base64, base64),
        ("EIO=3&b64=1", empty, empty64),
        ("EIO=3&b64=1", long, long64),
        (OF_1_3, text, octets),
        (OF_1_3, octets, octets),
        (OF_1_3, base64, binary),
        ("EIO=2", text, octets),
        ("EIO=2", octets, octets),
        ("EIO=2", binary, binary),
        ("EIO=2", base64, binary),
        ("EIO=2", long64, long),
        ("EIO=2&b64=1", octets, text),
        ("EIO=2&b64=1", binary, base64),
        ("EIO=2&b64=1", long, long64),
    ];
    for (parameters, (sent, sent_type), (body, content_type)) in rows {
        let target = open_plain(&server, parameters);
        assert_eq!(server.connect().ask(post(&target, sent_type, sent)).brief(), (200, "ok"));
        let answer = server.ask(&get(&target));
        check(&answer, content_type, body);
    }
}

#[test]
fn binary_frames_begin_with_the_type() {
    let server = echo::start();
    let open = |version| {
        let mut client = server.connect();
        client.send(upgrade(&format!("/engine.io/?EIO={version}&transport=websocket"), ""));
        let mut socket = WebSocket::upgraded(client);
        assert!(socket.text().starts_with("0{"));
        socket
    };
    let old: &[(u8, &[u8], u8, &[u8])] = &[
        (BINARY, b"\x04\x01\x02\x03", BINARY, b"\x04\x01\x02\x03"),
        (BINARY, b"\x04", BINARY, b"\x04"),
        (TEXT_FRAME, b"b4AQIDBA==", BINARY, b"\x04\x01\x02\x03\x04"),
        (TEXT_FRAME, b"4hello", TEXT_FRAME, b"4hello"),
        (TEXT_FRAME, b"4", TEXT_FRAME, b"4"),
    ];
    let new: &[(u8, &[u8], u8, &[u8])] =
        &[(BINARY, b"\x04\x01\x02\x03", BINARY, b"\x04\x01\x02\x03"), (BINARY, b"", BINARY, b"")];
    for (version, rows) in [(2, old), (3, old), (4, new)] {
        let mut socket = open(version);
        for (opcode, sent, echoed, payload) in rows {
            socket.client.send(frame(*opcode, sent));
            assert_eq!(socket.frame(), (*echoed, payload.to_vec()), "EIO={version}");
        }
    }
    // Of other types bytes are no use.
    for bytes in [&b""[..], b"4abc", b"\x03abc", b"\x05", b"b4AQID"] {
        for version in [2, 3] {
            let mut socket = open(version);
            socket.client.send(frame(BINARY, bytes));
            socket.assert_closed(1002);
        }
    }
}

#[test]
fn what_polling_has_not_carried_moves_with_the_session() {
    let server = echo::start();
    for parameters in POLLERS {
        let target = open_plain(&server, parameters);
        let payload = b"\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04";
        let mut client = server.connect();
        client.send(upgrade(&target.replace("=polling", "=websocket"), ""));
        let mut socket = WebSocket::upgraded(client);
        socket.send_text("2probe");
        assert_eq!(socket.text(), "3probe");
        assert_eq!(server.connect().ask(post(&target, OCTETS, payload)).brief(), (200, "ok"));
        socket.send_text("5");
        assert_eq!(socket.frame(), (TEXT_FRAME, b"4hello".to_vec()));
        assert_eq!(socket.frame(), (BINARY, b"\x04\x01\x02\x03\x04".to_vec()));
    }
}

#[test]
fn events_with_attachments_arrive_over_every_transport() {
    let server = echo::start();
    let event = r#"451-["a",{"_placeholder":true,"num":0},"\u20ac"]"#;
    let ack = r#"461-7[{"_placeholder":true,"num":0}]"#;
    for parameters in ["EIO=3", "EIO=2"] {
        let mut session = Poller::open(&server, parameters);
        session.get();
        let payload = [bytes(&event.replace(r"\u20ac", "\u{20ac}")), b"\x01\x03\xff\x04\x01\x02".to_vec()].concat();
        assert_eq!(session.post_raw(OCTETS, &payload).brief(), (200, "ok"));
        // Relayed as it came, then made ASCII.
        check(&session.get(), OCTETS, [&bytes(event)[..], b"\x01\x03\xff\x04\x01\x02"].concat());
    }
    let mut session = Poller::open(&server, "EIO=3&b64=1");
    session.get();
    let asks = r#"451-7["a",{"_placeholder":true,"num":0}]"#;
    let payload = [&lengths(asks), "6:b4AQI="].concat();
    assert_eq!(session.post_raw(TEXT, payload.as_bytes()).brief(), (200, "ok"));
    let echo = asks.replace("-7[", "-[");
    check(&session.get(), TEXT, [&lengths(&echo), "6:b4AQI=", &lengths(ack), "6:b4AQI="].concat());
    for version in [2, 3] {
        let mut socket = WebSocket::open_old(&server, version);
        assert_eq!(socket.text(), "40");
        assert!(socket.text().starts_with(r#"42["id","#));
        socket.send_text(asks);
        socket.client.send(frame(BINARY, b"\x04\x01\x02"));
        for head in [&echo, ack] {
            assert_eq!(socket.text(), *head);
            assert_eq!(socket.frame(), (BINARY, b"\x04\x01\x02".to_vec()));
        }
    }
}

/// Older clients compute the id of their socket from the sid.
#[test]
fn the_id_of_a_socket_is_the_sid() {
    let server = echo::start();
    for parameters in POLLERS {
        let mut session = Poller::open(&server, parameters);
        let told = format!(r#"2["id","{}"]"#, session.sid);
        session.assert_receives("0");
        session.assert_receives(&told);
        // 1.x leaves the comma out, 2.x puts a query before it.
        for connect in ["0/custom", "0/custom,", "0/custom?token=x,"] {
            session.send(connect);
            session.assert_receives("0/custom,");
            session.assert_receives(&told.replace("2[", "2/custom,["));
            session.send("1/custom,");
        }
    }
    for version in [2, 3] {
        let mut client = server.connect();
        client.send(upgrade(&websocket(version), ""));
        let mut socket = WebSocket::upgraded(client);
        let open: Value = serde_json::from_str(&socket.text()[1..]).expect("JSON");
        assert_eq!(socket.text(), "40");
        assert_eq!(socket.text(), format!(r#"42["id",{}]"#, open["sid"]));
    }
    // Nobody must guess one from the other in protocol 4.
    let mut session = Poller::open(&server, "EIO=4");
    session.join();
    assert!(!session.receive().contains(&session.sid));
}

// What an answer may hold.

/// A speaker, and those who listen: parameters of their handshake, and header lines. They have missed nothing.
fn room(server: &Server, listeners: &[(&str, &str)]) -> (Speaker, Vec<Poller>) {
    let speaker = Speaker::enter(server);
    let open = |(parameters, fields): &(&str, &str)| {
        let mut listener = Poller::open_with(server, parameters, fields);
        listener.join();
        listener
    };
    (speaker, listeners.iter().map(open).collect())
}

#[test]
fn an_answer_has_at_most_16_packets_unless_a_browser_asks() {
    let server = Server::start(&["--recovery", "off"]);
    let cut = &[16, 16, 8][..];
    let whole = &[40][..];
    let rows = [
        ("EIO=4", "", cut),
        ("EIO=3", "", cut),
        ("EIO=3&b64=1", "", cut),
        (OF_1_3, "", cut),
        ("EIO=2", "", cut),
        ("EIO=4", "User-Agent: python-requests/2.32.0\r\n", cut),
        ("EIO=4", "User-Agent: node-XMLHttpRequest\r\n", cut),
        ("EIO=4", "User-Agent: like Mozilla/5.0\r\n", cut),
        ("EIO=4", "User-Agent: mozilla/5.0\r\n", cut),
        ("EIO=4", "User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n", whole),
        ("EIO=3", "User-Agent: Mozilla/4.0 (compatible; MSIE 8.0)\r\n", whole),
        ("EIO=2", "User-Agent: Mozilla/5.0\r\n", whole),
    ];
    let (mut speaker, mut observers) = room(&server, &rows.map(|(parameters, fields, _)| (parameters, fields)));
    let texts: Vec<_> = (0..40).map(|number| number.to_string()).collect();
    let expected: Vec<_> = texts.iter().map(|text| speaker.say(text)).collect();
    for (observer, (parameters, fields, counts)) in observers.iter_mut().zip(rows) {
        let answers: Vec<_> = counts
            .iter()
            .map(|_| {
                let answer = observer.get();
                observer.packets(&answer)
            })
            .collect();
        let seen: Vec<_> = answers.iter().map(Vec::len).collect();
        assert_eq!(seen, counts, "{parameters} {fields}");
        assert!(answers.concat() == expected, "{answers:?}");
        observer.assert_quiet();
    }
}

#[test]
fn an_answer_has_at_most_as_many_bytes_as_a_request() {
    let server = Server::start(&["--recovery", "off", "--max-payload", "1000"]);
    let parameters = ["EIO=4", "EIO=3", "EIO=3&b64=1", OF_1_3, "EIO=2", "EIO=2&b64=1"];
    let browser = "User-Agent: Mozilla/5.0\r\n";
    let (mut speaker, mut observers) = room(&server, &parameters.map(|parameters| (parameters, browser)));
    // Every length from short to long, so that answers end everywhere around the limit.
    let texts: Vec<_> = (0..150).map(|number| format!("{number} {}", "x".repeat(number % 50))).collect();
    let expected: Vec<_> = texts.iter().map(|text| speaker.say(text)).collect();
    for (observer, parameters) in observers.iter_mut().zip(parameters) {
        let (mut packets, mut lengths) = (Vec::new(), Vec::new());
        while packets.len() < texts.len() {
            let answer = observer.get();
            packets.extend(observer.packets(&answer));
            lengths.push(answer.body.len());
        }
        assert!(packets == expected, "{parameters}: {packets:?}");
        assert!(lengths.iter().all(|length| *length <= 1000), "{parameters}: {lengths:?}");
        // And they are used up: a packet has 210 bytes at most here, and the last answer is what is left.
        let (_, full) = lengths.split_last().expect("answers");
        assert!(full.iter().all(|length| *length > 780), "{parameters}: {lengths:?}");
        observer.assert_quiet();
    }
    // A packet that is larger alone goes out alone.
    let last = [&*"x".repeat(960), "after"].map(|text| speaker.say(text));
    for observer in &mut observers {
        for packet in &last {
            let answer = observer.get();
            assert_eq!(observer.packets(&answer), std::slice::from_ref(packet));
        }
    }
}

/// The body of a compressed answer.
pub fn gunzip(response: &Response) -> Vec<u8> {
    let mut plain = Vec::new();
    GzDecoder::new(&response.body[..]).read_to_end(&mut plain).expect("gzip");
    plain
}

#[test]
fn long_answers_are_compressed_for_those_who_accept_it() {
    let server = Server::start(&["--recovery", "off"]);
    let rows = [
        ("", false),
        ("Accept-Encoding: gzip\r\n", true),
        ("Accept-Encoding: gzip, deflate, br, zstd\r\n", true),
        ("Accept-Encoding: br, GZIP;q=0.5\r\n", true),
        ("Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n", true),
        ("Accept-Encoding: gzip;q=0\r\n", false),
        ("Accept-Encoding: deflate, br\r\n", false),
        ("Accept-Encoding: xgzip\r\n", false),
        ("Accept-Encoding: identity\r\n", false),
    ];
    // What a payload of one message has around its text, from the hundredth message on.
    let mut first = Speaker::enter(&server);
    let around = (0..100).map(|_| first.say("x").len() - 1).last().expect("a packet");
    // Speakers stay to the end: that one has left could be told to the next at any time.
    let mut earlier = Vec::new();
    for (parameters, framing) in [("EIO=4", 0), ("EIO=3", 5), ("EIO=2&b64=1", 5), ("EIO=2", 6)] {
        let (mut speaker, mut observers) = room(&server, &rows.map(|(fields, _)| (parameters, fields)));
        for (length, long) in [(1023, false), (1024, false), (1025, true), (4000, true)] {
            let text = "x".repeat(length - around - framing);
            observers.iter_mut().for_each(|observer| observer.park());
            server.settle();
            let (_, body) = alone(parameters, &speaker.say(&text));
            assert_eq!(body.len(), length);
            let mut compressed = Vec::new();
            for (observer, (fields, accepts)) in observers.iter_mut().zip(rows) {
                let answer = observer.gets.response();
                let coding = (accepts && long).then_some("gzip");
                assert_eq!(answer.header("Content-Encoding"), coding, "{parameters}, {length}, {fields}");
                assert_eq!(answer.header("Content-Type"), Some(alone(parameters, "").0));
                if coding.is_some() {
                    assert!(answer.body.len() < 300, "{} bytes for x and x", answer.body.len());
                    assert_eq!(gunzip(&answer), body);
                    compressed.push(answer.body);
                } else {
                    assert_eq!(answer.body, body);
                }
            }
            assert!(compressed.iter().all(|body| *body == compressed[0]), "those who get the same get the same bytes");
            assert_eq!(compressed.len(), if long { 4 } else { 0 });
        }
        earlier.push(speaker);
    }
}

/// Who polls in which dialect is mixed in any room, and what one gets must not be another's.
#[test]
fn pollers_of_all_kinds_get_their_own_bytes() {
    let server = Server::start(&["--recovery", "off"]);
    let gzip = "Accept-Encoding: gzip\r\n";
    let kinds = ["EIO=4", "EIO=3", "EIO=2", "EIO=3&b64=1", OF_1_3, "EIO=2&b64=1"];
    let rows: Vec<_> = kinds.iter().chain(&kinds).flat_map(|kind| [(*kind, ""), (*kind, gzip)]).collect();
    let (mut speaker, mut observers) = room(&server, &rows);
    for length in [10, 2000] {
        let text = "\u{20ac}".repeat(length);
        observers.iter_mut().for_each(|observer| observer.park());
        server.settle();
        let packet = speaker.say(&text);
        let mut answers = Vec::new();
        for (observer, (kind, fields)) in observers.iter_mut().zip(&rows) {
            let answer = observer.gets.response();
            let compressed = length == 2000 && *fields == gzip;
            assert_eq!(answer.header("Content-Encoding").is_some(), compressed);
            let plain = if compressed { gunzip(&answer) } else { answer.body.clone() };
            let expected = match *kind {
                "EIO=4" => packet.clone().into_bytes(),
                _ => alone(kind, &packet.replace('\u{20ac}', r"\u20ac")).1,
            };
            assert!(plain == expected, "{kind}");
            answers.push(answer.body);
        }
        assert_eq!(answers[..answers.len() / 2], answers[answers.len() / 2..], "both halves are the same clients");
    }
}
