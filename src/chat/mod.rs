//! The chat has the events of Socket.IO's public chat example, so that its page and every client written for it work
//! unchanged. Fields, arguments and events that only salon has are ignored, or not sent, by these clients.
//!
//! | client sends | server does |
//! |---|---|
//! | `add user` (name, `{key}`) | first time only: `login` to the sender, `user joined` to all others |
//! | `new message` (text, `{id}`) | `new message` to all others, unless the same owner has said it with that id |
//! | `typing`, `stop typing` | the same to all others, not kept for recovery |
//! | (a user disconnects) | `user left` to all others |
//! | `history` (request), `users` | the ack to the sender: kept messages, or users |
//!
//! Each user has a public tag, `user`, which differs between two users with the same name. It is the start of the owner, the
//! SHA-1 of a random key that the client may send and keep: with it, a client that comes back, to whatever node, is the same
//! user. The owner is never shown to clients. A user without a key has a random tag, which is also the owner.
//!
//! `numUsers` counts the sockets with a name on all nodes of a cluster: those that are connected, and those whose connection
//! broke less than `leave_grace` ago and can be recovered. After that time the user has left, and joins again when the client
//! reconnects. If clients have heard another number last, because two nodes have changed theirs at once, they get
//! `user count`.
//!
//! Unlike the example, the chat refuses a name or text that is not a string, shows nothing or is too long, and a message
//! from a socket without a name. Others are then sent nothing, and the ack is `{error}`.
//!
//! In a cluster, a node asks others for messages that it may have missed (see `cluster/presence`). At the start, answers to
//! `history` and `users` wait for them, for two seconds at most. Messages said before the start that arrive then are only kept;
//! all others are sent to the clients of the node, too, or those that have caught up already would miss them.

pub mod answer;
mod elsewhere;
pub mod history;
pub mod journal;
mod typing;
mod users;

use crate::base::metrics::{COUNTER, GAUGE, Metrics};
use crate::base::slab::SocketKey;
use crate::base::text::is_invisible;
use crate::config::Config;
use crate::engineio;
use crate::socketio::{App, ClusterApp, DisconnectReason, Event, Io, MAX_PEOPLE, Person, To, packet};
use answer::{Answer, HistoryRequest, Position};
use elsewhere::Elsewhere;
use history::{History, Message, Stamp, TAG};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem;
use std::time::{Duration, Instant};
use typing::Typists;

/// Maximum time that a server waits after its start for the messages of other nodes (backfill).
const BACKFILL_TIME: Duration = Duration::from_secs(2);
/// Maximum number of requests that wait for the backfill; further ones are answered at once, without its messages.
const MAX_WAITING: usize = 1_000;

/// The recipients of a broadcast: all sockets of this server, and none of other servers.
const HERE: To = To { namespace: 0, rooms: &[], except: &[], local: true, transient: false, owner: None, number: None };

/// The second argument of `new message` and of `add user`, which clients of the example do not send.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Options<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    key: Option<&'a RawValue>,
}

/// The user of a socket whose client has sent `add user`.
struct User {
    /// The name as a JSON string, in the bytes that arrived (rule R11).
    name: Box<RawValue>,
    owner: String,
    /// Whether the user is counted in `numUsers`: connected, or disconnected for less than `leave_grace`.
    here: bool,
}

impl User {
    fn tag(&self) -> &str {
        &self.owner[..TAG]
    }

    fn person(&self) -> Person {
        Person { username: packet::string(&self.name).unwrap_or_default().into(), user: self.tag().into() }
    }
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
    typists: Typists,
    /// The time of the start, in milliseconds since 1970.
    started: u64,
    history: History,
    /// The time until which `history` and `users` wait for the backfill; `None` if it has ended, or if there is none.
    backfill_until: Option<Instant>,
    /// The requests that wait for the end of the backfill, each with its socket and ack id: `history`, or else `users`.
    waiting: Vec<(SocketKey, u64, Option<HistoryRequest>)>,
    /// The number of events refused since the start.
    pub refused: u64,
}

impl Chat {
    pub fn new(config: Config) -> Chat {
        let history = History::new(&config);
        Chat { config, history, ..Chat::default() }
    }

