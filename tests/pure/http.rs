//! HTTP/1.1: requests as literal bytes (whole, byte by byte, and split in two at every position), protection against
//! request smuggling, encoded responses, and the parsers of queries, origins and content codings.

use crate::random::{Random, splits};
use salon::{
    config::Config,
    http::{
        Error, FIELD_BUFFER, Parser, Part, RequestHead, Response,
        origin::{is_same_origin, origin_of, split_port, split_url},
        parameters,
    },
    server::access::{check_origin, client_address, may_read_metrics},
};
use std::borrow::Cow;
use std::ffi::OsString;
use std::mem;
use std::net::IpAddr;

/// Small limits, so that tests reach them quickly.
fn config() -> Config {
    Config { max_head: 512, max_headers: 8, max_payload: 100, ..Config::default() }
}

/// A head as one line, with `keep-alive`, `close` and `expect` only where they are not the default.
fn describe(head: &RequestHead) -> String {
    let mut line = format!("{:?} {}", head.method, head.path);
    if !head.query.is_empty() {
        line += &format!("?{}", head.query);
    }
    let length = head.length.map_or("Chunked".to_owned(), |length| format!("Length({length})"));
    line += &format!(" 1.{} host={} {length}", head.minor, head.host);
    if head.keep_alive == (head.minor == 0) {
        line += if head.keep_alive { " keep-alive" } else { " close" };
    }
    if head.expects_continue() {
        line += " expect";
    }
    line
}

/// What a parser has returned: a line for each part (the data of a body joined), and the error that ended it.
#[derive(Default)]
struct Seen {
    events: Vec<String>,
    error: Option<Error>,
    /// Bytes that the parser has not consumed.
    left: Vec<u8>,
}

fn feed(pieces: &[&[u8]], config: &Config) -> Seen {
    let (mut parser, mut seen, mut body) = (Parser::default(), Seen::default(), Vec::new());
    for piece in pieces {
        seen.left.extend_from_slice(piece);
        loop {
            match parser.next(&seen.left, &mut { FIELD_BUFFER }, config) {
                Ok(None) => break,
                Ok(Some((count, event))) => {
                    assert!(count <= seen.left.len(), "took more than was given");
                    match event {
                        Part::Head(head) => seen.events.push(describe(&head)),
                        Part::Data(data) => {
                            assert!(count > 0, "would be called for ever");
                            body.extend_from_slice(data);
                        }
                        Part::End => {
                            let body = mem::take(&mut body);
                            if !body.is_empty() {
                                seen.events.push(format!("{:?}", String::from_utf8_lossy(&body)));
                            }
                            seen.events.push("end".to_owned());
                        }
                    }
                    seen.left.drain(..count);
                }
                Err(error) => {
                    seen.error = Some(error);
                    return seen;
                }
            }
        }
    }
    seen
}

/// The parts of an input, and the status of an error. Fails unless they are the same however the input is split.
fn events_with(config: &Config, input: &[u8]) -> String {
    let mut results = splits(input).map(|pieces| {
        let mut seen = feed(&pieces, config);
        seen.events.extend(seen.error.map(|error| error.status.to_string()));
        seen.events.join(" | ")
    });
    let whole = results.next().expect("the whole");
    assert!(results.all(|cut| cut == whole), "{:?}", String::from_utf8_lossy(input));
    whole
}

fn events(input: impl AsRef<[u8]>) -> String {
    events_with(&config(), input.as_ref())
}

/// A valid request with these additional header lines.
fn with_lines(lines: &[u8]) -> Vec<u8> {
    [b"POST / HTTP/1.1\r\nHost: h\r\n", lines, b"\r\n"].concat()
}

/// Parses a request and passes its head to `look`.
pub fn with_head<T>(request: impl AsRef<[u8]>, look: impl FnOnce(&RequestHead) -> T) -> T {
    match Parser::default().next(request.as_ref(), &mut { FIELD_BUFFER }, &Config::default()) {
        Ok(Some((_, Part::Head(head)))) => look(&head),
        _ => panic!("no head: {:?}", String::from_utf8_lossy(request.as_ref())),
    }
}

