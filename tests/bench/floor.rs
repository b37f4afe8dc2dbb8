//! The floor: what a chat server costs when it does nothing but move bytes. epoll, one scratch buffer, no JSON, and per
//! session a handful of bytes (a descriptor in three lists). It knows just enough of the handshake that the generator
//! of this bench takes it for a server; it is of no other use.
//!
//! `limit` makes one write(2) per message and recipient. `limit-batch` merges what it found in one read, so that there
//! is one write per read and recipient.

use crate::wire;
use base64::prelude::{BASE64_STANDARD, Engine};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use sha1::{Digest, Sha1};
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

const LISTENER: u64 = u64::MAX;
/// In `Floor::place`: speaks HTTP so far.
const HTTP: u32 = u32::MAX;

/// All lists but the last three are indexed by descriptor.
struct Floor {
    merge: bool,
    interval: u32,
    streams: Vec<Option<TcpStream>>,
    /// Where it stands in `members`, or `HTTP`.
    place: Vec<u32>,
    /// When its ping is due: entries of `pings` that say otherwise are stale.
    due: Vec<u32>,
    members: Vec<u32>,
    /// (ms since the start, descriptor), oldest first: all wait equally long.
    pings: VecDeque<(u32, u32)>,
    /// Incomplete input. Hardly ever in use.
    rests: HashMap<usize, Vec<u8>>,
}

pub fn run(host: &str, port: u16, merge: bool, interval: Duration) -> io::Result<()> {
    let listener = TcpListener::bind((host, port))?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let interval = interval.as_millis() as u32;
    let mut floor = Floor {
        merge,
        interval,
        streams: Vec::new(),
        place: Vec::new(),
        due: Vec::new(),
        members: Vec::new(),
        pings: VecDeque::new(),
        rests: HashMap::new(),
    };
    let start = Instant::now();
    let mut events = [EpollEvent::empty(); 1024];
    let mut scratch = vec![0; 64 * 1024];
    loop {
        let now = start.elapsed().as_millis() as u32;
        let timeout = match floor.pings.front() {
            Some(&(due, _)) => EpollTimeout::try_from(due.saturating_sub(now)).unwrap_or(EpollTimeout::MAX),
            None => EpollTimeout::NONE,
        };
        let count = match epoll.wait(&mut events, timeout) {
            Err(nix::Error::EINTR) => continue,
            count => count?,
        };
        let now = start.elapsed().as_millis() as u32;
        floor.ping(now);
        for event in &events[..count] {
            if event.data() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    floor.accept(stream, &epoll)?;
                }
            } else {
                floor.readable(event.data() as usize, &mut scratch, now);
            }
        }
    }
}

