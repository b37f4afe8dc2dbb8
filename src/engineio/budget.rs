//! The WebSocket budget: small hosting allows so many WebSockets and answers 503 or 429 above.
//!
//! Used are the WebSockets that are open, pending the handshakes that have offered an upgrade. While both together reach the
//! limit nobody is offered one, so that clients stay on polling without a failed attempt. A client that takes its time loses
//! the offer, not the session: what it tries later is granted if there is room.

use crate::base::slab::SessionId;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long an offer stands. Clients upgrade right after the handshake.
const OFFER_TIME: Duration = Duration::from_secs(10);

/// WebSockets used and promised.
#[derive(Default)]
pub struct Budget {
    /// `None`: no limit, and no offers are kept.
    pub limit: Option<usize>,
    /// WebSockets that are open.
    pub used: usize,
    /// Who was offered one and until when, in the order of time; some hundreds at most where platforms set a limit.
    offers: VecDeque<(SessionId, Instant)>,
    /// WebSockets that were refused.
    pub refused: u64,
}

impl Budget {
    /// All of it is free.
    pub fn new(limit: Option<usize>) -> Budget {
        Budget { limit, ..Budget::default() }
    }

    /// How many offers stand.
    pub fn promised(&self) -> usize {
        self.offers.len()
    }

    /// Whether one more may be promised or opened.
    pub fn is_free(&self) -> bool {
        self.limit.is_none_or(|limit| self.used + self.offers.len() < limit)
    }

    /// A new session was offered one.
    pub fn offer(&mut self, session: SessionId, now: Instant) {
        if self.limit.is_some() {
            self.offers.push_back((session, now + OFFER_TIME));
        }
    }

    /// The offer of a session is void: it has upgraded, or is gone.
    pub fn withdraw(&mut self, session: SessionId) -> bool {
        let offer = self.offers.iter().position(|(offered, _)| *offered == session);
        offer.and_then(|index| self.offers.remove(index)).is_some()
    }

    /// A WebSocket for a session, or for one that begins with it: whether there is room.
    pub fn open(&mut self, session: Option<SessionId>) -> bool {
        let promised = session.is_some_and(|session| self.withdraw(session));
        let granted = promised || self.is_free();
        self.used += usize::from(granted);
        self.refused += u64::from(!granted);
        granted
    }

    /// Forgets the offers that nobody has taken.
    pub fn expire(&mut self, now: Instant) {
        while self.next().is_some_and(|until| until <= now) {
            self.offers.pop_front();
        }
    }

    /// When [`Budget::expire`] wants to be called.
    pub fn next(&self) -> Option<Instant> {
        self.offers.front().map(|(_, until)| *until)
    }
}
