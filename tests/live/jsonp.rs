//! JSONP polling, in all protocols: scripts out, forms in; and whose pages may use it, which no browser asks for us.

use crate::{
    echo,
    harness::{Response, Server, Speaker, Talk, WebSocket, classic, get, request, upgrade, websocket},
    old::gunzip,
    poller::{FORM, Poller, SCRIPT, form, lengths, payload_of_script, post_with},
    secure,
};

const UNKNOWN_TRANSPORT: &str = r#"{"code":0,"message":"Transport unknown"}"#;
const UNKNOWN_SID: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
const BAD_METHOD: &str = r#"{"code":2,"message":"Bad handshake method"}"#;
const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;
const FORBIDDEN: &str = r#"{"code":4,"message":"Forbidden"}"#;
const UNSUPPORTED: &str = r#"{"code":5,"message":"Unsupported protocol version"}"#;

/// What a browser of today says of a script of our own page.
const OURS: &str = "Sec-Fetch-Site: same-origin\r\n";
const FORM_FIELDS: &str = "Sec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\n";

fn handshake(version: u8, more: &str) -> String {
    format!("/socket.io/?EIO={version}&transport=polling{more}")
}

fn open(server: &Server, version: u8) -> Poller {
    Poller::open_with(server, &format!("EIO={version}&j=0"), OURS)
}

/// One packet as the payload of that version.
fn payload(version: u8, packet: &str) -> String {
    if version == 4 { packet.to_owned() } else { lengths(packet) }
}

// Scripts.

#[test]
fn a_get_is_answered_with_a_call() {
    let server = Server::start(&[]);
    for version in [2, 3, 4] {
        for number in ["0", "7", "42", "4294967295"] {
            let target = handshake(version, &format!("&j={number}"));
            let response = server.ask(&request("GET", &target, OURS, ""));
            assert_eq!(response.status, 200);
            assert_eq!(response.header("Content-Type"), Some(SCRIPT));
            assert_eq!(response.header("Cache-Control"), Some("no-store"));
            let open = payload_of_script(response.text(), number);
            let (start, json) = open.split_at(open.find('{').expect("JSON"));
            assert_eq!(start, if version == 4 { "0".to_owned() } else { format!("{}:0", json.len() + 1) });
            let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
            assert_eq!(json["upgrades"], serde_json::json!(["websocket"]));

            let sid = json["sid"].as_str().expect("a string");
            let target = format!("{target}&sid={sid}");
            if version == 4 {
                let connect = post_with(&target, FORM_FIELDS, b"d=40%2Fnowhere%2C");
                assert_eq!(server.connect().ask(connect).brief(), (200, "ok"));
            }
            let response = server.ask(&request("GET", &target, OURS, ""));
            assert_eq!(response.header("Content-Type"), Some(SCRIPT));
            let expected = match version {
                4 => r#""44/nowhere,{\"message\":\"Invalid namespace\"}""#,
                _ => r#""2:40""#,
            };
            assert_eq!(response.text(), format!("___eio[{number}]({expected});"));
        }
    }
}

/// What stands in the script is a number that was read and written again.
#[test]
fn nothing_but_a_number_is_echoed() {
    let server = Server::start(&[]);
    let rows = [
        ("007", Some("___eio[7](")),
        ("%31", Some("___eio[1](")),
        ("", None),
        ("abc", None),
        ("1a", None),
        ("-1", None),
        ("+1", None),
        ("%2B1", None),
        ("1.0", None),
        ("1e3", None),
        ("0x1", None),
        ("%201", None),
        ("1;alert(1)", None),
        ("0](alert(1));//", None),
        ("0%5D(alert(1))%3B%2F%2F", None),
        ("%3Cscript%3E", None),
        ("1%00", None),
        ("1%0D%0AX-Evil:%201", None),
        ("%D9%A3", None), // a digit, but an Arabic one
        ("4294967296", None),
        // The last one counts.
        ("1&j=2", Some("___eio[2](")),
        ("x&%6A=2", Some("___eio[2](")),
        ("1&j=x", None),
        ("1&%6A", None),
    ];
    let long = "1".repeat(10_000);
    for version in [2, 3, 4] {
        for (number, start) in rows.iter().copied().chain([(&*long, None)]) {
            let response = server.ask(&request("GET", &handshake(version, &format!("&j={number}")), OURS, ""));
            match start {
                Some(start) => assert!(response.text().starts_with(start), "{response:?}"),
                None => {
                    assert_eq!(response.brief(), (400, BAD_REQUEST), "{number}");
                    assert_eq!(response.header("Content-Type"), Some("application/json"));
                    assert_eq!(response.header("X-Evil"), None);
                }
            }
        }
        // A session that is there does not change that, and is not harmed.
        let mut session = open(&server, version);
        session.join();
        for (number, _) in rows.iter().filter(|(_, start)| start.is_none()) {
            let target = session.target.replace("&j=0", &format!("&j={number}"));
            assert_eq!(server.ask(&request("GET", &target, OURS, "")).brief(), (400, BAD_REQUEST), "{number}");
        }
        session.assert_quiet();
    }
}