#[test]
fn heads() {
    for (request, expected) in [
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "Get / 1.1 host=h Length(0) | end"),
        (
            "HEAD /a/b?c=d&e HTTP/1.1\r\nhOST: a.example:80\r\n\r\n",
            "Head /a/b?c=d&e 1.1 host=a.example:80 Length(0) | end",
        ),
        ("GET /a??b? HTTP/1.1\r\nHost:h\r\n\r\n", "Get /a??b? 1.1 host=h Length(0) | end"),
        ("OPTIONS * HTTP/1.1\r\nHost: \t h \t\r\n\r\n", "Options * 1.1 host=h Length(0) | end"),
        ("PUT //x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "Known //x 1.1 host=[::1]:80 Length(0) | end"),
        ("PATCH / HTTP/1.1\r\nHost:\r\n\r\n", "Known / 1.1 host= Length(0) | end"),
        ("DELETE / HTTP/1.1\r\nHost: h\r\n\r\n", "Known / 1.1 host=h Length(0) | end"),
        ("TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", "Known / 1.1 host=h Length(0) | end"),
        // Methods are case-sensitive.
        ("get / HTTP/1.1\r\nHost: h\r\n\r\n", "Other / 1.1 host=h Length(0) | end"),
        ("BREW / HTTP/1.1\r\nHost: h\r\n\r\n", "Other / 1.1 host=h Length(0) | end"),
        ("GET / HTTP/1.0\r\n\r\n", "Get / 1.0 host= Length(0) | end"),
        // Some old clients send an empty line after a body.
        ("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "Get / 1.1 host=h Length(0) | end"),
    ] {
        assert_eq!(events(request), expected, "{request:?}");
    }
    assert_eq!(events(""), "");
    assert_eq!(events("GET / HTTP/1.1\r\nHost: h\r\n"), "");
}

#[test]
fn header_fields() {
    let request = "GET / HTTP/1.1\r\nHost: h\r\nX: one\r\nCookie:a=b\r\nx:  two, Three \r\nEmpty:\r\n\r\n";
    with_head(request, |head| {
        assert_eq!(head.header("X"), Some(&b"one"[..]));
        assert_eq!(head.headers("x").collect::<Vec<_>>(), [&b"one"[..], b"two, Three"]);
        assert_eq!(head.header("cookie"), Some(&b"a=b"[..]));
        assert_eq!(head.header("empty"), Some(&b""[..]));
        assert_eq!(head.header("Another"), None);
        assert_eq!(head.tokens("x").collect::<Vec<_>>(), ["one", "two", "Three"]);
        for (token, there) in [("one", true), ("TWO", true), ("three", true), ("thr", false), ("two, three", false)] {
            assert_eq!(head.has_token("x", token), there, "{token}");
        }
    });
}

/// RFC 9110 section 5.6.2.
#[test]
fn members_that_are_tokens() {
    for (value, expected) in [
        (&b"a, b-C_9"[..], &["a", "b-C_9"][..]),
        (b"x, Connection: y", &["x"]),
        (b"x, Connection: close, z", &["x", "z"]),
        (b", ,a b,\"q\",a;b,(c),a/b,[d],{e},=,@,\x80,\xc3\xa4,a\tb,", &[]),
        (b"!#$%&'*+-.^_`|~", &["!#$%&'*+-.^_`|~"]),
        (b"", &[]),
    ] {
        let request = [b"GET / HTTP/1.1\r\nHost: h\r\nX: ", value, b"\r\nX: last\r\n\r\n"].concat();
        let found: Vec<_> = with_head(request, |head| head.tokens("x").map(str::to_owned).collect());
        assert_eq!(found, [expected, &["last"]].concat(), "{:?}", String::from_utf8_lossy(value));
    }
}

#[test]
fn target_forms() {
    for (line, expected) in [
        ("GET http://other:81/a?b HTTP/1.1", "Get /a?b 1.1 host=other:81 Length(0) | end"),
        ("GET HTTPS://other HTTP/1.1", "Get / 1.1 host=other Length(0) | end"),
        ("GET http://other/ HTTP/1.0", "Get / 1.0 host=other Length(0) | end"),
        ("OPTIONS /* HTTP/1.1", "Options /* 1.1 host=h Length(0) | end"),
        // The authority form is only for CONNECT, which only proxies serve.
        ("CONNECT other:443 HTTP/1.1", "501"),
        ("GET other:443 HTTP/1.1", "400"),
        ("GET other HTTP/1.1", "400"),
        ("GET * HTTP/1.1", "400"),
        ("OPTIONS *a HTTP/1.1", "400"),
        ("GET http:///a HTTP/1.1", "400"),
        ("GET http:/a HTTP/1.1", "400"),
        ("GET ftp://other/ HTTP/1.1", "400"),
        ("GET http://user@other/ HTTP/1.1", "400"),
        ("GET http://o\"ther/ HTTP/1.1", "400"),
        ("GET ?a HTTP/1.1", "400"),
        ("GET ../a HTTP/1.1", "400"),
    ] {
        assert_eq!(events(format!("{line}\r\nHost: h\r\n\r\n")), expected, "{line}");
    }
}

/// RFC 9110 section 4.2.1: the path of an absolute URI may be empty, also before a query.
#[test]
fn absolute_form_with_an_empty_path_and_a_query() {
    assert_eq!(events("GET http://o?a=b HTTP/1.1\r\nHost: h\r\n\r\n"), "Get /?a=b 1.1 host=o Length(0) | end");
}

#[test]
fn target_characters() {
    for byte in (0..=255u8).filter(|byte| *byte != b' ') {
        let input = [b"GET /a", &[byte][..], b"b HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
        let expected = match byte {
            b'?' => "Get /a?b 1.1 host=h Length(0) | end".to_owned(),
            0x21..=0x7e if byte != b'#' => format!("Get /a{}b 1.1 host=h Length(0) | end", byte as char),
            _ => "400".to_owned(),
        };
        assert_eq!(events(input), expected, "{byte:#x}");
    }
    // Non-ASCII characters as UTF-8, and fragments.
    assert_eq!(events("GET /ä HTTP/1.1\r\nHost: h\r\n\r\n"), "400");
    assert_eq!(events("GET /?ä HTTP/1.1\r\nHost: h\r\n\r\n"), "400");
    assert_eq!(events("GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n"), "400");
    assert_eq!(events("GET /?a#b HTTP/1.1\r\nHost: h\r\n\r\n"), "400");
}

/// RFC 9112 section 3: the space ends the target, and the rest is a malformed version (400), not an unsupported one (505).
#[test]
fn a_space_in_the_target() {
    for line in ["GET /a b HTTP/1.1", "GET /  HTTP/1.1", "GET / a HTTP/2.0"] {
        assert_eq!(events(format!("{line}\r\nHost: h\r\n\r\n")), "400", "{line}");
    }
    assert_eq!(events("GET / a\r\nHost: h\r\nA: b HTTP/1.1\r\n\r\n"), "400");
}

#[test]
fn versions() {
    for (line, status) in [
        ("GET / HTTP/2.0", "505"),
        ("GET / HTTP/0.9", "505"),
        ("GET / HTTP/1.2", "505"),
        ("GET / HTTP/3.1", "505"),
        ("GET /", "400"),
        ("GET / ", "400"),
        ("GET / http/1.1", "400"),
        ("GET / ICY/1.1", "400"),
        ("GET  / HTTP/1.1", "400"),
        ("GET / HTTP/1.1 ", "400"),
        ("GET\t/ HTTP/1.1", "400"),
        (" GET / HTTP/1.1", "400"),
        ("GET", "400"),
        ("G(T / HTTP/1.1", "400"),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}", "400"),
    ] {
        assert_eq!(events(format!("{line}\r\nHost: h\r\n\r\n")), status, "{line}");
    }
    // The preface of HTTP/2.
    assert_eq!(events("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "505");
}

#[test]
fn hosts() {
    for (lines, expected) in [
        ("Host: a-b.example_c~:8080\r\n", "a-b.example_c~:8080"),
        ("Host: [fe80::1]:80\r\n", "[fe80::1]:80"),
        ("Host: \r\n", ""),
        ("host: %41\r\n", "%41"),
        ("Host: [::ffff:192.0.2.1]\r\n", "[::ffff:192.0.2.1]"),
        ("Host: 192.0.2.1:\r\n", "192.0.2.1:"),
    ] {
        let expected = format!("Get / 1.1 host={expected} Length(0) | end");
        assert_eq!(events(format!("GET / HTTP/1.1\r\n{lines}\r\n")), expected, "{lines:?}");
    }
    for host in [
        "a:b:c",
        "a:80:80",
        "a::80",
        "::1",
        "fe80::1",
        "a:b",
        "a:8o",
        "a:-1",
        "a:+1",
        "a: 1",
        "[::1",
        "::1]",
        "[::1]a",
        "[::1]80",
        "[::1]:a",
        "[::1]:80:80",
        "a[::1]",
        "[]",
        "[a]",
        "[1.2.3.4]",
        "[::1::]",
        "[[::1]]",
        "[::1]]",
        "[fe80::1%25eth0]",
        "user@a",
        "user:pass@a",
        "a%",
        "a%4",
        "a%4g",
        "%zz",
    ] {
        let input = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(events(input), "400", "{host}");
        assert_eq!(events(format!("GET http://{host}/ HTTP/1.1\r\nHost: a\r\n\r\n")), "400", "{host}");
    }
    for lines in ["", "Host: a\r\nHost: a\r\n", "Host: a\r\nhost: b\r\n", "Hos: a\r\n", "X-Host: a\r\n"] {
        assert_eq!(events(format!("GET / HTTP/1.1\r\n{lines}\r\n")), "400", "{lines:?}");
    }
    assert_eq!(events("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"), "400");
    for byte in b"\"<>@/?#\\^`{|} \t\0\x7f\x80\xff" {
        let input = [b"GET / HTTP/1.1\r\nHost: a", &[*byte][..], b"b\r\n\r\n"].concat();
        assert_eq!(events(input), "400", "{byte:#x}");
        // The Host is checked even if the target has an authority, which takes precedence.
        let input = [b"GET http://other/ HTTP/1.1\r\nHost: a", &[*byte][..], b"b\r\n\r\n"].concat();
        assert_eq!(events(input), "400", "{byte:#x}");
    }
    assert_eq!(events("GET http://other/ HTTP/1.1\r\n\r\n"), "400", "the absolute form needs a Host as well");
    assert_eq!(events("GET http://other/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), "400");
}

#[test]
fn bodies_by_length() {
    for (request, expected) in [
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
            "Post / 1.1 host=h Length(5) | \"hello\" | end",
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\ncontent-length:0005\r\n\r\nhello",
            "Post / 1.1 host=h Length(5) | \"hello\" | end",
        ),
        ("POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n\r\n", "Post / 1.0 host= Length(2) | \"\\r\\n\" | end"),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "Post / 1.1 host=h Length(0) | end"),
        ("POST / HTTP/1.1\r\nHost: h\r\n\r\n", "Post / 1.1 host=h Length(0) | end"),
        // The body of a GET has no meaning, but it must be consumed.
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx", "Get / 1.1 host=h Length(1) | \"x\" | end"),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nhello", "Post / 1.1 host=h Length(6)"),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551615\r\n\r\n",
            "Post / 1.1 host=h Length(18446744073709551615)",
        ),
    ] {
        assert_eq!(events(request), expected, "{request:?}");
    }
}

fn chunked(body: &str) -> String {
    let request = format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let seen = events(request);
    seen.strip_prefix("Post / 1.1 host=h Chunked").expect("the head").trim_start_matches(" | ").to_owned()
}

#[test]
fn bodies_in_chunks() {
    for (body, expected) in [
        ("0\r\n\r\n", "end"),
        ("5\r\nhello\r\n0\r\n\r\n", "\"hello\" | end"),
        ("5\r\nhello\r\n7\r\n, world\r\n000\r\n\r\n", "\"hello, world\" | end"),
        ("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "\"01234567890123456789\" | end"),
        ("0000000000000002\r\n\r\n\r\n0\r\n\r\n", "\"\\r\\n\" | end"),
        ("2;name=value;x=\"y\"\r\nab\r\n0;last\r\n\r\n", "\"ab\" | end"),
        ("2 ;a\r\nab\r\n1\t; b\r\nc\r\n0\r\n\r\n", "\"abc\" | end"),
        ("1\r\na\r\n0\r\nTrailer: x\r\nContent-Length: 7\r\n\r\n", "\"a\" | end"),
        // Incomplete input.
        ("", ""),
        ("5", ""),
        ("5\r\nhello", ""),
        ("5\r\nhello\r\n0\r\n", ""),
        ("5\r\nhello\r\n0\r\nTrailer: x\r\n", ""),
    ] {
        assert_eq!(chunked(body), expected, "{body:?}");
    }
}

/// The largest possible chunk: data is passed on as it arrives; nothing is reserved, nothing overflows.
#[cfg(target_pointer_width = "64")]
#[test]
fn a_chunk_without_end() {
    let config = Config { max_payload: usize::MAX, ..config() };
    let start = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let seen = feed(&[start.as_bytes(), b"ffffffffffffffff\r\nsome", b" of it"], &config);
    assert_eq!((seen.events.len(), seen.error, seen.left.len()), (1, None, 0));
    let seen = feed(&[start.as_bytes(), b"1\r\na\r\nffffffffffffffff\r\n"], &config);
    assert_eq!(seen.error.map(|error| error.status), Some(413), "the sum is more than a number");
}

#[test]
fn malformed_chunks() {
    for body in [
        "\r\n",
        " 5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        "-5\r\nhello\r\n",
        "0x5\r\nhello\r\n",
        "5x\r\nhello\r\n",
        "5 \r\nhello\r\n",
        "5 5\r\nhello\r\n",
        "5,5\r\nhello\r\n",
        "g\r\n",
        ";a\r\n",
        "00000000000000005\r\nhello\r\n",
        "10000000000000000\r\n",
        "5\nhello\r\n",
        "5\r\r\nhello\r\n",
        "5;a\rb\r\nhello\r\n",
        "5;a\nhello\r\n",
        "5\r\nhello!\r\n",
        "5\r\nhello!\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\r\r\n",
        "0\r\nTrailer: x\n\r\n",
        "0\r\n\n",
    ] {
        assert_eq!(chunked(body), "400", "{body:?}");
    }
}

/// Limits of a chunked body: 100 bytes of data, and 512 bytes of lines around it.
#[test]
fn chunks_at_the_limits() {
    let data = |length: usize| format!("{length:x}\r\n{}\r\n", "x".repeat(length));
    let all = format!("{:?} | end", "x".repeat(100));
    assert_eq!(chunked(&(data(100) + "0\r\n\r\n")), all);
    assert_eq!(chunked(&(data(60) + &data(40) + "0\r\n\r\n")), all);
    // Refused by the chunk size alone, even if the sum of sizes would overflow.
    for body in
        ["65\r\n".to_owned(), data(60) + "29\r\n", "ffffffffffffffff\r\n".into(), data(1) + "ffffffffffffffff\r\n"]
    {
        assert_eq!(chunked(&body), "413", "{body:?}");
    }

    // What stands behind a size counts.
    let extension = |length: usize| format!("1;{}\r\n", "e".repeat(length - 1));
    let end = "0\r\n\r\n";
    assert_eq!(chunked(&format!("{}a\r\n{end}", extension(512))), "\"a\" | end");
    assert_eq!(chunked(&format!("{}a\r\n{end}", extension(513))), "431");
    assert_eq!(chunked(&format!("1{};\r\na\r\n{end}", " ".repeat(512))), "431");
    assert_eq!(chunked(&"1".repeat(16 + 513)), "431", "not even a line");
    let trailer = |length: usize| format!("T: {}\r\n", "t".repeat(length - 3));
    assert_eq!(chunked(&format!("0\r\n{}{}\r\n", trailer(200), trailer(312))), "end");
    assert_eq!(chunked(&format!("0\r\n{}{}\r\n", trailer(200), trailer(313))), "431");
    // Extensions and trailers of all chunks are counted together.
    let small = |count| extension(4).replace("\r\n", "\r\na\r\n").repeat(count);
    assert!(chunked(&format!("{}0\r\n{}\r\n", small(90), trailer(512 - 4 * 90))).ends_with("end"));
    assert_eq!(chunked(&format!("{}0\r\n{}\r\n", small(90), trailer(513 - 4 * 90))).split(" | ").last(), Some("431"));
    // Counting starts again with the next body.
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let twice = format!("{head}{}a\r\n{end}", extension(512)).repeat(2);
    let seen = feed(&[twice.as_bytes()], &config());
    assert_eq!((seen.events.len(), seen.error), (6, None));
}

/// Sizes of chunks are limited with the data that they announce, however small the chunks are.
#[test]
fn many_small_chunks() {
    let config = Config { max_payload: 6000, ..config() };
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    for chunk in ["1\r\na\r\n", "0000000000000001\r\na\r\n"] {
        let body = |count| head.to_owned() + &chunk.repeat(count) + "0\r\n\r\n";
        let seen = feed(&[body(6000).as_bytes()], &config);
        assert_eq!((seen.events.len(), seen.error), (3, None));
        assert_eq!(feed(&[body(6001).as_bytes()], &config).error.map(|error| error.status), Some(413));
    }
}

/// RFC 9112 sections 6 and 11.2: whatever a proxy in front might read differently is refused.
#[test]
fn smuggling() {
    for (lines, expected) in [
        (&b"Content-Length: 5\r\nContent-Length: 5\r\n"[..], "400"),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", "400"),
        (b"Content-Length: 5\r\ncontent-LENGTH: 0\r\n", "400"),
        (b"Content-Length: 5, 5\r\n", "400"),
        (b"Content-Length: 5,5\r\n", "400"),
        (b"Content-Length: +5\r\n", "400"),
        (b"Content-Length: -5\r\n", "400"),
        (b"Content-Length: 5 5\r\n", "400"),
        (b"Content-Length: 0x5\r\n", "400"),
        (b"Content-Length: 5.0\r\n", "400"),
        (b"Content-Length: \xd9\xa5\r\n", "400"),
        (b"Content-Length:\r\n", "400"),
        (b"Content-Length: \"5\"\r\n", "400"),
        (b"Content-Length: 18446744073709551616\r\n", "400"),
        (b"Content-Length: 99999999999999999999999999\r\n", "400"),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "400"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "400"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "400"),
        (b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n", "400"),
        (b"Transfer-Encoding: chunked, chunked\r\n", "400"),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "400"),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "400"),
        (b"Transfer-Encoding: gzip, chunked\r\n", "400"),
        (b"Transfer-Encoding: chunked, gzip\r\n", "400"),
        (b"Transfer-Encoding: chunked;a=b\r\n", "400"),
        (b"Transfer-Encoding: xchunked\r\n", "400"),
        (b"Transfer-Encoding: chunkedx\r\n", "400"),
        (b"Transfer-Encoding: \"chunked\"\r\n", "400"),
        (b"Transfer-Encoding: \x0bchunked\r\n", "400"),
        (b"Transfer-Encoding: ,chunked\r\n", "400"),
        (b"Transfer-Encoding: gzip\r\n", "501"),
        (b"Transfer-Encoding: identity\r\n", "501"),
        (b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", "501"),
        (b"Transfer-Encoding: chun\xffked\r\n", "501"),
        (b"Transfer-Encoding:\r\n", "501"),
        // Similar names are different fields.
        (b"Transfer_Encoding: chunked\r\n", "Post / 1.1 host=h Length(0) | end"),
        (b"Content-Lengthy: 5\r\n", "Post / 1.1 host=h Length(0) | end"),
        (b"TRANSFER-ENCODING:\tChunked \r\n", "Post / 1.1 host=h Chunked"),
        // Line ends, and white space around names.
        (b"A: b\nContent-Length: 5\r\n", "400"),
        (b"A: b\rContent-Length: 5\r\n", "400"),
        (b"A: b\r\r\n", "400"),
        (b"A: b\n\r\n", "400"),
        (b"Content-Length : 5\r\n", "400"),
        (b"Content-Length\t: 5\r\n", "400"),
        (b" Content-Length: 5\r\n", "400"),
        (b"A: b\r\n Content-Length: 5\r\n", "400"),
        (b"A: b\r\n\tc\r\n", "400"),
        (b"A\r\n", "400"),
        (b": b\r\n", "400"),
        (b"A b: c\r\n", "400"),
        (b"A(: c\r\n", "400"),
        (b"A\0: c\r\n", "400"),
        (b"\xc3\xa4: c\r\n", "400"),
    ] {
        assert_eq!(events(with_lines(lines)), expected, "{:?}", String::from_utf8_lossy(lines));
    }
    for lines in ["Transfer-Encoding: chunked", "Transfer-Encoding: identity", "transfer-encoding: x"] {
        assert_eq!(events(format!("POST / HTTP/1.0\r\n{lines}\r\n\r\n")), "400", "{lines}");
    }
    for input in
        ["\n", "\r\r", "\r\n\r\n", "\r\n\n", "GET / HTTP/1.1\nHost: h\n\n", "GET / HTTP/1.1\rHost: h\r\r", "\rG"]
    {
        assert_eq!(events(input), "400", "{input:?}");
    }
}

