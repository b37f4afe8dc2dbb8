//! Socket.IO packets, with the examples of the protocol texts.

use crate::watch::Watch;
use salon::{
    config::Config,
    socketio::packet::{self, Invalid, Kind},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, sync::LazyLock, time::Duration};

static CONFIG: LazyLock<Config> = LazyLock::new(Config::default);

/// A packet without its parsed JSON, which cannot be compared.
#[derive(Debug, PartialEq, Eq)]
struct Packet<'a> {
    kind: Kind,
    namespace: &'a str,
    id: Option<u64>,
    attachments: usize,
    data: &'a str,
}

/// Decodes, and checks that name and arguments are the parts of the JSON.
fn decode(text: &str) -> Result<Packet<'_>, Invalid> {
    let packet::Packet { kind, namespace, id, attachments, data, name, args, .. } = packet::decode(text, &CONFIG)?;
    let args: Vec<&str> = args.iter().map(|arg| arg.get()).collect();
    let elements: Vec<&str> = packet::elements(data).unwrap_or_default().iter().map(|raw| raw.get()).collect();
    match kind {
        Kind::Event => {
            assert_eq!(packet::event_name(raw(elements[0])).as_ref(), Ok(&name));
            assert_eq!(args, elements[1..]);
        }
        Kind::Ack => assert_eq!((&*name, args), ("", elements)),
        _ => assert_eq!((&*name, args.concat()), ("", data.trim().to_owned())),
    }
    Ok(Packet { kind, namespace, id, attachments, data })
}

fn packet(
    kind: Kind, namespace: &'static str, id: Option<u64>, data: &'static str,
) -> Result<Packet<'static>, Invalid> {
    Ok(Packet { kind, namespace, id, attachments: 0, data })
}

fn raw(json: &str) -> &RawValue {
    serde_json::from_str(json).unwrap()
}

fn placeholders(data: &str, attachments: usize) -> bool {
    assert!(packet::elements(data).is_ok(), "{data}");
    packet::placeholders(data, attachments).is_ok()
}

#[test]
fn examples_of_protocol_5() {
    assert_eq!(decode("0"), packet(Kind::Connect, "/", None, ""));
    assert_eq!(decode("0{\"token\":\"123\"}"), packet(Kind::Connect, "/", None, "{\"token\":\"123\"}"));
    assert_eq!(
        decode("0/admin,{\"sid\":\"oSO0OpakMV_3jnilAAAA\"}"),
        packet(Kind::Connect, "/admin", None, "{\"sid\":\"oSO0OpakMV_3jnilAAAA\"}")
    );
    assert_eq!(
        decode("4{\"message\":\"Not authorized\"}"),
        packet(Kind::ConnectError, "/", None, "{\"message\":\"Not authorized\"}")
    );
    assert_eq!(decode("2[\"foo\"]"), packet(Kind::Event, "/", None, "[\"foo\"]"));
    assert_eq!(decode("2/admin,[\"bar\"]"), packet(Kind::Event, "/admin", None, "[\"bar\"]"));
    assert_eq!(decode("212[\"foo\"]"), packet(Kind::Event, "/", Some(12), "[\"foo\"]"));
    assert_eq!(decode("3/admin,13[\"bar\"]"), packet(Kind::Ack, "/admin", Some(13), "[\"bar\"]"));
    assert_eq!(decode("30[]"), packet(Kind::Ack, "/", Some(0), "[]"));
    assert_eq!(decode("1"), packet(Kind::Disconnect, "/", None, ""));
    assert_eq!(decode("1/admin,"), packet(Kind::Disconnect, "/admin", None, ""));
    let data = "[\"baz\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]";
    assert_eq!(
        decode(&format!("52-/admin,{data}")),
        Ok(Packet { kind: Kind::Event, namespace: "/admin", id: None, attachments: 2, data })
    );
    let data = "[\"project:delete\",{\"_placeholder\":true,\"num\":0}]";
    assert_eq!(
        decode(&format!("51-/admin,456{data}")),
        Ok(Packet { kind: Kind::Event, namespace: "/admin", id: Some(456), attachments: 1, data })
    );
    let data = "[{\"_placeholder\":true,\"num\":0}]";
    assert_eq!(
        decode(&format!("61-/admin,456{data}")),
        Ok(Packet { kind: Kind::Ack, namespace: "/admin", id: Some(456), attachments: 1, data })
    );
}