    fn new_message(&mut self, cx: &mut Io, socket: SocketKey, event: &Event) -> Result<(), &'static str> {
        let user = self.users.get(&socket).ok_or("not logged in: send `add user` first")?;
        let message = text_of(event, |text| text.len() <= self.config.max_text)?;
        let id = options(event).id.map(|id| {
            let id = packet::string(id).filter(|id| journal::is_id(id));
            id.ok_or("an id is 1 to 64 visible ASCII characters")
        });
        let (id, tag, owner) = (id.transpose()?, Some(user.tag().into()), Some(user.owner.as_str().into()));
        let (n, time, further) = (None, None, BTreeMap::new());
        let message = Message { username: &user.name, message, user: tag, n, id, time, owner, further };
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
        self.answer(cx, socket, event.ack, Some(request));
        Ok(())
    }

    /// Answers a request for the history or else for users; during the backfill, at its end.
    fn answer(&mut self, cx: &mut Io, socket: SocketKey, ack: Option<u64>, history: Option<HistoryRequest>) {
        match (ack, history) {
            (Some(number), history) if self.backfill_until.is_some() && self.waiting.len() < MAX_WAITING => {
                self.waiting.push((socket, number, history));
            }
            (_, Some(request)) => cx.ack(socket, ack, &(self.history.answer(&request, None),), &[]),
            (_, None) => {
                let mut users = self.people();
                users.extend(self.elsewhere.people().take(MAX_PEOPLE - users.len()));
                let more = self.num_users().saturating_sub(users.len());
                let answer = json!({"users": users, "more": more, "server": self.config.instance});
                cx.ack(socket, ack, &(answer,), &[]);
            }
        }
    }

    /// Ends the backfill and answers waiting requests. Called when a node has sent its last answer, or at `backfill_until`.
    /// Users whom nodes have reported by now were here before: clients find them in the answer to `users`.
    fn end_backfill(&mut self, cx: &mut Io) {
        if self.backfill_until.take().is_some() && !mem::replace(&mut self.elsewhere.is_compared, true) {
            self.elsewhere.take_unheard();
        }
        for (socket, number, history) in mem::take(&mut self.waiting) {
            self.answer(cx, socket, Some(number), history);
        }
    }

    /// Whether a message of another server is valid and within the limits of this server.
    fn is_acceptable(&self, message: &Message) -> bool {
        let further: usize = message.further.iter().map(|(name, raw)| name.len() + raw.get().len()).sum();
        further <= self.config.max_text
            && message.sender().is_some_and(|name| name.chars().count() <= self.config.max_name)
            && packet::string(message.message).is_some_and(|text| text.len() <= self.config.max_text)
    }
}

impl App for Chat {
    fn start(&mut self, cx: &mut Io) {
        self.started = cx.time;
        self.history.begin(cx.engine.ids.fresh().to_string(), &self.config);
        self.backfill_until = self.config.redis.as_ref().map(|_| cx.engine.now + BACKFILL_TIME);
    }

    fn commit(&mut self, now: Instant) {
        self.history.commit(now);
    }

    fn next_deadline(&self) -> Option<Instant> {
        [self.history.next_deadline(), self.backfill_until, self.elsewhere.due].into_iter().flatten().min()
    }

    fn expire(&mut self, cx: &mut Io) {
        // A clock that is set back would make the start last, or messages look older than it.
        self.started = self.started.min(cx.time);
        self.history.expire(cx.engine.now);
        if self.backfill_until.is_some_and(|until| until <= cx.engine.now) {
            self.end_backfill(cx);
        }
        if self.elsewhere.due.is_some_and(|due| due <= cx.engine.now) {
            self.compare(cx);
        }
    }

