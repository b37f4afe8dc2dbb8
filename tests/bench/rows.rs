//! What is measured: the rows of the table, and the tests that fill them.

use crate::process::{Server, Spec};
use crate::secure::Identity;
use crate::swarm::Swarm;
use crate::swarm::Transport::{self, Polling, WebSocket};
use crate::visitor::{self, Readers, Visitor};
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What a row is to reach.
pub enum Goal {
    None,
    AtMost(f64),
    /// So many times the figure of that column.
    Times(f64, &'static str),
}

pub struct Row {
    pub key: &'static str,
    pub title: &'static str,
    pub decimals: usize,
    pub goal: Goal,
}

const fn row(key: &'static str, title: &'static str, decimals: usize, goal: Goal) -> Row {
    Row { key, title, decimals, goal }
}

/// In every row less is better.
pub const ROWS: &[Row] = &[
    row("start", "start to first HTTP answer, ms", 1, Goal::Times(1.3, "limit")),
    row("size", "executable, MiB", 2, Goal::AtMost(3.0)),
    row("resident", "resident memory at start, MiB", 1, Goal::AtMost(3.5)),
    row("idle-ws-bytes", "bytes per idle WebSocket session (10,000)", 0, Goal::AtMost(1024.0)),
    row("idle-poll-bytes", "bytes per idle polling session (1,000)", 0, Goal::AtMost(1536.0)),
    row("idle-cpu", "10,000 idle sessions, 30 s, one ping each: CPU ms", 0, Goal::Times(1.3, "limit")),
    row("idle-wakeups", "... wake-ups", 0, Goal::None),
    row("idle-timer", "... of these by a timer", 0, Goal::None),
    row("idle-bytes", "... of these by bytes", 0, Goal::None),
    // Azure's free tier allows 165 MB out and 60 CPU minutes a day: a hundredth for each of 100 people, and all for all.
    row(
        "day-ws-bytes",
        "bytes out per idle WebSocket session and day (25 s measured, x 3,456)",
        0,
        Goal::AtMost(1.65e6),
    ),
    row("day-ws-cpu", "... of 100: CPU s per day", 1, Goal::AtMost(3600.0)),
    row("day-poll-bytes", "bytes out per idle poller and day (25 s measured, x 3,456)", 0, Goal::AtMost(1.65e6)),
    row("day-poll-cpu", "... of 100: CPU s per day", 1, Goal::AtMost(3600.0)),
    row("paced-cpu", "fan-out to 1,000, paced (10/s): CPU us per delivery", 2, Goal::Times(1.25, "limit")),
    row("paced-p50", "... latency p50, ms", 2, Goal::Times(1.25, "limit")),
    row("paced-p99", "... latency p99, ms", 2, Goal::Times(1.25, "limit")),
    row("burst", "fan-out to 1,000, burst of 200: CPU us per delivery", 3, Goal::Times(3.0, "limit-batch")),
    row("senders", "10 senders x 2,000 to 100, burst: CPU us per delivery", 3, Goal::Times(5.0, "limit-batch")),
    row("senders-deep", "... with 200 messages of each under way instead of 20", 3, Goal::None),
    row("poll-paced", "polling fan-out to 500, paced: CPU us per delivery", 2, Goal::Times(0.6, "socketioxide")),
    row("poll-burst", "polling fan-out to 500, burst of 200: CPU us per delivery", 2, Goal::Times(0.5, "socketioxide")),
    row("connect", "WebSocket connect and close: CPU us", 1, Goal::Times(1.3, "limit")),
    row("upgrade", "polling, upgrade, close: CPU us", 1, Goal::Times(0.7, "socketioxide")),
    row("page", "GET / (keep-alive): CPU us", 2, Goal::Times(1.5, "limit")),
    row("published", "cluster: CPU us per publication, beyond what the message costs alone", 2, Goal::None),
    row("received", "... per publication that comes in, with nobody to hear it", 2, Goal::None),
    row("links-bytes", "... resident bytes of the links to Redis", 0, Goal::None),
    row("several-1", "1,000 sessions behind HAProxy, paced (10/s), one server: its CPU us per message", 0, Goal::None),
    row("several-2", "... two servers and Redis: of the one that spends more", 0, Goal::None),
    row("several-4", "... four", 0, Goal::None),
    row("several-proxy", "... with four, HAProxy's", 0, Goal::None),
    row("several-redis", "... and Redis's", 0, Goal::None),
    row("tls-bytes", "bytes per idle WebSocket session over TLS (1,000)", 0, Goal::None),
    row("tls-paced", "fan-out to 1,000 over TLS, paced (10/s): CPU us per delivery", 2, Goal::None),
    row("tls-burst", "... burst of 200: CPU us per delivery", 2, Goal::None),
    row("history-off", "a message to one listener, --history-messages 0: CPU us", 2, Goal::None),
    row("history-on", "... 200 kept", 2, Goal::None),
    row("history-file", "... and written to --history", 2, Goal::None),
    row("history-bytes", "resident bytes per message of 1,400 kept, beyond none", 0, Goal::None),
    row("history-session", "resident bytes per session of 1,000 with 200 kept, beyond none", 0, Goal::None),
    row("cpu-100", "100 WebSocket sessions: CPU us per delivery", 2, Goal::None),
    row("cpu-1000", "... 1,000", 2, Goal::None),
    row("cpu-5000", "... 5,000", 2, Goal::None),
    row("cpu-15000", "... 15,000", 2, Goal::None),
    row("bytes-100", "100 WebSocket sessions: bytes per session", 0, Goal::None),
    row("bytes-1000", "... 1,000", 0, Goal::None),
    row("bytes-5000", "... 5,000", 0, Goal::None),
    row("bytes-15000", "... 15,000", 0, Goal::None),
];

/// How cost grows: sessions, and the rows for CPU time and memory.
pub const SCALE: &[(usize, &str, &str)] = &[
    (100, "cpu-100", "bytes-100"),
    (1000, "cpu-1000", "bytes-1000"),
    (5000, "cpu-5000", "bytes-5000"),
    (15_000, "cpu-15000", "bytes-15000"),
];

/// Figures by key of the row, and what went wrong beside them.
#[derive(Default)]
pub struct Outcome {
    pub figures: Vec<(&'static str, f64)>,
    pub faults: Vec<String>,
}

type Result = std::result::Result<Outcome, String>;

/// Where a test runs.
pub struct Lab<'a> {
    pub spec: &'a Spec,
    pub cores: Option<(usize, usize)>,
    /// Small and short, to see that all works; the figures mean nothing.
    pub quick: bool,
}

pub struct Test {
    pub name: &'static str,
    /// The floors that can take part.
    pub floors: &'static [&'static str],
    /// At most so many tries; for the long ones.
    pub tries: usize,
    /// Descriptors that each side needs.
    pub descriptors: u64,
    pub run: fn(&Lab) -> Result,
}

