//! HTTP/1.1 requests in, responses out (RFC 9112, RFC 9110): only what a chat server needs, parsed strictly.
//!
//! [`Parser`] keeps no bytes: the caller passes the unconsumed input and learns how much of it was consumed. It returns
//! the head before the body, so that a request can be refused before its body is read.
//!
//! This file has the defences against request smuggling (RFC 9112 section 11.2). httparse checks the grammar of heads. What
//! a proxy might read differently is refused too: a bare LF or CR (`read_line`), a missing or second Host
//! (`parse_head`), more than one length, and unknown transfer codings (`parse_framing`). After an error, or a response that
//! leaves a request body unread, `server` closes the connection.
//!
//! Deliberately left out: trailers (they are dropped), ranges, compression other than gzip, and `Date`. RFC 9110 section
//! 6.6.1 requires `Date` of servers with a clock, but no client of ours reads it, and it would cost 37 bytes in every poll.

pub mod assets;
pub mod origin;
mod response;

use crate::config::{Config, MAX_HEADERS};
pub use response::Response;
use std::borrow::Cow;
use std::mem::{self, MaybeUninit};
use std::net::Ipv6Addr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
    Options,
    /// PUT, PATCH, DELETE or TRACE: known, but no file and no session supports them.
    Known,
    /// Any other method, usually answered with 501.
    Other,
}

/// Status and text of the response to a request that cannot be served. The connection is closed after the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    pub status: u16,
    pub reason: &'static str,
}

const fn bad_request(reason: &'static str) -> Error {
    Error { status: 400, reason }
}

/// Memory for the header fields of one head. It is uninitialized: filling it would cost as much as parsing the head.
pub type FieldBuffer<'a> = [MaybeUninit<httparse::Header<'a>>; MAX_HEADERS];
pub const FIELD_BUFFER: FieldBuffer = [const { MaybeUninit::uninit() }; MAX_HEADERS];

/// A request head, borrowed from the input.
pub struct RequestHead<'a> {
    pub method: Method,
    /// The path of the target as sent, without the query; `*` for `OPTIONS *`. Visible ASCII only.
    pub path: &'a str,
    /// The part of the target after the first `?`, as sent. Visible ASCII only.
    pub query: &'a str,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor: u8,
    /// Whether the client permits another request on this connection.
    pub keep_alive: bool,
    /// The authority of the target if it has one, else the Host field; empty if an HTTP/1.0 client sends neither.
    pub host: &'a str,
    /// Length of the body in bytes, 0 if no body is announced. `None`: the body is chunked (RFC 9112 section 6.3).
    pub length: Option<u64>,
    /// All header fields, in the order in which they were sent.
    pub fields: &'a [httparse::Header<'a>],
}

impl<'a> RequestHead<'a> {
    /// Returns the values of all header fields called `name`, in the order in which they were sent.
    pub fn headers(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let fields = self.fields.iter();
        fields.filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// Returns the value of the first header field called `name`, or `None` if there is none.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers(name).next()
    }

    /// Returns the members of the list-valued field `name`. Several fields of that name are one list, and empty members do
    /// not count (RFC 9110 sections 5.3 and 5.6.1).
    pub fn members(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let members = self.headers(name).flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
        members.filter(|member| !member.is_empty())
    }

    /// Returns the members of the list-valued field `name` that are tokens (RFC 9110 section 5.6.2).
    pub fn tokens(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        let tokens = self.members(name).filter(move |member| member.iter().all(is_allowed));
        tokens.filter_map(|token| str::from_utf8(token).ok()).filter(|token| !token.is_empty())
    }

    /// Whether the list-valued field `name` has the member `token`; case does not matter.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.members(name).any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Whether the client waits for `100 Continue` before it sends the body.
    pub fn expects_continue(&self) -> bool {
        self.minor == 1 && self.has_token("Expect", "100-continue")
    }

    /// Whether the client accepts gzip (RFC 9110 section 12.5.3); a weight of zero means no.
    pub fn accepts_gzip(&self) -> bool {
        self.members("Accept-Encoding").any(|member| {
            let (coding, weight) = member.split_at(member.len().min(4));
            let weight = weight.trim_ascii_start();
            let zero = weight.contains(&b'0') && !weight.iter().any(|byte| matches!(byte, b'1'..=b'9'));
            coding.eq_ignore_ascii_case(b"gzip") && matches!(weight, [] | [b';', ..]) && !zero
        })
    }
}

