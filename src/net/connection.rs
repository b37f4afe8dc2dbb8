//! One TCP connection: its stream, its outbox and its deadlines. Part of `net`.

use super::kernel::{Kernel, Stream};
use super::tls::{Scratch, Tls};
use crate::base::limits::Limit;
use crate::base::queue::{Pool, Queue};
use crate::base::timers::Deadline;
use bytes::Bytes;
use smallvec::SmallVec;
use std::io::{self, ErrorKind, IoSlice};
use std::net::IpAddr;

/// Buffers handed to one vectored write: what one turn may bring to a recipient (the kernel takes 1,024).
const SLICES: usize = 256;

/// How far a connection has come.
pub(super) enum ConnState {
    Open,
    /// Nothing more is queued; to be closed when the outbox is empty.
    Closing,
    /// Our side is shut down; so many bytes more of the peer are thrown away.
    Lingering(usize),
    /// To be buried.
    Dead,
}

/// What a connection has died of.
#[derive(Debug)]
pub enum EndCause {
    /// Its time had come: it was closed in order, or those above wished it.
    Ended,
    /// The kernel or TLS said so.
    Error(io::Error),
    Limit(Limit),
}

/// One TCP connection; `P` is what `server` keeps beside it.
pub struct Connection<P> {
    pub protocol: P,
    pub(super) stream: Stream,
    /// Between the stream and all else here, if the connection has TLS.
    pub tls: Option<Box<Tls>>,
    /// The peer's address, as the kernel has it.
    pub peer: IpAddr,
    /// Bytes of an incomplete message; empty, without a buffer, on an idle connection.
    pub input: Vec<u8>,
    pub(super) outbox: Queue,
    /// Bytes of the first entry of `outbox` that the kernel already has.
    pub(super) sent: usize,
    /// The deadline that `server` has set for the phase the connection is in; our own once it lingers.
    pub phase: Deadline,
    /// Since when the connection has sent no whole request head; not set while a request is under way, or there is none.
    pub half_open: Deadline,
    /// When a write that does not move ends the connection.
    pub(super) stall: Deadline,
    /// `stall` is that of the soft limit, which a little progress does not move.
    pub(super) soft: bool,
    /// It is listed in `dirty`.
    pub(super) dirty: bool,
    /// It is listed in `unread`: the next turn reads it whatever the kernel says.
    pub unread: bool,
    /// The peer will send nothing more than what waits in the kernel; it has sent its last byte, and we have read it.
    pub hung_up: bool,
    pub ended: bool,
    /// The last read has taken all that had come: an edge follows if there is more.
    pub drained: bool,
    pub(super) state: ConnState,
    /// What it dies of.
    pub cause: EndCause,
}

impl<P> Connection<P> {
    /// Bytes queued and not yet with the kernel.
    pub fn queued(&self) -> usize {
        self.outbox.bytes - self.sent + self.unsent()
    }

    /// Bytes of ciphertext among them.
    pub(super) fn unsent(&self) -> usize {
        self.tls.as_ref().map_or(0, |tls| tls.unsent.len())
    }

    /// Whether what it sends still counts, and something may be queued for it.
    pub fn is_open(&self) -> bool {
        matches!(self.state, ConnState::Open)
    }

    /// Whether there is something to write: plaintext, or ciphertext.
    pub(super) fn wants_write(&self) -> bool {
        !self.outbox.is_empty() || self.unsent() > 0
    }

    pub(super) fn read(&mut self, kernel: &mut Kernel, scratch: &mut Scratch, buffer: &mut [u8]) -> io::Result<usize> {
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
    pub(super) fn write_all(&mut self, kernel: &mut Kernel, scratch: &mut Scratch, pool: &mut Pool) -> io::Result<()> {
        // The last of all is the goodbye of TLS.
        while self.wants_write()
            || matches!(self.state, ConnState::Closing) && self.tls.as_mut().is_some_and(|tls| tls.say_goodbye())
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
