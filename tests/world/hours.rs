//! Hours of chat, in seconds; and what clients may rely on, each in a course of its own.

use crate::client::{Crowd, Which};
use salon::config::Config;
use std::time::Duration;

const CLIENTS: usize = 50;
const HOURS: u64 = 2;
/// Seconds between two messages.
const PAUSE: u64 = 3;

/// Clients on both transports, all of them well-behaved: half of them upgraded.
fn crowd(config: Config, clients: usize) -> Crowd {
    let mut crowd = Crowd::new(config, 1);
    for at in 0..clients {
        crowd.add(at % 3 == 0);
        crowd.clients[at].open(&mut crowd.stage, at % 4 == 0);
        crowd.pass(Duration::from_millis(7));
        if at % 4 == 1 {
            crowd.clients[at].upgrade(&mut crowd.stage);
        }
    }
    crowd.pass(Duration::from_secs(1));
    assert_eq!(crowd.stage.sockets(), clients);
    crowd
}

#[test]
fn two_hours_of_fifty_clients() {
    let mut crowd = crowd(Config::default(), CLIENTS);
    let messages = HOURS * 3600 / PAUSE;
    for number in 0..messages as usize {
        // A prime, so that everybody follows upon everybody.
        crowd.clients[number * 17 % CLIENTS].say(&mut crowd.stage, number % 100);
        crowd.pass(Duration::from_secs(PAUSE));
    }
    assert_eq!(crowd.check().len(), CLIENTS, "somebody was lost");
    for client in &crowd.clients[..CLIENTS] {
        assert!(client.alive && client.record.left.is_empty());
        let heard: usize = client.record.heard.values().map(Vec::len).sum();
        assert_eq!(heard, messages as usize + 1 - client.record.said.len(), "{}", client.record.name);
    }
    crowd.stage.empty();
}

#[test]
fn who_does_not_answer_is_gone() {
    let config = Config::default();
    let (interval, timeout, grace) = (config.ping_interval, config.ping_timeout, config.leave_grace);
    let mut crowd = crowd(config, 8);
    crowd.pass(Duration::from_secs(60));
    // One upgraded, two polling (one of them with recovery), one on WebSocket from the start.
    let silent = [1, 2, 3, 4];
    for at in silent {
        crowd.clients[at].diligent = false;
    }
    // The last pong was less than an interval ago, so the next ping is still to come.
    crowd.pass(timeout - Duration::from_millis(1));
    assert_eq!(crowd.stage.sockets(), 8, "somebody went before a ping could be unanswered");
    crowd.pass(interval + grace);
    assert_eq!(crowd.stage.sockets(), 4);
    for at in [0, 5, 6, 7] {
        let mut left = crowd.clients[at].record.left.clone();
        left.sort();
        assert_eq!(left, silent.map(|at| crowd.clients[at].record.name.clone()), "client {at}");
    }
    crowd.check();
}

#[test]
fn nothing_is_left_of_those_who_leave() {
    let mut crowd = crowd(Config::default(), 20);
    for at in 0..10 {
        crowd.clients[at].send(&mut crowd.stage, ["1", "41"][at % 2]);
    }
    crowd.pass(Duration::from_secs(1));
    crowd.stage.empty();
}

/// More than the server reads in one turn: no new edge tells of the rest.
#[test]
fn a_flood_is_read_to_the_end() {
    const MESSAGES: usize = 5000;
    let mut crowd = crowd(Config::default(), 5);
    for _ in 0..MESSAGES {
        crowd.clients[4].say(&mut crowd.stage, 60);
    }
    crowd.pass(Duration::ZERO);
    for client in &crowd.clients[..4] {
        assert_eq!(client.record.heard.values().map(Vec::len).sum::<usize>(), MESSAGES);
    }
    crowd.check();
}

/// Who does not take what was sent is not read either, until they do.
#[test]
fn a_sender_that_was_paused_goes_on() {
    let config = Config { max_queue: 64 * 1024, ..Config::default() };
    let mut crowd = crowd(config, 5);
    let line = crowd.clients[4].line(Which::Socket).expect("a WebSocket");
    crowd.stage.throttle(line, usize::MAX, 0);
    for _ in 0..5 {
        crowd.clients[0].say(&mut crowd.stage, 8000);
        crowd.pass(Duration::ZERO);
    }
    crowd.clients[4].say(&mut crowd.stage, 0);
    crowd.pass(Duration::ZERO);
    let name = crowd.clients[4].record.name.clone();
    assert!(!crowd.clients[1].record.heard.contains_key(&name), "it was read with a full outbox");
    crowd.stage.throttle(line, usize::MAX, usize::MAX);
    crowd.pass(Duration::ZERO);
    assert!(crowd.clients[1].record.heard.contains_key(&name));
    crowd.check();
}
