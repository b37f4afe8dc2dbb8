//! Many queues of [`Bytes`] in one vector.
//!
//! Every connection has an outbox and every polling session a queue. Nearly always all of these queues are empty,
//! and a broadcast fills all of them at once. So the entries of all queues are in one [`Pool`], linked by index: an empty
//! queue has no buffer (rule R10), and a broadcast to a thousand recipients allocates nothing once the pool has grown.

use bytes::Bytes;
use std::{iter, mem};

/// In place of an index: the end of a linked list.
const NONE: u32 = u32::MAX;
/// A pool with more than this number of entries releases its memory when it becomes empty. An entry takes 40 bytes.
const KEEP: usize = 32 * 1024;

/// One FIFO queue, with its entries in a [`Pool`]. A queue that may not be empty must be passed to [`Pool::clear`] before
/// it is dropped, or its entries leak.
#[derive(Debug)]
pub struct Queue {
    first: u32,
    last: u32,
    /// Sum of the lengths of the entries in this queue, in bytes.
    pub bytes: usize,
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
}

/// The memory that holds the entries of many queues.
pub struct Pool {
    /// Per entry: its bytes, and the index of the next entry of the same queue (if unused: of the next unused entry).
    entries: Vec<(Bytes, u32)>,
    /// Index of the first unused entry, which links to the other unused entries.
    free: u32,
    /// Number of entries in all queues.
    pub len: usize,
    /// Sum of the lengths of all entries, in bytes. A buffer that is in several queues counts several times.
    pub bytes: usize,
}

impl Default for Pool {
    fn default() -> Self {
        Pool { entries: Vec::new(), free: NONE, len: 0, bytes: 0 }
    }
}

impl Pool {
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
        self.len += 1;
    }

    /// Returns the entries of `queue`, oldest first.
    pub fn iter(&self, queue: &Queue) -> impl Iterator<Item = &Bytes> {
        let mut next = queue.first;
        iter::from_fn(move || {
            let (bytes, following) = self.entries.get(next as usize)?;
            next = *following;
            Some(bytes)
        })
    }

    pub fn front(&self, queue: &Queue) -> Option<&Bytes> {
        self.entries.get(queue.first as usize).map(|(bytes, _)| bytes)
    }

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
        self.len -= 1;
        if self.len == 0 && self.entries.len() > KEEP {
            *self = Pool::default();
        }
        Some(bytes)
    }

    pub fn clear(&mut self, queue: &mut Queue) {
        while self.pop(queue).is_some() {}
    }
}
