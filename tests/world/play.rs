//! Scripts: clients that mostly do what clients do, at any moment, over connections that are slow, end half-way or
//! carry garbage. After every turn the rules hold; at the end everybody who is still there has heard everything once and
//! in order, and when all have gone nothing is left. Random ones are played by `scripts` and by tests/fuzz.

use crate::client::{Crowd, Which};
use crate::stage::Last;
use proptest::prelude::*;
use proptest::sample::select;
use salon::config::Config;
use salon::net::kernel::seam::make_hostile;
use std::time::Duration;

const CLIENTS: usize = 4;

/// What a packet may be that is not part of the normal course.
const PACKETS: &[&str] = &[
    "42[\"typing\"]",
    "42[\"stop typing\"]",
    "42[\"new message\",7]",
    "423[\"new message\",\"\"]",
    "42[\"add user\",\" \"]",
    "42[\"nobody listens\"]",
    "451-[\"new message\",{\"_placeholder\":true,\"num\":0}]",
    "bAQID",
    "41",
    "40",
    "40/nowhere,",
    "43[]",
    "4",
    "42[",
    "1",
    "2",
    "3",
    "5",
    "6",
    "9",
    "",
];

/// What an HTTP connection may carry that is no request.
const NOISE: &[&[u8]] = &[
    b"\r\n\r\n",
    b"GET",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/3.0\r\n\r\n",
    b"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01",
    b"\xff\xfe\n",
];

/// What a WebSocket may carry that is no packet: pings, fragments, half frames, whole nonsense.
const FRAMES: &[&[u8]] = &[
    b"\x89\x80\0\0\0\0",
    b"\x8a\x80\0\0\0\0",
    b"\x01\x81\0\0\0\x004",
    b"\x80\x81\0\0\0\x004",
    b"\x88\x80\0\0\0\0",
    b"\x88\x82\0\0\0\0\x03\xe8",
    b"\x82\x81\0\0\0\0x",
    b"\x81\x81\0\0\0\0\xff",
    b"\x81\x054hey!",
    b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x81\xfe\xff",
    b"\x81",
    b"\xf1\x80",
];

/// Visitors that are no clients of Socket.IO 4, each on a connection of its own, which it leaves open.
const VISITS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET /socket.io/?EIO=3&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /socket.io/?EIO=2&transport=polling&j=0 HTTP/1.1\r\nHost: a\r\nSec-Fetch-Site: same-origin\r\n\r\n",
    b"GET /socket.io/?EIO=3&transport=websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
      Sec-WebSocket-Version: 8\r\n\r\n",
    b"GET /socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\nOrigin: http://elsewhere.example\r\n\r\n",
];

#[derive(Clone, Debug)]
pub enum Action {
    /// Another client takes this place.
    Open {
        place: usize,
        websocket: bool,
    },
    /// The client comes back, after whatever has happened to it.
    Return {
        place: usize,
        websocket: bool,
    },
    Say {
        place: usize,
        padding: usize,
    },
    Upgrade {
        place: usize,
    },
    /// The next step of the upgrade, before its time.
    Hasten {
        place: usize,
    },
    Send {
        place: usize,
        packet: &'static str,
    },
    Poll {
        place: usize,
    },
    PollTwice {
        place: usize,
    },
    /// Does nothing more by itself, or does again.
    Diligent {
        place: usize,
        diligent: bool,
    },
    /// Does once what is to be done.
    Proceed {
        place: usize,
    },
    Noise {
        place: usize,
        which: Which,
        bytes: &'static [u8],
    },
    Frame {
        place: usize,
        bytes: &'static [u8],
    },
    Throttle {
        place: usize,
        which: Which,
        up: usize,
        down: usize,
    },
    End {
        place: usize,
        which: Which,
        last: Last,
    },
    Visit {
        bytes: &'static [u8],
    },
    Turn,
    Pass {
        millis: u64,
    },
    /// To the nearest deadline, and so much beyond; or to just before it.
    Deadline {
        beyond: i64,
    },
    Suspend {
        seconds: u64,
    },
}

