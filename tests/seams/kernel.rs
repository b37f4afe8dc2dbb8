//! What stands in for the kernel in builds with debug assertions: part of `kernel`.

use super::Kernel;
use std::{
    collections::VecDeque,
    env,
    io::{self, ErrorKind, Read},
};

/// Both directions of a connection of the scripted world.
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

impl Pipe {
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Pipe { reset: true, .. } => Err(ErrorKind::ConnectionReset.into()),
            Pipe { incoming, ended: false, .. } if incoming.is_empty() => Err(ErrorKind::WouldBlock.into()),
            Pipe { incoming, .. } => incoming.read(buffer),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.room.min(bytes.len());
        match count {
            _ if self.reset => Err(ErrorKind::ConnectionReset.into()),
            0 => Err(ErrorKind::WouldBlock.into()),
            _ => {
                self.outgoing.extend_from_slice(&bytes[..count]);
                self.room -= count;
                Ok(count)
            }
        }
    }

    pub(super) fn shut_down(&mut self) -> io::Result<()> {
        self.shut = true;
        Ok(())
    }
}

/// The state of the generator that decides what goes wrong; 0: nothing does.
pub struct Hostile(u64);

impl Default for Hostile {
    fn default() -> Self {
        Hostile(env::var("SALON_TEST_KERNEL").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0))
    }
}

impl Kernel {
    /// How many bytes may move now: one, if the kernel is hostile and in a good mood.
    pub(super) fn most(&mut self) -> io::Result<usize> {
        self.lied = false;
        let Hostile(state) = &mut self.hostile;
        if *state == 0 {
            return Ok(usize::MAX);
        }
        // xorshift64: good enough to be unpredictable to the server.
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        self.lied = *state % 8 == 1;
        match *state % 8 {
            0 => Err(ErrorKind::Interrupted.into()),
            1 => Err(ErrorKind::WouldBlock.into()),
            _ => Ok(1),
        }
    }
}
