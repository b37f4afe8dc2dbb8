//! Many queues of [`Bytes`] in one vector.
//!
//! Every connection has an outbox and every polling session a queue; both are empty nearly always and all
//! fill at once in a broadcast. So the entries of all of them live in one [`Pool`], chained by index: an
//! empty queue is three words without a buffer (rule R10), and a broadcast to a thousand recipients
//! allocates nothing once the pool has grown.

use bytes::Bytes;
use std::mem;

/// End of a chain.
const NONE: u32 = u32::MAX;
/// How often a pool that became empty looks whether it is larger than it needs to be.
const TRIM_EVERY: u32 = 64;

/// One first-in, first-out queue; its entries are in a [`Pool`]. Whoever drops a queue that is not empty
/// calls [`Pool::clear`] first, or its entries stay for ever.
#[derive(Debug)]
pub struct Queue {
    first: u32,
    last: u32,
    bytes: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Queue { first: NONE, last: NONE, bytes: 0 }
    }
}

impl Queue {
    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.first == NONE
    }

    /// Bytes in all entries together.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

struct Entry {
    bytes: Bytes,
    next: u32,
}

/// The entries of many queues.
pub struct Pool {
    entries: Vec<Entry>,
    /// First of the unused entries.
    free: u32,
    used: usize,
    /// The most entries in use since the last look, and the number of times the pool became empty since.
    peak: usize,
    emptied: u32,
}

impl Default for Pool {
    fn default() -> Self {
        Pool { entries: Vec::new(), free: NONE, used: 0, peak: 0, emptied: 0 }
    }
}

impl Pool {
    /// Entries in all queues together.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether all queues are empty.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Appends to `queue`.
    pub fn push(&mut self, queue: &mut Queue, bytes: Bytes) {
        queue.bytes += bytes.len();
        let entry = Entry { bytes, next: NONE };
        let index = self.free;
        let index = if index == NONE {
            self.entries.push(entry);
            u32::try_from(self.entries.len() - 1).expect("queued bytes are limited far below 2^32 entries")
        } else {
            self.free = mem::replace(&mut self.entries[index as usize], entry).next;
            index
        };
        match queue.last {
            NONE => queue.first = index,
            last => self.entries[last as usize].next = index,
        }
        queue.last = index;
        self.used += 1;
        self.peak = self.peak.max(self.used);
    }

    /// The entries of `queue`, oldest first.
    pub fn iter<'a>(&'a self, queue: &Queue) -> impl Iterator<Item = &'a Bytes> {
        let mut next = queue.first;
        std::iter::from_fn(move || {
            let entry = self.entries.get(next as usize)?;
            next = entry.next;
            Some(&entry.bytes)
        })
    }

    /// The oldest entry of `queue`.
    pub fn front(&self, queue: &Queue) -> Option<&Bytes> {
        self.entries.get(queue.first as usize).map(|entry| &entry.bytes)
    }

    /// Takes the oldest entry out of `queue`.
    pub fn pop(&mut self, queue: &mut Queue) -> Option<Bytes> {
        let index = queue.first;
        let entry = self.entries.get_mut(index as usize)?;
        queue.first = mem::replace(&mut entry.next, self.free);
        if queue.first == NONE {
            queue.last = NONE;
        }
        let bytes = mem::take(&mut entry.bytes);
        queue.bytes -= bytes.len();
        self.free = index;
        self.used -= 1;
        if self.used == 0 {
            self.trim();
        }
        Some(bytes)
    }

    /// Drops all entries of `queue`.
    pub fn clear(&mut self, queue: &mut Queue) {
        while self.pop(queue).is_some() {}
    }

    /// Gives memory back when a burst is over: now and then, and only what the last bursts did not need.
    fn trim(&mut self) {
        self.emptied += 1;
        if self.emptied < TRIM_EVERY {
            return;
        }
        if self.peak < self.entries.capacity() / 4 {
            self.entries = Vec::with_capacity(self.peak * 2);
            self.free = NONE;
        }
        self.emptied = 0;
        self.peak = 0;
    }
}