    fn event(&mut self, cx: &mut Io, socket: SocketKey, event: &Event) {
        let result = match event.name {
            "add user" => self.add_user(cx, socket, event),
            "new message" => self.new_message(cx, socket, event),
            "history" => self.answer_history(cx, socket, event),
            "typing" | "stop typing" => return self.tell_typing(cx, socket, event.name),
            "users" => return self.answer(cx, socket, event.ack, None),
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
        if reason != DisconnectReason::Session(engineio::CloseReason::ServerClose) {
            self.leave(cx, socket);
        }
    }

    fn recovered(&mut self, cx: &mut Io, socket: SocketKey) {
        self.typists.recover(cx, socket, self.config.recovery_time);
        self.arrive(cx, socket);
    }

    fn metrics(&self, metrics: &mut Metrics) {
        metrics.rows(&[
            ("users", GAUGE, "Users connected to this node.", &self.here),
            ("users_elsewhere", GAUGE, "Users connected to other nodes of the cluster.", &self.elsewhere.users()),
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
        if let Some(user) = self.users.remove(&socket).filter(|user| user.here) {
            self.count_out(user.person());
        }
    }
}

impl ClusterApp for Chat {
    fn present(&self) -> (usize, u64) {
        (self.here, self.changes)
    }

    fn people(&self) -> Vec<Person> {
        let here = self.users.values().filter(|user| user.here).take(MAX_PEOPLE);
        here.map(User::person).collect()
    }

    fn elsewhere(&mut self, cx: &mut Io, node: &str, users: usize, people: Vec<Person>) {
        self.elsewhere.report(node, users, people, cx.engine.now + self.compare_time());
    }

    fn answer_peer(&self, cx: &Io, question: &RawValue) -> Option<Box<RawValue>> {
        let request = serde_json::from_str(question.get()).ok().filter(|_| self.history.is_on())?;
        to_raw_value(&self.history.answer(&request, Some(cx.time))).ok()
    }

    fn learn_from_peer(&mut self, cx: &mut Io, answer: &RawValue) -> Option<Box<RawValue>> {
        let answer: Option<Answer> = serde_json::from_str(answer.get()).ok();
        if !self.is_starting(cx) {
            self.history.end_backfill();
        }
        let (mut last, mut matched) = (None, HashSet::new());
        for raw in answer.iter().flat_map(|answer| &answer.messages) {
            let Some(message) = Message::parse(raw.get()) else { continue };
            last = message.n;
            let (Some(id), Some(time)) = (&message.id, message.time) else { continue };
            if self.is_acceptable(&message) && !self.history.is_same(message.owner(), id, time, &mut matched) {
                // Once answers to `history` are given, clients learn of it from nothing else.
                let is_shown = time >= self.started || self.backfill_until.is_none();
                let to = is_shown.then_some(&HERE);
                accept_message(&mut self.history, cx, message, to);
            }
        }
        if let Some((n, answer)) = last.zip(answer.filter(|answer| answer.more)) {
            let since = Position { boot: answer.boot.into(), n };
            return to_raw_value(&HistoryRequest { since: Some(since), ..HistoryRequest::default() }).ok();
        }
        self.end_backfill(cx);
        None
    }

    fn relayed(&mut self, cx: &mut Io, event: &Event, owner: Option<&str>) -> bool {
        if let "user joined" | "user left" | "user count" = event.name {
            return self.hear(cx, event);
        }
        let ([raw], []) = (event.args, event.attachments) else { return false };
        // Clients take a string at the end of an event for its offset, so one that has such an end is kept.
        if let "typing" | "stop typing" = event.name
            && raw.get().starts_with('{')
        {
            self.typists.tell(cx, &HERE, event.name, &(raw,), self.config.recovery_time);
            return true;
        }
        let message = Some(raw).filter(|_| event.name == "new message").and_then(|raw| Message::parse(raw.get()));
        let message = message.filter(|message| self.is_acceptable(message));
        let Some(mut message) = message else { return false };
        message.owner = owner.filter(|owner| journal::is_id(owner)).map(Cow::Borrowed);
        if message.id.is_none() {
            message.id = Some(self.history.id_of(raw, cx.time).into());
        }
        accept_message(&mut self.history, cx, message, Some(&HERE));
        true
    }

    fn publish_again(&self, cx: &mut Io, number: u64) -> bool {
        let Some((json, owner)) = self.history.message(number) else { return false };
        let json = format!("[\"new message\",{}]", String::from_utf8_lossy(json));
        cx.publish(&To { owner, number: Some(number), ..To::default() }, &json, &[]);
        true
    }
}

/// Gives a message a number and, if missing, an id and a time, sends it to `to`, keeps it and returns its stamp. If the
/// message is known, only returns its stamp. `to` is `None` for a message of the backfill: it is not sent.
fn accept_message(history: &mut History, cx: &mut Io, message: Message, to: Option<&To>) -> Stamp {
    let owner = message.owner().to_owned();
    let id = message.id.unwrap_or_else(|| cx.engine.ids.fresh().to_string().into());
    if let Some(stamp) = history.known(&owner, &id) {
        return stamp;
    }
    let time = message.time.unwrap_or_else(|| history.time(cx.time));
    let stamp = Stamp { n: history.number(to.is_none()), time };
    let id_again = Some(id.as_ref().into());
    let message = Message { n: Some(stamp.n), id: id_again, time: Some(stamp.time), owner: None, ..message };
    let json = match to {
        Some(to) => {
            let secret = (owner.len() > TAG).then_some(&*owner);
            cx.broadcast(&To { owner: secret, number: Some(stamp.n), ..*to }, "new message", &(message,), &[])
        }
        None => history::to_json(&message),
    };
    history.keep(stamp, cx.time, &owner, &id, json);
    stamp
}

/// Returns the second argument of an event; the default if it has none.
fn options<'a>(event: &Event<'a>) -> Options<'a> {
    event.args.get(1).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
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
