//! Many queues of [`Bytes`] in one vector.
//!
//! Every connection has an outbox, and every polling session has a queue. Most of the time nearly all of them are empty, but
//! a broadcast fills all of them at once. Therefore many share one [`Pool`] of entries, which are linked by number: an empty
//! queue has no buffer (rule R10), and a broadcast to a thousand recipients allocates nothing once the pool has grown.

use super::held::ENTRY;
use bytes::Bytes;
use std::{iter, mem};

/// Stands for "no entry": it marks the end of a linked list of entries, and an empty list. Entries are numbered from 1.
const NONE: u32 = 0;
/// A pool that has grown to more than this number of entries (of 40 bytes each) releases its memory when it becomes empty.
const KEEP: usize = 32 * 1024;

/// One FIFO queue; its entries are in a [`Pool`]. Call [`Pool::clear`] before a queue that still has entries is dropped:
/// otherwise the entries stay in the pool for ever.
#[derive(Debug, Default)]
pub struct Queue {
    first: u32,
    last: u32,
    /// The bytes counted against the limits of one client: shared buffers in full, and [`ENTRY`] for each entry.
    held: u32,
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.first == NONE
    }

    pub fn has_several(&self) -> bool {
        self.first != self.last
    }

    pub fn held(&self) -> usize {
        self.held as usize
    }
}

/// The entries of many queues.
#[derive(Default)]
pub struct Pool {
    /// Per entry: its bytes and the number of the next entry of the same queue. An unused entry links to the next unused
    /// one.
    entries: Vec<(Bytes, u32)>,
    /// Number of the first unused entry, or [`NONE`] if every entry is used.
    free: u32,
    /// Number of entries in all queues.
    pub len: usize,
}

/// Returns the index of an entry in `entries`: for [`NONE`] one that is always out of range.
fn index(number: u32) -> usize {
    (number as usize).wrapping_sub(1)
}

impl Pool {
    pub fn push(&mut self, queue: &mut Queue, bytes: Bytes) {
        queue.held += u32::try_from(bytes.len() + ENTRY).expect("a queue is limited to a gigabyte");
        let number = match self.free {
            NONE => {
                self.entries.push((bytes, NONE));
                u32::try_from(self.entries.len()).expect("queued bytes are limited far below 2^32 entries")
            }
            number => {
                self.free = mem::replace(&mut self.entries[index(number)], (bytes, NONE)).1;
                number
            }
        };
        match mem::replace(&mut queue.last, number) {
            NONE => queue.first = number,
            last => self.entries[index(last)].1 = number,
        }
        self.len += 1;
    }

    /// Returns the entries of `queue`, oldest first.
    pub fn iter(&self, queue: &Queue) -> impl Iterator<Item = &Bytes> {
        let mut next = queue.first;
        iter::from_fn(move || {
            let (bytes, following) = self.entries.get(index(next))?;
            next = *following;
            Some(bytes)
        })
    }

    pub fn front(&self, queue: &Queue) -> Option<&Bytes> {
        self.entries.get(index(queue.first)).map(|(bytes, _)| bytes)
    }

    pub fn pop(&mut self, queue: &mut Queue) -> Option<Bytes> {
        let number = queue.first;
        let (bytes, next) = self.entries.get_mut(index(number))?;
        queue.first = mem::replace(next, self.free);
        if queue.first == NONE {
            queue.last = NONE;
        }
        let bytes = mem::take(bytes);
        queue.held -= (bytes.len() + ENTRY) as u32;
        self.free = number;
        self.len -= 1;
        if self.len == 0 && self.entries.len() > KEEP {
            *self = Pool::default();
        }
        Some(bytes)
    }

    /// Replaces the newest entry of a queue that is not empty.
    pub fn replace_last(&mut self, queue: &mut Queue, bytes: Bytes) {
        let (last, _) = &mut self.entries[index(queue.last)];
        queue.held = queue.held - last.len() as u32 + bytes.len() as u32;
        *last = bytes;
    }

    pub fn clear(&mut self, queue: &mut Queue) {
        while self.pop(queue).is_some() {}
    }
}
