//! The generator: thousands of chat clients on one thread, and the check of everything that reaches them.
//!
//! epoll is level-triggered here: what one read left behind is reported again.

use crate::secure::Stream;
use crate::wire;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use rustls::ClientConfig;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Handshakes under way at a time; less than any server's backlog.
const PENDING: usize = 64;
/// Nothing has come for so long: what is missing is lost.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq)]
pub enum Transport {
    WebSocket,
    Polling,
}

/// What the next bytes of a connection are.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// The answer to the upgrade request; then `Frames`.
    Upgrade,
    Frames,
    /// Polling: the answer with the sid; then the one to a POST, to a GET, and so on.
    Handshake,
    Post,
    Get,
}

/// One session on one connection. A poller that has something to send does so between two GETs.
struct Member {
    stream: Option<Stream>,
    stage: Stage,
    live: bool,
    /// Incomplete input, unsent output.
    input: Vec<u8>,
    output: Vec<u8>,
    /// epoll is asked to say when the output can go on.
    stuck: bool,
    sid: String,
    pings: u32,
}

/// What the members have seen together.
#[derive(Default)]
pub struct Seen {
    pub live: usize,
    pub logins: usize,
    pub pings: u64,
    /// Bytes that servers have sent, heads included.
    pub bytes: u64,
    closed: usize,
    broken: Vec<String>,
    check: Check,
}

/// Every message must reach every member but its sender: once, whole, in the sender's order.
#[derive(Default)]
struct Check {
    members: usize,
    /// Senders are the last members.
    senders: usize,
    /// Number that member m expects from sender s next, at m * senders + s.
    next: Vec<u32>,
    /// Per sender and message: when it left, and how many have it.
    sent: Vec<Vec<(Instant, u32)>>,
    /// Per sender: messages that everybody has.
    done: Vec<usize>,
    heard: u64,
    last: Option<Instant>,
    own: u64,
    damaged: u64,
    doubled: u64,
    skipped: u64,
    latencies: Option<Vec<u32>>,
}

impl Check {
    fn message(&mut self, member: usize, packet: &[u8], now: Instant) {
        let (sender, number) = match wire::heard(packet) {
            None => return,
            Some(Ok((sender, number))) if sender < self.senders && number < self.sent[sender].len() => (sender, number),
            Some(_) => return self.damaged += 1,
        };
        if member == self.members - self.senders + sender {
            return self.own += 1;
        }
        let next = &mut self.next[member * self.senders + sender];
        let expected = *next as usize;
        if number < expected {
            return self.doubled += 1;
        }
        self.skipped += (number - expected) as u64;
        *next = number as u32 + 1;
        self.heard += 1;
        self.last = Some(now);
        let (left, have) = &mut self.sent[sender][number];
        *have += 1;
        if let Some(latencies) = &mut self.latencies {
            latencies.push(now.saturating_duration_since(*left).as_micros() as u32);
        }
        let done = &mut self.done[sender];
        while self.sent[sender].get(*done).is_some_and(|&(_, have)| have as usize == self.members - 1) {
            *done += 1;
        }
    }

    fn expected(&self) -> u64 {
        self.sent.iter().map(|sent| sent.len() as u64).sum::<u64>() * (self.members as u64 - 1)
    }
}

impl Member {
    /// Acts on all that is whole in `input`; returns how much that was.
    fn take(&mut self, id: usize, input: &[u8], now: Instant, seen: &mut Seen) -> Result<usize, String> {
        let mut used = 0;
        while used < input.len() {
            let rest = &input[used..];
            if self.stage == Stage::Frames {
                let Some(frame) = wire::frame(rest) else { break };
                used += frame.payload.end;
                match frame.opcode {
                    wire::CLOSE => return Err("was closed by the server".into()),
                    // uvicorn asks whether the connection lives, and closes it if nobody answers.
                    wire::PING => self.output.extend(wire::client_frame(wire::PONG, &rest[frame.payload])),
                    _ => self.packet(id, &rest[frame.payload], now, seen),
                }
                continue;
            }
            let Some(answer) = wire::answer(rest)? else { break };
            used += answer.used;
            if answer.status != if self.stage == Stage::Upgrade { 101 } else { 200 } {
                let body = String::from_utf8_lossy(&answer.body);
                return Err(format!("got {} {}", answer.status, body.chars().take(80).collect::<String>()));
            }
            match self.stage {
                Stage::Upgrade => self.stage = Stage::Frames,
                Stage::Post => self.poll(None),
                _ => {
                    let mut pong = false;
                    for packet in answer.body.split(|&byte| byte == 0x1e) {
                        pong |= packet == b"2";
                        if packet == b"1" {
                            return Err("was closed by the server".into());
                        }
                        self.packet(id, packet, now, seen);
                    }
                    match self.stage {
                        Stage::Handshake => self.poll(Some("40")),
                        _ if pong => self.poll(Some("3")),
                        _ => self.poll(None),
                    }
                }
            }
        }
        Ok(used)
    }

