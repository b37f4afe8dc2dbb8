//! HTTP/1.1 over sockets: the page, connections that are kept, requests that cannot be served, limits and time-outs,
//! and what two parsers might read differently.

use crate::harness::{Client, Polling, Server, Talk, get, hostile, request};
use flate2::read::GzDecoder;
use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

/// One request per row, each on a connection of its own: what is sent, the status, and whether the connection is kept.
fn check_statuses(server: &Server, rows: &[(&str, u16, bool)]) {
    for (sent, status, kept) in rows {
        let mut client = server.connect();
        let response = client.ask(sent);
        assert_eq!(response.status, *status, "{sent:?}: {response:?}");
        let told = response.header("Connection") == Some("close");
        assert_eq!(told, !kept, "{sent:?} is answered with {}", response.head);
        if *kept {
            assert_eq!(client.ask(get("/nowhere")).status, 404, "after {sent:?}");
        } else {
            client.assert_end();
        }
    }
}

#[test]
fn the_page_is_served_to_get_and_head_and_options() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let page = client.ask(get("/"));
    assert_eq!(page.status, 200);
    assert!(page.text().starts_with("<!DOCTYPE html>") || page.text().starts_with("<!doctype html>"));
    assert_eq!(page.header("Content-Type"), Some("text/html; charset=utf-8"));

    client.send(request("HEAD", "/", "", ""));
    let head = client.response_to_head();
    assert_eq!(head.head, page.head, "HEAD is answered with the head of GET");

    let options = client.ask(request("OPTIONS", "/", "", ""));
    assert_eq!((options.status, options.header("Allow")), (204, Some("GET, HEAD, OPTIONS")));
    let options = client.ask(request("OPTIONS", "*", "", ""));
    assert_eq!((options.status, options.header("Allow")), (204, Some("GET, HEAD, OPTIONS")));
}

#[test]
fn a_page_that_is_known_is_not_sent_again() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let page = client.ask(get("/"));
    let etag = page.header("ETag").expect("the page has one").to_owned();
    let again = client.ask(request("GET", "/", &format!("If-None-Match: {etag}\r\n"), ""));
    assert_eq!((again.status, again.header("ETag")), (304, Some(&*etag)));
    let other = client.ask(request("GET", "/", "If-None-Match: \"other\"\r\n", ""));
    assert_eq!((other.status, other.body == page.body), (200, true));
}

#[test]
fn a_compressed_page_is_the_same_page() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let plain = client.ask(get("/"));
    let packed = client.ask(request("GET", "/", "Accept-Encoding: gzip, br\r\n", ""));
    assert_eq!(plain.header("Content-Encoding"), None);
    assert_eq!(packed.header("Content-Encoding"), Some("gzip"));
    assert_eq!(packed.header("Vary"), Some("Accept-Encoding"));
    assert_ne!(plain.header("ETag"), packed.header("ETag"));
    let mut unpacked = String::new();
    GzDecoder::new(&*packed.body).read_to_string(&mut unpacked).expect("gzip");
    assert_eq!(unpacked, plain.text());
}

#[test]
fn the_page_has_the_title_and_the_frame_that_are_set() {
    let server = Server::start(&["--title", "<b> & \"Ada's\"", "--frame-ancestors", "https://a.example"]);
    let page = server.ask(&get("/"));
    let text = String::from_utf8(page.body.to_vec()).expect("UTF-8");
    let title = "&lt;b&gt; &amp; &quot;Ada&#39;s&quot;";
    for element in ["title", "h1"] {
        assert!(text.contains(&format!("<{element}>{title}</{element}>")), "{text}");
    }
    let policy = page.header("Content-Security-Policy").expect("a policy");
    assert!(policy.ends_with("; frame-ancestors 'self' https://a.example"), "{policy}");
    assert!(page.header("X-Frame-Options").is_none());
    // Compressed, it is the same page, with a tag of its own; and another page than that of another title.
    let packed = server.ask(&request("GET", "/", "Accept-Encoding: gzip\r\n", ""));
    let mut unpacked = String::new();
    GzDecoder::new(&packed.body[..]).read_to_string(&mut unpacked).expect("gzip");
    assert_eq!(unpacked, text);
    let tags = [&page, &packed, &Server::start(&[]).ask(&get("/"))].map(|page| page.header("ETag").map(str::to_owned));
    assert!(tags[0] != tags[1] && tags[0] != tags[2] && tags[1] != tags[2], "{tags:?}");
    let fresh = format!("If-None-Match: {}\r\n", tags[0].as_deref().expect("a tag"));
    assert_eq!(server.ask(&request("GET", "/", &fresh, "")).status, 304);
}

