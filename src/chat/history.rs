//! The most recent messages of the chat, in order of their numbers: kept in memory, sent to clients and nodes that ask for
//! them, and written to the file of `--history`, if there is one.
//!
//! A new message gets a higher number than all before it, and no number is given out twice (see `SKIP`). Its JSON is kept as
//! a part of the broadcast packet, whose bytes are shared with the queues of the recipients. While a message is kept, its
//! sender and id are known, so the same message is not broadcast again if a client repeats it.

use super::journal::{FileHeader, Journal, MAX_NUMBER, is_id};
use crate::config::Config;
use crate::socketio::packet;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::time::Instant;

/// Estimated bytes of a kept message besides its JSON: its entries in `messages` and `known`, and the other bytes of the
/// packet of its broadcast, which stay allocated because the JSON is a slice of that packet.
const OVERHEAD: usize = 192;
/// Maximum bytes of messages in one answer, far below the default of `max_queue`. A message that is longer is sent alone.
const MAX_ANSWER: usize = 256 * 1024;
/// At a start with a file the history goes on after the next multiple but two of this number. No number is given out twice:
/// messages that did not get into the file may have had those up to the next multiple but one. The numbers between the two
/// are for the backfill, and are skipped in a cluster even without a file.
const SKIP: u64 = 1_000_000;

/// The number and time that a message gets when it is accepted. They are sent to its sender as the ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stamp {
    /// The number of the message in the history of this server.
    pub n: u64,
    /// Milliseconds since 1970, by the clock of the server that accepted the message first.
    pub time: u64,
}

/// A request for kept messages: those after `since` if it is set, else the newest `last` ones if it is set, else all.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryRequest {
    pub since: Option<Position>,
    pub last: Option<usize>,
}

/// A place in the history with the id `boot`: right after the message with the number `n`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Position {
    pub boot: String,
    pub n: u64,
}

/// A message as it is sent to clients and other servers and written to the file.
#[derive(Serialize, Deserialize)]
pub struct Message<'a> {
    #[serde(borrow)]
    pub username: &'a RawValue,
    #[serde(borrow)]
    pub message: &'a RawValue,
    /// The public tag of the sender. Messages of Node servers have neither this field nor the fields below.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub user: Option<Cow<'a, str>>,
    pub n: Option<u64>,
    #[serde(borrow)]
    pub id: Option<Cow<'a, str>>,
    pub time: Option<u64>,
    /// Fields that this version does not know, of Node servers or newer versions. They are kept with the message.
    #[serde(flatten, skip_deserializing)]
    pub further: BTreeMap<String, &'a RawValue>,
}

impl<'a> Message<'a> {
    /// Parses a message of another server. Returns `None` if a known field has another type.
    pub fn parse(json: &'a str) -> Option<Message<'a>> {
        let mut message: Message = serde_json::from_str(json).ok()?;
        message.further = serde_json::from_str(json).ok()?;
        message.further.retain(|name, _| !["username", "message", "user", "n", "id", "time"].contains(&name.as_str()));
        Some(message)
    }

    /// Returns the name of the sender, or `None` if a field of the message is invalid.
    pub fn sender(&self) -> Option<Cow<'_, str>> {
        let valid = self.id.as_deref().is_none_or(is_id)
            && self.user.as_deref().is_none_or(is_id)
            && [self.n, self.time].into_iter().flatten().all(|number| number < MAX_NUMBER);
        packet::string(self.message).filter(|_| valid)?;
        packet::string(self.username)
    }
}

/// The answer to a [`HistoryRequest`]: kept messages, oldest first.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer<'a> {
    #[serde(borrow)]
    pub boot: Cow<'a, str>,
    /// The highest number that this history has given out or skipped.
    pub n: u64,
    #[serde(borrow)]
    pub messages: Vec<&'a RawValue>,
    /// Whether messages may be missing between the requested position and the first of `messages`.
    pub gap: bool,
    /// Whether the history has messages that are newer than the last of `messages`.
    pub more: bool,
}

