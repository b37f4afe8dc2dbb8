//! Input of one connection in the turn of the loop: how much is read, backpressure, half-close, deadlines. Part of `server`.

use super::Server;
use super::protocol::{Body, Protocol};
use crate::base::limits::Limit;
use crate::base::slab::ConnId;
use crate::http::Error;
use crate::net::ReadState;
use crate::socketio::App;
use crate::ws;
use std::mem;

/// Maximum number of reads from one connection in one turn. More input waits a turn, so that no other connection starves.
const READS_PER_TURN: usize = 4;
/// Maximum number of steps (frames, or parts of requests) of a connection in one turn. A limit of bytes is not enough: a
/// small frame may be a broadcast to a thousand clients.
const STEPS_PER_TURN: usize = 256;

impl<A: App> Server<A> {
    /// Reads a connection until the kernel has no more bytes, reading is paused, or the connection has used its share of the
    /// turn. In the last case the rest is remembered for the next turn (rule R2).
    pub(super) fn read_connection(&mut self, id: ConnId) {
        self.steps = STEPS_PER_TURN;
        let Some(connection) = self.net.get(id) else { return };
        let hung_up = matches!(connection.reading, ReadState::HungUp | ReadState::Ended);
        // A WebSocket is read again even if a read took all that was there, so that a message which arrives meanwhile is
        // broadcast in the same writes. An HTTP client normally waits for its response before it sends more.
        let read_again = matches!(connection.protocol, Protocol::WebSocket { .. });
        let left = !connection.input.is_empty() || connection.protocol.has_packets();
        if left && !self.is_paused(id) {
            // Input left by the last turn, or pipelined behind a request answered since.
            self.receive(id, &[]);
        }
        for number in 0..READS_PER_TURN {
            // A closing connection is read once per turn: its last response must leave before too much input aborts it.
            if self.steps == 0 || number > 0 && !self.net.get(id).is_some_and(|connection| connection.is_open()) {
                break;
            }
            let waits = self.waits_for_account(id);
            if waits {
                self.waiting.insert(id);
            }
            if waits || self.is_paused(id) {
                return if hung_up {
                    self.handle_half_close(id)
                };
            }
            let mut scratch = mem::take(&mut self.scratch);
            let read = self.net.read(id, &mut scratch);
            if let Some(count) = read {
                self.receive(id, &scratch[..count]);
            }
            self.scratch = scratch;
            let Some(connection) = self.net.get(id).filter(|_| read.is_some()) else { return };
            if read == Some(0) && self.steps > 0 {
                return self.handle_half_close(id);
            }
            if connection.reading == ReadState::Drained && self.steps > 0 && !(read_again && connection.is_open()) {
                return;
            }
        }
        self.net.remember_unread(id);
    }

    /// Whether reading a connection is paused (backpressure): more than `pause_above` is queued, because the client does not
    /// read, or `max_head` bytes are pipelined behind an HTTP request that is not answered yet. The body of a request is
    /// always read. `Net::flush` and `respond` put the connection on the unread list when the pause is over.
    pub(super) fn is_paused(&self, id: ConnId) -> bool {
        let Some(connection) = self.net.get(id).filter(|connection| connection.is_open()) else { return false };
        let congested = connection.queued() > self.config.pause_above();
        match &connection.protocol {
            Protocol::Http { exchange: Some(exchange), .. } if matches!(exchange.body, Body::None) => {
                connection.input.len() >= self.config.max_head
            }
            Protocol::Http { exchange: None, .. } | Protocol::WebSocket { .. } => congested,
            _ => false,
        }
    }

