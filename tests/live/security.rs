//! What has gone wrong in servers of this kind, as input and expected result: a table of public advisories and of fixes
//! that never got one, of which each test names its rows.
//!
//! "Alive" means: no panic (the end of every [`Server`] looks for one), somebody else is served within 100 ms meanwhile, and
//! memory and connections are back at their base afterwards. [`Scene`] sees to that.
//!
//! Rows that other tests show:
//!
//! | row | id | where |
//! |---|---|---|
//! | 2 | CVE-2020-28481 | engine: `pages_of_the_same_origin_may_connect_and_no_others`, `listed_origins_are_told_that_they_may_read_the_answer` |
//! | 3 | CVE-2019-13611 | engine: `a_page_from_elsewhere_reaches_no_session_either` |
//! | 8 | CVE-2020-36049 | pure socketio_packet: `large_packets_take_no_time`, `numbers_in_the_head` |
//! | 18, 19 | siox 29dc67c1, b61d5220 | pure engineio_v3: `no_binary_payloads`, `every_prefix_of_a_payload`; old: `a_payload_that_cannot_be_read_ends_the_session` |
//! | 22 | CVE-2025-61765 | tests/cluster/hostile.test.mjs; pure cluster_wire |
//! | 28 | CVE-2026-45736 | pure ws: `closes`, `our_close_frames` |
//! | 33 | CVE-2020-35896 | chat: `a_client_that_does_not_read_is_dropped_and_costs_nobody_else_anything`; here: `bulk_a_stalled_reader_is_evicted` |
//! | 34 | CVE-2024-27308 | pure slab: `a_stale_key_never_finds_the_next_value` |
//! | 35 to 38 | CVE-2021-32715, -21299, -38512, -32714, CVE-2020-35863 | pure http: `smuggling`, `bodies_by_length`, `malformed_chunks`; http: `a_request_hidden_behind_a_refused_one_is_never_answered` |
//! | 39 | CVE-2017-18587 | pure http: `a_value_cannot_add_lines_to_an_answer` |
//! | 42 | eio#283 | websocket: `a_refused_upgrade_is_answered_in_full` |
//! | 43 | sio#4984 | socketio: `a_socket_owes_only_so_many_answers`, `an_answer_that_does_not_come_is_not_waited_for` |
//! | 44 | dependencies | pure dependencies: `fixed_versions` |

use crate::harness::{
    BINARY, Client, PING, POLLING, PONG, Polling, Server, Stopwatch, TEXT, Talk, WEBSOCKET, WebSocket, frame, get,
    hostile, of_session, raw_frame, request, takeover, upgrade, wait_for,
};
use crate::secure;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// A server, and somebody in its chat who must not notice what is done to it.
struct Scene {
    server: Server,
    witness: WebSocket,
    /// Kilobytes.
    #[cfg(target_os = "linux")]
    resident: u64,
}

impl Scene {
    fn new(flags: &[&str]) -> Scene {
        let server = Server::start(flags);
        let mut witness = WebSocket::open(&server);
        witness.join();
        #[cfg(target_os = "linux")]
        let resident = server.status("VmRSS");
        Scene {
            server,
            witness,
            #[cfg(target_os = "linux")]
            resident,
        }
    }

    /// The witness is answered in time.
    fn assert_served(&mut self) {
        let watch = Stopwatch::start(&self.server);
        self.witness.client.send(frame(PING, b"alive?"));
        while self.witness.frame().0 != PONG {}
        // An unoptimized server gets ten times that, one that moves byte by byte even more.
        let limit = match hostile() {
            true => Duration::from_secs(5),
            false => Duration::from_millis(if cfg!(debug_assertions) { 1000 } else { 100 }),
        };
        let time = watch.elapsed(&self.server);
        assert!(time < limit, "the witness had to wait {time:?}");
    }

    /// Whoever attacked has left no trace.
    fn assert_alive(&mut self) {
        self.assert_served();
        #[cfg(target_os = "linux")]
        {
            wait_for("only the witness is connected", || (self.server.connections() == 1).then_some(()));
            let resident = self.server.status("VmRSS");
            assert!(resident < self.resident + 6 * 1024, "{} kB resident, and now {resident} kB", self.resident);
        }
        self.assert_served();
    }