#[test]
fn requests_that_end_in_a_status_of_their_own() {
    let server = Server::start(&["--max-headers", "20", "--max-head", "4096"]);
    let huge = request("GET", "/", &format!("Cookie: {}\r\n", "x".repeat(5000)), "");
    let endless = format!("GET /{}", "x".repeat(5000));
    let fields = request("GET", "/", &(0..20).map(|number| format!("X-{number}: 1\r\n")).collect::<String>(), "");
    check_statuses(
        &server,
        &[
            (&get("/"), 200, true),
            (&get("/nowhere"), 404, true),
            (&get("/../etc/passwd"), 404, true),
            (&request("DELETE", "/", "", ""), 405, true),
            (&request("PUT", "/", "", ""), 405, true),
            (&request("POST", "/", "", ""), 405, true),
            (&request("GET", "/", "Connection: close\r\n", ""), 200, false),
            ("GET / HTTP/1.0\r\n\r\n", 200, false),
            ("GET /nowhere HTTP/1.0\r\nConnection: close\r\n\r\n", 404, false),
            (&huge, 431, false),
            (&endless, 431, false),
            (&fields, 431, false),
            (&request("POST", "/", "Transfer-Encoding: gzip\r\n", "").replace("Content-Length: 0\r\n", ""), 501, false),
            ("CONNECT salon.example:80 HTTP/1.1\r\nHost: salon.example:80\r\n\r\n", 501, false),
            (&request("BREW", "/", "", ""), 501, false),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, false),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, false),
            ("GET / HTTP/1.1\r\n\r\n", 400, false),
            ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", 400, false),
        ],
    );
    let refused = server.ask(&request("DELETE", "/", "", ""));
    assert_eq!(refused.header("Allow"), Some("GET, HEAD, OPTIONS"));
}

