//! Interprets the heads of Engine.IO requests: each is a handshake, an upgrade, a poll or a POST, or is refused.

use super::packet::Version;
use super::v3::{self, Framing};
use crate::base::id::Id;
use crate::base::slab::{ConnId, SessionId};
use crate::base::table::table;
use crate::base::text::is_same_secret;
use crate::config::{Config, Recovery};
use crate::http::{self, Method, RequestHead, Response};
use crate::ws;
use bytes::Bytes;
use std::collections::HashMap;
use std::net::IpAddr;

/// What `server`, the caller of [`Engine::handle_request`], must do next with the connection of the request.
#[derive(Debug)]
pub enum Next {
    Answer(Response),
    /// The caller must wait for an [`EngineOutput`] for the connection, which belongs to the session until then.
    Wait(SessionId),
    /// The caller must read the body of the request and pass it to [`Engine::decode_body`].
    Body(SessionId),
    /// The caller must send these bytes (a 101 response). After them, the connection carries WebSocket frames.
    WebSocket(SessionId, Bytes),
}

table! {
    /// Why a request is refused: the errors of the reference implementation, in the order of their codes. The response has
    /// status 400 (`Forbidden`: 403). The row of an error: its label in metrics, and its message.
    Refusal: (&'static str, &'static str);
    /// `transport` is missing, unknown, or not allowed by the option `transports`.
    UnknownTransport = ("unknown_transport", "Transport unknown");
    /// There is no session with this `sid`, or the session has ended.
    UnknownSid = ("unknown_sid", "Session ID unknown");
    /// The method is neither GET nor POST, or the handshake is not a GET.
    BadMethod = ("bad_method", "Bad handshake method");
    /// The request is wrong in any other way.
    BadRequest = ("bad_request", "Bad request");
    /// The origin of the page is not allowed.
    Forbidden = ("forbidden", "Forbidden");
    /// `EIO` is missing, or not a version that the server accepts.
    UnsupportedProtocol = ("unsupported_protocol", "Unsupported protocol version");
}

impl Refusal {
    /// Returns the response: JSON, but for a WebSocket upgrade the bare message, as in the reference.
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

/// A client, as its handshake describes it.
#[derive(Clone, Copy, Debug)]
pub struct ClientInfo {
    pub sid: Id,
    pub version: Version,
    /// How payloads of protocols 2 and 3 are framed for the client.
    pub framing: Framing,
    /// The client uses JSONP: it has opened the session with `j`.
    pub jsonp: bool,
    /// The client accepts more than 16 packets in one payload.
    pub long_payloads: bool,
    /// The session carries plain messages instead of Socket.IO (see `App::plain_path`).
    pub plain: bool,
    /// The client uses connection state recovery.
    pub recovers: bool,
    /// Whether the query of the handshake has the right password (see `socketio/door`); `None` if it has none.
    pub password: Option<bool>,
    /// The address of the TCP peer, or the one that a trusted proxy has forwarded.
    pub address: IpAddr,
}

/// A GET that is parked until there are packets to answer it with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Poll {
    pub conn: ConnId,
    /// The callback number of a JSONP request; `None` for any other request.
    pub jsonp: Option<u32>,
    /// The client accepts a response compressed with gzip.
    pub gzip: bool,
}

pub(super) enum Request {
    Handshake(Handshake),
    /// A request for a WebSocket that is to take over this session from polling.
    Upgrade(SessionId),
    /// A GET for packets of this session, with the callback number if it is a JSONP request.
    Poll(SessionId, Option<u32>),
    Post(SessionId),
}

/// A request without a sid, which starts a session. See [`ClientInfo`] and [`Poll`] for the fields other than `websocket`.
pub(super) struct Handshake {
    pub websocket: bool,
    pub jsonp: Option<u32>,
    pub version: Version,
    pub framing: Framing,
    pub long_payloads: bool,
    pub recovers: bool,
    pub password: Option<bool>,
}

/// Interprets a request head; `sids` has the session of each sid. The order of the checks decides which error a client sees.
pub(super) fn read(head: &RequestHead, config: &Config, sids: &HashMap<Id, SessionId>) -> Result<Request, Refusal> {
    let names = ["transport", "sid", "j", "EIO", "b64", "t", "recovery"];
    let [transport, sid, jsonp, version, base64, timestamp, recovery] = http::parameters(head.query, names);
    let websocket = match transport.as_deref() {
        Some("polling") if config.transports.polling => false,
        Some("websocket") if config.transports.websocket => true,
        _ => return Err(Refusal::UnknownTransport),
    };
    // As in the reference, an empty sid is none.
    let session = match sid.as_deref().unwrap_or_default() {
        "" => None,
        sid => Some(Id::parse(sid).and_then(|sid| sids.get(&sid).copied()).ok_or(Refusal::UnknownSid)?),
    };
    let post = match head.method {
        Method::Get => false,
        Method::Post if session.is_some() => true,
        _ => return Err(Refusal::BadMethod),
    };
    if websocket != ws::is_upgrade(head) {
        return Err(Refusal::BadRequest);
    }
    let jsonp = jsonp.map(|callback| v3::digits(&callback).ok_or(Refusal::BadRequest)).transpose()?;
    if let Some(id) = session {
        return Ok(match (websocket, post) {
            (true, _) => Request::Upgrade(id),
            (_, true) => Request::Post(id),
            (_, false) => Request::Poll(id, jsonp),
        });
    }
    let version = match (version.as_deref(), config.old_clients) {
        (Some("4"), _) => Version::V4,
        (Some("3"), true) => Version::V3,
        (Some("2"), true) => Version::V2,
        _ => return Err(Refusal::UnsupportedProtocol),
    };
    let framing = match version {
        _ if jsonp.is_some() || base64.as_deref() == Some("1") => Framing::Text,
        Version::V2 => Framing::Binary,
        _ if timestamp.is_some_and(|timestamp| is_of_1_3(&timestamp)) => Framing::Binary,
        _ => Framing::ByContent,
    };
    // Browsers accept any number of packets in a payload. python-engineio does not, and other clients may have limits too.
    let agent = head.header("User-Agent").unwrap_or_default();
    let long_payloads = agent.starts_with(b"Mozilla/");
    // Recovery adds the offset to the arguments of each event, and a handler that does not expect it may fail. So `auto` is
    // for clients that are known to use the offset, and for those that ask for recovery.
    let recovers = match (config.recovery, recovery.as_deref()) {
        _ if version != Version::V4 => false,
        (Recovery::Off, _) | (_, Some("0")) => false,
        (Recovery::Always, _) | (_, Some("1")) => true,
        (Recovery::Auto, _) => long_payloads || agent.starts_with(b"node-XMLHttpRequest"),
    };
    let password = config.password.as_deref().and_then(|password| {
        let [presented] = http::parameters(head.query, ["password"]);
        Some(is_same_secret(presented?.as_bytes(), password))
    });
    Ok(Request::Handshake(Handshake { websocket, jsonp, version, framing, long_payloads, recovers, password }))
}

/// Whether the timestamp of a request, the parameter `t`, is from socket.io-client 1.0 to 1.3: milliseconds, a dash and a
/// counter. Later clients send letters.
fn is_of_1_3(timestamp: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    timestamp.split_once('-').is_some_and(|(time, count)| is_number(time) && is_number(count))
}
