//! What was said, for who asks later, and ids by which a message is known again.

use crate::harness::{Server, Talk, WebSocket};
use serde_json::{Value, json};

/// Asks, and gives the answer.
fn ask(client: &mut dyn Talk, event: Value) -> Value {
    client.send(&format!("25{event}"));
    let answer = client.receive_whole();
    let [answer] = serde_json::from_str(answer.strip_prefix("35").expect("an ack")).expect("one value");
    answer
}

/// The arguments of the next event, which has this name.
fn event(client: &mut dyn Talk, name: &str) -> Value {
    let packet = client.receive_whole();
    let (seen, value): (String, Value) = serde_json::from_str(&packet[1..]).expect("an event with one argument");
    assert_eq!(seen, name, "{packet}");
    value
}

fn join(server: &Server, name: &str) -> (WebSocket, String) {
    join_by(server, &json!(["add user", name]))
}

fn join_by(server: &Server, add_user: &Value) -> (WebSocket, String) {
    let mut socket = WebSocket::open(server);
    socket.join();
    socket.send(&format!("2{add_user}"));
    let login = event(&mut socket, "login");
    (socket, login["user"].as_str().expect("a tag").to_owned())
}

/// The texts of an answer, and its numbers.
fn texts(answer: &Value) -> Vec<(u64, &str)> {
    let messages = answer["messages"].as_array().expect("a list");
    let number = |message: &Value| message["n"].as_u64().expect("a number");
    messages.iter().map(|message| (number(message), message["message"].as_str().expect("a text"))).collect()
}

