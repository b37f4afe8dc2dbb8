//! HTTP/1.1 requests in, responses out (RFC 9112, RFC 9110): what a chat server needs, and strictly.
//!
//! [`Parser`] keeps no bytes: the caller shows it the unconsumed input and is told how much of it is done with.
//! The head is raised before the body, so that a request can be judged before its body is read. httparse
//! knows the grammar of heads; what it lets through and a proxy might read differently is refused here
//! (request smuggling, RFC 9112 section 11.2): bare LF, folded lines, two lengths, unknown codings.
//! Not done: trailers are dropped, `Date` is not sent (RFC 9110 6.6.1 lets only a server without a clock leave
//! it out; no client of ours reads it, and it would cost 37 bytes in every poll), no ranges, no compression
//! negotiation beyond gzip.

pub mod assets;
mod response;

use crate::config::{Config, MAX_HEADERS};
pub use response::Response;
use std::borrow::Cow;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};

/// The methods of RFC 9110 and PATCH; `Known`: nothing here takes it; `Other`: not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
    Options,
    Known,
    Other,
}

/// How the end of the body is found (RFC 9112 section 6.3); a head that announces no body has a length of 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
}

/// A request that cannot be served: the answer, after which the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    pub status: u16,
    /// In a few words.
    pub reason: &'static str,
}

const fn bad(reason: &'static str) -> Error {
    Error { status: 400, reason }
}

/// Where the parser of heads puts header fields; not initialized, which would cost as much as reading them.
pub type Room<'a> = [MaybeUninit<httparse::Header<'a>>; MAX_HEADERS];
/// Room for one head.
pub const ROOM: Room = [const { MaybeUninit::uninit() }; MAX_HEADERS];

/// A request head, borrowed from the input.
pub struct RequestHead<'a> {
    /// The method.
    pub method: Method,
    /// The path as it was sent, without the query; `*` of `OPTIONS *`. Visible ASCII only.
    pub path: &'a str,
    /// What follows the first `?`, as it was sent. Visible ASCII only.
    pub query: &'a str,
    /// The 0 of HTTP/1.0 or the 1 of HTTP/1.1.
    pub minor: u8,
    /// The connection may serve another request afterwards.
    pub keep_alive: bool,
    /// The authority: of the target if that has one, else the Host field; empty if there is none.
    pub host: &'a [u8],
    /// How the end of the body is found.
    pub framing: Framing,
    /// The client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    fields: &'a [httparse::Header<'a>],
}

impl<'a> RequestHead<'a> {
    /// The values of all header fields of that name, in order.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let fields = self.fields.iter();
        fields.filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// The value of the first header field of that name.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers(name).next()
    }

    /// Whether a proxy has added a field that names somebody else.
    pub fn is_forwarded(&self) -> bool {
        self.fields.iter().any(|field| {
            let name = field.name.to_ascii_lowercase();
            name.starts_with("x-forwarded-") || ["forwarded", "x-arr-log-id", "client-ip"].contains(&&*name)
        })
    }

    /// The members of a list-valued field (RFC 9110 section 5.6.1).
    fn members(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers(name).flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
    }

    /// Whether a list-valued field has that member; letter case does not count.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.members(name).any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Whether a compressed answer is welcome (RFC 9110 section 12.5.3); a weight of zero says no.
    pub fn accepts_gzip(&self) -> bool {
        self.members("Accept-Encoding").any(|member| {
            let (coding, weight) = member.split_at(member.len().min(4));
            let weight = weight.trim_ascii_start();
            let zero = weight.contains(&b'0') && !weight.iter().any(|byte| matches!(byte, b'1'..=b'9'));
            coding.eq_ignore_ascii_case(b"gzip") && matches!(weight, [] | [b';', ..]) && !zero
        })
    }
}

