//! Replaces the kernel in tests: pipes in memory, and transfers that fail at random. Part of `kernel` in builds with debug
//! assertions.

use mio::{Interest, Registry, Token, event::Source, net::TcpStream};
use std::{
    cell::Cell,
    collections::VecDeque,
    env,
    io::{self, ErrorKind, IoSlice, Read, Write},
    net::Shutdown,
    sync::{Arc, Mutex, MutexGuard},
};

/// What a connection reads from and writes to: a socket, or a pipe in a scripted world (tests/world).
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
        let most = limit(bytes.len()).ok_or(ErrorKind::Interrupted)?;
        match self {
            Stream::Tcp(stream) => stream.write(&bytes[..most]),
            Stream::Pipe(pipe) => pipe.write(&bytes[..most]),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) if HOSTILE.get() == 0 => stream.write_vectored(slices),
            _ => self.write(&slices[0]),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Pipes are never registered with mio: the script itself reports what is ready.
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

/// Both directions of a connection in memory. The server drops its clone when it closes the connection; the test keeps
/// the other one, and can still read what was written last.
#[derive(Clone, Default)]
pub struct Pipe(Arc<Mutex<Wire>>);

#[derive(Default)]
pub struct Wire {
    /// Bytes that the server has not read yet.
    pub incoming: VecDeque<u8>,
    /// The peer has shut down its side: the stream ends after `incoming`.
    pub ended: bool,
    /// The peer has reset the connection.
    pub reset: bool,
    /// Bytes that the server has written.
    pub outgoing: Vec<u8>,
    /// How many more bytes the server may write.
    pub room: usize,
    /// A write returned `WouldBlock`: a test that makes room has to report the pipe as writable.
    pub blocked: bool,
    /// The server has shut down its side.
    pub shut: bool,
}

impl Pipe {
    /// Locks the pipe.
    pub fn wire(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().expect("a test that panics does not go on")
    }

    /// Whether the server has closed the connection.
    pub fn is_closed(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut *self.wire() {
            Wire { reset: true, .. } => Err(ErrorKind::ConnectionReset.into()),
            Wire { incoming, ended: false, .. } if incoming.is_empty() => Err(ErrorKind::WouldBlock.into()),
            // Contiguous, or one read would return only the part up to where the ring buffer wraps, unlike a socket.
            Wire { incoming, .. } => {
                incoming.make_contiguous().as_ref().read(buffer).inspect(|count| drop(incoming.drain(..*count)))
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut wire = self.wire();
        assert!(!wire.shut, "a write after shutdown");
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

thread_local! {
    /// The state of the random generator that decides what fails; 0: nothing does. A server runs on one thread.
    static HOSTILE: Cell<u64> = Cell::new(seed_of_environment());
}

fn seed_of_environment() -> u64 {
    env::var("SALON_TEST_KERNEL").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0)
}

/// From now on transfers of this thread fail as `seed` says; `None`: as the environment says.
pub fn make_hostile(seed: Option<u64>) {
    HOSTILE.set(seed.unwrap_or_else(seed_of_environment));
}

/// The part of `buffer` that the next read may fill; `None`, as if a signal had interrupted the read.
pub(super) fn cut(buffer: &mut [u8]) -> Option<&mut [u8]> {
    limit(buffer.len()).map(|most| &mut buffer[..most])
}

/// How many of `wanted` bytes the next transfer may move: in a hostile kernel one, or `None`, as if a signal had
/// interrupted it.
fn limit(wanted: usize) -> Option<usize> {
    let mut state = HOSTILE.get();
    if state == 0 {
        return Some(wanted);
    }
    // xorshift64: random enough for the server.
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    HOSTILE.set(state);
    (!state.is_multiple_of(8)).then_some(wanted.min(1))
}
