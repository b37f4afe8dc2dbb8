//! Connection state recovery, as in Socket.IO 4.6: a client whose connection broke gets back its socket and the packets that
//! it has missed, once and in order.
//!
//! The server's answer to a CONNECT has a private id (`pid`), and each event of the server that asks for no ack has its
//! offset as its last argument. A client that reconnects presents `pid` and the last offset in its CONNECT, as
//! `{"pid":...,"offset":...}`. Until then, its socket is suspended. Packets for sockets that can be recovered are kept in a
//! log, each once for all its recipients; time, number and bytes are limited. Offsets number all packets ever kept, so they
//! show whether a missed packet was dropped.
//! Source: docs of Socket.IO, "Connection state recovery"; the protocol specification does not have it.

use super::{Deferred, DisconnectReason, Io, Socket, To};
use crate::base::held::ENTRY;
use crate::base::id::Id;
use crate::base::slab::{SessionId, SocketKey};
use crate::base::timers::Deadline;
use crate::config::Config;
use crate::engineio;
use crate::engineio::packet::Encoded;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

/// Estimated memory of a kept packet in addition to its own bytes, in bytes.
const OVERHEAD: usize = 256;

/// Parses the payload of a CONNECT. Returns the two parts of its `pid`, the key and the secret of a socket (see
/// [`Io::attach`]), and the offset of the last event that the client has received, `None` if it has received none. The whole
/// result is `None` if `pid` is missing, or if `pid` or `offset` is malformed: the client then gets a new socket.
pub fn credentials(auth: Option<&RawValue>) -> Option<(SocketKey, Id, Option<u64>)> {
    #[derive(Deserialize)]
    struct Auth<'a> {
        #[serde(borrow)]
        pid: Cow<'a, str>,
        #[serde(borrow, default)]
        offset: Option<Cow<'a, str>>,
    }
    let auth: Auth = serde_json::from_str(auth?.get()).ok()?;
    let (key, secret) = auth.pid.split_once('.')?;
    let key = SocketKey::unpack(usize::from_str_radix(key, 16).ok()?);
    let offset = auth.offset.map(|offset| offset.parse()).transpose().ok()?;
    Some((key, Id::parse(secret)?, offset))
}

/// Returns an event packet with `offset` appended as its last argument.
pub fn with_offset(event: &Encoded, offset: u64) -> Encoded {
    let array = event.data().strip_suffix(b"]").expect("the JSON of an event is an array");
    Encoded::text(|out| out.extend([array, format!(",\"{offset}\"]").as_bytes()].concat()))
}

/// The recipients of a kept packet.
pub enum Target {
    One(SocketKey),
    /// `rooms` and `except` are sorted.
    Many {
        namespace: usize,
        rooms: Box<[Box<str>]>,
        except: Box<[SocketKey]>,
    },
}

impl Target {
    pub fn many(to: &To) -> Target {
        let mut rooms: Box<[Box<str>]> = to.rooms.iter().map(|room| Box::from(*room)).collect();
        let mut except: Box<[SocketKey]> = to.except.into();
        rooms.sort_unstable();
        except.sort_unstable();
        Target::Many { namespace: to.namespace, rooms, except }
    }

    /// Returns the estimated memory of the lists, in bytes.
    fn bytes(&self) -> usize {
        let Target::Many { rooms, except, .. } = self else { return 0 };
        rooms.iter().map(|room| ENTRY + room.len()).sum::<usize>() + size_of_val(&**except)
    }

    fn includes(&self, key: SocketKey, socket: &Socket) -> bool {
        match self {
            Target::One(one) => *one == key,
            Target::Many { namespace, rooms, except } => {
                *namespace == socket.namespace
                    && except.binary_search(&key).is_err()
                    && (rooms.is_empty() || socket.rooms.iter().any(|own| rooms.binary_search(own).is_ok()))
            }
        }
    }
}

struct Entry {
    at: Instant,
    bytes: usize,
    /// The part of `bytes` that is not in the buffers of `messages`.
    overhead: usize,
    target: Target,
    /// The messages of the packet: the event with its offset, then its attachments.
    messages: Vec<Encoded>,
}

/// The packets that are kept for recovery, oldest first.
#[derive(Default)]
pub struct Log {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// What the kept packets cost besides their buffers, in bytes.
    pub overhead: usize,
    /// The offset of the last packet that was kept; 0 before the first one.
    pub last: u64,
}

impl Log {
    /// Appends a packet, which gets the next offset. Drops the oldest packets while the log exceeds its limits.
    pub fn keep(&mut self, target: Target, messages: Vec<Encoded>, now: Instant, config: &Config) {
        let overhead = OVERHEAD + target.bytes();
        let bytes = overhead + messages.iter().map(|message| message.data().len()).sum::<usize>();
        self.entries.push_back(Entry { at: now, bytes, overhead, target, messages });
        self.bytes += bytes;
        self.overhead += overhead;
        self.last += 1;
        while let Some(oldest) = self.entries.front()
            && (self.entries.len() > config.recovery_packets
                || self.bytes > config.recovery_bytes
                || oldest.at + config.recovery_time < now)
        {
            self.bytes -= oldest.bytes;
            self.overhead -= oldest.overhead;
            self.entries.pop_front();
        }
    }

