//! What everything else stands on: slabs, queues in one arena, deadlines, ids.

use bytes::Bytes;
use salon::{
    id::{Id, Ids},
    queue::{Pool, Queue},
    slab::{Conn, ConnId, Slab},
    timers::{Deadline, Timers},
};
use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

/// The same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}

/// Rule R1: a key never names two things.
#[test]
fn keys_outlive_what_they_name() {
    let mut slab = Slab::<Conn, &str>::default();
    let one = slab.insert("one");
    let two = slab.insert("two");
    assert_eq!((slab.get(one), slab.get(two), slab.len()), (Some(&"one"), Some(&"two"), 2));
    assert_eq!(slab.remove(one), Some("one"));
    assert_eq!((slab.remove(one), slab.len()), (None, 1));
    assert_eq!(slab.get(one), None);
    let three = slab.insert("three");
    assert_ne!(one, three);
    assert_eq!(slab.get(one), None);
    assert_eq!(slab.get_mut(three), Some(&mut "three"));
    assert_eq!(slab.keys().len(), 2);
    assert_eq!(ConnId::unpack(three.pack()), three);
    assert_eq!(slab.get(ConnId::unpack(usize::MAX)), None);
    assert_eq!(slab.get(ConnId::unpack(77)), None);
}

/// Against a model that knows all keys that were ever given out, through crowds that come and go.
#[test]
fn slab_against_a_model() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut slab = Slab::<Conn, usize>::default();
    let (mut model, mut given) = (BTreeMap::new(), HashSet::new());
    for step in 0..60_000 {
        // Three thousand come, then most of them go, ten times.
        if random.below(10) < if step % 6000 < 3000 { 9 } else { 1 } || model.is_empty() {
            let key = slab.insert(step);
            assert!(given.insert(key.pack()), "a key was given out twice");
            model.insert(key, step);
        } else {
            let key = *model.keys().nth(random.below(model.len())).unwrap();
            assert_eq!(slab.remove(key), model.remove(&key));
            assert_eq!(slab.get(key), None);
        }
        assert_eq!(slab.len(), model.len());
    }
    assert!(slab.iter().map(|(key, value)| (key, *value)).eq(slab.keys().into_iter().map(|key| (key, model[&key]))));
    for key in slab.keys() {
        slab.remove(key);
    }
    assert!(slab.is_empty() && slab.iter().next().is_none());
    assert!(given.iter().all(|key| slab.get(ConnId::unpack(*key)).is_none()));
}

#[test]
fn queues_against_a_model() {
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let mut pool = Pool::default();
    let mut queues: Vec<(Queue, VecDeque<Bytes>)> = (0..20).map(|_| Default::default()).collect();
    for step in 0..50_000_usize {
        let (queue, model) = &mut queues[random.below(20)];
        match random.below(20) {
            0..10 => {
                let bytes = Bytes::from(step.to_string());
                pool.push(queue, bytes.clone());
                model.push_back(bytes);
            }
            10..19 => assert_eq!(pool.pop(queue), model.pop_front()),
            _ => {
                pool.clear(queue);
                model.clear();
            }
        }
        assert_eq!((queue.is_empty(), pool.front(queue)), (model.is_empty(), model.front()));
        assert_eq!(queue.bytes(), model.iter().map(Bytes::len).sum::<usize>());
        assert!(pool.iter(queue).eq(model.iter()));
    }
    assert_eq!(pool.len(), queues.iter().map(|(_, model)| model.len()).sum::<usize>());
    queues.iter_mut().for_each(|(queue, _)| pool.clear(queue));
    assert!(pool.is_empty());
}

#[test]
fn deadlines() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut timers = Timers::default();
    let mut own = [Deadline::default(); 4];
    for (key, seconds) in [(0, 30), (1, 10), (2, 20), (3, 10)] {
        timers.set(key, &mut own[key], at(seconds));
    }
    assert_eq!((timers.next(), timers.len()), (Some(at(10)), 4));
    // Set anew, the old one is gone.
    timers.set(1, &mut own[1], at(40));
    timers.set(1, &mut own[1], at(40));
    assert_eq!((own[1].at(), timers.len()), (Some(at(40)), 4));
    timers.clear(2, &mut own[2]);
    timers.clear(2, &mut own[2]);
    assert_eq!((own[2].at(), timers.len()), (None, 3));
    assert_eq!(timers.pop_due(at(10) - Duration::from_nanos(1)), None);
    assert_eq!(timers.pop_due(at(10)), Some((at(10), 3)));
    assert_eq!(timers.pop_due(at(29)), None);
    assert_eq!(timers.pop_due(at(100)), Some((at(30), 0)));
    // To clear one that has been taken does no harm.
    timers.clear(0, &mut own[0]);
    assert_eq!(timers.pop_due(at(100)), Some((at(40), 1)));
    assert!(timers.is_empty() && timers.next().is_none());
}

#[test]
fn ids() {
    let mut system = Ids::System;
    let many: HashSet<Id> = (0..1000).map(|_| system.fresh()).collect();
    assert_eq!(many.len(), 1000);
    for id in many {
        let text = id.to_string();
        assert!(text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        assert_eq!(Id::parse(&text), Some(id));
        // A log never has a whole one.
        assert_eq!(format!("{id:?}"), format!("{}…", &text[..6]));
    }
    for bad in [
        "",
        "short",
        "AAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAA+",
        "AAAAAAAAAAAAAAAAAAA=",
        "éAAAAAAAAAAAAAAAAAA",
    ] {
        assert_eq!(Id::parse(bad), None, "{bad}");
    }
    let (mut one, mut same, mut other) = (Ids::Seeded(7), Ids::Seeded(7), Ids::Seeded(8));
    let first: Vec<Id> = (0..100).map(|_| one.fresh()).collect();
    assert!(first.iter().all(|id| *id == same.fresh()));
    assert_ne!(first[0], other.fresh());
    assert_eq!(first.iter().collect::<HashSet<_>>().len(), 100);
}
