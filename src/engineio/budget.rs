//! The budget of WebSockets (`max_websockets`): small hosting plans allow a fixed number, and answer 503 or 429 above it.
//!
//! Open WebSockets and offered upgrades both count towards the limit. At the limit, the handshake over polling offers no
//! upgrade, so that the client stays on polling without a failed attempt. An offer that is not used in time expires; the
//! session may still upgrade later if the budget then has room.

use crate::base::slab::SessionId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time after which an unused offer expires. Clients that upgrade do so right after the handshake.
const OFFER_TIME: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct Budget {
    /// Maximum number of open and offered WebSockets. If `None`, there is no limit and offers are not recorded.
    pub limit: Option<usize>,
    /// Number of open WebSockets.
    pub used: usize,
    /// The unused offers: for each session, the time at which its offer expires. [`Budget::is_free`] scans all of them to
    /// remove the expired ones, which is cheap: platforms with a limit allow only some hundred WebSockets. The engine
    /// removes the offer of a session that is gone.
    pub offers: BTreeMap<SessionId, Instant>,
    /// Number of WebSockets refused since the start of the server.
    pub refused: u64,
}

impl Budget {
    pub fn new(limit: Option<usize>) -> Budget {
        Budget { limit, ..Budget::default() }
    }

    /// Whether the budget has room for one more WebSocket or offer.
    pub fn is_free(&mut self, now: Instant) -> bool {
        self.offers.retain(|_, until| *until > now);
        self.limit.is_none_or(|limit| self.used + self.offers.len() < limit)
    }

    /// Records that the handshake of a session has offered the upgrade. The offer counts until it is used or expires.
    pub fn offer(&mut self, session: SessionId, now: Instant) {
        if self.limit.is_some() {
            self.offers.insert(session, now + OFFER_TIME);
        }
    }

    /// Counts a WebSocket that the caller is about to open for `session` (`None`: for a new one). An offer to the session is
    /// used up. If there is no offer and the budget has no room, returns `false` and counts a refusal instead.
    pub fn open(&mut self, session: Option<SessionId>, now: Instant) -> bool {
        let free = self.is_free(now);
        let granted = session.is_some_and(|session| self.offers.remove(&session).is_some()) || free;
        self.used += usize::from(granted);
        self.refused += u64::from(!granted);
        granted
    }
}
