//! The rules that must hold between two turns, as far as `socketio` can break them; part of it in builds with
//! debug assertions.

use super::*;

impl Io {
    /// Panics where a rule is broken that must hold between two turns. For tests.
    pub fn check(&self, engine: &Engine) {
        let open: BTreeSet<SessionId> = engine.open_sessions().collect();
        assert_eq!(self.clients.keys().copied().collect::<BTreeSet<_>>(), open, "R4: opened, and not closed");
        assert!(self.late.is_empty(), "the turn is not settled");
        let mut sockets = 0;
        for (session, client) in &self.clients {
            assert_eq!(client.deadline.at().is_some(), !client.known || client.partial.is_some(), "a deadline");
            for key in &client.sockets {
                assert_eq!(self.sockets.get(*key).map(|socket| socket.session), Some(Some(*session)), "R1");
                sockets += 1;
            }
        }
        for (key, held) in &self.held {
            assert!(
                self.sockets.get(*key).is_some_and(|socket| socket.session.is_none()),
                "a held socket is connected"
            );
            assert!(held.deadline.at().is_some(), "a socket is held for ever");
        }
        assert_eq!(self.held.len(), self.held_timers.len());
        assert_eq!(sockets + self.held.len(), self.sockets.len(), "a socket has no client");
        let recoverable = self.sockets.iter().filter(|(_, socket)| socket.secret.is_some()).count();
        assert_eq!(recoverable, self.recoverable);
        assert!(self.predecessors.keys().all(|key| self.sockets.get(*key).is_some()), "a predecessor of nobody");
        let members = self.rooms.iter().flat_map(|((namespace, room), members)| {
            assert!(!members.is_empty(), "an empty room");
            members.iter().map(move |key| (key, namespace, room))
        });
        for (key, namespace, room) in members {
            let socket = self.sockets.get(*key).expect("a member of a room is there");
            assert!(socket.namespace == *namespace && socket.rooms.contains(room));
        }
        let timed = self.clients.values().filter(|client| client.deadline.at().is_some()).count();
        assert_eq!(self.timers.len(), timed, "a timer has no owner");
        assert_eq!(self.acks.len(), self.ack_timers.len());
        assert!(self.acks.keys().all(|(socket, _)| self.sockets.get(*socket).is_some()), "an ack of a dead socket");
    }

    /// Panics if anything is left of clients that have gone.
    pub fn check_empty(&self) {
        assert!(self.clients.is_empty() && self.sockets.is_empty() && self.rooms.is_empty() && self.held.is_empty());
        assert!(self.predecessors.is_empty() && self.acks.is_empty());
    }
}
