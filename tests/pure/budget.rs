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
    assert!(budget.is_free(now) && budget.open(None, now));
    budget.offer(ids[0], now);
    assert!(budget.is_free(now));
    budget.offer(ids[1], now);
    assert_eq!((budget.is_free(now), budget.used, budget.offers.len()), (false, 1, 2));
    // No room for a session that starts on a WebSocket, or has no offer.
    assert!(!budget.open(None, now) && !budget.open(Some(ids[2]), now));
    assert_eq!(budget.refused, 2);
    // An offer is granted, once.
    assert!(budget.open(Some(ids[0]), now));
    assert!(!budget.open(Some(ids[0]), now));
    assert_eq!((budget.used, budget.offers.len()), (2, 1));
    // The offer of a session that is gone is free again.
    assert!(budget.offers.remove(&ids[1]).is_some() && budget.offers.is_empty());
    assert!(budget.open(Some(ids[3]), now));
    assert!(!budget.is_free(now));
    budget.used -= 1;
    assert!(budget.is_free(now));
    assert!(budget.offers.is_empty());
}

#[test]
fn an_expired_offer_is_granted_only_if_there_is_room() {
    let (now, ids) = (Instant::now(), sessions(2));
    let mut budget = Budget::new(Some(1));
    budget.offer(ids[0], now);
    assert_eq!(budget.offers.get(&ids[0]), Some(&(now + Duration::from_secs(10))));
    assert!(!budget.is_free(now + Duration::from_millis(9_999)));
    let now = now + Duration::from_secs(10);
    assert_eq!((budget.is_free(now), budget.offers.len()), (true, 0));
    assert!(budget.open(Some(ids[0]), now), "there is room");
    assert!(!budget.open(Some(ids[1]), now));
}

#[test]
fn an_offer_that_nobody_has_looked_at_expires_as_well() {
    let (now, ids) = (Instant::now(), sessions(2));
    let mut budget = Budget::new(Some(1));
    budget.offer(ids[0], now);
    assert!(!budget.open(Some(ids[1]), now + Duration::from_millis(9_999)));
    let now = now + Duration::from_secs(10);
    assert!(budget.open(Some(ids[1]), now), "there is room");
    assert!(!budget.open(Some(ids[0]), now));
}

#[test]
fn without_a_limit_nothing_is_kept() {
    let (now, ids) = (Instant::now(), sessions(1));
    let mut budget = Budget::new(None);
    budget.offer(ids[0], now);
    assert_eq!((budget.offers.len(), budget.is_free(now)), (0, true));
    assert!(budget.open(None, now) && budget.open(Some(ids[0]), now));
    budget.used -= 1;
    assert_eq!((budget.used, budget.offers.len()), (1, 0));
    assert!(!Budget::new(Some(0)).open(None, now));
}
