//! Socket.IO: namespaces and the sockets of sessions, from CONNECT to their end.
//!
//! One session carries at most one socket per namespace. [`Io`] owns the engine, handles the events of its sessions, keeps
//! the tables of sockets and rooms, and calls the application. The application in turn calls methods of [`Io`], which only
//! enqueue (rule R5). The callbacks for a socket that is gone, and for an ack that is late, therefore wait in `deferred`
//! until [`Io::handle`] makes them.
//!
//! How a socket ends:
//!
//! | word | meaning |
//! |---|---|
//! | `suspend` | the session was closed: the socket is kept for recovery, or removed if it cannot be recovered |
//! | `disconnect` | the server ends the socket: packet `1` is sent to the client, then the socket is removed |
//! | `remove` | the socket leaves the tables: as above, after the time for recovery, or after packet `1` of the client |
//!
//! Source: docs/socket.io-protocol/ of the Socket.IO monorepo, v5-current.md, v4.md, v3.md.

mod app;
mod door;
pub mod packet;
mod rate;
mod receive;
mod recovery;
#[cfg(feature = "redis")]
pub mod remote;
mod rooms;
mod send;

use crate::base::id::Id;
use crate::base::limits::{Groups, Limit};
use crate::base::slab::{self, SessionId, Slab, SocketKey};
use crate::base::timers::{Deadline, Timers};
use crate::config::Config;
use crate::engineio::packet::Data;
use crate::engineio::{self, Engine, SessionEvent};
use crate::ws::Text;
pub use app::*;
use bytes::Bytes;
use packet::{Invalid, Kind};
use rate::Rate;
use recovery::Suspension;
use serde_json::{json, value::RawValue};
use smallvec::SmallVec;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Instant;

/// A callback that [`Io::handle`] makes later, because a method that the application calls may not call back (rule R5).
enum Deferred {
    Disconnected(SocketKey, DisconnectReason),
    Forgotten(SocketKey),
    NoAnswer(SocketKey, u64),
}

/// The connection of a client to a namespace.
pub struct Socket {
    /// The socket id of the protocol, which the client and other servers know.
    pub id: Id,
    /// The session that carries the socket; `None` while the socket is suspended.
    session: Option<SessionId>,
    suspension: Option<Box<Suspension>>,
    /// Index into [`App::namespaces`].
    pub namespace: usize,
    rooms: Vec<Box<str>>,
    /// The ack id of the next event that asks the client for an ack.
    next_ack: u64,
    /// The random part of the `pid`, with which a client claims this socket in a CONNECT; `None` if it cannot be recovered.
    secret: Option<Id>,
    /// Whether unmarked sockets are removed before this one if too many are suspended; see [`Io::mark`].
    marked: bool,
    /// The last offset of the log when the socket connected. Recovery starts after it if the client has received no event.
    since: u64,
    /// The offset of the last packet for this socket. A client that presents it has missed nothing, even if the log has
    /// already dropped later packets for other sockets.
    latest: Cell<u64>,
    /// The earlier socket of the same client, which the client could not recover; it may have been removed since.
    pub predecessor: Option<SocketKey>,
}

/// An ack that a client owes.
struct PendingAck {
    deadline: Deadline,
    /// The id of the request with which another server asked for the ack; `None` if the application here asked for it.
    asker: Option<Text>,
}

/// A binary packet whose attachments have not all arrived.
struct PendingPacket {
    /// The text of the packet. It is parsed again when all attachments are here, because a parsed packet borrows from it.
    text: Text,
    /// The socket that gets the packet. If `None`, the packet is dropped when its attachments have arrived.
    socket: Option<SocketKey>,
    attachments: Vec<Bytes>,
    /// Sum of the lengths of `attachments`, in bytes; at most `max_payload`.
    held: usize,
    /// The number of attachments that the packet announces.
    count: usize,
}

/// The state that Socket.IO keeps for a session.
struct SessionState {
    /// The sockets of the session, at most one per namespace. Nearly every session has one.
    sockets: SmallVec<[SocketKey; 2]>,
    /// Bit n: the session has joined namespace n, which it may have left meanwhile.
    joined: u32,
    pending: Option<Box<PendingPacket>>,
    /// The time by which the session must have a socket, or all attachments of `pending`; `None` if it waits for neither.
    deadline: Deadline,
    /// The token bucket of the rate limit: see [`rate::take`].
    full_at: Instant,
}

