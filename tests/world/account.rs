//! What is held for clients: what comes in as well as what goes out is counted, shared out fairly and limited.

use crate::closing::Nothing;
use crate::limits::{HANDSHAKE, LOCAL, LONG, Line, Scene, sample};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use salon::chat::Chat;
use salon::config::{Config, MIN_QUEUE};
use salon::net::tls::Identity;
use salon::net::{Net, Wake};
use salon::socketio::App;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, mem, sync::Arc};

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const PING: u8 = 0x89;
const MEGABYTE: u64 = 1 << 20;
/// The header line of a request by JSONP, which names no origin.
const REFERER: &str = "Referer: http://h/\r\n";
/// The header lines of a handshake over WebSocket.
const UPGRADE: &str = "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";

/// A frame whose mask is zero, with the length that it claims to have.
fn frame_of(first: u8, length: usize, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match length {
        0..126 => frame.push(0x80 | length as u8),
        126..0x10000 => frame.extend([&[0x80 | 126][..], &(length as u16).to_be_bytes()].concat()),
        _ => frame.extend([&[0x80 | 127][..], &(length as u64).to_be_bytes()].concat()),
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    frame_of(first, payload.len(), payload)
}

/// The frames that the server has written, as text.
fn frames(line: &Line) -> Vec<String> {
    let mut bytes = mem::take(&mut line.pipe.wire().outgoing);
    let mut texts = Vec::new();
    while bytes.len() > 1 {
        let (start, length) = match bytes[1] {
            126 => (4, u16::from_be_bytes([bytes[2], bytes[3]]) as usize),
            127 => (10, u64::from_be_bytes(bytes[2..10].try_into().unwrap()) as usize),
            length => (2, length as usize),
        };
        texts.push(String::from_utf8_lossy(&bytes[start..start + length]).into_owned());
        bytes.drain(..start + length);
    }
    texts
}

impl<A: App> Scene<A> {
    /// A handshake over WebSocket.
    fn upgrade(&mut self, line: &Line, target: &str) {
        self.send(line, &format!("GET {target} HTTP/1.1\r\nHost: h\r\n{UPGRADE}\r\n"));
        self.settle();
        let answer = mem::take(&mut line.pipe.wire().outgoing);
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    }

    /// A session over WebSocket, with a socket.
    fn websocket(&mut self, peer: &str, version: u8) -> Line {
        let line = self.connect(peer);
        self.upgrade(&line, &format!("/socket.io/?EIO={version}&transport=websocket"));
        self.send_bytes(&line, &frame(TEXT, b"40"));
        self.settle();
        frames(&line);
        line
    }

    fn held(&mut self) -> u64 {
        self.metric("held_bytes{")
    }

    /// Lets the kernel take more of what the server has for this client.
    fn make_room(&mut self, line: &Line, room: usize) {
        line.pipe.wire().room = room;
        line.pipe.wire().blocked = false;
        self.turn(&[Wake::Connection { id: line.id, readable: false, writable: true, hung_up: false }]);
        self.settle();
    }
}

/// New clients have to wait while too much is held, those that are there do not.
#[test]
fn above_the_limit_new_sessions_are_refused() {
    let mut scene = Scene::new(Config { max_held: 300_000, ..Config::default() });
    let (line, sender, other) = (scene.connect(LOCAL), scene.connect(LOCAL), scene.connect(LOCAL));
    let (target, own) = (scene.session(&line), scene.session(&sender));
    let text = "x".repeat(10_000);
    scene.post(&line, &target, &format!("42[\"join\",\"{text}\"]"));
    while scene.held() <= 300_000 {
        assert_eq!(scene.post(&sender, &own, &format!("42[\"tell\",\"{text}\"]")), 200);
    }
    assert_eq!((scene.get(&other, HANDSHAKE, "").0, scene.hits("memory")), (503, 1));
    let mut refused = 1;
    for version in 2..=4 {
        for (transport, more) in [("polling", ""), ("polling&j=0", REFERER), ("websocket", UPGRADE)] {
            let (other, target) = (scene.connect(LOCAL), format!("/socket.io/?EIO={version}&transport={transport}"));
            refused += 1;
            assert_eq!((scene.get(&other, &target, more).0, scene.hits("memory")), (503, refused), "{target}");
        }
    }
    let (status, told) = scene.get(&line, &target, "");
    assert_eq!((status, told.contains(&text)), (200, true));
    let other = scene.connect(LOCAL);
    assert_eq!((scene.get(&other, HANDSHAKE, "").0, scene.hits("holder")), (200, 0));
}

/// Messages, bodies and packets that never become complete: the largest are not read, then dropped, and all stay below.
#[test]
fn what_is_never_complete_is_held_within_the_limit() {
    let limit = 8 * MEGABYTE;
    let part = "x".repeat(900_000);
    let open = |scene: &mut Scene, kind: usize, peer: &str| match kind {
        2 => {
            let line = scene.connect(peer);
            let target = scene.session(&line);
            (line, target)
        }
        _ => (scene.websocket(peer, 4), String::new()),
    };
    let fill = |scene: &mut Scene, kind: usize, line: &Line, target: &str| match kind {
        0 => scene.send_bytes(line, &frame_of(TEXT, 900_001, part.as_bytes())),
        1 => scene.send_bytes(line, &frame(TEXT & 0x7f, part.as_bytes())),
        2 => scene.send(line, &format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 900001\r\n\r\n{part}")),
        _ => {
            let holes: Vec<_> = (0..10).map(|n| format!("{{\"_placeholder\":true,\"num\":{n}}}")).collect();
            scene.send_bytes(line, &frame(TEXT, format!("4510-[\"a\",{}]", holes.join(",")).as_bytes()));
            (0..9).for_each(|_| scene.send_bytes(line, &frame(BINARY, &part.as_bytes()[..90_000])));
        }
    };
    for kind in 0..4 {
        let mut scene = Scene::new(Config { max_held: limit as usize, ..Config::default() });
        let calm = scene.websocket("192.0.2.1", 4);
        let lines: Vec<_> = (0..40).map(|number| open(&mut scene, kind, &format!("192.0.2.{number}"))).collect();
        let mut most = 0;
        for (line, target) in &lines {
            fill(&mut scene, kind, line, target);
            scene.settle();
            most = most.max(scene.held());
        }
        assert!(most > limit, "kind {kind}: {most} bytes are counted");
        assert!(most < limit * 6 / 5, "kind {kind}: {most} bytes are held");
        assert!(scene.hits("holder") > 0, "kind {kind}: nobody was dropped");
        // Those who hold little are served all the time.
        scene.send_bytes(&calm, &frame(TEXT, b"421[\"a\"]"));
        assert_eq!(frames(&calm).len(), 1, "kind {kind}");
        // When they are gone nothing is held.
        for (line, _) in lines {
            line.pipe.wire().reset = true;
            scene.turn(&[Wake::Connection { id: line.id, readable: true, writable: false, hung_up: true }]);
        }
        let left = scene.held();
        assert!(left < 20_000, "kind {kind}: {left} bytes are left");
    }
}

/// Above the limit those who hold much are not read, and are read on when it is over.
#[test]
fn above_the_limit_the_largest_wait() {
    let mut scene = Scene::new(Config { max_held: 2_050_000, ..Config::default() });
    let (first, second) = (scene.websocket(LOCAL, 4), scene.websocket(LOCAL, 4));
    for line in [&first, &second] {
        scene.send_bytes(line, &frame_of(TEXT, 990_000, &[b'x'; 900_000]));
        scene.settle();
    }
    assert!((2_050_000..2_170_000).contains(&scene.held()));
    scene.send_bytes(&first, &[b'x'; 50_000]);
    scene.settle();
    let waiting = first.pipe.wire().incoming.len();
    assert_eq!((waiting, scene.hits("holder")), (50_000, 0));
    scene.reset(second);
    scene.settle();
    assert_eq!(first.pipe.wire().incoming.len(), 0);
}

/// The attachments of one packet together are as large as one message at most.
#[test]
fn attachments_count_together() {
    let mut scene = Scene::new(Config::default());
    let line = scene.websocket(LOCAL, 4);
    let holes = "{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}";
    scene.send_bytes(&line, &frame(TEXT, format!("452-[\"a\",{holes}]").as_bytes()));
    scene.send_bytes(&line, &frame(BINARY, &vec![0; 900_000]));
    scene.settle();
    assert!(!line.pipe.is_closed() && scene.hits("payload") == 0);
    scene.send_bytes(&line, &frame(BINARY, &vec![0; 200_000]));
    scene.settle();
    assert_eq!((scene.hits("payload"), frames(&line).len()), (1, 1), "a close frame");
}

/// The same over polling, where each comes in a POST of its own: in base64, in the text framing, and as bytes.
#[test]
fn attachments_of_several_posts_count_together() {
    let base64 = "A".repeat(800_000);
    let bytes = [&b"\x01\x06\x00\x00\x00\x00\x01\xff\x04"[..], &[0; 600_000]].concat();
    let text = |packet: &str| format!("{}:{packet}", packet.len());
    for (version, attachment) in [
        (4, format!("b{base64}").into_bytes()),
        (3, text(&format!("b4{base64}")).into_bytes()),
        (3, bytes.clone()),
        (2, text(&format!("b4{base64}")).into_bytes()),
        (2, bytes),
    ] {
        let mut scene = Scene::new(Config::default());
        let line = scene.connect(LOCAL);
        let target = HANDSHAKE.replace('4', &version.to_string()) + "&b64=1";
        let (_, open) = scene.get(&line, &target, "");
        let target = format!("{target}&sid={}", open.split('"').nth(3).expect("a sid"));
        let packet = "452-[\"a\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]";
        let payload = if version == 4 { format!("40\x1e{packet}") } else { text(packet) };
        assert_eq!(scene.post(&line, &target, &payload), 200);
        let kind = if attachment[0] == 1 { "Content-Type: application/octet-stream\r\n" } else { "" };
        let head = format!("POST {target} HTTP/1.1\r\nHost: h\r\n{kind}Content-Length: {}\r\n\r\n", attachment.len());
        for count in 0..2 {
            assert_eq!(scene.hits("payload"), count / 2, "EIO={version}, {kind}");
            scene.send_bytes(&line, &[head.as_bytes(), &attachment].concat());
            scene.settle();
            assert!(line.read().starts_with("HTTP/1.1 "), "EIO={version}, {kind}");
        }
        assert_eq!((scene.hits("payload"), scene.metric("sessions{")), (1, 0), "EIO={version}, {kind}");
        assert_eq!(scene.server.app().0, 0, "the event never came");
    }
}

/// A small part of a large body does not keep the whole body (`EIO=3`, where packets are parts of it).
#[test]
fn an_attachment_does_not_keep_its_body() {
    let mut scene = Scene::new(Config::default());
    let line = scene.connect(LOCAL);
    let (_, open) = scene.get(&line, "/socket.io/?EIO=3&transport=polling", "");
    let target = format!("/socket.io/?EIO=3&transport=polling&sid={}", open.split('"').nth(3).unwrap());
    let holes = "{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}";
    let packet = |text: &str| format!("{}:{text}", text.len());
    let noise = packet(&format!("42[\"a\",\"{}\"]", "x".repeat(700_000)));
    let payload = format!("{noise}{}{}", packet(&format!("452-[\"a\",{holes}]")), packet("b4AQID"));
    assert_eq!(scene.post(&line, &target, &payload), 200);
    let held = scene.held();
    assert!(held < 100_000, "{held} bytes are held");
}

/// Of pongs that a client does not read only the newest is kept, and pings count for the rate limit.
#[test]
fn pongs_do_not_pile_up() {
    for kind in ["WebSocket", "EIO=3 over WebSocket", "EIO=3 over polling"] {
        let mut scene = Scene::new(Config { event_rate: 100, event_burst: 1000, ..Config::default() });
        let polling = scene.connect(LOCAL);
        let (line, target) = if kind.ends_with("polling") {
            let (_, open) = scene.get(&polling, "/socket.io/?EIO=3&transport=polling", "");
            let sid = open.split('"').nth(3).unwrap().to_owned();
            (None, format!("/socket.io/?EIO=3&transport=polling&sid={sid}"))
        } else {
            (Some(scene.websocket(LOCAL, if kind == "WebSocket" { 4 } else { 3 })), String::new())
        };
        let before = scene.held();
        if kind == "WebSocket" {
            // The client does not read any more, which the server learns from its first write.
            let line = line.as_ref().unwrap();
            line.pipe.wire().room = 0;
            scene.send_bytes(line, &frame(PING, b"first"));
        }
        for round in 0..15 {
            match &line {
                Some(line) => {
                    line.pipe.wire().room = 0;
                    let pings: Vec<u8> = (0..100u32)
                        .flat_map(|number| match kind {
                            "WebSocket" => frame(PING, format!("{round}-{number}").as_bytes()),
                            _ => frame(TEXT, format!("2{round}-{number}").as_bytes()),
                        })
                        .collect();
                    scene.send_bytes(line, &pings);
                }
                None => assert_eq!(scene.post(&polling, &target, &"2:2x".repeat(100)), 200),
            }
            scene.settle();
        }
        let held = scene.held() - before;
        match kind {
            "WebSocket" => {
                assert!(held < 2_000, "{kind}: {held} bytes for 1,500 pings");
                let line = line.unwrap();
                scene.make_room(&line, usize::MAX);
                let pongs = frames(&line);
                assert_eq!(pongs.last().unwrap(), "14-99");
                assert!(pongs.len() < 5, "{pongs:?}");
            }
            _ => assert!(held > 1_500 * 64, "{kind}: {held} bytes for 1,500 pongs are counted"),
        }
        assert_eq!(scene.hits("flood"), 0);
    }
}

/// Twice the burst of pings is a flood, on every transport and in every version.
#[test]
fn a_flood_of_pings_ends_the_session() {
    for kind in ["WebSocket", "EIO=3 over WebSocket", "EIO=3 over polling"] {
        let mut scene = Scene::new(Config { event_rate: 100, event_burst: 50, ..Config::default() });
        match kind {
            "EIO=3 over polling" => {
                let line = scene.connect(LOCAL);
                let (_, open) = scene.get(&line, "/socket.io/?EIO=3&transport=polling", "");
                let target = format!("/socket.io/?EIO=3&transport=polling&sid={}", open.split('"').nth(3).unwrap());
                scene.post(&line, &target, &"1:2".repeat(150));
            }
            _ => {
                let version = if kind == "WebSocket" { 4 } else { 3 };
                let line = scene.websocket(LOCAL, version);
                let ping = if version == 4 { frame(PING, b"") } else { frame(TEXT, b"2") };
                scene.send_bytes(&line, &ping.repeat(150));
            }
        }
        scene.settle();
        assert_eq!((scene.hits("flood"), scene.metric("sessions{")), (1, 0), "{kind}");
    }
}

/// A packet of a payload is a step like a frame: what is over waits for the next turn, and the answer for all of it.
#[test]
fn a_long_payload_leaves_time_for_others() {
    let mut scene = Scene::new(Config::default());
    let (line, other) = (scene.connect(LOCAL), scene.connect(LOCAL));
    let (target, own) = (scene.session(&line), scene.session(&other));
    let payload = vec!["42[\"a\"]"; 1000].join("\x1e");
    let length = payload.len();
    scene.send(&line, &format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{payload}"));
    assert_eq!(line.read(), "", "the answer comes when all is done");
    scene.send(&other, &format!("POST {own} HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\n421[\"a\"]"));
    assert!(line.read().is_empty());
    scene.settle();
    assert!(line.read().starts_with("HTTP/1.1 200"));
    assert!(other.read().starts_with("HTTP/1.1 200"));
    let (_, answer) = scene.get(&other, &own, "");
    let number: usize = answer.trim_start_matches("431[").trim_end_matches(']').parse().unwrap();
    assert!((200..1000).contains(&number), "event {number} of both");
}

/// All 2,500 events that the official client gathers before its first poll arrive.
#[test]
fn as_many_events_as_the_burst_come_in_one_payload() {
    let mut scene = Scene::new(Config::default());
    let line = scene.connect(LOCAL);
    let target = scene.session(&line);
    assert_eq!(scene.post(&line, &target, &vec!["42[\"a\"]"; 2500].join("\x1e")), 200);
    scene.post(&line, &target, "421[\"a\"]");
    assert_eq!(scene.get(&line, &target, "").1, "431[2501]");
}

/// Nothing behind the end of a session is done.
#[test]
fn what_follows_the_end_of_a_session_is_not_done() {
    for (end, parked) in
        ["4garbage", "1", "41", "45-[\"a\"]", "44{}"].into_iter().flat_map(|end| [(end, false), (end, true)])
    {
        let mut scene = Scene::new(Config::default());
        let (line, other, get) = (scene.connect(LOCAL), scene.connect(LOCAL), scene.connect(LOCAL));
        let (target, own) = (scene.session(&line), scene.session(&other));
        if parked {
            scene.send(&get, &format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
        }
        scene.post(&line, &target, &["42[\"a\"]", end, "42[\"a\"]", "42[\"a\"]"].join("\x1e"));
        scene.post(&other, &own, "421[\"a\"]");
        assert_eq!(scene.get(&other, &own, "").1, "431[2]", "{end}, {parked}");
    }
}

/// A session over polling whose client has a socket: its target. With `jsonp`, each of its payloads is a form.
fn polling(scene: &mut Scene, line: &Line, version: u8, jsonp: bool) -> String {
    let target = HANDSHAKE.replace('4', &version.to_string()) + if jsonp { "&j=0" } else { "&b64=1" };
    let (_, open) = scene.get(line, &target, REFERER);
    let sid = open.split("sid").nth(1).and_then(|rest| rest.split(['"', '\\', ':']).find(|part| !part.is_empty()));
    let target = format!("{target}&sid={}", sid.expect("a sid"));
    if version == 4 {
        send_packets(scene, line, &target, &["40".to_owned()]);
        scene.get(line, &target, REFERER);
    }
    target
}

/// Posts these packets to a session of [`polling`].
fn send_packets(scene: &mut Scene, line: &Line, target: &str, packets: &[String]) {
    let payload = match target.contains("EIO=4") {
        true => packets.join("\x1e"),
        false => packets.iter().map(|packet| format!("{}:{packet}", packet.len())).collect(),
    };
    let (kind, body) = match target.contains("&j=") {
        true => ("application/x-www-form-urlencoded", format!("d={payload}")),
        false => ("text/plain", payload),
    };
    let length = body.len();
    let head = format!("POST {target} HTTP/1.1\r\nHost: h\r\n{REFERER}Content-Type: {kind}\r\n");
    scene.send(line, &format!("{head}Content-Length: {length}\r\n\r\n{body}"));
    scene.settle();
    assert!(line.read().starts_with("HTTP/1.1 "));
}

/// N6: packets behind the one whose answer evicts a client that does not read are not handled.
#[test]
fn what_follows_an_eviction_is_not_done() {
    for (version, jsonp) in [(4, false), (3, false), (2, false), (4, true), (3, true), (2, true)] {
        let mut scene = Scene::new(Config { max_queue: MIN_QUEUE, ..Config::default() });
        let line = scene.connect(LOCAL);
        let target = polling(&mut scene, &line, version, jsonp);
        let events: Vec<_> = (0..600).map(|number| format!("42{number}[\"long\"]")).collect();
        send_packets(&mut scene, &line, &target, &events);
        let done = scene.server.app().0;
        // Each answer takes LONG, and a little for its packet and its entry.
        let room = MIN_QUEUE / (LONG + 100)..=MIN_QUEUE / LONG;
        assert!(room.contains(&done), "EIO={version}, {jsonp}: {done} events were handled");
        assert_eq!((scene.hits("queue"), scene.metric("sessions{")), (1, 0), "EIO={version}, {jsonp}");
    }
}

/// The same for packets behind the one that is a flood.
#[test]
fn what_follows_a_flood_is_not_done() {
    for (version, jsonp) in [(4, false), (3, false), (2, false), (4, true), (3, true), (2, true)] {
        let mut scene = Scene::new(Config { event_rate: 1, event_burst: 50, ..Config::default() });
        let line = scene.connect(LOCAL);
        let target = polling(&mut scene, &line, version, jsonp);
        let before = scene.metric("messages_received_total ");
        send_packets(&mut scene, &line, &target, &vec!["42[\"a\"]".to_owned(); 600]);
        // A CONNECT counts, too.
        let done = if version == 4 { 49 } else { 50 };
        assert_eq!(scene.server.app().0, done, "EIO={version}, {jsonp}");
        // Another burst is refused, and the event after it is the flood.
        let read = scene.metric("messages_received_total ") - before;
        assert_eq!(read, done as u64 + 51, "EIO={version}, {jsonp}");
        assert_eq!((scene.hits("events"), scene.hits("flood"), scene.metric("sessions{")), (50, 1, 0));
    }
}

/// N3: a client whose pong stands behind so much that the first round after a stall does not reach it is alive.
#[test]
fn a_pong_behind_many_events_counts_after_a_stall() {
    let config = Config::default();
    let late = config.ping_timeout + Duration::from_millis(300);
    for transport in ["WebSocket", "polling"] {
        let mut scene = Scene::new(config.clone());
        let (line, bytes) = if transport == "WebSocket" {
            let line = scene.websocket(LOCAL, 4);
            scene.pass(config.ping_interval);
            assert_eq!(frames(&line), ["2"]);
            let bytes = [frame(TEXT, b"42[\"a\"]").repeat(300), frame(TEXT, b"3")].concat();
            (line, bytes)
        } else {
            let line = scene.connect(LOCAL);
            let target = scene.session(&line);
            scene.pass(config.ping_interval);
            assert_eq!(scene.get(&line, &target, "").1, "2");
            let payload = "42[\"a\"]\x1e".repeat(300) + "3";
            let length = payload.len();
            let head = format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
            (line, (head + &payload).into_bytes())
        };
        scene.now += late;
        scene.send_bytes(&line, &bytes);
        assert_eq!(scene.metric("sessions_ended_total{"), 0, "{transport}");
        assert_eq!(scene.server.app().0, 300, "{transport}");
        // The next ping is due an interval after the pong.
        line.pipe.wire().outgoing.clear();
        scene.pass(config.ping_interval);
        assert_eq!(scene.metric("sessions{"), 1, "{transport}");
    }
}

/// The time for a message begins with each message.
#[test]
fn the_deadline_of_a_message_is_its_own() {
    let mut scene = Scene::new(Config { message_timeout: Duration::from_secs(2), ..Config::default() });
    let line = scene.websocket(LOCAL, 4);
    let whole = frame(TEXT, b"42[\"a\"]");
    scene.send_bytes(&line, &whole[..5]);
    for _ in 0..5 {
        // Each read ends inside of the next frame.
        scene.pass(Duration::from_millis(1500));
        scene.send_bytes(&line, &[&whole[5..], &whole[..5]].concat());
    }
    assert_eq!((scene.hits("message_time"), line.pipe.is_closed()), (0, false));
    // Fragments and pings in between do not prolong it.
    scene.pass(Duration::from_millis(1500));
    scene.send_bytes(&line, &whole[5..]);
    scene.send_bytes(&line, &frame(TEXT & 0x7f, b"42"));
    scene.pass(Duration::from_millis(1500));
    scene.send_bytes(&line, &[frame(PING, b""), frame(0, b"[")].concat());
    assert_eq!(scene.hits("message_time"), 0);
    scene.pass(Duration::from_millis(600));
    assert_eq!(scene.hits("message_time"), 1);
}

/// One address that leaves many suspended sockets takes nobody else's.
#[test]
fn suspended_sockets_count_for_their_address() {
    let mut scene = Scene::new(Config { max_connections: 60, max_per_address: 10, ..Config::default() });
    let browser = "User-Agent: Mozilla/5.0\r\n";
    let leave = |scene: &mut Scene, peer: &str| {
        let line = scene.connect(peer);
        let (status, open) = scene.get(&line, HANDSHAKE, browser);
        assert_eq!(status, 200, "{open}");
        let target = format!("{HANDSHAKE}&sid={}", open.split('"').nth(3).unwrap());
        assert_eq!(scene.post(&line, &target, "40"), 200);
        let (_, connected) = scene.get(&line, &target, "");
        let pid = connected.split("\"pid\":\"").nth(1).expect("recovery").split('"').next().unwrap().to_owned();
        scene.post(&line, &target, "1");
        scene.reset(line);
        pid
    };
    let back = |scene: &mut Scene, peer: &str, pid: &str| {
        let line = scene.connect(peer);
        let (_, open) = scene.get(&line, HANDSHAKE, browser);
        let target = format!("{HANDSHAKE}&sid={}", open.split('"').nth(3).unwrap());
        scene.post(&line, &target, &format!("40{{\"pid\":\"{pid}\"}}"));
        scene.get(&line, &target, "").1.contains(pid)
    };
    let victim = leave(&mut scene, "198.51.100.1");
    let first = leave(&mut scene, "192.0.2.1");
    scene.now += Duration::from_millis(1);
    let rest: Vec<_> = (0..100).map(|_| leave(&mut scene, "192.0.2.1")).collect();
    assert!(scene.metric("sockets{state=\"held\"}") <= 11);
    assert!(back(&mut scene, "198.51.100.1", &victim));
    // The oldest of the address itself have gone, the newest are there.
    assert!(!back(&mut scene, "192.0.2.1", &first));
    assert!(back(&mut scene, "192.0.2.1", rest.last().unwrap()));
    // Many addresses: the one with most gives up its own.
    for address in 2..14 {
        (0..6).for_each(|_| drop(leave(&mut scene, &format!("192.0.2.{address}"))));
    }
    let victim = leave(&mut scene, "198.51.100.2");
    (0..8).for_each(|_| drop(leave(&mut scene, "192.0.2.99")));
    assert!(scene.metric("sockets{state=\"held\"}") <= 60);
    assert!(back(&mut scene, "198.51.100.2", &victim));
}

/// Of too many suspended sockets those of users without a name are given up first, however short they have been away; all of
/// one address, and all together.
#[test]
fn sockets_with_a_name_are_given_up_last() {
    let of_address = Config { max_per_address: 6, ..Config::default() };
    let of_all = Config { max_connections: 6, ..Config::default() };
    for (config, peer, websocket) in [
        (&of_address, "192.0.2.1", false),
        (&of_address, "192.0.2.1", true),
        (&of_all, LOCAL, false),
        (&of_all, LOCAL, true),
    ] {
        let mut scene = Scene::of(config.clone(), Chat::new(config.clone()));
        // A socket that can be recovered, with this in its CONNECT: its connection, the target of its session, and its `pid`.
        let open = |scene: &mut Scene<Chat>, auth: &str| {
            let line = scene.connect(peer);
            let target = HANDSHAKE.to_owned() + "&recovery=1";
            let (target, connected) = if websocket {
                scene.upgrade(&line, &target.replace("polling", "websocket"));
                scene.send_bytes(&line, &frame(TEXT, format!("40{auth}").as_bytes()));
                (target, frames(&line).concat())
            } else {
                let (_, open) = scene.get(&line, &target, "");
                let target = format!("{target}&sid={}", open.split('"').nth(3).expect("a sid"));
                assert_eq!(scene.post(&line, &target, &format!("40{auth}")), 200);
                let connected = scene.get(&line, &target, "").1;
                (target, connected)
            };
            let pid = connected.split("\"pid\":\"").nth(1).expect("recovery").split('"').next().unwrap().to_owned();
            (line, target, pid)
        };
        let leave = |scene: &mut Scene<Chat>, name: Option<&str>| {
            let (line, target, pid) = open(scene, "");
            if let Some(name) = name {
                let packet = format!("42[\"add user\",\"{name}\"]");
                let login = if websocket {
                    scene.send_bytes(&line, &frame(TEXT, packet.as_bytes()));
                    frames(&line).concat()
                } else {
                    assert_eq!(scene.post(&line, &target, &packet), 200);
                    scene.get(&line, &target, "").1
                };
                assert!(login.starts_with("42[\"login\""), "{login}");
            }
            if !websocket {
                scene.post(&line, &target, "1");
            }
            scene.reset(line);
            pid
        };
        let returns = |scene: &mut Scene<Chat>, pid: &str| open(scene, &format!("{{\"pid\":\"{pid}\"}}")).2 == pid;
        let ada = leave(&mut scene, Some("Ada"));
        let nameless: Vec<_> = (0..20).map(|_| leave(&mut scene, None)).collect();
        let bob = leave(&mut scene, Some("Bob"));
        let held = scene.metric("sockets{state=\"held\"}");
        assert!((5..=6).contains(&held), "{peer}, {websocket}: {held} are held");
        assert!(returns(&mut scene, &ada), "{peer}, {websocket}: named, and away for longest");
        assert!(returns(&mut scene, &bob), "{peer}, {websocket}: named");
        assert!(!returns(&mut scene, &nameless[0]), "{peer}, {websocket}: nameless, and away for longest");
        assert!(returns(&mut scene, &nameless[19]), "{peer}, {websocket}: nameless, and away for a moment");
    }
}

/// Sessions that come and go badly for an hour (or a tenth of it; SALON_BAD_SESSIONS says how many): nothing of them is left.
#[test]
fn sessions_that_come_and_go_badly() {
    let count = std::env::var("SALON_BAD_SESSIONS").map_or(10_000, |count| count.parse().expect("a number"));
    let mut scene = Scene::new(Config { max_held: 8 << 20, event_burst: 100, event_rate: 10, ..Config::default() });
    scene.check_every = 997;
    let long = vec![b'x'; 30_000];
    let end = |scene: &mut Scene, line: Line, reset: bool| {
        let mut wire = line.pipe.wire();
        (wire.reset, wire.ended) = (reset, !reset);
        drop(wire);
        scene.turn(&[Wake::Connection { id: line.id, readable: true, writable: false, hung_up: true }]);
    };
    let mut open = std::collections::VecDeque::new();
    let mut most = 0;
    for number in 0..count {
        scene.now += Duration::from_millis(36);
        let peer = format!("192.0.{}.{}", number % 7, number % 200);
        let line = match number % 10 {
            0 => {
                let line = scene.websocket(&peer, 4);
                scene.send_bytes(&line, &frame_of(TEXT, 900_000, &long));
                line
            }
            1 => {
                let line = scene.websocket(&peer, 3);
                scene.send_bytes(&line, &frame(TEXT, b"2").repeat(300));
                line
            }
            2 => {
                let line = scene.websocket(&peer, 4);
                line.pipe.wire().room = 0;
                scene.send_bytes(&line, &frame(PING, &[b'x'; 100]).repeat(150));
                line
            }
            3 => {
                let line = scene.websocket(&peer, 4);
                scene.send_bytes(&line, &frame(TEXT, b"452-[\"a\",{\"_placeholder\":true,\"num\":0},1]"));
                line
            }
            4 => {
                let line = scene.connect(&peer);
                let target = scene.session(&line);
                scene.send(&line, &format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 9000\r\n\r\n42["));
                line
            }
            5 => {
                let line = scene.connect(&peer);
                let target = scene.session(&line);
                scene.post(&line, &target, &["42[\"a\"]", "42[\"tell\",\"r\"]", "4{", "42[\"a\"]"].join("\x1e"));
                line
            }
            6 => {
                let line = scene.connect(&peer);
                let target = scene.session(&line);
                scene.post(&line, &target, &vec!["42[\"join\",\"r\"]"; 150].join("\x1e"));
                line
            }
            7 => {
                let line = scene.connect(&peer);
                let target = scene.session(&line);
                scene.send(&line, &format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\nGET {target} HTTP/1.1\r\nHo"));
                line
            }
            8 => {
                let line = scene.connect(&peer);
                scene.send(&line, "GET / HTTP/1.1\r\nHost");
                line
            }
            _ => {
                let line = scene.connect(&peer);
                let (_, answer) = scene.get(&line, HANDSHAKE, "User-Agent: Mozilla/5.0\r\n");
                assert!(answer.contains("sid"), "{answer}");
                line
            }
        };
        scene.settle();
        open.push_back((line, number));
        if open.len() > 200 {
            let (line, number) = open.pop_front().unwrap();
            end(&mut scene, line, number % 3 == 0);
        }
        if number % 1000 == 0 {
            most = most.max(scene.held());
        }
    }
    for (line, number) in open {
        end(&mut scene, line, number % 3 == 0);
    }
    for _ in 0..400 {
        scene.pass(Duration::from_secs(1));
    }
    assert!(most < 10 << 20, "{most} bytes were held");
    assert!(scene.held() < 10_000);
    for _ in 0..200 {
        scene.pass(Duration::from_secs(1));
    }
    scene.check_empty();
}

/// Much that is pipelined behind a payload whose packets have to wait stops neither.
#[test]
fn what_is_pipelined_behind_a_long_payload_waits() {
    let mut scene = Scene::new(Config::default());
    let line = scene.connect(LOCAL);
    let target = scene.session(&line);
    let payload = vec!["6"; 600].join("\x1e");
    let post = format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{payload}", payload.len());
    scene.send(&line, &(post + &"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n".repeat(600)));
    scene.settle();
    assert_eq!(line.read().matches("HTTP/1.1 200").count(), 601);
}

/// Packets that wait for attachments, however long their texts are, are those who are dropped, and not who holds less.
#[test]
fn long_texts_that_wait_for_attachments_count_for_their_sessions() {
    let mut scene = Scene::new(Config { max_held: 3_900_000, ..Config::default() });
    let text = "x".repeat(600_000);
    let packet = format!("451-[\"a\",\"{text}\",{{\"_placeholder\":true,\"num\":0}}]");
    let lines: Vec<_> = (0..6).map(|number| scene.websocket(&format!("192.0.2.{number}"), 4)).collect();
    for line in &lines {
        scene.send_bytes(line, &frame(TEXT, packet.as_bytes()));
        scene.settle();
    }
    // What is queued for a bystander is half of one of them, and is what is too much.
    let (calm, sender) = (scene.connect(LOCAL), scene.connect(LOCAL));
    let (target, own) = (scene.session(&calm), scene.session(&sender));
    let text = "x".repeat(10_000);
    scene.post(&calm, &target, &format!("42[\"join\",\"{text}\"]"));
    while scene.held() <= 3_900_000 {
        assert_eq!(scene.post(&sender, &own, &format!("42[\"tell\",\"{text}\"]")), 200);
    }
    assert_eq!((lines.iter().any(|line| line.pipe.is_closed()), scene.hits("holder")), (false, 0));
    scene.pass(Duration::from_secs(3));
    assert!(scene.held() > 3_900_000, "this request is the one after which the account is looked at");
    assert_eq!(scene.hits("holder"), 1);
    let (status, told) = scene.get(&calm, &target, "");
    assert_eq!((status, told.contains(&text)), (200, true), "the bystander is still there");
}

/// Who keeps the account just above its limit is dropped after a moment, because new clients wait for it.
#[test]
fn above_the_limit_for_long_the_largest_are_dropped() {
    let mut scene = Scene::new(Config { max_held: 2_050_000, ..Config::default() });
    let (first, second) = (scene.websocket(LOCAL, 4), scene.websocket(LOCAL, 4));
    for line in [&first, &second] {
        scene.send_bytes(line, &frame_of(TEXT, 990_000, &[b'x'; 900_000]));
        scene.settle();
    }
    let new = scene.connect(LOCAL);
    assert_eq!((scene.get(&new, HANDSHAKE, "").0, scene.hits("holder")), (503, 0));
    scene.pass(Duration::from_secs(3));
    let new = scene.connect(LOCAL);
    scene.get(&new, HANDSHAKE, "");
    let new = scene.connect(LOCAL);
    assert_eq!((scene.get(&new, HANDSHAKE, "").0, scene.hits("holder")), (200, 1));
}

/// A client that comes back before its old session has timed out costs nobody of its address a suspended socket.
#[test]
fn coming_back_early_gives_up_nobody() {
    let mut scene = Scene::new(Config { max_per_address: 3, ..Config::default() });
    let browser = "User-Agent: Mozilla/5.0\r\n";
    let open = |scene: &mut Scene, auth: &str| {
        let line = scene.connect("192.0.2.1");
        let (status, open) = scene.get(&line, HANDSHAKE, browser);
        assert_eq!(status, 200, "{open}");
        let target = format!("{HANDSHAKE}&sid={}", open.split('"').nth(3).unwrap());
        assert_eq!(scene.post(&line, &target, &format!("40{auth}")), 200);
        let (_, connected) = scene.get(&line, &target, "");
        let pid = connected.split("\"pid\":\"").nth(1).expect("recovery").split('"').next().unwrap().to_owned();
        (line, target, pid)
    };
    // As many suspended sockets as there may be.
    let [held, ..] = [(); 3].map(|()| {
        let (line, target, pid) = open(&mut scene, "");
        scene.post(&line, &target, "1");
        scene.reset(line);
        pid
    });
    let (_first, _, pid) = open(&mut scene, "");
    let (_second, _, again) = open(&mut scene, &format!("{{\"pid\":\"{pid}\"}}"));
    assert_eq!(again, pid, "it has its old socket");
    let (_third, _, again) = open(&mut scene, &format!("{{\"pid\":\"{held}\"}}"));
    assert_eq!(again, held, "and so has the one that was away first");
}

/// The body of a POST counts once, for the connection that has sent it, until the last of its packets is handled.
#[test]
fn a_body_counts_for_its_connection_until_its_packets_are_handled() {
    let mut scene = Scene::new(Config::default());
    let (line, other) = (scene.connect(LOCAL), scene.connect(LOCAL));
    let target = scene.session(&line);
    let payload = vec![format!("42[\"a\",\"{}\"]", "x".repeat(300)); 600].join("\x1e");
    let length = payload.len() as u64;
    let before = scene.held();
    scene.send(&line, &format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{payload}"));
    // One turn handles the whole body, but not all packets of it; and another turn the request for the metrics.
    scene.send(&other, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let metrics = other.read();
    assert_eq!(line.read(), "", "packets are left");
    let input = sample(&metrics, "held_bytes{kind=\"input\"}");
    assert!((length..length * 3 / 2).contains(&input), "{input} bytes of {length} count for the connection");
    let all = sample(&metrics, "held_bytes{") - before;
    assert!(all < length * 3 / 2, "{all} bytes of {length} are counted");
    scene.settle();
    assert!(line.read().starts_with("HTTP/1.1 200"));
    let left = scene.held() - before;
    assert!(left < 20_000, "{left} bytes are left");
}

/// The buffer in which a long message was put together is not kept for the start of the next message.
#[test]
fn the_buffer_of_a_long_message_is_released_before_the_next_is_complete() {
    let mut scene = Scene::new(Config::default());
    let line = scene.websocket(LOCAL, 4);
    let before = scene.held();
    let long = frame(TEXT, format!("42[\"a\",\"{}\"]", "x".repeat(900_000)).as_bytes());
    let (start, end) = long.split_at(800_000);
    scene.send_bytes(&line, start);
    scene.settle();
    assert!(scene.held() - before > 800_000);
    scene.send_bytes(&line, &[end, &frame(TEXT, b"42[\"a\"]")[..5]].concat());
    scene.settle();
    let left = scene.held() - before;
    assert!(left < 1_000, "{left} bytes are held for five");
}

/// The close packet of a session waits for a GET; above the limit it is dropped with all that is queued before it.
#[test]
fn above_the_limit_closed_sessions_are_dropped() {
    let mut scene = Scene::new(Config { max_held: 300_000, ..Config::default() });
    let (line, sender) = (scene.connect(LOCAL), scene.connect(LOCAL));
    let (target, own) = (scene.session(&line), scene.session(&sender));
    let text = "x".repeat(1_000);
    scene.post(&line, &target, &format!("42[\"join\",\"{text}\"]"));
    // The room counts as well, until the session is closed.
    while scene.held() <= 310_000 {
        assert_eq!(scene.post(&sender, &own, &format!("42[\"tell\",\"{text}\"]")), 200);
    }
    scene.server.stop();
    scene.pass(Duration::from_secs(3));
    assert_eq!(scene.metric("sessions{"), 2, "both are closed, and wait for a GET");
    // That request was one to look at the account after.
    assert_eq!((scene.metric("sessions{"), scene.hits("holder")), (1, 1));
    let held = scene.held();
    assert!(held < 100_000, "{held} bytes are held");
    let line = scene.connect(LOCAL);
    assert_eq!(scene.get(&line, &target, "").0, 400, "the session is gone");
}

/// A connection that goes while it waits for the account is forgotten at once, also if others have to wait on.
#[test]
fn a_connection_that_goes_while_it_waits_is_forgotten() {
    let mut scene = Scene::new(Config { max_held: 2_050_000, ..Config::default() });
    let lines = [(); 3].map(|()| scene.websocket(LOCAL, 4));
    for (line, length) in lines.iter().zip([900_000, 900_000, 20_000]) {
        scene.send_bytes(line, &frame_of(TEXT, 990_000, &vec![b'x'; length]));
        scene.settle();
    }
    let [first, _second, last] = lines;
    for line in [&first, &last] {
        scene.send_bytes(line, b"x");
        scene.settle();
        assert_eq!(line.pipe.wire().incoming.len(), 1, "it waits");
    }
    // After each turn `Server::check` looks for connections that wait and do not exist.
    scene.reset(last);
    assert!(scene.held() > 2_050_000);
    assert_eq!(first.pipe.wire().incoming.len(), 1, "the other waits on");
    assert_eq!(scene.hits("holder"), 0);
}

/// A certificate for localhost with its key, as options of a server, and a client that trusts it.
fn certified() -> (Config, ClientConnection) {
    let key = rcgen::KeyPair::generate().expect("ring has random bytes");
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let cert = params.self_signed(&key).expect("ring can sign");
    let files = [("cert", cert.pem()), ("key", key.serialize_pem())].map(|(name, text)| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("world-{}-{name}.pem", std::process::id()));
        fs::write(&path, text).expect("a directory for tests");
        Some(path.into_os_string().into_string().expect("text"))
    });
    let [tls_cert, tls_key] = files;
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("a good certificate");
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let client = ClientConnection::new(Arc::new(client), "localhost".try_into().expect("a name")).expect("a client");
    (Config { tls_cert, tls_key, ..Config::default() }, client)
}

/// Ciphertext that the kernel has not taken counts once for its connection, and nothing counts for one that is aborted.
#[test]
fn unsent_ciphertext_counts_once_and_not_for_an_aborted_connection() {
    let (config, mut client) = certified();
    let mut net = Net::<Nothing>::new(config.clone()).expect("a selector");
    net.identity = Identity::load(&config, None).expect("good files");
    let now = Instant::now();
    let id = net.connect_pipe([192, 0, 2, 1].into(), now);
    let pipe = net.pipe(id).expect("it was made just now");
    pipe.wire().room = usize::MAX;
    let mut buffer = vec![0; 64 * 1024];
    while client.is_handshaking() || client.wants_write() {
        while client.wants_write() {
            client.write_tls(&mut pipe.wire().incoming).expect("memory");
        }
        assert_eq!(net.read(id, &mut buffer), None, "no plaintext");
        net.flush(now);
        let answer = mem::take(&mut pipe.wire().outgoing);
        let mut answer = &answer[..];
        while !answer.is_empty() {
            client.read_tls(&mut answer).expect("memory");
            client.process_new_packets().expect("a handshake");
        }
    }
    // The kernel takes 1,000 of what one write encrypts, 48 KiB.
    pipe.wire().room = 1_000;
    net.push(id, vec![b'x'; 100_000].into());
    net.flush(now);
    let connection = net.get(id).expect("it is open");
    let unsent = connection.tls.as_ref().expect("TLS").unsent.len();
    assert!(unsent > 45_000, "{unsent} bytes of ciphertext");
    assert!((99_000..101_000).contains(&connection.holds()), "{} bytes", connection.holds());
    net.abort(id);
    assert_eq!(net.get(id).map(|connection| connection.holds()), Some(0));
}

/// The last attachment of a body has the only reference to it, once the packets before it are handled.
#[test]
fn a_small_attachment_does_not_keep_the_body_that_it_came_in() {
    let mut scene = Scene::new(Config::default());
    let line = scene.connect(LOCAL);
    let handshake = HANDSHAKE.replace("EIO=4", "EIO=3");
    let (_, open) = scene.get(&line, &handshake, "");
    let target = format!("{handshake}&sid={}", open.split('"').nth(3).expect("a sid"));
    let placeholder = |number| format!(r#"{{"_placeholder":true,"num":{number}}}"#);
    let event = format!(r#"452-["x",{},{}]"#, placeholder(0), placeholder(1));
    let large = format!(r#"42["x","{}"]"#, "x".repeat(900_000));
    let mut body = Vec::new();
    for (kind, packet) in [(0, large.as_bytes()), (0, event.as_bytes()), (1, b"\x04x")] {
        body.push(kind);
        body.extend(packet.len().to_string().bytes().map(|digit| digit - b'0'));
        body.push(0xff);
        body.extend(packet);
    }
    let before = scene.held();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: h\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    scene.send_bytes(&line, &[head.as_bytes(), &body].concat());
    scene.settle();
    assert!(line.read().starts_with("HTTP/1.1 200"));
    let grown = scene.held() - before;
    assert!((1..10_000).contains(&grown), "{grown} bytes are held for an attachment of 1");
}
