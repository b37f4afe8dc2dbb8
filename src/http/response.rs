//! HTTP responses, as they go out (RFC 9112).

use bytes::Bytes;
use std::fmt::Write;

/// Room for the header lines of an ordinary answer, so that they are written without growing.
const ORDINARY: usize = 256;

/// An answer, before it is known on which connection it goes out.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// Header lines, each with its CRLF.
    lines: String,
    body: Bytes,
    /// The connection is closed afterwards.
    pub close: bool,
}

impl Response {
    /// An answer without a body.
    pub fn new(status: u16) -> Response {
        Response { status, lines: String::with_capacity(ORDINARY), body: Bytes::new(), close: false }
    }

    /// Adds a header field. A value with control characters would be read as lines of its own; it is left out.
    pub fn header(mut self, name: &str, value: &str) -> Response {
        if !value.bytes().any(|byte| byte.is_ascii_control()) {
            self.lines.extend([name, ": ", value, "\r\n"]);
        }
        self
    }

    /// Sets the body, and says what it is.
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Response {
        self.body = body.into();
        self.header("Content-Type", content_type)
    }

    /// The connection is closed after this answer.
    pub fn close(mut self) -> Response {
        self.close = true;
        self
    }

    /// Head and body as they go out. `more` is header lines of this connection, `head_only` the answer to
    /// HEAD, `old` to HTTP/1.0, which wants to be told that the connection is kept.
    pub fn encode(self, more: &str, head_only: bool, keep_alive: bool, old: bool) -> (Bytes, Bytes) {
        let connection = match (keep_alive, old) {
            _ if self.lines.contains("Connection: ") => "",
            (false, _) => "Connection: close\r\n",
            (true, true) => "Connection: keep-alive\r\n",
            (true, false) => "",
        };
        let mut head = String::with_capacity(ORDINARY + self.lines.len() + more.len());
        let infallible = "memory takes everything";
        write!(head, "HTTP/1.1 {} {}\r\n{}", self.status, reason(self.status), self.lines).expect(infallible);
        // RFC 9112 section 6.3 and RFC 9110 section 8.6: these have no body, and no length of one.
        if !matches!(self.status, 100..=199 | 204 | 304) {
            write!(head, "Content-Length: {}\r\n", self.body.len()).expect(infallible);
        }
        head.extend([more, connection, "\r\n"]);
        (head.into(), if head_only { Bytes::new() } else { self.body })
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        304 => "Not Modified",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