/// For each namespace, the members of its rooms by name. Empty rooms are removed.
type Rooms = Vec<HashMap<Box<str>, BTreeSet<SocketKey>>>;

/// Other servers can put sockets into rooms and ask for acks. Each of both may take this share of `max_held`: a quarter.
const TABLE_SHARE: usize = 4;
/// Estimated memory of an ack that a client owes, without the id of the request, in bytes.
const ACK_BYTES: usize = 192;

/// All sockets, and their rooms. Methods take the arguments of an event or ack as `args`, which must serialize as an array:
/// `(one,)`, `(one, two)`, `[&raw]`.
pub struct Io {
    config: Config,
    pub engine: Engine,
    namespaces: &'static [&'static str],
    sockets: Slab<slab::Socket, Socket>,
    sessions: HashMap<SessionId, SessionState>,
    rooms: Rooms,
    /// The memory that the rooms take, in bytes; an estimate.
    room_bytes: usize,
    /// The timers of all suspended sockets.
    suspended: Timers<SocketKey>,
    /// The suspended sockets by the address of their clients, in the order in which they are removed if there are too many:
    /// unmarked ones before marked ones, and within each kind the longest suspended first.
    held: Groups<(bool, u64, SocketKey)>,
    /// Number of suspensions so far.
    suspensions: u64,
    /// The number of sockets that can be recovered (`secret` is set). While it is 0, no packet is kept for recovery.
    recoverable: usize,
    log: recovery::Log,
    /// The timers of the deadlines in `sessions`.
    timers: Timers<SessionId>,
    /// The acks that clients owe, by socket and ack id.
    acks: BTreeMap<(SocketKey, u64), PendingAck>,
    ack_timers: Timers<(SocketKey, u64)>,
    deferred: VecDeque<Deferred>,
    guesses: door::Guesses,
    /// Broadcasts and acks that are to be published to other servers; always empty without a cluster.
    pub publications: VecDeque<Publication>,
    /// The time at which the turn began, by the system clock, in milliseconds since 1970.
    pub time: u64,
}

