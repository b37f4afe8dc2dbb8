//! The chat has the events of Socket.IO's public chat example, so that its page and every client written for it work
//! unchanged. Fields, arguments and events that only salon has are ignored, or not sent, by these clients.
//!
//! | client sends | server does |
//! |---|---|
//! | `add user` (name) | first time only: `login` to the sender, `user joined` to all others |
//! | `new message` (text, `{id}`) | `new message` to all others, unless a kept message with the same name has that id |
//! | `typing`, `stop typing` | the same to all others |
//! | (a user disconnects) | `user left` to all others |
//! | `history` (request), `users` | the ack to the sender: kept messages, or users |
//!
//! Each user has a public tag, `user`, which differs between two users with the same name. `numUsers` counts the sockets
//! with a name on all nodes of a cluster: those that are connected, and those whose connection broke less than `leave_grace`
//! ago and can be recovered. After that time the user has left, and joins again when the client reconnects.
//!
//! Unlike the example, the chat refuses a name or text that is not a string, shows nothing or is too long, and a message
//! from a socket without a name. Others are then sent nothing, and the ack is `{error}`. In a cluster, a starting server
//! asks other nodes for their messages (backfill); the answers to `history` wait for them, for two seconds at most.

pub mod history;
pub mod journal;

use crate::base::metrics::{COUNTER, GAUGE, Metrics};
use crate::base::slab::SocketKey;
use crate::base::text::is_invisible;
use crate::config::Config;
use crate::engineio;
use crate::socketio::{App, ClusterApp, DisconnectReason, Elsewhere, Event, Io, MAX_PEOPLE, Person, To, packet};
use history::{Answer, History, HistoryRequest, Message, Position, Stamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::time::{Duration, Instant};

/// Maximum time that a server waits after its start for the messages of other nodes (backfill).
const BACKFILL_TIME: Duration = Duration::from_secs(2);
/// Maximum number of `history` requests that wait for the backfill; further ones are answered at once, without its messages.
const MAX_WAITING: usize = 1_000;
/// Maximum number of answers, of about 256 KiB each, that are read for the backfill; further ones are ignored.
const MAX_PARTS: usize = 64;

/// The recipients of a broadcast: all sockets of this server, and none of other servers.
const HERE: To = To { namespace: 0, rooms: &[], except: &[], local: true };

/// The argument of events about a user, such as `login` and `user joined`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserNote<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_users: Option<usize>,
    user: &'a str,
}

/// The second argument of `new message`, which clients of the example do not send.
#[derive(Deserialize)]
struct Options<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
}

/// The user of a socket whose client has sent `add user`.
struct User {
    /// The name as a JSON string, in the bytes that arrived (rule R11).
    name: Box<RawValue>,
    tag: String,
    /// Whether the user is counted in `numUsers`: connected, or disconnected for less than `leave_grace`.
    here: bool,
}

#[derive(Default)]
pub struct Chat {
    config: Config,
    /// The users of this node, by socket; each is kept until its socket is removed.
    users: HashMap<SocketKey, User>,
    /// The number of `users` whose `here` is `true`.
    here: usize,
    /// How often `here` has changed.
    changes: u64,
    elsewhere: Elsewhere,
    history: History,
    /// The time until which `history` requests wait for the backfill; `None` if it has ended, or if there is none.
    backfill_until: Option<Instant>,
    /// The `history` requests that wait for the end of the backfill, each with its socket and ack id.
    waiting: Vec<(SocketKey, u64, HistoryRequest)>,
    /// The number of answers that other nodes have sent for the backfill.
    parts: usize,
    /// The number of events refused since the start.
    pub refused: u64,
}

impl Chat {
    pub fn new(config: Config) -> Chat {
        let history = History::new(&config);
        Chat { config, history, ..Chat::default() }
    }

