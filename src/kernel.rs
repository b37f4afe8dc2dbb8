//! Where bytes meet sockets: every read and every write of the server is one of the two functions here.
//!
//! That makes them the place to stand in for the kernel. In a build with debug assertions the environment
//! variable `SALON_TEST_KERNEL` (a seed) makes every transfer move one byte, or end in `Interrupted` or in a
//! `WouldBlock` that is not true; and a connection may have a [`Pipe`] in memory in place of a socket, with which
//! the scripted world of the tests runs a server without any. A release build contains neither.

#[cfg(debug_assertions)]
use std::collections::VecDeque;
use std::{
    io::{self, ErrorKind, IoSlice, Read, Write},
    net::Shutdown,
};

use mio::net::TcpStream;

/// What a connection reads from and writes to.
pub enum Stream {
    Tcp(TcpStream),
    #[cfg(debug_assertions)]
    Pipe(Pipe),
}

impl Stream {
    /// Sends FIN: nothing follows.
    pub fn shut_down(&mut self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            #[cfg(debug_assertions)]
            Stream::Pipe(pipe) => {
                pipe.shut = true;
                Ok(())
            }
        }
    }
}

/// Both directions of a connection of the scripted world.
#[cfg(debug_assertions)]
#[derive(Default)]
pub struct Pipe {
    /// What the server has not read yet.
    pub incoming: VecDeque<u8>,
    /// Nothing follows that.
    pub ended: bool,
    /// The peer has reset the connection.
    pub reset: bool,
    /// What the server has written.
    pub outgoing: Vec<u8>,
    /// How many bytes more it may write.
    pub room: usize,
    /// The server has shut down its side.
    pub shut: bool,
}

/// Moves bytes.
#[derive(Default)]
pub struct Kernel {
    /// The state of the generator that decides what goes wrong; `None`: nothing.
    #[cfg(debug_assertions)]
    hostile: Option<u64>,
    /// The last `WouldBlock` was not true: no edge will follow, so it has to be tried again.
    pub lied: bool,
}

impl Kernel {
    /// The kernel as it is, or as the environment asks for.
    pub fn new() -> Kernel {
        Kernel {
            #[cfg(debug_assertions)]
            hostile: std::env::var("SALON_TEST_KERNEL").ok().and_then(|seed| seed.parse().ok()),
            lied: false,
        }
    }

    /// Every byte that comes in passes here. 0 is the end.
    pub fn read(&mut self, stream: &mut Stream, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.most(buffer.len())?;
        match stream {
            Stream::Tcp(stream) => stream.read(&mut buffer[..most]),
            #[cfg(debug_assertions)]
            Stream::Pipe(pipe) if pipe.reset => Err(ErrorKind::ConnectionReset.into()),
            #[cfg(debug_assertions)]
            Stream::Pipe(pipe) if pipe.incoming.is_empty() && !pipe.ended => Err(ErrorKind::WouldBlock.into()),
            #[cfg(debug_assertions)]
            Stream::Pipe(pipe) => pipe.incoming.read(&mut buffer[..most]),
        }
    }

    /// Every byte that goes out passes here. No slice is empty.
    pub fn write(&mut self, stream: &mut Stream, slices: &[IoSlice]) -> io::Result<usize> {
        let most = self.most(usize::MAX)?;
        let written = match (stream, slices) {
            (Stream::Tcp(stream), [first, ..]) if most == 1 => stream.write(&first[..1])?,
            (Stream::Tcp(stream), [one]) => stream.write(one)?,
            (Stream::Tcp(stream), many) => stream.write_vectored(many)?,
            #[cfg(debug_assertions)]
            (Stream::Pipe(pipe), _) if pipe.reset => return Err(ErrorKind::ConnectionReset.into()),
            #[cfg(debug_assertions)]
            (Stream::Pipe(pipe), _) if pipe.room == 0 => return Err(ErrorKind::WouldBlock.into()),
            #[cfg(debug_assertions)]
            (Stream::Pipe(pipe), slices) => {
                let count = pipe.room.min(slices[0].len()).min(most);
                pipe.outgoing.extend_from_slice(&slices[0][..count]);
                pipe.room -= count;
                count
            }
        };
        if written == 0 { Err(ErrorKind::WriteZero.into()) } else { Ok(written) }
    }

    /// How much of `wanted` may move now.
    fn most(&mut self, wanted: usize) -> io::Result<usize> {
        self.lied = false;
        #[cfg(debug_assertions)]
        if let Some(state) = &mut self.hostile {
            // xorshift64, good enough to be unpredictable to the server.
            *state ^= *state << 13;
            *state ^= *state >> 7;
            *state ^= *state << 17;
            match *state % 8 {
                0 => return Err(ErrorKind::Interrupted.into()),
                1 => {
                    self.lied = true;
                    return Err(ErrorKind::WouldBlock.into());
                }
                _ => return Ok(1),
            }
        }
        Ok(wanted)
    }
}