impl Io {
    pub fn new(config: Config, namespaces: &'static [&'static str], engine: Engine) -> Io {
        Io {
            config,
            engine,
            namespaces,
            sockets: Slab::default(),
            sessions: HashMap::new(),
            rooms: vec![HashMap::new(); namespaces.len()],
            room_bytes: 0,
            suspended: Timers::default(),
            held: Groups::default(),
            suspensions: 0,
            recoverable: 0,
            log: recovery::Log::default(),
            timers: Timers::default(),
            acks: BTreeMap::new(),
            ack_timers: Timers::default(),
            deferred: VecDeque::new(),
            guesses: door::Guesses::default(),
            publications: VecDeque::new(),
            time: 0,
        }
    }

    /// Returns two numbers: connected sockets, and suspended sockets.
    pub fn sockets(&self) -> [usize; 2] {
        [self.sockets.len() - self.suspended.len(), self.suspended.len()]
    }

    /// Returns the memory of the tables that peers can grow, in bytes: packets kept for recovery without their buffers, rooms,
    /// acks that clients owe, and addresses that have guessed the password.
    pub fn tables(&self) -> [usize; 4] {
        [self.log.overhead, self.room_bytes, self.acks.len() * ACK_BYTES, self.guesses.bytes()]
    }

    /// Returns all sessions, and the bytes that each holds: in its queue, and in a packet that waits for attachments.
    pub fn holders(&self) -> impl Iterator<Item = (usize, SessionId)> {
        self.engine.queues().map(|(queued, id)| {
            let pending = self.sessions.get(&id).and_then(|state| state.pending.as_ref());
            (queued + pending.map_or(0, |pending| pending.held + pending.text.len()), id)
        })
    }

    /// Returns the number of running timers, including those of the engine.
    pub fn timers(&self) -> usize {
        self.engine.timers.len() + self.timers.len() + self.ack_timers.len() + self.suspended.len()
    }

    /// Returns the time at which [`Io::expire`] is to be called; `None` if no timer is running.
    pub fn next_deadline(&self) -> Option<Instant> {
        let next = [self.engine.timers.next(), self.timers.next(), self.ack_timers.next(), self.suspended.next()];
        next.into_iter().flatten().min()
    }

    /// Marks a connected socket (say, its user has a name): if too many are suspended, unmarked ones are removed first.
    pub fn mark(&mut self, key: SocketKey) {
        if let Some(socket) = self.sockets.get_mut(key).filter(|socket| socket.session.is_some()) {
            socket.marked = true;
        }
    }

    /// Returns the socket with this key, connected or suspended; `None` if it was removed.
    pub fn socket(&self, key: SocketKey) -> Option<&Socket> {
        self.sockets.get(key)
    }

    /// Handles one event of the engine, or makes one deferred call to the application. Returns `false` if there is neither.
    pub fn handle(&mut self, app: &mut impl App) -> bool {
        if let Some(event) = self.engine.out.events.pop_front() {
            self.handle_session(event, app);
            return true;
        }
        match self.deferred.pop_front() {
            Some(Deferred::Disconnected(socket, reason)) => app.disconnected(self, socket, reason),
            Some(Deferred::Forgotten(socket)) => app.forgotten(socket),
            Some(Deferred::NoAnswer(socket, number)) => app.acknowledged(self, socket, number, None),
            None => return false,
        }
        true
    }

    fn handle_session(&mut self, event: SessionEvent, app: &mut impl App) {
        let plain = |id| self.engine.client(id).is_some_and(|client| client.plain);
        match event {
            SessionEvent::Opened(id) if plain(id) => {}
            SessionEvent::Opened(id) => {
                let (now, mut deadline) = (self.engine.now, Deadline::default());
                self.timers.set(id, &mut deadline, now + self.config.connect_timeout);
                let state = SessionState { sockets: SmallVec::new(), joined: 0, pending: None, deadline, full_at: now };
                self.sessions.insert(id, state);
                if self.engine.is_old(id) {
                    self.connect(id, 0, None, "", app);
                }
            }
            SessionEvent::Message(id, data) if plain(id) => app.plain_message(&mut self.engine, id, data),
            SessionEvent::Message(id, data) => {
                let result = match data {
                    Data::Text(text) => self.receive_packet(id, text, app),
                    Data::Binary(bytes) => self.receive_attachment(id, bytes, app),
                };
                if let Err(Invalid(why)) = result {
                    log::debug!("closing session {:?}: {why}", self.engine.client(id).map(|client| client.sid));
                    self.engine.hit(Limit::Packet, id);
                    self.engine.close(id, engineio::CloseReason::ParseError);
                }
            }
            SessionEvent::Ping(id) => {
                if let Some(state) = self.sessions.get_mut(&id)
                    && rate::take(&mut state.full_at, self.engine.now, &self.config) == Rate::Flood
                {
                    self.evict_flooder(id);
                }
            }
            SessionEvent::Closed(id, reason, address) => {
                let Some(mut state) = self.sessions.remove(&id) else { return };
                self.timers.clear(id, &mut state.deadline);
                state.sockets.into_iter().for_each(|socket| {
                    self.suspend(socket, reason, address);
                    self.limit_held(address);
                });
            }
        }
    }

    /// Connects a client to a namespace, if it has the password: the client gets its old socket back, or a new one if the
    /// application admits it.
    fn connect(
        &mut self, session: SessionId, namespace: usize, auth: Option<&RawValue>, query: &str, app: &mut impl App,
    ) {
        let Some(engineio::ClientInfo { sid, recovers, .. }) = self.engine.client(session) else { return };
        let name = self.namespaces[namespace];
        if !self.opens_door(session, auth, query) {
            return self.refuse(session, name, "password");
        }
        let credentials = recovery::credentials(auth).filter(|(key, secret, _)| {
            let owns = |socket: &Socket| socket.secret == Some(*secret) && socket.namespace == namespace;
            recovers && self.sockets.get(*key).is_some_and(owns)
        });
        if let Some((key, _, offset)) = credentials
            && self.recover(session, key, offset)
        {
            return app.recovered(self, key);
        }
        if let Err(message) = app.admit(name, auth) {
            return self.refuse(session, name, &message);
        }
        // Old clients (`EIO=2`, `EIO=3`) take the `sid` of the session for the id of the socket.
        let id = if self.engine.is_old(session) { sid } else { self.engine.ids.fresh() };
        let secret = recovers.then(|| self.engine.ids.fresh());
        self.recoverable += usize::from(recovers);
        let key = self.sockets.insert(Socket {
            id,
            session: Some(session),
            suspension: None,
            namespace,
            rooms: Vec::new(),
            next_ack: 0,
            secret,
            marked: false,
            since: self.log.last,
            latest: Cell::new(self.log.last),
            predecessor: credentials.map(|(key, ..)| key),
        });
        if self.config.redis.is_some() {
            // Other servers address a single socket by this room, which is named after the socket's id.
            self.join(key, &id.to_string());
        }
        self.attach(session, key);
        app.connected(self, key, auth);
    }

    /// Attaches a socket to a session, and answers the client's CONNECT.
    fn attach(&mut self, session: SessionId, key: SocketKey) {
        let Some((state, socket)) = self.sessions.get_mut(&session).zip(self.sockets.get_mut(key)) else { return };
        self.timers.clear(session, &mut state.deadline);
        state.sockets.push(key);
        state.joined |= 1 << socket.namespace;
        (socket.session, socket.suspension) = (Some(session), None);
        let json = match socket.secret {
            _ if self.engine.is_old(session) => String::new(),
            None => format!("{{\"sid\":\"{}\"}}", socket.id),
            // The `pid` has the key of the socket, to find it, and a secret, which proves that the client owns it.
            Some(secret) => format!("{{\"sid\":\"{}\",\"pid\":\"{:x}.{secret}\"}}", socket.id, key.pack()),
        };
        let namespace = self.namespaces[socket.namespace];
        self.reply(session, Kind::Connect, namespace, None, &json);
    }

    /// Refuses a CONNECT. The error is an object in protocol 5; old clients (`EIO=2`, `EIO=3`) get the bare message.
    fn refuse(&mut self, session: SessionId, namespace: &str, message: &str) {
        let json = if self.engine.is_old(session) { json!(message) } else { json!({ "message": message }) };
        self.reply(session, Kind::ConnectError, namespace, None, &json.to_string());
    }

    /// Ends a socket: sends packet `1` to its client and removes the socket. [`App::disconnected`] is called later.
    pub fn disconnect(&mut self, key: SocketKey) {
        let Some(socket) = self.sockets.get(key) else { return };
        let namespace = self.namespaces[socket.namespace];
        if let Some(session) = socket.session {
            self.reply(session, Kind::Disconnect, namespace, None, "");
        }
        self.remove(key, DisconnectReason::Ended);
    }

    /// Removes a socket from all tables. [`App::disconnected`] is called later, unless it was called already, and then
    /// [`App::forgotten`]. For a suspended socket, the reason of the suspension replaces `reason`.
    fn remove(&mut self, key: SocketKey, reason: DisconnectReason) {
        let Some(socket) = self.sockets.remove(key) else { return };
        if let Some(state) = socket.session.and_then(|session| self.sessions.get_mut(&session)) {
            state.sockets.retain(|own| *own != key);
        }
        for room in socket.rooms {
            self.remove_member(key, socket.namespace, &room);
        }
        while let Some((&ack, _)) = self.acks.range((key, 0)..=(key, u64::MAX)).next()
            && let Some(mut pending) = self.acks.remove(&ack)
        {
            self.ack_timers.clear(ack, &mut pending.deadline);
        }
        self.recoverable -= usize::from(socket.secret.is_some());
        if self.recoverable == 0 {
            self.log.clear();
        }
        let mut reason = Some(reason);
        if let Some(mut suspension) = socket.suspension {
            self.suspended.clear(key, &mut suspension.deadline);
            self.held.remove(suspension.address, (socket.marked, suspension.number, key));
            reason = suspension.reason;
        }
        self.deferred.extend(reason.map(|reason| Deferred::Disconnected(key, reason)));
        self.deferred.push_back(Deferred::Forgotten(key));
    }

    /// Handles the deadlines that have passed: of the engine, CONNECTs, attachments, acks and suspended sockets.
    pub fn expire(&mut self) {
        self.engine.expire();
        let now = self.engine.now;
        while let Some((_, id)) = self.timers.pop_due(now) {
            let (limit, reason) = match self.sessions.get(&id) {
                Some(SessionState { pending: Some(_), .. }) => (Limit::MessageTime, engineio::CloseReason::ParseError),
                _ => (Limit::ConnectTime, engineio::CloseReason::ServerClose),
            };
            self.engine.hit(limit, id);
            self.engine.close(id, reason);
        }
        while let Some((_, key)) = self.suspended.pop_due(now) {
            self.expire_suspension(key);
        }
        while let Some((_, (socket, number))) = self.ack_timers.pop_due(now) {
            let ack = self.acks.remove(&(socket, number));
            if ack.is_some_and(|ack| ack.asker.is_none()) {
                self.deferred.push_back(Deferred::NoAnswer(socket, number));
            }
        }
    }
}

#[cfg(debug_assertions)]
#[path = "../../tests/seams/io.rs"]
mod check;
