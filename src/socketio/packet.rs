//! Socket.IO packets, protocol 5 (and 3 and 4, which have the same grammar):
//!
//! ```text
//! packet      = type [attachments "-"] [namespace ","] [ack id] [JSON]
//! type        = "0" CONNECT | "1" DISCONNECT | "2" EVENT | "3" ACK | "4" CONNECT_ERROR | "5" BINARY_EVENT | "6" BINARY_ACK
//! attachments = digits, only of 5 and 6: so many binary messages follow
//! namespace   = "/" and anything up to a comma; missing means "/"
//! ack id      = digits: the sender wants an answer (2, 5), or this is it (3, 6)
//! JSON        = 2, 5: [name, args...]; 3, 6: [args...]; 0: object; 4: object (in protocol 3 and 4 any value)
//! ```
//!
//! Source: docs/socket.io-protocol/v5-current.md. Arguments stay the bytes that came (rule R11); serde_json
//! skips a `RawValue` without a limit of depth, so brackets are counted here first.

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt, io::Write};

/// Names that mean something else to clients (the reference's list).
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];
/// Ack ids above this are no exact numbers in JavaScript.
const MAX_ACK: u64 = (1 << 53) - 1;

/// The type of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks for a socket in a namespace, or grants it.
    Connect = 0,
    /// Gives a socket up.
    Disconnect = 1,
    /// An event.
    Event = 2,
    /// The answer to an event.
    Ack = 3,
    /// No socket.
    ConnectError = 4,
    /// An event with attachments.
    BinaryEvent = 5,
    /// An answer with attachments.
    BinaryAck = 6,
}

/// What a packet may be.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Number of attachments.
    pub attachments: usize,
    /// Nesting of arrays and objects.
    pub depth: usize,
}

/// A packet, borrowed from the message it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its type.
    pub kind: Kind,
    /// Its namespace, without the query that older clients append.
    pub namespace: &'a str,
    /// The ack id.
    pub id: Option<u64>,
    /// How many binary messages follow.
    pub attachments: usize,
    /// The JSON, not yet checked but for its depth.
    pub data: &'a str,
}

/// A message that is no packet, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid(pub &'static str);

