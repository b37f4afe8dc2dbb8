//! The chat: event for event what Socket.IO's public chat example does, so that its page and every client
//! written for it work unchanged. What it does beyond that are fields and events that such clients do not know:
//!
//! | client sends | server does |
//! |---|---|
//! | `add user` (name) | first time only: `login` to the sender, `user joined` to all others |
//! | `new message` (text, `{id}`) | `new message` to all others, unless this user has sent that id before |
//! | `typing`, `stop typing` | the same to all others |
//! | (disconnect of a named user) | `user left` to all others |
//! | `history` (which), `users` | answers |
//!
//! Each named socket has a public tag, `user`, which tells two users of one name apart.
//! `numUsers` is the number of named sockets that are connected, or whose connection broke less than `leave_grace` ago:
//! a broken connection is not a goodbye. In a cluster those of the other nodes count too. Who comes back later than that is announced again.
//!
//! What the example does not do: judge what clients send. A name or text that is no string, is empty or too
//! long, and a post without a name are refused: nothing is relayed, the ack callback gets `{error}`.

pub mod history;
mod journal;

use crate::base::metrics::{COUNTER, GAUGE, Metrics};
use crate::base::slab::SocketKey;
use crate::config::Config;
use crate::engineio;
use crate::socketio::{App, DisconnectReason, Elsewhere, Event, Io, MAX_PEOPLE, Person, To, packet};
use bytes::Bytes;
use history::{Answer, History, HistoryRequest, Message, Position, Stamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::HashMap;
use std::mem;
use std::time::{Duration, Instant};

/// How long a server that starts waits for what others tell of the time before.
const BACKFILL_TIME: Duration = Duration::from_secs(2);
/// Who may wait for that; others get what there is.
const MAX_WAITING: usize = 1_000;
/// Parts of histories that are taken from others: some megabytes, whatever they say.
const MAX_PARTS: usize = 64;

/// Everybody on this server.
const HERE: To = To { namespace: 0, rooms: &[], except: &[], local: true };

/// What is told of a user, as far as the event has it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserNote<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_users: Option<usize>,
    user: &'a str,
}

/// The second argument of a message.
#[derive(Deserialize)]
struct Options<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
}

/// A named socket.
struct User {
    /// As it was sent, to be sent on as the same bytes (rule R11).
    name: Box<RawValue>,
    tag: String,
    /// Connected, or broken for less than the grace: what `numUsers` counts.
    here: bool,
}

/// Who is here, by name. Who is not may come back, as long as their socket can be recovered.
pub struct Chat {
    config: Config,
    users: HashMap<SocketKey, User>,
    /// Users that are here.
    here: usize,
    /// How often that has changed.
    changes: u64,
    /// Those on other nodes of a cluster.
    elsewhere: Elsewhere,
    history: History,
    /// Until then other servers may tell what was said before this one started; who asks for the history waits for it.
    backfill_until: Option<Instant>,
    waiting: Vec<(SocketKey, u64, HistoryRequest)>,
    /// Parts of their histories that are still taken.
    parts_left: usize,
    /// Events refused since the start.
    pub refused: u64,
}

impl Chat {
    /// An empty room.
    pub fn new(config: Config) -> Chat {
        let history = History::new(&config);
        Chat {
            config,
            users: HashMap::new(),
            here: 0,
            changes: 0,
            elsewhere: Elsewhere::default(),
            history,
            backfill_until: None,
            waiting: Vec::new(),
            parts_left: MAX_PARTS,
            refused: 0,
        }
    }

