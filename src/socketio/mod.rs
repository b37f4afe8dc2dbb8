//! Socket.IO: messages of Engine.IO sessions in, events of sockets out; rooms and broadcasts.
//!
//! One session carries one socket per namespace. [`Io`] takes the [`engineio::Event`]s, keeps the books, and
//! hands what concerns the application to `server` as an [`Up`]; the application answers with calls of [`Cx`],
//! which only enqueue. What has no message behind it (a socket that is gone, an ack that never came) waits in
//! a queue of its own until `server` asks for it, so that no call from above ever raises an event (rule R5).
//! Source: docs/socket.io-protocol/ of the Socket.IO monorepo, v5-current.md, v4.md, v3.md.

pub mod packet;

use crate::{
    engineio::{self, Dialect, Engine, Farewell, packet::Data, packet::Encoded},
    id::Id,
    slab::{Beside, Session as SessionKind, SessionId, Slab, Socket as SocketKind, SocketKey},
    timers::{Deadline, Timers},
    ws::Text,
};
use bytes::Bytes;
use packet::{Invalid, Kind, Packet};
use serde::Serialize;
use serde_json::value::RawValue;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    ops::Range,
    time::Duration,
};

/// The part of `config` that concerns Socket.IO.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a session may live without a socket, from its start.
    pub connect_timeout: Duration,
    /// How long the attachments of a binary packet may take.
    pub message_timeout: Duration,
    /// Attachments of one packet, nesting of its arguments.
    pub packets: packet::Limits,
    /// Acks that one socket may owe us.
    pub max_acks: usize,
}

/// What the application decides: the chat, or an app of the conformance tests.
pub trait App {
    /// The namespaces there are; a CONNECT to any other is refused.
    fn namespaces(&self) -> &'static [&'static str] {
        &["/"]
    }

    /// A client asks for a socket in `namespace`; an error is the message of its CONNECT_ERROR.
    fn admit(&mut self, _namespace: &str, _auth: Option<&RawValue>) -> Result<(), String> {
        Ok(())
    }

    /// The socket is there, and the client has been told.
    fn connected(&mut self, _cx: &mut Cx, _socket: SocketKey, _auth: Option<&RawValue>) {}

    /// The client has emitted an event.
    fn event(&mut self, cx: &mut Cx, socket: SocketKey, event: &Event);

    /// The client has answered an event of [`Cx::emit_with_ack`]; `None`: not in time.
    fn acknowledged(&mut self, _cx: &mut Cx, _socket: SocketKey, _ack: u64, _args: Option<&Event>) {}

    /// The socket is gone; nothing more comes from it or reaches it.
    fn disconnected(&mut self, _cx: &mut Cx, _socket: SocketKey, _reason: Reason) {}

    /// A second path, where sessions carry messages of their own instead of Socket.IO.
    fn plain_path(&self) -> Option<&'static str> {
        None
    }

    /// A message of such a session.
    fn plain_message(&mut self, _engine: &mut Engine, _session: SessionId, _data: Data) {}
}

/// Why a socket is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The client said goodbye to the namespace (`41`).
    ClientDisconnect,
    /// The application said so.
    ServerDisconnect,
    /// Its session has ended.
    Session(engineio::Reason),
}

/// An event of a client, or its answer to one of ours.
#[derive(Debug)]
pub struct Event<'a> {
    /// The name; empty in an answer.
    pub name: &'a str,
    /// The arguments, as the bytes that came (rule R11).
    pub args: &'a [&'a RawValue],
    /// What the placeholders in the arguments stand for.
    pub attachments: &'a [Bytes],
    /// The client wants an answer under this number.
    pub ack: Option<u64>,
}

/// A whole packet on its way to the application.
#[derive(Debug)]
pub struct Incoming {
    text: Text,
    data: Range<usize>,
    id: Option<u64>,
    attachments: Vec<Bytes>,
}

impl Incoming {
    /// The JSON behind the head of the packet.
    pub fn data(&self) -> &str {
        &self.text[self.data.clone()]
    }

