//! Presence: which nodes there are, how many users each has, and some of their names.
//!
//! Every node publishes notes, `{"node","boot","users","people","beat","hello","bye"}` in JSON, on a channel to which only
//! salon servers subscribe: when it connects (a hello) or stops (a bye), when its users change, at every beat, and in reply
//! to a hello. A node that misses 3 beats is removed, unless our own link may be the cause.
//!
//! Notes also tell whom to ask for messages that this node has missed (catch-up): a node that is new, for what it has of the
//! time since its last start was heard, and after a failure of our own link every node. Without an answer, for example
//! because the node is not back yet either, the question is repeated, after one beat, two, four and so on: a node without
//! history never answers. One more, after the answer, is for what had not yet reached the other node at the first time.

use crate::socketio::packet::Invalid;
use crate::socketio::{MAX_PEOPLE, Person};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Maximum number of other nodes that are known; notes of further nodes are refused.
const MAX_NODES: usize = 1_000;
/// Maximum number of nodes that are asked for missed messages.
const MAX_ASKED: usize = 16;
/// Maximum number of answers, of about 256 KiB each, that are accepted after a question; further ones are refused.
const MAX_ANSWERS: usize = 64;
/// Maximum number of users that a node may report.
const MAX_USERS: usize = 1_000_000;
/// Maximum bytes of the name of a node, of a boot, and of the tag of a user.
const MAX_ID: usize = 64;
/// Maximum bytes of the name of a user.
const MAX_NAME: usize = 1_024;
/// Maximum number of beats after which a question is repeated.
const MAX_WAIT: u32 = 1_024;
/// Number of beats without a note after which a node is removed.
const MISSED_BEATS: u32 = 3;
/// Limits of the beat that another node reports. A beat outside of them is set to the nearer limit.
const MIN_BEAT: Duration = Duration::from_millis(100);
const MAX_BEAT: Duration = Duration::from_secs(600);
/// A question for missed messages goes back so much further than the last proof of life: messages are sent before they
/// arrive, and Redis may stall for 25 s without a failure of the link (see `link`).
const MARGIN: Duration = Duration::from_secs(30);

/// The presence of one node, as the node publishes it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PresenceNote {
    pub(super) node: String,
    /// Identifies one start of the node.
    pub(super) boot: String,
    pub(super) users: usize,
    pub(super) people: Vec<Person>,
    /// Interval of the node's notes, in milliseconds.
    beat: u64,
    /// Whether the node has just connected and asks all other nodes for their notes.
    hello: bool,
    /// Whether the node is stopping.
    bye: bool,
}

/// Another node.
struct Node {
    boot: String,
    /// The time of its last note.
    heard: Instant,
    /// The time at which it is removed unless a note arrives.
    silent_at: Instant,
    beat: Duration,
    /// The number of answers that are accepted from it before the next question; `None` if it is not to be asked.
    answers: Option<usize>,
    question: Option<Question>,
}

/// A question for missed messages that is to be sent.
struct Question {
    at: Instant,
    /// The time since which messages may be missing; `None` for all.
    since: Option<Instant>,
    /// The time at which the same question was sent before; `None` if this is the first one.
    asked: Option<Instant>,
    /// The number of beats after which it is repeated; 0 if this is the one after the answer.
    beats: u32,
}

impl Question {
    fn first(at: Instant, since: Option<Instant>) -> Question {
        Question { at, since, asked: None, beats: 1 }
    }
}

/// The presence of other nodes, and the state of our own notes.
pub struct Presence {
    /// Our own note. Its `people` are set only while it is encoded, because the application has them.
    pub(super) own: PresenceNote,
    nodes: BTreeMap<String, Node>,
    /// The number of users in our last note, and how often the number had changed by then; `None` if the note was a bye.
    published: Option<(usize, u64)>,
    /// The time at which our next note is published even if nothing has changed; `None` before the first note.
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

    /// Makes the next note a hello, and due at once. Called when Redis has become reachable. `missed_since`: the last proof
    /// that our subscriptions worked; all nodes are asked for messages since then. Questions may have been lost as well.
    pub fn greet(&mut self, missed_since: Option<Instant>, now: Instant) {
        (self.note_due, self.own.hello) = (true, true);
        for node in self.nodes.values_mut() {
            node.silent_at = now + node.beat * MISSED_BEATS;
            let unanswered = node.question.as_ref().map(|question| question.since);
            let since = unanswered.into_iter().chain(missed_since.map(Some)).min();
            if let Some(since) = since.filter(|_| node.answers.is_some()) {
                node.question = Some(Question::first(now, since));
            }
        }
    }

    /// Returns the time at which [`Presence::expire`] and [`Presence::question`] are to be called.
    pub fn due(&self) -> Option<Instant> {
        let times = |node: &Node| [Some(node.silent_at), node.question.as_ref().map(|question| question.at)];
        self.nodes.values().flat_map(times).flatten().chain(self.next_beat).min()
    }

