//! WebSocket in the turn of the loop: frames in. Part of `server`.

use super::Server;
use super::protocol::Protocol;
use crate::base::limits::Limit;
use crate::base::slab::{ConnId, SessionId};
use crate::engineio::SessionEvent;
use crate::engineio::packet::Data;
use crate::net::ReadState;
use crate::socketio::App;
use crate::ws::{self, NextFrame, Received};
use bytes::Bytes;
use std::time::Duration;

/// Time that a client has to answer the server's close frame, and the maximum number of bytes that are skipped before it.
const CLOSE_TIME: Duration = Duration::from_secs(1);
const CLOSE_BYTES: usize = 64 * 1024;

impl<A: App> Server<A> {
    /// Handles the frame at the start of `bytes`. Returns the number of bytes used, or `None` if the frame is incomplete.
    pub(super) fn handle_websocket(&mut self, id: ConnId, bytes: &[u8]) -> Option<usize> {
        let connection = self.net.get_mut(id)?;
        let has_deadline = connection.phase.is_some();
        let Protocol::WebSocket { session, incoming, closing } = &mut connection.protocol else { return None };
        let session = *session;
        let next = incoming.next(bytes, &self.config);
        if closing.is_some() {
            return self.await_close_frame(id, next, bytes.len());
        }
        match next {
            Ok(Some((count, received))) => {
                let ends_message = has_deadline && !incoming.in_message();
                match received {
                    Received::Text(text) => self.io.engine.receive_frame(id, session, Data::Text(text)),
                    Received::Binary(bytes) => self.io.engine.receive_frame(id, session, Data::Binary(bytes)),
                    Received::Ping(pong) => {
                        self.net.push_pong(id, pong);
                        self.io.engine.out.events.push_back(SessionEvent::Ping(session));
                    }
                    Received::Close(reply) => {
                        // Nothing follows a close frame (RFC 6455 section 5.5.1): if all is read, `net` need not linger.
                        connection.no_linger = connection.reading == ReadState::Drained && count == bytes.len();
                        self.close_websocket(id, session, reply);
                    }
                    Received::Nothing => {}
                }
                if ends_message {
                    // The deadline is that of one message: the next one gets its own.
                    self.net.set_phase(id, None);
                }
                Some(count)
            }
            Ok(None) => {
                // The deadline runs while a message is incomplete.
                let incomplete = !bytes.is_empty() || incoming.in_message();
                if incomplete != has_deadline {
                    self.net.set_phase(id, incomplete.then_some(self.now + self.config.message_timeout));
                }
                None
            }
            Err(error) => {
                log::debug!("{id:?}: WebSocket {} {}", error.code, error.reason);
                match error.code {
                    1008 => self.hit(Limit::Fragments, id),
                    1009 => self.hit(Limit::Payload, id),
                    _ => {}
                }
                self.close_websocket(id, session, ws::close_frame(error.code, error.reason));
                Some(bytes.len())
            }
        }
    }

    /// Sends a close frame, and closes the connection when the client has answered, or after [`CLOSE_TIME`]. Some clients
    /// (okhttp) read nothing behind the close frame, and an end that comes with it would escape them.
    pub(super) fn end_websocket(&mut self, id: ConnId, code: u16) {
        let Some(Protocol::WebSocket { closing, .. }) = self.net.get_mut(id).map(|it| &mut it.protocol) else { return };
        if closing.is_none() {
            *closing = Some(CLOSE_BYTES);
            self.net.push(id, ws::close_frame(code, ""));
            self.net.set_phase(id, Some(self.now + CLOSE_TIME));
        }
    }

    /// Skips a frame, because the server has sent a close frame. That of the client ends the connection. So do more than
    /// [`CLOSE_BYTES`] before it, and an error, after which no frame can be found in the `all` bytes any more.
    fn await_close_frame(&mut self, id: ConnId, next: NextFrame, all: usize) -> Option<usize> {
        let Protocol::WebSocket { closing: Some(left), .. } = &mut self.net.get_mut(id)?.protocol else { return None };
        let count = match next {
            Ok(None) => return None,
            Ok(Some((count, Received::Close(_)))) => count,
            Ok(Some((count, _))) if count <= *left => {
                *left -= count;
                return Some(count);
            }
            _ => {
                // More may follow. Without a phase, `net` lingers: a reset could destroy the server's close frame.
                self.net.set_phase(id, None);
                all
            }
        };
        self.net.close(id);
        Some(count)
    }

    /// Sends the close frame `frame`, closes the connection and informs the session. `net` discards the peer's close frame.
    pub(super) fn close_websocket(&mut self, id: ConnId, session: SessionId, frame: Bytes) {
        self.net.push(id, frame);
        self.net.close(id);
        self.io.engine.connection_lost(id, session);
    }
}
