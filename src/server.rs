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

use crate::config::{Config, Origins};
use crate::engineio;
use crate::engineio::packet::Data;
use crate::engineio::{Engine, Event, Next, Output, Refusal};
use crate::http::{self, Framing, Head, Method, Response};
use crate::id::Ids;
use crate::logger::Quiet;
use crate::metrics::{self, Metrics};
use crate::net::{Buried, Fill, Net, Wake};
use crate::slab::{ConnId, SessionId};
use crate::socketio::{App, Io};
use crate::{assets, ws};
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use std::{io, mem};

/// The path of Engine.IO. Official clients use it unless told otherwise.
const ENGINE_PATH: &str = "/socket.io/";
/// What one read can bring.
const SCRATCH: usize = 64 * 1024;
/// Reads from one connection in one turn; the rest waits for the next, so that nobody starves.
const READS_PER_TURN: usize = 4;
/// A timer this much overdue means that the loop stood still.
const STALLED: Duration = Duration::from_millis(250);
/// How long a stopping server waits at least, for answers that are on their way.
const STOP_TIME: Duration = Duration::from_millis(1500);
/// The part of `drain` in which clients are sent away; the rest is for the last answers.
const FAREWELLS: f64 = 0.8;

/// What the bytes of a connection are.
enum Speaks {
    /// With the request between its head and its answer.
    Http { parser: http::Parser, exchange: Option<Box<Exchange>> },
    /// `halfway`: half a message is there, and the deadline for the other half is set.
    WebSocket { session: SessionId, incoming: ws::Incoming, halfway: bool },
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
    /// HEAD: the answer has no body.
    head_only: bool,
    /// HTTP/1.0.
    old: bool,
    keep_alive: bool,
    /// All of the request has come.
    complete: bool,
    /// Header lines that let a listed origin read the answer.
    cors: Box<str>,
    /// The session that the connection belongs to until it is answered.
    session: Option<SessionId>,
    /// The body of a POST, as far as it has come.
    body: Vec<u8>,
    /// `application/octet-stream`.
    binary: bool,
    /// The form of a JSONP client.
    form: bool,
}

/// All of salon, in one value.
pub struct Server<A: App> {
    config: Config,
    net: Net<Speaks>,
    engine: Engine,
    io: Io,
    app: A,
    links: turn::Links,
    decoder: ws::Decoder,
    /// The time of the turn.
    now: Instant,
    address: Option<SocketAddr>,
    start: Instant,
    /// Turns that began because something was ready, or because a timer was due.
    turns: [u64; 2],
    /// The longest that a timer was late.
    lag: Duration,
    /// Connections that were answered: what they have sent behind is next.
    resume: Vec<ConnId>,
    /// When a stopping server ends, whoever is still there.
    stopping: Option<Instant>,
    refused_origins: Quiet,
    /// Where reads go, used again by each.
    scratch: Vec<u8>,
}

impl<A: App> Server<A> {
    /// A server without a listener. Fails if the operating system gives no selector, or a file of `config` is of no use.
    pub fn new(config: Config, app: A, ids: Ids, now: Instant) -> io::Result<Server<A>> {
        let mut engine = Engine::new(config.clone(), ids, now);
        let io = Io::new(config.clone(), app.namespaces());
        Ok(Server {
            net: Net::new(config.clone())?,
            links: turn::Links::new(&config, app.namespaces(), &mut engine)?,
            engine,
            io,
            app,
            decoder: ws::Decoder::default(),
            now,
            address: None,
            start: now,
            turns: [0, 0],
            lag: Duration::ZERO,
            resume: Vec::new(),
            stopping: None,
            refused_origins: Quiet::default(),
            scratch: vec![0; SCRATCH],
            config,
        })
    }

    /// A server that listens where `config` says.
    pub fn bind(config: Config, app: A) -> io::Result<Server<A>> {
        let mut server = Server::new(config, app, Ids::System, Instant::now())?;
        let (host, port) = (server.config.host, server.config.port);
        server.address = Some(server.net.listen().map_err(|error| {
            let host = host.map_or("all addresses".to_owned(), |host| host.to_string());
            io::Error::other(format!("cannot listen on port {port} of {host}: {error}"))
        })?);
        Ok(server)
    }