/// What the parser has found.
pub enum Part<'a> {
    /// A request begins.
    Head(RequestHead<'a>),
    /// Bytes of its body.
    Data(&'a [u8]),
    /// It is complete; the next one may follow.
    End,
}

#[derive(Clone, Copy, Debug)]
enum ParserState {
    /// In the head; its lines so far end here.
    Head(usize),
    /// So many bytes are to come: of the body, or of a chunk.
    Data {
        left: u64,
        chunk: bool,
    },
    /// The line behind a chunk, which is empty.
    ChunkEnd,
    ChunkSize,
    Trailers,
}

/// Where one connection stands between its first byte and its last.
#[derive(Debug)]
pub struct Parser {
    state: ParserState,
    /// Bytes of the chunked body so far, and of the lines around its chunks.
    body: usize,
    lines: usize,
}

impl Default for Parser {
    fn default() -> Self {
        Parser { state: ParserState::Head(0), body: 0, lines: 0 }
    }
}

impl Parser {
    /// The next event at the start of `input`, and the bytes it takes; `None` if more must arrive first. Then
    /// the caller shows the same bytes again with more behind them.
    pub fn next<'a>(
        &mut self, input: &'a [u8], room: &'a mut Room<'a>, config: &Config,
    ) -> Result<Option<(usize, Part<'a>)>, Error> {
        match self.state {
            ParserState::Head(lines) => self.head(lines, input, room, config),
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
            ParserState::ChunkEnd | ParserState::ChunkSize | ParserState::Trailers => self.chunk_line(input, config),
        }
    }

    /// A line of a chunked body (RFC 9112 section 7.1). All of them together are limited as a head is.
    fn chunk_line<'a>(&mut self, input: &'a [u8], config: &Config) -> Result<Option<(usize, Part<'a>)>, Error> {
        let found = line(input)?;
        let length = found.map_or(input.len(), |found| found.len() + 2);
        if self.lines + length > config.max_head {
            return Err(Error { status: 431, reason: "chunk extensions or trailers too large" });
        }
        let Some(found) = found else { return Ok(None) };
        self.lines += if found.is_empty() { 0 } else { length };
        self.state = match self.state {
            ParserState::ChunkEnd if !found.is_empty() => return Err(bad("chunk data is longer than its size")),
            ParserState::ChunkEnd => ParserState::ChunkSize,
            ParserState::ChunkSize => {
                let size = chunk_size(found).ok_or(bad("a malformed chunk size"))?;
                let body = usize::try_from(size).ok().and_then(|size| self.body.checked_add(size));
                let body = body.filter(|body| *body <= config.max_payload);
                self.body = body.ok_or(Error { status: 413, reason: "body too large" })?;
                if size == 0 { ParserState::Trailers } else { ParserState::Data { left: size, chunk: true } }
            }
            _ if found.is_empty() => ParserState::Data { left: 0, chunk: false },
            _ => ParserState::Trailers,
        };
        Ok(Some((length, Part::Data(&[]))))
    }

    fn head<'a>(
        &mut self, mut lines: usize, input: &'a [u8], room: &'a mut Room<'a>, config: &Config,
    ) -> Result<Option<(usize, Part<'a>)>, Error> {
        // An empty line before the request line is tolerated (RFC 9112 section 2.2), one.
        let start = if input.starts_with(b"\r\n") { 2 } else { 0 };
        lines = lines.max(start);
        let too_large = Error { status: 431, reason: "request head too large" };
        loop {
            let Some(found) = line(&input[lines..])? else {
                self.state = ParserState::Head(lines);
                return if input.len() > config.max_head { Err(too_large) } else { Ok(None) };
            };
            lines += found.len() + 2;
            if found.is_empty() {
                break;
            }
        }
        if lines > config.max_head {
            return Err(too_large);
        }
        let head = parse_head(&input[start..lines], room, config)?;
        self.state = match head.framing {
            Framing::Length(left) => ParserState::Data { left, chunk: false },
            Framing::Chunked => ParserState::ChunkSize,
        };
        Ok(Some((lines, Part::Head(head))))
    }
}

