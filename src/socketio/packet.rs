//! Packets of Socket.IO. Protocols 3, 4 and 5 have the same grammar:
//!
//! ```text
//! packet      = type [attachments "-"] [namespace ","] [ack id] [JSON]
//! type        = "0" CONNECT | "1" DISCONNECT | "2" EVENT | "3" ACK | "4" CONNECT_ERROR | "5" BINARY_EVENT | "6" BINARY_ACK
//! attachments = digits, in types 5 and 6 only: the number of binary messages that follow
//! namespace   = "/" and anything up to a comma or the end; missing means "/"
//! ack id      = digits; in types 2 and 5 the sender wants an ack with this id, in 3 and 6 the packet is that ack
//! JSON        = types 2 and 5: [name, args...]; 3 and 6: [args...] or nothing; 0: object or nothing; 1: nothing; 4: object or string
//! ```
//!
//! Source: docs/socket.io-protocol/v5-current.md, "Packet encoding".
//!
//! Rule R11: arguments are kept as `RawValue`s, so they leave as the bytes that arrived. A `serde_json::Value` would round
//! numbers, sort keys and refuse lone surrogates (half an emoji, which clients do send). JSON is therefore checked and split
//! here, but decoded only for event names, and for strings that the application asks for.

use crate::config::Config;
use crate::engineio::packet::Encoded;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{borrow::Cow, io::Write, iter};

/// Event names that Socket.IO libraries emit locally. A packet with such a name is refused, as in the reference.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];
/// The largest ack id. Larger integers are not exact in JavaScript, so an ack could carry another id than its event.
const MAX_ACK: u64 = (1 << 53) - 1;

/// The type of a packet. Its value is the digit in the packet, to which events and acks with attachments add 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From a client: asks for a socket in a namespace. From the server: grants it.
    Connect = 0,
    Disconnect = 1,
    Event = 2,
    /// The answer to an event.
    Ack = 3,
    /// From the server: refuses the client's CONNECT.
    ConnectError = 4,
}

/// The kind of each type digit. Types 5 and 6 are an event and an ack with attachments.
const KINDS: [Kind; 7] =
    [Kind::Connect, Kind::Disconnect, Kind::Event, Kind::Ack, Kind::ConnectError, Kind::Event, Kind::Ack];

/// A decoded packet. It borrows from the message that it arrived in.
#[derive(Debug)]
pub struct Packet<'a> {
    pub kind: Kind,
    pub namespace: &'a str,
    /// The query that clients of Socket.IO 1.x and 2.x may append to the namespace; usually empty.
    pub query: &'a str,
    /// The ack id, if the packet has one.
    pub id: Option<u64>,
    /// The number of binary messages that follow.
    pub attachments: usize,
    /// The JSON: valid, nested at most `max_depth` deep, and of a shape that `kind` allows. Empty if the packet has none.
    pub data: &'a str,
    /// The name of an event; empty for other kinds.
    pub name: Cow<'a, str>,
    /// The arguments of an event or ack; the payload of a CONNECT, if there is one.
    pub args: Vec<&'a RawValue>,
}

/// The reason why bytes are refused, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid(pub &'static str);

/// Parses a packet and checks everything except the placeholders of attachments, which [`placeholders`] checks.
pub fn decode<'a>(text: &'a str, config: &Config) -> Result<Packet<'a>, Invalid> {
    let digit = text.bytes().next().map_or(usize::MAX, |first| usize::from(first.wrapping_sub(b'0')));
    let kind = *KINDS.get(digit).ok_or(Invalid("unknown packet type"))?;
    let mut rest = &text[1..];
    let mut attachments = 0;
    if digit > Kind::ConnectError as usize {
        let (number, tail) = split_digits(rest);
        rest = tail.strip_prefix('-').ok_or(Invalid("the number of attachments is missing"))?;
        let number = number.parse().ok().filter(|number| *number <= config.max_attachments);
        attachments = number.ok_or(Invalid("the number of attachments is invalid or too large"))?;
    }
    let (mut namespace, mut query) = ("/", "");
    if rest.starts_with('/') {
        (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
        (namespace, query) = namespace.split_once('?').unwrap_or((namespace, ""));
    }
    let (number, data) = split_digits(rest);
    let id = match number.parse() {
        _ if number.is_empty() => None,
        Ok(id) if id <= MAX_ACK => Some(id),
        _ => return Err(Invalid("an ack id above 2^53 - 1")),
    };
    // serde_json accepts any depth of a `RawValue`, but clients may parse recursively.
    let depth = tokens(data).try_fold(0usize, |depth, token| match token {
        "[" | "{" => Some(depth + 1).filter(|depth| *depth <= config.max_depth),
        "]" | "}" => Some(depth.saturating_sub(1)),
        _ => Some(depth),
    });
    depth.ok_or(Invalid("nested too deeply"))?;
    let (name, args) = match kind {
        Kind::Event => event(data)?,
        // As in the reference, an ack may have neither id nor arguments, and white space may follow a CONNECT.
        Kind::Connect if data.trim_ascii().is_empty() => ("".into(), Vec::new()),
        _ if data.is_empty() && attachments == 0 => ("".into(), Vec::new()),
        Kind::Ack => ("".into(), elements(data)?),
        _ => ("".into(), vec![serde_json::from_str(data).map_err(|_| Invalid("not JSON"))?]),
    };
    let payload = args.first().map_or("", |first| first.get());
    let fits = match kind {
        Kind::Event | Kind::Ack => true,
        Kind::Connect => payload.is_empty() || payload.starts_with('{'),
        Kind::ConnectError => payload.starts_with(['{', '"']),
        Kind::Disconnect => payload.is_empty(),
    };
    if !fits {
        return Err(Invalid("data that this type of packet does not have"));
    }
    Ok(Packet { kind, namespace, query, id, attachments, data, name, args })
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// Splits JSON into brackets, colons, commas, strings and other values. Does not check the JSON: any text can be split.
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

/// Returns the length of the JSON string at the start of `bytes`, quotes included; of all `bytes` if no quote closes it.
fn string_end(bytes: &[u8]) -> usize {
    let mut escaped = false;
    let ends = |byte: &u8| {
        let quote = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        quote
    };
    bytes[1..].iter().position(ends).map_or(bytes.len(), |length| length + 2)
}

/// Splits a JSON array into its elements, each as the bytes that arrived (rule R11).
pub fn elements(array: &str) -> Result<Vec<&RawValue>, Invalid> {
    serde_json::from_str(array).map_err(|_| Invalid("not a JSON array"))
}

/// Splits the JSON of an event into its name and its arguments.
pub fn event(json: &str) -> Result<(Cow<'_, str>, Vec<&RawValue>), Invalid> {
    let mut elements = elements(json)?;
    if elements.is_empty() {
        return Err(Invalid("an event without a name"));
    }
    let name = event_name(elements.remove(0))?;
    Ok((name, elements))
}

/// Returns the name of an event, a string or (as in the reference) a number. Refuses other values and reserved names.
pub fn event_name(raw: &RawValue) -> Result<Cow<'_, str>, Invalid> {
    let name = match raw.get().starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        true => Cow::Borrowed(raw.get()),
        false => string(raw).ok_or(Invalid("the name of an event is not a string"))?,
    };
    if RESERVED.contains(&&*name) { Err(Invalid("a reserved name")) } else { Ok(name) }
}

