//! Queues in one pool: each is first in, first out, and none sees the entries of another.

use crate::random::Random;
use bytes::Bytes;
use salon::base::held::ENTRY;
use salon::base::queue::{Pool, Queue};
use std::collections::VecDeque;

fn entries(pool: &Pool, queue: &Queue) -> Vec<Bytes> {
    pool.iter(queue).cloned().collect()
}

#[test]
fn first_in_first_out() {
    let (mut pool, mut queue) = (Pool::default(), Queue::default());
    assert!(queue.is_empty() && pool.len == 0);
    assert_eq!((pool.front(&queue), pool.iter(&queue).next()), (None, None));
    assert_eq!(pool.pop(&mut queue), None);
    for text in ["a", "", "ccc"] {
        pool.push(&mut queue, text.into());
    }
    assert_eq!((queue.is_empty(), queue.held(), pool.len), (false, 4 + 3 * ENTRY, 3));
    assert_eq!(entries(&pool, &queue), ["a", "", "ccc"]);
    assert_eq!(pool.front(&queue), Some(&Bytes::from("a")));
    assert_eq!(pool.pop(&mut queue), Some("a".into()));
    assert_eq!((queue.held(), pool.len), (3 + 2 * ENTRY, 2));
    // An entry may have no bytes.
    assert_eq!(pool.pop(&mut queue), Some("".into()));
    assert!(!queue.is_empty());
    pool.push(&mut queue, "d".into());
    assert_eq!(entries(&pool, &queue), ["ccc", "d"]);
    assert_eq!(pool.pop(&mut queue), Some("ccc".into()));
    assert_eq!(pool.pop(&mut queue), Some("d".into()));
    assert_eq!(pool.pop(&mut queue), None);
    assert_eq!(pool.front(&queue), None);
    assert_eq!((queue.is_empty(), queue.held(), pool.len), (true, 0, 0));
}

#[test]
fn many_queues_do_not_mix() {
    let mut pool = Pool::default();
    let mut queues: [Queue; 5] = Default::default();
    for round in 0..4 {
        for (index, queue) in queues.iter_mut().enumerate() {
            pool.push(queue, format!("{index}.{round}").into());
        }
    }
    pool.clear(&mut queues[1]);
    pool.clear(&mut queues[1]);
    assert_eq!((pool.len, queues[1].is_empty(), queues[1].held()), (16, true, 0));
    // Other queues reuse the entries of queue 1.
    for round in 4..6 {
        pool.push(&mut queues[4], format!("4.{round}").into());
        pool.push(&mut queues[0], format!("0.{round}").into());
    }
    assert_eq!(pool.pop(&mut queues[2]), Some("2.0".into()));
    pool.push(&mut queues[1], "new".into());
    let expected: [&[&str]; 5] = [
        &["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"],
        &["new"],
        &["2.1", "2.2", "2.3"],
        &["3.0", "3.1", "3.2", "3.3"],
        &["4.0", "4.1", "4.2", "4.3", "4.4", "4.5"],
    ];
    for (queue, expected) in queues.iter().zip(expected) {
        assert_eq!(entries(&pool, queue), expected);
    }
    assert_eq!(pool.len, 20);
}

/// The pool keeps no reference to the bytes of a popped entry.
#[test]
fn no_entry_keeps_bytes_behind() {
    let (mut pool, mut queue) = (Pool::default(), Queue::default());
    let shared = Bytes::from(vec![b'x'; 100]);
    for _ in 0..3 {
        pool.push(&mut queue, shared.clone());
    }
    drop(pool.pop(&mut queue));
    assert!(!shared.is_unique());
    pool.clear(&mut queue);
    assert!(shared.is_unique());
}

/// The pool reuses popped entries before it grows.
#[test]
fn entries_are_used_again() {
    let (mut pool, mut queue) = (Pool::default(), Queue::default());
    let place = |pool: &Pool, queue: &Queue| pool.front(queue).map(std::ptr::from_ref);
    pool.push(&mut queue, "a".into());
    let first = place(&pool, &queue);
    pool.push(&mut queue, "b".into());
    let second = pool.iter(&queue).nth(1).map(std::ptr::from_ref);
    for round in 0..100 {
        pool.pop(&mut queue);
        pool.push(&mut queue, round.to_string().into());
        assert_eq!(place(&pool, &queue), if round % 2 == 0 { second } else { first }, "{round}");
    }
}

/// A large pool releases its memory when it becomes empty. Its queues keep working.
#[test]
fn a_flood_and_after_it() {
    let mut pool = Pool::default();
    let mut queues: [Queue; 2] = Default::default();
    for _ in 0..2 {
        for number in 0..50_000u32 {
            pool.push(&mut queues[number as usize % 2], Bytes::copy_from_slice(&number.to_be_bytes()));
        }
        assert_eq!(
            (pool.len, queues[0].held(), queues[1].held()),
            (50_000, 25_000 * (4 + ENTRY), 25_000 * (4 + ENTRY))
        );
        for number in 0..50_000u32 {
            let entry = pool.pop(&mut queues[number as usize % 2]).expect("one each");
            assert_eq!(entry[..], number.to_be_bytes());
        }
        assert!(pool.len == 0 && queues.iter().all(Queue::is_empty));
    }
    pool.push(&mut queues[1], "after".into());
    assert_eq!((pool.len, entries(&pool, &queues[0]), entries(&pool, &queues[1])), (1, vec![], vec!["after".into()]));
}

#[test]
fn a_random_script_as_in_lists() {
    let (mut random, mut pool) = (Random(7), Pool::default());
    let mut queues: [Queue; 8] = Default::default();
    let mut models: [VecDeque<Bytes>; 8] = Default::default();
    for step in 0..30_000u32 {
        let index = random.below(8);
        let (queue, model) = (&mut queues[index], &mut models[index]);
        match random.below(100) {
            0..=49 => {
                let bytes = Bytes::from(step.to_string().repeat(random.below(3)));
                pool.push(queue, bytes.clone());
                model.push_back(bytes);
            }
            50..=97 => assert_eq!(pool.pop(queue), model.pop_front()),
            _ => {
                pool.clear(queue);
                model.clear();
            }
        }
        assert_eq!((queue.is_empty(), pool.front(queue)), (model.is_empty(), model.front()));
        let bytes: usize = model.iter().map(Bytes::len).sum();
        assert_eq!(queue.held(), bytes + 64 * model.len());
        assert!(pool.iter(queue).eq(model.iter()));
        assert_eq!(pool.len, models.iter().map(VecDeque::len).sum::<usize>());
    }
}
