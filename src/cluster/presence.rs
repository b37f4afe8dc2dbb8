//! Who is where: each node tells the others how many users it has, so that `numUsers` counts the whole cluster.
//!
//! `{"node","boot","users","people","beat","hello","bye"}` in JSON, on a channel of our own that servers for Node do not hear:
//! on change, at a slow beat while there are users, and when somebody new says hello. A node that is silent for three
//! beats is forgotten. The sum is always at hand and never waits for an answer.

use crate::socketio::{MAX_PEOPLE, Person};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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
struct Note {
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

struct Node {
    boot: String,
    users: usize,
    people: Vec<Person>,
    forget_at: Instant,
}

/// What this node knows of the others.
pub struct Presence {
    node: String,
    boot: String,
    beat: Duration,
    nodes: BTreeMap<String, Node>,
    /// What was told last: the number of users, and of changes.
    told: (usize, u64),
    /// When it is told again.
    next_beat: Option<Instant>,
    /// It is to be told as soon as possible, with a hello if we are new.
    tell: bool,
    hello: bool,
}

impl Presence {
    /// Nobody yet.
    pub fn new(node: String, boot: String, beat: Duration) -> Presence {
        let nodes = BTreeMap::new();
        Presence { node, boot, beat, nodes, told: (0, 0), next_beat: None, tell: false, hello: false }
    }

    /// Users of all other nodes.
    pub fn elsewhere(&self) -> usize {
        self.nodes.values().map(|node| node.users).sum()
    }

    /// Some of them.
    pub fn people(&self) -> Vec<Person> {
        self.nodes.values().flat_map(|node| &node.people).take(MAX_PEOPLE).cloned().collect()
    }

    /// Whether somebody on another node has this name, as far as names are told.
    pub fn knows(&self, name: &str) -> bool {
        self.nodes.values().any(|node| node.people.iter().any(|known| known.username == name))
    }

    /// By what others know this start of the node.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// The link is there: the others shall tell, and be told.
    pub fn greet(&mut self) {
        (self.tell, self.hello) = (true, true);
    }

    /// When [`Presence::expire`] wants to be called.
    pub fn due(&self) -> Option<Instant> {
        self.nodes.values().map(|node| node.forget_at).chain(self.next_beat).min()
    }

    /// Forgets one node that is silent: its people, if there is one.
    pub fn expire(&mut self, now: Instant) -> Option<Vec<Person>> {
        if self.next_beat.is_some_and(|at| at <= now) {
            (self.next_beat, self.tell) = (None, true);
        }
        let (name, _) = self.nodes.iter().find(|(_, node)| node.forget_at <= now)?;
        let name = name.clone();
        log::warn!("redis: node {name} has been silent for {BEATS} beats and is forgotten, with its users");
        self.nodes.remove(&name).map(|node| node.people)
    }

    /// What is to be told now, if anything: `users` are here, and `people` names them.
    pub fn note(&mut self, users: (usize, u64), people: impl FnOnce() -> Vec<Person>, now: Instant) -> Option<Vec<u8>> {
        if !self.tell && self.told == users {
            return None;
        }
        (self.told, self.tell) = (users, false);
        self.next_beat = (users.0 > 0).then(|| now + self.beat);
        let hello = std::mem::take(&mut self.hello);
        Some(self.write(Note { users: users.0, people: people(), hello, ..Note::default() }))
    }

    /// The last word of a node that stops.
    pub fn goodbye(&self) -> Vec<u8> {
        self.write(Note { bye: true, ..Note::default() })
    }

    fn write(&self, note: Note) -> Vec<u8> {
        let beat = self.beat.as_millis() as u64;
        let note = Note { node: self.node.clone(), boot: self.boot.clone(), beat, ..note };
        serde_json::to_vec(&note).expect("memory takes it")
    }

    /// Takes what another node tells; returns the boot of one that stays. `None`: that makes no sense.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) -> Option<Option<String>> {
        let note: Note = serde_json::from_slice(bytes).ok()?;
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
        self.tell |= note.hello;
        let beat = Duration::from_millis(note.beat).clamp(FASTEST_BEAT, SLOWEST_BEAT);
        let forget_at = now + beat * BEATS;
        let Note { node, boot, users, people, bye, .. } = note;
        let stays = (!bye).then(|| boot.clone());
        match users {
            // The last word of an earlier start of that node may come late.
            _ if bye && self.nodes.get(&node).is_some_and(|known| known.boot != boot) => {}
            0 => drop(self.nodes.remove(&node)),
            _ => drop(self.nodes.insert(node, Node { boot, users, people, forget_at })),
        }
        Some(stays)
    }
}