#[test]
fn scripts_are_ascii_and_hold_no_markup() {
    let server = Server::start(&["--recovery", "off"]);
    let mut speaker = Speaker::enter(&server);
    // As JSON; U+2028 and U+2029 once ended a line inside a string of JavaScript.
    let text = "a\\\"b\\\\c\\n'</script><!--\u{2028}\u{2029}\u{e9}\u{1f600}\u{7f}&";
    let escaped = "a\\\"b\\\\c\\n'</script><!--\\u2028\\u2029\\u00e9\\ud83d\\ude00\u{7f}&";
    let rows = [
        (
            4,
            text,
            concat!(
                r#"___eio[0]("42[\"new message\",{\"username\":\"speaker\",\"message\":\""#,
                r#"a\\\"b\\\\c\\n'\u003c/script>\u003c!--\u2028\u2029\u00e9\ud83d\ude00"#,
                "\u{7f}&",
                r#"\"}]");"#,
            ),
        ),
        (
            3,
            escaped,
            concat!(
                r#"___eio[0]("LENGTH:42[\"new message\",{\"username\":\"speaker\",\"message\":\""#,
                r#"a\\\"b\\\\c\\n'\u003c/script>\u003c!--\\u2028\\u2029\\u00e9\\ud83d\\ude00"#,
                "\u{7f}&",
                r#"\"}]");"#,
            ),
        ),
    ];
    for (version, written, script) in rows {
        let mut session = open(&server, version);
        session.join();
        let packet = speaker.say(text).replace(text, written);
        let response = session.get();
        assert_eq!(classic(response.text()), script.replace("LENGTH", &packet.chars().count().to_string()));
        assert!(response.body.is_ascii());
        assert_eq!(payload_of_script(response.text(), "0"), payload(version, &packet));
    }
}

/// All that may stand in a message, read back from the script.
#[test]
fn every_character_survives_a_script() {
    let server = Server::start(&["--recovery", "off", "--max-text", "100000"]);
    let mut speaker = WebSocket::open(&server);
    speaker.log_in("speaker");
    let mut sessions = [2, 3, 4].map(|version| open(&server, version));
    sessions.iter_mut().for_each(|session| session.join());
    let all: String = (' '..'\u{500}').chain('\u{2000}'..'\u{2100}').chain('\u{1f600}'..'\u{1f640}').collect();
    let sent = serde_json::json!(["new message", all]).to_string();
    speaker.send(&format!("2{sent}"));
    for session in &mut sessions {
        let packet = session.receive();
        let event: serde_json::Value = serde_json::from_str(&packet[1..]).expect("JSON");
        assert!(event[1]["message"] == *all, "{event}");
        session.assert_quiet();
    }
}

#[test]
fn each_poller_is_called_by_its_own_number() {
    let server = Server::start(&["--recovery", "off"]);
    let mut speaker = Speaker::enter(&server);
    let rows = [("0", false), ("1", false), ("0", false), ("2", false), ("0", true), ("1", true), ("0", true)];
    for (version, length) in [(3, 10), (3, 2000), (4, 10), (4, 2000)] {
        let mut sessions = rows.map(|(number, gzip)| {
            let accepts = if gzip { "Accept-Encoding: gzip\r\n" } else { "" };
            Poller::open_with(&server, &format!("EIO={version}&j={number}"), &format!("{OURS}{accepts}"))
        });
        // One without a number, who gets the same packets, is among them.
        let mut plain = Poller::open(&server, &format!("EIO={version}&b64=1"));
        let (some, others) = sessions.split_at_mut(3);
        for session in some.iter_mut().chain([&mut plain]).chain(others) {
            session.join();
            session.park();
        }
        server.settle();
        let text = "x".repeat(length);
        let packet = speaker.say(&text);
        for (session, (number, gzip)) in sessions.iter_mut().zip(rows) {
            let response = session.gets.response();
            assert_eq!(response.header("Content-Type"), Some(SCRIPT));
            let compressed = gzip && length == 2000;
            assert_eq!(response.header("Content-Encoding").is_some(), compressed);
            let script = if compressed { gunzip(&response) } else { response.body };
            let script = String::from_utf8(script).expect("text");
            assert_eq!(payload_of_script(&script, number), payload(version, &packet));
        }
        assert_eq!(plain.gets.response().text(), payload(version, &packet));
    }
}

