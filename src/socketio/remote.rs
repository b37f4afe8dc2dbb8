//! What a cluster asks of [`Io`]: the broadcasts of this process out; broadcasts, questions and orders of other servers in.
//!
//! Other servers call sockets by id. Each socket is in a room that is called like its id, as in the reference, so that
//! rooms and exceptions are found the same way.

use super::packet::{self, Kind};
use super::{Cx, Io, Publication, To};
use crate::engineio::packet::Encoded;
use crate::engineio::{self, Engine};
use crate::slab::SocketKey;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::time::Instant;

/// An event as another server has sent it.
#[derive(Clone, Copy)]
pub struct Remote<'a> {
    pub namespace: &'a str,
    /// JSON that was checked: an array of name and arguments.
    pub event: &'a str,
    pub attachments: &'a [Bytes],
}

impl Io {
    /// From here on other servers are told of broadcasts. Called before the first socket is there.
    pub fn share(&mut self) {
        self.shared = true;
    }

    /// The next broadcast that other servers are to be told of.
    pub fn poll_publication(&mut self) -> Option<Publication> {
        self.publications.pop_front()
    }

    /// The next answer of a client to a question of [`Io::ask`]: the asker, the first argument, its attachments.
    pub fn poll_answer(&mut self) -> Option<(u64, String, Vec<Bytes>)> {
        self.answers.pop_front()
    }

    /// What the application is called with.
    pub fn cx<'a>(&'a mut self, engine: &'a mut Engine) -> Cx<'a> {
        Cx { io: self, engine }
    }

    fn index(&self, namespace: &str) -> Option<u16> {
        self.namespaces.iter().position(|name| *name == namespace).map(|index| index as u16)
    }

    fn in_rooms(&self, namespace: u16, rooms: &[String]) -> BTreeSet<SocketKey> {
        let members = rooms.iter().filter_map(|room| self.rooms.get(&(namespace, room.as_str().into())));
        members.flatten().copied().collect()
    }

    /// The connected sockets of a namespace that are in one of the rooms (of no rooms: all) and in none of `except`.
    pub fn members(&self, namespace: &str, rooms: &[String], except: &[String]) -> Vec<SocketKey> {
        let Some(namespace) = self.index(namespace) else { return Vec::new() };
        let except = self.in_rooms(namespace, except);
        let mut members = match rooms {
            [] => self.sockets.keys(),
            rooms => self.in_rooms(namespace, rooms).into_iter().collect(),
        };
        members.retain(|key| {
            let known = self.sockets.get(*key);
            known.is_some_and(|known| known.session.is_some() && known.namespace == namespace) && !except.contains(key)
        });
        members
    }

    /// All rooms of a namespace.
    pub fn rooms(&self, namespace: &str) -> Vec<&str> {
        let index = self.index(namespace);
        self.rooms.keys().filter(|(own, _)| Some(*own) == index).map(|(_, room)| &**room).collect()
    }

    /// The id of a socket, which is its first room, and all its rooms.
    pub fn describe(&self, key: SocketKey) -> Option<(String, &[Box<str>])> {
        self.sockets.get(key).map(|socket| (socket.id.to_string(), &*socket.rooms))
    }

    /// Applies a broadcast of another server.
    pub fn relay(&mut self, event: Remote, rooms: &[String], except: &[String], engine: &mut Engine) {
        let Some(namespace) = self.index(event.namespace) else { return };
        let except: Vec<SocketKey> = self.in_rooms(namespace, except).into_iter().collect();
        let rooms: Vec<&str> = rooms.iter().map(String::as_str).collect();
        let to = To { namespace, rooms: &rooms, except: &except, local: true };
        self.broadcast(&to, event.encode(None), engine);
    }

    /// Sends an event that asks for an answer until `by` to one socket, in the name of another server.
    pub fn ask(&mut self, event: Remote, socket: SocketKey, asker: u64, by: Instant, engine: &mut Engine) {
        let Some(session) = self.sockets.get(socket).and_then(|known| known.session) else { return };
        let Some(number) = self.expect_ack(socket, Some(asker), by) else { return };
        event.encode(Some(number)).iter().for_each(|message| engine.send(session, message));
    }

    /// Ends a socket, and with `close` the whole session.
    pub fn disconnect(&mut self, socket: SocketKey, close: bool, engine: &mut Engine) {
        let session = self.sockets.get(socket).and_then(|known| known.session);
        self.cx(engine).disconnect(socket);
        if let Some(session) = session.filter(|_| close) {
            engine.close(session, engineio::Reason::ServerClose);
        }
    }
}

impl Remote<'_> {
    fn encode(&self, number: Option<u64>) -> Vec<Encoded> {
        let kind = if self.attachments.is_empty() { Kind::Event } else { Kind::BinaryEvent };
        let head = Encoded::text(|out| {
            packet::write_head(out, kind, self.attachments.len(), self.namespace, number);
            out.extend_from_slice(self.event.as_bytes());
        });
        std::iter::once(head).chain(self.attachments.iter().cloned().map(Encoded::binary)).collect()
    }
}
