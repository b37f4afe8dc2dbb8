//! The rules that must hold between two turns, as far as `engineio` can break them; part of it in builds with
//! debug assertions.

use super::*;

impl Engine {
    /// Panics where a rule is broken that must hold between two turns. For tests.
    pub fn check(&self) {
        assert!(self.out.events.is_empty() && self.out.outputs.is_empty(), "the turn is not settled");
        assert_eq!(self.sids.len(), self.sessions.len());
        assert_eq!(self.timers.len(), self.sessions.len(), "every session has its heartbeat");
        let mut entries = 0;
        for (id, session) in self.sessions.iter() {
            assert_eq!(self.sids.get(&session.client.sid), Some(&id), "R1");
            assert!(session.timer <= Some(session.next_deadline()), "the timer of {id:?} is late");
            entries += session.check(&self.out.pool, &self.config);
        }
        assert_eq!(entries, self.out.pool.len, "a queued packet has no owner");
        assert!(!self.sessions.is_empty() || self.addresses.is_empty(), "an address has no session");
    }

    /// Sessions whose opening those above have been told, and whose end they have not (rule R4).
    pub fn open_sessions(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.iter().filter(|(_, session)| session.is_open()).map(|(id, _)| id)
    }

    /// The connections of all sessions.
    pub fn connections(&self) -> impl Iterator<Item = (ConnId, SessionId)> {
        let all = self.sessions.iter();
        all.flat_map(|(id, session)| session.connections().into_iter().flatten().map(move |conn| (conn, id)))
    }

    /// Whether the request of a connection is one that the session has: a GET, or (not `complete`) a POST.
    pub fn waits(&self, conn: ConnId, id: SessionId, complete: bool) -> bool {
        let connections = self.sessions.get(id).map(Session::connections);
        connections.is_some_and(|[get, post, _]| if complete { get == Some(conn) } else { post == Some(conn) })
    }

    /// Whether a WebSocket is that of the session, or may become it.
    pub fn carries(&self, conn: ConnId, id: SessionId) -> bool {
        self.sessions.get(id).is_some_and(|session| session.connections()[2] == Some(conn))
    }
}
