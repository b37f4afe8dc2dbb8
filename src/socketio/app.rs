//! How to write an application: the trait [`App`] and the types in its methods. The rest of the API is [`Io`]: `emit`, `ack`,
//! `broadcast`, `join`, `leave_room`, `disconnect`.
//!
//! The server calls the application, which keeps its state in `self` and acts through `cx`, the [`Io`] of the turn. Calls of
//! `Io` only enqueue (rule R5): no method of the application runs while another one does. Only
//! `event` must be written:
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
//!         if let Some(number) = event.ack {
//!             cx.ack(socket, number, &(self.messages,), &[]);
//!         }
//!     }
//! }
//!
//! impl ClusterApp for Relay {}
//!
//! fn main() -> ExitCode {
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

/// Users that one node names to other nodes, and to a client that asks: enough for the `user left` of a node that dies.
pub const MAX_PEOPLE: usize = 200;

/// An application. All methods but `event` have a default that does nothing, or accepts.
pub trait App: ClusterApp {
    /// The namespaces; a CONNECT to any other is refused. Clients of protocol 3 and 4 are in the first without asking.
    fn namespaces(&self) -> &'static [&'static str] {
        &["/"]
    }

    /// The server listens, and no client has connected yet.
    fn start(&mut self, _cx: &mut Io) {}

    /// A client asks for a socket in `namespace`. An error refuses it, and is the message of its CONNECT_ERROR.
    fn admit(&mut self, _namespace: &str, _auth: Option<&RawValue>) -> Result<(), String> {
        Ok(())
    }

    /// The socket is connected, and the client's CONNECT is answered.
    fn connected(&mut self, _cx: &mut Io, _socket: SocketKey, _auth: Option<&RawValue>) {}

    /// The client has emitted an event.
    fn event(&mut self, cx: &mut Io, socket: SocketKey, event: &Event);

    /// The client has answered the event that [`Io::emit_with_ack`] sent with this number; `None`: not in time.
    fn acknowledged(&mut self, _cx: &mut Io, _socket: SocketKey, _number: u64, _answer: Option<&Event>) {}

    /// The socket is disconnected. If its connection broke, the call comes `leave_grace` later, and the client may still
    /// recover the socket.
    fn disconnected(&mut self, _cx: &mut Io, _socket: SocketKey, _reason: DisconnectReason) {}

    /// The client has recovered its socket, with its rooms, and gets all events it has missed.
    fn recovered(&mut self, _cx: &mut Io, _socket: SocketKey) {}

    /// The socket cannot be recovered any more: the last call for its key, after `disconnected`.
    fn forgotten(&mut self, _socket: SocketKey) {}

    /// When [`App::expire`] is to be called.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Called in each turn, and at [`App::next_deadline`]: does what is due.
    fn expire(&mut self, _cx: &mut Io) {}

    /// Called at the end of a turn, before anything that was sent in it leaves: the place to write to a disk. Called again if
    /// more is sent.
    fn commit(&mut self, _now: Instant) {}

    /// Adds the application's own metrics.
    fn metrics(&self, _metrics: &mut Metrics) {}

    /// A second path, where sessions carry plain messages of Engine.IO instead of Socket.IO; for tests of Engine.IO.
    fn plain_path(&self) -> Option<&'static str> {
        None
    }

    /// A message of a session at [`App::plain_path`].
    fn plain_message(&mut self, _engine: &mut Engine, _session: SessionId, _data: Data) {}
}

/// What an application does in a cluster beyond [`App`]. By default it has no users to count, and events of other servers go to
/// the sockets here unchanged.
pub trait ClusterApp {
    /// How many users are here, and a number that changes with them: both go to the other nodes.
    fn present(&self) -> (usize, u64) {
        (0, 0)
    }

    /// Some users that are here: at most [`MAX_PEOPLE`].
    fn people(&self) -> Vec<Person> {
        Vec::new()
    }

    /// The users of other nodes have changed.
    fn elsewhere(&mut self, _cx: &mut Io, _elsewhere: Elsewhere) {}

    /// Another server has sent an event to all sockets of the first namespace. `true`: the application has sent an event
    /// of its own in its place; `false`: the sockets here get it unchanged.
    fn relayed(&mut self, _cx: &mut Io, _event: &Event) -> bool {
        false
    }

    /// Another node asks for what it has missed. Question and answer are JSON.
    fn answer_peer(&self, _question: &RawValue) -> Option<Box<RawValue>> {
        None
    }

    /// Another node has answered; returns the next question to it, if there is one.
    fn learn_from_peer(&mut self, _cx: &mut Io, _answer: &RawValue) -> Option<Box<RawValue>> {
        None
    }
}

/// A user, as nodes of a cluster name them to each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Person {
    pub username: String,
    /// A tag that differs between two users of one name.
    pub user: String,
}

/// The users on other nodes of a cluster.
#[derive(Debug, Default)]
pub struct Elsewhere {
    pub users: usize,
    /// Some of them.
    pub people: Vec<Person>,
    /// Users of a node that died without taking its leave, and that no node has now.
    pub lost: Vec<Person>,
}

/// Why a socket was disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The client left the namespace: packet `1`.
    Left,
    /// The server disconnected it: see [`Io::disconnect`].
    Ended,
    /// Its session was closed.
    Session(engineio::CloseReason),
}

/// An event of a client, or its ack of one of ours.
#[derive(Debug)]
pub struct Event<'a> {
    /// Empty in an ack.
    pub name: &'a str,
    /// The arguments, as the bytes that came (rule R11).
    pub args: &'a [&'a RawValue],
    /// The binary values that placeholders in the arguments stand for.
    pub attachments: &'a [Bytes],
    /// The number for [`Io::ack`], if the client wants an ack.
    pub ack: Option<u64>,
}

/// The recipients of a broadcast; by default all sockets of the first namespace, on all servers of the cluster.
#[derive(Clone, Copy, Debug, Default)]
pub struct To<'a> {
    /// Index into [`App::namespaces`].
    pub namespace: usize,
    /// Only sockets in at least one of these rooms; empty: all of the namespace.
    pub rooms: &'a [&'a str],
    /// Sockets left out.
    pub except: &'a [SocketKey],
    /// Only sockets of this server.
    pub local: bool,
}

/// A broadcast between servers of a cluster; or a client's ack, for the server that asked for it.
#[derive(Debug, Default)]
pub struct Publication {
    pub namespace: String,
    pub rooms: Vec<String>,
    /// Ids of sockets.
    pub except: Vec<String>,
    /// The asking server's id of its question, if it wants acks.
    pub asker: Option<Box<str>>,
    /// JSON: an array of name and arguments; in an ack, the first argument only.
    pub json: String,
    pub attachments: Vec<Bytes>,
}
