//! A stopping server answers the requests under way, lets nobody in, and ends as soon as nothing is left to do.

use crate::limits::{LOCAL, Scene};
use crate::stage::{Item, Last, Line, Stage};
use crate::wire;
use salon::config::Config;
use std::time::Duration;

const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";

/// Lets everything happen that needs no time.
fn rest(stage: &mut Stage) {
    stage.pass(Duration::ZERO, |_| {});
}

/// The answer to a request, whole or the end of one.
fn ask(stage: &mut Stage, line: Line, request: &[u8]) -> (u16, String) {
    stage.request(line, request);
    rest(stage);
    answer(stage, line)
}

fn answer(stage: &mut Stage, line: Line) -> (u16, String) {
    match stage.receive(line) {
        Some(Item::Answer { status, body }) => (status, String::from_utf8(body).expect("text")),
        other => panic!("no answer but {other:?}"),
    }
}

/// A session over polling that has joined the chat as A: its id. Each request is answered before the next.
fn log_in(stage: &mut Stage, line: Line) -> String {
    let (_, open) = ask(stage, line, &wire::polling_request(None, None));
    let sid = open.split('"').nth(3).expect("a sid").to_owned();
    for packet in ["40", "42[\"add user\",\"A\"]"] {
        assert_eq!(ask(stage, line, &wire::polling_request(Some(&sid), Some(packet))).0, 200);
        assert_eq!(ask(stage, line, &wire::polling_request(Some(&sid), None)).0, 200);
    }
    sid
}

/// A server that was told to stop, and the parts of a request that it has of each connection.
fn stopping(config: Config, lines: &[&[u8]]) -> (Stage, Vec<Line>) {
    let mut stage = Stage::new(config, 1);
    let lines: Vec<Line> = lines
        .iter()
        .map(|bytes| {
            let line = stage.connect();
            stage.request(line, bytes);
            line
        })
        .collect();
    rest(&mut stage);
    stage.stop();
    (stage, lines)
}

/// Connections that are silent, have been answered, or were closed by the client are not waited for, not even to linger.
#[test]
fn without_a_session_and_a_request_it_ends_at_once() {
    let (mut stage, lines) = stopping(Config::default(), &[b"", GET, GET]);
    stage.end(lines[2], Last::Fin);
    assert!(stage.has_stopped());
    rest(&mut stage);
    assert!(lines.iter().all(|line| !stage.is_open(*line)));
    let (mut stage, _) = stopping(Config { drain: Duration::ZERO, ..Config::default() }, &[]);
    assert!(stage.has_stopped());
}

#[test]
fn half_a_head_is_answered_when_it_is_whole() {
    for half in [&b"G"[..], b"\r\n", b"GET /healthz HTTP/1.1\r\nHost: a\r\n"] {
        let (mut stage, lines) = stopping(Config::default(), &[half]);
        assert!(!stage.has_stopped(), "{half:?}");
        stage.send(lines[0], &b"\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"[..]);
        rest(&mut stage);
        // Whether the rest completes the head or spoils it, it is answered.
        let (status, _) = answer(&mut stage, lines[0]);
        assert!(matches!(status, 400 | 503), "{half:?}: {status}");
        stage.end(lines[0], Last::Fin);
        rest(&mut stage);
        assert!(stage.has_stopped(), "{half:?}");
    }
}

/// The page is still served, new sessions are not, whichever transport they want.
#[test]
fn what_comes_while_a_request_is_awaited() {
    let (mut stage, lines) = stopping(Config::default(), &[b"GET / HTTP/1.1\r\n"]);
    for (request, status) in [
        (&b"GET /style.css HTTP/1.1\r\nHost: a\r\n\r\n"[..], 200),
        (GET, 503),
        (&wire::polling_request(None, None), 503),
        (&wire::upgrade_request(None), 503),
    ] {
        let line = stage.connect();
        assert_eq!(ask(&mut stage, line, request).0, status);
        assert!(!stage.is_open(line), "the answer is the last one");
        assert!(!stage.has_stopped());
        stage.end(line, Last::Fin);
    }
    stage.end(lines[0], Last::Reset);
    rest(&mut stage);
    assert!(stage.has_stopped());
}

#[test]
fn half_a_request_is_waited_for_no_longer_than_the_drain_takes() {
    for (drain, time) in [(0, 1500), (5000, 5000)] {
        let drain = Duration::from_millis(drain);
        let (mut stage, _) = stopping(Config { drain, ..Config::default() }, &[b"GET / HTTP/1.1\r\n"]);
        stage.pass(Duration::from_millis(time - 1), |_| {});
        assert!(!stage.has_stopped(), "{drain:?}");
        stage.pass(Duration::from_millis(1), |_| {});
        assert!(stage.has_stopped(), "{drain:?}");
    }
}

