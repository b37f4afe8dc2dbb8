//! HTTP responses (RFC 9112).

use crate::base::held;
use bytes::Bytes;
use std::fmt::Write;
use std::mem;

/// Bytes reserved for the head of a response and a short body. Few heads are longer and need a second allocation.
const TYPICAL_HEAD: usize = 512;
const INFALLIBLE: &str = "writing to a String cannot fail";

/// A response, without the header lines that depend on the request and the connection.
#[derive(Debug)]
pub struct Response {
    status: u16,
    /// The status line and the header lines so far, each with its CRLF.
    head: String,
    body: Bytes,
    /// Whether the connection is to be closed after this response.
    pub close: bool,
}

impl Response {
    /// Creates a response without a body.
    pub fn new(status: u16) -> Response {
        let mut head = String::with_capacity(TYPICAL_HEAD);
        write!(head, "HTTP/1.1 {status} {}\r\n", reason(status)).expect(INFALLIBLE);
        Response { status, head, body: Bytes::new(), close: false }
    }

    /// Creates a response with a short plain text that people can read.
    pub fn text(status: u16, text: &'static str) -> Response {
        Response::new(status).body("text/plain", text)
    }

    /// Creates a 308 redirect to `location` with `query`, the query of the request.
    pub fn redirect(location: &str, query: &str) -> Response {
        let mark = if query.is_empty() { "" } else { "?" };
        Response::new(308).header("Location", &format!("{location}{mark}{query}"))
    }

    /// Adds a header field. A value with control characters, which could inject further header lines, is left out.
    pub fn header(mut self, name: &str, value: &str) -> Response {
        if !value.bytes().any(|byte| byte.is_ascii_control()) {
            self.head.extend([name, ": ", value, "\r\n"]);
        }
        self
    }

    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Response {
        self.body = body.into();
        self.header("Content-Type", content_type)
    }

    /// Marks that the connection is to be closed after this response.
    pub fn close(mut self) -> Response {
        self.close = true;
        self
    }

    /// Returns head and body; a short body is in the buffer of the head. `more`: further header lines, each with its CRLF.
    /// `head_only`: the request is a HEAD. `keep_alive`: the connection stays open, which the head says to HTTP/1.0 (`old`).
    pub fn encode(mut self, more: &str, head_only: bool, keep_alive: bool, old: bool) -> (Bytes, Bytes) {
        let connection = match (keep_alive, old) {
            // Names the field Upgrade, as RFC 9110 section 7.8 requires.
            _ if self.status == 426 => "Connection: Upgrade, close\r\n",
            (false, _) => "Connection: close\r\n",
            (true, true) => "Connection: keep-alive\r\n",
            (true, false) => "",
        };
        // Rule R9: these statuses have neither body nor Content-Length (RFC 9112 section 6.3, RFC 9110 section 8.6).
        if !matches!(self.status, 100..=199 | 204 | 304) {
            write!(self.head, "Content-Length: {}\r\n", self.body.len()).expect(INFALLIBLE);
        }
        self.head.extend([more, connection, "\r\n"]);
        let (mut head, mut body) = (self.head.into_bytes(), if head_only { Bytes::new() } else { self.body });
        // A short body goes into the allocation of the head, which saves an entry of the outbox.
        if body.len() <= head.capacity() - head.len() {
            head.extend_from_slice(&mem::take(&mut body));
        }
        (held::share(head), body)
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
