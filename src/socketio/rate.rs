//! The rate limit of events: one token bucket per session.
//!
//! Every packet of a client takes a token, whatever its type; the bucket holds `event_burst` of them and is refilled at
//! `event_rate` per second. Events beyond that are refused with an error, other packets are let through, because
//! they are few and cheap. A client that is ahead by two buckets does not wait for answers: its session is closed.

use crate::config::Config;
use std::time::{Duration, Instant};

/// A token bucket, kept as one instant (the generic cell rate algorithm): no refill, no timer.
pub struct TokenBucket {
    /// When the bucket is full again; in the past if it is full.
    full_at: Instant,
}

/// How a packet stands to the rate limit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    Within,
    /// The bucket is empty: an event is refused.
    Exceeded,
    /// The client went on regardless: its session is closed.
    Flood,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(now: Instant) -> TokenBucket {
        TokenBucket { full_at: now }
    }

    /// Takes one token, also from an empty bucket: a client that goes on regardless gets ever further ahead.
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