#[test]
fn bytes_in_values() {
    for byte in 0..=255u8 {
        let lines = [b"A: b", &[byte][..], b"c\r\n"].concat();
        let expected = match byte {
            b'\t' | 0x20..=0x7e | 0x80.. => "Post / 1.1 host=h Length(0) | end",
            _ => "400",
        };
        assert_eq!(events(with_lines(&lines)), expected, "{byte:#x}");
    }
    // Values are bytes, not text: members that are not UTF-8 do not match, and do not hide others.
    assert_eq!(events(with_lines(b"Connection: \xff, close ,\x80\r\n")), "Post / 1.1 host=h Length(0) close | end");
}

#[test]
fn keep_alive() {
    for (minor, lines, keep_alive) in [
        (1, "", true),
        (1, "Connection: close\r\n", false),
        (1, "connection: CLOSE\r\n", false),
        (1, "Connection: keep-alive\r\n", true),
        (1, "Connection: keep-alive, close\r\n", false),
        (1, "Connection: upgrade\r\nConnection: x,Close ,y\r\n", false),
        (1, "Connection: closed\r\n", true),
        (1, "Proxy-Connection: close\r\n", true),
        (0, "", false),
        (0, "Connection: keep-alive\r\n", true),
        (0, "Connection: Keep-Alive\r\n", true),
        (0, "Connection: keep-alive, close\r\n", false),
        (0, "Connection: close\r\nConnection: keep-alive\r\n", false),
    ] {
        let request = format!("GET / HTTP/1.{minor}\r\nHost: h\r\n{lines}\r\n");
        assert_eq!(with_head(&request, |head| head.keep_alive), keep_alive, "1.{minor} {lines:?}");
    }
}

