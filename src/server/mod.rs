//! The server: one turn of the event loop. This is the best file to start reading.
//!
//! [`Server`] owns every layer and is the only type that knows them all: `net` moves bytes, `http` and `ws` parse them,
//! `engineio` keeps sessions, `socketio` keeps sockets and rooms, the application answers events. [`Server::run`] repeats
//! [`Server::turn`] until a signal stops it:
//!
//! ```text
//!   wait     until a socket is ready or a timer is due; not at all if the last turn has left input unread
//!   now      read the clock, once per turn; the layers below get the time as an argument (rule R6)
//!   expire   run the timers that are due, such as heartbeats and timeouts                  then pump
//!   read     from each ready connection a limited share: parse and handle each             then pump
//!            frame or part of a request
//!   settle   answer parked polls, write the history, write to sockets, reap closed         then pump
//!            connections; repeat until nothing is left to reap
//! ```
//!
//! `pump` connects the layers. It carries events up (engineio, then socketio, then the application) and outputs down (frames
//! and responses, into the outboxes of `net`) until there are none. Calls go down and only enqueue, so nothing is re-entrant
//! (rule R5). `pump` runs after every frame and request: one message may go to a thousand outboxes, and their limits must
//! apply before the next. Only the write waits for `settle`: normally one per connection and turn, however much is queued.
//!
//! Timers go first, so that a request that arrives half a millisecond after the deadline of its session finds the session
//! closed. But if a timer is very late, the loop itself has stalled (throttled CPU, suspended machine). Then input goes
//! first, or every session would be closed although its pong waits in the kernel.
//!
//! The rules of one connection are in `input` (share of a turn, backpressure, half-close, deadlines), `http` and
//! `websocket`. `access` decides by origin and address who may connect.

pub mod access;
mod account;
#[cfg(feature = "redis")]
mod cluster;
mod http;
mod input;
mod metrics;
pub mod probe;
mod protocol;
mod signals;
mod websocket;

use crate::base::id::Ids;
use crate::base::limits::Limit;
use crate::base::logger::RateLimitedLog;
use crate::base::slab::ConnId;
use crate::config::Config;
use crate::engineio::{Engine, EngineOutput};
use crate::http::assets::{self, Asset};
use crate::net::tls::Identity;
use crate::net::{Connection, EndCause, Net, Wake};
use crate::socketio::{App, Io};
use protocol::Protocol;
use signals::Watch;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Maximum bytes that one read returns.
const SCRATCH: usize = 64 * 1024;
/// If a timer is overdue by more than this, the loop has stalled.
const STALLED: Duration = Duration::from_millis(250);
/// Maximum number of rounds in which the turn after a stall reads what connections have sent beyond their share of a turn.
const ROUNDS: usize = 16;
/// Minimum time that a stopping server has to send its last responses, even if `drain` is shorter.
const MIN_STOP_TIME: Duration = Duration::from_millis(1500);
/// The share of `drain` in which the sessions are closed; the rest is left for the last responses.
const DRAIN_SHARE: f64 = 0.8;

pub struct Server<A: App> {
    config: Config,
    net: Net<Protocol>,
    io: Io,
    app: A,
    #[cfg(feature = "redis")]
    links: Option<Box<cluster::Links>>,
    /// The time of the present turn.
    now: Instant,
    start: Instant,
    /// The page with the title of `--title`; `None` if that is the title of the embedded one.
    page: Option<Asset>,
    /// The Content-Security-Policy of the page.
    policy: String,
    /// The number of turns in which something was ready, and of turns that only a timer started.
    turns: [u64; 2],
    /// The longest delay of a timer since the start.
    lag: Duration,
    /// The time at which a stopping server ends even if clients are left; `None` while it serves.
    stopping: Option<Instant>,
    refused_origins: RateLimitedLog,
    /// Connections that are not read until the account of held bytes is below its limit: see `account`.
    waiting: BTreeSet<ConnId>,
    /// The time at which `shed` first found the account above its limit; `None` if the last check found it below.
    over_since: Option<Instant>,
    /// The number of steps that the connection which is being read may still take in this turn.
    steps: usize,
    /// The buffer for every read.
    scratch: Vec<u8>,
}

