//! A client of Socket.IO 4 on both transports, a crowd of them, and what each of them must have heard.

use crate::stage::{Item, Last, Line, Stage};
use crate::wire;
use salon::config::Config;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::mem;
use std::time::Duration;

/// What a GET asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Open,
    Packets,
}

/// How far the way from polling to WebSocket has been gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Upgrade {
    No,
    Requested,
    Open,
    Probed,
    Answered,
    Done,
}

/// A message of the chat.
pub struct Message {
    /// The turn before which it was sent.
    turn: u64,
    sid: String,
    /// It went by WebSocket, or its POST was answered with 200.
    received: bool,
}

/// What one socket has said and heard.
#[derive(Default)]
pub struct Record {
    pub name: String,
    /// Its socket id, as the server has told it.
    id: String,
    /// The turn after which it was connected.
    connected: Option<u64>,
    pub logged_in: bool,
    pub said: Vec<Message>,
    /// By sender, in the order in which they came.
    pub heard: BTreeMap<String, Vec<usize>>,
    pub joined: Vec<String>,
    pub left: Vec<String>,
}

pub struct Client {
    /// Does by itself what every client does: polls, answers pings, joins, goes on with an upgrade.
    pub diligent: bool,
    /// Takes part in connection state recovery.
    browser: bool,
    pub alive: bool,
    sid: String,
    get: Option<Line>,
    post: Option<Line>,
    socket: Option<Line>,
    gets: VecDeque<Asked>,
    /// Which message each POST has carried.
    posts: VecDeque<Option<usize>>,
    upgrade: Upgrade,
    pinged: bool,
    connecting: bool,
    /// CONNECT has been answered in this session.
    welcome: bool,
    naming: bool,
    /// What a recovery presents.
    pid: String,
    offset: String,
    name: String,
    pub record: Record,
    /// Of sockets it had before.
    past: Vec<Record>,
}

/// Which of its connections.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    Get,
    Post,
    Socket,
}

impl Client {
    pub fn new(name: String, browser: bool) -> Client {
        Client {
            diligent: true,
            browser,
            alive: false,
            sid: String::new(),
            get: None,
            post: None,
            socket: None,
            gets: VecDeque::new(),
            posts: VecDeque::new(),
            upgrade: Upgrade::No,
            pinged: false,
            connecting: false,
            welcome: false,
            naming: false,
            pid: String::new(),
            offset: String::new(),
            name,
            record: Record::default(),
            past: Vec::new(),
        }
    }

    /// A handshake, whatever was before.
    pub fn open(&mut self, stage: &mut Stage, websocket: bool) {
        *self = Client {
            diligent: self.diligent,
            alive: true,
            pid: mem::take(&mut self.pid),
            offset: mem::take(&mut self.offset),
            record: mem::take(&mut self.record),
            past: mem::take(&mut self.past),
            ..Client::new(mem::take(&mut self.name), self.browser)
        };
        if websocket {
            let line = stage.connect();
            stage.request(line, &self.head(wire::upgrade_request(None)));
            self.socket = Some(line);
            self.upgrade = Upgrade::Done;
        } else {
            self.ask(stage, Asked::Open);
        }
    }

    /// Makes a request that of a client without recovery, if this is one.
    fn head(&self, request: Vec<u8>) -> Vec<u8> {
        let flag = if self.browser { "recovery=1&EIO=4" } else { "recovery=0&EIO=4" };
        String::from_utf8(request).expect("requests are text").replacen("EIO=4", flag, 1).into_bytes()
    }

    pub fn line(&self, which: Which) -> Option<Line> {
        match which {
            Which::Get => self.get,
            Which::Post => self.post,
            Which::Socket => self.socket,
        }
    }

    fn sid(&self) -> Option<&str> {
        (!self.sid.is_empty()).then_some(&self.sid)
    }

    fn ask(&mut self, stage: &mut Stage, asked: Asked) {
        let line = match self.get.filter(|line| stage.is_usable(*line)) {
            Some(line) => line,
            None => {
                self.gets.clear();
                stage.connect()
            }
        };
        self.get = Some(line);
        self.gets.push_back(asked);
        stage.request(line, &self.head(wire::polling_request(self.sid(), None)));
    }

