//! What a cluster asks of [`Io`]: broadcasts, questions and orders of other servers. Part of
//! `socketio`.
//!
//! Other servers call sockets by id. Each socket is in a room that is called like its id, as in the reference, so that
//! rooms and exceptions are found the same way.

use super::packet::{self, Kind};
use super::{App, Event, Io, Publication, To, encode, members};
use crate::base::slab::SocketKey;
use crate::engineio;
use std::time::Instant;

impl Io {
    /// Namespace, rooms and sockets that are called so.
    fn find<'a>(
        &self, namespace: &str, rooms: &'a [String], except: &[String],
    ) -> Option<(usize, Vec<&'a str>, Vec<SocketKey>)> {
        let namespace = self.namespaces.iter().position(|name| *name == namespace)?;
        let except = except.iter().filter_map(|room| self.rooms.get(&(namespace, room.as_str().into())));
        Some((namespace, rooms.iter().map(String::as_str).collect(), except.flatten().copied().collect()))
    }

    /// The connected sockets of a namespace that are in one of the rooms (of no rooms: all) and in none of `except`.
    pub fn named(&self, namespace: &str, rooms: &[String], except: &[String]) -> Vec<SocketKey> {
        let Some((namespace, rooms, except)) = self.find(namespace, rooms, except) else { return Vec::new() };
        let to = To { namespace, rooms: &rooms, except: &except, local: true };
        members(&self.sockets, &self.rooms, &to)
            .filter(|(_, socket)| socket.session().is_some())
            .map(|(key, _)| key)
            .collect()
    }

    /// All rooms of a namespace.
    pub fn rooms(&self, namespace: &str) -> Vec<&str> {
        let rooms = self.rooms.keys().filter(|(index, _)| self.namespaces[*index] == namespace);
        rooms.map(|(_, room)| &**room).collect()
    }

    /// The rooms of a socket; the first is called like its id.
    pub fn rooms_of(&self, key: SocketKey) -> &[Box<str>] {
        self.sockets.get(key).map_or(&[], |socket| &socket.rooms)
    }

    /// Applies a broadcast of another server, unless the application does.
    pub fn relay(&mut self, broadcast: &Publication, app: &mut impl App) {
        let Publication { namespace, rooms, except, json, attachments, .. } = broadcast;
        let Some((index, rooms, except)) = self.find(namespace, rooms, except) else { return };
        if index == 0
            && rooms.is_empty()
            && except.is_empty()
            && let Ok(elements) = packet::elements(json)
            && let Some((name, args)) = elements.split_first()
            && let Ok(name) = packet::event_name(name)
            && app.relayed(self, &Event { name: &name, args, attachments, ack: None })
        {
            return;
        }
        let write = |out: &mut Vec<u8>| out.extend_from_slice(json.as_bytes());
        let messages = encode(Kind::Event, namespace, None, attachments, write);
        self.fan_out(&To { namespace: index, rooms: &rooms, except: &except, local: true }, messages);
    }

    /// Sends a broadcast to one socket, and asks for an answer until `by` in the name of the server that it comes from.
    pub fn ask(&mut self, socket: SocketKey, broadcast: &Publication, by: Instant) {
        let Publication { asker, json, attachments, .. } = broadcast;
        if let Some(number) = self.expect_ack(socket, asker.clone(), by) {
            let write = |out: &mut Vec<u8>| out.extend_from_slice(json.as_bytes());
            self.send(socket, Kind::Event, Some(number), attachments, write);
        }
    }

    /// Ends a socket, and with `close` the whole session.
    pub fn end(&mut self, socket: SocketKey, close: bool) {
        let session = self.sockets.get(socket).and_then(|known| known.session());
        self.disconnect(socket);
        if let Some(session) = session.filter(|_| close) {
            self.engine.close(session, engineio::CloseReason::ServerClose);
        }
    }
}
