//! Connections that are slow, that end, or that never begin: what each may cost, whom it costs something, and when it is
//! cut off.

use crate::limits::{HANDSHAKE, LOCAL, Line, Scene};
use salon::base::metrics::Metrics;
use salon::config::{Config, MIN_QUEUE};
use salon::http::assets;
use salon::net::{Net, State, Wake};
use std::time::{Duration, Instant};

const FILE: &str = "/socket.io/socket.io.js";
const SECOND: Duration = Duration::from_secs(1);

fn request(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// The length of `FILE`.
fn length() -> usize {
    assets::find(FILE).expect(FILE).plain.bytes.len()
}

/// How the answer with `FILE` ends.
fn ending() -> &'static [u8] {
    let bytes = &assets::find(FILE).expect(FILE).plain.bytes;
    &bytes[bytes.len() - 40..]
}

impl Scene {
    /// A client that reads nothing for now.
    fn connect_blocked(&mut self) -> Line {
        let line = self.connect(LOCAL);
        line.pipe.wire().room = 0;
        line
    }

    /// The client reads this many bytes more.
    fn take(&mut self, line: &Line, bytes: usize) {
        line.pipe.wire().room = bytes;
        line.pipe.wire().blocked = false;
        self.turn(&[Wake::Connection { id: line.id, readable: false, writable: true, hung_up: false }]);
        self.settle();
    }

    /// Sends bytes, and lets the server go on until nothing is left to be done.
    fn send_all(&mut self, line: &Line, bytes: &[u8]) {
        self.send_bytes(line, bytes);
        self.settle();
    }

    /// The client sends its FIN.
    fn half_close(&mut self, line: &Line) {
        line.pipe.wire().ended = true;
        self.turn(&[Wake::Connection { id: line.id, readable: true, writable: false, hung_up: true }]);
        self.settle();
    }

    /// A client over WebSocket, which reads nothing since.
    fn websocket_blocked(&mut self) -> Line {
        let line = self.connect(LOCAL);
        let lines = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let target = HANDSHAKE.replace("polling", "websocket");
        self.send(&line, &format!("GET {target} HTTP/1.1\r\nHost: h\r\n{lines}\r\n"));
        self.settle();
        assert!(taken(&line).starts_with(b"HTTP/1.1 101 "));
        line.pipe.wire().room = 0;
        line
    }
}

/// All bytes that the client has taken so far.
fn taken(line: &Line) -> Vec<u8> {
    line.pipe.wire().outgoing.clone()
}

fn count(bytes: &[u8], part: &str) -> usize {
    bytes.windows(part.len()).filter(|window| *window == part.as_bytes()).count()
}

/// N9: the time to the next request is counted from when the answer has left; until then every byte that is taken starts
/// `write_timeout` again.
#[test]
fn an_answer_that_leaves_slowly_is_not_idle() {
    let config = Config { idle_timeout: 2 * SECOND, write_timeout: 3 * SECOND, ..Config::default() };
    for pipelined in [1, 3] {
        let mut scene = Scene::new(config.clone());
        let line = scene.connect_blocked();
        scene.send(&line, &request(FILE).repeat(pipelined));
        scene.settle();
        for _ in 0..10 {
            scene.pass(Duration::from_millis(2500));
            scene.settle();
            assert!(!line.pipe.wire().shut && !line.pipe.is_closed(), "after {} bytes", taken(&line).len());
            scene.take(&line, pipelined * length() / 10);
        }
        scene.take(&line, usize::MAX);
        assert!(taken(&line).ends_with(ending()));
        scene.pass(2 * SECOND - Duration::from_millis(1));
        assert!(!line.pipe.wire().shut, "idle since the last byte");
        scene.pass(Duration::from_millis(1));
        assert!(line.pipe.wire().shut, "idle for 2 s");
        // One that takes nothing is still given up.
        let line = scene.connect_blocked();
        scene.send(&line, &request(FILE));
        scene.pass(2 * SECOND);
        assert!(!line.pipe.is_closed());
        scene.pass(SECOND);
        assert!(line.pipe.is_closed());
        assert_eq!(scene.hits("write_time"), 1);
    }
}