    fn poll(&mut self, body: Option<&str>) {
        self.stage = if body.is_some() { Stage::Post } else { Stage::Get };
        self.output.extend(wire::polling_request(Some(&self.sid), body));
    }

    fn packet(&mut self, id: usize, packet: &[u8], now: Instant, seen: &mut Seen) {
        let websocket = self.stage == Stage::Frames;
        match packet {
            [b'4', b'2', ..] => {
                if packet.starts_with(b"42[\"login\"") {
                    seen.logins += 1;
                }
                seen.check.message(id, packet, now);
            }
            b"2" => {
                self.pings += 1;
                seen.pings += 1;
                if websocket {
                    self.output.extend(wire::client_frame(wire::TEXT, b"3"));
                }
            }
            [b'0', ..] if websocket => self.output.extend(wire::client_frame(wire::TEXT, b"40")),
            [b'0', open @ ..] => {
                let open: serde_json::Value = serde_json::from_slice(open).unwrap_or_default();
                self.sid = open["sid"].as_str().unwrap_or("").to_string();
            }
            [b'4', b'0', ..] if !self.live => {
                self.live = true;
                seen.live += 1;
            }
            _ => {}
        }
    }
}

pub struct Swarm {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    epoll: Epoll,
    members: Vec<Member>,
    scratch: Vec<u8>,
    pub seen: Seen,
}