#[test]
fn expectations() {
    for (minor, lines, expected) in [
        (1, "Expect: 100-continue\r\n", true),
        (1, "expect: 100-Continue\r\n", true),
        (1, "", false),
        (1, "Expect: 200-maybe\r\n", false),
        // RFC 9110 section 10.1.1: Expect is ignored in HTTP/1.0.
        (0, "Expect: 100-continue\r\n", false),
    ] {
        let request = format!("POST / HTTP/1.{minor}\r\nHost: h\r\n{lines}Content-Length: 1\r\n\r\n");
        assert_eq!(with_head(&request, |head| head.expects_continue()), expected, "1.{minor} {lines:?}");
    }
}

#[test]
fn pipelining() {
    let input = "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n\
        POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc\r\n\
        POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nd\r\n0\r\n\r\n\
        GET /4 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n\
        GET /5 HTTP/1.1\r\nHost";
    assert_eq!(
        events(input),
        "Get /1 1.1 host=h Length(0) | end | \
         Post /2 1.1 host=h Length(3) | \"abc\" | end | \
         Post /3 1.1 host=h Chunked | \"d\" | end | \
         Get /4 1.1 host=h Length(0) close | end"
    );
    for pieces in splits(input.as_bytes()) {
        assert_eq!(feed(&pieces, &config()).left, b"GET /5 HTTP/1.1\r\nHost", "it waits in the input of the caller");
    }
    // The body of a GET is not taken for the next request.
    assert_eq!(
        events("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nGET /xGET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        "Get / 1.1 host=h Length(6) | \"GET /x\" | end | Get / 1.1 host=h Length(0) | end"
    );
    assert_eq!(events("GET / HTTP/1.1\r\nHost: h\r\n\r\nx y\r\n\r\n"), "Get / 1.1 host=h Length(0) | end | 400");
    assert_eq!(events("GET / HTTP/1.1\r\nHost: h\r\n\r\n\r\n\r\n"), "Get / 1.1 host=h Length(0) | end | 400");
}

/// The server may pause between two parts, to respond first.
#[test]
fn one_event_at_a_time() {
    let config = config();
    let input = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nabGET";
    let mut parser = Parser::default();
    let Ok(Some((head, Part::Head(_)))) = parser.next(input, &mut { FIELD_BUFFER }, &config) else { panic!("no head") };
    let Ok(Some((2, Part::Data(b"ab")))) = parser.next(&input[head..], &mut { FIELD_BUFFER }, &config) else {
        panic!("no data")
    };
    let Ok(Some((0, Part::End))) = parser.next(b"", &mut { FIELD_BUFFER }, &config) else {
        panic!("the end needs no byte more")
    };
    assert!(matches!(parser.next(b"", &mut { FIELD_BUFFER }, &config), Ok(None)));
    assert!(matches!(parser.next(&input[head + 2..], &mut { FIELD_BUFFER }, &config), Ok(None)));
}

#[test]
fn size_and_number_of_header_fields() {
    let head = |length: usize| {
        let start = "GET / HTTP/1.1\r\nHost: h\r\nX: ";
        format!("{start}{}\r\n\r\n", "x".repeat(length - start.len() - 4))
    };
    assert_eq!(events(head(512)), "Get / 1.1 host=h Length(0) | end");
    assert_eq!(events(head(513)), "431");
    assert_eq!(events(format!("GET /{}", "a".repeat(508))), "431", "one byte too many, and no end in sight");
    assert_eq!(events(format!("GET /{}", "a".repeat(507))), "");
    // An empty line before the request counts.
    assert_eq!(events(format!("\r\n{}", head(510))), "Get / 1.1 host=h Length(0) | end");
    assert_eq!(events(format!("\r\n{}", head(511))), "431");
    // Bytes after the head do not count.
    assert_eq!(events(head(512).repeat(2)), "Get / 1.1 host=h Length(0) | end | Get / 1.1 host=h Length(0) | end");

    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(count - 1));
    assert_eq!(events(fields(8)), "Get / 1.1 host=h Length(0) | end");
    assert_eq!(events(fields(9)), "431");
    let most = Config::default();
    assert_eq!(events_with(&most, fields(64).as_bytes()), "Get / 1.1 host=h Length(0) | end");
    assert_eq!(events_with(&most, fields(65).as_bytes()), "431");
    assert_eq!(events_with(&most, fields(200).as_bytes()), "431");
}

/// A random request, and the parts that the parser must return.
fn random_request(random: &mut Random) -> (Vec<u8>, Vec<String>) {
    let method = random.pick(&["GET", "POST", "HEAD", "OPTIONS"]);
    let path = random.pick(&["/", "/socket.io/", "/a%20b"]);
    let query = random.pick(&["", "?EIO=4&transport=polling", "?t=O1x~"]);
    let framing = random.pick(&["none", "length", "chunked"]);
    let body = &"0123456789\r\n\r\nGET / HTTP/1.1"[..random.below(29)];
    let name = ["Get", "Post", "Head", "Options"].into_iter().find(|name| name.eq_ignore_ascii_case(method));
    let mut input = format!("{method} {path}{query} HTTP/1.1\r\nHost: h\r\n");
    let mut line = format!("{} {path}{query} 1.1 host=h ", name.expect("one of them"));
    for _ in 0..random.below(4) {
        input += random.pick(&["Accept: */*\r\n", "Cookie: a=b; c=d\r\n", "X-Length: 7\r\n", "A:\r\n"]);
    }
    match framing {
        "length" if !body.is_empty() => {
            input += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
            line += &format!("Length({})", body.len());
        }
        "chunked" => {
            input += "Transfer-Encoding: chunked\r\n\r\n";
            for piece in random.pieces(body.as_bytes()).into_iter().filter(|piece| !piece.is_empty()) {
                let extension = random.pick(&["", ";a", " ;b=\"c\""]);
                input += &format!("{:x}{extension}\r\n{}\r\n", piece.len(), str::from_utf8(piece).expect("ASCII"));
            }
            input += random.pick(&["0\r\n\r\n", "00\r\nTrailer: x\r\n\r\n"]);
            line += "Chunked";
        }
        _ => {
            input += "\r\n";
            line += "Length(0)";
        }
    }
    let mut events = vec![line];
    if !events[0].ends_with("Length(0)") && !body.is_empty() {
        events.push(format!("{body:?}"));
    }
    events.push("end".to_owned());
    (input.into_bytes(), events)
}

#[test]
fn random_requests_in_random_pieces() {
    let (mut random, config) = (Random(1), config());
    for _ in 0..3_000 {
        let (mut input, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..1 + random.below(4) {
            let (bytes, events) = random_request(&mut random);
            input.extend(bytes);
            expected.extend(events);
        }
        let seen = feed(&random.pieces(&input), &config);
        assert_eq!(seen.events, expected, "{:?}", String::from_utf8_lossy(&input));
        assert_eq!((seen.error, seen.left.len()), (None, 0));
    }
}

/// Damaged input never panics, and is read the same however it is split.
#[test]
fn random_damage() {
    let (mut random, config) = (Random(2), config());
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut input: Vec<u8> = (0..1 + random.below(3)).flat_map(|_| random_request(&mut random).0).collect();
        random.mutate(&mut input);
        let (whole, cut) = (feed(&[&input], &config), feed(&random.pieces(&input), &config));
        let text = String::from_utf8_lossy(&input);
        assert_eq!(whole.events, cut.events, "{text:?}");
        assert_eq!(whole.error.is_some(), cut.error.is_some(), "{text:?}");
        if whole.error.is_none() {
            assert_eq!(whole.left, cut.left, "{text:?}");
        }
        refused += usize::from(whole.error.is_some());
    }
    assert!((5_000..18_000).contains(&refused), "both happens often: {refused}");
}

