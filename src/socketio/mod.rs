//! Socket.IO: messages of Engine.IO sessions in, events of sockets out; namespaces, rooms, acks, broadcasts.
//!
//! One session carries one socket per namespace. [`Io`] owns the engine, takes the events of its sessions, keeps the books
//! and calls the application, whose answers are calls of [`Io`] that only enqueue. What has no message behind it (a socket
//! that is gone, an ack that never came) waits in `late` until the calls are over, so that no call from above ever raises
//! an event (rule R5).
//! Source: docs/socket.io-protocol/ of the Socket.IO monorepo, v5-current.md, v4.md, v3.md.

mod app;
pub mod packet;
mod recovery;
#[cfg(feature = "redis")]
pub mod remote;

use crate::base::id::Id;
use crate::base::limits::Limit;
use crate::base::slab::{SessionId, Slab, SocketKey};
use crate::base::timers::{Deadline, Timers};
use crate::config::Config;
use crate::engineio::packet::{Data, Encoded};
use crate::engineio::{self, Engine, SessionEvent};
use crate::ws::Text;
pub use app::*;
use bytes::Bytes;
use packet::{Invalid, Kind, Packet};
use recovery::{Credentials, Target};
use serde::Serialize;
use serde_json::{json, value::RawValue};
use smallvec::SmallVec;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// What happened without a message of the client behind it.
enum Deferred {
    Disconnected(SocketKey, DisconnectReason),
    Forgotten(SocketKey),
    NoAnswer(SocketKey, u64),
}

/// A client in a namespace.
pub struct Socket {
    /// As its client knows it.
    pub id: Id,
    /// The last one, if the socket is held.
    session: SessionId,
    held: Option<Box<Suspension>>,
    /// Index into [`App::namespaces`].
    pub namespace: usize,
    rooms: Vec<Box<str>>,
    /// The number of the next event that asks for an answer.
    next_ack: u64,
    /// Proves that a client owns this socket; `None` if the client does not know recovery.
    secret: Option<Id>,
    /// The offset when it connected: what a client has seen that has had no event yet.
    since: u64,
    /// The offset of the last packet for it: who presents that has missed nothing, whatever else is forgotten.
    latest: Cell<u64>,
    /// The socket that its client had before and could not recover. It may be gone by now.
    pub predecessor: Option<SocketKey>,
}

/// The connection of a socket broke: it hears nothing, but it is kept, with all that is said meanwhile.
struct Suspension {
    /// What the application is still to be told.
    reason: Option<DisconnectReason>,
    /// The end of the grace; then `until`.
    deadline: Deadline,
    /// The end of the time in which it can be recovered.
    until: Instant,
}

impl Socket {
    /// The session that carries it now.
    fn session(&self) -> Option<SessionId> {
        self.held.is_none().then_some(self.session)
    }
}

/// An answer that a client owes us.
struct PendingAck {
    deadline: Deadline,
    /// By what the server that wants it calls its question, if it is not the application.
    asker: Option<Box<str>>,
}

/// A binary packet whose attachments are still coming.
struct PendingPacket {
    text: Text,
    /// `None`: it was gone already, and they are dropped.
    socket: Option<SocketKey>,
    attachments: Vec<Bytes>,
    missing: usize,
}

/// What we know of a session.
struct SessionState {
    /// Its sockets, one per namespace; nearly always one.
    sockets: SmallVec<[SocketKey; 2]>,
    partial: Option<Box<PendingPacket>>,
    /// When it must have had its first socket, or its partial packet must be whole.
    deadline: Deadline,
    /// How far its packets, at `event_rate`, have used up the time: a token bucket, kept as the time at which it will be full.
    bucket_full_at: Instant,
}

/// All sockets, and the rooms they are in. Arguments of events serialize as an array: `(one,)`, `(one, two)`, `[&raw]`.
pub struct Io {
    config: Config,
    pub engine: Engine,
    namespaces: &'static [&'static str],
    sockets: Slab<crate::base::slab::Socket, Socket>,
    clients: HashMap<SessionId, SessionState>,
    rooms: Rooms,
    /// Sockets that are held.
    held: Timers<SocketKey>,
    /// Sockets with a secret. While there are none, nothing is kept.
    recoverable: usize,
    log: recovery::Log,
    timers: Timers<SessionId>,
    /// Answers we wait for, by socket and number.
    acks: BTreeMap<(SocketKey, u64), PendingAck>,
    ack_timers: Timers<(SocketKey, u64)>,
    late: VecDeque<Deferred>,
    /// For other servers, if there are any.
    pub publications: VecDeque<Publication>,
    /// The time of the turn in milliseconds since 1970.
    pub time: u64,
}