/// The session of a POST outlives its place in the drain: the message counts, and its ack is polled before the end.
#[test]
fn half_a_body_is_waited_for_with_its_session() {
    for (drain, ping_interval) in [(0, 25_000), (3000, 25_000), (0, 150)] {
        let [drain, ping_interval] = [drain, ping_interval].map(Duration::from_millis);
        let mut stage = Stage::new(Config { drain, ping_interval, ..Config::default() }, 1);
        let (gets, posts) = (stage.connect(), stage.connect());
        let sid = log_in(&mut stage, gets);
        let post = wire::polling_request(Some(&sid), Some("421[\"new message\",\"x\"]"));
        let (start, end) = post.split_at(post.len() - 5);
        stage.request(posts, start);
        rest(&mut stage);
        stage.stop();
        stage.pass(Duration::from_millis(200), |_| {});
        assert!(!stage.has_stopped());
        stage.send(posts, end);
        rest(&mut stage);
        assert_eq!(answer(&mut stage, posts), (200, "ok".into()));
        // After the ack the client is sent away.
        let poll = wire::polling_request(Some(&sid), None);
        let (status, packets) = ask(&mut stage, gets, &poll);
        assert!(
            status == 200
                && packets.trim_start_matches("2\x1e").starts_with("431[{\"n\":1,")
                && packets.ends_with("}]"),
            "{packets}"
        );
        let last = stage.connect();
        assert_eq!(ask(&mut stage, last, &poll), (200, "1".into()));
        [gets, posts, last].into_iter().for_each(|line| stage.end(line, Last::Fin));
        rest(&mut stage);
        assert!(stage.has_stopped());
    }
}

#[test]
fn a_parked_get_is_answered_and_its_connection_closed() {
    let mut stage = Stage::new(Config::default(), 1);
    let line = stage.connect();
    let sid = log_in(&mut stage, line);
    stage.request(line, &wire::polling_request(Some(&sid), None));
    rest(&mut stage);
    stage.stop();
    rest(&mut stage);
    assert_eq!(answer(&mut stage, line), (200, "1".into()));
    assert!(!stage.is_open(line));
    stage.end(line, Last::Fin);
    rest(&mut stage);
    assert!(stage.has_stopped());
}

/// A session that is closed when the drain begins waits for the GET that takes its close packet, and for no place in the
/// drain.
#[test]
fn a_closed_session_has_no_place_in_the_drain() {
    let [drain, connect_timeout] = [10, 1].map(Duration::from_secs);
    let mut stage = Stage::new(Config { drain, connect_timeout, ..Config::default() }, 1);
    let line = stage.connect();
    let (_, open) = ask(&mut stage, line, &wire::polling_request(None, None));
    let sid = open.split('"').nth(3).expect("a sid").to_owned();
    // It never connects a socket.
    stage.pass(connect_timeout, |_| {});
    // The newest sessions are the first to go: this one is closed at once, and the other would be 50 ms later.
    ask(&mut stage, line, &wire::polling_request(None, None));
    stage.stop();
    assert_eq!(stage.until_deadline(), Some(drain), "the end of the drain is what is due next");
    assert_eq!(ask(&mut stage, line, &wire::polling_request(Some(&sid), None)), (200, "1".into()));
    stage.end(line, Last::Fin);
    rest(&mut stage);
}

/// A POST that outlives its session's place in the drain makes no timer late: its session is due when the POST ends.
#[test]
fn a_post_that_ends_late_is_no_late_timer() {
    let mut scene = Scene::new(Config { drain: Duration::from_secs(10), ..Config::default() });
    let (line, post) = (scene.connect(LOCAL), scene.connect(LOCAL));
    let target = scene.session(&line);
    scene.send(&post, &format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\n421["));
    scene.server.stop();
    scene.pass(Duration::from_secs(2));
    scene.send(&post, "\"a\"]");
    assert!(post.read().starts_with("HTTP/1.1 200"));
    scene.pass(Duration::ZERO);
    assert_eq!(scene.get(&line, &target, "").1, "431[1]");
    let line = scene.connect(LOCAL);
    assert_eq!(scene.get(&line, &target, "").1, "1");
    assert_eq!(scene.metric("lag_seconds_max"), 0);
}

/// The session does not wait for a POST whose connection was lost, also if it has a WebSocket and lives on.
#[test]
fn a_lost_post_does_not_keep_its_session_from_the_drain() {
    let mut stage = Stage::new(Config::default(), 1);
    let (gets, posts, socket) = (stage.connect(), stage.connect(), stage.connect());
    let sid = log_in(&mut stage, gets);
    let post = wire::polling_request(Some(&sid), Some("42[\"new message\",\"x\"]"));
    stage.request(posts, &post[..post.len() - 5]);
    stage.request(socket, &wire::upgrade_request(Some(&sid)));
    rest(&mut stage);
    assert!(matches!(stage.receive(socket), Some(Item::Answer { status: 101, .. })));
    for packet in ["2probe", "5"] {
        stage.send(socket, &wire::client_frame(wire::TEXT, packet.as_bytes()));
        rest(&mut stage);
    }
    assert_eq!(stage.receive(socket), Some(Item::Frame { opcode: wire::TEXT, payload: b"3probe".into() }));
    stage.end(posts, Last::Reset);
    rest(&mut stage);
    assert!(stage.is_open(socket), "the session lives");
    stage.stop();
    rest(&mut stage);
    let Some(Item::Frame { opcode: wire::CLOSE, .. }) = stage.receive(socket) else { panic!("it is not sent away") };
}
