//! The most recent messages of the chat, in order of their numbers: kept in memory, sent to clients and nodes that ask for
//! them, and written to the file of `--history`, if there is one.
//!
//! A new message gets a higher number than all before it, and no number is given out twice (see `SKIP`): numbers are the order
//! in which messages have arrived here. Their times are the order in which they were said, on all nodes of a cluster; above
//! the limits, the messages with the oldest times are dropped. The JSON of a message is kept as a part of the broadcast packet,
//! whose bytes are shared with the queues of the recipients. A message that is kept, or was dropped a short while ago, is known
//! by its owner and id, so that it is not broadcast again if a client or another node repeats it.

use super::journal::{FileHeader, Journal, MAX_NUMBER, is_id};
use crate::config::Config;
use crate::socketio::packet;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use sha1::{Digest, Sha1};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::ops::Range;
use std::time::Instant;

/// Estimated bytes of a kept message besides its JSON: its entries in `messages` and `known`, and the other bytes of the
/// packet of its broadcast, which stay allocated because the JSON is a slice of that packet.
const OVERHEAD: usize = 256;
/// A minute in milliseconds.
const MINUTE: u64 = 60_000;
/// Bytes of the tag of a user, with which its owner begins.
pub(super) const TAG: usize = 6;
/// At a start with a file the history goes on after the next multiple but two of this number. No number is given out twice:
/// messages that did not get into the file may have had those up to the next multiple but one. The numbers between the two
/// are for the backfill, and are skipped in a cluster even without a file.
const SKIP: u64 = 1_000_000;
/// Maximum number of dropped messages that are still known by owner and id.
const MAX_FORGOTTEN: usize = 1_000;
/// A new message gets the time of the newest kept one if that is ahead of the clock by at most so many milliseconds.
const MAX_AHEAD: u64 = 5_000;

/// The number and time that a message gets when it is accepted. They are sent to its sender as the ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stamp {
    /// The number of the message in the history of this server.
    pub n: u64,
    /// Milliseconds since 1970, by the clock of the server that accepted the message first.
    pub time: u64,
}

/// A message as it is sent to clients and other servers and written to the file.
#[derive(Serialize)]
pub struct Message<'a> {
    pub username: &'a RawValue,
    pub message: &'a RawValue,
    /// The public tag of the sender. Messages of Node servers have neither this field nor the fields below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Cow<'a, str>>,
    pub n: Option<u64>,
    pub id: Option<Cow<'a, str>>,
    pub time: Option<u64>,
    /// The owner, if it is not `user`: see [`History::known`]. For other nodes and the file only, never for clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Cow<'a, str>>,
    /// Fields that this version does not know, of Node servers or newer versions. They are kept with the message.
    #[serde(flatten)]
    pub further: BTreeMap<String, &'a RawValue>,
}

impl<'a> Message<'a> {
    /// Parses a message of another server. Returns `None` if it has no name or text, or if a known field has another type.
    pub fn parse(json: &'a str) -> Option<Message<'a>> {
        // Not by `flatten`, which cannot read a `RawValue`.
        let mut further: BTreeMap<String, &RawValue> = serde_json::from_str(json).ok()?;
        let (username, message) = (further.remove("username")?, further.remove("message")?);
        let mut take = |name| further.remove(name).map_or("null", RawValue::get);
        Some(Message {
            username,
            message,
            user: serde_json::from_str(take("user")).ok()?,
            n: serde_json::from_str(take("n")).ok()?,
            id: serde_json::from_str(take("id")).ok()?,
            time: serde_json::from_str(take("time")).ok()?,
            owner: serde_json::from_str(take("owner")).ok()?,
            further,
        })
    }

    /// Returns the name of the sender, or `None` if a field of the message is invalid.
    pub fn sender(&self) -> Option<Cow<'_, str>> {
        let valid = self.id.as_deref().is_none_or(is_id)
            && [&self.user, &self.owner].into_iter().flatten().all(|tag| is_id(tag))
            && [self.n, self.time].into_iter().flatten().all(|number| number < MAX_NUMBER);
        packet::string(self.message).filter(|_| valid)?;
        packet::string(self.username)
    }

    /// Returns who can say this message again; empty if a Node server has sent it.
    pub fn owner(&self) -> &str {
        self.owner.as_deref().or(self.user.as_deref()).unwrap_or_default()
    }
}

pub(super) struct Entry {
    pub(super) n: u64,
    /// The time at which the message has arrived here, by the system clock, in milliseconds since 1970.
    pub(super) arrived: u64,
    /// The key of the message in `known`.
    key: u64,
    /// The message in JSON: a [`Message`] with at least `n`, `id` and `time`, and without `owner`.
    pub(super) json: Bytes,
    pub(super) owner: Option<Box<str>>,
}

