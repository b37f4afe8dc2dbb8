//! All sockets of the server: this folder polls, accepts, reads and writes through mio, but does not parse what is read.
//!
//! Three lists of connections carry the work of a turn: `dirty` (to be written), `unread` (to be read in the next turn even
//! without an event) and `dead` (to be reaped). Nothing here calls upwards (R5): a full outbox or a broken socket only makes
//! the connection dead, and `server` learns of it from [`Net::reap`] at the end of the turn.
//!
//! | Call | Queued bytes | Effect |
//! |---|---|---|
//! | [`Net::close`] (graceful) | are written | TLS close_notify, FIN; then, for up to a second, input is discarded |
//! | [`Net::abort`] | are dropped | the connection is dead, and its socket is closed at the end of the turn |
//! | [`Net::reap`] | | returns each dead connection once, so that `server` can release what belongs to it |
//!
//! Events are edge-triggered, so these rules hold: A socket is registered once, for both interests. After a readiness event
//! it is read as R2 says, or is on the list `unread`. A connection with queued bytes is dirty, or its last write returned
//! `WouldBlock` (R3). A short write is followed by another one, because Windows reports a socket only after `WouldBlock`.

mod connection;
pub mod kernel;
mod listener;
#[cfg(not(feature = "tls"))]
pub mod no_tls;
mod outbox;
#[cfg(feature = "tls")]
pub mod tls;

use crate::base::limits::{Addresses, Groups, Limit};
use crate::base::metrics::{GAUGE, Metrics};
use crate::base::queue::Pool;
use crate::base::slab::{Conn, ConnId, Slab};
use crate::base::timers::{Deadline, Timers};
use crate::config::Config;
use crate::net::kernel::{Stream, Transfer};
use crate::net::tls::{Identity, Scratch, Tls};
use connection::{ConnState, LINGER_BYTES};
pub use connection::{Connection, EndCause, ReadState, State};
use listener::{Listener, Waiting};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
#[cfg(not(feature = "tls"))]
pub use no_tls as tls;
use std::io::{self, ErrorKind};
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Tokens that no packed [`ConnId`] can have.
const LISTENER: Token = Token(usize::MAX);
const SIGNALS: Token = Token(usize::MAX - 1);
const WAKER: Token = Token(usize::MAX - 2);
/// Maximum number of readiness events that one poll returns.
const BATCH: usize = 1024;
/// Maximum number of connections accepted in one turn: a flood of new ones must not starve the existing ones.
const ACCEPTS_PER_TURN: usize = 64;

/// What [`Net::drain_events`] reports as ready.
#[derive(Clone, Copy, Debug)]
pub enum Wake {
    /// A signal was received, or `waker` was used.
    Woken,
    /// A connection is ready. `hung_up`: the peer has shut down its side, or reset the connection.
    Connection { id: ConnId, readable: bool, writable: bool, hung_up: bool },
}

/// All sockets of the process. `P` is the state that `server` keeps with each connection.
pub struct Net<P> {
    config: Config,
    poll: Poll,
    events: Events,
    listeners: Vec<Listener>,
    pub connections: Slab<Conn, Connection<P>>,
    /// The entries of all outboxes.
    pub pool: Pool,
    dirty: Vec<ConnId>,
    dead: Vec<ConnId>,
    unread: Vec<ConnId>,
    /// The certificate of the first listener; `None` if connections to that listener have no TLS.
    pub identity: Option<Identity>,
    scratch: Scratch,
    /// Bytes that all connections hold besides their outboxes; see [`Net::weigh`].
    pub held: usize,
    /// The timers of the fields `phase` and `stall` of all connections.
    phases: Timers<ConnId>,
    stalls: Timers<ConnId>,
    /// The connections whose field `half_open` is set.
    half_open: Groups<(Instant, ConnId)>,
    /// The number of connections per peer address, for `max_per_address`.
    addresses: Addresses,
    /// The clients that wait because `max_connections` is reached.
    pub waiting: Waiting,
    /// Wakes the event loop from another thread.
    pub waker: Arc<Waker>,
}

impl<P: State> Net<P> {
    /// Creates a `Net` without sockets. Fails if the operating system provides no selector (epoll or the like).
    pub fn new(config: Config) -> io::Result<Net<P>> {
        let poll = Poll::new()?;
        Ok(Net {
            addresses: Addresses::new(config.trust_proxy.clone()),
            config,
            waker: Arc::new(Waker::new(poll.registry(), WAKER)?),
            poll,
            events: Events::with_capacity(BATCH),
            listeners: Vec::new(),
            connections: Slab::default(),
            pool: Pool::default(),
            dirty: Vec::new(),
            dead: Vec::new(),
            unread: Vec::new(),
            identity: None,
            scratch: Scratch::default(),
            held: 0,
            phases: Timers::default(),
            stalls: Timers::default(),
            half_open: Groups::default(),
            waiting: Waiting::default(),
        })
    }

