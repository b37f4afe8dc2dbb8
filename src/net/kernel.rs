//! Every read(2) and writev(2) on the server's connections is in the two functions here.
//!
//! This is therefore the place where tests replace the kernel. In a build with debug assertions the environment variable
//! `SALON_TEST_KERNEL` (a seed) makes each transfer move one byte or nothing at all; and a connection may be a pipe in
//! memory instead of a socket, so that tests/world runs a server without any. A release build has neither; see
//! tests/seams/kernel.rs.

#[cfg(debug_assertions)]
#[path = "../../tests/seams/kernel.rs"]
pub mod seam;

#[cfg(not(debug_assertions))]
pub use mio::net::TcpStream as Stream;
#[cfg(debug_assertions)]
pub use seam::Stream;
use std::io::{self, ErrorKind, IoSlice, Read, Write};

/// Result of one read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// This many bytes have moved. A read of 0 bytes is the end of the stream.
    Moved(usize),
    /// A short read: the kernel holds no more bytes, and an event follows when it does (epoll(7), questions and answers).
    /// Never on Windows, which reports nothing more until a read has returned `WouldBlock`.
    Drained(usize),
    /// Nothing has moved; a readiness event follows when something can.
    WouldBlock,
    /// Nothing has moved although it could (a signal came, or TLS needs another read), and no readiness event will follow:
    /// try again in the next turn.
    Retry,
}

/// Performs transfers; in tests it also decides which of them fail.
#[derive(Default)]
pub struct Kernel {
    #[cfg(debug_assertions)]
    pub hostile: seam::Hostile,
}

impl Kernel {
    /// Reads once.
    pub fn read(&mut self, stream: &mut Stream, buffer: &mut [u8]) -> io::Result<Transfer> {
        #[cfg(debug_assertions)]
        let buffer = match self.hostile.limit(buffer.len()) {
            Some(most) => &mut buffer[..most],
            None => return Ok(Transfer::Retry),
        };
        match outcome(stream.read(buffer)) {
            Ok(Transfer::Moved(count @ 1..)) if cfg!(unix) && count < buffer.len() => Ok(Transfer::Drained(count)),
            outcome => outcome,
        }
    }

    /// Writes once. No slice may be empty.
    pub fn write(&mut self, stream: &mut Stream, slices: &[IoSlice]) -> io::Result<Transfer> {
        #[cfg(debug_assertions)]
        match self.hostile.limit(usize::MAX) {
            Some(1) => return outcome(stream.write(&slices[0][..1])),
            Some(_) => {}
            None => return Ok(Transfer::Retry),
        }
        outcome(match slices {
            [one] => stream.write(one),
            many => stream.write_vectored(many),
        })
    }
}

/// Separates "not now" from real errors.
fn outcome(result: io::Result<usize>) -> io::Result<Transfer> {
    result.map(Transfer::Moved).or_else(|error| match error.kind() {
        // Windows reports NotConnected while an outgoing connection is being made.
        ErrorKind::WouldBlock | ErrorKind::NotConnected => Ok(Transfer::WouldBlock),
        ErrorKind::Interrupted => Ok(Transfer::Retry),
        _ => Err(error),
    })
}
