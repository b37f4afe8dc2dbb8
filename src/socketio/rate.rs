//! The rate limit of events: one token bucket per session.
//!
//! Every Socket.IO packet and every ping of a client takes a token. The bucket holds `event_burst` tokens and is refilled at
//! `event_rate` tokens per second. While it is empty, events are refused with an error, but packets of other types are
//! accepted. A client that ignores the errors until it owes a whole bucket of tokens is flooding: its session is closed.

use crate::config::Config;
use std::time::{Duration, Instant};

/// The result of taking a token for a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    Within,
    /// The bucket is empty: if the packet is an event, it is refused.
    Exceeded,
    /// The client owes more than `event_burst` tokens: its session is closed.
    Flood,
}

/// Takes one token, even from an empty bucket, so that a client that ignores refusals owes more and more tokens. A bucket is
/// stored as one instant (the generic cell rate algorithm), so that it needs neither refills nor a timer: `full_at` is the
/// time at which the bucket is full again, in the past if it is full.
pub fn take(full_at: &mut Instant, now: Instant, config: &Config) -> Rate {
    let token = Duration::from_secs(1) / config.event_rate as u32;
    let burst = token * config.event_burst as u32;
    *full_at = (*full_at).max(now) + token;
    match *full_at - now {
        ahead if ahead > burst * 2 => Rate::Flood,
        ahead if ahead > burst => Rate::Exceeded,
        _ => Rate::Within,
    }
}