impl Floor {
    fn accept(&mut self, stream: TcpStream, epoll: &Epoll) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let fd = stream.as_raw_fd() as usize;
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, fd as u64))?;
        if self.streams.len() <= fd {
            self.streams.resize_with(fd + 1, || None);
            self.place.resize(fd + 1, HTTP);
            self.due.resize(fd + 1, 0);
        }
        self.streams[fd] = Some(stream);
        self.place[fd] = HTTP;
        Ok(())
    }

    fn ping(&mut self, now: u32) {
        while let Some(&(due, fd)) = self.pings.front()
            && due <= now
        {
            self.pings.pop_front();
            let at = fd as usize;
            if self.streams[at].is_some() && self.place[at] != HTTP && self.due[at] == due {
                self.text(at, b"2");
                self.due[at] = due + self.interval;
                self.pings.push_back((due + self.interval, fd));
            }
        }
    }

    fn readable(&mut self, fd: usize, scratch: &mut [u8], now: u32) {
        let Some(mut stream) = self.streams[fd].as_ref() else { return };
        let count = match stream.read(scratch) {
            Ok(0) => return self.close(fd),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return,
            Err(_) => return self.close(fd),
        };
        let mut joined;
        let mut input = &mut scratch[..count];
        if let Some(rest) = self.rests.remove(&fd) {
            joined = [&rest, &*input].concat();
            input = &mut joined;
        }
        let used = self.take(fd, input, now);
        if used < input.len() && self.streams[fd].is_some() {
            self.rests.insert(fd, input[used..].to_vec());
        }
    }

    /// Acts on all that is whole in `input`; returns how much that was.
    fn take(&mut self, fd: usize, input: &mut [u8], now: u32) -> usize {
        let (mut used, mut merged) = (0, Vec::new());
        while used < input.len() && self.streams[fd].is_some() {
            let input = &mut input[used..];
            if self.place[fd] == HTTP {
                let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") else { break };
                used += end + 4;
                self.request(fd, &input[..end + 2], now);
                continue;
            }
            let Some(frame) = wire::frame(input) else { break };
            used += frame.payload.end;
            let payload = &mut input[frame.payload];
            wire::apply_mask(frame.mask.unwrap_or_default(), payload);
            if let Some(text) = payload.strip_prefix(wire::SAID.0.as_bytes()) {
                let text = text.strip_suffix(wire::SAID.1.as_bytes()).unwrap_or(text);
                let name = &text[..wire::SENDER_DIGITS.min(text.len())];
                let (before, between, after) = wire::HEARD;
                let heard = [before.as_bytes(), name, between.as_bytes(), text, after.as_bytes(), b"]"].concat();
                wire::push_frame(&mut merged, wire::TEXT, None, &heard);
                if !self.merge {
                    self.broadcast(fd, &merged);
                    merged.clear();
                }
            } else if frame.opcode == wire::CLOSE {
                self.send(fd, b"\x88\x02\x03\xe8");
                self.close(fd);
            } else if payload == b"40" {
                self.text(fd, b"40{\"sid\":\"none\"}");
            } else if payload.starts_with(b"42[\"add user\"") {
                self.text(fd, b"42[\"login\",{\"numUsers\":1}]");
            }
        }
        if !merged.is_empty() {
            self.broadcast(fd, &merged);
        }
        used
    }

    fn request(&mut self, fd: usize, head: &[u8], now: u32) {
        let head = String::from_utf8_lossy(head);
        let Some((_, key)) = head.split_once("Sec-WebSocket-Key: ") else {
            let body = [b'x'; 1500];
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1500\r\n\r\n";
            return self.send(fd, &[head.as_bytes(), &body].concat());
        };
        let key = key.lines().next().unwrap_or("");
        let accept = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
        let mut reply = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            BASE64_STANDARD.encode(accept)
        )
        .into_bytes();
        let open = br#"0{"sid":"none","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
        wire::push_frame(&mut reply, wire::TEXT, None, open);
        self.send(fd, &reply);
        self.place[fd] = self.members.len() as u32;
        self.members.push(fd as u32);
        self.due[fd] = now + self.interval;
        self.pings.push_back((self.due[fd], fd as u32));
    }

    fn broadcast(&self, from: usize, frames: &[u8]) {
        for &member in self.members.iter().filter(|&&member| member as usize != from) {
            self.send(member as usize, frames);
        }
    }

    fn text(&self, fd: usize, payload: &[u8]) {
        let mut frame = Vec::new();
        wire::push_frame(&mut frame, wire::TEXT, None, payload);
        self.send(fd, &frame);
    }

    /// One write(2), unless the kernel takes only a part: then it waits, as it has nowhere to keep the rest.
    fn send(&self, fd: usize, mut bytes: &[u8]) {
        let Some(mut stream) = self.streams[fd].as_ref() else { return };
        while !bytes.is_empty() {
            match stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let _ = poll(&mut [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE);
                }
                // The next read says so, too, and closes.
                Err(_) => return,
            }
        }
    }

    fn close(&mut self, fd: usize) {
        self.streams[fd] = None;
        self.rests.remove(&fd);
        let place = std::mem::replace(&mut self.place[fd], HTTP);
        if place != HTTP {
            self.members.swap_remove(place as usize);
            if let Some(&moved) = self.members.get(place as usize) {
                self.place[moved as usize] = place;
            }
        }
    }
}
