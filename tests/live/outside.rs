//! What is seen from outside: /healthz, and /metrics with who may read it.

use crate::harness::*;

const TOKEN: &str = "SALON_METRICS_TOKEN";

fn metrics(server: &Server, more: &str) -> Response {
    server.ask(&request("GET", "/metrics", more, ""))
}

/// The value behind a name with its label.
fn value(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

#[test]
fn health_is_told_without_a_session() {
    let server = Server::start(&[]);
    assert_eq!(server.ask(&get("/healthz")).brief(), (200, "ok"));
}

#[test]
fn only_get_and_head_are_allowed() {
    let server = Server::start(&["--base", "/chat"]);
    for path in ["/healthz", "/metrics", "/chat/healthz"] {
        for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "BREW", "get"] {
            let response = server.ask(&request(method, path, "", ""));
            assert_eq!((response.brief(), response.header("Allow")), ((405, ""), Some("GET, HEAD")), "{method} {path}");
        }
        // A request without a body leaves the connection to the next one; a body is not read.
        let mut client = server.connect();
        assert_eq!(client.ask(request("POST", path, "", "")).status, 405);
        client.send(request("HEAD", path, "", ""));
        let head = client.response_to_head();
        assert_eq!((head.status, head.header("Connection")), (200, None), "{path}");
        let refused = client.ask(request("POST", path, "", "body"));
        assert_eq!((refused.status, refused.header("Connection")), (405, Some("close")));
        client.assert_end();
    }
    // What somebody may not read is not there, whatever the method.
    let elsewhere = request("POST", "/metrics", "Via: 1.1 proxy\r\n", "");
    assert_eq!(server.ask(&elsewhere).brief(), (404, "not found"));
}

#[test]
fn metrics_count_what_happens() {
    let server = Server::start(&["--max-text", "10"]);
    let mut speaker = WebSocket::open(&server);
    speaker.log_in("speaker");
    let mut other = Polling::open(&server);
    other.join();
    speaker.send(r#"2["new message","hello"]"#);
    speaker.send(r#"2["new message","much too long"]"#);
    other.assert_receives(r#"2["new message",{"username":"speaker","message":"hello"}]"#);
    speaker.assert_quiet();
    server.ask(&get("/socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA"));
    let response = metrics(&server, "");
    let text = response.text();
    assert_eq!(response.header("Content-Type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(value(text, r#"salon_sessions{transport="polling"}"#), 1.0);
    assert_eq!(value(text, r#"salon_sessions{transport="websocket"}"#), 1.0);
    assert_eq!(value(text, "salon_users"), 1.0);
    assert_eq!(value(text, "salon_events_refused_total"), 1.0);
    assert_eq!(value(text, r#"salon_requests_refused_total{kind="unknown_sid"}"#), 1.0);
    assert!(value(text, "salon_messages_received_total") >= 4.0);
    assert!(value(text, "salon_connections") >= 2.0);
    assert!(value(text, r#"salon_turns_total{cause="bytes"}"#) > 0.0);
    assert!(value(text, "salon_uptime_seconds") > 0.0);
    // Each sample belongs to a family that says what it is.
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        assert!(text.contains(&format!("# TYPE {name} ")) && text.contains(&format!("# HELP {name} ")), "{line}");
    }
}

#[test]
fn metrics_are_for_this_machine_alone() {
    let server = Server::start(&[]);
    assert_eq!(metrics(&server, "").status, 200);
    for name in ["Forwarded", "X-Forwarded-For", "x-real-ip", "Via", "CF-Connecting-IP", "X-ARR-LOG-ID", "CLIENT-IP"] {
        assert_eq!(metrics(&server, &format!("{name}: 127.0.0.1\r\n")).brief(), (404, "not found"), "{name}");
    }
    // A page of that host may have had its name resolved to this machine.
    let at = |host| server.ask(&get("/metrics").replace("localhost", host));
    assert_eq!(at("evil.example").brief(), (404, "not found"));
    for host in ["127.0.0.1", "[::1]:3000", "LOCALHOST:80"] {
        assert_eq!(at(host).status, 200, "{host}");
    }
}

#[test]
fn metrics_are_for_those_who_have_the_token() {
    let mut command = salon();
    command.args(["--port", "0", "--host", "127.0.0.1"]).env(TOKEN, "open-sesame");
    let server = Server::run(command);
    for wrong in ["", "Authorization: Bearer open-sesam\r\n", "Authorization: open-sesame\r\n"] {
        assert_eq!(metrics(&server, wrong).status, 404, "{wrong}");
    }
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let right = format!("X-Forwarded-For: 1.2.3.4\r\nAuthorization: {scheme} open-sesame\r\n");
        assert_eq!(metrics(&server, &right).status, 200, "{scheme}");
        assert_eq!(server.ask(&request("GET", "/metrics", &right, "").replace("localhost", "a.example")).status, 200);
    }
}
