//! Engine.IO 4 over long polling: handshake, errors, heartbeat, requests that overlap, payloads, origins.

use crate::harness::{
    Client, POLLING, Polling, Response, Server, Talk, WEBSOCKET, WebSocket, get, hostile, of_session, request, upgrade,
    wait_for,
};
use crate::secure;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const UNKNOWN_TRANSPORT: &str = r#"{"code":0,"message":"Transport unknown"}"#;
const UNKNOWN_SID: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
const BAD_METHOD: &str = r#"{"code":2,"message":"Bad handshake method"}"#;
const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;
const FORBIDDEN: &str = r#"{"code":4,"message":"Forbidden"}"#;
const UNSUPPORTED: &str = r#"{"code":5,"message":"Unsupported protocol version"}"#;

/// An answer that no cache may keep.
fn check(response: &Response, status: u16, body: &str) {
    assert_eq!(response.brief(), (status, body));
    assert_eq!(response.header("Cache-Control"), Some("no-store"), "{}", response.head);
}

#[test]
fn a_handshake_tells_all_there_is_to_know() {
    let server = Server::start(&["--ping-interval", "7s", "--ping-timeout", "3s", "--max-payload", "12345"]);
    let mut client = server.connect();
    let response = client.ask(get(POLLING));
    assert_eq!(response.header("Content-Type"), Some("text/plain; charset=UTF-8"));
    assert_eq!(response.header("Cache-Control"), Some("no-store"));
    let packet = response.text().strip_prefix('0').expect("an open packet");
    let mut open: Value = serde_json::from_str(packet).expect("JSON");
    let sid = open["sid"].take();
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    assert!(sid.as_str().is_some_and(|sid| sid.len() >= 20 && sid.chars().all(fine)), "{sid}");
    let rest =
        json!({"sid": null, "upgrades": ["websocket"], "pingInterval": 7000, "pingTimeout": 3000, "maxPayload": 12345});
    assert_eq!(open, rest);
    assert_ne!(client.ask(get(POLLING)).text(), response.text(), "no sid is given twice");
}

