//! Sockets: the only file, with its part `listener`, that touches mio.
//!
//! It accepts, reads, queues, writes and buries; what the bytes mean is the business of `server`. Three lists
//! carry the work from one turn to the next: `dirty` (something to write), `unread` (readable, but not read
//! to the end) and `doomed` (dead, to be buried). Nothing here calls upwards (rule R5): a full outbox or a
//! dead socket is only marked, and rises by [`Net::bury`] at the end of the turn.
//!
//! Rules of mio that this file keeps: a socket is registered once for both interests; a readable edge is read
//! to `WouldBlock` or the connection stands in `unread` (R2); a non-empty outbox is in `dirty` or has seen
//! `WouldBlock` (R3); after a short write it is written on to `WouldBlock`, or Windows never reports it again.

mod connection;
pub mod kernel;
mod listener;
#[cfg(not(feature = "tls"))]
pub mod no_tls;
#[cfg(feature = "tls")]
pub mod tls;

use crate::base::limits::{Addresses, Limit};
use crate::base::metrics::{GAUGE, Metrics};
use crate::base::queue::{Pool, Queue};
use crate::base::slab::{Conn, ConnId, Slab};
use crate::base::timers::{Deadline, Timers};
use crate::config::Config;
use crate::net::kernel::{Kernel, Stream};
use crate::net::tls::{Identity, Scratch, Tls};
use bytes::Bytes;
use connection::ConnState;
pub use connection::{Connection, EndCause};
use listener::Listener;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
#[cfg(not(feature = "tls"))]
pub use no_tls as tls;
use std::io::{self, ErrorKind};
use std::mem;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Tokens beyond all packed keys.
const LISTENER: Token = Token(usize::MAX);
const SIGNALS: Token = Token(usize::MAX - 1);
const WAKER: Token = Token(usize::MAX - 2);
/// Connections accepted in one turn, so that a flood of them does not starve those that are there.
const ACCEPTS_PER_TURN: usize = 64;
/// After our last byte: how long, and for how many bytes, the peer's are still read and thrown away. Closing
/// with unread input makes the kernel send RST, and the RST eats the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 * 1024;

/// What is ready.
#[derive(Clone, Copy, Debug)]
pub enum Wake {
    /// A signal has come, or somebody has used `waker`.
    Woken,
    /// `hung_up`: the peer will send nothing more.
    Connection { id: ConnId, readable: bool, writable: bool, hung_up: bool },
}

/// All sockets of the process.
pub struct Net<P> {
    config: Config,
    poll: Poll,
    events: Events,
    listeners: Vec<Listener>,
    connections: Slab<Conn, Connection<P>>,
    pool: Pool,
    dirty: Vec<ConnId>,
    dead: Vec<ConnId>,
    unread: Vec<ConnId>,
    kernel: Kernel,
    /// Who we are to those who come to the first listener, if they have to speak TLS.
    pub identity: Option<Identity>,
    scratch: Scratch,
    phases: Timers<ConnId>,
    half_open: Timers<ConnId>,
    stalls: Timers<ConnId>,
    addresses: Addresses,
    /// What wakes the loop from another thread.
    pub waker: Arc<Waker>,
}

impl<P: Default> Net<P> {
    /// No sockets yet. Fails only if the operating system gives no selector.
    pub fn new(config: Config) -> io::Result<Net<P>> {
        let poll = Poll::new()?;
        Ok(Net {
            // Behind a proxy all peers are the proxy.
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
            kernel: Kernel::default(),
            identity: None,
            scratch: Scratch::default(),
            phases: Timers::default(),
            half_open: Timers::default(),
            stalls: Timers::default(),
        })
    }

    /// Starts to listen on a port of the host that `config` names. Returns the address, with the real port if that was 0.
    /// Connections to the first port have TLS if there is an identity, those to others have none.
    pub fn listen(&mut self, port: u16) -> io::Result<SocketAddr> {
        let (listener, address) = Listener::open(self.config.host, port, self.poll.registry(), LISTENER)?;
        self.listeners.push(listener);
        Ok(address)
    }

