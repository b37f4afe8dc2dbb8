//! The server: the turn of the loop, what each connection speaks, and the way between the cores.
//!
//! ```text
//!   wait(until the nearest deadline)                    the clock is read here and nowhere else (rule R6)
//!   expire what is due; pump
//!   for each ready connection: read -> parse -> core; pump
//!   settle: answer polls, write, bury the dead, again while anything moved
//! ```
//!
//! Timers go first: a request that comes half a millisecond after a session's deadline must find it dead. But
//! a timer that is much too late shows that the loop itself stood still (throttled CPU, suspended machine):
//! then input goes first, or a pause would kill every session whose pong waits in the kernel.

use crate::config::Config;
use crate::engineio;
use crate::engineio::packet::Data;
use crate::engineio::{Engine, Next, Output, Refusal};
use crate::http::{self, Event as Part, Framing, Head, Method, Response};
use crate::id::Ids;
use crate::limits::Limit;
use crate::logger::Quiet;
use crate::metrics::{self, Metrics};
use crate::net::{Cause, Connection, Net, Wake};
use crate::signals::{Signal, Watch};
use crate::slab::{ConnId, SessionId};
use crate::socketio::{App, Io};
use crate::tls::Identity;
use crate::{access, assets, ws};
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{io, iter, mem};

/// The path of Engine.IO. Official clients use it unless told otherwise.
const ENGINE_PATH: &str = "/socket.io/";
/// What one read can bring.
const SCRATCH: usize = 64 * 1024;
/// Reads from one connection in one turn; the rest waits for the next, so that nobody starves.
const READS_PER_TURN: usize = 4;
/// Steps (frames, requests, pieces of bodies) of one connection in one turn, for the same reason: a broadcast to a thousand
/// is a small frame.
const STEPS_PER_TURN: usize = 256;
/// A timer this much overdue means that the loop stood still.
const STALLED: Duration = Duration::from_millis(250);
/// How long a stopping server waits at least, for answers that are on their way.
const STOP_TIME: Duration = Duration::from_millis(1500);
/// The part of `drain` in which clients are sent away; the rest is for the last answers.
const FAREWELLS: f64 = 0.8;

/// What the bytes of a connection are.
enum Speaks {
    /// With the request between its head and its answer.
    Http {
        parser: http::Parser,
        exchange: Option<Box<Exchange>>,
    },
    WebSocket {
        session: SessionId,
        incoming: ws::Incoming,
    },
    /// The way to the other servers of a cluster.
    #[cfg(feature = "redis")]
    Redis(turn::Role),
}

impl Default for Speaks {
    fn default() -> Self {
        Speaks::Http { parser: http::Parser::default(), exchange: None }
    }
}

/// A request between its head and its answer.
struct Exchange {
    reply: Reply,
    /// The session that the connection belongs to until it is answered.
    session: SessionId,
    /// The body of a POST, as far as it has come; `None` if there is nothing more to come.
    body: Option<Vec<u8>>,
    /// `application/octet-stream`.
    binary: bool,
    /// The form of a JSONP client.
    form: bool,
}

/// How a request is answered; what could not be read is answered as by default.
#[derive(Default)]
struct Reply {
    /// HEAD: the answer has no body.
    head_only: bool,
    /// HTTP/1.0.
    old: bool,
    keep_alive: bool,
    /// Header lines that let a listed origin read the answer.
    cors: Box<str>,
}

/// All of salon, in one value.
pub struct Server<A: App> {
    config: Config,
    net: Net<Speaks>,
    io: Io,
    app: A,
    #[cfg(feature = "redis")]
    links: turn::Links,
    /// The time of the turn.
    now: Instant,
    start: Instant,
    /// Turns that began because something was ready, or because a timer was due.
    turns: [u64; 2],
    /// The longest that a timer was late.
    lag: Duration,
    /// When a stopping server ends, whoever is still there.
    stopping: Option<Instant>,
    refused_origins: Quiet,
    /// What is left of [`STEPS_PER_TURN`] of the connection that is read.
    steps: usize,
    /// Where reads go, used again by each.
    scratch: Vec<u8>,
}

