//! Converts broadcasts from and to the format of `@socket.io/redis-adapter`, which is MessagePack.
//!
//! ```text
//! broadcast      = [uid, packet, opts]
//! with acks      = {uid, requestId, type: 7, packet, opts}
//! a client's ack = {type: 9, requestId, packet: the first argument}
//! packet         = {type: 2, data: [name, args...], nsp}    also for binary events: attachments are values in `data`
//! opts           = {rooms: [...], except: [...], flags: {}}    each socket is in a room named by its id
//! ```
//!
//! Arguments are JSON in salon and MessagePack in Redis. Numbers are converted as JavaScript does it: an integer of 20
//! digits loses its last digits, as between two Node servers. Of `flags`, salon reads and sends `owner`, see
//! [`To::owner`](crate::socketio::To::owner), and ignores the rest: a `volatile` broadcast is delivered like any other.
//! Adapter 8 writes a `Date` as a timestamp (an extension of type -1). Adapter 7 has extensions of type 0: `fixext 8` for a
//! `Date`, `fixext 1` for `undefined`, `ext 8`, `16` or `32` for an `ArrayBuffer`. All others become `null`.
//!
//! Not done: conversion by serde. A JavaScript string may contain half an emoji (a lone surrogate): serde_json refuses to
//! decode it, and MessagePack crates pass it to serde as bytes, like binary data. Sources: the adapter's messages as
//! observed between two Node servers; the MessagePack specification.

use crate::base::held;
use crate::config::Config;
use crate::socketio::Publication;
use crate::socketio::packet::{self, Invalid};
use crate::socketio::remote::{MAX_NAME, MAX_ROOMS, RequestKind};
use bytes::Bytes;
use rmpv::decode::read_value_ref_with_max_depth;
use rmpv::{Value, ValueRef};
use std::iter::Peekable;
use std::time::{Duration, UNIX_EPOCH};

/// 2^53: every integer up to this one is exact in JavaScript.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
/// The latest and (negative) the earliest time of a `Date`, in milliseconds since 1970.
const MAX_DATE: f64 = 8.64e15;
/// The number of milliseconds in 400 years, after which the calendar repeats.
const ERA: i64 = 146_097 * 86_400_000;
/// The marker of `fixext 1`; the markers of `fixext 2`, `4`, `8` and `16` follow.
const FIXEXT_1: u8 = 0xd4;

/// Encodes a broadcast of the server `uid` or, if the publication has an `asker`, the ack of one client.
pub fn encode(uid: &str, publication: &Publication) -> Vec<u8> {
    let Publication { namespace, rooms, except, asker, json, attachments, owner, .. } = publication;
    let map = |entries: Vec<(&str, Value)>| Value::Map(entries.into_iter().map(|(key, to)| (key.into(), to)).collect());
    let names = |names: &[String]| Value::Array(names.iter().map(|name| name.as_str().into()).collect());
    let data = value(&mut packet::tokens(json).peekable(), attachments);
    let content = match asker {
        Some(asker) => map(vec![
            ("type", (RequestKind::BroadcastAck as u8).into()),
            ("requestId", (**asker).into()),
            ("packet", data),
        ]),
        None => {
            let packet = map(vec![("type", 2.into()), ("data", data), ("nsp", namespace.as_str().into())]);
            let flags = owner.iter().map(|owner| ("owner", (**owner).into())).collect();
            let opts = vec![("rooms", names(rooms)), ("except", names(except)), ("flags", map(flags))];
            Value::Array(vec![uid.into(), packet, map(opts)])
        }
    };
    let mut out = Vec::with_capacity(json.len() + 128);
    rmpv::encode::write_value(&mut out, &content).expect("writing to memory does not fail");
    out
}

/// Converts the next JSON value to MessagePack. Placeholders become the `files` that they stand for. Earlier checks
/// limit the depth of the JSON. A duplicate key is kept: readers of MessagePack use the last one, as readers of JSON do.
fn value<'a>(json: &mut Peekable<impl Iterator<Item = &'a str>>, files: &[Bytes]) -> Value {
    match json.next() {
        Some("[") => {
            let mut elements = Vec::new();
            while json.next_if_eq(&"]").is_none() && json.peek().is_some() {
                elements.push(value(json, files));
                json.next_if_eq(&",");
            }
            Value::Array(elements)
        }
        Some("{") => {
            let mut entries = Vec::new();
            while json.next_if_eq(&"}").is_none() && json.peek().is_some() {
                let key = value(json, files);
                json.next_if_eq(&":");
                entries.push((key, value(json, files)));
                json.next_if_eq(&",");
            }
            let get = |name| entries.iter().rev().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value);
            let number = get("num").filter(|_| get("_placeholder") == Some(&true.into())).and_then(Value::as_u64);
            match number.and_then(|number| files.get(number as usize)) {
                Some(file) => Value::Binary(file.to_vec()),
                None => Value::Map(entries),
            }
        }
        Some("true") => true.into(),
        Some("false") => false.into(),
        Some("null") | None => Value::Nil,
        Some(text) if text.starts_with('"') => packet::unquote(text).unwrap_or_default().as_ref().into(),
        // Numbers are read as in JavaScript: 1e400 is Infinity.
        Some(number) => match number.parse().unwrap_or(f64::NAN) {
            number if number.fract() == 0.0 && number.abs() < i64::MAX as f64 => (number as i64).into(),
            number => number.into(),
        },
    }
}

