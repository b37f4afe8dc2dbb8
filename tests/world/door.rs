//! The door of `--password`: who is let in, who may guess how often, and for how long not.

use crate::limits::{HANDSHAKE, Scene};
use salon::config::Config;
use std::time::Duration;

const OPEN: &str = "40{\"sid\":";
const SHUT: &str = r#"44{"message":"password"}"#;

fn scene() -> Scene {
    let config = Config { password: Some("sésame & 1".into()), ..Config::default() };
    Scene::new(Config {
        connect_timeout: Duration::from_secs(3600),
        ping_interval: Duration::from_secs(3600),
        ..config
    })
}

/// The answer to a CONNECT with this payload, in a session whose handshake has `query`.
fn present(scene: &mut Scene, address: &str, query: &str, payload: &str) -> String {
    let line = scene.connect(address);
    let (status, open) = scene.get(&line, &format!("{HANDSHAKE}{query}"), "");
    assert_eq!(status, 200, "{open}");
    let target = format!("{HANDSHAKE}&sid={}", open.split('"').nth(3).expect("a sid"));
    assert_eq!(scene.post(&line, &target, payload), 200);
    let (_, answer) = scene.get(&line, &target, "");
    scene.reset(line);
    answer
}

fn with(password: &str) -> String {
    format!("40{{\"password\":{password}}}")
}

#[test]
fn a_client_presents_the_password_in_its_connect_or_in_a_query() {
    let mut scene = scene();
    let right = with("\"s\\u00e9same & 1\"");
    let in_query = "&password=s%C3%A9same%20%26%201";
    for (query, payload, is_right) in [
        ("", "40", false),
        ("", "40{}", false),
        ("", &right, true),
        (in_query, "40", true),
        (in_query, "40{}", true),
        ("&password=s%C3%A9same+%26+1", "40", true),
        ("", &format!("40/?{}", &in_query[1..]), true),
        ("", "40/?password=other", false),
        ("&password=other", "40", false),
        ("&password=", "40", false),
        // What the CONNECT says counts.
        (in_query, &with("\"other\""), false),
        ("&password=other", &right, true),
        ("", &with("\"\""), false),
        ("", &with("\"s\\u00e9same & 1 \""), false),
        ("", &with("\"s\\u00e9same & \""), false),
        ("", &with("5"), false),
        ("", &with("null"), false),
        ("", &with("{\"password\":\"s\\u00e9same & 1\"}"), false),
        ("", &with("[\"s\\u00e9same & 1\"]"), false),
    ] {
        let answer = present(&mut scene, "192.0.2.1", query, payload);
        let expected = if is_right { OPEN } else { SHUT };
        assert!(answer.starts_with(expected), "{query} {payload}: {answer}");
    }
    // Nothing presented is nothing wrong.
    assert_eq!(scene.hits("passwords"), 7);
}

#[test]
fn an_address_guesses_thirty_times_and_then_not_for_a_minute() {
    let mut scene = scene();
    let (right, wrong) = (with("\"sésame & 1\""), with("\"other\""));
    for (guesser, same, other) in
        [("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2:3:4:5", "2001:db8:0:1::1")]
    {
        let before = scene.hits("passwords");
        for _ in 0..30 {
            assert_eq!(present(&mut scene, guesser, "", &wrong), SHUT);
        }
        // Refused unread: it would be right.
        for (query, payload) in [("", &*right), ("&password=s%C3%A9same+%26+1", "40")] {
            assert_eq!(present(&mut scene, same, query, payload), SHUT);
        }
        assert_eq!(scene.hits("passwords") - before, 32);
        assert!(present(&mut scene, other, "", &right).starts_with(OPEN), "another address");
        // What was refused unread does not make it longer.
        scene.pass(Duration::from_secs(59));
        assert_eq!(present(&mut scene, guesser, "", &right), SHUT);
        scene.pass(Duration::from_secs(1));
        assert!(present(&mut scene, guesser, "", &right).starts_with(OPEN));
        for _ in 0..29 {
            assert_eq!(present(&mut scene, guesser, "", &wrong), SHUT);
        }
        assert!(present(&mut scene, guesser, "", &right).starts_with(OPEN), "29 wrong ones");
    }
}

/// An attacker with many networks cannot make the table grow.
#[test]
fn ten_thousand_addresses_are_known() {
    let mut scene = scene();
    scene.check_every = 1000;
    let (right, wrong) = (with("\"sésame & 1\""), with("\"other\""));
    for _ in 0..30 {
        present(&mut scene, "192.0.2.1", "", &wrong);
    }
    let guess = |scene: &mut Scene, numbers: std::ops::Range<u32>| {
        for number in numbers {
            scene.pass(Duration::from_micros(1));
            present(scene, &format!("2001:db8:{:x}:{:x}::1", number >> 16, number & 0xffff), "", &wrong);
        }
    };
    guess(&mut scene, 0..9_999);
    assert_eq!(present(&mut scene, "192.0.2.1", "", &right), SHUT);
    guess(&mut scene, 9_999..10_000);
    assert!(present(&mut scene, "192.0.2.1", "", &right).starts_with(OPEN), "the one that has guessed longest ago");
}

/// Behind a proxy that --trust-proxy does not name, all clients have its address.
#[test]
fn a_near_proxy_that_is_not_named_is_counted() {
    let with = |password: Option<&str>, knows_proxy| Config {
        password: password.map(str::to_owned),
        knows_proxy,
        ..Config::default()
    };
    for (config, peer, hits) in [
        (with(Some("x"), false), "127.0.0.1", 1),
        (with(Some("x"), false), "10.0.0.1", 1),
        (with(Some("x"), false), "192.0.2.1", 0),
        (with(Some("x"), true), "10.0.0.1", 0),
        (with(None, false), "10.0.0.1", 0),
    ] {
        let mut scene = Scene::new(config);
        let line = scene.connect(peer);
        assert_eq!(scene.get(&line, HANDSHAKE, "X-Forwarded-For: 198.51.100.1\r\n").0, 200);
        assert_eq!(scene.hits("forwarded"), hits, "{peer}");
    }
}
