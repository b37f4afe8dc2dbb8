//! HTTP requests in and responses out, and what RFC 9112 lets a strict server refuse. Every input is fed whole, byte by
//! byte, and at every cut in two; the outcome must be the same.

use salon::{
    config::Config,
    http::{self, Event, Framing, Head, Method, Parser, Response},
};
use std::{fmt::Write, sync::LazyLock};

static CONFIG: LazyLock<Config> =
    LazyLock::new(|| Config { max_head: 512, max_headers: 20, max_payload: 100, ..Config::default() });

/// What came out of a connection: each request with its body in brackets, `;` at its end, and the status of an error.
fn outcome(pieces: &[&[u8]]) -> String {
    let (mut parser, mut input, mut seen) = (Parser::default(), Vec::new(), String::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let used = match parser.next(&input, &CONFIG) {
                Ok(None) => break,
                Err(error) => {
                    write!(seen, "!{}", error.status).unwrap();
                    return seen;
                }
                Ok(Some((used, event))) => {
                    assert!(used <= input.len());
                    match event {
                        Event::Head(head) => write!(seen, "{:?} {} ", head.method, head.path).unwrap(),
                        Event::Data(data) => seen += str::from_utf8(data).unwrap(),
                        Event::End => seen.push(';'),
                    }
                    used
                }
            };
            input.drain(..used);
        }
    }
    seen
}

/// The outcome, however the bytes are cut.
fn parse(input: impl AsRef<[u8]>) -> String {
    let input = input.as_ref();
    let whole = outcome(&[input]);
    let single: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(outcome(&single), whole, "byte by byte: {}", input.escape_ascii());
    for cut in 1..input.len().min(300) {
        let (one, other) = input.split_at(cut);
        assert_eq!(outcome(&[one, other]), whole, "cut at {cut}: {}", input.escape_ascii());
    }
    whole
}

/// Shows the head of a request to `judge`.
fn with_head<T>(request: &str, judge: impl FnOnce(&Head) -> T) -> T {
    match Parser::default().next(request.as_bytes(), &CONFIG) {
        Ok(Some((_, Event::Head(head)))) => judge(&head),
        Ok(_) => panic!("no head: {request}"),
        Err(error) => panic!("{}: {request}", error.reason),
    }
}

fn get(more: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{more}\r\n")
}

fn post(more: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{more}")
}

#[test]
fn requests_one_after_another() {
    assert_eq!(parse(get("")), "Get / ;");
    assert_eq!(parse(get("") + &get("")), "Get / ;Get / ;");
    assert_eq!(parse("\r\n".to_owned() + &get("")), "Get / ;");
    assert_eq!(parse(post("Content-Length: 5\r\n\r\nhello") + &get("")), "Post / hello;Get / ;");
    assert_eq!(parse(post("Content-Length: 0\r\n\r\n") + &get("")), "Post / ;Get / ;");
    assert_eq!(parse(post("Content-Length: 005\r\n\r\nhello")), "Post / hello;");
    assert_eq!(parse(post("Content-Length: 5\r\n\r\nhell")), "Post / hell");
    assert_eq!(parse("GET /a?b=c HTTP/1.1\r\nhost:a\r\nX:\r\nY: \t z \t\r\n\r\n"), "Get /a ;");
    assert_eq!(parse("GET / HTTP/1.0\r\n\r\n"), "Get / ;");
    assert_eq!(parse("GET / HTT"), "");
}