impl<A: App> Server<A> {
    /// A server that does not listen yet. Fails if the operating system gives no selector, or a file of `config` is of no use.
    pub fn new(config: Config, app: A, ids: Ids, now: Instant) -> io::Result<Server<A>> {
        #[cfg_attr(not(feature = "redis"), expect(unused_mut))]
        let mut engine = Engine::new(config.clone(), ids, now);
        let mut net = Net::new(config.clone())?;
        net.identity = identity(&config, None).map_err(io::Error::other)?;
        Ok(Server {
            net,
            #[cfg(feature = "redis")]
            links: turn::Links::new(&config, app.namespaces(), &mut engine)?,
            io: Io::new(config.clone(), app.namespaces(), engine),
            app,
            now,
            start: now,
            turns: [0, 0],
            lag: Duration::ZERO,
            stopping: None,
            refused_origins: Quiet::default(),
            steps: 0,
            scratch: vec![0; SCRATCH],
            config,
        })
    }

    /// Listens where `config` says, and serves until a signal stops it.
    pub fn run(mut self) -> io::Result<()> {
        let mut signals = Watch::new(&mut self.net)?;
        let address = self.listen(self.config.port)?;
        // Redirects name it.
        self.config.port = address.port();
        let scheme = if self.net.identity.is_some() { "https" } else { "http" };
        let (version, instance) = (env!("CARGO_PKG_VERSION"), &self.config.instance);
        log::info!("salon {version}, instance {instance}, listens on {scheme}://{address}");
        if let Some(port) = self.config.redirect_http {
            log::info!("http://{} leads there", self.listen(port)?);
        }
        self.app.start(&mut self.io);
        let mut wakes = Vec::new();
        while !self.has_stopped() {
            self.net.wait(Instant::now(), self.next_deadline())?;
            let now = Instant::now();
            self.net.drain_events(now, &mut wakes);
            self.turn(now, SystemTime::now(), &wakes);
            if wakes.iter().any(|wake| matches!(wake, Wake::Woken)) {
                for signal in signals.received() {
                    match signal {
                        Signal::Stop => self.stop(),
                        Signal::Reload => self.reload(),
                    }
                }
            }
        }
        Ok(())
    }

    fn listen(&mut self, port: u16) -> io::Result<SocketAddr> {
        self.net.listen(port).map_err(|error| {
            let host = self.config.host.map_or("all addresses".to_owned(), |host| host.to_string());
            io::Error::other(format!("cannot listen on port {port} of {host}: {error}"))
        })
    }

    /// Rereads the certificate and its key. Connections that are there keep theirs.
    fn reload(&mut self) {
        match identity(&self.config, self.net.identity.as_ref()) {
            Ok(new) => {
                log::info!("the certificate was reread");
                self.net.identity = new;
            }
            Err(why) => log::error!("{why}; the certificate that was read before stays in use"),
        }
    }

