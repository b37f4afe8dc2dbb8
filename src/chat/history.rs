//! The most recent messages of the chat, in order of their numbers: kept in memory, sent to clients and nodes that ask, and
//! written to a file.
//!
//! A message is kept as the bytes of its broadcast, which it shares with the recipients' queues. A position is the id of a
//! history (`boot`) and the number of a message in it. Numbers grow, and no two messages have the same; see `SKIP`.
//!
//! As long as a message is kept, its sender and id are known, so a message that is sent again is not broadcast twice.

use super::journal::{FileHeader, Journal, MAX_NUMBER, is_id};
use crate::config::Config;
use crate::socketio::packet;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

/// Estimated bytes of a kept message besides its JSON: its entries in `messages` and `known`, and the rest of its packet.
const OVERHEAD: usize = 192;
/// Maximum bytes of messages in one answer: far below `max_queue`, the limit of the bytes that are queued for one client.
const MAX_ANSWER: usize = 256 * 1024;
/// After a restart, and at any start in a cluster, numbers continue this far above the last one in the file, so that no
/// number whose message did not get into the file is given out again. Messages of the backfill get the numbers in between.
const SKIP: u64 = 1_000_000;

/// The number and time that a message gets when it is accepted. They are sent to its sender as the ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stamp {
    /// The number of the message in the history of this server.
    pub n: u64,
    /// Milliseconds since 1970, by the clock of the server that accepted it first.
    pub time: u64,
}

/// Asks for all messages after the position `since`, or for the last few, or, if both are `None`, for all that are kept.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryRequest {
    pub since: Option<Position>,
    pub last: Option<usize>,
}

/// A place between two messages of a history.
#[derive(Debug, Serialize, Deserialize)]
pub struct Position {
    pub boot: String,
    /// The number of the message before this place.
    pub n: u64,
}

/// A message in the form that clients and other servers get and that the file has. JSON with other fields is not a message.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message<'a> {
    #[serde(borrow)]
    pub username: &'a RawValue,
    #[serde(borrow)]
    pub message: &'a RawValue,
    /// The tag of the sender. Messages of Node servers have neither this field nor the fields below.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub user: Option<Cow<'a, str>>,
    pub n: Option<u64>,
    #[serde(borrow)]
    pub id: Option<Cow<'a, str>>,
    pub time: Option<u64>,
}

impl Message<'_> {
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
    /// Whether messages may be missing between the position asked for and the first of `messages`.
    pub gap: bool,
    /// Whether the history has newer messages than the last of `messages`.
    pub more: bool,
}

struct Entry {
    n: u64,
    /// The key of the message in `known`.
    key: u64,
    /// The message in JSON: a [`Message`] with all fields.
    json: Bytes,
}

/// The kept messages, the state of the numbers, and the file.
#[derive(Default)]
pub struct History {
    boot: String,
    /// Maximum number of kept messages, and maximum of their bytes.
    limits: [usize; 2],
    messages: VecDeque<Entry>,
    bytes: usize,
    /// Stamps by a hash of sender and id with a random key: 64 bits that no client can choose do not collide in practice.
    known: HashMap<u64, Stamp>,
    hasher: RandomState,
    /// The last number that was given to a new message or skipped at the start.
    last: u64,
    /// The highest number of a message that was dropped to keep the limits.
    dropped: u64,
    /// The last number that was skipped at the start.
    start: u64,
    /// The last of the skipped numbers that was given to a message of the backfill; at first, the number before them.
    before: u64,
    journal: Option<Journal>,
}

impl History {
    pub fn new(config: &Config) -> History {
        History { limits: [config.history_messages, config.history_bytes], ..History::default() }
    }

    /// Loads the file of `config.history` and writes it anew. The id of the history is that in the file's header or, without
    /// a file or a valid header, `boot`. If the file cannot be locked, loaded or written, one log line says why, and
    /// messages are kept in memory only. Unless another process has the lock, writing is tried again after the next message.
    pub fn begin(&mut self, boot: String, config: &Config) {
        self.boot.clone_from(&boot);
        if let Some(path) = config.history.as_deref().filter(|_| self.is_on())
            && let Some(mut journal) = Journal::lock(path)
        {
            let loaded = journal.load(&boot[..6], |line, first| self.load(line, first).is_some());
            let written = loaded.and_then(|()| journal.rewrite(&self.content()));
            journal.note(written);
            self.journal = Some(journal);
        }
        self.before = self.last;
        if self.last > 0 || config.redis.is_some() {
            self.last += SKIP;
        }
        self.start = self.last;
    }

