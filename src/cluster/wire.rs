//! Broadcasts on the wire of `@socket.io/redis-adapter`: MessagePack arrays `[uid, packet, opts]`.
//!
//! ```text
//! packet = {type: 2, data: [name, args...], nsp}      2 for binary events too: bytes stand in the tree as they are
//! opts   = {rooms: [...], except: [...], flags: {}}   sockets are rooms of their own, by id
//! ```
//!
//! Arguments are JSON here and MessagePack there, so both directions convert, with the numbers of JavaScript: an integer of
//! 20 digits does not survive, as it does not between two Node servers. Of `flags` none changes what is done here:
//! `volatile` ones are delivered like others.
//! Sources: the adapter's messages as observed between two Node servers; the MessagePack specification.

use crate::config::Config;
use crate::socketio::Publication;
use crate::socketio::packet::{self, Invalid};
use bytes::Bytes;
use rmpv::decode::read_value_ref_with_max_depth;
use rmpv::{Value, ValueRef};
use std::iter::Peekable;
use std::time::{Duration, UNIX_EPOCH};

/// Rooms and ids that one publication may name: more than a process has sockets are a mistake.
const MAX_ROOMS: usize = 20_000;
/// Above this, the numbers of JavaScript are not exact integers.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// Writes a broadcast `[uid, packet, opts]`, or the answer of a client.
pub fn encode(uid: &str, publication: &Publication) -> Vec<u8> {
    let Publication { namespace, rooms, except, asker, json, attachments } = publication;
    let map = |entries: Vec<(&str, Value)>| Value::Map(entries.into_iter().map(|(key, to)| (key.into(), to)).collect());
    let names = |names: &[String]| Value::Array(names.iter().map(|name| name.as_str().into()).collect());
    let data = value(&mut packet::tokens(json).peekable(), attachments);
    let content = match asker {
        Some(asker) => map(vec![("type", 9.into()), ("requestId", (**asker).into()), ("packet", data)]),
        None => {
            let packet = map(vec![("type", 2.into()), ("data", data), ("nsp", namespace.as_str().into())]);
            let opts = vec![("rooms", names(rooms)), ("except", names(except)), ("flags", map(vec![]))];
            Value::Array(vec![uid.into(), packet, map(opts)])
        }
    };
    let mut out = Vec::with_capacity(json.len() + 128);
    rmpv::encode::write_value(&mut out, &content).expect("memory takes it");
    out
}

/// The next value of JSON in the types of MessagePack, as the adapter for Node has them. MessagePack takes a key that comes
/// twice, and of two the last counts there as well.
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
        // 1e400 is Infinity in JavaScript.
        Some(number) => match number.parse().unwrap_or(f64::NAN) {
            number if number.fract() == 0.0 && number.abs() < i64::MAX as f64 => (number as i64).into(),
            number => number.into(),
        },
    }
}

/// Reads a broadcast and the uid of the server that it comes from: of the first kind, or `{uid, requestId, type: 7, packet,
/// opts}`, which asks for answers. Whatever does not make a packet that clients understand is refused as a whole.
pub fn decode(bytes: &[u8], config: &Config) -> Result<(String, Publication), Invalid> {
    let mut rest = bytes;
    // The crate counts each level twice.
    let value = read_value_ref_with_max_depth(&mut rest, 2 * config.max_depth + 8);
    let value = value.map_err(|_| Invalid("no MessagePack"))?;
    let (uid, packet, opts, asker) = match &value {
        ValueRef::Array(elements) => match &elements[..] {
            [uid, packet, opts] => (uid, packet, opts, None),
            _ => return Err(Invalid("not an array of three")),
        },
        map => (field(map, "uid")?, field(map, "packet")?, field(map, "opts")?, Some(text(field(map, "requestId")?)?)),
    };
    if field(packet, "type")?.as_u64() != Some(2) {
        return Err(Invalid("a packet that is no event"));
    }
    let mut broadcast = Publication {
        namespace: text(field(packet, "nsp")?)?,
        rooms: names(field(opts, "rooms")?)?,
        except: field(opts, "except").map_or(Ok(Vec::new()), names)?,
        asker: asker.map(Into::into),
        ..Publication::default()
    };
    let mut event = vec![b'2'];
    to_json(field(packet, "data")?, &mut event, &mut broadcast.attachments, config)?;
    let event = String::from_utf8(event).map_err(|_| Invalid("not UTF-8"))?;
    // The same judge as for what clients send.
    packet::decode(&event, config)?;
    if !broadcast.attachments.is_empty() {
        packet::placeholders(&event, broadcast.attachments.len())?;
    }
    broadcast.json = event[1..].to_owned();
    Ok((text(uid)?, broadcast))
}

