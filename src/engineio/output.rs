//! The queues of the engine: events for `socketio` and outputs for `net`; and its counters.

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

/// Counters since the start, for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages from clients.
    pub received: u64,
    /// Messages to clients, counted once per recipient.
    pub sent: u64,
    /// Sessions closed, by [`CloseReason`].
    pub closed: [u64; CloseReason::TABLE.len()],
    /// Requests refused, by [`Refusal`].
    pub refused: [u64; Refusal::TABLE.len()],
}

/// What happened to a session.
#[derive(Debug)]
pub enum SessionEvent {
    /// Messages can be sent from now on.
    Opened(SessionId),
    Message(SessionId, Data),
    /// The last event of this id.
    Closed(SessionId, CloseReason),
}

/// What `server` does with a connection for the engine.
#[derive(Debug)]
pub enum EngineOutput {
    /// Sends the answer to the request that waits.
    Answer(ConnId, Response),
    /// Sends these bytes, a whole WebSocket frame.
    Frame(ConnId, Bytes),
    /// Closes it after its outbox has been sent.
    Close(ConnId),
    /// Closes it at the end of the turn, whatever is queued.
    Abort(ConnId),
}

/// What sessions leave for the layers above and below, each queue in the order of its causes.
#[derive(Default)]
pub struct Out {
    pub events: VecDeque<SessionEvent>,
    pub outputs: VecDeque<EngineOutput>,
    pub counters: Counters,
    pub limits: Limits,
    /// The entries of the queues of all polling sessions.
    pub pool: Pool,
    /// Sessions with packets for their parked GET, to be answered at the end of the turn.
    pub(super) ready: Vec<SessionId>,
}
