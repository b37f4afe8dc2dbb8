//! Socket.IO packets of protocol 5, and of 3 and 4, which have the same grammar:
//!
//! ```text
//! packet      = type [attachments "-"] [namespace ","] [ack id] [JSON]
//! type        = "0" CONNECT | "1" DISCONNECT | "2" EVENT | "3" ACK | "4" CONNECT_ERROR | "5" BINARY_EVENT | "6" BINARY_ACK
//! attachments = digits, only of 5 and 6: so many binary messages follow
//! namespace   = "/" and anything up to a comma or the end; missing means "/"
//! ack id      = digits: the sender wants an answer (2, 5), or this is it (3, 6)
//! JSON        = 2, 5: [name, args...]; 3, 6: [args...]; 0: object or nothing; 1: nothing; 4: object or string
//! ```
//!
//! Source: docs/socket.io-protocol/v5-current.md, "Packet encoding". Arguments stay the bytes that came (rule R11):
//! here JSON is checked and cut into pieces, but only names and what the application asks for are decoded.

use crate::config::Config;
use serde::de::{Deserializer, Visitor};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt, io::Write};

/// Names that clients and servers use for events of their own; the reference refuses them as well.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];
/// Above this, numbers in JavaScript are not exact, and an answer would carry another id than the question.
const MAX_ACK: u64 = (1 << 53) - 1;

/// The type of a packet. Events and acks with attachments have digits of their own: 3 more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks for a socket in a namespace, or grants it.
    Connect = 0,
    /// Gives a socket up.
    Disconnect = 1,
    Event = 2,
    /// The answer to an event.
    Ack = 3,
    /// No socket.
    ConnectError = 4,
}

/// By their digits.
const KINDS: [Kind; 7] =
    [Kind::Connect, Kind::Disconnect, Kind::Event, Kind::Ack, Kind::ConnectError, Kind::Event, Kind::Ack];

/// A packet, borrowed from the message it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    pub kind: Kind,
    /// Its namespace, without the query that older clients append.
    pub namespace: &'a str,
    /// The ack id.
    pub id: Option<u64>,
    /// How many binary messages follow.
    pub attachments: usize,
    /// The JSON: valid, not too deep, and of the shape that `kind` asks for; empty if there is none.
    pub data: &'a str,
}

/// A message that is no packet, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid(pub &'static str);

/// Reads a packet. What it returns is wholly checked, but for the placeholders of attachments.
pub fn decode<'a>(text: &'a str, config: &Config) -> Result<Packet<'a>, Invalid> {
    let digit = text.bytes().next().map_or(usize::MAX, |first| usize::from(first.wrapping_sub(b'0')));
    let kind = *KINDS.get(digit).ok_or(Invalid("a packet of unknown type"))?;
    let mut rest = &text[1..];
    let mut attachments = 0;
    if digit > Kind::ConnectError as usize {
        let (number, tail) = split_digits(rest);
        rest = tail.strip_prefix('-').ok_or(Invalid("the number of attachments is missing"))?;
        let number = number.parse().ok().filter(|number| *number <= config.max_attachments);
        attachments = number.ok_or(Invalid("no number of attachments, or too many"))?;
    }
    let mut namespace = "/";
    if rest.starts_with('/') {
        (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
        // Clients of protocol 3 and 4 put a query there; salon has no use for it.
        namespace = namespace.split_once('?').map_or(namespace, |(name, _)| name);
    }
    let (number, data) = split_digits(rest);
    let id = match number.parse() {
        _ if number.is_empty() => None,
        Ok(id) if id <= MAX_ACK => Some(id),
        _ => return Err(Invalid("an ack id that is no exact number")),
    };
    check_depth(data, config.max_depth)?;
    let fits = match kind {
        Kind::Event => {
            event_name(elements(data)?.first().ok_or(Invalid("an event without a name"))?)?;
            true
        }
        Kind::Ack => id.is_some() && elements(data).is_ok(),
        Kind::Connect => data.is_empty() || starts_with(data, &['{']),
        Kind::ConnectError => starts_with(data, &['{', '"']),
        Kind::Disconnect => data.is_empty(),
    };
    if !fits {
        return Err(Invalid("data that this type of packet does not have, or an answer to nothing"));
    }
    Ok(Packet { kind, namespace, id, attachments, data })
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// Counts brackets. serde_json skips a `RawValue` however deep it is, but those it is relayed to may recurse.
fn check_depth(json: &str, limit: usize) -> Result<(), Invalid> {
    let mut depth = 0usize;
    for token in tokens(json) {
        match token {
            "[" | "{" if depth == limit => return Err(Invalid("nested too deeply")),
            "[" | "{" => depth += 1,
            "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

fn starts_with(json: &str, any: &[char]) -> bool {
    serde_json::from_str::<&RawValue>(json).is_ok_and(|raw| raw.get().starts_with(any))
}

/// Cuts JSON, and whatever is none, into brackets, colons, commas, strings and other values, without judging it.
pub fn tokens(json: &str) -> impl Iterator<Item = &str> {
    let mut rest = json;
    std::iter::from_fn(move || {
        rest = rest.trim_ascii_start();
        let bytes = rest.as_bytes();
        let ends =
            |byte: &u8| matches!(byte, b'[' | b']' | b'{' | b'}' | b':' | b',' | b'"' | b' ' | b'\t' | b'\r' | b'\n');
        let end = match bytes.first()? {
            b'"' => string_end(bytes),
            first if ends(first) => 1,
            _ => bytes.iter().position(ends).unwrap_or(bytes.len()),
        };
        let (token, tail) = rest.split_at(end);
        rest = tail;
        Some(token)
    })
}

/// Where the string that `bytes` begin with ends: after the first quote without a backslash that counts.
fn string_end(bytes: &[u8]) -> usize {
    let mut escaped = false;
    let ends = |byte: &u8| {
        let quote = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        quote
    };
    bytes[1..].iter().position(ends).map_or(bytes.len(), |length| length + 2)
}

/// The elements of a JSON array, as they came.
pub fn elements(array: &str) -> Result<Vec<&RawValue>, Invalid> {
    serde_json::from_str(array).map_err(|_| Invalid("not a JSON array"))
}

/// The name of an event: a string, or a number as the reference allows.
pub fn event_name(raw: &RawValue) -> Result<Cow<'_, str>, Invalid> {
    let name = match raw.get().starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        true => Cow::Borrowed(raw.get()),
        false => string(raw).ok_or(Invalid("the name of an event is not a string"))?,
    };
    if RESERVED.contains(&&*name) { Err(Invalid("a reserved name")) } else { Ok(name) }
}

/// The text of a JSON string, if it is one. A lone surrogate, as in an emoji cut in half, becomes U+FFFD.
pub fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    unquote(raw.get())
}

/// The same of JSON that may be anything.
pub fn unquote(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(inner.into());
    }
    // As bytes, because serde_json refuses to make a `String` of lone surrogates.
    serde_json::Deserializer::from_str(json).deserialize_bytes(Lossy).ok().map(Cow::Owned)
}