fn encode(response: Response, more: &str, head_only: bool, keep_alive: bool, old: bool) -> String {
    let (head, body) = response.encode(more, head_only, keep_alive, old);
    [&head[..], &body].concat().try_into().expect("UTF-8")
}

#[test]
fn answers() {
    let hello = || Response::new(200).body("text/plain", "hello").header("X-A", "b");
    let full = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-A: b\r\nContent-Length: 5\r\n";
    for (more, head_only, keep_alive, old, rest) in [
        ("", false, true, false, "\r\nhello"),
        ("", true, true, false, "\r\n"),
        ("", false, false, false, "Connection: close\r\n\r\nhello"),
        ("", false, true, true, "Connection: keep-alive\r\n\r\nhello"),
        ("", true, false, true, "Connection: close\r\n\r\n"),
        ("Vary: Origin\r\n", false, true, true, "Vary: Origin\r\nConnection: keep-alive\r\n\r\nhello"),
    ] {
        assert_eq!(encode(hello(), more, head_only, keep_alive, old), format!("{full}{rest}"));
    }
}

#[test]
fn lengths_of_answers() {
    for (status, line, length) in [
        (100, "100 ", false),
        (200, "200 OK", true),
        (204, "204 No Content", false),
        (304, "304 Not Modified", false),
        (400, "400 Bad Request", true),
        (403, "403 Forbidden", true),
        (404, "404 Not Found", true),
        (405, "405 Method Not Allowed", true),
        (408, "408 Request Timeout", true),
        (411, "411 Length Required", true),
        (413, "413 Content Too Large", true),
        (431, "431 Request Header Fields Too Large", true),
        (501, "501 Not Implemented", true),
        (503, "503 Service Unavailable", true),
        (505, "505 HTTP Version Not Supported", true),
        // The reason phrase may be empty, but not the space before it (RFC 9112 section 4).
        (299, "299 ", true),
    ] {
        let length = if length { "Content-Length: 0\r\n" } else { "" };
        let expected = format!("HTTP/1.1 {line}\r\n{length}\r\n");
        assert_eq!(encode(Response::new(status), "", false, true, false), expected);
        assert_eq!(encode(Response::new(status), "", true, true, false), expected);
    }
    let refused = encode(Response::new(426), "", false, false, false);
    assert_eq!(refused, "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: Upgrade, close\r\n\r\n");
}

/// What a value looks like does not decide what becomes of the connection.
#[test]
fn a_value_does_not_close_or_keep_a_connection() {
    for value in ["Connection: y", "x, Connection: close", "Connection: keep-alive"] {
        let response = || Response::new(204).header("A", value);
        let start = format!("HTTP/1.1 204 No Content\r\nA: {value}\r\n");
        for (keep_alive, old, line) in
            [(false, false, "Connection: close\r\n"), (true, false, ""), (true, true, "Connection: keep-alive\r\n")]
        {
            assert_eq!(encode(response(), "", false, keep_alive, old), format!("{start}{line}\r\n"));
        }
    }
}

#[test]
fn a_value_cannot_add_lines_to_an_answer() {
    for value in ["a\r\nX: b", "a\nb", "\r", "a\0", "\u{7f}", "a\tb"] {
        let answer = encode(Response::new(204).header("A", value).header("B", "ä"), "", false, true, false);
        assert_eq!(answer, "HTTP/1.1 204 No Content\r\nB: ä\r\n\r\n", "{value:?}");
    }
    assert!(!Response::new(400).close);
    assert!(Response::new(400).close().close);
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let [one, other, _] = parameters(query, [name, "other", "third"]);
    assert_eq!(other, None);
    one
}

#[test]
fn parameters_of_a_query() {
    for (query, value) in [
        ("a=b", Some("b")),
        ("x=y&a=b&z", Some("b")),
        ("a", Some("")),
        ("a=", Some("")),
        ("a=b=c", Some("b=c")),
        ("a=%41%e2%82%ac+%2B%26%3d", Some("A€ +&=")),
        ("%61=b", Some("b")),
        // Invalid escapes stay as they are.
        ("a=%", Some("%")),
        ("a=%4", Some("%4")),
        ("a=%zz%+1", Some("%zz% 1")),
        ("a=%%41", Some("%A")),
        // Bytes that are not UTF-8.
        ("a=%ff", Some("\u{fffd}")),
        ("a=x%e2%82y", Some("x\u{fffd}y")),
        ("a=%00", Some("\0")),
        ("a=b;a=c", Some("b;a=c")),
        ("&&a=b&&", Some("b")),
        ("", None),
        ("A=b", None),
        ("aa=b&ba=c&=a", None),
        ("b=a", None),
        // The last value counts.
        ("a=1&a=2", Some("2")),
        ("a=1&a", Some("")),
        ("a=1&x&%61=2", Some("2")),
    ] {
        // Both readers: a query with an escape is decoded, one without is only split.
        for query in [query, &format!("{query}&escaped=%20")] {
            assert_eq!(parameter(query, "a").as_deref(), value, "{query}");
        }
    }
}

#[test]
fn origins() {
    for (origin, host) in [
        ("http://a.example", "a.example"),
        ("https://a.example", "a.example"),
        ("https://A.Example", "a.eXample"),
        ("http://a:3000", "a:3000"),
        ("https://a:3000", "a:3000"),
        // A default port may be written or left out.
        ("http://a", "a:80"),
        ("http://a:80", "a"),
        ("https://a", "a:443"),
        ("https://a:443", "a"),
        ("http://[::1]", "[::1]"),
        ("http://[::1]:3000", "[::1]:3000"),
        ("https://[2001:DB8::1]:443", "[2001:db8::1]"),
        ("http://127.0.0.1:80", "127.0.0.1"),
        // Browsers send a final dot in both fields.
        ("http://a.example.:81", "a.example.:81"),
    ] {
        assert!(is_same_origin(origin, host, None), "{origin} {host}");
    }
    for (origin, host) in [
        ("http://a", "b"),
        ("http://a.example", "example"),
        ("http://example", "a.example"),
        ("http://a.example", "a.example.evil"),
        ("http://a:3000", "a"),
        ("http://a", "a:3000"),
        ("http://a:3000", "a:3001"),
        ("http://a:80", "a:443"),
        ("https://a", "a:80"),
        ("http://a", "a:443"),
        ("http://a:", "a"),
        ("http://a:080", "a"),
        ("http://a.", "a"),
        ("http://a", "a."),
        ("http://[::1]", "[::2]"),
        ("http://[::1]:1", "[::1]:2"),
        ("http://::1", "[::1]"),
        ("null", "null"),
        ("null", ""),
        ("", ""),
        ("http://", ""),
        ("http://:80", ":80"),
        ("a", "a"),
        ("ws://a", "a"),
        ("ftp://a", "a"),
        ("file://a", "a"),
        ("HTTP://a", "a"),
        ("http:a", "a"),
        ("http://user@a", "a"),
        ("http://a@b", "a"),
        ("http://a/", "a"),
        ("http://a/x", "a"),
        ("http://a#b", "a"),
        ("http://a http://b", "a"),
        ("http://a, http://b", "b"),
    ] {
        assert!(!is_same_origin(origin, host, None), "{origin} {host}");
    }
}

/// With TLS of its own, or behind a trusted proxy, the server knows the scheme.
#[test]
fn origins_have_the_scheme_that_the_browser_used() {
    for (origin, https, same) in [
        ("https://a", Some(true), true),
        ("http://a", Some(true), false),
        ("https://a", Some(false), false),
        ("http://a", Some(false), true),
        ("https://a", None, true),
    ] {
        assert_eq!(is_same_origin(origin, "a", https), same, "{origin} {https:?}");
    }
}

fn trusting(proxies: &str) -> Config {
    let args = ["--trust-proxy", proxies].map(OsString::from);
    Config::default().load(args, |_| None).expect("a valid value").config
}

fn head_with(lines: impl AsRef<[u8]>) -> Vec<u8> {
    [b"GET /socket.io/?EIO=4 HTTP/1.1\r\nHost: a\r\n", lines.as_ref(), b"\r\n"].concat()
}