fn field<'v, 'a>(map: &'v ValueRef<'a>, name: &str) -> Result<&'v ValueRef<'a>, Invalid> {
    let ValueRef::Map(entries) = map else { return Err(Invalid("not a map")) };
    let entry = entries.iter().find(|(key, _)| matches!(key, ValueRef::String(key) if key.as_str() == Some(name)));
    Ok(&entry.ok_or(Invalid("a field is missing"))?.1)
}

fn text(value: &ValueRef) -> Result<String, Invalid> {
    match value {
        ValueRef::String(text) if text.as_bytes().len() <= 256 => Ok(String::from_utf8_lossy(text.as_bytes()).into()),
        _ => Err(Invalid("not a string, or a long one")),
    }
}

fn names(value: &ValueRef) -> Result<Vec<String>, Invalid> {
    match value {
        ValueRef::Array(names) if names.len() <= MAX_ROOMS => names.iter().map(text).collect(),
        _ => Err(Invalid("not a list, or a long one")),
    }
}

/// Writes MessagePack as JSON. Bytes become placeholders, as the protocol wants it.
fn to_json(value: &ValueRef, out: &mut Vec<u8>, files: &mut Vec<Bytes>, config: &Config) -> Result<(), Invalid> {
    let write = |out: &mut Vec<u8>, text: &str| serde_json::to_writer(out, text).expect("memory takes it");
    match value {
        ValueRef::Nil => out.extend_from_slice(b"null"),
        ValueRef::Boolean(value) => out.extend_from_slice(value.to_string().as_bytes()),
        ValueRef::Integer(number) => write_number(out, number.as_f64().unwrap_or(f64::NAN)),
        ValueRef::F32(number) => write_number(out, f64::from(*number)),
        ValueRef::F64(number) => write_number(out, *number),
        ValueRef::String(text) => write(out, &String::from_utf8_lossy(text.as_bytes())),
        ValueRef::Binary(bytes) if files.len() < config.max_attachments => {
            out.extend_from_slice(format!("{{\"_placeholder\":true,\"num\":{}}}", files.len()).as_bytes());
            files.push(Bytes::copy_from_slice(bytes));
        }
        ValueRef::Binary(_) => return Err(Invalid("too many attachments")),
        ValueRef::Array(elements) => {
            out.push(b'[');
            for (index, element) in elements.iter().enumerate() {
                out.extend((index > 0).then_some(b','));
                to_json(element, out, files, config)?;
            }
            out.push(b']');
        }
        ValueRef::Map(entries) => {
            out.push(b'{');
            for (index, (key, value)) in entries.iter().enumerate() {
                out.extend((index > 0).then_some(b','));
                let ValueRef::String(key) = key else { return Err(Invalid("a key that is no string")) };
                write(out, &String::from_utf8_lossy(key.as_bytes()));
                out.push(b':');
                to_json(value, out, files, config)?;
            }
            out.push(b'}');
        }
        ValueRef::Ext(-1, bytes) => write(out, &timestamp(bytes)?),
        ValueRef::Ext(..) => return Err(Invalid("an extension of MessagePack")),
    }
    if out.len() > config.max_payload { Err(Invalid("more than --max-payload")) } else { Ok(()) }
}

/// As `JSON.stringify` does: no fraction without need, and `null` for what JSON has no word for.
fn write_number(out: &mut Vec<u8>, number: f64) {
    if number.fract() == 0.0 && number.abs() <= MAX_EXACT {
        return out.extend_from_slice(format!("{}", number as i64).as_bytes());
    }
    serde_json::to_writer(out, &number).expect("memory takes it");
}

/// A Date of JavaScript, as `JSON.stringify` writes it.
fn timestamp(bytes: &[u8]) -> Result<String, Invalid> {
    let (seconds, nanos) = match *bytes {
        [a, b, c, d] => (u64::from(u32::from_be_bytes([a, b, c, d])), 0),
        [a, b, c, d, e, f, g, h] => {
            let both = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            (both & ((1 << 34) - 1), (both >> 34) as u32)
        }
        _ => return Err(Invalid("a date before 1970 or after 2514")),
    };
    let since = Duration::new(seconds, 0).checked_add(Duration::from_nanos(u64::from(nanos)));
    let at = since.and_then(|since| UNIX_EPOCH.checked_add(since)).ok_or(Invalid("no date"))?;
    Ok(humantime::format_rfc3339_millis(at).to_string())
}
