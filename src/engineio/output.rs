//! The output of the engine: queued events for `socketio`, queued outputs for `server`, and counters.

use crate::base::limits::Limits;
use crate::base::queue::Pool;
use crate::base::slab::{ConnId, SessionId};
use crate::base::table::table;
use crate::config::Config;
use crate::engineio::packet::Data;
use crate::engineio::request::Refusal;
use crate::http::Response;
use bytes::Bytes;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

/// The code of a close frame that has no particular reason (RFC 6455 section 7.4.1).
pub(super) const NORMAL: u16 = 1000;

table! {
    /// Why a session was closed. The row of a reason: its label in metrics, and the code of the WebSocket close frame (RFC
    /// 6455 section 7.4.1), or `None` if no close frame is sent.
    CloseReason: (&'static str, Option<u16>);
    /// The client sent a close packet (`1`).
    ClientClose = ("client_close", Some(NORMAL));
    /// The client's WebSocket, parked GET or unfinished POST was lost, or the client has recovered in a new session.
    TransportClose = ("transport_close", None);
    /// The client sent overlapping requests: two GETs or two POSTs at a time.
    TransportError = ("transport_error", Some(1008));
    /// The client did not answer a ping in time (protocol 4), or did not send one in time (protocols 2 and 3).
    PingTimeout = ("ping_timeout", Some(1001));
    /// The client sent a malformed or unexpected packet, or did not send all attachments of a packet in time.
    ParseError = ("parse_error", Some(1002));
    /// The client exceeded `max_queue` while it polled, or twice `event_burst`, or held most while `max_held` was exceeded.
    Evicted = ("evicted", Some(1008));
    /// The server closed the session, for example because it stops.
    ServerClose = ("server_close", Some(1001));
}

/// An event of a session, for `socketio`.
#[derive(Debug)]
pub enum SessionEvent {
    /// The session is open: messages can be sent to it from now on.
    Opened(SessionId),
    Message(SessionId, Data),
    /// The client has sent a ping, which counts towards its rate limit.
    Ping(SessionId),
    /// The session, of a client at this address, has ended. No event with this id follows.
    Closed(SessionId, CloseReason, IpAddr),
}

/// An instruction to `server` about a connection.
#[derive(Debug)]
pub enum EngineOutput {
    /// Send this response to the request that waits on this connection.
    Answer(ConnId, Response),
    /// Send these bytes, a whole WebSocket frame.
    Frame(ConnId, Bytes),
    /// Close the connection after its outbox has been sent. A WebSocket gets a close frame with this code, if there is one.
    Close(ConnId, Option<u16>),
}

/// The output of all sessions. `events` and `outputs` are in order of time. The counters begin at the start of the server.
#[derive(Default)]
pub struct Out {
    pub events: VecDeque<SessionEvent>,
    pub outputs: VecDeque<EngineOutput>,
    pub limits: Limits,
    /// The packets in the queues of all sessions.
    pub pool: Pool,
    /// The sessions whose parked GET is to be answered with queued packets at the end of the turn.
    pub(super) ready: Vec<SessionId>,
    /// Number of messages received from clients.
    pub received: u64,
    /// Number of messages sent to clients, counted once per recipient.
    pub sent: u64,
    /// Number of sessions closed, indexed by [`CloseReason`].
    pub closed: [u64; CloseReason::TABLE.len()],
    /// Number of requests refused, indexed by [`Refusal`].
    pub refused: [u64; Refusal::TABLE.len()],
}

/// The arguments of a transition besides the session: its id, the time, the options, and the queues for the output.
pub(super) struct Context<'a> {
    pub id: SessionId,
    pub now: Instant,
    pub config: &'a Config,
    pub out: &'a mut Out,
}
