//! Engine.IO protocols 2 and 3, with the examples of the protocol text.

use crate::watch::Watch;
use bytes::Bytes;
use salon::{
    engineio::{
        jsonp,
        packet::{self, Data, Encoded, Invalid, Packet},
        v3::{self, Framing, Version},
    },
    ws::Text,
};
use std::time::Duration;

const TEXT: &str = "text/plain; charset=UTF-8";
const BINARY: &str = "application/octet-stream";
/// The binary payload of the protocol text, with its wrong length of the text packet corrected.
const EXAMPLE: &[u8] = b"\x00\x04\xff4\xe2\x82\xac\x01\x05\xff\x04\x01\x02\x03\x04";

fn text(text: &str) -> Packet {
    Packet::Message(Data::Text(text.into()))
}

fn binary(bytes: &'static [u8]) -> Packet {
    Packet::Message(Data::Binary(Bytes::from_static(bytes)))
}

fn decode_text(body: impl AsRef<[u8]>) -> Result<Vec<Packet>, Invalid> {
    let body = Bytes::copy_from_slice(body.as_ref());
    v3::decode_payload(body, false, usize::MAX)
}

fn decode_binary(body: impl AsRef<[u8]>) -> Result<Vec<Packet>, Invalid> {
    let body = Bytes::copy_from_slice(body.as_ref());
    v3::decode_payload(body, true, usize::MAX)
}

fn frame(text: &str, version: Version) -> Result<Packet, Invalid> {
    v3::decode_frame(Data::Text(text.into()), version)
}

/// Text as a client 1.x passes it to the transport, which encodes it once more.
fn twice(text: &str) -> String {
    text.bytes().map(char::from).collect()
}

fn message(text: &str) -> Encoded {
    Encoded::text(|out| out.extend_from_slice(text.as_bytes()))
}

fn payload(messages: &[Encoded], framing: Framing) -> (Vec<u8>, &'static str) {
    let packets: Vec<Bytes> = messages.iter().map(v3::packet).collect();
    v3::payload(&packets, framing)
}

#[test]
fn text_payloads() {
    assert_eq!(decode_text("6:4hello2:4€"), Ok(vec![text("hello"), text("€")]));
    assert_eq!(decode_text("2:4€10:b4AQIDBA=="), Ok(vec![text("€"), binary(&[1, 2, 3, 4])]));
    assert_eq!(decode_text("1:1"), Ok(vec![Packet::Close]));
    assert_eq!(decode_text("6:2probe1:5"), Ok(vec![Packet::Ping("probe".into()), Packet::Upgrade]));
    assert_eq!(decode_text("11:42[\"hello\"]1:6"), Ok(vec![text("2[\"hello\"]"), Packet::Noop]));
    assert_eq!(decode_text("002:4a"), Ok(vec![text("a")]));
    assert_eq!(decode_text("4:41:12:4b"), Ok(vec![text("1:1"), text("b")]));
}

#[test]
fn lengths_are_utf16() {
    assert_eq!(decode_text("3:4😀4:4😀€"), Ok(vec![text("😀"), text("😀€")]));
    // A length that splits the emoji, or counts it as one.
    assert!(decode_text("2:4😀").is_err());
    assert!(decode_text("2:4😀1:6").is_err());
    assert!(decode_text("5:4😀").is_err());
}

#[test]
fn invalid_text_payloads() {
    for bad in [
        "",
        ":",
        "4a",
        "4",
        "0:",
        "1:",
        "3:4a",
        "1:4a",
        "2:4a3",
        "2:4a3:",
        "2:4a:4b",
        "+2:4a",
        "-1:4a",
        " 2:4a",
        "2.0:4a",
        "0x2:4a",
        "2e0:4a",
        "٢:4a",
        "99999999999999999999:4a",
        "18446744073709551615:4a",
        "2:9a",
        "2:bA",
        "6:b3AQID",
        "4:b4A!",
        "1:b",
        "2:4a\n",
    ] {
        assert!(decode_text(bad).is_err(), "{bad:?}");
    }
    assert!(decode_text(b"2:4\xff").is_err());
    assert!(decode_text("9".repeat(1_000_000)).is_err());
    assert!(decode_text("9".repeat(1_000_000) + ":4").is_err());
}

