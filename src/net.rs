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

use crate::config::Config;
use crate::kernel::{Kernel, Stream};
use crate::limits::{Addresses, Limit};
use crate::metrics::Metrics;
use crate::queue::{Pool, Queue};
use crate::slab::{Conn, ConnId, Slab};
use crate::timers::{Deadline, Timers};
use crate::tls::{Identity, Scratch, Tls};
use bytes::Bytes;
use listener::Listener;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use smallvec::SmallVec;
use std::io::{self, ErrorKind, IoSlice};
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
/// Buffers handed to one vectored write: what one turn may bring to a recipient (the kernel takes 1,024).
const SLICES: usize = 256;
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

/// How far a connection has come.
enum State {
    Open,
    /// Nothing more is queued; to be closed when the outbox is empty.
    Finishing,
    /// Our side is shut down; so many bytes more of the peer are thrown away.
    Lingering(usize),
    /// To be buried.
    Dead,
}

/// What a connection has died of.
#[derive(Debug)]
pub enum Cause {
    /// Its time had come: it was closed in order, or those above wished it.
    Ended,
    /// The kernel or TLS said so.
    Error(io::Error),
    Limit(Limit),
}

/// One TCP connection; `P` is what `server` keeps beside it.
pub struct Connection<P> {
    pub protocol: P,
    stream: Stream,
    /// Between the stream and all else here, if the connection has TLS.
    pub tls: Option<Box<Tls>>,
    /// The peer's address, as the kernel has it.
    pub peer: IpAddr,
    /// Bytes of an incomplete message; empty, without a buffer, on an idle connection.
    pub input: Vec<u8>,
    outbox: Queue,
    /// Bytes of the first entry of `outbox` that the kernel already has.
    sent: usize,
    /// The deadline that `server` has set for the phase the connection is in; our own once it lingers.
    pub phase: Deadline,
    /// Since when the connection has sent no whole request head; not set while a request is under way, or there is none.
    pub half_open: Deadline,
    /// When a write that does not move ends the connection.
    stall: Deadline,
    /// `stall` is that of the soft limit, which a little progress does not move.
    soft: bool,
    /// It is listed in `dirty`.
    dirty: bool,
    /// It is listed in `unread`: the next turn reads it whatever the kernel says.
    pub unread: bool,
    /// The peer will send nothing more than what waits in the kernel; it has sent its last byte, and we have read it.
    pub hung_up: bool,
    pub ended: bool,
    /// The last read has taken all that had come: an edge follows if there is more.
    pub drained: bool,
    state: State,
    /// What it dies of.
    pub cause: Cause,
}

impl<P> Connection<P> {
    /// Bytes queued and not yet with the kernel.
    pub fn queued(&self) -> usize {
        self.outbox.bytes() - self.sent + self.unsent()
    }

    /// Bytes of ciphertext among them.
    fn unsent(&self) -> usize {
        self.tls.as_ref().map_or(0, |tls| tls.unsent.len())
    }

    /// Whether what it sends still counts, and something may be queued for it.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Whether there is something to write: plaintext, or ciphertext.
    fn wants_write(&self) -> bool {
        !self.outbox.is_empty() || self.unsent() > 0
    }

