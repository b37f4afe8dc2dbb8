//! Timers: one entry per key, due in order.

use crate::random::Random;
use salon::base::timers::{Deadline, Timers};
use std::time::{Duration, Instant};

/// An arbitrary start time; the tests move the clock by hand.
fn clock() -> impl Fn(u64) -> Instant {
    let start = Instant::now();
    move |millis| start + Duration::from_millis(millis)
}

#[test]
fn due_in_order() {
    let (at, mut timers) = (clock(), Timers::<u32>::default());
    let mut deadlines = [Deadline::default(); 4];
    assert_eq!((timers.next(), timers.len(), timers.is_empty()), (None, 0, true));
    for (key, millis) in [(0, 30), (1, 10), (2, 20), (3, 10)] {
        timers.set(key, &mut deadlines[key as usize], at(millis));
        assert_eq!(deadlines[key as usize], Some(at(millis)));
    }
    assert_eq!((timers.next(), timers.len(), timers.is_empty()), (Some(at(10)), 4, false));
    assert_eq!(timers.pop_due(at(9)), None);
    // Timers with the same deadline come in the order of keys.
    assert_eq!(timers.pop_due(at(10)), Some((at(10), 1)));
    assert_eq!(timers.pop_due(at(10)), Some((at(10), 3)));
    assert_eq!(timers.pop_due(at(10)), None);
    assert_eq!(timers.next(), Some(at(20)));
    assert_eq!(timers.pop_due(at(99)), Some((at(20), 2)));
    assert_eq!(timers.pop_due(at(99)), Some((at(30), 0)));
    assert_eq!((timers.pop_due(at(99)), timers.next(), timers.len()), (None, None, 0));
}

#[test]
fn set_twice_is_due_once() {
    let (at, mut timers) = (clock(), Timers::<u32>::default());
    let mut deadline = Deadline::default();
    for millis in [10, 30, 30, 20] {
        timers.set(1, &mut deadline, at(millis));
        assert_eq!((timers.len(), timers.next(), deadline), (1, Some(at(millis)), Some(at(millis))));
    }
    assert_eq!(timers.pop_due(at(99)), Some((at(20), 1)));
    assert_eq!(timers.pop_due(at(99)), None);
}

#[test]
fn cleared() {
    let (at, mut timers) = (clock(), Timers::<u32>::default());
    let [mut one, mut two] = [Deadline::default(); 2];
    timers.clear(1, &mut one);
    timers.set(1, &mut one, at(10));
    timers.set(2, &mut two, at(10));
    timers.clear(1, &mut one);
    timers.clear(1, &mut one);
    assert_eq!((one, timers.len()), (None, 1));
    assert_eq!(timers.pop_due(at(10)), Some((at(10), 2)));
    // After a pop the owner clears its deadline, which affects no other timer.
    let mut three = Deadline::default();
    timers.set(3, &mut three, at(10));
    timers.clear(2, &mut two);
    assert_eq!((two, timers.len(), timers.next()), (None, 1, Some(at(10))));
    // Then it can be set again, even to a time that has passed.
    timers.set(2, &mut two, at(5));
    assert_eq!(timers.pop_due(at(10)), Some((at(5), 2)));
}

#[test]
fn a_random_script_as_in_a_list() {
    let (at, mut timers, mut random) = (clock(), Timers::<usize>::default(), Random(6));
    let mut deadlines = [Deadline::default(); 20];
    let mut model = [None; 20];
    let mut now = 0;
    for _ in 0..10_000 {
        let key = random.below(20);
        match random.below(4) {
            0 | 1 => {
                let millis = now + random.below(50) as u64;
                timers.set(key, &mut deadlines[key], at(millis));
                model[key] = Some(millis);
            }
            2 => {
                timers.clear(key, &mut deadlines[key]);
                model[key] = None;
            }
            _ => {
                now += random.below(10) as u64;
                while let Some((time, key)) = timers.pop_due(at(now)) {
                    let first = model.iter().flatten().min().copied().expect("one is due");
                    assert_eq!((at(first), model[key]), (time, Some(first)));
                    timers.clear(key, &mut deadlines[key]);
                    model[key] = None;
                }
                assert!(model.iter().flatten().all(|millis| *millis > now));
            }
        }
        assert_eq!(timers.next(), model.iter().flatten().min().map(|millis| at(*millis)));
        assert_eq!(timers.len(), model.iter().flatten().count());
    }
}