pub(super) struct Entry {
    n: u64,
    /// The key of the message in `known`.
    key: u64,
    /// The message in JSON: a [`Message`] with at least `n`, `id` and `time`.
    json: Bytes,
}

/// The kept messages, the state of the numbers, and the file.
#[derive(Default)]
pub struct History {
    boot: String,
    /// Maximum number of kept messages, and maximum of their bytes.
    limits: [usize; 2],
    pub(super) messages: VecDeque<Entry>,
    /// The bytes of `messages` as `history_bytes` counts them.
    pub(super) bytes: usize,
    /// The stamp of each kept message; of the newest one if several have the same sender and id, which a file that is loaded
    /// with higher limits may have: clients have heard them all. The key of the map is a hash of sender and id. `hasher` is
    /// seeded at random, so that clients cannot cause collisions.
    known: HashMap<u64, Stamp>,
    hasher: RandomState,
    /// The highest number that was given to a message, or skipped at the start: see [`SKIP`].
    last: u64,
    /// The highest number of a message that was dropped to keep the limits.
    dropped: u64,
    /// The numbers that were skipped at the start and have not been given to a message of the backfill. The last skipped
    /// number, which is the end of the range, is never given out.
    skipped: Range<u64>,
    journal: Option<Journal>,
}

impl History {
    pub fn new(config: &Config) -> History {
        History { limits: [config.history_messages, config.history_bytes], ..History::default() }
    }

    /// Loads the file of `config.history` and writes it anew. The history gets the id in the header of the file or, without
    /// a valid header, the id `boot`. If the file cannot be locked, loaded or written, the log says why, and messages are
    /// kept in memory only. Writing is tried again after the next message, unless the file is refused: see `Journal`.
    pub fn begin(&mut self, boot: String, config: &Config) {
        self.boot.clone_from(&boot);
        if let Some(path) = config.history.as_deref().filter(|_| self.is_on()) {
            let mut journal = Journal::lock(path);
            if journal.load(&boot[..6], |line| self.load(line, &boot).is_some()) {
                self.dropped = self.last;
            }
            self.journal = Some(journal);
        }
        if self.boot != boot || self.last > 0 || config.redis.is_some() {
            let end = (self.last / SKIP + 3) * SKIP;
            self.skipped = end - SKIP + 1..end;
            self.last = end;
        }
        self.sync();
    }

    /// Reads a line of the file: a header or a message. Returns `None` if it is invalid. `fresh` is the id until a header has
    /// been read.
    fn load(&mut self, line: &[u8], fresh: &str) -> Option<()> {
        let Ok(message) = serde_json::from_slice::<Message>(line) else {
            let header = FileHeader::parse(line).filter(|it| self.boot == fresh || self.boot == it.boot)?;
            self.boot = header.boot;
            self.last = self.last.max(header.n).max(header.last);
            self.dropped = self.dropped.max(header.n);
            return Some(());
        };
        let stamp = Stamp { n: message.n?, time: message.time? };
        let (sender, id) = (message.sender()?, message.id.as_ref()?);
        if let Ok(place) = self.messages.binary_search_by_key(&stamp.n, |entry| entry.n) {
            return (self.messages[place].json == line).then_some(());
        }
        self.last = self.last.max(stamp.n);
        self.keep(stamp, &sender, id, Bytes::copy_from_slice(line));
        Some(())
    }

    /// Returns the whole content of the file: the header and all kept messages.
    fn content(&self) -> Vec<u8> {
        let (boot, n, last) = (self.boot.clone(), self.dropped, self.last);
        let header = FileHeader { salon: "history".into(), version: 1, boot, n, last };
        let mut content = serde_json::to_vec(&header).expect("the header is JSON and goes to memory");
        content.push(b'\n');
        for message in &self.messages {
            content.extend_from_slice(&message.json);
            content.push(b'\n');
        }
        content
    }

    /// Syncs the file, or writes it anew.
    fn sync(&mut self) {
        if let Some(mut journal) = self.journal.take() {
            journal.sync(|| self.content());
            self.journal = Some(journal);
        }
    }

