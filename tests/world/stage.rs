//! The server, the other ends of its connections, and the clock.

use crate::wire;
use salon::base::id::Ids;
use salon::base::slab::{ConnId, SocketKey};
use salon::chat::Chat;
use salon::config::Config;
use salon::net::Wake;
use salon::net::kernel::seam::Pipe;
use salon::server::Server;
use salon::socketio::{App, ClusterApp, DisconnectReason, Event, Io};
use serde_json::value::RawValue;
use std::collections::{HashMap, VecDeque};
use std::mem;
use std::time::{Duration, Instant, SystemTime};

/// More turns than this mean that the server keeps itself busy, or that it and the clients keep each other busy. Turns that
/// read something of what clients had sent before do not count, because they end with it: under the hostile kernel, a
/// closing connection reads one byte per turn, so the 64 KiB that it discards take 75,000 turns.
const MOST_TURNS: usize = 50_000;

/// The chat, and the books of what it was told: every socket is connected once and forgotten once (rule R4), and
/// is spoken of only in between.
pub struct Ledger {
    chat: Chat,
    /// Whether each socket is here, or may come back.
    pub sockets: HashMap<SocketKey, bool>,
}

impl Ledger {
    fn set(&mut self, socket: SocketKey, from: &[Option<bool>], to: Option<bool>) {
        let was = self.sockets.remove(&socket);
        assert!(from.contains(&was), "R4: {socket:?} was {was:?} and becomes {to:?}");
        self.sockets.extend(to.map(|here| (socket, here)));
    }
}

impl App for Ledger {
    fn connected(&mut self, cx: &mut Io, socket: SocketKey, auth: Option<&RawValue>) {
        self.set(socket, &[None], Some(true));
        self.chat.connected(cx, socket, auth);
    }

    fn event(&mut self, cx: &mut Io, socket: SocketKey, event: &Event) {
        assert_eq!(self.sockets.get(&socket), Some(&true), "an event of a socket that is not here");
        self.chat.event(cx, socket, event);
    }

    fn disconnected(&mut self, cx: &mut Io, socket: SocketKey, reason: DisconnectReason) {
        self.set(socket, &[Some(true)], Some(false));
        self.chat.disconnected(cx, socket, reason);
    }

    fn recovered(&mut self, cx: &mut Io, socket: SocketKey) {
        self.set(socket, &[Some(true), Some(false)], Some(true));
        self.chat.recovered(cx, socket);
    }

    fn forgotten(&mut self, socket: SocketKey) {
        self.set(socket, &[Some(false)], None);
        self.chat.forgotten(socket);
    }
}

impl ClusterApp for Ledger {}

/// What the server has written.
#[derive(Debug, PartialEq, Eq)]
pub enum Item {
    Answer { status: u16, body: Vec<u8> },
    Frame { opcode: u8, payload: Vec<u8> },
}

/// Names a connection for as long as the stage stands.
pub type Line = usize;

/// The client's end of a connection.
struct End {
    id: ConnId,
    pipe: Pipe,
    /// Bytes on their way to the server.
    transit: VecDeque<u8>,
    /// How many bytes the client has sent, those in `transit` included.
    sent: usize,
    /// What follows them.
    last: Option<Last>,
    /// How many bytes of them arrive per turn.
    uplink: usize,
    /// How many bytes the client takes per turn.
    downlink: usize,
    /// Bytes of the server that are half a message.
    half: Vec<u8>,
    /// A 101 has come: frames follow.
    frames: bool,
    /// A close frame has come: nothing follows.
    over: bool,
    /// Requests (or what stood in their place) that were begun, and answers to them.
    begun: usize,
    answered: usize,
    items: VecDeque<Item>,
    gone: bool,
}

/// How a client ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    Fin,
    Reset,
}

impl End {
    /// Moves what is under way; returns what a kernel would report of that.
    fn carry(&mut self) -> Option<Wake> {
        let mut wire = self.pipe.wire();
        if wire.reset || self.gone {
            return None;
        }
        let count = self.transit.len().min(self.uplink);
        wire.incoming.extend(self.transit.drain(..count));
        let ends = self.transit.is_empty() && !wire.ended && self.last.is_some();
        match self.last {
            Some(Last::Reset) => wire.reset = true,
            Some(Last::Fin) if ends => wire.ended = true,
            _ => {}
        }
        wire.room = wire.room.saturating_add(self.downlink);
        let writable = wire.blocked && wire.room > 0;
        wire.blocked &= !writable;
        let hung_up = wire.ended || wire.reset;
        let edge = count > 0 || writable || ends || wire.reset;
        edge.then_some(Wake::Connection {
            id: self.id,
            readable: !wire.incoming.is_empty() || hung_up,
            writable,
            hung_up,
        })
    }