/// Decodes a broadcast, with or without acks. Returns the uid of the server that sent it, and the broadcast. Also refuses
/// packets that clients could not decode, because such clients would disconnect.
pub fn decode(bytes: &[u8], config: &Config) -> Result<(String, Publication), Invalid> {
    let mut rest = bytes;
    // rmpv counts each level twice; 8 more are enough for the levels around `data`.
    let value = read_value_ref_with_max_depth(&mut rest, 2 * config.max_depth + 8);
    let value = value.map_err(|_| Invalid("not MessagePack, or nested too deeply"))?;
    let (uid, packet, opts, asker) = match &value {
        ValueRef::Array(elements) => match &elements[..] {
            [uid, packet, opts] => (uid, packet, opts, None),
            _ => return Err(Invalid("not an array of three")),
        },
        map => (field(map, "uid")?, field(map, "packet")?, field(map, "opts")?, Some(name(field(map, "requestId")?)?)),
    };
    if field(packet, "type")?.as_u64() != Some(2) {
        return Err(Invalid("a packet that is not an event"));
    }
    let mut broadcast = Publication {
        namespace: name(field(packet, "nsp")?)?,
        rooms: names(field(opts, "rooms")?)?,
        except: field(opts, "except").map_or(Ok(Vec::new()), names)?,
        asker: asker.map(|id| held::share(id).try_into().expect("it was a string before")),
        owner: field(opts, "flags").and_then(|flags| name(field(flags, "owner")?)).ok().map(Into::into),
        ..Publication::default()
    };
    let mut writer = JsonWriter { config, input: bytes, out: vec![b'2'], files: Vec::new(), held: 0 };
    writer.write(field(packet, "data")?)?;
    let event = String::from_utf8(writer.out).map_err(|_| Invalid("not UTF-8"))?;
    // Makes the same checks as for a packet from a client.
    packet::decode(&event, config)?;
    if !writer.files.is_empty() {
        packet::placeholders(&event, writer.files.len())?;
    }
    (broadcast.json, broadcast.attachments) = (event[1..].to_owned(), writer.files);
    Ok((name(uid)?, broadcast))
}

fn field<'v, 'a>(map: &'v ValueRef<'a>, name: &str) -> Result<&'v ValueRef<'a>, Invalid> {
    let ValueRef::Map(entries) = map else { return Err(Invalid("not a map")) };
    let entry = entries.iter().find(|(key, _)| matches!(key, ValueRef::String(key) if key.as_str() == Some(name)));
    Ok(&entry.ok_or(Invalid("a field is missing"))?.1)
}

fn name(value: &ValueRef) -> Result<String, Invalid> {
    match value {
        ValueRef::String(text) if text.as_bytes().len() <= MAX_NAME => {
            Ok(String::from_utf8_lossy(text.as_bytes()).into())
        }
        _ => Err(Invalid("not a string, or too long")),
    }
}

fn names(value: &ValueRef) -> Result<Vec<String>, Invalid> {
    match value {
        ValueRef::Array(names) if names.len() <= MAX_ROOMS => names.iter().map(name).collect(),
        _ => Err(Invalid("not a list, or too long")),
    }
}

/// Converts values from MessagePack to JSON, and checks that the result is within the limits for a packet from a client.
struct JsonWriter<'a> {
    config: &'a Config,
    /// The whole publication.
    input: &'a [u8],
    out: Vec<u8>,
    /// The binary values, for which `out` has placeholders.
    files: Vec<Bytes>,
    /// Sum of the lengths of `files`, in bytes.
    held: usize,
}

