//! What small hosting asks for: the WebSocket budget, a path of its own, proxies in front, a probe, leaving in order.

use crate::harness::*;
use crate::secure;
use serde_json::Value;
use std::process::Command;

/// The handshake over polling.
fn handshake(server: &Server) -> Value {
    let response = server.ask(&get(POLLING));
    serde_json::from_str(response.text().strip_prefix('0').expect("an open packet")).expect("JSON")
}

fn offered(server: &Server) -> bool {
    handshake(server)["upgrades"] == serde_json::json!(["websocket"])
}

fn metric(server: &Server, name: &str) -> f64 {
    let response = server.ask(&get("/metrics"));
    let line = response.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
}

#[test]
fn no_more_websockets_than_the_platform_allows() {
    let server = Server::start(&["--max-websockets", "2"]);
    // One is used, one is promised: the third client is not offered any.
    let direct = WebSocket::open(&server);
    let promised = Polling::open(&server);
    assert!(!offered(&server));
    let refused = server.ask(&upgrade(WEBSOCKET, ""));
    assert_eq!((refused.status, refused.header("Retry-After")), (503, Some("5")));
    // A client that tries although it was offered none stays on polling, unharmed.
    let mut stubborn = Polling::open(&server);
    assert_eq!(server.ask(&upgrade(&takeover(&stubborn.sid), "")).status, 503);
    stubborn.join();
    // The promise is kept, and counts once.
    let mut upgraded = WebSocket::take_over(&server, &promised.sid);
    upgraded.send_text("2probe");
    assert_eq!(upgraded.text(), "3probe");
    assert_eq!(metric(&server, "salon_websockets"), 2.0);
    assert_eq!(metric(&server, "salon_websockets_limit"), 2.0);
    assert_eq!(metric(&server, "salon_websockets_promised"), 0.0);
    assert_eq!(metric(&server, "salon_websockets_refused_total"), 2.0);
    // One that leaves makes room.
    drop(direct);
    wait_for("room", || (metric(&server, "salon_websockets") < 2.0).then_some(()));
    assert!(offered(&server));
    // That was a promise again; it ends with its session.
    assert!(!offered(&server));
}

#[test]
fn a_promise_ends_with_its_session() {
    let server = Server::start(&["--max-websockets", "1"]);
    let mut promised = Polling::open(&server);
    assert!(!offered(&server));
    assert_eq!(promised.post("1").brief(), (200, "ok"));
    assert!(offered(&server));
}

#[test]
fn azure_tells_its_limit() {
    let start = |limit: &str| {
        let mut command = salon();
        command.args(["--port", "0"]).env("WEBSOCKET_CONCURRENT_REQUEST_LIMIT", limit);
        Server::run(command)
    };
    assert!(!offered(&start("0")));
    assert!(offered(&start("-1")));
}

#[test]
fn everything_is_served_below_the_base() {
    let server = Server::start(&["--base", "/a/chat/"]);
    for (path, status) in [
        ("/a/chat/", 200),
        ("/a/chat/main.js", 200),
        ("/a/chat/socket.io/?EIO=4&transport=polling", 200),
        ("/a/chat/healthz", 200),
        ("/healthz", 200),
        ("/metrics", 200),
        ("/", 404),
        ("/main.js", 404),
        ("/socket.io/?EIO=4&transport=polling", 404),
        ("/a/chatter/", 404),
        ("/a/chat.html", 404),
        ("/a/chat/a/chat/", 404),
    ] {
        assert_eq!(server.ask(&get(path)).status, status, "{path}");
    }
    let moved = server.ask(&get("/a/chat?x=1"));
    assert_eq!((moved.status, moved.header("Location")), (308, Some("/a/chat/?x=1")));
    let mut client = server.connect();
    client.send(upgrade("/a/chat/socket.io/?EIO=4&transport=websocket", ""));
    WebSocket::upgraded(client);
}