#[test]
fn binary_payloads() {
    assert_eq!(decode_binary(EXAMPLE), Ok(vec![text("€"), binary(&[1, 2, 3, 4])]));
    // From the conformance suite.
    let body = b"\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04";
    assert_eq!(decode_binary(body), Ok(vec![text("hello"), binary(&[1, 2, 3, 4])]));
    let long = [&b"\x00\x01\x00\x01\xff4"[..], &[b'x'; 100]].concat();
    assert_eq!(decode_binary(long), Ok(vec![text(&"x".repeat(100))]));
    assert_eq!(decode_binary(b"\x01\x01\xff\x04"), Ok(vec![binary(b"")]));
    assert_eq!(decode_binary(b"\x00\x01\xff1"), Ok(vec![Packet::Close]));
    // Text in binary framing is encoded once: what looks encoded twice was written so.
    assert_eq!(decode_binary(b"\x00\x05\xff4\xc3\x83\xc2\xa9"), Ok(vec![text("Ã©")]));
}

#[test]
fn invalid_binary_payloads() {
    for bad in [
        &b""[..],
        b"\x00",
        b"\xff",
        b"\x00\xff",
        b"\x00\xff4",
        b"\x01\x05\xff\x04\x01\x02", // truncated (siox 29dc67c1)
        b"\x00\x00\xff",             // empty packet
        b"\x00\x01\xff",             // nothing follows
        b"\x00\x0a\xff4123456789",   // ten is no digit
        b"\x00\xd0\xff4",            // siox b61d5220
        b"\x00\xfe\xff4",
        b"\x00\x31\xff4",     // ASCII digits
        b"\x02\x01\xff4",     // neither text nor binary
        b"\x00\x01\xff4\x00", // rest
        b"\x00\x01\xff9",     // unknown type
        b"\x01\x02\xff\x034", // binary that is no message
        b"\x01\x02\xff4a",
        b"\x00\x02\xff4\xff", // not UTF-8
        b"\x00\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\xff4",
        b"\x01\x01\x08\x04\x04\x06\x07\x04\x04\x00\x07\x03\x07\x00\x09\x05\x05\x01\x06\x01\x05\xff4", // 2^64 - 1
    ] {
        assert!(decode_binary(bad).is_err(), "{bad:x?}");
    }
    // 2^65 + 8: after a wrapping multiplication the length would be 8, which fits.
    let wrapped = [&b"\x00"[..], &b"36893488147419103240".map(|digit| digit - b'0'), b"\xff41234567"].concat();
    assert!(decode_binary(wrapped).is_err());
    for byte in 10..=254 {
        assert!(decode_binary([0, byte, 0xff, b'4']).is_err());
        assert!(decode_binary([0, 0, byte, 0xff, b'4']).is_err());
    }
    assert!(decode_binary([&b"\x00"[..], &[9; 1_000_000], b"\xff4"].concat()).is_err());
}

#[test]
fn every_prefix_of_a_payload() {
    let body = "4:4é€a1:210:b4AQIDBA==3:4😀";
    let whole = ["4:4é€a", "4:4é€a1:2", "4:4é€a1:210:b4AQIDBA==", body].map(str::len);
    for end in 0..=body.len() {
        assert_eq!(decode_text(&body.as_bytes()[..end]).is_ok(), whole.contains(&end), "{end}");
    }
    for end in 0..EXAMPLE.len() {
        assert_eq!(decode_binary(&EXAMPLE[..end]).is_ok(), end == 7, "{end}");
    }
}

