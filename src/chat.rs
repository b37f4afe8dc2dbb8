//! The chat: event for event what Socket.IO's public chat example does, so that its page and every client
//! written for it work unchanged.
//!
//! | client sends | server does |
//! |---|---|
//! | `add user` (name) | first time only: `login` to the sender, `user joined` to all others |
//! | `new message` (text) | `new message` to all others |
//! | `typing`, `stop typing` | the same to all others |
//! | (disconnect of a named user) | `user left` to all others |
//!
//! `numUsers` is the number of named sockets that are connected, or whose connection broke less than `leave_grace` ago:
//! a broken connection is not a goodbye. In a cluster those of the other nodes count too. Who comes back later than that is announced again.
//!
//! What the example does not do: judge what clients send. A name or text that is no string, is empty or too
//! long, and a post without a name are refused: nothing is relayed, the ack callback gets `{error}`.

use crate::config::Config;
use crate::engineio;
use crate::metrics::Metrics;
use crate::slab::SocketKey;
use crate::socketio::{App, Cx, Event, Reason, To, packet};
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Login {
    num_users: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Presence<'a> {
    username: &'a RawValue,
    num_users: usize,
}

#[derive(Serialize)]
struct Message<'a> {
    username: &'a RawValue,
    message: &'a RawValue,
}

#[derive(Serialize)]
struct Typing<'a> {
    username: &'a RawValue,
}

#[derive(Serialize)]
struct Refused {
    error: &'static str,
}

/// A named socket.
struct User {
    /// As it was sent, to be sent on as the same bytes (rule R11).
    name: Box<RawValue>,
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
    /// Users on other nodes of a cluster.
    elsewhere: usize,
    /// Events refused since the start.
    pub refused: u64,
}

impl Chat {
    /// An empty room.
    pub fn new(config: Config) -> Chat {
        Chat { config, users: HashMap::new(), here: 0, changes: 0, elsewhere: 0, refused: 0 }
    }

    fn add_user(&mut self, cx: &mut Cx, socket: SocketKey, event: &Event) -> Result<(), &'static str> {
        if self.users.contains_key(&socket) {
            return Ok(());
        }
        let raw = text_of(event, |name| name.chars().count() <= self.config.max_name)?;
        // Who could not be recovered, and is back under the same name before the grace was over, was never away.
        let back = cx.predecessor(socket).filter(|old| {
            self.users.get(old).is_some_and(|user| user.here && packet::string(&user.name) == packet::string(raw))
        });
        match back {
            Some(old) => drop(self.users.remove(&old)),
            None => self.arrive(1),
        }
        self.users.insert(socket, User { name: raw.to_owned(), here: true });
        cx.emit(socket, "login", &(Login { num_users: self.count() },), &[]);
        if back.is_none() {
            self.tell(cx, socket, "user joined");
        }
        Ok(())
    }

    /// What `numUsers` is.
    fn count(&self) -> usize {
        self.here + self.elsewhere
    }

    /// One user more, or less.
    fn arrive(&mut self, users: isize) {
        self.here = self.here.strict_add_signed(users);
        self.changes += 1;
    }

    /// Tells all others that a user is here, or no longer.
    fn tell(&self, cx: &mut Cx, socket: SocketKey, event: &str) {
        if let Some(user) = self.users.get(&socket) {
            let presence = Presence { username: &user.name, num_users: self.count() };
            cx.broadcast(&others(&[socket]), event, &(presence,), &[]);
        }
    }

    fn new_message(&mut self, cx: &mut Cx, socket: SocketKey, event: &Event) -> Result<(), &'static str> {
        let username = &self.users.get(&socket).ok_or("not logged in: send `add user` first")?.name;
        let message = text_of(event, |text| text.len() <= self.config.max_text)?;
        cx.broadcast(&others(&[socket]), "new message", &(Message { username, message },), &[]);
        Ok(())
    }

    fn typing(&mut self, cx: &mut Cx, socket: SocketKey, event: &Event) {
        if let Some(user) = self.users.get(&socket) {
            cx.broadcast(&others(&[socket]), event.name, &(Typing { username: &user.name },), &[]);
        }
    }
}

impl App for Chat {
    fn event(&mut self, cx: &mut Cx, socket: SocketKey, event: &Event) {
        let result = match event.name {
            "add user" => self.add_user(cx, socket, event),
            "new message" => self.new_message(cx, socket, event),
            "typing" | "stop typing" => {
                self.typing(cx, socket, event);
                Ok(())
            }
            // An event nobody listens to, as in any Socket.IO server.
            _ => Ok(()),
        };
        if let Err(error) = result {
            self.refused += 1;
            if let Some(number) = event.ack {
                cx.ack(socket, number, &(Refused { error },), &[]);
            }
        }
    }

    fn disconnected(&mut self, cx: &mut Cx, socket: SocketKey, reason: Reason) {
        // Those whom a stopping server sends away will be back.
        if reason != Reason::Session(engineio::Reason::ServerClose)
            && let Some(user) = self.users.get_mut(&socket)
        {
            user.here = false;
            self.arrive(-1);
            self.tell(cx, socket, "user left");
        }
    }

    fn recovered(&mut self, cx: &mut Cx, socket: SocketKey) {
        if let Some(user) = self.users.get_mut(&socket).filter(|user| !user.here) {
            user.here = true;
            self.arrive(1);
            cx.emit(socket, "login", &(Login { num_users: self.count() },), &[]);
            self.tell(cx, socket, "user joined");
        }
    }

    fn metrics(&self, metrics: &mut Metrics) {
        metrics.gauge("users", "Users that are here.", self.here as f64);
        metrics.gauge("users_elsewhere", "Users on other nodes of the cluster.", self.elsewhere as f64);
        metrics.counter("events_refused_total", "Events of the chat that were refused.", self.refused);
    }

    fn forgotten(&mut self, socket: SocketKey) {
        if self.users.remove(&socket).is_some_and(|user| user.here) {
            self.arrive(-1);
        }
    }

    fn present(&self) -> (usize, u64) {
        (self.here, self.changes)
    }

    fn names(&self, most: usize) -> Vec<String> {
        let here = self.users.values().filter(|user| user.here).take(most);
        here.filter_map(|user| packet::string(&user.name)).map(Cow::into_owned).collect()
    }

    fn elsewhere(&mut self, cx: &mut Cx, users: usize, lost: &[String]) {
        self.elsewhere = users;
        for name in lost {
            // Who has come here meanwhile has not left.
            let here = self.users.values().any(|user| user.here && packet::string(&user.name).as_deref() == Some(name));
            if let Ok(username) = serde_json::value::to_raw_value(name)
                && !here
            {
                let presence = Presence { username: &username, num_users: self.count() };
                cx.broadcast(&To { local: true, ..To::default() }, "user left", &(presence,), &[]);
            }
        }
    }
}

/// Every socket, named or not, but these.
fn others(except: &[SocketKey]) -> To<'_> {
    To { except, ..To::default() }
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
