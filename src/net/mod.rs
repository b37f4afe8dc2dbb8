//! All sockets of the server: this folder polls, accepts, reads and writes through mio, but does not parse what is read.
//!
//! Three lists of connections carry the work of a turn: `dirty` (to be written), `unread` (to be read in the next turn even
//! without an event) and `dead` (to be reaped). Nothing here calls upwards (R5): a full outbox or a broken socket only makes
//! the connection dead, and `server` learns of it from [`Net::reap`] at the end of the turn.
//!
//! | Call | Queued bytes | Effect |
//! |---|---|---|
//! | [`Net::close`] (graceful) | are written | TLS close_notify, FIN; for up to a second, input is read and discarded |
//! | [`Net::abort`] | are dropped | the connection is dead, and its socket is closed at the end of the turn |
//! | [`Net::reap`] | | returns each dead connection once, so that `server` can release what belongs to it |
//!
//! Events are edge-triggered, so these rules hold: A socket is registered once, for both interests. After a readiness event
//! it is read as R2 says, or is on the list `unread`. A connection with queued bytes is dirty, or its last write returned
//! `WouldBlock` (R3): a short write is followed by another write, or Windows would not report the socket as writable again.

mod connection;
pub mod kernel;
mod listener;
#[cfg(not(feature = "tls"))]
pub mod no_tls;
#[cfg(feature = "tls")]
pub mod tls;

use crate::base::limits::{Addresses, Limit};
use crate::base::metrics::{GAUGE, Metrics};
use crate::base::queue::Pool;
use crate::base::slab::{Conn, ConnId, Slab};
use crate::base::timers::{Deadline, Timers};
use crate::config::Config;
use crate::net::kernel::{Stream, Transfer};
use crate::net::tls::{Identity, Scratch, Tls};
use bytes::Bytes;
use connection::{ConnState, LINGER};
pub use connection::{Connection, EndCause, ReadState};
use listener::Listener;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
#[cfg(not(feature = "tls"))]
pub use no_tls as tls;
use std::io::{self, ErrorKind};
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// Tokens that no packed [`ConnId`] can have.
const LISTENER: Token = Token(usize::MAX);
const SIGNALS: Token = Token(usize::MAX - 1);
const WAKER: Token = Token(usize::MAX - 2);
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
    /// The timers of the fields `phase`, `half_open` and `stall` of all connections.
    phases: Timers<ConnId>,
    half_open: Timers<ConnId>,
    stalls: Timers<ConnId>,
    /// The number of connections per peer address, for `max_per_address`.
    addresses: Addresses,
    /// Whether a client came in this turn that has to wait, because `is_full`.
    pub waiting: bool,
    /// Wakes the event loop from another thread.
    pub waker: Arc<Waker>,
}

impl<P: Default> Net<P> {
    /// Creates a `Net` without sockets. Fails if the operating system provides no selector (epoll or the like).
    pub fn new(config: Config) -> io::Result<Net<P>> {
        let poll = Poll::new()?;
        Ok(Net {
            // Behind a proxy every peer address is that of the proxy, so no address is limited.
            addresses: Addresses::new(if config.trust_proxy { |_| true } else { IpAddr::is_loopback }),
            config,
            waker: Arc::new(Waker::new(poll.registry(), WAKER)?),
            poll,
            events: Events::with_capacity(1024),
            listeners: Vec::new(),
            connections: Slab::default(),
            pool: Pool::default(),
            dirty: Vec::new(),
            dead: Vec::new(),
            unread: Vec::new(),
            identity: None,
            scratch: Scratch::default(),
            phases: Timers::default(),
            half_open: Timers::default(),
            stalls: Timers::default(),
            waiting: false,
        })
    }