    fn add_user(&mut self, cx: &mut Io, socket: SocketKey, event: &Event) -> Result<(), &'static str> {
        if self.users.contains_key(&socket) {
            return Ok(());
        }
        let raw = text_of(event, |name| name.chars().count() <= self.config.max_name)?;
        // Who could not be recovered, and is back under the same name before the grace was over, was never away.
        let back = cx.socket(socket).and_then(|socket| socket.predecessor).filter(|old| {
            self.users.get(old).is_some_and(|user| user.here && packet::string(&user.name) == packet::string(raw))
        });
        let tag = match back.and_then(|old| self.users.remove(&old)) {
            Some(user) => user.tag,
            None => {
                self.arrive(1);
                cx.fresh_id().short()
            }
        };
        self.users.insert(socket, User { name: raw.to_owned(), tag, here: true });
        self.welcome(cx, socket);
        if back.is_none() {
            self.announce(cx, socket, "user joined", Some(self.count()));
        }
        Ok(())
    }

    /// Tells a user that the server knows them.
    fn welcome(&self, cx: &mut Io, socket: SocketKey) {
        if let Some(user) = self.users.get(&socket) {
            let note = UserNote { username: None, num_users: Some(self.count()), user: &user.tag };
            cx.emit(socket, "login", &(note,), &[]);
        }
    }

    /// What `numUsers` is.
    fn count(&self) -> usize {
        self.here + self.elsewhere.users
    }

    /// One user more, or less.
    fn arrive(&mut self, users: isize) {
        self.here = self.here.strict_add_signed(users);
        self.changes += 1;
    }

    /// Tells all others of a user, and with some events how many users there are.
    fn announce(&self, cx: &mut Io, socket: SocketKey, event: &str, num_users: Option<usize>) {
        if let Some(User { name, tag, .. }) = self.users.get(&socket) {
            cx.broadcast(&others(&[socket]), event, &(UserNote { username: Some(name), num_users, user: tag },), &[]);
        }
    }

    fn new_message(&mut self, cx: &mut Io, socket: SocketKey, event: &Event) -> Result<(), &'static str> {
        let User { name, tag, .. } = self.users.get(&socket).ok_or("not logged in: send `add user` first")?;
        let message = text_of(event, |text| text.len() <= self.config.max_text)?;
        let options = event.args.get(1).and_then(|raw| serde_json::from_str::<Options>(raw.get()).ok());
        let id = options.map(|Options { id }| {
            let id = packet::string(id).filter(|id| journal::is_id(id));
            id.ok_or("an id is 1 to 64 visible ASCII characters")
        });
        let user = Some(tag.as_str().into());
        let said = Message { username: name, message, user, n: None, id: id.transpose()?, time: None };
        let stamp = accept_message(&mut self.history, cx, said, Some(&others(&[socket])));
        answer(cx, socket, event, &stamp);
        Ok(())
    }

    fn history(&mut self, cx: &mut Io, socket: SocketKey, event: &Event) -> Result<(), &'static str> {
        if !self.history.is_on() {
            return Err("no history is kept here");
        }
        let wanted = event.args.first().map(|raw| serde_json::from_str(raw.get()));
        let wanted = wanted.transpose().map_err(|_| "neither {last} nor {since: {boot, n}}")?.unwrap_or_default();
        match event.ack {
            Some(number) if self.backfill_until.is_some() && self.waiting.len() < MAX_WAITING => {
                self.waiting.push((socket, number, wanted));
            }
            _ => answer(cx, socket, event, &self.history.answer(&wanted)),
        }
        Ok(())
    }

    /// What was said before this server started is here, or does not come.
    fn end_backfill(&mut self, cx: &mut Io) {
        self.backfill_until = None;
        for (socket, number, wanted) in mem::take(&mut self.waiting) {
            cx.ack(socket, number, &(self.history.answer(&wanted),), &[]);
        }
    }

    /// Whether a message of another server is one that we could have taken.
    fn could_take(&self, said: &Message) -> bool {
        said.sender().is_some_and(|name| name.chars().count() <= self.config.max_name)
            && packet::string(said.message).is_some_and(|text| text.len() <= self.config.max_text)
    }

    fn list(&self, cx: &mut Io, socket: SocketKey, event: &Event) {
        let mut users = self.people();
        users.extend_from_slice(&self.elsewhere.people);
        users.truncate(MAX_PEOPLE);
        let more = self.count().saturating_sub(users.len());
        answer(cx, socket, event, &json!({"users": users, "more": more, "server": self.config.instance}));
    }
}