/// Returns the text of a JSON string, or `None` for any other JSON value. A lone surrogate (half an emoji) becomes U+FFFD.
pub fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    unquote(raw.get())
}

/// Does the same as [`string`], but for text that need not be valid JSON.
pub fn unquote(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(inner.into());
    }
    // The string is decoded as bytes, because serde_json refuses to decode lone surrogates into a `String`.
    #[derive(Deserialize)]
    struct Lossy<'a>(#[serde(borrow)] Cow<'a, [u8]>);
    let Lossy(bytes) = serde_json::from_str(json).ok()?;
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        // Only lone surrogates are invalid UTF-8, three bytes each: the first, 0xED, is replaced, the others are dropped.
        if chunk.invalid().first() == Some(&0xed) {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    Some(text.into())
}

/// Checks the placeholders in the JSON of a binary packet, `{"_placeholder":true,"num":N}`: each N must be the index of an
/// attachment, and each attachment must have a placeholder. A client that gets a placeholder without an attachment closes
/// its connection. It decodes escapes in keys, so they are decoded here, too. `data` must be JSON that [`decode`] accepts.
pub fn placeholders(data: &str, attachments: usize) -> Result<(), Invalid> {
    let mut seen = vec![false; attachments];
    // For each open object: whether it has `"_placeholder":true`, and its `num`. An open array has an entry with neither.
    let mut open: Vec<(bool, Option<usize>)> = Vec::new();
    let mut tokens = tokens(data).peekable();
    while let Some(token) = tokens.next() {
        match token {
            "[" | "{" => open.push((false, None)),
            "]" | "}" => {
                if let Some((true, number)) = open.pop() {
                    let place = number.and_then(|number| seen.get_mut(number));
                    *place.ok_or(Invalid("a placeholder without an attachment"))? = true;
                }
            }
            key if tokens.next_if_eq(&":").is_some() => {
                let (Some((placeholder, number)), Some(value)) = (open.last_mut(), tokens.peek()) else { continue };
                // Of a duplicate key the last value counts, as in JavaScript.
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

/// Encodes a packet as Engine.IO messages: first the packet, to which `write` appends the JSON, then its attachments.
pub fn encode(
    kind: Kind, namespace: &str, id: Option<u64>, attachments: &[Bytes], write: impl FnOnce(&mut Vec<u8>),
) -> Vec<Encoded> {
    let packet = Encoded::text(|out| {
        write_head(out, kind, attachments.len(), namespace, id);
        write(out);
    });
    iter::once(packet).chain(attachments.iter().cloned().map(Encoded::binary)).collect()
}

/// Writes the part of a packet before the JSON. `attachments` is the number of attachments.
pub fn write_head(out: &mut Vec<u8>, kind: Kind, attachments: usize, namespace: &str, id: Option<u64>) {
    let infallible = "writing to memory does not fail";
    match attachments {
        0 => out.push(b'0' + kind as u8),
        _ => write!(out, "{}{attachments}-", kind as u8 + 3).expect(infallible),
    }
    if namespace != "/" {
        write!(out, "{namespace},").expect(infallible);
    }
    if let Some(id) = id {
        write!(out, "{id}").expect(infallible);
    }
}

/// Writes the JSON of an event, `[name, args...]`. Returns the length in bytes of the part `args...`, which ends before the
/// last `]`. `args` must serialize as an array.
pub fn write_event(out: &mut Vec<u8>, name: &str, args: &impl Serialize) -> usize {
    out.push(b'[');
    write_json(out, &name);
    // The bracket that opens the array of arguments becomes the comma after the name.
    let comma = out.len();
    write_json(out, args);
    if out[comma..] == *b"[]" {
        out.remove(comma);
    } else {
        out[comma] = b',';
    }
    (out.len() - comma).saturating_sub(2)
}

pub fn write_json(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(out, value).expect("arguments have string keys and go to memory");
}
