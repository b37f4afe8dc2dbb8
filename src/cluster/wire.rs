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
//! digits loses its last digits, as between two Node servers. `flags` are ignored: a `volatile` broadcast is delivered like
//! any other.
//!
//! Not done: conversion by serde. A JavaScript string may contain half an emoji (a lone surrogate): serde_json refuses to
//! decode it, and MessagePack crates pass it to serde as bytes, like binary data. Sources: the adapter's messages as
//! observed between two Node servers; the MessagePack specification.

use crate::config::Config;
use crate::socketio::Publication;
use crate::socketio::packet::{self, Invalid};
use crate::socketio::remote::RequestKind;
use bytes::Bytes;
use rmpv::decode::read_value_ref_with_max_depth;
use rmpv::{Value, ValueRef};
use std::iter::Peekable;
use std::time::{Duration, UNIX_EPOCH};

/// Maximum number of entries in `rooms`, and in `except`, of one publication.
const MAX_ROOMS: usize = 20_000;
/// Maximum bytes of the name of a room or namespace, of a uid and of a request id.
const MAX_NAME: usize = 256;
/// 2^53: every integer up to this one is exact in JavaScript.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// Encodes a broadcast of the server `uid` or, if the publication has an `asker`, the ack of one client.
pub fn encode(uid: &str, publication: &Publication) -> Vec<u8> {
    let Publication { namespace, rooms, except, asker, json, attachments } = publication;
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
            let opts = vec![("rooms", names(rooms)), ("except", names(except)), ("flags", map(vec![]))];
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
        asker: asker.map(Into::into),
        ..Publication::default()
    };
    let mut event = vec![b'2'];
    write_json(field(packet, "data")?, &mut event, &mut broadcast.attachments, config)?;
    let event = String::from_utf8(event).map_err(|_| Invalid("not UTF-8"))?;
    // Makes the same checks as for a packet from a client.
    packet::decode(&event, config)?;
    if !broadcast.attachments.is_empty() {
        packet::placeholders(&event, broadcast.attachments.len())?;
    }
    broadcast.json = event[1..].to_owned();
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

/// Appends a value to `out` as JSON. Binary data is appended to `files`, and a placeholder stands for it in the JSON.
fn write_json(value: &ValueRef, out: &mut Vec<u8>, files: &mut Vec<Bytes>, config: &Config) -> Result<(), Invalid> {
    match value {
        ValueRef::Nil => out.extend_from_slice(b"null"),
        ValueRef::Boolean(value) => out.extend_from_slice(value.to_string().as_bytes()),
        ValueRef::Integer(number) => write_number(out, number.as_f64().unwrap_or(f64::NAN)),
        ValueRef::F32(number) => write_number(out, f64::from(*number)),
        ValueRef::F64(number) => write_number(out, *number),
        ValueRef::String(text) => write_string(out, text.as_bytes()),
        ValueRef::Binary(bytes) if files.len() < config.max_attachments => {
            out.extend_from_slice(format!("{{\"_placeholder\":true,\"num\":{}}}", files.len()).as_bytes());
            files.push(Bytes::copy_from_slice(bytes));
        }
        ValueRef::Binary(_) => return Err(Invalid("too many attachments")),
        ValueRef::Array(elements) => {
            out.push(b'[');
            for (index, element) in elements.iter().enumerate() {
                out.extend((index > 0).then_some(b','));
                write_json(element, out, files, config)?;
            }
            out.push(b']');
        }
        ValueRef::Map(entries) => {
            out.push(b'{');
            for (index, (key, value)) in entries.iter().enumerate() {
                out.extend((index > 0).then_some(b','));
                let ValueRef::String(key) = key else { return Err(Invalid("a key that is not a string")) };
                write_string(out, key.as_bytes());
                out.push(b':');
                write_json(value, out, files, config)?;
            }
            out.push(b'}');
        }
        ValueRef::Ext(-1, bytes) => write_string(out, date(bytes)?.as_bytes()),
        ValueRef::Ext(..) => return Err(Invalid("a MessagePack extension other than Date")),
    }
    if out.len() > config.max_payload { Err(Invalid("more than --max-payload")) } else { Ok(()) }
}

fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    serde_json::to_writer(out, &String::from_utf8_lossy(text)).expect("writing to memory does not fail");
}

/// Writes a number as `JSON.stringify` does: integers without a fraction, `null` for NaN and infinities.
fn write_number(out: &mut Vec<u8>, number: f64) {
    if number.fract() == 0.0 && number.abs() <= MAX_EXACT {
        return out.extend_from_slice(format!("{}", number as i64).as_bytes());
    }
    serde_json::to_writer(out, &number).expect("writing to memory does not fail");
}

/// Formats a timestamp extension, which stands for a `Date` of JavaScript, as `JSON.stringify` formats the `Date`.
fn date(bytes: &[u8]) -> Result<String, Invalid> {
    if ![4, 8].contains(&bytes.len()) {
        return Err(Invalid("a date before 1970 or after 2514"));
    }
    // The lower 34 bits are seconds. The upper 30 are nanoseconds, which the short form does not have.
    let both = bytes.iter().fold(0, |both, byte| both << 8 | u64::from(*byte));
    let since = Duration::new(both & ((1 << 34) - 1), (both >> 34) as u32);
    let at = UNIX_EPOCH.checked_add(since).ok_or(Invalid("not a date"))?;
    Ok(humantime::format_rfc3339_millis(at).to_string())
}
