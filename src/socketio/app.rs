//! How to write an application: the trait [`App`] and the types in its methods. The rest of the API is the methods of
//! [`Io`]: `emit`, `ack`, `broadcast`, `join`, `leave_room`, `disconnect` and others.
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
use crate::ws::Text;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::time::Instant;

/// Maximum number of users that a node reports to others by name.
pub const MAX_PEOPLE: usize = 200;

/// An application. By default there is one namespace, `/`, `admit` accepts every client, and other methods do nothing.
pub trait App: ClusterApp {
    /// Returns the namespaces. A CONNECT to any other is refused. Old clients (`EIO=2`, `EIO=3`) join the first without one.
    fn namespaces(&self) -> &'static [&'static str] {
        &["/"]
    }

    /// Called once, when the server listens and no client has connected yet.
    fn start(&mut self, _cx: &mut Io) {}

    /// Called when a client asks for a new socket in `namespace`. `Err` refuses the socket, with the text for CONNECT_ERROR.
    fn admit(&mut self, _namespace: &str, _auth: Option<&RawValue>) -> Result<(), String> {
        Ok(())
    }

    /// Called when the socket is connected and the client's CONNECT has been answered.
    fn connected(&mut self, _cx: &mut Io, _socket: SocketKey, _auth: Option<&RawValue>) {}

    /// Called when the client has emitted an event.
    fn event(&mut self, cx: &mut Io, socket: SocketKey, event: &Event);

    /// Called with the client's ack of event `number` of [`Io::emit_with_ack`], or with `None` if no ack came in time.
    fn acknowledged(&mut self, _cx: &mut Io, _socket: SocketKey, _number: u64, _answer: Option<&Event>) {}

    /// Called when the socket is disconnected. If a client with recovery loses its connection, the call comes `leave_grace`
    /// later, and only if the socket was not recovered by then. The client may still recover it after the call.
    fn disconnected(&mut self, _cx: &mut Io, _socket: SocketKey, _reason: DisconnectReason) {}

    /// Called when the client has recovered its socket, which is still in its rooms. The missed events are already queued.
    fn recovered(&mut self, _cx: &mut Io, _socket: SocketKey) {}

    /// Called after `disconnected`, when the socket has been removed for good. It is the last call for this key.
    fn forgotten(&mut self, _socket: SocketKey) {}

    /// Returns the time at which [`App::expire`] is to be called; `None` if nothing is due.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Handles what is due. Called in each turn of the event loop; a turn begins at [`App::next_deadline`] at the latest.
    fn expire(&mut self, _cx: &mut Io) {}

    /// Called at the end of a turn, before its packets are written to connections, so that data can be on the disk before
    /// its ack leaves. Called again if connections that ended during the writing have led to more packets.
    fn commit(&mut self, _now: Instant) {}

    /// Adds the application's own metrics to the text of `/metrics`.
    fn metrics(&self, _metrics: &mut Metrics) {}

    /// Returns a second URL path, for tests. Sessions at this path carry plain Engine.IO messages instead of Socket.IO.
    fn plain_path(&self) -> Option<&'static str> {
        None
    }

    /// Called for each message that a client sends in a session at [`App::plain_path`].
    fn plain_message(&mut self, _engine: &mut Engine, _session: SessionId, _data: Data) {}
}

/// The methods of an application that are called in a cluster only. By default the application has no users to count, and
/// events of other servers go unchanged to the sockets of this server.
pub trait ClusterApp {
    /// Returns how many users this node has, and how often that has changed. If either changes, other nodes get a note.
    fn present(&self) -> (usize, u64) {
        (0, 0)
    }

    /// Returns users of this node, at most [`MAX_PEOPLE`], whose names are sent to other nodes.
    fn people(&self) -> Vec<Person> {
        Vec::new()
    }

    /// Called with the number of users of another node, and at most [`MAX_PEOPLE`] of them. Both are empty if it is gone.
    fn elsewhere(&mut self, _cx: &mut Io, _node: &str, _users: usize, _people: Vec<Person>) {}

    /// Called when another server has sent an event to all sockets of the first namespace; `owner` is that of its [`To`].
    /// Returns whether the application has handled it, for example by sending another event. If not, the sockets of this
    /// server get it unchanged.
    fn relayed(&mut self, _cx: &mut Io, _event: &Event, _owner: Option<&str>) -> bool {
        false
    }

    /// Called when other servers may have missed the broadcast with this [`To::number`], to call [`Io::publish`] again.
    /// Returns whether the application still keeps it.
    fn publish_again(&self, _cx: &mut Io, _number: u64) -> bool {
        false
    }

    /// Called when another node asks what it has missed: `{}` for everything, or `{"age"}` for what has arrived here within
    /// this many milliseconds. Returns the answer, if any.
    fn answer_peer(&self, _cx: &Io, _question: &RawValue) -> Option<Box<RawValue>> {
        None
    }

    /// Called when another node has answered. Returns the next question to that node, or `None` if there is none.
    fn learn_from_peer(&mut self, _cx: &mut Io, _answer: &RawValue) -> Option<Box<RawValue>> {
        None
    }
}

/// A user, in the form in which the nodes of a cluster report users to each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Person {
    pub username: String,
    /// The user's public tag, which differs between two users with the same name.
    pub user: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The client left the namespace: it sent packet `1` of Socket.IO.
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
    /// The ack id, for [`Io::ack`]; `None` if the client does not want an ack.
    pub ack: Option<u64>,
}

/// The recipients of a broadcast; by default all sockets of the first namespace, on all servers of the cluster.
#[derive(Clone, Copy, Debug, Default)]
pub struct To<'a> {
    /// Index into [`App::namespaces`].
    pub namespace: usize,
    /// The broadcast goes to sockets in at least one of these rooms. If empty, it goes to all sockets of the namespace.
    pub rooms: &'a [&'a str],
    /// Sockets that do not get the broadcast.
    pub except: &'a [SocketKey],
    /// Whether only sockets of this server get the broadcast.
    pub local: bool,
    /// Whether the broadcast is not kept for recovery.
    pub transient: bool,
    /// A text that other servers of this kind get with the broadcast, and clients do not.
    pub owner: Option<&'a str>,
    /// The number under which the application keeps the broadcast, so that it can be published again.
    pub number: Option<u64>,
}

/// A broadcast of one server of a cluster to the others, or a client's ack for the server whose broadcast asked for acks.
#[derive(Debug, Default)]
pub struct Publication {
    pub namespace: String,
    pub rooms: Vec<String>,
    /// Rooms whose sockets do not get the broadcast. A room that is named after a socket's id contains only that socket.
    pub except: Vec<String>,
    /// The id that the broadcasting server gave its request for acks; `None` in a broadcast that asks for none.
    pub asker: Option<Text>,
    /// For a broadcast, the JSON array `[name, args...]`. For an ack, the JSON of its first argument only.
    pub json: String,
    pub attachments: Vec<Bytes>,
    /// See [`To::owner`] and [`To::number`].
    pub owner: Option<Box<str>>,
    pub number: Option<u64>,
}
