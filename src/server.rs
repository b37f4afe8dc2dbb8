//! The server: the turn of the loop, what each connection speaks, and the way between the cores.
//!
//! ```text
//!   wait(until the nearest deadline)                  the only places where the clock is read
//!   expire what is due; pump
//!   for each ready connection: read -> parse -> core; pump
//!   settle: answer polls, write, bury the dead, again while anything moved
//! ```
//!
//! Timers go first: a request that comes half a millisecond after a session's deadline must find it dead. But
//! a timer that is much too late shows that the loop itself stood still (throttled CPU, suspended machine):
//! then input goes first, or a pause would kill every session whose pong waits in the kernel.

use crate::{
    assets,
    config::{Config, Origins},
    engineio::{self, Engine, Next, Output, Payload, Refusal, packet::Data},
    http::{self, Head, Method, Response},
    id::Ids,
    logger::Quiet,
    net::{self, Fill, Net, Wake},
    slab::{Beside, Conn, ConnId, SessionId},
    socketio::{self, App, Cx, Io, Up},
    ws,
};
use bytes::Bytes;
use std::{
    io, mem,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// The path of Engine.IO. Official clients use it unless told otherwise.
const ENGINE_PATH: &str = "/socket.io/";
/// What one read can bring.
const SCRATCH: usize = 64 * 1024;
/// Bytes read from one connection in one turn; the rest waits for the next, so that nobody starves.
const READ_BUDGET: usize = 4 * SCRATCH;
/// A timer this much overdue means that the loop stood still.
const STALLED: Duration = Duration::from_millis(250);
/// How long a stopping server waits for its clients; it promises to end within 2 s.
const STOP_TIME: Duration = Duration::from_millis(1500);

/// What the bytes of a connection are.
enum Speaks {
    Http(Http),
    WebSocket {
        session: SessionId,
        incoming: ws::Incoming,
        /// Half a message is there, and the deadline for the other half is set.
        halfway: bool,
    },
}

#[derive(Default)]
struct Http {
    parser: http::Parser,
    /// The request between its head and its answer.
    exchange: Option<Box<Exchange>>,
    /// Reading stopped because enough pipelined bytes wait behind the request.
    paused: bool,
    /// The deadline for a head is set: more bytes of it do not move it.
    begun: bool,
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
    cors: Option<Box<str>>,
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
    net: Net,
    engine: Engine,
    io: Io,
    app: A,
    speaks: Beside<Conn, Speaks>,
    decoder: ws::Decoder,
    http_limits: http::Limits,
    ws_limits: ws::Limits,
    /// The time of the turn.
    now: Instant,
    /// Connections that were answered while bytes of their next request wait.
    resume: Vec<ConnId>,
    /// When a stopping server ends, whoever is still there.
    stopping: Option<Instant>,
    refused_origins: Quiet,
    /// Buffers that are used again in every turn.
    scratch: Vec<u8>,
    wakes: Vec<Wake>,
    accepted: Vec<ConnId>,
    drained: Vec<ConnId>,
}

impl<A: App> Server<A> {
    /// A server without sockets; [`Server::bind`] gives it some.
    pub fn new(config: Config, app: A, ids: Ids, now: Instant) -> io::Result<Server<A>> {
        let net = Net::new(net::Limits {
            connections: config.max_connections,
            queue: config.max_queue,
            soft_queue: config.soft_queue,
            soft_time: config.soft_queue_time,
            stall: config.write_timeout,
        })?;
        let engine = engineio::Settings {
            ping_interval: config.ping_interval,
            ping_timeout: config.ping_timeout,
            upgrade_timeout: config.upgrade_timeout,
            max_payload: config.max_payload,
            max_queue: config.max_queue,
            max_sessions: config.max_connections,
            polling: config.transports.polling,
            websocket: config.transports.websocket,
        };
        let io = socketio::Settings {
            connect_timeout: config.connect_timeout,
            message_timeout: config.message_timeout,
            packets: socketio::packet::Limits { attachments: config.max_attachments, depth: config.max_depth },
            max_acks: config.max_acks,
        };
        let namespaces = app.namespaces();
        Ok(Server {
            net,
            engine: Engine::new(engine, ids, now),
            io: Io::new(io, namespaces),
            app,
            speaks: Beside::default(),
            decoder: ws::Decoder::default(),
            http_limits: http::Limits { head: config.max_head, headers: config.max_headers, body: config.max_payload },
            ws_limits: ws::Limits { message: config.max_payload, fragments: config.max_fragments },
            now,
            resume: Vec::new(),
            stopping: None,
            refused_origins: Quiet::default(),
            scratch: vec![0; SCRATCH],
            wakes: Vec::new(),
            accepted: Vec::new(),
            drained: Vec::new(),
            config,
        })
    }

    /// Listens where `config` says; returns the address.
    pub fn bind(config: Config, app: A) -> io::Result<(Server<A>, SocketAddr)> {
        let (host, port) = (config.host, config.port);
        let mut server = Server::new(config, app, Ids::System, Instant::now())?;
        let address = server.net.listen(host, port)?;
        Ok((server, address))
    }

    /// Serves until a signal stops it.
    pub fn run(mut self) -> io::Result<()> {
        let mut signals = signals::watch(&mut self.net)?;
        while !self.has_stopped() {
            self.net.wait(Instant::now(), self.next_deadline())?;
            let mut wakes = mem::take(&mut self.wakes);
            self.net.drain_events(&mut wakes);
            self.turn(Instant::now(), &wakes);
            if wakes.iter().any(|wake| matches!(wake, Wake::Signals)) && signals::received(&mut signals) {
                self.stop();
            }
            self.wakes = wakes;
        }
        Ok(())
    }

    /// When the next turn is wanted even if nothing is ready.
    pub fn next_deadline(&self) -> Option<Instant> {
        let timers = [self.net.next_deadline(), self.engine.next_deadline(), self.io.next_deadline(), self.stopping];
        timers.into_iter().flatten().min()
    }

    /// One turn of the loop, at `now`, with what is ready.
    pub fn turn(&mut self, now: Instant, wakes: &[Wake]) {
        let stalled = self.next_deadline().is_some_and(|due| now.saturating_duration_since(due) > STALLED);
        self.now = now;
        self.engine.set_now(now);
        if !stalled {
            self.expire();
        }
        for wake in wakes {
            match *wake {
                Wake::Listener => self.accept(),
                Wake::Signals => {}
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
        self.pump();
    }

    fn accept(&mut self) {
        let mut accepted = mem::take(&mut self.accepted);
        self.net.accept(self.now, &mut accepted);
        for id in accepted.drain(..) {
            self.speaks.insert(id, Speaks::Http(Http { begun: true, ..Http::default() }));
            self.net.set_phase(id, Some(self.now + self.config.head_timeout));
            // The first bytes are often there already; without a read now they would cost a wake-up.
            self.readable(id, false);
        }
        self.accepted = accepted;
    }

    /// Whether what the connection sends has to wait: enough is pipelined behind a request, or the peer does
    /// not read what we send.
    fn is_paused(&mut self, id: ConnId) -> bool {
        if self.net.finishing(id) {
            return false;
        }
        match self.speaks.get_mut(id) {
            Some(Speaks::Http(http)) => {
                http.paused = http.exchange.as_ref().is_some_and(|exchange| exchange.complete)
                    && self.net.kept(id) >= self.http_limits.head;
                http.paused
            }
            Some(Speaks::WebSocket { .. }) => self.net.queued(id) > self.config.max_queue / 2,
            None => false,
        }
    }

    fn readable(&mut self, id: ConnId, hung_up: bool) {
        let mut budget = READ_BUDGET;
        loop {
            if self.is_paused(id) {
                if hung_up {
                    self.half_closed(id);
                }
                return;
            }
            let mut scratch = mem::take(&mut self.scratch);
            let fill = self.net.read(id, &mut scratch);
            match fill {
                Fill::Bytes(count) if self.net.finishing(id) => self.net.throw_away(id, count),
                Fill::Bytes(count) => self.receive(id, &scratch[..count]),
                Fill::End => self.half_closed(id),
                Fill::Drained | Fill::Dead => {}
            }
            self.scratch = scratch;
            let Fill::Bytes(count) = fill else { return };
            budget = budget.saturating_sub(count);
            if budget == 0 {
                return self.net.remember_unread(id);
            }
        }
    }

    /// New bytes: parsed where they are, kept only if they end in the middle of something.
    fn receive(&mut self, id: ConnId, new: &[u8]) {
        let mut kept = self.net.take_input(id);
        if kept.is_empty() {
            let used = self.consume(id, new);
            if used < new.len() {
                self.net.keep_input(id, new[used..].to_vec());
            }
        } else {
            kept.extend_from_slice(new);
            self.consume_kept(id, kept);
        }
    }

    fn consume_kept(&mut self, id: ConnId, mut kept: Vec<u8>) {
        let used = self.consume(id, &kept);
        if used < kept.len() {
            kept.drain(..used);
            self.net.keep_input(id, kept);
        }
    }

    /// Parses and acts, until the bytes end or have to wait; returns how many are done with.
    fn consume(&mut self, id: ConnId, bytes: &[u8]) -> usize {
        let mut used = 0;
        loop {
            if self.net.finishing(id) {
                return bytes.len();
            }
            let rest = &bytes[used..];
            let step = match self.speaks.get_mut(id) {
                Some(Speaks::Http(_)) => self.http(id, rest),
                Some(Speaks::WebSocket { .. }) => self.websocket(id, rest),
                None => return bytes.len(),
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
        let Some(Speaks::Http(http)) = self.speaks.get_mut(id) else { return None };
        if http.exchange.as_ref().is_some_and(|exchange| exchange.complete) {
            return None;
        }
        let (count, event) = match http.parser.next(bytes, &self.http_limits) {
            Ok(Some(step)) => step,
            Ok(None) => {
                if http.exchange.is_none() && !bytes.is_empty() && !mem::replace(&mut http.begun, true) {
                    self.net.set_phase(id, Some(self.now + self.config.head_timeout));
                }
                return None;
            }
            Err(error) => {
                self.http_failed(id, error);
                return Some(bytes.len());
            }
        };
        match event {
            http::Event::Head(head) => self.head(id, &head),
            http::Event::Data(data) => {
                if let Some(exchange) = &mut http.exchange {
                    exchange.body.extend_from_slice(data);
                }
            }
            http::Event::End => {
                if let Some(exchange) = &mut http.exchange {
                    exchange.complete = true;
                    let Exchange { session, binary, form, .. } = **exchange;
                    let body = mem::take(&mut exchange.body);
                    if let Some(session) = session {
                        self.net.set_phase(id, None);
                        self.engine.body(id, session, body.into(), binary, form);
                    }
                }
            }
        }
        Some(count)
    }

    /// The bytes are no HTTP: they get an answer that says so, and the connection ends.
    fn http_failed(&mut self, id: ConnId, error: http::Error) {
        log::debug!("{}: {} {}", self.peer(id), error.status, error.reason);
        let Some(Speaks::Http(http)) = self.speaks.get_mut(id) else { return };
        let session = http.exchange.as_ref().and_then(|exchange| exchange.session);
        self.respond(id, Response::new(error.status).content_type("text/plain").body(error.reason.into()).close());
        if let Some(session) = session {
            self.engine.lost(id, session);
        }
    }

    /// A request head: everything that can be judged without the body is judged here.
    fn head(&mut self, id: ConnId, head: &Head) {
        self.net.set_phase(id, None);
        let bodiless = head.framing == http::Framing::None;
        let content_type = head.header("Content-Type").unwrap_or_default();
        let mut exchange = Exchange {
            head_only: head.method == Method::Head,
            old: head.minor == 0,
            keep_alive: head.keep_alive && self.stopping.is_none(),
            complete: bodiless,
            cors: None,
            session: None,
            body: Vec::new(),
            binary: content_type.starts_with(b"application/octet-stream"),
            form: content_type.starts_with(b"application/x-www-form-urlencoded"),
        };
        let next = match self.judge_origin(head) {
            Err(refusal) => Next::Answer(refusal),
            Ok(cors) => {
                exchange.cors = cors;
                self.route(id, head, exchange.cors.is_some())
            }
        };
        match next {
            Next::Wait(session) => exchange.session = Some(session),
            Next::Body(session) => {
                exchange.session = Some(session);
                if head.expect_continue {
                    self.net.push(id, Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n"));
                }
                self.net.set_phase(id, Some(self.now + self.config.body_timeout));
            }
            Next::WebSocket(session, response) => {
                self.net.push(id, response);
                let incoming = ws::Incoming::default();
                self.speaks.insert(id, Speaks::WebSocket { session, incoming, halfway: false });
                return;
            }
            Next::Answer(response) => {
                self.set_exchange(id, exchange);
                return self.respond(id, response);
            }
        }
        self.set_exchange(id, exchange);
    }

    fn set_exchange(&mut self, id: ConnId, exchange: Exchange) {
        if let Some(Speaks::Http(http)) = self.speaks.get_mut(id) {
            http.exchange = Some(Box::new(exchange));
        }
    }

    /// Finds out who answers a request.
    fn route(&mut self, id: ConnId, head: &Head, listed: bool) -> Next {
        // A preflight asks for leave, not for anything to be done (Fetch standard, 4.8).
        if head.method == Method::Options && listed {
            let allowed = Response::new(204).header("Access-Control-Allow-Methods", "GET, POST");
            let wanted = head.header("Access-Control-Request-Headers").and_then(|value| str::from_utf8(value).ok());
            let allowed = allowed.header("Access-Control-Max-Age", "600");
            return Next::Answer(match wanted {
                Some(wanted) => allowed.header("Access-Control-Allow-Headers", wanted),
                None => allowed,
            });
        }
        let plain = self.app.plain_path() == Some(head.path);
        if plain || head.path == ENGINE_PATH {
            return self.engine.request(id, head, plain);
        }
        let Some(asset) = assets::find(head.path) else {
            return Next::Answer(Response::new(404).content_type("text/plain").body("not found".into()));
        };
        Next::Answer(match head.method {
            Method::Get | Method::Head => asset.answer(head.header("If-None-Match"), head.accepts_gzip()),
            Method::Options => Response::new(204).header("Allow", "GET, HEAD, OPTIONS"),
            Method::Other => Response::new(501).close(),
            _ => Response::new(405).header("Allow", "GET, HEAD, OPTIONS"),
        })
    }

    /// Whether a page from elsewhere may talk to us. Returns the header lines a listed origin needs.
    fn judge_origin(&mut self, head: &Head) -> Result<Option<Box<str>>, Response> {
        let Some(origin) = head.header("Origin") else { return Ok(None) };
        let listed = match &self.config.origins {
            Origins::Any => return Ok(Some("Access-Control-Allow-Origin: *\r\n".into())),
            Origins::Listed(origins) => origins.iter().find(|listed| listed.as_bytes() == origin),
            Origins::Same => None,
        };
        if let Some(listed) = listed {
            return Ok(Some(
                format!(
                    "Access-Control-Allow-Origin: {listed}\r\nVary: Origin\r\nAccess-Control-Allow-Credentials: true\r\n"
                )
                .into(),
            ));
        }
        if http::same_origin(origin, head.host) {
            return Ok(None);
        }
        if let Some(more) = self.refused_origins.allow(self.now) {
            log::warn!(
                "refused origin {:?} of a page, host {:?}; --origins would allow it ({more} more refused before)",
                String::from_utf8_lossy(origin),
                String::from_utf8_lossy(head.host)
            );
        }
        self.engine.counters.refused[Refusal::Forbidden as usize] += 1;
        Err(Refusal::Forbidden.response(ws::is_upgrade(head)))
    }

    /// One step of WebSocket; `None` if the bytes have to wait.
    fn websocket(&mut self, id: ConnId, bytes: &[u8]) -> Option<usize> {
        let Some(Speaks::WebSocket { session, incoming, halfway }) = self.speaks.get_mut(id) else { return None };
        let session = *session;
        match incoming.next(&mut self.decoder, bytes, &self.ws_limits) {
            Ok(Some((count, event))) => {
                match event {
                    ws::Event::Text(text) => self.engine.frame(id, session, Data::Text(text)),
                    ws::Event::Binary(bytes) => self.engine.frame(id, session, Data::Binary(bytes)),
                    ws::Event::Reply(frame) => self.net.push(id, frame),
                    ws::Event::Close { reply } => {
                        self.net.push(id, reply);
                        self.net.finish(id);
                        self.engine.lost(id, session);
                    }
                    ws::Event::Nothing => {}
                }
                Some(count)
            }
            Ok(None) => {
                let half = !bytes.is_empty() || incoming.in_message();
                if half != mem::replace(halfway, half) {
                    let deadline = self.now + self.config.message_timeout;
                    self.net.set_phase(id, half.then_some(deadline));
                }
                None
            }
            Err(failure) => {
                log::debug!("{}: WebSocket {} {}", self.peer(id), failure.code, failure.reason);
                self.net.push(id, ws::close_frame(failure.code, failure.reason));
                self.net.finish(id);
                self.engine.lost(id, session);
                Some(bytes.len())
            }
        }
    }

    /// Answers the request of a connection.
    fn respond(&mut self, id: ConnId, response: Response) {
        let Some(Speaks::Http(http)) = self.speaks.get_mut(id) else { return };
        let exchange = http.exchange.take();
        let (old, complete, head_only) = match &exchange {
            Some(exchange) => (exchange.old, exchange.complete, exchange.head_only),
            None => (false, false, false),
        };
        let keep_alive = complete && !response.closes() && exchange.as_ref().is_some_and(|e| e.keep_alive);
        let cors = exchange.as_ref().and_then(|exchange| exchange.cors.as_deref()).unwrap_or_default();
        let (head, body) = response.encode(cors, head_only, keep_alive, old);
        self.net.push(id, head);
        self.net.push(id, body);
        self.answered(id, keep_alive);
    }

    /// What follows an answer: the next request, or the end.
    fn answered(&mut self, id: ConnId, keep_alive: bool) {
        if !keep_alive {
            return self.net.finish(id);
        }
        if let Some(Speaks::Http(http)) = self.speaks.get_mut(id) {
            http.begun = false;
        }
        self.net.set_phase(id, Some(self.now + self.config.idle_timeout));
        self.resume.push(id);
    }

    /// Answers a GET of Engine.IO.
    fn respond_payload(&mut self, id: ConnId, payload: Payload) {
        let response = Response::new(200).content_type(payload.content_type);
        self.respond(id, response.header("Cache-Control", "no-store").body(payload.body));
    }

    /// Carries events up and calls down until nothing moves.
    fn pump(&mut self) {
        loop {
            while let Some(output) = self.engine.poll_output() {
                match output {
                    Output::Frame(id, frame) => self.net.push(id, frame),
                    Output::Payload(id, payload) => self.respond_payload(id, payload),
                    Output::Answer(id, response) => self.respond(id, response),
                    Output::Close(id) => self.net.finish(id),
                    Output::Abort(id) => self.net.doom(id),
                }
            }
            let up = match self.engine.poll_event() {
                Some(event) => self.io.handle(event, &mut self.engine),
                None => match self.io.poll_late() {
                    Some(up) => Some(up),
                    None => return,
                },
            };
            if let Some(up) = up {
                self.up(up);
            }
        }
    }

    /// Hands something to the application.
    fn up(&mut self, up: Up) {
        match up {
            Up::Connect(session, namespace, auth) => {
                let auth = auth.as_ref().map(|auth| serde_json::from_str(auth.data()));
                let auth = match auth.transpose() {
                    Ok(auth) => auth,
                    Err(_) => return self.io.invalid(session, "auth is not JSON", &mut self.engine),
                };
                let name = self.app.namespaces()[usize::from(namespace)];
                match self.app.admit(name, auth) {
                    Err(message) => self.io.refuse(session, name, &message, &mut self.engine),
                    Ok(()) => {
                        if let Some(socket) = self.io.admit(session, namespace, &mut self.engine) {
                            let mut cx = Cx { io: &mut self.io, engine: &mut self.engine };
                            self.app.connected(&mut cx, socket, auth);
                        }
                    }
                }
            }
            Up::Event(socket, incoming) => {
                let mut cx = Cx { io: &mut self.io, engine: &mut self.engine };
                if let Err(error) = incoming.read(|event| self.app.event(&mut cx, socket, event)) {
                    cx.invalid(socket, error);
                }
            }
            Up::Ack(socket, number, None) => {
                let mut cx = Cx { io: &mut self.io, engine: &mut self.engine };
                self.app.acknowledged(&mut cx, socket, number, None);
            }
            Up::Ack(socket, number, Some(incoming)) => {
                let mut cx = Cx { io: &mut self.io, engine: &mut self.engine };
                let answer = |event: &socketio::Event| self.app.acknowledged(&mut cx, socket, number, Some(event));
                if let Err(error) = incoming.read_answer(answer) {
                    cx.invalid(socket, error);
                }
            }
            Up::Plain(session, data) => self.app.plain_message(&mut self.engine, session, data),
            Up::Disconnected(socket, reason) => {
                let mut cx = Cx { io: &mut self.io, engine: &mut self.engine };
                self.app.disconnected(&mut cx, socket, reason);
            }
        }
    }

    /// The end of the turn.
    fn settle(&mut self) {
        loop {
            self.engine.flush();
            self.pump();
            let mut drained = mem::take(&mut self.drained);
            self.net.flush(self.now, &mut drained);
            for id in drained.drain(..) {
                self.net.remember_unread(id);
            }
            self.drained = drained;
            let mut moved = false;
            while let Some(id) = self.net.bury() {
                moved = true;
                self.buried(id);
            }
            while let Some(id) = self.resume.pop() {
                moved |= self.resume(id);
            }
            if !moved {
                return;
            }
        }
    }

    /// A connection is no more: whoever it belonged to is told.
    fn buried(&mut self, id: ConnId) {
        let session = match self.speaks.remove(id) {
            Some(Speaks::WebSocket { session, .. }) => Some(session),
            Some(Speaks::Http(http)) => http.exchange.and_then(|exchange| exchange.session),
            None => None,
        };
        if let Some(session) = session {
            self.engine.lost(id, session);
        }
        self.pump();
    }

    /// A connection was answered: goes on with what it had sent behind. Returns whether there was anything.
    fn resume(&mut self, id: ConnId) -> bool {
        let Some(Speaks::Http(http)) = self.speaks.get_mut(id) else { return false };
        if mem::replace(&mut http.paused, false) {
            self.net.remember_unread(id);
        }
        let kept = self.net.take_input(id);
        let any = !kept.is_empty();
        if any {
            self.consume_kept(id, kept);
        }
        if self.net.ended(id) {
            self.half_closed(id);
        }
        any
    }

    /// The peer has sent its last byte.
    fn half_closed(&mut self, id: ConnId) {
        if self.net.finishing(id) {
            return self.net.peer_ended(id);
        }
        // A GET that can be answered in this turn still is.
        self.engine.flush();
        self.pump();
        match self.speaks.get_mut(id) {
            // All requests are answered, and the answers still go out.
            Some(Speaks::Http(http)) if http.exchange.is_none() && self.net.kept(id) == 0 => self.net.finish(id),
            // Answered, with more requests behind: settle goes on with them, and comes back here.
            Some(Speaks::Http(http)) if http.exchange.is_none() && self.resume.contains(&id) => {}
            // A parked poll that nobody waits for, half a request, or a WebSocket without a goodbye.
            _ => self.net.doom(id),
        }
    }

    /// The phase a connection was in has lasted too long.
    fn phase_over(&mut self, id: ConnId) {
        match self.speaks.get_mut(id) {
            Some(Speaks::Http(http)) if http.exchange.is_none() && self.net.kept(id) == 0 => self.net.doom(id),
            Some(Speaks::Http(_)) => self.http_failed(id, http::Error { status: 408, reason: "request timeout" }),
            Some(Speaks::WebSocket { session, .. }) => {
                let session = *session;
                self.net.push(id, ws::close_frame(1008, "message timeout"));
                self.net.finish(id);
                self.engine.lost(id, session);
            }
            None => self.net.doom(id),
        }
    }

    /// Begins to stop: the clients are told, and get [`STOP_TIME`].
    pub fn stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        log::info!("stopping, {} sessions", self.engine.len());
        self.stopping = Some(self.now + STOP_TIME);
        self.engine.close_all();
        self.pump();
        self.settle();
    }

    /// Whether a stopping server may end: its clients know and its answers have left, or its time is over.
    pub fn has_stopped(&mut self) -> bool {
        let Some(deadline) = self.stopping else { return false };
        if self.engine.is_empty() && self.net.listens() {
            self.net.stop_listening();
            for id in self.net.keys() {
                self.net.finish(id);
            }
            self.settle();
        }
        self.now >= deadline || self.net.is_empty()
    }

    /// The peer of a connection, for log lines.
    fn peer(&self, id: ConnId) -> String {
        self.net.peer(id).map_or_else(|| "a connection".to_owned(), |peer| peer.to_string())
    }
}

#[cfg(unix)]
mod signals {
    //! SIGTERM and SIGINT as events of the loop.
    use crate::net::Net;
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook_mio::v1_0::Signals;
    use std::io;

    pub fn watch(net: &mut Net) -> io::Result<Signals> {
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        net.watch_signals(&mut signals)?;
        Ok(signals)
    }

    pub fn received(signals: &mut Signals) -> bool {
        signals.pending().count() > 0
    }
}

#[cfg(not(unix))]
mod signals {
    //! Elsewhere the process is ended from outside.
    use crate::net::Net;
    use std::io;

    pub fn watch(_: &mut Net) -> io::Result<()> {
        Ok(())
    }

    pub fn received(_: &mut ()) -> bool {
        false
    }
}
