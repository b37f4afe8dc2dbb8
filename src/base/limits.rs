//! Counts how often clients reach each limit, and logs each limit at most once in ten seconds. Also counts the
//! connections and sessions of each client address, for `max_per_address`, and orders half-open connections (those without
//! a complete request head) by address and age, for `max_half_open`.

use crate::base::logger::RateLimitedLog;
use crate::base::metrics::{COUNTER, Metrics};
use crate::base::table::table;
use crate::config::TrustProxy;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

table! {
    /// A limit that clients can reach. Its row: the label in metrics, the option that the log line names, and the log line.
    Limit: (&'static str, &'static str, &'static str);
    Connections = ("connections", "max-connections", "connection limit reached: a client waits until one closes");
    AddressConnections =
        ("address_connections", "max-per-address", "connection closed: too many connections from this address");
    HalfOpen =
        ("half_open", "max-half-open", "too many connections without a complete request: one is closed");
    Sessions = ("sessions", "max-connections", "session refused: session limit reached");
    AddressSessions = ("address_sessions", "max-per-address", "session refused: too many sessions from this address");
    Memory = ("memory", "max-held", "session refused: too many bytes are held for all clients together");
    Holder = ("holder", "max-held", "client dropped: it holds most while too many bytes are held for all together");
    Head = ("head", "max-head", "request head too large");
    HeadTime = ("head_time", "head-timeout", "request head not complete in time");
    TlsTime = ("tls_time", "head-timeout", "TLS handshake not complete in time");
    TlsFailure = ("tls_failures", "tls-cert", "TLS failed");
    PlainHttp = ("plain_http", "tls-cert", "plain HTTP request on the HTTPS port");
    Payload = ("payload", "max-payload", "message or request body too large");
    BodyTime = ("body_time", "body-timeout", "request body not complete in time");
    Packets = ("packets", "max-packets", "too many packets in one payload");
    Fragments = ("fragments", "max-fragments", "too many fragments in one message");
    MessageTime = ("message_time", "message-timeout", "message not complete in time");
    UpgradeTime = ("upgrade_time", "upgrade-timeout", "WebSocket closed: upgrade not complete in time");
    ConnectTime = ("connect_time", "connect-timeout", "session closed: it joined no namespace in time");
    Packet =
        ("packet", "log debug", "session closed: packet malformed, nested too deep, or with too many attachments");
    Passwords = ("passwords", "password", "CONNECT refused: a wrong password, or one after too many wrong ones");
    Forwarded =
        ("forwarded", "trust-proxy", "X-Forwarded-For from a near proxy: its clients count as one that guesses passwords");
    Acks = ("acks", "max-acks", "event not sent: the socket, or all together, have too many acks outstanding");
    Rooms = ("rooms", "max-rooms", "room not joined: the socket, or all together, are in too many");
    Events = ("events", "event-rate", "event refused: event rate exceeded");
    Flood = ("flood", "event-rate", "session closed: event rate far exceeded");
    Queue = ("queue", "max-queue", "client evicted: it does not read what is queued for it");
    SoftQueue = ("soft_queue", "soft-queue", "client evicted: its queue stayed above the soft limit");
    WriteTime = ("write_time", "write-timeout", "client evicted: its connection accepts no more bytes");
}

/// The number of hits and the rate-limited log of each limit.
#[derive(Default)]
pub struct Limits {
    hits: [(u64, RateLimitedLog); Limit::TABLE.len()],
}

impl Limits {
    /// Counts one hit of `limit` and logs it. The log line shows `client`, which is usually the address of the client.
    pub fn hit(&mut self, limit: Limit, now: Instant, client: impl Display) {
        let (count, log) = &mut self.hits[limit as usize];
        *count += 1;
        let (_, option, message) = limit.row();
        log.warn(now, format_args!("{message} ({client}); see --{option}"));
    }

    pub fn metrics(&self, metrics: &mut Metrics) {
        let samples = Limit::TABLE.iter().zip(&self.hits).map(|((label, ..), (count, _))| (*label, count));
        let help = "How often each limit was reached; for connections: how often clients came that had to wait.";
        metrics.family("limits_total", COUNTER, help, "limit", samples);
    }
}

/// Returns the address under which a client is counted. An IPv6 client usually has a whole /64, so a /64 counts as one.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

/// Counts connections (in `net`) or sessions (in `engineio`) by client address. Entries with a count of zero are removed.
pub struct Addresses {
    proxies: TrustProxy,
    counts: BTreeMap<IpAddr, usize>,
}

impl Addresses {
    /// Creates an empty table. Addresses that may be those of `proxies` are exempt: a proxy connects for many clients.
    pub fn new(proxies: TrustProxy) -> Addresses {
        Addresses { proxies, counts: BTreeMap::new() }
    }

    /// Returns the address under which `address` is counted, or `None` if it is exempt.
    fn key(&self, address: IpAddr) -> Option<IpAddr> {
        (!self.proxies.may_be_proxy(address)).then(|| network(address))
    }

    /// Whether `more` connections or sessions would take `address` above `limit`. An exempt address never exceeds it.
    pub fn exceeds(&self, address: IpAddr, more: usize, limit: usize) -> bool {
        self.key(address).is_some() && self.count(address) + more > limit
    }

    pub fn count(&self, address: IpAddr) -> usize {
        self.key(address).and_then(|key| self.counts.get(&key).copied()).unwrap_or(0)
    }

    pub fn acquire(&mut self, address: IpAddr) {
        if let Some(key) = self.key(address) {
            *self.counts.entry(key).or_default() += 1;
        }
    }

    /// Undoes one [`Addresses::acquire`].
    pub fn release(&mut self, address: IpAddr) {
        if let Some(key) = self.key(address)
            && let Some(count) = self.counts.get_mut(&key)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&key);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

/// Items of clients, such as half-open connections, grouped by address. If there are too many in all, the address with most
/// must give up its first item (in the order of `T`). Every call takes logarithmic time, so that a flood stays cheap.
pub struct Groups<T> {
    groups: BTreeMap<IpAddr, BTreeSet<T>>,
    /// One entry per address: the number of its items, and the first of them.
    ranks: BTreeSet<(usize, Reverse<T>)>,
    /// Number of items.
    pub len: usize,
}

impl<T> Default for Groups<T> {
    fn default() -> Self {
        Groups { groups: BTreeMap::new(), ranks: BTreeSet::new(), len: 0 }
    }
}

impl<T: Ord + Copy> Groups<T> {
    pub fn insert(&mut self, address: IpAddr, item: T) {
        self.change(address, |group| group.insert(item));
    }

    pub fn remove(&mut self, address: IpAddr, item: T) {
        self.change(address, |group| group.remove(&item));
    }

    fn change(&mut self, address: IpAddr, act: impl FnOnce(&mut BTreeSet<T>) -> bool) {
        let network = network(address);
        let group = self.groups.entry(network).or_default();
        let rank = |group: &BTreeSet<T>| Some((group.len(), Reverse(*group.first()?)));
        self.len -= group.len();
        rank(group).iter().for_each(|rank| _ = self.ranks.remove(rank));
        act(group);
        self.len += group.len();
        match rank(group) {
            Some(rank) => _ = self.ranks.insert(rank),
            None => _ = self.groups.remove(&network),
        }
    }

    /// Returns the number of items of an address, and the first of them.
    pub fn of(&self, address: IpAddr) -> (usize, Option<T>) {
        self.groups.get(&network(address)).map_or((0, None), |group| (group.len(), group.first().copied()))
    }

    /// Returns the first item of the address that has most items. Among addresses that tie, the lowest first item counts.
    pub fn first_of_most(&self) -> Option<T> {
        self.ranks.last().map(|(_, Reverse(first))| *first)
    }
}
