//! Invariants of `engineio` between two turns, in builds with debug assertions.

use super::*;

impl Engine {
    /// Panics if an invariant is broken.
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
        assert!(self.budget.offers.keys().all(|id| self.sessions.get(*id).is_some()), "an offer has no session");
        assert_eq!(entries, self.out.pool.len, "a queued packet has no owner");
        assert!(!self.sessions.is_empty() || self.addresses.is_empty(), "an address has no session");
    }

    /// Sessions for which `Opened` was raised and `Closed` was not (rule R4), without plain ones.
    pub fn open_sessions(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.iter().filter(|(_, session)| session.is_open()).map(|(id, _)| id)
    }

    /// The connections of all sessions: GET, POST, and WebSocket or probe.
    pub fn connections(&self) -> impl Iterator<Item = (ConnId, SessionId)> {
        let all = self.sessions.iter();
        all.flat_map(|(id, session)| session.connections().into_iter().flatten().map(move |conn| (conn, id)))
    }

    /// Whether the session knows the request that waits on `conn`: a GET, or a POST whose body is not `complete`.
    pub fn waits(&self, conn: ConnId, id: SessionId, complete: bool) -> bool {
        let connections = self.sessions.get(id).map(Session::connections);
        connections.is_some_and(|[get, post, _]| if complete { get == Some(conn) } else { post == Some(conn) })
    }

    /// Whether `conn` is the WebSocket or the probe of the session.
    pub fn carries(&self, conn: ConnId, id: SessionId) -> bool {
        self.sessions.get(id).is_some_and(|session| session.connections()[2] == Some(conn))
    }
}
