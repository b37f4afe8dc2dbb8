//! Timers: a set of deadlines in order of time, with at most one entry per key.
//!
//! The owner of a timer keeps a copy of its deadline, a [`Deadline`]: with it, the entry is found when the timer is moved or
//! stopped. While no timer runs, the event loop sleeps until the next I/O, so an idle process is not woken.

use std::{collections::BTreeSet, time::Instant};

/// The owner's copy of the time at which a timer is due; `None` while the timer is not running.
pub type Deadline = Option<Instant>;

/// The running timers of all keys of one kind.
pub struct Timers<K> {
    set: BTreeSet<(Instant, K)>,
}

impl<K: Copy + Ord> Default for Timers<K> {
    fn default() -> Self {
        Timers { set: BTreeSet::new() }
    }
}

impl<K: Copy + Ord> Timers<K> {
    /// Starts or moves the timer of `key`, so that it is due at `at`. `deadline` is the owner's copy and is updated.
    pub fn set(&mut self, key: K, deadline: &mut Deadline, at: Instant) {
        if *deadline != Some(at) {
            self.clear(key, deadline);
            self.set.insert((at, key));
            *deadline = Some(at);
        }
    }

    /// Stops the timer of `key`, if it is running. `deadline` is the owner's copy and is updated.
    pub fn clear(&mut self, key: K, deadline: &mut Deadline) {
        if let Some(at) = deadline.take() {
            self.set.remove(&(at, key));
        }
    }

    /// Returns the earliest deadline, or `None` if no timer is running.
    pub fn next(&self) -> Option<Instant> {
        self.set.first().map(|(at, _)| *at)
    }

    /// Removes and returns the earliest entry if it is due at `now`. The caller must then clear or set the owner's
    /// [`Deadline`], because it still holds the old time.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, K)> {
        self.set.first().filter(|(at, _)| *at <= now)?;
        self.set.pop_first()
    }

    /// Returns the keys of all timers that are due at `until` or earlier. These timers keep running.
    pub fn due_by(&self, until: Instant) -> Vec<K> {
        self.set.iter().take_while(|(at, _)| *at <= until).map(|(_, key)| *key).collect()
    }

    pub fn len(&self) -> usize {
        self.set.len()
    }

    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}
