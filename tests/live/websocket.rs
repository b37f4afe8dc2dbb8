//! WebSocket: sessions that begin there, sessions that move there from polling, frames that break the protocol.

use crate::harness::{
    BINARY, CLOSE, Client, PING, PONG, Polling, Server, Stopwatch, TEXT, Talk, WEBSOCKET, WebSocket, classic, frame,
    get, hostile, raw_frame, request, takeover, upgrade, websocket,
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

/// Browsers and Node fail a connection for which none of the subprotocols that they offer is chosen.
#[test]
fn the_first_subprotocol_is_chosen() {
    let server = Server::start(&[]);
    let rows = [
        ("", None),
        ("Sec-WebSocket-Protocol: chat\r\n", Some("chat")),
        ("Sec-WebSocket-Protocol: chat, token-1\r\n", Some("chat")),
        ("Sec-WebSocket-Protocol: token-1\r\nSec-WebSocket-Protocol: chat\r\n", Some("token-1")),
        ("Sec-WebSocket-Protocol: \"chat\"\r\n", None),
    ];
    for version in [2, 3, 4] {
        for (offer, chosen) in rows {
            let mut client = server.connect();
            let response = client.ask(upgrade(&websocket(version), offer));
            assert_eq!((response.status, response.header("Sec-WebSocket-Protocol")), (101, chosen), "{offer}");
        }
    }
    let session = Polling::open(&server);
    let mut client = server.connect();
    let response = client.ask(upgrade(&takeover(&session.sid), "Sec-WebSocket-Protocol: chat, token-1\r\n"));
    assert_eq!((response.status, response.header("Sec-WebSocket-Protocol")), (101, Some("chat")));
    client.send([frame(TEXT, b"2probe"), frame(TEXT, b"5")].concat());
    assert_eq!(client.take(8), b"\x81\x063probe");
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
        socket.assert_end();
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

/// Some clients (elephant.io, SocketIOClient) do not wait for `3probe`, or send no `2probe` at all.
#[test]
fn a_session_may_move_without_a_probe() {
    let server = Server::start(&[]);
    let mut speaker = WebSocket::open(&server);
    speaker.log_in("speaker");
    let message = |number| format!(r#"2["new message",{{"username":"speaker","message":"{number}"}}]"#);
    let mut say = |number| speaker.send(&format!(r#"2["new message","{number}"]"#));
    for (parked, probe) in [(true, ""), (true, "2probe"), (false, ""), (false, "2probe")] {
        let mut session = Polling::open(&server);
        session.join();
        if parked {
            session.park();
            server.settle();
        } else {
            (1..4).for_each(&mut say);
        }
        let mut socket = WebSocket::take_over(&server, &session.sid);
        // Such clients go on at once.
        let frames = [probe, "5", r#"427["new message","hello"]"#].map(|packet| frame(TEXT, packet.as_bytes()));
        socket.client.send(frames[usize::from(probe.is_empty())..].concat());
        if !probe.is_empty() {
            assert_eq!(socket.text(), "3probe");
        }
        if parked {
            assert_eq!(session.answer(), "6");
        } else {
            (1..4).for_each(|number| socket.assert_receives(&message(number)));
        }
        socket.assert_receives(r#"37[{"error":"not logged in: send `add user` first"}]"#);
        say(4);
        socket.assert_receives(&message(4));
        assert_eq!(server.ask(&get(&session.target)).brief(), (400, BAD_REQUEST));
        assert_eq!(session.post("40/elsewhere,").brief(), (400, BAD_REQUEST));
        socket.assert_quiet();
    }
}

/// Whether the GET or the WebSocket carries it: once, and one of them.
#[test]
fn what_is_said_at_the_moment_of_the_upgrade_is_heard() {
    let server = Server::start(&[]);
    let mut speaker = WebSocket::open(&server);
    speaker.log_in("speaker");
    for number in 0..20 {
        let mut session = Polling::open(&server);
        session.join();
        session.park();
        let mut socket = WebSocket::take_over(&server, &session.sid);
        let [said, heard] = [
            format!(r#"42["new message","{number}"]"#),
            format!(r#"42["new message",{{"username":"speaker","message":"{number}"}}]"#),
        ];
        if number % 2 == 0 {
            speaker.send_text(&said);
            socket.send_text("5");
        } else {
            socket.send_text("5");
            speaker.send_text(&said);
        }
        match classic(&session.answer()) {
            noop if noop == "6" => assert_eq!(classic(&socket.text()), heard),
            answer => assert_eq!(answer, heard),
        }
        socket.assert_quiet();
    }
}

#[test]
fn a_probe_is_answered_each_time() {
    let server = Server::start(&[]);
    let mut session = Polling::open(&server);
    let mut socket = WebSocket::take_over(&server, &session.sid);
    for _ in 0..3 {
        session.park();
        server.settle();
        socket.send_text("2probe");
        assert_eq!(socket.text(), "3probe");
        assert_eq!(session.answer(), "6");
    }
    socket.send_text("5");
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
    for (bytes, code) in [
        (frame(TEXT, b"1"), 1000),
        (frame(TEXT, b"2"), 1000),
        (frame(TEXT, b"2probed"), 1000),
        (frame(TEXT, b"3probe"), 1000),
        (frame(TEXT, b"9"), 1000),
        (frame(TEXT, b"41"), 1000),
        (frame(BINARY, b"2probe"), 1000),
        ([frame(TEXT, b"2probe"), frame(TEXT, b"40")].concat(), 1000),
        // What follows is lost with it.
        ([frame(TEXT, b"40"), frame(TEXT, b"2probe"), frame(TEXT, b"5")].concat(), 1000),
        (frame(TEXT, b"\xff"), 1007),
        (frame(CLOSE, b"\x03\xe8"), 1000),
        (b"\x81\x05hello".to_vec(), 1002),
    ] {
        let mut session = Polling::open(&server);
        let mut socket = WebSocket::take_over(&server, &session.sid);
        socket.client.send(&bytes);
        if bytes.starts_with(&frame(TEXT, b"2probe")) {
            assert_eq!(socket.text(), "3probe");
        }
        socket.assert_closed(code);
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
    silent.assert_closed(1000);
    halfway.assert_closed(1000);
    sessions.iter_mut().for_each(Polling::assert_quiet);
}

#[test]
fn a_second_websocket_does_not_disturb_the_first() {
    let server = Server::start(&[]);
    let session = Polling::open(&server);
    let mut first = WebSocket::take_over(&server, &session.sid);
    first.send_text("2probe");
    assert_eq!(first.text(), "3probe");
    WebSocket::take_over(&server, &session.sid).assert_closed(1000);
    first.send_text("5");
    first.assert_quiet();
    let mut second = WebSocket::take_over(&server, &session.sid);
    second.send_text("5");
    second.assert_closed(1000);
    first.assert_quiet();
}

#[test]
fn the_end_of_the_session_ends_its_probe() {
    let server = Server::start(&[]);
    let mut session = Polling::open(&server);
    let mut socket = WebSocket::take_over(&server, &session.sid);
    assert_eq!(session.post("1").brief(), (200, "ok"));
    socket.assert_closed(1000);
    session.assert_gone();
}

/// Some clients (okhttp) read nothing behind a close frame: an end that comes with it would escape them.
#[test]
fn the_connection_ends_when_the_client_has_answered_the_close_frame() {
    let server = Server::start(&[]);
    let polling = Polling::open(&server);
    for probes in [false, true] {
        let open = || match probes {
            false => WebSocket::open(&server),
            true => WebSocket::take_over(&server, &polling.sid),
        };
        let watch = Stopwatch::start(&server);
        let mut socket = open();
        socket.send_text("1");
        socket.assert_close_frame(1000);
        socket.client.assert_silent(Duration::from_millis(300));
        socket.assert_end();
        let time = watch.elapsed(&server);
        assert!(time < Duration::from_millis(900), "{time:?}");

        // Without an answer it ends in time, and nothing else is heard meanwhile.
        let begin = Instant::now();
        let mut socket = open();
        socket.client.send([frame(TEXT, b"1"), frame(TEXT, b"40"), frame(PING, b"here")].concat());
        socket.assert_close_frame(1000);
        socket.client.send([frame(PING, b"still here"), raw_frame(TEXT, 4, b"40/n")].concat());
        socket.client.assert_end();
        assert!(begin.elapsed() >= Duration::from_secs(1));
    }
}

#[test]
fn what_follows_a_message_that_ends_the_session_is_not_read() {
    let server = Server::start(&[]);
    let (mut witness, mut speaker) = (WebSocket::open(&server), WebSocket::open(&server));
    witness.join();
    speaker.log_in("speaker");
    witness.assert_receives(r#"2["user joined",{"username":"speaker","numUsers":1}]"#);
    for end in ["1", "4garbage", "garbage"] {
        let mut socket = WebSocket::open(&server);
        socket.log_in("user");
        socket.client.send([frame(TEXT, end.as_bytes()), frame(TEXT, br#"42["new message","after"]"#)].concat());
        socket.client.skip_to_end();
        speaker.send(r#"2["new message","marker"]"#);
        witness.assert_receives(r#"2["user joined",{"username":"user","numUsers":2}]"#);
        witness.assert_receives(r#"2["user left",{"username":"user","numUsers":1}]"#);
        witness.assert_receives(r#"2["new message",{"username":"speaker","message":"marker"}]"#);
    }
    // Here frames come to no end, so no answer can: it need not be waited for.
    let mut socket = WebSocket::open(&server);
    socket.client.send([frame(TEXT, b"1"), b"\x81\x05hello".repeat(1000)].concat());
    socket.assert_close_frame(1000);
    socket.client.assert_end();
}

/// A reset could destroy the close frame before the client has read it.
#[test]
fn rubbish_behind_a_close_frame_is_no_reason_for_a_reset() {
    let server = Server::start(&[]);
    let mut socket = WebSocket::open(&server);
    socket.send_text("1");
    socket.assert_close_frame(1000);
    // More than one read takes.
    let count = if hostile() { 1_000 } else { 100_000 };
    socket.client.send(vec![b'x'; count]);
    socket.client.assert_orderly_end();
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
