//! Engine.IO: turns HTTP requests and WebSocket frames into sessions and their messages.
//!
//! [`Engine`] owns all sessions and finds them by sid. It has neither sockets nor a clock: `server` passes requests, frames
//! and the time to it, and then empties two queues. [`SessionEvent`]s go up to `socketio`; [`EngineOutput`]s are carried out
//! by `server`. Calls from the layers above (`send`, `close`) only enqueue (rule R5).
//!
//! This file answers each kind of request. It also applies the limits of new sessions (`max_connections`, `max_per_address`,
//! `max_held`), sends pings in groups, and closes all sessions before a stop (drain). `session` has the rules of one
//! session: heartbeat, upgrade, parked polls, the limit of its queue.
//! Source: docs/engine.io-protocol/ of the Socket.IO monorepo, v4-current.md and v3.md.

pub mod budget;
pub mod jsonp;
mod output;
pub mod packet;
mod payload;
mod request;
mod session;
pub mod v3;

use crate::base::held;
use crate::base::id::{Id, Ids};
use crate::base::limits::{Addresses, Limit};
use crate::base::logger::RateLimitedLog;
use crate::base::slab::{self, ConnId, SessionId, Slab};
use crate::base::timers::Timers;
use crate::config::{Config, TrustProxy};
use crate::http::{RequestHead, Response};
use crate::ws;
use budget::Budget;
use bytes::Bytes;
use output::Context;
pub use output::{CloseReason, EngineOutput, Out, SessionEvent};
use packet::{Data, Encoded, Packet, Version};
use payload::{Deflate, Payload};
pub use request::{ClientInfo, Next, Refusal};
use request::{Handshake, Poll, Request};
use session::Session;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// When a session's timer is due, all pings that are due within this time are sent too, so that one wake-up serves many
/// sessions. A ping may thus be sent early, but is not delayed.
const PING_WINDOW: Duration = Duration::from_millis(500);
/// Minimum `ping_interval` at which pings are sent in groups. With a shorter one, as in tests, each ping is sent when due.
const PING_WINDOW_FROM: Duration = Duration::from_secs(2);
/// Maximum time between the closing of two sessions while the server drains.
const DRAIN_STEP: Duration = Duration::from_millis(50);
/// Value of `Retry-After` in a 503 response, in seconds.
const RETRY_AFTER: &str = "5";

/// The Engine.IO layer: all sessions, the WebSocket budget and the queues to the other layers.
pub struct Engine {
    config: Config,
    sessions: Slab<slab::Session, Session>,
    sids: HashMap<Id, SessionId>,
    /// One timer per session, due at [`Session::next_deadline`]. When the first is due, [`Engine::expire`] is to be called.
    pub(crate) timers: Timers<SessionId>,
    pub out: Out,
    pub ids: Ids,
    /// The time at which the current turn of the event loop began, set by `server`.
    pub now: Instant,
    /// The gzip compressor, created for the first body that is compressed.
    deflate: Option<Deflate>,
    /// The WebSocket budget. `server` decrements its `used` when the connection of a WebSocket is gone.
    pub budget: Budget,
    /// Whether the server is about to stop. If so, handshakes are answered with 503.
    draining: bool,
    unknown_sids: RateLimitedLog,
    /// The number of sessions of each client address.
    addresses: Addresses,
}

