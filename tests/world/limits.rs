//! What those run into who want too much, each limit of `config` that is not one of a parser: seen from both sides, and
//! in the metrics.

use salon::base::id::Ids;
use salon::base::slab::{ConnId, SocketKey};
use salon::config::{Config, TrustProxy};
use salon::net::Wake;
use salon::net::kernel::seam::Pipe;
use salon::server::Server;
use salon::socketio::{App, ClusterApp, Event, Io, To, packet};
use std::ffi::OsString;
use std::net::IpAddr;
use std::time::{Duration, Instant, UNIX_EPOCH};

pub const LOCAL: &str = "127.0.0.1";
pub const HANDSHAKE: &str = "/socket.io/?EIO=4&transport=polling";

/// The length of the answer to `long`.
pub const LONG: usize = 4096;

/// Events are answered with their number so far; `join` puts the socket into the room of that name, `tell` sends to a room.
#[derive(Default)]
pub struct Counter(pub usize);

impl App for Counter {
    fn event(&mut self, cx: &mut Io, socket: SocketKey, event: &Event) {
        self.0 += 1;
        let text = event.args.first().and_then(|raw| packet::string(raw)).unwrap_or_default();
        match event.name {
            "join" => drop(cx.join(socket, &text)),
            "tell" => drop(cx.broadcast(&To { rooms: &[&text], ..To::default() }, "told", &(&text,), &[])),
            "ask" => {
                cx.emit_with_ack(socket, "asked", &[0; 0], Duration::from_secs(1));
            }
            "long" => return cx.ack(socket, event.ack, &("x".repeat(LONG),), &[]),
            _ => {}
        }
        cx.ack(socket, event.ack, &(self.0,), &[]);
    }
}

impl ClusterApp for Counter {}

pub struct Scene<A: App = Counter> {
    pub server: Server<A>,
    pub now: Instant,
    turns: usize,
    /// The rules are checked after every so many turns.
    pub check_every: usize,
}

/// The client's end of a connection.
pub struct Line {
    pub id: ConnId,
    pub pipe: Pipe,
}

impl Line {
    /// What the server has written since the last look.
    pub fn read(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.pipe.wire().outgoing)).expect("text")
    }
}

impl Scene {
    pub fn new(config: Config) -> Scene {
        Scene::of(config, Counter::default())
    }
}

impl<A: App> Scene<A> {
    /// The same with another application.
    pub fn of(config: Config, app: A) -> Scene<A> {
        let now = Instant::now();
        let server = Server::new(config, app, Ids::Seeded(1), now).expect("a selector");
        Scene { server, now, turns: 0, check_every: 1 }
    }

    pub fn turn(&mut self, wakes: &[Wake]) {
        self.server.turn(self.now, UNIX_EPOCH, wakes);
        self.turns += 1;
        if self.turns.is_multiple_of(self.check_every) {
            self.server.check();
        }
    }

    /// Turns until nothing is left to be done.
    pub fn settle(&mut self) {
        loop {
            let left = self.server.left();
            if left.is_empty() {
                return;
            }
            self.turn(&left);
        }
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.turn(&[]);
    }

    pub fn connect(&mut self, peer: &str) -> Line {
        let id = self.server.connect_pipe(peer.parse::<IpAddr>().expect("an address"));
        let pipe = self.server.pipe(id).expect("it was made just now");
        pipe.wire().room = usize::MAX;
        self.turn(&[]);
        Line { id, pipe }
    }

    pub fn send(&mut self, line: &Line, bytes: &str) {
        line.pipe.wire().incoming.extend(bytes.bytes());
        self.turn(&[Wake::Connection { id: line.id, readable: true, writable: true, hung_up: false }]);
    }

    /// The client sends bytes that need not be text.
    pub fn send_bytes(&mut self, line: &Line, bytes: &[u8]) {
        line.pipe.wire().incoming.extend(bytes);
        self.turn(&[Wake::Connection { id: line.id, readable: true, writable: false, hung_up: false }]);
    }