/// The members of each room of each namespace.
type Rooms = HashMap<(usize, Box<str>), BTreeSet<SocketKey>>;

impl Io {
    /// No sockets yet.
    pub fn new(config: Config, namespaces: &'static [&'static str], engine: Engine) -> Io {
        Io {
            config,
            engine,
            namespaces,
            sockets: Slab::default(),
            clients: HashMap::new(),
            rooms: HashMap::new(),
            held: Timers::default(),
            recoverable: 0,
            log: recovery::Log::default(),
            timers: Timers::default(),
            acks: BTreeMap::new(),
            ack_timers: Timers::default(),
            late: VecDeque::new(),
            publications: VecDeque::new(),
            time: 0,
        }
    }

    /// How many sockets are connected, and how many are held for clients that may come back.
    pub fn sockets(&self) -> [usize; 2] {
        [self.sockets.len() - self.held.len(), self.held.len()]
    }

    /// How many timers run, those of the engine included.
    pub fn timers(&self) -> usize {
        self.engine.timers.len() + self.timers.len() + self.ack_timers.len() + self.held.len()
    }

    /// When [`Io::expire`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        let own = [self.timers.next(), self.ack_timers.next(), self.held.next()];
        own.into_iter().chain([self.engine.next_deadline()]).flatten().min()
    }

    /// Tells the application of one thing that has happened; `false` if there is nothing.
    pub fn handle(&mut self, app: &mut impl App) -> bool {
        if let Some(event) = self.engine.out.events.pop_front() {
            self.session_event(event, app);
            return true;
        }
        match self.late.pop_front() {
            Some(Deferred::Disconnected(socket, reason)) => app.disconnected(self, socket, reason),
            Some(Deferred::Forgotten(socket)) => app.forgotten(socket),
            Some(Deferred::NoAnswer(socket, number)) => app.acknowledged(self, socket, number, None),
            None => return false,
        }
        true
    }

    fn session_event(&mut self, event: SessionEvent, app: &mut impl App) {
        let plain = |id| self.engine.client(id).is_some_and(|client| client.plain);
        match event {
            SessionEvent::Opened(id) if plain(id) => {}
            SessionEvent::Opened(id) => {
                let (now, mut deadline) = (self.engine.now, Deadline::default());
                self.timers.set(id, &mut deadline, now + self.config.connect_timeout);
                self.clients.insert(
                    id,
                    SessionState { sockets: SmallVec::new(), partial: None, deadline, bucket_full_at: now },
                );
                if self.engine.is_old(id) {
                    self.connect(id, 0, None, app);
                }
            }
            SessionEvent::Message(id, data) if plain(id) => app.plain_message(&mut self.engine, id, data),
            SessionEvent::Message(id, data) => {
                let result = match data {
                    Data::Text(text) => self.text(id, text, app),
                    Data::Binary(bytes) => self.attachment(id, bytes, app),
                };
                if let Err(Invalid(why)) = result {
                    log::debug!("session {:?} is closed: {why}", self.engine.client(id).map(|client| client.sid));
                    self.engine.hit(Limit::Packet, id);
                    self.engine.close(id, engineio::CloseReason::ParseError);
                }
            }
            SessionEvent::Closed(id, reason) => {
                let Some(mut client) = self.clients.remove(&id) else { return };
                self.timers.clear(id, &mut client.deadline);
                client.sockets.into_iter().for_each(|socket| self.connection_lost(socket, reason));
            }
        }
    }

    fn text(&mut self, id: SessionId, text: Text, app: &mut impl App) -> Result<(), Invalid> {
        let Some(client) = self.clients.get_mut(&id) else { return Ok(()) };
        if client.partial.is_some() {
            return Err(Invalid("a packet before the last one had all its attachments"));
        }
        let (now, step) = (self.engine.now, Duration::from_secs(1) / self.config.event_rate as u32);
        client.bucket_full_at = client.bucket_full_at.max(now) + step;
        let (ahead, burst) = (client.bucket_full_at - now, step * self.config.event_burst as u32);
        if ahead > burst * 2 {
            self.engine.hit(Limit::Flood, id);
            self.engine.close(id, engineio::CloseReason::Evicted);
            return Ok(());
        }
        let packet = packet::decode(&text, &self.config)?;
        let namespace = self.namespaces.iter().position(|name| *name == packet.namespace);
        let of_namespace =
            |key: &&SocketKey| self.sockets.get(**key).is_some_and(|socket| Some(socket.namespace) == namespace);
        let mut socket = client.sockets.iter().find(of_namespace).copied();
        if ahead > burst && packet.kind == Kind::Event && socket.is_some() {
            self.engine.hit(Limit::Events, id);
            if packet.id.is_some() {
                let refused = r#"[{"error":"too many events"}]"#;
                reply(&mut self.engine, id, Kind::Ack, packet.namespace, packet.id, refused);
            }
            // As if the socket were gone.
            socket = None;
        }
        match (packet.kind, namespace, socket) {
            (Kind::Connect, None, _) => self.refuse(id, packet.namespace, "Invalid namespace"),
            (Kind::Connect, Some(namespace), None) => {
                let auth = match packet.data {
                    "" => None,
                    json => Some(serde_json::from_str(json).map_err(|_| Invalid("auth is not JSON"))?),
                };
                self.connect(id, namespace, auth, app);
            }
            // Older clients may ask for what is theirs already.
            (Kind::Connect, Some(0), Some(_)) if self.engine.is_old(id) => {}
            (Kind::Connect | Kind::ConnectError, ..) => return Err(Invalid("a packet that makes no sense now")),
            // Later, packets for a socket that is gone are no error.
            (_, _, None) if client.deadline.is_some() => return Err(Invalid("a packet before CONNECT")),
            (Kind::Disconnect, _, Some(socket)) => self.remove(socket, DisconnectReason::Left),
            (_, _, Some(socket)) if packet.attachments == 0 => self.deliver(socket, &packet, &[], app)?,
            (_, _, None) if packet.attachments == 0 => {}
            (_, _, socket) => {
                packet::placeholders(packet.data, packet.attachments)?;
                let missing = packet.attachments;
                let attachments = Vec::with_capacity(missing);
                client.partial = Some(Box::new(PendingPacket { text, socket, attachments, missing }));
                self.timers.set(id, &mut client.deadline, now + self.config.message_timeout);
            }
        }
        Ok(())
    }

    /// A binary message: an attachment of the packet that came before.
    fn attachment(&mut self, id: SessionId, bytes: Bytes, app: &mut impl App) -> Result<(), Invalid> {
        let Some(client) = self.clients.get_mut(&id) else { return Ok(()) };
        let mut partial = client.partial.take().ok_or(Invalid("an attachment of nothing"))?;
        partial.attachments.push(bytes);
        if partial.attachments.len() < partial.missing {
            client.partial = Some(partial);
            return Ok(());
        }
        self.timers.clear(id, &mut client.deadline);
        // The application may have ended the socket since the header came.
        let Some(socket) = partial.socket.filter(|socket| self.sockets.get(*socket).is_some()) else { return Ok(()) };
        let packet = packet::decode(&partial.text, &self.config)?;
        self.deliver(socket, &packet, &partial.attachments, app)
    }

    /// Hands a whole event or answer to the application.
    fn deliver(
        &mut self, socket: SocketKey, packet: &Packet, attachments: &[Bytes], app: &mut impl App,
    ) -> Result<(), Invalid> {
        let elements = packet::elements(packet.data)?;
        if packet.kind == Kind::Event {
            let (name, args) = elements.split_first().ok_or(Invalid("an event without a name"))?;
            let name = &*packet::event_name(name)?;
            app.event(self, socket, &Event { name, args, attachments, ack: packet.id });
        } else if let Some(number) = packet.id
            && let Some(known) = self.sockets.get(socket)
            && let Some(mut owed) = self.acks.remove(&(socket, number))
        {
            // An answer that we do not wait for, or no longer, is nothing.
            self.ack_timers.clear((socket, number), &mut owed.deadline);
            if owed.asker.is_some() {
                self.publications.push_back(Publication {
                    namespace: self.namespaces[known.namespace].to_owned(),
                    asker: owed.asker,
                    json: elements.first().map_or("null", |first| first.get()).to_owned(),
                    attachments: attachments.to_vec(),
                    ..Publication::default()
                });
            } else {
                let answer = Event { name: "", args: &elements, attachments, ack: None };
                app.acknowledged(self, socket, number, Some(&answer));
            }
        }
        Ok(())
    }

    /// A client asks for a socket; the application decides, and the client is told.
    fn connect(&mut self, session: SessionId, namespace: usize, auth: Option<&RawValue>, app: &mut impl App) {
        let Some(engineio::ClientInfo { sid, recovers, .. }) = self.engine.client(session) else { return };
        let name = self.namespaces[namespace];
        let presented = recovery::presented(auth).filter(|Credentials { key, secret, .. }| {
            let owns = |known: &Socket| known.secret == Some(*secret) && known.namespace == namespace;
            recovers && self.sockets.get(*key).is_some_and(owns)
        });
        if let Some(presented) = &presented
            && self.recover(session, presented)
        {
            return app.recovered(self, presented.key);
        }
        if let Err(message) = app.admit(name, auth) {
            return self.refuse(session, name, &message);
        }
        // Older clients compute their id from the sid, so it is not ours to choose.
        let id = if self.engine.is_old(session) { sid } else { self.fresh_id() };
        let secret = recovers.then(|| self.fresh_id());
        self.recoverable += usize::from(recovers);
        let key = self.sockets.insert(Socket {
            id,
            session,
            held: None,
            namespace,
            rooms: Vec::new(),
            next_ack: 0,
            secret,
            since: self.log.last,
            latest: Cell::new(self.log.last),
            predecessor: presented.map(|presented| presented.key),
        });
        if self.config.redis.is_some() {
            // By it other servers name the socket.
            self.join(key, &id.to_string());
        }
        self.welcome(session, key);
        app.connected(self, key, auth);
    }

    /// Gives a client its socket, and answers its CONNECT.
    fn welcome(&mut self, session: SessionId, key: SocketKey) {
        let Some((client, socket)) = self.clients.get_mut(&session).zip(self.sockets.get_mut(key)) else { return };
        self.timers.clear(session, &mut client.deadline);
        client.sockets.push(key);
        (socket.session, socket.held) = (session, None);
        let json = match socket.secret {
            _ if self.engine.is_old(session) => String::new(),
            None => format!("{{\"sid\":\"{}\"}}", socket.id),
            Some(secret) => format!("{{\"sid\":\"{}\",\"pid\":\"{}\"}}", socket.id, recovery::pid(key, secret)),
        };
        reply(&mut self.engine, session, Kind::Connect, self.namespaces[socket.namespace], None, &json);
    }

    /// Gives a socket to a new session of its client, with all it has missed. If it is too late for that, or some of
    /// that is gone, the socket is held, and will never be asked for again.
    fn recover(&mut self, session: SessionId, presented: &Credentials) -> bool {
        let key = presented.key;
        // The client has come back while we still believe in its old session: that one ends without a word.
        if let Some(old) = self.sockets.get(key).and_then(Socket::session) {
            if let Some(client) = self.clients.get_mut(&old) {
                client.sockets.retain(|own| *own != key);
            }
            self.connection_lost(key, engineio::CloseReason::TransportClose);
            self.engine.close(old, engineio::CloseReason::TransportClose);
        }
        let Some(socket) = self.sockets.get_mut(key) else { return false };
        // The official client presents the offset of an earlier socket if this one has heard nothing.
        let since = presented.offset.unwrap_or_default().max(socket.since);
        let late = socket.held.as_ref().is_some_and(|held| held.until < self.engine.now);
        if late || self.log.since(since, key, socket).is_none() {
            self.recoverable -= usize::from(socket.secret.take().is_some());
            return false;
        }
        if let Some(held) = &mut socket.held {
            self.held.clear(key, &mut held.deadline);
        }
        self.welcome(session, key);
        let missed = self.sockets.get(key).and_then(|socket| self.log.since(since, key, socket));
        missed.into_iter().flatten().for_each(|message| self.engine.send(session, message));
        true
    }

    /// The connection of a socket is gone. If its client can come back, it is held. The `1` of Engine.IO is no goodbye:
    /// official clients send it over polling after errors and time-outs too; those that leave send `41` before.
    fn connection_lost(&mut self, key: SocketKey, reason: engineio::CloseReason) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        if socket.secret.is_none() || reason == engineio::CloseReason::ServerClose {
            return self.remove(key, DisconnectReason::Session(reason));
        }
        let (now, grace, time) = (self.engine.now, self.config.leave_grace, self.config.recovery_time);
        let mut deadline = Deadline::default();
        self.held.set(key, &mut deadline, now + grace);
        socket.held =
            Some(Box::new(Suspension { reason: Some(DisconnectReason::Session(reason)), deadline, until: now + time }));
        // As many as there may be connections: what is beyond, whoever has been away longest, is given up.
        if self.held.len() > self.config.max_connections
            && let Some((_, oldest)) = self.held.pop_due(now + time.max(grace))
        {
            self.remove(oldest, DisconnectReason::Ended);
        }
    }

    /// Refuses the socket the client asked for. Protocol 5 has an object where 3 and 4 had any value.
    fn refuse(&mut self, session: SessionId, namespace: &str, message: &str) {
        let json = if self.engine.is_old(session) { json!(message) } else { json!({ "message": message }) };
        reply(&mut self.engine, session, Kind::ConnectError, namespace, None, &json.to_string());
    }

    /// Takes a socket out of the books. The reason is that of its broken connection, if it was held.
    fn remove(&mut self, key: SocketKey, reason: DisconnectReason) {
        let Some(socket) = self.sockets.remove(key) else { return };
        if let Some(client) = self.clients.get_mut(&socket.session) {
            client.sockets.retain(|own| *own != key);
        }
        for room in socket.rooms {
            self.vacate(key, (socket.namespace, room));
        }
        while let Some((&(_, number), _)) = self.acks.range((key, 0)..=(key, u64::MAX)).next()
            && let Some(mut owed) = self.acks.remove(&(key, number))
        {
            self.ack_timers.clear((key, number), &mut owed.deadline);
        }
        self.recoverable -= usize::from(socket.secret.is_some());
        if self.recoverable == 0 {
            self.log.clear();
        }
        let mut untold = Some(reason);
        if let Some(mut held) = socket.held {
            self.held.clear(key, &mut held.deadline);
            untold = held.reason;
        }
        self.late.extend(untold.map(|reason| Deferred::Disconnected(key, reason)));
        self.late.push_back(Deferred::Forgotten(key));
    }

    fn vacate(&mut self, key: SocketKey, place: (usize, Box<str>)) {
        if let Some(members) = self.rooms.get_mut(&place) {
            members.remove(&key);
            if members.is_empty() {
                self.rooms.remove(&place);
            }
        }
    }

    /// Runs what is due: connects, attachments, acks and clients that did not come.
    pub fn expire(&mut self) {
        self.engine.expire();
        let now = self.engine.now;
        while let Some((_, id)) = self.timers.pop_due(now) {
            let (limit, reason) = match self.clients.get(&id) {
                Some(SessionState { partial: Some(_), .. }) => (Limit::MessageTime, engineio::CloseReason::ParseError),
                _ => (Limit::ConnectTime, engineio::CloseReason::ServerClose),
            };
            self.engine.hit(limit, id);
            self.engine.close(id, reason);
        }
        while let Some((_, key)) = self.held.pop_due(now) {
            let held = self.sockets.get_mut(key).and_then(|socket| socket.held.as_mut());
            if let Some((held, reason)) = held.and_then(|held| held.reason.take().map(|reason| (held, reason))) {
                self.late.push_back(Deferred::Disconnected(key, reason));
                self.held.set(key, &mut held.deadline, held.until.max(now));
            } else {
                self.remove(key, DisconnectReason::Ended);
            }
        }
        while let Some((_, (socket, number))) = self.ack_timers.pop_due(now) {
            let owed = self.acks.remove(&(socket, number));
            if owed.is_some_and(|owed| owed.asker.is_none()) {
                self.late.push_back(Deferred::NoAnswer(socket, number));
            }
        }
    }

    /// The number for an event that asks `socket` for an answer until `at`; `None` if it owes too many already.
    fn expect_ack(&mut self, socket: SocketKey, asker: Option<Box<str>>, at: Instant) -> Option<u64> {
        let known = self.sockets.get_mut(socket)?;
        if self.acks.range((socket, 0)..=(socket, u64::MAX)).count() >= self.config.max_acks {
            known.session().into_iter().for_each(|session| self.engine.hit(Limit::Acks, session));
            return None;
        }
        let number = known.next_ack;
        known.next_ack += 1;
        let mut deadline = Deadline::default();
        self.ack_timers.set((socket, number), &mut deadline, at);
        self.acks.insert((socket, number), PendingAck { deadline, asker });
        Some(number)
    }

    /// Sends to everybody `to` names; a recipient costs a reference to each message. For the result see [`Io::broadcast`].
    fn fan_out(&mut self, to: &To, mut messages: Vec<Encoded>) -> Bytes {
        let recoverable = (self.recoverable > 0).then(|| recovery::with_offset(&messages[0], self.log.last + 1));
        for (_, socket) in members(&self.sockets, &self.rooms, to) {
            socket.latest.set(self.log.last + 1);
            if let Some(session) = socket.session() {
                let own = recoverable.as_ref().filter(|_| socket.secret.is_some());
                self.engine.send(session, own.unwrap_or(&messages[0]));
                messages[1..].iter().for_each(|attachment| self.engine.send(session, attachment));
            }
        }
        let Some(recoverable) = recoverable else { return messages[0].bytes() };
        let bytes = recoverable.bytes();
        messages[0] = recoverable;
        self.log.keep(Target::many(to), messages, self.engine.now, &self.config);
        bytes
    }

    /// A socket that is connected or held.
    pub fn socket(&self, key: SocketKey) -> Option<&Socket> {
        self.sockets.get(key)
    }

    /// Sends an event to one socket.
    pub fn emit(&mut self, socket: SocketKey, name: &str, args: &impl Serialize, attachments: &[Bytes]) {
        self.send(socket, Kind::Event, None, attachments, |out| write_event(out, name, args));
    }

    /// Answers an event that asked for it.
    pub fn ack(&mut self, socket: SocketKey, number: u64, args: &impl Serialize, attachments: &[Bytes]) {
        self.send(socket, Kind::Ack, Some(number), attachments, |out| write_json(out, args));
    }

    /// Sends an event that asks for an answer within `timeout`, and returns its number for [`App::acknowledged`]. `None`: the
    /// socket is gone or owes too many answers already, and nothing was sent.
    pub fn emit_with_ack(
        &mut self, socket: SocketKey, name: &str, args: &impl Serialize, timeout: Duration,
    ) -> Option<u64> {
        let number = self.expect_ack(socket, None, self.engine.now + timeout)?;
        self.send(socket, Kind::Event, Some(number), &[], |out| write_event(out, name, args));
        Some(number)
    }

    /// What has a number is not kept for recovery, as in the reference: the answer would come too late.
    fn send(
        &mut self, socket: SocketKey, kind: Kind, number: Option<u64>, attachments: &[Bytes],
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(known) = self.sockets.get(socket) else { return };
        let mut messages = encode(kind, self.namespaces[known.namespace], number, attachments, write);
        let keep = number.is_none() && known.secret.is_some();
        if keep {
            messages[0] = recovery::with_offset(&messages[0], self.log.last + 1);
        }
        if let Some(session) = known.session() {
            messages.iter().for_each(|message| self.engine.send(session, message));
        }
        if keep {
            known.latest.set(self.log.last + 1);
            self.log.keep(Target::One(socket), messages, self.engine.now, &self.config);
        }
    }

    /// The time of the turn.
    pub fn now(&self) -> Instant {
        self.engine.now
    }

    /// A fresh id that nobody can guess.
    pub fn fresh_id(&mut self) -> Id {
        self.engine.ids.fresh()
    }

    /// Sends an event to everybody `to` names. Returns its packet: what is kept for recovery, or else what was sent.
    pub fn broadcast(&mut self, to: &To, name: &str, args: &impl Serialize, attachments: &[Bytes]) -> Bytes {
        let namespace = self.namespaces[to.namespace];
        let messages = encode(Kind::Event, namespace, None, attachments, |out| write_event(out, name, args));
        if self.config.redis.is_some() && !to.local {
            // What stands before the JSON has no bracket.
            let packet = String::from_utf8_lossy(messages[0].data());
            let except = to.except.iter().filter_map(|key| self.socket(*key));
            self.publications.push_back(Publication {
                namespace: namespace.to_owned(),
                rooms: to.rooms.iter().map(|room| (*room).to_owned()).collect(),
                except: except.map(|socket| socket.id.to_string()).collect(),
                asker: None,
                json: packet[packet.find('[').unwrap_or(packet.len())..].to_owned(),
                attachments: attachments.to_vec(),
            });
        }
        self.fan_out(to, messages)
    }

    /// Puts a socket into a room.
    pub fn join(&mut self, socket: SocketKey, room: &str) {
        let Some(known) = self.sockets.get_mut(socket) else { return };
        if known.rooms.len() >= self.config.max_rooms {
            return known.session().into_iter().for_each(|session| self.engine.hit(Limit::Rooms, session));
        }
        if self.rooms.entry((known.namespace, room.into())).or_default().insert(socket) {
            known.rooms.push(room.into());
        }
    }

    /// Takes a socket out of a room.
    pub fn leave_room(&mut self, socket: SocketKey, room: &str) {
        let Some(known) = self.sockets.get_mut(socket) else { return };
        known.rooms.retain(|own| &**own != room);
        let place = (known.namespace, room.into());
        self.vacate(socket, place);
    }

    /// Ends a socket; the client is told. [`App::disconnected`] is called later.
    pub fn disconnect(&mut self, socket: SocketKey) {
        let Some(known) = self.sockets.get(socket) else { return };
        if let Some(session) = known.session() {
            reply(&mut self.engine, session, Kind::Disconnect, self.namespaces[known.namespace], None, "");
        }
        self.remove(socket, DisconnectReason::Ended);
    }
}

