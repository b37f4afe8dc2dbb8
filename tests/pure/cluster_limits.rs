//! What comes from Redis: what is refused at the door and what that costs, and what is held of the rest. A whole node, but
//! for the connections: bytes of Redis in, packets to clients and commands for Redis out.

use rmpv::Value;
use salon::base::id::Ids;
use salon::base::metrics::Metrics;
use salon::base::slab::{self, ConnId, SessionId, Slab, SocketKey};
use salon::cluster::Cluster;
use salon::cluster::link::Role;
use salon::cluster::resp::command;
use salon::config::{Config, RedisUrl};
use salon::engineio::packet::Data;
use salon::engineio::{Engine, EngineOutput, Next};
use salon::http::{Method, RequestHead};
use salon::socketio::{App, ClusterApp, Event, Io, To};
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};
use std::time::{Duration, Instant};

const BROADCASTS: &str = "socket.io#/#";
const REQUESTS: &str = "socket.io-request#/#";
const USERS: &str = "socket.io-users#/#";
const UPGRADE: [(&str, &str); 4] = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// An application without events of its own.
#[derive(Default)]
struct Quiet {
    sockets: Vec<SocketKey>,
}

impl App for Quiet {
    fn connected(&mut self, _cx: &mut Io, socket: SocketKey, _auth: Option<&RawValue>) {
        self.sockets.push(socket);
    }

    fn event(&mut self, _cx: &mut Io, _socket: SocketKey, _event: &Event) {}
}

impl ClusterApp for Quiet {}

struct Node {
    cluster: Cluster,
    io: Io,
    app: Quiet,
    conns: Slab<slab::Conn, ()>,
}

impl Node {
    /// A node whose links are up, with so many clients on WebSockets.
    fn new(config: Config, clients: usize) -> Node {
        let url = RedisUrl::parse("redis://127.0.0.1").expect("a URL");
        let config = Config { redis: Some(url.clone()), max_per_address: 1 << 20, ..config };
        let (now, mut ids) = (Instant::now(), Ids::Seeded(1));
        let mut cluster = Cluster::new(config.clone(), url, &["/"], [ids.fresh(), ids.fresh()], now);
        let engine = Engine::new(config.clone(), ids, now);
        let mut io = Io::new(config, &["/"], engine);
        for role in [Role::Publish, Role::Subscribe] {
            let link = &mut cluster.links[role as usize];
            link.expire(now).expect("a lookup");
            link.resolved(Ok(vec!["127.0.0.1:6379".parse().expect("an address")]), now).expect("an attempt");
            while !cluster.links[role as usize].is_up() {
                cluster.receive(role, b"+OK\r\n", &mut io, &mut Quiet::default()).expect("the greeting is answered");
            }
        }
        let mut node = Node { cluster, io, app: Quiet::default(), conns: Slab::default() };
        (0..clients).for_each(|_| _ = node.connect());
        node
    }

    fn connect(&mut self) -> SessionId {
        let conn: ConnId = self.conns.insert(());
        let fields = UPGRADE.map(|(name, value)| httparse::Header { name, value: value.as_bytes() });
        let head = RequestHead {
            method: Method::Get,
            path: "/socket.io/",
            query: "EIO=4&transport=websocket",
            minor: 1,
            keep_alive: true,
            host: "h",
            length: Some(0),
            fields: &fields,
        };
        let address = [192, 0, 2, 1].into();
        let Ok(Next::WebSocket(session, _)) = self.io.engine.handle_request(conn, &head, false, address, false) else {
            panic!("no WebSocket");
        };
        self.io.engine.receive_frame(conn, session, Data::Text("40".into()));
        self.settle();
        session
    }

    /// Handles what is to be handled. Returns the frames to clients.
    fn settle(&mut self) -> Vec<Vec<u8>> {
        while self.io.handle(&mut self.app) {}
        let outputs = std::mem::take(&mut self.io.engine.out.outputs);
        outputs
            .into_iter()
            .filter_map(|out| if let EngineOutput::Frame(_, frame) = out { Some(frame.to_vec()) } else { None })
            .collect()
    }

    /// Redis passes on a publication. Returns the processor time that takes, and the frames to clients.
    fn receive(&mut self, channel: &str, content: &[u8]) -> (Duration, Vec<Vec<u8>>) {
        let words = [b"message", channel.as_bytes(), content];
        let message = command(&words);
        let begin = processor_time();
        let used =
            self.cluster.receive(Role::Subscribe, &message, &mut self.io, &mut self.app).expect("the link is up");
        let time = processor_time() - begin;
        assert_eq!(used, Some(message.len()));
        (time, self.settle())
    }