/// Lines that a proxy adds, and whether a page of `https://chat.example` may connect then.
#[test]
fn a_trusted_proxy_tells_what_the_browser_has_asked() {
    const ROWS: &[(&str, bool)] = &[
        ("", false),
        ("X-Forwarded-Host: chat.example\r\n", true),
        ("X-Forwarded-Host: evil.example, chat.example\r\n", true),
        ("X-Forwarded-Host: chat.example, evil.example\r\n", false),
        ("X-Original-Host: chat.example\r\n", true),
        ("X-Original-Host: chat.example\r\nX-Forwarded-Host: evil.example\r\n", false),
        ("X-Forwarded-Host: chat.example\r\nX-Forwarded-Proto: https\r\n", true),
        ("X-Forwarded-Host: chat.example\r\nX-Forwarded-Proto: http\r\n", false),
        ("X-Forwarded-Host: chat.example\r\nX-AppService-Proto: https\r\n", true),
        ("X-Forwarded-Host: chat.example\r\nX-AppService-Proto: http\r\n", false),
        ("X-Forwarded-Host: chat.example\r\nX-ARR-SSL: 2048|256|CN=x|CN=y\r\n", true),
        ("X-Forwarded-Host: evil.example\r\nX-Forwarded-Host: chat.example\r\n", true),
        ("X-Forwarded-Host: chat.example\r\nX-Forwarded-Host: evil.example\r\n", false),
        ("X-Forwarded-Host: chat.example\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Proto: https\r\n", true),
        ("X-Forwarded-Host: chat.example\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n", false),
        ("X-Forwarded-Host: chat.example:443\r\n", true),
        ("X-Forwarded-Host: chat.example:8443\r\n", false),
    ];
    let trusting = [&["--trust-proxy"][..], &["--trust-proxy", "127.0.0.0/8,10.0.0.1"]].map(Server::start);
    let wary = [&[][..], &["--trust-proxy", "10.0.0.0/8,::1"]].map(Server::start);
    for (lines, allowed) in ROWS {
        let lines = format!("Origin: https://chat.example\r\n{lines}");
        let expected = if *allowed { 200 } else { 403 };
        for [trusting, wary] in [[&trusting[0], &wary[0]], [&trusting[1], &wary[1]]] {
            assert_eq!(trusting.ask(&request("GET", POLLING, &lines, "")).status, expected, "{lines}");
            assert_eq!(wary.ask(&request("GET", POLLING, &lines, "")).status, 403, "not trusted: {lines}");
        }
    }
}

#[test]
fn a_refusal_names_the_client_that_the_proxy_speaks_for() {
    let refused = "Origin: https://evil.example\r\nX-Forwarded-For: 10.1.1.1, [2001:db8::7]:4711\r\n";
    let mut trusting = Server::start(&["--trust-proxy"]);
    assert_eq!(trusting.ask(&request("GET", POLLING, refused, "")).status, 403);
    trusting.log_line("refused 2001:db8::7: page of origin");
    let mut wary = Server::start(&[]);
    assert_eq!(wary.ask(&request("GET", POLLING, refused, "")).status, 403);
    wary.log_line("refused 127.0.0.1: page of origin");
}

/// A socket for both versions shows addresses of IPv4 as addresses of IPv6; log and limits do not.
#[test]
fn addresses_of_ipv4_are_shown_as_such() {
    let mut command = salon();
    command.args(["--port", "0", "--host", "*", "--max-head", "1024", "--trust-proxy", "127.0.0.1"]);
    let mut server = Server::run(command);
    let address = ([127, 0, 0, 1], server.address.port()).into();
    let long = format!("A: {}\r\n", "a".repeat(1000));
    assert_eq!(Client::connect(address).ask(request("GET", "/", &long, "")).status, 431);
    let line = server.log_line("--max-head");
    assert!(line.contains("(127.0.0.1)"), "{line}");
    let lines = "Origin: https://evil.example\r\nX-Forwarded-For: ::ffff:192.0.2.2\r\n";
    assert_eq!(Client::connect(address).ask(request("GET", POLLING, lines, "")).status, 403);
    server.log_line("refused 192.0.2.2: page of origin");
}

