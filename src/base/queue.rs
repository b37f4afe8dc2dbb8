//! Many queues of [`Bytes`] in one vector.
//!
//! Every connection has an outbox and every polling session a queue; nearly always all are empty, and in a
//! broadcast all fill at once. So the entries of all live in one [`Pool`], chained by index: an empty queue has
//! no buffer (rule R10), and a broadcast to a thousand recipients allocates nothing once the pool has grown.

use bytes::Bytes;
use std::{iter, mem};

/// End of a chain.
const NONE: u32 = u32::MAX;
/// An empty pool larger than this gives its memory back: 40 bytes each.
const KEEP: usize = 32 * 1024;

/// One first-in, first-out queue, with its entries in a [`Pool`]. Who drops one that may not be empty calls
/// [`Pool::clear`] first, or the entries stay.
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
    pub fn is_empty(&self) -> bool {
        self.first == NONE
    }

    /// Bytes in all entries together.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The entries of many queues: the bytes, and the index of the next.
pub struct Pool {
    entries: Vec<(Bytes, u32)>,
    /// First of the unused entries.
    free: u32,
    used: usize,
    bytes: usize,
}

impl Default for Pool {
    fn default() -> Self {
        Pool { entries: Vec::new(), free: NONE, used: 0, bytes: 0 }
    }
}

impl Pool {
    /// Entries in all queues together.
    pub fn len(&self) -> usize {
        self.used
    }

    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Bytes in all queues together; what stands in several counts several times.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn push(&mut self, queue: &mut Queue, bytes: Bytes) {
        queue.bytes += bytes.len();
        self.bytes += bytes.len();
        let index = match self.free {
            NONE => {
                self.entries.push((bytes, NONE));
                u32::try_from(self.entries.len() - 1).expect("queued bytes are limited far below 2^32 entries")
            }
            index => {
                self.free = mem::replace(&mut self.entries[index as usize], (bytes, NONE)).1;
                index
            }
        };
        match mem::replace(&mut queue.last, index) {
            NONE => queue.first = index,
            last => self.entries[last as usize].1 = index,
        }
        self.used += 1;
    }

    /// The entries of `queue`, oldest first.
    pub fn iter(&self, queue: &Queue) -> impl Iterator<Item = &Bytes> {
        let mut next = queue.first;
        iter::from_fn(move || {
            let (bytes, following) = self.entries.get(next as usize)?;
            next = *following;
            Some(bytes)
        })
    }

    /// The oldest entry of `queue`.
    pub fn front(&self, queue: &Queue) -> Option<&Bytes> {
        self.entries.get(queue.first as usize).map(|(bytes, _)| bytes)
    }

    /// Takes the oldest entry out of `queue`.
    pub fn pop(&mut self, queue: &mut Queue) -> Option<Bytes> {
        let index = queue.first;
        let (bytes, next) = self.entries.get_mut(index as usize)?;
        queue.first = mem::replace(next, self.free);
        if queue.first == NONE {
            queue.last = NONE;
        }
        let bytes = mem::take(bytes);
        queue.bytes -= bytes.len();
        self.bytes -= bytes.len();
        self.free = index;
        self.used -= 1;
        if self.used == 0 && self.entries.len() > KEEP {
            *self = Pool::default();
        }
        Some(bytes)
    }

    /// Drops all entries of `queue`.
    pub fn clear(&mut self, queue: &mut Queue) {
        while self.pop(queue).is_some() {}
    }
}