/// The next part of a request.
pub enum Part<'a> {
    Head(RequestHead<'a>),
    /// Bytes of the body; empty if the part is a line of the chunked coding, such as a chunk size.
    Data(&'a [u8]),
    /// The request is complete; another request may follow.
    End,
}

#[derive(Clone, Copy, Debug, Default)]
enum ParserState {
    #[default]
    Head,
    /// `left` bytes are still to come: of a chunk if `chunk` is true, else of the whole body.
    Data {
        left: u64,
        chunk: bool,
    },
    /// The CRLF after the data of a chunk is next.
    ChunkEnd,
    ChunkSize,
    Trailers,
}

/// The parser of one connection.
#[derive(Debug, Default)]
pub struct Parser {
    state: ParserState,
    /// Total bytes of the lines found so far: of a head, or of the extensions and trailers of a body. At most `max_head`.
    lines: usize,
    /// Sum of the chunk sizes of the body so far, in bytes; at most `max_payload`.
    body: usize,
}

impl Parser {
    /// Parses the part at the start of `input`. Returns its length in bytes and the part itself, or `None` if more bytes are
    /// needed: then the caller must call again with the same bytes followed by those that have arrived since.
    pub fn next<'a>(
        &mut self, input: &'a [u8], buffer: &'a mut FieldBuffer<'a>, config: &Config,
    ) -> Result<Option<(usize, Part<'a>)>, Error> {
        match self.state {
            ParserState::Head => self.next_head(input, buffer, config),
            ParserState::Data { left: 0, .. } => {
                *self = Parser::default();
                Ok(Some((0, Part::End)))
            }
            ParserState::Data { left, chunk } => {
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let left = left - take as u64;
                self.state = if chunk && left == 0 { ParserState::ChunkEnd } else { ParserState::Data { left, chunk } };
                Ok((take > 0).then(|| (take, Part::Data(&input[..take]))))
            }
            ParserState::ChunkEnd | ParserState::ChunkSize | ParserState::Trailers => {
                self.next_chunk_line(input, config)
            }
        }
    }

    /// Parses a line of a chunked body (RFC 9112 section 7.1). `max_head` limits the total length of the extensions and
    /// trailers per body. Chunk sizes do not count towards it: `max_payload` limits the number of chunks, because each but
    /// the last has at least one byte.
    fn next_chunk_line<'a>(&mut self, input: &'a [u8], config: &Config) -> Result<Option<(usize, Part<'a>)>, Error> {
        let found = read_line(input)?;
        let line = found.unwrap_or(input.strip_suffix(b"\r").unwrap_or(input));
        let is_size = matches!(self.state, ParserState::ChunkSize);
        let digits = line.iter().take(16).take_while(|byte| is_size && byte.is_ascii_hexdigit()).count();
        let length = self.lines + line.len() - digits;
        if length > config.max_head {
            return Err(Error { status: 431, reason: "chunk extensions or trailers too large" });
        }
        let Some(found) = found else { return Ok(None) };
        self.lines = length;
        self.state = match self.state {
            ParserState::ChunkEnd if !found.is_empty() => {
                return Err(bad_request("chunk data is longer than its size"));
            }
            ParserState::ChunkEnd => ParserState::ChunkSize,
            ParserState::ChunkSize => {
                let size = parse_chunk_size(found).ok_or(bad_request("malformed chunk size"))?;
                let body = usize::try_from(size).ok().and_then(|size| self.body.checked_add(size));
                let body = body.filter(|body| *body <= config.max_payload);
                self.body = body.ok_or(Error { status: 413, reason: "body too large" })?;
                if size == 0 { ParserState::Trailers } else { ParserState::Data { left: size, chunk: true } }
            }
            _ if found.is_empty() => ParserState::Data { left: 0, chunk: false },
            _ => ParserState::Trailers,
        };
        Ok(Some((found.len() + 2, Part::Data(&[]))))
    }

    fn next_head<'a>(
        &mut self, input: &'a [u8], buffer: &'a mut FieldBuffer<'a>, config: &Config,
    ) -> Result<Option<(usize, Part<'a>)>, Error> {
        // Skips one empty line before the request line, as RFC 9112 section 2.2 recommends. A second one is refused.
        let start = if input.starts_with(b"\r\n") { 2 } else { 0 };
        self.lines = self.lines.max(start);
        let too_large = Error { status: 431, reason: "request head too large" };
        loop {
            let Some(found) = read_line(&input[self.lines..])? else {
                return if input.len() > config.max_head { Err(too_large) } else { Ok(None) };
            };
            self.lines += found.len() + 2;
            if found.is_empty() {
                break;
            }
        }
        let length = mem::take(&mut self.lines);
        if length > config.max_head {
            return Err(too_large);
        }
        let head = parse_head(&input[start..length], buffer, config)?;
        self.state = head.length.map_or(ParserState::ChunkSize, |left| ParserState::Data { left, chunk: false });
        Ok(Some((length, Part::Head(head))))
    }
}

