//! One connection to Redis: how it begins, how one sees that it is dead, and when it is tried again.
//!
//! ```text
//!   Down --retry--> Resolving --addresses--> Greeting --all answered--> Up
//!    ^                  |                        |                       |
//!    +------------------+------- failure --------+-----------------------+
//! ```
//!
//! A cluster has two: one publishes, the other is subscribed and, in RESP2, can do nothing else. Greeting is AUTH, SELECT
//! and (P)SUBSCRIBE or PING, sent in one piece. An answer is known by its place: `owed` has what we wait for.
//! Sources: the Redis documentation, "Redis serialization protocol specification", "Pub/sub", and the commands' pages.

use crate::config::RedisUrl;
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::encode::extend_encode_borrowed;
use redis_protocol::resp2::types::{BorrowedFrame, OwnedFrame};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a name may take to become an address.
const RESOLVE_TIME: Duration = Duration::from_secs(5);
/// A link without a byte for this long is asked; Azure closes one after ten idle minutes.
const QUIET: Duration = Duration::from_secs(15);
/// How long the answer to a command may take; of the greeting, with connecting and TLS.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// From the first retry to the slowest, which also follows a refusal: somebody has to change a password first.
const RETRY: Duration = Duration::from_millis(100);
const SLOWEST_RETRY: Duration = Duration::from_secs(10);

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Publish = 0,
    Subscribe = 1,
}

/// Something that Redis sends.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// `OK`, `PONG`, a number, or (of PING and SUBSCRIBE on a subscribed link) an array of those.
    Fine,
    /// A publication: channel and content.
    Message(Vec<u8>, Vec<u8>),
    /// It does not do what it was asked.
    Error(String),
}

/// Takes one reply from the start of `bytes`: it, and how long it is; `None` if the rest is still to come.
pub fn reply(bytes: &[u8]) -> Result<Option<(Reply, usize)>, &'static str> {
    let Some(b'*') = bytes.first() else {
        let frame = decode(bytes).map_err(|_| "this is no RESP")?;
        return Ok(frame.map(|(frame, length)| match frame {
            OwnedFrame::Error(text) => (Reply::Error(text), length),
            _ => (Reply::Fine, length),
        }));
    };
    // Array by hand, elements by the crate: it would follow arrays in arrays until the stack is used up, and Redis has
    // no need of any here.
    let Some(line) = bytes.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() > 16 { Err("an endless number") } else { Ok(None) };
    };
    let count = str::from_utf8(&bytes[1..line]).ok().and_then(|digits| digits.trim_end().parse().ok());
    let count: usize = count.filter(|count| *count <= 4).ok_or("an array that is no reply of publish and subscribe")?;
    let (mut elements, mut used) = (Vec::new(), line + 1);
    for _ in 0..count {
        if bytes.get(used) == Some(&b'*') {
            return Err("an array in an array");
        }
        let Some((element, length)) = decode(&bytes[used..]).map_err(|_| "this is no RESP")? else { return Ok(None) };
        elements.push(element);
        used += length;
    }
    let text = |element: Option<OwnedFrame>| match element {
        Some(OwnedFrame::BulkString(bytes) | OwnedFrame::SimpleString(bytes)) => bytes,
        _ => Vec::new(),
    };
    let mut elements = elements.into_iter();
    let reply = match &*text(elements.next()) {
        b"message" => Reply::Message(text(elements.next()), text(elements.next())),
        b"pmessage" => Reply::Message(text(elements.nth(1)), text(elements.next())),
        _ => Reply::Fine,
    };
    Ok(Some((reply, used)))
}

/// A command as Redis reads it.
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let words: Vec<_> = words.iter().map(|word| BorrowedFrame::BulkString(word)).collect();
    let mut out = bytes::BytesMut::new();
    extend_encode_borrowed(&mut out, &BorrowedFrame::Array(&words), false).expect("memory takes a command");
    out.into()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Until when it rests.
    Down(Instant),
    /// The time by which it must have gone on.
    Resolving(Instant),
    Greeting,
    Up,
}

/// What the cluster does next with a link.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Finds the addresses of the host.
    Resolve,
    /// Opens a connection there, and sends this.
    Connect(SocketAddr, Vec<u8>),
    /// Sends this.
    Send(Vec<u8>),
    /// Closes the connection, because of this; `refused`: trying again at once is of no use.
    Fail { why: String, refused: bool },
}

/// One link.
pub struct Link {
    role: Role,
    state: State,
    /// Addresses of the host that are not tried yet, the next at the end.
    addresses: Vec<SocketAddr>,
    /// The answers we wait for: when each command was sent, and of a publication how long it was.
    owed: VecDeque<(Instant, usize)>,
    /// Bytes of publications that are not answered yet.
    unanswered: usize,
    /// When the last byte came.
    heard: Instant,
    /// Failures since it was up.
    failures: u32,
}

impl Link {
    /// A link that is tried at `now` for the first time.
    pub fn new(role: Role, now: Instant) -> Link {
        Link {
            role,
            state: State::Down(now),
            addresses: Vec::new(),
            owed: VecDeque::new(),
            unanswered: 0,
            heard: now,
            failures: 0,
        }
    }

