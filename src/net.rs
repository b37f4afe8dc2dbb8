//! Sockets: the only file that touches mio.
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
use crate::logger::Quiet;
use crate::queue::{Pool, Queue};
use crate::slab::{Conn, ConnId, Slab};
use crate::timers::{Deadline, Timers};
use crate::tls::Tls;
use bytes::Bytes;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use std::io::{self, ErrorKind, IoSlice};
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Tokens beyond all packed keys.
const LISTENER: Token = Token(usize::MAX);
const SIGNALS: Token = Token(usize::MAX - 1);
const WAKER: Token = Token(usize::MAX - 2);
/// Connections the kernel keeps for us until they are accepted (Linux cuts this to net.core.somaxconn).
const BACKLOG: i32 = 1024;
/// Connections accepted in one turn, so that a flood of them does not starve those that are there.
const ACCEPTS_PER_TURN: usize = 64;
/// Buffers handed to one vectored write (the kernel takes 1,024; more than these fill a socket buffer anyway).
const SLICES: usize = 128;
/// How long accept rests after EMFILE if no connection closes before; no edge would tell of the freed descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// After our last byte: how long, and for how many bytes, the peer's are still read and thrown away. Closing
/// with unread input makes the kernel send RST, and the RST eats the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 * 1024;

/// What is ready.
#[derive(Clone, Copy, Debug)]
pub enum Wake {
    Listener,
    Signals,
    /// By [`Net::waker`].
    Woken,
    /// `hung_up`: the peer will send nothing more.
    Connection {
        id: ConnId,
        readable: bool,
        writable: bool,
        hung_up: bool,
    },
}

/// What a read has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    Bytes(usize),
    /// No more for now; or the connection is broken, and marked as dead.
    Nothing,
    /// The peer has closed its side.
    End,
}

/// One TCP connection; `P` is what `server` keeps beside it.
pub struct Connection<P> {
    pub protocol: P,
    stream: Stream,
    /// Between the stream and all else here, if the connection has TLS.
    tls: Option<Box<Tls>>,
    /// The peer's address, as the kernel has it.
    pub peer: IpAddr,
    /// Bytes of an incomplete message; empty, without a buffer, on an idle connection.
    pub input: Vec<u8>,
    outbox: Queue,
    /// Bytes of the first entry of `outbox` that the kernel already has.
    sent: usize,
    /// The deadline that `server` has set for the phase the connection is in; our own once it lingers.
    phase: Deadline,
    /// When a write that does not move ends the connection.
    stall: Deadline,
    /// `stall` is that of the soft limit, which a little progress does not move.
    soft: bool,
    dirty: bool,
    unread: bool,
    /// The peer has sent its last byte.
    pub ended: bool,
    /// Nothing more is queued; to be closed when the outbox is empty.
    pub finishing: bool,
    /// Our side is shut down; so many bytes more of the peer are thrown away.
    lingering: Option<usize>,
    dead: bool,
    /// What it died of, where the kernel or TLS said so.
    error: Option<io::Error>,
}

impl<P> Connection<P> {
    /// Bytes queued and not yet with the kernel.
    pub fn queued(&self) -> usize {
        self.outbox.bytes() - self.sent
    }

    /// Whether there is something to write: plaintext, or ciphertext.
    fn wants_write(&self) -> bool {
        !self.outbox.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    fn read(&mut self, kernel: &mut Kernel, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => tls.read(buffer, |buffer| kernel.read(&mut self.stream, buffer)),
            None => kernel.read(&mut self.stream, buffer),
        }
    }

    fn write(&mut self, kernel: &mut Kernel, slices: &[IoSlice]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => tls.write(slices, |slices| kernel.write(&mut self.stream, slices)),
            None => kernel.write(&mut self.stream, slices),
        }
    }
}

/// All sockets of the process.
pub struct Net<P> {
    config: Config,
    poll: Poll,
    events: Events,
    listener: Option<TcpListener>,
    /// Accept may have something: it has not said `WouldBlock` since the last edge.
    backlog: bool,
    /// Until when accept rests after EMFILE.
    accept_pause: Option<Instant>,
    accept_failures: Quiet,
    connections: Slab<Conn, Connection<P>>,
    pool: Pool,
    dirty: Vec<ConnId>,
    doomed: Vec<ConnId>,
    unread: Vec<ConnId>,
    kernel: Kernel,
    phases: Timers<ConnId>,
    stalls: Timers<ConnId>,
    waker: Option<Arc<Waker>>,
    #[cfg(feature = "redis")]
    resolver: resolve::Resolver,
}

/// A connection that is over.
pub struct Buried<P> {
    pub id: ConnId,
    pub protocol: P,
    pub error: Option<io::Error>,
}