#[test]
fn chunked_bodies() {
    let chunked = |body: &str| parse(post("Transfer-Encoding: chunked\r\n\r\n") + body);
    let table = [
        ("5\r\nhello\r\n0\r\n\r\n", "hello;"),
        ("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world;"),
        ("0\r\n\r\n", ";"),
        ("00a\r\n0123456789\r\n000\r\n\r\n", "0123456789;"),
        ("A\r\n0123456789\r\n0\r\nX-Trailer: 1\r\nY: 2\r\n\r\n", "0123456789;"),
        ("5;name=value\r\nhello\r\n0;last\r\n\r\n", "hello;"),
        ("5 ; name=\"a;b\"\r\nhello\r\n0\r\n\r\n", "hello;"),
        // What another parser might cut in another way.
        ("5\nhello\r\n0\r\n\r\n", "!400"),
        ("5;a\nb\r\nhello\r\n", "!400"),
        ("5;a\rb\r\nhello\r\n", "!400"),
        ("5\r\nhelloo\r\n0\r\n\r\n", "hello!400"),
        ("5\r\nhello\n0\r\n\r\n", "hello!400"),
        ("+5\r\nhello\r\n", "!400"),
        ("-5\r\n", "!400"),
        ("0x5\r\nhello\r\n", "!400"),
        (" 5\r\nhello\r\n", "!400"),
        ("5 \r\nhello\r\n", "!400"),
        ("5 5\r\nhello\r\n", "!400"),
        ("5,5\r\nhello\r\n", "!400"),
        ("\r\n", "!400"),
        (";a\r\n", "!400"),
        ("g\r\n", "!400"),
        ("00000000000000005\r\nhello\r\n", "!400"),
        ("fffffffffffffffff\r\n", "!400"),
        ("ffffffffffffffff\r\n", "!413"),
        ("65\r\n", "!413"),
        ("0\r\nX: 1\n\r\n", "!400"),
    ];
    for (body, expected) in table {
        assert_eq!(chunked(body), format!("Post / {expected}"), "{body:?}");
    }
    assert_eq!(chunked("5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), "Post / hello;Get / ;");
    assert_eq!(chunked(&"1\r\nx\r\n".repeat(100)), format!("Post / {}", "x".repeat(100)));
    assert_eq!(chunked(&"1\r\nx\r\n".repeat(101)), format!("Post / {}!413", "x".repeat(100)));
    // Extensions and trailers together count against the limit of a head.
    assert_eq!(chunked(&format!("1;{}\r\n", "a".repeat(512))), "Post / !431");
    assert_eq!(chunked(&format!("1;{}\r\nx\r\n", "a".repeat(300)).repeat(2)), "Post / x!431");
    assert_eq!(chunked(&format!("0\r\n{}", "X: 1\r\n".repeat(100))), "Post / !431");
}

/// Each line stands behind `Host: a`; a hidden request follows, which must never be seen.
#[test]
fn two_parsers_must_not_disagree() {
    let table = [
        ("Content-Length: 5\r\nContent-Length: 5", "!400"),
        ("Content-Length: 5\r\nContent-Length: 6", "!400"),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", "!400"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", "!400"),
        ("Content-Length: +5", "!400"),
        ("Content-Length: -5", "!400"),
        ("Content-Length: 5,5", "!400"),
        ("Content-Length: 5 5", "!400"),
        ("Content-Length:", "!400"),
        ("Content-Length: 0x5", "!400"),
        ("Content-Length: 5e0", "!400"),
        ("Content-Length: 18446744073709551616", "!400"),
        ("Content-Length : 5", "!400"),
        ("Content-Length\t: 5", "!400"),
        (" Content-Length: 5", "!400"),
        ("X: a\r\n Content-Length: 5", "!400"),
        ("X: a\r\n\tb", "!400"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "!400"),
        ("Transfer-Encoding: chunked, chunked", "!400"),
        ("Transfer-Encoding: gzip, chunked", "!400"),
        ("Transfer-Encoding: chunked, identity", "!400"),
        ("Transfer-Encoding: xchunked", "!400"),
        ("Transfer-Encoding: \"chunked\"", "!400"),
        ("Transfer-Encoding: gzip", "!501"),
        ("Transfer-Encoding: identity", "!501"),
        ("Transfer-Encoding:", "!501"),
        ("Transfer-Encoding : chunked", "!400"),
        ("Host: b", "!400"),
        ("host: a", "!400"),
        ("X: a\nContent-Length: 5", "!400"),
        ("X: a\rContent-Length: 5", "!400"),
        ("X: a\r\rContent-Length: 5", "!400"),
        ("X: a\0b", "!400"),
        ("X: a\x7fb", "!400"),
        ("X\0: a", "!400"),
        (": a", "!400"),
        ("no colon", "!400"),
        ("X(: a", "!400"),
    ];
    for (line, expected) in table {
        let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(parse(post(line) + "\r\n\r\n" + hidden), expected, "{line:?}");
    }
    assert_eq!(parse("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), "!400");
    // The body of a GET is a body, not the next request.
    assert_eq!(parse(get("Content-Length: 6\r\n") + "GET / " + &get("")), "Get / GET / ;Get / ;");
}

#[test]
fn request_lines() {
    let table: [(&[u8], &str); 30] = [
        (b"GET  / HTTP/1.1", "!400"),
        (b"GET / ", "!400"),
        (b"GET /", "!400"),
        (b"GET", "!400"),
        (b" GET / HTTP/1.1", "!400"),
        (b"G@T / HTTP/1.1", "!400"),
        (b"G(T / HTTP/1.1", "!400"),
        (b"GET / HTTP/1.1 ", "!400"),
        (b"GET / HTTP/2.0", "!505"),
        (b"GET / HTTP/1.2", "!505"),
        (b"GET / HTTP/0.9", "!505"),
        (b"GET / FTP/1.1", "!400"),
        (b"get / HTTP/1.1", "Other / ;"),
        (b"BREW / HTTP/1.1", "Other / ;"),
        (b"DELETE / HTTP/1.1", "Known / ;"),
        (b"CONNECT a:1 HTTP/1.1", "!501"),
        (b"OPTIONS * HTTP/1.1", "Options * ;"),
        (b"GET * HTTP/1.1", "!400"),
        (b"GET a HTTP/1.1", "!400"),
        (b"GET ../a HTTP/1.1", "!400"),
        (b"GET http://a/b?c HTTP/1.1", "Get /b ;"),
        (b"GET HTTPS://a HTTP/1.1", "Get / ;"),
        (b"GET http:///b HTTP/1.1", "!400"),
        (b"GET http://a?b HTTP/1.1", "!400"),
        (b"GET ftp://a/ HTTP/1.1", "!400"),
        (b"GET http://u@a/ HTTP/1.1", "!400"),
        (b"GET /a#b HTTP/1.1", "!400"),
        (b"GET /\xc3\xa9 HTTP/1.1", "!400"),
        (b"GET /\x80\xff HTTP/1.1", "!400"),
        (b"GET /\x7f HTTP/1.1", "!400"),
    ];
    for (line, expected) in table {
        assert_eq!(parse([line, b"\r\nHost: a\r\n\r\n"].concat()), expected, "{}", line.escape_ascii());
    }
    assert_eq!(parse("GET / HTTP/1.1\nHost: a\n\n"), "!400");
    assert_eq!(parse("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), "!400");
    assert_eq!(parse("\n"), "!400");
    assert_eq!(parse(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\n"), "!400");
}

#[test]
fn hosts() {
    let host = |line: &str| parse(format!("GET / HTTP/1.1\r\n{line}\r\n\r\n"));
    for good in ["Host: a.example:3000", "Host: [::1]:80", "Host: 127.0.0.1", "Host:", "hOST:\ta "] {
        assert_eq!(host(good), "Get / ;", "{good}");
    }
    for bad in ["X: a", "Host: a b", "Host: a/b", "Host: a\"", "Host: a@b", "Host: a?b", "Host: \u{e9}"] {
        assert_eq!(host(bad), "!400", "{bad}");
    }
    with_head("GET http://b:1/c HTTP/1.1\r\nHost: a\r\n\r\n", |head| assert_eq!(head.host, b"b:1"));
    with_head(&get(""), |head| assert_eq!(head.host, b"a"));
    with_head("GET / HTTP/1.0\r\n\r\n", |head| assert_eq!(head.host, b""));
}

/// Header values are bytes, not text; where they are looked at, strange ones are no match.
#[test]
fn values_beyond_ascii() {
    let request =
        [b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: \x80\xff\r\nConnection: \xff, close\r\n\r\n".as_slice()].concat();
    let Ok(Some((_, Event::Head(head)))) = Parser::default().next(&request, &CONFIG) else { panic!() };
    assert_eq!(head.header("origin"), Some(b"\x80\xff".as_slice()));
    assert!(!head.keep_alive);
    assert!(!http::same_origin(b"http://\xff", b"\xff"));
}

#[test]
fn limits_of_the_head() {
    let request = |length: usize| get(&format!("X: {}\r\n", "a".repeat(length - get("X: \r\n").len())));
    assert_eq!(parse(request(512)), "Get / ;");
    assert_eq!(parse(request(513)), "!431");
    // It is refused when the limit is passed, not when its end has come.
    assert_eq!(parse("GET / HTTP/1.1\r\nX: ".to_owned() + &"a".repeat(494)), "!431");
    assert_eq!(parse("A".repeat(513)), "!431");
    let fields = |count: usize| get(&"X: 1\r\n".repeat(count - 1));
    assert_eq!(parse(fields(20)), "Get / ;");
    assert_eq!(parse(fields(21)), "!431");
    let many = Config { max_headers: 64, max_head: 1 << 20, ..CONFIG.clone() };
    assert_eq!(Parser::default().next(get(&"X: 1\r\n".repeat(2000)).as_bytes(), &many).err().unwrap().status, 431);
}

#[test]
fn what_a_head_says() {
    let alive = |request: &str| with_head(request, |head| head.keep_alive);
    assert!(alive(&get("")));
    assert!(!alive(&get("Connection: Close\r\n")));
    assert!(!alive(&get("Connection: x\r\nConnection: y ,close\r\n")));
    assert!(!alive("GET / HTTP/1.0\r\n\r\n"));
    assert!(alive("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
    assert!(!alive("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n"));
    let framing = |request: &str| with_head(request, |head| (head.framing, head.expect_continue));
    assert_eq!(framing(&get("")), (Framing::None, false));
    assert_eq!(framing(&post("Content-Length: 7\r\nExpect: 100-Continue\r\n\r\n")), (Framing::Length(7), true));
    assert_eq!(framing(&post("Transfer-Encoding: Chunked\r\n\r\n")), (Framing::Chunked, false));
    assert!(!framing("POST / HTTP/1.0\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n").1);
    with_head("GET /a?b=c?d HTTP/1.1\r\nHost: a\r\n\r\n", |head| {
        assert_eq!((head.method, head.path, head.query, head.minor), (Method::Get, "/a", "b=c?d", 1));
    });
    let gzip = |value: &str| with_head(&get(&format!("Accept-Encoding: {value}\r\n")), |head| head.accepts_gzip());
    for yes in ["gzip", "GZIP", "br, gzip;q=0.5", "gzip;q=1.000", "identity;q=0, gzip ; q=0.001"] {
        assert!(gzip(yes), "{yes}");
    }
    for no in ["", "br", "gzip;q=0", "gzip; q=0.000", "xgzip", "gzipx", "br;gzip"] {
        assert!(!gzip(no), "{no}");
    }
}

#[test]
fn parameters() {
    let found = |query: &str| http::parameter(query, "sid").map(|value| value.map(|value| value.into_owned()));
    let table = [
        ("", None),
        ("EIO=4", None),
        ("xsid=1&sidx=2&SID=3", None),
        ("sid=", Some("")),
        ("sid", Some("")),
        ("EIO=4&sid=abc-_&t=1", Some("abc-_")),
        ("sid=a=b", Some("a=b")),
        ("sid=%41%2b+b", Some("A+ b")),
        ("sid=%4&t=1", Some("%4")),
        ("sid=%zz", Some("%zz")),
        ("s%69d=1", Some("1")),
        ("sid=%ff%00", Some("\u{fffd}\0")),
        ("&&sid=1&&", Some("1")),
    ];
    for (query, expected) in table {
        assert_eq!(found(query), Ok(expected.map(str::to_owned)), "{query}");
    }
    assert!(found("sid=1&sid=1").is_err());
    assert!(found("sid=1&s%69d=2").is_err());
}

#[test]
fn origins() {
    let same = [
        ("http://a", "a"),
        ("https://a", "a"),
        ("http://A.Example", "a.example"),
        ("http://a:80", "a"),
        ("https://a:443", "a"),
        ("http://a", "a:80"),
        ("https://a", "a:443"),
        ("http://a:3000", "a:3000"),
        ("http://[::1]:3000", "[::1]:3000"),
        ("http://[::1]", "[::1]"),
    ];
    for (origin, host) in same {
        assert!(http::same_origin(origin.as_bytes(), host.as_bytes()), "{origin} {host}");
    }
    let other = [
        ("null", "null"),
        ("", ""),
        ("http://", ""),
        ("a", "a"),
        ("ftp://a", "a"),
        ("http://a", "b"),
        ("http://a.b", "a"),
        ("http://a", "a.b"),
        ("http://a:3000", "a"),
        ("http://a", "a:3000"),
        ("http://a:3001", "a:3000"),
        ("https://a", "a:80"),
        ("http://a/", "a"),
        ("http://u@a", "a"),
        ("http://[::1]:1", "[::1]:2"),
        ("http://[::1]", "[::2]"),
    ];
    for (origin, host) in other {
        assert!(!http::same_origin(origin.as_bytes(), host.as_bytes()), "{origin} {host}");
    }
    let origins = [
        ("https://a:1/b?c", "https://a:1"),
        ("http://a", "http://a"),
        ("http://a?b", "http://a"),
        ("http://a#http://b/", "http://a"),
        ("/a/b", "/a/b"),
        ("", ""),
    ];
    for (url, origin) in origins {
        assert_eq!(http::origin_of(url.as_bytes()), origin.as_bytes(), "{url}");
    }
}

#[test]
fn responses() {
    let text = |response: Response, more, head_only, keep_alive, old| {
        let (head, body) = response.encode(more, head_only, keep_alive, old);
        String::from_utf8([head, body].concat()).unwrap()
    };
    let ok = || Response::new(200).body("text/plain", "hello");
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n";
    assert_eq!(text(ok(), "", false, true, false), format!("{head}\r\nhello"));
    assert_eq!(text(ok(), "X: 1\r\n", true, true, false), format!("{head}X: 1\r\n\r\n"));
    assert_eq!(text(ok(), "", false, false, false), format!("{head}Connection: close\r\n\r\nhello"));
    assert_eq!(text(ok(), "", false, true, true), format!("{head}Connection: keep-alive\r\n\r\nhello"));
    // Rule R9: every answer has a length, but those that never have a body.
    for status in [200, 400, 403, 404, 405, 408, 411, 413, 426, 431, 501, 503, 505] {
        let text = text(Response::new(status), "", false, true, false);
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status} ")) && text.ends_with("\r\nContent-Length: 0\r\n\r\n"),
            "{text}"
        );
        assert!(!text.starts_with(&format!("HTTP/1.1 {status} \r")), "{status} has no reason");
    }
    for status in [101, 204, 304] {
        assert!(!text(Response::new(status), "", false, true, false).contains("Content-Length"), "{status}");
    }
    // A value that would begin a line of its own is left out.
    for evil in ["a\r\nX: 1", "a\nb", "a\rb", "a\0"] {
        assert_eq!(
            text(Response::new(404).header("Y", evil), "", false, true, false),
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        );
    }
}

/// Whatever is done to a request: no panic, nothing taken that was not there, and the same however it is cut.
#[test]
fn damaged_requests() {
    let good = post("Transfer-Encoding: chunked\r\n\r\n5;a\r\nhello\r\n0\r\nT: 1\r\n\r\n")
        + &get("Content-Length: 3\r\n")
        + "abc";
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize % below
    };
    for _ in 0..3000 {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] = b"\r\n :;,0aG\x80\0"[random(11)],
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"\r\n :;,0aG\x80\0"[random(11)]),
            }
        }
        let lossless = |pieces: &[&[u8]]| {
            let mut parser = Parser::default();
            let (mut input, mut seen) = (Vec::new(), Vec::new());
            for piece in pieces {
                input.extend_from_slice(piece);
                while let Ok(Some((used, event))) = parser.next(&input, &CONFIG) {
                    if let Event::Data(data) = event {
                        seen.extend_from_slice(data);
                    }
                    input.drain(..used);
                }
            }
            seen
        };
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(lossless(&[&bytes]), lossless(&single), "{}", bytes.escape_ascii());
    }
}
