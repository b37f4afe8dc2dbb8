//! The protocol of a connection, and the state that the protocol keeps between two reads. Part of `server`.

use crate::base::slab::SessionId;
#[cfg(feature = "redis")]
use crate::cluster::link::Role;
use crate::engineio::packet::Packet;
use crate::http::Parser;
use crate::net::State;
use crate::ws::Incoming;

/// The protocol of a connection. Every accepted connection begins with HTTP; an upgrade makes it a WebSocket.
#[repr(u8)]
pub enum Protocol {
    Http {
        parser: Parser,
        /// The request that has not been answered yet; `None` if there is none.
        exchange: Option<Box<Exchange>>,
    },
    WebSocket {
        session: SessionId,
        incoming: Incoming,
        /// Set when the server has sent a close frame: the bytes that are still skipped before the client's close frame.
        closing: Option<usize>,
    },
    /// A link of the cluster, opened by this server.
    #[cfg(feature = "redis")]
    Redis(Role),
}

impl Default for Protocol {
    fn default() -> Self {
        Protocol::Http { parser: Parser::default(), exchange: None }
    }
}

impl State for Protocol {
    fn held(&self) -> usize {
        match self {
            Protocol::Http { exchange, .. } => match exchange.as_ref().map(|exchange| &exchange.body) {
                Some(Body::Arriving(part)) => part.capacity(),
                Some(Body::Posted(posted)) => posted.held,
                Some(Body::None) | None => 0,
            },
            Protocol::WebSocket { incoming, .. } => incoming.held(),
            #[cfg(feature = "redis")]
            Protocol::Redis(_) => 0,
        }
    }
}

impl Protocol {
    /// Whether the peer is a client, and not Redis.
    pub fn is_client(&self) -> bool {
        matches!(self, Protocol::Http { .. } | Protocol::WebSocket { .. })
    }

    /// Whether packets of a POST are still to be handled, because the last turn had no steps left for them.
    pub fn has_packets(&self) -> bool {
        matches!(self, Protocol::Http { exchange: Some(exchange), .. } if matches!(exchange.body, Body::Posted(_)))
    }

    /// Returns the session that the connection belongs to at present, if any.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Protocol::WebSocket { session, .. } => Some(*session),
            Protocol::Http { exchange, .. } => exchange.as_ref()?.session,
            #[cfg(feature = "redis")]
            Protocol::Redis(_) => None,
        }
    }
}

/// The body of a request.
#[derive(Default)]
pub enum Body {
    /// The request has no body, or it is handled.
    #[default]
    None,
    /// The part that has arrived.
    Arriving(Vec<u8>),
    Posted(Box<Posted>),
}

/// The packets of a body that are not handled yet. Each takes one of the steps that a connection has in a turn (see `input`).
pub struct Posted {
    pub packets: std::vec::IntoIter<Packet>,
    /// Bytes that `packets` counts as in the account: the body that they are slices of, and the `Packet` values.
    pub held: usize,
}

/// A request between its head and its response. The default is for a request whose head could not be parsed.
#[derive(Default)]
pub struct Exchange {
    /// The session that the response comes from; `None` if `server` answers the request itself.
    pub session: Option<SessionId>,
    pub body: Body,
    /// Whether the body is `application/octet-stream`.
    pub binary: bool,
    /// Whether the request is a HEAD, so that the response has no body.
    pub head_only: bool,
    /// Whether the request is HTTP/1.0.
    pub old: bool,
    /// Whether the connection may serve another request after this one.
    pub keep_alive: bool,
    /// Header lines of the response that let a page of another origin read it; empty for pages of our own.
    pub cors: Box<str>,
}