/// Returns the line at the start of `input`, without its CRLF, or `None` if the line is incomplete. A bare CR or LF is an
/// `Err`, because a proxy might see the end of a line there (RFC 9112 section 2.2 permits this refusal).
fn read_line(input: &[u8]) -> Result<Option<&[u8]>, Error> {
    let end = memchr::memchr2(b'\r', b'\n', input).unwrap_or(input.len());
    match &input[end..] {
        [] | [b'\r'] => Ok(None),
        [b'\r', b'\n', ..] => Ok(Some(&input[..end])),
        _ => Err(bad_request("a line does not end in CRLF")),
    }
}

fn parse_head<'a>(bytes: &'a [u8], buffer: &'a mut FieldBuffer<'a>, config: &Config) -> Result<RequestHead<'a>, Error> {
    let mut request = httparse::Request::new(&mut []);
    let version = || bytes.split(|byte| *byte == b' ').nth(2).unwrap_or_default();
    match request.parse_with_uninit_headers(bytes, buffer) {
        Ok(httparse::Status::Complete(_)) if request.headers.len() <= config.max_headers => {}
        Ok(httparse::Status::Complete(_)) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Error { status: 431, reason: "too many header fields" });
        }
        Err(httparse::Error::Version) if version().starts_with(b"HTTP/") => {
            return Err(Error { status: 505, reason: "only HTTP/1.0 and HTTP/1.1 are supported" });
        }
        _ => return Err(bad_request("malformed request head")),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(bad_request("malformed request line"));
    };
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(bad_request("invalid character in the request target"));
    }
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "OPTIONS" => Method::Options,
        "PUT" | "PATCH" | "DELETE" | "TRACE" => Method::Known,
        // Refused here: the target of CONNECT has a form of its own, and the bytes after its head belong to a tunnel.
        "CONNECT" => return Err(Error { status: 501, reason: "CONNECT is not supported" }),
        _ => Method::Other,
    };
    let (authority, target) = split_target(target, method)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = if path.is_empty() { "/" } else { path };
    let mut head =
        RequestHead { method, path, query, minor, keep_alive: false, host: "", length: None, fields: request.headers };
    // RFC 9112 section 3.2: exactly one Host, even if the target has an authority. HTTP/1.0 clients may omit it.
    let host = head.header("Host");
    if head.headers("Host").nth(1).is_some() || host.is_none() && minor == 1 {
        return Err(bad_request("Host is missing or repeated"));
    }
    let host = check_host(host.unwrap_or_default())?;
    head.host = authority.map_or(Ok(host), |authority| check_host(authority.as_bytes()))?;
    head.length = parse_framing(&head)?;
    let keep_alive = minor == 1 || head.has_token("Connection", "keep-alive");
    head.keep_alive = keep_alive && !head.has_token("Connection", "close");
    Ok(head)
}

/// Splits a target into its authority (`None` unless it is in absolute form) and its path with query (RFC 9112 section 3.2).
fn split_target(target: &str, method: Method) -> Result<(Option<&str>, &str), Error> {
    if target.starts_with('/') || target == "*" && method == Method::Options {
        return Ok((None, target));
    }
    let is_known = |scheme: &str| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    match origin::split_url(target) {
        Some((scheme, authority, rest)) if is_known(scheme) && !authority.is_empty() => Ok((Some(authority), rest)),
        _ => Err(bad_request("malformed request target")),
    }
}

