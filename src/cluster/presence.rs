//! Who is where: each node tells the others how many users it has, so that `numUsers` counts the whole cluster.
//!
//! `{"node","boot","users","people","beat","hello","bye"}` in JSON, on a channel of our own that servers for Node do not hear:
//! on change, at a slow beat while there are users, and when somebody new says hello. A node that is silent for three
//! beats is forgotten. The sum is always at hand and never waits for an answer.

use crate::socketio::{Elsewhere, MAX_PEOPLE, Person};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::mem;
use std::time::{Duration, Instant};

/// Nodes that are listened to.
const MAX_NODES: usize = 1_000;
/// Users that one node can claim to have.
const MAX_USERS: usize = 1_000_000;
/// Beats after which a silent node is forgotten.
const BEATS: u32 = 3;
/// Beats that a node can claim to have.
const SLOWEST_BEAT: Duration = Duration::from_secs(600);
const FASTEST_BEAT: Duration = Duration::from_millis(100);

/// What a node tells.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct PresenceNote {
    node: String,
    /// Another each time the node starts: what it said before is void.
    boot: String,
    users: usize,
    people: Vec<Person>,
    /// Milliseconds until it tells again.
    beat: u64,
    /// It is new, and wants to know.
    hello: bool,
    /// It stops; its users will be back elsewhere.
    bye: bool,
}

/// What this node knows of the others.
pub struct Presence {
    node: String,
    boot: String,
    beat: Duration,
    /// What each has told last, and when it is forgotten.
    nodes: BTreeMap<String, (Instant, PresenceNote)>,
    /// What was told last: the number of users, and of changes; `None`: that this node stops.
    told: Option<(usize, u64)>,
    /// When it is told again.
    next_beat: Option<Instant>,
    /// It is to be told as soon as possible, with a hello if we are new.
    note_due: bool,
    hello: bool,
}

impl Presence {
    /// Nobody yet.
    pub fn new(node: String, boot: String, beat: Duration) -> Presence {
        let nodes = BTreeMap::new();
        Presence { node, boot, beat, nodes, told: Some((0, 0)), next_beat: None, note_due: false, hello: false }
    }

    /// Who is on all other nodes; of `lost`, who were on one that is no more, those that no other tells of.
    pub fn elsewhere(&self, mut lost: Vec<Person>) -> Elsewhere {
        let notes = || self.nodes.values().map(|(_, note)| note);
        let people = || notes().flat_map(|note| &note.people);
        lost.retain(|person| people().all(|known| known.username != person.username));
        let users = notes().map(|note| note.users).sum();
        Elsewhere { users, people: people().take(MAX_PEOPLE).cloned().collect(), lost }
    }

    /// By what others know this start of the node.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// The link is there: the others shall tell, and be told.
    pub fn greet(&mut self) {
        (self.note_due, self.hello) = (true, true);
    }

    /// When [`Presence::expire`] wants to be called.
    pub fn due(&self) -> Option<Instant> {
        self.nodes.values().map(|(forget_at, _)| *forget_at).chain(self.next_beat).min()
    }

    /// Forgets one node that is silent: its people, if there is one.
    pub fn expire(&mut self, now: Instant) -> Option<Vec<Person>> {
        if self.next_beat.is_some_and(|at| at <= now) {
            (self.next_beat, self.note_due) = (None, true);
        }
        let (name, _) = self.nodes.iter().find(|(_, (forget_at, _))| *forget_at <= now)?;
        let name = name.clone();
        log::warn!("redis: node {name} has been silent for {BEATS} beats and is forgotten, with its users");
        self.nodes.remove(&name).map(|(_, note)| note.people)
    }

    /// What is to be told now, if anything: `users` are here, and `people` names them; or this node stops.
    pub fn note(
        &mut self, users: Option<(usize, u64)>, people: impl FnOnce() -> Vec<Person>, now: Instant,
    ) -> Option<Vec<u8>> {
        if !self.note_due && self.told == users {
            return None;
        }
        (self.told, self.note_due) = (users, false);
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
        Some(serde_json::to_vec(&note).expect("memory takes it"))
    }

    /// Takes what another node tells; returns the boot of one that stays. `None`: that makes no sense.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) -> Option<Option<String>> {
        let note: PresenceNote = serde_json::from_slice(bytes).ok()?;
        let known = self.nodes.contains_key(&note.node) || self.nodes.len() < MAX_NODES;
        let short = note.node.len() <= 64
            && note.boot.len() <= 64
            && note.people.iter().all(|person| person.username.len() <= 1_024 && person.user.len() <= 64);
        if note.boot == self.boot {
            return Some(None);
        }
        if !known || !short || note.people.len() > MAX_PEOPLE || note.users > MAX_USERS {
            return None;
        }
        if note.node == self.node {
            log::warn!("redis: another node calls itself {} as well; --instance must differ", note.node);
            return None;
        }
        self.note_due |= note.hello;
        let beat = Duration::from_millis(note.beat).clamp(FASTEST_BEAT, SLOWEST_BEAT);
        let stays = (!note.bye).then(|| note.boot.clone());
        match note.users {
            // The last word of an earlier start of that node may come late.
            _ if note.bye && self.nodes.get(&note.node).is_some_and(|(_, known)| known.boot != note.boot) => {}
            0 => drop(self.nodes.remove(&note.node)),
            _ => drop(self.nodes.insert(note.node.clone(), (now + beat * BEATS, note))),
        }
        Some(stays)
    }
}
