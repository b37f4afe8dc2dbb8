//! Presence: how many users each node has, and some of their names, so that `numUsers` counts the whole cluster.
//!
//! Every node publishes notes, `{"node","boot","users","people","beat","hello","bye"}` in JSON, on a channel to which only
//! salon servers subscribe: when it connects (a hello) or stops (a bye), when its users change, at every beat while it has
//! users, and in reply to a hello. A node keeps the last note of each other node with users, until that misses 3 beats.

use crate::socketio::packet::Invalid;
use crate::socketio::{Elsewhere, MAX_PEOPLE, Person};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Maximum number of other nodes whose notes are kept; notes of further nodes are refused.
const MAX_NODES: usize = 1_000;
/// Maximum number of users that a node may report.
const MAX_USERS: usize = 1_000_000;
/// Maximum bytes of the name of a node, of a boot, and of the tag of a user.
const MAX_ID: usize = 64;
/// Maximum bytes of the name of a user.
const MAX_NAME: usize = 1_024;
/// Number of beats without a note after which a node is removed.
const MISSED_BEATS: u32 = 3;
/// Limits of the beat that another node reports. A beat outside of them is set to the nearer limit.
const MIN_BEAT: Duration = Duration::from_millis(100);
const MAX_BEAT: Duration = Duration::from_secs(600);

/// The presence of one node, as the node publishes it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PresenceNote {
    node: String,
    /// Identifies one start of the node.
    pub(super) boot: String,
    users: usize,
    people: Vec<Person>,
    /// Interval of the node's notes, in milliseconds.
    beat: u64,
    /// Whether the node has just connected and asks all other nodes for their notes.
    hello: bool,
    /// Whether the node is stopping. Its users are expected to reconnect elsewhere, so they are not reported as lost.
    bye: bool,
}

/// The presence of other nodes, and the state of our own notes.
pub struct Presence {
    /// Our own note. Its `people` are set only while it is encoded, because the application has them.
    pub(super) own: PresenceNote,
    /// For each other node with users, by name: the time at which it is removed unless a note arrives, and its last note.
    nodes: BTreeMap<String, (Instant, PresenceNote)>,
    /// The number of users in our last note, and how often the number had changed by then; `None` if the note was a bye.
    published: Option<(usize, u64)>,
    /// The time at which our next note is published even if nothing has changed; `None` if this node has no users.
    next_beat: Option<Instant>,
    /// Whether a note of ours is to be published as soon as possible.
    note_due: bool,
}

impl Presence {
    /// Creates a state without other nodes. `boot` identifies this start of the node, `beat` is the interval of its notes.
    pub fn new(node: String, boot: String, beat: Duration) -> Presence {
        let own = PresenceNote { node, boot, beat: beat.as_millis() as u64, ..PresenceNote::default() };
        Presence { own, nodes: BTreeMap::new(), published: Some((0, 0)), next_beat: None, note_due: false }
    }

    /// Returns the users on all other nodes. `lost`: users of a removed node; those in another node's note are left out.
    pub fn elsewhere(&self, mut lost: Vec<Person>) -> Elsewhere {
        let notes = || self.nodes.values().map(|(_, note)| note);
        let people = || notes().flat_map(|note| &note.people);
        lost.retain(|person| people().all(|known| known.username != person.username));
        let users = notes().map(|note| note.users).sum();
        Elsewhere { users, people: people().take(MAX_PEOPLE).cloned().collect(), lost }
    }

    /// Makes the next note a hello, and due at once. Called when Redis has become reachable.
    pub fn greet(&mut self) {
        (self.note_due, self.own.hello) = (true, true);
    }

    /// Returns the time at which [`Presence::expire`] is to be called.
    pub fn due(&self) -> Option<Instant> {
        self.nodes.values().map(|(silent_at, _)| *silent_at).chain(self.next_beat).min()
    }

    /// Makes our note due if a beat has passed. Removes one silent node and returns its users, or `None` if none is silent.
    pub fn expire(&mut self, now: Instant) -> Option<Vec<Person>> {
        if self.next_beat.is_some_and(|at| at <= now) {
            (self.next_beat, self.note_due) = (None, true);
        }
        let (name, _) = self.nodes.iter().find(|(_, (silent_at, _))| *silent_at <= now)?;
        let name = name.clone();
        log::warn!("redis: node {name} has been silent for {MISSED_BEATS} beats and is removed, with its users");
        self.nodes.remove(&name).map(|(_, note)| note.people)
    }

    /// Returns the note to publish now, in JSON, and records it as sent; `None` if none is due and `users` has not changed.
    /// `users`: number of users here and how often it has changed, or `None` if this node stops. `people`: users to name.
    pub fn presence_note(
        &mut self, users: Option<(usize, u64)>, people: impl FnOnce() -> Vec<Person>, now: Instant,
    ) -> Option<Vec<u8>> {
        if !self.note_due && self.published == users {
            return None;
        }
        (self.published, self.note_due) = (users, false);
        let own = &mut self.own;
        (own.users, own.bye) = (users.map_or(0, |(count, _)| count), users.is_none());
        own.people = users.map(|_| people()).unwrap_or_default();
        self.next_beat = (own.users > 0).then(|| now + Duration::from_millis(own.beat));
        let note = serde_json::to_vec(own).expect("JSON with string keys is written to memory");
        (own.people, own.hello) = (Vec::new(), false);
        Some(note)
    }

    /// Handles the note of another node. Returns the node's boot, or `None` if the node stops or the note is our own.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) -> Result<Option<String>, Invalid> {
        let note: PresenceNote = serde_json::from_slice(bytes).map_err(|_| Invalid("not a presence note"))?;
        if note.boot == self.own.boot {
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
        if note.node == self.own.node {
            log::warn!("redis: another node is named {} as well; --instance must differ", note.node);
            return Err(Invalid("a presence note with the name of this node"));
        }
        self.note_due |= note.hello;
        let beat = Duration::from_millis(note.beat).clamp(MIN_BEAT, MAX_BEAT);
        let boot = (!note.bye).then(|| note.boot.clone());
        match note.users {
            // The bye of an earlier start of the node is ignored: it may arrive after notes of the present start.
            _ if note.bye && self.nodes.get(&note.node).is_some_and(|(_, known)| known.boot != note.boot) => {}
            0 => drop(self.nodes.remove(&note.node)),
            _ => drop(self.nodes.insert(note.node.clone(), (now + beat * MISSED_BEATS, note))),
        }
        Ok(boot)
    }
}