impl Entry {
    /// Returns the message in JSON, with its owner.
    pub(super) fn line(&self) -> Cow<'_, [u8]> {
        let Some(owner) = &self.owner else { return (&self.json[..]).into() };
        let owner = serde_json::to_vec(owner).expect("a string is JSON and goes to memory");
        [&self.json[..self.json.len() - 1], b",\"owner\":", &owner, b"}"].concat().into()
    }
}

/// The kept messages, the state of the numbers, and the file.
#[derive(Default)]
pub struct History {
    pub(super) boot: String,
    /// Maximum number of kept messages, and maximum of their bytes.
    limits: [usize; 2],
    pub(super) messages: VecDeque<Entry>,
    /// The times and numbers of `messages`.
    pub(super) by_time: BTreeSet<(u64, u64)>,
    /// The bytes of `messages` as `history_bytes` counts them.
    pub(super) bytes: usize,
    /// The stamp of each known message; of the newest one if several have the same owner and id, which a file that is loaded
    /// with higher limits may have: clients have heard them all. The key of the map is a hash of owner and id. `hasher` is
    /// seeded at random, so that clients cannot cause collisions.
    known: HashMap<u64, Stamp>,
    /// The keys and numbers of known messages that are no longer kept, oldest first.
    forgotten: VecDeque<(u64, u64)>,
    hasher: RandomState,
    /// The highest number that was given to a message, or skipped at the start: see [`SKIP`].
    pub(super) last: u64,
    /// The highest number of a message that was dropped to keep the limits.
    pub(super) dropped: u64,
    /// The numbers that were skipped at the start and have not been given to a message of the backfill. The last skipped
    /// number, which is the end of the range, is never given out.
    skipped: Range<u64>,
    /// Whether the log says that times are ahead of the clock.
    is_ahead: bool,
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
        let Some(mut message) = str::from_utf8(line).ok().and_then(Message::parse) else {
            let header = FileHeader::parse(line).filter(|it| self.boot == fresh || self.boot == it.boot)?;
            self.boot = header.boot;
            self.last = self.last.max(header.n).max(header.last);
            self.dropped = self.dropped.max(header.n);
            return Some(());
        };
        let stamp = Stamp { n: message.n?, time: message.time? };
        message.sender()?;
        let (id, owner) = (message.id.as_deref()?.to_owned(), message.owner().to_owned());
        if let Ok(place) = self.messages.binary_search_by_key(&stamp.n, |entry| entry.n) {
            return (self.messages[place].line() == line).then_some(());
        }
        self.last = self.last.max(stamp.n);
        let json = if message.owner.take().is_some() { to_json(&message) } else { Bytes::copy_from_slice(line) };
        self.keep(stamp, stamp.time, &owner, &id, json);
        Some(())
    }

    /// Returns the whole content of the file: the header and all kept messages.
    fn content(&self) -> Vec<u8> {
        let (boot, n, last) = (self.boot.clone(), self.dropped, self.last);
        let header = FileHeader { salon: "history".into(), version: 1, boot, n, last };
        let mut content = serde_json::to_vec(&header).expect("the header is JSON and goes to memory");
        content.push(b'\n');
        for message in &self.messages {
            content.extend_from_slice(&message.line());
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

    /// Returns the stamp of the known message with this owner and id, or `None` if there is none. The owner of a message is
    /// who can say it again: the hash of the user's key or, of a user without one, the tag. An empty owner is a Node server.
    pub fn known(&self, owner: &str, id: &str) -> Option<Stamp> {
        self.known.get(&self.hasher.hash_one((owner, id))).copied()
    }

    /// Returns an id for a message of a Node server, which has none. Nodes that hear it in the same minute agree on the id.
    pub fn id_of(&self, message: &RawValue, time: u64) -> String {
        let hash = URL_SAFE_NO_PAD.encode(Sha1::digest(message.get()));
        let ids = (0..).map(|count| made_up(&hash, time / MINUTE, count));
        ids.into_iter().find(|id| self.known("", id).is_none()).expect("there are fewer messages than numbers")
    }

    /// Whether a message that another node tells is one that this node has heard from a Node server and given another id:
    /// the one with the nearest time, at most a minute away, that is not among the `matched` ones, which it then joins.
    pub fn is_same(&self, owner: &str, id: &str, time: u64, matched: &mut HashSet<u64>) -> bool {
        let Some((hash, _)) = id.split_once('.').filter(|_| owner.is_empty()) else { return false };
        let minutes = (time / MINUTE).saturating_sub(1)..=time / MINUTE + 1;
        let stamps =
            minutes.flat_map(|minute| (0..).map_while(move |count| self.known("", &made_up(hash, minute, count))));
        let distance = |stamp: &Stamp| stamp.time.abs_diff(time);
        let near = stamps.filter(|stamp| distance(stamp) <= MINUTE && !matched.contains(&stamp.n));
        near.min_by_key(distance).is_some_and(|stamp| matched.insert(stamp.n))
    }

    /// Makes [`History::number`] give out no more skipped numbers.
    pub fn end_backfill(&mut self) {
        self.skipped = 0..0;
    }

    /// Takes the next number, for a new message, or the next skipped one, for a message of the `backfill`, and returns it.
    pub fn number(&mut self, backfill: bool) -> u64 {
        let skipped = if backfill { self.skipped.next() } else { None };
        skipped.unwrap_or_else(|| {
            self.last += 1;
            self.last
        })
    }

    /// Returns the time of a new message: `clock`, or that of the newest kept message if it is not far ahead of `clock`.
    pub fn time(&mut self, clock: u64) -> u64 {
        let newest = self.by_time.last().map_or(0, |(time, _)| *time);
        let is_ahead = newest > clock + MAX_AHEAD;
        if is_ahead && !mem::replace(&mut self.is_ahead, true) {
            let ahead = (newest - clock) / 1000;
            log::warn!("history: the newest message is {ahead} s ahead of the clock; new ones are older than it");
        }
        if is_ahead { clock } else { newest.max(clock) }
    }

    /// Keeps a message that has `arrived` at this time, hands it to the file, and drops the oldest messages while the limits
    /// are exceeded.
    pub fn keep(&mut self, stamp: Stamp, arrived: u64, owner: &str, id: &str, json: Bytes) {
        let Stamp { n, time } = stamp;
        let key = self.hasher.hash_one((owner, id));
        // The JSON itself says who the owner is if that is the tag, or nobody.
        let owner = (owner.len() > TAG).then(|| owner.into());
        let entry = Entry { n, arrived, key, json, owner };
        if let Some(journal) = &mut self.journal {
            journal.pending.extend_from_slice(&entry.line());
            journal.pending.push(b'\n');
        }
        let known = self.known.entry(key).or_insert(stamp);
        if known.n < n {
            *known = stamp;
        }
        self.by_time.insert((time, n));
        self.bytes += entry.json.len() + OVERHEAD;
        let place = self.messages.partition_point(|message| message.n < n);
        self.messages.insert(place, entry);
        while (self.messages.len() > self.limits[0] || self.bytes > self.limits[1])
            && let Some((_, n)) = self.by_time.pop_first()
            && let Ok(place) = self.messages.binary_search_by_key(&n, |message| message.n)
            && let Some(oldest) = self.messages.remove(place)
        {
            self.bytes -= oldest.json.len() + OVERHEAD;
            self.dropped = self.dropped.max(oldest.n);
            self.forgotten.push_back((oldest.key, oldest.n));
        }
        while self.forgotten.len() > MAX_FORGOTTEN.min(self.limits[0])
            && let Some((key, n)) = self.forgotten.pop_front()
        {
            // A file that is loaded may have the same owner and id again.
            self.known.remove(&key).filter(|stamp| stamp.n != n).map(|newer| self.known.insert(key, newer));
        }
    }

    /// Whether `n` is the number of a message that did not get into the file: nothing with a number of the same start is kept
    /// after it, so others may have been lost as well. Multiples of `SKIP` are positions right after a start.
    pub(super) fn is_lost(&self, n: u64) -> bool {
        let place = self.messages.partition_point(|message| message.n < n);
        let next = self.messages.get(place).map_or(self.last, |message| message.n);
        n > self.dropped && !n.is_multiple_of(SKIP) && n / SKIP != next / SKIP
    }

    pub(super) fn entry(&self, n: u64) -> Option<&Entry> {
        self.messages.binary_search_by_key(&n, |message| message.n).ok().map(|place| &self.messages[place])
    }

    /// Returns the kept message with this number in JSON, and its owner if that is not its tag.
    pub fn message(&self, n: u64) -> Option<(&[u8], Option<&str>)> {
        self.entry(n).map(|entry| (&entry.json[..], entry.owner.as_deref()))
    }
}

/// Returns the id of a message of a Node server: see [`History::id_of`].
fn made_up(hash: &str, minute: u64, count: usize) -> String {
    format!("{hash}.{minute}.{count}")
}

/// Returns a message in JSON.
pub fn to_json(message: &Message) -> Bytes {
    serde_json::to_vec(message).expect("a message is JSON and goes to memory").into()
}
