//! The users of other nodes: those whom the nodes report, and those whom clients of this node know.
//!
//! Clients hear of a user from `user joined` and `user left`, which the user's node publishes. If such an event is lost, or
//! the node is, then reports differ from what clients have heard. This node tells them such a difference itself, if it lasts:
//! an event and the report that follows it are only a moment apart.

use crate::socketio::Person;
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

/// Maximum number of users of other nodes whom clients here know. Events about further ones are passed on, but not repeated.
const MAX_HEARD: usize = 100_000;

/// A user whom clients here know.
struct Heard {
    username: String,
    /// The time since which no node reports the user.
    missing_since: Option<Instant>,
}

#[derive(Default)]
pub(super) struct Elsewhere {
    /// What each node reports: the number of its users, and some of them.
    nodes: BTreeMap<String, (usize, Vec<Person>)>,
    /// Users whose `user joined` clients here have heard, and whose `user left` they have not, by tag.
    heard: BTreeMap<String, Heard>,
    /// The `numUsers` that clients here have heard last.
    pub told: usize,
    /// The time of the next comparison.
    pub due: Option<Instant>,
}

impl Elsewhere {
    /// Takes the report of a node, and has it compared at the time `at`. Whom it names is no longer counted on other nodes.
    pub fn report(&mut self, node: &str, users: usize, people: Vec<Person>, at: Instant) {
        let report = (users, people);
        if self.nodes.get(node) == Some(&report) {
            return;
        }
        self.nodes.remove(node);
        let tags: HashSet<&str> = report.1.iter().map(|person| &*person.user).collect();
        self.drop_people(|person| tags.contains(&*person.user));
        if users > 0 {
            self.nodes.insert(node.to_owned(), report);
        }
        self.due.get_or_insert(at);
    }

    fn drop_people(&mut self, is_dropped: impl Fn(&Person) -> bool) {
        for (users, people) in self.nodes.values_mut() {
            let before = people.len();
            people.retain(|person| !is_dropped(person));
            *users = users.saturating_sub(before - people.len());
        }
    }

    /// Notes that the user with this tag is now one of this node. Returns whether clients here know the user.
    pub fn take(&mut self, tag: &str) -> bool {
        self.drop_people(|person| person.user == tag);
        self.heard.remove(tag).is_some()
    }

    /// Returns the number of users on all other nodes.
    pub fn users(&self) -> usize {
        self.nodes.values().map(|(users, _)| users).sum()
    }

    /// Returns users whom nodes report.
    pub fn people(&self) -> impl Iterator<Item = &Person> {
        self.nodes.values().flat_map(|(_, people)| people)
    }

    /// Notes that clients hear that a user of another node has `joined` or left.
    pub fn hear(&mut self, joined: bool, Person { username, user }: Person) {
        if !joined {
            self.heard.remove(&user);
        } else if self.heard.len() < MAX_HEARD {
            self.heard.insert(user, Heard { username, missing_since: None });
        }
    }

    /// Compares reports with what clients have heard. Returns who has come, and who has been missing for `grace`; users of
    /// whom a node does not report the names are not missing. Both then count as heard.
    pub fn compare(&mut self, grace: Duration, now: Instant) -> [Vec<Person>; 2] {
        let unheard = self.people().filter(|person| !self.heard.contains_key(&person.user));
        let come: Vec<Person> = unheard.take(MAX_HEARD - self.heard.len()).cloned().collect();
        come.iter().for_each(|person| self.hear(true, person.clone()));

        let is_complete = self.nodes.values().all(|(users, people)| *users <= people.len());
        let reported: HashSet<&str> =
            self.nodes.values().flat_map(|(_, people)| people).map(|person| &*person.user).collect();
        let (mut gone, mut next) = (Vec::new(), None::<Instant>);
        self.heard.retain(|user, heard| {
            if reported.contains(&**user) || !is_complete {
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
        [come, gone]
    }
}
