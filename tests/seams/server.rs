//! The rules that must hold between two turns, as far as `server` can break them; part of it in builds with
//! debug assertions.

use super::*;

impl<A: App> Server<A> {
    /// What a scripted world needs: connections without sockets, what is left to do, and the rules.
    pub fn connect_pipe(&mut self, peer: IpAddr) -> ConnId {
        self.net.connect_pipe(peer, self.now)
    }

    /// The pipe of a connection, while it is there.
    pub fn pipe(&self, id: ConnId) -> Option<crate::net::kernel::seam::Pipe> {
        self.net.pipe(id)
    }

    /// From here on the kernel moves one byte at a time, if at all.
    pub fn make_hostile(&mut self, seed: u64) {
        self.net.make_hostile(seed);
    }

    /// What was left to be done, for the next turn.
    pub fn left(&mut self) -> Vec<Wake> {
        let mut wakes = Vec::new();
        self.net.drain_events(self.now, &mut wakes);
        wakes
    }

    /// Panics where a rule is broken that must hold between two turns.
    pub fn check(&self) {
        self.net.check(|id| self.is_paused(id), |speaks| speaks.session().is_some());
        self.io.check();
        assert!(self.next_deadline().is_none_or(|due| due > self.now), "what is due was not done");
        for (id, speaks) in self.net.live() {
            match speaks {
                Protocol::Http { exchange: None, .. } => {}
                Protocol::Http { exchange: Some(exchange), .. } => {
                    let session = exchange.session.expect("a request without a session is answered at once");
                    let complete = exchange.body.is_none();
                    // The rest of a body may come when its session is gone, and is then answered.
                    let late = !complete && self.io.engine.client(session).is_none();
                    let waits = late || self.io.engine.waits(id, session, complete);
                    assert!(waits, "{id:?} waits for no answer");
                }
                Protocol::WebSocket { session, incoming } => {
                    assert!(self.io.engine.carries(id, *session), "{id:?} carries nothing");
                    let connection = self.net.get(id).expect("it lives");
                    let half = incoming.in_message() || !connection.input.is_empty();
                    let timed = connection.phase.is_some();
                    assert!(timed == half || connection.unread || self.is_paused(id), "the deadline of half a message");
                }
                // The scripted world has no cluster.
                #[cfg(feature = "redis")]
                Protocol::Redis(_) => {}
            }
        }
        for (id, session) in self.io.engine.connections() {
            let owner = self.net.get(id).and_then(|connection| connection.protocol.session());
            assert_eq!(owner, Some(session), "R1: {id:?} belongs to another session");
        }
    }

    /// Panics if anything is left of clients that have gone.
    pub fn check_empty(&self) {
        assert_eq!(self.next_deadline(), None);
        assert!(self.net.is_empty());
        assert!(self.io.engine.is_empty());
        self.io.check_empty();
    }

    /// The application.
    pub fn app(&mut self) -> &mut A {
        &mut self.app
    }
}
