//! Connection state recovery, as in Socket.IO 4.6: a client whose connection broke gets its socket back, and the packets it has
//! missed, once and in order.
//!
//! The answer to a CONNECT has a private id (`pid`), every event has its offset as one more argument, and a client that
//! comes back presents both: `{"pid":...,"offset":...}`. Until then its socket is suspended. Packets for sockets that can be
//! recovered are kept in a log, once however many recipients they have, limited in time, number and bytes. An offset
//! counts all packets ever kept, so it shows whether a packet between it and the oldest one here is missing.
//! Source: docs of Socket.IO, "Connection state recovery"; the protocol text does not have it.

use super::{Deferred, DisconnectReason, Io, Socket, To};
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
use std::time::Instant;

/// Bytes that a kept packet costs besides its own, roughly.
const OVERHEAD: usize = 256;

/// The private id of a socket: its key, by which the server finds it, and a random part, which proves that the client owns it.
pub fn pid(key: SocketKey, secret: Id) -> String {
    format!("{:x}.{secret}", key.pack())
}

/// What a client presents to recover a socket.
pub struct Credentials {
    pub key: SocketKey,
    pub secret: Id,
    /// The offset of the last event it has received; `None`: it has received none.
    pub offset: Option<u64>,
}

/// Reads the payload of a CONNECT. `None`: it has no credentials, or invalid ones, so the client gets a new socket.
pub fn credentials(auth: Option<&RawValue>) -> Option<Credentials> {
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
    Some(Credentials { key, secret: Id::parse(secret)?, offset })
}

/// The packet of an event, with its offset as one more argument.
pub fn with_offset(event: &Encoded, offset: u64) -> Encoded {
    let array = event.data().strip_suffix(b"]").expect("the JSON of an event is an array");
    Encoded::text(|out| out.extend([array, format!(",\"{offset}\"]").as_bytes()].concat()))
}

/// The recipients of a kept packet.
pub enum Target {
    One(SocketKey),
    Many { namespace: usize, rooms: Box<[Box<str>]>, except: Box<[SocketKey]> },
}

impl Target {
    pub fn many(to: &To) -> Target {
        let rooms = to.rooms.iter().map(|room| Box::from(*room)).collect();
        Target::Many { namespace: to.namespace, rooms, except: to.except.into() }
    }

    fn includes(&self, key: SocketKey, socket: &Socket) -> bool {
        match self {
            Target::One(one) => *one == key,
            Target::Many { namespace, rooms, except } => {
                *namespace == socket.namespace
                    && !except.contains(&key)
                    && (rooms.is_empty() || rooms.iter().any(|room| socket.rooms.contains(room)))
            }
        }
    }
}

struct Entry {
    at: Instant,
    bytes: usize,
    target: Target,
    /// The event with its offset, then its attachments.
    messages: Vec<Encoded>,
}

/// The packets sent lately.
#[derive(Default)]
pub struct Log {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The offset of the last packet that was kept; the log starts with 0.
    pub last: u64,
}

impl Log {
    /// Keeps a packet, at the next offset, and drops packets beyond the limits.
    pub fn keep(&mut self, target: Target, messages: Vec<Encoded>, now: Instant, config: &Config) {
        let bytes = OVERHEAD + messages.iter().map(|message| message.data().len()).sum::<usize>();
        self.entries.push_back(Entry { at: now, bytes, target, messages });
        self.bytes += bytes;
        self.last += 1;
        while let Some(oldest) = self.entries.front()
            && (self.entries.len() > config.recovery_packets
                || self.bytes > config.recovery_bytes
                || oldest.at + config.recovery_time < now)
        {
            self.bytes -= oldest.bytes;
            self.entries.pop_front();
        }
    }

    /// The messages for the socket after `offset`, in order; `None`: some are no longer kept, or there was no such offset yet.
    pub fn since(&self, offset: u64, key: SocketKey, socket: &Socket) -> Option<impl Iterator<Item = &Encoded>> {
        let missed = usize::try_from(self.last.checked_sub(offset)?).ok()?;
        let missed = if socket.latest.get() <= offset { 0 } else { missed };
        let first = self.entries.len().checked_sub(missed)?;
        let missed = self.entries.range(first..).filter(move |entry| entry.target.includes(key, socket));
        Some(missed.flat_map(|entry| &entry.messages))
    }

