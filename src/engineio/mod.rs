//! Engine.IO: HTTP requests and WebSocket frames in, sessions with messages out.
//!
//! [`Engine`] owns all sessions, finds them by sid, and knows neither sockets nor a clock: it is told what
//! happened and leaves [`Event`]s for `socketio` above and [`EngineOutput`]s for `net` below in two queues, which
//! `server` empties. Calls from above (`send`, `close`) only enqueue.
//! Source: docs/engine.io-protocol/ of the Socket.IO monorepo, v4-current.md and v3.md.

pub mod budget;
pub mod jsonp;
mod output;
pub mod packet;
mod payload;
mod request;
mod session;
pub mod v3;

use crate::base::id::{Id, Ids};
use crate::base::limits::{Addresses, Limit};
use crate::base::logger::RateLimitedLog;
use crate::base::slab::{self, ConnId, SessionId, Slab};
use crate::base::timers::Timers;
use crate::config::{Config, Recovery};
use crate::http::{self, Framing, Method, RequestHead, Response};
use crate::ws;
use budget::Budget;
use bytes::Bytes;
pub use output::{CloseReason, Counters, EngineOutput, Out, SessionEvent};
use packet::{Data, Encoded, Packet, Version};
use payload::{Deflate, Payload};
use request::Poll;
pub use request::{ClientInfo, Next, Refusal};
use session::{Session, Turn};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Pings that are due within this time leave together: one wake-up for many. A ping may be early, no deadline is ever late.
const GATHER: Duration = Duration::from_millis(500);
/// Shorter intervals are left alone: they are those of tests.
const GATHER_FROM: Duration = Duration::from_secs(2);
/// The longest time from one client that is sent away to the next, when there are few.
const FAREWELL: Duration = Duration::from_millis(50);
/// What a client that is refused for now is told to wait, in seconds.
const RETRY_AFTER: &str = "5";

/// All sessions.
pub struct Engine {
    config: Config,
    sessions: Slab<slab::Session, Session>,
    sids: HashMap<Id, SessionId>,
    timers: Timers<SessionId>,
    pub out: Out,
    pub ids: Ids,
    /// The time of the turn.
    pub now: Instant,
    /// Made for the first client that accepts gzip.
    deflate: Option<Deflate>,
    /// `server` tells it when a connection that had a WebSocket is closed.
    pub budget: Budget,
    /// No new sessions: the server is about to stop.
    draining: bool,
    unknown_sids: RateLimitedLog,
    /// Sessions of each address.
    addresses: Addresses,
}