impl App for Chat {
    fn start(&mut self, cx: &mut Io) {
        self.history.begin(cx.fresh_id().to_string(), &self.config);
        self.backfill_until = self.config.redis.as_ref().map(|_| cx.now() + BACKFILL_TIME);
    }

    fn commit(&mut self, now: Instant) {
        self.history.commit(now);
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.history.next_deadline().into_iter().chain(self.backfill_until).min()
    }

    fn expire(&mut self, cx: &mut Io) {
        self.history.expire(cx.now());
        if self.backfill_until.is_some_and(|until| until <= cx.now()) {
            self.end_backfill(cx);
        }
    }

    fn event(&mut self, cx: &mut Io, socket: SocketKey, event: &Event) {
        let result = match event.name {
            "add user" => self.add_user(cx, socket, event),
            "new message" => self.new_message(cx, socket, event),
            "typing" | "stop typing" => {
                self.announce(cx, socket, event.name, None);
                Ok(())
            }
            "history" => self.history(cx, socket, event),
            "users" => {
                self.list(cx, socket, event);
                Ok(())
            }
            // An event nobody listens to, as in any Socket.IO server.
            _ => Ok(()),
        };
        if let Err(error) = result {
            self.refused += 1;
            answer(cx, socket, event, &json!({"error": error}));
        }
    }

    fn disconnected(&mut self, cx: &mut Io, socket: SocketKey, reason: DisconnectReason) {
        // Those whom a stopping server sends away will be back.
        if reason != DisconnectReason::Session(engineio::CloseReason::ServerClose)
            && let Some(user) = self.users.get_mut(&socket)
        {
            user.here = false;
            self.arrive(-1);
            self.announce(cx, socket, "user left", Some(self.count()));
        }
    }

    fn recovered(&mut self, cx: &mut Io, socket: SocketKey) {
        if let Some(user) = self.users.get_mut(&socket).filter(|user| !user.here) {
            user.here = true;
            self.arrive(1);
            self.welcome(cx, socket);
            self.announce(cx, socket, "user joined", Some(self.count()));
        }
    }

    fn metrics(&self, metrics: &mut Metrics) {
        let [messages, bytes] = self.history.size();
        metrics.rows(&[
            ("users", GAUGE, "Users connected to this node.", &self.here),
            ("users_elsewhere", GAUGE, "Users connected to other nodes of the cluster.", &self.elsewhere.users),
            ("history_messages", GAUGE, "Messages in the history.", &messages),
            ("history_bytes", GAUGE, "Size of the history, as --history-bytes counts it.", &bytes),
            ("events_refused_total", COUNTER, "Chat events refused.", &self.refused),
        ]);
        if let Some(written) = self.history.is_written() {
            let help = "1 while the file of --history can be written.";
            metrics.rows(&[("history_written", GAUGE, help, &u8::from(written))]);
        }
    }

    fn forgotten(&mut self, socket: SocketKey) {
        if self.users.remove(&socket).is_some_and(|user| user.here) {
            self.arrive(-1);
        }
    }

    fn present(&self) -> (usize, u64) {
        (self.here, self.changes)
    }

    fn people(&self) -> Vec<Person> {
        let here = self.users.values().filter(|user| user.here).take(MAX_PEOPLE);
        let person = |user: &User| Some((packet::string(&user.name)?.into_owned(), user.tag.clone()));
        here.filter_map(person).map(|(username, user)| Person { username, user }).collect()
    }

    fn elsewhere(&mut self, cx: &mut Io, elsewhere: Elsewhere) {
        self.elsewhere = elsewhere;
        for Person { username: name, user } in &self.elsewhere.lost {
            // Who has come here meanwhile has not left.
            let here = self.users.values().any(|user| user.here && packet::string(&user.name).as_deref() == Some(name));
            if let Ok(username) = to_raw_value(name)
                && !here
            {
                let note = UserNote { username: Some(&username), num_users: Some(self.count()), user };
                cx.broadcast(&HERE, "user left", &(note,), &[]);
            }
        }
    }