    /// From here on memory must not grow: what comes once is there.
    #[cfg(target_os = "linux")]
    fn warm(&mut self) {
        self.assert_alive();
        self.resident = self.server.status("VmRSS").saturating_sub(3 * 1024);
    }
}

/// A message of Socket.IO, without the `4` of Engine.IO.
#[derive(Clone, Copy, Debug)]
enum Message<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

/// What becomes of a session after messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Closed,
    /// It lives, and nothing came of them.
    Quiet,
}

use Fate::{Closed, Quiet};
use Message::{Binary, Text};

/// Sends messages in a session that has joined the chat (or has not), over both transports.
fn check_messages(scene: &mut Scene, joined: bool, messages: &[Message], fate: Fate) {
    let mut socket = WebSocket::open(&scene.server);
    let mut polling = Polling::open(&scene.server);
    if joined {
        socket.join();
        polling.join();
    }
    for message in messages {
        match message {
            Text(text) => {
                socket.client.send_anyway(frame(TEXT, format!("4{text}").as_bytes()));
                polling.post(&format!("4{text}"));
            }
            Binary(bytes) => {
                socket.client.send_anyway(frame(BINARY, bytes));
                assert_eq!(*bytes, b"x");
                polling.post("beA==");
            }
        }
    }
    match fate {
        Closed => {
            socket.assert_closed(1002);
            polling.assert_gone();
        }
        Quiet => {
            socket.assert_quiet();
            polling.assert_quiet();
        }
    }
    scene.assert_served();
}

