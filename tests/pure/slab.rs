//! Slabs: a key finds its own value or nothing, even if its slot was filled again.

use crate::random::Random;
use salon::base::slab::{Conn, ConnId, Key, MAX_LEN, Slab};
use std::collections::{BTreeMap, HashSet};

/// Bits of a packed key that are the index.
const INDEX: usize = MAX_LEN;

fn assert_names_nothing<T>(slab: &mut Slab<Conn, T>, key: ConnId) {
    assert!(slab.get(key).is_none() && slab.get_mut(key).is_none() && slab.remove(key).is_none(), "{key:?}");
}

fn remove_all<T>(slab: &mut Slab<Conn, T>, keys: Vec<ConnId>) {
    for key in keys {
        assert!(slab.remove(key).is_some(), "{key:?}");
    }
}

#[test]
fn values() {
    let mut slab: Slab<Conn, &str> = Slab::default();
    assert!(slab.is_empty());
    let (a, b) = (slab.insert("a"), slab.insert("b"));
    assert_eq!((slab.len(), slab.is_empty()), (2, false));
    assert_eq!((slab.get(a), slab.get(b)), (Some(&"a"), Some(&"b")));
    *slab.get_mut(a).expect("there") = "A";
    assert_eq!(slab.remove(a), Some("A"));
    assert_names_nothing(&mut slab, a);
    assert_eq!((slab.len(), slab.get(b)), (1, Some(&"b")));
}

/// Rule R1.
#[test]
fn a_stale_key_never_finds_the_next_value() {
    let mut slab: Slab<Conn, u32> = Slab::default();
    let mut stale: Vec<ConnId> = Vec::new();
    for round in 0..100 {
        let key = slab.insert(round);
        assert_eq!(key.pack() & INDEX, 0, "the same slot each time");
        for old in &stale {
            assert_names_nothing(&mut slab, *old);
        }
        assert_eq!(slab.get(key), Some(&round));
        slab.remove(key);
        stale.push(key);
    }
}

#[test]
fn packed() {
    let mut slab: Slab<Conn, usize> = Slab::default();
    for round in 0..3 {
        let keys: Vec<ConnId> = (0..100).map(|value| slab.insert(value)).collect();
        for (value, key) in keys.iter().enumerate() {
            let same = Key::unpack(key.pack());
            assert_eq!(same, *key);
            assert_eq!(slab.get(same), Some(&value), "round {round}");
            assert_eq!(format!("{key:?}"), format!("{}.{}", key.pack() & INDEX, key.pack() / (INDEX + 1)));
        }
        let numbers: HashSet<usize> = keys.iter().map(|key| key.pack()).collect();
        assert_eq!(numbers.len(), 100);
        remove_all(&mut slab, keys);
    }
    let key = slab.insert(7);
    // Every number unpacks to a key, and a key that was never given out finds nothing.
    for number in
        [0, 1, INDEX, INDEX + 1, INDEX << 1, usize::MAX, usize::MAX - 1, key.pack() + 1, key.pack() ^ (INDEX + 1)]
    {
        assert_eq!(slab.get(Key::unpack(number)), None, "{number:#x}");
        assert_eq!(ConnId::unpack(number).pack(), number);
    }
    assert_eq!(slab.get(Key::unpack(key.pack())), Some(&7));
}

/// On 32-bit targets this uses up the 15 bits of generations, and the slot is retired.
#[test]
fn no_key_is_given_out_twice() {
    let mut slab: Slab<Conn, u32> = Slab::default();
    let mut seen = HashSet::new();
    for round in 0..100_000 {
        let key = slab.insert(round);
        assert!(seen.insert(key.pack()), "{key:?}");
        // The event loop uses two of the highest tokens for itself.
        assert!(key.pack() < usize::MAX - INDEX);
        assert_eq!(slab.remove(key), Some(round));
    }
    assert!(slab.is_empty() && slab.keys().is_empty());
}