impl<A: App> Server<A> {
    /// Creates a server that does not listen yet. `Err` if there is no selector (epoll) or a file in `config` is unusable.
    pub fn new(config: Config, app: A, ids: Ids, now: Instant) -> io::Result<Server<A>> {
        #[cfg_attr(not(feature = "redis"), expect(unused_mut))]
        let mut engine = Engine::new(config.clone(), ids, now);
        let mut net = Net::new(config.clone())?;
        net.identity = load_identity(&config, None).map_err(io::Error::other)?;
        Ok(Server {
            net,
            #[cfg(feature = "redis")]
            links: cluster::Links::new(&config, app.namespaces(), &mut engine)?,
            io: Io::new(config.clone(), app.namespaces(), engine),
            app,
            now,
            start: now,
            policy: [assets::POLICY, &config.frame_ancestors].concat(),
            page: (config.title != assets::TITLE).then(|| assets::page(&config.title)),
            turns: [0, 0],
            lag: Duration::ZERO,
            stopping: None,
            refused_origins: RateLimitedLog::default(),
            waiting: BTreeSet::new(),
            over_since: None,
            steps: 0,
            scratch: vec![0; SCRATCH],
            config,
        })
    }

    /// Listens as `config` says, and serves until a signal stops the server.
    pub fn run(mut self) -> io::Result<()> {
        let mut signals = Watch::new(&mut self.net)?;
        let address = self.listen(self.config.port)?;
        // Redirects contain the real port, even if `config` has 0.
        self.config.port = address.port();
        let scheme = if self.net.identity.is_some() { "https" } else { "http" };
        let (version, instance) = (env!("CARGO_PKG_VERSION"), &self.config.instance);
        log::info!("salon {version}, instance {instance}, listens on {scheme}://{address}");
        if let Some(port) = self.config.redirect_http {
            log::info!("http://{} redirects there", self.listen(port)?);
        }
        self.read_clock(SystemTime::now());
        self.app.start(&mut self.io);
        let mut wakes = Vec::new();
        while !self.has_stopped() {
            self.net.wait(Instant::now(), self.next_deadline())?;
            let now = Instant::now();
            self.net.drain_events(now, self.lateness(now) > STALLED, &mut wakes);
            self.turn(now, SystemTime::now(), &wakes);
            if wakes.iter().any(|wake| matches!(wake, Wake::Woken)) {
                for is_reload in signals.received() {
                    if is_reload { self.reload() } else { self.stop() }
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

    /// Reloads the certificate and its key. Open connections keep the old ones.
    fn reload(&mut self) {
        match load_identity(&self.config, self.net.identity.as_ref()) {
            Ok(new) => {
                log::info!("certificate reloaded");
                self.net.identity = new;
            }
            Err(why) => log::error!("{why}; the old certificate stays in use"),
        }
    }

    /// Returns the time at which the next turn is due even if no socket is ready.
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

    /// Notes the time of the system clock. A clock before 1970 has not been set; the time is then 0.
    fn read_clock(&mut self, time: SystemTime) {
        self.io.time = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    }

    /// Runs one turn of the loop. `time` is the system clock at `now`, `wakes` is what is ready.
    pub fn turn(&mut self, now: Instant, time: SystemTime, wakes: &[Wake]) {
        let late = self.lateness(now);
        let stalled = late > STALLED;
        self.lag = self.lag.max(late);
        self.turns[usize::from(wakes.is_empty())] += 1;
        self.now = now;
        self.io.engine.now = now;
        self.read_clock(time);
        for _ in 0..self.net.waiting.new {
            self.io.engine.out.limits.hit(Limit::Connections, now, "all");
        }
        if !stalled {
            self.expire();
        }
        for wake in wakes {
            // For `Wake::Woken`: results of other threads are picked up in `settle`, signals after the turn.
            if let Wake::Connection { id, readable, writable, hung_up } = *wake {
                self.net.observe(id, writable, hung_up);
                if readable {
                    self.handle_input(id);
                }
            }
        }
        if stalled {
            // What a connection has sent beyond its share of the turn may show that the client is alive.
            for _ in 0..ROUNDS {
                self.net.take_unread().into_iter().for_each(|id| self.handle_input(id));
            }
            self.expire();
        }
        self.settle();
    }

    /// Reads a connection, and brings the account up to date.
    fn handle_input(&mut self, id: ConnId) {
        self.read_connection(id);
        self.net.weigh(id);
        self.shed();
    }

    /// Returns by how much the most overdue timer is late; zero if none is due.
    fn lateness(&self, now: Instant) -> Duration {
        self.next_deadline().map_or(Duration::ZERO, |due| now.saturating_duration_since(due))
    }

    fn expire(&mut self) {
        while let Some(id) = self.net.pop_due(self.now) {
            self.handle_deadline(id);
        }
        self.io.expire();
        self.app.expire(&mut self.io);
        self.pump();
    }

    /// Counts and logs a limit that the peer of a connection has reached.
    fn hit(&mut self, limit: Limit, id: ConnId) {
        let peer = self.peer(id);
        self.io.engine.out.limits.hit(limit, self.now, peer);
    }

    /// Returns the address of the peer of a connection that this turn works on, and that is therefore not reaped yet.
    fn peer(&self, id: ConnId) -> IpAddr {
        self.net.get(id).expect("connections are reaped only at the end of the turn").peer
    }

    /// Carries events up and outputs down until there are none, then publications to Redis.
    fn pump(&mut self) {
        loop {
            while let Some(output) = self.io.engine.out.outputs.pop_front() {
                match output {
                    EngineOutput::Frame(id, frame) => self.net.push(id, frame),
                    EngineOutput::Answer(id, response) => self.respond(id, response),
                    EngineOutput::Close(id, None) => self.net.close(id),
                    EngineOutput::Close(id, Some(code)) => self.end_websocket(id, code),
                }
            }
            if !self.io.handle(&mut self.app) {
                break;
            }
        }
        #[cfg(feature = "redis")]
        self.publish();
    }

    /// Ends the turn: everything queued is written, and the sessions of closed connections are informed.
    fn settle(&mut self) {
        // Reaping comes before the engine's flush, which would lose packets in responses to polls on dead connections.
        self.reap();
        loop {
            // Before the engine's flush, so that polls answered there carry the `user left` events of a node that is silent.
            #[cfg(feature = "redis")]
            self.tend_links();
            self.io.engine.flush();
            self.pump();
            self.app.commit(self.now);
            self.net.flush(self.now);
            if !self.reap() {
                return self.resume_reading();
            }
        }
    }

    /// Removes dead connections and informs their sessions. Returns whether there were any.
    fn reap(&mut self) -> bool {
        let mut any = false;
        while let Some((id, Connection { protocol, peer, cause, .. })) = self.net.reap() {
            any = true;
            self.waiting.remove(&id);
            match (&cause, &protocol) {
                (EndCause::Limit(limit), _) => self.io.engine.out.limits.hit(*limit, self.now, peer),
                // `cluster` reports the errors of its links itself.
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

    /// Begins to stop: new sessions are refused, open ones are closed within `drain`. A second call ends the server at once.
    pub fn stop(&mut self) {
        if self.stopping.is_some() {
            log::info!("stopping at once");
            self.stopping = Some(self.now);
            return;
        }
        log::info!("stopping");
        self.stopping = Some(self.now + self.config.drain.max(MIN_STOP_TIME));
        self.io.engine.begin_drain(self.config.drain.mul_f64(DRAIN_SHARE));
        self.settle();
    }

    /// Returns whether a stopping server may end: all connections are gone, or its time is over. Begins to close the
    /// connections when all sessions are closed, all requests are answered, even those of which only a part has arrived, and
    /// all close frames too.
    pub fn has_stopped(&mut self) -> bool {
        let Some(deadline) = self.stopping else { return false };
        let waits = |protocol: &_| {
            matches!(protocol, Protocol::Http { exchange: Some(_), .. } | Protocol::WebSocket { closing: Some(_), .. })
        };
        let has_part = |it: &Connection<_>| it.is_open() && (waits(&it.protocol) || !it.input.is_empty());
        let is_busy = self.net.connections.iter().any(|(_, it)| it.unread || has_part(it));
        let is_drained = self.io.engine.is_empty() && self.net.acceptor().is_none() && !is_busy;
        if is_drained {
            self.net.close_all();
            self.settle();
        }
        self.now >= deadline || is_drained && self.net.connections.is_empty()
    }
}

/// Loads certificate and key, and logs a warning if clients reject them because of the date, now or soon. Session tickets
/// issued by `old`, the identity used so far, stay valid.
fn load_identity(config: &Config, old: Option<&Identity>) -> Result<Option<Identity>, String> {
    let identity = Identity::load(config, old)?;
    if let Some(warning) = identity.as_ref().and_then(|identity| identity.warning.as_ref()) {
        log::warn!("{warning}");
    }
    Ok(identity)
}

#[cfg(debug_assertions)]
#[path = "../../tests/seams/server.rs"]
mod check;