fn action() -> impl Strategy<Value = Action> {
    let place = 0..CLIENTS;
    let http = select(vec![Which::Get, Which::Post]);
    let which = select(vec![Which::Get, Which::Post, Which::Socket]);
    let speed = |speeds: &[usize]| select(speeds.to_vec());
    prop_oneof![
        2 => (place.clone(), any::<bool>()).prop_map(|(place, websocket)| Action::Open { place, websocket }),
        3 => (place.clone(), any::<bool>()).prop_map(|(place, websocket)| Action::Return { place, websocket }),
        16 => (place.clone(), select(vec![0, 0, 0, 40, 3000]))
            .prop_map(|(place, padding)| Action::Say { place, padding }),
        5 => place.clone().prop_map(|place| Action::Upgrade { place }),
        2 => place.clone().prop_map(|place| Action::Hasten { place }),
        3 => (place.clone(), select(PACKETS)).prop_map(|(place, packet)| Action::Send { place, packet }),
        1 => place.clone().prop_map(|place| Action::Poll { place }),
        1 => place.clone().prop_map(|place| Action::PollTwice { place }),
        3 => (place.clone(), any::<bool>()).prop_map(|(place, diligent)| Action::Diligent { place, diligent }),
        2 => place.clone().prop_map(|place| Action::Proceed { place }),
        1 => (place.clone(), http, select(NOISE))
            .prop_map(|(place, which, bytes)| Action::Noise { place, which, bytes }),
        1 => (place.clone(), select(FRAMES)).prop_map(|(place, bytes)| Action::Frame { place, bytes }),
        4 => (place.clone(), which.clone(), speed(&[0, 5, 200, usize::MAX]), speed(&[0, 90, 4000, usize::MAX]))
            .prop_map(|(place, which, up, down)| Action::Throttle { place, which, up, down }),
        2 => (place, which, select(vec![Last::Fin, Last::Reset]))
            .prop_map(|(place, which, last)| Action::End { place, which, last }),
        1 => select(VISITS).prop_map(|bytes| Action::Visit { bytes }),
        10 => Just(Action::Turn),
        6 => (0..300u64).prop_map(|millis| Action::Pass { millis }),
        2 => (300..30_000u64).prop_map(|millis| Action::Pass { millis }),
        4 => (-1..=1i64).prop_map(|beyond| Action::Deadline { beyond }),
        1 => (1..60u64).prop_map(|seconds| Action::Suspend { seconds }),
    ]
}

/// Queues and payloads that a script can fill.
fn small() -> Config {
    Config {
        max_queue: 64 * 1024,
        soft_queue: 16 * 1024,
        max_payload: 32 * 1024,
        recovery_packets: 20,
        recovery_bytes: 32 * 1024,
        ..Config::default()
    }
}

fn act(crowd: &mut Crowd, action: &Action) {
    let Crowd { stage, clients, .. } = crowd;
    match *action {
        Action::Open { place, websocket } => crowd.replace(place, websocket),
        Action::Return { place, websocket } => clients[place].open(stage, websocket),
        Action::Say { place, padding } => clients[place].say(stage, padding),
        Action::Upgrade { place } => clients[place].upgrade(stage),
        Action::Hasten { place } => clients[place].upgrade_further(stage, true),
        Action::Send { place, packet } => clients[place].send(stage, packet),
        Action::Poll { place } => clients[place].poll(stage),
        Action::PollTwice { place } => clients[place].poll_twice(stage),
        Action::Diligent { place, diligent } => clients[place].diligent = diligent,
        Action::Proceed { place } => clients[place].proceed(stage),
        Action::Noise { place, which, bytes } => {
            clients[place].line(which).into_iter().for_each(|line| stage.request(line, bytes));
        }
        Action::Frame { place, bytes } => {
            clients[place].line(Which::Socket).into_iter().for_each(|line| stage.send(line, bytes));
        }
        Action::Throttle { place, which, up, down } => {
            clients[place].line(which).into_iter().for_each(|line| stage.throttle(line, up, down));
        }
        Action::End { place, which, last } => clients[place].end(stage, which, last),
        Action::Visit { bytes } => {
            let line = stage.connect();
            // One of them asks twice.
            stage.request(line, bytes);
            stage.request(line, b"");
        }
        Action::Turn => crowd.turn(),
        Action::Pass { millis } => crowd.pass(Duration::from_millis(millis)),
        Action::Deadline { beyond } => {
            let millis = stage.until_deadline().map_or(0, |time| time.as_millis() as u64);
            crowd.pass(Duration::from_millis(millis.saturating_add_signed(beyond)));
        }
        Action::Suspend { seconds } => stage.suspend(Duration::from_secs(seconds)),
    }
}

