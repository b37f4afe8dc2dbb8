//! Values in slabs, named by typed keys.
//!
//! A [`Key`] is the index of a slot and a generation. Removing a value increments the generation of its slot, so a stale key
//! finds nothing rather than the next value in the slot (rule R1). A slot that has used all its generations is not filled
//! again. A key packs into one `usize`, the size of a mio token: 32 bits of index and 32 bits of generation, on 32-bit
//! targets 17 and 15.

use crate::config::MAX_CONNECTIONS;
use std::{collections::BTreeSet, fmt, marker::PhantomData};

// The kinds of keys. They have no values: they are only type parameters of `Key` and `Slab`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Conn {}
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Session {}
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Socket {}

/// The key of a TCP connection in `net`.
pub type ConnId = Key<Conn>;
/// The key of an Engine.IO session in `engineio`. Not the sid, which clients see.
pub type SessionId = Key<Session>;
/// The key of a Socket.IO socket in `socketio`. Not the socket id of the protocol, which clients see.
pub type SocketKey = Key<Socket>;

const INDEX_BITS: u32 = if cfg!(target_pointer_width = "64") { 32 } else { 17 };
/// Number of bits that hold the generation in a packed key; at most 32.
const GENERATION_BITS: u32 = usize::BITS - INDEX_BITS;
/// A slot that reaches this generation is not filled again, so no key of a value has it. Therefore no packed key of a value
/// equals one of the three highest numbers, which `net` uses as mio tokens of its own.
const LAST_GENERATION: u32 = ((1u64 << GENERATION_BITS) - 1) as u32;
/// Maximum number of values in one slab.
pub const MAX_LEN: usize = ((1u64 << INDEX_BITS) - 1) as usize;
// Room for a socket per session and as many that wait for recovery, and for connections to Redis besides those of clients.
const _: () = assert!(2 * MAX_CONNECTIONS < MAX_LEN);
/// A slab with at most this number of slots does not shrink: the memory saved would not be worth the work.
const MIN_SLOTS: usize = 64;

/// Identifies a value in a [`Slab`]: the index of its slot and a generation. The type parameter is the kind of value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key<K> {
    index: u32,
    generation: u32,
    kind: PhantomData<fn() -> K>,
}

impl<K: Copy> Key<K> {
    fn new(index: u32, generation: u32) -> Self {
        Key { index, generation, kind: PhantomData }
    }

    /// Returns the key as one number, for a mio token.
    pub fn pack(self) -> usize {
        (self.generation as usize) << INDEX_BITS | self.index as usize
    }

    /// Reverses [`Key::pack`]. Every number gives a key, but not every key names a value.
    pub fn unpack(number: usize) -> Self {
        let index = number & (usize::MAX >> GENERATION_BITS);
        Key::new(index as u32, (number >> INDEX_BITS) as u32)
    }
}

impl<K: Copy> fmt::Debug for Key<K> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Values of type `T`, named by keys of kind `K`. They are stored in a vector of slots, of which some may be free.
pub struct Slab<K, T> {
    slots: Vec<Slot<T>>,
    /// Indexes of free slots. The lowest is filled first, so that slots at the end become free and can be removed.
    free: BTreeSet<u32>,
    len: usize,
    /// First generation of each slot that is added. `remove` raises it above the generations of all keys of the slots that
    /// it drops from `slots`, so that none of these keys matches a slot that is added later (rule R1).
    floor: u32,
    kind: PhantomData<fn() -> K>,
}

impl<K, T> Default for Slab<K, T> {
    fn default() -> Self {
        Slab { slots: Vec::new(), free: BTreeSet::new(), len: 0, floor: 0, kind: PhantomData }
    }
}

impl<K: Copy, T> Slab<K, T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Stores a value and returns its key. Panics above [`MAX_LEN`] values; the limits in `config` are far below that.
    pub fn insert(&mut self, value: T) -> Key<K> {
        let index = self.free.pop_first().unwrap_or_else(|| {
            assert!(self.slots.len() < MAX_LEN, "slab is full");
            self.slots.push(Slot { generation: self.floor, value: None });
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        slot.value = Some(value);
        self.len += 1;
        Key::new(index, slot.generation)
    }

    pub fn get(&self, key: Key<K>) -> Option<&T> {
        let slot = self.slots.get(key.index as usize)?;
        slot.value.as_ref().filter(|_| slot.generation == key.generation)
    }

    pub fn get_mut(&mut self, key: Key<K>) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        slot.value.as_mut().filter(|_| slot.generation == key.generation)
    }

    /// Removes and returns the value of `key`, or returns `None` if `key` is stale. No later value gets the same key.
    pub fn remove(&mut self, key: Key<K>) -> Option<T> {
        self.get(key)?;
        let slot = &mut self.slots[key.index as usize];
        let value = slot.value.take();
        slot.generation += 1;
        if slot.generation < LAST_GENERATION {
            self.free.insert(key.index);
        }
        self.len -= 1;
        // At most a quarter of the slots is in use, so a peak is over: release the memory of the free slots at the end.
        if self.slots.len() > MIN_SLOTS && self.len * 4 <= self.slots.len() {
            while let Some(last) = self.slots.last()
                && self.free.remove(&(self.slots.len() as u32 - 1))
            {
                self.floor = self.floor.max(last.generation);
                self.slots.pop();
            }
            self.slots.shrink_to(self.slots.len() * 2);
        }
        value
    }

    /// Returns all keys and values, in order of index.
    pub fn iter(&self) -> impl Iterator<Item = (Key<K>, &T)> {
        let all = self.slots.iter().enumerate();
        all.filter_map(|(index, slot)| Some((Key::new(index as u32, slot.generation), slot.value.as_ref()?)))
    }

    /// Returns a copy of all keys, for loops that change the slab.
    pub fn keys(&self) -> Vec<Key<K>> {
        self.iter().map(|(key, _)| key).collect()
    }
}