    fn add_user(&mut self, cx: &mut Io, socket: SocketKey, event: &Event) -> Result<(), &'static str> {
        if self.users.contains_key(&socket) {
            return Ok(());
        }
        let raw = text_of(event, |name| name.chars().count() <= self.config.max_name)?;
        // A client that could not recover its socket but is back with its name within `leave_grace` keeps its tag.
        let back = cx.socket(socket).and_then(|socket| socket.predecessor).filter(|old| {
            self.users.get(old).is_some_and(|user| user.here && packet::string(&user.name) == packet::string(raw))
        });
        let tag = match back.and_then(|old| self.users.remove(&old)) {
            Some(user) => user.tag,
            None => {
                self.count_here(1);
                cx.engine.ids.fresh().short()
            }
        };
        self.users.insert(socket, User { name: raw.to_owned(), tag, here: true });
        cx.mark(socket);
        self.send_login(cx, socket);
        if back.is_none() {
            self.announce(cx, socket, "user joined", Some(self.num_users()));
        }
        Ok(())
    }

    fn send_login(&self, cx: &mut Io, socket: SocketKey) {
        if let Some(user) = self.users.get(&socket) {
            let note = UserNote { username: None, num_users: Some(self.num_users()), user: &user.tag };
            cx.emit(socket, "login", &(note,), &[]);
        }
    }

    fn num_users(&self) -> usize {
        self.here + self.elsewhere.users
    }

    /// Adds `change`, 1 or -1, to the number of users on this node, and counts the change.
    fn count_here(&mut self, change: isize) {
        self.here = self.here.strict_add_signed(change);
        self.changes += 1;
    }

    /// Sends an event about the user of `socket`, if it has one, to all other sockets.
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
        let further = BTreeMap::new();
        let message = Message { username: name, message, user, n: None, id: id.transpose()?, time: None, further };
        let stamp = accept_message(&mut self.history, cx, message, Some(&others(&[socket])));
        cx.ack(socket, event.ack, &(stamp,), &[]);
        Ok(())
    }

    fn answer_history(&mut self, cx: &mut Io, socket: SocketKey, event: &Event) -> Result<(), &'static str> {
        if !self.history.is_on() {
            return Err("no history is kept here");
        }
        let request = event.args.first().map(|raw| serde_json::from_str(raw.get()));
        let request = request.transpose().map_err(|_| "neither {last} nor {since: {boot, n}}")?.unwrap_or_default();
        match event.ack {
            Some(number) if self.backfill_until.is_some() && self.waiting.len() < MAX_WAITING => {
                self.waiting.push((socket, number, request));
            }
            _ => cx.ack(socket, event.ack, &(self.history.answer(&request),), &[]),
        }
        Ok(())
    }

    /// Ends the backfill and answers waiting requests. Called when a node has sent its last answer, or at `backfill_until`.
    fn end_backfill(&mut self, cx: &mut Io) {
        self.backfill_until = None;
        for (socket, number, request) in mem::take(&mut self.waiting) {
            cx.ack(socket, Some(number), &(self.history.answer(&request),), &[]);
        }
    }

    /// Whether a message of another server is valid and within the limits of this server.
    fn is_acceptable(&self, message: &Message) -> bool {
        let further: usize = message.further.iter().map(|(name, raw)| name.len() + raw.get().len()).sum();
        further <= self.config.max_text
            && message.sender().is_some_and(|name| name.chars().count() <= self.config.max_name)
            && packet::string(message.message).is_some_and(|text| text.len() <= self.config.max_text)
    }

    fn answer_users(&self, cx: &mut Io, socket: SocketKey, event: &Event) {
        let mut users = self.people();
        users.extend_from_slice(&self.elsewhere.people);
        users.truncate(MAX_PEOPLE);
        let more = self.num_users().saturating_sub(users.len());
        let answer = json!({"users": users, "more": more, "server": self.config.instance});
        cx.ack(socket, event.ack, &(answer,), &[]);
    }
}

impl App for Chat {
    fn start(&mut self, cx: &mut Io) {
        self.history.begin(cx.engine.ids.fresh().to_string(), &self.config);
        self.backfill_until = self.config.redis.as_ref().map(|_| cx.engine.now + BACKFILL_TIME);
    }

    fn commit(&mut self, now: Instant) {
        self.history.commit(now);
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.history.next_deadline().into_iter().chain(self.backfill_until).min()
    }

    fn expire(&mut self, cx: &mut Io) {
        self.history.expire(cx.engine.now);
        if self.backfill_until.is_some_and(|until| until <= cx.engine.now) {
            self.end_backfill(cx);
        }
    }

    fn event(&mut self, cx: &mut Io, socket: SocketKey, event: &Event) {
        let result = match event.name {
            "add user" => self.add_user(cx, socket, event),
            "new message" => self.new_message(cx, socket, event),
            "history" => self.answer_history(cx, socket, event),
            "typing" | "stop typing" => return self.announce(cx, socket, event.name, None),
            "users" => return self.answer_users(cx, socket, event),
            // An event with another name is ignored, as in any Socket.IO server without a listener for it.
            _ => return,
        };
        if let Err(error) = result {
            self.refused += 1;
            cx.ack(socket, event.ack, &(json!({"error": error}),), &[]);
        }
    }

    fn disconnected(&mut self, cx: &mut Io, socket: SocketKey, reason: DisconnectReason) {
        // `ServerClose`: this server stops. Its users are expected to reconnect to another one, so they have not left.
        if reason != DisconnectReason::Session(engineio::CloseReason::ServerClose)
            && let Some(user) = self.users.get_mut(&socket)
        {
            user.here = false;
            self.count_here(-1);
            self.announce(cx, socket, "user left", Some(self.num_users()));
        }
    }

    fn recovered(&mut self, cx: &mut Io, socket: SocketKey) {
        if let Some(user) = self.users.get_mut(&socket).filter(|user| !user.here) {
            user.here = true;
            self.count_here(1);
            self.send_login(cx, socket);
            self.announce(cx, socket, "user joined", Some(self.num_users()));
        }
    }