    fn answer_peer(&self, question: &RawValue) -> Option<Box<RawValue>> {
        let wanted = serde_json::from_str(question.get()).ok().filter(|_| self.history.is_on())?;
        to_raw_value(&self.history.answer(&wanted)).ok()
    }

    fn learn_from_peer(&mut self, cx: &mut Io, answer: &RawValue) -> Option<Box<RawValue>> {
        let told: Option<Answer> = serde_json::from_str(answer.get()).ok().filter(|_| self.parts_left > 0);
        self.parts_left = self.parts_left.saturating_sub(1);
        let mut last = None;
        for raw in told.iter().flat_map(|told| &told.messages) {
            let Ok(said) = serde_json::from_str::<Message>(raw.get()) else { continue };
            last = said.n;
            if self.could_take(&said) && said.id.is_some() && said.time.is_some() {
                accept_message(&mut self.history, cx, said, None);
            }
        }
        if let Some((n, told)) = last.zip(told.filter(|told| told.more)) {
            let since = Position { boot: told.boot.into(), n };
            return to_raw_value(&HistoryRequest { since: Some(since), last: None }).ok();
        }
        self.end_backfill(cx);
        None
    }

    fn relayed(&mut self, cx: &mut Io, event: &Event) -> bool {
        let ("new message", [raw], []) = (event.name, event.args, event.attachments) else { return false };
        let said = serde_json::from_str(raw.get()).ok().filter(|said| self.could_take(said));
        said.map(|said| accept_message(&mut self.history, cx, said, Some(&HERE))).is_some()
    }
}

/// Takes a message, unless it is here already: gives it what it lacks, tells `to` of it and keeps it. If nobody is to be told,
/// it is of the time before this server started; `None`: there is no room for it.
fn accept_message(history: &mut History, cx: &mut Io, said: Message, to: Option<&To>) -> Option<Stamp> {
    let sender = packet::string(said.username)?;
    let id = said.id.unwrap_or_else(|| cx.fresh_id().to_string().into());
    if let Some(stamp) = history.known(&sender, &id) {
        return Some(stamp);
    }
    let n = if to.is_some() { history.number() } else { history.number_before()? };
    let stamp = Stamp { n, time: said.time.unwrap_or(cx.time) };
    let said = Message { n: Some(n), id: Some(id.as_ref().into()), time: Some(stamp.time), ..said };
    let json = match to {
        Some(to) => object(cx.broadcast(to, "new message", &(said,), &[])),
        None => serde_json::to_vec(&said).expect("memory takes it").into(),
    };
    history.keep(stamp, &sender, &id, json);
    Some(stamp)
}

/// Answers an event, if its client wants that.
fn answer(cx: &mut Io, socket: SocketKey, event: &Event, answer: &impl Serialize) {
    if let Some(number) = event.ack {
        cx.ack(socket, number, &(answer,), &[]);
    }
}

/// Every socket, named or not, but these.
fn others(except: &[SocketKey]) -> To<'_> {
    To { except, ..To::default() }
}

/// The one object that the packet of an event carries.
fn object(packet: Bytes) -> Bytes {
    let [first, last] = [packet.iter().position(|byte| *byte == b'{'), packet.iter().rposition(|byte| *byte == b'}')];
    packet.slice(first.expect("it begins there")..=last.expect("and ends here"))
}

/// The first argument, if it is a string that says something and is short enough.
fn text_of<'a>(event: &Event<'a>, fits: impl FnOnce(&str) -> bool) -> Result<&'a RawValue, &'static str> {
    let raw = event.args.first().ok_or("an argument is missing")?;
    let text = packet::string(raw).ok_or("not a string")?;
    match text.trim() {
        "" => Err("empty"),
        _ if !fits(&text) => Err("too long"),
        _ => Ok(raw),
    }
}