    /// A GET for packets, even if there is one already.
    pub fn poll(&mut self, stage: &mut Stage) {
        if !self.alive {
            // It should not ask: what was lost before is lost.
            self.record.connected = None;
        }
        if self.sid().is_some() {
            self.ask(stage, Asked::Packets);
        }
    }

    /// A GET on a connection of its own, of which the answer is lost.
    pub fn poll_twice(&mut self, stage: &mut Stage) {
        self.record.connected = None;
        let line = stage.connect();
        stage.request(line, &wire::polling_request(self.sid(), None));
    }

    /// Sends a packet on the transport that counts; `said`: it is that message.
    fn packet(&mut self, stage: &mut Stage, packet: &str, said: Option<usize>) -> bool {
        if self.sid().is_none() {
            return false;
        }
        if self.upgrade == Upgrade::Done {
            let line = self.socket.filter(|line| stage.is_usable(*line));
            line.inspect(|line| stage.send(*line, &wire::client_frame(wire::TEXT, packet.as_bytes())));
            return line.is_some();
        }
        let line = match self.post {
            Some(line) if stage.is_usable(line) => line,
            // What is still under way on it could be overtaken.
            Some(line) if stage.is_open(line) => return false,
            _ => {
                self.posts.clear();
                stage.connect()
            }
        };
        self.post = Some(line);
        self.posts.push_back(said);
        stage.request(line, &wire::polling_request(self.sid(), Some(packet)));
        true
    }

    /// Sends any packet.
    pub fn send(&mut self, stage: &mut Stage, packet: &str) {
        self.packet(stage, packet, None);
        if packet == "41" {
            // Whatever is said from here on is not heard.
            (self.record.connected, self.record.logged_in) = (None, false);
        }
    }

    /// Says something in the chat: the number of the message, and some more bytes.
    pub fn say(&mut self, stage: &mut Stage, padding: usize) {
        let number = self.record.said.len();
        let packet = format!("42[\"new message\",\"{number}:{}\"]", "x".repeat(padding));
        if self.alive && self.welcome && self.record.logged_in && self.packet(stage, &packet, Some(number)) {
            let received = self.upgrade == Upgrade::Done;
            self.record.said.push(Message { turn: stage.turns, sid: self.sid.clone(), received });
        }
    }

    /// Asks for a WebSocket beside the polling.
    pub fn upgrade(&mut self, stage: &mut Stage) {
        if self.upgrade == Upgrade::No && self.sid().is_some() {
            let line = stage.connect();
            stage.request(line, &wire::upgrade_request(self.sid()));
            self.socket = Some(line);
            self.upgrade = Upgrade::Requested;
        }
    }

    /// One step of the upgrade, out of turn if `early`.
    pub fn upgrade_further(&mut self, stage: &mut Stage, early: bool) {
        let Some(line) = self.socket.filter(|line| stage.is_usable(*line)) else { return };
        let frame = |text: &str| wire::client_frame(wire::TEXT, text.as_bytes());
        match self.upgrade {
            Upgrade::Open => {
                stage.send(line, &frame("2probe"));
                self.upgrade = Upgrade::Probed;
            }
            // Once POSTs are answered, or what they carry could be overtaken.
            Upgrade::Answered if self.posts.is_empty() && (early || self.gets.is_empty()) => {
                stage.send(line, &frame("5"));
                self.upgrade = Upgrade::Done;
                if !self.gets.is_empty() {
                    // What the last GET brings could be overtaken; it is not waited for.
                    (self.get, self.record.connected) = (None, None);
                    self.gets.clear();
                }
            }
            _ => {}
        }
    }

    /// Ends one of the connections.
    pub fn end(&mut self, stage: &mut Stage, which: Which, last: Last) {
        let Some(line) = self.line(which) else { return };
        stage.end(line, last);
        match which {
            Which::Get => self.lost_get(),
            Which::Post => {}
            Which::Socket => self.alive &= self.upgrade != Upgrade::Done,
        }
    }

    /// Reads what has come, and does what a client does then.
    pub fn react(&mut self, stage: &mut Stage) {
        self.read(stage);
        if self.diligent {
            self.proceed(stage);
        }
    }

