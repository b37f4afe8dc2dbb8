//! The rules that must hold between two turns, as far as `net` can break them; part of it in builds with
//! debug assertions.

use super::*;
use crate::kernel::seam::Pipe;

impl<P: Default> Net<P> {
    /// A connection of the scripted world.
    pub fn connect_pipe(&mut self) -> ConnId {
        self.insert(Stream::Pipe(Pipe::default()), Ipv4Addr::LOCALHOST.into())
    }

    /// The pipe of such a connection.
    pub fn pipe(&mut self, id: ConnId) -> Option<&mut Pipe> {
        match &mut self.connections.get_mut(id)?.stream {
            Stream::Pipe(pipe) => Some(pipe),
            Stream::Tcp(_) => None,
        }
    }

    /// Panics where a rule is broken that must hold between two turns. `paused`: what the connection sends has to
    /// wait. For tests.
    pub fn check(&self, paused: impl Fn(ConnId) -> bool) {
        assert!(self.dirty.is_empty() && self.doomed.is_empty(), "the turn is not settled");
        let mut entries = 0;
        for (id, connection) in self.connections.iter() {
            if let Stream::Pipe(pipe) = &connection.stream {
                let left = !pipe.incoming.is_empty() || pipe.reset;
                assert!(!left || connection.unread || paused(id), "R2: {id:?} is readable and forgotten");
            }
            let waits = connection.stall.at().is_some();
            assert!(connection.outbox.is_empty() || waits, "R3: the outbox of {id:?} is forgotten");
            assert!(connection.queued() <= self.config.max_queue, "R7: the outbox of {id:?}");
            assert!(connection.input.len() <= self.config.max_payload + 64 * 1024, "R7: the input of {id:?}");
            assert!(!connection.input.is_empty() || connection.input.capacity() == 0, "R10: {id:?} owns a buffer");
            entries += self.pool.iter(&connection.outbox).count();
        }
        assert_eq!(entries, self.pool.len(), "an entry of an outbox has no owner");
        let count = |deadline: fn(&Connection<P>) -> Deadline| {
            self.connections.iter().filter(|(_, connection)| deadline(connection).at().is_some()).count()
        };
        assert_eq!(self.phases.len(), count(|connection| connection.phase), "a phase timer has no owner");
        assert_eq!(self.stalls.len(), count(|connection| connection.stall), "a stall timer has no owner");
    }
}