    /// Status and body of the answer to a request.
    pub fn ask(&mut self, line: &Line, request: &str) -> (u16, String) {
        self.send(line, request);
        self.settle();
        let answer = line.read();
        let (head, body) =
            answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {request:?}: {answer:?}"));
        let status = head[9..12].parse().expect("a status");
        assert_eq!(status == 503, head.contains("\r\nRetry-After: "), "{head}");
        (status, body.to_owned())
    }

    pub fn get(&mut self, line: &Line, target: &str, more: &str) -> (u16, String) {
        // Without a token, metrics are only for those who ask for this machine by its own name.
        let host = if target == "/metrics" { "localhost" } else { "h" };
        self.ask(line, &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"))
    }

    /// A session over polling, with a socket: its target.
    pub fn session(&mut self, line: &Line) -> String {
        let (status, open) = self.get(line, HANDSHAKE, "");
        assert_eq!(status, 200, "{open}");
        let sid = open.split('"').nth(3).expect("a sid");
        let target = format!("{HANDSHAKE}&sid={sid}");
        assert_eq!(self.post(line, &target, "40"), 200);
        let (_, answer) = self.get(line, &target, "");
        assert!(answer.starts_with("40{"), "{answer}");
        target
    }

    pub fn post(&mut self, line: &Line, target: &str, payload: &str) -> u16 {
        let length = payload.len();
        self.ask(line, &format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{payload}")).0
    }

    /// How often a limit was reached.
    pub fn hits(&mut self, limit: &str) -> u64 {
        self.metric(&format!("limits_total{{limit=\"{limit}\"}} "))
    }

    /// The sum of the samples of the metrics whose names begin so.
    pub fn metric(&mut self, start: &str) -> u64 {
        let line = self.connect(LOCAL);
        let (_, text) = self.get(&line, "/metrics", "");
        line.pipe.wire().ended = true;
        self.turn(&[Wake::Connection { id: line.id, readable: true, writable: false, hung_up: true }]);
        sample(&text, start)
    }

    /// Checks all rules, and that nothing is left of those who have gone.
    pub fn check_empty(&self) {
        self.server.check();
        self.server.check_empty();
    }

    /// The client resets the connection.
    pub fn reset(&mut self, line: Line) {
        line.pipe.wire().reset = true;
        self.turn(&[Wake::Connection { id: line.id, readable: true, writable: false, hung_up: true }]);
        assert!(line.pipe.is_closed());
    }
}

/// The sum of the samples in the text of /metrics whose names begin so.
pub fn sample(text: &str, start: &str) -> u64 {
    let name = format!("salon_{start}");
    let samples = text.lines().filter(|line| line.starts_with(&name)).map(|line| line.rsplit_once(' ').unwrap().1);
    let values: Vec<u64> = samples.map(|value| value.parse().expect("a number")).collect();
    assert!(!values.is_empty(), "no {name} in {text}");
    values.iter().sum()
}

#[test]
fn connections_of_one_address() {
    let mut scene = Scene::new(Config { max_per_address: 2, ..Config::default() });
    // IPv4 as a socket for both versions shows it, and a /64 of IPv6, are one address each.
    for [one, same, other] in
        [["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"], ["2001:db8::1", "2001:db8::2:3:4:5", "2001:db8:0:1::1"]]
    {
        let first = scene.connect(one);
        let second = scene.connect(same);
        assert!(scene.connect(one).pipe.is_closed() && scene.connect(same).pipe.is_closed(), "{one}");
        assert_eq!(scene.get(&second, "/healthz", "").0, 200);
        let elsewhere = scene.connect(other);
        assert_eq!(scene.get(&elsewhere, "/healthz", "").0, 200);
        // Who leaves makes room.
        scene.reset(first);
        assert!(!scene.connect(same).pipe.is_closed(), "{one}");
    }
    assert_eq!(scene.hits("address_connections"), 4);
    let local: Vec<_> = (0..5).map(|_| scene.connect(LOCAL)).collect();
    assert!(local.iter().all(|line| !line.pipe.is_closed()), "programs of this machine are exempt");
    // IPv4 as a socket for both versions shows it is this machine, too.
    let local: Vec<_> = (0..5).map(|_| scene.connect("::ffff:127.0.0.1")).collect();
    assert!(local.iter().all(|line| !line.pipe.is_closed()), "programs of this machine are exempt");
}

/// With trusted proxies, and a limit of two per address.
fn behind(proxies: &str) -> Scene {
    let args = ["--trust-proxy", proxies].map(OsString::from);
    let config = Config::default().load(args, |_| None).expect("a valid value").config;
    Scene::new(Config { max_per_address: 2, ..config })
}

/// A proxy has as many connections as it likes. With a list, no other peer has, not even this machine.
#[test]
fn connections_of_proxies() {
    for (proxies, peer, exempt) in [
        ("yes", "192.0.2.1", true),
        ("2", "192.0.2.1", true),
        ("2", "2001:db8::1", true),
        ("192.0.2.0/24,2001:db8::1", "192.0.2.1", true),
        ("192.0.2.0/24,2001:db8::1", "::ffff:192.0.2.1", true),
        ("192.0.2.0/24,2001:db8::1", "2001:db8::1", true),
        ("192.0.2.0/24,2001:db8::1", "2001:db8::2", false),
        ("192.0.2.0/24,2001:db8::1", "192.0.3.1", false),
        ("192.0.2.0/24,2001:db8::1", LOCAL, false),
        ("127.0.0.0/8", LOCAL, true),
        ("127.0.0.0/8", "::1", false),
    ] {
        let mut scene = behind(proxies);
        let closed: Vec<_> = (0..4).map(|_| scene.connect(peer)).map(|line| line.pipe.is_closed()).collect();
        assert_eq!(closed, [false, false, !exempt, !exempt], "{peer}, --trust-proxy {proxies}");
    }
}

#[test]
fn sessions_of_one_address() {
    let mut scene = Scene::new(Config { max_per_address: 2, ..Config::default() });
    let (line, local) = (scene.connect("192.0.2.1"), scene.connect(LOCAL));
    let first = scene.session(&line);
    scene.session(&line);
    let (status, _) = scene.get(&line, HANDSHAKE, "");
    assert_eq!((status, scene.hits("address_sessions")), (503, 1));
    // That answer has closed the connection.
    let line = scene.connect("192.0.2.1");
    assert_eq!(scene.post(&line, &first, "1"), 200);
    scene.session(&line);
    (0..5).for_each(|_| drop(scene.session(&local)));

    let mut scene = Scene::new(Config { max_per_address: 2, trust_proxy: TrustProxy::Hops(1), ..Config::default() });
    for (client, status) in [
        ("7.7.7.7", 200),
        ("8.8.8.8", 200),
        ("1.1.1.1, 7.7.7.7", 200),
        ("2.2.2.2, 7.7.7.7:80", 503),
        ("3.3.3.3\r\nX-Forwarded-For: 7.7.7.7", 503),
        ("::ffff:7.7.7.7", 503),
        ("7.7.7.7\r\nX-Forwarded-For: 8.8.8.8", 200),
        ("127.0.0.1", 200),
        ("127.0.0.1", 200),
        ("127.0.0.1", 503),
    ] {
        let line = scene.connect("192.0.2.1");
        assert_eq!(scene.get(&line, HANDSHAKE, &format!("X-Forwarded-For: {client}\r\n")).0, status, "{client}");
    }
    assert_eq!(scene.hits("address_sessions"), 4);
}

/// The number, or the list, of proxies says which entry names the client; a peer that is not listed is the client itself.
#[test]
fn sessions_behind_chains_of_proxies() {
    let rows = [
        ("192.0.2.1", "7.7.7.7, 192.0.2.9", 200),
        ("192.0.2.1", "1.1.1.1\r\nX-Forwarded-For: 7.7.7.7, 192.0.2.8", 200),
        ("192.0.2.2", "2.2.2.2, 7.7.7.7\r\nX-Forwarded-For: 192.0.2.9", 503),
        ("192.0.2.1", "7.7.7.7, 8.8.8.8, 192.0.2.9", 200),
    ];
    for proxies in ["2", "192.0.2.0/24"] {
        let mut scene = behind(proxies);
        for (peer, list, status) in rows {
            let line = scene.connect(peer);
            let found = scene.get(&line, HANDSHAKE, &format!("X-Forwarded-For: {list}\r\n")).0;
            assert_eq!(found, status, "{list} from {peer}, --trust-proxy {proxies}");
        }
    }
    let mut scene = behind("192.0.2.0/24");
    for (client, status) in [("1.1.1.1", 200), ("2.2.2.2", 200), ("3.3.3.3", 503)] {
        let line = scene.connect("203.0.113.5");
        assert_eq!(scene.get(&line, HANDSHAKE, &format!("X-Forwarded-For: {client}\r\n")).0, status, "{client}");
        scene.reset(line);
    }
    assert_eq!(scene.hits("address_sessions"), 1);
}

#[test]
fn sessions_in_all() {
    let mut scene = Scene::new(Config { max_connections: 10, ..Config::default() });
    let line = scene.connect(LOCAL);
    (0..10).for_each(|_| drop(scene.session(&line)));
    assert_eq!((scene.get(&line, HANDSHAKE, "").0, scene.hits("sessions")), (503, 1));
}

/// The silent cannot keep out those who have something to say.
#[test]
fn connections_without_a_request() {
    let mut scene = Scene::new(Config { max_half_open: 3, ..Config::default() });
    let busy = scene.connect(LOCAL);
    scene.session(&busy);
    let mut silent = Vec::new();
    for number in 0..5 {
        scene.now += Duration::from_millis(1);
        let line = scene.connect(LOCAL);
        if number % 2 == 0 {
            scene.send(&line, "GET / HTTP/1.1\r\n");
        }
        silent.push(line);
    }
    let closed: Vec<_> = silent.iter().map(|line| line.pipe.is_closed()).collect();
    assert_eq!(closed, [true, true, false, false, false]);
    // The one that reads the metrics is the fourth.
    assert_eq!(scene.hits("half_open"), 3);
    assert_eq!(scene.get(&silent[4], "/healthz", "").0, 400, "it was in the middle of another head");
    assert_eq!(scene.get(&silent[3], "/healthz", "").0, 200);
    assert_eq!(scene.get(&busy, "/healthz", "").0, 200);
    // Those that are left are closed at their deadline.
    scene.pass(Config::default().head_timeout);
    assert_eq!(scene.hits("head_time"), 0, "the last of them was pushed out by the metrics");
}

#[test]
fn packets_of_one_payload() {
    for (payload, version) in
        [("42[\"a\"]\x1e42[\"a\"]\x1e42[\"a\"]\x1e42[\"a\"]", 4), ("7:42[\"a\"]7:42[\"a\"]7:42[\"a\"]7:42[\"a\"]", 3)]
    {
        let mut scene = Scene::new(Config { max_packets: 3, ..Config::default() });
        let line = scene.connect(LOCAL);
        let target = HANDSHAKE.replace('4', &version.to_string());
        let (_, open) = scene.get(&line, &target, "");
        let sid = open.split('"').nth(3).expect("a sid");
        let target = format!("{target}&sid={sid}");
        if version == 4 {
            assert_eq!(scene.post(&line, &target, "40\x1e42[\"a\"]\x1e3"), 200);
        }
        assert_eq!(scene.post(&line, &target, payload), 400);
        assert_eq!(scene.get(&line, &target, "").0, 400, "the session has ended");
        assert_eq!(scene.hits("packets"), 1, "EIO={version}");
    }
}

/// A client that was offline sends all that it has at once: as many events as the rate limit lets through.
#[test]
fn a_burst_in_one_payload() {
    for version in [4, 3] {
        let mut scene = Scene::new(Config::default());
        let line = scene.connect(LOCAL);
        let target = HANDSHAKE.replace('4', &version.to_string());
        let (_, open) = scene.get(&line, &target, "");
        let target = format!("{target}&sid={}", open.split('"').nth(3).expect("a sid"));
        let (event, join) = if version == 4 { ("42[\"a\"]", "\x1e") } else { ("7:42[\"a\"]", "") };
        if version == 4 {
            assert_eq!(scene.post(&line, &target, "40"), 200);
        }
        assert_eq!(scene.post(&line, &target, &vec![event; 4_900].join(join)), 200);
        scene.settle();
        let ask = if version == 4 { "421[\"a\"]" } else { "8:421[\"a\"]" };
        assert_eq!(scene.post(&line, &target, ask), 200);
        assert!(scene.get(&line, &target, "").1.contains("431[4901]"), "EIO={version}");
    }
}

#[test]
fn events_of_one_session() {
    let mut scene = Scene::new(Config { event_rate: 2, event_burst: 5, ..Config::default() });
    let (line, other) = (scene.connect(LOCAL), scene.connect(LOCAL));
    let target = scene.session(&line);
    let bystander = scene.session(&other);
    // CONNECT was the first packet of five.
    let asked: Vec<_> = (0..6).map(|number| format!("42{number}[\"a\"]")).collect();
    assert_eq!(scene.post(&line, &target, &asked.join("\x1e")), 200);
    let refused = |number| format!("43{number}[{{\"error\":\"too many events\"}}]");
    let (_, answers) = scene.get(&line, &target, "");
    assert_eq!(answers, format!("430[1]\x1e431[2]\x1e432[3]\x1e433[4]\x1e{}\x1e{}", refused(4), refused(5)));
    // What is refused is dropped with its attachments.
    assert_eq!(scene.post(&line, &target, "451-7[\"a\",{\"_placeholder\":true,\"num\":0}]\x1ebAQID"), 200);
    assert_eq!(scene.get(&line, &target, "").1, refused(7));
    // The bucket has run over by three; then it lets two through a second.
    scene.pass(Duration::from_secs(2));
    assert_eq!(scene.post(&line, &target, "428[\"a\"]\x1e429[\"a\"]"), 200);
    assert_eq!(scene.get(&line, &target, "").1, format!("438[5]\x1e{}", refused(9)));
    assert_eq!((scene.hits("events"), scene.hits("flood")), (4, 0));
    // Far above it the session ends; nobody else's does.
    scene.post(&line, &target, &["42[\"a\"]"; 10].join("\x1e"));
    assert_eq!(scene.get(&line, &target, "").0, 400);
    assert_eq!(scene.hits("flood"), 1);
    assert_eq!(scene.post(&other, &bystander, "421[\"a\"]"), 200);
    assert_eq!(scene.get(&other, &bystander, "").1, "431[6]");
}

#[test]
fn rooms_of_one_socket() {
    let mut scene = Scene::new(Config { max_rooms: 2, ..Config::default() });
    let line = scene.connect(LOCAL);
    let target = scene.session(&line);
    for room in ["one", "two", "two", "three"] {
        scene.post(&line, &target, &format!("42[\"join\",\"{room}\"]"));
    }
    scene.post(&line, &target, "42[\"tell\",\"three\"]\x1e42[\"tell\",\"two\"]");
    assert_eq!(scene.get(&line, &target, "").1, "42[\"told\",\"two\"]");
    assert_eq!(scene.hits("rooms"), 2);
}

#[test]
fn answers_that_one_socket_owes() {
    let mut scene = Scene::new(Config { max_acks: 2, ..Config::default() });
    let line = scene.connect(LOCAL);
    let target = scene.session(&line);
    scene.post(&line, &target, "42[\"ask\"]\x1e42[\"ask\"]\x1e42[\"ask\"]");
    assert_eq!(scene.get(&line, &target, "").1, "420[\"asked\"]\x1e421[\"asked\"]");
    assert_eq!(scene.hits("acks"), 1);
}

/// A sender without pause has only a part of each turn, and loses nothing.
#[test]
fn a_fast_sender_leaves_time_for_others() {
    let mut scene = Scene::new(Config::default());
    let (fast, other) = (scene.connect(LOCAL), scene.connect(LOCAL));
    let request = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    scene.send(&fast, &request.repeat(1000));
    let answered = fast.read().matches("HTTP/1.1 200").count();
    assert!((1..=256).contains(&answered), "{answered} in one turn");
    assert_eq!(scene.get(&other, "/healthz", "").0, 200);
    scene.settle();
    assert_eq!(answered + fast.read().matches("HTTP/1.1 200").count(), 1000);
}