#[test]
fn an_old_client_that_asks_for_it_keeps_its_connection() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let response = client.ask("GET /nowhere HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!((response.status, response.header("Connection")), (404, Some("keep-alive")));
    let response = client.ask("GET /nowhere HTTP/1.0\r\n\r\n");
    assert_eq!((response.status, response.header("Connection")), (404, Some("close")));
    client.assert_end();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send([get("/"), get("/nowhere"), request("DELETE", "/", "", "")].concat());
    assert_eq!([(); 3].map(|()| client.response().status), [200, 404, 405]);
    assert_eq!(client.ask(get("/nowhere")).status, 404);
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let server = Server::start(&[]);
    let mut session = Polling::open(&server);
    let one_by_one = |client: &mut Client, bytes: &str| {
        for byte in bytes.bytes() {
            client.send([byte]);
            server.settle();
        }
    };
    one_by_one(&mut session.posts, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(session.posts.response().status, 200);
    let post = request("POST", &session.target, "", "40/nowhere,");
    let (head, body) = post.split_at(post.len() - "40/nowhere,".len());
    session.posts.send(head);
    one_by_one(&mut session.posts, body);
    assert_eq!(session.posts.response().brief(), (200, "ok"));
    assert_eq!(session.poll(), r#"44/nowhere,{"message":"Invalid namespace"}"#);
}

#[test]
fn bodies_come_by_length_or_in_chunks() {
    let server = Server::start(&[]);
    let mut session = Polling::open(&server);
    let chunked = |more: &str, body: &str| {
        let head = request("GET", &session.target, &format!("Transfer-Encoding: chunked\r\n{more}"), "");
        format!("{}{body}", head.replacen("GET", "POST", 1))
    };
    let requests = [
        request("POST", &session.target, "", "40/nowhere,"),
        chunked("", "b\r\n40/nowhere,\r\n0\r\n\r\n"),
        chunked("", "4\r\n40/n\r\n7\r\nowhere,\r\n0\r\n\r\n"),
        chunked("Trailer: X-Sum\r\n", "0B;name=\"value\"\r\n40/nowhere,\r\n0;last\r\nX-Sum: 11\r\n\r\n"),
    ];
    for request in requests {
        assert_eq!(session.posts.ask(&request).brief(), (200, "ok"), "{request:?}");
        assert_eq!(session.poll(), r#"44/nowhere,{"message":"Invalid namespace"}"#);
    }
}

#[test]
fn a_client_that_waits_for_leave_to_send_its_body_gets_it() {
    let server = Server::start(&[]);
    let mut session = Polling::open(&server);
    let post = request("POST", &session.target, "Expect: 100-continue\r\n", "40/nowhere,");
    let (head, body) = post.split_at(post.len() - "40/nowhere,".len());
    let leave = session.posts.ask(head);
    assert_eq!(leave.head, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(session.posts.ask(body).brief(), (200, "ok"));
    assert_eq!(session.poll(), r#"44/nowhere,{"message":"Invalid namespace"}"#);
}

#[test]
fn a_post_without_a_length_is_refused_and_its_session_lives_on() {
    let server = Server::start(&[]);
    let mut session = Polling::open(&server);
    let post = format!("POST {} HTTP/1.1\r\nHost: salon.example\r\n\r\n", session.target);
    assert_eq!(server.ask(&post).status, 411);
    session.assert_quiet();
}

#[test]
fn a_body_that_is_too_large_is_refused_in_full_view() {
    let server = Server::start(&["--max-payload", "100000"]);
    let session = Polling::open(&server);
    let size = if hostile() { 200_000 } else { 1_000_000 };
    let mut client = server.connect();
    client.send_anyway(request("POST", &session.target, "", &"x".repeat(size)));
    let response = client.response();
    assert_eq!((response.status, response.header("Connection")), (413, Some("close")));
    client.assert_end();
}

/// A reset would take the answer away from clients that are still sending.
#[test]
fn what_a_refused_client_goes_on_to_send_is_thrown_away() {
    let server = Server::start(&["--max-payload", "1000"]);
    let session = Polling::open(&server);
    let mut client = server.connect();
    let post = request("POST", &session.target, "", &"x".repeat(30_000));
    let (head, body) = post.split_at(post.len() - 30_000);
    let begin = Instant::now();
    assert_eq!(client.ask(head).status, 413);
    client.assert_end();
    for part in body.as_bytes().chunks(10_000) {
        // It is read for a second: a busy machine may need longer to send it.
        let sent = client.stream.write_all(part);
        assert!(sent.is_ok() || begin.elapsed() > Duration::from_secs(1), "{sent:?}");
        server.settle();
    }
}

#[test]
fn chunks_that_become_too_large_are_refused() {
    let server = Server::start(&["--max-payload", "1000"]);
    let mut session = Polling::open(&server);
    let head = format!("POST {} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", session.target);
    for (body, status) in [
        (format!("3e8\r\n{}\r\n1\r\n", "x".repeat(1000)), 413),
        ("3e9\r\n".to_owned(), 413),
        (format!("1;{}", "e".repeat(20_000)), 431),
    ] {
        let mut client = server.connect();
        let response = client.ask(format!("{head}{body}"));
        assert_eq!((response.status, response.header("Connection")), (status, Some("close")));
        client.assert_end();
        // As with a length: the request is refused, and its session lives on.
        session.assert_quiet();
    }
    let mut client = server.connect();
    assert_eq!(client.ask(request("POST", &session.target, "", &"x".repeat(1001))).status, 413);
    session.assert_quiet();
}

#[test]
fn a_body_may_come_in_many_small_chunks() {
    let server = Server::start(&[]);
    let mut session = Polling::open(&server);
    session.join();
    let (small, large) = if hostile() { (600, 5_000) } else { (6_000, 500_000) };
    for (length, size) in [(small, 1), (large, 100)] {
        let event = format!(r#"42["nonsense","{}"]"#, "x".repeat(length));
        let chunks = event.as_bytes().chunks(size).map(|chunk| str::from_utf8(chunk).expect("ASCII"));
        let chunks: String = chunks.map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
        let head = format!("POST {} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", session.target);
        assert_eq!(session.posts.ask(format!("{head}{chunks}0\r\n\r\n")).brief(), (200, "ok"), "{length} in {size}");
        session.assert_quiet();
    }
}

/// More answers than a client may have queued: the requests wait until it reads.
#[test]
fn bulk_pipelined_requests_wait_until_answers_are_read() {
    const FILE: &str = "/socket.io/socket.io.js";
    let server = Server::start(&["--head-timeout", "10s"]);
    let file = server.ask(&get(FILE)).body;
    for fin in [false, true] {
        let mut client = Client::connect_small(server.address, 16 * 1024);
        client.send(get(FILE).repeat(40) + &get("/healthz"));
        if fin {
            client.half_close();
        }
        for _ in 0..40 {
            let response = client.response();
            assert!(response.status == 200 && response.body == file, "{}", response.head);
        }
        assert_eq!(client.response().brief(), (200, "ok"));
        if fin {
            client.assert_end();
        } else {
            assert_eq!(client.ask(get("/healthz")).brief(), (200, "ok"));
        }
    }
}

/// A connection is not idle while its client still reads the answer, however long that takes.
#[test]
fn bulk_a_slow_reader_is_not_idle() {
    const FILE: &str = "/socket.io/socket.io.js";
    let server = Server::start(&["--idle-timeout", "1s"]);
    let file = server.ask(&get(FILE)).body;
    let mut client = Client::connect_small(server.address, 4096);
    client.send(get(FILE).repeat(20));
    let begin = Instant::now();
    for _ in 0..20 {
        let response = client.response();
        assert!(response.status == 200 && response.body == file, "{}", response.head);
        // The first answers take three seconds.
        std::thread::sleep(Duration::from_millis(500) * u32::from(begin.elapsed() < Duration::from_secs(3)));
    }
    client.assert_end();
}

#[test]
fn half_a_head_times_out() {
    let server = Server::start(&["--head-timeout", "2s"]);
    let mut client = server.connect();
    let response = client.ask("GET / HTTP/1.1\r\nHost: a\r\n");
    assert_eq!((response.status, response.header("Connection")), (408, Some("close")));
    client.assert_end();
    // Whoever says nothing at all waits for no answer.
    server.connect().assert_end();
}

#[test]
fn half_a_body_times_out_and_ends_the_session() {
    let server = Server::start(&["--body-timeout", "300ms"]);
    let session = Polling::open(&server);
    let post = request("POST", &session.target, "", "40/nowhere,");
    let mut client = server.connect();
    let response = client.ask(&post[..post.len() - 3]);
    assert_eq!((response.status, response.header("Connection")), (408, Some("close")));
    client.assert_end();
    session.assert_gone();
}

#[test]
fn a_kept_connection_that_idles_is_closed_without_a_word() {
    let server = Server::start(&["--idle-timeout", "2s"]);
    let mut client = server.connect();
    assert_eq!(client.ask(get("/nowhere")).status, 404);
    assert_eq!(client.ask(get("/nowhere")).status, 404);
    client.assert_end();
}

#[test]
fn a_client_that_has_sent_its_last_byte_is_still_answered() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send([get("/nowhere"), get("/")].concat());
    client.half_close();
    assert_eq!([(); 2].map(|()| client.response().status), [404, 200]);
    client.assert_end();
}

/// Heads that another parser may read differently: behind each stands a request that must never be answered.
#[test]
fn a_request_hidden_behind_a_refused_one_is_never_answered() {
    const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let server = Server::start(&[]);
    let heads = [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 33\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 33\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX\0: y\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\n\r\n",
        "GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET /\r\n\r\n",
        "\r\n\r\n\r\n",
    ];
    let wrong: Vec<_> = heads.iter().filter_map(|head| refused(server.connect(), &format!("{head}{HIDDEN}"))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_request_hidden_behind_a_broken_chunk_is_never_answered() {
    const HIDDEN: &str = "0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let server = Server::start(&[]);
    let chunks = [
        "3\r\nabcd\r\n",
        "3\r\nabc\n",
        "3\nabc\r\n",
        "3\r\nab\r\n",
        "3\r\nabcde",
        "-3\r\nabc\r\n",
        "0x3\r\nabc\r\n",
        "3 \r\nabc\r\n",
        " 3\r\nabc\r\n",
        "\r\nabc\r\n",
        "3;a\nb\r\nabc\r\n",
        "3;a\rb\r\nabc\r\n",
        "00000000000000003\r\nabc\r\n",
        "10000000000000003\r\nabc\r\n",
        "3\r\nabc\r\n0\r\nX: y\n\r\n",
    ];
    for chunk in chunks {
        let session = Polling::open(&server);
        let head = format!("POST {} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", session.target);
        assert_eq!(refused(server.connect(), &format!("{head}{chunk}{HIDDEN}")), None);
        // What was not understood may have been anything.
        session.assert_gone();
    }
}

/// A body is a body, whatever it looks like and whoever did not expect one: of a request in it nothing is answered.
#[test]
fn a_request_hidden_in_a_body_is_never_answered() {
    const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let server = Server::start(&[]);
    let length = HIDDEN.len();
    let by_length = |line: &str| format!("{line}\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{HIDDEN}");
    let in_chunks =
        |line: &str, chunks: &str| format!("{line}\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    let chunk = format!("{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n");
    // What is sent, and the only answer.
    for (sent, status) in [
        (by_length("GET / HTTP/1.1"), 200),
        (by_length("HEAD / HTTP/1.1"), 200),
        (by_length("OPTIONS * HTTP/1.1"), 204),
        (by_length("DELETE / HTTP/1.1"), 405),
        (by_length("POST / HTTP/1.1"), 405),
        (by_length("POST /nowhere HTTP/1.1"), 404),
        (by_length("BREW / HTTP/1.1"), 501),
        (by_length("GET / HTTP/1.0"), 200),
        // The authority of the target counts, RFC 9112 section 3.2.2.
        (by_length("GET http://a/ HTTP/1.1"), 200),
        (by_length("GET /socket.io/?EIO=4&transport=polling HTTP/1.1"), 200),
        (by_length("POST /socket.io/?EIO=4&transport=polling HTTP/1.1"), 400),
        (in_chunks("GET / HTTP/1.1", &chunk), 200),
        (in_chunks("POST /nowhere HTTP/1.1", &chunk), 404),
        // In an extension, and in the trailers.
        (in_chunks("GET / HTTP/1.1", "1;GET /hidden HTTP/1.1\r\na\r\n0\r\n\r\n"), 200),
        (in_chunks("GET / HTTP/1.1", &format!("0\r\n{HIDDEN}")), 200),
        // The authority form is for CONNECT, which is not served.
        (by_length("GET a:80 HTTP/1.1"), 400),
        (by_length("CONNECT a:80 HTTP/1.1"), 501),
        (by_length("GET * HTTP/1.1"), 400),
    ] {
        let mut client = server.connect();
        client.send(&sent);
        let answers = client.rest();
        assert!(answers.starts_with(&format!("HTTP/1.1 {status} ")), "{sent:?} is answered with {answers:?}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{sent:?} is answered with {answers:?}");
        assert!(answers.contains("\r\nConnection: close\r\n"), "{sent:?} is answered with {answers:?}");
    }
    // The body that is expected ends where it says, and what follows is a request.
    let mut session = Polling::open(&server);
    for post in [
        request("POST", &session.target, "", "40/nowhere,"),
        in_chunks(&format!("POST {} HTTP/1.1", session.target), "B;x=\"y\"\r\n40/nowhere,\r\n0\r\n\r\n"),
    ] {
        let mut client = server.connect();
        client.send(post + &get("/nowhere"));
        assert_eq!([(); 2].map(|()| client.response().status), [200, 404]);
        assert_eq!(session.poll(), r#"44/nowhere,{"message":"Invalid namespace"}"#);
    }
}

/// There is one answer, 400, and then the end; or it is told what there is instead.
fn refused(mut client: Client, sent: &str) -> Option<String> {
    client.send(sent);
    let answers = client.rest();
    let fine = answers.starts_with("HTTP/1.1 400 ")
        && answers.contains("\r\nConnection: close\r\n")
        && answers.matches("HTTP/1.1 ").count() == 1;
    (!fine).then(|| format!("{sent:?} is answered with {answers:?}"))
}