/// Under IIS every client comes from 127.0.0.1.
#[test]
fn under_iis_metrics_need_a_token() {
    let start = |token: Option<&str>| {
        let mut command = salon();
        command.env("HTTP_PLATFORM_PORT", "0").env_remove("HOST").env_remove("PORT");
        command.envs(token.map(|token| ("SALON_METRICS_TOKEN", token)));
        Server::run(command)
    };
    assert_eq!(start(None).ask(&get("/metrics")).status, 404);
    let server = start(Some("open-sesame"));
    assert_eq!(server.ask(&request("GET", "/metrics", "Authorization: Bearer open-sesame\r\n", "")).status, 200);
}

#[test]
fn an_unknown_session_is_explained_in_the_log() {
    let mut server = Server::start(&["--instance", "blue"]);
    assert_eq!(server.ask(&get(&of_session("AAAAAAAAAAAAAAAAAAAA"))).status, 400);
    let line = server.log_line("instance blue does not know the session");
    assert!(line.contains("sticky") && !line.contains("AAAA"), "{line}");
}

fn output(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("the program starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("text"))
}

#[test]
fn the_probe_asks_the_server_of_the_same_settings() {
    let server = Server::start(&[]);
    let port = server.address.port().to_string();
    let mut probe = salon();
    secure::equip(probe.args(["--probe", "--port", &port]));
    assert_eq!(output(&mut probe), (Some(0), String::new()));
    drop(server);
    let (code, text) = output(&mut probe);
    assert!(code == Some(1) && text.starts_with("salon: no answer from 127.0.0.1:"), "{text}");
}

#[test]
fn check_shows_the_settings_and_what_looks_wrong() {
    let (code, text) =
        output(salon().env_remove("SALON_TEST_KERNEL").env_remove("SALON_TEST_TLS").env("SALON_LOG", "warn").args([
            "--check",
            "--max-connections",
            "9",
            "--max-per-address",
            "8",
        ]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.lines().any(|line| line.split_whitespace().eq(["log", "warn", "SALON_LOG"])), "{text}");
    let (code, text) =
        output(salon().env("SALON_LGO", "warn").args(["--check", "--max-connections=9", "--max-per-address=8"]));
    assert!(code == Some(1) && text.contains("warning: SALON_LGO"), "{text}");
    for (origins, count) in
        [("https://a.example", 0), ("null", 1), ("https://a.example,file://", 1), ("null,file://", 2)]
    {
        let mut check = salon();
        check.env_remove("SALON_TEST_KERNEL").env_remove("SALON_TEST_TLS");
        let (code, text) =
            output(check.args(["--check", "--max-connections=9", "--max-per-address=8", "--origins", origins]));
        let warnings: Vec<_> = text.lines().filter(|line| line.contains("warning: --origins ")).collect();
        assert_eq!((code, warnings.len()), (Some(i32::from(count > 0)), count), "{text}");
    }
}

#[cfg(unix)]
mod drain {
    use super::*;
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use std::time::{Duration, Instant};

    fn terminate(server: &Server) {
        kill(Pid::from_raw(server.pid() as i32), Signal::SIGTERM).expect("the server is there");
    }

    /// Until its turn has come a client is served; nobody new is let in, and the listener tells so.
    #[test]
    fn a_stopping_server_sends_its_clients_away_one_after_the_other() {
        let mut server = Server::start(&["--drain", "5s"]);
        let mut first = WebSocket::open(&server);
        first.log_in("first");
        let mut parked = Polling::open(&server);
        parked.join();
        parked.park();
        let mut idle = Polling::open(&server);
        idle.join();
        let watch = Stopwatch::start(&server);
        terminate(&server);
        let health = wait_for("the drain", || Some(server.ask(&get("/healthz"))).filter(|answer| answer.status == 503));
        assert_eq!((health.header("Retry-After"), health.header("Connection")), (Some("5"), Some("close")));
        for response in [server.ask(&get(POLLING)), server.ask(&upgrade(WEBSOCKET, ""))] {
            let answer = (response.status, response.header("Retry-After"), response.header("Connection"));
            assert_eq!(answer, (503, Some("5"), Some("close")));
        }
        assert_eq!(parked.answer(), "1");
        first.assert_closed(1001);
        // Who has no GET parked learns it with the next.
        assert_eq!(idle.poll(), "1");
        assert_eq!(server.ended().code(), Some(0));
        assert!(watch.elapsed(&server) < Duration::from_secs(4), "all have gone, and nobody is waited for");
    }

    /// A proxy may end its connections with each answer.
    #[test]
    fn who_has_no_connection_open_learns_it_with_the_next() {
        let mut server = Server::start(&["--drain", "5s"]);
        let mut idle = Polling::open(&server);
        idle.join();
        for connection in [&mut idle.gets, &mut idle.posts] {
            connection.half_close();
            connection.assert_end();
        }
        terminate(&server);
        server.log_line("stopping");
        server.settle();
        idle.gets = server.connect();
        assert_eq!(idle.poll(), "1");
        assert_eq!(server.ended().code(), Some(0));
    }

    /// Clients 4.6 to 4.8 would report the end twice if `41` and `1` came in one payload.
    #[test]
    fn the_goodbye_has_a_payload_of_its_own() {
        for (parameters, disconnect, goodbye) in [("EIO=4", "41", "1"), ("EIO=3", "2:41", "1:1")] {
            let mut server = Server::conformance(&[]);
            let target = format!("/socket.io/?{parameters}&transport=polling");
            let open = server.ask(&get(&target));
            let sid = open.text().split('"').nth(3).expect("a sid").to_owned();
            let target = format!("{target}&sid={sid}");
            if parameters == "EIO=4" {
                assert_eq!(server.ask(&request("POST", &target, "", "40")).brief(), (200, "ok"));
            }
            // The answer to CONNECT, and an event.
            assert!(server.ask(&get(&target)).text().contains(r#"42["auth""#));
            let mut other = WebSocket::open(&server);
            other.join();
            other.assert_receives(r#"2["auth",{}]"#);
            other.send(r#"2["end-all"]"#);
            other.assert_receives("1");
            terminate(&server);
            other.assert_closed(1001);
            assert_eq!(server.ask(&get(&target)).brief(), (200, disconnect));
            assert_eq!(server.ask(&get(&target)).brief(), (200, goodbye));
            assert_eq!(server.ended().code(), Some(0));
        }
    }

    #[test]
    fn many_are_spread_over_the_time() {
        let mut server = Server::start(&["--drain", "1s"]);
        let mut sockets: Vec<_> = (0..40).map(|_| WebSocket::open(&server)).collect();
        let (begin, watch) = (Instant::now(), Stopwatch::start(&server));
        terminate(&server);
        for socket in &mut sockets {
            socket.assert_closed(1001);
        }
        let (all, time) = (begin.elapsed(), watch.elapsed(&server));
        assert!(all > Duration::from_millis(500) && time < Duration::from_millis(1500), "{all:?}, {time:?}");
        assert_eq!(server.ended().code(), Some(0));
    }

    #[test]
    fn asked_twice_it_ends_at_once() {
        let mut server = Server::start(&["--drain", "1m"]);
        let mut idle = Polling::open(&server);
        idle.join();
        let watch = Stopwatch::start(&server);
        terminate(&server);
        server.log_line("stopping");
        terminate(&server);
        assert_eq!(server.ended().code(), Some(0));
        assert!(watch.elapsed(&server) < Duration::from_secs(5));
    }

    /// Pings of sessions that began within half a second leave in few wake-ups.
    #[test]
    fn pings_are_gathered() {
        let server = Server::start(&["--ping-interval", "2s", "--ping-timeout", "20s"]);
        // They begin some milliseconds apart, more on a busy machine.
        let begin = Instant::now();
        let mut sockets: Vec<_> = (0..60)
            .map(|_| {
                let socket = WebSocket::open(&server);
                std::thread::sleep(Duration::from_millis(5));
                socket
            })
            .collect();
        let spread = begin.elapsed();
        let before = metric(&server, r#"salon_turns_total{cause="timer"}"#);
        for socket in &mut sockets {
            assert_eq!(socket.text(), "2");
        }
        let turns = metric(&server, r#"salon_turns_total{cause="timer"}"#) - before;
        let most = 3.0 + (spread.as_secs_f64() / 0.5).floor();
        assert!(turns <= most, "{turns} wake-ups for 60 pings of sessions that began within {spread:?}");
    }
}