    /// Adds a line of the file. Returns `None` if the line is neither the header nor a valid message, or repeats a message.
    fn load(&mut self, line: &[u8], first: bool) -> Option<()> {
        if first && let Some(FileHeader { boot, n, .. }) = FileHeader::parse(line) {
            (self.boot, self.last, self.dropped) = (boot, n, n);
            return Some(());
        }
        let message: Message = serde_json::from_slice(line).ok()?;
        let stamp = Stamp { n: message.n?, time: message.time? };
        let (sender, id) = (message.sender()?, message.id.as_ref()?);
        if self.known(&sender, id).is_some() || self.messages.binary_search_by_key(&stamp.n, |entry| entry.n).is_ok() {
            return None;
        }
        self.last = self.last.max(stamp.n);
        self.keep(stamp, &sender, id, Bytes::copy_from_slice(line));
        Some(())
    }

    /// Returns the content with which the file is written anew.
    fn content(&self) -> Vec<u8> {
        let header = FileHeader { salon: "history".into(), version: 1, boot: self.boot.clone(), n: self.dropped };
        let mut content = serde_json::to_vec(&header).expect("the header is JSON and goes to memory");
        content.push(b'\n');
        for message in &self.messages {
            content.extend_from_slice(&message.json);
            content.push(b'\n');
        }
        content
    }

    /// Writes the messages kept since the last call. Must be called before their broadcasts and acks leave the server.
    pub fn commit(&mut self, now: Instant) {
        self.journal.iter_mut().for_each(|journal| journal.commit(now));
    }

    /// Returns the time at which [`History::expire`] is to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.journal.as_ref()?.due
    }

    /// Syncs the file or writes it anew, if either is due.
    pub fn expire(&mut self, now: Instant) {
        let is_due = |journal: &mut Journal| journal.due.take_if(|due| *due <= now).is_some();
        if let Some(mut journal) = self.journal.take_if(is_due) {
            let done = match &journal.file {
                Some(file) if journal.length < journal.limit => file.sync_data(),
                _ => journal.rewrite(&self.content()),
            };
            journal.note(done);
            self.journal = Some(journal);
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

    /// Returns the number of kept messages, and the bytes that they count as.
    pub fn size(&self) -> [usize; 2] {
        [self.messages.len(), self.bytes]
    }

    /// Returns the stamp of the kept message with this sender and id.
    pub fn known(&self, sender: &str, id: &str) -> Option<Stamp> {
        self.known.get(&self.hasher.hash_one((sender, id))).copied()
    }

    /// Returns the number for a new message.
    pub fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Returns a skipped number for a message of the backfill, or `None` if no number is left or messages
    /// with higher numbers have been dropped already.
    pub fn number_before(&mut self) -> Option<u64> {
        let room = self.is_on() && self.before + 1 < self.start && self.dropped < self.start;
        self.before += u64::from(room);
        room.then_some(self.before)
    }

    /// Keeps a message, in the order of numbers, and drops the oldest messages beyond the limits.
    pub fn keep(&mut self, stamp: Stamp, sender: &str, id: &str, json: Bytes) {
        if let Some(journal) = &mut self.journal {
            journal.pending.extend_from_slice(&json);
            journal.pending.push(b'\n');
        }
        let key = self.hasher.hash_one((sender, id));
        let place = self.messages.partition_point(|message| message.n < stamp.n);
        self.known.insert(key, stamp);
        self.bytes += json.len() + OVERHEAD;
        self.messages.insert(place, Entry { n: stamp.n, key, json });
        while (self.messages.len() > self.limits[0] || self.bytes > self.limits[1])
            && let Some(oldest) = self.messages.pop_front()
        {
            self.bytes -= oldest.json.len() + OVERHEAD;
            self.known.remove(&oldest.key);
            self.dropped = self.dropped.max(oldest.n);
        }
    }

    /// Answers a request. A position of another `boot`, or above the last number, is ignored, and the answer has a `gap`.
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
            gap: request.since.is_some() && known.is_none_or(|since| since.n < self.dropped),
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
