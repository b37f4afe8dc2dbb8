//! What the engine leaves in its queues: events for `socketio`, outputs for `net`; and what it counts.

use crate::base::limits::Limits;
use crate::base::queue::Pool;
use crate::base::slab::{ConnId, SessionId};
use crate::engineio::packet::Data;
use crate::http::Response;
use bytes::Bytes;
use std::collections::VecDeque;

/// Why a session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client said so: packet `1`.
    ClientClose,
    /// Its connection is gone.
    TransportClose,
    /// It used the transport in a way that cannot be: overlapping requests.
    TransportError,
    /// It did not answer a ping, or (protocol 3) did not ping.
    PingTimeout,
    /// It sent what cannot be understood.
    ParseError,
    /// More was queued for it than `max_queue`.
    Evicted,
    /// We closed it.
    ServerClose,
}

/// What has happened since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages of clients.
    pub received: u64,
    /// Messages to clients, each recipient counted.
    pub sent: u64,
    /// Sessions that have ended, by [`CloseReason`].
    pub ended: [u64; 7],
    /// Requests that were refused, by [`Refusal`].
    pub refused: [u64; 6],
}

impl CloseReason {
    /// The name that metrics use, and the code of the close frame (RFC 6455 section 7.4.1), if there is somebody to be told.
    pub const TABLE: [(&str, Option<u16>); 7] = [
        ("client_close", None),
        ("transport_close", None),
        ("transport_error", Some(1008)),
        ("ping_timeout", Some(1001)),
        ("parse_error", Some(1002)),
        ("evicted", Some(1008)),
        ("server_close", Some(1001)),
    ];

    pub(super) fn close_code(self) -> Option<u16> {
        CloseReason::TABLE[self as usize].1
    }
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
