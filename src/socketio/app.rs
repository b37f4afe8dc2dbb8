//! What an application is: the trait [`App`] and its types. The first thing to read for whoever writes one.

use super::Io;
use crate::base::metrics::Metrics;
use crate::base::slab::{SessionId, SocketKey};
use crate::engineio::packet::Data;
use crate::engineio::{self, Engine};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::time::Instant;

/// Users that are named to other nodes, and to clients that ask: enough to say who has left when a node dies.
pub const MAX_PEOPLE: usize = 200;

/// What the application decides: the chat, or an app of the conformance tests.
pub trait App {
    /// The namespaces there are; a CONNECT to any other is refused. An older client is in the first by itself.
    fn namespaces(&self) -> &'static [&'static str] {
        &["/"]
    }

    /// The server listens, and nobody has been let in yet.
    fn start(&mut self, _cx: &mut Io) {}

    /// What the application has said in this turn is about to leave; called again if it says more.
    fn commit(&mut self, _now: Instant) {}

    /// When [`App::expire`] wants to be called.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Does what is due.
    fn expire(&mut self, _cx: &mut Io) {}

    /// A client asks for a socket in `namespace`; an error is the message of its CONNECT_ERROR.
    fn admit(&mut self, _namespace: &str, _auth: Option<&RawValue>) -> Result<(), String> {
        Ok(())
    }

    /// The socket is there, and the client has been told.
    fn connected(&mut self, _cx: &mut Io, _socket: SocketKey, _auth: Option<&RawValue>) {}

    /// The client has emitted an event.
    fn event(&mut self, cx: &mut Io, socket: SocketKey, event: &Event);

    /// The client has answered the event that [`Io::emit_with_ack`] gave this number; `None`: not in time.
    fn acknowledged(&mut self, _cx: &mut Io, _socket: SocketKey, _number: u64, _answer: Option<&Event>) {}

    /// The socket is gone: it left, or its connection has been broken for longer than the grace. It may come back.
    fn disconnected(&mut self, _cx: &mut Io, _socket: SocketKey, _reason: DisconnectReason) {}

    /// The socket is there again after all, with its rooms and all it has missed.
    fn recovered(&mut self, _cx: &mut Io, _socket: SocketKey) {}

    /// The socket is gone for good: the last call for its key, after `disconnected`.
    fn forgotten(&mut self, _socket: SocketKey) {}

    /// How many users are here, and how often who is here has changed: what other nodes of a cluster are told.
    fn present(&self) -> (usize, u64) {
        (0, 0)
    }

    /// Some users that are here: at most [`MAX_PEOPLE`].
    fn people(&self) -> Vec<Person> {
        Vec::new()
    }

    /// Who is on other nodes has changed.
    fn elsewhere(&mut self, _cx: &mut Io, _elsewhere: Elsewhere) {}

    /// Another server of a cluster has sent an event to all sockets of the first namespace. `true`: the application has
    /// told them in its own words; otherwise they get it as it is.
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

    /// Figures of the application's own.
    fn metrics(&self, _metrics: &mut Metrics) {}

    /// A second path, where sessions carry messages of their own instead of Socket.IO.
    fn plain_path(&self) -> Option<&'static str> {
        None
    }

    /// A message of such a session.
    fn plain_message(&mut self, _engine: &mut Engine, _session: SessionId, _data: Data) {}
}

/// A user, as nodes of a cluster tell each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Person {
    pub username: String,
    /// Tells two of one name apart.
    pub user: String,
}

/// The users on other nodes of a cluster.
#[derive(Debug, Default)]
pub struct Elsewhere {
    pub users: usize,
    /// Some of them.
    pub people: Vec<Person>,
    /// Who were on a node that has died without a word, and are nowhere now.
    pub lost: Vec<Person>,
}

/// Why a socket is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The client left the namespace (`41`).
    Left,
    /// The application ended it.
    Ended,
    /// Its session is closed.
    Session(engineio::CloseReason),
}

/// An event of a client, or its answer to one of ours.
#[derive(Debug)]
pub struct Event<'a> {
    /// Empty in an answer.
    pub name: &'a str,
    /// The arguments, as the bytes that came (rule R11).
    pub args: &'a [&'a RawValue],
    /// What the placeholders in the arguments stand for.
    pub attachments: &'a [Bytes],
    /// The client wants an answer under this number.
    pub ack: Option<u64>,
}

/// To whom a broadcast goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct To<'a> {
    /// Index into [`App::namespaces`].
    pub namespace: usize,
    /// Sockets in at least one of these rooms; empty means all sockets of the namespace.
    pub rooms: &'a [&'a str],
    /// Not these.
    pub except: &'a [SocketKey],
    /// Only those of this process.
    pub local: bool,
}

/// What servers of a cluster tell each other: a broadcast, or what a client has answered to a question of another's.
#[derive(Debug, Default)]
pub struct Publication {
    pub namespace: String,
    pub rooms: Vec<String>,
    /// Ids of sockets.
    pub except: Vec<String>,
    /// By what the server that asks for answers calls its question.
    pub asker: Option<Box<str>>,
    /// JSON: an array of name and arguments; of an answer only the first argument.
    pub json: String,
    pub attachments: Vec<Bytes>,
}