impl JsonWriter<'_> {
    fn write(&mut self, value: &ValueRef) -> Result<(), Invalid> {
        match value {
            ValueRef::Nil => self.out.extend_from_slice(b"null"),
            ValueRef::Boolean(value) => self.out.extend_from_slice(value.to_string().as_bytes()),
            ValueRef::Integer(number) => self.write_number(number.as_f64().unwrap_or(f64::NAN)),
            ValueRef::F32(number) => self.write_number(f64::from(*number)),
            ValueRef::F64(number) => self.write_number(*number),
            ValueRef::String(text) => packet::write_json(&mut self.out, &String::from_utf8_lossy(text.as_bytes())),
            ValueRef::Binary(bytes) => self.write_file(bytes)?,
            ValueRef::Array(elements) => {
                self.out.push(b'[');
                for (index, element) in elements.iter().enumerate() {
                    self.out.extend((index > 0).then_some(b','));
                    self.write(element)?;
                }
                self.out.push(b']');
            }
            ValueRef::Map(entries) => {
                let input = self.input;
                let is_undefined = |value: &_| matches!(value, ValueRef::Ext(0, bytes) if is_fixext(bytes, 1, input));
                self.out.push(b'{');
                for (index, (key, value)) in entries.iter().filter(|(_, value)| !is_undefined(value)).enumerate() {
                    self.out.extend((index > 0).then_some(b','));
                    let ValueRef::String(key) = key else { return Err(Invalid("a key that is not a string")) };
                    packet::write_json(&mut self.out, &String::from_utf8_lossy(key.as_bytes()));
                    self.out.push(b':');
                    self.write(value)?;
                }
                self.out.push(b'}');
            }
            ValueRef::Ext(kind, bytes) => self.write_extension(*kind, bytes)?,
        }
        let fits = self.out.len().max(self.held) <= self.config.max_payload;
        fits.then_some(()).ok_or(Invalid("more than --max-payload"))
    }

    /// Writes a number as `JSON.stringify` does: integers without a fraction, `null` for NaN and infinities.
    fn write_number(&mut self, number: f64) {
        match number.fract() == 0.0 && number.abs() <= MAX_EXACT {
            true => packet::write_json(&mut self.out, &(number as i64)),
            false => packet::write_json(&mut self.out, &number),
        }
    }

    fn write_file(&mut self, bytes: &[u8]) -> Result<(), Invalid> {
        if self.files.len() == self.config.max_attachments {
            return Err(Invalid("too many attachments"));
        }
        self.out.extend_from_slice(format!("{{\"_placeholder\":true,\"num\":{}}}", self.files.len()).as_bytes());
        self.held += bytes.len();
        self.files.push(Bytes::copy_from_slice(bytes));
        Ok(())
    }

    /// Writes an extension: see the module's head. A time that no `Date` can hold becomes `null`.
    fn write_extension(&mut self, kind: i8, bytes: &[u8]) -> Result<(), Invalid> {
        let integer = |bytes: &[u8]| bytes.iter().fold(0, |integer, byte| integer << 8 | u64::from(*byte));
        let millis = match (kind, bytes.len()) {
            (-1, 4) => integer(bytes) as f64 * 1e3,
            // The lower 34 bits are seconds, the upper 30 nanoseconds.
            (-1, 8) => (integer(bytes) & ((1 << 34) - 1)) as f64 * 1e3 + (integer(bytes) >> 34) as f64 / 1e6,
            (-1, 12) => integer(&bytes[4..]) as i64 as f64 * 1e3 + integer(&bytes[..4]) as f64 / 1e6,
            (0, 8) if is_fixext(bytes, 8, self.input) => integer(bytes) as i64 as f64,
            (0, length) if !is_fixext(bytes, length, self.input) => return self.write_file(bytes),
            _ => f64::NAN,
        };
        packet::write_json(&mut self.out, &date(millis));
        Ok(())
    }
}

/// Whether the content of an extension follows a marker `fixext LENGTH` in `input`. rmpv does not tell: an `ArrayBuffer` of
/// 8 bytes, which is an `ext 8`, looks like a `Date` of adapter 7. Before the type, `ext` has the last byte of its length.
fn is_fixext(content: &[u8], length: usize, input: &[u8]) -> bool {
    let marker = input.get(content.as_ptr().addr().wrapping_sub(input.as_ptr().addr() + 2));
    content.len() == length && length.is_power_of_two() && marker == Some(&(FIXEXT_1 + length.ilog2() as u8))
}

/// Formats a time in milliseconds since 1970 as `JSON.stringify` formats a `Date`. `None` if a `Date` cannot hold it.
fn date(millis: f64) -> Option<String> {
    let millis = (millis.abs() <= MAX_DATE).then_some(millis as i64)?;
    let time = UNIX_EPOCH + Duration::from_millis(millis.rem_euclid(ERA) as u64);
    let text = humantime::format_rfc3339_millis(time).to_string();
    let year = text[..4].parse::<i64>().expect("a year after 1969") + 400 * millis.div_euclid(ERA);
    let year = if (0..=9999).contains(&year) { format!("{year:04}") } else { format!("{year:+07}") };
    Some(year + &text[4..])
}