    /// Closes the listener, and every connection when all that is queued has left.
    pub fn close_all(&mut self) {
        self.listeners.clear();
        self.connections.keys().into_iter().for_each(|id| self.close(id));
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Registers a source of signals with the loop.
    pub fn watch_signals(&mut self, source: &mut impl mio::event::Source) -> io::Result<()> {
        self.poll.registry().register(source, SIGNALS, Interest::READABLE)
    }

    /// Sleeps until something is ready or `deadline` (seen from `now`) is reached; `None`: for ever. Not at all
    /// if bytes were left unread or connections not accepted in the last turn.
    pub fn wait(&mut self, now: Instant, deadline: Option<Instant>) -> io::Result<()> {
        let timeout = match deadline {
            _ if self.acceptor().is_some() || !self.unread.is_empty() => Some(Duration::ZERO),
            deadline => deadline.map(|deadline| deadline.saturating_duration_since(now)),
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// Moves all that is ready to `wakes`: what the kernel has reported, new connections, and what was left unread.
    pub fn drain_events(&mut self, now: Instant, wakes: &mut Vec<Wake>) {
        wakes.clear();
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
            if let Some(id) = self.adopt(stream, peer.ip(), tls, P::default()) {
                self.admit(id, now);
                // The first bytes are often there already; without a read now they would cost a wake-up.
                wakes.push(Wake::Connection { id, readable: true, writable: false, hung_up: false });
            }
        }
        for id in self.unread.drain(..) {
            if let Some(connection) = self.connections.get_mut(id) {
                connection.unread = false;
                wakes.push(Wake::Connection { id, readable: true, writable: true, hung_up: false });
            }
        }
    }

    /// Whether there is no room for one more.
    pub fn is_full(&self) -> bool {
        self.connections.len() >= self.config.max_connections
    }

    /// The listener that may have a connection for us, if there is room for one.
    fn acceptor(&self) -> Option<usize> {
        let room = !self.is_full();
        self.listeners.iter().position(|listener| room && listener.ready && listener.pause.is_none())
    }

    /// Takes a new socket in; `None` if it died at once.
    fn adopt(&mut self, stream: TcpStream, peer: IpAddr, tls: Option<Tls>, protocol: P) -> Option<ConnId> {
        // Fails only on a socket that is dead already; reading it will tell.
        let _ = stream.set_nodelay(true);
        let id = self.insert(stream.into(), peer, tls, protocol);
        let stream = &mut self.connections.get_mut(id)?.stream;
        if self.poll.registry().register(stream, Token(id.pack()), Interest::READABLE | Interest::WRITABLE).is_err() {
            self.connections.remove(id);
            self.addresses.release(peer);
            return None;
        }
        Some(id)
    }

    /// Begins a connection of ours. What is pushed leaves once it is there; if it fails, it is buried like any other.
    pub fn connect(&mut self, address: SocketAddr, tls: Option<Tls>, protocol: P) -> io::Result<ConnId> {
        let stream = TcpStream::connect(address)?;
        self.adopt(stream, address.ip(), tls, protocol).ok_or(ErrorKind::OutOfMemory.into())
    }

    fn insert(&mut self, stream: Stream, peer: IpAddr, tls: Option<Tls>, protocol: P) -> ConnId {
        self.addresses.acquire(peer);
        self.connections.insert(Connection {
            protocol,
            stream,
            tls: tls.map(Box::new),
            peer,
            input: Vec::new(),
            outbox: Queue::default(),
            sent: 0,
            phase: Deadline::default(),
            half_open: Deadline::default(),
            stall: Deadline::default(),
            soft: false,
            dirty: false,
            unread: false,
            ended: false,
            hung_up: false,
            drained: false,
            state: ConnState::Open,
            cause: EndCause::Ended,
        })
    }

    /// One of them.
    pub fn get(&self, id: ConnId) -> Option<&Connection<P>> {
        self.connections.get(id)
    }

    /// One of them, to be changed.
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection<P>> {
        self.connections.get_mut(id)
    }

    /// Bytes queued for all of them, shared ones counted for each.
    pub fn queued(&self) -> usize {
        self.pool.bytes
    }

    /// How many timers run.
    pub fn timers(&self) -> usize {
        self.phases.len() + self.stalls.len()
    }

    pub fn metrics(&self, metrics: &mut Metrics) {
        metrics.rows(&[
            ("connections", GAUGE, "TCP connections.", &self.connections.len()),
            ("half_open", GAUGE, "Connections that have sent no complete request.", &self.half_open.len()),
        ]);
    }

    /// Reads once into `buffer`. 0: the peer has closed its side; `None`: no more for now, or the connection is dead.
    pub fn read(&mut self, id: ConnId, buffer: &mut [u8]) -> Option<usize> {
        let connection = self.connections.get_mut(id)?;
        if let ConnState::Dead = connection.state {
            return None;
        }
        let result = connection.read(&mut self.kernel, &mut self.scratch, buffer);
        // A step of the handshake has an answer, or what waited for its end can leave.
        if connection.tls.is_some() && connection.wants_write() {
            list(&mut self.dirty, &mut connection.dirty, id);
        }
        match (result, &mut connection.state) {
            (Ok(count), ConnState::Lingering(left)) if count == 0 || count > *left => self.abort(id),
            (Ok(count), state) => {
                if let ConnState::Lingering(left) = state {
                    *left -= count;
                }
                connection.ended = count == 0;
                // Of TLS something may have come that is no plaintext.
                connection.drained = self.kernel.drained && connection.tls.is_none() && !connection.hung_up;
                return Some(count);
            }
            (Err(error), _) if error.kind() == ErrorKind::WouldBlock => {
                if self.kernel.spurious_would_block {
                    self.remember_unread(id);
                }
            }
            // Windows says so while a connection of ours is being made.
            (Err(error), _) if error.kind() == ErrorKind::NotConnected => {}
            // The peer is about to be told why, and has to stay to hear it.
            (Err(error), ConnState::Open) if error.kind() == ErrorKind::InvalidData => {
                connection.cause = EndCause::Error(error);
                self.close(id);
                self.remember_unread(id);
            }
            (Err(error), _) => self.abort_because(id, EndCause::Error(error)),
        }
        None
    }

    /// Remembers that there is more to read than this turn has read.
    pub fn remember_unread(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(id) {
            list(&mut self.unread, &mut connection.unread, id);
        }
    }

    /// Queues bytes; they leave at the end of the turn. Above the hard limit the connection is dead.
    pub fn push(&mut self, id: ConnId, bytes: Bytes) {
        let Some(connection) = self.connections.get_mut(id).filter(|connection| connection.is_open()) else { return };
        if bytes.is_empty() {
            return;
        }
        self.pool.push(&mut connection.outbox, bytes);
        if connection.queued() > self.config.max_queue {
            self.abort_because(id, EndCause::Limit(Limit::Queue));
        } else {
            list(&mut self.dirty, &mut connection.dirty, id);
        }
    }

    /// The connection ends when all that is queued has left.
    pub fn close(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(id).filter(|connection| connection.is_open()) {
            connection.state = ConnState::Closing;
            connection.input = Vec::new();
            // The flush at the end of the turn finds the outbox empty, and goes on from there.
            list(&mut self.dirty, &mut connection.dirty, id);
        }
    }

    /// The connection ends at the end of this turn, whatever is queued.
    pub fn abort(&mut self, id: ConnId) {
        self.abort_because(id, EndCause::Ended);
    }

    fn abort_because(&mut self, id: ConnId, cause: EndCause) {
        if let Some(connection) = self.connections.get_mut(id)
            && !matches!(connection.state, ConnState::Dead)
        {
            connection.state = ConnState::Dead;
            if matches!(connection.cause, EndCause::Ended) {
                connection.cause = cause;
            }
            self.dead.push(id);
        }
    }

    /// A connection has come: its address may have too many, and its first request must come in time.
    fn admit(&mut self, id: ConnId, now: Instant) {
        if self.get(id).is_some_and(|new| self.addresses.count(new.peer) > self.config.max_per_address) {
            self.abort_because(id, EndCause::Limit(Limit::AddressConnections));
        }
        self.await_head(id, now);
    }

    /// A request head has to come, or to be completed. When too many connections keep us waiting, the oldest is closed:
    /// refusing new ones instead would let the silent keep out those who have something to say.
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

    /// Sets or clears the deadline of the phase the connection is in.
    pub fn set_phase(&mut self, id: ConnId, at: Option<Instant>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        self.half_open.clear(id, &mut connection.half_open);
        match at {
            // Once it only lingers, the deadline is ours.
            _ if matches!(connection.state, ConnState::Lingering(_)) => {}
            Some(at) => self.phases.set(id, &mut connection.phase, at),
            None => self.phases.clear(id, &mut connection.phase),
        }
    }

    /// A connection whose phase has reached its deadline; one that only lingered is doomed here.
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

    /// The nearest deadline of any connection, or of accept.
    pub fn next_deadline(&self) -> Option<Instant> {
        let pauses = self.listeners.iter().map(|listener| listener.pause);
        pauses.chain([self.phases.next(), self.stalls.next()]).flatten().min()
    }

    /// The kernel takes bytes of this connection again.
    pub fn writable(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(id).filter(|connection| connection.wants_write()) {
            list(&mut self.dirty, &mut connection.dirty, id);
        }
    }

    /// Writes what was queued in this turn: one vectored write per connection, more only if one does not
    /// hold it all. A connection whose outbox falls below half of the hard limit is read again.
    pub fn flush(&mut self, now: Instant) {
        let mut dirty = mem::take(&mut self.dirty);
        dirty.drain(..).for_each(|id| self.flush_one(id, now));
        // flush_one queues nothing, so the list is taken back with its capacity.
        self.dirty = dirty;
    }

    fn flush_one(&mut self, id: ConnId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.dirty = false;
        if let ConnState::Dead = connection.state {
            return;
        }
        let before = connection.queued();
        let result = connection.write_all(&mut self.kernel, &mut self.scratch, &mut self.pool);
        let after = connection.queued();
        let half = self.config.max_queue / 2;
        let blocked = match result {
            Ok(()) => false,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => true,
            Err(error) => return self.abort_because(id, EndCause::Error(error)),
        };
        if before > half && after <= half || blocked && self.kernel.spurious_would_block {
            list(&mut self.unread, &mut connection.unread, id);
        }
        // A reader that is far behind has a fixed time to catch up; any other starts anew whenever it takes a byte.
        let over = after > self.config.soft_queue;
        if !blocked {
            self.stalls.clear(id, &mut connection.stall);
        } else if over != connection.soft || !over && after < before || connection.stall.is_none() {
            let time = if over { self.config.soft_time } else { self.config.write_timeout };
            self.stalls.set(id, &mut connection.stall, now + time);
        }
        connection.soft = over;
        if !blocked && matches!(connection.state, ConnState::Closing) {
            self.linger(id, now);
        }
    }

    /// Everything has left: says so to the peer, and waits a little for what it still sends.
    fn linger(&mut self, id: ConnId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        // An error means that there is nobody left to be told.
        if connection.ended || connection.stream.shutdown(Shutdown::Write).is_err() {
            return self.abort(id);
        }
        connection.state = ConnState::Lingering(LINGER_BYTES);
        self.phases.set(id, &mut connection.phase, now + LINGER);
    }

    /// Takes one dead connection out of the books; the caller tells those above, and its socket closes with it.
    /// Every connection comes by here exactly once (rule R4).
    pub fn reap(&mut self) -> Option<(ConnId, Connection<P>)> {
        let id = self.dead.pop()?;
        let mut connection = self.connections.remove(id).expect("a connection is doomed once and buried once");
        self.pool.clear(&mut connection.outbox);
        self.phases.clear(id, &mut connection.phase);
        self.half_open.clear(id, &mut connection.half_open);
        self.stalls.clear(id, &mut connection.stall);
        self.addresses.release(connection.peer);
        // A descriptor is free again.
        self.listeners.iter_mut().for_each(|listener| listener.pause = None);
        Some((id, connection))
    }
}

/// Puts a connection on a list, once.
fn list(list: &mut Vec<ConnId>, listed: &mut bool, id: ConnId) {
    if !mem::replace(listed, true) {
        list.push(id);
    }
}

#[cfg(debug_assertions)]
#[path = "../../tests/seams/net.rs"]
mod check;