const fn test(name: &'static str, floors: &'static [&'static str], run: fn(&Lab) -> Result) -> Test {
    Test { name, floors, tries: usize::MAX, descriptors: 1100, run }
}

const LIMIT: &[&str] = &["limit"];
const BOTH: &[&str] = &["limit", "limit-batch"];

pub const TESTS: &[Test] = &[
    test("start", LIMIT, start),
    Test { tries: 2, descriptors: 10_100, ..test("idle-ws", LIMIT, idle_websocket) },
    test("idle-poll", &[], idle_polling),
    Test { tries: 1, ..test("day-ws", LIMIT, |lab| idle_day(lab, WebSocket, ["day-ws-bytes", "day-ws-cpu"])) },
    Test { tries: 1, ..test("day-poll", &[], |lab| idle_day(lab, Polling, ["day-poll-bytes", "day-poll-cpu"])) },
    test("paced", BOTH, |lab| fan_out_paced(lab, false)),
    test("burst", BOTH, |lab| fan_out_burst(lab, false)),
    test("senders", BOTH, |lab| senders(lab, "senders", 20)),
    test("senders-deep", &["limit-batch"], |lab| senders(lab, "senders-deep", 200)),
    test("poll-paced", &[], |lab| fan_out_paced(lab, true)),
    test("poll-burst", &[], |lab| fan_out_burst(lab, true)),
    test("connect", LIMIT, |lab| repeat(lab, "connect", visitor::websocket)),
    test("upgrade", &[], |lab| repeat(lab, "upgrade", visitor::upgrade)),
    test("page", LIMIT, page),
    test("cluster", &[], cluster),
    Test { descriptors: 2_200, ..test("several", &[], several) },
    test("tls", &[], tls),
    test("history", &[], history),
    Test { tries: 3, descriptors: 15_100, ..test("scale", LIMIT, scale) },
];

impl Lab<'_> {
    fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// One ping per session fits into the idle test's window, and none into the others.
    fn interval(&self) -> Duration {
        self.pick(Duration::from_secs(25), Duration::from_secs(3))
    }

    /// A fresh server that has just answered for the first time.
    fn server(&self) -> std::result::Result<Server, String> {
        self.server_with(&[], 200)
    }

    /// The same with these settings, and this status of its first answer.
    fn server_with(&self, more: &[(&'static str, String)], status: u16) -> std::result::Result<Server, String> {
        // What a test needs the server to allow goes here; servers pass over what they do not know.
        let mut env = vec![
            ("SALON_PING_INTERVAL", self.interval().as_millis().to_string()),
            ("SALON_MAX_CONNECTIONS", "19000".into()),
        ];
        env.extend_from_slice(more);
        self.answering(Server::start(self.spec, &env, self.cores)?, status)
    }

    /// Waits until a server answers with this status.
    fn answering(&self, mut server: Server, status: u16) -> std::result::Result<Server, String> {
        let start = Instant::now();
        loop {
            // Until it listens, the loopback refuses at once.
            if let Ok(mut visitor) = Visitor::connect(server.address) {
                visitor.send(&visitor::get("/", true))?;
                visitor.answer(status)?;
                return Ok(server);
            }
            if server.ended() {
                return Err("the server ended at once (BENCH_VERBOSE=1 shows what it says)".into());
            }
            if start.elapsed() > Duration::from_secs(10) {
                return Err("no answer within 10 s of the start".into());
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Another program on the same core.
    fn program(&self, command: &str) -> std::result::Result<Server, String> {
        let command: Vec<String> = command.split_whitespace().map(String::from).collect();
        Server::start(&Spec { name: command[0].clone(), command }, &[], self.cores)
    }

    fn redis(&self) -> std::result::Result<Server, String> {
        self.program("redis-server --bind 127.0.0.1 --port {port} --save --appendonly no")
    }

    /// A server of a cluster, that is in it.
    fn member(&self, redis: &Server) -> std::result::Result<Server, String> {
        let server = self.server_with(&[("REDIS_URL", format!("redis://{}", redis.address))], 200)?;
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            let mut visitor = Visitor::connect(server.address)?;
            visitor.send(&visitor::get("/metrics", false))?;
            if String::from_utf8_lossy(&visitor.answer(200)?).contains("\nsalon_redis_up 1\n") {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err("no connection to Redis".to_string())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    crate::report::middle(&values)
}

fn micros(time: Duration, count: u64) -> f64 {
    time.as_nanos() as f64 / 1000.0 / count.max(1) as f64
}

/// Hears out what may still come twice, and counts the faults.
fn conclude(swarm: &mut Swarm, figures: Vec<(&'static str, f64)>) -> Result {
    swarm.idle(Duration::from_millis(100))?;
    Ok(Outcome { figures, faults: swarm.faults().into_iter().collect() })
}

fn start(lab: &Lab) -> Result {
    let mut times = Vec::new();
    let mut resident = Vec::new();
    for _ in 0..lab.pick(11, 3) {
        let start = Instant::now();
        let server = lab.server()?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        std::thread::sleep(Duration::from_millis(50));
        resident.push(server.resident()? as f64 / 1048576.0);
    }
    let mut figures = vec![("start", median(times)), ("resident", median(resident))];
    // Of an interpreter the size says nothing, and the floors are a part of the bench.
    let command = &lab.spec.command[0];
    let interpreted = lab.spec.command[1..].iter().any(|word| word.ends_with("js") || word.ends_with("py"));
    if !interpreted && command.contains('/') && !LIMIT.contains(&lab.spec.name.as_str()) {
        let size = fs::metadata(command).map_err(|error| error.to_string())?.len();
        figures.push(("size", size as f64 / 1048576.0));
    }
    Ok(Outcome { figures, faults: Vec::new() })
}

/// Sessions that are there before memory is measured, so that what all share is not counted as a session's.
const WARM: usize = 20;

fn idle_websocket(lab: &Lab) -> Result {
    let (count, window) = lab.pick((10_000, 30), (1000, 4));
    let server = lab.server()?;
    let mut swarm = Swarm::new(server.address)?;
    swarm.join(WebSocket, WARM)?;
    swarm.idle(Duration::from_millis(200))?;
    let empty = server.resident()?;
    swarm.join(WebSocket, count - WARM)?;
    swarm.idle(Duration::from_millis(500))?;
    let bytes = server.resident()?.saturating_sub(empty) as f64 / (count - WARM) as f64;
    if swarm.seen.pings > 0 {
        return Err("the sessions took longer to come up than one ping interval".into());
    }
    let timer_wakeups = count_timer_wakeups(&server);
    let (cpu, wakeups) = (server.cpu()?, server.wakeups()?);
    swarm.idle(Duration::from_secs(window))?;
    let (cpu, wakeups) = (server.cpu()? - cpu, server.wakeups()? - wakeups);
    let mut figures =
        vec![("idle-ws-bytes", bytes), ("idle-cpu", cpu.as_secs_f64() * 1000.0), ("idle-wakeups", wakeups as f64)];
    if let (Some(before), Some(after)) = (timer_wakeups, count_timer_wakeups(&server)) {
        figures.extend([("idle-timer", after - before), ("idle-bytes", (wakeups as f64 - (after - before)).max(0.0))]);
    }
    let mut outcome = conclude(&mut swarm, figures)?;
    let odd = swarm.pinged_other_than(1);
    if odd > 0 {
        outcome.faults.push(format!("{odd} sessions did not get exactly one ping"));
    }
    Ok(outcome)
}

/// Wake-ups by a timer alone, where a server counts them on its /metrics page; all others are by bytes.
fn count_timer_wakeups(server: &Server) -> Option<f64> {
    let mut visitor = Visitor::connect(server.address).ok()?;
    visitor.send(&visitor::get("/metrics", false)).ok()?;
    let page = String::from_utf8(visitor.answer(200).ok()?).ok()?;
    page.lines().find_map(|line| line.strip_prefix("salon_turns_total{cause=\"timer\"} "))?.trim().parse().ok()
}

fn scale(lab: &Lab) -> Result {
    let mut outcome = Outcome::default();
    for &(count, cpu_row, bytes_row) in &SCALE[..lab.pick(SCALE.len(), 2)] {
        let server = lab.server()?;
        let mut swarm = Swarm::new(server.address)?;
        swarm.join(WebSocket, WARM)?;
        swarm.idle(Duration::from_millis(200))?;
        let empty = server.resident()?;
        swarm.join(WebSocket, count - WARM)?;
        swarm.idle(Duration::from_millis(300))?;
        let bytes = server.resident()?.saturating_sub(empty) as f64 / (count - WARM) as f64;
        swarm.appoint(1)?;
        // As many deliveries each time, and some before that count for nothing.
        let messages = (60_000 / count).max(8);
        (0..4).try_for_each(|_| said(&mut swarm))?;
        let (heard, cpu) = (swarm.heard(), server.cpu()?);
        (0..messages).try_for_each(|_| said(&mut swarm))?;
        let cpu = micros(server.cpu()? - cpu, swarm.heard() - heard);
        let concluded = conclude(&mut swarm, vec![(cpu_row, cpu), (bytes_row, bytes)])?;
        outcome.figures.extend(concluded.figures);
        outcome.faults.extend(concluded.faults);
    }
    Ok(outcome)
}

/// One message, until everybody has it.
fn said(swarm: &mut Swarm) -> std::result::Result<(), String> {
    swarm.say(0, 1);
    swarm.finish()
}

/// What TLS of one's own costs: memory while nothing happens, and an encryption per recipient. Only salon knows these
/// options.
fn tls(lab: &Lab) -> Result {
    if lab.spec.name != "salon" {
        return Ok(Outcome::default());
    }
    let identity = Identity::new()?;
    let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let files = [("SALON_TLS_CERT", path(&identity.cert)), ("SALON_TLS_KEY", path(&identity.key))];
    // The visitor speaks plain HTTP, and is told that this is wrong.
    let server = lab.server_with(&files, 400)?;
    let count = lab.pick(1000, 100);
    let mut swarm = Swarm::over_tls(server.address, &identity.trust)?;
    swarm.join(WebSocket, WARM)?;
    swarm.idle(Duration::from_millis(200))?;
    let empty = server.resident()?;
    swarm.join(WebSocket, count)?;
    swarm.idle(Duration::from_millis(500))?;
    let bytes = server.resident()?.saturating_sub(empty) as f64 / count as f64;
    swarm.appoint(1)?;
    (0..5).try_for_each(|_| said(&mut swarm))?;
    let (heard, cpu) = (swarm.heard(), server.cpu()?);
    for _ in 0..lab.pick(50, 10) {
        swarm.say(0, 1);
        swarm.idle(Duration::from_millis(100))?;
    }
    swarm.finish()?;
    let paced = micros(server.cpu()? - cpu, swarm.heard() - heard);
    let (heard, cpu) = (swarm.heard(), server.cpu()?);
    swarm.say(0, lab.pick(200, 20));
    swarm.finish()?;
    let burst = micros(server.cpu()? - cpu, swarm.heard() - heard);
    conclude(&mut swarm, vec![("tls-bytes", bytes), ("tls-paced", paced), ("tls-burst", burst)])
}

fn idle_polling(lab: &Lab) -> Result {
    let count = lab.pick(1000, 200);
    let server = lab.server()?;
    let mut swarm = Swarm::new(server.address)?;
    swarm.join(Polling, WARM)?;
    swarm.idle(Duration::from_millis(200))?;
    let empty = server.resident()?;
    swarm.join(Polling, count)?;
    swarm.idle(Duration::from_millis(500))?;
    let bytes = server.resident()?.saturating_sub(empty) as f64 / count as f64;
    conclude(&mut swarm, vec![("idle-poll-bytes", bytes)])
}

/// A day of 100 sessions that say nothing, from what one ping interval costs. They come spread over an interval, so that
/// pings are due at all times: few can be gathered.
fn idle_day(lab: &Lab, transport: Transport, [bytes_key, cpu_key]: [&'static str; 2]) -> Result {
    let (count, interval) = (100, lab.interval());
    let server = lab.server()?;
    let mut swarm = Swarm::new(server.address)?;
    for _ in 0..count {
        swarm.join(transport, 1)?;
        swarm.idle(interval / count)?;
    }
    let (pings, bytes, cpu) = (swarm.seen.pings, swarm.seen.bytes, server.cpu()?);
    swarm.idle(interval)?;
    let (pings, bytes, cpu) = (swarm.seen.pings - pings, swarm.seen.bytes - bytes, server.cpu()? - cpu);
    // A ping may be half a second early, and so fall into the interval before: each costs the same.
    let days = pings as f64 / f64::from(count) * interval.as_secs_f64() / 86_400.0;
    let figures = vec![(bytes_key, bytes as f64 / days / f64::from(count)), (cpu_key, cpu.as_secs_f64() / days)];
    let mut outcome = conclude(&mut swarm, figures)?;
    if pings.abs_diff(u64::from(count)) > u64::from(count) / 4 {
        outcome.faults.push(format!("{pings} pings for {count} sessions"));
    }
    Ok(outcome)
}

/// A room of listeners and one who speaks, over WebSocket; some words have been said, so that all code is warm.
fn room(server: &Server, polling: bool, listeners: usize, senders: usize) -> std::result::Result<Swarm, String> {
    let mut swarm = Swarm::new(server.address)?;
    swarm.join(if polling { Polling } else { WebSocket }, listeners)?;
    swarm.join(WebSocket, senders)?;
    swarm.appoint(senders)?;
    for _ in 0..5 {
        swarm.say(0, 1);
        swarm.finish()?;
    }
    Ok(swarm)
}

fn fan_out_paced(lab: &Lab, polling: bool) -> Result {
    let server = lab.server()?;
    let listeners = lab.pick(if polling { 500 } else { 1000 }, 100);
    let mut swarm = room(&server, polling, listeners, 1)?;
    swarm.latencies();
    let (heard, cpu) = (swarm.heard(), server.cpu()?);
    for _ in 0..lab.pick(50, 10) {
        swarm.say(0, 1);
        swarm.idle(Duration::from_millis(100))?;
    }
    swarm.finish()?;
    let cpu = micros(server.cpu()? - cpu, swarm.heard() - heard);
    let mut latencies = swarm.latencies();
    latencies.sort_unstable();
    let percentile = |percent: usize| match latencies.len() {
        0 => f64::NAN,
        count => f64::from(latencies[(count - 1) * percent / 100]) / 1000.0,
    };
    if polling {
        return conclude(&mut swarm, vec![("poll-paced", cpu)]);
    }
    conclude(&mut swarm, vec![("paced-cpu", cpu), ("paced-p50", percentile(50)), ("paced-p99", percentile(99))])
}

fn fan_out_burst(lab: &Lab, polling: bool) -> Result {
    let server = lab.server()?;
    let listeners = lab.pick(if polling { 500 } else { 1000 }, 100);
    let mut swarm = room(&server, polling, listeners, 1)?;
    let (heard, mut cpu) = (swarm.heard(), Duration::ZERO);
    for _ in 0..3 {
        // Pollers that have just been answered come back first.
        swarm.idle(Duration::from_millis(200))?;
        let before = server.cpu()?;
        swarm.say(0, 200);
        swarm.finish()?;
        cpu += server.cpu()? - before;
    }
    let key = if polling { "poll-burst" } else { "burst" };
    let cpu = micros(cpu, swarm.heard() - heard);
    conclude(&mut swarm, vec![(key, cpu)])
}

/// Ten of a hundred members speak at once, each at most `window` messages ahead of its slowest listener. The window
/// decides how much can be merged: with 20 the floors cost what the goals were set with, with 200 far less.
fn senders(lab: &Lab, key: &'static str, window: usize) -> Result {
    let (senders, messages) = (10, lab.pick(2000, 400));
    let server = lab.server()?;
    let mut swarm = room(&server, false, 90, senders)?;
    let (heard, cpu, start) = (swarm.heard(), server.cpu()?, Instant::now());
    let mut left = vec![messages; senders];
    while left.iter().any(|&left| left > 0) {
        for (sender, left) in left.iter_mut().enumerate() {
            let count = (*left).min(window - swarm.open(sender));
            if count >= (*left).min(window / 2) && count > 0 {
                swarm.say(sender, count);
                *left -= count;
            }
        }
        if !swarm.listen(start)? {
            break;
        }
    }
    swarm.finish()?;
    let cpu = micros(server.cpu()? - cpu, swarm.heard() - heard);
    let mut outcome = conclude(&mut swarm, vec![(key, cpu)])?;
    if left.iter().any(|&left| left > 0) {
        outcome.faults.push("senders waited in vain".into());
    }
    Ok(outcome)
}

/// What a message costs alone, when it is kept, and when it is written as well; and the memory for that.
fn history(lab: &Lab) -> Result {
    if lab.spec.name != "salon" {
        return Ok(Outcome::default());
    }
    let file = std::env::temp_dir().join(format!("salon-bench-history-{}", std::process::id()));
    let off = || lab.server_with(&[("SALON_HISTORY_MESSAGES", "0".into())], 200);
    let written = || lab.server_with(&[("SALON_HISTORY", file.display().to_string())], 200);
    let kept = || lab.server_with(&[("SALON_HISTORY_MESSAGES", "10000".into())], 200);
    let mut faults = Vec::new();
    // CPU time, and by how much memory has grown.
    let mut talk = |server: Server, rounds: u64| -> std::result::Result<(f64, f64), String> {
        let mut swarm = room(&server, false, 1, 1)?;
        swarm.idle(Duration::from_millis(200))?;
        let before = (server.cpu()?, server.resident()?);
        for _ in 0..rounds {
            swarm.say(0, 20);
            swarm.finish()?;
        }
        faults.extend(swarm.faults());
        let grown = server.resident()?.saturating_sub(before.1);
        Ok((micros(server.cpu()? - before.0, 20 * rounds), grown as f64))
    };
    // Below --event-burst.
    let rounds = lab.pick(200, 50);
    let mut figures = vec![
        ("history-off", talk(off()?, rounds)?.0),
        ("history-on", talk(lab.server()?, rounds)?.0),
        ("history-file", talk(written()?, rounds)?.0),
    ];
    for ending in ["", ".lock"] {
        let _ = fs::remove_file(format!("{}{ending}", file.display()));
    }
    // As many as --history-bytes lets stay.
    let many = 70;
    let (none, all) = (talk(off()?, many)?.1, talk(kept()?, many)?.1);
    figures.push(("history-bytes", (all - none).max(0.0) / (20 * many) as f64));
    let sessions = lab.pick(1000, 200);
    let mut crowd = |server: Server| -> std::result::Result<f64, String> {
        let before = server.resident()?;
        let mut swarm = room(&server, false, sessions, 1)?;
        swarm.idle(Duration::from_millis(200))?;
        faults.extend(swarm.faults());
        Ok(server.resident()?.saturating_sub(before) as f64)
    };
    let (without, with) = (crowd(off()?)?, crowd(lab.server()?)?);
    figures.push(("history-session", (with - without).max(0.0) / sessions as f64));
    Ok(Outcome { figures, faults })
}

/// Two servers on one Redis; at one of them one person speaks to another. Only salon has this.
fn cluster(lab: &Lab) -> Result {
    if lab.spec.name != "salon" {
        return Ok(Outcome::default());
    }
    let redis = lab.redis()?;
    let (alone, one, two) = (lab.server()?, lab.member(&redis)?, lab.member(&redis)?);
    let links = one.resident()?.saturating_sub(alone.resident()?);
    let rounds = lab.pick(200, 10);
    let mut faults = Vec::new();
    // What the servers spend while one says 20 things so often.
    let mut talk = |at: &Server| -> std::result::Result<[Duration; 2], String> {
        let mut swarm = room(at, false, 1, 1)?;
        swarm.idle(Duration::from_millis(200))?;
        let before = [at.cpu()?, two.cpu()?];
        for _ in 0..rounds {
            swarm.say(0, 20);
            swarm.finish()?;
        }
        swarm.idle(Duration::from_millis(200))?;
        faults.extend(swarm.faults());
        Ok([at.cpu()? - before[0], two.cpu()? - before[1]])
    };
    let [base, _] = talk(&alone)?;
    let [published, received] = talk(&one)?;
    let published = micros(published.saturating_sub(base), 20 * rounds);
    let received = micros(received, 20 * rounds);
    let figures = vec![("published", published), ("received", received), ("links-bytes", links as f64)];
    Ok(Outcome { figures, faults })
}

/// One chat on several servers behind a proxy: what the one spends that has most to do, and what stands around them. All
/// share a core here, so only CPU times mean something.
fn several(lab: &Lab) -> Result {
    if lab.spec.name != "salon" {
        return Ok(Outcome::default());
    }
    let file = std::env::temp_dir().join(format!("salon-bench-haproxy-{}", std::process::id()));
    let (mut figures, mut faults) = (Vec::new(), Vec::new());
    for (count, key) in [(1, "several-1"), (2, "several-2"), (4, "several-4")] {
        let redis = lab.redis()?;
        let servers = match count {
            1 => vec![lab.server()?],
            _ => (0..count).map(|_| lab.member(&redis)).collect::<std::result::Result<_, _>>()?,
        };
        let mut text = "global\n maxconn 4000\n nbthread 1\ndefaults\n mode http\n timeout connect 5s\n timeout client 60s\n \
                        timeout server 60s\n timeout tunnel 1h\nfrontend web\n bind \"127.0.0.1:${PORT}\"\n default_backend \
                        salon\nbackend salon\n balance leastconn\n"
            .to_owned();
        for (index, server) in servers.iter().enumerate() {
            text += &format!(" server n{index} {}\n", server.address);
        }
        fs::write(&file, text).map_err(|error| error.to_string())?;
        let proxy = lab.answering(lab.program(&format!("haproxy -db -f {}", file.display()))?, 200)?;
        let mut swarm = room(&proxy, false, lab.pick(1000, 100), 1)?;
        let all = || {
            let around = [&proxy, &redis];
            servers.iter().chain(around).map(Server::cpu).collect::<std::result::Result<Vec<_>, _>>()
        };
        let (before, messages) = (all()?, lab.pick(50, 10));
        for _ in 0..messages {
            swarm.say(0, 1);
            swarm.idle(Duration::from_millis(100))?;
        }
        swarm.finish()?;
        let spent = all()?.into_iter().zip(before).map(|(after, before)| micros(after - before, messages));
        let spent: Vec<f64> = spent.collect();
        figures.push((key, spent[..count].iter().copied().fold(0.0, f64::max)));
        if count == 4 {
            figures.extend([("several-proxy", spent[count]), ("several-redis", spent[count + 1])]);
        }
        faults.extend(swarm.faults());
    }
    let _ = fs::remove_file(file);
    Ok(Outcome { figures, faults })
}

/// So many connections at a time.
const CROWD: usize = 16;

fn repeat(lab: &Lab, key: &'static str, visit: fn(SocketAddr, usize) -> std::result::Result<(), String>) -> Result {
    let server = lab.server()?;
    each_crowd(lab, &server, key, lab.pick(2000, 160), || visit(server.address, CROWD))
}

fn page(lab: &Lab) -> Result {
    let server = lab.server()?;
    let mut readers = Readers::new(server.address, CROWD)?;
    each_crowd(lab, &server, "page", lab.pick(40_000, 800), || readers.read())
}

/// CPU time per visitor, after some that only warm up.
fn each_crowd(
    lab: &Lab, server: &Server, key: &'static str, count: usize,
    mut visit: impl FnMut() -> std::result::Result<(), String>,
) -> Result {
    (0..lab.pick(10, 1)).try_for_each(|_| visit())?;
    let cpu = server.cpu()?;
    (0..count / CROWD).try_for_each(|_| visit())?;
    // The last ones are still being buried.
    std::thread::sleep(Duration::from_millis(20));
    let visits = count / CROWD * CROWD;
    Ok(Outcome { figures: vec![(key, micros(server.cpu()? - cpu, visits as u64))], faults: Vec::new() })
}
