//! The rate limit of events: one token bucket per session.
//!
//! Every packet of a client takes a token, whatever its type. The bucket holds `event_burst` tokens and is refilled at
//! `event_rate` tokens per second. While it is empty, events are refused with an error, but packets of other types are
//! accepted. A client that ignores the errors until it owes a whole bucket of tokens is flooding: its session is closed.

use crate::config::Config;
use std::time::{Duration, Instant};

/// A token bucket, stored as one instant (the generic cell rate algorithm), so that it needs neither refills nor a timer.
pub struct TokenBucket {
    /// The time at which the bucket is full again; in the past if the bucket is full.
    full_at: Instant,
}

/// The result of taking a token for a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    Within,
    /// The bucket is empty: if the packet is an event, it is refused.
    Exceeded,
    /// The client owes more than `event_burst` tokens: its session is closed.
    Flood,
}

impl TokenBucket {
    pub fn new(now: Instant) -> TokenBucket {
        TokenBucket { full_at: now }
    }

    /// Takes one token, even from an empty bucket, so that a client that ignores refusals owes more and more tokens.
    pub fn take(&mut self, now: Instant, config: &Config) -> Rate {
        let token = Duration::from_secs(1) / config.event_rate as u32;
        let burst = token * config.event_burst as u32;
        self.full_at = self.full_at.max(now) + token;
        match self.full_at - now {
            ahead if ahead > burst * 2 => Rate::Flood,
            ahead if ahead > burst => Rate::Exceeded,
            _ => Rate::Within,
        }
    }
}
