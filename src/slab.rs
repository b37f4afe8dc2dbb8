//! Values in slabs, typed keys between them.
//!
//! A [`Key`] is an index and a generation. The generation grows whenever a slot is given up, so a key that
//! outlived its value finds nothing instead of a stranger (rule R1). A key packs into one `usize`, which is
//! what mio carries as a token: 32 + 32 bits, on 32-bit targets 17 bits of index and 15 of generation.
//! A slot whose generations are used up is retired and never filled again.

use std::{fmt, marker::PhantomData, mem};

/// What a key names; never constructed, they only tell keys apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Conn {}
/// See [`Conn`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Session {}
/// See [`Conn`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Socket {}

/// Names a TCP connection in `net`.
pub type ConnId = Key<Conn>;
/// Names an Engine.IO session in `engineio`.
pub type SessionId = Key<Session>;
/// Names a Socket.IO socket in `socketio`.
pub type SocketKey = Key<Socket>;

#[cfg(target_pointer_width = "64")]
const INDEX_BITS: u32 = 32;
#[cfg(not(target_pointer_width = "64"))]
const INDEX_BITS: u32 = 17;
/// Bits of a packed key left for the generation, at most 32.
const GENERATION_BITS: u32 = usize::BITS - INDEX_BITS;
/// A generation that is never given out: a slot that reaches it is retired. It also keeps every packed key
/// apart from the few highest tokens, which the loop uses for itself.
const LAST_GENERATION: u32 = ((1u64 << GENERATION_BITS) - 1) as u32;
/// The most values a slab can hold.
pub const MAX_LEN: usize = ((1u64 << INDEX_BITS) - 1) as usize;
/// End of the list of free slots.
const NONE: u32 = u32::MAX;

/// Names a value in a [`Slab`]: an index and the generation of its slot.
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

    /// The key as one number, for a mio token.
    pub fn pack(self) -> usize {
        (self.generation as usize) << INDEX_BITS | self.index as usize
    }

    /// The reverse of [`Key::pack`]. Any number gives a key; one that names nothing finds nothing.
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

enum Slot<T> {
    Full { generation: u32, value: T },
    Free { generation: u32, next: u32 },
}

/// A vector with holes: values of type `T`, named by keys of kind `K`.
pub struct Slab<K, T> {
    slots: Vec<Slot<T>>,
    /// First of the free slots, [`NONE`] if there is none.
    free: u32,
    len: usize,
    /// Where the generations of new slots start: above those of all slots that were cut off (rule R1).
    floor: u32,
    kind: PhantomData<fn() -> K>,
}

impl<K, T> Default for Slab<K, T> {
    fn default() -> Self {
        Slab { slots: Vec::new(), free: NONE, len: 0, floor: 0, kind: PhantomData }
    }
}

impl<K: Copy, T> Slab<K, T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Stores a value and names it. Panics above [`MAX_LEN`] values: connections, sessions and sockets are
    /// all limited far below that by `config`.
    pub fn insert(&mut self, value: T) -> Key<K> {
        self.len += 1;
        if self.free != NONE {
            let index = self.free;
            let slot = &mut self.slots[index as usize];
            let Slot::Free { generation, next } = *slot else { unreachable!("the free list names free slots") };
            *slot = Slot::Full { generation, value };
            self.free = next;
            return Key::new(index, generation);
        }
        assert!(self.slots.len() < MAX_LEN, "slab is full");
        let index = self.slots.len() as u32;
        self.slots.push(Slot::Full { generation: self.floor, value });
        Key::new(index, self.floor)
    }

    /// The value, if the key still names one.
    pub fn get(&self, key: Key<K>) -> Option<&T> {
        match self.slots.get(key.index as usize)? {
            Slot::Full { generation, value } if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The value, if the key still names one.
    pub fn get_mut(&mut self, key: Key<K>) -> Option<&mut T> {
        match self.slots.get_mut(key.index as usize)? {
            Slot::Full { generation, value } if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// Takes the value out; its key never names anything again.
    pub fn remove(&mut self, key: Key<K>) -> Option<T> {
        self.get(key)?;
        let generation = key.generation + 1;
        let next = if generation == LAST_GENERATION { NONE } else { self.free };
        let slot = mem::replace(&mut self.slots[key.index as usize], Slot::Free { generation, next });
        self.len -= 1;
        if generation != LAST_GENERATION {
            self.free = key.index;
        }
        // Rarely enough to cost nothing: at powers of two, when three quarters of the slots are free.
        if (self.len == 0 || self.len.is_power_of_two()) && self.slots.len() > 64 && self.len * 4 <= self.slots.len() {
            self.trim();
        }
        match slot {
            Slot::Full { value, .. } => Some(value),
            Slot::Free { .. } => unreachable!("get() has found a value here"),
        }
    }

    /// Cuts off the free slots at the end, so that a crowd that has left leaves no memory behind, and orders
    /// the list of the others by index, so that the end stays free.
    fn trim(&mut self) {
        while let Some(&Slot::Free { generation, .. }) = self.slots.last() {
            if generation == LAST_GENERATION {
                break;
            }
            self.floor = self.floor.max(generation);
            self.slots.pop();
        }
        self.slots.shrink_to_fit();
        self.free = NONE;
        for (index, slot) in self.slots.iter_mut().enumerate().rev() {
            if let Slot::Free { generation, next } = slot
                && *generation != LAST_GENERATION
            {
                *next = mem::replace(&mut self.free, index as u32);
            }
        }
    }

    /// Keys and values, in the order of the slots.
    pub fn iter(&self) -> impl Iterator<Item = (Key<K>, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| match slot {
            Slot::Full { generation, value } => Some((Key::new(index as u32, *generation), value)),
            Slot::Free { .. } => None,
        })
    }

    /// The keys of all values, for walks that change the slab.
    pub fn keys(&self) -> Vec<Key<K>> {
        self.iter().map(|(key, _)| key).collect()
    }
}