    /// Serves until a signal stops it.
    pub fn run(mut self) -> io::Result<()> {
        let mut signals = signals::Watch::new(&mut self.net)?;
        if let Some(address) = self.address {
            let (version, instance) = (env!("CARGO_PKG_VERSION"), &self.config.instance);
            log::info!("salon {version}, instance {instance}, listens on http://{address}");
        }
        let mut wakes = Vec::new();
        while !self.has_stopped() {
            self.net.wait(Instant::now(), self.next_deadline())?;
            self.net.drain_events(&mut wakes);
            self.turn(Instant::now(), &wakes);
            if wakes.iter().any(|wake| matches!(wake, Wake::Signals | Wake::Woken)) {
                (0..signals.received()).for_each(|_| self.stop());
            }
        }
        Ok(())
    }

    /// When the next turn is wanted even if nothing is ready.
    pub fn next_deadline(&self) -> Option<Instant> {
        let cores = [self.net.next_deadline(), self.engine.next_deadline(), self.io.next_deadline()];
        let deadlines = [self.links.next_deadline(), self.stopping].into_iter().chain(cores);
        deadlines.flatten().min()
    }

    /// One turn of the loop, at `now`, with what is ready.
    pub fn turn(&mut self, now: Instant, wakes: &[Wake]) {
        let late = self.next_deadline().map_or(Duration::ZERO, |due| now.saturating_duration_since(due));
        let stalled = late > STALLED;
        self.lag = self.lag.max(late);
        self.turns[usize::from(wakes.is_empty())] += 1;
        self.now = now;
        self.engine.set_now(now);
        if !stalled {
            self.expire();
        }
        for wake in wakes {
            match *wake {
                Wake::Listener => self.accept(),
                Wake::Signals => {}
                Wake::Woken => self.resolved(),
                Wake::Connection { id, readable, writable, hung_up } => {
                    if writable {
                        self.net.writable(id);
                    }
                    if readable {
                        self.readable(id, hung_up);
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
        self.engine.expire();
        self.io.expire(&mut self.engine);
        self.links.expire(self.now);
        self.pump();
    }

    fn accept(&mut self) {
        for id in self.net.accept(self.now) {
            self.net.set_phase(id, Some(self.now + self.config.head_timeout));
            // The first bytes are often there already; without a read now they would cost a wake-up.
            self.readable(id, false);
        }
    }

    fn readable(&mut self, id: ConnId, hung_up: bool) {
        for _ in 0..READS_PER_TURN {
            if self.is_paused(id) {
                return if hung_up {
                    self.half_closed(id)
                };
            }
            let mut scratch = mem::take(&mut self.scratch);
            let fill = self.net.read(id, &mut scratch);
            match fill {
                Fill::Bytes(count) => self.receive(id, &scratch[..count]),
                Fill::End => self.half_closed(id),
                Fill::Nothing => {}
            }
            self.scratch = scratch;
            if !matches!(fill, Fill::Bytes(_)) {
                return;
            }
        }
        self.net.remember_unread(id);
    }

    /// Whether what the connection sends has to wait: enough is pipelined behind a request, or the peer does
    /// not read what we send.
    fn is_paused(&self, id: ConnId) -> bool {
        self.net.get(id).filter(|connection| !connection.finishing).is_some_and(|connection| {
            match &connection.protocol {
                Speaks::Http { exchange: Some(exchange), .. } if exchange.complete => {
                    connection.input.len() >= self.config.max_head
                }
                Speaks::Http { .. } => false,
                #[cfg(feature = "redis")]
                Speaks::Redis(_) => false,
                Speaks::WebSocket { .. } => connection.queued() > self.config.max_queue / 2,
            }
        })
    }

    /// New bytes (or none, once a request is answered) behind those that were kept: parsed where they are, and kept
    /// only if they end in the middle of something.
    fn receive(&mut self, id: ConnId, new: &[u8]) {
        let Some(connection) = self.net.get_mut(id) else { return };
        let mut kept = mem::take(&mut connection.input);
        let begins = kept.is_empty() || new.is_empty();
        let used = if kept.is_empty() {
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
            self.net.set_phase(id, Some(self.now + self.config.head_timeout));
        }
    }

    /// Parses and acts, until the bytes end or have to wait; returns how many are done with.
    fn consume(&mut self, id: ConnId, bytes: &[u8]) -> usize {
        let mut used = 0;
        loop {
            let Some(connection) = self.net.get(id).filter(|connection| !connection.finishing) else {
                return bytes.len();
            };
            let step = match connection.protocol {
                Speaks::Http { .. } => self.http(id, &bytes[used..]),
                Speaks::WebSocket { .. } => self.websocket(id, &bytes[used..]),
                #[cfg(feature = "redis")]
                Speaks::Redis(role) => self.links.receive(role, id, &bytes[used..], self.now),
            };
            self.pump();
            match step {
                Some(count) => used += count,
                None => return used,
            }
        }
    }

    /// One step of HTTP; `None` if the bytes have to wait.
    fn http(&mut self, id: ConnId, bytes: &[u8]) -> Option<usize> {
        let Speaks::Http { parser, exchange } = &mut self.net.get_mut(id)?.protocol else { return None };
        if exchange.as_ref().is_some_and(|exchange| exchange.complete) {
            return None;
        }
        match (parser.next(bytes, &self.config), exchange) {
            (Ok(None), _) => None,
            (Ok(Some((count, http::Event::Head(head)))), _) => {
                self.head(id, &head);
                Some(count)
            }
            (Ok(Some((count, http::Event::Data(data)))), exchange) => {
                exchange.iter_mut().for_each(|exchange| exchange.body.extend_from_slice(data));
                Some(count)
            }
            (Ok(Some((count, http::Event::End))), exchange) => {
                if let Some(exchange) = exchange {
                    exchange.complete = true;
                    let (body, binary, form) = (mem::take(&mut exchange.body), exchange.binary, exchange.form);
                    if let Some(session) = exchange.session {
                        self.net.set_phase(id, None);
                        self.engine.body(id, session, body.into(), binary, form);
                    }
                }
                Some(count)
            }
            (Err(error), _) => {
                self.fail(id, error);
                Some(bytes.len())
            }
        }
    }

    /// The bytes are no HTTP, or too late: they get an answer that says so, and the connection ends.
    fn fail(&mut self, id: ConnId, error: http::Error) {
        log::debug!("{id:?}: {} {}", error.status, error.reason);
        let session = self.session_of(id);
        self.respond(id, Response::new(error.status).body("text/plain", error.reason).close());
        if let Some(session) = session {
            self.engine.lost(id, session);
        }
    }

    /// A request head: everything that can be judged without the body is judged here.
    fn head(&mut self, id: ConnId, head: &Head) {
        self.net.set_phase(id, None);
        let content_type = head.header("Content-Type").unwrap_or_default();
        let mut exchange = Box::new(Exchange {
            head_only: head.method == Method::Head,
            old: head.minor == 0,
            keep_alive: head.keep_alive && self.stopping.is_none(),
            complete: head.framing == Framing::None,
            cors: Box::default(),
            session: None,
            body: Vec::new(),
            binary: content_type.starts_with(b"application/octet-stream"),
            form: content_type.starts_with(b"application/x-www-form-urlencoded"),
        });
        let next = match self.judge_origin(id, head) {
            Err(refusal) => Next::Answer(refusal),
            Ok(cors) => {
                let listed = !cors.is_empty();
                exchange.cors = cors;
                self.route(id, head, listed)
            }
        };
        let Some(connection) = self.net.get_mut(id) else { return };
        let Speaks::Http { exchange: slot, .. } = &mut connection.protocol else { return };
        match next {
            Next::WebSocket(session, response) => {
                connection.protocol = Speaks::WebSocket { session, incoming: ws::Incoming::default(), halfway: false };
                self.net.push(id, response);
            }
            Next::Answer(response) => {
                *slot = Some(exchange);
                self.respond(id, response);
            }
            Next::Wait(session) => {
                exchange.session = Some(session);
                *slot = Some(exchange);
            }
            Next::Body(session) => {
                exchange.session = Some(session);
                // Of an empty body too the parser tells the end.
                exchange.complete = false;
                *slot = Some(exchange);
                if head.expect_continue {
                    self.net.push(id, Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n"));
                }
                self.net.set_phase(id, Some(self.now + self.config.body_timeout));
            }
        }
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
            "/healthz" if self.stopping.is_none() => return Next::Answer(Response::new(200).body("text/plain", "ok")),
            "/healthz" => return Next::Answer(Response::new(503).header("Retry-After", "5").close()),
            "/metrics" if self.may_read_metrics(id, head) => {
                let text = self.metrics();
                return Next::Answer(Response::new(200).body(metrics::CONTENT_TYPE, text));
            }
            _ => {}
        }
        let plain = self.app.plain_path() == Some(path);
        if plain || path == ENGINE_PATH {
            return self.engine.request(id, head, plain);
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

    /// Whoever has the token. Without one, programs of this machine: the peer is, and no proxy has added a header
    /// that names another.
    fn may_read_metrics(&self, id: ConnId, head: &Head) -> bool {
        const FORWARDED: [&str; 6] =
            ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-ARR-LOG-ID", "CLIENT-IP"];
        match &self.config.metrics_token {
            Some(token) => head.header("Authorization") == Some(format!("Bearer {token}").as_bytes()),
            None => {
                let local = self.net.get(id).is_some_and(|connection| connection.peer.to_canonical().is_loopback());
                local && !self.config.iis && FORWARDED.iter().all(|name| head.header(name).is_none())
            }
        }
    }

    fn metrics(&mut self) -> String {
        let mut metrics = Metrics::default();
        let [polling, websocket] = self.engine.transports().map(|count| count as f64);
        let (connections, queued) = self.net.load();
        let counters = mem::take(self.engine.counters());
        let labelled = |names: &[&'static str], values: &[u64]| {
            names.iter().copied().zip(values.iter().map(|value| *value as f64)).collect::<Vec<_>>()
        };
        metrics.gauge("uptime_seconds", "Since the start.", (self.now - self.start).as_secs_f64());
        let transports = [(r#"transport="polling""#, polling), (r#"transport="websocket""#, websocket)];
        metrics.family("sessions", "gauge", "Engine.IO sessions.", &transports);
        let [connected, held] = self.io.sockets().map(|count| count as f64);
        let sockets = [(r#"state="connected""#, connected), (r#"state="held""#, held)];
        metrics.family("sockets", "gauge", "Sockets, and those kept for clients that may come back.", &sockets);
        metrics.gauge("connections", "TCP connections.", connections as f64);
        metrics.gauge("queued_bytes", "Bytes that connections have not taken yet.", queued as f64);
        let (limit, used, promised, refused) = self.engine.budget();
        metrics.gauge("websockets", "Open WebSockets.", used as f64);
        if let Some(limit) = limit {
            metrics.gauge("websockets_limit", "WebSockets that --max-websockets allows.", limit as f64);
            metrics.gauge("websockets_promised", "Upgrades that were offered and may still come.", promised as f64);
            metrics.counter("websockets_refused_total", "WebSockets beyond --max-websockets.", refused);
        }
        metrics.counter("messages_received_total", "Messages of clients.", counters.received);
        metrics.counter("messages_sent_total", "Messages to clients, each recipient counted.", counters.sent);
        let ended = labelled(&engineio::Reason::NAMES, &counters.ended);
        metrics.family("sessions_ended_total", "counter", "Sessions that have ended.", &ended);
        let refused = labelled(&Refusal::NAMES, &counters.refused);
        metrics.family("requests_refused_total", "counter", "Requests of Engine.IO that were refused.", &refused);
        let causes = labelled(&[r#"cause="bytes""#, r#"cause="timer""#], &self.turns);
        metrics.family("turns_total", "counter", "Turns of the loop.", &causes);
        metrics.gauge("lag_seconds_max", "The longest that a timer was late.", self.lag.as_secs_f64());
        if let Some(bytes) = metrics::resident() {
            metrics.gauge("resident_bytes", "Resident memory.", bytes as f64);
        }
        self.links.metrics(&mut metrics);
        self.app.metrics(&mut metrics);
        *self.engine.counters() = counters;
        metrics.text()
    }

    /// Whether a page from elsewhere may talk to us. Returns the header lines a listed origin needs. Requests
    /// without Origin come from programs, not from pages; but a JSONP request is a script of a page and has none
    /// either, so it has to show in another way where it comes from.
    fn judge_origin(&mut self, id: ConnId, head: &Head) -> Result<Box<str>, Response> {
        let jsonp = || http::parameters(head.query, ["j"]) != [Ok(None)] && assets::find(head.path).is_none();
        let origin = match head.header("Origin") {
            Some(origin) => origin,
            None if !jsonp() || head.header("Sec-Fetch-Site") == Some(b"same-origin") => return Ok(Box::default()),
            None => http::origin_of(head.header("Referer").unwrap_or_default()),
        };
        let listed = match &self.config.origins {
            Origins::Any => return Ok("Access-Control-Allow-Origin: *\r\n".into()),
            Origins::Listed(origins) => origins.iter().find(|listed| listed.as_bytes() == origin),
            Origins::Same => None,
        };
        if let Some(listed) = listed {
            let more = "Vary: Origin\r\nAccess-Control-Allow-Credentials: true\r\n";
            return Ok(format!("Access-Control-Allow-Origin: {listed}\r\n{more}").into());
        }
        let (host, https) = self.seen_from_outside(head);
        if http::same_origin(origin, host, https) {
            return Ok(Box::default());
        }
        if let Some(more) = self.refused_origins.allow(self.now) {
            let (origin, host) = (String::from_utf8_lossy(origin), String::from_utf8_lossy(host));
            let client = self.client(id, head).map_or("nobody".to_owned(), |address| address.to_string());
            log::warn!(
                "refused {client}: page of origin {origin:?}, host {host:?} ({more} more before); see --origins"
            );
        }
        self.engine.counters().refused[Refusal::Forbidden as usize] += 1;
        Err(Refusal::Forbidden.response(ws::is_upgrade(head)))
    }

    /// Whose request this is: the peer, or whom a trusted proxy says it speaks for.
    fn client(&self, id: ConnId, head: &Head) -> Option<IpAddr> {
        let list = head.header("X-Forwarded-For").filter(|_| self.config.trust_proxy);
        let peer = self.net.get(id).map(|connection| connection.peer.to_canonical());
        list.and_then(|list| http::address_of(http::last_of(list))).or(peer)
    }

    /// The host that the browser has asked, and whether by HTTPS if that is known: a trusted proxy tells what it has changed.
    fn seen_from_outside<'h>(&self, head: &Head<'h>) -> (&'h [u8], Option<bool>) {
        if !self.config.trust_proxy {
            return (head.host, None);
        }
        // Azure's front end has one header that gives the scheme, and one that is there if it was HTTPS.
        let scheme = head.header("X-Forwarded-Proto").or(head.header("X-AppService-Proto"));
        let https = match scheme {
            Some(scheme) => Some(http::last_of(scheme).eq_ignore_ascii_case(b"https")),
            None => head.header("X-ARR-SSL").map(|_| true),
        };
        let host = head.header("X-Forwarded-Host").map(http::last_of).or(head.header("X-Original-Host"));
        (host.unwrap_or(head.host), https)
    }

    /// One step of WebSocket; `None` if the bytes have to wait.
    fn websocket(&mut self, id: ConnId, bytes: &[u8]) -> Option<usize> {
        let Speaks::WebSocket { session, incoming, halfway } = &mut self.net.get_mut(id)?.protocol else {
            return None;
        };
        let session = *session;
        match incoming.next(&mut self.decoder, bytes, &self.config) {
            Ok(Some((count, event))) => {
                match event {
                    ws::Event::Text(text) => self.engine.frame(id, session, Data::Text(text)),
                    ws::Event::Binary(bytes) => self.engine.frame(id, session, Data::Binary(bytes)),
                    ws::Event::Reply(frame) => self.net.push(id, frame),
                    ws::Event::Close(reply) => self.close_websocket(id, session, reply),
                    ws::Event::Nothing => {}
                }
                Some(count)
            }
            Ok(None) => {
                let half = !bytes.is_empty() || incoming.in_message();
                if half != mem::replace(halfway, half) {
                    self.net.set_phase(id, half.then_some(self.now + self.config.message_timeout));
                }
                None
            }
            Err(failure) => {
                log::debug!("{id:?}: WebSocket {} {}", failure.code, failure.reason);
                self.close_websocket(id, session, ws::close_frame(failure.code, failure.reason));
                Some(bytes.len())
            }
        }
    }

    fn close_websocket(&mut self, id: ConnId, session: SessionId, frame: Bytes) {
        self.net.push(id, frame);
        self.net.finish(id);
        self.engine.lost(id, session);
    }

    /// Answers the request of a connection. What follows is the next request, or the end.
    fn respond(&mut self, id: ConnId, response: Response) {
        let Some(Speaks::Http { exchange, .. }) = self.net.get_mut(id).map(|connection| &mut connection.protocol)
        else {
            return;
        };
        let (head, body, keep_alive) = match exchange.take() {
            Some(exchange) => {
                let keep_alive = exchange.keep_alive && exchange.complete && !response.close;
                let (head, body) = response.encode(&exchange.cors, exchange.head_only, keep_alive, exchange.old);
                (head, body, keep_alive)
            }
            // What it was an answer to could not be read.
            None => {
                let (head, body) = response.encode("", false, false, false);
                (head, body, false)
            }
        };
        self.net.push(id, head);
        self.net.push(id, body);
        if keep_alive {
            self.net.set_phase(id, Some(self.now + self.config.idle_timeout));
            self.resume.push(id);
        } else {
            self.net.finish(id);
        }
    }

    /// Carries events up and calls down until nothing moves.
    fn pump(&mut self) {
        loop {
            while let Some(output) = self.engine.poll_output() {
                match output {
                    Output::Frame(id, frame) => self.net.push(id, frame),
                    Output::Answer(id, response) => self.respond(id, response),
                    Output::Close(id) => self.net.finish(id),
                    Output::Abort(id) => self.net.doom(id),
                }
            }
            match self.engine.poll_event() {
                Some(Event::Opened(id)) if self.engine.is_plain(id) => {}
                Some(Event::Message(id, data)) if self.engine.is_plain(id) => {
                    self.app.plain_message(&mut self.engine, id, data);
                }
                Some(event) => self.io.handle(event, &mut self.engine, &mut self.app),
                None if self.io.handle_late(&mut self.engine, &mut self.app) => {}
                None if self.carry() => {}
                None => return,
            }
        }
    }

    /// The end of the turn.
    fn settle(&mut self) {
        // The dead first: what a GET of theirs would be answered is lost with them.
        self.bury();
        let mut moved = true;
        while mem::take(&mut moved) {
            self.engine.flush();
            self.tell_presence();
            self.pump();
            self.net.flush(self.now);
            moved |= self.bury();
            while let Some(id) = self.resume.pop() {
                moved |= self.resume(id);
            }
        }
    }

    /// Buries the dead, and tells their sessions. Returns whether there were any.
    fn bury(&mut self) -> bool {
        let mut any = false;
        while let Some(Buried { id, protocol, error }) = self.net.bury() {
            any = true;
            if let Speaks::WebSocket { .. } = protocol {
                self.engine.websocket_closed();
            }
            if let Some(session) = protocol.session() {
                self.engine.lost(id, session);
            } else {
                self.links.lost(id, error, self.now);
            }
            self.pump();
        }
        any
    }

    /// A connection was answered: goes on with what it had sent behind. Returns whether there was anything.
    fn resume(&mut self, id: ConnId) -> bool {
        let Some(connection) = self.net.get(id) else { return false };
        let (kept, ended) = (connection.input.len(), connection.ended);
        if kept >= self.config.max_head {
            // It was paused.
            self.net.remember_unread(id);
        }
        self.receive(id, &[]);
        if ended {
            self.half_closed(id);
        }
        kept > 0 || ended
    }

    /// The peer has sent its last byte.
    fn half_closed(&mut self, id: ConnId) {
        // A GET that can be answered in this turn still is.
        self.engine.flush();
        self.pump();
        let Some(connection) = self.net.get(id) else { return };
        match &connection.protocol {
            _ if connection.finishing => {}
            // Answered, with more requests behind: settle goes on with them, and comes back here.
            Speaks::Http { exchange: None, .. } if self.resume.contains(&id) => {}
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
            Speaks::Http { exchange: None, .. } if connection.input.is_empty() => self.net.doom(id),
            Speaks::Http { .. } => self.fail(id, http::Error { status: 408, reason: "request timeout" }),
            Speaks::WebSocket { session, .. } => {
                self.close_websocket(id, session, ws::close_frame(1008, "message timeout"));
            }
            // The cluster has deadlines of its own.
            #[cfg(feature = "redis")]
            Speaks::Redis(_) => {}
        }
    }

    /// The session that a connection belongs to.
    fn session_of(&self, id: ConnId) -> Option<SessionId> {
        self.net.get(id)?.protocol.session()
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
        self.engine.leave(self.config.drain.mul_f64(FAREWELLS));
        self.links.goodbye(self.now);
        self.settle();
    }

    /// Whether a stopping server may end: its clients know and its answers have left, or its time is over.
    fn has_stopped(&mut self) -> bool {
        let Some(deadline) = self.stopping else { return false };
        if self.engine.is_empty() {
            self.net.stop_listening();
            for id in self.net.keys() {
                self.net.finish(id);
            }
            self.settle();
        }
        self.now >= deadline || self.net.keys().is_empty()
    }
}

impl Speaks {
    /// The session that the connection belongs to.
    fn session(&self) -> Option<SessionId> {
        match self {
            Speaks::WebSocket { session, .. } => Some(*session),
            Speaks::Http { exchange, .. } => exchange.as_ref()?.session,
            #[cfg(feature = "redis")]
            Speaks::Redis(_) => None,
        }
    }
}

#[cfg(unix)]
mod signals {
    //! SIGTERM and SIGINT as events of the loop.
    use crate::net::Net;
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook_mio::v1_0::Signals;
    use std::io;

    pub struct Watch(Signals);

    impl Watch {
        pub fn new<P: Default>(net: &mut Net<P>) -> io::Result<Watch> {
            let mut signals = Signals::new([SIGTERM, SIGINT])?;
            net.watch_signals(&mut signals)?;
            Ok(Watch(signals))
        }

        /// How often we were asked to stop since the last call.
        pub fn received(&mut self) -> usize {
            self.0.pending().count()
        }
    }
}

#[cfg(not(unix))]
mod signals {
    //! Ctrl+C and Ctrl+Break, which Windows brings on a thread of its own: it only counts, and wakes the loop.
    use crate::net::Net;
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    pub struct Watch(Arc<AtomicUsize>);

    impl Watch {
        pub fn new<P: Default>(net: &mut Net<P>) -> io::Result<Watch> {
            let (count, waker) = (Arc::new(AtomicUsize::new(0)), net.waker()?);
            let seen = Arc::clone(&count);
            let handler = move || {
                seen.fetch_add(1, Ordering::SeqCst);
                // Fails only when the loop is gone.
                let _ = waker.wake();
            };
            ctrlc::set_handler(handler).map_err(io::Error::other)?;
            Ok(Watch(count))
        }

        /// How often we were asked to stop since the last call.
        pub fn received(&mut self) -> usize {
            self.0.swap(0, Ordering::SeqCst)
        }
    }
}

#[cfg(feature = "redis")]
#[path = "cluster/turn.rs"]
mod turn;

#[cfg(not(feature = "redis"))]
mod turn {
    //! No cluster.
    use super::Server;
    use crate::config::Config;
    use crate::engineio::Engine;
    use crate::metrics::Metrics;
    use crate::slab::ConnId;
    use crate::socketio::App;
    use std::io;
    use std::time::Instant;

    pub struct Links;

    impl Links {
        pub fn new(_: &Config, _: &'static [&'static str], _: &mut Engine) -> io::Result<Links> {
            Ok(Links)
        }

        pub fn next_deadline(&self) -> Option<Instant> {
            None
        }

        pub fn expire(&mut self, _: Instant) {}

        pub fn goodbye(&mut self, _: Instant) {}

        pub fn lost(&mut self, _: ConnId, _: Option<io::Error>, _: Instant) {}

        pub fn metrics(&self, _: &mut Metrics) {}
    }

    impl<A: App> Server<A> {
        pub(super) fn carry(&mut self) -> bool {
            false
        }

        pub(super) fn resolved(&mut self) {}

        pub(super) fn tell_presence(&mut self) {}
    }
}

#[cfg(debug_assertions)]
#[path = "../tests/seams/server.rs"]
mod check;
