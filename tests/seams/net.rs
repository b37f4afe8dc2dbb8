//! Checks of the rules that `net` must keep between two turns. Part of it in builds with debug assertions.

use super::*;
use crate::net::kernel::seam::Pipe;

impl<P: State> Net<P> {
    /// Adds a connection whose stream is a pipe in memory. It has TLS if there is a certificate.
    pub fn connect_pipe(&mut self, peer: IpAddr, now: Instant) -> ConnId {
        let tls = self.identity.as_ref().map(Identity::accept);
        let id = self.insert(Stream::Pipe(Pipe::default()), peer, tls, P::default());
        self.admit(id, now);
        id
    }

    /// The pipe of a connection made by `connect_pipe`.
    pub fn pipe(&self, id: ConnId) -> Option<Pipe> {
        match &self.connections.get(id)?.stream {
            Stream::Pipe(pipe) => Some(pipe.clone()),
            Stream::Tcp(_) => None,
        }
    }

    /// All open connections.
    pub fn live(&self) -> impl Iterator<Item = (ConnId, &P)> {
        let live = self.connections.iter().filter(|(_, connection)| connection.is_open());
        live.map(|(id, connection)| (id, &connection.protocol))
    }

    /// Panics if a rule is broken. `paused` says whether the server does not read a connection for now, `kept` whether the
    /// server limits its life by a deadline outside `net`.
    pub fn check(&self, paused: impl Fn(ConnId) -> bool, kept: impl Fn(&P) -> bool) {
        assert!(self.dirty.is_empty() && self.dead.is_empty(), "the turn is not settled");
        let mut entries = 0;
        for (id, connection) in self.connections.iter() {
            if let Stream::Pipe(pipe) = &connection.stream {
                let wire = pipe.wire();
                let left = !wire.incoming.is_empty() || wire.reset;
                assert!(!left || connection.unread || paused(id), "R2: {id:?} is readable, and nothing will read it");
                let wakes = wire.blocked || connection.unread || wire.reset;
                assert!(connection.outbox.is_empty() || wakes, "R3: nothing will write the outbox of {id:?}");
            }
            let limited = connection.phase.is_some() || connection.stall.is_some();
            assert!(limited || kept(&connection.protocol), "R7: {id:?} has no deadline");
            let timed = connection.stall.is_some();
            assert!(connection.outbox.is_empty() || timed, "R3: the outbox of {id:?} has no deadline");
            let ends = !connection.is_open() || connection.unread;
            assert!(connection.reading != ReadState::Ended || ends, "{id:?} is open after the end of the stream");
            assert!(connection.queued() <= self.config.max_queue, "R7: the outbox of {id:?}");
            assert!(connection.input.len() <= self.config.max_payload + 64 * 1024, "R7: the input of {id:?}");
            assert!(!connection.input.is_empty() || connection.input.capacity() == 0, "R10: {id:?} owns a buffer");
            entries += self.pool.iter(&connection.outbox).count();
        }
        assert_eq!(entries, self.pool.len, "outbox entries without a connection");
        let count = |deadline: fn(&Connection<P>) -> Deadline| {
            self.connections.iter().filter(|(_, connection)| deadline(connection).is_some()).count()
        };
        assert_eq!(self.phases.len(), count(|connection| connection.phase), "phase timers without a connection");
        let half_open = self.half_open.len;
        assert_eq!(half_open, count(|connection| connection.half_open), "half-open connections that are gone");
        let held = self.connections.iter().map(|(_, connection)| connection.weight()).sum::<usize>();
        assert_eq!(self.held, held, "R7: what connections hold is not what is counted");
        assert_eq!(self.stalls.len(), count(|connection| connection.stall), "stall timers without a connection");
    }
}