    /// Returns the messages for a socket after `offset`; `None` if some were dropped, or if `offset` is above `last`.
    pub fn since(&self, offset: u64, key: SocketKey, socket: &Socket) -> Option<impl Iterator<Item = &Encoded>> {
        let missed = usize::try_from(self.last.checked_sub(offset)?).ok()?;
        let missed = if socket.latest.get() <= offset { 0 } else { missed };
        let first = self.entries.len().checked_sub(missed)?;
        let missed = self.entries.range(first..).filter(move |entry| entry.target.includes(key, socket));
        Some(missed.flat_map(|entry| &entry.messages))
    }

    /// Drops all packets but keeps the last offset. Called when no socket that could be recovered is left.
    pub fn clear(&mut self) {
        *self = Log { last: self.last, ..Log::default() };
    }
}

/// The state of a suspended socket. Such a socket is still in its rooms, but nothing is sent to it.
pub struct Suspension {
    /// The reason to call `App::disconnected` with; `None` once it was called.
    pub reason: Option<DisconnectReason>,
    /// At first the end of `leave_grace`, when `App::disconnected` is called. After that, `until`.
    pub deadline: Deadline,
    /// The time until which the socket can be recovered.
    pub until: Instant,
    /// The number of this suspension, counted since the start of the server.
    pub number: u64,
    /// The address of the client. The socket counts for its `max_per_address`.
    pub address: IpAddr,
}

impl Io {
    /// Suspends a socket whose session was closed, or removes it if it cannot be recovered or the server closed the session.
    /// A packet `1` of Engine.IO from the client (`ClientClose`) counts as a broken connection: official clients send it
    /// over polling after errors and time-outs. A client that leaves for good sends packet `1` of Socket.IO first.
    pub(super) fn suspend(&mut self, key: SocketKey, reason: engineio::CloseReason, address: IpAddr) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        let reason = DisconnectReason::Session(reason);
        if socket.secret.is_none() || reason == DisconnectReason::Session(engineio::CloseReason::ServerClose) {
            return self.remove(key, reason);
        }
        let (now, grace, time) = (self.engine.now, self.config.leave_grace, self.config.recovery_time);
        let mut deadline = Deadline::default();
        self.suspensions += 1;
        self.suspended.set(key, &mut deadline, now + grace);
        socket.session = None;
        let suspension =
            Suspension { reason: Some(reason), deadline, number: self.suspensions, until: now + time, address };
        socket.suspension = Some(Box::new(suspension));
        let marked = socket.marked;
        self.held.insert(address, (marked, self.suspensions, key));
    }

    /// Removes a suspended socket if this address, or all addresses together, have too many.
    pub(super) fn limit_held(&mut self, address: IpAddr) {
        // Suspended sockets count with the sessions of their address, so that one client cannot end the recovery of others.
        let (count, first) = self.held.of(address);
        let given_up = match self.engine.exceeds_address(address, count) {
            true => first,
            false => self.held.first_of_most().filter(|_| self.held.len > self.config.max_connections),
        };
        given_up.into_iter().for_each(|(.., key)| self.remove(key, DisconnectReason::Ended));
    }

    /// Attaches a socket to a new session of its client, and sends the packets after `offset`, which the client has missed.
    /// Returns `false` if it is too late, or if packets after `offset` were dropped. The socket is then no longer
    /// recoverable, and is removed at its deadline.
    pub(super) fn recover(&mut self, session: SessionId, key: SocketKey, offset: Option<u64>) -> bool {
        // The client may be back before its old session has timed out. If so, that session is closed without a close packet.
        if let Some(old) = self.sockets.get(key).and_then(|socket| socket.session) {
            if let Some(state) = self.sessions.get_mut(&old) {
                state.sockets.retain(|own| *own != key);
            }
            let address = self.engine.client(old).map(|client| client.address);
            self.engine.close(old, engineio::CloseReason::TransportClose);
            let unknown = IpAddr::from([0; 4]);
            self.suspend(key, engineio::CloseReason::TransportClose, address.unwrap_or(unknown));
        }
        let Some(socket) = self.sockets.get_mut(key) else { return false };
        // A client that has received no event on this socket may present an older offset, from an earlier socket.
        let since = offset.unwrap_or_default().max(socket.since);
        let late = socket.suspension.as_ref().is_some_and(|suspension| suspension.until < self.engine.now);
        if late || self.log.since(since, key, socket).is_none() {
            self.recoverable -= usize::from(socket.secret.take().is_some());
            return false;
        }
        let marked = socket.marked;
        if let Some(mut suspension) = socket.suspension.take() {
            self.suspended.clear(key, &mut suspension.deadline);
            self.held.remove(suspension.address, (marked, suspension.number, key));
        }
        self.attach(session, key);
        let missed = self.sockets.get(key).and_then(|socket| self.log.since(since, key, socket));
        missed.into_iter().flatten().for_each(|message| self.engine.send(session, message));
        true
    }

    /// Handles a deadline of a suspended socket: at the first the application is told, at the second the socket is removed.
    pub(super) fn expire_suspension(&mut self, key: SocketKey) {
        let suspension = self.sockets.get_mut(key).and_then(|socket| socket.suspension.as_mut());
        match suspension.and_then(|suspension| Some((suspension.reason.take()?, suspension))) {
            Some((reason, suspension)) => {
                self.deferred.push_back(Deferred::Disconnected(key, reason));
                // `pop_due` has removed the timer. With the old time in `deadline`, `set` would add none for the same time.
                suspension.deadline = None;
                self.suspended.set(key, &mut suspension.deadline, suspension.until.max(self.engine.now));
            }
            None => self.remove(key, DisconnectReason::Ended),
        }
    }
}
