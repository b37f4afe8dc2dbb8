//! Every read and write on the server's connections goes through `read` or `write` of this file.
//!
//! So this is the place where tests replace the kernel, in builds with debug assertions: the environment variable
//! `SALON_TEST_KERNEL` (a seed) makes each transfer move one byte or nothing, and a connection may be a pipe in memory, so
//! that tests/world runs a server without sockets. See tests/seams/kernel.rs.

#[cfg(debug_assertions)]
#[path = "../../tests/seams/kernel.rs"]
pub mod seam;

#[cfg(not(debug_assertions))]
pub use mio::net::TcpStream as Stream;
#[cfg(debug_assertions)]
pub use seam::Stream;
use std::io::{self, ErrorKind, IoSlice, Read, Write};

/// The result of one read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// This number of bytes has moved. A read of 0 bytes is the end of the stream.
    Moved(usize),
    /// A short read of this number of bytes: the kernel holds no more, and an event follows when more arrive (epoll(7),
    /// questions and answers). Not used on Windows, where no event follows until a read has returned `WouldBlock`.
    Drained(usize),
    /// Nothing has moved. A readiness event follows when something can.
    WouldBlock,
    /// Nothing has moved although it could: a signal came, or TLS needs another read. The caller must try again in the next
    /// turn without waiting for a readiness event, because there may be none.
    Retry,
}

/// Reads once.
pub fn read(stream: &mut Stream, buffer: &mut [u8]) -> io::Result<Transfer> {
    // Tests cut the buffer here, not in the `Read` of the seam, where a read of one byte would look like a short read.
    #[cfg(debug_assertions)]
    let Some(buffer) = seam::cut(buffer) else { return Ok(Transfer::Retry) };
    match outcome(stream.read(buffer)) {
        Ok(Transfer::Moved(count @ 1..)) if cfg!(unix) && count < buffer.len() => Ok(Transfer::Drained(count)),
        outcome => outcome,
    }
}

/// Writes once. Each slice must have at least one byte.
pub fn write(stream: &mut Stream, slices: &[IoSlice]) -> io::Result<Transfer> {
    outcome(match slices {
        [one] => stream.write(one),
        many => stream.write_vectored(many),
    })
}

/// Turns errors that mean "not now" into a [`Transfer`]. `Err` is a real error.
fn outcome(result: io::Result<usize>) -> io::Result<Transfer> {
    result.map(Transfer::Moved).or_else(|error| match error.kind() {
        // Windows reports NotConnected while an outgoing connection is being established.
        ErrorKind::WouldBlock | ErrorKind::NotConnected => Ok(Transfer::WouldBlock),
        ErrorKind::Interrupted => Ok(Transfer::Retry),
        _ => Err(error),
    })
}