    /// Drops all packets: no socket can be recovered any more.
    pub fn clear(&mut self) {
        *self = Log { last: self.last, ..Log::default() };
    }
}

/// The state of a suspended socket. It receives nothing, but keeps its rooms.
pub struct Suspension {
    /// Why the connection broke; `None`: the application has been told.
    pub reason: Option<DisconnectReason>,
    /// The end of `leave_grace`, when the application is told; then `until`.
    pub deadline: Deadline,
    /// Until when the socket can be recovered.
    pub until: Instant,
}

impl Io {
    /// The connection of a socket broke: suspends it if its client can recover it, else removes it. Packet `1` of Engine.IO
    /// (`ClientClose`) counts as broken too: official clients send it over polling after errors and time-outs. A client
    /// that leaves for good sends packet `1` of Socket.IO before it.
    pub(super) fn suspend(&mut self, key: SocketKey, reason: engineio::CloseReason) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        let reason = DisconnectReason::Session(reason);
        if socket.secret.is_none() || reason == DisconnectReason::Session(engineio::CloseReason::ServerClose) {
            return self.remove(key, reason);
        }
        let (now, grace, time) = (self.engine.now, self.config.leave_grace, self.config.recovery_time);
        let mut deadline = Deadline::default();
        self.suspended.set(key, &mut deadline, now + grace);
        socket.suspension = Some(Box::new(Suspension { reason: Some(reason), deadline, until: now + time }));
        // At most as many as there may be connections: the one with the nearest deadline is removed.
        if self.suspended.len() > self.config.max_connections
            && let Some((_, oldest)) = self.suspended.pop_due(now + time.max(grace))
        {
            self.remove(oldest, DisconnectReason::Ended);
        }
    }

    /// Attaches a socket to a new session of its client, and sends what it has missed. `false`: it is too late, or some
    /// packets are no longer kept; the socket then stays suspended until its time is over, and cannot be recovered.
    pub(super) fn recover(&mut self, session: SessionId, credentials: &Credentials) -> bool {
        let key = credentials.key;
        // The client is back before its old session has timed out: close that one, without a packet.
        if let Some(old) = self.sockets.get(key).and_then(Socket::session) {
            if let Some(state) = self.sessions.get_mut(&old) {
                state.sockets.retain(|own| *own != key);
            }
            self.suspend(key, engineio::CloseReason::TransportClose);
            self.engine.close(old, engineio::CloseReason::TransportClose);
        }
        let Some(socket) = self.sockets.get_mut(key) else { return false };
        // The official client presents the offset of an earlier socket if it has received no event on this one.
        let since = credentials.offset.unwrap_or_default().max(socket.since);
        let late = socket.suspension.as_ref().is_some_and(|suspension| suspension.until < self.engine.now);
        if late || self.log.since(since, key, socket).is_none() {
            self.recoverable -= usize::from(socket.secret.take().is_some());
            return false;
        }
        if let Some(suspension) = &mut socket.suspension {
            self.suspended.clear(key, &mut suspension.deadline);
        }
        self.attach(session, key);
        let missed = self.sockets.get(key).and_then(|socket| self.log.since(since, key, socket));
        missed.into_iter().flatten().for_each(|message| self.engine.send(session, message));
        true
    }

    /// A deadline of a suspended socket has passed: first that of `leave_grace`, then that of the recovery.
    pub(super) fn expire_suspension(&mut self, key: SocketKey) {
        let suspension = self.sockets.get_mut(key).and_then(|socket| socket.suspension.as_mut());
        match suspension.and_then(|suspension| Some((suspension.reason.take()?, suspension))) {
            Some((reason, suspension)) => {
                self.deferred.push_back(Deferred::Disconnected(key, reason));
                self.suspended.set(key, &mut suspension.deadline, suspension.until.max(self.engine.now));
            }
            None => self.remove(key, DisconnectReason::Ended),
        }
    }
}
