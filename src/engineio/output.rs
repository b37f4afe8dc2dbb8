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
    /// Why a session ended. Its row: the label in metrics, and the code of the close frame (RFC 6455, section 7.4.1),
    /// or `None` if no close frame is sent.
    CloseReason: (&'static str, Option<u16>);
    /// The client sent a close packet (`1`).
    ClientClose = ("client_close", None);
    /// The connection of the client was lost.
    TransportClose = ("transport_close", None);
    /// The client misused the transport: it sent overlapping requests.
    TransportError = ("transport_error", Some(1008));
    /// The client did not answer a ping in time, or (protocol 3) did not send a ping in time.
    PingTimeout = ("ping_timeout", Some(1001));
    /// The client sent a malformed or unexpected packet.
    ParseError = ("parse_error", Some(1002));
    /// The client reached a limit, such as `max_queue` (it does not read) or `event_burst` (it floods).
    Evicted = ("evicted", Some(1008));
    /// The server closed the session.
    ServerClose = ("server_close", Some(1001));
}

/// Counters since the start of the server, for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages received from clients.
    pub received: u64,
    /// Messages sent to clients, counted once per recipient.
    pub sent: u64,
    /// Sessions closed, by [`CloseReason`].
    pub closed: [u64; CloseReason::TABLE.len()],
    /// Requests refused, by [`Refusal`].
    pub refused: [u64; Refusal::TABLE.len()],
}

/// An event of a session, for `socketio`.
#[derive(Debug)]
pub enum SessionEvent {
    /// The session is open: messages can be sent to it from now on.
    Opened(SessionId),
    Message(SessionId, Data),
    /// The session has ended. No event with this id follows.
    Closed(SessionId, CloseReason),
}

/// An instruction to `server` about a connection.
#[derive(Debug)]
pub enum EngineOutput {
    /// Send this response to the request that waits on this connection.
    Answer(ConnId, Response),
    /// Send these bytes, a whole WebSocket frame.
    Frame(ConnId, Bytes),
    /// Close the connection after its outbox has been sent.
    Close(ConnId),
    /// Close the connection at the end of the turn, even if its outbox is not empty.
    Abort(ConnId),
}

/// The effects of sessions on the layers above and below, each queue in order of time.
#[derive(Default)]
pub struct Out {
    pub events: VecDeque<SessionEvent>,
    pub outputs: VecDeque<EngineOutput>,
    pub counters: Counters,
    pub limits: Limits,
    /// The entries of the queues of all polling sessions.
    pub pool: Pool,
    /// Sessions that have a parked GET and packets to answer it with at the end of the turn.
    pub(super) ready: Vec<SessionId>,
}