    /// Handles new bytes together with those kept from earlier reads. Keeps only incomplete or waiting input (rule R10).
    fn receive(&mut self, id: ConnId, new: &[u8]) {
        let Some(connection) = self.net.get_mut(id) else { return };
        if new.is_empty() && connection.input.is_empty() && !connection.protocol.has_packets() {
            return;
        }
        let mut kept = mem::take(&mut connection.input);
        let is_start = kept.is_empty();
        let used = if is_start {
            // Parsed in place: in the ordinary case nothing is copied.
            let used = self.consume(id, new);
            kept.extend_from_slice(&new[used..]);
            used
        } else {
            kept.extend_from_slice(new);
            let used = self.consume(id, &kept);
            kept.drain(..used);
            kept.shrink_to(2 * kept.len());
            used
        };
        if kept.is_empty() {
            return;
        }
        let Some(connection) = self.net.get_mut(id) else { return };
        connection.input = kept;
        // The deadline of a head starts again with each head, not with each byte. It does not run during a pause.
        if let Protocol::Http { exchange: None, .. } = connection.protocol
            && (is_start || used > 0 || connection.half_open.is_none())
            && !self.is_paused(id)
        {
            self.net.await_head(id, self.now);
        }
    }

    /// Handles frames, parts of requests or replies of Redis until the rest is incomplete or must wait, or the steps of the
    /// turn are used up. Returns the number of bytes handled; all bytes if the connection is closed.
    fn consume(&mut self, id: ConnId, bytes: &[u8]) -> usize {
        let mut used = 0;
        loop {
            let Some(connection) = self.net.get(id).filter(|connection| connection.is_open()) else {
                return bytes.len();
            };
            if self.steps == 0 {
                return used;
            }
            let step = match connection.protocol {
                Protocol::Http { .. } => self.handle_http(id, &bytes[used..]),
                Protocol::WebSocket { .. } => self.handle_websocket(id, &bytes[used..]),
                #[cfg(feature = "redis")]
                Protocol::Redis(role) => self.receive_from_redis(role, &bytes[used..]),
            };
            self.pump();
            let Some(count) = step else { return used };
            (used, self.steps) = (used + count, self.steps - 1);
        }
    }

    /// Handles a half-close: the peer has sent its last byte, but may still read. Answers the requests that can be answered
    /// now, then closes the connection.
    fn handle_half_close(&mut self, id: ConnId) {
        // A parked GET for which packets are queued is answered now.
        self.io.engine.flush();
        self.pump();
        let Some(connection) = self.net.get(id).filter(|connection| connection.is_open()) else { return };
        match &connection.protocol {
            // A request was answered just now: the next turn handles the requests pipelined behind it and comes back here.
            _ if connection.unread => {}
            // The client has yet to read responses. When it has read enough, a later turn comes back here.
            Protocol::Http { exchange: None, .. } if self.is_paused(id) => {}
            #[cfg(feature = "redis")]
            Protocol::Redis(_) => self.net.abort(id),
            // All requests are answered, except a parked poll or an incomplete one. Or a WebSocket sent no close frame.
            protocol => {
                let session = protocol.session();
                self.net.close(id);
                session.iter().for_each(|session| self.io.engine.connection_lost(id, *session));
                self.pump();
            }
        }
    }

    /// Handles a deadline that has passed: a head, a body or a message is not complete, or the connection was idle too long.
    pub(super) fn handle_deadline(&mut self, id: ConnId) {
        let Some(connection) = self.net.get(id) else { return };
        match connection.protocol {
            Protocol::Http { exchange: None, .. } if connection.input.is_empty() => {
                if connection.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
                    self.hit(Limit::TlsTime, id);
                } else if connection.half_open.is_some() {
                    self.hit(Limit::HeadTime, id);
                }
                self.net.close(id);
            }
            Protocol::Http { .. } => self.reject_request(id, Error { status: 408, reason: "request timeout" }),
            Protocol::WebSocket { closing: Some(_), .. } => self.net.close(id),
            // The rest of the message may have arrived: the pause keeps it unread.
            Protocol::WebSocket { .. } if self.is_paused(id) => {
                self.net.set_phase(id, Some(self.now + self.config.message_timeout));
            }
            Protocol::WebSocket { session, .. } => {
                self.hit(Limit::MessageTime, id);
                self.close_websocket(id, session, ws::close_frame(1008, "message timeout"));
            }
            // `cluster` has deadlines of its own.
            #[cfg(feature = "redis")]
            Protocol::Redis(_) => {}
        }
    }
}