    fn order(&mut self, request: Json) -> Duration {
        self.receive(REQUESTS, request.to_string().as_bytes()).0
    }

    fn count(&self, name: &str) -> u64 {
        let mut metrics = Metrics::default();
        self.cluster.metrics(&mut metrics);
        self.io.engine.out.limits.metrics(&mut metrics);
        let sample = metrics.0.lines().find_map(|line| line.strip_prefix(&format!("salon_{name} "))).expect("a sample");
        sample.parse().expect("a number")
    }

    fn invalid(&self) -> u64 {
        self.count("redis_invalid_total")
    }

    /// The number of rooms that each socket is in, by a request of another server.
    fn rooms(&mut self) -> Vec<usize> {
        self.order(json!({"uid": "other!", "requestId": "r", "type": 5, "opts": {"rooms": [], "except": []}}));
        let answer = self.cluster.commands.pop_back().expect("an answer");
        let (head, json) = (String::from_utf8(answer).expect("text"), "{\"requestId\"");
        let answer: Json = serde_json::from_str(head[head.find(json).expect("JSON")..].trim_end()).expect("JSON");
        let sockets = answer["sockets"].as_array().expect("sockets");
        sockets.iter().map(|socket| socket["rooms"].as_array().expect("rooms").len()).collect()
    }
}

/// The processor time of this thread: what else runs on the machine does not count.
fn processor_time() -> Duration {
    #[cfg(target_os = "linux")]
    return nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock").into();
    #[cfg(not(target_os = "linux"))]
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970")
}

fn names(count: usize, length: usize) -> Vec<String> {
    (0..count).map(|number| format!("{number:0length$}")).collect()
}

/// A broadcast of another server, in MessagePack.
fn broadcast(rooms: &[String], except: &[String], asker: bool) -> Vec<u8> {
    let list = |names: &[String]| Value::Array(names.iter().map(|name| name.as_str().into()).collect());
    let map = |fields: &[(&str, Value)]| {
        Value::Map(fields.iter().map(|(key, value)| ((*key).into(), value.clone())).collect())
    };
    let packet = map(&[("type", 2.into()), ("data", Value::Array(vec!["e".into()])), ("nsp", "/".into())]);
    let opts = map(&[("rooms", list(rooms)), ("except", list(except)), ("flags", map(&[]))]);
    let (uid, id) = (Value::from("other!"), "i".repeat(256));
    let content = match asker {
        false => Value::Array(vec![uid, packet, opts]),
        true => map(&[("uid", uid), ("requestId", id.into()), ("type", 7.into()), ("packet", packet), ("opts", opts)]),
    };
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, &content).expect("memory");
    out
}

/// No order of any length takes longer than this to be refused. In a release build it is a tenth.
const REFUSED_WITHIN: Duration = Duration::from_millis(60);

