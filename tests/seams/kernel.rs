//! What stands in for the kernel in builds with debug assertions: part of `kernel`.

use super::Kernel;
use mio::{Interest, Registry, Token, event::Source, net::TcpStream};
use std::{
    collections::VecDeque,
    env,
    io::{self, ErrorKind, IoSlice, Read, Write},
    net::Shutdown,
    sync::{Arc, Mutex, MutexGuard},
};

/// What a connection reads from and writes to.
pub enum Stream {
    Tcp(TcpStream),
    Pipe(Pipe),
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Stream {
        Stream::Tcp(stream)
    }
}

impl Stream {
    pub fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(how),
            Stream::Pipe(pipe) => pipe.shut_down(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Pipe(pipe) => pipe.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Pipe(pipe) => pipe.write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write_vectored(slices),
            Stream::Pipe(pipe) => pipe.write(&slices[0]),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Pipes are never registered: the script says what is ready.
impl Source for Stream {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.register(registry, token, interests),
            Stream::Pipe(_) => Ok(()),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.register(registry, token, interests)
    }

    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        Ok(())
    }
}

/// Both directions of a connection of the scripted world. The server drops its clone when it closes the connection;
/// the other one still holds what was written last.
#[derive(Clone, Default)]
pub struct Pipe(Arc<Mutex<Wire>>);

#[derive(Default)]
pub struct Wire {
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
    /// It has wanted to write more: who makes room has to wake it.
    pub blocked: bool,
    /// It has shut down its side.
    pub shut: bool,
}

impl Pipe {
    /// What is in it.
    pub fn wire(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().expect("a test that has panicked is over")
    }

    /// Whether the server has closed the connection.
    pub fn is_closed(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut *self.wire() {
            Wire { reset: true, .. } => Err(ErrorKind::ConnectionReset.into()),
            Wire { incoming, ended: false, .. } if incoming.is_empty() => Err(ErrorKind::WouldBlock.into()),
            // In one piece, as from a socket: a vector that wraps would give its first half.
            Wire { incoming, .. } => {
                incoming.make_contiguous().as_ref().read(buffer).inspect(|count| drop(incoming.drain(..*count)))
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut wire = self.wire();
        assert!(!wire.shut, "a write after the end");
        let count = wire.room.min(bytes.len());
        if wire.reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if count == 0 {
            wire.blocked = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        wire.outgoing.extend_from_slice(&bytes[..count]);
        wire.room -= count;
        Ok(count)
    }

    fn shut_down(&mut self) -> io::Result<()> {
        let mut wire = self.wire();
        if wire.reset {
            return Err(ErrorKind::NotConnected.into());
        }
        wire.shut = true;
        Ok(())
    }
}

/// The state of the generator that decides what goes wrong; 0: nothing does.
pub struct Hostile(pub u64);

impl Default for Hostile {
    fn default() -> Self {
        Hostile(env::var("SALON_TEST_KERNEL").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0))
    }
}

impl Kernel {
    /// How many bytes may move now: one, if the kernel is hostile and in a good mood.
    pub(super) fn most(&mut self) -> io::Result<usize> {
        let Hostile(state) = &mut self.hostile;
        if *state == 0 {
            return Ok(usize::MAX);
        }
        // xorshift64: good enough to be unpredictable to the server.
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        self.spurious_would_block = *state % 8 == 1;
        match *state % 8 {
            0 => Err(ErrorKind::Interrupted.into()),
            1 => Err(ErrorKind::WouldBlock.into()),
            _ => Ok(1),
        }
    }
}