    /// Does what is to be done now.
    pub fn proceed(&mut self, stage: &mut Stage) {
        if !self.alive || self.sid().is_none() {
            return;
        }
        if mem::take(&mut self.pinged) {
            self.send(stage, "3");
        }
        if !mem::replace(&mut self.connecting, true) {
            let auth = match (self.pid.is_empty(), self.offset.is_empty()) {
                (true, _) => String::new(),
                (false, true) => format!("{{\"pid\":\"{}\"}}", self.pid),
                (false, false) => format!("{{\"pid\":\"{}\",\"offset\":\"{}\"}}", self.pid, self.offset),
            };
            self.send(stage, &format!("40{auth}"));
        }
        if self.welcome && !mem::replace(&mut self.naming, true) {
            self.send(stage, &format!("42[\"add user\",\"{}\"]", self.record.name));
        }
        self.upgrade_further(stage, false);
        let pauses = matches!(self.upgrade, Upgrade::Answered | Upgrade::Done);
        if !pauses && self.gets.is_empty() {
            self.poll(stage);
        }
    }

    fn read(&mut self, stage: &mut Stage) {
        while let Some(item) = self.get.and_then(|line| stage.receive(line)) {
            let Item::Answer { status, body } = item else { panic!("a frame answers a GET") };
            let body = String::from_utf8(body).expect("payloads of texts are text");
            match self.gets.pop_front() {
                Some(_) if status == 200 => body.split('\x1e').for_each(|packet| self.heard(packet, stage.turns)),
                Some(_) => self.alive = false,
                // To something that was no request.
                None => {}
            }
        }
        while let Some(item) = self.post.and_then(|line| stage.receive(line)) {
            let Item::Answer { status, .. } = item else { panic!("a frame answers a POST") };
            if let Some(Some(number)) = self.posts.pop_front() {
                self.record.said[number].received = status == 200;
            }
        }
        while let Some(item) = self.socket.and_then(|line| stage.receive(line)) {
            match item {
                Item::Answer { status: 101, .. } if self.upgrade == Upgrade::Requested => self.upgrade = Upgrade::Open,
                Item::Answer { status: 101, .. } => {}
                Item::Frame { opcode: wire::TEXT, payload } => {
                    self.heard(&String::from_utf8(payload).expect("a text frame is text"), stage.turns);
                }
                Item::Answer { .. } | Item::Frame { opcode: wire::CLOSE, .. } => self.lost_socket(),
                Item::Frame { .. } => {}
            }
        }
        let lost = |line: Option<Line>| line.is_some_and(|line| !stage.is_open(line));
        let (get, post, socket) = (lost(self.get), lost(self.post), lost(self.socket));
        if get {
            self.lost_get();
        }
        if post {
            self.posts.clear();
        }
        if socket {
            self.lost_socket();
        }
    }

    /// Whatever the server has answered to the last GET does not come, or only half of it.
    fn lost_get(&mut self) {
        self.alive &= self.gets.is_empty();
        self.gets.clear();
    }

    fn lost_socket(&mut self) {
        self.socket = None;
        match self.upgrade {
            Upgrade::Done => self.alive = false,
            _ => self.upgrade = Upgrade::No,
        }
    }

    /// A packet of the server.
    fn heard(&mut self, packet: &str, turn: u64) {
        if packet == "1" {
            self.alive = false;
        } else if packet == "2" {
            self.pinged = true;
        } else if packet == "3probe" {
            self.upgrade = Upgrade::Answered;
        } else if packet.starts_with("0{") {
            self.sid = field(packet, "sid").expect("an open packet has a sid").into();
        } else if packet.starts_with("40{") {
            self.connected(packet, turn);
        } else if let Some(event) = packet.strip_prefix("42[") {
            self.event(event);
        }
    }

    fn connected(&mut self, packet: &str, turn: u64) {
        let id = field(packet, "sid").expect("an answer to CONNECT has a sid");
        self.pid = field(packet, "pid").unwrap_or_default().into();
        self.welcome = true;
        // A recovered socket keeps its id, and then its name and all that was heard before.
        if id != self.record.id {
            let name = format!("{}.{}", self.name, self.past.len());
            let new = Record { name, id: id.into(), connected: Some(turn), ..Record::default() };
            self.past.push(mem::replace(&mut self.record, new));
            self.posts.iter_mut().for_each(|said| *said = None);
            self.naming = false;
            self.offset.clear();
        }
    }