    /// Writes new messages to the file, if there is one. Must be called before their broadcasts and acks leave the server.
    pub fn commit(&mut self, now: Instant) {
        self.journal.iter_mut().for_each(|journal| journal.commit(now));
    }

    /// Returns the time at which [`History::expire`] is to be called; `None` if nothing is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.journal.as_ref()?.due
    }

    /// Syncs the file if that is due.
    pub fn expire(&mut self, now: Instant) {
        if self.journal.as_mut().is_some_and(|journal| journal.due.take_if(|due| *due <= now).is_some()) {
            self.sync();
        }
    }

    /// Returns whether messages are written to the file, or `None` if no file is used.
    pub fn is_written(&self) -> Option<bool> {
        self.journal.as_ref().map(|journal| journal.file.is_some())
    }

    /// Whether messages are kept at all.
    pub fn is_on(&self) -> bool {
        self.limits[0] > 0
    }

    /// Returns the stamp of the kept message with this sender and id, or `None` if there is none.
    pub fn known(&self, sender: &str, id: &str) -> Option<Stamp> {
        self.known.get(&self.hasher.hash_one((sender, id))).copied()
    }

    /// Takes the next number, for a new message, and returns it.
    pub fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Takes the next skipped number, for a message of the backfill, and returns it. Returns `None` if none is left, or if
    /// the history is off or has dropped a newer message already, so that it has no room for an older one.
    pub fn number_before(&mut self) -> Option<u64> {
        let has_room = self.is_on() && self.dropped < self.skipped.end;
        self.skipped.next().filter(|_| has_room)
    }

    /// Keeps a message, hands it to the file, and drops the messages with the lowest numbers while the limits are exceeded.
    pub fn keep(&mut self, stamp: Stamp, sender: &str, id: &str, json: Bytes) {
        if let Some(journal) = &mut self.journal {
            journal.pending.extend_from_slice(&json);
            journal.pending.push(b'\n');
        }
        let key = self.hasher.hash_one((sender, id));
        let place = self.messages.partition_point(|message| message.n < stamp.n);
        let known = self.known.entry(key).or_insert(stamp);
        if known.n < stamp.n {
            *known = stamp;
        }
        self.bytes += json.len() + OVERHEAD;
        self.messages.insert(place, Entry { n: stamp.n, key, json });
        while (self.messages.len() > self.limits[0] || self.bytes > self.limits[1])
            && let Some(oldest) = self.messages.pop_front()
        {
            self.bytes -= oldest.json.len() + OVERHEAD;
            if self.known.get(&oldest.key).is_some_and(|stamp| stamp.n == oldest.n) {
                self.known.remove(&oldest.key);
            }
            self.dropped = self.dropped.max(oldest.n);
        }
    }

    /// Whether `n` is the number of a message that did not get into the file: nothing with a number of the same start is kept
    /// after it, so others may have been lost as well. Multiples of `SKIP` are positions right after a start.
    fn is_lost(&self, n: u64) -> bool {
        let place = self.messages.partition_point(|message| message.n < n);
        let next = self.messages.get(place).map_or(self.last, |message| message.n);
        n > self.dropped && !n.is_multiple_of(SKIP) && n / SKIP != next / SKIP
    }

    /// Returns the answer to a request. A position with another `boot` or above the last number is ignored and sets `gap`.
    pub fn answer(&self, request: &HistoryRequest) -> Answer<'_> {
        let known = request.since.as_ref().filter(|since| since.boot == self.boot && since.n <= self.last);
        let first = match (known, request.last) {
            (Some(since), _) => self.messages.partition_point(|message| message.n <= since.n),
            (None, Some(last)) => self.messages.len().saturating_sub(last),
            (None, None) => 0,
        };
        let mut answer = Answer {
            boot: self.boot.as_str().into(),
            n: self.last,
            messages: Vec::new(),
            gap: request.since.is_some() && known.is_none_or(|since| since.n < self.dropped || self.is_lost(since.n)),
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
            answer.messages.push(serde_json::from_slice(&message.json).expect("kept messages are JSON"));
        }
        answer
    }
}
