//! The last messages of the chat, by number, for those who ask; and the file that they outlive the process in.
//!
//! A message is kept as the bytes that its broadcast was made of, so it costs little more than a reference to them. A
//! position is the id of a history and the number of a message in it: numbers grow and never name two messages.
//!
//! The file has a line that says what it is, and a line of JSON for each message. Lines are appended, those of a turn in one
//! write before anything that was said in the turn leaves; once a second at most they are synced. A file that has grown too
//! long or cannot be gone on with is written anew beside the old one, and takes its place.

use super::journal::{FileHeader, Journal, MAX_NUMBER, SYNC_TIME, beside, is_id, lock};
use crate::config::Config;
use crate::socketio::packet;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::mem;
use std::path::Path;
use std::time::Instant;

/// What a kept message costs besides its bytes, roughly: itself, its entry in `known`, and the rest of its packet.
const OVERHEAD: usize = 192;
/// Bytes of messages in one answer: far below what may be queued for one client.
const MAX_ANSWER: usize = 256 * 1024;
/// What numbers skip at a start: messages that got a number, but not into the file, must not share it with others.
const SKIP: u64 = 1_000_000;
/// A line of the file.
const MAX_LINE: u64 = 16 * 1024 * 1024;
/// What a message has got when it was taken, and what its sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stamp {
    /// Its number in the history of this server.
    pub n: u64,
    /// Milliseconds since 1970, by the clock of the server that took it first.
    pub time: u64,
}

/// Which messages are asked for: all after a position, or the last; all that are kept, if nothing is said.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryRequest {
    pub since: Option<Position>,
    pub last: Option<usize>,
}

/// A place between two messages.
#[derive(Debug, Serialize, Deserialize)]
pub struct Position {
    pub boot: String,
    /// The message before it.
    pub n: u64,
}

/// A message as clients, other servers and the file have it. With other fields it is something else.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message<'a> {
    #[serde(borrow)]
    pub username: &'a RawValue,
    #[serde(borrow)]
    pub message: &'a RawValue,
    /// Servers for Node tell neither this nor what follows.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub user: Option<Cow<'a, str>>,
    pub n: Option<u64>,
    #[serde(borrow)]
    pub id: Option<Cow<'a, str>>,
    pub time: Option<u64>,
}

impl Message<'_> {
    /// The sender, if the whole makes sense.
    pub fn sender(&self) -> Option<Cow<'_, str>> {
        let sound = self.id.as_deref().is_none_or(is_id)
            && self.user.as_deref().is_none_or(is_id)
            && [self.n, self.time].into_iter().flatten().all(|number| number < MAX_NUMBER);
        packet::string(self.message).filter(|_| sound)?;
        packet::string(self.username)
    }
}

/// Messages, oldest first.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer<'a> {
    #[serde(borrow)]
    pub boot: Cow<'a, str>,
    /// The newest message there is.
    pub n: u64,
    #[serde(borrow)]
    pub messages: Vec<&'a RawValue>,
    /// Between the position asked for and the first of these, something may be missing.
    pub gap: bool,
    /// Behind the last of these there are more.
    pub more: bool,
}

struct Entry {
    n: u64,
    /// Under which it is in `known`.
    key: u64,
    /// An object with `n` in it.
    json: Bytes,
}

/// The last messages.
#[derive(Default)]
pub struct History {
    boot: String,
    limits: [usize; 2],
    messages: VecDeque<Entry>,
    bytes: usize,
    /// By sender and id. Of 64 bits that nobody can choose two are never the same among so few, so they stand for both.
    known: HashMap<u64, Stamp>,
    hasher: RandomState,
    /// The number that was given last.
    last: u64,
    /// The newest message that is no longer here.
    dropped: u64,
    /// The last number before those of this start. Below are some left for what was said elsewhere before it.
    start: u64,
    /// The last of those that was given.
    before: u64,
    file: Option<Journal>,
}

impl History {
    /// No messages yet.
    pub fn new(config: &Config) -> History {
        History { limits: [config.history_messages, config.history_bytes], ..History::default() }
    }

    /// Goes on with the history in the file of `config`, or begins one that is called `boot`. What is wrong with the file is said in one
    /// line: messages are kept in any case.
    pub fn begin(&mut self, boot: String, config: &Config) {
        self.boot = boot;
        if let Some(path) = config.history.as_deref().filter(|_| self.is_on()) {
            self.open(path);
        }
        self.before = self.last;
        // What is kept from before, or comes from elsewhere, must not share a number with what is said from now on.
        if self.last > 0 || config.redis.is_some() {
            self.last += SKIP;
        }
        self.start = self.last;
    }