impl Engine {
    /// Creates an engine without sessions. `ids` generates the sids.
    pub fn new(config: Config, ids: Ids, now: Instant) -> Engine {
        // Without `trust_proxy`, all clients behind a proxy on this host have its loopback address, so loopback is exempt
        // from the limit. With it, addresses are those of clients, and none is exempt.
        let trusts = config.trust_proxy != TrustProxy::NONE;
        Engine {
            budget: Budget::new(config.max_websockets),
            draining: false,
            unknown_sids: RateLimitedLog::default(),
            addresses: Addresses::new(if trusts { TrustProxy::Listed(Vec::new()) } else { TrustProxy::NONE }),
            config,
            sessions: Slab::default(),
            sids: HashMap::new(),
            timers: Timers::default(),
            out: Out::default(),
            ids,
            now,
            deflate: None,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    pub fn client(&self, id: SessionId) -> Option<ClientInfo> {
        Some(self.sessions.get(id)?.client)
    }

    /// Whether `more` sessions besides the existing ones would bring an address above `max_per_address`.
    pub fn exceeds_address(&self, address: IpAddr, more: usize) -> bool {
        self.addresses.exceeds(address, more, self.config.max_per_address)
    }

    /// Whether the client of a session speaks protocol 2 or 3 (`EIO=2` or `EIO=3`). `false` if the session is gone.
    pub fn is_old(&self, id: SessionId) -> bool {
        self.client(id).is_some_and(|client| client.version != Version::V4)
    }

    /// Counts and logs that the client of a session has reached a limit.
    pub fn hit(&mut self, limit: Limit, id: SessionId) {
        if let Some(client) = self.client(id) {
            self.out.limits.hit(limit, self.now, client.address);
        }
    }

    /// Returns all sessions, and the bytes that each has queued for its GETs.
    pub fn queues(&self) -> impl Iterator<Item = (usize, SessionId)> {
        self.sessions.iter().map(|(id, session)| (session.queue.held(), id))
    }

    /// Returns two numbers: sessions that poll, and sessions on a WebSocket.
    pub fn transports(&self) -> [usize; 2] {
        let websockets = self.sessions.iter().filter(|(_, session)| session.websocket.is_some()).count();
        [self.sessions.len() - websockets, websockets]
    }

    /// Runs `act` on a session, then sets the session's timer, or removes the session if it is gone. Returns the result of
    /// `act`; `None` if there is no such session.
    fn transition<R>(&mut self, id: SessionId, act: impl FnOnce(&mut Session, &mut Context) -> R) -> Option<R> {
        let session = self.sessions.get_mut(id)?;
        let mut cx = Context { id, now: self.now, config: &self.config, out: &mut self.out };
        let result = act(session, &mut cx);
        if session.is_gone() {
            self.timers.clear(id, &mut session.timer);
            self.budget.offers.remove(&id);
            self.sids.remove(&session.client.sid);
            self.addresses.release(session.client.address);
            self.sessions.remove(id);
            if self.sessions.is_empty() {
                self.sids.shrink_to_fit();
            }
        } else {
            let deadline = session.next_deadline();
            self.timers.set(id, &mut session.timer, deadline);
        }
        Some(result)
    }

    /// Handles the head of an Engine.IO request that came on `conn` from the client at `address`. `plain`: a new session
    /// does not carry Socket.IO. `busy`: a new session is refused, because more than `max_held` bytes are held.
    /// `Err` is the response that refuses the request.
    pub fn handle_request(
        &mut self, conn: ConnId, head: &RequestHead, plain: bool, address: IpAddr, busy: bool,
    ) -> Result<Next, Response> {
        match request::read(head, &self.config, &self.sids) {
            Ok(Request::Handshake(handshake)) => self.handshake(conn, head, handshake, plain, address, busy),
            Ok(Request::Upgrade(id)) => self.upgrade(conn, head, id),
            Ok(Request::Poll(id, jsonp)) => self.poll(head, id, Poll { conn, jsonp, gzip: head.accepts_gzip() }),
            Ok(Request::Post(id)) => self.post(conn, head, id),
            Err(refusal) => Err(self.refuse(refusal, head)),
        }
    }

    fn refuse(&mut self, refusal: Refusal, head: &RequestHead) -> Response {
        self.out.refused[refusal as usize] += 1;
        if refusal == Refusal::UnknownSid {
            let line = format_args!(
                "instance {} does not know the session of a request: it was restarted, or a load balancer sends the \
                 requests of one client to several instances; polling needs sticky sessions",
                self.config.instance
            );
            self.unknown_sids.warn(self.now, line);
        }
        refusal.response(ws::is_upgrade(head))
    }

    /// Starts a session. Answers 503 at a limit of new sessions, to a WebSocket above the budget, and during the drain.
    fn handshake(
        &mut self, conn: ConnId, head: &RequestHead, handshake: Handshake, plain: bool, address: IpAddr, busy: bool,
    ) -> Result<Next, Response> {
        let limit = match busy {
            true => Some(Limit::Memory),
            _ if self.sessions.len() >= self.config.max_connections => Some(Limit::Sessions),
            _ if self.addresses.count(address) >= self.config.max_per_address => Some(Limit::AddressSessions),
            _ => None,
        };
        limit.iter().for_each(|limit| self.out.limits.hit(*limit, self.now, address));
        if limit.is_some() || self.draining {
            return Err(unavailable());
        }
        let Handshake { websocket, jsonp, version, framing, long_payloads, recovers, password } = handshake;
        let accepted = websocket.then(|| ws::accept(head)).transpose()?;
        if websocket && !self.budget.open(None, self.now) {
            return Err(unavailable());
        }
        let sid = self.ids.fresh();
        let is_jsonp = jsonp.is_some();
        let client =
            ClientInfo { sid, version, framing, jsonp: is_jsonp, long_payloads, plain, recovers, password, address };
        let offered = self.config.transports.websocket && !websocket && self.budget.is_free(self.now);
        let open = held::share(format!(
            "0{{\"sid\":\"{sid}\",\"upgrades\":[{}],\"pingInterval\":{},\"pingTimeout\":{},\"maxPayload\":{}}}",
            if offered { "\"websocket\"" } else { "" },
            self.config.ping_interval.as_millis(),
            self.config.ping_timeout.as_millis(),
            self.config.max_payload
        ));
        let session = Session::new(client, websocket.then_some(conn), self.now);
        let id = self.sessions.insert(session);
        self.sids.insert(sid, id);
        self.addresses.acquire(address);
        if offered {
            self.budget.offer(id, self.now);
        }
        self.transition(id, |session, cx| match accepted {
            Some(response) => {
                session.start_on_websocket(open, cx);
                Ok(Next::WebSocket(id, response))
            }
            None => {
                session.finish_opening(cx);
                Ok(Next::Answer(Payload::new(&[open], &client, jsonp).response(None)))
            }
        })
        .expect("the session was inserted just now")
    }

    /// Accepts a WebSocket that is to take over session `id` from polling, if the WebSocket budget has room.
    fn upgrade(&mut self, conn: ConnId, head: &RequestHead, id: SessionId) -> Result<Next, Response> {
        let response = ws::accept(head)?;
        if !self.budget.open(Some(id), self.now) {
            return Err(unavailable());
        }
        // A session has at most one probe at a time, and none after the upgrade. As in the reference, any further WebSocket
        // is accepted and closed at once, so that the client does not see an HTTP error.
        if self.transition(id, |session, cx| session.probe(conn, cx)) != Some(true) {
            self.out.outputs.push_back(EngineOutput::Close(conn, Some(output::NORMAL)));
        }
        Ok(Next::WebSocket(id, response))
    }

    fn poll(&mut self, head: &RequestHead, id: SessionId, poll: Poll) -> Result<Next, Response> {
        match self.transition(id, |session, cx| session.poll(poll, cx)) {
            Some(true) => Ok(Next::Wait(id)),
            _ => Err(self.refuse(Refusal::BadRequest, head)),
        }
    }

    /// Handles the head of a POST. The body follows in a call of [`Engine::decode_body`].
    fn post(&mut self, conn: ConnId, head: &RequestHead, id: SessionId) -> Result<Next, Response> {
        match head.length {
            Some(0) if head.header("Content-Length").is_none() => return Err(Response::new(411)),
            Some(length) if length > self.config.max_payload as u64 => {
                self.hit(Limit::Payload, id);
                return Err(Response::new(413).close());
            }
            _ => {}
        }
        match self.transition(id, |session, cx| session.post(conn, cx)) {
            Some(true) => Ok(Next::Body(id)),
            _ => Err(self.refuse(Refusal::BadRequest, head)),
        }
    }

    /// Decodes the complete body of a POST for whose head [`Next::Body`] was returned. Returns the packets, which the caller
    /// passes one by one to [`Engine::receive_posted`], or `None` if this function has answered the POST with an error.
    /// `binary`: the Content-Type is `application/octet-stream`. A form is read only from clients of JSONP, and from them
    /// whatever its type: curl and other programs call any body a form. A foreign page gains nothing by it: it knows no sid.
    pub fn decode_body(&mut self, conn: ConnId, id: SessionId, body: Vec<u8>, binary: bool) -> Option<Vec<Packet>> {
        let Some(client) = self.client(id) else {
            let response = Refusal::UnknownSid.response(false);
            self.out.outputs.push_back(EngineOutput::Answer(conn, response));
            return None;
        };
        let (body, binary) = (Bytes::from(body), binary && !client.jsonp);
        let most = self.config.max_packets;
        let decode = |body| match client.version {
            Version::V4 if binary => Err(packet::Invalid("a binary body in protocol 4")),
            Version::V4 => packet::decode_payload(body, most),
            _ => v3::decode_payload(body, binary, most),
        };
        let decoded = if client.jsonp { jsonp::decode(&body).and_then(decode) } else { decode(body) };
        let (limit, why) = match decoded {
            Ok(packets) if packets.len() <= most => return Some(packets),
            Ok(_) => (Limit::Packets, "too many packets"),
            Err(packet::Invalid(why)) => (Limit::Packet, why),
        };
        log::debug!("invalid payload in a POST: {why}");
        self.hit(limit, id);
        self.end_post(conn, id, Refusal::BadRequest.response(false), false);
        None
    }

    /// Handles the next packet of a POST. If `packet` is `None` or the session closed, answers the POST and returns `false`.
    pub fn receive_posted(&mut self, conn: ConnId, id: SessionId, packet: Option<Packet>) -> bool {
        let received = packet.and_then(|packet| self.transition(id, |session, cx| session.receive_posted(packet, cx)));
        if received != Some(true) {
            // As in the reference, the type is `text/html`: old JSONP clients load this response into an iframe.
            let response = Response::new(200).header("Cache-Control", "no-store").body("text/html", "ok");
            self.end_post(conn, id, response, true);
        }
        received == Some(true)
    }

    fn end_post(&mut self, conn: ConnId, id: SessionId, response: Response, valid: bool) {
        self.transition(id, |session, cx| session.end_post(valid, cx));
        self.out.outputs.push_back(EngineOutput::Answer(conn, response));
    }

    /// Ends a POST for whose head [`Next::Body`] was returned, because its chunked body turned out to be too large. The
    /// session stays open, as it does if the head announces too large a body.
    pub fn refuse_body(&mut self, id: SessionId) {
        self.transition(id, |session, _| session.post = None);
    }

    /// Handles a WebSocket message that arrived on `conn`, which was accepted for session `id`.
    pub fn receive_frame(&mut self, conn: ConnId, id: SessionId, data: Data) {
        let Some(client) = self.client(id) else {
            return self.out.outputs.push_back(EngineOutput::Close(conn, Some(output::NORMAL)));
        };
        let decoded = match (client.version, data) {
            (Version::V4, Data::Text(text)) => packet::decode(text),
            (Version::V4, data) => Ok(Packet::Message(data)),
            (old, data) => v3::decode_frame(data, old),
        };
        if decoded.is_err() {
            self.hit(Limit::Packet, id);
        }
        self.transition(id, |session, cx| session.receive_frame(conn, decoded.ok(), cx));
    }

    /// Handles the end of `conn`, a connection that belonged to session `id`.
    pub fn connection_lost(&mut self, conn: ConnId, id: SessionId) {
        self.transition(id, |session, cx| session.connection_lost(conn, cx));
    }

    pub fn send(&mut self, id: SessionId, message: &Encoded) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.send(message, &mut Context { id, now: self.now, config: &self.config, out: &mut self.out });
        // The timer is not touched, because `send` runs for every recipient of a broadcast, and sending moves no deadline.
        // But if the queue has overflowed, the session is closed, and `transition` removes it.
        if session.is_gone() {
            self.transition(id, |_, _| ());
        }
    }

    /// Closes a session. `socketio` gets [`SessionEvent::Closed`] later, from the queue (rule R5).
    pub fn close(&mut self, id: SessionId, reason: CloseReason) {
        self.transition(id, |session, cx| session.close(reason, cx));
    }

    /// Refuses new sessions from now on, and closes all existing sessions within `time`: one after the other, mostly the
    /// newest first, so that their clients do not all reconnect at once.
    pub fn begin_drain(&mut self, time: Duration) {
        self.draining = true;
        let ids = self.sessions.keys();
        let step = (time / ids.len().max(1) as u32).min(DRAIN_STEP);
        for (number, id) in (0..).zip(ids.into_iter().rev()) {
            let at = self.now + step * number;
            self.transition(id, |session, _| session.drain_at = Some(at).filter(|_| !session.is_closed()));
        }
        self.expire();
    }

    /// Handles due timers. If there was one, and the ping interval is at least [`PING_WINDOW_FROM`], also sends the pings
    /// that are due within [`PING_WINDOW`], so that the loop wakes up less often.
    pub fn expire(&mut self) {
        let mut any = false;
        while let Some((_, id)) = self.timers.pop_due(self.now) {
            self.transition(id, |session, cx| session.expire(cx));
            any = true;
        }
        if any && self.config.ping_interval >= PING_WINDOW_FROM {
            let by = self.now + PING_WINDOW;
            for id in self.timers.due_by(by) {
                self.transition(id, |session, cx| session.ping(by, cx));
            }
        }
    }

    /// Answers the parked GETs of sessions with queued packets. Called at the end of a turn, so that one response can carry
    /// all packets of the turn. A payload that consecutive sessions share is encoded once.
    pub fn flush(&mut self) {
        let mut ready = std::mem::take(&mut self.out.ready);
        let mut packets = Vec::new();
        let mut last: Option<Payload> = None;
        for id in ready.drain(..) {
            let taken = self.transition(id, |session, cx| (session.take_payload(&mut packets, cx), session.client));
            let Some((Some(poll), client)) = taken else { continue };
            let payload = match &mut last {
                Some(payload) if payload.is_of(&packets, &client, poll.jsonp) => payload,
                last => last.insert(Payload::new(&packets, &client, poll.jsonp)),
            };
            let response = payload.response(poll.gzip.then_some(&mut self.deflate));
            self.out.outputs.push_back(EngineOutput::Answer(poll.conn, response));
        }
        // The loop adds no session to `out.ready`: a session whose GET was just answered has no other parked GET.
        self.out.ready = ready;
    }
}

/// Returns the response to a handshake or an upgrade that the server has no room for, or to a handshake while it drains.
fn unavailable() -> Response {
    Response::new(503).header("Retry-After", RETRY_AFTER).close()
}

#[cfg(debug_assertions)]
#[path = "../../tests/seams/engine.rs"]
mod check;
