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

use crate::{
    queue::{Pool, Queue},
    slab::{ConnId, Slab},
    timers::{Deadline, Timers},
};
use bytes::Bytes;
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use std::{
    io::{self, ErrorKind, IoSlice, Read, Write},
    mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr},
    time::{Duration, Instant},
};

/// Tokens beyond all packed keys.
const LISTENER: Token = Token(usize::MAX);
const SIGNALS: Token = Token(usize::MAX - 1);
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

/// The limits of `config` that concern sockets.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at one time.
    pub connections: usize,
    /// Queued bytes at which a connection is evicted at once.
    pub queue: usize,
    /// Queued bytes that a connection may have for `soft_time` only.
    pub soft_queue: usize,
    /// See `soft_queue`.
    pub soft_time: Duration,
    /// How long a write may stand still.
    pub stall: Duration,
}

/// What one readiness event says.
#[derive(Clone, Copy, Debug)]
pub enum Wake {
    /// Somebody wants to connect.
    Listener,
    /// The process got a signal.
    Signals,
    /// A connection can be read or written; `hung_up`: the peer will send nothing more.
    Connection {
        /// Which one.
        id: ConnId,
        /// There are bytes, an end or an error to be read.
        readable: bool,
        /// The kernel takes bytes again.
        writable: bool,
        /// The peer has closed its side, or both.
        hung_up: bool,
    },
}

/// What a read has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// So many bytes.
    Bytes(usize),
    /// Nothing more for now.
    Drained,
    /// The peer has closed its side.
    End,
    /// The connection is broken (and marked as dead) or unknown.
    Dead,
}

/// How many connections came to which end, and how many bytes passed; only ever counted up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed because their outbox was above the hard limit.
    pub evicted_hard: u64,
    /// Connections closed because their outbox stayed above the soft limit, or did not move at all.
    pub evicted_slow: u64,
    /// Times that accept stopped at the limit of connections or of descriptors.
    pub accept_stopped: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Bytes read.
    pub bytes_in: u64,
}

struct Connection {
    stream: TcpStream,
    peer: IpAddr,
    /// Bytes of an incomplete message; empty, without a buffer, on an idle connection.
    input: Vec<u8>,
    outbox: Queue,
    /// Bytes of the first entry of `outbox` that the kernel already has.
    sent: usize,
    /// The deadline that `server` has set for the phase the connection is in.
    phase: Deadline,
    /// When a write that does not move ends the connection.
    stall: Deadline,
    /// `stall` was set because of the soft limit, and a little progress does not move it.
    soft: bool,
    dirty: bool,
    unread: bool,
    /// The peer has sent its last byte.
    ended: bool,
    /// To be closed when the outbox is empty.
    finishing: bool,
    /// Our side is shut down; so many more bytes are read and thrown away.
    lingering: Option<usize>,
    dead: bool,
}

/// All sockets of the process.
pub struct Net {
    poll: Poll,
    events: Events,
    listener: Option<TcpListener>,
    /// Whether accept may have something; false only after it has said `WouldBlock`.
    backlog: bool,
    /// Until when accept rests after EMFILE.
    accept_pause: Option<Instant>,
    connections: Slab<crate::slab::Conn, Connection>,
    pool: Pool,
    dirty: Vec<ConnId>,
    doomed: Vec<ConnId>,
    unread: Vec<ConnId>,
    phases: Timers<ConnId>,
    stalls: Timers<ConnId>,
    limits: Limits,
    /// What has happened since the start.
    pub counters: Counters,
}

impl Net {
    /// No sockets yet. Fails only if the operating system gives no selector.
    pub fn new(limits: Limits) -> io::Result<Net> {
        Ok(Net {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            listener: None,
            backlog: false,
            accept_pause: None,
            connections: Slab::default(),
            pool: Pool::default(),
            dirty: Vec::new(),
            doomed: Vec::new(),
            unread: Vec::new(),
            phases: Timers::default(),
            stalls: Timers::default(),
            limits,
            counters: Counters::default(),
        })
    }