    /// Whether anything moves in the next turn.
    fn is_moving(&self) -> bool {
        let wire = self.pipe.wire();
        let sends = !self.transit.is_empty() && self.uplink > 0;
        let ends = self.last.is_some() && self.transit.is_empty() && !wire.ended && !wire.reset;
        !self.gone && (sends || ends || wire.blocked && self.downlink > 0)
    }

    /// Reads what the server has written; panics if that is no HTTP (rule R9), or no frame where one belongs.
    fn collect(&mut self) {
        self.half.append(&mut self.pipe.wire().outgoing);
        while let Some(used) = self.item() {
            self.half.drain(..used);
        }
        self.gone |= self.pipe.is_closed();
        assert!(self.answered <= self.begun, "{:?} has more answers than requests", self.id);
    }

    fn item(&mut self) -> Option<usize> {
        if self.half.is_empty() {
            return None;
        }
        assert!(!self.over, "something follows a close frame on {:?}: {:?}", self.id, self.half);
        if self.frames {
            let frame = wire::frame(&self.half)?;
            assert!(self.half[0] & 0xf0 == 0x80 && frame.mask.is_none(), "not a frame of a server");
            let used = frame.payload.end;
            self.over = frame.opcode == wire::CLOSE;
            self.items.push_back(Item::Frame { opcode: frame.opcode, payload: self.half[frame.payload].to_vec() });
            return Some(used);
        }
        let answer = wire::answer(&self.half).expect("R9: an answer")?;
        self.frames = answer.status == 101;
        if answer.status != 100 {
            self.answered += 1;
            self.items.push_back(Item::Answer { status: answer.status, body: answer.body });
        }
        Some(answer.used)
    }
}

/// A server and everything around it.
pub struct Stage {
    server: Server<Ledger>,
    now: Instant,
    ends: Vec<End>,
    /// Connections that are not gone.
    open: Vec<Line>,
    /// What the server itself has put off to the next turn.
    left: Vec<Wake>,
    /// Turns since the start: when something happened.
    pub turns: u64,
    /// Turns are counted from here on; see [`counted_turn`].
    pub counts: bool,
}

/// A turn that tests/counts counts: callgrind knows it by the name of this function.
#[inline(never)]
fn counted_turn(server: &mut Server<Ledger>, now: Instant, wakes: &[Wake]) {
    server.turn(now, SystemTime::UNIX_EPOCH, wakes);
}

impl Stage {
    pub fn new(config: Config, seed: u64) -> Stage {
        let now = Instant::now();
        let app = Ledger { chat: Chat::new(config.clone()), sockets: HashMap::new() };
        let server = Server::new(config, app, Ids::Seeded(seed), now).expect("a selector");
        Stage { server, now, ends: Vec::new(), open: Vec::new(), left: Vec::new(), turns: 0, counts: false }
    }

    /// A new connection, as fast as can be.
    pub fn connect(&mut self) -> Line {
        self.connect_from([127, 0, 0, 1])
    }

    /// The same from another address.
    pub fn connect_from(&mut self, peer: [u8; 4]) -> Line {
        let id = self.server.connect_pipe(peer.into());
        self.ends.push(End {
            id,
            pipe: self.server.pipe(id).expect("it was made just now"),
            transit: VecDeque::new(),
            sent: 0,
            last: None,
            uplink: usize::MAX,
            downlink: usize::MAX,
            half: Vec::new(),
            frames: false,
            over: false,
            begun: 0,
            answered: 0,
            items: VecDeque::new(),
            gone: false,
        });
        self.open.push(self.ends.len() - 1);
        self.ends.len() - 1
    }

    /// Sends a request, or something that is none.
    pub fn request(&mut self, line: Line, bytes: &[u8]) {
        self.ends[line].begun += 1;
        self.send(line, bytes);
    }

    /// Sends bytes that ask for no answer.
    pub fn send(&mut self, line: Line, bytes: &[u8]) {
        let end = &mut self.ends[line];
        if end.last.is_none() {
            end.transit.extend(bytes);
            end.sent += bytes.len();
        }
    }