/// Reads a packet.
pub fn decode<'a>(text: &'a str, limits: &Limits) -> Result<Packet<'a>, Invalid> {
    let kind = match text.as_bytes().first() {
        Some(b'0') => Kind::Connect,
        Some(b'1') => Kind::Disconnect,
        Some(b'2') => Kind::Event,
        Some(b'3') => Kind::Ack,
        Some(b'4') => Kind::ConnectError,
        Some(b'5') => Kind::BinaryEvent,
        Some(b'6') => Kind::BinaryAck,
        _ => return Err(Invalid("a packet of unknown type")),
    };
    let mut rest = &text[1..];
    let mut attachments = 0;
    if matches!(kind, Kind::BinaryEvent | Kind::BinaryAck) {
        let (number, tail) = digits(rest);
        rest = tail.strip_prefix('-').ok_or(Invalid("the number of attachments is missing"))?;
        attachments = match number.parse() {
            Ok(number) if number <= limits.attachments => number,
            _ => return Err(Invalid("too many attachments")),
        };
    }
    let mut namespace = "/";
    if rest.starts_with('/') {
        (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
        namespace = namespace.split_once('?').map_or(namespace, |(name, _)| name);
    }
    let (number, data) = digits(rest);
    let id = match number.parse() {
        _ if number.is_empty() => None,
        Ok(id) if id <= MAX_ACK => Some(id),
        _ => return Err(Invalid("an ack id that no number can hold")),
    };
    check_depth(data, limits.depth)?;
    let fits = match kind {
        Kind::Connect => data.is_empty() || data.starts_with('{'),
        Kind::Disconnect => data.is_empty(),
        Kind::ConnectError => data.starts_with(['{', '"']),
        Kind::Event | Kind::BinaryEvent => data.starts_with('['),
        Kind::Ack | Kind::BinaryAck => data.starts_with('[') && id.is_some(),
    };
    if !fits {
        return Err(Invalid("a payload that this type of packet does not have"));
    }
    Ok(Packet { kind, namespace, id, attachments, data })
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// Counts brackets outside of strings.
fn check_depth(json: &str, limit: usize) -> Result<(), Invalid> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > limit {
                    return Err(Invalid("nested too deeply"));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// The elements of a JSON array, as they came.
pub fn elements(array: &str) -> Result<Vec<&RawValue>, Invalid> {
    serde_json::from_str(array).map_err(|_| Invalid("not a JSON array"))
}

/// The text of a JSON string; a lone surrogate, as in an emoji cut in half, becomes U+FFFD. `None` if it is not
/// a string.
pub fn string(raw: &RawValue) -> Option<String> {
    // An array would be read as bytes too.
    if !raw.get().starts_with('"') {
        return None;
    }
    serde_json::from_str(raw.get()).ok().map(|Lossy(text)| text)
}

/// A JSON string, decoded without judging surrogates.
struct Lossy(String);

impl<'de> serde::Deserialize<'de> for Lossy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Lossy;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Lossy, E> {
                Ok(Lossy(String::from_utf8_lossy(bytes).into_owned()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// The name of an event: a string, or a number as the reference allows.
pub fn event_name(raw: &RawValue) -> Result<Cow<'_, str>, Invalid> {
    let name = match raw.get().as_bytes()[0] {
        b'-' | b'0'..=b'9' => Cow::Borrowed(raw.get()),
        _ => Cow::Owned(string(raw).ok_or(Invalid("the name of an event is not a string"))?),
    };
    if RESERVED.contains(&&*name) { Err(Invalid("a reserved name")) } else { Ok(name) }
}

/// Checks the placeholders of a binary packet: `{"_placeholder":true,"num":N}` with N a number of an attachment,
/// and each attachment named.
pub fn placeholders(data: &str, attachments: usize) -> Result<(), Invalid> {
    let mut seen = vec![false; attachments];
    visit(serde_json::from_str(data).map_err(|_| Invalid("not JSON"))?, &mut seen)?;
    if seen.iter().all(|seen| *seen) { Ok(()) } else { Err(Invalid("an attachment without a placeholder")) }
}

/// Walks through a value; `check_depth` has limited how deep this can go.
fn visit(raw: &RawValue, seen: &mut [bool]) -> Result<(), Invalid> {
    let fine = "a RawValue is valid JSON";
    match raw.get().as_bytes()[0] {
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_str(raw.get()).expect(fine);
            elements.into_iter().try_for_each(|element| visit(element, seen))
        }
        b'{' => {
            // Keys are compared as they were written: nobody escapes the letters of `_placeholder`.
            let Members(members) = serde_json::from_str(raw.get()).expect(fine);
            let member = |name| members.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.get());
            if member("_placeholder") == Some("true") {
                let number = member("num").and_then(|number| number.parse::<usize>().ok());
                let place = number.and_then(|number| seen.get_mut(number));
                *place.ok_or(Invalid("a placeholder for no attachment"))? = true;
                return Ok(());
            }
            members.into_iter().try_for_each(|(_, value)| visit(value, seen))
        }
        _ => Ok(()),
    }
}

/// The members of an object, in order; a map would refuse keys with lone surrogates.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(Lossy(key)) = map.next_key()? {
                    members.push((key, map.next_value()?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Walk)
    }
}

/// Writes all of a packet that comes before its JSON.
pub fn write_head(out: &mut Vec<u8>, kind: Kind, attachments: usize, namespace: &str, id: Option<u64>) {
    let fine = "writing to memory does not fail";
    out.push(b'0' + kind as u8);
    if matches!(kind, Kind::BinaryEvent | Kind::BinaryAck) {
        write!(out, "{attachments}-").expect(fine);
    }
    if namespace != "/" {
        write!(out, "{namespace},").expect(fine);
    }
    if let Some(id) = id {
        write!(out, "{id}").expect(fine);
    }
}

/// Writes a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string is always JSON, and memory takes it");
}
