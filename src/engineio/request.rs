//! What a request head asks the engine for.

use super::packet::Version;
use crate::base::id::Id;
use crate::base::slab::{ConnId, SessionId};
use crate::http::Response;
use bytes::Bytes;
use std::net::IpAddr;

/// What `server` does after it has shown a request head to [`Engine::request`].
#[derive(Debug)]
pub enum Next {
    Answer(Response),
    /// Waits for an [`EngineOutput`]; the connection belongs to the session meanwhile.
    Wait(SessionId),
    /// Reads the body and brings it to [`Engine::body`].
    Body(SessionId),
    /// Sends these bytes (a 101 response); what follows are WebSocket frames.
    WebSocket(SessionId, Bytes),
}

/// The errors of the reference: code and message, sent as JSON with status 400 (403 for `Forbidden`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `transport` is missing, unknown, not allowed here or given twice.
    UnknownTransport = 0,
    /// There is no such session (any more).
    UnknownSid = 1,
    /// A method that is neither GET nor POST, or a handshake that is not a GET.
    BadMethod = 2,
    /// Anything else.
    BadRequest = 3,
    /// The origin is not allowed.
    Forbidden = 4,
    /// `EIO` is missing or not a version we speak.
    UnsupportedProtocol = 5,
}

impl Refusal {
    /// The name that metrics use, and the message.
    pub const TABLE: [(&str, &str); 6] = [
        ("unknown_transport", "Transport unknown"),
        ("unknown_sid", "Session ID unknown"),
        ("bad_method", "Bad handshake method"),
        ("bad_request", "Bad request"),
        ("forbidden", "Forbidden"),
        ("unsupported_protocol", "Unsupported protocol version"),
    ];

    /// The answer; to one who wanted a WebSocket (`upgrade`) the reference sends the plain message.
    pub fn response(self, upgrade: bool) -> Response {
        let (_, message) = Refusal::TABLE[self as usize];
        let status = if self == Refusal::Forbidden { 403 } else { 400 };
        let response = Response::new(status).header("Cache-Control", "no-store");
        if upgrade {
            return response.body("text/html", message).close();
        }
        response.body("application/json", format!("{{\"code\":{},\"message\":\"{message}\"}}", self as u8))
    }
}

/// What is known of a client since the handshake.
#[derive(Clone, Copy, Debug)]
pub struct ClientInfo {
    pub sid: Id,
    pub version: Version,
    /// It cannot take the binary payloads of older protocols: `b64=1`, or JSONP.
    pub base64: bool,
    /// It takes more than 16 packets in one payload.
    pub many: bool,
    /// Its messages are not Socket.IO.
    pub plain: bool,
    /// It knows connection state recovery.
    pub recovers: bool,
    /// Whose it is, as far as a proxy has told.
    pub address: IpAddr,
}

/// A GET that waits for packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Poll {
    pub conn: ConnId,
    /// The callback number of a JSONP request.
    pub jsonp: Option<u32>,
    /// A compressed answer is welcome.
    pub gzip: bool,
}