    fn event(&mut self, event: &str) {
        if self.browser {
            let (_, offset) = event.rsplit_once(',').expect("an event with an offset");
            self.offset = offset.trim_matches(['"', ']']).into();
        }
        if event.starts_with("\"login\"") {
            self.record.logged_in = true;
        }
        let Some(sender) = field(event, "username").map(str::to_owned) else { return };
        // Who does not know for sure that this is still its socket may be another by now.
        let own = self.record.connected.is_some() && sender == self.record.name;
        assert!(!own, "told of oneself: {event:.100}");
        if event.starts_with("\"user joined\"") {
            self.record.joined.push(sender);
        } else if event.starts_with("\"user left\"") {
            self.record.left.push(sender);
        } else if event.starts_with("\"new message\"") {
            let text = field(event, "message").expect("a text");
            let number = text.split(':').next().and_then(|number| number.parse().ok()).expect("a number");
            let before = self.record.heard.entry(sender).or_default();
            assert!(before.last() < Some(&number), "{event:.60} after {before:?}: not once, or not in order");
            before.push(number);
        }
    }
}

/// The value of a string in JSON, without a parser: there are no escapes in what is looked for.
fn field<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = json.split_once(&format!("\"{name}\":\""))?;
    Some(rest.split_once('"')?.0)
}

/// Clients, and those whose place was taken by others.
pub struct Crowd {
    pub stage: Stage,
    pub clients: Vec<Client>,
    past: Vec<Client>,
    names: usize,
}

impl Crowd {
    pub fn new(config: Config, seed: u64) -> Crowd {
        Crowd { stage: Stage::new(config, seed), clients: Vec::new(), past: Vec::new(), names: 0 }
    }

    /// A client that has not done anything yet.
    pub fn add(&mut self, browser: bool) -> usize {
        self.names += 1;
        self.clients.push(Client::new(format!("u{:05}", self.names), browser));
        self.clients.len() - 1
    }

    /// The client in this place is forgotten, as it is, and another one comes.
    pub fn replace(&mut self, place: usize, websocket: bool) {
        self.add(self.clients[place].browser);
        let old = self.clients.swap_remove(place);
        self.past.push(old);
        self.clients[place].open(&mut self.stage, websocket);
    }

    pub fn turn(&mut self) {
        self.stage.turn();
        self.clients.iter_mut().for_each(|client| client.react(&mut self.stage));
    }

    /// Lets time pass; see [`Stage::pass`].
    pub fn pass(&mut self, time: Duration) {
        let clients = &mut self.clients;
        self.stage.pass(time, |stage| clients.iter_mut().for_each(|client| client.react(stage)));
    }

    /// Checks that everybody who is still there has heard all that was said while they were; returns who is.
    pub fn check(&mut self) -> Vec<usize> {
        let last = self.add(false);
        self.clients[last].open(&mut self.stage, true);
        self.pass(Duration::ZERO);
        self.clients[last].say(&mut self.stage, 0);
        self.pass(Duration::ZERO);
        let name = &self.clients[last].record.name;
        let here: Vec<usize> = (0..last).filter(|at| self.clients[*at].record.heard.contains_key(name)).collect();
        assert_eq!(here.len() + 1, self.stage.sockets(), "a socket without a client, or a client without a socket");

        let all = || self.clients.iter().chain(&self.past);
        let senders = || all().flat_map(|client| client.past.iter().chain([&client.record]));
        let heard: HashSet<(&str, usize)> = senders()
            .flat_map(|record| &record.heard)
            .flat_map(|(name, numbers)| numbers.iter().map(|number| (name.as_str(), *number)))
            .collect();
        for sender in senders() {
            let client = here.iter().map(|at| &self.clients[*at]).find(|client| client.record.name == sender.name);
            for (number, said) in sender.said.iter().enumerate() {
                // What was received may still have come behind the end of a session; not if something later was heard,
                // or the session is still there.
                let lasting = client.is_some_and(|client| client.sid == said.sid);
                let later = || {
                    (number..sender.said.len())
                        .any(|later| sender.said[later].sid == said.sid && heard.contains(&(&sender.name, later)))
                };
                if !said.received || !lasting && !later() {
                    continue;
                }
                for receiver in here.iter().map(|at| &self.clients[*at].record) {
                    if receiver.name != sender.name && receiver.connected.is_some_and(|turn| turn <= said.turn) {
                        let heard =
                            receiver.heard.get(&sender.name).is_some_and(|all| all.binary_search(&number).is_ok());
                        assert!(heard, "{} has not heard {number} of {}", receiver.name, sender.name);
                    }
                }
            }
        }
        here
    }
}
