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
//! What the example does not do: judge what clients send. A name or text that is no string, is empty or too
//! long, and a post without a name are refused: nothing is relayed, the ack callback gets `{error}`.

use crate::config::Config;
use crate::slab::SocketKey;
use crate::socketio::{App, Cx, Event, Reason, To, packet};
use serde::Serialize;
use serde_json::value::RawValue;
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

/// Who is here, by name.
pub struct Chat {
    config: Config,
    /// The names as they were sent, to be sent on as the same bytes (rule R11).
    users: HashMap<SocketKey, Box<RawValue>>,
    /// Events refused since the start.
    pub refused: u64,
}

impl Chat {
    /// An empty room.
    pub fn new(config: Config) -> Chat {
        Chat { config, users: HashMap::new(), refused: 0 }
    }

    fn add_user(&mut self, cx: &mut Cx, socket: SocketKey, event: &Event) -> Result<(), &'static str> {
        if self.users.contains_key(&socket) {
            return Ok(());
        }
        let raw = text_of(event, |name| name.chars().count() <= self.config.max_name)?;
        self.users.insert(socket, raw.to_owned());
        cx.emit(socket, "login", &(Login { num_users: self.users.len() },), &[]);
        let joined = Presence { username: raw, num_users: self.users.len() };
        cx.broadcast(&others(&[socket]), "user joined", &(joined,), &[]);
        Ok(())
    }

    fn new_message(&mut self, cx: &mut Cx, socket: SocketKey, event: &Event) -> Result<(), &'static str> {
        let username = self.users.get(&socket).ok_or("not logged in: send `add user` first")?;
        let message = text_of(event, |text| text.len() <= self.config.max_text)?;
        cx.broadcast(&others(&[socket]), "new message", &(Message { username, message },), &[]);
        Ok(())
    }

    fn typing(&mut self, cx: &mut Cx, socket: SocketKey, event: &Event) {
        if let Some(username) = self.users.get(&socket) {
            cx.broadcast(&others(&[socket]), event.name, &(Typing { username },), &[]);
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

    fn disconnected(&mut self, cx: &mut Cx, socket: SocketKey, _reason: Reason) {
        if let Some(username) = self.users.remove(&socket) {
            let left = Presence { username: &username, num_users: self.users.len() };
            cx.broadcast(&others(&[]), "user left", &(left,), &[]);
        }
    }
}

/// Every socket, named or not, but these.
fn others(except: &[SocketKey]) -> To<'_> {
    To { namespace: 0, rooms: &[], except }
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