/// The same where the connection ends with the answer: no deadline of a request that was begun before counts.
#[test]
fn the_last_answer_leaves_as_slowly_as_it_likes() {
    let last = [
        format!("GET {FILE} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
        // A refusal behind an answer: the time of its head had begun.
        format!("{}GET / HTTP/1.1\r\n\r\n", request(FILE)),
    ];
    for sent in last {
        let mut scene = Scene::new(Config { head_timeout: 2 * SECOND, ..Config::default() });
        let line = scene.connect_blocked();
        let (start, end) = sent.split_at(sent.len() - 10);
        scene.send(&line, start);
        scene.send(&line, end);
        scene.settle();
        for _ in 0..10 {
            scene.pass(3 * SECOND);
            scene.take(&line, length() / 10);
        }
        scene.take(&line, usize::MAX);
        let answers = taken(&line);
        assert!(answers.ends_with(ending()) || count(&answers, "HTTP/1.1 400 ") == 1, "{} bytes", answers.len());
        assert!(line.pipe.wire().shut);
    }
}

/// N10: requests wait while more than half of the outbox is full; nobody is evicted for what it asked for itself. No
/// deadline of a head runs meanwhile, and a FIN behind the requests takes no answer away.
#[test]
fn requests_wait_until_answers_are_read() {
    for fin in [false, true] {
        for config in [
            Config::default(),
            // As small as it may be.
            Config { max_queue: MIN_QUEUE, ..Config::default() },
        ] {
            let time = config.soft_time.min(config.head_timeout);
            let mut scene = Scene::new(config);
            let line = scene.connect_blocked();
            scene.send(&line, &request(FILE).repeat(40));
            // And one that is not complete.
            let (start, end) = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n".split_at(12);
            scene.send(&line, start);
            scene.settle();
            if fin {
                scene.send(&line, end);
                scene.half_close(&line);
            }
            for round in 0..40 {
                scene.pass(time);
                scene.settle();
                assert!(!line.pipe.is_closed(), "closed after {} bytes, FIN: {fin}", taken(&line).len());
                scene.take(&line, length());
                if round == 20 && !fin {
                    scene.send(&line, end);
                }
            }
            scene.take(&line, usize::MAX);
            let answers = taken(&line);
            assert_eq!(count(&answers, "HTTP/1.1 200 OK\r\n"), 41, "FIN: {fin}");
            assert!(answers.ends_with(b"ok"));
            assert_eq!(line.pipe.wire().shut || line.pipe.is_closed(), fin);
            for limit in ["queue", "soft_queue", "write_time", "head_time"] {
                assert_eq!(scene.hits(limit), 0, "{limit}");
            }
        }
    }
}

/// A head that stands behind the answers has its own time, and not more.
#[test]
fn a_head_behind_unread_answers_has_its_time_when_it_is_its_turn() {
    let mut scene = Scene::new(Config { head_timeout: 5 * SECOND, ..Config::default() });
    let line = scene.connect_blocked();
    scene.send(&line, &(request(FILE).repeat(20) + "GET / HTT"));
    scene.settle();
    scene.pass(10 * SECOND);
    scene.take(&line, usize::MAX);
    scene.pass(5 * SECOND - Duration::from_millis(1));
    assert_eq!(count(&taken(&line), "HTTP/1.1 408 "), 0);
    scene.pass(Duration::from_millis(1));
    assert_eq!((count(&taken(&line), "HTTP/1.1 200 "), count(&taken(&line), "HTTP/1.1 408 ")), (20, 1));
}

/// N8 over HTTP: each head has its own time, also if every read ends inside of the next head.
#[test]
fn the_deadline_of_a_head_is_its_own() {
    let whole = request("/healthz");
    let (start, end) = whole.split_at(20);
    for between in ["".to_owned(), whole.repeat(3)] {
        let mut scene = Scene::new(Config { head_timeout: 2 * SECOND, ..Config::default() });
        let line = scene.connect(LOCAL);
        scene.send(&line, start);
        for _ in 0..5 {
            scene.pass(Duration::from_millis(1500));
            scene.send(&line, &format!("{end}{between}{start}"));
            assert_eq!(line.read().matches("HTTP/1.1 200 ").count(), 1 + between.len() / whole.len());
        }
        assert_eq!((scene.hits("head_time"), line.pipe.wire().shut), (0, false));
        // Its own bytes do not prolong it.
        scene.pass(Duration::from_millis(1500));
        scene.send(&line, &end[..3]);
        scene.pass(Duration::from_millis(499));
        assert_eq!((line.read(), scene.hits("head_time")), (String::new(), 0));
        scene.pass(Duration::from_millis(1));
        assert!(line.read().starts_with("HTTP/1.1 408 "));
        assert_eq!(scene.hits("head_time"), 1);
    }
}

/// N26: what the peer of a closing connection sends is thrown away up to 64 KiB in all, whether the server has sent its FIN
/// or still waits to be read.
#[test]
fn a_closing_connection_takes_64_kib_more() {
    // How each begins to close while its outbox is blocked.
    let openings: [&dyn Fn(&mut Scene) -> Line; 3] = [
        &|scene| {
            let line = scene.websocket_blocked();
            // Unmasked.
            scene.send_all(&line, b"\x81\x01x");
            line
        },
        &|scene| {
            let line = scene.connect_blocked();
            scene.send(&line, &(request(FILE) + "nonsense\r\n\r\n"));
            scene.settle();
            line
        },
        &|scene| {
            let line = scene.connect_blocked();
            scene.send(&line, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
            line
        },
    ];
    for open in openings {
        for read_between in [false, true] {
            let mut scene = Scene::new(Config::default());
            let line = open(&mut scene);
            scene.send_all(&line, &[b'x'; 40 * 1024]);
            assert!(!line.pipe.is_closed() && !line.pipe.wire().shut, "it is closing");
            assert!(line.pipe.wire().incoming.is_empty(), "what comes is thrown away");
            if read_between {
                scene.take(&line, usize::MAX);
                assert!(line.pipe.wire().shut, "it lingers");
            }
            scene.send_all(&line, &[b'x'; 24 * 1024]);
            assert!(!line.pipe.is_closed());
            scene.send_all(&line, b"x");
            assert!(line.pipe.is_closed(), "64 KiB are enough");
        }
    }
}

/// Before the client's close frame the server skips 64 KiB, for a second.
#[test]
fn frames_behind_a_close_frame_are_skipped_within_limits() {
    let text = [&b"\x81\xfe\x04\x00\0\0\0\0"[..], &[b'x'; 1024]].concat();
    for close in [true, false] {
        let mut scene = Scene::new(Config::default());
        let line = scene.websocket_blocked();
        scene.take(&line, usize::MAX);
        scene.send_all(&line, b"\x81\x81\0\0\0\x001");
        assert!(taken(&line).ends_with(b"\x88\x02\x03\xe8"), "{:?}", String::from_utf8_lossy(&taken(&line)));
        (0..63).for_each(|_| scene.send_all(&line, &text));
        assert!(!line.pipe.wire().shut);
        scene.send_all(&line, if close { b"\x88\x80\0\0\0\0" } else { &text });
        assert!(line.pipe.wire().shut || line.pipe.is_closed(), "{close}");
        assert!(taken(&line).ends_with(b"\x88\x02\x03\xe8"), "nothing follows the close frame");
    }
}

/// However much the peer has sent by then, the last answer leaves first.
#[test]
fn the_last_answer_leaves_before_the_limit_is_reached() {
    let mut scene = Scene::new(Config::default());
    let line = scene.connect(LOCAL);
    scene.send(&line, &format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(1_000_000)));
    scene.settle();
    assert!(taken(&line).starts_with(b"HTTP/1.1 431 ") && line.pipe.is_closed());
    let line = scene.websocket_blocked();
    line.pipe.wire().room = usize::MAX;
    scene.send_all(&line, &[&b"\x81\x01"[..], &[b'x'; 1_000_000]].concat());
    assert!(taken(&line).ends_with(b"unmasked frame") && line.pipe.is_closed());
}

/// A closing connection ends in time, in every state.
#[test]
fn a_closing_connection_ends() {
    let mut scene = Scene::new(Config { write_timeout: 3 * SECOND, ..Config::default() });
    let line = scene.websocket_blocked();
    scene.send_all(&line, b"\x81\x01x");
    scene.pass(3 * SECOND - Duration::from_millis(1));
    assert!(!line.pipe.is_closed());
    scene.pass(Duration::from_millis(1));
    assert!(line.pipe.is_closed(), "nothing was taken for 3 s");
    assert_eq!(scene.hits("write_time"), 1);
    let line = scene.websocket_blocked();
    scene.send_all(&line, b"\x81\x01x");
    scene.take(&line, usize::MAX);
    assert!(line.pipe.wire().shut && !line.pipe.is_closed());
    scene.pass(SECOND);
    assert!(line.pipe.is_closed(), "it has lingered for a second");
}

/// N11: a client that needs 300 ms for its request is served, whatever one other address does.
#[test]
fn a_flood_of_one_address_costs_no_other() {
    for (flood, stranger) in [
        ("198.51.100.1", "192.0.2.9"),
        ("2001:db8::1", "2001:db8:0:1::1"),
        ("192.0.2.9", "2001:db8::1"),
        ("127.0.0.1", "192.0.2.9"),
    ] {
        let mut scene = Scene::new(Config { max_half_open: 50, max_per_address: 50, ..Config::default() });
        let mut lines = Vec::new();
        for round in 0..10 {
            let slow = scene.connect(stranger);
            scene.send(&slow, "GET /healthz HTTP/1.1\r\n");
            for number in 0..150 {
                scene.now += Duration::from_millis(2);
                let flood = flood.replace("::1", &format!("::{number:x}"));
                lines.push(scene.connect(&flood));
                lines.retain(|line| !line.pipe.is_closed());
                assert!(lines.len() <= 50);
            }
            assert_eq!(scene.ask(&slow, "Host: h\r\n\r\n").0, 200, "{flood}, round {round}");
            scene.reset(slow);
        }
    }
}

/// Of several addresses the one with most gives one up, and of several with as many the one whose has waited longest.
#[test]
fn the_address_with_most_gives_up_its_oldest() {
    let mut scene = Scene::new(Config { max_half_open: 6, max_per_address: 3, ..Config::default() });
    let mut open = |address: &str| {
        scene.now += Duration::from_millis(1);
        scene.connect(address)
    };
    let oldest = open("192.0.2.1");
    let pair = [open("192.0.2.2"), open("::ffff:192.0.2.2")];
    let three = [open("2001:db8::1"), open("2001:db8::2"), open("2001:db8::3:0:0:1")];
    let all = || [&oldest].into_iter().chain(&pair).chain(&three).map(|line| line.pipe.is_closed()).collect::<Vec<_>>();
    assert_eq!(all(), [false; 6]);
    // One that is refused pushes nobody out.
    assert!(open("2001:db8::4").pipe.is_closed());
    assert_eq!(all(), [false; 6]);
    let other = open("192.0.2.3");
    assert_eq!(all(), [false, false, false, true, false, false]);
    // Two addresses have two each: the older ones are those of 192.0.2.2.
    let another = open("192.0.2.4");
    assert_eq!(all(), [false, true, false, true, false, false]);
    assert!(!other.pipe.is_closed() && !another.pipe.is_closed());
    assert_eq!((scene.hits("half_open"), scene.hits("address_connections")), (3, 1), "and one for the metrics");
}

/// N14: a body that is too large costs its request, with a length and in chunks; one that makes no sense, or does not come,
/// costs the session.
#[test]
fn what_a_refused_body_costs() {
    let chunked = |target: &str| format!("POST {target} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    let extension = format!("1;{}\r\n", "e".repeat(2000));
    let trailer = format!("1\r\n6\r\n0\r\nT: {}\r\n\r\n", "t".repeat(2000));
    for version in [4, 3] {
        for (body, status, lives) in [
            ("3e9\r\n", 413, true),
            ("3e8\r\nxxx", 408, false),
            ("1f4\r\n{500}\r\n1f5\r\n", 413, true),
            (&extension, 431, true),
            (&trailer, 431, true),
            ("x\r\n", 400, false),
            ("1\r\nxx\r\n", 400, false),
        ] {
            let config = Config { max_payload: 1000, max_head: 1000, ..Config::default() };
            let timeout = config.body_timeout;
            let mut scene = Scene::new(config);
            let line = scene.connect(LOCAL);
            let target = HANDSHAKE.replace('4', &version.to_string());
            let (_, open) = scene.get(&line, &target, "");
            let target = format!("{target}&sid={}", open.split('"').nth(3).expect("a sid"));
            let post = chunked(&target) + &body.replace("{500}", &"6".repeat(500));
            scene.send(&line, &post);
            if status == 408 {
                scene.pass(timeout);
            }
            scene.settle();
            let answer = line.read();
            assert!(answer.contains(&format!("HTTP/1.1 {status} ")), "{body:.20}: {answer}");
            assert!(line.pipe.wire().shut);
            let line = scene.connect(LOCAL);
            let payload = if version == 4 { "6" } else { "1:6" };
            let after = scene.post(&line, &target, payload);
            assert_eq!(after, if lives { 200 } else { 400 }, "EIO={version}, {body:.20}");
        }
    }
}

/// N15: the sizes of chunks have no limit of their own, and a body of many is no step of one turn.
#[test]
fn many_tiny_chunks_are_read() {
    let mut scene = Scene::new(Config { max_head: 1000, ..Config::default() });
    let (line, other) = (scene.connect(LOCAL), scene.connect(LOCAL));
    let target = scene.session(&line);
    let packets = ["6"; 1500].join("\x1e") + "\x1e42[\"a\"]";
    let chunks: String = packets.chars().map(|byte| format!("1\r\n{byte}\r\n")).collect();
    let head = format!("POST {target} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    scene.send(&line, &(head + &chunks + "0\r\n\r\n"));
    assert_eq!(scene.get(&other, "/healthz", "").0, 200, "others do not wait");
    scene.settle();
    assert!(line.read().starts_with("HTTP/1.1 200 "));
}

/// What `Server` keeps with a connection, for a `Net` without one.
#[derive(Default)]
pub struct Nothing;

impl State for Nothing {
    fn held(&self) -> usize {
        0
    }
}

/// A connection that ends before its first head is awaited, as one does whose socket is broken, does not count as half-open.
#[test]
fn no_head_is_awaited_of_a_connection_that_ends() {
    for end in [Net::<Nothing>::close, Net::abort] {
        let mut net = Net::new(Config::default()).expect("a selector");
        let now = Instant::now();
        let id = net.connect_pipe([192, 0, 2, 1].into(), now);
        end(&mut net, id);
        net.await_head(id, now);
        let mut metrics = Metrics::default();
        net.metrics(&mut metrics);
        assert!(metrics.0.contains("salon_half_open 0\n"), "{}", metrics.0);
    }
}