    /// Listens on `port` (0: a free port), and returns the address. The first listener has TLS if `identity` is set.
    pub fn listen(&mut self, port: u16) -> io::Result<SocketAddr> {
        let (listener, address) = Listener::open(self.config.host, port, self.poll.registry(), LISTENER)?;
        self.listeners.push(listener);
        Ok(address)
    }

    /// Stops listening, and closes every connection gracefully, as [`Net::close`] does.
    pub fn close_all(&mut self) {
        self.listeners.clear();
        self.connections.keys().into_iter().for_each(|id| self.close(id));
    }

    /// Registers a source of signals, which are reported as [`Wake::Woken`].
    pub fn watch_signals(&mut self, source: &mut impl mio::event::Source) -> io::Result<()> {
        self.poll.registry().register(source, SIGNALS, Interest::READABLE)
    }

    /// Waits until something is ready or `deadline` is reached (`None`: no time limit). Does not wait if the last turn left
    /// input unread or connections unaccepted.
    pub fn wait(&mut self, now: Instant, deadline: Option<Instant>) -> io::Result<()> {
        let deadline = if self.acceptor().is_some() || !self.unread.is_empty() { Some(now) } else { deadline };
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(now));
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// Accepts connections. Replaces `wakes` by what is ready: readiness events, new connections, and those in `unread`.
    /// `all` is set after a stall, when the events at hand may be old: the kernel is then polled again until a batch is not
    /// full, or `max_connections` events are there.
    pub fn drain_events(&mut self, now: Instant, all: bool, wakes: &mut Vec<Wake>) {
        wakes.clear();
        self.waiting.new = 0;
        let mut more = all;
        self.take_events(wakes);
        while more && wakes.len() < self.config.max_connections {
            // An error can be ignored: the next `wait` returns it again.
            let _ = self.poll.poll(&mut self.events, Some(Duration::ZERO));
            more = self.take_events(wakes) == BATCH;
        }
        let most = if all { usize::MAX } else { ACCEPTS_PER_TURN };
        for _ in 0..most {
            let Some(index) = self.acceptor() else { break };
            let Some((stream, peer)) = self.listeners[index].accept(now) else { continue };
            self.waiting.accept();
            let tls = self.identity.as_ref().filter(|_| index == 0).map(Identity::accept);
            let id = self.adopt(stream, peer.ip(), tls, P::default());
            self.admit(id, now);
            // The first bytes have often arrived already; reading them now saves a wake-up.
            wakes.push(Wake::Connection { id, readable: true, writable: false, hung_up: false });
        }
        if self.is_full() || self.acceptor().is_none() {
            self.waiting.settle(self.is_full());
        }
        let unread = self.take_unread().into_iter();
        wakes.extend(unread.map(|id| Wake::Connection { id, readable: true, writable: true, hung_up: false }));
    }

    /// Returns the connections of which a turn has not read all, and empties their list.
    pub fn take_unread(&mut self) -> Vec<ConnId> {
        let unread = mem::take(&mut self.unread);
        for id in &unread {
            if let Some(connection) = self.connections.get_mut(*id) {
                connection.unread = false;
            }
        }
        unread
    }

    /// Adds the events of the last poll to `wakes`. Returns their number.
    fn take_events(&mut self, wakes: &mut Vec<Wake>) -> usize {
        for event in &self.events {
            match event.token() {
                LISTENER => {
                    if self.is_full() {
                        self.waiting.count();
                    }
                    self.listeners.iter_mut().for_each(|listener| listener.ready = true);
                }
                SIGNALS | WAKER => wakes.push(Wake::Woken),
                Token(number) => wakes.push(Wake::Connection {
                    id: ConnId::unpack(number),
                    readable: event.is_readable() || event.is_read_closed() || event.is_error(),
                    writable: event.is_writable(),
                    hung_up: event.is_read_closed() || event.is_error(),
                }),
            }
        }
        let count = self.events.iter().count();
        self.events.clear();
        count
    }

    /// Whether the limit `max_connections` is reached. No connection is accepted then until one ends.
    fn is_full(&self) -> bool {
        self.connections.len() >= self.config.max_connections
    }

    /// Returns the index of a listener that may have a connection waiting; `None` if there is none, or `is_full`.
    pub fn acceptor(&self) -> Option<usize> {
        let room = !self.is_full();
        self.listeners.iter().position(|listener| room && listener.ready && listener.pause.is_none())
    }