#[test]
fn older_protocols() {
    assert_eq!(decode("0/admin"), packet(Kind::Connect, "/admin", None, ""));
    assert_eq!(decode("1/admin"), packet(Kind::Disconnect, "/admin", None, ""));
    assert_eq!(decode("0/admin?token=1234&uid=abcd"), packet(Kind::Connect, "/admin", None, ""));
    assert_eq!(decode("0/admin?token=1234,"), packet(Kind::Connect, "/admin", None, ""));
    for (text, query) in [("0/admin?token=1234&uid=a?b,", "token=1234&uid=a?b"), ("0/admin", ""), ("0", "")] {
        assert_eq!(packet::decode(text, &CONFIG).expect("a packet").query, query);
    }
    assert_eq!(decode("4/admin,\"Not authorized\""), packet(Kind::ConnectError, "/admin", None, "\"Not authorized\""));
    assert_eq!(decode("0/é,"), packet(Kind::Connect, "/é", None, ""));
    assert_eq!(decode("2/a-1,2[\"x,y\"]"), packet(Kind::Event, "/a-1", Some(2), "[\"x,y\"]"));
}

#[test]
fn shapes() {
    for bad in [
        "",
        "7",
        "9[]",
        "a",
        "€",
        "2",
        "2{}",
        "2[]",
        "2abc",
        "2abc[\"a\"]",
        "2[",
        "2[\"a\"",
        "2[\"a\",]",
        "2[\"a\"]x",
        "2\"a\"",
        "2[{\"toString\":\"foo\"}]",
        "2[true]",
        "2[null]",
        "2[[\"a\"]]",
        "2-[\"a\"]",
        "2[\"a\",01]",
        "2[\"\n\"]",
        "2[\"\\ud83\"]",
        "2[\"\\x\"]",
        "2/admin[\"a\"]",
        "2/admin",
        "20",
        "3{}",
        "3 ",
        "3x",
        "31{}",
        "31\"a\"",
        "0[]",
        "0 x",
        "0\"a\"",
        "0{",
        "0null",
        "0{\"a\":}",
        "1{}",
        "1[]",
        "1x",
        "4",
        "4[]",
        "41",
        "4null",
        "5[\"a\"]",
        "5-[\"a\"]",
        "5",
        "51",
        "51-",
        "5x-[\"a\"]",
        "51[\"a\"]",
        "5-1-[\"a\"]",
        "51-1-[\"a\"]",
        "51-{}",
        "6",
        "61-1",
    ] {
        assert!(decode(bad).is_err(), "{bad:?}");
    }
    for good in [
        "2[\"a\"]",
        "2[1]",
        "2[-1.5e400,1]",
        "2[\"error\",\"x\"]",
        "2 [ \"a\" ] ",
        "2[\"\"]",
        "31[]",
        "50-[\"a\"]",
        // An ack that belongs to no event, and one without arguments.
        "3",
        "3[]",
        "30",
        "3/a,",
        "3/a,5[]",
        "61-[]",
        // White space behind a CONNECT.
        "0 ",
        "0\n",
        "0/a, ",
        "0/a,\r\n",
        "0/a?b=c, ",
        "0 {} ",
    ] {
        assert!(decode(good).is_ok(), "{good:?}");
    }
}