    /// Listens on `port` (0: a free port), and returns the address. If `identity` is set, the first listener has TLS.
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
    pub fn drain_events(&mut self, now: Instant, wakes: &mut Vec<Wake>) {
        wakes.clear();
        self.waiting = self.is_full() && self.events.iter().any(|event| event.token() == LISTENER);
        for event in &self.events {
            match event.token() {
                LISTENER => self.listeners.iter_mut().for_each(|listener| listener.ready = true),
                SIGNALS | WAKER => wakes.push(Wake::Woken),
                Token(number) => wakes.push(Wake::Connection {
                    id: ConnId::unpack(number),
                    readable: event.is_readable() || event.is_read_closed() || event.is_error(),
                    writable: event.is_writable(),
                    hung_up: event.is_read_closed() || event.is_error(),
                }),
            }
        }
        self.events.clear();
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(index) = self.acceptor() else { break };
            let Some((stream, peer)) = self.listeners[index].accept(now) else { continue };
            let tls = self.identity.as_ref().filter(|_| index == 0).map(Identity::accept);
            let id = self.adopt(stream, peer.ip(), tls, P::default());
            self.admit(id, now);
            // The first bytes have often arrived already; reading them now saves a wake-up.
            wakes.push(Wake::Connection { id, readable: true, writable: false, hung_up: false });
        }
        for id in self.unread.drain(..) {
            if let Some(connection) = self.connections.get_mut(id) {
                connection.unread = false;
                wakes.push(Wake::Connection { id, readable: true, writable: true, hung_up: false });
            }
        }
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
        self.addresses.acquire(peer);
        self.connections.insert(Connection::new(stream, peer, tls, protocol))
    }

    pub fn get(&self, id: ConnId) -> Option<&Connection<P>> {
        self.connections.get(id)
    }

    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection<P>> {
        self.connections.get_mut(id)
    }

    /// Returns the number of running timers. `half_open` does not count: it only orders connections by age.
    pub fn timers(&self) -> usize {
        self.phases.len() + self.stalls.len()
    }

    pub fn metrics(&self, metrics: &mut Metrics) {
        metrics.rows(&[
            ("connections", GAUGE, "TCP connections.", &self.connections.len()),
            ("half_open", GAUGE, "Connections that have sent no complete request.", &self.half_open.len()),
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
        match (result, &mut connection.state) {
            (Ok(Transfer::Moved(count) | Transfer::Drained(count)), state) => match state {
                ConnState::Lingering(left) if count == 0 || count > *left => self.abort(id),
                ConnState::Lingering(left) => {
                    *left -= count;
                    return Some(count);
                }
                _ => return Some(count),
            },
            (Ok(Transfer::WouldBlock), _) => {}
            (Ok(Transfer::Retry), _) => list(&mut self.unread, &mut connection.unread, id),
            // Not aborted but closed, so that the peer can read the TLS alert that names the error.
            (Err(error), ConnState::Open) if error.kind() == ErrorKind::InvalidData => {
                connection.cause = EndCause::Error(error);
                self.close(id);
                self.remember_unread(id);
            }
            (Err(error), _) => self.abort_because(id, EndCause::Error(error)),
        }
        None
    }

    /// Makes the next turn read the connection even if the kernel reports nothing: this turn has not read all of it.
    pub fn remember_unread(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(id) {
            list(&mut self.unread, &mut connection.unread, id);
        }
    }

    /// Queues bytes to be written at the end of the turn. If more than `max_queue` bytes are queued then, the connection is
    /// aborted. `flush_one` sets the deadlines of peers that read too slowly.
    pub fn push(&mut self, id: ConnId, bytes: Bytes) {
        let connection = self.connections.get_mut(id).filter(|connection| connection.is_open());
        let Some(connection) = connection.filter(|_| !bytes.is_empty()) else { return };
        self.pool.push(&mut connection.outbox, bytes);
        if connection.queued() > self.config.max_queue {
            self.abort_because(id, EndCause::Limit(Limit::Queue));
        } else {
            list(&mut self.dirty, &mut connection.dirty, id);
        }
    }

    /// Closes the connection gracefully: once everything queued is written.
    pub fn close(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(id).filter(|connection| connection.is_open()) {
            connection.state = ConnState::Closing;
            connection.input = Vec::new();
            // While it waits for a request, there is no response that a reset could destroy.
            connection.no_linger |= connection.phase.is_some() && connection.queued() == 0;
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
        }
    }

    /// Applies the limits of new connections: their number per address, and the time for the first request head.
    fn admit(&mut self, id: ConnId, now: Instant) {
        if self.get(id).is_some_and(|new| self.addresses.count(new.peer) > self.config.max_per_address) {
            self.abort_because(id, EndCause::Limit(Limit::AddressConnections));
        }
        self.await_head(id, now);
    }

    /// Starts the deadline of a request head. If more than `max_half_open` connections lack a complete head, the oldest of
    /// them is aborted: if new connections were refused instead, silent clients could lock out all others.
    pub fn await_head(&mut self, id: ConnId, now: Instant) {
        self.set_phase(id, Some(now + self.config.head_timeout));
        let Some(connection) = self.connections.get_mut(id) else { return };
        self.half_open.set(id, &mut connection.half_open, now);
        if self.half_open.len() > self.config.max_half_open
            && let Some((_, oldest)) = self.half_open.pop_due(now)
        {
            self.abort_because(oldest, EndCause::Limit(Limit::HalfOpen));
        }
    }

    /// Sets the deadline of the connection's next phase, or clears it (`None`). The connection no longer waits for a head.
    pub fn set_phase(&mut self, id: ConnId, at: Option<Instant>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        self.half_open.clear(id, &mut connection.half_open);
        match at {
            // A lingering connection keeps the deadline that `flush_one` has set.
            _ if matches!(connection.state, ConnState::Lingering(_)) => {}
            Some(at) => self.phases.set(id, &mut connection.phase, at),
            None => self.phases.clear(id, &mut connection.phase),
        }
    }

    /// Returns a connection whose phase is past its deadline, if any. Also evicts slow readers, ends lingering and pauses.
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

    /// Writes what is queued on dirty connections: one vectored write for each, and more if that does not take everything.
    pub fn flush(&mut self, now: Instant) {
        // `flush_one` adds no connection to the list.
        for index in 0..self.dirty.len() {
            self.flush_one(self.dirty[index], now);
        }
        self.dirty.clear();
    }

    fn flush_one(&mut self, id: ConnId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.dirty = false;
        if let ConnState::Dead = connection.state {
            return;
        }
        let before = connection.queued();
        let last = match connection.write_all(&mut self.scratch, &mut self.pool) {
            Ok(last) => last,
            Err(error) => return self.abort_because(id, EndCause::Error(error)),
        };
        let blocked = matches!(last, Transfer::WouldBlock | Transfer::Retry);
        // Backpressure: `server` does not read a WebSocket with more than half of `max_queue` queued. Here reading goes on.
        let half = self.config.max_queue / 2;
        if before > half && connection.queued() <= half || last == Transfer::Retry {
            list(&mut self.unread, &mut connection.unread, id);
        }
        if blocked {
            if let Some(time) = connection.stall_time(before, &self.config) {
                self.stalls.set(id, &mut connection.stall, now + time);
            }
            return;
        }
        self.stalls.clear(id, &mut connection.stall);
        if let ConnState::Closing = connection.state {
            match connection.linger() {
                true => self.phases.set(id, &mut connection.phase, now + LINGER),
                false => self.abort(id),
            }
        }
    }

    /// Removes and returns a dead connection, or returns `None` if none is left. Dropping the connection closes its socket.
    pub fn reap(&mut self) -> Option<(ConnId, Connection<P>)> {
        let id = self.dead.pop()?;
        let mut connection =
            self.connections.remove(id).expect("a dead connection is listed once and removed only here");
        self.pool.clear(&mut connection.outbox);
        self.phases.clear(id, &mut connection.phase);
        self.half_open.clear(id, &mut connection.half_open);
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