    /// Adds a connection with a new socket and registers the socket with mio. If that fails, the connection is aborted.
    fn adopt(&mut self, stream: TcpStream, peer: IpAddr, tls: Option<Tls>, protocol: P) -> ConnId {
        // An error can be ignored: the socket is broken already, and its first read fails too.
        let _ = stream.set_nodelay(true);
        let id = self.insert(stream.into(), peer, tls, protocol);
        let stream = &mut self.connections.get_mut(id).expect("inserted just now").stream;
        let result = self.poll.registry().register(stream, Token(id.pack()), Interest::READABLE | Interest::WRITABLE);
        if let Err(error) = result {
            self.abort_because(id, EndCause::Error(error));
        }
        id
    }

    /// Begins an outgoing connection. Bytes pushed to it are sent once it is established. If it fails, `reap` returns it.
    pub fn connect(&mut self, address: SocketAddr, tls: Option<Tls>, protocol: P) -> io::Result<ConnId> {
        Ok(self.adopt(TcpStream::connect(address)?, address.ip(), tls, protocol))
    }

    fn insert(&mut self, stream: Stream, peer: IpAddr, tls: Option<Tls>, protocol: P) -> ConnId {
        // A socket for IPv6 and IPv4 reports IPv4 addresses as IPv4-mapped (RFC 4291 section 2.5.5.2).
        let peer = peer.to_canonical();
        self.addresses.acquire(peer);
        self.connections.insert(Connection::new(stream, peer, tls, protocol))
    }

    pub fn get(&self, id: ConnId) -> Option<&Connection<P>> {
        self.connections.get(id)
    }

    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection<P>> {
        self.connections.get_mut(id)
    }

    /// Returns the number of running timers.
    pub fn timers(&self) -> usize {
        self.phases.len() + self.stalls.len()
    }

    pub fn metrics(&self, metrics: &mut Metrics) {
        metrics.rows(&[
            ("connections", GAUGE, "TCP connections.", &self.connections.len()),
            ("half_open", GAUGE, "Connections that have sent no complete request.", &self.half_open.len),
        ]);
    }