#[test]
fn reserved_names() {
    for name in ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"] {
        assert!(decode(&format!("2[\"{name}\"]")).is_err());
        assert!(decode(&format!("2[\"{name}\",\"1\"]")).is_err());
        assert!(decode(&format!("51-[\"{name}\",{{\"_placeholder\":true,\"num\":0}}]")).is_err());
        let escaped: String = name.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        assert!(decode(&format!("2[\"{escaped}\"]")).is_err());
        assert!(decode(&format!("2[\"{name} \"]")).is_ok());
        assert!(decode(&format!("2[\"a\",\"{name}\"]")).is_ok());
        assert!(decode(&format!("31[\"{name}\"]")).is_ok());
    }
}

#[test]
fn every_prefix_of_a_packet() {
    let data = r#"["né",{"_placeholder":true,"num":0},"\ud83d\"]",[1e400]]"#;
    let whole = format!("51-/admin,456{data}");
    for (end, _) in whole.char_indices() {
        assert!(decode(&whole[..end]).is_err(), "{end}");
        // These are called with accepted JSON only, but must not panic or hang on any text.
        let _ = packet::placeholders(&whole[..end], 1);
        let _ = packet::placeholders(&whole[end..], 1);
        let _ = packet::elements(&whole[end..]);
    }
    assert!(decode(&whole).is_ok());
    assert!(placeholders(data, 1));
    for odd in ["]", "}", ":", "\"", "\"\\", "{:", "{\"num\":", ":1}", "{\"_placeholder\":true}}", "}{", ",,", "\u{c}"]
    {
        let _ = packet::placeholders(odd, 1);
    }
}