/// The forms of an entry. An address of IPv4 has one form, whoever names it.
#[test]
fn addresses_of_clients() {
    for (list, address) in [
        ("192.0.2.1", Some("192.0.2.1")),
        ("192.0.2.1:54321", Some("192.0.2.1")),
        ("::ffff:192.0.2.1", Some("192.0.2.1")),
        ("[::FFFF:c000:201]:80", Some("192.0.2.1")),
        ("10.0.0.1, 192.0.2.1", Some("192.0.2.1")),
        ("evil,2001:db8::1", Some("2001:db8::1")),
        ("[2001:db8::1]", Some("2001:db8::1")),
        (" [2001:db8::1]:443 ", Some("2001:db8::1")),
        ("192.0.2.1, unknown", None),
        ("192.0.2.1, _hidden", None),
        ("192.0.2.1,", Some("192.0.2.1")),
        ("192.0.2.1, \t , ,", Some("192.0.2.1")),
        ("", None),
        (",", None),
        ("192.0.2.1:99999", None),
        ("192.0.2.1 10.0.0.1", None),
        ("\u{ff}", None),
        ("[2001:db8::1", Some("2001:db8::1")),
    ] {
        let peer: IpAddr = [198, 51, 100, 1].into();
        let address = address.map_or(peer, |address| address.parse().unwrap());
        with_head(head_with(format!("X-Forwarded-For: {list}\r\n")), |head| {
            assert_eq!(client_address(&trusting("yes"), head, peer), address, "{list}");
            assert_eq!(client_address(&trusting("198.0.0.0/8"), head, peer), address, "{list}");
            assert_eq!(client_address(&trusting("no"), head, peer), peer, "{list}");
        });
    }
}

/// Peer, X-Forwarded-For (each `|` begins a further line), `--trust-proxy`, and the client.
const CHAINS: [(&str, &str, &str, &str); 32] = [
    ("10.0.0.1", "203.0.113.7", "no", "10.0.0.1"),
    ("10.0.0.1", "203.0.113.7", "0", "10.0.0.1"),
    // One proxy: the last entry of the last line counts.
    ("10.0.0.1", "10.9.8.1|203.0.113.7", "yes", "203.0.113.7"),
    ("10.0.0.1", "10.9.8.1, 10.9.8.2|10.9.8.3, 203.0.113.7", "1", "203.0.113.7"),
    ("10.0.0.1", "10.9.8.1|", "yes", "10.9.8.1"),
    ("10.0.0.1", "203.0.113.7|unknown", "yes", "10.0.0.1"),
    ("10.0.0.1", "", "yes", "10.0.0.1"),
    // A number of proxies: that entry from the right.
    ("10.0.0.1", "10.9.8.1|203.0.113.7, 10.0.0.2", "2", "203.0.113.7"),
    ("10.0.0.1", "10.9.8.1, 203.0.113.7|10.0.0.2", "2", "203.0.113.7"),
    ("10.0.0.1", "10.9.8.1|203.0.113.7|10.0.0.3|10.0.0.2", "3", "203.0.113.7"),
    ("10.0.0.1", "203.0.113.7", "2", "203.0.113.7"),
    ("10.0.0.1", "203.0.113.7, 10.0.0.2", "255", "203.0.113.7"),
    ("10.0.0.1", "unknown, 10.0.0.2", "2", "10.0.0.1"),
    ("10.0.0.1", "", "2", "10.0.0.1"),
    // A list of proxies: the first address from the right that is not listed.
    ("10.0.0.1", "203.0.113.7", "10.0.0.0/8", "203.0.113.7"),
    ("10.0.0.1", "10.9.8.1|203.0.113.7", "10.0.0.0/8", "203.0.113.7"),
    ("10.0.0.1", "198.51.100.9, 203.0.113.7|10.0.0.3, 10.0.0.2", "10.0.0.0/8", "203.0.113.7"),
    ("10.0.0.1", "198.51.100.9, 203.0.113.7:80, [::ffff:10.0.0.2]:99", "10.0.0.0/8", "203.0.113.7"),
    ("10.0.0.1", "203.0.113.7, 10.0.0.2", "10.0.0.1", "10.0.0.2"),
    ("10.0.0.1", "203.0.113.7, 10.0.0.2", "10.0.0.1,10.0.0.2", "203.0.113.7"),
    ("10.0.0.1", "203.0.113.7, 10.0.0.2", "10.0.0.0/30", "203.0.113.7"),
    ("10.0.0.1", "203.0.113.7, 10.0.0.2", "10.0.0.0/31", "10.0.0.2"),
    ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.0/8", "10.0.0.3"),
    ("10.0.0.1", "198.51.100.9, unknown, 10.0.0.2", "10.0.0.0/8", "10.0.0.1"),
    ("10.0.0.1", "", "10.0.0.0/8", "10.0.0.1"),
    ("2001:db8::1", "198.51.100.9, 2001:db8:9::7, 10.0.0.2", "2001:db8::/48,10.0.0.0/8", "2001:db8:9::7"),
    ("2001:db8::1", "2001:db8:9::7", "0.0.0.0/0", "2001:db8::1"),
    ("10.0.0.1", "203.0.113.7", "2000::/3", "10.0.0.1"),
    ("10.0.0.1", "203.0.113.7, , 10.0.0.3|,10.0.0.2,", "10.0.0.0/8", "203.0.113.7"),
    ("10.0.0.1", "203.0.113.7, , 10.0.0.3|,10.0.0.2,", "3", "203.0.113.7"),
    // Nothing that any other peer says is believed.
    ("203.0.113.9", "198.51.100.9", "10.0.0.0/8", "203.0.113.9"),
    ("203.0.113.9", "198.51.100.9, 10.0.0.2", "10.0.0.0/8,127.0.0.1", "203.0.113.9"),
];

#[test]
fn clients_behind_chains_of_proxies() {
    for (peer, lists, proxies, client) in CHAINS {
        let lines: String = lists.split('|').map(|list| format!("X-Forwarded-For: {list}\r\n")).collect();
        let address =
            with_head(head_with(&lines), |head| client_address(&trusting(proxies), head, peer.parse().unwrap()));
        assert_eq!(address.to_string(), client, "{lists:?} from {peer}, --trust-proxy {proxies}");
    }
}

/// `--trust-proxy`, header lines, and the origin that the browser has addressed: that of the outermost trusted proxy. The
/// peer is 10.0.0.1, and its own lines are `http` and `a`.
const ADDRESSED: [(&str, &str, &str); 24] = [
    ("no", "X-Forwarded-Host: b\r\nX-Forwarded-Proto: https\r\n", "any://a"),
    ("yes", "X-Forwarded-Host: b\r\nX-Forwarded-Proto: https\r\n", "https://b"),
    ("yes", "X-Forwarded-Host: b\r\nX-Forwarded-Host: c\r\n", "any://c"),
    ("yes", "X-Forwarded-Host: b, c\r\nX-Forwarded-Host: d, e\r\n", "any://e"),
    ("yes", "X-Forwarded-Proto: http\r\nX-Forwarded-Proto: HTTPS\r\n", "https://a"),
    ("yes", "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n", "http://a"),
    ("yes", "X-Forwarded-Proto: wss\r\n", "https://a"),
    ("yes", "X-Forwarded-Proto: ws\r\n", "http://a"),
    ("yes", "X-Forwarded-Host:\r\nX-Forwarded-Proto: ,\r\n", "any://a"),
    ("2", "X-Forwarded-Host: b, c\r\nX-Forwarded-Host: d\r\n", "any://c"),
    ("2", "X-Forwarded-Proto: http, https\r\nX-Forwarded-Proto: http\r\n", "https://a"),
    // A proxy may replace the entries of others by its own.
    ("2", "X-Forwarded-For: 203.0.113.7, 10.0.0.2\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\n", "https://b"),
    ("10.0.0.0/8", "X-Forwarded-Host: b, c\r\nX-Forwarded-Proto: http, https\r\n", "https://c"),
    ("10.0.0.0/8", "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Host: b\r\nX-Forwarded-Host: c\r\n", "any://c"),
    ("10.0.0.0/8", "X-Forwarded-For: 203.0.113.7, 10.0.0.2\r\nX-Forwarded-Host: b, c, d\r\n", "any://c"),
    ("10.0.0.0/8", "X-Forwarded-For: 203.0.113.7, 10.0.0.2\r\nX-Forwarded-Proto: http, https, http\r\n", "https://a"),
    ("10.0.0.0/8", "X-Forwarded-For: 203.0.113.7, 10.0.0.2\r\nX-Forwarded-Proto: https\r\n", "https://a"),
    ("10.0.0.0/8", "X-Original-Host: b\r\nX-AppService-Proto: https\r\n", "https://b"),
    ("10.0.0.0/8", "X-ARR-SSL: 2048|256|C=US, O=A|CN=*\r\n", "https://a"),
    ("192.0.2.0/24", "X-Forwarded-Host: b\r\nX-Forwarded-Proto: https\r\n", "any://a"),
    ("192.0.2.0/24", "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: b\r\n", "any://a"),
    ("192.0.2.0/24", "X-Original-Host: b\r\nX-AppService-Proto: https\r\nX-ARR-SSL: x\r\n", "any://a"),
    ("no", "X-Original-Host: b\r\nX-AppService-Proto: https\r\nX-ARR-SSL: x\r\n", "any://a"),
    ("yes", "X-Original-Host: b\r\nX-Original-Host: c\r\n", "any://c"),
];

