//! One TCP connection: its stream, its outbox, its deadlines and its state. Part of `net`.

use super::kernel::{self, Stream, Transfer};
use super::tls::{Scratch, Tls};
use crate::base::limits::Limit;
use crate::base::queue::{Pool, Queue};
use crate::base::timers::Deadline;
use crate::config::Config;
use bytes::Bytes;
use smallvec::SmallVec;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Shutdown};
use std::time::Duration;

/// Maximum number of buffers in one vectored write. Linux allows 1,024, but one turn seldom queues more than 256 for a peer.
const SLICES: usize = 256;

/// Maximum time for which a closed connection lingers, and maximum number of bytes that are discarded after `Net::close`.
/// Without lingering, unread input would make the kernel send RST, which can destroy the response before the peer reads it.
pub(super) const LINGER: Duration = Duration::from_secs(1);
pub(super) const LINGER_BYTES: usize = 64 * 1024;

/// The state of a connection, from open to dead.
pub(super) enum ConnState {
    Open,
    /// `Net::close` was called: nothing more can be queued, and the connection lingers once its outbox is empty. At most
    /// this number of further bytes from the peer are read and discarded; then the connection is aborted.
    Closing(usize),
    /// The server has shut down its side. The number is what is left of the number in `Closing`.
    Lingering(usize),
    /// The connection was aborted: `Net::reap` returns it at the end of the turn.
    Dead,
}

/// What is known about further input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadState {
    /// The kernel may hold more than was read.
    Readable,
    /// The last read took all bytes that the kernel held. A readiness event follows when more arrive.
    Drained,
    /// The peer has shut down its side (half-close) or reset the connection, but the kernel may still hold bytes before the
    /// end of the stream. No further event follows, so the server must read on until that end.
    HungUp,
    /// The end of the stream was read.
    Ended,
}

/// Why a connection has ended.
#[derive(Debug)]
pub enum EndCause {
    /// The server closed or aborted the connection, or the peer closed it without an error.
    Closed,
    /// A system call or TLS failed. The kind `InvalidData` means that the peer violated the TLS protocol.
    Error(io::Error),
    Limit(Limit),
}

/// The state that `server` keeps with each connection.
pub trait State: Default {
    /// Returns the bytes of incomplete messages in it.
    fn held(&self) -> usize;
}

/// One TCP connection. `P` is the state that `server` keeps with it.
pub struct Connection<P> {
    pub protocol: P,
    pub(super) stream: Stream,
    /// The state of TLS; `None` if the connection has no TLS.
    pub tls: Option<Box<Tls>>,
    /// The peer's address; behind a proxy, that of the proxy. Never IPv4-mapped.
    pub peer: IpAddr,
    /// Input that `server` cannot process yet, such as an incomplete message. An idle connection has no buffer here (R10).
    pub input: Vec<u8>,
    pub(super) outbox: Queue,
    /// Number of bytes of the first entry of `outbox` that are already written.
    pub(super) sent: usize,
    /// Whether the newest entry of `outbox` is a pong; meaningless while `outbox` is empty.
    pub(super) pong: bool,
    /// The share of the connection in `Net::held`, in bytes: its last known `weight`.
    pub(super) held: usize,
    /// Deadline of the present phase: to wait for a head, a body, the rest of a message or the next request, or to linger.
    pub phase: Deadline,
    /// Not a deadline but the start of the wait for a complete request head: the accept, or the first bytes of the head.
    /// `None` while a request is processed, and while a keep-alive connection has sent nothing of its next request.
    pub half_open: Deadline,
    /// Set by `server` with each response: once the outbox is empty, `phase` is set to end after `idle_timeout`.
    pub idle: bool,
    /// Deadline at which a peer that reads too slowly is evicted; `None` if the last write took all that was queued.
    pub(super) stall: Deadline,
    /// Whether `stall` is the deadline of `soft_time`, for an outbox above `soft_queue`, rather than of `write_timeout`.
    pub(super) soft: bool,
    /// Whether the connection is on the list `Net::dirty`.
    pub(super) dirty: bool,
    /// Whether the connection is on the list `Net::unread`: the next turn reads it without waiting for an event.
    pub unread: bool,
    /// What the last event and the last read showed about further input.
    pub reading: ReadState,
    /// Set by `server` if it knows that the peer sends nothing more: `close` then need not linger.
    pub no_linger: bool,
    pub(super) state: ConnState,
    /// Why the connection ends; the first error or limit counts.
    pub cause: EndCause,
}

impl<P> Connection<P> {
    pub(super) fn new(stream: Stream, peer: IpAddr, tls: Option<Tls>, protocol: P) -> Connection<P> {
        Connection {
            protocol,
            stream,
            tls: tls.map(Box::new),
            peer,
            input: Vec::new(),
            outbox: Queue::default(),
            sent: 0,
            pong: false,
            held: 0,
            phase: Deadline::default(),
            half_open: Deadline::default(),
            idle: false,
            stall: Deadline::default(),
            soft: false,
            dirty: false,
            unread: false,
            reading: ReadState::Readable,
            no_linger: false,
            state: ConnState::Open,
            cause: EndCause::Closed,
        }
    }

