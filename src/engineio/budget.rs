//! The WebSocket budget: small hosting allows so many WebSockets and answers 503 or 429 above.
//!
//! Used are the WebSockets that are open, pending the handshakes that have offered an upgrade. While both together reach the
//! limit nobody is offered one, so that clients stay on polling without a failed attempt. A client that takes its time loses
//! the offer, not the session: what it tries later is granted if there is room.

use crate::slab::SessionId;
use crate::timers::{Deadline, Timers};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long an offer stands. Clients upgrade right after the handshake.
const OFFER_TIME: Duration = Duration::from_secs(10);

/// WebSockets used and promised.
#[derive(Default)]
pub struct Budget {
    /// `None`: no limit, and no offers are kept.
    limit: Option<usize>,
    used: usize,
    offers: BTreeMap<SessionId, Deadline>,
    timers: Timers<SessionId>,
    /// WebSockets that were refused.
    pub refused: u64,
}

impl Budget {
    /// All of it is free.
    pub fn new(limit: Option<usize>) -> Budget {
        Budget { limit, ..Budget::default() }
    }

    /// The limit, those used, those promised.
    pub fn figures(&self) -> (Option<usize>, usize, usize) {
        (self.limit, self.used, self.offers.len())
    }

    /// Whether one more may be promised or opened.
    pub fn is_free(&self) -> bool {
        self.limit.is_none_or(|limit| self.used + self.offers.len() < limit)
    }

    /// A new session was offered one.
    pub fn offer(&mut self, session: SessionId, now: Instant) {
        if self.limit.is_some() {
            let mut deadline = Deadline::default();
            self.timers.set(session, &mut deadline, now + OFFER_TIME);
            self.offers.insert(session, deadline);
        }
    }

    /// The offer of a session is void: it has upgraded, or is gone.
    pub fn withdraw(&mut self, session: SessionId) -> bool {
        let offer = self.offers.remove(&session);
        offer.map(|mut deadline| self.timers.clear(session, &mut deadline)).is_some()
    }

    /// A WebSocket for a session, or for one that begins with it: whether there is room.
    pub fn open(&mut self, session: Option<SessionId>) -> bool {
        let promised = session.is_some_and(|session| self.withdraw(session));
        let granted = promised || self.is_free();
        self.used += usize::from(granted);
        self.refused += u64::from(!granted);
        granted
    }

    /// A WebSocket is closed.
    pub fn close(&mut self) {
        self.used -= 1;
    }

    /// Offers that nobody has taken.
    pub fn expire(&mut self, now: Instant) {
        while let Some((_, session)) = self.timers.pop_due(now) {
            self.offers.remove(&session);
        }
    }

    /// When [`Budget::expire`] wants to be called.
    pub fn next(&self) -> Option<Instant> {
        self.timers.next()
    }
}