#[test]
fn payloads_of_tiny_packets_are_read_in_linear_time() {
    let start = Watch::start();
    assert_eq!(decode_text("1:6".repeat(60_000)).unwrap().len(), 60_000);
    assert_eq!(decode_binary(b"\x00\x01\xff6".repeat(60_000)).unwrap().len(), 60_000);
    // A long payload that is invalid at its end.
    assert!(decode_text("1:4".repeat(60_000) + "9:4").is_err());
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[test]
fn double_utf8_of_old_clients() {
    let emoji = twice("42[\"é😀你\"]");
    let body = format!("{}:{emoji}", emoji.encode_utf16().count());
    assert_eq!(decode_text(body), Ok(vec![text("2[\"é😀你\"]")]));
    // Text of 2.x stays as it is: it has characters above U+00FF, or its values are not UTF-8.
    assert_eq!(decode_text("3:4é€"), Ok(vec![text("é€")]));
    assert_eq!(decode_text("2:4é"), Ok(vec![text("é")]));
    assert_eq!(decode_text("3:4Ã1"), Ok(vec![text("Ã1")]));
    assert_eq!(decode_text("3:4\u{ff}\u{fe}"), Ok(vec![text("\u{ff}\u{fe}")]));
    assert_eq!(decode_text("4:4Ã©€"), Ok(vec![text("Ã©€")]));
    // Encoded three times: only one encoding is undone.
    let thrice = twice(&twice("é"));
    assert_eq!(decode_text(format!("5:4{thrice}")), Ok(vec![text("Ã©")]));
}

#[test]
fn frames_in() {
    let emoji = twice("42[\"é😀你\"]");
    assert_eq!(frame(&emoji, Version::V2), Ok(text("2[\"é😀你\"]")));
    assert_eq!(frame(&emoji, Version::V3), Ok(text(&emoji[1..])));
    for version in [Version::V2, Version::V3] {
        assert_eq!(frame("2probe", version), Ok(Packet::Ping("probe".into())));
        assert_eq!(frame("5", version), Ok(Packet::Upgrade));
        assert_eq!(frame("4é", version), Ok(text("é")));
        assert_eq!(frame("b4AQIDBA==", version), Ok(binary(&[1, 2, 3, 4])));
        for bad in ["", "b", "bAQIDBA==", "b3AQID", "7", "abc"] {
            assert!(frame(bad, version).is_err(), "{bad:?}");
        }
        let bytes = |bytes: &'static [u8]| v3::decode_frame(Data::Binary(Bytes::from_static(bytes)), version);
        assert_eq!(bytes(&[4, 1, 2, 3]), Ok(binary(&[1, 2, 3])));
        assert_eq!(bytes(&[4]), Ok(binary(b"")));
        assert!(bytes(b"").is_err());
        assert!(bytes(b"4abc").is_err());
        assert!(bytes(&[3, 1]).is_err());
    }
}

#[test]
fn frames_out() {
    let ascii = message("2[\"foo\"]");
    assert_eq!(v3::frame(&ascii, Version::V2), ascii.frame());
    assert_eq!(v3::frame(&ascii, Version::V2).as_ptr(), ascii.frame().as_ptr());
    assert_eq!(v3::packet(&ascii).as_ptr(), ascii.packet().as_ptr());

    let beyond = message("2[\"é€😀\\\"é\",1]");
    assert_eq!(v3::frame(&beyond, Version::V3), beyond.frame());
    let escaped = r#"42["\u00e9\u20ac\ud83d\ude00\"\u00e9",1]"#;
    assert_eq!(v3::packet(&beyond), escaped);
    let expected = [&[0x81, escaped.len() as u8], escaped.as_bytes()].concat();
    assert_eq!(v3::frame(&beyond, Version::V2), expected);
    assert_eq!(v3::packet(&beyond).as_ptr(), v3::packet(&beyond).as_ptr(), "made once");

    let bytes = Encoded::binary(Bytes::from_static(&[1, 2, 3, 4]));
    for version in [Version::V2, Version::V3] {
        assert_eq!(v3::frame(&bytes, version), &b"\x82\x05\x04\x01\x02\x03\x04"[..]);
        assert_eq!(v3::packet(&bytes), &b"\x04\x01\x02\x03\x04"[..]);
        assert_eq!(v3::frame(&bytes, version).as_ptr(), v3::frame(&bytes, version).as_ptr());
    }
    // The forms for older protocols do not change that for protocol 4.
    assert_eq!(bytes.frame(), &b"\x82\x04\x01\x02\x03\x04"[..]);
    assert_eq!(bytes.packet(), "bAQIDBA==");
}

#[test]
fn only_strings_have_escapes() {
    assert_eq!(v3::packet(&message("€")), "4€");
    assert_eq!(v3::packet(&message("2/é,[\"\\\\\",\"é\"]")), "42/é,[\"\\\\\",\"\\u00e9\"]");
}

#[test]
fn payloads_out() {
    let euro = [message("hello"), message("€")];
    assert_eq!(payload(&euro, Framing::ByContent), ("6:4hello2:4€".into(), TEXT));
    assert_eq!(payload(&euro, Framing::Text), ("6:4hello2:4€".into(), TEXT));
    let expected = b"\x00\x06\xff4hello\x00\x04\xff4\xe2\x82\xac".to_vec();
    assert_eq!(payload(&euro, Framing::Binary), (expected, BINARY));
    assert_eq!(payload(&[message("😀")], Framing::ByContent), ("3:4😀".into(), TEXT));
    assert_eq!(payload(&[message("\"😀\"")], Framing::ByContent), ("15:4\"\\ud83d\\ude00\"".into(), TEXT));

    let mixed = [message("€"), Encoded::binary(Bytes::from_static(&[1, 2, 3, 4]))];
    assert_eq!(payload(&mixed, Framing::Text), ("2:4€10:b4AQIDBA==".into(), TEXT));
    assert_eq!(payload(&mixed, Framing::ByContent), (EXAMPLE.into(), BINARY));
    assert_eq!(payload(&mixed, Framing::Binary), (EXAMPLE.into(), BINARY));

    assert_eq!(v3::payload(&[packet::NOOP], Framing::ByContent), ("1:6".into(), TEXT));
    let open = Bytes::from(format!("0{{\"sid\":\"{}\"}}", "x".repeat(99)));
    let (body, content_type) = v3::payload(std::slice::from_ref(&open), Framing::Binary);
    assert_eq!((&body[..5], content_type), (&b"\x00\x01\x01\x00\xff"[..], BINARY));
    assert_eq!(body[5..], open);
}

#[test]
fn packets_become_frames() {
    let bytes = Encoded::binary(Bytes::from_static(&[1, 2, 3]));
    for version in [Version::V2, Version::V3] {
        assert_eq!(v3::packet_to_frame(&v3::packet(&bytes)), v3::frame(&bytes, version));
    }
    let text = message("[\"é\"]");
    assert_eq!(v3::packet_to_frame(&v3::packet(&text)), v3::frame(&text, Version::V2));
    assert_eq!(v3::packet_to_frame(&packet::pong("probe")), packet::PONG_PROBE_FRAME);
}

#[test]
fn jsonp_out() {
    let script = |payload: &str| String::from_utf8(jsonp::encode(4, payload.as_bytes())).unwrap();
    assert_eq!(script("packet data"), r#"___eio[4]("packet data");"#);
    assert_eq!(script("11:42[\"a\\n\"]"), r#"___eio[4]("11:42[\"a\\n\"]");"#);
    assert_eq!(script("a\r\n\t\u{8}\u{0}\x1e'/"), r#"___eio[4]("a\r\n\t\b\u0000\u001e'/");"#);
    assert_eq!(script("\u{2028}\u{2029}é😀"), r#"___eio[4]("\u2028\u2029\u00e9\ud83d\ude00");"#);
    assert_eq!(script("</script><!--"), r#"___eio[4]("\u003c/script>\u003c!--");"#);
    // A JSON parser reads back the text.
    let all: String = ('\0'..'\u{3000}').chain('\u{fff0}'..'\u{10100}').collect();
    let script = script(&all);
    assert!(script.is_ascii());
    let literal = script.strip_prefix("___eio[4](").unwrap().strip_suffix(");").unwrap();
    assert_eq!(serde_json::from_str::<String>(literal).unwrap(), all);
    // A client may ask for JSONP after a handshake without it, and so get a binary body: no panic.
    jsonp::encode(0, EXAMPLE);
}

#[test]
fn callbacks_are_digits() {
    assert_eq!(v3::digits::<u32>("0"), Some(0));
    assert_eq!(v3::digits::<u32>("42"), Some(42));
    assert_eq!(v3::digits::<u32>("4294967295"), Some(u32::MAX));
    for bad in ["", "+1", "-1", "1a", " 1", "4294967296", "٣", "0];alert(1)//", "1.0"] {
        assert_eq!(v3::digits::<u32>(bad), None, "{bad:?}");
    }
}

#[test]
fn jsonp_in() {
    let body = |form: &str| jsonp::decode(form.as_bytes());
    assert_eq!(body("d=6%3A4hello"), Ok("6:4hello".into()));
    assert_eq!(body("d=2%3A4%E2%82%AC&x=1"), Ok("2:4€".into()));
    assert_eq!(body("d=a+b%2B"), Ok("a b+".into()));
    // `\n` is a line end, `\\n` the two characters that JSON writes for one, `\\\n` three.
    assert_eq!(body(r"d=a\nb"), Ok("a\nb".into()));
    assert_eq!(body(r"d=a\\nb"), Ok(r"a\nb".into()));
    assert_eq!(body(r"d=a\\\nb"), Ok(r"a\\nb".into()));
    assert_eq!(body(r"d=\\n\n\\n\t"), Ok("\\n\n\\n\\t".into()));
    assert_eq!(body("d="), Ok("".into()));
    assert_eq!(body("d=1&d=2"), Ok("2".into()));
    for bad in ["", "x=1", "dd=1"] {
        assert!(body(bad).is_err(), "{bad:?}");
    }
    assert!(jsonp::decode(b"d=\xff").is_err());
    let start = Watch::start();
    assert_eq!(body(&("d=".to_owned() + &r"\\n".repeat(300_000))), Ok(r"\n".repeat(300_000).into()));
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[test]
fn text_is_shared_with_the_body() {
    let body = Bytes::from_static(b"6:4hello");
    let packets = v3::decode_payload(body.clone(), false, usize::MAX).unwrap();
    let [Packet::Message(Data::Text(text))] = &packets[..] else { panic!("{packets:?}") };
    assert_eq!(Text::as_str(text).as_ptr(), body[3..].as_ptr());
}
