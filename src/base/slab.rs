//! Values in slabs, typed keys between them.
//!
//! A [`Key`] is an index and a generation. The generation grows whenever a slot is given up, so a key that
//! outlived its value finds nothing instead of a stranger (rule R1). A key packs into one `usize`, which is
//! what mio carries as a token: 32 + 32 bits, on 32-bit targets 17 bits of index and 15 of generation.
//! A slot whose generations are used up is retired and never filled again.

use std::{collections::BTreeSet, fmt, marker::PhantomData};

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
/// Slots that are never cut off: below this a crowd is none.
const FEW: usize = 64;

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

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// A vector with holes: values of type `T`, named by keys of kind `K`.
pub struct Slab<K, T> {
    slots: Vec<Slot<T>>,
    /// The slots to be filled next, lowest first, so that those at the end stay free and can be cut off.
    free: BTreeSet<u32>,
    len: usize,
    /// Where the generations of new slots start: above those of all slots that were cut off (rule R1).
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

    /// Stores a value and names it. Panics above [`MAX_LEN`] values; `config` limits all of them far below that.
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

    /// The value, if the key still names one.
    pub fn get(&self, key: Key<K>) -> Option<&T> {
        let slot = self.slots.get(key.index as usize)?;
        slot.value.as_ref().filter(|_| slot.generation == key.generation)
    }

    /// The value, if the key still names one.
    pub fn get_mut(&mut self, key: Key<K>) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        slot.value.as_mut().filter(|_| slot.generation == key.generation)
    }

    /// Takes the value out; its key never names anything again.
    pub fn remove(&mut self, key: Key<K>) -> Option<T> {
        self.get(key)?;
        let slot = &mut self.slots[key.index as usize];
        let value = slot.value.take();
        slot.generation += 1;
        if slot.generation < LAST_GENERATION {
            self.free.insert(key.index);
        }
        self.len -= 1;
        // A crowd that has left leaves no memory behind: the free slots at the end are cut off.
        if self.slots.len() > FEW && self.len * 4 <= self.slots.len() {
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

    /// Keys and values, in the order of the slots.
    pub fn iter(&self) -> impl Iterator<Item = (Key<K>, &T)> {
        let all = self.slots.iter().enumerate();
        all.filter_map(|(index, slot)| Some((Key::new(index as u32, slot.generation), slot.value.as_ref()?)))
    }

    /// The keys of all values, for walks that change the slab.
    pub fn keys(&self) -> Vec<Key<K>> {
        self.iter().map(|(key, _)| key).collect()
    }
}