impl Swarm {
    pub fn new(address: SocketAddr) -> Result<Swarm, String> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|error| format!("epoll: {error}"))?;
        Ok(Swarm {
            address,
            tls: None,
            epoll,
            members: Vec::new(),
            scratch: vec![0; 256 * 1024],
            seen: Seen::default(),
        })
    }

    /// The same with TLS under every connection.
    pub fn over_tls(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<Swarm, String> {
        Ok(Swarm { tls: Some(Arc::clone(config)), ..Swarm::new(address)? })
    }

    /// Connects `count` more sessions and waits until they are members of the namespace.
    pub fn join(&mut self, transport: Transport, count: usize) -> Result<(), String> {
        let (goal, mut patience) = (self.members.len() + count, Instant::now());
        while self.seen.live < goal {
            while self.members.len() < goal && self.members.len() - self.seen.live < PENDING {
                self.connect(transport)?;
            }
            let before = self.seen.live;
            self.turn(Instant::now() + Duration::from_millis(100))?;
            if self.seen.live > before {
                patience = Instant::now();
            }
            if self.seen.closed > 0 || patience.elapsed() > PATIENCE {
                return Err(format!("{} of {goal} sessions came up{}", self.seen.live, self.closed()));
            }
        }
        Ok(())
    }

    fn connect(&mut self, transport: Transport) -> Result<(), String> {
        let stream = TcpStream::connect(self.address).map_err(|error| format!("connect: {error}"))?;
        stream.set_nonblocking(true).and(stream.set_nodelay(true)).map_err(|error| format!("connect: {error}"))?;
        let id = self.members.len();
        let event = EpollEvent::new(EpollFlags::EPOLLIN, id as u64);
        self.epoll.add(&stream, event).map_err(|error| format!("epoll: {error}"))?;
        let (stage, output) = match transport {
            Transport::WebSocket => (Stage::Upgrade, wire::upgrade_request(None)),
            Transport::Polling => (Stage::Handshake, wire::polling_request(None, None)),
        };
        self.members.push(Member {
            stream: Some(Stream::new(stream, self.tls.as_ref())?),
            stage,
            live: false,
            input: Vec::new(),
            output,
            stuck: false,
            sid: String::new(),
            pings: 0,
        });
        self.flush(id);
        Ok(())
    }

    /// Waits for bytes until `deadline` and acts on them: one turn.
    fn turn(&mut self, deadline: Instant) -> Result<(), String> {
        let mut events = [EpollEvent::empty(); 512];
        let wait = deadline.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
        let count = match self.epoll.wait(&mut events, wait.min(1000) as u16) {
            Err(nix::Error::EINTR) => 0,
            count => count.map_err(|error| format!("epoll: {error}"))?,
        };
        for event in &events[..count] {
            self.ready(event.data() as usize);
        }
        Ok(())
    }

    /// Lets time pass.
    pub fn idle(&mut self, time: Duration) -> Result<(), String> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn(end)?;
        }
        Ok(())
    }

    fn ready(&mut self, id: usize) {
        let member = &mut self.members[id];
        let Some(stream) = &mut member.stream else { return };
        let result = match stream.read(&mut self.scratch) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(0) => Err("was closed by the server".into()),
            Ok(count) => {
                let now = Instant::now();
                self.seen.bytes += count as u64;
                let mut joined = std::mem::take(&mut member.input);
                let input = if joined.is_empty() {
                    &self.scratch[..count]
                } else {
                    joined.extend(&self.scratch[..count]);
                    &joined
                };
                member.take(id, input, now, &mut self.seen).map(|used| member.input = input[used..].to_vec())
            }
        };
        match result {
            Ok(()) => self.flush(id),
            Err(why) => self.lose(id, why),
        }
    }

    fn lose(&mut self, id: usize, why: String) {
        self.members[id].stream = None;
        self.seen.closed += 1;
        self.seen.broken.push(format!("session {id} {why}"));
    }

    fn flush(&mut self, id: usize) {
        let member = &mut self.members[id];
        let Some(stream) = &mut member.stream else { return };
        if member.output.is_empty() {
            return;
        }
        match stream.write(&member.output) {
            Ok(count) if count == member.output.len() => member.output = Vec::new(),
            Ok(count) => drop(member.output.drain(..count)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return self.lose(id, error.to_string()),
        }
        if member.stuck == member.output.is_empty() {
            member.stuck = !member.stuck;
            let interest = if member.stuck { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
            let _ = self.epoll.modify(stream.socket(), &mut EpollEvent::new(interest, id as u64));
        }
    }

    /// From here on the last `senders` members send; they take names and wait until the others have heard of it.
    pub fn appoint(&mut self, senders: usize) -> Result<(), String> {
        let members = self.members.len();
        self.seen.check = Check {
            members,
            senders,
            next: vec![0; members * senders],
            sent: vec![Vec::new(); senders],
            done: vec![0; senders],
            ..Check::default()
        };
        for sender in 0..senders {
            let packet = format!("42[\"add user\",\"{}\"]", wire::name(sender));
            self.send(sender, &wire::client_frame(wire::TEXT, packet.as_bytes()));
        }
        let start = Instant::now();
        while self.seen.logins < senders {
            self.turn(Instant::now() + Duration::from_millis(100))?;
            if start.elapsed() > PATIENCE {
                return Err(format!("{} of {senders} senders got `login`{}", self.seen.logins, self.closed()));
            }
        }
        self.idle(Duration::from_millis(300))
    }

    fn send(&mut self, sender: usize, bytes: &[u8]) {
        let id = self.members.len() - self.seen.check.senders + sender;
        self.members[id].output.extend(bytes);
        self.flush(id);
    }

    /// One sender says `count` things, each in a write of its own, as clients do.
    pub fn say(&mut self, sender: usize, count: usize) {
        for _ in 0..count {
            let sent = &mut self.seen.check.sent[sender];
            let frame = wire::client_frame(wire::TEXT, wire::said(sender, sent.len()).as_bytes());
            sent.push((Instant::now(), 0));
            self.send(sender, &frame);
        }
    }

    /// Messages of this sender that somebody still lacks.
    pub fn open(&self, sender: usize) -> usize {
        self.seen.check.sent[sender].len() - self.seen.check.done[sender]
    }

    /// Waits for bytes; false if none that count have come for a long time.
    pub fn listen(&mut self, since: Instant) -> Result<bool, String> {
        self.turn(Instant::now() + Duration::from_millis(100))?;
        Ok(self.seen.check.last.unwrap_or(since).max(since).elapsed() < PATIENCE)
    }

    /// Waits until all is heard, or for so long that the rest must be lost.
    pub fn finish(&mut self) -> Result<(), String> {
        let start = Instant::now();
        while self.seen.check.heard < self.seen.check.expected() && self.listen(start)? {}
        Ok(())
    }

    /// Deliveries so far.
    pub fn heard(&self) -> u64 {
        self.seen.check.heard
    }

    /// From here on latencies are kept; what was kept is returned, in microseconds.
    pub fn latencies(&mut self) -> Vec<u32> {
        self.seen.check.latencies.replace(Vec::new()).unwrap_or_default()
    }

    /// Members that got another number of pings than `count`.
    pub fn pinged_other_than(&self, count: u32) -> usize {
        self.members.iter().filter(|member| member.pings != count).count()
    }

    fn closed(&self) -> String {
        match self.seen.broken.first() {
            Some(first) => format!("; {} sessions broke: {first}", self.seen.closed),
            None => String::new(),
        }
    }

    /// What went wrong, in words; `None` if nothing did.
    pub fn faults(&self) -> Option<String> {
        let check = &self.seen.check;
        let missing = if check.members == 0 { 0 } else { check.expected() - check.heard };
        let mut faults: Vec<String> = [
            (missing, "lost"),
            (check.doubled, "doubled or late"),
            (check.skipped, "skipped"),
            (check.own, "sent back to their sender"),
            (check.damaged, "damaged"),
            (self.seen.closed as u64, "sessions broke"),
        ]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
        faults.extend(self.seen.broken.first().cloned());
        (!faults.is_empty()).then(|| faults.join(", "))
    }
}