impl Engine {
    /// No sessions yet; `ids` is where sids come from.
    pub fn new(config: Config, ids: Ids, now: Instant) -> Engine {
        Engine {
            budget: Budget::new(config.max_websockets),
            draining: false,
            unknown_sids: RateLimitedLog::default(),
            addresses: Addresses::new(if config.trust_proxy { |_| false } else { IpAddr::is_loopback }),
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

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// The client of a session.
    pub fn client(&self, id: SessionId) -> Option<ClientInfo> {
        Some(self.sessions.get(id)?.client)
    }

    /// Whether the client of a session speaks protocol 2 or 3.
    pub fn is_old(&self, id: SessionId) -> bool {
        self.client(id).is_some_and(|client| client.version != Version::V4)
    }

    /// The client of a session has reached a limit.
    pub fn hit(&mut self, limit: Limit, id: SessionId) {
        if let Some(session) = self.sessions.get(id) {
            self.out.limits.hit(limit, self.now, session.client.address);
        }
    }

    /// How many timers run.
    pub fn timers(&self) -> usize {
        self.timers.len()
    }

    /// How many sessions poll, and how many have a WebSocket.
    pub fn transports(&self) -> [usize; 2] {
        let websockets = self.sessions.iter().filter(|(_, session)| session.has_websocket()).count();
        [self.sessions.len() - websockets, websockets]
    }

    /// When [`Engine::expire`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next().into_iter().chain(self.budget.next()).min()
    }

    /// Runs one transition of a session, and draws the consequences for the books.
    fn transition<R>(&mut self, id: SessionId, act: impl FnOnce(&mut Session, &mut Turn) -> R) -> Option<R> {
        let session = self.sessions.get_mut(id)?;
        let mut turn = Turn { id, now: self.now, config: &self.config, out: &mut self.out };
        let result = act(session, &mut turn);
        if session.is_gone() {
            self.timers.clear(id, &mut session.timer);
            self.budget.withdraw(id);
            self.sids.remove(&session.client.sid);
            self.addresses.release(session.client.address);
            self.sessions.remove(id);
            if self.sessions.is_empty() {
                self.sids.shrink_to_fit();
            }
        } else {
            let due = session.due();
            self.timers.set(id, &mut session.timer, due);
        }
        Some(result)
    }

    /// The head of a request for a path of Engine.IO. `conn` is the connection it came on; `plain`: sessions that
    /// begin here do not carry Socket.IO; `address` is the client's; `busy`: too much is queued for new sessions.
    pub fn request(&mut self, conn: ConnId, head: &RequestHead, plain: bool, address: IpAddr, busy: bool) -> Next {
        let upgrade = ws::is_upgrade(head);
        self.judge(conn, head, plain, address, busy).unwrap_or_else(|refusal| {
            self.out.counters.refused[refusal as usize] += 1;
            if refusal == Refusal::UnknownSid
                && let Some(more) = self.unknown_sids.allow(self.now)
            {
                let instance = &self.config.instance;
                log::warn!(
                    "instance {instance} does not know the session of a request ({more} more before): it was restarted, or \
                     a load balancer sends the requests of one client to several instances; polling needs sticky sessions"
                );
            }
            Next::Answer(refusal.response(upgrade))
        })
    }

    fn judge(
        &mut self, conn: ConnId, head: &RequestHead, plain: bool, address: IpAddr, busy: bool,
    ) -> Result<Next, Refusal> {
        let names = ["transport", "sid", "j", "EIO", "b64", "recovery"];
        let [transport, sid, jsonp, version, base64, recovery] = http::parameters(head.query, names);
        // A parameter that is given twice is as good as unknown: which one would count?
        let websocket = match transport.map_err(|_| Refusal::UnknownTransport)?.as_deref() {
            Some("polling") if self.config.transports.polling => false,
            Some("websocket") if self.config.transports.websocket => true,
            _ => return Err(Refusal::UnknownTransport),
        };
        let known = |sid: &str| self.sids.get(&Id::parse(sid)?).copied();
        let session = sid.map_err(|_| Refusal::UnknownSid)?;
        let session = session.map(|sid| known(&sid).ok_or(Refusal::UnknownSid)).transpose()?;
        if !matches!(head.method, Method::Get | Method::Post) || session.is_none() && head.method != Method::Get {
            return Err(Refusal::BadMethod);
        }
        if websocket != ws::is_upgrade(head) || websocket && head.method != Method::Get {
            return Err(Refusal::BadRequest);
        }
        let jsonp = jsonp.map_err(|_| Refusal::BadRequest)?;
        let jsonp = jsonp.map(|number| v3::digits(&number).ok_or(Refusal::BadRequest)).transpose()?;
        let poll = Poll { conn, jsonp, gzip: head.accepts_gzip() };
        let Some(id) = session else {
            let base64 = jsonp.is_some() || base64.is_ok_and(|value| value.as_deref() == Some("1"));
            let version = version.map_err(|_| Refusal::UnsupportedProtocol)?;
            let version = match (version.as_deref(), self.config.old_clients) {
                (Some("4"), _) => Version::V4,
                (Some("3"), true) => Version::V3,
                (Some("2"), true) => Version::V2,
                _ => return Err(Refusal::UnsupportedProtocol),
            };
            // Browsers take a payload of any length; python-engineio does not, and others may have limits too.
            let agent = head.header("User-Agent").unwrap_or_default();
            let many = agent.starts_with(b"Mozilla/");
            // The offset is an argument more, of which handlers die that do not expect it: only to clients that do.
            let recovers = match (self.config.recovery, recovery.ok().flatten().as_deref()) {
                (Recovery::Off, _) | (_, Some("0")) => false,
                (Recovery::Always, _) | (_, Some("1")) => true,
                (Recovery::Auto, _) => many || agent.starts_with(b"node-XMLHttpRequest"),
            };
            let recovers = recovers && version == Version::V4 && !plain;
            let client = ClientInfo { sid: self.ids.fresh(), version, base64, many, plain, recovers, address };
            return Ok(self.handshake(poll, head, websocket, client, busy).unwrap_or_else(Next::Answer));
        };
        if websocket {
            let response = match ws::accept(head) {
                Ok(response) if self.budget.open(Some(id)) => response,
                Ok(_) => return Ok(Next::Answer(unavailable())),
                Err(refusal) => return Ok(Next::Answer(refusal)),
            };
            // One probe at a time, and none after the upgrade. As in the reference, the second WebSocket is let
            // in and closed, so that its client sees no HTTP error.
            if self.transition(id, |session, turn| session.probe(conn, turn)) != Some(true) {
                self.out.outputs.push_back(EngineOutput::Close(conn));
            }
            return Ok(Next::WebSocket(id, response));
        }
        let post = head.method == Method::Post;
        match head.framing {
            Framing::Length(0) if post && head.header("Content-Length").is_none() => {
                return Ok(Next::Answer(Response::new(411)));
            }
            Framing::Length(length) if post && length > self.config.max_payload as u64 => {
                self.hit(Limit::Payload, id);
                return Ok(Next::Answer(Response::new(413).close()));
            }
            _ => {}
        }
        match self
            .transition(id, |session, turn| if post { session.post(conn, turn) } else { session.poll(poll, turn) })
        {
            Some(true) if post => Ok(Next::Body(id)),
            Some(true) => Ok(Next::Wait(id)),
            _ => Err(Refusal::BadRequest),
        }
    }

    /// A new session, on either transport.
    fn handshake(
        &mut self, poll: Poll, head: &RequestHead, websocket: bool, client: ClientInfo, busy: bool,
    ) -> Result<Next, Response> {
        let limit = match busy {
            true => Some(Limit::Memory),
            _ if self.sessions.len() >= self.config.max_connections => Some(Limit::Sessions),
            _ if self.addresses.count(client.address) >= self.config.max_per_address => Some(Limit::AddressSessions),
            _ => None,
        };
        limit.iter().for_each(|limit| self.out.limits.hit(*limit, self.now, client.address));
        if limit.is_some() || self.draining {
            return Err(unavailable());
        }
        let accepted = if websocket { Some(ws::accept(head)?) } else { None };
        if websocket && !self.budget.open(None) {
            return Err(unavailable());
        }
        let (sid, config) = (client.sid, &self.config);
        let offered = config.transports.websocket && !websocket && self.budget.is_free();
        let upgrades = if offered { "\"websocket\"" } else { "" };
        let open = format!(
            "0{{\"sid\":\"{sid}\",\"upgrades\":[{upgrades}],\"pingInterval\":{},\"pingTimeout\":{},\"maxPayload\":{}}}",
            config.ping_interval.as_millis(),
            config.ping_timeout.as_millis(),
            config.max_payload
        );
        let open = Bytes::from(open);
        let id = self.sessions.insert(Session::new(client, websocket.then_some(poll.conn), config, self.now));
        self.sids.insert(sid, id);
        self.addresses.acquire(client.address);
        if offered {
            self.budget.offer(id, self.now);
        }
        self.transition(id, |session, turn| match accepted {
            Some(response) => {
                session.open(open, turn);
                Ok(Next::WebSocket(id, response))
            }
            None => {
                turn.out.events.push_back(SessionEvent::Opened(id));
                Ok(Next::Answer(Payload::new(&[open], &client, poll.jsonp).response(None)))
            }
        })
        .expect("the session was inserted just now")
    }

    /// The whole body of a POST that [`Engine::request`] has asked for; `jsonp`: the form that an iframe posts.
    pub fn body(&mut self, conn: ConnId, id: SessionId, body: Bytes, binary: bool, jsonp: bool) {
        let Some(session) = self.sessions.get(id) else {
            let response = Refusal::UnknownSid.response(false);
            return self.out.outputs.push_back(EngineOutput::Answer(conn, response));
        };
        let most = self.config.max_packets;
        let decode = |body| match session.client.version {
            Version::V4 if binary => Err(packet::Invalid("a binary body in protocol 4")),
            Version::V4 => packet::decode_payload(body, most),
            _ => v3::decode_payload(body, binary, most),
        };
        let packets = if jsonp { jsonp::decode(&body).and_then(decode) } else { decode(body) };
        let response = match packets {
            Ok(packets) if packets.len() <= most => {
                self.transition(id, |session, turn| session.posted(Some(packets), turn));
                // The type is the reference's; an iframe of an old client wants it so.
                Response::new(200).header("Cache-Control", "no-store").body("text/html", "ok")
            }
            unread => {
                let (limit, why) = match unread {
                    Ok(_) => (Limit::Packets, "too many packets"),
                    Err(packet::Invalid(why)) => (Limit::Packet, why),
                };
                log::debug!("a payload cannot be read: {why}");
                self.hit(limit, id);
                self.transition(id, |session, turn| session.posted(None, turn));
                Refusal::BadRequest.response(false)
            }
        };
        self.out.outputs.push_back(EngineOutput::Answer(conn, response));
    }

    /// A message came on a WebSocket that [`Engine::request`] has let in for session `id`.
    pub fn frame(&mut self, conn: ConnId, id: SessionId, data: Data) {
        let Some(client) = self.client(id) else { return self.out.outputs.push_back(EngineOutput::Close(conn)) };
        let decoded = match (client.version, data) {
            (Version::V4, Data::Text(text)) => packet::decode(text),
            (Version::V4, data) => Ok(Packet::Message(data)),
            (old, data) => v3::decode_frame(data, old),
        };
        if decoded.is_err() {
            self.hit(Limit::Packet, id);
        }
        self.transition(id, |session, turn| session.frame(conn, decoded.ok(), turn));
    }

    /// A connection that was given to session `id` is no more.
    pub fn connection_lost(&mut self, conn: ConnId, id: SessionId) {
        self.transition(id, |session, turn| session.connection_lost(conn, turn));
    }

    /// Sends a message to one session.
    pub fn send(&mut self, id: SessionId, message: &Encoded) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.send(message, &mut Turn { id, now: self.now, config: &self.config, out: &mut self.out });
        // A queue that overflows ends the session. Nothing else that the books must know of happens here, and a
        // broadcast comes by here for every recipient.
        if session.is_gone() {
            self.transition(id, |_, _| ());
        }
    }