#[test]
fn binary_is_base64_in_a_script() {
    let server = echo::start();
    for (version, sent, answer) in
        [(2, "10:b4AQIDBA==", "10:b4AQIDBA=="), (3, "10:b4AQIDBA==", "10:b4AQIDBA=="), (4, "bAQIDBA==", "bAQIDBA==")]
    {
        let target = format!("/engine.io/?EIO={version}&transport=polling&j=0");
        let response = server.ask(&request("GET", &target, OURS, ""));
        let open = payload_of_script(response.text(), "0");
        let (_, json) = open.split_at(open.find('{').expect("JSON"));
        let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
        let target = format!("{target}&sid={}", json["sid"].as_str().expect("a string"));
        let post = post_with(&target, FORM_FIELDS, form(sent).as_bytes());
        assert_eq!(server.connect().ask(post).brief(), (200, "ok"));
        let response = server.ask(&request("GET", &target, OURS, ""));
        assert_eq!(response.text(), format!("___eio[0](\"{answer}\");"));
    }
}

/// Heartbeat, noop, goodbye: what is not a message comes as a call too.
#[test]
fn a_session_lives_and_ends_by_scripts() {
    let server = Server::start(&[]);
    for version in [2, 3] {
        let mut session = open(&server, version);
        session.join();
        assert_eq!(session.post(&["2probe"]).brief(), (200, "ok"));
        assert_eq!(session.get().text(), r#"___eio[0]("6:3probe");"#);
        session.park();
        server.settle();
        assert_eq!(session.post(&["1"]).brief(), (200, "ok"));
        assert_eq!(session.gets.response().text(), r#"___eio[0]("1:6");"#);
        let response = session.get();
        assert_eq!(response.brief(), (400, UNKNOWN_SID));
    }
    for (version, farewell) in [(2, "1:1"), (3, "1:1"), (4, "1")] {
        let mut session = open(&server, version);
        session.join();
        session.park();
        server.settle();
        assert_eq!(server.ask(&request("GET", &session.target, OURS, "")).brief(), (400, BAD_REQUEST));
        assert_eq!(session.gets.response().text(), format!("___eio[0](\"{farewell}\");"));
    }
}

// Forms.

#[test]
fn a_message_in_a_form_arrives_as_it_was_written() {
    let server = Server::start(&["--recovery", "off"]);
    let mut observer = WebSocket::open(&server);
    observer.join();
    // As JSON.
    let texts = [
        r"a line\nand another\r\n",
        r"a backslash and an n: \\n",
        r"\\\n \\\\n \\\\\n n\\",
        "100%25 %41 %",
        "a&d=b&c=d;e=f",
        "1+1=2 + + %2B",
        "d=",
        "\u{e9}\u{20ac}\u{1f600}",
        r#"\"quotes\" 'and' `others`"#,
        r"\u0041\u2028\ud83d\/",
        "</textarea><script>",
        "\u{2028}\u{2029}x\u{7f}\u{85}",
        "   spaces   ",
    ];
    for (users, version) in (1..).zip([2, 3, 4]) {
        let mut session = open(&server, version);
        session.log_in("user");
        observer.assert_receives(&format!(r#"2["user joined",{{"username":"user","numUsers":{users}}}]"#));
        for text in texts {
            let packet = format!(r#"42["new message","{text}"]"#);
            let ok = session.post(&[&packet]);
            assert_eq!((ok.brief(), ok.header("Content-Type")), ((200, "ok"), Some("text/html")));
            let heard = format!(r#"2["new message",{{"username":"user","message":"{text}"}}]"#);
            assert_eq!(observer.receive(), heard, "EIO={version}");
        }
        // Several in one payload.
        let packets = ["1", r"2\n", "\u{1f600}"].map(|text| format!(r#"42["new message","{text}"]"#));
        assert_eq!(session.post(&packets.each_ref().map(|packet| &**packet)).brief(), (200, "ok"));
        for text in ["1", r"2\n", "\u{1f600}"] {
            observer.assert_receives(&format!(r#"2["new message",{{"username":"user","message":"{text}"}}]"#));
        }
    }
}

/// Forms byte for byte, as browsers write them.
#[test]
fn forms_are_read_as_browsers_write_them() {
    let server = Server::start(&["--recovery", "off"]);
    let mut observer = WebSocket::open(&server);
    observer.join();
    let plain = "application/x-www-form-urlencoded";
    let rows = [
        (3, plain, "d=24%3A42%5B%22new+message%22%2C%22a%5C%5Cnb%22%5D", r"a\nb"),
        (3, plain, "d=24%3a42%5b%22new%20message%22%2c%22a%5c%5cnb%22%5d", r"a\nb"),
        (3, plain, r#"d=24:42["new+message","a\\nb"]"#, r"a\nb"),
        (3, plain, r#"d=25:42["new+message","a\\\nb"]"#, r"a\\nb"),
        (3, plain, "d=22%3A42%5B%22new+message%22%2C%22%F0%9F%98%80%22%5D", "\u{1f600}"),
        (3, plain, "d=22:42[\"new+message\",\"\u{1f600}\"]", "\u{1f600}"),
        (3, "application/x-www-form-urlencoded; charset=UTF-8", r#"d=21:42["new+message","a"]"#, "a"),
        (3, plain, r#"x=1&d=21:42["new+message","b"]&y=2"#, "b"),
        // Of two the last counts.
        (3, plain, r#"d=1:7&d=21:42["new+message","e"]"#, "e"),
        (4, plain, r#"d=7&%64=42["new+message","f"]"#, "f"),
        // Whatever type is named: the session began with `j`.
        (2, "application/octet-stream", r#"d=21:42["new+message","g"]"#, "g"),
        (3, "text/plain;charset=UTF-8", r#"d=21:42["new+message","h"]"#, "h"),
        (3, "application/octet-stream", r#"d=21:42["new+message","i"]"#, "i"),
        (4, "text/plain", r#"d=42["new+message","j"]"#, "j"),
        (4, "application/octet-stream", r#"d=42["new+message","l"]"#, "l"),
        (4, "", r#"d=42["new+message","k"]"#, "k"),
        (2, plain, r#"d=21:42["new+message","%2B"]"#, "+"),
        (4, plain, r#"d=42["new+message","a\\nb"]"#, r"a\nb"),
        (4, plain, r#"d=42["new+message","%26%3D%25"]"#, "&=%"),
        (4, plain, "d=6%1E42%5B%22new+message%22%2C%22c%22%5D%1E6", "c"),
        // A line end between packets and JSON is white space; forms carry it as `\n`.
        (4, plain, r#"d=42["new+message",\n"d"]"#, "d"),
    ];
    let mut users = 0;
    for version in [2, 3, 4] {
        let mut session = open(&server, version);
        session.log_in("user");
        users += 1;
        observer.assert_receives(&format!(r#"2["user joined",{{"username":"user","numUsers":{users}}}]"#));
        for (_, content_type, body, text) in rows.iter().filter(|row| row.0 == version) {
            let ok = session.post_raw(content_type, body.as_bytes());
            assert_eq!((ok.brief(), ok.header("Content-Type")), ((200, "ok"), Some("text/html")), "{body}");
            observer.assert_receives(&format!(r#"2["new message",{{"username":"user","message":"{text}"}}]"#));
        }
    }
}

/// As in other payloads of theirs; clients of EIO=4 never did that.
#[test]
fn text_that_was_encoded_twice_is_decoded_twice() {
    let server = Server::start(&["--recovery", "off"]);
    let mut observer = WebSocket::open(&server);
    observer.join();
    for (users, (version, heard)) in (1..).zip([(2, "\u{e9}"), (3, "\u{e9}"), (4, "\u{c3}\u{a9}")]) {
        let mut session = open(&server, version);
        session.log_in("user");
        observer.assert_receives(&format!(r#"2["user joined",{{"username":"user","numUsers":{users}}}]"#));
        session.send("2[\"new message\",\"\u{c3}\u{a9}\"]");
        observer.assert_receives(&format!(r#"2["new message",{{"username":"user","message":"{heard}"}}]"#));
    }
}

#[test]
fn a_form_without_a_payload_ends_the_session() {
    let server = Server::start(&[]);
    let forms = ["", "d", "d=", "D=1:6", "x=1:6", "d=6&d=7", "d=6&%64=", "1:6", "d=7", "d=%FF", "d=%37"];
    let old_forms = ["d=6", "d=1:7", "d=2:6", r"d=1:6\n", "d=1:6&d=1:7", "d=1:%FF"];
    for version in [2, 3, 4] {
        let more = if version == 4 { &[][..] } else { &old_forms };
        for body in forms.iter().chain(more).map(|form| form.as_bytes()).chain([&b"d=6\xff"[..], b"d=1:6\xff"]) {
            let mut session = open(&server, version);
            session.join();
            let response = session.post_raw(FORM, body);
            assert_eq!(response.brief(), (400, BAD_REQUEST), "EIO={version} {}", body.escape_ascii());
            assert_eq!(response.header("Content-Type"), Some("application/json"));
            assert_eq!(session.get().brief(), (400, UNKNOWN_SID));
        }
    }
}

/// Old browsers post the form into an iframe, and have to see that it was loaded.
#[test]
fn answers_may_be_framed_though_the_page_may_not() {
    let server = Server::start(&[]);
    let mut session = open(&server, 3);
    session.join();
    let policy = |response: &Response| {
        ["X-Frame-Options", "Content-Security-Policy"].map(|name| response.header(name).is_some())
    };
    let page = server.ask(&get("/"));
    assert!(page.header("Content-Security-Policy").is_some_and(|policy| policy.contains("frame-ancestors")));
    let answers = [
        session.post(&["2"]),
        session.get(),
        session.post(&["7"]),
        session.get(),
        server.ask(&get(&handshake(3, "&j=0"))),
        server.ask(&get(&handshake(4, ""))),
    ];
    assert_eq!(answers.each_ref().map(|answer| answer.status), [200, 200, 400, 400, 403, 200]);
    for answer in &answers {
        assert_eq!(policy(answer), [false; 2], "{}", answer.head);
    }
}

#[test]
fn errors_are_no_scripts() {
    let server = Server::start(&[]);
    let rows = [
        ("GET", "/socket.io/?EIO=4&j=0".to_owned(), UNKNOWN_TRANSPORT),
        ("GET", handshake(4, "&j=0&sid=AAAAAAAAAAAAAAAAAAAA"), UNKNOWN_SID),
        ("POST", handshake(3, "&j=0&sid=AAAAAAAAAAAAAAAAAAAA"), UNKNOWN_SID),
        ("POST", handshake(3, "&j=0"), BAD_METHOD),
        ("DELETE", handshake(3, "&j=0"), BAD_METHOD),
        ("GET", handshake(3, "&j=x"), BAD_REQUEST),
        ("GET", format!("{}&j=0", websocket(3)), BAD_REQUEST),
        ("GET", handshake(5, "&j=0"), UNSUPPORTED),
        ("GET", "/socket.io/?transport=polling&j=0".to_owned(), UNSUPPORTED),
    ];
    for (method, target, body) in rows {
        let response = server.ask(&request(method, &target, OURS, ""));
        assert_eq!(response.brief(), (400, body), "{method} {target}");
        assert_eq!(response.header("Content-Type"), Some("application/json"));
        assert_eq!(response.header("Cache-Control"), Some("no-store"));
    }
}

// Origins.

/// Sends these header lines with every kind of request there is: all are let through, or none.
fn check_origin(server: &Server, session: &mut Poller, fields: &str, allowed: bool) {
    // That there is a number counts, not what it says.
    let numbers = [
        ("j=0", 200),
        ("%6a=0", 200),
        ("j=0&x=1&", 200),
        ("j=0&j=0", 200),
        ("j=x&%6A=1", 200),
        ("j", 400),
        ("j=x", 400),
        ("j=0&j=x", 400),
        ("j=0&%6A", 400),
    ];
    let mut client = server.connect();
    for version in [2, 3, 4] {
        for (number, status) in numbers {
            let response = client.ask(request("GET", &handshake(version, &format!("&{number}")), fields, ""));
            match allowed {
                true => assert_eq!(response.status, status, "{number} {fields}"),
                false => assert_eq!(response.brief(), (403, FORBIDDEN), "{number} {fields}"),
            }
        }
        let response = server.ask(&upgrade(&format!("{}&j=0", websocket(version)), fields));
        match allowed {
            true => assert_eq!(response.status, 101, "{fields}"),
            false => assert_eq!(response.brief(), (403, "Forbidden"), "{fields}"),
        }
    }
    // And those of a session: a ping in a form, a GET, a WebSocket that is to take over.
    let post = post_with(&session.target, &format!("{fields}Content-Type: {FORM}\r\n"), b"d=2%3A2%21");
    let get = request("GET", &session.target, fields, "");
    let probe = upgrade(&session.target.replace("=polling", "=websocket"), fields);
    if !allowed {
        assert_eq!(client.ask(get).brief(), (403, FORBIDDEN), "{fields}");
        assert_eq!(client.ask(post).brief(), (403, FORBIDDEN), "{fields}");
        assert_eq!(server.ask(&probe).brief(), (403, "Forbidden"), "{fields}");
        return session.assert_quiet();
    }
    assert_eq!(client.ask(post).brief(), (200, "ok"), "{fields}");
    assert_eq!(client.ask(get).text(), r#"___eio[0]("2:3!");"#, "{fields}");
    client.send(probe);
    let mut socket = WebSocket::upgraded(client);
    socket.send_text("2probe");
    assert_eq!(socket.text(), "3probe");
    // A probe that fails leaves the session as it was.
    socket.send_text("6");
    socket.assert_closed(1000);
    session.assert_quiet();
}

/// Header lines of a request to http://salon.example, and whether it is let through.
const ORIGINS: [(&str, bool); 49] = [
    ("", false),
    ("Sec-Fetch-Site: same-origin\r\n", true),
    ("Sec-Fetch-Site: same-site\r\n", false),
    ("Sec-Fetch-Site: cross-site\r\n", false),
    ("Sec-Fetch-Site: none\r\n", false),
    ("Sec-Fetch-Site: \r\n", false),
    ("Sec-Fetch-Site: same-origin, cross-site\r\n", false),
    ("Origin: http://salon.example\r\n", true),
    ("Origin: https://salon.example\r\n", true),
    ("Origin: http://salon.example:81\r\n", false),
    ("Origin: http://evil.example\r\n", false),
    ("Origin: http://salon.example/chat/\r\n", true),
    ("Origin: wss://salon.example/socket.io/\r\n", true),
    ("Origin: wss://evil.example/salon.example\r\n", false),
    ("Origin: file://\r\n", false),
    ("Origin: null\r\n", false),
    ("Origin: \r\n", false),
    ("Referer: http://salon.example/\r\n", true),
    ("Referer: http://salon.example\r\n", true),
    ("Referer: http://salon.example:80/\r\n", true),
    ("Referer: https://salon.example/chat/?a=b#c\r\n", true),
    ("Referer: https://salon.example?a=b\r\n", true),
    ("Referer: http://SALON.example/\r\n", true),
    ("Referer: http://salon.example:81/\r\n", false),
    ("Referer: http://evil.example/\r\n", false),
    ("Referer: http://evil.example/http://salon.example/\r\n", false),
    ("Referer: http://evil.example?http://salon.example/\r\n", false),
    ("Referer: http://evil.example#http://salon.example/\r\n", false),
    ("Referer: http://salon.example.evil.example/\r\n", false),
    ("Referer: http://evilsalon.example/\r\n", false),
    ("Referer: http://salon.example@evil.example/\r\n", false),
    ("Referer: http://evil.example@salon.example/\r\n", false),
    ("Referer: http://evil.example\\@salon.example/\r\n", false),
    ("Referer: ftp://salon.example/\r\n", false),
    // Damaged.
    ("Referer: \r\n", false),
    ("Referer: null\r\n", false),
    ("Referer: /\r\n", false),
    ("Referer: salon.example\r\n", false),
    ("Referer: //salon.example/\r\n", false),
    ("Referer: http:/salon.example/\r\n", false),
    ("Referer: http://\r\n", false),
    ("Referer: http:///salon.example/\r\n", false),
    ("Referer: ://salon.example/\r\n", false),
    ("Referer: about:blank\r\n", false),
    ("Referer: http://salon.example\u{e9}/\r\n", false),
    // Origin is what counts, where there is one.
    ("Origin: http://evil.example\r\nReferer: http://salon.example/\r\n", false),
    ("Origin: http://evil.example\r\nSec-Fetch-Site: same-origin\r\n", false),
    ("Origin: http://salon.example\r\nReferer: http://evil.example/\r\n", true),
    ("Sec-Fetch-Site: cross-site\r\nReferer: http://evil.example/\r\n", false),
];

#[test]
fn a_script_must_show_that_its_page_is_ours() {
    let server = Server::start(&[]);
    let mut session = open(&server, 3);
    session.join();
    for (fields, allowed) in ORIGINS {
        check_origin(&server, &mut session, fields, allowed && secure::may_be_ours(fields));
    }
    session.assert_quiet();
}

#[test]
fn a_script_of_a_listed_page_is_let_through() {
    let server = Server::start(&["--origins", "https://x.example,http://y.example:8080"]);
    let mut session = open(&server, 3);
    session.join();
    let rows = [
        ("Referer: https://x.example/\r\n", true),
        ("Referer: https://x.example\r\n", true),
        ("Referer: https://x.example/page?x=y\r\n", true),
        ("Referer: http://y.example:8080/page\r\n", true),
        ("Sec-Fetch-Site: cross-site\r\nReferer: https://x.example/\r\n", true),
        ("Origin: https://x.example\r\n", true),
        ("Referer: http://x.example/\r\n", false),
        ("Referer: https://x.example:8443/\r\n", false),
        ("Referer: https://x.example.evil.example/\r\n", false),
        ("Referer: https://y.example:8080/\r\n", false),
        ("Referer: http://y.example/\r\n", false),
        ("Referer: http://evil.example/?https://x.example/\r\n", false),
        ("Origin: null\r\nReferer: https://x.example/\r\n", false),
    ];
    let ours = ORIGINS.map(|(fields, allowed)| (fields, allowed && secure::may_be_ours(fields)));
    for (fields, allowed) in rows.into_iter().chain(ours) {
        check_origin(&server, &mut session, fields, allowed);
    }
    session.assert_quiet();
}

#[test]
fn scripts_of_all_pages_may_be_let_through() {
    let server = Server::start(&["--origins", "*"]);
    let mut session = open(&server, 3);
    session.join();
    // But that of a sandboxed frame, which any page can make.
    for (fields, _) in ORIGINS {
        check_origin(&server, &mut session, fields, !fields.contains(": null"));
    }
    session.assert_quiet();
}

/// Programs say nothing of origins, and need not where no script can come from.
#[test]
fn without_a_number_no_origin_is_asked_for() {
    let server = Server::start(&[]);
    for fields in ["", "Sec-Fetch-Site: none\r\n", "Referer: http://evil.example/\r\n"] {
        for version in [2, 3, 4] {
            for more in ["", "&jj=0", "&J=0", "&x=j", "&x=%26j=0"] {
                let response = server.ask(&request("GET", &handshake(version, more), fields, ""));
                assert_eq!(response.status, 200, "{more}");
            }
        }
        // Files are the same for everybody, whatever is asked of them.
        assert_eq!(server.ask(&request("GET", "/?j=0", fields, "")).status, 200);
    }
}

/// Below a path of its own too, whatever is asked of files, of other paths and of those that platforms ask for.
#[test]
fn a_number_counts_on_the_paths_of_engine_io_alone() {
    let server = Server::start(&["--base", "/base"]);
    for (target, status) in [
        ("/base/main.js?j=1", 200),
        ("/base/?j=1", 200),
        ("/base/socket.io/socket.io.js?j=1", 200),
        ("/base/nothing?j=1", 404),
        ("/base?j=1", 308),
        ("/main.js?j=1", 404),
        ("/socket.io/?EIO=4&transport=polling&j=1", 404),
        ("/healthz?j=1", 200),
        ("/base/healthz?j=1", 200),
        ("/base/socket.io/?EIO=4&transport=polling&j=1", 403),
        ("/base/socket.io?EIO=4&transport=polling&j=1", 403),
        ("/base/socket.io//?EIO=4&transport=polling&j=1", 403),
        ("/base/socket.io/x?EIO=4&transport=polling&j=1", 403),
        ("/base/socket.io/?EIO=4&transport=polling", 200),
    ] {
        let response = server.ask(&request("GET", target, "", ""));
        assert_eq!(response.status, status, "{target}");
    }
}