#[test]
fn numbers_in_the_head() {
    assert_eq!(decode("29007199254740991[\"a\"]").unwrap().id, Some(9007199254740991));
    assert!(decode("29007199254740992[\"a\"]").is_err());
    assert!(decode("212345678901234567890[\"a\"]").is_err());
    assert_eq!(decode("2007[\"a\"]").unwrap().id, Some(7));
    assert_eq!(decode("510-[\"a\"]").unwrap().attachments, 10);
    for bad in ["511-[\"a\"]", "599999999-[\"x\"]", "599999999999999999999999-[\"x\"]", "5+1-[\"x\"]"] {
        assert!(decode(bad).is_err(), "{bad}");
    }
    let start = Watch::start();
    assert!(decode(&"2".repeat(1_000_000)).is_err());
    assert!(decode(&("2".repeat(1_000_000) + "[\"a\"]")).is_err());
    assert!(decode(&("5".repeat(1_000_000) + "-[\"a\"]")).is_err());
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn depth() {
    let nested = |open: &str, close: &str, depth: usize| {
        format!("2[\"m\",{}1{}]", open.repeat(depth - 1), close.repeat(depth - 1))
    };
    assert!(decode(&nested("[", "]", 64)).is_ok());
    assert!(decode(&nested("[", "]", 65)).is_err());
    assert!(decode(&nested("{\"a\":", "}", 64)).is_ok());
    assert!(decode(&nested("{\"a\":", "}", 65)).is_err());
    assert!(decode(&nested("[", "]", 100_000)).is_err());
    assert!(decode(&format!("2[\"m\",{}", "[".repeat(100_000))).is_err());
    assert!(decode(&format!("0{}", "{\"a\":".repeat(100_000))).is_err());
    // Many brackets, but not nested.
    assert!(decode(&format!("2[\"m\"{}]", ",[{}]".repeat(1000))).is_ok());
    // Brackets in strings, and strings with escaped quotes.
    let brackets = "[{".repeat(1000);
    assert!(decode(&format!("2[\"{brackets}\"]")).is_ok());
    assert!(decode(&format!("2[\"\\\"{brackets}\\\\\"]")).is_ok());
    assert!(decode(&format!("2[\"\\\\\",{}1{}]", "[".repeat(64), "]".repeat(64))).is_err());
    assert!(decode(&format!("2[\"\\\\\\\"{brackets}\"]")).is_ok());
    assert_eq!(decode(&nested("[", "]", 65)), Err(Invalid("nested too deeply")));
}

#[test]
fn arguments_are_left_as_they_came() {
    let args = [
        "\"m\"",
        r#""\ud83d""#,
        "1e400",
        "12345678901234567890",
        "-0.10",
        r#"{"b":1,"a":{"2":0,"1":0},"b":2}"#,
        "[ 1 , 2 ]",
        "\"é😀\\u00e9\"",
        "null",
        "{}",
        "[]",
    ];
    let text = format!("2[{}]", args.join(","));
    let elements = packet::elements(decode(&text).unwrap().data).unwrap();
    let found: Vec<&str> = elements.iter().map(|raw| raw.get()).collect();
    assert_eq!(found, args);
    // Borrowed, not copied.
    assert!(text.as_bytes().as_ptr_range().contains(&found[0].as_ptr()));
    let spaced = packet::elements(" [ 1 , \"a\" ] ").unwrap();
    assert_eq!(spaced.iter().map(|raw| raw.get()).collect::<Vec<_>>(), ["1", "\"a\""]);
    for bad in ["", "{}", "1", "[1", "[1,]", "[1]]", "[1 2]", "[\u{feff}1]"] {
        assert!(packet::elements(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn strings() {
    let string = |json: &str| packet::string(raw(json)).map(Cow::into_owned);
    assert_eq!(string("\"abc é😀\""), Some("abc é😀".into()));
    assert_eq!(string(r#""\u00e9\ud83d\ude00\n\"\\\/""#), Some("é😀\n\"\\/".into()));
    assert_eq!(string(r#""""#), Some("".into()));
    // One U+FFFD for each half of an emoji.
    assert_eq!(string(r#""\ud83d""#), Some("\u{fffd}".into()));
    assert_eq!(string(r#""a\ude00b\ud83dc\n""#), Some("a\u{fffd}b\u{fffd}c\n".into()));
    assert_eq!(string(r#""\ude00\ud83d""#), Some("\u{fffd}\u{fffd}".into()));
    assert_eq!(string(r#""\ud83d\ud83d\ude00é""#), Some("\u{fffd}😀é".into()));
    assert_eq!(string(r#""\ud83d😀\ud7ff\ue000""#), Some("\u{fffd}😀\u{d7ff}\u{e000}".into()));
    for other in ["1", "null", "true", "[\"a\"]", "[97]", "{\"a\":1}"] {
        assert_eq!(string(other), None, "{other}");
    }
    assert!(matches!(packet::string(raw("\"plain é\"")), Some(Cow::Borrowed("plain é"))));
}

#[test]
fn names() {
    let name = |json: &str| packet::event_name(raw(json)).map(Cow::into_owned);
    assert_eq!(name("\"new message\""), Ok("new message".into()));
    assert_eq!(name("1"), Ok("1".into()));
    assert_eq!(name("-2.5"), Ok("-2.5".into()));
    for bad in ["true", "null", "[]", "{}", "[\"a\"]"] {
        assert!(name(bad).is_err(), "{bad}");
    }
}

#[test]
fn placeholders_name_each_attachment() {
    assert!(placeholders(r#"["a",{"_placeholder":true,"num":0}]"#, 1));
    assert!(placeholders(r#"["a",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]"#, 2));
    assert!(placeholders(r#"["a",{"x":[{"num":0,"_placeholder":true}]}]"#, 1));
    assert!(placeholders(r#"[ "a" , { "_placeholder" : true , "num" : 0 } ]"#, 1));
    assert!(placeholders(r#"["a"]"#, 0));
    // Not placeholders: strings, other values, other keys.
    assert!(placeholders(r#"["{\"_placeholder\":true,\"num\":0}"]"#, 0));
    assert!(placeholders(r#"[{"_placeholder":false,"num":5},{"_placeholder":"true"},{"_placeholder":1}]"#, 0));
    assert!(placeholders(r#"[{"_placeholder":[true],"num":5},{"placeholder":true},{"num":7}]"#, 0));
    assert!(placeholders(r#"["_placeholder",true,"num",5,{"a":"_placeholder"}]"#, 0));
    assert!(placeholders(r#"[{"_placeholder":true,"num":5,"_placeholder":false}]"#, 0));
    assert!(placeholders(r#"[{"_placeholder":true,"num":5,"num":0}]"#, 1));
    for bad in [
        r#"{"_placeholder":true,"num":1}"#,
        r#"{"_placeholder":true,"num":-1}"#,
        r#"{"_placeholder":true,"num":-0}"#,
        r#"{"_placeholder":true,"num":0.5}"#,
        r#"{"_placeholder":true,"num":1e0}"#,
        r#"{"_placeholder":true,"num":99999999999999999999}"#,
        r#"{"_placeholder":true,"num":"splice"}"#,
        r#"{"_placeholder":true,"num":"0"}"#,
        r#"{"_placeholder":true,"num":null}"#,
        r#"{"_placeholder":true,"num":[0]}"#,
        r#"{"_placeholder":true,"num":{"num":0}}"#,
        r#"{"_placeholder":true}"#,
        r#"{"_placeholder":true,"num":0,"num":"splice"}"#,
        r#"{"_placeholder":false,"num":7,"_placeholder":true}"#,
        // Clients unescape keys before they look for placeholders.
        r#"{"\u005fplaceholder":true,"num":7}"#,
        r#"{"_placeholder":true,"num":0,"\u006eum":7}"#,
    ] {
        let fine = r#"{"_placeholder":true,"num":0}"#;
        assert!(!placeholders(&format!("[\"a\",{bad}]"), 1), "{bad}");
        assert!(!placeholders(&format!("[\"a\",{bad},{fine}]"), 1), "{bad}");
        assert!(!placeholders(&format!("[\"a\",{fine},{{\"x\":[{bad}]}}]"), 1), "{bad}");
    }
    // Attachments without a placeholder.
    assert!(!placeholders(r#"["a"]"#, 1));
    assert!(!placeholders(r#"["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#, 2));
}

#[test]
fn large_packets_take_no_time() {
    let start = Watch::start();
    let inner = "x".repeat(900_000);
    let deep = format!("5{}", format_args!("1-[\"m\",{}\"{inner}\"{}]", "[".repeat(60), "]".repeat(60)));
    let wide = format!("51-[\"m\"{}]", ",1".repeat(450_000));
    let escapes = format!("51-[\"m\",\"{}\"]", "\\\"".repeat(450_000));
    let keys = format!("51-[\"m\",{{\"a\":0{}}}]", ",\"\\u0062\":1".repeat(80_000));
    for text in [deep, wide, escapes, keys] {
        let start = Watch::start();
        let data = packet::decode(&text, &CONFIG).unwrap().data;
        let decoded = start.elapsed();
        assert!(packet::placeholders(data, 1).is_err());
        println!("{} bytes: {decoded:?}, placeholders {:?}", text.len(), start.elapsed() - decoded);
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn heads_out() {
    let head = |kind, attachments, namespace, id| {
        let mut out = b"4".to_vec();
        packet::write_head(&mut out, kind, attachments, namespace, id);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(head(Kind::Connect, 0, "/", None), "40");
    assert_eq!(head(Kind::Connect, 0, "/admin", None), "40/admin,");
    assert_eq!(head(Kind::Disconnect, 0, "/", None), "41");
    assert_eq!(head(Kind::Event, 0, "/", Some(12)), "4212");
    assert_eq!(head(Kind::Ack, 0, "/admin", Some(13)), "43/admin,13");
    assert_eq!(head(Kind::ConnectError, 0, "/", None), "44");
    assert_eq!(head(Kind::Event, 2, "/", None), "452-");
    assert_eq!(head(Kind::Event, 1, "/admin", Some(456)), "451-/admin,456");
    assert_eq!(head(Kind::Ack, 2, "/", Some(789)), "462-789");
}
