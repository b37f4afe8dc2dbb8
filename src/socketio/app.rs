//! How to write an application: the trait [`App`] and the types in its methods. The rest of the API is [`Io`]: `emit`, `ack`,
//! `broadcast`, `join`, `leave_room`, `disconnect`.
//!
//! The server calls the methods of the application, which keeps its state in `self` and acts through `cx`, the [`Io`]. Calls
//! of `Io` only enqueue (rule R5), so no method of the application is called while another one runs. Only `event` has no
//! default:
//!
//! ```ignore
//! /// Sends every `say` to all other clients. The ack is the number of messages so far.
//! #[derive(Default)]
//! struct Relay {
//!     messages: u64,
//! }
//!
//! impl App for Relay {
//!     fn event(&mut self, cx: &mut Io, socket: SocketKey, event: &Event) {
//!         if event.name != "say" {
//!             return;
//!         }
//!         self.messages += 1;
//!         cx.broadcast(&To { except: &[socket], ..To::default() }, "said", &event.args, event.attachments);
//!         cx.ack(socket, event.ack, &(self.messages,), &[]);
//!     }
//! }
//!
//! impl ClusterApp for Relay {}
//!
//! fn main() -> Result<(), String> {
//!     salon::start(Config::default(), Relay::default())
//! }
//! ```
//!
//! tests/pure/app.rs compiles this example.

use super::Io;
use crate::base::metrics::Metrics;
use crate::base::slab::{SessionId, SocketKey};
use crate::engineio::packet::Data;
use crate::engineio::{self, Engine};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::time::Instant;

/// Maximum number of users that a node names to other nodes and to clients. If the node dies, `user left` is sent for these.
pub const MAX_PEOPLE: usize = 200;

/// An application. All methods but `event` have a default, which does nothing; that of `admit` accepts every client.
pub trait App: ClusterApp {
    /// Returns the namespaces; a CONNECT to another is refused. Clients of protocol 3 and 4 get the first one unasked.
    fn namespaces(&self) -> &'static [&'static str] {
        &["/"]
    }

    /// Called once, when the server listens and no client has connected yet.
    fn start(&mut self, _cx: &mut Io) {}

    /// Called when a client asks for a new socket in `namespace`. An `Err` refuses it, with the text for CONNECT_ERROR.
    fn admit(&mut self, _namespace: &str, _auth: Option<&RawValue>) -> Result<(), String> {
        Ok(())
    }

    /// Called when the socket is connected and the client's CONNECT has been answered.
    fn connected(&mut self, _cx: &mut Io, _socket: SocketKey, _auth: Option<&RawValue>) {}

    /// Called when the client has emitted an event.
    fn event(&mut self, cx: &mut Io, socket: SocketKey, event: &Event);

    /// Called when the client has answered event `number` of [`Io::emit_with_ack`]; `answer` is `None` after a time-out.
    fn acknowledged(&mut self, _cx: &mut Io, _socket: SocketKey, _number: u64, _answer: Option<&Event>) {}

    /// Called when the socket is disconnected. If the connection of a client that does recovery broke, the call comes
    /// `leave_grace` later, unless the client has recovered the socket by then; after the call it may still recover it.
    fn disconnected(&mut self, _cx: &mut Io, _socket: SocketKey, _reason: DisconnectReason) {}

    /// Called when the client has recovered its socket, with its rooms. The events that it has missed are enqueued already.
    fn recovered(&mut self, _cx: &mut Io, _socket: SocketKey) {}

    /// Called when the socket can no longer be recovered: the last call for its key, after `disconnected`.
    fn forgotten(&mut self, _socket: SocketKey) {}

    /// Returns the time at which [`App::expire`] is to be called; `None` if nothing is due.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Does what is due. Called in each turn of the event loop; a turn begins at [`App::next_deadline`] at the latest.
    fn expire(&mut self, _cx: &mut Io) {}

    /// Called at the end of a turn, before the packets of the turn are written to connections: the place to write to a disk.
    /// Called again if connections that closed meanwhile have led to more packets.
    fn commit(&mut self, _now: Instant) {}

    /// Adds the application's own metrics.
    fn metrics(&self, _metrics: &mut Metrics) {}

    /// Returns a second URL path, for tests: its sessions carry plain messages of Engine.IO instead of Socket.IO.
    fn plain_path(&self) -> Option<&'static str> {
        None
    }

    /// Called for each message that a client sends in a session at [`App::plain_path`].
    fn plain_message(&mut self, _engine: &mut Engine, _session: SessionId, _data: Data) {}
}