    /// Ends a session; `Closed` rises later.
    pub fn close(&mut self, id: SessionId, reason: CloseReason) {
        self.transition(id, |session, turn| session.close(reason, turn));
    }

    /// No new sessions from here on. Those that are there end within `time`, one after the other, so that the next server does
    /// not get all of them at once, and the oldest last: WebSockets with close code 1001, polling with packet `1`.
    pub fn begin_drain(&mut self, time: Duration) {
        self.draining = true;
        let left = self.sessions.keys();
        let step = (time / left.len().max(1) as u32).min(FAREWELL);
        for (number, id) in (0..).zip(left.into_iter().rev()) {
            let at = self.now + step * number;
            self.transition(id, |session, _| session.drain_at = Some(at));
        }
        self.expire();
    }

    /// Runs what is due.
    pub fn expire(&mut self) {
        self.budget.expire(self.now);
        let mut any = false;
        while let Some((_, id)) = self.timers.pop_due(self.now) {
            self.transition(id, |session, turn| session.expire(turn));
            any = true;
        }
        if any && self.config.ping_interval >= GATHER_FROM {
            let by = self.now + GATHER;
            for id in self.timers.due_by(by) {
                self.transition(id, |session, turn| session.ping(by, turn));
            }
        }
    }

    /// The end of the turn: answers the GETs that have something to carry. A body that many get is made once.
    pub fn flush(&mut self) {
        let mut ready = std::mem::take(&mut self.out.ready);
        let mut packets = Vec::new();
        let mut last: Option<Payload> = None;
        for id in ready.drain(..) {
            let found = self.transition(id, |session, turn| (session.take_payload(&mut packets, turn), session.client));
            let Some((Some(poll), client)) = found else { continue };
            let same = last.take_if(|last| last.is_of(&packets, &client, poll.jsonp));
            let payload = last.insert(same.unwrap_or_else(|| Payload::new(&packets, &client, poll.jsonp)));
            let response = payload.response(poll.gzip.then_some(&mut self.deflate));
            self.out.outputs.push_back(EngineOutput::Answer(poll.conn, response));
        }
        // Transitions list no session anew while the list is walked: a GET that is answered is not parked.
        self.out.ready = ready;
    }
}

/// No room, for now.
fn unavailable() -> Response {
    Response::new(503).header("Retry-After", RETRY_AFTER).close()
}

#[cfg(debug_assertions)]
#[path = "../../tests/seams/engine.rs"]
mod check;