    /// Returns the bytes, plaintext and ciphertext, that the kernel has not taken yet, and `ENTRY` for each outbox entry.
    pub fn queued(&self) -> usize {
        self.outbox.held() - self.sent + self.tls.as_ref().map_or(0, |tls| tls.unsent.len())
    }

    /// Whether bytes from the peer are still processed, and bytes for the peer can be queued.
    pub fn is_open(&self) -> bool {
        matches!(self.state, ConnState::Open)
    }

    /// Reads plaintext into `buffer`, and updates `reading`. A closing connection discards its input, which is therefore not
    /// decrypted: the result counts every byte received, also those that carry no plaintext.
    pub(super) fn read(&mut self, scratch: &mut Scratch, buffer: &mut [u8]) -> io::Result<Transfer> {
        let transfer = match &mut self.tls {
            Some(tls) if matches!(self.state, ConnState::Open) => tls.read(&mut self.stream, scratch, buffer)?,
            _ => kernel::read(&mut self.stream, buffer)?,
        };
        self.reading = match transfer {
            Transfer::Moved(0) => ReadState::Ended,
            Transfer::Moved(_) if self.reading != ReadState::HungUp => ReadState::Readable,
            Transfer::Drained(_) if self.reading != ReadState::HungUp => ReadState::Drained,
            _ => self.reading,
        };
        Ok(transfer)
    }

    /// Counts `count` bytes that were read (0 at the end of the stream). Returns `false` if the connection must be aborted:
    /// it closes or lingers and the peer has sent too much, or it lingers and the peer has ended the stream.
    pub(super) fn allows(&mut self, count: usize) -> bool {
        let has_ended = count == 0 && matches!(self.state, ConnState::Lingering(_));
        let (ConnState::Closing(left) | ConnState::Lingering(left)) = &mut self.state else { return true };
        let rest = left.checked_sub(count).filter(|_| !has_ended);
        *left = rest.unwrap_or(0);
        rest.is_some()
    }

    /// Updates `soft` after an incomplete write; `before` is the number of bytes that were queued before the write. Returns
    /// the time until the new deadline of `stall`, or `None` if the old deadline stays. Above `soft_queue` the deadline is
    /// fixed; otherwise every write that makes progress starts the time again.
    pub(super) fn stall_time(&mut self, before: usize, config: &Config) -> Option<Duration> {
        let over = self.queued() > config.soft_queue;
        let restarts = self.stall.is_none() || over != self.soft || !over && self.queued() < before;
        self.soft = over;
        restarts.then_some(if over { config.soft_time } else { config.write_timeout })
    }

    /// Called after the last write: shuts down the server's side. At most `left` further bytes will be discarded. Returns
    /// `false` if the connection can be closed without lingering: the peer is gone, or is known to send nothing more.
    pub(super) fn linger(&mut self, left: usize) -> bool {
        let silent = self.no_linger || self.reading == ReadState::Ended;
        self.state = ConnState::Lingering(left);
        !silent && self.stream.shutdown(Shutdown::Write).is_ok()
    }

    /// Writes until nothing is queued or the kernel takes no more. Returns `Moved` in the first case.
    pub(super) fn write_all(&mut self, scratch: &mut Scratch, pool: &mut Pool) -> io::Result<Transfer> {
        // A closing TLS connection sends its close_notify alert after everything else.
        while !self.outbox.is_empty()
            || self.tls.as_ref().is_some_and(|tls| !tls.unsent.is_empty())
            || matches!(self.state, ConnState::Closing(_))
                && self.tls.as_mut().is_some_and(|tls| tls.queue_close_notify())
        {
            // Unlike an array, a SmallVec does not initialize all 256 slices if only a few are used.
            let mut slices = SmallVec::<[IoSlice; SLICES]>::new();
            slices.extend(pool.iter(&self.outbox).take(SLICES).map(|bytes| IoSlice::new(bytes)));
            if let Some(first) = slices.first_mut() {
                first.advance(self.sent);
            }
            let transfer = match &mut self.tls {
                Some(tls) => tls.write(&mut self.stream, scratch, &slices)?,
                None => kernel::write(&mut self.stream, &slices)?,
            };
            let Transfer::Moved(count) = transfer else { return Ok(transfer) };
            drop(slices);
            self.sent += count;
            while let Some(length) = pool.front(&self.outbox).map(Bytes::len).filter(|length| *length <= self.sent) {
                pool.pop(&mut self.outbox);
                self.sent -= length;
            }
        }
        Ok(Transfer::Moved(0))
    }
}

impl<P: State> Connection<P> {
    /// Returns the bytes that the connection holds besides its outbox: input, incomplete messages, and bytes of TLS records.
    pub(super) fn weight(&self) -> usize {
        match &self.state {
            // A dead connection is freed at the end of the turn.
            ConnState::Dead => 0,
            _ => self.input.capacity() + self.protocol.held() + self.tls.as_ref().map_or(0, |tls| tls.held()),
        }
    }

    /// Returns all bytes that the connection holds, outbox included. Shared buffers count in full.
    pub fn holds(&self) -> usize {
        match &self.state {
            ConnState::Dead => 0,
            _ => self.outbox.held() - self.sent + self.weight(),
        }
    }
}
