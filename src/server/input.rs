//! Input of one connection in the turn of the loop: how much is read, backpressure, half-close, deadlines. Part of `server`.

use super::Server;
use super::protocol::Protocol;
use crate::base::limits::Limit;
use crate::base::slab::ConnId;
use crate::http::Error;
use crate::net::ReadState;
use crate::socketio::App;
use crate::ws;
use std::mem;

/// Reads from one connection in one turn; the rest waits for the next turn, so that no other connection starves.
const READS_PER_TURN: usize = 4;
/// Steps (frames, or parts of requests) of one connection in one turn. Bytes alone limit too little: a small frame may
/// be a broadcast to a thousand clients.
const STEPS_PER_TURN: usize = 256;

impl<A: App> Server<A> {
    /// Reads a connection until the kernel has no more bytes, it is paused, or its share of the turn is used up; then the
    /// rest is remembered for the next turn (rule R2).
    pub(super) fn read_connection(&mut self, id: ConnId) {
        self.steps = STEPS_PER_TURN;
        let Some(connection) = self.net.get(id) else { return };
        let hung_up = matches!(connection.reading, ReadState::HungUp | ReadState::Ended);
        // A WebSocket is read again even if one read has emptied it, so that a message which arrives meanwhile is broadcast
        // in the same writes. An HTTP client waits for its response before it sends more.
        let read_again = matches!(connection.protocol, Protocol::WebSocket { .. });
        if !connection.input.is_empty() && !self.is_paused(id) {
            // Left by the last turn, or pipelined behind a request that has been answered now.
            self.receive(id, &[]);
        }
        for _ in 0..READS_PER_TURN {
            if self.steps == 0 {
                break;
            }
            if self.is_paused(id) {
                return if hung_up {
                    self.handle_half_close(id)
                };
            }
            let mut scratch = mem::take(&mut self.scratch);
            let read = self.net.read(id, &mut scratch);
            self.receive(id, &scratch[..read.unwrap_or(0)]);
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

    /// Backpressure: whether a connection is not read for now. HTTP: `max_head` bytes are pipelined behind a request that
    /// is not answered yet. WebSocket: the outbox is more than half full, because the client does not read what it is
    /// sent. `respond` and `Net::flush` put the connection on the unread list when the reason has ended.
    pub(super) fn is_paused(&self, id: ConnId) -> bool {
        let Some(connection) = self.net.get(id).filter(|connection| connection.is_open()) else { return false };
        match &connection.protocol {
            Protocol::Http { exchange: Some(exchange), .. } if exchange.body.is_none() => {
                connection.input.len() >= self.config.max_head
            }
            Protocol::Http { .. } => false,
            Protocol::WebSocket { .. } => connection.queued() > self.config.max_queue / 2,
            #[cfg(feature = "redis")]
            Protocol::Redis(_) => false,
        }
    }

    /// Parses new bytes together with those kept from earlier reads. Only incomplete or waiting input is kept (rule R10).
    fn receive(&mut self, id: ConnId, new: &[u8]) {
        let Some(connection) = self.net.get_mut(id) else { return };
        if new.is_empty() && connection.input.is_empty() {
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
            used
        };
        if kept.is_empty() {
            return;
        }
        let Some(connection) = self.net.get_mut(id) else { return };
        connection.input = kept;
        // The deadline of a head starts again with each head, not with each byte.
        if let Protocol::Http { exchange: None, .. } = connection.protocol
            && (is_start || used > 0)
        {
            self.net.await_head(id, self.now);
        }
    }

    /// Handles frames or parts of requests until the bytes end, have to wait, or the steps of the turn are used up.
    /// Returns the number of bytes that are done with.
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
            match step {
                Some(count) => (used, self.steps) = (used + count, self.steps - 1),
                None => return used,
            }
        }
    }

    /// Half-close: the peer has sent its last byte, but may still read. Requests that are complete are answered; then
    /// the connection is closed.
    fn handle_half_close(&mut self, id: ConnId) {
        // A GET that can be answered in this turn is answered now.
        self.io.engine.flush();
        self.pump();
        let Some(connection) = self.net.get(id).filter(|connection| connection.is_open()) else { return };
        match &connection.protocol {
            // It was answered just now: the next turn handles the requests pipelined behind it and comes back here.
            _ if connection.unread => {}
            // Every request is answered: close once the responses have been sent.
            Protocol::Http { exchange: None, .. } if connection.input.is_empty() => self.net.close(id),
            // A parked poll, an incomplete request, or a WebSocket without a close frame.
            _ => self.net.abort(id),
        }
    }

    /// The deadline of a connection's present phase has passed: of a head, a body, a message, or of being idle.
    pub(super) fn handle_deadline(&mut self, id: ConnId) {
        let Some(connection) = self.net.get(id) else { return };
        match connection.protocol {
            Protocol::Http { exchange: None, .. } if connection.input.is_empty() => {
                if connection.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
                    self.hit(Limit::TlsTime, id);
                } else if connection.half_open.is_some() {
                    self.hit(Limit::HeadTime, id);
                }
                self.net.abort(id);
            }
            Protocol::Http { .. } => self.reject_request(id, Error { status: 408, reason: "request timeout" }),
            Protocol::WebSocket { session, .. } => {
                self.hit(Limit::MessageTime, id);
                self.close_websocket(id, session, ws::close_frame(1008, "message timeout"));
            }
            // `cluster` has its own deadlines.
            #[cfg(feature = "redis")]
            Protocol::Redis(_) => {}
        }
    }
}
