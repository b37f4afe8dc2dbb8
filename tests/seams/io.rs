//! The rules that must hold between two turns, as far as `socketio` can break them; part of it in builds with
//! debug assertions.

use super::*;

impl Io {
    /// Panics if a rule is broken that must hold between two turns.
    pub fn check(&self) {
        self.engine.check();
        let open: BTreeSet<SessionId> = self.engine.open_sessions().collect();
        assert_eq!(self.sessions.keys().copied().collect::<BTreeSet<_>>(), open, "R4: opened, and not closed");
        assert!(self.deferred.is_empty(), "the turn is not settled");
        let mut attached = 0;
        for (session, state) in &self.sessions {
            let waits = state.deadline.is_some();
            assert!(waits || state.pending.is_none(), "R7: a packet without a deadline for its attachments");
            assert!(!waits || state.sockets.is_empty() || state.pending.is_some(), "a deadline for nothing");
            for key in &state.sockets {
                assert_eq!(self.sockets.get(*key).map(|socket| socket.session), Some(Some(*session)), "R1");
                attached += 1;
            }
        }
        let either = |socket: &Socket| socket.session.is_some() != socket.suspension.is_some();
        assert!(self.sockets.iter().all(|(_, socket)| either(socket)), "a session and a suspension, or neither");
        let suspensions = self.sockets.iter().filter_map(|(_, socket)| socket.suspension.as_ref());
        let suspensions = suspensions.inspect(|it| assert!(it.deadline.is_some(), "suspended for ever")).count();
        assert_eq!(suspensions, self.suspended.len());
        assert_eq!(attached + suspensions, self.sockets.len(), "a socket has no session");
        let recoverable = self.sockets.iter().filter(|(_, socket)| socket.secret.is_some()).count();
        assert_eq!(recoverable, self.recoverable);
        let rooms = self.rooms.iter().enumerate();
        let rooms =
            rooms.flat_map(|(namespace, rooms)| rooms.iter().map(move |(room, members)| (namespace, room, members)));
        let members = rooms.flat_map(|(namespace, room, members)| {
            assert!(!members.is_empty(), "an empty room");
            members.iter().map(move |key| (key, namespace, room))
        });
        for (key, namespace, room) in members {
            let socket = self.sockets.get(*key).expect("every member of a room is a socket");
            assert!(socket.namespace == namespace && socket.rooms.contains(room));
        }
        let timed = self.sessions.values().filter(|state| state.deadline.is_some()).count();
        assert_eq!(self.timers.len(), timed, "a timer has no session");
        assert!(self.acks.keys().all(|(socket, _)| self.sockets.get(*socket).is_some()), "an ack of a removed socket");
        assert_eq!(self.acks.len(), self.ack_timers.len(), "an ack without a deadline");
    }

    /// Panics if anything is left of clients that have gone.
    pub fn check_empty(&self) {
        assert!(self.sessions.is_empty() && self.sockets.is_empty());
        assert!(self.rooms.iter().all(HashMap::is_empty) && self.room_bytes == 0);
    }
}
