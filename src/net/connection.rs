//! One TCP connection: its stream, its outbox, its deadlines and its state. Part of `net`.

use super::kernel::{Kernel, Stream, Transfer};
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

/// Most buffers passed to one vectored write (the kernel takes 1,024): enough for what one turn queues for one recipient.
const SLICES: usize = 256;

/// How long, and for how many bytes, a closed connection lingers: input is read and discarded. Closing a socket with unread
/// input makes the kernel send RST, which can destroy the answer before the peer has read it.
pub(super) const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 * 1024;

/// How far the connection is from its end.
pub(super) enum ConnState {
    Open,
    /// `close` was called: nothing more is queued, and once the outbox is empty it lingers.
    Closing,
    /// Our side is shut down; this many more bytes from the peer are read and discarded.
    Lingering(usize),
    /// `abort` was called: `reap` returns it at the end of the turn.
    Dead,
}

/// Whether more input can come, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadState {
    /// The kernel may hold more than was read.
    Readable,
    /// The last read took all the kernel held; an event follows when there is more.
    Drained,
    /// The peer has shut down its side (half-close) or reset the connection. No further event follows, so reads go on to
    /// the end of the stream, which may stand behind bytes that the kernel still holds.
    HungUp,
    /// The end of the stream was read.
    Ended,
}

/// Why a connection has ended.
#[derive(Debug)]
pub enum EndCause {
    /// The server closed or aborted it, or the peer closed it in order.
    Closed,
    /// A read, a write or TLS failed. `InvalidData`: the peer violated the TLS protocol.
    Error(io::Error),
    /// The peer reached a limit.
    Limit(Limit),
}

/// One TCP connection. `P` is the state that `server` keeps with it.
pub struct Connection<P> {
    pub protocol: P,
    pub(super) stream: Stream,
    /// `None`: bytes pass through `stream` as they are.
    pub tls: Option<Box<Tls>>,
    /// The peer's address as the kernel reports it; behind a proxy, that of the proxy.
    pub peer: IpAddr,
    /// Bytes of an incomplete message; an idle connection has no buffer here (R10).
    pub input: Vec<u8>,
    pub(super) outbox: Queue,
    /// Bytes of the first entry of `outbox` that are already written.
    pub(super) sent: usize,
    /// Deadline that `server` has set for the current phase (waiting for a head, a body, a message); while lingering, the
    /// end of that.
    pub phase: Deadline,
    /// Since when the peer has owed a whole request head; `None` while a request is processed or the connection is idle.
    pub half_open: Deadline,
    /// When a write that makes no progress, or an outbox that stays above the soft limit, ends the connection.
    pub(super) stall: Deadline,
    /// `stall` is the deadline of an outbox above the soft limit.
    pub(super) soft: bool,
    /// It is on the list `dirty`.
    pub(super) dirty: bool,
    /// It is on the list `unread`: the next turn reads it without waiting for an event.
    pub unread: bool,
    /// State of the input after the last event and read.
    pub reading: ReadState,
    /// `server` knows that the peer sends nothing more, so that a close need not wait for it.
    pub no_linger: bool,
    pub(super) state: ConnState,
    /// Why it ends; the first reason counts.
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
            phase: Deadline::default(),
            half_open: Deadline::default(),
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

    /// Bytes that the kernel has not taken yet, plaintext and ciphertext.
    pub fn queued(&self) -> usize {
        self.outbox.bytes - self.sent + self.tls.as_ref().map_or(0, |tls| tls.unsent.len())
    }

    /// Whether bytes from the peer are still processed, and bytes for it can be queued.
    pub fn is_open(&self) -> bool {
        matches!(self.state, ConnState::Open)
    }

    /// Reads once, and updates `reading`.
    pub(super) fn read(
        &mut self, kernel: &mut Kernel, scratch: &mut Scratch, buffer: &mut [u8],
    ) -> io::Result<Transfer> {
        let transfer = match &mut self.tls {
            Some(tls) => tls.read(kernel, &mut self.stream, scratch, buffer)?,
            None => kernel.read(&mut self.stream, buffer)?,
        };
        self.reading = match transfer {
            Transfer::Moved(0) => ReadState::Ended,
            Transfer::Moved(_) if self.reading != ReadState::HungUp => ReadState::Readable,
            Transfer::Drained(_) if self.reading != ReadState::HungUp => ReadState::Drained,
            _ => self.reading,
        };
        Ok(transfer)
    }

    /// Called after an incomplete write, with the number of bytes queued before it. Returns how long the peer may take from
    /// now on, or `None` if the running deadline stays: above the soft limit the time to catch up is fixed, below it every
    /// byte taken restarts the time.
    pub(super) fn stall_time(&mut self, before: usize, config: &Config) -> Option<Duration> {
        let over = self.queued() > config.soft_queue;
        let restarts = self.stall.is_none() || over != self.soft || !over && self.queued() < before;
        self.soft = over;
        restarts.then_some(if over { config.soft_time } else { config.write_timeout })
    }

    /// Shuts down our side after the last write, and starts to linger. Returns `false` if that is pointless, because the peer
    /// sends nothing more or is gone.
    pub(super) fn linger(&mut self) -> bool {
        let silent = self.no_linger || self.reading == ReadState::Ended;
        self.state = ConnState::Lingering(LINGER_BYTES);
        !silent && self.stream.shutdown(Shutdown::Write).is_ok()
    }

    /// Writes until nothing is left (then the result is `Moved`), or the kernel takes no more.
    pub(super) fn write_all(
        &mut self, kernel: &mut Kernel, scratch: &mut Scratch, pool: &mut Pool,
    ) -> io::Result<Transfer> {
        // The close_notify alert of TLS comes last.
        while self.queued() > 0
            || matches!(self.state, ConnState::Closing) && self.tls.as_mut().is_some_and(|tls| tls.queue_close_notify())
        {
            // SmallVec does not initialize 256 slices to use a few, as an array would.
            let mut slices = SmallVec::<[IoSlice; SLICES]>::new();
            slices.extend(pool.iter(&self.outbox).take(SLICES).map(|bytes| IoSlice::new(bytes)));
            if let Some(first) = slices.first_mut() {
                first.advance(self.sent);
            }
            let transfer = match &mut self.tls {
                Some(tls) => tls.write(kernel, &mut self.stream, scratch, &slices)?,
                None => kernel.write(&mut self.stream, &slices)?,
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
