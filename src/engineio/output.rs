//! What the engine leaves in its queues: events for `socketio`, outputs for `net`; and what it counts.

use crate::base::limits::Limits;
use crate::base::queue::Pool;
use crate::base::slab::{ConnId, SessionId};
use crate::base::table::table;
use crate::engineio::packet::Data;
use crate::engineio::request::Refusal;
use crate::http::Response;
use bytes::Bytes;
use std::collections::VecDeque;

table! {
    /// Why a session ended. Its row: the label in metrics, and the code of the close frame (RFC 6455, section 7.4.1); no
    /// code where no close frame is sent.
    CloseReason: (&'static str, Option<u16>);
    /// The client sent a close packet (`1`).
    ClientClose = ("client_close", None);
    /// Its connection was lost.
    TransportClose = ("transport_close", None);
    /// It misused the transport: overlapping requests.
    TransportError = ("transport_error", Some(1008));
    /// It did not answer a ping, or (protocol 3) did not send one.
    PingTimeout = ("ping_timeout", Some(1001));
    /// It sent something malformed.
    ParseError = ("parse_error", Some(1002));
    /// It reached a limit: `max_queue` (it does not read) or `event_burst` (it floods).
    Evicted = ("evicted", Some(1008));
    /// The server closed it.
    ServerClose = ("server_close", Some(1001));
}

impl CloseReason {
    pub(super) fn close_code(self) -> Option<u16> {
        self.row().1
    }
}

/// Counters since the start, for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages from clients.
    pub received: u64,
    /// Messages to clients, counted once per recipient.
    pub sent: u64,
    /// Sessions closed, by [`CloseReason`].
    pub ended: [u64; CloseReason::TABLE.len()],
    /// Requests refused, by [`Refusal`].
    pub refused: [u64; Refusal::TABLE.len()],
}

/// What happened to a session.
#[derive(Debug)]
pub enum SessionEvent {
    /// It is there; messages can be sent.
    Opened(SessionId),
    Message(SessionId, Data),
    /// It has ended: the last event of its id.
    Closed(SessionId, CloseReason),
}

/// What is to be done with a connection.
#[derive(Debug)]
pub enum EngineOutput {
    Answer(ConnId, Response),
    /// Send a ready WebSocket frame.
    Frame(ConnId, Bytes),
    /// Close it when all that was queued has left.
    Close(ConnId),
    /// Close it without a word.
    Abort(ConnId),
}

/// What sessions leave for those above and below, in the order in which it came about.
#[derive(Default)]
pub struct Out {
    pub events: VecDeque<SessionEvent>,
    pub outputs: VecDeque<EngineOutput>,
    pub counters: Counters,
    pub limits: Limits,
    /// The entries of all polling queues.
    pub pool: Pool,
    /// Sessions whose parked GET may have something to carry at the end of the turn.
    pub(super) ready: Vec<SessionId>,
}
