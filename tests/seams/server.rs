//! A server without sockets for tests, and checks of the rules that must hold between two turns. Part of `server` in
//! builds with debug assertions.

use super::*;

impl<A: App> Server<A> {
    /// Accepts a connection whose stream is a pipe in memory.
    pub fn connect_pipe(&mut self, peer: IpAddr) -> ConnId {
        self.net.connect_pipe(peer, self.now)
    }

    /// The pipe of a connection, until the connection is reaped.
    pub fn pipe(&self, id: ConnId) -> Option<crate::net::kernel::seam::Pipe> {
        self.net.pipe(id)
    }

    /// What the next turn has to do without new events, such as connections left unread.
    pub fn left(&mut self) -> Vec<Wake> {
        let mut wakes = Vec::new();
        self.net.drain_events(self.now, false, &mut wakes);
        wakes
    }

    /// Panics if a rule that must hold between two turns is broken.
    pub fn check(&self) {
        let waits = |id| self.waiting.contains(&id) || self.is_paused(id);
        self.net.check(waits, |protocol| protocol.session().is_some());
        self.io.check();
        assert!(self.waiting.iter().all(|id| self.net.get(*id).is_some()), "a connection that waits is gone");
        // Due at once are sockets that this turn has suspended, if there is no grace; and in a drain sessions whose POST
        // this turn has ended.
        let excused = self.config.leave_grace.is_zero() || self.stopping.is_some();
        let late = self.next_deadline().is_some_and(|due| due <= self.now);
        assert!(!late || excused, "a timer that is due has not run");
        for (id, protocol) in self.net.live() {
            match protocol {
                Protocol::Http { exchange: None, .. } => {}
                Protocol::Http { exchange: Some(exchange), .. } => {
                    let session = exchange.session.expect("a request without a session is answered at once");
                    let complete = matches!(exchange.body, protocol::Body::None);
                    // The session may be closed before its body is complete; the response follows the body.
                    let late = !complete && self.io.engine.client(session).is_none();
                    let waits = late || self.io.engine.waits(id, session, complete);
                    assert!(waits, "{id:?} has a request that nothing will answer");
                }
                Protocol::WebSocket { closing: Some(_), .. } => {
                    let timed = self.net.get(id).is_some_and(|connection| connection.phase.is_some());
                    assert!(timed, "{id:?} has no deadline for the answer to the close frame");
                }
                Protocol::WebSocket { session, incoming, .. } => {
                    assert!(self.io.engine.carries(id, *session), "{id:?} is not the WebSocket of its session");
                    let connection = self.net.get(id).expect("live connections exist");
                    let incomplete = incoming.in_message() || !connection.input.is_empty();
                    let timed = connection.phase.is_some();
                    assert!(
                        timed == incomplete || connection.unread || self.is_paused(id),
                        "{id:?}: the message deadline"
                    );
                }
                // The scripted tests have no cluster.
                #[cfg(feature = "redis")]
                Protocol::Redis(_) => {}
            }
        }
        for (id, session) in self.io.engine.connections() {
            let owner = self.net.get(id).and_then(|connection| connection.protocol.session());
            assert_eq!(owner, Some(session), "R1: {id:?} belongs to another session");
        }
    }

    /// Panics if anything is left of clients that have disconnected.
    pub fn check_empty(&self) {
        assert_eq!(self.next_deadline(), None);
        assert!(self.net.connections.is_empty());
        assert!(self.io.engine.is_empty());
        self.io.check_empty();
    }

    pub fn app(&mut self) -> &mut A {
        &mut self.app
    }
}
