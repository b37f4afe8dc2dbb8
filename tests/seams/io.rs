//! The rules that must hold between two turns, as far as `socketio` can break them; part of it in builds with
//! debug assertions.

use super::*;

impl Io {
    /// Panics where a rule is broken that must hold between two turns. For tests.
    pub fn check(&self) {
        self.engine.check();
        let open: BTreeSet<SessionId> = self.engine.open_sessions().collect();
        assert_eq!(self.clients.keys().copied().collect::<BTreeSet<_>>(), open, "R4: opened, and not closed");
        assert!(self.late.is_empty(), "the turn is not settled");
        let mut sockets = 0;
        for (session, client) in &self.clients {
            let waits = client.deadline.is_some();
            assert!(waits || client.partial.is_none(), "R7: a packet may stay partial for ever");
            assert!(!waits || client.sockets.is_empty() || client.partial.is_some(), "it was told to connect");
            for key in &client.sockets {
                assert_eq!(self.sockets.get(*key).map(Socket::session), Some(Some(*session)), "R1");
                sockets += 1;
            }
        }
        let held = self.sockets.iter().filter_map(|(_, socket)| socket.held.as_ref());
        let held = held.inspect(|held| assert!(held.deadline.is_some(), "a socket is held for ever")).count();
        assert_eq!(held, self.held.len());
        assert_eq!(sockets + held, self.sockets.len(), "a socket has no client");
        let recoverable = self.sockets.iter().filter(|(_, socket)| socket.secret.is_some()).count();
        assert_eq!(recoverable, self.recoverable);
        let members = self.rooms.iter().flat_map(|((namespace, room), members)| {
            assert!(!members.is_empty(), "an empty room");
            members.iter().map(move |key| (key, namespace, room))
        });
        for (key, namespace, room) in members {
            let socket = self.sockets.get(*key).expect("a member of a room is there");
            assert!(socket.namespace == *namespace && socket.rooms.contains(room));
        }
        let timed = self.clients.values().filter(|client| client.deadline.is_some()).count();
        assert_eq!(self.timers.len(), timed, "a timer has no owner");
        assert!(self.acks.keys().all(|(socket, _)| self.sockets.get(*socket).is_some()), "an ack of a dead socket");
        assert_eq!(self.acks.len(), self.ack_timers.len(), "an ack without a deadline");
    }

    /// Panics if anything is left of clients that have gone.
    pub fn check_empty(&self) {
        assert!(self.clients.is_empty() && self.sockets.is_empty() && self.rooms.is_empty());
    }
}
