//! Deadlines in order: one set, at most one entry per key.
//!
//! Whoever owns a timer keeps its [`Deadline`] beside the state it belongs to; the set keeps them sorted.
//! An empty set means that the loop sleeps until somebody writes: an idle process never wakes.

use std::{collections::BTreeSet, time::Instant};

/// When a key is due, as its owner remembers it; `None` while no timer runs.
pub type Deadline = Option<Instant>;

/// The deadlines of all keys of one kind.
pub struct Timers<K> {
    set: BTreeSet<(Instant, K)>,
}

impl<K: Copy + Ord> Default for Timers<K> {
    fn default() -> Self {
        Timers { set: BTreeSet::new() }
    }
}

impl<K: Copy + Ord> Timers<K> {
    /// Makes `key` due at `at`, instead of when it was due before.
    pub fn set(&mut self, key: K, deadline: &mut Deadline, at: Instant) {
        if *deadline != Some(at) {
            self.clear(key, deadline);
            self.set.insert((at, key));
            *deadline = Some(at);
        }
    }

    /// Stops the timer of `key`, if it runs.
    pub fn clear(&mut self, key: K, deadline: &mut Deadline) {
        if let Some(at) = deadline.take() {
            self.set.remove(&(at, key));
        }
    }

    /// The nearest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.set.first().map(|(at, _)| *at)
    }

    /// Takes one key that is due at `now`; its owner clears its [`Deadline`], which is harmless now, or sets it anew.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, K)> {
        match self.set.first() {
            Some((at, _)) if *at <= now => self.set.pop_first(),
            _ => None,
        }
    }

    /// The keys that are due at `until` or before; their timers run on.
    pub fn due_by(&self, until: Instant) -> Vec<K> {
        self.set.iter().take_while(|(at, _)| *at <= until).map(|(_, key)| *key).collect()
    }

    /// How many timers run.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether no timer runs.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}
