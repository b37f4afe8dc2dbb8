//! What strangers run into: each limit that was reached is counted, and told in the log at most once in ten seconds;
//! and how many of something each address has.

use crate::base::logger::RateLimitedLog;
use crate::base::metrics::Metrics;
use std::collections::HashMap;
use std::fmt::Display;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

macro_rules! limits {
    ($($name:ident = $label:literal, $flag:literal, $what:literal;)*) => {
        /// A limit of `config`, by what happens to those who reach it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Limit {
            $(#[doc = $what] $name,)*
        }

        /// Labels of the metric, the options, and what the log says.
        const TABLE: &[(&str, &str, &str)] = &[$(($label, $flag, $what),)*];
    };
}

limits! {
    Connections = "connections", "max-connections", "no connections are accepted until one closes";
    AddressConnections = "address_connections", "max-per-address", "a connection is closed: its address has too many";
    HalfOpen = "half_open", "max-half-open", "the oldest connection without a whole request is closed";
    Sessions = "sessions", "max-connections", "a session is refused";
    AddressSessions = "address_sessions", "max-per-address", "a session is refused: its address has too many";
    Memory = "memory", "max-queued", "sessions are refused until clients have read what waits for them";
    Head = "head", "max-head", "a request head is too large";
    HeadTime = "head_time", "head-timeout", "a request head takes too long";
    TlsTime = "tls_time", "head-timeout", "a client has begun TLS and does not go on";
    TlsFailure = "tls_failures", "tls-cert", "TLS with a client has failed";
    PlainHttp = "plain_http", "tls-cert", "a client speaks plain HTTP to the port of HTTPS";
    Payload = "payload", "max-payload", "a message or a body is too large";
    BodyTime = "body_time", "body-timeout", "a request body takes too long";
    Packets = "packets", "max-packets", "a payload has too many packets";
    Fragments = "fragments", "max-fragments", "a message has too many fragments";
    MessageTime = "message_time", "message-timeout", "the rest of a message takes too long";
    UpgradeTime = "upgrade_time", "upgrade-timeout", "a WebSocket that was to take over is closed";
    ConnectTime = "connect_time", "connect-timeout", "a session without a namespace is closed";
    Packet = "packet", "log debug", "a session is closed: its packet makes no sense, is too deep, or has too many attachments";
    Acks = "acks", "max-acks", "a socket owes too many answers, and is not asked";
    Rooms = "rooms", "max-rooms", "a socket is in too many rooms, and does not join";
    Events = "events", "event-rate", "an event is refused: its session sends too many";
    Flood = "flood", "event-rate", "a session is closed: it sends far too many events";
    Queue = "queue", "max-queue", "a client that does not read is dropped";
    SoftQueue = "soft_queue", "soft-queue", "a client that is far behind is dropped";
    WriteTime = "write_time", "write-timeout", "a client that takes nothing is dropped";
}

/// How often each limit was reached.
#[derive(Default)]
pub struct Limits {
    hits: [(u64, RateLimitedLog); TABLE.len()],
}

impl Limits {
    /// Somebody has reached a limit. `who`: an address, as far as it is known.
    pub fn hit(&mut self, limit: Limit, now: Instant, who: impl Display) {
        let (count, quiet) = &mut self.hits[limit as usize];
        *count += 1;
        if let Some(more) = quiet.allow(now) {
            let (_, flag, what) = TABLE[limit as usize];
            log::warn!("{what} ({who}; {more} more before); see --{flag}");
        }
    }

    /// Writes all of them down.
    pub fn metrics(&self, metrics: &mut Metrics) {
        let samples = TABLE.iter().zip(&self.hits).map(|((label, ..), (count, _))| (*label, count));
        metrics.family("limits_total", "counter", "How often limits were reached.", "limit", samples);
    }
}

/// How many of something each address has. Whoever has IPv6 has a /64, so that counts as one. An entry vanishes with
/// the last it counts.
pub struct Addresses {
    exempt: fn(&IpAddr) -> bool,
    counts: HashMap<IpAddr, usize>,
}

impl Addresses {
    /// Those of whom `exempt` is true are not counted.
    pub fn new(exempt: fn(&IpAddr) -> bool) -> Addresses {
        Addresses { exempt, counts: HashMap::new() }
    }

    /// What an address counts as, if it counts.
    fn key(&self, address: IpAddr) -> Option<IpAddr> {
        let address = address.to_canonical();
        (!(self.exempt)(&address)).then(|| match address {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            address => address,
        })
    }

    /// How many it has.
    pub fn count(&self, address: IpAddr) -> usize {
        self.key(address).and_then(|key| self.counts.get(&key).copied()).unwrap_or(0)
    }

    /// One more.
    pub fn acquire(&mut self, address: IpAddr) {
        if let Some(key) = self.key(address) {
            *self.counts.entry(key).or_default() += 1;
        }
    }

    /// One less, of those that have entered.
    pub fn release(&mut self, address: IpAddr) {
        if let Some(key) = self.key(address)
            && let Some(count) = self.counts.get_mut(&key)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&key);
            }
            if self.counts.is_empty() {
                self.counts.shrink_to_fit();
            }
        }
    }

    /// Whether nobody has any.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}
