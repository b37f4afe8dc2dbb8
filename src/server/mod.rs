//! The server: one turn of the event loop. The best place to start reading.
//!
//! [`Server`] owns every layer and is the only type that knows them all: `net` moves bytes, `http` and `ws` parse them,
//! `engineio` keeps sessions, `socketio` keeps sockets and rooms, the application answers events. [`Server::run`] repeats
//! [`Server::turn`] until a signal stops it:
//!
//! ```text
//!   wait     until a socket is ready or a timer is due; not at all if the last turn has left input unread
//!   now      read the clock, once per turn; the layers below get the time as an argument (rule R6)
//!   expire   run the timers that are due, such as heartbeats and timeouts                  pump
//!   read     from each ready connection a limited share: parse and handle each             pump
//!            frame or part of a request
//!   settle   answer parked polls, write the history, write to sockets, reap closed         pump
//!            connections; repeat until nothing is left to reap
//! ```
//!
//! `pump` connects the layers. It carries events up (engineio, then socketio, then the application) and outputs down (frames
//! and responses, into the outboxes of `net`) until there are none. Calls go down and only enqueue, so nothing is re-entrant
//! (rule R5). `pump` runs after every frame and request, because one message may go to a thousand outboxes, whose limits must
//! apply at once. Only the write waits for `settle`: one per connection and turn, however much was queued.
//!
//! Timers go first, so that a request that arrives half a millisecond after the deadline of its session finds it closed.
//! But if a timer is very late, the loop itself has stalled (throttled CPU, suspended machine). Then input goes first, or
//! every session would be closed although its pong waits in the kernel.
//!
//! The rules of one connection are in `input` (share of a turn, backpressure, half-close, deadlines), `http` and `websocket`;
//! `access` decides by origin and address who may connect.

pub mod access;
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
use crate::net::tls::Identity;
use crate::net::{Connection, EndCause, Net, Wake};
use crate::socketio::{App, Io};
use protocol::Protocol;
use signals::{Signal, Watch};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The most bytes that one read returns.
const SCRATCH: usize = 64 * 1024;
/// A timer this much overdue shows that the loop has stalled.
const STALLED: Duration = Duration::from_millis(250);
/// The least time that a stopping server waits for its last responses to be sent.
const MIN_STOP_TIME: Duration = Duration::from_millis(1500);
/// The share of `drain` in which the sessions are closed; the rest is left for the last responses.
const DRAIN_SHARE: f64 = 0.8;

/// The whole server, as one value.
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
    /// Turns so far: those with something ready, and those for a timer.
    turns: [u64; 2],
    /// The most that a timer was late, over the life of the process.
    lag: Duration,
    /// Set once the server stops: when it ends even if clients are left.
    stopping: Option<Instant>,
    refused_origins: RateLimitedLog,
    /// Steps that the connection which is being read may still take in this turn.
    steps: usize,
    /// The buffer of every read.
    scratch: Vec<u8>,
}

impl<A: App> Server<A> {
    /// A server that does not listen yet. Fails if the system provides no selector, or a file named in `config` is unusable.
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
            turns: [0, 0],
            lag: Duration::ZERO,
            stopping: None,
            refused_origins: RateLimitedLog::default(),
            steps: 0,
            scratch: vec![0; SCRATCH],
            config,
        })
    }

    /// Listens as `config` says, and serves until a signal stops it.
    pub fn run(mut self) -> io::Result<()> {
        let mut signals = Watch::new(&mut self.net)?;
        let address = self.listen(self.config.port)?;
        // Redirects contain the real port, also if `config` has 0.
        self.config.port = address.port();
        let scheme = if self.net.identity.is_some() { "https" } else { "http" };
        let (version, instance) = (env!("CARGO_PKG_VERSION"), &self.config.instance);
        log::info!("salon {version}, instance {instance}, listens on {scheme}://{address}");
        if let Some(port) = self.config.redirect_http {
            log::info!("http://{} redirects there", self.listen(port)?);
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

    /// Reloads the certificate and its key. Open connections keep the old one.
    fn reload(&mut self) {
        match load_identity(&self.config, self.net.identity.as_ref()) {
            Ok(new) => {
                log::info!("certificate reloaded");
                self.net.identity = new;
            }
            Err(why) => log::error!("{why}; the old certificate stays in use"),
        }
    }

    /// When the next turn is due even if no socket is ready.
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

    /// One turn of the loop. `time` is the wall clock at `now`, `wakes` what is ready.
    pub fn turn(&mut self, now: Instant, time: SystemTime, wakes: &[Wake]) {
        let late = self.next_deadline().map_or(Duration::ZERO, |due| now.saturating_duration_since(due));
        let stalled = late > STALLED;
        self.lag = self.lag.max(late);
        self.turns[usize::from(wakes.is_empty())] += 1;
        self.now = now;
        self.io.engine.now = now;
        // A wall clock before 1970 is not set; it counts as 0.
        self.io.time = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        if self.net.is_full() {
            self.io.engine.out.limits.hit(Limit::Connections, now, "all");
        }
        if !stalled {
            self.expire();
        }
        for wake in wakes {
            match *wake {
                // Results of other threads are picked up in `settle`, signals after the turn.
                Wake::Woken => {}
                Wake::Connection { id, readable, writable, hung_up } => {
                    self.net.observe(id, writable, hung_up);
                    if readable {
                        self.read_connection(id);
                    }
                }
            }
        }
        if stalled {
            self.expire();
        }
        self.settle();
    }

    /// Runs every timer that is due.
    fn expire(&mut self) {
        while let Some(id) = self.net.pop_due(self.now) {
            self.handle_deadline(id);
        }
        self.io.expire();
        self.app.expire(&mut self.io);
        self.pump();
    }

    /// Counts a limit that the peer of a connection has reached.
    fn hit(&mut self, limit: Limit, id: ConnId) {
        let peer = self.peer(id);
        self.io.engine.out.limits.hit(limit, self.now, peer);
    }

    /// The address of a connection that this turn works on.
    fn peer(&self, id: ConnId) -> IpAddr {
        self.net.get(id).expect("connections are reaped only at the end of the turn").peer
    }

    /// Carries events up and outputs down until there are none.
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

    /// Ends the turn: everything queued is written, and closed connections leave their sessions.
    fn settle(&mut self) {
        // Before the flush: packets put into the response to a dead poll would be lost.
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

    /// Removes dead connections and informs their sessions. Returns whether there were any.
    fn reap(&mut self) -> bool {
        let mut any = false;
        while let Some((id, Connection { protocol, peer, cause, .. })) = self.net.reap() {
            any = true;
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

    /// Begins to stop: new sessions are refused, open ones are closed over the time of `drain`. A second call ends at once.
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

    /// Whether a stopping server may end: every session is closed and every response sent, or its time is over.
    fn has_stopped(&mut self) -> bool {
        let Some(deadline) = self.stopping else { return false };
        let is_drained = self.io.engine.is_empty();
        if is_drained {
            self.net.close_all();
            self.settle();
        }
        self.now >= deadline || is_drained && self.net.is_empty()
    }
}

/// Loads certificate and key, and warns if clients are likely to reject them.
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