    fn open(&mut self, path: &Path) {
        let lock = match lock(&beside(path, ".lock")) {
            Ok(lock) => lock,
            Err(()) => return log::warn!("history: another process has {path:?}; what is said here is not written"),
        };
        let mut journal = Journal { path: path.to_owned(), _lock: lock, ..Journal::default() };
        let opened = match File::open(path).and_then(|file| self.load(BufReader::new(file))) {
            Ok((0, true)) => journal.open(),
            Ok((0, false)) => journal.rewrite(&self.boot, self.dropped, self.messages.iter().map(|entry| &entry.json)),
            Ok((lines, _)) => {
                let aside = beside(path, &format!(".damaged-{}", &self.boot[..6]));
                log::warn!(
                    "history: {lines} lines of {path:?} make no sense; the rest is kept, and the file is now {aside:?}"
                );
                fs::rename(path, aside).and_then(|()| {
                    journal.rewrite(&self.boot, self.dropped, self.messages.iter().map(|entry| &entry.json))
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                journal.rewrite(&self.boot, self.dropped, self.messages.iter().map(|entry| &entry.json))
            }
            Err(error) => Err(error),
        };
        journal.note(opened);
        self.file = Some(journal);
    }

    /// Takes what the file has: how many lines make no sense, and whether it has an end that can be gone on with. A process
    /// that is killed leaves half a line.
    fn load(&mut self, mut file: impl BufRead) -> io::Result<(usize, bool)> {
        let (mut damaged, mut torn, mut line, mut first) = (0, false, Vec::new(), true);
        while !torn {
            line.clear();
            if file.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            torn = line.pop_if(|byte| *byte == b'\n').is_none() && (line.len() as u64) < MAX_LINE;
            let understood = match serde_json::from_slice::<FileHeader>(&line) {
                Ok(head) if first && head.is_ours() => {
                    (self.boot, self.last, self.dropped) = (head.boot, head.n, head.n);
                    true
                }
                _ => self.restore(&line).is_some(),
            };
            // What was written anew has a whole first line.
            damaged += usize::from(!understood && (first || !torn));
            first = false;
        }
        Ok((damaged, !torn && !first))
    }

    /// Takes a line of the file, if it is a message that is not there yet.
    fn restore(&mut self, line: &[u8]) -> Option<()> {
        let said: Message = serde_json::from_slice(line).ok()?;
        let (sender, id, stamp) = (said.sender()?, said.id.as_ref()?, Stamp { n: said.n?, time: said.time? });
        if self.known(&sender, id).is_some() || self.messages.binary_search_by_key(&stamp.n, |kept| kept.n).is_ok() {
            return None;
        }
        self.last = self.last.max(stamp.n);
        self.keep(stamp, &sender, id, Bytes::copy_from_slice(line));
        Some(())
    }

    /// Writes what was kept since the last call. Called before anything of it leaves.
    pub fn commit(&mut self, now: Instant) {
        let Some(journal) = self.file.as_mut().filter(|journal| !journal.pending.is_empty()) else { return };
        let pending = mem::take(&mut journal.pending);
        journal.length += pending.len() as u64;
        journal.due.get_or_insert(now + SYNC_TIME);
        // If that fails half a line may be there.
        let written = journal.file.as_mut().map_or(Ok(()), |file| file.write_all(&pending));
        journal.note(written);
    }

    /// When [`History::expire`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.file.as_ref()?.due
    }

    /// Syncs the file, or writes it anew, if it is time.
    pub fn expire(&mut self, now: Instant) {
        let due = |journal: &mut Journal| journal.due.take_if(|due| *due <= now).is_some();
        let Some(mut journal) = self.file.take_if(due) else { return };
        let done = match &journal.file {
            Some(file) if journal.length < journal.limit => file.sync_data(),
            _ => journal.rewrite(&self.boot, self.dropped, self.messages.iter().map(|entry| &entry.json)),
        };
        journal.note(done);
        self.file = Some(journal);
    }

    /// Whether what is said gets into the file; `None`: there is none.
    pub fn is_written(&self) -> Option<bool> {
        self.file.as_ref().map(|journal| journal.file.is_some())
    }

    /// Whether anything is kept at all.
    pub fn is_on(&self) -> bool {
        self.limits[0] > 0
    }

    /// Messages that are kept, and the bytes they count as.
    pub fn size(&self) -> [usize; 2] {
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

    /// The number for a message that was said elsewhere before this start; `None` if there is no room for it.
    pub fn number_before(&mut self) -> Option<u64> {
        // What has come since has used the room up.
        let room = self.is_on() && self.before + 1 < self.start && self.dropped < self.start;
        self.before += u64::from(room);
        room.then_some(self.before)
    }

    /// Keeps a message at the place of its number, and drops the oldest that are beyond the limits.
    pub fn keep(&mut self, stamp: Stamp, sender: &str, id: &str, json: Bytes) {
        if let Some(journal) = &mut self.file {
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

    /// What was asked for.
    pub fn answer(&self, wanted: &HistoryRequest) -> Answer<'_> {
        let known = wanted.since.as_ref().filter(|since| since.boot == self.boot && since.n <= self.last);
        let first = match (known, wanted.last) {
            (Some(since), _) => self.messages.partition_point(|message| message.n <= since.n),
            (None, Some(last)) => self.messages.len().saturating_sub(last),
            (None, None) => 0,
        };
        let mut answer = Answer {
            boot: self.boot.as_str().into(),
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
