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

use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// One message of Redis; longer, and the link is given up. Far above what is taken from one publication.
const MAX_INPUT: usize = 16 * 1024 * 1024;
/// How long a name may take to become an address.
const RESOLVE_TIME: Duration = Duration::from_secs(5);
/// A link without a byte for this long is asked; Azure closes one after ten idle minutes.
const QUIET: Duration = Duration::from_secs(15);
/// How long a link that owes us an answer may be silent; of the greeting, with connecting and TLS.
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
pub enum RedisReply {
    /// `OK`, `PONG`, a number, or (of PING and SUBSCRIBE on a subscribed link) an array of those.
    Fine,
    /// A publication: channel and content.
    Message(Vec<u8>, Vec<u8>),
    /// It does not do what it was asked.
    Error(String),
}

/// Takes one reply from the start of `bytes`: it, and how long it is; `None` if the rest is still to come.
pub fn reply(bytes: &[u8]) -> Result<Option<(RedisReply, usize)>, &'static str> {
    let Some(b'*') = bytes.first() else {
        let frame = decode(bytes).map_err(|_| "this is no RESP")?;
        return Ok(frame.map(|(frame, length)| match frame {
            OwnedFrame::Error(text) => (RedisReply::Error(text), length),
            _ => (RedisReply::Fine, length),
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
        b"message" => RedisReply::Message(text(elements.next()), text(elements.next())),
        b"pmessage" => RedisReply::Message(text(elements.nth(1)), text(elements.next())),
        _ => RedisReply::Fine,
    };
    Ok(Some((reply, used)))
}

/// A command as Redis reads it. By hand: the crate counts digits with a logarithm, for which every process would load the C
/// library's mathematics (measured: 144 KiB more resident at the start).
pub fn command(words: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words.iter().map(AsRef::as_ref) {
        out.extend([format!("${}\r\n", word.len()).as_bytes(), word, b"\r\n"].concat());
    }
    out
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkState {
    /// Until when it rests.
    Down(Instant),
    /// The time by which it must have gone on.
    Resolving(Instant),
    Greeting,
    Up,
}

/// What is to be done next for a link.
#[derive(Debug, PartialEq, Eq)]
pub enum LinkStep {
    /// Find the addresses of the host.
    Resolve,
    /// Open a connection there, and send this.
    Connect(SocketAddr, Vec<u8>),
    Send(Vec<u8>),
    Close,
}

/// Why a link is of no use.
#[derive(Debug, PartialEq, Eq)]
pub struct LinkFailure {
    pub why: String,
    /// Trying again at once is of no use either.
    pub refused: bool,
}

impl<T: Into<String>> From<T> for LinkFailure {
    fn from(why: T) -> LinkFailure {
        LinkFailure { why: why.into(), refused: false }
    }
}

/// One link.
pub struct Link {
    /// What is sent first: one command an entry, each with one answer.
    greeting: Vec<Vec<u8>>,
    state: LinkState,
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
    pub fn new(greeting: Vec<Vec<u8>>, now: Instant) -> Link {
        Link {
            greeting,
            state: LinkState::Down(now),
            addresses: Vec::new(),
            owed: VecDeque::new(),
            unanswered: 0,
            heard: now,
            failures: 0,
        }
    }

    /// Whether publications can be sent, or come in.
    pub fn is_up(&self) -> bool {
        self.state == LinkState::Up
    }

    /// Bytes of publications that Redis has not acknowledged.
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// When [`Link::expire`] wants to be called.
    pub fn due(&self) -> Instant {
        match (self.state, self.owed.front()) {
            (LinkState::Down(at) | LinkState::Resolving(at), _) => at,
            // Not a PUBLISH: publications may come in for long before the answer does, and are signs of life.
            (_, Some((at, 0))) => self.heard.max(*at) + ANSWER_TIME,
            (_, Some((at, _))) => *at + ANSWER_TIME,
            (_, None) => self.heard + QUIET,
        }
    }

    /// Goes on, if it is time.
    pub fn expire(&mut self, now: Instant) -> Result<Option<LinkStep>, LinkFailure> {
        if now < self.due() {
            return Ok(None);
        }
        match self.state {
            LinkState::Down(_) => {
                self.state = LinkState::Resolving(now + RESOLVE_TIME);
                Ok(Some(LinkStep::Resolve))
            }
            LinkState::Resolving(_) => Err("the look-up of the host's name takes too long".into()),
            LinkState::Greeting => Err("no connection in time".into()),
            LinkState::Up if !self.owed.is_empty() => Err("it does not answer".into()),
            LinkState::Up => {
                self.owed.push_back((now, 0));
                Ok(Some(LinkStep::Send(command(&["PING"]))))
            }
        }
    }

    /// The addresses of the host are known, or why not.
    pub fn resolved(
        &mut self, found: io::Result<Vec<SocketAddr>>, now: Instant,
    ) -> Result<Option<LinkStep>, LinkFailure> {
        let LinkState::Resolving(_) = self.state else { return Ok(None) };
        self.addresses = found.map_err(|error| error.to_string())?;
        self.addresses.reverse();
        self.connect(now).map(Some).ok_or("its name has no address".into())
    }

    fn connect(&mut self, now: Instant) -> Option<LinkStep> {
        let address = self.addresses.pop()?;
        self.state = LinkState::Greeting;
        self.owed = self.greeting.iter().map(|_| (now, 0)).collect();
        self.heard = now;
        Some(LinkStep::Connect(address, self.greeting.concat()))
    }

    /// The connection has failed, or is to be given up. Tries the next address at once, or rests; `random` keeps the
    /// processes of a cluster from coming back all at the same moment.
    pub fn failed(&mut self, refused: bool, random: u64, now: Instant) -> Option<LinkStep> {
        self.owed.clear();
        self.unanswered = 0;
        if !self.is_up() && !refused && !self.addresses.is_empty() {
            return self.connect(now);
        }
        let rest = RETRY.saturating_mul(1 << self.failures.min(10)).min(SLOWEST_RETRY);
        let rest = if refused { SLOWEST_RETRY } else { rest };
        self.failures += 1;
        self.state = LinkState::Down(now + rest.mul_f64(0.75 + 0.5 * (random % 1024) as f64 / 1024.0));
        None
    }

    /// A PUBLISH of so many bytes was sent.
    pub fn published(&mut self, bytes: usize, now: Instant) {
        self.owed.push_back((now, bytes));
        self.unanswered += bytes;
    }

    /// Takes one reply from the start of `bytes`: it, and how long it is; `None` if the rest is still to come.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) -> Result<Option<(RedisReply, usize)>, LinkFailure> {
        self.heard = now;
        let Some((reply, used)) = reply(bytes)? else {
            return if bytes.len() > MAX_INPUT { Err("a message above all limits".into()) } else { Ok(None) };
        };
        if !matches!(reply, RedisReply::Message(..)) {
            let (_, bytes) = self.owed.pop_front().ok_or("it answers what nobody has asked")?;
            self.unanswered -= bytes;
            match (self.state, &reply) {
                (LinkState::Greeting, RedisReply::Error(text)) => {
                    let refused = ["NOAUTH", "WRONGPASS", "NOPERM", "ERR"].iter().any(|code| text.starts_with(code));
                    return Err(LinkFailure { why: format!("it refuses us: {text}"), refused });
                }
                (LinkState::Greeting, _) if self.owed.is_empty() => {
                    self.state = LinkState::Up;
                    self.failures = 0;
                    self.addresses.clear();
                }
                _ => {}
            }
        }
        Ok(Some((reply, used)))
    }
}
