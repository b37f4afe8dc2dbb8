//! The users of the chat: who they are, on this node and on others, and what clients hear of them. Part of `chat`.

use super::{BACKFILL_TIME, Chat, HERE, User, journal, options, others, text_of};
use crate::base::slab::SocketKey;
use crate::config::Config;
use crate::socketio::{Event, Io, Person, To, packet};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use sha1::{Digest, Sha1};
use std::borrow::Cow;
use std::mem;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The length of the key of a user in bytes: 120 random bits, in whatever alphabet.
const KEY: RangeInclusive<usize> = 20..=64;
/// After a change on another node, what clients here have heard is compared after this time, or after a beat if that is less.
const COMPARE_TIME: Duration = Duration::from_secs(1);

/// The argument of events about a user, such as `login` and `user joined`.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct UserNote<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    username: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_users: Option<usize>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    user: Option<Cow<'a, str>>,
}

/// The argument of `login`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Login<'a> {
    #[serde(flatten)]
    user: UserNote<'a>,
    /// The time of the server, in milliseconds since 1970.
    time: u64,
    /// The limits of texts and of packets, in bytes.
    max_text: usize,
    max_payload: usize,
}

impl Chat {
    pub(super) fn add_user(&mut self, cx: &mut Io, socket: SocketKey, event: &Event) -> Result<(), &'static str> {
        if self.users.contains_key(&socket) {
            return Ok(());
        }
        let raw = text_of(event, |name| name.chars().count() <= self.config.max_name)?;
        let key = options(event).key.map(|key| {
            let key = packet::string(key).filter(|key| KEY.contains(&key.len()) && journal::is_id(key));
            key.map(|key| owner_of(&key)).ok_or("a key is 20 to 64 visible ASCII characters")
        });
        let key = key.transpose()?;
        // A client that could not recover its socket but is back with its name within `leave_grace` keeps its owner.
        let back = cx.socket(socket).and_then(|socket| socket.predecessor).filter(|old| {
            self.users.get(old).is_some_and(|user| {
                let same = key.as_ref().is_none_or(|key| *key == user.owner);
                user.here && same && packet::string(&user.name) == packet::string(raw)
            })
        });
        let back = back.and_then(|old| self.users.remove(&old));
        let returns = back.is_some();
        let owner = back.map(|user| user.owner).or(key).unwrap_or_else(|| cx.engine.ids.fresh().short());
        self.users.insert(socket, User { name: raw.to_owned(), owner, here: returns });
        cx.mark(socket);
        match returns {
            true => self.send_login(cx, socket),
            false => self.arrive(cx, socket),
        }
        Ok(())
    }

    /// Counts the user of `socket` as here, and tells others: of a user whom they know, only the number.
    pub(super) fn arrive(&mut self, cx: &mut Io, socket: SocketKey) {
        let Some(user) = self.users.get_mut(&socket).filter(|user| !user.here) else { return };
        user.here = true;
        let is_known = self.elsewhere.enter(user.tag().to_owned());
        self.here += 1;
        self.changes += 1;
        self.send_login(cx, socket);
        match is_known {
            true => self.tell_count(cx, &others(&[socket])),
            false => self.announce(cx, socket, "user joined"),
        }
    }

    /// Counts the user of `socket` as gone, and tells others: of a user who has another socket, only the number.
    pub(super) fn leave(&mut self, cx: &mut Io, socket: SocketKey) {
        let Some(user) = self.users.get_mut(&socket).filter(|user| user.here) else { return };
        user.here = false;
        let person = user.person();
        match self.count_out(person) {
            true => self.tell_count(cx, &others(&[socket])),
            false => self.announce(cx, socket, "user left"),
        }
    }

    /// Counts a user as gone. Returns whether the user has another socket, here or on another node.
    pub(super) fn count_out(&mut self, person: Person) -> bool {
        self.here -= 1;
        self.changes += 1;
        self.elsewhere.exit(person)
    }

    pub(super) fn send_login(&self, cx: &mut Io, socket: SocketKey) {
        if let Some(user) = self.users.get(&socket) {
            let user = UserNote { username: None, num_users: Some(self.num_users()), user: Some(user.tag().into()) };
            let Config { max_text, max_payload, .. } = self.config;
            cx.emit(socket, "login", &(Login { user, time: cx.time, max_text, max_payload },), &[]);
        }
    }

    /// Whether the time for the backfill has not passed yet.
    pub(super) fn is_starting(&self, cx: &Io) -> bool {
        cx.time < self.started + BACKFILL_TIME.as_millis() as u64
    }

    pub(super) fn num_users(&self) -> usize {
        self.here + self.elsewhere.users()
    }

    /// Sends an event about the user of `socket` to all other sockets.
    fn announce(&mut self, cx: &mut Io, socket: SocketKey, event: &str) {
        if let Some(user) = self.users.get(&socket) {
            self.elsewhere.told = self.num_users();
            let num_users = Some(self.elsewhere.told);
            let note = UserNote { username: Some(&user.name), num_users, user: Some(user.tag().into()) };
            cx.broadcast(&others(&[socket]), event, &(note,), &[]);
        }
    }

    /// Sends `typing` or `stop typing` of the user of `socket`, if it has one, to all other sockets.
    pub(super) fn tell_typing(&mut self, cx: &mut Io, socket: SocketKey, event: &str) {
        if let Some(user) = self.users.get(&socket) {
            let note = UserNote { username: Some(&user.name), num_users: None, user: Some(user.tag().into()) };
            self.typists.tell(cx, &others(&[socket]), event, &(note,), self.config.recovery_time);
        }
    }

    /// Sends `numUsers` alone. A name in `user count` would be taken for that of somebody who has left.
    fn tell_count(&mut self, cx: &mut Io, to: &To) {
        self.elsewhere.told = self.num_users();
        cx.broadcast(
            to,
            "user count",
            &(UserNote { num_users: Some(self.elsewhere.told), ..UserNote::default() },),
            &[],
        );
    }

    /// Tells clients here what other nodes report and they have not heard. During the backfill, the first reports only say
    /// who was here before: clients ask for that themselves, with `users`, and are answered at its end.
    pub(super) fn compare(&mut self, cx: &mut Io) {
        let come = self.elsewhere.take_unheard();
        let gone = self.elsewhere.take_missing(self.config.leave_grace, cx.engine.now);
        let num_users = Some(self.num_users());
        let is_first = !mem::replace(&mut self.elsewhere.is_compared, true) && self.backfill_until.is_some();
        for (event, people) in [("user joined", come), ("user left", gone)].into_iter().skip(usize::from(is_first)) {
            for Person { username, user } in people {
                if let Ok(username) = to_raw_value(&username) {
                    let note = UserNote { username: Some(&username), num_users, user: Some(user.into()) };
                    cx.broadcast(&HERE, event, &(note,), &[]);
                    self.elsewhere.told = self.num_users();
                }
            }
        }
        if self.elsewhere.told != self.num_users() {
            self.tell_count(cx, &HERE);
        }
    }

    /// Notes what another server says of a user. Returns whether clients here need not hear it.
    pub(super) fn hear(&mut self, cx: &Io, event: &Event) -> bool {
        let Some(note) = event.args.first().and_then(|raw| serde_json::from_str::<UserNote>(raw.get()).ok()) else {
            return false;
        };
        self.elsewhere.due.get_or_insert(cx.engine.now + self.compare_time());
        if let (Some(user), Some(username)) = (note.user, note.username.and_then(packet::string))
            && !self
                .elsewhere
                .hear(event.name == "user joined", Person { username: username.into(), user: user.into() })
        {
            return true;
        }
        self.elsewhere.told = note.num_users.unwrap_or(self.elsewhere.told);
        false
    }

    pub(super) fn compare_time(&self) -> Duration {
        COMPARE_TIME.min(self.config.presence_beat)
    }
}

/// Returns the owner that belongs to a key, in URL-safe base64.
fn owner_of(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha1::digest(key))
}