    /// Calls `act` with the event, or with the answer (an ack has no name).
    pub fn read<R>(&self, act: impl FnOnce(&Event) -> R) -> Result<R, Invalid> {
        let elements = packet::elements(self.data())?;
        let (name, args) = elements.split_first().ok_or(Invalid("an event without a name"))?;
        let name = packet::event_name(name)?;
        Ok(act(&Event { name: &name, args, attachments: &self.attachments, ack: self.id }))
    }

    /// Calls `act` with the arguments of an answer.
    pub fn read_answer<R>(&self, act: impl FnOnce(&Event) -> R) -> Result<R, Invalid> {
        let args = packet::elements(self.data())?;
        Ok(act(&Event { name: "", args: &args, attachments: &self.attachments, ack: None }))
    }
}

/// What concerns the application.
#[derive(Debug)]
pub enum Up {
    /// A client asks for a socket; answered with [`Io::admit`] or [`Io::refuse`].
    Connect(SessionId, u16, Option<Incoming>),
    /// An event.
    Event(SocketKey, Incoming),
    /// The answer to our event with that number; `None`: too late.
    Ack(SocketKey, u64, Option<Incoming>),
    /// A socket is gone.
    Disconnected(SocketKey, Reason),
    /// A message of a session that carries no Socket.IO.
    Plain(SessionId, Data),
}

/// To whom a broadcast goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct To<'a> {
    /// Index into [`App::namespaces`].
    pub namespace: u16,
    /// Sockets in at least one of these rooms; empty means all sockets of the namespace.
    pub rooms: &'a [&'a str],
    /// Not these.
    pub except: &'a [SocketKey],
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Packets of clients that were understood.
    pub received: u64,
    /// Packets sent, counted once per recipient.
    pub sent: u64,
    /// Sessions closed because of a packet that cannot be.
    pub invalid: u64,
    /// Sessions closed because they never connected to a namespace.
    pub silent: u64,
}

struct Socket {
    id: Id,
    session: SessionId,
    namespace: u16,
    /// The number of the next event that asks for an answer.
    next_ack: u64,
    rooms: Vec<Box<str>>,
}

/// A binary packet whose attachments are still coming.
struct Partial {
    kind: Kind,
    socket: SocketKey,
    incoming: Incoming,
    missing: usize,
}

/// What we know of a session.
#[derive(Default)]
struct Client {
    /// Its sockets, one per namespace; nearly always one.
    sockets: Vec<SocketKey>,
    /// It has had a socket: late packets for one that is gone are no error.
    known: bool,
    partial: Option<Box<Partial>>,
    /// When it must have connected, or its partial packet must be whole.
    deadline: Deadline,
}

/// All sockets, and the rooms they are in.
pub struct Io {
    settings: Settings,
    namespaces: &'static [&'static str],
    sockets: Slab<SocketKind, Socket>,
    clients: Beside<SessionKind, Client>,
    rooms: HashMap<(u16, Box<str>), BTreeSet<SocketKey>>,
    timers: Timers<SessionId>,
    /// Answers we wait for.
    acks: BTreeMap<(SocketKey, u64), Deadline>,
    ack_timers: Timers<(SocketKey, u64)>,
    /// What is to be told to the application and has no message behind it.
    late: VecDeque<Up>,
    /// What has happened since the start.
    pub counters: Counters,
}

