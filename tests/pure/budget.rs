//! The WebSocket budget: open WebSockets, offers, and how offers end.

use salon::base::slab::{SessionId, Slab};
use salon::engineio::budget::Budget;
use std::time::{Duration, Instant};

fn sessions(count: usize) -> Vec<SessionId> {
    let mut slab = Slab::default();
    (0..count).map(|_| slab.insert(())).collect()
}

#[test]
fn open_and_offered_together_stay_within_the_limit() {
    let (now, ids) = (Instant::now(), sessions(4));
    let mut budget = Budget::new(Some(3));
    assert!(budget.is_free() && budget.open(None));
    budget.offer(ids[0], now);
    assert!(budget.is_free());
    budget.offer(ids[1], now);
    assert_eq!((budget.is_free(), budget.used, budget.offers.len()), (false, 1, 2));
    // No room for a session that starts on a WebSocket, or has no offer.
    assert!(!budget.open(None) && !budget.open(Some(ids[2])));
    assert_eq!(budget.refused, 2);
    // An offer is granted, once.
    assert!(budget.open(Some(ids[0])));
    assert!(!budget.open(Some(ids[0])));
    assert_eq!((budget.used, budget.offers.len()), (2, 1));
    // The offer of a session that is gone is free again.
    assert!(budget.withdraw(ids[1]) && !budget.withdraw(ids[1]));
    assert!(budget.open(Some(ids[3])));
    assert!(!budget.is_free());
    budget.used -= 1;
    assert!(budget.is_free());
    assert_eq!(budget.next(), None);
}

#[test]
fn an_expired_offer_is_granted_only_if_there_is_room() {
    let (now, ids) = (Instant::now(), sessions(2));
    let mut budget = Budget::new(Some(1));
    budget.offer(ids[0], now);
    assert_eq!(budget.next(), Some(now + Duration::from_secs(10)));
    budget.expire(now + Duration::from_millis(9_999));
    assert!(!budget.is_free());
    budget.expire(now + Duration::from_secs(10));
    assert_eq!((budget.is_free(), budget.next()), (true, None));
    assert!(budget.open(Some(ids[0])), "there is room");
    assert!(!budget.open(Some(ids[1])));
}

#[test]
fn without_a_limit_nothing_is_kept() {
    let ids = sessions(1);
    let mut budget = Budget::new(None);
    budget.offer(ids[0], Instant::now());
    assert_eq!((budget.offers.len(), budget.next(), budget.is_free()), (0, None, true));
    assert!(budget.open(None) && budget.open(Some(ids[0])));
    budget.used -= 1;
    assert_eq!((budget.used, budget.offers.len()), (1, 0));
    assert!(!Budget::new(Some(0)).open(None));
}