    fn metrics(&self, metrics: &mut Metrics) {
        metrics.rows(&[
            ("users", GAUGE, "Users connected to this node.", &self.here),
            ("users_elsewhere", GAUGE, "Users connected to other nodes of the cluster.", &self.elsewhere.users),
            ("history_messages", GAUGE, "Messages in the history.", &self.history.messages.len()),
            ("history_bytes", GAUGE, "Size of the history, as --history-bytes counts it.", &self.history.bytes),
            ("events_refused_total", COUNTER, "Chat events refused.", &self.refused),
        ]);
        if let Some(written) = self.history.is_written() {
            let help = "1 while the file of --history can be written.";
            metrics.rows(&[("history_written", GAUGE, help, &u8::from(written))]);
        }
    }

    fn forgotten(&mut self, socket: SocketKey) {
        if self.users.remove(&socket).is_some_and(|user| user.here) {
            self.count_here(-1);
        }
    }
}

impl ClusterApp for Chat {
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
            // If a user here has that name, it is probably the same person, who has not left.
            let here = self.users.values().any(|user| user.here && packet::string(&user.name).as_deref() == Some(name));
            if let Ok(username) = to_raw_value(name)
                && !here
            {
                let note = UserNote { username: Some(&username), num_users: Some(self.num_users()), user };
                cx.broadcast(&HERE, "user left", &(note,), &[]);
            }
        }
    }

    fn answer_peer(&self, question: &RawValue) -> Option<Box<RawValue>> {
        let request = serde_json::from_str(question.get()).ok().filter(|_| self.history.is_on())?;
        to_raw_value(&self.history.answer(&request)).ok()
    }

    fn learn_from_peer(&mut self, cx: &mut Io, answer: &RawValue) -> Option<Box<RawValue>> {
        let answer: Option<Answer> = serde_json::from_str(answer.get()).ok().filter(|_| self.parts < MAX_PARTS);
        self.parts += 1;
        let mut last = None;
        for raw in answer.iter().flat_map(|answer| &answer.messages) {
            let Some(message) = Message::parse(raw.get()) else { continue };
            last = message.n;
            if self.is_acceptable(&message) && message.id.is_some() && message.time.is_some() {
                accept_message(&mut self.history, cx, message, None);
            }
        }
        if let Some((n, answer)) = last.zip(answer.filter(|answer| answer.more)) {
            let since = Position { boot: answer.boot.into(), n };
            return to_raw_value(&HistoryRequest { since: Some(since), last: None }).ok();
        }
        self.end_backfill(cx);
        None
    }

    fn relayed(&mut self, cx: &mut Io, event: &Event) -> bool {
        let ("new message", [raw], []) = (event.name, event.args, event.attachments) else { return false };
        let message = Message::parse(raw.get()).filter(|message| self.is_acceptable(message));
        message.map(|message| accept_message(&mut self.history, cx, message, Some(&HERE))).is_some()
    }
}

/// Gives a message a number and, if missing, an id and a time, sends it to `to`, keeps it and returns its stamp. If the
/// message is kept already, only returns its stamp. `to` is `None` for the backfill: the message is not sent, and gets a
/// number reserved for that. Returns `None` if there is no such number, or if the sender's name is not a string.
fn accept_message(history: &mut History, cx: &mut Io, message: Message, to: Option<&To>) -> Option<Stamp> {
    let sender = packet::string(message.username)?;
    let id = message.id.unwrap_or_else(|| cx.engine.ids.fresh().to_string().into());
    if let Some(stamp) = history.known(&sender, &id) {
        return Some(stamp);
    }
    let n = if to.is_some() { history.number() } else { history.number_before()? };
    let stamp = Stamp { n, time: message.time.unwrap_or(cx.time) };
    let message = Message { n: Some(n), id: Some(id.as_ref().into()), time: Some(stamp.time), ..message };
    let json = match to {
        Some(to) => cx.broadcast(to, "new message", &(message,), &[]),
        None => serde_json::to_vec(&message).expect("a message is JSON and goes to memory").into(),
    };
    history.keep(stamp, &sender, &id, json);
    Some(stamp)
}

/// Returns all sockets of the cluster except `except`, whether or not they have a user, as the recipients of a broadcast.
fn others(except: &[SocketKey]) -> To<'_> {
    To { except, ..To::default() }
}

/// Returns the first argument of an event if it is a string that shows something and is accepted by `fits`. `Err` names
/// what is wrong.
fn text_of<'a>(event: &Event<'a>, fits: impl FnOnce(&str) -> bool) -> Result<&'a RawValue, &'static str> {
    let raw = event.args.first().ok_or("an argument is missing")?;
    let text = packet::string(raw).ok_or("not a string")?;
    text.chars().any(|character| !is_invisible(character)).then_some(()).ok_or("empty")?;
    fits(&text).then_some(*raw).ok_or("too long")
}