/// The sockets that `to` names.
fn members<'a>(
    sockets: &'a Slab<crate::base::slab::Socket, Socket>, rooms: &'a Rooms, to: &'a To,
) -> impl Iterator<Item = (SocketKey, &'a Socket)> {
    let everybody = to.rooms.is_empty().then(|| sockets.iter());
    let rooms = to.rooms.iter().filter_map(|room| rooms.get(&(to.namespace, Box::from(*room))));
    // A set, because who is in two of the rooms is meant once.
    let some: BTreeSet<SocketKey> = rooms.flatten().copied().collect();
    let some = some.into_iter().filter_map(|key| Some((key, sockets.get(key)?)));
    let members = everybody.into_iter().flatten().chain(some);
    members.filter(|(key, socket)| socket.namespace == to.namespace && !to.except.contains(key))
}

/// Sends a packet without attachments to a session.
fn reply(engine: &mut Engine, session: SessionId, kind: Kind, namespace: &str, number: Option<u64>, json: &str) {
    let messages = encode(kind, namespace, number, &[], |out| out.extend_from_slice(json.as_bytes()));
    engine.send(session, &messages[0]);
}

/// A packet as messages: the packet itself, whose JSON `write` appends, then its attachments.
fn encode(
    kind: Kind, namespace: &str, number: Option<u64>, attachments: &[Bytes], write: impl FnOnce(&mut Vec<u8>),
) -> Vec<Encoded> {
    let head = Encoded::text(|out| {
        packet::write_head(out, kind, attachments.len(), namespace, number);
        write(out);
    });
    std::iter::once(head).chain(attachments.iter().cloned().map(Encoded::binary)).collect()
}

/// Writes an event: an array of its name and its arguments.
fn write_event(out: &mut Vec<u8>, name: &str, args: &impl Serialize) {
    out.push(b'[');
    write_json(out, &name);
    // The array of the arguments goes on where the name has begun one.
    let start = out.len();
    write_json(out, args);
    if out[start..] == *b"[]" {
        out.remove(start);
    } else {
        out[start] = b',';
    }
}

fn write_json(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(out, value).expect("what the application sends has string keys and goes to memory");
}

#[cfg(debug_assertions)]
#[path = "../../tests/seams/io.rs"]
mod check;