    /// Makes our note due if a beat has passed. Removes one silent node and returns its name, or `None` if none is silent.
    /// `heard`: the time at which Redis was last heard. A node is not silent if Redis has been silent as well.
    pub fn expire(&mut self, heard: Instant, now: Instant) -> Option<String> {
        if self.next_beat.is_some_and(|at| at <= now) {
            (self.next_beat, self.note_due) = (None, true);
        }
        let mut silent = self.nodes.iter_mut().filter(|(_, node)| node.silent_at <= now);
        let name = silent.find_map(|(name, node)| {
            let deaf = heard < node.heard + node.beat * (MISSED_BEATS - 1);
            node.silent_at = if deaf { now + node.beat } else { now };
            (!deaf).then(|| name.clone())
        })?;
        log::warn!("redis: node {name:?} has been silent for {MISSED_BEATS} beats and is removed, with its users");
        self.nodes.remove(&name);
        Some(name)
    }

    /// Returns the boot of a node that is to be asked now for missed messages, and their maximum age; `None` for all.
    pub fn question(&mut self, now: Instant) -> Option<(String, Option<Duration>)> {
        let beat = Duration::from_millis(self.own.beat);
        let node = self.nodes.values_mut().find(|node| node.question.as_ref().is_some_and(|next| next.at <= now))?;
        let Question { since, beats, .. } = node.question.take()?;
        node.answers = Some(MAX_ANSWERS);
        let next = Question { at: now + beat * beats, since, asked: Some(now), beats: (2 * beats).min(MAX_WAIT) };
        node.question = (beats > 0).then_some(next);
        Some((node.boot.clone(), since.map(|since| now - since + MARGIN)))
    }

    /// Whether an answer of the node with this boot is accepted, and counts it. The question is not repeated meanwhile.
    pub fn takes_answer(&mut self, boot: &str, now: Instant) -> bool {
        let Some(node) = self.nodes.values_mut().find(|node| node.boot == boot) else { return false };
        let Some(left) = node.answers.as_mut().filter(|left| **left > 0) else { return false };
        *left -= 1;
        if let Some(next) = &mut node.question {
            next.at = next.at.max(now + Duration::from_millis(self.own.beat));
        }
        true
    }

    /// Notes that the node with this boot has sent its last answer: one question follows, for what is newer.
    pub fn answered(&mut self, boot: &str, now: Instant) {
        let next = self.nodes.values_mut().find(|node| node.boot == boot).and_then(|node| node.question.as_mut());
        if let Some(next) = next.filter(|next| next.asked.is_some()) {
            let at = now + Duration::from_millis(self.own.beat);
            *next = Question { at, since: next.asked, asked: None, beats: 0 };
        }
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
        self.next_beat = users.map(|_| now + Duration::from_millis(own.beat));
        let note = serde_json::to_vec(own).expect("JSON with string keys is written to memory");
        (own.people, own.hello) = (Vec::new(), false);
        Some(note)
    }

    /// Handles a note. Returns it, without users if the node stops, or `None` if it is our own or out of date.
    pub(super) fn receive(&mut self, bytes: &[u8], now: Instant) -> Result<Option<PresenceNote>, Invalid> {
        let mut note: PresenceNote = serde_json::from_slice(bytes).map_err(|_| Invalid("not a presence note"))?;
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
            log::warn!("redis: another node is named {:?} as well; --instance must differ", note.node);
            return Err(Invalid("a presence note with the name of this node"));
        }
        self.note_due |= note.hello;
        if note.bye {
            // The bye of an earlier start of the node is ignored: it may arrive after notes of the present start.
            let stops = self.nodes.get(&note.node).is_some_and(|known| known.boot == note.boot);
            if stops {
                self.nodes.remove(&note.node);
            }
            (note.users, note.people) = (0, Vec::new());
            return Ok(stops.then_some(note));
        }
        let beat = Duration::from_millis(note.beat).clamp(MIN_BEAT, MAX_BEAT);
        let silent_at = now + beat * MISSED_BEATS;
        let known = self.nodes.remove(&note.node);
        let node = match known {
            Some(known) if known.boot == note.boot => {
                // A hello says that its link is back: it may not have heard what it was asked before.
                let again =
                    |question: Question| if note.hello { Question::first(now, question.since) } else { question };
                Node { heard: now, silent_at, beat, question: known.question.map(again), ..known }
            }
            earlier => {
                let asked = self.nodes.values().filter(|node| node.answers.is_some()).count() < MAX_ASKED;
                // What the earlier start was still to be asked has to come from this one.
                let since = earlier.map(|Node { heard, question, .. }| {
                    question.map_or(Some(heard), |question| question.since.min(Some(heard)))
                });
                let question = asked.then(|| Question::first(now, since.flatten()));
                Node { boot: note.boot.clone(), heard: now, silent_at, beat, answers: asked.then_some(0), question }
            }
        };
        self.nodes.insert(note.node.clone(), node);
        Ok(Some(note))
    }
}
