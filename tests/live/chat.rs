//! The chat by raw packets of Socket.IO, over both transports, and what happens to those who do not read.

use crate::harness::{Client, Polling, Server, Talk, WebSocket, hostile};
use Step::{Sees, Sends};

/// Who does what: clients are numbered, and join the namespace in this order.
enum Step<'a> {
    /// A client sends a packet.
    Sends(usize, &'a str),
    /// The next packet that a client gets.
    Sees(usize, &'a str),
}

/// Plays the steps over WebSocket, over polling, and with both in one room. Whatever a client gets that no step has
/// named is an error.
fn play(flags: &[&str], clients: usize, steps: &[Step]) {
    let over_websocket: [fn(usize) -> bool; 3] = [|_| true, |_| false, |number| number % 2 == 0];
    for over_websocket in over_websocket {
        let server = Server::start(flags);
        let mut sockets: Vec<Box<dyn Talk>> = Vec::new();
        for number in 0..clients {
            match over_websocket(number) {
                true => sockets.push(Box::new(WebSocket::open(&server))),
                false => sockets.push(Box::new(Polling::open(&server))),
            }
            sockets[number].join();
        }
        for (number, step) in steps.iter().enumerate() {
            match *step {
                Sends(client, packet) => sockets[client].send(packet),
                Sees(client, packet) => assert_eq!(sockets[client].receive(), packet, "step {number}, client {client}"),
            }
        }
        sockets.iter_mut().for_each(|socket| socket.assert_quiet());
    }
}

#[test]
fn users_come_talk_and_go() {
    play(
        &[],
        3,
        &[
            Sends(0, r#"2["add user","ann"]"#),
            Sees(0, r#"2["login",{"numUsers":1}]"#),
            Sees(1, r#"2["user joined",{"username":"ann","numUsers":1}]"#),
            Sees(2, r#"2["user joined",{"username":"ann","numUsers":1}]"#),
            Sends(1, r#"2["add user","bob"]"#),
            Sees(1, r#"2["login",{"numUsers":2}]"#),
            Sees(0, r#"2["user joined",{"username":"bob","numUsers":2}]"#),
            Sees(2, r#"2["user joined",{"username":"bob","numUsers":2}]"#),
            // A second name is not taken.
            Sends(1, r#"2["add user","bobby"]"#),
            Sends(1, r#"2["new message","hello"]"#),
            Sees(0, r#"2["new message",{"username":"bob","message":"hello"}]"#),
            Sees(2, r#"2["new message",{"username":"bob","message":"hello"}]"#),
            Sends(0, r#"2["typing"]"#),
            Sees(1, r#"2["typing",{"username":"ann"}]"#),
            Sees(2, r#"2["typing",{"username":"ann"}]"#),
            Sends(0, r#"2["stop typing"]"#),
            Sees(1, r#"2["stop typing",{"username":"ann"}]"#),
            Sees(2, r#"2["stop typing",{"username":"ann"}]"#),
            Sends(1, "1"),
            Sees(0, r#"2["user left",{"username":"bob","numUsers":1}]"#),
            Sees(2, r#"2["user left",{"username":"bob","numUsers":1}]"#),
            // Who has left neither hears nor is heard.
            Sends(1, r#"2["new message","anybody?"]"#),
            Sends(0, r#"2["new message","bye"]"#),
            Sees(2, r#"2["new message",{"username":"ann","message":"bye"}]"#),
        ],
    );
}

#[test]
fn who_has_no_name_is_not_heard() {
    play(
        &[],
        2,
        &[
            Sends(0, r#"2["new message","hello"]"#),
            Sends(0, r#"21["new message","hello"]"#),
            Sees(0, r#"31[{"error":"not logged in: send `add user` first"}]"#),
            Sends(0, r#"2["typing"]"#),
            Sends(0, r#"22["stop typing"]"#),
            Sends(0, r#"23["login",{"numUsers":99}]"#),
        ],
    );
}

#[test]
fn names_and_texts_that_are_none_are_refused() {
    let long_name = format!(r#"27["add user","{}"]"#, "é".repeat(5));
    let fine_name = format!(r#"2["add user","{}"]"#, "é".repeat(4));
    let joined = format!(r#"2["user joined",{{"username":"{}","numUsers":1}}]"#, "é".repeat(4));
    let heard = format!(r#"2["new message",{{"username":"{}","message":"ééé"}}]"#, "é".repeat(4));
    play(
        &["--max-name", "4", "--max-text", "6"],
        2,
        &[
            Sends(0, r#"21["add user"]"#),
            Sees(0, r#"31[{"error":"an argument is missing"}]"#),
            Sends(0, r#"22["add user",""]"#),
            Sees(0, r#"32[{"error":"empty"}]"#),
            Sends(0, r#"23["add user"," \t\u00a0"]"#),
            Sees(0, r#"33[{"error":"empty"}]"#),
            // None of these shows anything: no more do all of them together.
            Sends(0, r#"215["add user","\u200b"]"#),
            Sees(0, r#"315[{"error":"empty"}]"#),
            Sends(0, "216[\"add user\",\"\u{200b}\u{feff}\u{2800}\u{3164}\u{ad}\\u0000\\r\\n\"]"),
            Sees(0, r#"316[{"error":"empty"}]"#),
            Sends(0, r#"24["add user",7]"#),
            Sees(0, r#"34[{"error":"not a string"}]"#),
            Sends(0, r#"25["add user",null]"#),
            Sees(0, r#"35[{"error":"not a string"}]"#),
            Sends(0, r#"26["add user",["ann"]]"#),
            Sees(0, r#"36[{"error":"not a string"}]"#),
            // The limit of names counts characters.
            Sends(0, &long_name),
            Sees(0, r#"37[{"error":"too long"}]"#),
            Sends(0, &fine_name),
            Sees(0, r#"2["login",{"numUsers":1}]"#),
            Sees(1, &joined),
            Sends(0, r#"28["new message"]"#),
            Sees(0, r#"38[{"error":"an argument is missing"}]"#),
            Sends(0, r#"29["new message",{"text":"hello"}]"#),
            Sees(0, r#"39[{"error":"not a string"}]"#),
            Sends(0, r#"210["new message",1e400]"#),
            Sees(0, r#"310[{"error":"not a string"}]"#),
            Sends(0, r#"211["new message",12345678901234567890]"#),
            Sees(0, r#"311[{"error":"not a string"}]"#),
            Sends(0, r#"212["new message","  "]"#),
            Sees(0, r#"312[{"error":"empty"}]"#),
            Sends(0, "217[\"new message\",\"\u{200d}\u{fe0f}\"]"),
            Sees(0, r#"317[{"error":"empty"}]"#),
            // The limit of texts counts bytes.
            Sends(0, r#"213["new message","1234567"]"#),
            Sees(0, r#"313[{"error":"too long"}]"#),
            Sends(0, r#"214["new message","éééé"]"#),
            Sees(0, r#"314[{"error":"too long"}]"#),
            Sends(0, r#"2["new message","ééé"]"#),
            Sees(1, &heard),
        ],
    );
}

#[test]
fn texts_are_relayed_byte_for_byte() {
    let texts = [
        r#"half an emoji: \ud83d"#,
        r#"the other half: \ude00"#,
        r#"\ud83d\ude00 and 😀 are not the same bytes"#,
        r#"\u0041\/\"\\\n\u0000\u2028"#,
        r#"12345678901234567890 and 1e400"#,
        r#"<b>&amp;</b>"#,
        "a separator of payloads: \\u001e",
    ];
    let sent: Vec<_> = texts.iter().map(|text| format!(r#"2["new message","{text}"]"#)).collect();
    let seen: Vec<_> =
        texts.iter().map(|text| format!(r#"2["new message",{{"username":"\ud83d","message":"{text}"}}]"#)).collect();
    let mut steps = vec![
        Sends(0, r#"2["add user","\ud83d"]"#),
        Sees(0, r#"2["login",{"numUsers":1}]"#),
        Sees(1, r#"2["user joined",{"username":"\ud83d","numUsers":1}]"#),
    ];
    for (sent, seen) in sent.iter().zip(&seen) {
        steps.extend([Sends(0, sent), Sees(1, seen)]);
    }
    play(&[], 2, &steps);
}

#[test]
fn long_texts_arrive_in_every_form_of_frame() {
    for length in [1, 60, 125, 126, 300, 65_535, 65_536, 600_000] {
        if hostile() && length > 300 {
            continue;
        }
        let text = "x".repeat(length);
        let sent = format!(r#"2["new message","{text}"]"#);
        let seen = format!(r#"2["new message",{{"username":"ann","message":"{text}"}}]"#);
        play(
            &["--max-text", "1000000"],
            2,
            &[
                Sends(0, r#"2["add user","ann"]"#),
                Sees(0, r#"2["login",{"numUsers":1}]"#),
                Sees(1, r#"2["user joined",{"username":"ann","numUsers":1}]"#),
                Sends(0, &sent),
                Sees(1, &seen),
            ],
        );
    }
}

#[test]
fn there_is_one_namespace() {
    play(
        &[],
        1,
        &[
            Sends(0, "0/foo,"),
            Sees(0, r#"4/foo,{"message":"Invalid namespace"}"#),
            Sends(0, r#"0/foo,{"token":"x"}"#),
            Sees(0, r#"4/foo,{"message":"Invalid namespace"}"#),
        ],
    );
    // To speak where nobody was let in is an error.
    let server = Server::start(&[]);
    let mut observer = WebSocket::open(&server);
    observer.join();
    for packet in [r#"42/foo,["add user","ann"]"#, "41/foo,"] {
        let mut socket = WebSocket::open(&server);
        socket.join();
        socket.send_text(packet);
        socket.assert_closed(1002);
        let mut polling = Polling::open(&server);
        polling.join();
        assert_eq!(polling.post(packet).brief(), (200, "ok"));
        polling.assert_gone();
    }
    observer.assert_quiet();
}

/// How a user named `user` comes and goes.
type End = fn(&Server);

#[test]
fn a_user_leaves_however_the_connection_ends() {
    let server = Server::start(&[]);
    let mut observer = WebSocket::open(&server);
    observer.join();
    let ends: [(&str, End); 5] = [
        ("a packet over polling", |server| {
            let mut user = Polling::open(server);
            user.log_in("user");
            assert_eq!(user.post("1").brief(), (200, "ok"));
        }),
        ("a GET that is given up", |server| {
            let mut user = Polling::open(server);
            user.log_in("user");
            user.park();
            server.settle();
        }),
        ("a packet over WebSocket", |server| {
            let mut user = WebSocket::open(server);
            user.log_in("user");
            user.send_text("1");
            user.assert_closed(1000);
        }),
        ("a connection that ends", |server| WebSocket::open(server).log_in("user")),
        ("half a connection that ends", |server| {
            let mut user = WebSocket::open(server);
            user.log_in("user");
            user.client.half_close();
            user.client.assert_end();
        }),
    ];
    for (how, end) in ends {
        end(&server);
        assert_eq!(observer.receive(), r#"2["user joined",{"username":"user","numUsers":1}]"#, "{how}");
        assert_eq!(observer.receive(), r#"2["user left",{"username":"user","numUsers":0}]"#, "{how}");
    }
    observer.assert_quiet();
}

/// The text of a numbered message, and the packets that carry it to the server and to the others.
fn numbered(number: usize, length: usize) -> [String; 2] {
    let text = format!("{number} {}", "x".repeat(length));
    [
        format!(r#"2["new message","{text}"]"#),
        format!(r#"2["new message",{{"username":"speaker","message":"{text}"}}]"#),
    ]
}

#[test]
#[cfg(target_os = "linux")]
fn a_client_that_does_not_read_is_dropped_and_costs_nobody_else_anything() {
    let (queue, length) = if hostile() { ("512KiB", 15_000) } else { ("1MiB", 16_000) };
    let server = Server::start(&["--max-queue", queue]);
    let mut speaker = WebSocket::open(&server);
    speaker.log_in("speaker");
    let mut slow = WebSocket::open_on(Client::connect_small(server.address, 4096));
    slow.log_in("slow");
    speaker.assert_receives(r#"2["user joined",{"username":"slow","numUsers":2}]"#);
    let mut observer = WebSocket::open(&server);
    observer.join();

    let before = server.status("VmRSS");
    let left = r#"2["user left",{"username":"slow","numUsers":1}]"#;
    let mut number = 0;
    loop {
        let [sent, seen] = numbered(number, length);
        speaker.send(&sent);
        let packet = observer.receive();
        if packet == left {
            break;
        }
        assert_eq!(packet, seen);
        number += 1;
        assert!(number * length < 64 << 20, "the slow client is still there");
    }
    // What the kernel keeps is not ours: the queue, and what a program needs to run.
    let grown = server.status("VmRSS").saturating_sub(before);
    assert!(grown < 6 * 1024, "{grown} KiB for one queue of {queue}");
    speaker.assert_receives(left);
    speaker.assert_quiet();
}

#[test]
fn bulk_a_client_that_is_far_behind_for_too_long_is_dropped() {
    check_gives_up(&["--soft-queue", "16KiB", "--soft-time", "300ms"]);
}

#[test]
fn bulk_a_client_that_takes_nothing_for_too_long_is_dropped() {
    check_gives_up(&["--soft-queue", "64MiB", "--write-timeout", "300ms"]);
}

/// A client that has stopped reading is dropped long before its queue is full, and before the heartbeat would do it.
fn check_gives_up(flags: &[&str]) {
    let server = Server::start(&[flags, &["--max-queue", "64MiB"]].concat());
    let mut speaker = WebSocket::open(&server);
    speaker.log_in("speaker");
    let mut slow = WebSocket::open_on(Client::connect_small(server.address, 4096));
    slow.log_in("slow");
    speaker.assert_receives(r#"2["user joined",{"username":"slow","numUsers":2}]"#);
    (0..300).for_each(|number| speaker.send(&numbered(number, 16_000)[0]));
    speaker.assert_receives(r#"2["user left",{"username":"slow","numUsers":1}]"#);
    speaker.assert_quiet();
}

#[test]
fn a_client_that_does_not_poll_is_dropped() {
    let server = Server::start(&["--max-queue", "512KiB"]);
    let mut speaker = WebSocket::open(&server);
    speaker.log_in("speaker");
    let mut absent = Polling::open(&server);
    absent.log_in("absent");
    speaker.assert_receives(r#"2["user joined",{"username":"absent","numUsers":2}]"#);
    (0..36).for_each(|number| speaker.send(&numbered(number, 15_000)[0]));
    speaker.assert_receives(r#"2["user left",{"username":"absent","numUsers":1}]"#);
    speaker.assert_quiet();
    absent.assert_gone();
}

#[test]
fn a_client_that_reads_slowly_gets_every_byte_in_order() {
    let (messages, length) = if hostile() { (300, 1_000) } else { (500, 16_000) };
    let server = Server::start(&["--max-queue", "64MiB", "--soft-queue", "64MiB"]);
    let mut speaker = WebSocket::open(&server);
    speaker.log_in("speaker");
    let mut slow = WebSocket::open_on(Client::connect_small(server.address, 16 * 1024));
    slow.join();
    let mut absent = Polling::open(&server);
    absent.join();
    for number in 0..messages {
        speaker.send(&numbered(number, length)[0]);
    }
    for number in 0..messages {
        slow.assert_receives(&numbered(number, length)[1]);
    }
    for number in 0..messages {
        absent.assert_receives(&numbered(number, length)[1]);
    }
    slow.assert_quiet();
    absent.assert_quiet();
}
