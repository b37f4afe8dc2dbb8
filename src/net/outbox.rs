//! The outboxes of connections: filled during a turn, written at its end. Also counts what connections hold (rule R7).
//! Part of `net`.

use super::connection::{ConnState, LINGER, State};
use super::{EndCause, Net, list};
use crate::base::limits::Limit;
use crate::base::slab::ConnId;
use crate::net::kernel::Transfer;
use bytes::Bytes;
use std::mem;
use std::time::Instant;

impl<P: State> Net<P> {
    /// Queues bytes to be written at the end of the turn. If this takes the connection above `max_queue`, it is aborted.
    /// `flush_one` sets the deadlines of peers that read too slowly.
    pub fn push(&mut self, id: ConnId, bytes: Bytes) {
        let connection = self.connections.get_mut(id).filter(|connection| connection.is_open());
        let Some(connection) = connection.filter(|_| !bytes.is_empty()) else { return };
        self.pool.push(&mut connection.outbox, bytes);
        connection.pong = false;
        if connection.queued() > self.config.max_queue {
            self.abort_because(id, EndCause::Limit(Limit::Queue));
        } else {
            list(&mut self.dirty, &mut connection.dirty, id);
        }
    }

    /// Queues a pong. While the peer does not read, only the newest of consecutive pongs in the outbox is kept (RFC 6455
    /// section 5.5.3).
    pub fn push_pong(&mut self, id: ConnId, pong: Bytes) {
        let Some(connection) = self.connections.get_mut(id).filter(|connection| connection.is_open()) else { return };
        // The first entry of the outbox may already be sent in part, so it is never replaced.
        if connection.pong && connection.stall.is_some() && connection.outbox.has_several() {
            return self.pool.replace_last(&mut connection.outbox, pong);
        }
        self.push(id, pong);
        if let Some(connection) = self.connections.get_mut(id) {
            connection.pong = true;
        }
    }

    /// Writes what is queued on dirty connections: one vectored write for each, and more if that does not take everything.
    pub fn flush(&mut self, now: Instant) {
        // `flush_one` adds no connection to `dirty`.
        for index in 0..self.dirty.len() {
            self.flush_one(self.dirty[index], now);
        }
        self.dirty.clear();
    }

    fn flush_one(&mut self, id: ConnId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.dirty = false;
        if let ConnState::Dead = connection.state {
            return;
        }
        let before = connection.queued();
        let last = match connection.write_all(&mut self.scratch, &mut self.pool) {
            Ok(last) => last,
            Err(error) => return self.abort_because(id, EndCause::Error(error)),
        };
        let blocked = matches!(last, Transfer::WouldBlock | Transfer::Retry);
        // Backpressure: `server` does not read a connection with more than this queued; with less, the next turn reads on.
        let most = self.config.pause_above();
        if before > most && connection.queued() <= most || last == Transfer::Retry {
            list(&mut self.unread, &mut connection.unread, id);
        }
        // What a connection holds besides its outbox differs here only over TLS, or after `close`, which drops its input.
        if connection.tls.is_some() || !connection.is_open() {
            let weight = connection.weight();
            self.held = self.held - mem::replace(&mut connection.held, weight) + weight;
        }
        if blocked {
            if let Some(time) = connection.stall_time(before, &self.config) {
                self.stalls.set(id, &mut connection.stall, now + time);
            }
            return;
        }
        self.stalls.clear(id, &mut connection.stall);
        if let ConnState::Closing(left) = connection.state {
            match connection.linger(left) {
                true => self.phases.set(id, &mut connection.phase, now + LINGER),
                false => self.abort(id),
            }
        } else if mem::take(&mut connection.idle) {
            self.phases.set(id, &mut connection.phase, now + self.config.idle_timeout);
        }
    }

    /// Brings the account up to date with what a connection holds besides its outbox.
    pub fn weigh(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(id) {
            let weight = connection.weight();
            self.held = self.held - mem::replace(&mut connection.held, weight) + weight;
        }
    }

    /// Returns the bytes that are queued on all connections. A shared buffer counts once for each of them.
    pub fn queued(&self) -> usize {
        self.connections.iter().map(|(_, connection)| connection.queued()).sum()
    }

    /// Aborts a connection because it holds more than others while the account is above its limit.
    pub fn shed(&mut self, id: ConnId) {
        self.abort_because(id, EndCause::Limit(Limit::Holder));
    }
}
