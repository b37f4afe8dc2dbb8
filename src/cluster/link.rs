//! The state of one connection to Redis: login, subscriptions, keepalive, timeouts, and retries with backoff.
//!
//! ```text
//!   Down --retry--> Resolving --addresses--> Greeting --all answered--> Up
//!    ^                  |                        |                       |
//!    +------------------+------- failure --------+-----------------------+
//! ```
//!
//! Each node has two links, one to publish and one to subscribe: in RESP2 a connection with subscriptions cannot PUBLISH.
//! The greeting is AUTH and SELECT, if the URL needs them, then PING or (P)SUBSCRIBE, sent in one piece. Redis answers
//! commands in order, so a reply belongs to the oldest entry of `unanswered`. After a failed attempt the next address is
//! tried; if none is left, the link is `Down` until the retry. Sources: Redis documentation, "Pub/sub", pages of commands.

use super::resp::{MAX_REPLY, RedisReply, command, reply};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Maximum time for a name lookup.
const RESOLVE_TIME: Duration = Duration::from_secs(5);
/// If Redis has sent nothing for this time, it is sent a PING. So a link whose peer has vanished without a FIN fails soon,
/// and Azure, which closes connections after ten idle minutes, keeps the link open.
const IDLE_TIME: Duration = Duration::from_secs(15);
/// Maximum time for a reply; for the greeting, this includes connecting and TLS.
const REPLY_TIME: Duration = Duration::from_secs(10);
/// Delay before the first retry. It doubles with every failure, up to `MAX_RETRY_DELAY`, and varies by up to a quarter.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// Maximum retry delay, before it is varied. Also the delay after a refusal (a wrong password): only an operator can help.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(10);

/// The purpose of a link. Its value is the index of the link in arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Publish = 0,
    Subscribe = 1,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkState {
    /// Waits for the next attempt, due at this time.
    Down(Instant),
    /// Waits for the name lookup, until this deadline.
    Resolving(Instant),
    Greeting,
    Up,
}

/// The next step that a link needs, if any. `Err` is a failure, after which the caller must call [`Link::fail`].
pub type NextStep = Result<Option<LinkStep>, LinkFailure>;

#[derive(Debug, PartialEq, Eq)]
pub enum LinkStep {
    /// The caller must look up the addresses of the host and pass them to [`Link::resolved`].
    Resolve,
    /// The caller must open a connection to this address and send these bytes, the greeting, on it.
    Connect(SocketAddr, Vec<u8>),
    Send(Vec<u8>),
}

/// The reason why the connection of a link could not be made or must be closed.
#[derive(Debug, PartialEq, Eq)]
pub struct LinkFailure {
    pub why: String,
    /// Whether Redis has refused the login or a subscription, so that retrying soon is useless.
    pub refused: bool,
}

impl<T: Into<String>> From<T> for LinkFailure {
    fn from(why: T) -> LinkFailure {
        LinkFailure { why: why.into(), refused: false }
    }
}

struct Unanswered {
    sent: Instant,
    /// The bytes that the command counts as in the queue of the connection if it is a PUBLISH, else 0.
    published: usize,
    /// The number of the publication: see [`Publication::number`](crate::socketio::Publication::number).
    number: Option<u64>,
}

/// The state of one link; its connection belongs to `server/cluster`.
pub struct Link {
    /// The commands that a new connection begins with.
    greeting: Vec<Vec<u8>>,
    state: LinkState,
    /// Addresses of the host that have not been tried yet; the last element is tried next.
    addresses: Vec<SocketAddr>,
    unanswered: VecDeque<Unanswered>,
    /// The sum of `published` of all entries of `unanswered`.
    pub unanswered_bytes: usize,
    /// The numbers of publications that could not be sent or that Redis has not confirmed.
    pub unconfirmed: BTreeSet<u64>,
    /// The time at which the last byte from Redis arrived.
    pub heard: Instant,
    /// How often the link has become `Down` since it was last up.
    failures: u32,
}

impl Link {
    /// Returns a link that connects at `now` and then sends `greeting`: commands with exactly one reply each.
    pub fn new(greeting: Vec<Vec<u8>>, now: Instant) -> Link {
        Link {
            greeting,
            state: LinkState::Down(now),
            addresses: Vec::new(),
            unanswered: VecDeque::new(),
            unanswered_bytes: 0,
            unconfirmed: BTreeSet::new(),
            heard: now,
            failures: 0,
        }
    }

    /// Whether the greeting is answered, so that publications can be sent or arrive.
    pub fn is_up(&self) -> bool {
        self.state == LinkState::Up
    }

