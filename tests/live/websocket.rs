//! WebSocket: sessions that begin there, sessions that move there from polling, frames that break the protocol.

use crate::harness::{
    BINARY, CLOSE, Client, PING, PONG, Polling, Server, TEXT, Talk, WEBSOCKET, WebSocket, classic, frame, get,
    raw_frame, request, takeover, upgrade,
};
use std::time::{Duration, Instant};

const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;
const REFUSED: &str = r#"4/nowhere,{"message":"Invalid namespace"}"#;

#[test]
fn a_session_may_begin_over_websocket() {
    let server = Server::start(&["--ping-interval", "25s"]);
    let mut client = server.connect();
    client.send(upgrade(WEBSOCKET, ""));
    let mut socket = WebSocket::upgraded(client);
    let open = socket.text();
    assert!(open.starts_with(r#"0{"sid":""#) && open.contains(r#""upgrades":[],"pingInterval":25000,"#), "{open}");
    socket.assert_quiet();
}

#[test]
fn frames_may_come_with_the_upgrade_request() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send([upgrade(WEBSOCKET, "").into_bytes(), frame(TEXT, b"40/nowhere,"), frame(PING, b"")].concat());
    let mut socket = WebSocket::upgraded(client);
    assert!(socket.text().starts_with("0{"));
    assert_eq!(socket.text(), format!("4{REFUSED}"));
    assert_eq!(socket.frame(), (PONG, Vec::new()));

    let session = Polling::open(&server);
    let mut client = server.connect();
    client.send([upgrade(&takeover(&session.sid), "").into_bytes(), frame(TEXT, b"2probe")].concat());
    assert_eq!(WebSocket::upgraded(client).text(), "3probe");
}

#[test]
fn a_refused_upgrade_is_answered_in_full() {
    let server = Server::start(&[]);
    let session = Polling::open(&server);
    let line = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let rows = [
        (upgrade("/socket.io/?EIO=4&transport=websocket&sid=AAAAAAAAAAAAAAAAAAAAAAAA", ""), 400, "Session ID unknown"),
        (upgrade("/socket.io/?EIO=5&transport=websocket", ""), 400, "Unsupported protocol version"),
        (upgrade("/socket.io/?EIO=4&transport=polling", ""), 400, "Bad request"),
        (upgrade(&format!("{}x", takeover(&session.sid)), ""), 400, "Session ID unknown"),
        (upgrade(WEBSOCKET, "").replace("Version: 13", "Version: 12"), 426, "only WebSocket version 13 is supported"),
        (upgrade(WEBSOCKET, "").replace(line, ""), 400, "Sec-WebSocket-Key is not 16 bytes in base64"),
        (upgrade(WEBSOCKET, line), 400, "Sec-WebSocket-Key is not 16 bytes in base64"),
        (upgrade(&takeover(&session.sid), line), 400, "Sec-WebSocket-Key is not 16 bytes in base64"),
    ];
    for (sent, status, body) in rows {
        let mut client = server.connect();
        let response = client.ask(&sent);
        assert_eq!(response.brief(), (status, body), "{sent}");
        let connection = if status == 426 { "Upgrade, close" } else { "close" };
        assert_eq!(response.header("Connection"), Some(connection));
        client.assert_end();
    }
    // None of them was a probe.
    let mut socket = WebSocket::take_over(&server, &session.sid);
    socket.send_text("2probe");
    assert_eq!(socket.text(), "3probe");
}

#[test]
fn a_client_that_answers_pings_over_websocket_lives() {
    let server = Server::start(&["--ping-interval", "200ms", "--ping-timeout", "5s"]);
    let mut socket = WebSocket::open(&server);
    for _ in 0..3 {
        assert_eq!(socket.text(), "2");
        socket.send_text("3");
    }
}

#[test]
fn a_client_that_does_not_answer_pings_over_websocket_is_closed() {
    let server = Server::start(&["--ping-interval", "200ms", "--ping-timeout", "2s"]);
    let begin = Instant::now();
    let mut socket = WebSocket::open(&server);
    assert_eq!(socket.text(), "2");
    // A ping frame is no pong packet.
    socket.client.send(frame(PING, b"here"));
    assert_eq!(socket.frame(), (PONG, b"here".to_vec()));
    socket.assert_closed(1001);
    assert!(begin.elapsed() >= Duration::from_millis(2200));
}

#[test]
fn control_frames_are_answered_between_fragments() {
    let server = Server::start(&[]);
    let mut socket = WebSocket::open(&server);
    socket.client.send(raw_frame(TEXT, 4, b"40/n"));
    socket.client.send(frame(PING, b"now?"));
    assert_eq!(socket.frame(), (PONG, b"now?".to_vec()));
    socket.client.send(raw_frame(0, 0, b""));
    socket.client.send(raw_frame(0x80, 7, b"owhere,"));
    assert_eq!(socket.text(), format!("4{REFUSED}"));
}

#[test]
fn a_goodbye_is_answered() {
    let server = Server::start(&[]);
    for (payload, code) in [(&b"\x03\xe8"[..], &b"\x03\xe8"[..]), (b"\x03\xe9going", b"\x03\xe9"), (b"", b"")] {
        let mut socket = WebSocket::open(&server);
        socket.client.send(frame(CLOSE, payload));
        let (opcode, answer) = socket.frame();
        assert_eq!((opcode, answer.get(..2).unwrap_or_default()), (CLOSE, code));
        socket.client.assert_end();
    }
}

#[test]
fn frames_that_break_the_protocol_are_closed_with_its_codes() {
    let server = Server::start(&["--max-payload", "1000", "--max-fragments", "3"]);
    let rows: &[(&str, Vec<u8>, u16)] = &[
        ("a frame without a mask", b"\x81\x05hello".to_vec(), 1002),
        ("a reserved bit", raw_frame(0xc1, 1, b"3"), 1002),
        ("an unknown opcode", frame(3, b""), 1002),
        ("an unknown control opcode", frame(11, b""), 1002),
        ("a continuation of nothing", frame(0, b"3"), 1002),
        ("a message inside a message", [raw_frame(TEXT, 1, b"3"), frame(TEXT, b"3")].concat(), 1002),
        ("a ping in fragments", raw_frame(PING, 0, b""), 1002),
        ("a ping that is too long", frame(PING, &[b'x'; 126]), 1002),
        ("half a close code", frame(CLOSE, b"\x03"), 1002),
        ("a close code that is none", frame(CLOSE, &1005_u16.to_be_bytes()), 1002),
        ("a length that is not minimal", b"\x81\xfe\x00\x01\x00\x00\x00\x003".to_vec(), 1002),
        ("a length with the highest bit", raw_frame(0x80 | TEXT, usize::MAX, b""), 1002),
        ("text that is not UTF-8", frame(TEXT, b"40/\xff,"), 1007),
        ("a reason that is not UTF-8", frame(CLOSE, b"\x03\xe8\xff"), 1007),
        ("a message that will be too long", raw_frame(0x80 | TEXT, 1001, b""), 1009),
        ("a length that nobody has", raw_frame(0x80 | BINARY, 1 << 62, b""), 1009),
        ("fragments too long together", [raw_frame(TEXT, 600, &[b'4'; 600]), raw_frame(0, 401, b"")].concat(), 1009),
        ("too many fragments", [raw_frame(TEXT, 1, b"4"), raw_frame(0, 0, b"").repeat(3)].concat(), 1008),
        ("no packet of Engine.IO", frame(TEXT, b"9"), 1002),
        ("an empty packet", frame(TEXT, b""), 1002),
        ("no packet of Socket.IO", frame(TEXT, b"49"), 1002),
        ("a heartbeat in the wrong direction", frame(TEXT, b"2"), 1002),
        ("an attachment of nothing", frame(BINARY, b"\x01"), 1002),
    ];
    for (what, bytes, code) in rows {
        let mut socket = WebSocket::open(&server);
        socket.client.send(bytes);
        let (opcode, payload) = socket.frame();
        assert_eq!((opcode, payload.get(..2)), (CLOSE, Some(&code.to_be_bytes()[..])), "{what}");
        socket.client.assert_end();
    }
}

#[test]
fn half_a_message_times_out() {
    let server = Server::start(&["--message-timeout", "300ms"]);
    let whole = frame(TEXT, b"40/nowhere,");
    for half in [whole[..1].to_vec(), whole[..8].to_vec(), raw_frame(TEXT, 4, b"40/n")] {
        let mut socket = WebSocket::open(&server);
        socket.client.send(&half);
        socket.assert_closed(1008);
    }
}

#[test]
fn a_session_moves_from_polling_to_websocket_in_order() {
    let server = Server::start(&[]);
    let mut speaker = WebSocket::open(&server);
    speaker.log_in("speaker");
    let mut session = Polling::open(&server);
    session.join();

    session.park();
    server.settle();
    let mut socket = WebSocket::take_over(&server, &session.sid);
    socket.send_text("2probe");
    assert_eq!(socket.text(), "3probe");
    assert_eq!(session.answer(), "6");

    let message = |number| format!(r#"2["new message",{{"username":"speaker","message":"{number}"}}]"#);
    let mut say = |number| speaker.send(&format!(r#"2["new message","{number}"]"#));
    // Until `5` polling carries what there is.
    say(1);
    assert_eq!(classic(&session.poll()), format!("4{}", message(1)));
    (2..5).for_each(&mut say);
    socket.send_text("5");
    server.settle();
    (5..8).for_each(&mut say);
    (2..8).for_each(|number| socket.assert_receives(&message(number)));

    assert_eq!(server.ask(&get(&session.target)).brief(), (400, BAD_REQUEST));
    socket.assert_quiet();
}

#[test]
fn polling_is_refused_once_the_session_has_moved() {
    let server = Server::start(&[]);
    let mut session = Polling::open(&server);
    let mut socket = WebSocket::take_over(&server, &session.sid);
    socket.send_text("2probe");
    assert_eq!(socket.text(), "3probe");
    socket.send_text("5");
    socket.assert_quiet();
    assert_eq!(server.ask(&get(&session.target)).brief(), (400, BAD_REQUEST));
    assert_eq!(session.post("40/elsewhere,").brief(), (400, BAD_REQUEST));
    socket.assert_quiet();
}

#[test]
fn a_get_while_probing_is_ended_after_a_moment_and_at_the_upgrade() {
    let server = Server::start(&[]);
    let mut session = Polling::open(&server);
    let mut socket = WebSocket::take_over(&server, &session.sid);
    socket.send_text("2probe");
    assert_eq!(socket.text(), "3probe");
    let begin = Instant::now();
    assert_eq!(session.poll(), "6");
    assert!(begin.elapsed() >= Duration::from_millis(90), "a client that polls again at once would spin");
    session.park();
    server.settle();
    socket.send_text("5");
    assert_eq!(session.answer(), "6");
    socket.assert_quiet();
}

#[test]
fn a_probe_that_fails_leaves_polling_alive() {
    let server = Server::start(&[]);
    for bytes in [
        frame(TEXT, b"2"),
        frame(TEXT, b"2probed"),
        frame(TEXT, b"3probe"),
        frame(TEXT, b"5"),
        frame(TEXT, b"9"),
        frame(TEXT, b"41"),
        frame(BINARY, b"2probe"),
        [frame(TEXT, b"2probe"), frame(TEXT, b"2probe")].concat(),
        [frame(TEXT, b"2probe"), frame(TEXT, b"40")].concat(),
        frame(TEXT, b"\xff"),
        frame(CLOSE, b"\x03\xe8"),
        b"\x81\x05hello".to_vec(),
    ] {
        let mut session = Polling::open(&server);
        let mut socket = WebSocket::take_over(&server, &session.sid);
        socket.client.send(&bytes);
        socket.client.skip_to_end();
        session.assert_quiet();
        // And there may be another one.
        let mut socket = WebSocket::take_over(&server, &session.sid);
        socket.send_text("2probe");
        assert_eq!(socket.text(), "3probe");
        socket.send_text("5");
        socket.assert_quiet();
    }
}

#[test]
fn a_probe_that_vanishes_leaves_polling_alive() {
    let server = Server::start(&[]);
    let mut session = Polling::open(&server);
    for probe in [None, Some("2probe")] {
        let mut socket = WebSocket::take_over(&server, &session.sid);
        if let Some(probe) = probe {
            socket.send_text(probe);
            assert_eq!(socket.text(), "3probe");
        }
        drop(socket);
        server.settle();
        session.assert_quiet();
    }
}

#[test]
fn a_probe_that_takes_too_long_is_closed() {
    let server = Server::start(&["--upgrade-timeout", "2s"]);
    let mut sessions = [(); 2].map(|()| Polling::open(&server));
    let [mut silent, mut halfway] = sessions.each_ref().map(|session| WebSocket::take_over(&server, &session.sid));
    halfway.send_text("2probe");
    assert_eq!(halfway.text(), "3probe");
    silent.client.assert_end();
    halfway.client.assert_end();
    sessions.iter_mut().for_each(Polling::assert_quiet);
}

#[test]
fn a_second_websocket_does_not_disturb_the_first() {
    let server = Server::start(&[]);
    let session = Polling::open(&server);
    let mut first = WebSocket::take_over(&server, &session.sid);
    first.send_text("2probe");
    assert_eq!(first.text(), "3probe");
    WebSocket::take_over(&server, &session.sid).client.assert_end();
    first.send_text("5");
    first.assert_quiet();
    WebSocket::take_over(&server, &session.sid).client.assert_end();
    first.assert_quiet();
}

#[test]
fn the_end_of_the_session_ends_its_probe() {
    let server = Server::start(&[]);
    let mut session = Polling::open(&server);
    let mut socket = WebSocket::take_over(&server, &session.sid);
    assert_eq!(session.post("1").brief(), (200, "ok"));
    socket.client.assert_end();
    session.assert_gone();
}

#[test]
fn what_follows_a_message_that_ends_the_session_is_not_read() {
    let server = Server::start(&[]);
    let mut socket = WebSocket::open(&server);
    socket.client.send([frame(TEXT, b"1"), frame(TEXT, b"40")].concat());
    socket.client.assert_end();
}

#[test]
fn an_upgrade_to_something_else_is_an_ordinary_request() {
    let server = Server::start(&[]);
    let mut client: Client = server.connect();
    let response = client.ask(request("GET", "/nowhere", "Connection: Upgrade\r\nUpgrade: h2c\r\n", ""));
    assert_eq!(response.status, 404);
    assert_eq!(client.ask(get("/nowhere")).status, 404);
}

#[test]
#[cfg(target_os = "linux")]
fn bulk_a_client_that_sends_without_reading_is_not_read() {
    let server = Server::conformance(&["--max-queue", "512KiB", "--event-rate", "1000000", "--event-burst", "1000000"]);
    let mut socket = WebSocket::open(&server);
    socket.send_text("40");
    // CONNECT is answered, and the application sends an event of its own.
    socket.frame();
    socket.frame();
    // Each is answered, so what is queued for the client grows until the server stops reading.
    let text = "x".repeat(125);
    let event = frame(TEXT, format!("42[\"message\",\"{text}\"]").as_bytes());
    let mut sent = 0;
    while server.reads_on() {
        socket.client.send(event.repeat(1000));
        sent += 1000;
    }
    let answer = format!("42[\"message-back\",\"{text}\"]").into_bytes();
    for number in 0..sent {
        assert_eq!(socket.frame(), (TEXT, answer.clone()), "answer {number} of {sent}");
    }
    socket.assert_quiet();
}