/// The line at the start of `input`, without its CRLF; `None` if it is not whole. A bare LF or CR is where two parsers may
/// disagree (RFC 9112 section 2.2 lets a server refuse them).
fn line(input: &[u8]) -> Result<Option<&[u8]>, Error> {
    match memchr::memchr2(b'\r', b'\n', input) {
        None => Ok(None),
        Some(end) => match &input[end..] {
            [b'\r'] => Ok(None),
            [b'\r', b'\n', ..] => Ok(Some(&input[..end])),
            _ => Err(bad("a line does not end in CRLF")),
        },
    }
}

fn parse_head<'a>(bytes: &'a [u8], room: &'a mut Room<'a>, config: &Config) -> Result<RequestHead<'a>, Error> {
    let mut request = httparse::Request::new(&mut []);
    let version = || bytes.split(|byte| *byte == b' ').nth(2).unwrap_or_default();
    match request.parse_with_uninit_headers(bytes, room) {
        Ok(httparse::Status::Complete(_)) if request.headers.len() <= config.max_headers => {}
        Ok(httparse::Status::Complete(_)) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Error { status: 431, reason: "too many header fields" });
        }
        Err(httparse::Error::Version) if version().starts_with(b"HTTP/") => {
            return Err(Error { status: 505, reason: "only HTTP/1.0 and HTTP/1.1 are spoken here" });
        }
        _ => return Err(bad("a malformed request head")),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(bad("a malformed request line"));
    };
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(bad("a character that no request target has"));
    }
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "OPTIONS" => Method::Options,
        "PUT" | "PATCH" | "DELETE" | "TRACE" => Method::Known,
        // Its target is an authority, and what follows would be a tunnel.
        "CONNECT" => return Err(Error { status: 501, reason: "CONNECT is not served" }),
        _ => Method::Other,
    };
    let (authority, target) = split_target(target, method)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = if path.is_empty() { "/" } else { path };
    let mut head = RequestHead {
        method,
        path,
        query,
        minor,
        keep_alive: false,
        host: &[],
        framing: Framing::Length(0),
        expect_continue: false,
        fields: request.headers,
    };
    let host = head.header("Host");
    if head.headers("Host").nth(1).is_some() || host.is_none() && minor == 1 {
        return Err(bad("not exactly one Host"));
    }
    head.host = authority.map(str::as_bytes).or(host).unwrap_or_default();
    let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte);
    if !host.unwrap_or_default().iter().all(is_host) || !head.host.iter().all(is_host) {
        return Err(bad("a character that no Host has"));
    }
    head.framing = framing(&head)?;
    head.expect_continue = minor == 1 && head.has_token("Expect", "100-continue");
    let keep_alive = minor == 1 || head.has_token("Connection", "keep-alive");
    head.keep_alive = keep_alive && !head.has_token("Connection", "close");
    Ok(head)
}

/// Authority (of the absolute form) and the rest (RFC 9112 section 3.2).
fn split_target(target: &str, method: Method) -> Result<(Option<&str>, &str), Error> {
    if target.starts_with('/') || target == "*" && method == Method::Options {
        return Ok((None, target));
    }
    let (scheme, rest) = target.split_once("://").unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.is_empty() || !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(bad("a request target of unknown form"));
    }
    Ok((Some(authority), path))
}

/// RFC 9112 section 6.3, as strictly as it allows.
fn framing(head: &RequestHead) -> Result<Framing, Error> {
    let mut lengths = head.headers("Content-Length");
    let mut codings = head.headers("Transfer-Encoding");
    match (lengths.next(), lengths.next(), codings.next(), codings.next()) {
        (None, _, None, _) => Ok(Framing::Length(0)),
        (Some(digits), None, None, _) if digits.iter().all(u8::is_ascii_digit) => {
            let length = str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
            length.map(Framing::Length).ok_or(bad("Content-Length is empty or too large"))
        }
        (None, _, Some(coding), second) if head.minor == 1 => {
            let knows = coding.to_ascii_lowercase().windows(7).any(|part| part == b"chunked");
            match coding.eq_ignore_ascii_case(b"chunked") && second.is_none() {
                true => Ok(Framing::Chunked),
                false if knows => Err(bad("Transfer-Encoding is more than chunked")),
                false => Err(Error { status: 501, reason: "a transfer coding that is not known" }),
            }
        }
        _ => Err(bad("the length of a body is not told once, by a number or as chunked")),
    }
}

