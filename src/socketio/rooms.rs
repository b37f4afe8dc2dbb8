//! Rooms: puts sockets into rooms, and finds the sockets that a broadcast goes to. Part of `socketio`.

use super::{Io, Rooms, Socket, To};
use crate::base::limits::Limit;
use crate::base::slab::{self, Slab, SocketKey};
use std::collections::BTreeSet;

impl Io {
    /// Puts a socket into a room, unless the socket is in `max_rooms` rooms already.
    pub fn join(&mut self, key: SocketKey, room: &str) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        if socket.rooms.len() >= self.config.max_rooms {
            return socket.session.into_iter().for_each(|session| self.engine.hit(Limit::Rooms, session));
        }
        if self.rooms.entry((socket.namespace, room.into())).or_default().insert(key) {
            socket.rooms.push(room.into());
        }
    }

    pub fn leave_room(&mut self, key: SocketKey, room: &str) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        socket.rooms.retain(|own| &**own != room);
        let room = (socket.namespace, room.into());
        self.remove_member(key, room);
    }

    /// Removes a socket from the members of a room, and the room from the table if it has no members left.
    pub(super) fn remove_member(&mut self, key: SocketKey, room: (usize, Box<str>)) {
        if let Some(members) = self.rooms.get_mut(&room) {
            members.remove(&key);
            if members.is_empty() {
                self.rooms.remove(&room);
            }
        }
    }
}

/// Returns the sockets that `to` names, including suspended sockets.
pub(super) fn members<'a>(
    sockets: &'a Slab<slab::Socket, Socket>, rooms: &'a Rooms, to: &'a To,
) -> impl Iterator<Item = (SocketKey, &'a Socket)> {
    let all = to.rooms.is_empty().then(|| sockets.iter());
    let rooms = to.rooms.iter().filter_map(|room| rooms.get(&(to.namespace, Box::from(*room))));
    // A set, so that a socket in two of the rooms gets the broadcast once.
    let some: BTreeSet<SocketKey> = rooms.flatten().copied().collect();
    let some = some.into_iter().filter_map(|key| Some((key, sockets.get(key)?)));
    let members = all.into_iter().flatten().chain(some);
    members.filter(|(key, socket)| socket.namespace == to.namespace && !to.except.contains(key))
}