#[test]
fn a_handshake_offers_only_what_is_allowed() {
    let server = Server::start(&["--transports", "polling"]);
    assert!(server.ask(&get(POLLING)).text().contains(r#""upgrades":[]"#));
    check(&server.ask(&get(WEBSOCKET)), 400, UNKNOWN_TRANSPORT);
    let server = Server::start(&["--transports", "websocket"]);
    check(&server.ask(&get(POLLING)), 400, UNKNOWN_TRANSPORT);
}

#[test]
fn errors_are_those_of_the_reference() {
    let server = Server::start(&[]);
    let mut session = Polling::open(&server);
    let sid = &session.sid;
    let unknown = of_session("AAAAAAAAAAAAAAAAAAAAAAAA");
    let rows = [
        ("GET", "/socket.io/".to_owned(), UNKNOWN_TRANSPORT),
        ("GET", "/socket.io/?EIO=4".to_owned(), UNKNOWN_TRANSPORT),
        ("GET", "/socket.io/?EIO=4&transport=tcp".to_owned(), UNKNOWN_TRANSPORT),
        ("GET", "/socket.io/?EIO=4&transport=constructor".to_owned(), UNKNOWN_TRANSPORT),
        ("GET", format!("{POLLING}&transport=tcp"), UNKNOWN_TRANSPORT),
        ("DELETE", "/socket.io/?EIO=4&transport=tcp".to_owned(), UNKNOWN_TRANSPORT),
        ("GET", unknown.clone(), UNKNOWN_SID),
        ("POST", unknown.clone(), UNKNOWN_SID),
        ("DELETE", unknown, UNKNOWN_SID),
        ("GET", of_session("%00"), UNKNOWN_SID),
        ("GET", of_session(&format!("{sid}&sid=x")), UNKNOWN_SID),
        ("POST", POLLING.to_owned(), BAD_METHOD),
        ("POST", of_session(""), BAD_METHOD),
        ("POST", of_session(&format!("{sid}&sid=")), BAD_METHOD),
        ("DELETE", POLLING.to_owned(), BAD_METHOD),
        ("OPTIONS", POLLING.to_owned(), BAD_METHOD),
        ("DELETE", of_session(sid), BAD_METHOD),
        ("PUT", of_session(sid), BAD_METHOD),
        ("GET", WEBSOCKET.to_owned(), BAD_REQUEST),
        ("GET", format!("{WEBSOCKET}&sid={sid}"), BAD_REQUEST),
        ("POST", format!("{WEBSOCKET}&sid={sid}"), BAD_REQUEST),
        ("GET", "/socket.io/?transport=polling".to_owned(), UNSUPPORTED),
        ("GET", "/socket.io/?EIO=1&transport=polling".to_owned(), UNSUPPORTED),
        ("GET", "/socket.io/?EIO=5&transport=polling".to_owned(), UNSUPPORTED),
        ("GET", "/socket.io/?EIO=&transport=polling".to_owned(), UNSUPPORTED),
        ("GET", format!("{POLLING}&EIO=5"), UNSUPPORTED),
        ("GET", format!("{POLLING}&EIO"), UNSUPPORTED),
    ];
    for (method, target, body) in rows {
        let response = server.ask(&request(method, &target, "", ""));
        assert_eq!(response.brief(), (400, body), "{method} {target}");
        assert_eq!(response.header("Content-Type"), Some("application/json"));
        check(&response, 400, body);
    }
    session.assert_quiet();
}

/// Some clients append their parameters to those of the address that they were given.
#[test]
fn of_equal_parameters_the_last_counts() {
    let server = Server::start(&[]);
    for (query, websocket) in [
        ("EIO=4&transport=websocket&transport=polling", false),
        ("EIO=4&EIO=4&transport=polling&transport=polling", false),
        ("EIO=5&EIO=4&transport=polling", false),
        ("EIO=4&transport=polling&sid=", false),
        ("EIO=4&transport=polling&sid", false),
        ("EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA&sid=", false),
        ("EIO=4&transport=polling&transport=websocket", true),
        ("EIO=4&EIO=4&transport=websocket&transport=websocket&sid=", true),
    ] {
        let target = format!("/socket.io/?{query}");
        if websocket {
            assert_eq!(server.ask(&upgrade(&target, "")).status, 101, "{query}");
            check(&server.ask(&get(&target)), 400, BAD_REQUEST);
        } else {
            let open = server.ask(&get(&target));
            assert!(open.status == 200 && open.text().starts_with("0{"), "{query}: {open:?}");
        }
    }
    let mut session = Polling::open(&server);
    session.target = of_session(&format!("AAAAAAAAAAAAAAAAAAAA&sid={}", session.sid));
    session.assert_quiet();
    session.target = of_session(&format!("{0}&sid={0}", session.sid));
    session.assert_quiet();
}

/// Proxies and clients add a slash to the path, or leave it away.
#[test]
fn all_below_the_path_is_engine_io_but_files() {
    for base in ["", "/a/chat"] {
        let server = Server::start(&["--base", &format!("{base}/")]);
        let mut session = Polling::open_at(&server, &format!("{base}{POLLING}"));
        for (path, engine) in [
            ("/socket.io/", true),
            ("/socket.io", true),
            ("/socket.io//", true),
            ("/socket.io/x", true),
            ("/socket.io/x/", true),
            ("/socket.io/x/y.json", true),
            ("/socket.iox", false),
            ("/socket.io.js", false),
            ("/xsocket.io/", false),
            ("/Socket.io/", false),
            // Files that are not there.
            ("/socket.io/socket.io.msgpack.min.js", false),
            ("/socket.io/client.min.js.map", false),
            ("/socket.io/x/y.js", true),
            ("/socket.io/socket.io.msgpack.min.js", false),
            ("/socket.io/x/socket.io.js", false),
        ] {
            let at = |query: &str| format!("{base}{path}?EIO=4&{query}");
            let open = server.ask(&get(&at("transport=polling")));
            let socket = server.ask(&upgrade(&at("transport=websocket"), ""));
            let (sid, seen) = (session.sid.clone(), [open.status, socket.status]);
            if !engine {
                assert_eq!(seen, [404; 2], "{base}{path}");
                continue;
            }
            assert_eq!(seen, [200, 101], "{base}{path}");
            check(&server.ask(&get(&at("transport=tcp"))), 400, UNKNOWN_TRANSPORT);
            session.target = at(&format!("transport=polling&sid={sid}"));
            session.assert_quiet();
        }
        // What is a file stays one.
        let file = server.ask(&get(&format!("{base}/socket.io/socket.io.js?EIO=4&transport=polling")));
        assert_eq!((file.status, file.text().starts_with("0{")), (200, false));
    }
}

#[test]
fn nothing_a_session_is_answered_may_be_cached() {
    let server = Server::start(&[]);
    let mut session = Polling::open(&server);
    check(&session.post("40/nowhere,"), 200, "ok");
    let message = session.gets.ask(get(&session.target));
    check(&message, 200, r#"44/nowhere,{"message":"Invalid namespace"}"#);
    assert_eq!(message.header("Content-Type"), Some("text/plain; charset=UTF-8"));
}

#[test]
fn several_packets_share_a_payload() {
    let server = Server::start(&[]);
    let mut session = Polling::open(&server);
    assert_eq!(session.post("40/a,\x1e40/b,\x1e6\x1e40/c,").brief(), (200, "ok"));
    let refused = |name| format!("44/{name},{{\"message\":\"Invalid namespace\"}}");
    assert_eq!(session.poll(), [refused("a"), refused("b"), refused("c")].join("\x1e"));
}

#[test]
fn a_client_that_answers_pings_over_polling_lives() {
    let server = Server::start(&["--ping-interval", "200ms", "--ping-timeout", "5s"]);
    let mut session = Polling::open(&server);
    for _ in 0..3 {
        assert_eq!(session.poll(), "2");
        assert_eq!(session.post("3").brief(), (200, "ok"));
    }
}

#[test]
fn a_client_that_does_not_answer_pings_over_polling_is_closed() {
    let server = Server::start(&["--ping-interval", "200ms", "--ping-timeout", "2s"]);
    let begin = Instant::now();
    let mut session = Polling::open(&server);
    assert_eq!(session.poll(), "2");
    assert!(begin.elapsed() >= Duration::from_millis(200));
    // The farewell to the parked GET: nothing else can be said any more.
    assert_eq!(session.poll(), "1");
    assert!(begin.elapsed() >= Duration::from_millis(2200));
    session.assert_gone();
}

#[test]
fn a_client_that_does_not_come_back_is_forgotten() {
    let server = Server::start(&["--ping-interval", "200ms", "--ping-timeout", "200ms"]);
    let session = Polling::open(&server);
    // A POST is refused when the session is gone, and does not end it while it is not.
    wait_for("the session is forgotten", || {
        let response = Client::connect(server.address).ask(request("POST", &session.target, "", "6"));
        (response.brief() == (400, UNKNOWN_SID)).then_some(())
    });
}

#[test]
fn two_gets_at_once_end_the_session() {
    let server = Server::start(&[]);
    let mut session = Polling::open(&server);
    session.park();
    server.settle();
    check(&server.ask(&get(&session.target)), 400, BAD_REQUEST);
    assert_eq!(session.answer(), "1");
    session.assert_gone();
}

#[test]
fn two_posts_at_once_end_the_session() {
    let server = Server::start(&[]);
    let mut session = Polling::open(&server);
    let post = request("POST", &session.target, "", "40/nowhere,");
    session.posts.send(&post[..post.len() - 1]);
    server.settle();
    check(&server.ask(&post), 400, BAD_REQUEST);
    session.posts.assert_end();
    session.assert_gone();
}

#[test]
fn a_payload_that_cannot_be_read_ends_the_session() {
    let server = Server::start(&[]);
    for payload in ["x", "8", "é", "\x1e", "40/nowhere,\x1e", "40/nowhere,\x1e\x1e6", "b!", "bA"] {
        let mut session = Polling::open(&server);
        check(&session.post(payload), 400, BAD_REQUEST);
        session.assert_gone();
    }
}

#[test]
fn an_empty_payload_ends_the_session() {
    let server = Server::start(&[]);
    let mut session = Polling::open(&server);
    check(&session.post(""), 400, BAD_REQUEST);
    session.assert_gone();
}

/// The payload is fine, and so the POST; what is in it is not.
#[test]
fn a_packet_that_makes_no_sense_ends_the_session() {
    let server = Server::start(&[]);
    let packets = [
        "0",
        "2",
        "4",
        "49",
        "42[\"typing\"]",
        "41",
        "40\x1e40",
        "40\x1e42",
        "40\x1e42[]",
        "40\x1e42{}",
        "40\x1e42[1",
        "40\x1e451-[\"typing\"]",
        "40\x1ebAAAA",
    ];
    for payload in packets {
        let mut session = Polling::open(&server);
        check(&session.post(payload), 200, "ok");
        session.assert_gone();
    }
}

#[test]
fn a_declared_binary_body_is_none_of_this_protocol() {
    let server = Server::start(&[]);
    let session = Polling::open(&server);
    let post = request("POST", &session.target, "Content-Type: application/octet-stream\r\n", "40/nowhere,");
    check(&server.ask(&post), 400, BAD_REQUEST);
    session.assert_gone();
}

/// curl and others call any body a form; as in the reference only the type of binary itself stands for it.
#[test]
fn the_type_of_a_body_does_not_matter() {
    let server = Server::start(&[]);
    let types = [
        "application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded; charset=UTF-8",
        "application/octet-stream; x=1",
        "application/octet-streams",
        "application/json",
        "",
    ];
    for content_type in types {
        let mut session = Polling::open(&server);
        let line = format!("Content-Type: {content_type}\r\n");
        let post = |body: &str| server.ask(&request("POST", &session.target, &line, body));
        check(&post("40/nowhere,\x1e40/%2c+d=1,"), 200, "ok");
        let refused = |name| format!("44/{name},{{\"message\":\"Invalid namespace\"}}");
        assert_eq!(session.poll(), [refused("nowhere"), refused("%2c+d=1")].join("\x1e"), "{content_type}");
        session.assert_quiet();
        // A form is none without `j`.
        let post = |body: &str| server.ask(&request("POST", &session.target, &line, body));
        check(&post("d=6"), 400, BAD_REQUEST);
        session.assert_gone();
    }
}

#[test]
fn what_is_pipelined_behind_a_parked_get_waits_for_it() {
    let server = Server::start(&[]);
    let mut session = Polling::open(&server);
    session.gets.send([get(&session.target), get("/nowhere"), request("DELETE", "/", "", "")].concat());
    server.settle();
    assert_eq!(session.post("40/nowhere,").status, 200);
    assert_eq!(session.answer(), r#"44/nowhere,{"message":"Invalid namespace"}"#);
    assert_eq!([(); 2].map(|()| session.gets.response().status), [404, 405]);
    session.assert_quiet();
}

#[test]
#[cfg(target_os = "linux")]
fn a_connection_with_much_pipelined_is_paused() {
    let server = Server::start(&["--max-head", "1024"]);
    let mut session = Polling::open(&server);
    let triple = [get("/nowhere"), request("DELETE", "/", "", ""), request("OPTIONS", "/", "", "")].concat();
    let (total, read) = match (hostile(), secure::is_on()) {
        (false, _) => (300_000, 64 * 1024),
        (true, false) => (8_000, 1),
        // Of a record nothing is known before it is whole.
        (true, true) => (40_000, 17 * 1024),
    };
    let triples = total / triple.len();
    session.park();
    server.settle();
    session.gets.send(triple.repeat(triples));
    // One read may go beyond the limit. Until they are acknowledged, the kernel counts bytes on both sides.
    wait_for("the server has read a little of what is behind a GET that is parked, and ignores the rest", || {
        let taken = (triples * triple.len()).checked_sub(server.unread() as usize)?;
        (server.ignores() && (1024..1024 + read).contains(&taken)).then_some(())
    });

    assert_eq!(server.ask(&request("POST", &session.target, "", "40/nowhere,")).status, 200);
    assert_eq!(session.answer(), r#"44/nowhere,{"message":"Invalid namespace"}"#);
    for number in 0..triples {
        assert_eq!([(); 3].map(|()| session.gets.response().status), [404, 405, 204], "triple {number}");
    }
    session.assert_quiet();
}

#[test]
fn a_parked_get_is_not_idle() {
    let flags = ["--idle-timeout", "2s", "--head-timeout", "2s", "--ping-interval", "3s"];
    let server = Server::start(&flags);
    let mut session = Polling::open(&server);
    assert_eq!(session.poll(), "2");
}

#[test]
fn a_parked_get_that_is_given_up_ends_the_session() {
    let server = Server::start(&[]);
    let mut session = Polling::open(&server);
    session.park();
    server.settle();
    session.gets.half_close();
    session.gets.assert_end();
    session.assert_gone();
}

#[test]
fn a_session_that_never_connects_is_closed() {
    let server = Server::start(&["--connect-timeout", "2s"]);
    let mut session = Polling::open(&server);
    assert_eq!(session.poll(), "1");
    session.assert_gone();
    let mut connected = Polling::open(&server);
    connected.join();
    WebSocket::open(&server).assert_closed(1001);
    connected.assert_quiet();
}

/// Origin and Host, and whether the page is one of ours.
#[test]
fn pages_of_the_same_origin_may_connect_and_no_others() {
    let server = Server::start(&[]);
    let rows = [
        ("http://a.example", "a.example", true),
        ("http://a.example:80", "a.example", true),
        ("https://a.example", "a.example", true),
        ("https://a.example:443", "a.example", true),
        ("http://a.example", "a.example:80", true),
        ("https://a.example", "a.example:443", true),
        ("http://A.example:8080", "a.EXAMPLE:8080", true),
        ("http://[::1]:8080", "[::1]:8080", true),
        ("http://a.example:81", "a.example", false),
        ("http://a.example", "a.example:81", false),
        ("http://a.example", "a.example:443", false),
        ("http://b.example", "a.example", false),
        ("http://a.example.b.example", "a.example", false),
        ("http://b.example@a.example", "a.example", false),
        ("ftp://a.example", "a.example", false),
        ("a.example", "a.example", false),
        ("null", "a.example", false),
        ("null", "null", false),
        ("file://", "a.example", false),
        ("file://a.example", "a.example", false),
        ("", "a.example", false),
        // What programs make up: the address that they connect to.
        ("ws://a.example", "a.example", true),
        ("ws://a.example:3000", "a.example:3000", true),
        ("wss://a.example", "a.example", true),
        ("wss://a.example:443/socket.io/?EIO=4", "a.example", true),
        ("http://a.example:3000/", "a.example:3000", true),
        ("https://a.example/chat", "a.example", true),
        ("ws://b.example", "a.example", false),
        ("ws://a.example:81", "a.example", false),
        ("wss://a.example.b.example", "a.example", false),
        ("wss://b.example@a.example", "a.example", false),
        ("http://b.example/a.example", "a.example", false),
        ("wsx://a.example", "a.example", false),
        // Two lines.
        ("https://a.example\r\nOrigin: https://a.example", "a.example", false),
        ("https://a.example\r\nOrigin: https://b.example", "a.example", false),
    ];
    for (origin, host, ours) in rows {
        let ours = ours && secure::may_be_ours(origin);
        let of = |target| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n\r\n");
        let handshake = server.ask(&of(POLLING));
        assert_eq!(handshake.status, if ours { 200 } else { 403 }, "{origin} at {host}");
        assert_eq!(handshake.header("Access-Control-Allow-Origin"), None);
        if !ours {
            check(&handshake, 403, FORBIDDEN);
        }
        let socket = upgrade(WEBSOCKET, &format!("Origin: {origin}\r\n")).replace("salon.example", host);
        assert_eq!(server.ask(&socket).status, if ours { 101 } else { 403 }, "{origin} at {host}");
    }
}

/// Origins of others, on each request that could open a session or reach one.
#[test]
fn a_page_from_elsewhere_reaches_no_session_either() {
    let server = Server::start(&[]);
    let mut session = Polling::open(&server);
    let foreign = [
        "http://evil.example",
        "http://salon.example:81",
        "http://evil.salon.example",
        "http://salon.example.evil.example",
        "http://xsalon.example",
        "http://salon.exampl",
        "http://salon.example@evil.example",
        "http://evil.example@salon.example",
        "http://evil.example/salon.example",
        "ftp://salon.example",
        "salon.example",
        "null",
        "file://",
        "",
        "ws://evil.example",
        "wss://salon.example:81/socket.io/",
        "http://salon.example\r\nOrigin: http://salon.example",
        "http://salon.example\r\nOrigin: http://evil.example",
    ];
    for origin in foreign {
        let field = format!("Origin: {origin}\r\n");
        let [polling, websocket] =
            [POLLING, WEBSOCKET].map(|target| [target, &format!("{target}&sid={}", session.sid)].map(str::to_owned));
        for target in &polling {
            check(&server.ask(&request("GET", target, &field, "")), 403, FORBIDDEN);
            check(&server.connect().ask(request("POST", target, &field, "41")), 403, FORBIDDEN);
        }
        for target in &websocket {
            let mut client = server.connect();
            let response = client.ask(upgrade(target, &field));
            assert_eq!(
                (response.brief(), response.header("Connection")),
                ((403, "Forbidden"), Some("close")),
                "{origin}"
            );
            client.assert_end();
        }
    }
    session.assert_quiet();
}

/// A foreign page can ask without Origin, by an image, a script or a link; browsers then say where the request is from.
#[test]
fn an_image_of_a_foreign_page_opens_no_session() {
    let referer = |page: &str| format!("Referer: {page}\r\n");
    for base in ["", "/a/chat"] {
        let own = Server::start(&["--base", &format!("{base}/")]);
        let listing = Server::start(&["--base", &format!("{base}/"), "--origins", "https://x.example"]);
        let any = Server::start(&["--base", &format!("{base}/"), "--origins", "*"]);
        for (server, page, allowed) in [
            (&own, String::new(), false),
            (&own, referer("https://x.example/"), false),
            (&own, referer("https://salon.example/"), true),
            (&listing, String::new(), false),
            (&listing, referer("https://x.example/page?y"), true),
            (&listing, referer("https://x.example:8443/"), false),
            (&listing, referer("https://y.example/?https://x.example/"), false),
            (&any, String::new(), true),
            (&any, referer("https://y.example/"), true),
        ] {
            let open = server.ask(&get(&format!("{base}{POLLING}")));
            assert_eq!(open.status, 200);
            let sid = open.text().split('"').nth(3).expect("a sid");
            for site in ["cross-site", "same-site"] {
                let lines = format!("Sec-Fetch-Site: {site}\r\n{page}");
                let ask =
                    |method, target: &str, body| server.ask(&request(method, &format!("{base}{target}"), &lines, body));
                let seen = [
                    ask("GET", POLLING, "").status,
                    ask("GET", "/socket.io/", "").status,
                    ask("POST", POLLING, "40").status,
                    ask("POST", &of_session(sid), "3").status,
                    ask("GET", &of_session("AAAAAAAAAAAAAAAAAAAA"), "").status,
                    server.ask(&upgrade(&format!("{base}{WEBSOCKET}"), &lines)).status,
                ];
                let expected = if allowed { [200, 400, 400, 200, 400, 101] } else { [403; 6] };
                assert_eq!(seen, expected, "{lines}");
                // Files are for everybody.
                assert_eq!(ask("GET", "/main.js", "").status, 200);
            }
            for site in ["same-origin", "none"] {
                let lines = format!("Sec-Fetch-Site: {site}\r\n{page}");
                let response = server.ask(&request("GET", &format!("{base}{POLLING}"), &lines, ""));
                assert_eq!(response.status, 200, "{lines}");
            }
        }
    }
    let server = Server::start(&[]);
    let refused = server.ask(&request("GET", POLLING, "Sec-Fetch-Site: cross-site\r\n", ""));
    check(&refused, 403, FORBIDDEN);
    let refused = server.ask(&upgrade(WEBSOCKET, "Sec-Fetch-Site: cross-site\r\n"));
    assert_eq!((refused.brief(), refused.header("Connection")), ((403, "Forbidden"), Some("close")));
}

#[test]
fn listed_origins_are_told_that_they_may_read_the_answer() {
    let server = Server::start(&["--origins", "https://x.example,http://y.example:8080"]);
    let cors = |response: &Response| {
        let names = ["Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Vary"];
        names.map(|name| response.header(name).map(str::to_owned))
    };
    let told = |origin: &str| [Some(origin.to_owned()), Some("true".to_owned()), Some("Origin".to_owned())];
    for origin in ["https://x.example", "http://y.example:8080"] {
        let line = format!("Origin: {origin}\r\n");
        let handshake = server.ask(&request("GET", POLLING, &line, ""));
        assert_eq!((handshake.status, cors(&handshake)), (200, told(origin)));
        let refused = server.ask(&request("GET", "/socket.io/", &line, ""));
        assert_eq!((refused.brief(), cors(&refused)), ((400, UNKNOWN_TRANSPORT), told(origin)));

        let ask = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-one, content-type\r\n";
        let preflight = server.ask(&request("OPTIONS", POLLING, &format!("{line}{ask}"), ""));
        assert_eq!((preflight.status, cors(&preflight)), (204, told(origin)));
        assert_eq!(preflight.header("Access-Control-Allow-Methods"), Some("GET, POST"));
        assert_eq!(preflight.header("Access-Control-Allow-Headers"), Some("x-one, content-type"));
        // Only names are sent back, and they do not decide what becomes of the connection.
        let ask = "Access-Control-Request-Headers: x, Connection: y,z\r\nAccess-Control-Request-Headers: \u{ff}, v\r\n";
        for (more, connection) in [("", None), ("Connection: close\r\n", Some("close"))] {
            let preflight = server.ask(&request("OPTIONS", POLLING, &format!("{line}{ask}{more}"), ""));
            assert_eq!(preflight.header("Access-Control-Allow-Headers"), Some("x, z, v"));
            assert_eq!(preflight.header("Connection"), connection);
        }
    }
    // A program's way to write it.
    let program = server.ask(&request("GET", POLLING, "Origin: wss://x.example/socket.io/\r\n", ""));
    assert_eq!((program.status, cors(&program)), (200, told("https://x.example")));
    // The others get no more than the word that another page might.
    let vary = [None, None, Some("Origin".to_owned())];
    for origin in ["http://x.example", "null", "file://", "https://x.example\r\nOrigin: https://x.example"] {
        let other = server.ask(&request("GET", POLLING, &format!("Origin: {origin}\r\n"), ""));
        check(&other, 403, FORBIDDEN);
        assert_eq!(cors(&other), vary, "{origin}");
    }
    let own = server.ask(&request("GET", POLLING, "Origin: https://salon.example\r\n", ""));
    assert_eq!((own.status, cors(&own)), (200, vary.clone()), "our own page needs no list");
    for target in [POLLING, "/socket.io/", "/nowhere"] {
        assert_eq!(cors(&server.ask(&get(target))), vary, "{target}");
    }
    // A file has another such line.
    assert!(server.ask(&get("/")).head.contains("\r\nVary: Origin\r\n"));
}

/// Sandboxed frames of any page, and files: never with cookies, and only if they are listed.
#[test]
fn origins_without_an_owner_are_admitted_by_name() {
    let rows = [
        ("null", "null", "file://"),
        ("file://", "file://", "null"),
        ("https://x.example,file://", "file://", "null"),
        ("null,https://x.example", "null", "file://"),
    ];
    for (list, listed, other) in rows {
        let server = Server::start(&["--origins", list]);
        for (origin, admitted) in [(listed, true), (other, false)] {
            let line = format!("Origin: {origin}\r\n");
            let response = server.ask(&request("GET", POLLING, &line, ""));
            let names = ["Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Vary"];
            let expected = [admitted.then_some(origin), None, Some("Origin")];
            assert_eq!(response.status, if admitted { 200 } else { 403 }, "{origin} of {list}");
            assert_eq!(names.map(|name| response.header(name)), expected, "{origin} of {list}");
            let socket = server.ask(&upgrade(WEBSOCKET, &line));
            assert_eq!(socket.status, if admitted { 101 } else { 403 }, "{origin} of {list}");
        }
    }
}

#[test]
fn all_origins_may_read_answers_without_cookies() {
    let server = Server::start(&["--origins", "*"]);
    for origin in ["http://anywhere.example", "ws://anywhere.example/socket.io/", "file://"] {
        let response = server.ask(&request("GET", POLLING, &format!("Origin: {origin}\r\n"), ""));
        assert_eq!((response.status, response.header("Access-Control-Allow-Origin")), (200, Some("*")));
        assert_eq!(response.header("Access-Control-Allow-Credentials"), None);
    }
    for origin in ["null", "https://x.example\r\nOrigin: https://x.example"] {
        let line = format!("Origin: {origin}\r\n");
        check(&server.ask(&request("GET", POLLING, &line, "")), 403, FORBIDDEN);
        assert_eq!(server.ask(&upgrade(WEBSOCKET, &line)).status, 403, "{origin}");
    }
}

#[test]
fn refused_origins_are_logged_once_with_what_to_do() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for _ in 0..20 {
        let response = client.ask(request("GET", POLLING, "Origin: http://evil.example\r\n", ""));
        check(&response, 403, FORBIDDEN);
    }
    let log = server.into_log();
    let lines: Vec<_> = log.iter().filter(|line| line.contains("evil.example")).collect();
    assert_eq!(lines.len(), 1, "{log:#?}");
    assert!(lines[0].contains("salon.example") && lines[0].contains("--origins"), "{lines:?}");
}