/// RFC 9112 section 7.1; extensions are skipped.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let extension = line.iter().position(|byte| *byte == b';');
    let digits = extension.map_or(line, |at| line[..at].trim_ascii_end());
    let fine = digits.len() <= 16 && digits.iter().all(u8::is_ascii_hexdigit);
    u64::from_str_radix(str::from_utf8(digits).ok().filter(|_| fine)?, 16).ok()
}

/// A query has a parameter twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duplicate;

/// What is before the first `mark` (an ASCII character), and what is behind it.
fn cut(text: &str, mark: u8) -> (&str, &str) {
    let at = memchr::memchr(mark, text.as_bytes());
    at.map_or((text, ""), |at| (&text[..at], &text[at + 1..]))
}

/// The values of these parameters of a query or form, found in one pass; bytes that are no UTF-8 become U+FFFD.
pub fn parameters<'a, const N: usize>(
    query: &'a str, names: [&str; N],
) -> [Result<Option<Cow<'a, str>>, Duplicate>; N] {
    let mut values = [const { Ok(None) }; N];
    let mut set = |key: &str, value| {
        if let Some(index) = names.iter().position(|name| *name == key) {
            values[index] = if values[index] == Ok(None) { Ok(Some(value)) } else { Err(Duplicate) };
        }
    };
    if memchr::memchr2(b'%', b'+', query.as_bytes()).is_some() {
        form_urlencoded::parse(query.as_bytes()).for_each(|(key, value)| set(&key, value));
    } else {
        // Nothing is escaped, as in nearly every request: the same without a look at each byte.
        let mut rest = query;
        while !rest.is_empty() {
            let (pair, more) = cut(rest, b'&');
            let (key, value) = cut(pair, b'=');
            set(key, value.into());
            rest = more;
        }
    }
    values
}

/// Whether host and port of an Origin (RFC 6454) are those of a Host. Where a port is missing it is 80 or 443:
/// behind a proxy that ends TLS the scheme is not known here, unless the proxy tells (`https`).
pub fn same_origin(origin: &[u8], host: &[u8], https: Option<bool>) -> bool {
    let (Ok(origin), Ok(host)) = (str::from_utf8(origin), str::from_utf8(host)) else { return false };
    let (default, origin) = match (origin.strip_prefix("http://"), origin.strip_prefix("https://")) {
        (Some(rest), _) => ("80", rest),
        (_, Some(rest)) => ("443", rest),
        _ => return false,
    };
    if https.is_some_and(|https| https != (default == "443")) {
        return false;
    }
    let ((name, port), (own_name, own_port)) = (split_port(origin), split_port(host));
    let port = port.unwrap_or(default);
    let same_port = own_port.map_or(matches!(port, "80" | "443"), |own| own == port);
    same_port && !name.is_empty() && name.eq_ignore_ascii_case(own_name)
}

/// The last entry of a list: what the proxy next to us has added. Those before it may come from anybody.
pub fn last_of(list: &[u8]) -> &[u8] {
    list.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii()
}

/// The address in an entry of X-Forwarded-For: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
pub fn address_of(entry: &[u8]) -> Option<IpAddr> {
    let entry = str::from_utf8(entry).ok()?;
    let address = entry.parse::<SocketAddr>().map(|address| address.ip());
    address.or_else(|_| entry.trim_matches(['[', ']']).parse()).ok()
}

/// Scheme and authority of an absolute URL: what its Origin would be.
pub fn origin_of(url: &[u8]) -> &[u8] {
    let authority = url.windows(3).position(|part| part == b"://").map_or(url.len(), |at| at + 3);
    let length = url[authority..].iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    length.map_or(url, |length| &url[..authority + length])
}

/// Host and port; the colons of an IPv6 address in brackets are not before a port.
pub fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}
