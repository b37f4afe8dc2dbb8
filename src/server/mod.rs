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

mod access;
#[cfg(feature = "redis")]
mod cluster;
mod http;
mod metrics;
pub mod probe;
mod signals;

use crate::base::id::Ids;
use crate::base::limits::Limit;
use crate::base::logger::RateLimitedLog;
use crate::base::slab::{ConnId, SessionId};
use crate::config::Config;
use crate::engineio::packet::Data;
use crate::engineio::{Engine, EngineOutput};
use crate::http::{Error, Parser};
use crate::net::tls::Identity;
use crate::net::{Connection, EndCause, Net, Wake};
use crate::socketio::{App, Io};
use crate::ws;
use bytes::Bytes;
use http::Exchange;
use signals::{Signal, Watch};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{io, mem};

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
enum Protocol {
    /// With the request between its head and its answer.
    Http {
        parser: Parser,
        exchange: Option<Box<Exchange>>,
    },
    WebSocket {
        session: SessionId,
        incoming: ws::Incoming,
    },
    /// The way to the other servers of a cluster.
    #[cfg(feature = "redis")]
    Redis(cluster::Role),
}

impl Default for Protocol {
    fn default() -> Self {
        Protocol::Http { parser: Parser::default(), exchange: None }
    }
}

/// All of salon, in one value.
pub struct Server<A: App> {
    config: Config,
    net: Net<Protocol>,
    io: Io,
    app: A,
    #[cfg(feature = "redis")]
    links: Option<Box<cluster::Links>>,
    /// The time of the turn.
    now: Instant,
    start: Instant,
    /// Turns that began because something was ready, or because a timer was due.
    turns: [u64; 2],
    /// The longest that a timer was late.
    lag: Duration,
    /// When a stopping server ends, whoever is still there.
    stopping: Option<Instant>,
    refused_origins: RateLimitedLog,
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
            links: cluster::Links::new(&config, app.namespaces(), &mut engine)?,
            io: Io::new(config.clone(), app.namespaces(), engine),
            app,
            now,
            start: now,
            turns: [0, 0],
            lag: Duration::ZERO,
            stopping: None,
            refused_origins: RateLimitedLog::default(),
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
            self.links.as_ref().and_then(|links| links.cluster.due()),
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
        while let Some(id) = self.net.pop_due(self.now) {
            self.deadline_passed(id);
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
        let talks = matches!(connection.protocol, Protocol::WebSocket { .. });
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
                Protocol::Http { exchange: Some(exchange), .. } if exchange.body.is_none() => {
                    connection.input.len() >= self.config.max_head
                }
                Protocol::Http { .. } => false,
                #[cfg(feature = "redis")]
                Protocol::Redis(_) => false,
                Protocol::WebSocket { .. } => connection.queued() > self.config.max_queue / 2,
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
        if let Protocol::Http { exchange: None, .. } = connection.protocol
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
                Protocol::Http { .. } => self.http(id, &bytes[used..]),
                Protocol::WebSocket { .. } => self.websocket(id, &bytes[used..]),
                #[cfg(feature = "redis")]
                Protocol::Redis(role) => self.receive_from_redis(role, &bytes[used..]),
            };
            self.pump();
            match step {
                Some(count) => (used, self.steps) = (used + count, self.steps - 1),
                None => return used,
            }
        }
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

    /// One step of WebSocket; `None` if the bytes have to wait.
    fn websocket(&mut self, id: ConnId, bytes: &[u8]) -> Option<usize> {
        let connection = self.net.get_mut(id)?;
        let timed = connection.phase.is_some();
        let Protocol::WebSocket { session, incoming } = &mut connection.protocol else { return None };
        let session = *session;
        match incoming.next(bytes, &self.config) {
            Ok(Some((count, event))) => {
                match event {
                    ws::Received::Text(text) => self.io.engine.receive_frame(id, session, Data::Text(text)),
                    ws::Received::Binary(bytes) => self.io.engine.receive_frame(id, session, Data::Binary(bytes)),
                    ws::Received::Ping(frame) => self.net.push(id, frame),
                    ws::Received::Close(reply) => {
                        // Nothing may follow (RFC 6455 section 5.5.1), and nothing has: there is nothing to wait for.
                        connection.ended = connection.drained && count == bytes.len();
                        self.close_websocket(id, session, reply);
                    }
                    ws::Received::Nothing => {}
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
        self.net.close(id);
        self.io.engine.connection_lost(id, session);
    }

    /// Carries events up and calls down until nothing moves.
    fn pump(&mut self) {
        loop {
            while let Some(output) = self.io.engine.out.outputs.pop_front() {
                match output {
                    EngineOutput::Frame(id, frame) => self.net.push(id, frame),
                    EngineOutput::Answer(id, response) => self.respond(id, response),
                    EngineOutput::Close(id) => self.net.close(id),
                    EngineOutput::Abort(id) => self.net.abort(id),
                }
            }
            let moved = self.io.handle(&mut self.app);
            #[cfg(feature = "redis")]
            let moved = moved || self.exchange_with_cluster();
            if !moved {
                return;
            }
        }
    }

    /// The end of the turn.
    fn settle(&mut self) {
        // The dead first: what a GET of theirs would be answered is lost with them.
        self.reap();
        loop {
            self.io.engine.flush();
            #[cfg(feature = "redis")]
            self.tend_links();
            self.pump();
            self.app.commit(self.now);
            self.net.flush(self.now);
            if !self.reap() {
                return;
            }
        }
    }

    /// Buries the dead, and tells their sessions. Returns whether there were any.
    fn reap(&mut self) -> bool {
        let mut any = false;
        while let Some((id, Connection { protocol, peer, cause, .. })) = self.net.reap() {
            any = true;
            match (&cause, &protocol) {
                (EndCause::Limit(limit), _) => self.io.engine.out.limits.hit(*limit, self.now, peer),
                // That of a link to Redis is told by the cluster.
                (EndCause::Error(error), Protocol::Http { .. } | Protocol::WebSocket { .. })
                    if error.kind() == io::ErrorKind::InvalidData =>
                {
                    self.io.engine.out.limits.hit(Limit::TlsFailure, self.now, format_args!("{peer}: {error}"));
                }
                _ => {}
            }
            if let Some(session) = protocol.session() {
                self.io.engine.connection_lost(id, session);
            }
            match protocol {
                Protocol::WebSocket { .. } => self.io.engine.budget.used -= 1,
                Protocol::Http { .. } => {}
                #[cfg(feature = "redis")]
                Protocol::Redis(role) => self.redis_connection_lost(role, id, cause),
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
            Protocol::Http { exchange: None, .. } if connection.input.is_empty() => self.net.close(id),
            // A parked poll that nobody waits for, half a request, or a WebSocket without a goodbye.
            _ => self.net.abort(id),
        }
    }

    /// The phase a connection was in has lasted too long.
    fn deadline_passed(&mut self, id: ConnId) {
        let Some(connection) = self.net.get(id) else { return };
        match connection.protocol {
            Protocol::Http { exchange: None, .. } if connection.input.is_empty() => {
                if connection.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
                    self.hit(Limit::TlsTime, id);
                } else if connection.half_open.is_some() {
                    self.hit(Limit::HeadTime, id);
                }
                self.net.abort(id);
            }
            Protocol::Http { .. } => self.fail(id, Error { status: 408, reason: "request timeout" }),
            Protocol::WebSocket { session, .. } => {
                self.hit(Limit::MessageTime, id);
                self.close_websocket(id, session, ws::close_frame(1008, "message timeout"));
            }
            // The cluster has deadlines of its own.
            #[cfg(feature = "redis")]
            Protocol::Redis(_) => {}
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
        self.io.engine.begin_drain(self.config.drain.mul_f64(FAREWELLS));
        self.settle();
    }

    /// Whether a stopping server may end: its clients know and its answers have left, or its time is over.
    fn has_stopped(&mut self) -> bool {
        let Some(deadline) = self.stopping else { return false };
        let all_know = self.io.engine.is_empty();
        if all_know {
            self.net.close_all();
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

impl Protocol {
    /// The session that the connection belongs to.
    fn session(&self) -> Option<SessionId> {
        match self {
            Protocol::WebSocket { session, .. } => Some(*session),
            Protocol::Http { exchange, .. } => Some(exchange.as_ref()?.session),
            #[cfg(feature = "redis")]
            Protocol::Redis(_) => None,
        }
    }
}

#[cfg(debug_assertions)]
#[path = "../../tests/seams/server.rs"]
mod check;