#[test]
fn keys_in_the_order_of_slots() {
    let mut slab: Slab<Conn, char> = Slab::default();
    let keys: Vec<ConnId> = "abcde".chars().map(|value| slab.insert(value)).collect();
    assert_eq!(slab.keys(), keys);
    slab.remove(keys[3]);
    slab.remove(keys[1]);
    assert_eq!(slab.keys(), [keys[0], keys[2], keys[4]]);
    let f = slab.insert('f');
    assert_eq!(slab.keys(), [keys[0], f, keys[2], keys[4]]);
    assert_eq!(slab.iter().map(|(_, value)| value).collect::<String>(), "afce");
    // The slab may be changed while a loop goes through the keys.
    for key in slab.keys() {
        assert!(slab.remove(key).is_some());
    }
    assert!(slab.is_empty() && slab.keys().is_empty());
}

/// When most values are gone the slab shrinks, and keys of later values still differ from all earlier keys.
#[test]
fn trimmed() {
    let mut slab: Slab<Conn, usize> = Slab::default();
    let mut stale: Vec<ConnId> = Vec::new();
    let last = slab.insert(1_000_000);
    for round in 1..4 {
        let mut crowd: Vec<ConnId> = (0..1000).map(|value| slab.insert(value)).collect();
        let mut random = Random(round);
        while !crowd.is_empty() {
            let key = crowd.swap_remove(random.below(crowd.len()));
            slab.remove(key);
            stale.push(key);
        }
        assert_eq!(slab.keys(), [last]);
        // New values take slots near the start, so that the end can be truncated again.
        let near: Vec<ConnId> = (0..3).map(|value| slab.insert(value)).collect();
        assert_eq!(near.iter().map(|key| key.pack() & INDEX).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(stale.iter().all(|key| slab.get(*key).is_none()));
        remove_all(&mut slab, near);
    }
    assert_eq!(slab.get(last), Some(&1_000_000));
    let all: HashSet<usize> = stale.iter().map(|key| key.pack()).collect();
    assert_eq!(all.len(), 3000);
}

/// A value at the end keeps the free slots before it. They are filled from the start, so that the slab can shrink later.
#[test]
fn trimmed_to_those_who_stay() {
    let mut slab: Slab<Conn, usize> = Slab::default();
    let keys: Vec<ConnId> = (0..1000).map(|value| slab.insert(value)).collect();
    let stays = [keys[0], keys[500]];
    remove_all(&mut slab, keys.iter().copied().filter(|key| !stays.contains(key)).collect());
    assert_eq!(slab.keys(), stays);
    let fresh: Vec<ConnId> = (0..1000).map(|value| slab.insert(value)).collect();
    assert!(fresh.iter().map(|key| key.pack() & INDEX).eq((1..500).chain(501..1002)));
    assert_eq!(slab.len(), 1002);
    for (value, key) in keys.iter().enumerate() {
        assert_eq!(slab.get(*key), stays.contains(key).then_some(&value));
    }
    assert!(fresh.iter().enumerate().all(|(value, key)| slab.get(*key) == Some(&value)));
}

#[test]
fn a_random_script_as_in_a_map() {
    let (mut random, mut slab) = (Random(5), Slab::<Conn, u64>::default());
    let (mut model, mut stale) = (BTreeMap::new(), Vec::new());
    for step in 0..30_000 {
        // Phases in which values mostly come or mostly go.
        let coming = if step / 1000 % 2 == 0 { 8 } else { 2 };
        if model.is_empty() || random.below(10) < coming {
            let value = random.next();
            let key = slab.insert(value);
            assert!(model.insert(key, value).is_none());
        } else {
            let key = *model.keys().nth(random.below(model.len())).expect("not empty");
            assert_eq!(slab.remove(key), model.remove(&key));
            stale.push(key);
        }
        assert_eq!(slab.len(), model.len());
        if let Some(old) = stale.get(random.below(stale.len().max(1))) {
            assert_eq!(slab.get(*old), None, "{old:?}");
        }
    }
    assert!(slab.iter().eq(model.iter().map(|(key, value)| (*key, value))));
    assert!(stale.iter().all(|key| slab.get(*key).is_none()));
}