#[test]
fn hosts_and_schemes_behind_chains_of_proxies() {
    for (proxies, lines, addressed) in ADDRESSED {
        let (known, host) = addressed.split_once("://").unwrap();
        for (scheme, page) in ["http", "https"].into_iter().flat_map(|s| "abcde".chars().map(move |page| (s, page))) {
            let own = page.to_string() == host && (known == "any" || known == scheme);
            let lines = format!("Origin: {scheme}://{page}\r\n{lines}");
            let checked =
                with_head(head_with(&lines), |head| check_origin(&trusting(proxies), head, [10, 0, 0, 1].into(), true));
            assert_eq!(checked.is_ok(), own, "--trust-proxy {proxies}: {lines}");
        }
    }
}

/// Without Origin, the page that Referer names must be allowed if the request comes from another site, or is JSONP.
#[test]
fn images_and_scripts_of_foreign_pages() {
    let load = |origins: &str| {
        let args = ["--origins", origins].map(OsString::from);
        Config::default().load(args, |_| None).expect("a valid value").config
    };
    let [same, listed, any] = ["same", "https://b.example", "*"].map(load);
    // A line, and whether `same` and `listed` allow the page.
    let pages = [
        ("", false, false),
        ("Referer: http://a/x\r\n", true, true),
        ("Referer: https://b.example/x?y\r\n", false, true),
        ("Referer: https://c.example/\r\n", false, false),
        ("Referer: null-\r\n", false, false),
    ];
    // A line, and whether the page must be allowed: for JSONP, and for other requests.
    let sites = [
        ("Sec-Fetch-Site: cross-site\r\n", true, true),
        ("sec-fetch-site: same-site\r\n", true, true),
        ("Sec-Fetch-Site: same-origin\r\n", false, false),
        ("Sec-Fetch-Site: none\r\n", true, false),
        ("Sec-Fetch-Site: cross-sites\r\n", true, false),
        ("", true, false),
    ];
    let queries =
        [("", false), ("EIO=4&transport=polling", false), ("sid=x&jj=1", false), ("a=b&j=1", true), ("j", true)];
    for (site, with_jsonp, without) in sites {
        for (query, jsonp) in queries {
            for (referer, by_same, by_list) in pages {
                let free = !if jsonp { with_jsonp } else { without };
                for method in ["GET", "POST", "HEAD"] {
                    let lines = format!("Host: a\r\n{site}{referer}");
                    let target = format!("/chat/socket.io/?{query}");
                    with_head(format!("{method} {target} HTTP/1.1\r\n{lines}\r\n"), |head| {
                        let allows = |config, engine| check_origin(config, head, [192, 0, 2, 1].into(), engine).is_ok();
                        assert_eq!(allows(&same, true), free || by_same, "{method} {target} {lines}");
                        assert_eq!(allows(&listed, true), free || by_list, "{method} {target} {lines}");
                        assert!(allows(&any, true), "{method} {target} {lines}");
                        assert!(allows(&same, false), "files are for everybody: {lines}");
                    });
                }
            }
        }
    }
}

#[test]
fn authorities() {
    for (text, host, port) in [
        ("a", "a", None),
        ("a:80", "a", Some("80")),
        ("a:", "a", Some("")),
        (":80", "", Some("80")),
        ("", "", None),
        ("[::1]", "[::1]", None),
        ("[::1]:80", "[::1]", Some("80")),
        ("user@a:80", "user@a", Some("80")),
    ] {
        assert_eq!(split_port(text), (host, port), "{text}");
    }
    assert_eq!(split_url("http://a:81/b?c"), Some(("http", "a:81", "/b?c")));
    assert_eq!(split_url("http:/a"), None);
}

/// Forwarded headers count only with `trust_proxy`, and need not be UTF-8.
#[test]
fn access_by_forwarded_headers() {
    let peer = "192.0.2.9".parse().unwrap();
    let head = |lines: &[u8]| [b"GET /socket.io/?j=0 HTTP/1.1\r\nHost: a\r\n", lines, b"\r\n"].concat();
    for (lines, client) in [
        (&b"X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\n"[..], "192.0.2.2"),
        (b"X-Forwarded-For: 192.0.2.1, \xff\r\n", "192.0.2.9"),
        (b"", "192.0.2.9"),
    ] {
        with_head(head(lines), |head| {
            assert_eq!(client_address(&trusting("yes"), head, peer).to_string(), client);
            assert_eq!(client_address(&Config::default(), head, peer), peer);
        });
    }
    for (lines, allowed, allowed_by_proxy) in [
        (&b"Origin: http://a\r\n"[..], true, true),
        (b"Origin: http://a\xff\r\n", false, false),
        (b"Origin: http://a\xff\r\nX-Forwarded-Host: a\xff\r\n", false, false),
        (b"Origin: http://b\r\nX-Forwarded-Host: a, b\r\n", false, true),
        (b"Origin: http://a\r\nX-Forwarded-Host: a, b\r\n", true, false),
        (b"Origin: http://a\r\nX-Forwarded-Host: \xff\r\n", true, false),
        (b"Origin: http://a\r\nX-Forwarded-Proto: http, https\r\n", true, false),
        (b"Origin: http://a/\r\n", true, true),
        (b"Origin: http://a/b?c\r\n", true, true),
        (b"Origin: ws://a\r\n", true, true),
        (b"Origin: wss://a/b\r\n", true, true),
        (b"Origin: ws://b\r\n", false, false),
        (b"Origin: ws://x@a\r\n", false, false),
        (b"Origin: http://a\r\nOrigin: http://a\r\n", false, false),
        (b"Origin: \r\n", false, false),
        (b"Origin: null\r\n", false, false),
        (b"Origin: file://\r\n", false, false),
        (b"Referer: http://a/\xff\r\n", true, true),
        (b"Referer: http://\xff/\r\n", false, false),
        (b"", false, false),
        (b"Sec-Fetch-Site: same-origin\r\n", true, true),
    ] {
        let shown = String::from_utf8_lossy(lines);
        with_head(head(lines), |head| {
            assert_eq!(check_origin(&Config::default(), head, peer, true).is_ok(), allowed, "{shown}");
            assert_eq!(check_origin(&trusting("yes"), head, peer, true).is_ok(), allowed_by_proxy, "{shown}");
        });
    }
}

/// What common proxies and content delivery networks add to a request.
const TRACES: &str = "Akamai-Origin-Hop CDN-Loop CF-Connecting-IP CF-Connecting-IPv6 CF-IPCountry CF-RAY CF-Visitor \
    Client-IP CloudFront-Viewer-Address DISGUISED-HOST DO-Connecting-IP Fastly-Client-IP Fastly-FF Fastly-SSL Fly-Client-IP \
    Forwarded Forwarded-For Front-End-Https Incap-Client-IP Max-Forwards Proxy-Authorization Proxy-Client-IP \
    Proxy-Connection Surrogate-Capability True-Client-IP Via WAS-DEFAULT-HOSTNAME WL-Proxy-Client-IP X-Akamai-Edgescape \
    X-Amz-Cf-Id X-Amzn-Trace-Id X-Appengine-User-IP X-AppService-Proto X-ARR-LOG-ID X-ARR-SSL X-Azure-ClientIP \
    X-Azure-FDID X-Azure-Ref X-Azure-SocketIP X-BlueCoat-Via X-Client-IP X-Client-Port X-Cloud-Trace-Context \
    X-Cluster-Client-IP X-Envoy-External-Address X-Envoy-Original-Path X-Forwarded X-Forwarded-By X-Forwarded-For \
    X-Forwarded-Host X-Forwarded-Port X-Forwarded-Prefix X-Forwarded-Proto X-Forwarded-Scheme X-Forwarded-Server \
    X-Forwarded-Ssl X-Forwarded-TlsVersion X-Host X-Nf-Client-Connection-Ip X-Nginx-Proxy X-Original-Forwarded-For \
    X-Original-Host X-Original-URL X-Originating-IP X-ProxyUser-Ip X-Real-IP X-Real-Port X-Remote-Addr X-Remote-IP \
    X-Request-ID X-Rewrite-URL X-Scheme X-SITE-DEPLOYMENT-ID X-Sucuri-ClientIP X-True-Client-IP X-Url-Scheme X-Varnish \
    X-Vercel-Forwarded-For X-WAWS-Unencoded-URL";