    /// When the next turn is wanted even if nothing is ready.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [
            self.net.next_deadline(),
            self.io.next_deadline(),
            self.app.next_deadline(),
            #[cfg(feature = "redis")]
            self.links.next_deadline(),
            self.stopping,
        ];
        deadlines.into_iter().flatten().min()
    }

    /// One turn of the loop, at `now`, which calendars call `time`, with what is ready.
    pub fn turn(&mut self, now: Instant, time: SystemTime, wakes: &[Wake]) {
        let late = self.next_deadline().map_or(Duration::ZERO, |due| now.saturating_duration_since(due));
        let stalled = late > STALLED;
        self.lag = self.lag.max(late);
        self.turns[usize::from(wakes.is_empty())] += 1;
        self.now = now;
        self.io.engine.now = now;
        // A clock before 1970 is not set.
        self.io.time = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        if self.net.is_full() {
            self.io.engine.out.limits.hit(Limit::Connections, now, "all");
        }
        if !stalled {
            self.expire();
        }
        for wake in wakes {
            match *wake {
                // Whatever it was for is looked at later in the turn, or behind it.
                Wake::Woken => {}
                Wake::Connection { id, readable, writable, hung_up } => {
                    if writable {
                        self.net.writable(id);
                    }
                    if let Some(connection) = self.net.get_mut(id) {
                        connection.hung_up |= hung_up;
                    }
                    if readable {
                        self.readable(id);
                    }
                }
            }
        }
        if stalled {
            self.expire();
        }
        self.settle();
    }

    /// Runs everything that is due.
    fn expire(&mut self) {
        while let Some(id) = self.net.pop_phase(self.now) {
            self.phase_over(id);
        }
        self.io.expire();
        self.app.expire(&mut self.io);
        self.pump();
    }

    fn readable(&mut self, id: ConnId) {
        self.steps = STEPS_PER_TURN;
        let Some(connection) = self.net.get(id) else { return };
        let (kept, hung_up) = (!connection.input.is_empty(), connection.hung_up);
        // What follows a message at once is sent on together with it, if it is read now; who asks by HTTP waits for the answer.
        let talks = matches!(connection.protocol, Speaks::WebSocket { .. });
        for round in usize::from(!kept)..=READS_PER_TURN {
            if self.is_paused(id) {
                return if hung_up {
                    self.half_closed(id)
                };
            }
            if round == 0 {
                // What the last turn has left, or what waited for the answer to the request before.
                self.receive(id, &[]);
            } else {
                let mut scratch = mem::take(&mut self.scratch);
                let read = self.net.read(id, &mut scratch);
                self.receive(id, &scratch[..read.unwrap_or(0)]);
                self.scratch = scratch;
                let Some(connection) = self.net.get(id).filter(|_| read.is_some()) else { return };
                if read == Some(0) && self.steps > 0 {
                    return self.half_closed(id);
                }
                if connection.drained && self.steps > 0 && !(talks && connection.is_open()) {
                    return;
                }
            }
            if self.steps == 0 {
                break;
            }
        }
        self.net.remember_unread(id);
    }

    /// Whether what the connection sends has to wait: enough is pipelined behind a request, or the peer does
    /// not read what we send.
    fn is_paused(&self, id: ConnId) -> bool {
        self.net.get(id).filter(|connection| connection.is_open()).is_some_and(|connection| {
            match &connection.protocol {
                Speaks::Http { exchange: Some(exchange), .. } if exchange.body.is_none() => {
                    connection.input.len() >= self.config.max_head
                }
                Speaks::Http { .. } => false,
                #[cfg(feature = "redis")]
                Speaks::Redis(_) => false,
                Speaks::WebSocket { .. } => connection.queued() > self.config.max_queue / 2,
            }
        })
    }

    /// New bytes behind those that were kept: parsed where they are, and kept only if they end in the middle of something.
    fn receive(&mut self, id: ConnId, new: &[u8]) {
        let Some(connection) = self.net.get_mut(id) else { return };
        if new.is_empty() && connection.input.is_empty() {
            return;
        }
        let mut kept = mem::take(&mut connection.input);
        let begins = kept.is_empty();
        let used = if begins {
            let used = self.consume(id, new);
            kept.extend_from_slice(&new[used..]);
            used
        } else {
            kept.extend_from_slice(new);
            let used = self.consume(id, &kept);
            kept.drain(..used);
            used
        };
        if kept.is_empty() {
            return;
        }
        let Some(connection) = self.net.get_mut(id) else { return };
        connection.input = kept;
        if let Speaks::Http { exchange: None, .. } = connection.protocol
            && (begins || used > 0)
        {
            self.net.await_head(id, self.now);
        }
    }

    /// Parses and acts, until the bytes end or have to wait; returns how many are done with.
    fn consume(&mut self, id: ConnId, bytes: &[u8]) -> usize {
        let mut used = 0;
        loop {
            let Some(connection) = self.net.get(id).filter(|connection| connection.is_open()) else {
                return bytes.len();
            };
            if self.steps == 0 {
                return used;
            }
            let step = match connection.protocol {
                Speaks::Http { .. } => self.http(id, &bytes[used..]),
                Speaks::WebSocket { .. } => self.websocket(id, &bytes[used..]),
                #[cfg(feature = "redis")]
                Speaks::Redis(role) => self.links.receive(role, &bytes[used..], self.now),
            };
            self.pump();
            match step {
                Some(count) => (used, self.steps) = (used + count, self.steps - 1),
                None => return used,
            }
        }
    }

    /// One step of HTTP; `None` if the bytes have to wait.
    fn http(&mut self, id: ConnId, bytes: &[u8]) -> Option<usize> {
        let Speaks::Http { parser, exchange } = &mut self.net.get_mut(id)?.protocol else { return None };
        if exchange.as_ref().is_some_and(|exchange| exchange.body.is_none()) {
            return None;
        }
        let mut room = http::ROOM;
        let (count, part) = match parser.next(bytes, &mut room, &self.config) {
            Ok(next) => next?,
            Err(error) => {
                self.fail(id, error);
                return Some(bytes.len());
            }
        };
        match (part, exchange.as_deref_mut()) {
            (Part::Head(head), _) => self.head(id, &head),
            (Part::Data(data), Some(Exchange { body: Some(body), .. })) => body.extend_from_slice(data),
            (Part::End, Some(exchange)) => {
                let (session, binary, form) = (exchange.session, exchange.binary, exchange.form);
                let body = exchange.body.take().unwrap_or_default();
                self.net.set_phase(id, None);
                self.io.engine.body(id, session, body.into(), binary, form);
            }
            // Of a request that was answered by its head.
            (Part::Data(_) | Part::End, _) => {}
        }
        Some(count)
    }

    /// The bytes are no HTTP, or too late: they get an answer that says so, and the connection ends.
    fn fail(&mut self, id: ConnId, error: http::Error) {
        log::debug!("{id:?}: {} {}", error.status, error.reason);
        let session = self.net.get(id).and_then(|connection| connection.protocol.session());
        match error.status {
            408 if session.is_some() => self.hit(Limit::BodyTime, id),
            408 => self.hit(Limit::HeadTime, id),
            413 => self.hit(Limit::Payload, id),
            431 => self.hit(Limit::Head, id),
            _ => {}
        }
        self.respond(id, Response::new(error.status).body("text/plain", error.reason).close());
        if let Some(session) = session {
            self.io.engine.lost(id, session);
        }
    }

    /// A request head: everything that can be judged without the body is judged here.
    fn head(&mut self, id: ConnId, head: &Head) {
        self.net.set_phase(id, None);
        let mut reply = Reply {
            head_only: head.method == Method::Head,
            old: head.minor == 0,
            keep_alive: head.keep_alive && self.stopping.is_none(),
            cors: Box::default(),
        };
        let next = match (self.in_clear(id, head), access::judge_origin(&self.config, head)) {
            (Some(answer), _) => Next::Answer(answer),
            (None, Err(page)) => Next::Answer(self.refuse(id, head, &page)),
            (None, Ok(cors)) => {
                reply.cors = cors;
                self.route(id, head, !reply.cors.is_empty())
            }
        };
        let (session, body) = match next {
            Next::Answer(response) => {
                reply.keep_alive &= head.framing == Framing::Length(0);
                return self.answer(id, reply, response);
            }
            Next::WebSocket(session, response) => {
                if let Some(connection) = self.net.get_mut(id) {
                    connection.protocol = Speaks::WebSocket { session, incoming: ws::Incoming::default() };
                }
                return self.net.push(id, response);
            }
            Next::Wait(session) => (session, None),
            // Of an empty body too the parser tells the end.
            Next::Body(session) => (session, Some(Vec::new())),
        };
        if body.is_some() {
            if head.expect_continue {
                self.net.push(id, Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n"));
            }
            self.net.set_phase(id, Some(self.now + self.config.body_timeout));
        }
        let content_type = head.header("Content-Type").unwrap_or_default();
        let binary = content_type.starts_with(b"application/octet-stream");
        let form = content_type.starts_with(b"application/x-www-form-urlencoded");
        if let Some(Speaks::Http { exchange, .. }) = self.net.get_mut(id).map(|connection| &mut connection.protocol) {
            *exchange = Some(Box::new(Exchange { reply, session, body, binary, form }));
        }
    }

    /// The answer to a request that comes without TLS where that is spoken.
    fn in_clear(&mut self, id: ConnId, head: &Head) -> Option<Response> {
        self.net.identity.as_ref()?;
        match &self.net.get(id)?.tls {
            None => Some(access::to_https(&self.config, head)),
            // `--probe` asks like that; a certificate would prove nothing to it.
            Some(tls) if tls.is_plain() && head.method == Method::Get && head.path == "/healthz" => {
                Some(self.health().close())
            }
            Some(tls) if tls.is_plain() => {
                self.hit(Limit::PlainHttp, id);
                Some(Response::new(400).body("text/plain", "HTTPS is spoken here, not plain HTTP").close())
            }
            Some(_) => None,
        }
    }

    /// Whether new clients may come.
    fn health(&self) -> Response {
        match self.stopping {
            None => Response::new(200).body("text/plain", "ok"),
            Some(_) => Response::new(503).header("Retry-After", "5").close(),
        }
    }

    /// A page from elsewhere: says so in the log, where somebody looks who has forgotten to list it.
    fn refuse(&mut self, id: ConnId, head: &Head, page: &str) -> Response {
        let client = access::client(&self.config, head, self.peer(id));
        self.refused_origins.warn(self.now, format_args!("refused {client}: page of {page}; see --origins"));
        self.io.engine.out.counters.refused[Refusal::Forbidden as usize] += 1;
        Refusal::Forbidden.response(ws::is_upgrade(head))
    }

    /// The peer of a connection has reached a limit.
    fn hit(&mut self, limit: Limit, id: ConnId) {
        let peer = self.peer(id);
        self.io.engine.out.limits.hit(limit, self.now, peer);
    }

    /// The peer of a connection that sends right now.
    fn peer(&self, id: ConnId) -> IpAddr {
        self.net.get(id).expect("nothing is buried before the end of the turn").peer
    }

    /// Finds out who answers a request.
    fn route(&mut self, id: ConnId, head: &Head, listed: bool) -> Next {
        // A preflight asks for leave, not for anything to be done (Fetch standard, CORS-preflight request).
        if head.method == Method::Options && listed {
            let wanted = head.header("Access-Control-Request-Headers").unwrap_or_default();
            let response = Response::new(204)
                .header("Access-Control-Allow-Methods", "GET, POST")
                .header("Access-Control-Allow-Headers", str::from_utf8(wanted).unwrap_or_default())
                .header("Access-Control-Max-Age", "600");
            return Next::Answer(response);
        }
        // Probes of the platform know nothing of a base.
        let path = match head.path.strip_prefix(&*self.config.base) {
            Some("") if !self.config.base.is_empty() => {
                let query = if head.query.is_empty() { String::new() } else { format!("?{}", head.query) };
                let location = format!("{}/{query}", self.config.base);
                return Next::Answer(Response::new(308).header("Location", &location));
            }
            Some(path) if path.starts_with('/') || path == "*" => path,
            _ if matches!(head.path, "/healthz" | "/metrics" | "*") => head.path,
            _ => return Next::Answer(Response::new(404).body("text/plain", "not found")),
        };
        match path {
            "/healthz" => return Next::Answer(self.health()),
            "/metrics" if access::may_read_metrics(&self.config, head, self.peer(id)) => {
                let text = self.metrics();
                return Next::Answer(Response::new(200).body(metrics::CONTENT_TYPE, text));
            }
            _ => {}
        }
        let plain = self.app.plain_path() == Some(path);
        if plain || path == ENGINE_PATH {
            let client = access::client(&self.config, head, self.peer(id));
            let busy = self.net.queued() + self.io.engine.out.pool.bytes() > self.config.max_queued;
            return self.io.engine.request(id, head, plain, client, busy);
        }
        let allow = |status| Response::new(status).header("Allow", "GET, HEAD, OPTIONS");
        Next::Answer(match (assets::find(path), head.method) {
            (_, Method::Other) => Response::new(501).close(),
            (None, Method::Options) if path == "*" => allow(204),
            (None, _) => Response::new(404).body("text/plain", "not found"),
            (Some(asset), Method::Get | Method::Head) => {
                asset.answer(head.header("If-None-Match"), head.accepts_gzip())
            }
            (Some(_), Method::Options) => allow(204),
            (Some(_), _) => allow(405),
        })
    }

    fn metrics(&mut self) -> String {
        let mut metrics = Metrics::default();
        let queued = self.net.queued() + self.io.engine.out.pool.bytes();
        metrics.gauge("queued_bytes", "Bytes that clients have not taken yet, on either transport.", queued);
        metrics.gauge("uptime_seconds", "Since the start.", (self.now - self.start).as_secs_f64());
        let sessions = iter::zip(["polling", "websocket"], self.io.engine.transports());
        metrics.family("sessions", "gauge", "Engine.IO sessions.", "transport", sessions);
        let sockets = iter::zip(["connected", "held"], self.io.sockets());
        let help = "Sockets, and those kept for clients that may come back.";
        metrics.family("sockets", "gauge", help, "state", sockets);
        self.net.metrics(&mut metrics);
        let budget = &self.io.engine.budget;
        metrics.gauge("websockets", "Open WebSockets.", budget.used);
        if let Some(limit) = budget.limit {
            metrics.gauge("websockets_limit", "WebSockets that --max-websockets allows.", limit);
            let help = "Upgrades that were offered and may still come.";
            metrics.gauge("websockets_promised", help, budget.promised());
            metrics.counter("websockets_refused_total", "WebSockets beyond --max-websockets.", budget.refused);
        }
        let counters = &self.io.engine.out.counters;
        metrics.counter("messages_received_total", "Messages of clients.", counters.received);
        metrics.counter("messages_sent_total", "Messages to clients, each recipient counted.", counters.sent);
        let ended = iter::zip(engineio::Reason::TABLE.map(|(name, _)| name), counters.ended);
        metrics.family("sessions_ended_total", "counter", "Sessions that have ended.", "reason", ended);
        let refused = iter::zip(Refusal::TABLE.map(|(name, _)| name), counters.refused);
        metrics.family(
            "requests_refused_total",
            "counter",
            "Requests of Engine.IO that were refused.",
            "kind",
            refused,
        );
        let turns = iter::zip(["bytes", "timer"], self.turns);
        metrics.family("turns_total", "counter", "Turns of the loop.", "cause", turns);
        metrics.gauge("lag_seconds_max", "The longest that a timer was late.", self.lag.as_secs_f64());
        if let Some(bytes) = metrics::resident() {
            metrics.gauge("resident_bytes", "Resident memory.", bytes);
        }
        self.io.engine.out.limits.metrics(&mut metrics);
        metrics.gauge("timers", "Timers that run.", self.net.timers() + self.io.timers());
        #[cfg(feature = "redis")]
        self.links.metrics(&mut metrics);
        self.app.metrics(&mut metrics);
        metrics.text()
    }

    /// One step of WebSocket; `None` if the bytes have to wait.
    fn websocket(&mut self, id: ConnId, bytes: &[u8]) -> Option<usize> {
        let connection = self.net.get_mut(id)?;
        let timed = connection.phase.is_some();
        let Speaks::WebSocket { session, incoming } = &mut connection.protocol else { return None };
        let session = *session;
        match incoming.next(bytes, &self.config) {
            Ok(Some((count, event))) => {
                match event {
                    ws::Event::Text(text) => self.io.engine.frame(id, session, Data::Text(text)),
                    ws::Event::Binary(bytes) => self.io.engine.frame(id, session, Data::Binary(bytes)),
                    ws::Event::Reply(frame) => self.net.push(id, frame),
                    ws::Event::Close(reply) => {
                        // Nothing may follow (RFC 6455 section 5.5.1), and nothing has: there is nothing to wait for.
                        connection.ended = connection.drained && count == bytes.len();
                        self.close_websocket(id, session, reply);
                    }
                    ws::Event::Nothing => {}
                }
                Some(count)
            }
            Ok(None) => {
                let half = !bytes.is_empty() || incoming.in_message();
                if half != timed {
                    self.net.set_phase(id, half.then_some(self.now + self.config.message_timeout));
                }
                None
            }
            Err(failure) => {
                log::debug!("{id:?}: WebSocket {} {}", failure.code, failure.reason);
                match failure.code {
                    1008 => self.hit(Limit::Fragments, id),
                    1009 => self.hit(Limit::Payload, id),
                    _ => {}
                }
                self.close_websocket(id, session, ws::close_frame(failure.code, failure.reason));
                Some(bytes.len())
            }
        }
    }

    fn close_websocket(&mut self, id: ConnId, session: SessionId, frame: Bytes) {
        self.net.push(id, frame);
        self.net.finish(id);
        self.io.engine.lost(id, session);
    }

    /// Answers the request that a connection waits with.
    fn respond(&mut self, id: ConnId, response: Response) {
        if let Some(Speaks::Http { exchange, .. }) = self.net.get_mut(id).map(|connection| &mut connection.protocol) {
            let mut reply = Reply::default();
            if let Some(exchange) = exchange.take() {
                reply = exchange.reply;
                reply.keep_alive &= exchange.body.is_none();
            }
            self.answer(id, reply, response);
        }
    }

    /// Sends an answer. What follows is the next request, or the end.
    fn answer(&mut self, id: ConnId, reply: Reply, response: Response) {
        let keep_alive = reply.keep_alive && !response.close;
        let (head, body) = response.encode(&reply.cors, reply.head_only, keep_alive, reply.old);
        self.net.push(id, head);
        self.net.push(id, body);
        if !keep_alive {
            return self.net.finish(id);
        }
        let Some(connection) = self.net.get(id) else { return };
        let (kept, ended) = (!connection.input.is_empty(), connection.ended);
        match kept {
            true => self.net.await_head(id, self.now),
            false => self.net.set_phase(id, Some(self.now + self.config.idle_timeout)),
        }
        if kept || ended {
            // What was sent behind the request is next.
            self.net.remember_unread(id);
        }
    }

    /// Carries events up and calls down until nothing moves.
    fn pump(&mut self) {
        loop {
            while let Some(output) = self.io.engine.out.outputs.pop_front() {
                match output {
                    Output::Frame(id, frame) => self.net.push(id, frame),
                    Output::Answer(id, response) => self.respond(id, response),
                    Output::Close(id) => self.net.finish(id),
                    Output::Abort(id) => self.net.doom(id),
                }
            }
            let moved = self.io.handle(&mut self.app);
            #[cfg(feature = "redis")]
            let moved = moved || self.carry();
            if !moved {
                return;
            }
        }
    }

    /// The end of the turn.
    fn settle(&mut self) {
        // The dead first: what a GET of theirs would be answered is lost with them.
        self.bury();
        loop {
            self.io.engine.flush();
            #[cfg(feature = "redis")]
            self.tend_links();
            self.pump();
            self.app.commit(self.now);
            self.net.flush(self.now);
            if !self.bury() {
                return;
            }
        }
    }

    /// Buries the dead, and tells their sessions. Returns whether there were any.
    fn bury(&mut self) -> bool {
        let mut any = false;
        while let Some((id, Connection { protocol, peer, cause, .. })) = self.net.bury() {
            any = true;
            match (&cause, &protocol) {
                (Cause::Limit(limit), _) => self.io.engine.out.limits.hit(*limit, self.now, peer),
                // That of a link to Redis is told by the cluster.
                (Cause::Error(error), Speaks::Http { .. } | Speaks::WebSocket { .. })
                    if error.kind() == io::ErrorKind::InvalidData =>
                {
                    self.io.engine.out.limits.hit(Limit::TlsFailure, self.now, format_args!("{peer}: {error}"));
                }
                _ => {}
            }
            if let Some(session) = protocol.session() {
                self.io.engine.lost(id, session);
            }
            match protocol {
                Speaks::WebSocket { .. } => self.io.engine.budget.used -= 1,
                Speaks::Http { .. } => {}
                #[cfg(feature = "redis")]
                Speaks::Redis(role) => self.links.lost(role, id, cause, self.now),
            }
            self.pump();
        }
        any
    }

    /// The peer has sent its last byte.
    fn half_closed(&mut self, id: ConnId) {
        // A GET that can be answered in this turn still is.
        self.io.engine.flush();
        self.pump();
        let Some(connection) = self.net.get(id).filter(|connection| connection.is_open()) else { return };
        match &connection.protocol {
            // Answered just now: the next turn looks for more requests behind, and comes back here.
            _ if connection.unread => {}
            // All requests are answered, and the answers still go out.
            Speaks::Http { exchange: None, .. } if connection.input.is_empty() => self.net.finish(id),
            // A parked poll that nobody waits for, half a request, or a WebSocket without a goodbye.
            _ => self.net.doom(id),
        }
    }

    /// The phase a connection was in has lasted too long.
    fn phase_over(&mut self, id: ConnId) {
        let Some(connection) = self.net.get(id) else { return };
        match connection.protocol {
            Speaks::Http { exchange: None, .. } if connection.input.is_empty() => {
                if connection.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
                    self.hit(Limit::TlsTime, id);
                } else if connection.half_open.is_some() {
                    self.hit(Limit::HeadTime, id);
                }
                self.net.doom(id);
            }
            Speaks::Http { .. } => self.fail(id, http::Error { status: 408, reason: "request timeout" }),
            Speaks::WebSocket { session, .. } => {
                self.hit(Limit::MessageTime, id);
                self.close_websocket(id, session, ws::close_frame(1008, "message timeout"));
            }
            // The cluster has deadlines of its own.
            #[cfg(feature = "redis")]
            Speaks::Redis(_) => {}
        }
    }

    /// Begins to stop: nobody new is let in, and the clients are sent away over the time of `drain`. Asked again, it ends now.
    pub fn stop(&mut self) {
        if self.stopping.is_some() {
            log::info!("stopping at once");
            self.stopping = Some(self.now);
            return;
        }
        log::info!("stopping");
        self.stopping = Some(self.now + self.config.drain.max(STOP_TIME));
        self.io.engine.leave(self.config.drain.mul_f64(FAREWELLS));
        self.settle();
    }

    /// Whether a stopping server may end: its clients know and its answers have left, or its time is over.
    fn has_stopped(&mut self) -> bool {
        let Some(deadline) = self.stopping else { return false };
        let all_know = self.io.engine.is_empty();
        if all_know {
            self.net.close();
            self.settle();
        }
        self.now >= deadline || all_know && self.net.is_empty()
    }
}

/// Who we are by the files that `config` names, and a warning if clients will have doubts.
fn identity(config: &Config, old: Option<&Identity>) -> Result<Option<Identity>, String> {
    let identity = Identity::load(config, old)?;
    if let Some(doubt) = identity.as_ref().and_then(|identity| identity.doubt.as_ref()) {
        log::warn!("{doubt}");
    }
    Ok(identity)
}

impl Speaks {
    /// The session that the connection belongs to.
    fn session(&self) -> Option<SessionId> {
        match self {
            Speaks::WebSocket { session, .. } => Some(*session),
            Speaks::Http { exchange, .. } => Some(exchange.as_ref()?.session),
            #[cfg(feature = "redis")]
            Speaks::Redis(_) => None,
        }
    }
}

#[cfg(feature = "redis")]
#[path = "cluster/turn.rs"]
mod turn;

#[cfg(debug_assertions)]
#[path = "../tests/seams/server.rs"]
mod check;
