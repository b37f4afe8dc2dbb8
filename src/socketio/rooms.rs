//! Rooms: puts sockets into rooms, and finds the sockets that a broadcast goes to. Part of `socketio`.

use super::{Io, Rooms, Socket, TABLE_SHARE, To};
use crate::base::held::ENTRY;
use crate::base::limits::Limit;
use crate::base::slab::{self, Slab, SocketKey};
use std::collections::BTreeSet;

/// The largest number of exceptions of a broadcast that are compared one by one with each recipient.
const FEW: usize = 8;

impl Io {
    /// Puts a socket into a room. Returns `false` if the socket is gone or in `max_rooms` rooms already, or if the rooms of
    /// all sockets take a quarter of `max_held`; the first room of a socket is exempt from the latter.
    pub fn join(&mut self, key: SocketKey, room: &str) -> bool {
        let Some(socket) = self.sockets.get_mut(key) else { return false };
        let is_full = self.room_bytes > self.config.max_held / TABLE_SHARE && !socket.rooms.is_empty();
        if is_full || socket.rooms.len() >= self.config.max_rooms {
            socket.session.into_iter().for_each(|session| self.engine.hit(Limit::Rooms, session));
            return false;
        }
        if self.rooms[socket.namespace].entry(room.into()).or_default().insert(key) {
            socket.rooms.push(room.into());
            self.room_bytes += member_bytes(room);
        }
        true
    }

    pub fn leave_room(&mut self, key: SocketKey, room: &str) {
        self.leave_rooms(key, |own| own == room);
    }

    /// Takes a socket out of those of its rooms that `leaves` chooses.
    pub(super) fn leave_rooms(&mut self, key: SocketKey, leaves: impl Fn(&str) -> bool) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        let (namespace, left) = (socket.namespace, socket.rooms.extract_if(.., |own| leaves(own)).collect::<Vec<_>>());
        left.iter().for_each(|room| self.remove_member(key, namespace, room));
    }

    /// Removes a socket from the members of a room, and the room from the table if it has no members left.
    pub(super) fn remove_member(&mut self, key: SocketKey, namespace: usize, room: &str) {
        self.room_bytes -= member_bytes(room);
        if let Some(members) = self.rooms[namespace].get_mut(room) {
            members.remove(&key);
            if members.is_empty() {
                self.rooms[namespace].remove(room);
            }
        }
    }
}

/// Returns what a membership counts: the name and an entry in the list of the socket, and the same in the table of rooms.
fn member_bytes(room: &str) -> usize {
    2 * (ENTRY + room.len())
}

/// Returns the sockets that `to` names, including suspended sockets.
pub(super) fn members<'a>(
    sockets: &'a Slab<slab::Socket, Socket>, rooms: &'a Rooms, to: &'a To,
) -> impl Iterator<Item = (SocketKey, &'a Socket)> {
    // Nearly always there is one exception or none, for which the set below would cost more than it saves.
    let has_few = to.except.len() <= FEW;
    let all = (to.rooms.is_empty() && has_few).then(|| sockets.iter());
    let rooms = to.rooms.iter().filter_map(|room| rooms[to.namespace].get(*room));
    // A set, so that a socket in two of the rooms gets the broadcast once.
    let mut some: BTreeSet<SocketKey> = rooms.flatten().copied().collect();
    if !has_few {
        some.extend(sockets.iter().map(|(key, _)| key).filter(|_| to.rooms.is_empty()));
        to.except.iter().for_each(|key| _ = some.remove(key));
    }
    let some = some.into_iter().filter_map(|key| Some((key, sockets.get(key)?)));
    let members = all.into_iter().flatten().chain(some);
    let except = if has_few { to.except } else { &[] };
    members.filter(move |(key, socket)| socket.namespace == to.namespace && !except.contains(key))
}
