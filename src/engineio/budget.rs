//! The WebSocket budget (`max_websockets`): small hosting allows a fixed number, and answers 503 or 429 above it.
//!
//! Open WebSockets and offered upgrades both count towards the limit. At the limit the handshake offers no upgrade,
//! so that clients stay on polling without a failed attempt. An offer that is not used in time is withdrawn; a later
//! upgrade of the same session is granted if there is room.

use crate::base::slab::SessionId;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time for which an offer is valid. Clients upgrade right after the handshake.
const OFFER_TIME: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct Budget {
    /// Maximum number of WebSockets; if `None`, there is no limit and offers are not recorded.
    pub limit: Option<usize>,
    /// The number of open WebSockets.
    pub used: usize,
    /// Sessions whose handshake offered an upgrade, and the time at which each offer expires, oldest first. Searched
    /// linearly: platforms with a limit allow some hundred WebSockets.
    pub offers: VecDeque<(SessionId, Instant)>,
    /// Number of WebSockets refused since the start of the server.
    pub refused: u64,
}

impl Budget {
    pub fn new(limit: Option<usize>) -> Budget {
        Budget { limit, ..Budget::default() }
    }

    /// Whether one more WebSocket may be offered or opened.
    pub fn is_free(&self) -> bool {
        self.limit.is_none_or(|limit| self.used + self.offers.len() < limit)
    }

    /// Reserves a WebSocket for a session whose handshake offers the upgrade.
    pub fn offer(&mut self, session: SessionId, now: Instant) {
        if self.limit.is_some() {
            self.offers.push_back((session, now + OFFER_TIME));
        }
    }

    /// Removes the offer of a session that has upgraded or is gone; returns whether there was an offer.
    pub fn withdraw(&mut self, session: SessionId) -> bool {
        let offer = self.offers.iter().position(|(offered, _)| *offered == session);
        offer.and_then(|index| self.offers.remove(index)).is_some()
    }

    /// Opens a WebSocket for a polling session, or for a new session (`None`); returns whether the WebSocket is granted.
    pub fn open(&mut self, session: Option<SessionId>) -> bool {
        let offered = session.is_some_and(|session| self.withdraw(session));
        let granted = offered || self.is_free();
        self.used += usize::from(granted);
        self.refused += u64::from(!granted);
        granted
    }

    /// Removes the offers that have expired.
    pub fn expire(&mut self, now: Instant) {
        while self.next().is_some_and(|until| until <= now) {
            self.offers.pop_front();
        }
    }

    /// Returns the time at which [`Budget::expire`] is to be called.
    pub fn next(&self) -> Option<Instant> {
        self.offers.front().map(|(_, until)| *until)
    }
}
