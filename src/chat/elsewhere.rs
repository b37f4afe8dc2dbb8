//! The users of other nodes: those whom the nodes report, and those whom clients of this node know.
//!
//! Clients hear of a user from `user joined` and `user left`, which the user's node publishes. If such an event is lost, or
//! the node is, then reports differ from what clients have heard. This node tells them such a difference itself, if it lasts:
//! an event and the report that follows it are only a moment apart. A user who moves to another node, or to this one, is
//! reported by both nodes until the old one notices; it is one user, who has not left when the old node says so.

use crate::socketio::Person;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// Maximum number of users of other nodes whom clients here know. Events about further ones are passed on, but not repeated.
const MAX_HEARD: usize = 100_000;

/// The report of a node: the number of its users, how many of them it names, and their tags.
#[derive(Default, PartialEq, Eq)]
struct Report {
    users: usize,
    named: usize,
    tags: BTreeSet<String>,
}

/// A user whom nodes report.
struct Reported {
    username: String,
    nodes: usize,
}

/// A user whom clients here know.
struct Heard {
    username: String,
    /// The time since which no node reports the user.
    missing_since: Option<Instant>,
}

#[derive(Default)]
pub(super) struct Elsewhere {
    /// The tags of users of this node, each with the number of its sockets. They do not count as users of another node.
    here: HashMap<String, usize>,
    nodes: BTreeMap<String, Report>,
    /// The users in `nodes` by tag, and how many of them are `here` as well.
    reported: BTreeMap<String, Reported>,
    both: usize,
    /// Users whose `user joined` clients here have heard, and whose `user left` they have not, by tag.
    heard: BTreeMap<String, Heard>,
    /// The `numUsers` that clients here have heard last.
    pub told: usize,
    /// The time of the next comparison, and whether there was one.
    pub due: Option<Instant>,
    pub is_compared: bool,
}

impl Elsewhere {
    /// Takes the report of a node and, if it differs from the last one, has it compared at the time `at`.
    pub fn report(&mut self, node: &str, users: usize, people: Vec<Person>, at: Instant) {
        let (named, users) = (people.len(), users.max(people.len()));
        let people: BTreeMap<_, _> = people.into_iter().map(|Person { username, user }| (user, username)).collect();
        let report = Report { users, named, tags: people.keys().cloned().collect() };
        if self.nodes.get(node).unwrap_or(&Report::default()) == &report {
            return;
        }
        self.due.get_or_insert(at);
        for (tag, username) in people {
            let is_here = self.here.contains_key(&tag);
            let reported = self.reported.entry(tag).or_insert(Reported { username, nodes: 0 });
            self.both += usize::from(reported.nodes == 0 && is_here);
            reported.nodes += 1;
        }
        let last = if users > 0 { self.nodes.insert(node.to_owned(), report) } else { self.nodes.remove(node) };
        for tag in last.into_iter().flat_map(|last| last.tags) {
            if let Some(reported) = self.reported.get_mut(&tag) {
                reported.nodes -= 1;
                if reported.nodes == 0 {
                    self.reported.remove(&tag);
                    self.both -= usize::from(self.here.contains_key(&tag));
                }
            }
        }
    }

    /// Notes that the user with this tag has a socket here, or one more. Returns whether clients here know the user.
    pub fn enter(&mut self, tag: String) -> bool {
        let was_heard = self.heard.remove(&tag).is_some();
        let is_reported = self.reported.contains_key(&tag);
        let sockets = self.here.entry(tag).or_default();
        *sockets += 1;
        self.both += usize::from(*sockets == 1 && is_reported);
        was_heard || *sockets > 1
    }

    /// Notes that the user has a socket less here. Returns whether the user has another, here or on another node.
    pub fn exit(&mut self, Person { username, user }: Person) -> bool {
        match self.here.get_mut(&user) {
            Some(sockets) if *sockets > 1 => {
                *sockets -= 1;
                true
            }
            _ => {
                self.here.remove(&user);
                let is_reported = self.reported.contains_key(&user);
                if is_reported {
                    self.both -= 1;
                    self.know(username, user);
                }
                is_reported
            }
        }
    }

    /// Returns the number of users on all other nodes.
    pub fn users(&self) -> usize {
        let unnamed: usize = self.nodes.values().map(|report| report.users - report.tags.len()).sum();
        unnamed + self.reported.len() - self.both
    }

    /// Returns users of other nodes whom clients here know: what they hear from now on adds to these.
    pub fn people(&self) -> impl Iterator<Item = Person> {
        self.heard.iter().map(|(tag, heard)| Person { username: heard.username.clone(), user: tag.clone() })
    }

    fn know(&mut self, username: String, tag: String) {
        if self.heard.len() < MAX_HEARD {
            self.heard.insert(tag, Heard { username, missing_since: None });
        }
    }

    /// Notes that a node says that a user has `joined` or left. Returns whether clients here are to hear it: not of a user
    /// whom they know, who has come to one more node, nor of one who is still on another. Nor do they hear, before the first
    /// comparison, that a user whom they do not know has left: if a node reports the user, they would not hear of the return.
    pub fn hear(&mut self, joined: bool, Person { username, user }: Person) -> bool {
        let is_known = self.heard.contains_key(&user);
        let is_elsewhere = self.reported.get(&user).is_some_and(|reported| reported.nodes > 1);
        let is_news = if joined { !is_known } else { !is_elsewhere && (is_known || self.is_compared) };
        if !is_news || self.here.contains_key(&user) {
            return false;
        }
        match joined {
            true => self.know(username, user),
            false => drop(self.heard.remove(&user)),
        }
        true
    }

    /// Returns users whom nodes report and clients here have not heard of. They then count as heard.
    pub fn take_unheard(&mut self) -> Vec<Person> {
        let is_unheard = |tag: &String| !self.here.contains_key(tag) && !self.heard.contains_key(tag);
        let unheard = self.reported.iter().filter(|(tag, _)| is_unheard(tag)).take(MAX_HEARD - self.heard.len());
        let person =
            |(tag, reported): (&String, &Reported)| Person { username: reported.username.clone(), user: tag.clone() };
        let unheard: Vec<Person> = unheard.map(person).collect();
        unheard.iter().for_each(|Person { username, user }| self.know(username.clone(), user.clone()));
        unheard
    }

    /// Returns users whom clients here know and no node has reported for `grace`; users of whom a node does not report the
    /// names are not missing. They then count as gone.
    pub fn take_missing(&mut self, grace: Duration, now: Instant) -> Vec<Person> {
        let is_complete = self.nodes.values().all(|report| report.users == report.named);
        let (mut gone, mut next) = (Vec::new(), None::<Instant>);
        self.heard.retain(|user, heard| {
            if self.reported.contains_key(user) || !is_complete {
                heard.missing_since = None;
                return true;
            }
            let until = *heard.missing_since.get_or_insert(now) + grace;
            if until > now {
                next = next.into_iter().chain([until]).min();
                return true;
            }
            gone.push(Person { username: heard.username.clone(), user: user.clone() });
            false
        });
        self.due = next;
        gone
    }
}