    /// Records that a connection is writable or that its peer has hung up. Input is not read here, but by [`Net::read`].
    pub fn observe(&mut self, id: ConnId, writable: bool, hung_up: bool) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if writable && connection.queued() > 0 {
            list(&mut self.dirty, &mut connection.dirty, id);
        }
        if hung_up && connection.reading != ReadState::Ended {
            connection.reading = ReadState::HungUp;
        }
    }

    /// Reads into `buffer`. Returns the number of bytes, 0 at the end of the stream; `None` if there is no input for now, or
    /// the connection is dead or fails.
    pub fn read(&mut self, id: ConnId, buffer: &mut [u8]) -> Option<usize> {
        let connection = self.connections.get_mut(id)?;
        if let ConnState::Dead = connection.state {
            return None;
        }
        let result = connection.read(&mut self.scratch, buffer);
        // TLS may have to answer a handshake message, or the handshake is complete, so that queued bytes can be sent.
        if connection.tls.is_some() && connection.queued() > 0 {
            list(&mut self.dirty, &mut connection.dirty, id);
        }
        match result {
            Ok(Transfer::Moved(count) | Transfer::Drained(count)) if connection.allows(count) => return Some(count),
            Ok(Transfer::Moved(_) | Transfer::Drained(_)) => self.abort(id),
            Ok(Transfer::WouldBlock) => {}
            Ok(Transfer::Retry) => list(&mut self.unread, &mut connection.unread, id),
            // Not aborted but closed, so that the peer can read the TLS alert that names the error.
            Err(error) if connection.is_open() && error.kind() == ErrorKind::InvalidData => {
                connection.cause = EndCause::Error(error);
                self.close(id);
                self.remember_unread(id);
            }
            Err(error) => self.abort_because(id, EndCause::Error(error)),
        }
        None
    }

    /// Makes the next turn read the connection even if the kernel reports nothing: this turn has not read all of it.
    pub fn remember_unread(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(id) {
            list(&mut self.unread, &mut connection.unread, id);
        }
    }

    /// Closes the connection gracefully: once everything queued is written. Until then only the deadline of writing counts.
    pub fn close(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(id).filter(|connection| connection.is_open()) {
            // While the connection waits for a request, there is no response that a reset could destroy.
            connection.no_linger |= connection.phase.is_some() && connection.queued() == 0;
            self.set_phase(id, None);
        }
        if let Some(connection) = self.connections.get_mut(id).filter(|connection| connection.is_open()) {
            connection.state = ConnState::Closing(LINGER_BYTES);
            connection.input = Vec::new();
            // `flush_one` must see the connection even if its outbox is empty already: there it begins to linger.
            list(&mut self.dirty, &mut connection.dirty, id);
        }
    }

    /// Closes the connection at the end of this turn. Queued bytes are dropped.
    pub fn abort(&mut self, id: ConnId) {
        self.abort_because(id, EndCause::Closed);
    }

    fn abort_because(&mut self, id: ConnId, cause: EndCause) {
        if let Some(connection) = self.connections.get_mut(id)
            && !matches!(connection.state, ConnState::Dead)
        {
            connection.state = ConnState::Dead;
            if matches!(connection.cause, EndCause::Closed) {
                connection.cause = cause;
            }
            self.dead.push(id);
            self.pool.clear(&mut connection.outbox);
            connection.sent = 0;
            self.weigh(id);
            self.set_half_open(id, None);
        }
    }

    /// Sets or clears the time since which a connection owes a request head.
    fn set_half_open(&mut self, id: ConnId, to: Deadline) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let from = mem::replace(&mut connection.half_open, to);
        from.into_iter().for_each(|from| self.half_open.remove(connection.peer, (from, id)));
        to.into_iter().for_each(|to| self.half_open.insert(connection.peer, (to, id)));
    }

    /// Applies the limits of new connections: their number per address, and the time for the first request head.
    fn admit(&mut self, id: ConnId, now: Instant) {
        match self.get(id).is_some_and(|new| self.addresses.count(new.peer) > self.config.max_per_address) {
            true => self.abort_because(id, EndCause::Limit(Limit::AddressConnections)),
            false => self.await_head(id, now),
        }
    }

    /// Starts the deadline of a request head. If more than `max_half_open` connections lack a complete head, the oldest one
    /// of the address that has most of them is aborted: if new connections were refused instead, or if only age counted,
    /// silent clients could lock out all others.
    pub fn await_head(&mut self, id: ConnId, now: Instant) {
        if self.get(id).is_none_or(|connection| !connection.is_open()) {
            return;
        }
        self.set_phase(id, Some(now + self.config.head_timeout));
        self.set_half_open(id, Some(now));
        if self.half_open.len > self.config.max_half_open
            && let Some((_, oldest)) = self.half_open.first_of_most()
        {
            self.abort_because(oldest, EndCause::Limit(Limit::HalfOpen));
        }
    }

    /// Sets the deadline of the next phase of an open connection, or clears it (`None`). Afterwards the connection counts as
    /// neither half-open nor idle.
    pub fn set_phase(&mut self, id: ConnId, at: Option<Instant>) {
        let Some(connection) = self.connections.get_mut(id).filter(|connection| connection.is_open()) else { return };
        connection.idle = false;
        match at {
            Some(at) => self.phases.set(id, &mut connection.phase, at),
            None => self.phases.clear(id, &mut connection.phase),
        }
        self.set_half_open(id, None);
    }

    /// Returns a connection whose phase has expired, if any. Also evicts slow readers, and ends lingering and accept pauses.
    pub fn pop_due(&mut self, now: Instant) -> Option<ConnId> {
        while let Some((_, id)) = self.stalls.pop_due(now) {
            let soft = self.connections.get(id).is_some_and(|connection| connection.soft);
            self.abort_because(id, EndCause::Limit(if soft { Limit::SoftQueue } else { Limit::WriteTime }));
        }
        self.listeners.iter_mut().for_each(|listener| listener.pause = listener.pause.filter(|until| *until > now));
        while let Some((_, id)) = self.phases.pop_due(now) {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            connection.phase = Deadline::default();
            if !matches!(connection.state, ConnState::Lingering(_)) {
                return Some(id);
            }
            self.abort(id);
        }
        None
    }

    /// Returns the earliest deadline: of a phase, of a slow reader or of a pause of accept.
    pub fn next_deadline(&self) -> Option<Instant> {
        let pauses = self.listeners.iter().map(|listener| listener.pause);
        pauses.chain([self.phases.next(), self.stalls.next()]).flatten().min()
    }

    /// Removes and returns a dead connection, or returns `None` if none is left. Dropping the connection closes its socket.
    pub fn reap(&mut self) -> Option<(ConnId, Connection<P>)> {
        let id = self.dead.pop()?;
        let mut connection =
            self.connections.remove(id).expect("a dead connection is listed once and removed only here");
        self.phases.clear(id, &mut connection.phase);
        self.stalls.clear(id, &mut connection.stall);
        self.addresses.release(connection.peer);
        // A descriptor becomes free, so accept can be tried again.
        self.listeners.iter_mut().for_each(|listener| listener.pause = None);
        Some((id, connection))
    }
}

/// Puts a connection on a list, unless its flag `listed` shows that it is there already.
fn list(list: &mut Vec<ConnId>, listed: &mut bool, id: ConnId) {
    if !mem::replace(listed, true) {
        list.push(id);
    }
}

#[cfg(debug_assertions)]
#[path = "../../tests/seams/net.rs"]
mod check;
