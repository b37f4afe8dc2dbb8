//! Broadcasts in MessagePack, byte for byte as two servers for Node were seen to exchange them.

use bytes::Bytes;
use salon::cluster::wire::{decode, encode};
use salon::config::Config;
use salon::socketio::Publication;
use salon::socketio::remote::{Request, RequestKind};

const UID: &str = "2Ge8FK";
const SID: &str = "SO6ozXRtJ6cyDwu5AAAA";

/// A broadcast of `data`, itself in MessagePack, to all but one socket.
fn seen(data: &[u8]) -> Vec<u8> {
    let parts: [&[u8]; 11] = [
        b"\x93\xa6",
        UID.as_bytes(),
        b"\x83\xa4type\x02\xa4data",
        data,
        b"\xa3nsp\xa1/",
        b"\x83\xa5rooms\x90",
        b"\xa6except\x91\xb4",
        SID.as_bytes(),
        b"\xa5flags",
        b"\x80",
        b"",
    ];
    parts.concat()
}

fn publication(json: &str, attachments: &[&[u8]]) -> Publication {
    Publication {
        namespace: "/".into(),
        except: vec![SID.into()],
        json: json.into(),
        attachments: attachments.iter().map(|bytes| Bytes::copy_from_slice(bytes)).collect(),
        ..Publication::default()
    }
}