    /// Whether publications can be sent, or come in.
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// Bytes of publications that Redis has not acknowledged.
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// When [`Link::expire`] wants to be called.
    pub fn due(&self) -> Instant {
        match (self.state, self.owed.front()) {
            (State::Down(at) | State::Resolving(at), _) => at,
            // Publications may come in for long before the answer does, and are signs of life.
            (_, Some((at, _))) if self.role == Role::Subscribe => self.heard.max(*at) + ANSWER_TIME,
            (_, Some((at, _))) => *at + ANSWER_TIME,
            (_, None) => self.heard + QUIET,
        }
    }

    /// Goes on, if it is time.
    pub fn expire(&mut self, now: Instant) -> Option<Step> {
        if now < self.due() {
            return None;
        }
        let fail = |why: &str| Some(Step::Fail { why: why.into(), refused: false });
        match self.state {
            State::Down(_) => {
                self.state = State::Resolving(now + RESOLVE_TIME);
                Some(Step::Resolve)
            }
            State::Resolving(_) => fail("the look-up of the host's name takes too long"),
            State::Greeting => fail("no connection in time"),
            State::Up if !self.owed.is_empty() => fail("it does not answer"),
            State::Up => {
                self.owed.push_back((now, 0));
                Some(Step::Send(command(&[b"PING"])))
            }
        }
    }

    /// The addresses of the host are known.
    pub fn resolved(&mut self, mut addresses: Vec<SocketAddr>, greeting: Vec<Vec<u8>>, now: Instant) -> Option<Step> {
        let State::Resolving(_) = self.state else { return None };
        addresses.reverse();
        self.addresses = addresses;
        self.connect(greeting, now)
    }

    fn connect(&mut self, greeting: Vec<Vec<u8>>, now: Instant) -> Option<Step> {
        let address = self.addresses.pop()?;
        self.state = State::Greeting;
        self.owed = greeting.iter().map(|_| (now, 0)).collect();
        self.heard = now;
        Some(Step::Connect(address, greeting.concat()))
    }

    /// The connection has failed, or is to be given up. Tries the next address at once, or rests; `random` keeps the
    /// processes of a cluster from coming back all at the same moment.
    pub fn failed(&mut self, refused: bool, greeting: Vec<Vec<u8>>, random: u64, now: Instant) -> Option<Step> {
        self.owed.clear();
        self.unanswered = 0;
        if !self.is_up() && !refused && !self.addresses.is_empty() {
            return self.connect(greeting, now);
        }
        let rest = RETRY.saturating_mul(1 << self.failures.min(10)).min(SLOWEST_RETRY);
        let rest = if refused { SLOWEST_RETRY } else { rest };
        self.failures += 1;
        self.state = State::Down(now + rest.mul_f64(0.75 + 0.5 * (random % 1024) as f64 / 1024.0));
        None
    }

    /// A PUBLISH of so many bytes was sent.
    pub fn published(&mut self, bytes: usize, now: Instant) {
        self.owed.push_back((now, bytes));
        self.unanswered += bytes;
    }

    /// Bytes have come, be it part of a message.
    pub fn hear(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Takes a reply. Returns whether the link has just come up, or why it is of no use.
    pub fn receive(&mut self, reply: &Reply) -> Result<bool, Step> {
        if matches!(reply, Reply::Message(..)) {
            return Ok(false);
        }
        let Some((_, bytes)) = self.owed.pop_front() else {
            return Err(Step::Fail { why: "it answers what nobody has asked".into(), refused: false });
        };
        self.unanswered -= bytes;
        match (self.state, reply) {
            (State::Greeting, Reply::Error(text)) => {
                let refused = ["NOAUTH", "WRONGPASS", "NOPERM", "ERR"].iter().any(|code| text.starts_with(code));
                Err(Step::Fail { why: format!("it refuses us: {text}"), refused })
            }
            (State::Greeting, _) if self.owed.is_empty() => {
                self.state = State::Up;
                self.failures = 0;
                self.addresses.clear();
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// What is sent first: one command an entry, each with one answer.
    pub fn greeting(&self, url: &RedisUrl, patterns: &[String], channels: &[String]) -> Vec<Vec<u8>> {
        let mut greeting = Vec::new();
        let database = url.database.to_string();
        match (&url.user, &url.password) {
            (Some(user), Some(password)) => greeting.push(command(&[b"AUTH", user.as_bytes(), password.as_bytes()])),
            (None, Some(password)) => greeting.push(command(&[b"AUTH", password.as_bytes()])),
            _ => {}
        }
        if url.database > 0 {
            greeting.push(command(&[b"SELECT", database.as_bytes()]));
        }
        match self.role {
            Role::Publish => greeting.push(command(&[b"PING"])),
            // One by one, so that each has one answer.
            Role::Subscribe => {
                greeting.extend(patterns.iter().map(|name| command(&[b"PSUBSCRIBE", name.as_bytes()])));
                greeting.extend(channels.iter().map(|name| command(&[b"SUBSCRIBE", name.as_bytes()])));
            }
        }
        greeting
    }
}