/// Makes a string of UTF-8 in which surrogates may stand, three bytes each, of which the first is ED.
struct Lossy;

impl Visitor<'_> for Lossy {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<String, E> {
        let mut text = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            if chunk.invalid().first() == Some(&0xed) {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        Ok(text)
    }
}

/// Checks the placeholders in the data of a binary packet: `{"_placeholder":true,"num":N}`, where N is the index of
/// an attachment, and each attachment has one. Clients that get a placeholder for nothing close the connection,
/// so one that is spelt with escapes counts too. One pass, over data that [`decode`] has accepted.
pub fn placeholders(data: &str, attachments: usize) -> Result<(), Invalid> {
    let mut seen = vec![false; attachments];
    // Of each array and object that is open: whether it is a placeholder, and its number. Arrays have neither.
    let mut open: Vec<(bool, Option<usize>)> = Vec::new();
    let mut tokens = tokens(data).peekable();
    while let Some(token) = tokens.next() {
        match token {
            "[" | "{" => open.push((false, None)),
            "]" | "}" => {
                if let Some((true, number)) = open.pop() {
                    let place = number.and_then(|number| seen.get_mut(number));
                    *place.ok_or(Invalid("a placeholder for no attachment"))? = true;
                }
            }
            key if tokens.next_if_eq(&":").is_some() => {
                let (Some((placeholder, number)), Some(value)) = (open.last_mut(), tokens.peek()) else { continue };
                // If a key comes twice the last one counts, as in JavaScript.
                match unquote(key).as_deref() {
                    Some("_placeholder") => *placeholder = *value == "true",
                    Some("num") => *number = value.parse().ok(),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    if seen.iter().all(|seen| *seen) { Ok(()) } else { Err(Invalid("an attachment without a placeholder")) }
}

/// Writes all of a packet that comes before its JSON.
pub fn write_head(out: &mut Vec<u8>, kind: Kind, attachments: usize, namespace: &str, id: Option<u64>) {
    let fine = "writing to memory does not fail";
    match attachments {
        0 => out.push(b'0' + kind as u8),
        _ => write!(out, "{}{attachments}-", kind as u8 + 3).expect(fine),
    }
    if namespace != "/" {
        write!(out, "{namespace},").expect(fine);
    }
    if let Some(id) = id {
        write!(out, "{id}").expect(fine);
    }
}