    /// Ends a connection from the client's side: behind what is under way, or at once.
    pub fn end(&mut self, line: Line, last: Last) {
        self.ends[line].last = Some(last);
    }

    /// How many bytes move per turn, up and down.
    pub fn throttle(&mut self, line: Line, uplink: usize, downlink: usize) {
        let end = &mut self.ends[line];
        (end.uplink, end.downlink) = (uplink, downlink);
        // What the kernel had room for before is used up.
        end.pipe.wire().room = 0;
    }

    /// Whether the server still holds its end and may answer.
    pub fn is_open(&self, line: Line) -> bool {
        !self.ends[line].gone && !self.ends[line].pipe.wire().shut
    }

    /// Whether the client can still send.
    pub fn is_usable(&self, line: Line) -> bool {
        self.is_open(line) && self.ends[line].last.is_none()
    }

    /// The next thing the server has written.
    pub fn receive(&mut self, line: Line) -> Option<Item> {
        self.ends[line].items.pop_front()
    }

    /// One turn, and the check of the rules.
    pub fn turn(&mut self) {
        let mut wakes: Vec<Wake> = self.open.iter().filter_map(|line| self.ends[*line].carry()).collect();
        wakes.append(&mut self.left);
        match self.counts {
            true => counted_turn(&mut self.server, self.now, &wakes),
            false => self.server.turn(self.now, SystemTime::UNIX_EPOCH, &wakes),
        }
        self.server.check();
        self.left = self.server.left();
        self.turns += 1;
        self.open.retain(|line| {
            self.ends[*line].collect();
            !self.ends[*line].gone
        });
    }

    /// Whether the next turn comes without waiting.
    pub fn is_moving(&self) -> bool {
        !self.left.is_empty() || self.open.iter().any(|line| self.ends[*line].is_moving())
    }

    /// How many bytes the server has still to read of the first `sent` bytes of each connection.
    fn backlog(&self, sent: &[usize]) -> usize {
        let unread = |line: Line| {
            let end = &self.ends[line];
            let unread = end.transit.len() + end.pipe.wire().incoming.len();
            sent.get(line).map_or(0, |sent| unread.saturating_sub(end.sent - sent))
        };
        self.open.iter().map(|line| unread(*line)).sum()
    }

    /// Lets time pass: turns whenever something moves or is due. `react` is called after each.
    pub fn pass(&mut self, time: Duration, mut react: impl FnMut(&mut Stage)) {
        let end = self.now + time;
        let sent: Vec<usize> = self.ends.iter().map(|end| end.sent).collect();
        let (mut backlog, mut turns) = (self.backlog(&sent), 0);
        while turns < MOST_TURNS {
            self.turn();
            let before = mem::replace(&mut backlog, self.backlog(&sent));
            turns += usize::from(backlog == before);
            react(self);
            if self.is_moving() {
                continue;
            }
            match self.server.next_deadline() {
                _ if self.now == end => return,
                Some(due) if due <= end => self.now = due,
                _ => self.now = end,
            }
        }
        panic!("the server does not come to rest");
    }

    /// The server gets SIGTERM.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Whether the loop of a stopping server ends now.
    pub fn has_stopped(&mut self) -> bool {
        self.server.has_stopped()
    }

    /// Moves the clock without a turn: the machine was suspended.
    pub fn suspend(&mut self, time: Duration) {
        self.now += time;
    }

    /// From now to the nearest deadline.
    pub fn until_deadline(&self) -> Option<Duration> {
        self.server.next_deadline().map(|due| due.saturating_duration_since(self.now))
    }

    /// Resets every connection, and waits until nothing is due any more.
    pub fn empty(&mut self) {
        for line in self.open.clone() {
            self.end(line, Last::Reset);
        }
        for _ in 0..MOST_TURNS {
            self.turn();
            match self.until_deadline() {
                None => {
                    self.server.check_empty();
                    return assert!(self.server.app().sockets.is_empty(), "R4: the chat still knows somebody");
                }
                Some(time) => self.now += time,
            }
        }
        panic!("the server does not come to rest");
    }

    /// Sockets that are connected.
    pub fn sockets(&mut self) -> usize {
        self.server.app().sockets.values().filter(|here| **here).count()
    }
}
