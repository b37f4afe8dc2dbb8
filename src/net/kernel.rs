//! Where bytes meet sockets: every read and every write of the server is one of the two functions here.
//!
//! That makes them the place to stand in for the kernel. In a build with debug assertions the environment
//! variable `SALON_TEST_KERNEL` (a seed) makes every transfer move one byte, or end in `Interrupted` or in a
//! `WouldBlock` that is not true; and a connection may be a pipe in memory in place of a socket, with which the
//! scripted world of the tests runs a server without any. A release build has neither; see tests/seams/kernel.rs.

#[cfg(debug_assertions)]
#[path = "../../tests/seams/kernel.rs"]
pub mod seam;

#[cfg(not(debug_assertions))]
pub use mio::net::TcpStream as Stream;
#[cfg(debug_assertions)]
pub use seam::Stream;
use std::io::{self, IoSlice, Read, Write};

/// Moves bytes.
#[derive(Default)]
pub struct Kernel {
    /// The last `WouldBlock` was not true (TLS has read enough for one turn): no edge will follow, so it has to be tried again.
    pub spurious_would_block: bool,
    /// The last read has taken all there was: it was a short one. Then an edge follows when there is more (epoll(7), questions
    /// and answers); Windows reports nothing more before it has said `WouldBlock`.
    pub drained: bool,
    #[cfg(debug_assertions)]
    pub hostile: seam::Hostile,
}

impl Kernel {
    /// Every byte that comes in passes here. 0 is the end.
    pub fn read(&mut self, stream: &mut Stream, buffer: &mut [u8]) -> io::Result<usize> {
        self.spurious_would_block = false;
        #[cfg(debug_assertions)]
        let buffer = {
            let most = self.most()?.min(buffer.len());
            &mut buffer[..most]
        };
        let result = stream.read(buffer);
        self.drained =
            cfg!(unix) && matches!(result, Ok(1..)) && result.as_ref().is_ok_and(|count| *count < buffer.len());
        result
    }

    /// Every byte that goes out passes here. No slice is empty.
    pub fn write(&mut self, stream: &mut Stream, slices: &[IoSlice]) -> io::Result<usize> {
        self.spurious_would_block = false;
        #[cfg(debug_assertions)]
        if self.most()? == 1 {
            return stream.write(&slices[0][..1]);
        }
        match slices {
            [one] => stream.write(one),
            many => stream.write_vectored(many),
        }
    }
}
