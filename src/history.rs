//! The last messages of the chat, by number, for those who ask.
//!
//! A message is kept as the bytes that its broadcast was made of, so it costs little more than a reference to them. A
//! position is the id of a history and the number of a message in it: numbers grow and never name two messages.

use crate::config::Config;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// What a kept message costs besides its bytes, roughly: itself, its entry in `known`, and the rest of its packet.
const OVERHEAD: usize = 192;
/// Bytes of messages in one answer: far below what may be queued for one client.
const MAX_ANSWER: usize = 256 * 1024;
/// Above this, numbers of JavaScript are not exact.
const MAX_EXACT: u64 = 1 << 53;

/// What a message has got when it was taken, and what its sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stamp {
    /// Its number in the history of this server.
    pub n: u64,
    /// Milliseconds since 1970, by the clock of the server that took it first.
    pub time: u64,
}

/// Which messages are asked for: all after a position, or the last; all that are kept, if nothing is said.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    pub since: Option<Position>,
    pub last: Option<usize>,
}

/// A place between two messages.
#[derive(Debug, Deserialize)]
pub struct Position {
    pub boot: String,
    /// The message before it.
    pub n: u64,
}

/// Messages, oldest first.
#[derive(Debug, Serialize)]
pub struct Answer<'a> {
    pub boot: &'a str,
    /// The newest message there is.
    pub n: u64,
    pub messages: Vec<&'a RawValue>,
    /// Between the position asked for and the first of these, something may be missing.
    pub gap: bool,
    /// Behind the last of these there are more.
    pub more: bool,
}

struct Kept {
    n: u64,
    /// Under which it is in `known`.
    key: u64,
    /// An object with `n` in it.
    json: Bytes,
}

/// The last messages.
pub struct History {
    boot: String,
    limits: [usize; 2],
    messages: VecDeque<Kept>,
    bytes: usize,
    /// By sender and id. Of 64 bits that nobody can choose two are never the same among so few, so they stand for both.
    known: HashMap<u64, Stamp>,
    hasher: RandomState,
    /// The number that was given last.
    last: u64,
    /// The newest message that is no longer here.
    dropped: u64,
}

impl History {
    /// No messages yet.
    pub fn new(config: &Config) -> History {
        History {
            boot: String::new(),
            limits: [config.history_messages, config.history_bytes],
            messages: VecDeque::new(),
            bytes: 0,
            known: HashMap::new(),
            hasher: RandomState::new(),
            last: 0,
            dropped: 0,
        }
    }

    /// What this history is called; before the first message.
    pub fn begin(&mut self, boot: String) {
        self.boot = boot;
    }

    /// Whether anything is kept at all.
    pub fn is_on(&self) -> bool {
        self.limits[0] > 0
    }

    /// Messages that are kept, and the bytes they count as.
    pub fn load(&self) -> [usize; 2] {
        [self.messages.len(), self.bytes]
    }

    /// The message that this sender has sent under this id before.
    pub fn known(&self, sender: &str, id: &str) -> Option<Stamp> {
        self.known.get(&self.hasher.hash_one((sender, id))).copied()
    }

    /// The number of the next message.
    pub fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Keeps a message, and drops the oldest that are beyond the limits.
    pub fn keep(&mut self, stamp: Stamp, sender: &str, id: &str, json: Bytes) {
        if !self.is_on() {
            return;
        }
        let key = self.hasher.hash_one((sender, id));
        self.known.insert(key, stamp);
        self.bytes += json.len() + OVERHEAD;
        self.messages.push_back(Kept { n: stamp.n, key, json });
        while (self.messages.len() > self.limits[0] || self.bytes > self.limits[1])
            && let Some(oldest) = self.messages.pop_front()
        {
            self.bytes -= oldest.json.len() + OVERHEAD;
            self.known.remove(&oldest.key);
            self.dropped = oldest.n;
        }
    }

    /// What was asked for.
    pub fn answer(&self, wanted: &Wanted) -> Answer<'_> {
        let known = wanted.since.as_ref().filter(|since| since.boot == self.boot && since.n <= self.last);
        let first = match (known, wanted.last) {
            (Some(since), _) => self.messages.partition_point(|message| message.n <= since.n),
            (None, Some(last)) => self.messages.len().saturating_sub(last),
            (None, None) => 0,
        };
        let mut answer = Answer {
            boot: &self.boot,
            n: self.last,
            messages: Vec::new(),
            gap: wanted.since.is_some() && known.is_none_or(|since| since.n < self.dropped),
            more: false,
        };
        let mut room = MAX_ANSWER;
        for message in self.messages.range(first..) {
            let size = message.json.len();
            answer.more = size > room && !answer.messages.is_empty();
            if answer.more {
                break;
            }
            room = room.saturating_sub(size);
            answer.messages.push(serde_json::from_slice(&message.json).expect("what is kept was written as JSON"));
        }
        answer
    }
}

/// Whether this can be the id of a message: 1 to 64 visible ASCII characters.
pub fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether this can be the time of a message.
pub fn is_time(time: u64) -> bool {
    time < MAX_EXACT
}