/// Checks that `host` is a host, which may be empty, perhaps with a port, but without user information (RFC 3986 section
/// 3.2), and returns it as text. The check is strict because redirects contain the host and origins are compared with it.
fn check_host(host: &[u8]) -> Result<&str, Error> {
    let is_name = |name: &str| {
        let mut bytes = name.bytes();
        while let Some(byte) = bytes.next() {
            let is_allowed = match byte {
                b'%' => bytes.by_ref().take(2).filter(u8::is_ascii_hexdigit).count() == 2,
                b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';'
                | b'=' => true,
                _ => byte.is_ascii_alphanumeric(),
            };
            if !is_allowed {
                return false;
            }
        }
        true
    };
    let is_authority = |text: &&str| {
        let (name, port) = origin::split_port(text);
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        port.unwrap_or_default().bytes().all(|byte| byte.is_ascii_digit())
            && address.map_or_else(|| is_name(name), |address| address.parse::<Ipv6Addr>().is_ok())
    };
    str::from_utf8(host).ok().filter(is_authority).ok_or(bad_request("Host is not a host, or a host and a port"))
}

/// Determines [`RequestHead::length`] by RFC 9112 section 6.3, as strictly as the RFC permits.
fn parse_framing(head: &RequestHead) -> Result<Option<u64>, Error> {
    let mut lengths = head.headers("Content-Length");
    let mut codings = head.headers("Transfer-Encoding");
    match (lengths.next(), lengths.next(), codings.next(), codings.next()) {
        (None, _, None, _) => Ok(Some(0)),
        (Some(digits), None, None, _) if digits.iter().all(u8::is_ascii_digit) => {
            let length = str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
            length.map(Some).ok_or(bad_request("Content-Length is empty or too large"))
        }
        (None, _, Some(coding), None) if head.minor == 1 && coding.eq_ignore_ascii_case(b"chunked") => Ok(None),
        (None, _, Some(coding), _) if head.minor == 1 => {
            let has_chunked = coding.to_ascii_lowercase().windows(7).any(|part| part == b"chunked");
            Err(match has_chunked {
                true => bad_request("only one transfer coding, chunked, is supported"),
                false => Error { status: 501, reason: "unknown transfer coding" },
            })
        }
        _ => Err(bad_request("invalid or conflicting Content-Length or Transfer-Encoding")),
    }
}

/// Parses the line with the size of a chunk (RFC 9112 section 7.1). Skips extensions; `None` if the size is malformed.
fn parse_chunk_size(line: &[u8]) -> Option<u64> {
    let extension = line.iter().position(|byte| *byte == b';');
    let digits = extension.map_or(line, |at| line[..at].trim_ascii_end());
    let valid = digits.len() <= 16 && digits.iter().all(u8::is_ascii_hexdigit);
    u64::from_str_radix(str::from_utf8(digits).ok().filter(|_| valid)?, 16).ok()
}

/// Splits `text` at the first `mark`, an ASCII character, and drops it. Needs half as many instructions as `split_once`.
fn cut(text: &str, mark: u8) -> (&str, &str) {
    let at = memchr::memchr(mark, text.as_bytes());
    at.map_or((text, ""), |at| (&text[..at], &text[at + 1..]))
}

/// Returns the decoded value of each parameter in `names`: `None` if the query or form does not have the parameter. Of a
/// parameter that occurs more than once the last value counts, as in the reference: some clients append theirs to those of
/// the URL that they were given. Bytes that are not UTF-8 become U+FFFD.
pub fn parameters<'a, const N: usize>(query: &'a str, names: [&str; N]) -> [Option<Cow<'a, str>>; N] {
    let mut values = [const { None }; N];
    let mut set = |key: &str, value| {
        if let Some(index) = names.iter().position(|name| *name == key) {
            values[index] = Some(value);
        }
    };
    if memchr::memchr2(b'%', b'+', query.as_bytes()).is_some() {
        form_urlencoded::parse(query.as_bytes()).for_each(|(key, value)| set(&key, value));
        return values;
    }
    // Most queries have no escapes. Decoding them byte by byte anyway would make a poll a quarter more expensive.
    let mut rest = query;
    while !rest.is_empty() {
        let (pair, more) = cut(rest, b'&');
        let (key, value) = cut(pair, b'=');
        set(key, value.into());
        rest = more;
    }
    values
}