/// Plays a script; `hostile`: with a kernel that moves one byte at a time, if at all.
pub fn play(script: &[Action], hostile: Option<u64>) {
    let mut crowd = Crowd::new(small(), 1);
    make_hostile(hostile);
    for place in 0..CLIENTS {
        crowd.add(place % 2 == 0);
        crowd.clients[place].open(&mut crowd.stage, place >= 2);
    }
    crowd.pass(Duration::from_millis(1));
    script.iter().for_each(|action| act(&mut crowd, action));

    // Everybody does again what they can, and what cannot go on ends.
    for client in &mut crowd.clients {
        client.diligent = true;
        for which in [Which::Get, Which::Post, Which::Socket] {
            client.line(which).into_iter().for_each(|line| crowd.stage.throttle(line, usize::MAX, usize::MAX));
        }
    }
    crowd.pass(Duration::from_secs(130));
    crowd.check();
    crowd.stage.empty();
    // The next test may run on the same thread.
    make_hostile(None);
}

/// Random scripts, one in sixteen for a hostile kernel.
pub fn scripts() -> impl Strategy<Value = (Vec<Action>, Option<u64>)> {
    let hostile = prop_oneof![15 => Just(None), 1 => (1..u64::MAX).prop_map(Some)];
    (proptest::collection::vec(action(), 1..60), hostile)
}

/// The script that these bytes stand for, three an action: for a fuzzer, to which a small change of them is a small change of
/// the script.
pub fn script(bytes: &[u8]) -> Vec<Action> {
    bytes.chunks_exact(3).take(60).map(|bytes| from_bytes([bytes[0], bytes[1], bytes[2]])).collect()
}

fn from_bytes([kind, place, more]: [u8; 3]) -> Action {
    let (place, yes, more) = (usize::from(place) % CLIENTS, place & 0x80 != 0, usize::from(more));
    let which = [Which::Get, Which::Post, Which::Socket][more % 3];
    match kind % 20 {
        0 => Action::Open { place, websocket: yes },
        1 => Action::Return { place, websocket: yes },
        2 => Action::Say { place, padding: [0, 40, 3000][more % 3] },
        3 => Action::Upgrade { place },
        4 => Action::Hasten { place },
        5 => Action::Send { place, packet: PACKETS[more % PACKETS.len()] },
        6 => Action::Poll { place },
        7 => Action::PollTwice { place },
        8 => Action::Diligent { place, diligent: yes },
        9 => Action::Proceed { place },
        10 => {
            Action::Noise { place, which: if yes { Which::Get } else { Which::Post }, bytes: NOISE[more % NOISE.len()] }
        }
        11 => Action::Frame { place, bytes: FRAMES[more % FRAMES.len()] },
        12 => {
            let (up, down) = ([0, 5, 200, usize::MAX][more / 3 % 4], [0, 90, 4000, usize::MAX][more / 12 % 4]);
            Action::Throttle { place, which, up, down }
        }
        13 => Action::End { place, which, last: if yes { Last::Reset } else { Last::Fin } },
        14 => Action::Visit { bytes: VISITS[more % VISITS.len()] },
        15 => Action::Turn,
        16 => Action::Pass { millis: more as u64 },
        17 => Action::Pass { millis: more as u64 * 120 },
        18 => Action::Deadline { beyond: more as i64 % 3 - 1 },
        _ => Action::Suspend { seconds: more as u64 / 4 },
    }
}