    fn read(&mut self, kernel: &mut Kernel, scratch: &mut Scratch, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let result = match &mut self.tls {
                Some(tls) => tls.read(kernel, &mut self.stream, scratch, buffer),
                None => kernel.read(&mut self.stream, buffer),
            };
            match result {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Writes until nothing is left, or the kernel has no room.
    fn write_all(&mut self, kernel: &mut Kernel, scratch: &mut Scratch, pool: &mut Pool) -> io::Result<()> {
        // The last of all is the goodbye of TLS.
        while self.wants_write()
            || matches!(self.state, State::Finishing) && self.tls.as_mut().is_some_and(|tls| tls.say_goodbye())
        {
            // Neither initialized nor moved: both would cost more than what is done with the few that there are.
            let mut slices = SmallVec::<[IoSlice; SLICES]>::new();
            slices.extend(pool.iter(&self.outbox).take(SLICES).map(|bytes| IoSlice::new(bytes)));
            if let Some(first) = slices.first_mut() {
                first.advance(self.sent);
            }
            let result = match &mut self.tls {
                Some(tls) => tls.write(kernel, &mut self.stream, scratch, &slices),
                None => kernel.write(&mut self.stream, &slices),
            };
            drop(slices);
            match result {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            while let Some(length) = pool.front(&self.outbox).map(Bytes::len).filter(|length| *length <= self.sent) {
                pool.pop(&mut self.outbox);
                self.sent -= length;
            }
        }
        Ok(())
    }
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
    doomed: Vec<ConnId>,
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
            doomed: Vec::new(),
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
    pub fn close(&mut self) {
        self.listeners.clear();
        self.connections.keys().into_iter().for_each(|id| self.finish(id));
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
            self.addresses.leave(peer);
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
        self.addresses.enter(peer);
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
            state: State::Open,
            cause: Cause::Ended,
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
        self.pool.bytes()
    }

    /// How many timers run.
    pub fn timers(&self) -> usize {
        self.phases.len() + self.stalls.len()
    }

    /// Writes down how many there are.
    pub fn metrics(&self, metrics: &mut Metrics) {
        metrics.gauge("connections", "TCP connections.", self.connections.len());
        metrics.gauge("half_open", "Connections that have sent no whole request.", self.half_open.len());
    }

    /// Reads once into `buffer`. 0: the peer has closed its side; `None`: no more for now, or the connection is dead.
    pub fn read(&mut self, id: ConnId, buffer: &mut [u8]) -> Option<usize> {
        let connection = self.connections.get_mut(id)?;
        if let State::Dead = connection.state {
            return None;
        }
        let result = connection.read(&mut self.kernel, &mut self.scratch, buffer);
        // A step of the handshake has an answer, or what waited for its end can leave.
        if connection.tls.is_some() && connection.wants_write() {
            list(&mut self.dirty, &mut connection.dirty, id);
        }
        match (result, &mut connection.state) {
            (Ok(count), State::Lingering(left)) if count == 0 || count > *left => self.doom(id),
            (Ok(count), state) => {
                if let State::Lingering(left) = state {
                    *left -= count;
                }
                connection.ended = count == 0;
                // Of TLS something may have come that is no plaintext.
                connection.drained = self.kernel.drained && connection.tls.is_none() && !connection.hung_up;
                return Some(count);
            }
            (Err(error), _) if error.kind() == ErrorKind::WouldBlock => {
                if self.kernel.lied {
                    self.remember_unread(id);
                }
            }
            // Windows says so while a connection of ours is being made.
            (Err(error), _) if error.kind() == ErrorKind::NotConnected => {}
            // The peer is about to be told why, and has to stay to hear it.
            (Err(error), State::Open) if error.kind() == ErrorKind::InvalidData => {
                connection.cause = Cause::Error(error);
                self.finish(id);
                self.remember_unread(id);
            }
            (Err(error), _) => self.kill(id, Cause::Error(error)),
        }
        None
    }

    /// Remembers that there is more to read than this turn has read.
    pub fn remember_unread(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(id) {
            list(&mut self.unread, &mut connection.unread, id);
        }
    }

    /// Queues bytes; they leave at the end of the turn. Above the hard limit the connection is doomed.
    pub fn push(&mut self, id: ConnId, bytes: Bytes) {
        let Some(connection) = self.connections.get_mut(id).filter(|connection| connection.is_open()) else { return };
        if bytes.is_empty() {
            return;
        }
        self.pool.push(&mut connection.outbox, bytes);
        if connection.queued() > self.config.max_queue {
            self.kill(id, Cause::Limit(Limit::Queue));
        } else {
            list(&mut self.dirty, &mut connection.dirty, id);
        }
    }

    /// The connection ends when all that is queued has left.
    pub fn finish(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(id).filter(|connection| connection.is_open()) {
            connection.state = State::Finishing;
            connection.input = Vec::new();
            // The flush at the end of the turn finds the outbox empty, and goes on from there.
            list(&mut self.dirty, &mut connection.dirty, id);
        }
    }

    /// The connection ends at the end of this turn, whatever is queued.
    pub fn doom(&mut self, id: ConnId) {
        self.kill(id, Cause::Ended);
    }

    fn kill(&mut self, id: ConnId, cause: Cause) {
        if let Some(connection) = self.connections.get_mut(id)
            && !matches!(connection.state, State::Dead)
        {
            connection.state = State::Dead;
            if matches!(connection.cause, Cause::Ended) {
                connection.cause = cause;
            }
            self.doomed.push(id);
        }
    }

    /// A connection has come: its address may have too many, and its first request must come in time.
    fn admit(&mut self, id: ConnId, now: Instant) {
        if self.get(id).is_some_and(|new| self.addresses.count(new.peer) > self.config.max_per_address) {
            self.kill(id, Cause::Limit(Limit::AddressConnections));
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
            self.kill(oldest, Cause::Limit(Limit::HalfOpen));
        }
    }

    /// Sets or clears the deadline of the phase the connection is in.
    pub fn set_phase(&mut self, id: ConnId, at: Option<Instant>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        self.half_open.clear(id, &mut connection.half_open);
        match at {
            // Once it only lingers, the deadline is ours.
            _ if matches!(connection.state, State::Lingering(_)) => {}
            Some(at) => self.phases.set(id, &mut connection.phase, at),
            None => self.phases.clear(id, &mut connection.phase),
        }
    }

    /// A connection whose phase has reached its deadline; one that only lingered is doomed here.
    pub fn pop_phase(&mut self, now: Instant) -> Option<ConnId> {
        while let Some((_, id)) = self.stalls.pop_due(now) {
            let soft = self.connections.get(id).is_some_and(|connection| connection.soft);
            self.kill(id, Cause::Limit(if soft { Limit::SoftQueue } else { Limit::WriteTime }));
        }
        self.listeners.iter_mut().for_each(|listener| listener.pause = listener.pause.filter(|until| *until > now));
        while let Some((_, id)) = self.phases.pop_due(now) {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            connection.phase = Deadline::default();
            if !matches!(connection.state, State::Lingering(_)) {
                return Some(id);
            }
            self.doom(id);
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
        if let State::Dead = connection.state {
            return;
        }
        let before = connection.queued();
        let result = connection.write_all(&mut self.kernel, &mut self.scratch, &mut self.pool);
        let after = connection.queued();
        let half = self.config.max_queue / 2;
        let blocked = match result {
            Ok(()) => false,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => true,
            Err(error) => return self.kill(id, Cause::Error(error)),
        };
        if before > half && after <= half || blocked && self.kernel.lied {
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
        if !blocked && matches!(connection.state, State::Finishing) {
            self.linger(id, now);
        }
    }

    /// Everything has left: says so to the peer, and waits a little for what it still sends.
    fn linger(&mut self, id: ConnId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        // An error means that there is nobody left to be told.
        if connection.ended || connection.stream.shutdown(Shutdown::Write).is_err() {
            return self.doom(id);
        }
        connection.state = State::Lingering(LINGER_BYTES);
        self.phases.set(id, &mut connection.phase, now + LINGER);
    }

    /// Takes one dead connection out of the books; the caller tells those above, and its socket closes with it.
    /// Every connection comes by here exactly once (rule R4).
    pub fn bury(&mut self) -> Option<(ConnId, Connection<P>)> {
        let id = self.doomed.pop()?;
        let mut connection = self.connections.remove(id).expect("a connection is doomed once and buried once");
        self.pool.clear(&mut connection.outbox);
        self.phases.clear(id, &mut connection.phase);
        self.half_open.clear(id, &mut connection.half_open);
        self.stalls.clear(id, &mut connection.stall);
        self.addresses.leave(connection.peer);
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

#[path = "listener.rs"]
mod listener;

#[cfg(debug_assertions)]
#[path = "../tests/seams/net.rs"]
mod check;
