//! What a request head asks the engine for.

use super::packet::Version;
use crate::base::id::Id;
use crate::base::slab::{ConnId, SessionId};
use crate::base::table::table;
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

table! {
    /// The errors of the reference implementation, in the order of their codes. They are sent as JSON with status 400 (403
    /// for `Forbidden`). The row: the label in metrics, and the message.
    Refusal: (&'static str, &'static str);
    /// `transport` is missing, unknown, not allowed here or given twice.
    UnknownTransport = ("unknown_transport", "Transport unknown");
    /// No session has this sid (any more).
    UnknownSid = ("unknown_sid", "Session ID unknown");
    /// The method is neither GET nor POST, or the handshake is not a GET.
    BadMethod = ("bad_method", "Bad handshake method");
    /// Anything else.
    BadRequest = ("bad_request", "Bad request");
    /// The origin is not allowed.
    Forbidden = ("forbidden", "Forbidden");
    /// `EIO` is missing, or not a supported version.
    UnsupportedProtocol = ("unsupported_protocol", "Unsupported protocol version");
}

impl Refusal {
    /// The response. A refused WebSocket upgrade gets the bare message as text, as in the reference.
    pub fn response(self, upgrade: bool) -> Response {
        let (_, message) = self.row();
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
