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

#[test]
fn dates_and_what_json_has_no_word_for() {
    let event = |data: &[u8]| decode(&seen(data), &Config::default()).map(|(_, broadcast)| broadcast.json);
    let date = event(b"\x92\xa1e\xd6\xff\x3b\x9a\xca\x00");
    assert_eq!(date.as_deref(), Ok(r#"["e","2001-09-09T01:46:40.000Z"]"#));
    assert_eq!(event(b"\x92\xa1e\xcb\x7f\xf0\0\0\0\0\0\0").as_deref(), Ok(r#"["e",null]"#));
    assert!(event(b"\x92\xa1e\xd4\x05\x00").is_err(), "another extension");
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
