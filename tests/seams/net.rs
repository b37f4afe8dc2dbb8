//! The rules that must hold between two turns, as far as `net` can break them; part of it in builds with
//! debug assertions.

use super::*;
use crate::net::kernel::seam::{Hostile, Pipe};

impl<P: Default> Net<P> {
    /// A connection of the scripted world.
    pub fn connect_pipe(&mut self, peer: IpAddr, now: Instant) -> ConnId {
        let id = self.insert(Stream::Pipe(Pipe::default()), peer, None, P::default());
        self.admit(id, now);
        id
    }

    /// The pipe of such a connection.
    pub fn pipe(&self, id: ConnId) -> Option<Pipe> {
        match &self.connections.get(id)?.stream {
            Stream::Pipe(pipe) => Some(pipe.clone()),
            Stream::Tcp(_) => None,
        }
    }

    /// From here on the kernel is hostile.
    pub fn make_hostile(&mut self, seed: u64) {
        self.kernel.hostile = Hostile(seed);
    }

    /// All connections that are not about to end, with what they speak.
    pub fn live(&self) -> impl Iterator<Item = (ConnId, &P)> {
        let live = self.connections.iter().filter(|(_, connection)| connection.is_open());
        live.map(|(id, connection)| (id, &connection.protocol))
    }

    /// Panics where a rule is broken that must hold between two turns. `paused`: what the connection sends has to
    /// wait; `kept`: somebody above knows how long to keep it. For tests.
    pub fn check(&self, paused: impl Fn(ConnId) -> bool, kept: impl Fn(&P) -> bool) {
        assert!(self.dirty.is_empty() && self.dead.is_empty(), "the turn is not settled");
        let mut entries = 0;
        for (id, connection) in self.connections.iter() {
            if let Stream::Pipe(pipe) = &connection.stream {
                let wire = pipe.wire();
                let left = !wire.incoming.is_empty() || wire.reset;
                assert!(!left || connection.unread || paused(id), "R2: {id:?} is readable and forgotten");
                let told = wire.blocked || connection.unread || wire.reset;
                assert!(connection.outbox.is_empty() || told, "R3: nobody will wake {id:?} to write");
            }
            let limited = connection.phase.is_some() || connection.stall.is_some();
            assert!(limited || kept(&connection.protocol), "R7: {id:?} may stay for ever");
            let waits = connection.stall.is_some();
            assert!(connection.outbox.is_empty() || waits, "R3: the outbox of {id:?} is forgotten");
            let closes = !connection.is_open() || connection.unread;
            assert!(!connection.ended || closes, "{id:?} has ended, and is not closed");
            assert!(connection.queued() <= self.config.max_queue, "R7: the outbox of {id:?}");
            assert!(connection.input.len() <= self.config.max_payload + 64 * 1024, "R7: the input of {id:?}");
            assert!(!connection.input.is_empty() || connection.input.capacity() == 0, "R10: {id:?} owns a buffer");
            entries += self.pool.iter(&connection.outbox).count();
        }
        assert_eq!(entries, self.pool.len, "an entry of an outbox has no owner");
        let count = |deadline: fn(&Connection<P>) -> Deadline| {
            self.connections.iter().filter(|(_, connection)| deadline(connection).is_some()).count()
        };
        assert_eq!(self.phases.len(), count(|connection| connection.phase), "a phase timer has no owner");
        let half_open = self.half_open.len();
        assert!(half_open <= count(|connection| connection.half_open), "a half-open connection has no owner");
        assert_eq!(
            self.pool.bytes,
            self.connections.iter().map(|(_, c)| c.outbox.bytes).sum::<usize>(),
            "queued bytes"
        );
        assert_eq!(self.stalls.len(), count(|connection| connection.stall), "a stall timer has no owner");
    }
}