/// Requests that clients of the same machine send themselves.
const DIRECT: [&str; 5] = [
    // Prometheus
    "Host: localhost:3000\r\nUser-Agent: Prometheus/2.53.0\r\nAccept: text/plain;version=0.0.4;q=0.5,*/*;q=0.2\r\n\
     Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n",
    // curl
    "Host: 127.0.0.1\r\nUser-Agent: curl/8.9.1\r\nAccept: */*\r\n",
    // Node's fetch
    "host: [::1]:3000\r\nconnection: keep-alive\r\naccept: */*\r\naccept-language: *\r\nsec-fetch-mode: cors\r\n\
     user-agent: node\r\naccept-encoding: gzip, deflate\r\n",
    // Chromium
    "Host: LOCALHOST\r\nConnection: keep-alive\r\nCache-Control: max-age=0\r\nsec-ch-ua: \"Chromium\";v=\"150\"\r\n\
     sec-ch-ua-mobile: ?0\r\nsec-ch-ua-platform: \"Linux\"\r\nDNT: 1\r\nUpgrade-Insecure-Requests: 1\r\n\
     User-Agent: Mozilla/5.0\r\nAccept: text/html\r\nSec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\n\
     Sec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\nAccept-Encoding: gzip\r\nAccept-Language: en\r\nCookie: a=b\r\n",
    // wget
    "User-Agent: Wget/1.21.3\r\nAccept: */*\r\nAccept-Encoding: identity\r\nHost: 192.0.2.1:3000\r\nConnection: Keep-Alive\r\n",
];

/// Without a token the metrics are for requests that come directly from this machine, and name it by its address.
#[test]
fn metrics_without_a_token() {
    let config = Config::default();
    let may = |lines: &str, peer: &str| {
        with_head(format!("GET /metrics HTTP/1.1\r\n{lines}\r\n"), |head| {
            may_read_metrics(&config, head, peer.parse().unwrap())
        })
    };
    for lines in DIRECT {
        assert!(may(lines, "127.0.0.1") && may(lines, "127.8.9.1") && may(lines, "::1"), "{lines}");
        for peer in ["192.0.2.1", "10.0.0.1", "::", "fe80::1", "128.0.0.1"] {
            assert!(!may(lines, peer), "{lines} from {peer}");
        }
        for trace in TRACES.split_whitespace() {
            assert!(!may(&format!("{lines}{trace}: 127.0.0.1\r\n"), "127.0.0.1"), "{trace}");
            assert!(!may(&format!("{}:\r\n{lines}", trace.to_lowercase()), "127.0.0.1"), "{trace}");
        }
    }
    for host in ["localhost", "LocalHost:1", "127.0.0.1", "10.1.2.3:80", "[::1]", "[2001:db8::1]:80", "127.0.0.1:"] {
        assert!(may(&format!("Host: {host}\r\n"), "127.0.0.1"), "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:3000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.localhost",
        "localhos",
        "",
        ":3000",
        "0x7f.1",
        "2130706433",
        "127.1",
        "[::1].evil.example",
        "localhost@evil.example",
        "127.0.0.1,evil.example",
    ] {
        let lines = format!("Host: {host}\r\n");
        let head = format!("GET /metrics HTTP/1.1\r\n{lines}\r\n");
        if Parser::default().next(head.as_bytes(), &mut { FIELD_BUFFER }, &config).is_ok() {
            assert!(!may(&lines, "127.0.0.1"), "{host}");
        }
    }
    // A target in absolute form names the host in place of the field.
    with_head("GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", |head| {
        assert!(!may_read_metrics(&config, head, [127, 0, 0, 1].into()));
    });
    // nginx without further configuration.
    with_head("GET /metrics HTTP/1.0\r\nHost: 127.0.0.1:3000\r\nConnection: close\r\n\r\n", |head| {
        assert!(!may_read_metrics(&config, head, [127, 0, 0, 1].into()));
    });
}

/// With a token nothing else counts.
#[test]
fn metrics_with_a_token() {
    let config = Config { metrics_token: Some("open-sesame".to_owned()), ..Config::default() };
    let may = |authorization: &str| {
        let lines = format!("Host: chat.example\r\nX-Forwarded-For: 192.0.2.1\r\n{authorization}");
        with_head(format!("GET /metrics HTTP/1.0\r\n{lines}\r\n"), |head| {
            may_read_metrics(&config, head, [192, 0, 2, 1].into())
        })
    };
    for right in ["Bearer open-sesame", "bearer open-sesame", "BEARER   open-sesame ", "bEaReR open-sesame\t"] {
        assert!(may(&format!("Authorization: {right}\r\n")), "{right}");
        assert!(may(&format!("authorization: {right}\r\n")), "{right}");
    }
    for wrong in [
        "",
        "Bearer",
        "Bearer ",
        "Beareropen-sesame",
        "Bearer\topen-sesame",
        "Bearer open-sesam",
        "Bearer open-sesame!",
        "Bearer open-sesamf",
        "Bearer Open-sesame",
        "Bearer open-sesame, open-sesame",
        "Bearer open-sesame open-sesame",
        "Basic open-sesame",
        "open-sesame",
        "Bearer: open-sesame",
    ] {
        assert!(!may(&format!("Authorization: {wrong}\r\n")), "{wrong}");
    }
    assert!(!may(""));
}

#[test]
fn origins_of_urls() {
    for (url, origin) in [
        ("http://a.example/chat?x#y", "http://a.example"),
        ("https://a:81?x", "https://a:81"),
        ("https://a#x", "https://a"),
        ("http://[::1]:3000/", "http://[::1]:3000"),
        ("http://a", "http://a"),
        ("null", "null"),
        ("", ""),
    ] {
        assert_eq!(origin_of(url), origin, "{url}");
    }
}

#[test]
fn codings_of_answers() {
    for (lines, gzip) in [
        ("", false),
        ("Accept-Encoding:\r\n", false),
        ("Accept-Encoding: gzip\r\n", true),
        ("accept-encoding: GZip\r\n", true),
        ("Accept-Encoding: gzip, deflate, br, zstd\r\n", true),
        ("Accept-Encoding: br,gzip\r\n", true),
        ("Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n", true),
        ("Accept-Encoding: gzip;q=1.0, identity;q=0.5\r\n", true),
        ("Accept-Encoding: gzip;q=0.001\r\n", true),
        ("Accept-Encoding: gzip ; q=0.5\r\n", true),
        ("Accept-Encoding: gzip;q=0\r\n", false),
        ("Accept-Encoding: gzip; q=0.000\r\n", false),
        ("Accept-Encoding: br;q=1, gzip;q=0., *;q=0.1\r\n", false),
        ("Accept-Encoding: identity\r\n", false),
        ("Accept-Encoding: gzipped\r\n", false),
        ("Accept-Encoding: br, deflate\r\n", false),
        ("Accept: gzip\r\n", false),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        assert_eq!(with_head(&request, |head| head.accepts_gzip()), gzip, "{lines:?}");
    }
}

/// The header lines of the response, by `--origins` and the page; `None` for a page that is refused.
#[test]
fn origins_that_are_listed() {
    let vary = "Vary: Origin\r\n";
    let with = |origin: &str| format!("Access-Control-Allow-Origin: {origin}\r\n{vary}");
    let credentials = "Access-Control-Allow-Credentials: true\r\n";
    let rows = [
        ("https://b.example", "https://b.example", Some(with("https://b.example") + credentials)),
        ("https://b.example", "wss://b.example/socket.io/", Some(with("https://b.example") + credentials)),
        ("https://b.example", "ws://b.example", None),
        ("https://b.example", "http://a", Some(vary.into())),
        ("https://b.example", "null", None),
        ("https://b.example", "file://", None),
        ("null,https://b.example", "null", Some(with("null"))),
        ("null", "file://", None),
        ("file://", "file://", Some(with("file://"))),
        ("file://", "file:///x.html", Some(with("file://"))),
        ("file://", "null", None),
        ("*", "https://b.example", Some("Access-Control-Allow-Origin: *\r\n".into())),
        ("*", "null", None),
        ("same", "http://a", Some(String::new())),
    ];
    for (origins, page, lines) in rows {
        let args = ["--origins", origins].map(OsString::from);
        let config = Config::default().load(args, |_| None).expect("a valid value").config;
        for target in ["/socket.io/?sid=a", "/socket.io/?transport=polling", "/"] {
            with_head(format!("GET {target} HTTP/1.1\r\nHost: a\r\nOrigin: {page}\r\n\r\n"), |head| {
                let checked = check_origin(&config, head, [192, 0, 2, 1].into(), target != "/");
                assert_eq!(checked.ok().as_deref(), lines.as_deref(), "--origins {origins}: {page}");
            });
        }
    }
}