impl Io {
    /// No sockets yet.
    pub fn new(settings: Settings, namespaces: &'static [&'static str]) -> Io {
        Io {
            settings,
            namespaces,
            sockets: Slab::default(),
            clients: Beside::default(),
            rooms: HashMap::new(),
            timers: Timers::default(),
            acks: BTreeMap::new(),
            ack_timers: Timers::default(),
            late: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// How many sockets there are.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether there is no socket.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// When [`Io::expire`] wants to be called.
    pub fn next_deadline(&self) -> Option<std::time::Instant> {
        [self.timers.next(), self.ack_timers.next()].into_iter().flatten().min()
    }

    /// What is due for the application without a message behind it.
    pub fn poll_late(&mut self) -> Option<Up> {
        self.late.pop_front()
    }

    /// Takes an event of a session; what comes of it for the application is returned.
    pub fn handle(&mut self, event: engineio::Event, engine: &mut Engine) -> Option<Up> {
        match event {
            engineio::Event::Opened(id) if engine.is_plain(id) => None,
            engineio::Event::Opened(id) => {
                let mut client = Client::default();
                self.timers.set(id, &mut client.deadline, engine.now() + self.settings.connect_timeout);
                self.clients.insert(id, client);
                // Older clients do not ask for `/`: it is theirs from the start.
                let old = engine.dialect(id).is_some_and(|dialect| dialect != Dialect::V4);
                let root = self.namespaces.iter().position(|name| *name == "/");
                root.filter(|_| old).map(|root| Up::Connect(id, root as u16, None))
            }
            engineio::Event::Upgraded(_) => None,
            engineio::Event::Closed(id, reason) => {
                let mut client = self.clients.remove(id)?;
                self.timers.clear(id, &mut client.deadline);
                for socket in client.sockets {
                    self.remove(socket, Reason::Session(reason));
                }
                None
            }
            engineio::Event::Message(id, data) if engine.is_plain(id) => Some(Up::Plain(id, data)),
            engineio::Event::Message(id, data) => {
                let up = match data {
                    Data::Text(text) => self.text(id, text, engine),
                    Data::Binary(bytes) => self.attachment(id, bytes),
                };
                up.unwrap_or_else(|Invalid(why)| {
                    self.invalid(id, why, engine);
                    None
                })
            }
        }
    }

    /// Closes a session that sent a packet that cannot be.
    pub fn invalid(&mut self, session: SessionId, why: &str, engine: &mut Engine) {
        log::debug!("session {:?} is closed: {why}", engine.sid(session));
        self.counters.invalid += 1;
        engine.close(session, engineio::Reason::ParseError, Farewell::Close(1002));
    }

    fn text(&mut self, id: SessionId, text: Text, engine: &mut Engine) -> Result<Option<Up>, Invalid> {
        let client = self.clients.get_mut(id).ok_or(Invalid("a message of a session that has ended"))?;
        if client.partial.is_some() {
            return Err(Invalid("a packet before the last one had all its attachments"));
        }
        let old = engine.dialect(id).is_some_and(|dialect| dialect != Dialect::V4);
        let Packet { kind, namespace, id: number, attachments, data } = packet::decode(&text, &self.settings.packets)?;
        self.counters.received += 1;
        let index = self.namespaces.iter().position(|name| *name == namespace).map(|index| index as u16);
        let socket = client
            .sockets
            .iter()
            .copied()
            .find(|key| self.sockets.get(*key).is_some_and(|socket| Some(socket.namespace) == index));
        let start = text.len() - data.len();
        let range = start..text.len();
        match (kind, index, socket) {
            (Kind::Connect, None, _) => {
                self.refuse(id, namespace, "Invalid namespace", engine);
                Ok(None)
            }
            (Kind::Connect, Some(index), None) => {
                let auth = Incoming { text: text.clone(), data: range, id: None, attachments: Vec::new() };
                Ok(Some(Up::Connect(id, index, Some(auth).filter(|auth| !old && !auth.data().is_empty()))))
            }
            // Older clients ask for `/` although it is theirs already.
            (Kind::Connect, Some(0), Some(_)) if old => Ok(None),
            (Kind::Connect | Kind::ConnectError, ..) => Err(Invalid("a packet that makes no sense in this state")),
            (_, _, None) if client.known => Ok(None),
            (_, _, None) => Err(Invalid("a packet before CONNECT")),
            (Kind::Disconnect, _, Some(socket)) => {
                client.sockets.retain(|key| *key != socket);
                self.remove(socket, Reason::ClientDisconnect);
                Ok(None)
            }
            (Kind::Event | Kind::Ack | Kind::BinaryEvent | Kind::BinaryAck, _, Some(socket)) => {
                let incoming = Incoming { text: text.clone(), data: range, id: number, attachments: Vec::new() };
                if attachments == 0 {
                    return Ok(self.complete(kind, socket, incoming));
                }
                packet::placeholders(data, attachments)?;
                client.partial = Some(Box::new(Partial { kind, socket, incoming, missing: attachments }));
                self.timers.set(id, &mut client.deadline, engine.now() + self.settings.message_timeout);
                Ok(None)
            }
        }
    }

    /// A binary message: an attachment of the packet that came before.
    fn attachment(&mut self, id: SessionId, bytes: Bytes) -> Result<Option<Up>, Invalid> {
        let client = self.clients.get_mut(id).ok_or(Invalid("a message of a session that has ended"))?;
        let partial = client.partial.as_mut().ok_or(Invalid("an attachment of nothing"))?;
        partial.incoming.attachments.push(bytes);
        partial.missing -= 1;
        if partial.missing > 0 {
            return Ok(None);
        }
        self.timers.clear(id, &mut client.deadline);
        let Some(partial) = client.partial.take() else { return Ok(None) };
        let Partial { kind, socket, incoming, .. } = *partial;
        Ok(self.complete(kind, socket, incoming))
    }

    fn complete(&mut self, kind: Kind, socket: SocketKey, incoming: Incoming) -> Option<Up> {
        if matches!(kind, Kind::Event | Kind::BinaryEvent) {
            return Some(Up::Event(socket, incoming));
        }
        // An answer to a question that we did not ask, or to which the answer is no longer wanted, is nothing.
        let number = incoming.id?;
        let mut deadline = self.acks.remove(&(socket, number))?;
        self.ack_timers.clear((socket, number), &mut deadline);
        Some(Up::Ack(socket, number, Some(incoming)))
    }

    /// Gives the client the socket it asked for, and tells it.
    pub fn admit(&mut self, session: SessionId, namespace: u16, engine: &mut Engine) -> Option<SocketKey> {
        let dialect = engine.dialect(session)?;
        let client = self.clients.get_mut(session)?;
        self.timers.clear(session, &mut client.deadline);
        client.known = true;
        // Clients of protocol 3 and 4 compute their id from the sid, so it is not theirs to be chosen.
        let id = if dialect == Dialect::V4 { engine.fresh_id() } else { engine.sid(session)? };
        let socket = Socket { id, session, namespace, next_ack: 0, rooms: Vec::new() };
        let key = self.sockets.insert(socket);
        client.sockets.push(key);
        let name = self.namespaces[usize::from(namespace)];
        let answer = Encoded::text(|out| {
            packet::write_head(out, Kind::Connect, 0, name, None);
            if dialect == Dialect::V4 {
                out.extend_from_slice(format!("{{\"sid\":\"{}\"}}", id.as_str()).as_bytes());
            }
        });
        engine.send(session, &answer);
        Some(key)
    }

    /// Refuses the socket the client asked for.
    pub fn refuse(&mut self, session: SessionId, namespace: &str, message: &str, engine: &mut Engine) {
        let old = engine.dialect(session).is_some_and(|dialect| dialect != Dialect::V4);
        let answer = Encoded::text(|out| {
            packet::write_head(out, Kind::ConnectError, 0, namespace, None);
            // Protocol 5 has an object here, where 3 and 4 had any value.
            out.extend_from_slice(if old { b"" } else { b"{\"message\":" });
            packet::write_string(out, message);
            out.extend_from_slice(if old { b"" } else { b"}" });
        });
        engine.send(session, &answer);
    }

    /// Takes a socket out of the books.
    fn remove(&mut self, key: SocketKey, reason: Reason) {
        let Some(socket) = self.sockets.remove(key) else { return };
        for room in socket.rooms {
            self.forget_member(socket.namespace, room, key);
        }
        let numbers: Vec<u64> = self.acks.range((key, 0)..=(key, u64::MAX)).map(|((_, number), _)| *number).collect();
        for number in numbers {
            if let Some(mut deadline) = self.acks.remove(&(key, number)) {
                self.ack_timers.clear((key, number), &mut deadline);
            }
        }
        self.late.push_back(Up::Disconnected(key, reason));
    }

    fn forget_member(&mut self, namespace: u16, room: Box<str>, key: SocketKey) {
        let place = (namespace, room);
        if let Some(members) = self.rooms.get_mut(&place) {
            members.remove(&key);
            if members.is_empty() {
                self.rooms.remove(&place);
            }
        }
    }

    /// Closes sessions that did not connect in time, or whose attachments did not come; gives up on acks.
    pub fn expire(&mut self, engine: &mut Engine) {
        while let Some((_, id)) = self.timers.pop_due(engine.now()) {
            let Some(client) = self.clients.get_mut(id) else { continue };
            client.deadline = Deadline::default();
            if client.partial.is_some() {
                self.invalid(id, "attachments did not come in time", engine);
            } else {
                self.counters.silent += 1;
                engine.close(id, engineio::Reason::ServerClose, Farewell::Close(1008));
            }
        }
        while let Some((_, (socket, number))) = self.ack_timers.pop_due(engine.now()) {
            self.acks.remove(&(socket, number));
            self.late.push_back(Up::Ack(socket, number, None));
        }
    }

    /// Sends to everybody `to` names. The message was encoded once; a recipient costs a reference to it.
    fn broadcast(&mut self, to: &To, messages: &[Encoded], engine: &mut Engine) {
        let mut deliver = |key: SocketKey, socket: &Socket| {
            if !to.except.contains(&key) {
                for message in messages {
                    engine.send(socket.session, message);
                }
                self.counters.sent += 1;
            }
        };
        match to.rooms {
            [] => {
                for (key, socket) in self.sockets.iter().filter(|(_, socket)| socket.namespace == to.namespace) {
                    deliver(key, socket);
                }
            }
            rooms => {
                // A set, because who is in two of the rooms gets it once.
                let members: BTreeSet<SocketKey> = rooms
                    .iter()
                    .filter_map(|room| self.rooms.get(&(to.namespace, Box::from(*room))))
                    .flatten()
                    .copied()
                    .collect();
                for key in members {
                    if let Some(socket) = self.sockets.get(key) {
                        deliver(key, socket);
                    }
                }
            }
        }
    }
}

/// What the application can do: its view of [`Io`] and of the sessions below.
pub struct Cx<'a> {
    /// Sockets and rooms.
    pub io: &'a mut Io,
    /// Sessions.
    pub engine: &'a mut Engine,
}