#[test]
fn a_message_is_acknowledged_relayed_and_kept() {
    let server = Server::start(&[]);
    let (mut ada, tag) = join(&server, "ada");
    let mut guest = WebSocket::open(&server);
    guest.join();
    let stamp = ask(&mut ada, json!(["new message", "one", {"id": "id-1"}]));
    assert_eq!(stamp["n"], 1);
    let time = stamp["time"].as_u64().expect("a time");
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_millis() as u64;
    assert!((now - 60_000..=now).contains(&time), "{time}, {now}");
    let first = json!({"username": "ada", "message": "one", "user": tag, "n": 1, "id": "id-1", "time": time});
    assert_eq!(event(&mut guest, "new message"), first);
    // As the public example sends it: an id is made up.
    ada.send(r#"2["new message","two"]"#);
    let second = event(&mut guest, "new message");
    assert_eq!(second["id"].as_str().expect("an id").len(), 20);
    let answer = ask(&mut guest, json!(["history"]));
    assert_eq!(answer["messages"], json!([first, second]));
    assert_eq!((&answer["n"], &answer["gap"], &answer["more"]), (&json!(2), &json!(false), &json!(false)));
    // Everything else has the tag as well.
    for name in ["typing", "stop typing"] {
        ada.send(&format!(r#"2["{name}"]"#));
        assert_eq!(event(&mut guest, name), json!({"username": "ada", "user": tag}));
    }
    let (mut other, other_tag) = join(&server, "ada");
    assert_ne!(tag, other_tag);
    assert_eq!(event(&mut guest, "user joined"), json!({"username": "ada", "numUsers": 2, "user": other_tag}));
    let list = ask(&mut guest, json!(["users"]));
    let mut tags: Vec<_> = list["users"].as_array().expect("a list").iter().collect();
    tags.sort_by_key(|person| person["user"] != *tag);
    assert_eq!(tags, [&json!({"username": "ada", "user": tag}), &json!({"username": "ada", "user": other_tag})]);
    assert_eq!(list["more"], 0);
    other.send("1");
    assert_eq!(event(&mut guest, "user left"), json!({"username": "ada", "numUsers": 1, "user": other_tag}));
    guest.assert_quiet();
}

#[test]
fn a_message_that_is_sent_again_is_acknowledged_and_not_relayed() {
    let server = Server::start(&["--history-messages", "3"]);
    let with_key = json!(["add user", "ada", {"key": "k".repeat(20)}]);
    let (mut ada, tag) = join_by(&server, &with_key);
    let (mut bob, _) = join(&server, "bob");
    let say = |client: &mut WebSocket, text, id| ask(client, json!(["new message", text, {"id": id}]));
    event(&mut ada, "user joined");
    let first = say(&mut ada, "one", "x");
    assert_eq!(say(&mut ada, "one", "x"), first);
    // Another connection with the same key is the same user, who need not be announced again; another name is another.
    let (mut back, again) = join_by(&server, &with_key);
    assert_eq!(again, tag);
    assert_eq!(event(&mut ada, "user count")["numUsers"], 3);
    event(&mut bob, "new message");
    assert_eq!(event(&mut bob, "user count")["numUsers"], 3);
    assert_eq!(say(&mut back, "one", "x"), first);
    assert_eq!(say(&mut bob, "mine", "x")["n"], 2);
    assert_eq!(event(&mut ada, "new message")["message"], "mine");
    for id in ["a", "b"] {
        say(&mut ada, "more", id);
    }
    // The first is no longer kept, but known as long again.
    assert_eq!(say(&mut ada, "one", "x"), first);
    for id in ["c", "d", "e"] {
        say(&mut ada, "more", id);
    }
    assert_eq!(say(&mut ada, "one", "x")["n"], 8);
    let heard: Vec<_> = (0..6).map(|_| event(&mut bob, "new message")["n"].clone()).collect();
    assert_eq!(heard, [3, 4, 5, 6, 7, 8]);
    bob.assert_quiet();
    for id in [json!(""), json!("é"), json!("a b"), json!("x".repeat(65)), json!(7), json!({})] {
        let error = ask(&mut ada, json!(["new message", "text", {"id": id}]));
        assert_eq!(error, json!({"error": "an id is 1 to 64 visible ASCII characters"}));
    }
    bob.assert_quiet();
    for key in [json!("short"), json!("k".repeat(65)), json!("é".repeat(20)), json!(7)] {
        let mut late = WebSocket::open(&server);
        late.join();
        let error = ask(&mut late, json!(["add user", "late", {"key": key}]));
        assert_eq!(error, json!({"error": "a key is 20 to 64 visible ASCII characters"}));
    }
    for other in [json!("text"), json!({}), json!({"id": null}), json!(null), json!(7)] {
        assert!(ask(&mut ada, json!(["new message", "text", other]))["n"].is_u64());
        event(&mut bob, "new message");
    }
}

#[test]
fn history_from_any_position() {
    let server = Server::start(&["--history-messages", "4"]);
    let (mut ada, _) = join(&server, "ada");
    let history = |client: &mut WebSocket, wanted: Value| ask(client, json!(["history", wanted]));
    let empty = history(&mut ada, json!({}));
    assert_eq!((texts(&empty), &empty["n"], &empty["gap"]), (vec![], &json!(0), &json!(false)));
    let boot = empty["boot"].as_str().expect("an id").to_owned();
    (1..=6).for_each(|text| ada.send(&format!(r#"2["new message","{text}"]"#)));
    let all = [(3, "3"), (4, "4"), (5, "5"), (6, "6")];
    // What is asked for, how many of the last, and whether there is a gap.
    let since = |n: u64| json!({"since": {"boot": boot, "n": n}});
    let rows = [
        (json!({}), 4, false),
        (json!({"last": 2}), 2, false),
        (json!({"last": 0}), 0, false),
        (json!({"last": 9}), 4, false),
        (since(6), 0, false),
        (since(4), 2, false),
        (since(2), 4, false),
        (since(1), 4, true),
        (since(0), 4, true),
        // It has never been: of another history, whatever it calls itself.
        (since(7), 4, true),
        (json!({"since": {"boot": "elsewhere", "n": 4}}), 4, true),
    ];
    for (wanted, count, gap) in rows {
        let answer = history(&mut ada, wanted.clone());
        assert_eq!((texts(&answer), &answer["gap"]), (all[4 - count..].to_vec(), &json!(gap)), "{wanted}");
        assert_eq!((&answer["n"], &answer["boot"]), (&json!(6), &json!(boot)));
    }
    for wanted in [json!(7), json!({"last": -1}), json!({"last": "x"}), json!({"since": 5}), json!({"since": {"n": 5}})]
    {
        let answer = history(&mut ada, wanted.clone());
        assert_eq!(answer, json!({"error": "neither {last} nor {since: {boot, n}}"}), "{wanted}");
    }
    // Nobody to answer.
    ada.send(r#"2["history"]"#);
    ada.send(r#"2["users"]"#);
    ada.assert_quiet();
}

#[test]
fn what_was_said_before_comes_in_pages() {
    let server = Server::start(&["--history-messages", "6"]);
    let (mut ada, _) = join(&server, "ada");
    (0..7).for_each(|i| drop(ask(&mut ada, json!(["new message", i.to_string(), {"id": format!("m{i}")}]))));
    let all = ask(&mut ada, json!(["history"]))["messages"].as_array().expect("messages").clone();
    let page = |ada: &mut WebSocket, before: Value, last: usize| {
        let answer = ask(ada, json!(["history", {"before": before, "last": last}]));
        let texts: Vec<_> = texts(&answer).into_iter().map(|(_, text)| text).collect();
        (texts.join(""), answer["more"].as_bool().expect("more"))
    };
    let at = |i: usize| json!({"time": all[i]["time"], "id": all[i]["id"]});
    // The six kept messages are "1" to "6".
    assert_eq!(page(&mut ada, at(5), 2), ("45".to_owned(), true));
    assert_eq!(page(&mut ada, at(3), 2), ("23".to_owned(), true));
    assert_eq!(page(&mut ada, at(1), 2), ("1".to_owned(), false));
    assert_eq!(page(&mut ada, at(2), 2), ("12".to_owned(), false));
    assert_eq!(page(&mut ada, at(0), 2), (String::new(), false));
    assert_eq!(page(&mut ada, json!({"time": 0, "id": ""}), 2), (String::new(), false));
    // Without that message, all of its time are earlier. Several may be of one millisecond.
    let earlier = all.iter().filter(|message| message["time"].as_u64() <= all[4]["time"].as_u64()).count();
    let expected = format!("{}{}", earlier - 1, earlier);
    assert_eq!(page(&mut ada, json!({"time": all[4]["time"], "id": "m5"}), 2), ("34".to_owned(), true));
    assert_eq!(page(&mut ada, json!({"time": all[4]["time"], "id": "other"}), 2), (expected, true));
    assert_eq!(page(&mut ada, json!({"time": u64::MAX, "id": "x"}), 6), ("123456".to_owned(), false));
    for wanted in [json!({"before": 5}), json!({"before": {"time": 5}}), json!({"before": {"time": -1, "id": "x"}})] {
        assert_eq!(ask(&mut ada, json!(["history", wanted]))["error"], "neither {last} nor {since: {boot, n}}");
    }
}

#[test]
fn a_long_history_comes_in_parts() {
    let server = Server::start(&["--history-bytes", "2MiB"]);
    let (mut ada, _) = join(&server, "ada");
    let text = "x".repeat(16_000);
    (0..40).for_each(|_| ada.send(&format!(r#"2["new message","{text}"]"#)));
    let mut answer = ask(&mut ada, json!(["history"]));
    let (mut numbers, mut parts) = (Vec::new(), Vec::new());
    loop {
        let messages = texts(&answer);
        parts.push(messages.len());
        numbers.extend(messages.iter().map(|(n, _)| *n));
        assert_eq!(answer["gap"], false);
        if answer["more"] == false {
            break;
        }
        let n = numbers.last().expect("a message");
        answer = ask(&mut ada, json!(["history", {"since": {"boot": answer["boot"], "n": n}}]));
    }
    assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
    assert_eq!(parts, [16, 16, 8]);
}

#[test]
fn history_is_bounded_in_bytes_and_can_be_off() {
    let server = Server::start(&["--history-bytes", "4KiB"]);
    let (mut ada, _) = join(&server, "ada");
    (0..10).for_each(|_| ada.send(&format!(r#"2["new message","{}"]"#, "x".repeat(1_000))));
    assert_eq!(texts(&ask(&mut ada, json!(["history"]))).len(), 3);
    // One alone above the limit leaves nothing.
    ada.send(&format!(r#"2["new message","{}"]"#, "x".repeat(5_000)));
    let answer = ask(&mut ada, json!(["history"]));
    assert_eq!((texts(&answer).len(), &answer["n"]), (0, &json!(11)));

    let server = Server::start(&["--history-messages", "0"]);
    let (mut ada, _) = join(&server, "ada");
    let first = ask(&mut ada, json!(["new message", "one", {"id": "x"}]));
    let second = ask(&mut ada, json!(["new message", "one", {"id": "x"}]));
    assert_eq!((&first["n"], &second["n"]), (&json!(1), &json!(2)));
    assert_eq!(ask(&mut ada, json!(["history"])), json!({"error": "no history is kept here"}));
}