    /// Returns the time at which [`Link::expire`] is to be called.
    pub fn due(&self) -> Instant {
        match (self.state, self.unanswered.front()) {
            (LinkState::Down(at) | LinkState::Resolving(at), _) => at,
            // `published: 0` means a PING or a command of the greeting, such as SUBSCRIBE. Many publications may arrive
            // before its reply; each one shows that Redis is alive, and so extends the deadline.
            (_, Some(Unanswered { sent, published: 0, .. })) => self.heard.max(*sent) + REPLY_TIME,
            (_, Some(Unanswered { sent, .. })) => *sent + REPLY_TIME,
            (_, None) => self.heard + IDLE_TIME,
        }
    }

    /// Handles the deadline that [`Link::due`] returns, if it has passed.
    pub fn expire(&mut self, now: Instant) -> NextStep {
        if now < self.due() {
            return Ok(None);
        }
        match self.state {
            LinkState::Down(_) => {
                self.state = LinkState::Resolving(now + RESOLVE_TIME);
                Ok(Some(LinkStep::Resolve))
            }
            LinkState::Resolving(_) => Err("the name lookup timed out".into()),
            LinkState::Greeting => Err("the connection attempt timed out".into()),
            LinkState::Up if !self.unanswered.is_empty() => Err("Redis does not answer".into()),
            LinkState::Up => {
                self.unanswered.push_back(Unanswered { sent: now, published: 0, number: None });
                Ok(Some(LinkStep::Send(command(&["PING"]))))
            }
        }
    }

    /// Handles the result of the name lookup, if the link still waits for one.
    pub fn resolved(&mut self, found: io::Result<Vec<SocketAddr>>, now: Instant) -> NextStep {
        let LinkState::Resolving(_) = self.state else { return Ok(None) };
        self.addresses = found.map_err(|error| error.to_string())?;
        self.addresses.reverse();
        self.connect(now).map(Some).ok_or("the name has no address".into())
    }

    fn connect(&mut self, now: Instant) -> Option<LinkStep> {
        let address = self.addresses.pop()?;
        self.state = LinkState::Greeting;
        let unanswered = |_| Unanswered { sent: now, published: 0, number: None };
        self.unanswered = self.greeting.iter().map(unanswered).collect();
        self.heard = now;
        Some(LinkStep::Connect(address, self.greeting.concat()))
    }

    /// Handles a failure. Returns the step that connects to the next address; if none is left, or Redis has `refused` the
    /// link, schedules a retry and returns `None`. `random` varies the delay, so that nodes do not reconnect all at once.
    pub fn fail(&mut self, refused: bool, random: u64, now: Instant) -> Option<LinkStep> {
        self.unconfirmed.extend(self.unanswered.drain(..).filter_map(|unanswered| unanswered.number));
        self.unanswered_bytes = 0;
        if !self.is_up() && !refused && !self.addresses.is_empty() {
            return self.connect(now);
        }
        let backoff = RETRY_DELAY.saturating_mul(1 << self.failures.min(10)).min(MAX_RETRY_DELAY);
        let delay = if refused { MAX_RETRY_DELAY } else { backoff };
        self.failures += 1;
        self.state = LinkState::Down(now + delay.mul_f64(0.75 + 0.5 * (random % 1024) as f64 / 1024.0));
        None
    }

    /// Records that a PUBLISH command is sent, which counts as `bytes` in the queue of the connection.
    pub fn published(&mut self, bytes: usize, number: Option<u64>, now: Instant) {
        self.unanswered.push_back(Unanswered { sent: now, published: bytes, number });
        self.unanswered_bytes += bytes;
    }

    /// Parses the reply at the start of `bytes` and updates the state of the link. Returns the reply and its length, or
    /// `None` if the reply is incomplete. `Err` is a failure of the link.
    pub fn receive<'a>(
        &mut self, bytes: &'a [u8], now: Instant,
    ) -> Result<Option<(RedisReply<'a>, usize)>, LinkFailure> {
        self.heard = now;
        let Some((reply, used)) = reply(bytes)? else {
            return if bytes.len() > MAX_REPLY { Err("a reply that is too long".into()) } else { Ok(None) };
        };
        if let RedisReply::Message(..) = reply {
            return Ok(Some((reply, used)));
        }
        let Unanswered { published, number, .. } = self.unanswered.pop_front().ok_or("a reply without a command")?;
        self.unanswered_bytes -= published;
        if let RedisReply::Error(_) = reply {
            self.unconfirmed.extend(number);
        }
        if self.state == LinkState::Greeting {
            if let RedisReply::Error(text) = &reply {
                let refused = ["NOAUTH", "WRONGPASS", "NOPERM", "ERR"].iter().any(|code| text.starts_with(code));
                return Err(LinkFailure { why: format!("Redis refuses the connection: {text:?}"), refused });
            }
            if self.unanswered.is_empty() {
                self.state = LinkState::Up;
                self.failures = 0;
                self.addresses.clear();
            }
        }
        Ok(Some((reply, used)))
    }
}
