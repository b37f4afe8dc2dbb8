//! What is counted.

use crate::client::Crowd;
use crate::stage::Item;
use salon::config::Config;
use std::time::Duration;

const CLIENTS: usize = 100;

/// Name and course of each.
pub const SCENARIOS: &[(&str, fn())] = &[
    ("100-messages-to-100-websockets", || messages(true)),
    ("100-messages-to-100-polls", || messages(false)),
    ("100-handshakes-and-upgrades", upgrades),
    ("1000-requests-of-the-page", page),
    ("100-heartbeats-of-100-websockets", heartbeats),
];

/// Clients that have joined the chat.
fn crowd(websocket: bool) -> Crowd {
    let mut crowd = Crowd::new(Config::default(), 1);
    for at in 0..CLIENTS {
        crowd.add(false);
        crowd.clients[at].open(&mut crowd.stage, websocket);
        crowd.pass(Duration::from_millis(1));
    }
    crowd
}

fn messages(websocket: bool) {
    let mut crowd = crowd(websocket);
    crowd.stage.counts = true;
    for _ in 0..100 {
        crowd.clients[0].say(&mut crowd.stage, 40);
        crowd.pass(Duration::from_millis(1));
    }
    assert_eq!(crowd.clients[1].record.heard.values().map(Vec::len).sum::<usize>(), 100);
}

fn upgrades() {
    let mut crowd = Crowd::new(Config::default(), 1);
    crowd.stage.counts = true;
    for at in 0..CLIENTS {
        crowd.add(false);
        crowd.clients[at].open(&mut crowd.stage, false);
        crowd.pass(Duration::from_millis(1));
        crowd.clients[at].upgrade(&mut crowd.stage);
        crowd.pass(Duration::from_millis(1));
    }
    assert_eq!(crowd.stage.sockets(), CLIENTS);
}

/// As a browser asks for it, ten times on each connection.
fn page() {
    let mut crowd = Crowd::new(Config::default(), 1);
    let stage = &mut crowd.stage;
    stage.counts = true;
    let request = "GET / HTTP/1.1\r\nHost: salon.example\r\nConnection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\n\
                   User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
                   Chrome/130.0.0.0 Safari/537.36\r\nAccept: text/html,application/xhtml+xml,*/*;q=0.8\r\n\
                   Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\n\
                   Sec-Fetch-Dest: document\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
                   Accept-Language: en-US,en;q=0.9\r\n\r\n";
    for _ in 0..100 {
        let line = stage.connect();
        for _ in 0..10 {
            stage.request(line, request.as_bytes());
            stage.turn();
            assert!(matches!(stage.receive(line), Some(Item::Answer { status: 200, .. })));
        }
    }
}

fn heartbeats() {
    let mut crowd = crowd(true);
    crowd.stage.counts = true;
    for _ in 0..100 {
        crowd.pass(Config::default().ping_interval);
    }
    assert_eq!(crowd.stage.sockets(), CLIENTS);
}
