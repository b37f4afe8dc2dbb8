//! Presence: how many users each node has and some of their names, so that `numUsers` counts the whole cluster.
//!
//! Every node publishes notes, `{"node","boot","users","people","beat","hello","bye"}` in JSON, on a channel that only salon
//! subscribes to: when its users change, at every beat while it has users, and in reply to a hello. The sum is kept from these
//! notes, so nobody has to wait for an answer. A node is removed when it stops, has no users, or is silent for three beats.

use crate::socketio::packet::Invalid;
use crate::socketio::{Elsewhere, MAX_PEOPLE, Person};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::mem;
use std::time::{Duration, Instant};

/// Nodes that are remembered; notes of further ones are ignored.
const MAX_NODES: usize = 1_000;
/// The most users that a node may report.
const MAX_USERS: usize = 1_000_000;
/// Bytes of the name of a node, of a boot, and of the tag of a user.
const MAX_ID: usize = 64;
/// Bytes of the name of a user.
const MAX_NAME: usize = 1_024;
/// Beats without a note after which a node is removed.
const MISSED_BEATS: u32 = 3;
/// A beat that a node reports is moved into this range.
const MIN_BEAT: Duration = Duration::from_millis(100);
const MAX_BEAT: Duration = Duration::from_secs(600);

/// The presence of one node, as it is published.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct PresenceNote {
    node: String,
    /// Identifies one start of the node.
    boot: String,
    users: usize,
    people: Vec<Person>,
    /// Milliseconds until its next note.
    beat: u64,
    /// The node has just connected and asks all others for their notes.
    hello: bool,
    /// The node stops. Its users are expected to reconnect elsewhere, so they are not reported as lost.
    bye: bool,
}

/// The presence of other nodes, and the state of our own notes.
pub struct Presence {
    node: String,
    /// Identifies this start of the node.
    pub boot: String,
    beat: Duration,
    /// By name: the last note of each node with users, and when the node is removed unless another note arrives.
    nodes: BTreeMap<String, (Instant, PresenceNote)>,
    /// The users in our last note and their number of changes; `None`: it was a bye.
    published: Option<(usize, u64)>,
    /// When a note is published even if nothing has changed.
    next_beat: Option<Instant>,
    /// A note is to be published as soon as possible.
    note_due: bool,
    /// The next note is a hello.
    hello: bool,
}

impl Presence {
    /// Knows of no other node. `boot` identifies this start of the node, `beat` is the interval of its notes.
    pub fn new(node: String, boot: String, beat: Duration) -> Presence {
        let nodes = BTreeMap::new();
        Presence { node, boot, beat, nodes, published: Some((0, 0)), next_beat: None, note_due: false, hello: false }
    }

    /// The users on all other nodes. Of `lost`, the users of a node that was removed, those remain that no other node reports.
    pub fn elsewhere(&self, mut lost: Vec<Person>) -> Elsewhere {
        let notes = || self.nodes.values().map(|(_, note)| note);
        let people = || notes().flat_map(|note| &note.people);
        lost.retain(|person| people().all(|known| known.username != person.username));
        let users = notes().map(|note| note.users).sum();
        Elsewhere { users, people: people().take(MAX_PEOPLE).cloned().collect(), lost }
    }

    /// Makes the next note a hello, to be published as soon as possible: Redis has just become reachable.
    pub fn greet(&mut self) {
        (self.note_due, self.hello) = (true, true);
    }

    /// The deadline for the next call of [`Presence::expire`].
    pub fn due(&self) -> Option<Instant> {
        self.nodes.values().map(|(silent_at, _)| *silent_at).chain(self.next_beat).min()
    }

    /// Makes a note due if a beat has passed. Removes at most one silent node and returns its users: call it until `None`.
    pub fn expire(&mut self, now: Instant) -> Option<Vec<Person>> {
        if self.next_beat.is_some_and(|at| at <= now) {
            (self.next_beat, self.note_due) = (None, true);
        }
        let (name, _) = self.nodes.iter().find(|(_, (silent_at, _))| *silent_at <= now)?;
        let name = name.clone();
        log::warn!("redis: node {name} has been silent for {MISSED_BEATS} beats and is removed, with its users");
        self.nodes.remove(&name).map(|(_, note)| note.people)
    }

    /// The note to publish now, in JSON; `None` if there is nothing new. `users` is the number of users here and of their
    /// changes, `None` if this node stops.
    pub fn presence_note(
        &mut self, users: Option<(usize, u64)>, people: impl FnOnce() -> Vec<Person>, now: Instant,
    ) -> Option<Vec<u8>> {
        if !self.note_due && self.published == users {
            return None;
        }
        (self.published, self.note_due) = (users, false);
        let count = users.map_or(0, |(count, _)| count);
        self.next_beat = (count > 0).then(|| now + self.beat);
        let note = PresenceNote {
            node: self.node.clone(),
            boot: self.boot.clone(),
            users: count,
            people: users.map(|_| people()).unwrap_or_default(),
            beat: self.beat.as_millis() as u64,
            hello: mem::take(&mut self.hello),
            bye: users.is_none(),
        };
        Some(serde_json::to_vec(&note).expect("JSON with string keys is written to memory"))
    }

    /// Stores the note of another node. Returns its boot, unless it stops; `None` also for a note of our own.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) -> Result<Option<String>, Invalid> {
        let note: PresenceNote = serde_json::from_slice(bytes).map_err(|_| Invalid("not a presence note"))?;
        if note.boot == self.boot {
            return Ok(None);
        }
        let within_limits = note.node.len() <= MAX_ID
            && note.boot.len() <= MAX_ID
            && note.users <= MAX_USERS
            && note.people.len() <= MAX_PEOPLE
            && note.people.iter().all(|person| person.username.len() <= MAX_NAME && person.user.len() <= MAX_ID)
            && (self.nodes.len() < MAX_NODES || self.nodes.contains_key(&note.node));
        if !within_limits {
            return Err(Invalid("a presence note above the limits, or too many nodes"));
        }
        if note.node == self.node {
            log::warn!("redis: another node is named {} as well; --instance must differ", note.node);
            return Err(Invalid("a presence note with the name of this node"));
        }
        self.note_due |= note.hello;
        let beat = Duration::from_millis(note.beat).clamp(MIN_BEAT, MAX_BEAT);
        let boot = (!note.bye).then(|| note.boot.clone());
        match note.users {
            // The bye of an earlier start of the node may arrive after notes of the present one.
            _ if note.bye && self.nodes.get(&note.node).is_some_and(|(_, known)| known.boot != note.boot) => {}
            0 => drop(self.nodes.remove(&note.node)),
            _ => drop(self.nodes.insert(note.node.clone(), (now + beat * MISSED_BEATS, note))),
        }
        Ok(boot)
    }
}