/// The methods of an application that are called in a cluster only. By default the application has no users to count, and
/// events of other servers go unchanged to the sockets of this server.
pub trait ClusterApp {
    /// Returns the number of users on this node, and of its changes so far: when either has changed, other nodes are told.
    fn present(&self) -> (usize, u64) {
        (0, 0)
    }

    /// Returns users of this node, at most [`MAX_PEOPLE`], to be named to other nodes.
    fn people(&self) -> Vec<Person> {
        Vec::new()
    }

    /// Called when the users of other nodes may have changed: a node has sent a presence note, or a silent one was removed.
    fn elsewhere(&mut self, _cx: &mut Io, _elsewhere: Elsewhere) {}

    /// Called when another server has sent an event to all sockets of the first namespace. Returns `true` if the application
    /// has handled the event, for example sent another to the sockets here; if `false`, the sockets here get it unchanged.
    fn relayed(&mut self, _cx: &mut Io, _event: &Event) -> bool {
        false
    }

    /// Called when another node asks for what it has missed; its first question is `{}`. Returns the answer, if any.
    fn answer_peer(&self, _question: &RawValue) -> Option<Box<RawValue>> {
        None
    }

    /// Called when another node has answered a question. Returns the next question to the same node, if there is one.
    fn learn_from_peer(&mut self, _cx: &mut Io, _answer: &RawValue) -> Option<Box<RawValue>> {
        None
    }
}

/// A user, as the nodes of a cluster name users to each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Person {
    pub username: String,
    /// The user's public tag, which differs between two users with the same name.
    pub user: String,
}

/// The users on other nodes of a cluster.
#[derive(Debug, Default)]
pub struct Elsewhere {
    pub users: usize,
    /// Some of these users, at most [`MAX_PEOPLE`].
    pub people: Vec<Person>,
    /// Users of a node that was removed because it fell silent, without users whose name another node reports.
    pub lost: Vec<Person>,
}

/// Why a socket was disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The client left the namespace: it sent packet `1`.
    Left,
    /// The server ended the socket: see [`Io::disconnect`].
    Ended,
    /// The session of the socket was closed.
    Session(engineio::CloseReason),
}

/// An event from a client or another server, or a client's ack of an event from this server.
#[derive(Debug)]
pub struct Event<'a> {
    /// The name of the event; empty in an ack.
    pub name: &'a str,
    /// The arguments in JSON, as the bytes that arrived (rule R11).
    pub args: &'a [&'a RawValue],
    /// The binary values that placeholders in the arguments stand for.
    pub attachments: &'a [Bytes],
    /// To be passed to [`Io::ack`]; `None` if the client does not want an ack.
    pub ack: Option<u64>,
}

/// The recipients of a broadcast; by default all sockets of the first namespace, on all servers of the cluster.
#[derive(Clone, Copy, Debug, Default)]
pub struct To<'a> {
    /// Index into [`App::namespaces`].
    pub namespace: usize,
    /// The broadcast goes to sockets in at least one of these rooms; if empty, to all sockets of the namespace.
    pub rooms: &'a [&'a str],
    /// Sockets that do not get the broadcast.
    pub except: &'a [SocketKey],
    /// Whether only sockets of this server get the broadcast.
    pub local: bool,
}

/// A broadcast from one server of a cluster to the others, or a client's ack for the server whose broadcast asked for acks.
#[derive(Debug, Default)]
pub struct Publication {
    pub namespace: String,
    pub rooms: Vec<String>,
    /// Rooms whose sockets do not get the broadcast. A room with the name of a socket's id stands for this one socket.
    pub except: Vec<String>,
    /// The id that the asking server has given to its request; `None` if it wants no acks.
    pub asker: Option<Box<str>>,
    /// The JSON of a broadcast is `[name, args...]`; that of an ack is its first argument only.
    pub json: String,
    pub attachments: Vec<Bytes>,
}