/// Rows 4 (CVE-2024-38355), 5 (CVE-2023-32695), 6 (parser d9db4737), 7 (CVE-2022-2421), 8 (CVE-2020-36049),
/// 9 (CVE-2026-33151), 45: packets that killed other servers.
#[test]
fn packets_that_make_no_sense() {
    let many = if hostile() { 2_000 } else { 100_000 };
    let deep = format!("2[\"m\",{}", "[".repeat(many));
    let closed_deep = format!("2[\"m\",{}{}]", "[".repeat(many), "]".repeat(many));
    let zeros = format!("2{}", "2".repeat(2 * many));
    let mut scene = Scene::new(&[]);
    for (messages, fate) in [
        (&[Text(r#"2["error","x"]"#)][..], Quiet),
        (&[Text(r#"2[{"toString":"foo"}]"#)], Closed),
        (&[Text("2[true]")], Closed),
        (&[Text("2[null]")], Closed),
        (&[Text("2[]")], Closed),
        (&[Text("2[[\"new message\"],\"x\"]")], Closed),
        (&[Text(r#"2["connect"]"#)], Closed),
        (&[Text(r#"2["disconnect","1"]"#)], Closed),
        (&[Text(r#"2["disconnecting"]"#)], Closed),
        (&[Text(r#"2["__proto__","x"]"#)], Quiet),
        (&[Text(r#"51-["a",{"_placeholder":true,"num":"splice"}]"#), Binary(b"x")], Closed),
        (&[Text(r#"51-["a",{"_placeholder":true,"num":1}]"#), Binary(b"x")], Closed),
        (&[Text(r#"51-["a",{"_placeholder":true,"num":-1}]"#), Binary(b"x")], Closed),
        (&[Text(r#"51-["a",{"_placeholder":true,"num":0}]"#), Binary(b"x")], Quiet),
        (&[Text(r#"212345678901234567890["a"]"#)], Closed),
        (&[Text(&zeros)], Closed),
        (&[Text(r#"5999999-["x"]"#)], Closed),
        (&[Text(r#"511-["x"]"#)], Closed),
        (&[Text(r#"59999999999999999999999-["x"]"#)], Closed),
        (&[Text(&deep)], Closed),
        (&[Text(&closed_deep)], Closed),
        (&[Text(r#"2["m","\ud800","\udc00x"]"#)], Quiet),
        (&[Binary(b"x")], Closed),
    ] {
        check_messages(&mut scene, true, messages, fate);
    }
    scene.assert_alive();
}

/// Row 10 (python-socketio ca140fe): an attachment is announced by somebody who is not connected.
#[test]
fn attachments_before_connect() {
    let mut scene = Scene::new(&[]);
    check_messages(&mut scene, false, &[Text(r#"51-["a",{"_placeholder":true,"num":0}]"#)], Closed);
    check_messages(&mut scene, false, &[Binary(b"x")], Closed);
    scene.assert_alive();
}

/// Row 46: what the chat of the public example made "undefined" of.
#[test]
fn names_and_texts_of_any_type() {
    let mut scene = Scene::new(&[]);
    let long = format!(r#"2["add user","{}"]"#, "n".repeat(if hostile() { 50_000 } else { 900_000 }));
    for text in [
        r#"2["new message","x"]"#,
        r#"2["typing"]"#,
        r#"2["add user"]"#,
        r#"2["add user",{"a":1}]"#,
        r#"2["add user",["a"]]"#,
        r#"2["add user",null]"#,
        r#"2["add user",1e400]"#,
        &long,
    ] {
        check_messages(&mut scene, true, &[Text(text)], Quiet);
    }
    let metrics = scene.server.ask(&get("/metrics"));
    assert!(metrics.text().contains("\nsalon_events_refused_total 14\n"), "all but `typing` count: {}", metrics.text());
    scene.assert_alive();
}

/// Row 1 (CVE-2017-16031): sids can be guessed, or read in a log. The 10^5 that do not repeat are in pure id.
#[test]
fn session_ids_are_in_no_log() {
    let server = Server::start(&["--log", "trace"]);
    let mut sids = BTreeSet::new();
    for _ in 0..if hostile() { 5 } else { 300 } {
        let mut polling = Polling::open(&server);
        polling.join();
        polling.post("4nonsense");
        assert_eq!(polling.sid.len(), 20);
        assert!(
            polling.sid.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
            "{}",
            polling.sid
        );
        assert!(sids.insert(polling.sid), "a sid twice");
    }
    let log = server.into_log().join("\n");
    assert!(log.contains("closing session"), "the log tells of sessions: {log}");
    assert!(sids.iter().all(|sid| !log.contains(sid)), "{log}");
}

/// A request, and how the answer begins that ends the connection.
fn check_refused(scene: &mut Scene, request: impl AsRef<[u8]>, status: u16) {
    let mut client = scene.server.connect();
    client.send_anyway(request.as_ref());
    let shown = String::from_utf8_lossy(&request.as_ref()[..request.as_ref().len().min(200)]).into_owned();
    assert_eq!(client.response().status, status, "{shown:?}");
    scene.assert_served();
}

/// Rows 14 (CVE-2023-31125), 21 (python-engineio ceeeb5e: judged before the body is read), 26 (CVE-2021-32640), 27
/// (CVE-2024-37890), 32 (CVE-2023-43669).
#[test]
fn requests_that_make_no_sense() {
    let mut scene = Scene::new(&[]);
    for transport in
        ["transport=__proto__", "transport=constructor", "transport=", "transport=polling&transport=constructor", ""]
    {
        let target = format!("/socket.io/?EIO=4&{transport}");
        let response = scene.server.ask(&get(&target));
        assert_eq!(response.brief(), (400, r#"{"code":0,"message":"Transport unknown"}"#), "{transport}");
        check_refused(&mut scene, upgrade(&target, ""), 400);
    }
    let post =
        format!("POST {} HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n", of_session("AAAAAAAAAAAAAAAAAAAA"));
    check_refused(&mut scene, post, 400);
    let blanks = |count| format!("Sec-WebSocket-Protocol: b{}x\r\n", " ".repeat(count));
    check_refused(&mut scene, upgrade(WEBSOCKET, &blanks(32_000)), 431);
    check_refused(&mut scene, upgrade(WEBSOCKET, &blanks(15_000)), 101);
    check_refused(&mut scene, upgrade(WEBSOCKET, &"A: b\r\n".repeat(2000)), 431);
    check_refused(
        &mut scene,
        format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", "a".repeat(if hostile() { 100_000 } else { 20_000_000 })),
        431,
    );
    scene.assert_alive();
}

/// Row 40 (CVE-2026-42544 and others): bytes that are no text in every header field that is read.
#[test]
fn header_fields_are_bytes() {
    let mut scene = Scene::new(&[]);
    let names = [
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Extensions",
        "Origin",
        "Cookie",
        "Host",
        "Upgrade",
        "Connection",
        "Content-Type",
        "Content-Length",
        "Transfer-Encoding",
        "User-Agent",
        "Referer",
        "Expect",
        "Accept-Encoding",
        "If-None-Match",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "Authorization",
        "Access-Control-Request-Headers",
    ];
    for bytes in [&b"\x80"[..], b"\xff", b"\x00", b"\x7f", b"\xc3\x28", b"a\xffb"] {
        for target in [POLLING, WEBSOCKET, "/", "/metrics"] {
            for name in names {
                let mut client = scene.server.connect();
                let head = if target == WEBSOCKET { upgrade(target, "") } else { get(target) };
                let head = head.strip_suffix("\r\n").expect("the empty line");
                client.send([head.as_bytes(), name.as_bytes(), b": ", bytes, b"\r\n\r\n"].concat());
                let status = client.response().status;
                assert!(
                    [101, 200, 400, 403, 404, 426, 501].contains(&status),
                    "{name} {bytes:x?} of {target}: {status}"
                );
            }
            let mut client = scene.server.connect();
            client.send([b"GET ", target.as_bytes(), b"&a=", bytes, b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat());
            assert_eq!(client.response().status, 400, "in the query");
        }
        scene.assert_served();
    }
    scene.assert_alive();
}

/// Rows 12 (CVE-2022-21676), 23 (CVE-2016-10518), 24 (CVE-2016-10542, CVE-2020-27813, CVE-2022-35922 and others), 29
/// (CVE-2026-48779), 30 (CVE-2026-42786), 31 (CVE-2018-1000518), 45: frames, and the code of the close that follows.
#[test]
fn frames_that_make_no_sense() {
    let mut scene = Scene::new(&[]);
    let claim = |first: u8, length: u64| [&[first, 0xff][..], &length.to_be_bytes(), &[1, 2, 3, 4]].concat();
    let fragments = |first: Vec<u8>, each: Vec<u8>, count| [first, each.repeat(count)].concat();
    let table = [
        (b"test".to_vec(), 1002),
        (frame(PING, &[0; 126]), 1002),
        (raw_frame(PING, 3, b"abc"), 1002),
        (claim(0x82, i64::MAX as u64), 1009),
        (claim(0x82, 1 << 63), 1002),
        (claim(0x82, 1_000_001), 1009),
        (fragments(raw_frame(TEXT, 0, b""), raw_frame(0, 0, b""), 2000), 1008),
        (fragments(raw_frame(BINARY, 1, b"x"), raw_frame(0, 1, b"x"), 2000), 1008),
        (fragments(raw_frame(BINARY, 30_000, &[0; 30_000]), claim(0, 980_000), 1), 1009),
        (raw_frame(0xc1, 3, b"abc"), 1002),
        (frame(TEXT, b"4\xff"), 1007),
        (frame(TEXT, b"42[\"m\",\"\xed\xa0\x80\"]"), 1007),
    ];
    for (bytes, code) in &table {
        let mut fresh = WebSocket::open(&scene.server);
        fresh.client.send_anyway(bytes);
        fresh.assert_closed(*code);
        // The WebSocket that is to take over from polling dies alone.
        let mut polling = Polling::open(&scene.server);
        polling.join();
        let mut probe = WebSocket::take_over(&scene.server, &polling.sid);
        probe.client.send_anyway(bytes);
        probe.assert_closed(*code);
        polling.assert_quiet();
        scene.assert_served();
    }
    // In one piece with the request too.
    let mut client = scene.server.connect();
    client.send([upgrade(WEBSOCKET, "").as_bytes(), b"test"].concat());
    let mut socket = WebSocket::upgraded(client);
    assert!(socket.text().starts_with('0'));
    socket.assert_closed(1002);
    drop(socket);
    scene.assert_alive();
}

/// Row 13 (CVE-2022-41940): an upgrade to something else, and then the connection is reset.
#[test]
fn a_refused_client_resets_the_connection() {
    let mut scene = Scene::new(&[]);
    for _ in 0..20 {
        let mut client = scene.server.connect();
        client.send(request(
            "GET",
            "/",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
            "",
        ));
        client.reset();
        let mut client = scene.server.connect();
        client.send(upgrade("/socket.io/?EIO=4&transport=websocket&sid=AAAAAAAAAAAAAAAAAAAA", ""));
        client.reset();
    }
    let h2c = request("GET", "/", "Connection: Upgrade\r\nUpgrade: h2c\r\n", "");
    assert_eq!(scene.server.ask(&h2c).status, 200);
    scene.assert_alive();
}

/// An upgrade with a body, or with an expectation: what follows the head must not be read as frames.
#[test]
fn an_upgrade_has_no_body() {
    let mut scene = Scene::new(&[]);
    let mut polling = Polling::open(&scene.server);
    let message = frame(TEXT, b"40");
    for target in [WEBSOCKET.to_owned(), takeover(&polling.sid)] {
        for (lines, body) in [
            (format!("Content-Length: {}\r\n", message.len()), message.clone()),
            ("Transfer-Encoding: chunked\r\n".into(), b"0\r\n\r\n".to_vec()),
            ("Expect: 100-continue\r\n".into(), Vec::new()),
            ("Expect: 100-continue\r\nContent-Length: 8\r\n".into(), message.clone()),
        ] {
            let mut client = scene.server.connect();
            client.send([upgrade(&target, &lines).into_bytes(), body].concat());
            let response = client.response();
            assert_eq!((response.status, response.header("Connection")), (400, Some("close")), "{lines}");
            client.assert_end();
        }
        assert_eq!(scene.server.ask(&upgrade(&target, "Content-Length: 0\r\n")).status, 101);
    }
    // An upgrade to something else is ignored, with its body.
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
    assert_eq!(polling.posts.ask(request("POST", &polling.target, h2c, "40/nowhere,")).brief(), (200, "ok"));
    assert_eq!(polling.poll(), r#"44/nowhere,{"message":"Invalid namespace"}"#);
    drop(polling);
    scene.assert_alive();
}

/// Row 15 (eio fc11285): a body that is declared binary; the request is freed.
#[test]
fn declared_binary_bodies_leave_nothing() {
    let mut scene = Scene::new(&[]);
    for _ in 0..20 {
        let mut polling = Polling::open(&scene.server);
        let more = "Content-Type: application/octet-stream\r\n";
        let response = polling.posts.ask(request("POST", &polling.target, more, "b4"));
        assert_eq!(response.status, 400);
        polling.assert_gone();
    }
    scene.assert_alive();
}

/// Rows 16 (eio d5095fe) and 25 (GHSA-5v72-xg48-5rpm): one upgrade per session, and no extensions.
#[test]
fn one_websocket_per_session_and_no_extensions() {
    let mut scene = Scene::new(&[]);
    let polling = Polling::open(&scene.server);
    let mut first = WebSocket::take_over(&scene.server, &polling.sid);
    first.send_text("2probe");
    assert_eq!(first.text(), "3probe");
    WebSocket::take_over(&scene.server, &polling.sid).assert_closed(1000);
    first.send_text("5");
    first.join();
    WebSocket::take_over(&scene.server, &polling.sid).assert_closed(1000);
    first.assert_quiet();
    for extensions in ["constructor; a", "permessage-deflate; client_max_window_bits", "__proto__"] {
        let response = scene.server.ask(&upgrade(WEBSOCKET, &format!("Sec-WebSocket-Extensions: {extensions}\r\n")));
        assert_eq!((response.status, response.header("Sec-WebSocket-Extensions")), (101, None));
    }
    drop((first, polling));
    scene.assert_alive();
}

/// Row 20 (CVE-2026-48802): pongs that nobody asked for.
#[test]
fn pongs_that_nobody_asked_for() {
    let mut scene = Scene::new(&[]);
    let mut socket = WebSocket::open(&scene.server);
    socket.join();
    let count = if hostile() { 100 } else { 10_000 };
    socket.client.send(frame(TEXT, b"3").repeat(count));
    socket.client.send(frame(PONG, b"").repeat(count));
    socket.assert_quiet();
    let mut polling = Polling::open(&scene.server);
    polling.join();
    assert_eq!(polling.post(&["3"; 1000].join("\x1e")).status, 200);
    polling.assert_quiet();
    drop((socket, polling));
    scene.assert_alive();
}

/// Row 11 (CVE-2020-36048): very many very small packets.
#[test]
fn a_payload_of_tiny_packets_holds_nobody_up() {
    let mut scene = Scene::new(&[]);
    let mut polling = Polling::open(&scene.server);
    polling.join();
    let count = if hostile() { 1_000 } else { 100_000 };
    polling.posts.send(request("POST", &polling.target, "", &vec!["6"; count].join("\x1e")));
    scene.assert_served();
    let status = polling.posts.response().status;
    // Above --max-packets it is refused, and the session ends.
    assert_eq!(status, if hostile() { 200 } else { 400 });
    drop(polling);
    scene.assert_alive();
}

/// Row 10 again, and row 17 (siox#731): who vanishes half-way leaves nothing.
#[cfg(target_os = "linux")]
#[test]
fn bulk_whoever_vanishes_half_way_leaves_nothing() {
    let mut scene = Scene::new(&["--upgrade-timeout", "1s"]);
    for round in 0..2 {
        // Handshakes of TLS take time in an unoptimized build.
        for _ in 0..if secure::is_on() { 100 } else { 1000 } {
            let mut socket = WebSocket::open(&scene.server);
            socket.send_text("40");
            socket.send_text(r#"451-["a",{"_placeholder":true,"num":0}]"#);
            let polling = Polling::open(&scene.server);
            drop(WebSocket::take_over(&scene.server, &polling.sid));
            assert_eq!(scene.server.ask(&request("POST", &polling.target, "", "1")).status, 200);
        }
        if round == 0 {
            scene.warm();
        }
    }
    scene.assert_alive();
}

/// Row 32 (CVE-2023-43669): a head that comes a byte at a time costs no time, and is cut off at the deadline.
#[cfg(target_os = "linux")]
#[test]
fn a_head_in_drops_is_cut_off_at_the_deadline() {
    let mut scene = Scene::new(&["--head-timeout", "3s"]);
    let mut clients: Vec<Client> = (0..20).map(|_| scene.server.connect()).collect();
    let used = scene.server.cpu_time();
    let (begin, watch) = (Instant::now(), Stopwatch::start(&scene.server));
    clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nA: "));
    while begin.elapsed() < Duration::from_millis(2900) {
        clients.iter_mut().for_each(|client| client.send_anyway("a"));
        std::thread::sleep(Duration::from_millis(30));
    }
    scene.assert_served();
    for client in &mut clients {
        assert_eq!(client.response().status, 408);
    }
    // What 20 clients cost, in an unoptimized build; TLS costs more there.
    let slow = hostile() || secure::is_on();
    let time = watch.elapsed(&scene.server);
    assert!(time < Duration::from_millis(3500) || slow, "{time:?}");
    let used = scene.server.cpu_time() - used;
    assert!(used < Duration::from_millis(200) || slow, "{used:?} of the processor");
    drop(clients);
    scene.assert_alive();
}

/// Row 41 (Node #868834, slowloris): a thousand connections, each stuck in a phase of its own, are cut off at the deadline of
/// that phase. (A write that does not move is chat's `bulk_a_client_that_takes_nothing_for_too_long_is_dropped`.)
#[cfg(target_os = "linux")]
#[test]
fn bulk_a_thousand_slow_sockets_are_cut_off() {
    // All have to be there before the first is cut off.
    let each = if secure::is_on() { 25 } else { 125 };
    let time = Duration::from_secs(3);
    let phases = ["head", "body", "idle", "upgrade", "connect", "message"].map(|phase| format!("--{phase}-timeout=3s"));
    let flags: Vec<&str> = phases.iter().map(String::as_str).chain(["--max-half-open", "2000"]).collect();
    let mut scene = Scene::new(&flags);
    more_descriptors();
    let joined = |server: &Server| {
        let mut socket = WebSocket::open(server);
        socket.send_text("40");
        socket
    };
    let polling = |server: &Server| {
        let mut polling = Polling::open(server);
        polling.join();
        polling
    };
    let kinds: [&dyn Fn(&Server) -> Client; 8] = [
        &|server| server.connect(),
        &|server| {
            let mut client = server.connect();
            client.send("GET / HTTP/1.1\r\nHos");
            client
        },
        &|server| {
            let Polling { mut posts, target, .. } = polling(server);
            posts.send(format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n42["));
            posts
        },
        &|server| {
            let mut client = server.connect();
            assert_eq!(client.ask(get("/healthz")).status, 200);
            client
        },
        &|server| WebSocket::take_over(server, &polling(server).sid).client,
        &|server| WebSocket::open(server).client,
        &|server| {
            let mut socket = joined(server);
            socket.client.send(&frame(TEXT, b"42[\"typing\"]")[..9]);
            socket.client
        },
        &|server| {
            let mut socket = joined(server);
            socket.send_text(r#"451-["a",{"_placeholder":true,"num":0}]"#);
            socket.client
        },
    ];
    let mut stuck: Vec<(usize, Instant, Client)> = Vec::new();
    let mut ended = [0; 8];
    let begin = Instant::now();
    for round in 0..usize::MAX {
        if round < each {
            stuck.extend(kinds.iter().enumerate().map(|(kind, stick)| (kind, Instant::now(), stick(&scene.server))));
        }
        stuck.retain_mut(|(kind, since, client)| {
            let over = client.has_ended();
            ended[*kind] += usize::from(over);
            match over {
                // The time counts from the start of the turn, in the middle of which the client may have come.
                true => assert!(since.elapsed() >= time * 3 / 4, "kind {kind} after {:?}", since.elapsed()),
                // The load of the machine comes on top.
                false => assert!(since.elapsed() < time * 4, "kind {kind} is not cut off"),
            }
            !over
        });
        scene.assert_served();
        if stuck.is_empty() {
            break;
        }
        // On a quick machine those who are served would else exceed the event rate.
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(ended, [each; 8], "after {:?}", begin.elapsed());
    let metrics = scene.server.ask(&get("/metrics"));
    let counted = |limit: &str, times: usize| {
        let line = format!("\nsalon_limits_total{{limit=\"{limit}\"}} {}\n", times * each);
        assert!(metrics.text().contains(&line), "{line} is not in {}", metrics.text());
    };
    // Idle connections are no anomaly.
    [("head_time", 2), ("body_time", 1), ("upgrade_time", 1), ("connect_time", 1), ("message_time", 2)]
        .iter()
        .for_each(|(limit, times)| counted(limit, *times));
    scene.assert_alive();
}

/// Lets this process have as many descriptors as it may.
#[cfg(target_os = "linux")]
fn more_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("up to the hard limit");
}

/// The process stands still (a throttled processor, a machine that sleeps) while more clients than one call of the kernel
/// reports send their heartbeats: all of them live, on every transport.
#[cfg(target_os = "linux")]
#[test]
fn bulk_heartbeats_that_came_during_a_stall_count() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    let count = if secure::is_on() { 300 } else { 1500 };
    let silence = Duration::from_secs(10);
    more_descriptors();
    let server = Server::start(&["--ping-interval", "3s", "--ping-timeout", "6s", "--connect-timeout", "1h"]);
    let mut sockets: Vec<WebSocket> = Vec::new();
    let mut pollers: Vec<(Client, String)> = Vec::new();
    let post = |target: &str| request("POST", target, "", "1:2");
    while sockets.len() < count {
        sockets.push(WebSocket::open_old(&server, 3));
        if sockets.len().is_multiple_of(100) {
            let mut client = server.connect();
            let open = client.ask(get("/socket.io/?EIO=3&transport=polling"));
            let sid = open.text().split('"').nth(3).expect("a sid");
            let target = format!("/socket.io/?EIO=3&transport=polling&sid={sid}");
            pollers.push((client, target));
            // The first are still there when the last have come.
            sockets.iter_mut().for_each(|socket| socket.send_text("2"));
            pollers.iter_mut().for_each(|(client, target)| assert_eq!(client.ask(post(target)).status, 200));
        }
    }
    let pid = Pid::from_raw(server.pid() as i32);
    kill(pid, Signal::SIGSTOP).expect("the server is there");
    sockets.iter_mut().for_each(|socket| socket.send_text("2"));
    pollers.iter_mut().for_each(|(client, target)| client.send(post(target)));
    // Every heartbeat is late by now.
    std::thread::sleep(silence);
    kill(pid, Signal::SIGCONT).expect("the server is there");
    let answers: Vec<_> = pollers.iter_mut().map(|(client, _)| client.response().status).collect();
    let metrics = server.ask(&get("/metrics"));
    assert_eq!(answers, [200].repeat(pollers.len()), "{}", metrics.text());
    let alive = format!("\nsalon_sessions{{transport=\"websocket\"}} {count}\n");
    assert!(metrics.text().contains(&alive), "{}", metrics.text());
    let alive = format!("\nsalon_sessions{{transport=\"polling\"}} {}\n", pollers.len());
    assert!(metrics.text().contains(&alive), "{}", metrics.text());
}

/// The same on new connections, of which an ordinary turn does not accept so many.
#[cfg(target_os = "linux")]
#[test]
fn bulk_heartbeats_on_new_connections_during_a_stall_count() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    // Over TLS nothing can be sent before the server answers.
    if secure::is_on() {
        return;
    }
    let server = Server::start(&["--ping-interval", "2s", "--ping-timeout", "4s"]);
    let mut client = server.connect();
    let mut open = || {
        let open = client.ask(get("/socket.io/?EIO=3&transport=polling&b64=1"));
        let sid = open.text().split('"').nth(3).expect("a sid");
        format!("/socket.io/?EIO=3&transport=polling&b64=1&sid={sid}")
    };
    let targets = [(); 100].map(|()| open());
    let post = |target: &str| request("POST", target, "", "1:2");
    targets.iter().for_each(|target| assert_eq!(client.ask(post(target)).status, 200));
    let pid = Pid::from_raw(server.pid() as i32);
    kill(pid, Signal::SIGSTOP).expect("the server is there");
    wait_for("the server stands still", || server.is_stopped().then_some(()));
    let mut posts = targets.each_ref().map(|target| {
        let mut client = server.connect();
        client.send(post(target));
        client
    });
    // Every heartbeat is late by now.
    std::thread::sleep(Duration::from_secs(7));
    kill(pid, Signal::SIGCONT).expect("the server is there");
    let answers = posts.each_mut().map(|client| client.response().status);
    let metrics = server.ask(&get("/metrics"));
    assert_eq!(answers, [200; 100], "{}", metrics.text());
    assert!(metrics.text().contains("\nsalon_sessions{transport=\"polling\"} 100\n"), "{}", metrics.text());
}

/// Row 33 (CVE-2020-35896): somebody stops reading while 10^5 messages go to everybody. They are evicted at the limit, memory
/// stays bounded, and nobody else waits.
#[cfg(target_os = "linux")]
#[test]
fn bulk_a_stalled_reader_is_evicted() {
    const MESSAGES: usize = 100_000;
    let server = Server::start(&["--event-rate", "1000000", "--event-burst", "1000000", "--ping-interval", "10m"]);
    let mut stalled = WebSocket::open_on(Client::connect_small(server.address, 4096));
    stalled.join();
    let mut reader = WebSocket::open(&server);
    reader.join();
    let mut sender = WebSocket::open(&server);
    sender.log_in("sender");
    assert!(reader.receive().starts_with(r#"2["user joined""#));
    let messages = frame(TEXT, format!(r#"42["new message","{}"]"#, "x".repeat(100)).as_bytes()).repeat(100);
    let mut longest = Duration::ZERO;
    for _ in 0..MESSAGES / 100 {
        let watch = Stopwatch::start(&server);
        sender.client.send(&messages);
        (0..100).for_each(|_| assert!(reader.receive().starts_with(r#"2["new message""#)));
        longest = longest.max(watch.elapsed(&server));
    }
    sender.assert_quiet();
    assert!(
        longest < Duration::from_millis(if cfg!(debug_assertions) { 1000 } else { 100 }),
        "{longest:?} for a hundred messages"
    );
    let peak = server.status("VmHWM");
    assert!(peak < 40 * 1024, "{peak} kB");
    let metrics = server.ask(&get("/metrics"));
    assert!(metrics.text().contains("\nsalon_limits_total{limit=\"queue\"} 1\n"), "{}", metrics.text());
    stalled.client.skip_to_end();
}