    /// Starts to listen; `host` `None` means all addresses of both IP versions where the system can do that
    /// with one socket, else all of IPv4. Returns the address, with the real port if `port` was 0.
    pub fn listen(&mut self, host: Option<IpAddr>, port: u16) -> io::Result<SocketAddr> {
        let listener = match host {
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
        self.accept_pause = None;
    }

    /// Registers a source of signals with the loop.
    pub fn watch_signals(&mut self, source: &mut impl mio::event::Source) -> io::Result<()> {
        self.poll.registry().register(source, SIGNALS, Interest::READABLE)
    }

    /// Sleeps until something is ready or `deadline` (seen from `now`) is reached; `None`: for ever. Not at all
    /// if bytes were left unread or connections not accepted in the last turn.
    pub fn wait(&mut self, now: Instant, deadline: Option<Instant>) -> io::Result<()> {
        let accept = self.backlog && self.accept_pause.is_none() && self.has_room();
        let timeout = match deadline {
            _ if accept || !self.unread.is_empty() => Some(Duration::ZERO),
            Some(deadline) => Some(deadline.saturating_duration_since(now)),
            None => None,
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
                Token(number) => Wake::Connection {
                    id: ConnId::unpack(number),
                    readable: event.is_readable() || event.is_read_closed() || event.is_error(),
                    writable: event.is_writable(),
                    hung_up: event.is_read_closed() || event.is_error(),
                },
            });
        }
        self.events.clear();
        if self.backlog && self.accept_pause.is_none() && self.has_room() {
            wakes.push(Wake::Listener);
        }
        for id in self.unread.drain(..) {
            if let Some(connection) = self.connections.get_mut(id) {
                connection.unread = false;
                wakes.push(Wake::Connection { id, readable: true, writable: false, hung_up: false });
            }
        }
    }

    /// Whether the limit of connections allows one more.
    fn has_room(&self) -> bool {
        self.connections.len() < self.limits.connections
    }

    /// Accepts what is waiting, up to a bound per turn; each new connection is appended to `accepted`.
    pub fn accept(&mut self, now: Instant, accepted: &mut Vec<ConnId>) {
        self.backlog = true;
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.has_room() {
                self.counters.accept_stopped += 1;
                return;
            }
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok((stream, peer)) => {
                    self.accept_pause = None;
                    if let Some(id) = self.adopt(stream, peer.ip()) {
                        accepted.push(id);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.backlog = false;
                    return;
                }
                // The peer gave up while it was waiting, or a signal came: the next one may be fine.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                // EMFILE, ENFILE, ENOBUFS, ENOMEM: there is nothing to accept with.
                Err(error) => {
                    log::warn!("cannot accept connections for now: {error}");
                    self.counters.accept_stopped += 1;
                    self.accept_pause = Some(now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    /// Takes a new socket in; `None` if it died at once.
    fn adopt(&mut self, stream: TcpStream, peer: IpAddr) -> Option<ConnId> {
        // Fails only on a socket that is dead already; reading it will tell.
        let _ = stream.set_nodelay(true);
        let id = self.connections.insert(Connection {
            stream,
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
        });
        let connection = self.connections.get_mut(id).expect("it was inserted just now");
        let token = Token(id.pack());
        let interests = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(&mut connection.stream, token, interests).is_err() {
            self.connections.remove(id);
            return None;
        }
        self.counters.accepted += 1;
        Some(id)
    }

    /// All connections.
    pub fn keys(&self) -> Vec<ConnId> {
        self.connections.keys()
    }

    /// Whether new connections are taken.
    pub fn listens(&self) -> bool {
        self.listener.is_some()
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// The peer's address, as the kernel has it.
    pub fn peer(&self, id: ConnId) -> Option<IpAddr> {
        Some(self.connections.get(id)?.peer)
    }

    /// Reads once into `buffer`.
    pub fn read(&mut self, id: ConnId, buffer: &mut [u8]) -> Fill {
        let Some(connection) = self.connections.get_mut(id) else { return Fill::Dead };
        if connection.dead {
            return Fill::Dead;
        }
        loop {
            match read(&mut connection.stream, buffer) {
                Ok(0) => {
                    connection.ended = true;
                    return Fill::End;
                }
                Ok(count) => {
                    self.counters.bytes_in += count as u64;
                    return Fill::Bytes(count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Fill::Drained,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.doom(id);
                    return Fill::Dead;
                }
            }
        }
    }

    /// Remembers that there is more to read than this turn has read.
    pub fn remember_unread(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(id)
            && !mem::replace(&mut connection.unread, true)
        {
            self.unread.push(id);
        }
    }

    /// Takes out what is left of the input.
    pub fn take_input(&mut self, id: ConnId) -> Vec<u8> {
        self.connections.get_mut(id).map(|connection| mem::take(&mut connection.input)).unwrap_or_default()
    }

    /// Keeps the bytes of an incomplete message until more arrive.
    pub fn keep_input(&mut self, id: ConnId, input: Vec<u8>) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.input = input;
        }
    }

    /// How many bytes of an incomplete message are kept.
    pub fn kept(&self, id: ConnId) -> usize {
        self.connections.get(id).map_or(0, |connection| connection.input.len())
    }

    /// Whether the peer has closed its side.
    pub fn ended(&self, id: ConnId) -> bool {
        self.connections.get(id).is_none_or(|connection| connection.ended)
    }

    /// Whether the connection only waits for its end: what it still reads is thrown away.
    pub fn finishing(&self, id: ConnId) -> bool {
        self.connections.get(id).is_none_or(|connection| connection.finishing || connection.dead)
    }

    /// Bytes queued for this connection and not yet with the kernel.
    pub fn queued(&self, id: ConnId) -> usize {
        self.connections.get(id).map_or(0, |connection| connection.outbox.bytes() - connection.sent)
    }

    /// Queues bytes; they leave at the end of the turn. Above the hard limit the connection is doomed.
    pub fn push(&mut self, id: ConnId, bytes: Bytes) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.dead || connection.finishing || bytes.is_empty() {
            return;
        }
        self.pool.push(&mut connection.outbox, bytes);
        if connection.outbox.bytes() - connection.sent > self.limits.queue {
            self.counters.evicted_hard += 1;
            self.doom(id);
        } else if !mem::replace(&mut connection.dirty, true) {
            self.dirty.push(id);
        }
    }

    /// The connection ends when all that is queued has left.
    pub fn finish(&mut self, id: ConnId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.finishing = true;
        connection.input = Vec::new();
        // The flush at the end of the turn finds the outbox empty, and goes on from there.
        if !mem::replace(&mut connection.dirty, true) {
            self.dirty.push(id);
        }
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
            self.counters.evicted_slow += 1;
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

    /// Counts bytes that a finished connection still sends; too many, and it is doomed.
    pub fn throw_away(&mut self, id: ConnId, count: usize) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Some(left) = &mut connection.lingering else { return };
        match left.checked_sub(count) {
            Some(rest) => *left = rest,
            None => self.doom(id),
        }
    }

    /// A finished connection was closed by the peer too: nothing more to wait for, once all is written.
    pub fn peer_ended(&mut self, id: ConnId) {
        if self.connections.get(id).is_some_and(|connection| connection.lingering.is_some()) {
            self.doom(id);
        }
    }

    /// The kernel takes bytes of this connection again.
    pub fn writable(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(id)
            && !connection.outbox.is_empty()
            && !mem::replace(&mut connection.dirty, true)
        {
            self.dirty.push(id);
        }
    }

    /// Writes what was queued in this turn: one vectored write per connection, more only if one does not
    /// hold it all. Connections whose outbox fell below half of the hard limit are appended to `drained`.
    pub fn flush(&mut self, now: Instant, drained: &mut Vec<ConnId>) {
        let mut dirty = mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            let before = self.queued(id);
            self.flush_one(id, now);
            if before > self.limits.queue / 2 && self.queued(id) <= self.limits.queue / 2 {
                drained.push(id);
            }
        }
        // flush_one queues nothing, so the list is taken back with its capacity.
        self.dirty = dirty;
    }

    fn flush_one(&mut self, id: ConnId, now: Instant) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.dirty = false;
        let mut moved = false;
        while !connection.dead && !connection.outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(self.pool.iter(&connection.outbox)) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            slices[0].advance(connection.sent);
            match write(&mut connection.stream, &slices[..count]) {
                Ok(written) => {
                    moved = true;
                    self.counters.bytes_out += written as u64;
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
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let over = connection.outbox.bytes() - connection.sent > self.limits.soft_queue;
                    // A reader that is far behind has a fixed time to catch up; any other starts anew
                    // whenever it takes a byte.
                    if over && !connection.soft {
                        self.stalls.set(id, &mut connection.stall, now + self.limits.soft_time);
                    } else if !over && (moved || connection.soft || connection.stall.at().is_none()) {
                        self.stalls.set(id, &mut connection.stall, now + self.limits.stall);
                    }
                    connection.soft = over;
                    return;
                }
                Err(_) => {
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
            // An error means that there is nobody left to be told.
            let gone = connection.ended || connection.stream.shutdown(Shutdown::Write).is_err();
            connection.lingering = Some(LINGER_BYTES);
            self.phases.set(id, &mut connection.phase, now + LINGER);
            if gone {
                self.doom(id);
            }
        }
    }

    /// Takes one dead connection out of the books and closes its socket; the caller tells those above.
    /// Every connection comes by here exactly once (rule R4).
    pub fn bury(&mut self) -> Option<ConnId> {
        let id = self.doomed.pop()?;
        let mut connection = self.connections.remove(id).expect("a connection is doomed once and buried once");
        self.pool.clear(&mut connection.outbox);
        self.phases.clear(id, &mut connection.phase);
        self.stalls.clear(id, &mut connection.stall);
        // A descriptor is free again.
        self.accept_pause = None;
        Some(id)
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

/// Every byte that comes in passes here.
fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    stream.read(buffer)
}

/// Every byte that goes out passes here.
fn write(stream: &mut TcpStream, slices: &[IoSlice]) -> io::Result<usize> {
    let written = match slices {
        [one] => stream.write(one)?,
        many => stream.write_vectored(many)?,
    };
    // No slice is empty, so nothing written means that nothing will be.
    if written == 0 { Err(ErrorKind::WriteZero.into()) } else { Ok(written) }
}