#[test]
fn what_is_too_long_is_refused_at_the_door() {
    let mut node = Node::new(Config::default(), 3);
    // As text: a million values would take the test a minute.
    let million = r#""abcde","#.repeat(1_000_000);
    let people = r#"{"username":"somebody","user":"u"},"#.repeat(300_000);
    let (many, name) = (names(30_000, 250), "n".repeat(8_000_000));
    let order = |kind: u8, rooms: &str| format!(r#"{{"uid":"other!","type":{kind},"opts":{{}},"rooms":[{rooms}"a"]}}"#);
    let contents = [
        (REQUESTS, order(2, &million)),
        (REQUESTS, order(3, &million)),
        (REQUESTS, order(2, &format!("\"{name}\","))),
        (REQUESTS, format!(r#"{{"uid":"other!","type":4,"opts":{{"rooms":["{name}"]}}}}"#)),
        (REQUESTS, format!(r#"{{"uid":"other!","type":2,"sid":"s","room":"{name}"}}"#)),
        (USERS, format!(r#"{{"node":"n","boot":"b","users":300000,"people":[{people}{{}}]}}"#)),
        ("socket.io-history#b#", format!(r#"{{"from":"f","ask":"{name}"}}"#)),
    ];
    let broadcasts = [
        (BROADCASTS, broadcast(&many, &[], false)),
        (BROADCASTS, broadcast(&[], &many, false)),
        (BROADCASTS, broadcast(std::slice::from_ref(&name), &[], false)),
        (REQUESTS, broadcast(&many, &[], true)),
        (&format!("socket.io#/#{name}#"), broadcast(std::slice::from_ref(&name), &[], false)),
    ];
    let contents = contents.map(|(channel, content)| (channel, content.into_bytes())).into_iter().chain(broadcasts);
    for (refused, (channel, content)) in (1..).zip(contents) {
        assert!(content.len() > 6_000_000);
        let (time, frames) = node.receive(channel, &content);
        let start = String::from_utf8_lossy(&content[..50]);
        assert_eq!((node.invalid(), frames.len()), (refused, 0), "{start}");
        assert!(time < Duration::from_millis(5), "{time:?} for {start}");
    }
    assert_eq!((node.cluster.commands.len(), node.rooms()), (0, vec![1; 3]), "no answer, no room");
}

/// Short enough for the door, but beyond a limit of its parts.
#[test]
fn names_that_are_too_many_or_too_long_are_refused() {
    let mut node = Node::new(Config::default(), 3);
    let (many, long) = (names(300_000, 1), "n".repeat(257));
    let fits =
        || json!({"uid": "other!", "requestId": "r", "type": 2, "opts": {"rooms": [], "except": []}, "rooms": ["a"]});
    let mut refused = 0;
    for list in [json!(many[..120_000]), json!(names(20_001, 5)), json!(vec!["a"; 300_000]), json!(["a", long])] {
        for path in ["/rooms", "/opts/rooms", "/opts/except"] {
            let mut order = fits();
            *order.pointer_mut(path).expect(path) = list.clone();
            let time = node.order(order);
            refused += 1;
            assert_eq!(node.invalid(), refused, "{path}");
            assert!(time < REFUSED_WITHIN, "{time:?} for {path}");
        }
    }
    for key in ["uid", "requestId", "sid", "room"] {
        let mut order = fits();
        order[key] = json!(long);
        node.order(order);
        refused += 1;
        assert_eq!(node.invalid(), refused, "{key}");
    }
    for broadcast in [broadcast(&many, &[], false), broadcast(&[], &many, true), broadcast(&[long], &[], false)] {
        let (time, frames) = node.receive(BROADCASTS, &broadcast);
        refused += 1;
        assert_eq!((node.invalid(), frames.len()), (refused, 0));
        assert!(time < 5 * REFUSED_WITHIN, "{time:?}");
    }
    assert_eq!((node.cluster.commands.len(), node.rooms()), (0, vec![1; 3]), "no answer, no room");
    // What is just within the limits is not refused.
    let mut order = fits();
    order["rooms"] = json!(["b".repeat(256)]);
    order["opts"]["except"] = json!(names(20_000, 5));
    node.order(order);
    assert_eq!((node.invalid(), node.rooms()), (refused, vec![2; 3]));
    let (_, frames) = node.receive(BROADCASTS, &broadcast(&["b".repeat(256)], &names(20_000, 5), false));
    assert_eq!((node.invalid(), frames.len()), (refused, 3));
}

/// An order takes as long as there are sockets and rooms here, however many rooms it names.
#[test]
fn orders_with_many_rooms() {
    let mut node = Node::new(Config { max_rooms: 100, ..Config::default() }, 50);
    let order = |kind: u8, rooms: &[String]| json!({"uid": "other!", "type": kind, "opts": {}, "rooms": rooms});
    let rooms = names(20_000, 5);
    let time = node.order(order(2, &rooms));
    assert_eq!(
        (node.rooms(), node.count("limits_total{limit=\"rooms\"}")),
        (vec![100; 50], 50),
        "one refusal for each socket"
    );
    let again = node.order(order(2, &rooms));
    let leaving = node.order(order(3, &rooms));
    assert_eq!((node.rooms(), node.io.tables()[1]), (vec![1; 50], 50 * 2 * (64 + 20)), "only their own");
    let slow = [time, again, leaving].into_iter().max().expect("three");
    assert!(slow < Duration::from_millis(500), "{slow:?}");
}

/// What an order puts sockets into counts, and ends at a quarter of `max_held`; the room named after a socket's id never does.
#[test]
fn rooms_are_counted_and_bounded() {
    let config = Config { max_held: 400_000, recovery_bytes: 1000, ..Config::default() };
    let mut node = Node::new(config, 40);
    let own = 40 * 2 * (64 + 20);
    assert_eq!(node.io.tables()[1], own);
    node.order(json!({"uid": "other!", "type": 2, "opts": {}, "rooms": ["red"]}));
    assert_eq!(node.io.tables()[1], own + 40 * 2 * (64 + 3));
    // Joined twice is counted once.
    node.order(json!({"uid": "other!", "type": 2, "opts": {}, "rooms": ["red", "red"]}));
    assert_eq!(node.io.tables()[1], own + 40 * 2 * (64 + 3));
    node.order(json!({"uid": "other!", "type": 2, "opts": {}, "rooms": names(500, 200)}));
    let full = node.io.tables()[1];
    assert!((100_001..100_000 + 2 * (64 + 200) + 1).contains(&full), "{full}");
    assert_eq!(node.count("limits_total{limit=\"rooms\"}"), 40);
    node.connect();
    assert_eq!((node.rooms().len(), node.io.tables()[1]), (41, full + 2 * (64 + 20)));
    node.order(json!({"uid": "other!", "type": 3, "opts": {}, "rooms": names(500, 200)}));
    node.order(json!({"uid": "other!", "type": 3, "opts": {}, "rooms": ["red"]}));
    assert_eq!(node.io.tables()[1], 41 * 2 * (64 + 20));
    // Sockets that are gone leave nothing.
    node.order(json!({"uid": "other!", "type": 4, "opts": {}, "close": true}));
    node.settle();
    assert_eq!(node.io.tables(), [0; 4]);
}

#[test]
fn acks_that_another_server_asks_for_are_counted_and_bounded() {
    let mut node = Node::new(Config { max_held: 64 * 1024, ..Config::default() }, 50);
    let most = 16 * 1024 / 192 + 1;
    for asked in 1..=10 {
        let before = node.io.tables()[2] / 192;
        let (_, frames) = node.receive(REQUESTS, &broadcast(&[], &[], true));
        let owed = node.io.tables()[2] / 192;
        assert_eq!((owed, frames.len()), (most.min(asked * 50), owed - before));
    }
    assert_eq!(node.count("limits_total{limit=\"acks\"}"), 10 * 50 - most as u64);
    // The server that asks is told how many sockets are asked all the same: those who do not answer are late for it.
    assert_eq!(node.cluster.commands.len(), 10);
    node.io.engine.now += Duration::from_secs(5);
    node.io.expire();
    assert_eq!(node.io.tables()[2], 0);
}

/// Broadcasts to rooms are kept for recovery with the names of the rooms: of those that have members.
#[test]
fn lists_of_kept_broadcasts_are_counted_and_bounded() {
    let config = Config { recovery: salon::config::Recovery::Always, ..Config::default() };
    let limit = config.recovery_bytes;
    let mut node = Node::new(config, 20);
    let (unknown, known) = (names(20_000, 40), names(900, 200));
    for _ in 0..100 {
        let (_, frames) = node.receive(BROADCASTS, &broadcast(&unknown, &[], false));
        assert!(frames.is_empty());
    }
    assert_eq!((node.invalid(), node.io.tables()[0]), (0, 0), "nobody is in the rooms");
    node.order(json!({"uid": "other!", "type": 2, "opts": {}, "rooms": known}));
    let list: Vec<_> = unknown.iter().take(3_000).chain(&known).cloned().collect();
    for kept in 1..=20 {
        // Everybody is in all the rooms, and gets one packet.
        let (_, frames) = node.receive(BROADCASTS, &broadcast(&list, &[], false));
        assert_eq!(frames.len(), 20);
        let each = 256 + 900 * (64 + 200);
        let (held, most) = (node.io.tables()[0], limit / each);
        assert_eq!(held, kept.min(most) * each);
    }
    assert!(node.io.tables()[0] <= limit);
}

/// Time for a broadcast that all sockets but one room are to get, and time for one without exceptions.
#[test]
fn exceptions_cost_as_much_as_recipients() {
    let mut node = Node::new(Config::default(), 3_000);
    node.order(json!({"uid": "other!", "type": 2, "opts": {}, "rooms": ["all"]}));
    let mut least = |broadcast: &[u8], recipients: usize| {
        let times = (0..5).map(|_| {
            let (time, frames) = node.receive(BROADCASTS, broadcast);
            assert_eq!(frames.len(), recipients);
            time
        });
        times.min().expect("five")
    };
    let none = least(&broadcast(&[], &["nobody".into()], false), 3_000);
    let all = least(&broadcast(&[], &["all".into()], false), 0);
    // The same room 20,000 times is the same room.
    let repeated = least(&broadcast(&[], &vec!["all".into(); 20_000], false), 0);
    assert!(all < 12 * none, "{all:?} with 3,000 exceptions, {none:?} without");
    assert!(repeated < 12 * none + Duration::from_millis(200), "{repeated:?} with the room repeated");
    // The same from the application of this server.
    let (Node { io, app, .. }, begin) = (&mut node, processor_time());
    io.broadcast(&To { except: &app.sockets, ..To::default() }, "e", &[0; 0], &[]);
    let own = processor_time() - begin;
    assert!(own < 12 * none, "{own:?} from the application, {none:?} without exceptions");
}
