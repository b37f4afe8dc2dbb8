//! What connections hold of the memory that peers can make grow (rule R7). Part of `net`.

use super::connection::State;
use super::{EndCause, Net};
use crate::base::limits::Limit;
use crate::base::slab::ConnId;
use bytes::Bytes;
use std::mem;

impl<P: State> Net<P> {
    /// Brings the account up to date with what a connection holds besides its outbox.
    pub fn weigh(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(id) {
            let weight = connection.weight();
            self.held = self.held - mem::replace(&mut connection.held, weight) + weight;
        }
    }

    /// Queues a pong. Of pongs that follow each other in the outbox only the newest is kept (RFC 6455 section 5.5.3).
    pub fn push_pong(&mut self, id: ConnId, pong: Bytes) {
        let Some(connection) = self.connections.get_mut(id).filter(|connection| connection.is_open()) else { return };
        // The first entry may be sent in part already.
        if connection.pong && connection.outbox.len() > 1 {
            return self.pool.replace_last(&mut connection.outbox, pong);
        }
        self.push(id, pong);
        if let Some(connection) = self.connections.get_mut(id) {
            connection.pong = true;
        }
    }

    /// Returns the bytes that are queued on all connections; a shared buffer counts for each.
    pub fn queued(&self) -> usize {
        self.connections.iter().map(|(_, connection)| connection.queued()).sum()
    }

    /// Returns all connections, and the bytes that each counts as.
    pub fn holders(&self) -> impl Iterator<Item = (usize, ConnId)> {
        self.connections.iter().map(|(id, connection)| (connection.holds(), id))
    }

    /// Aborts a connection because it holds more than others while the account is above its limit.
    pub fn shed(&mut self, id: ConnId) {
        self.abort_because(id, EndCause::Limit(Limit::Holder));
    }
}