impl<P: Default> Net<P> {
    /// No sockets yet. Fails only if the operating system gives no selector.
    pub fn new(config: Config) -> io::Result<Net<P>> {
        Ok(Net {
            config,
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            listener: None,
            backlog: false,
            accept_pause: None,
            accept_failures: Quiet::default(),
            connections: Slab::default(),
            pool: Pool::default(),
            dirty: Vec::new(),
            doomed: Vec::new(),
            unread: Vec::new(),
            kernel: Kernel::default(),
            phases: Timers::default(),
            stalls: Timers::default(),
            waker: None,
            #[cfg(feature = "redis")]
            resolver: resolve::Resolver::default(),
        })
    }

    /// Starts to listen where `config` says, by default on all addresses of both IP versions where the system
    /// can do that with one socket, else of IPv4. Returns the address, with the real port if that was 0.
    pub fn listen(&mut self) -> io::Result<SocketAddr> {
        let port = self.config.port;
        let listener = match self.config.host {
            Some(host) => bind(SocketAddr::new(host, port))?,
            None => match bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
                Err(error) if error.kind() != ErrorKind::AddrInUse && error.kind() != ErrorKind::PermissionDenied => {
                    bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))?
                }
                result => result?,
            },
        };
        let address = listener.local_addr()?;
        let mut listener = TcpListener::from_std(listener);
        self.poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        self.listener = Some(listener);
        Ok(address)
    }

    /// Closes the listener; connections stay.
    pub fn stop_listening(&mut self) {
        self.listener = None;
        self.backlog = false;
    }

    /// Registers a source of signals with the loop.
    pub fn watch_signals(&mut self, source: &mut impl mio::event::Source) -> io::Result<()> {
        self.poll.registry().register(source, SIGNALS, Interest::READABLE)
    }

    /// What wakes the loop from another thread. There is one for all.
    pub fn waker(&mut self) -> io::Result<Arc<Waker>> {
        if self.waker.is_none() {
            self.waker = Some(Arc::new(Waker::new(self.poll.registry(), WAKER)?));
        }
        Ok(Arc::clone(self.waker.as_ref().expect("it was made just now")))
    }

    /// Sleeps until something is ready or `deadline` (seen from `now`) is reached; `None`: for ever. Not at all
    /// if bytes were left unread or connections not accepted in the last turn.
    pub fn wait(&mut self, now: Instant, deadline: Option<Instant>) -> io::Result<()> {
        let timeout = match deadline {
            _ if self.can_accept() || !self.unread.is_empty() => Some(Duration::ZERO),
            deadline => deadline.map(|deadline| deadline.saturating_duration_since(now)),
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// Moves all that is ready to `wakes`: what the kernel has reported, then what was left unread.
    pub fn drain_events(&mut self, wakes: &mut Vec<Wake>) {
        wakes.clear();
        for event in &self.events {
            wakes.push(match event.token() {
                LISTENER => Wake::Listener,
                SIGNALS => Wake::Signals,
                WAKER => Wake::Woken,
                Token(number) => Wake::Connection {
                    id: ConnId::unpack(number),
                    readable: event.is_readable() || event.is_read_closed() || event.is_error(),
                    writable: event.is_writable(),
                    hung_up: event.is_read_closed() || event.is_error(),
                },
            });
        }
        self.events.clear();
        if self.can_accept() {
            wakes.push(Wake::Listener);
        }
        for id in self.unread.drain(..) {
            if let Some(connection) = self.connections.get_mut(id) {
                connection.unread = false;
                wakes.push(Wake::Connection { id, readable: true, writable: true, hung_up: false });
            }
        }
    }

    /// Whether an accept was left to be done, and may be.
    fn can_accept(&self) -> bool {
        self.backlog && self.accept_pause.is_none() && self.connections.len() < self.config.max_connections
    }

    /// Accepts what is waiting, up to a bound per turn.
    pub fn accept(&mut self, now: Instant) -> Vec<ConnId> {
        let mut accepted = Vec::new();
        self.backlog = true;
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.listener.as_ref().filter(|_| self.can_accept()) else { break };
            match listener.accept() {
                Ok((stream, peer)) => accepted.extend(self.adopt(stream, peer.ip())),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.backlog = false,
                // The peer gave up while it was waiting, or a signal came: the next one may be fine.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                // EMFILE, ENFILE, ENOBUFS, ENOMEM: there is nothing to accept with.
                Err(error) => {
                    if let Some(more) = self.accept_failures.allow(now) {
                        log::warn!("cannot accept connections for now: {error} ({more} times more before)");
                    }
                    self.accept_pause = Some(now + ACCEPT_PAUSE);
                }
            }
        }
        accepted
    }

    /// Takes a new socket in; `None` if it died at once.
    fn adopt(&mut self, stream: TcpStream, peer: IpAddr) -> Option<ConnId> {
        // Fails only on a socket that is dead already; reading it will tell.
        let _ = stream.set_nodelay(true);
        let id = self.insert(stream.into(), peer);
        let stream = &mut self.connections.get_mut(id)?.stream;
        if self.poll.registry().register(stream, Token(id.pack()), Interest::READABLE | Interest::WRITABLE).is_err() {
            self.connections.remove(id);
            return None;
        }
        Some(id)
    }

    /// Begins a connection of ours. What is pushed leaves once it is there; if it fails, it is buried like any other.
    pub fn connect(&mut self, address: SocketAddr, tls: Option<Tls>, protocol: P) -> io::Result<ConnId> {
        let id = self.adopt(TcpStream::connect(address)?, address.ip()).ok_or(ErrorKind::OutOfMemory)?;
        if let Some(connection) = self.connections.get_mut(id) {
            connection.protocol = protocol;
            connection.tls = tls.map(Box::new);
        }
        self.mark_dirty(id);
        Ok(id)
    }

    fn insert(&mut self, stream: Stream, peer: IpAddr) -> ConnId {
        self.connections.insert(Connection {
            protocol: P::default(),
            stream,
            tls: None,
            peer,
            input: Vec::new(),
            outbox: Queue::default(),
            sent: 0,
            phase: Deadline::default(),
            stall: Deadline::default(),
            soft: false,
            dirty: false,
            unread: false,
            ended: false,
            finishing: false,
            lingering: None,
            dead: false,
            error: None,
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

    /// How many there are, and the bytes queued for all of them.
    pub fn load(&self) -> (usize, usize) {
        (self.connections.len(), self.connections.iter().map(|(_, connection)| connection.queued()).sum())
    }

    /// All of them.
    pub fn keys(&self) -> Vec<ConnId> {
        self.connections.keys()
    }

    /// Reads once into `buffer`.
    pub fn read(&mut self, id: ConnId, buffer: &mut [u8]) -> Fill {
        let Some(connection) = self.connections.get_mut(id).filter(|connection| !connection.dead) else {
            return Fill::Nothing;
        };
        loop {
            let result = connection.read(&mut self.kernel, buffer);
            // A step of the handshake has an answer, or what waited for its end can leave.
            if connection.tls.is_some() && connection.wants_write() && !mem::replace(&mut connection.dirty, true) {
                self.dirty.push(id);
            }
            match result {
                Ok(0) => {
                    connection.ended = true;
                    if connection.lingering.is_some() {
                        self.doom(id);
                    }
                    return Fill::End;
                }
                Ok(count) => match &mut connection.lingering {
                    Some(left) if *left < count => break,
                    left => {
                        left.iter_mut().for_each(|left| *left -= count);
                        return Fill::Bytes(count);
                    }
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.kernel.lied {
                        self.remember_unread(id);
                    }
                    return Fill::Nothing;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Windows says so while a connection of ours is being made.
                Err(error) if error.kind() == ErrorKind::NotConnected => return Fill::Nothing,
                Err(error) => {
                    connection.error = Some(error);
                    break;
                }
            }
        }
        self.doom(id);
        Fill::Nothing
    }

    /// Remembers that there is more to read than this turn has read.
    pub fn remember_unread(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(id)
            && !mem::replace(&mut connection.unread, true)
        {
            self.unread.push(id);
        }
    }

    /// Queues bytes; they leave at the end of the turn. Above the hard limit the connection is doomed.
    pub fn push(&mut self, id: ConnId, bytes: Bytes) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.dead || connection.finishing || bytes.is_empty() {
            return;
        }
        self.pool.push(&mut connection.outbox, bytes);
        if connection.queued() > self.config.max_queue {
            self.doom(id);
        } else {
            self.mark_dirty(id);
        }
    }

    fn mark_dirty(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(id)
            && !mem::replace(&mut connection.dirty, true)
        {
            self.dirty.push(id);
        }
    }

    /// The connection ends when all that is queued has left.
    pub fn finish(&mut self, id: ConnId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.finishing = true;
        connection.input = Vec::new();
        // The flush at the end of the turn finds the outbox empty, and goes on from there.
        self.mark_dirty(id);
    }

    /// The connection ends at the end of this turn, whatever is queued.
    pub fn doom(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(id)
            && !mem::replace(&mut connection.dead, true)
        {
            self.doomed.push(id);
        }
    }

    /// Sets or clears the deadline of the phase the connection is in.
    pub fn set_phase(&mut self, id: ConnId, at: Option<Instant>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        match at {
            // Once it only lingers, the deadline is ours.
            _ if connection.lingering.is_some() => {}
            Some(at) => self.phases.set(id, &mut connection.phase, at),
            None => self.phases.clear(id, &mut connection.phase),
        }
    }

    /// A connection whose phase has reached its deadline; one that only lingered is doomed here.
    pub fn pop_phase(&mut self, now: Instant) -> Option<ConnId> {
        while let Some((_, id)) = self.stalls.pop_due(now) {
            self.doom(id);
        }
        if self.accept_pause.is_some_and(|until| until <= now) {
            self.accept_pause = None;
        }
        while let Some((_, id)) = self.phases.pop_due(now) {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            connection.phase = Deadline::default();
            if connection.lingering.is_none() {
                return Some(id);
            }
            self.doom(id);
        }
        None
    }

    /// The nearest deadline of any connection, or of accept.
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.phases.next(), self.stalls.next(), self.accept_pause].into_iter().flatten().min()
    }

    /// The kernel takes bytes of this connection again.
    pub fn writable(&mut self, id: ConnId) {
        if self.get(id).is_some_and(Connection::wants_write) {
            self.mark_dirty(id);
        }
    }

    /// Writes what was queued in this turn: one vectored write per connection, more only if one does not
    /// hold it all. A connection whose outbox falls below half of the hard limit is read again.
    pub fn flush(&mut self, now: Instant) {
        let mut dirty = mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            let full = |net: &Self| net.get(id).is_some_and(|c| c.queued() > net.config.max_queue / 2);
            let before = full(self);
            self.flush_one(id, now);
            if before && !full(self) {
                self.remember_unread(id);
            }
        }
        // flush_one queues nothing, so the list is taken back with its capacity.
        self.dirty = dirty;
    }

    fn flush_one(&mut self, id: ConnId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.dirty = false;
        let mut moved = false;
        while !connection.dead && connection.wants_write() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(self.pool.iter(&connection.outbox)) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            slices[0].advance(connection.sent);
            match connection.write(&mut self.kernel, &slices[..count]) {
                Ok(written) => {
                    moved = true;
                    connection.sent += written;
                    while let Some(length) = self.pool.front(&connection.outbox).map(Bytes::len) {
                        if connection.sent < length {
                            break;
                        }
                        self.pool.pop(&mut connection.outbox);
                        connection.sent -= length;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    if self.kernel.lied && !mem::replace(&mut connection.unread, true) {
                        self.unread.push(id);
                    }
                    let over = connection.queued() > self.config.soft_queue;
                    // A reader that is far behind has a fixed time to catch up; any other starts anew
                    // whenever it takes a byte.
                    if over && !connection.soft {
                        self.stalls.set(id, &mut connection.stall, now + self.config.soft_time);
                    } else if !over && (moved || connection.soft || connection.stall.at().is_none()) {
                        self.stalls.set(id, &mut connection.stall, now + self.config.write_timeout);
                    }
                    connection.soft = over;
                    return;
                }
                Err(error) => {
                    connection.error = Some(error);
                    connection.dead = true;
                    self.doomed.push(id);
                }
            }
        }
        if connection.dead {
            return;
        }
        connection.soft = false;
        self.stalls.clear(id, &mut connection.stall);
        if connection.finishing && connection.lingering.is_none() {
            if let Some(tls) = &mut connection.tls {
                tls.close();
                // Best effort: who does not take these last bytes misses nothing.
                let _ = connection.write(&mut self.kernel, &[]);
            }
            connection.lingering = Some(LINGER_BYTES);
            // An error means that there is nobody left to be told.
            let gone = connection.ended || connection.stream.shutdown(Shutdown::Write).is_err();
            self.phases.set(id, &mut connection.phase, now + LINGER);
            if gone {
                self.doom(id);
            }
        }
    }

    /// Takes one dead connection out of the books and closes its socket; the caller tells those above.
    /// Every connection comes by here exactly once (rule R4).
    pub fn bury(&mut self) -> Option<Buried<P>> {
        let id = self.doomed.pop()?;
        let mut connection = self.connections.remove(id).expect("a connection is doomed once and buried once");
        self.pool.clear(&mut connection.outbox);
        self.phases.clear(id, &mut connection.phase);
        self.stalls.clear(id, &mut connection.stall);
        // A descriptor is free again.
        self.accept_pause = None;
        Some(Buried { id, protocol: connection.protocol, error: connection.error })
    }
}

/// A listening socket that mio's own `bind` cannot make: backlog 1,024, and IPv6 with IPv4 where possible.
fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    // On Windows this option would let a second process take the port away.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(feature = "redis")]
#[path = "cluster/resolve.rs"]
mod resolve;

#[cfg(debug_assertions)]
#[path = "../tests/seams/net.rs"]
mod check;