#[test]
fn events_as_they_were_seen() {
    let long = "x".repeat(300);
    let long_data = [&b"\x92\xa1e\xda\x01\x2c"[..], long.as_bytes()].concat();
    for (json, files, data) in [
        (
            r#"["new message",{"username":"Anna","message":"hi é"}]"#,
            &[][..],
            &b"\x92\xabnew message\x82\xa8username\xa4Anna\xa7message\xa5hi \xc3\xa9"[..],
        ),
        (
            r#"["user joined",{"username":"Anna","numUsers":1}]"#,
            &[],
            b"\x92\xabuser joined\x82\xa8username\xa4Anna\xa8numUsers\x01",
        ),
        (r#"["e",{"_placeholder":true,"num":0}]"#, &[&b"\x01\x02\xff"[..]], b"\x92\xa1e\xc4\x03\x01\x02\xff"),
        (r#"["e",null,true,false,-1,-33,200,70000,0.5]"#, &[], {
            b"\x99\xa1e\xc0\xc3\xc2\xff\xd0\xdf\xcc\xc8\xce\x00\x01\x11\x70\xcb\x3f\xe0\0\0\0\0\0\0"
        }),
        (&format!(r#"["e","{long}"]"#), &[], &long_data),
    ] {
        assert_eq!(encode(UID, &publication(json, files)), seen(data), "{json}");
        let (uid, back) = decode(&seen(data), &Config::default()).expect(json);
        assert_eq!((&*uid, &*back.namespace, &*back.json), (UID, "/", json));
        assert_eq!((back.except, back.rooms, back.asker), (vec![SID.to_owned()], vec![], None));
        assert_eq!(back.attachments, files.iter().map(|bytes| Bytes::copy_from_slice(bytes)).collect::<Vec<_>>());
    }
}

#[test]
fn the_answer_of_a_client() {
    let answer = Publication { asker: Some("WyyWAk".into()), ..publication(r#""b1""#, &[]) };
    assert_eq!(encode(UID, &answer), b"\x83\xa4type\x09\xa9requestId\xa6WyyWAk\xa6packet\xa2b1");
}

#[test]
fn a_broadcast_with_acks() {
    let asked = b"\x85\xa3uid\xa62Ge8FK\xa9requestId\xa6WyyWAk\xa4type\x07\
        \xa6packet\x83\xa4type\x02\xa4data\x92\xa8ping-ack\x01\xa3nsp\xa1/\
        \xa4opts\x83\xa5rooms\x90\xa6except\x90\xa5flags\x81\xa7timeout\xcd\x05\xdc";
    let (_, question) = decode(asked, &Config::default()).expect("as it was seen");
    assert_eq!((question.asker.as_deref(), &*question.json), (Some("WyyWAk"), r#"["ping-ack",1]"#));
}

/// Decodes an event of one value in MessagePack. Returns the value in JSON, and the attachments.
fn received(value: &[u8]) -> (String, Vec<Bytes>) {
    let (_, broadcast) = decode(&seen(&[b"\x92\xa1e", value].concat()), &Config::default()).expect("an event");
    let json = broadcast.json.strip_prefix(r#"["e","#).and_then(|json| json.strip_suffix(']'));
    (json.expect("one value").to_owned(), broadcast.attachments)
}

/// Every form of a `Date` that adapters 7 and 8 were seen to write, and what clients of Node servers get for it.
#[test]
fn dates() {
    for (bytes, date) in [
        (&b"\xd6\xff\x3b\x9a\xca\x00"[..], Some("2001-09-09T01:46:40.000Z")),
        (b"\xd6\xff\xff\xff\xff\xff", Some("2106-02-07T06:28:15.000Z")),
        (b"\xd7\xff\x01\x31\x2d\x00\x00\x00\x00\x00", Some("1970-01-01T00:00:00.005Z")),
        (b"\xd7\xff\xee\x2e\x1f\x03\xff\xff\xff\xff", Some("2514-05-30T01:53:03.999Z")),
        (b"\xc7\x0c\xff\x00\x2d\xc6\xc0\x00\x00\x00\x04\x00\x00\x00\x00", Some("2514-05-30T01:53:04.003Z")),
        (b"\xc7\x0c\xff\x3b\x8b\x87\xc0\xff\xff\xff\xff\xff\xff\xff\xff", Some("1969-12-31T23:59:59.999Z")),
        (b"\xc7\x0c\xff\x00\x6a\xcf\xc0\xff\xff\xff\xff\xc4\x65\x36\x00", Some("1938-04-24T22:13:20.007Z")),
        (b"\xc7\x0c\xff\x00\x00\x00\x00\xff\xff\xff\xf1\x88\x6e\x09\x00", Some("0001-01-01T00:00:00.000Z")),
        (b"\xc7\x0c\xff\x00\x4c\x4b\x40\xff\xff\xff\xf1\x84\xaa\x50\x80", Some("-000001-01-01T00:00:00.005Z")),
        (b"\xc7\x0c\xff\x3b\x8b\x87\xc0\x00\x00\x00\x3a\xff\xf4\x41\x7f", Some("9999-12-31T23:59:59.999Z")),
        (b"\xc7\x0c\xff\x00\x00\x00\x00\x00\x00\x00\x3a\xff\xf4\x41\x80", Some("+010000-01-01T00:00:00.000Z")),
        // The first and the last Date, one millisecond more, and what Node servers make of an invalid Date.
        (b"\xc7\x0c\xff\x00\x00\x00\x00\xff\xff\xf8\x24\x57\xde\x80\x00", Some("-271821-04-20T00:00:00.000Z")),
        (b"\xc7\x0c\xff\x00\x00\x00\x00\x00\x00\x07\xdb\xa8\x21\x80\x00", Some("+275760-09-13T00:00:00.000Z")),
        (b"\xc7\x0c\xff\x00\x0f\x42\x40\x00\x00\x07\xdb\xa8\x21\x80\x00", None),
        (b"\xc7\x0c\xff\xff\xff\xff\xff\x80\x00\x00\x00\x00\x00\x00\x00", None),
        (b"\xc7\x0c\xff\0\0\0\0\0\0\0\0\0\0\0\0", Some("1970-01-01T00:00:00.000Z")),
        // Adapter 7.
        (b"\xd7\x00\x00\x00\x00\xe8\xd4\xa5\x10\x07", Some("2001-09-09T01:46:40.007Z")),
        (b"\xd7\x00\xff\xff\xff\xff\xff\xff\xff\xff", Some("1969-12-31T23:59:59.999Z")),
        (b"\xd7\x00\x00\x1e\xb2\x08\xc2\xdc\x00\x00", Some("+275760-09-13T00:00:00.000Z")),
        (b"\xd7\x00\x00\x1e\xb2\x08\xc2\xdc\x00\x01", None),
        (b"\xd7\x00\x7f\xff\xff\xff\xff\xff\xff\xff", None),
        (b"\xd7\x00\0\0\0\0\0\0\0\0", Some("1970-01-01T00:00:00.000Z")),
    ] {
        let json = date.map_or("null".to_owned(), |date| format!("\"{date}\""));
        assert_eq!(received(bytes), (json, vec![]), "{bytes:x?}");
    }
}

/// Adapter 7 writes `undefined` as an extension. JSON leaves out a key with that value.
#[test]
fn undefined() {
    for (value, json) in [
        (&b"\xd4\x00\x00"[..], "null"),
        (b"\x92\xd4\x00\x00\x01", "[null,1]"),
        (b"\x81\xa1a\xd4\x00\x00", "{}"),
        (b"\x83\xa1a\xd4\x00\x00\xa1b\x01\xa1c\xd4\x00\x00", r#"{"b":1}"#),
        (b"\x82\xa1a\xc0\xa1b\x81\xa1c\xd4\x00\x00", r#"{"a":null,"b":{}}"#),
    ] {
        assert_eq!(received(value), (json.to_owned(), vec![]), "{value:x?}");
    }
}

/// Adapter 7 writes an `ArrayBuffer` as an extension of the same type as `undefined` and `Date`, but with another marker.
#[test]
fn array_buffers() {
    let zeros = [0; 70_000];
    for (head, length) in [
        (&b"\xc7\x00\x00"[..], 0),
        (b"\xc7\x01\x00", 1),
        (b"\xc7\x08\x00", 8),
        (b"\xc7\x10\x00", 16),
        (b"\xc7\xd4\x00", 0xd4),
        (b"\xc7\xd7\x00", 0xd7),
        (b"\xc8\x00\x01\x00", 1),
        (b"\xc8\x01\x2c\x00", 300),
        (b"\xc9\x00\x00\x00\x08\x00", 8),
        (b"\xc9\x00\x01\x11\x70\x00", 70_000),
    ] {
        let (json, files) = received(&[head, &zeros[..length]].concat());
        assert_eq!((&*json, &files[..]), (r#"{"_placeholder":true,"num":0}"#, &[zeros[..length].to_vec().into()][..]));
        // As the value of a key.
        let (json, files) = received(&[b"\x81\xa1a", head, &zeros[..length]].concat());
        assert_eq!((&*json, files.len()), (r#"{"a":{"_placeholder":true,"num":0}}"#, 1));
    }
}

#[test]
fn unknown_extensions_become_null() {
    let zeros = [0; 70_000];
    for (head, length) in [
        (&b"\xd4\x05"[..], 1),
        (b"\xd5\x00", 2),
        (b"\xd6\x00", 4),
        (b"\xd8\x00", 16),
        (b"\xd5\xff", 2),
        (b"\xd8\xff", 16),
        (b"\xd7\x7f", 8),
        (b"\xd7\x80", 8),
        (b"\xc7\x00\xff", 0),
        (b"\xc7\x0b\xff", 11),
        (b"\xc7\x08\x05", 8),
        (b"\xc8\x01\x2c\x01", 300),
        (b"\xc9\x00\x01\x11\x70\xfe", 70_000),
    ] {
        assert_eq!(received(&[head, &zeros[..length]].concat()), ("null".into(), vec![]), "{head:x?}");
        let (json, _) = received(&[b"\x81\xa1a", head, &zeros[..length]].concat());
        assert_eq!(json, r#"{"a":null}"#, "{head:x?}");
    }
}

#[test]
fn what_json_has_no_word_for() {
    let event = |data: &[u8]| decode(&seen(data), &Config::default()).map(|(_, broadcast)| broadcast.json);
    assert_eq!(event(b"\x92\xa1e\xcb\x7f\xf0\0\0\0\0\0\0").as_deref(), Ok(r#"["e",null]"#));
    let broken = "a half emoji: \u{fffd}\u{fffd}\u{fffd}";
    assert_eq!(event(b"\x92\xa1e\xb1a half emoji: \xed\xa0\xbd"), Ok(format!(r#"["e","{broken}"]"#)));
}

#[test]
fn every_truncation_is_refused() {
    let whole = seen(b"\x92\xabnew message\x82\xa8username\xa4Anna\xa7message\xa5hi \xc3\xa9");
    for length in 0..whole.len() {
        assert!(decode(&whole[..length], &Config::default()).is_err(), "{length}");
    }
}

#[test]
fn requests() {
    let read = |json: &str| serde_json::from_str::<Request>(json);
    for (number, kind) in [
        (0, RequestKind::Sockets),
        (1, RequestKind::AllRooms),
        (2, RequestKind::RemoteJoin),
        (3, RequestKind::RemoteLeave),
        (4, RequestKind::RemoteDisconnect),
        (5, RequestKind::RemoteFetch),
        (6, RequestKind::ServerSideEmit),
    ] {
        assert_eq!(kind as u8, number);
        assert_eq!(read(&format!(r#"{{"uid":"{UID}","type":{number}}}"#)).expect("a request").kind, kind);
    }
    // Types of MessagePack, unknown types, and no type at all.
    for json in [r#"{"type":7}"#, r#"{"type":9}"#, r#"{"type":255}"#, "{}"] {
        assert_eq!(read(json).expect(json).kind, RequestKind::Unknown);
    }
    for json in [r#"{"type":256}"#, r#"{"type":-1}"#, r#"{"type":"1"}"#] {
        assert!(read(json).is_err(), "{json}");
    }
    let leave = r#"{"uid":"2Ge8FK","type":3,"opts":{"rooms":["a"],"except":["b"]},"rooms":["r1"],"requestId":"x"}"#;
    let Request { opts, rooms, request_id, close, .. } = read(leave).expect("as it was seen");
    assert_eq!((opts.rooms, opts.except, rooms), (vec!["a".into()], vec!["b".into()], vec!["r1".into()]));
    assert_eq!((request_id.as_deref(), close), (Some("x"), false));
}

/// Text and attachments are each limited as in packets of clients, however much longer a publication may be.
#[test]
fn text_and_attachments_are_each_limited() {
    let config = Config { max_payload: 1000, ..Config::default() };
    let fits = |value: &[u8]| decode(&seen(&[b"\x92\xa1e", value].concat()), &config).is_ok();
    let (text, files) = (
        |length: usize| [&[0xda, (length >> 8) as u8, length as u8], &vec![b'x'; length][..]].concat(),
        |length: usize| {
            [&[0x92, 0xc4, 200], &[0; 200][..], &[0xc5, (length >> 8) as u8, length as u8], &vec![0; length]].concat()
        },
    );
    // The packet is `2["e","..."]`.
    assert!(fits(&text(1000 - 9)) && !fits(&text(1000 - 8)));
    assert!(fits(&files(800)) && !fits(&files(801)));
}