impl Cx<'_> {
    /// The id of a socket, as its client knows it.
    pub fn id(&self, socket: SocketKey) -> Option<Id> {
        Some(self.io.sockets.get(socket)?.id)
    }

    /// The namespace of a socket, as an index into [`App::namespaces`].
    pub fn namespace(&self, socket: SocketKey) -> Option<u16> {
        Some(self.io.sockets.get(socket)?.namespace)
    }

    /// Closes the session of a socket, whose packet cannot be.
    pub fn invalid(&mut self, socket: SocketKey, error: Invalid) {
        if let Some(session) = self.io.sockets.get(socket).map(|socket| socket.session) {
            self.io.invalid(session, error.0, self.engine);
        }
    }

    /// Sends an event to one socket. `args` serializes as an array: `(one,)`, `(one, two)`, `[&raw]`.
    pub fn emit(&mut self, socket: SocketKey, name: &str, args: &impl Serialize, attachments: &[Bytes]) {
        self.emit_numbered(socket, name, args, attachments, None);
    }

    /// Sends an event that asks for an answer within `timeout`; [`App::acknowledged`] is called with the number
    /// returned. `None`: the socket is gone or owes too many answers already, and nothing was sent.
    pub fn emit_with_ack(
        &mut self,
        socket: SocketKey,
        name: &str,
        args: &impl Serialize,
        timeout: Duration,
    ) -> Option<u64> {
        let most = self.io.settings.max_acks;
        let known = self.io.sockets.get_mut(socket)?;
        if self.io.acks.range((socket, 0)..=(socket, u64::MAX)).count() >= most {
            return None;
        }
        let number = known.next_ack;
        known.next_ack += 1;
        let mut deadline = Deadline::default();
        self.io.ack_timers.set((socket, number), &mut deadline, self.engine.now() + timeout);
        self.io.acks.insert((socket, number), deadline);
        self.emit_numbered(socket, name, args, &[], Some(number));
        Some(number)
    }

    fn emit_numbered(
        &mut self,
        socket: SocketKey,
        name: &str,
        args: &impl Serialize,
        attachments: &[Bytes],
        number: Option<u64>,
    ) {
        let Some(known) = self.io.sockets.get(socket) else { return };
        self.io.counters.sent += 1;
        let namespace = self.io.namespaces[usize::from(known.namespace)];
        for message in encode_event(namespace, number, name, args, attachments) {
            self.engine.send(known.session, &message);
        }
    }

    /// Answers an event that asked for it.
    pub fn ack(&mut self, socket: SocketKey, number: u64, args: &impl Serialize, attachments: &[Bytes]) {
        let Some(known) = self.io.sockets.get(socket) else { return };
        self.io.counters.sent += 1;
        let namespace = self.io.namespaces[usize::from(known.namespace)];
        let kind = if attachments.is_empty() { Kind::Ack } else { Kind::BinaryAck };
        let head = Encoded::text(|out| {
            packet::write_head(out, kind, attachments.len(), namespace, Some(number));
            write_json(out, args);
        });
        self.engine.send(known.session, &head);
        for attachment in attachments {
            self.engine.send(known.session, &Encoded::binary(attachment.clone()));
        }
    }

    /// Sends an event to everybody `to` names.
    pub fn broadcast(&mut self, to: &To, name: &str, args: &impl Serialize, attachments: &[Bytes]) {
        let namespace = self.io.namespaces[usize::from(to.namespace)];
        let messages = encode_event(namespace, None, name, args, attachments);
        self.io.broadcast(to, &messages, self.engine);
    }

    /// Puts a socket into a room.
    pub fn join(&mut self, socket: SocketKey, room: &str) {
        let Some(known) = self.io.sockets.get_mut(socket) else { return };
        if self.io.rooms.entry((known.namespace, room.into())).or_default().insert(socket) {
            known.rooms.push(room.into());
        }
    }

    /// Takes a socket out of a room.
    pub fn leave(&mut self, socket: SocketKey, room: &str) {
        let Some(known) = self.io.sockets.get_mut(socket) else { return };
        let namespace = known.namespace;
        known.rooms.retain(|own| &**own != room);
        self.io.forget_member(namespace, room.into(), socket);
    }

    /// Ends a socket; the client is told. [`App::disconnected`] is called later.
    pub fn disconnect(&mut self, socket: SocketKey) {
        let Some(known) = self.io.sockets.get(socket) else { return };
        let (session, namespace) = (known.session, self.io.namespaces[usize::from(known.namespace)]);
        self.engine.send(session, &Encoded::text(|out| packet::write_head(out, Kind::Disconnect, 0, namespace, None)));
        if let Some(client) = self.io.clients.get_mut(session) {
            client.sockets.retain(|key| *key != socket);
        }
        self.io.remove(socket, Reason::ServerDisconnect);
    }
}

/// An event as messages: the packet, then its attachments.
fn encode_event(
    namespace: &str,
    number: Option<u64>,
    name: &str,
    args: &impl Serialize,
    attachments: &[Bytes],
) -> Vec<Encoded> {
    let kind = if attachments.is_empty() { Kind::Event } else { Kind::BinaryEvent };
    let head = Encoded::text(|out| {
        packet::write_head(out, kind, attachments.len(), namespace, number);
        out.push(b'[');
        packet::write_string(out, name);
        // The array of the arguments goes on where the name has begun one.
        let start = out.len();
        write_json(out, args);
        match &out[start..] {
            b"[]" => out.truncate(start + 1),
            _ => {}
        }
        out[start] = if out.len() == start + 1 { b']' } else { b',' };
    });
    std::iter::once(head).chain(attachments.iter().cloned().map(Encoded::binary)).collect()
}

fn write_json(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(out, value).expect("what the application sends has string keys and goes to memory");
}
