//! Broadcasts and requests of other servers of a cluster. Node servers send requests for `fetchSockets`, `socketsJoin`,
//! `socketsLeave`, `disconnectSockets` and `serverSideEmit`; salon sends none. Part of `socketio`.
//!
//! Other servers name a socket by its id. Each socket is in a room named after its id, as in the reference, so the id of a
//! socket is looked up like the name of a room.

use super::packet::{self, Kind};
use super::rooms::members;
use super::{App, Event, Io, Publication, Socket, To};
use crate::base::slab::SocketKey;
use crate::engineio::CloseReason;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use std::{fmt, slice};

/// Maximum number of names in one list of a publication: its rooms, for example.
pub const MAX_ROOMS: usize = 20_000;
/// Maximum bytes of the name of a room or namespace, of a uid and of a request id.
pub const MAX_NAME: usize = 256;
/// Maximum time for clients to ack a broadcast of another server. Later acks are ignored.
const ACK_TIME: Duration = Duration::from_secs(5);

/// The type of a request or an answer between servers. The values are the numbers of `@socket.io/redis-adapter`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "u8")]
pub enum RequestKind {
    /// Asks for the ids of the sockets in some rooms.
    Sockets,
    /// Asks for the names of all rooms.
    AllRooms,
    /// Adds sockets to rooms (`socketsJoin` of Node servers).
    RemoteJoin,
    /// Removes sockets from rooms (`socketsLeave`).
    RemoteLeave,
    /// Disconnects sockets (`disconnectSockets`).
    RemoteDisconnect,
    /// Asks for descriptions of sockets (`fetchSockets`).
    RemoteFetch,
    /// Sends an event to the servers themselves (`serverSideEmit`).
    ServerSideEmit,
    /// Sends an event to clients and asks them for acks; in MessagePack instead of JSON.
    Broadcast,
    /// The first answer to [`RequestKind::Broadcast`]: the number of sockets here that the event is for.
    BroadcastClientCount,
    /// A further answer to [`RequestKind::Broadcast`]: the ack of one client; in MessagePack instead of JSON.
    BroadcastAck,
    #[default]
    Unknown,
}

impl From<u8> for RequestKind {
    fn from(number: u8) -> RequestKind {
        use RequestKind::*;
        let kinds = [Sockets, AllRooms, RemoteJoin, RemoteLeave, RemoteDisconnect, RemoteFetch, ServerSideEmit];
        kinds.get(usize::from(number)).copied().unwrap_or(Unknown)
    }
}

/// A request of another server, as parsed from JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Request {
    /// Identifies the server that sent the request.
    pub uid: Option<String>,
    /// The id that the answer must carry; `None` if the sender does not wait for an answer.
    pub request_id: Option<String>,
    #[serde(rename = "type")]
    pub kind: RequestKind,
    /// The sockets that the request applies to.
    pub opts: Selection,
    /// The rooms to join or leave; for [`RequestKind::Sockets`], the rooms whose sockets are asked for.
    #[serde(deserialize_with = "names")]
    pub rooms: Vec<String>,
    /// Older servers send these two instead of `opts` and `rooms`: the id of one socket, and the name of one room.
    pub sid: Option<String>,
    pub room: Option<String>,
    /// For [`RequestKind::RemoteDisconnect`]: whether the session is to be closed as well.
    pub close: bool,
}

/// Selects the connected sockets in at least one of `rooms` (all if empty), except sockets in any room of `except`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Selection {
    #[serde(deserialize_with = "names")]
    pub rooms: Vec<String>,
    #[serde(deserialize_with = "names")]
    pub except: Vec<String>,
}

/// Deserializes a list of names. Stops at the first name beyond the limits: the list may have hundreds of thousands.
fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a list of names")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut names = Vec::new();
            while let Some(name) = list.next_element::<String>()? {
                if names.len() == MAX_ROOMS || name.len() > MAX_NAME {
                    return Err(A::Error::custom("too many names, or one that is too long"));
                }
                names.push(name);
            }
            Ok(names)
        }
    }
    deserializer.deserialize_seq(Names)
}

impl Io {
    /// Carries out a request and returns the answer; `None` if the sender wants none. A Node server waits for an answer of
    /// every server, so `serverSideEmit` is answered as well, although it has no effect on this server.
    pub fn handle_request(&mut self, namespace: &str, request: &Request) -> Option<Value> {
        let sockets = match &request.sid {
            Some(sid) => self.select(namespace, slice::from_ref(sid), &[]),
            None => self.select(namespace, &request.opts.rooms, &request.opts.except),
        };
        let rooms: BTreeSet<&str> = request.room.iter().chain(&request.rooms).map(String::as_str).collect();
        let mut answer = json!({});
        match request.kind {
            RequestKind::Sockets => {
                let sockets = self.select(namespace, &request.rooms, &[]);
                answer["sockets"] = sockets.iter().filter_map(|key| Some(self.socket(*key)?.id.to_string())).collect();
            }
            RequestKind::AllRooms => answer["rooms"] = json!(self.all_rooms(namespace)),
            // The first room that a socket cannot join ends its joins: all others would be refused too.
            RequestKind::RemoteJoin => {
                sockets.iter().for_each(|socket| _ = rooms.iter().all(|room| self.join(*socket, room)));
            }
            RequestKind::RemoteLeave => {
                sockets.iter().for_each(|socket| self.leave_rooms(*socket, |room| rooms.contains(room)));
            }
            RequestKind::RemoteDisconnect => {
                sockets.iter().for_each(|socket| self.disconnect_socket(*socket, request.close))
            }
            RequestKind::RemoteFetch => {
                answer["sockets"] = sockets.iter().map(|socket| self.describe(*socket)).collect()
            }
            RequestKind::ServerSideEmit => answer = json!({"type": RequestKind::ServerSideEmit as u8, "data": null}),
            _ => return None,
        }
        answer["requestId"] = request.request_id.as_deref()?.into();
        Some(answer)
    }

    /// Describes a socket for `fetchSockets`. `handshake` is empty: the request is not kept, and its `auth` may be secret.
    fn describe(&self, socket: SocketKey) -> Value {
        let Some(Socket { id, rooms, .. }) = self.sockets.get(socket) else { return Value::Null };
        let handshake = json!({
            "headers": {}, "time": "", "address": "", "xdomain": false, "secure": false, "issued": 0, "url": "",
            "query": {}, "auth": {}
        });
        json!({"id": id.to_string(), "handshake": handshake, "rooms": rooms, "data": {}})
    }

    fn all_rooms(&self, namespace: &str) -> Vec<&str> {
        let index = self.namespaces.iter().position(|name| *name == namespace);
        index.map_or(Vec::new(), |index| self.rooms[index].keys().map(|room| &**room).collect())
    }

    /// Disconnects a socket. If `close`, also disconnects its session's sockets in other namespaces and closes the session.
    fn disconnect_socket(&mut self, socket: SocketKey, close: bool) {
        let session = self.sockets.get(socket).and_then(|known| known.session).filter(|_| close);
        let Some(session) = session else { return self.disconnect(socket) };
        let sockets = self.sessions.get(&session).map(|state| state.sockets.to_vec()).unwrap_or_default();
        sockets.into_iter().for_each(|socket| self.disconnect(socket));
        self.engine.close(session, CloseReason::ServerClose);
    }

    /// Sends a broadcast of another server to the sockets of this one, unless [`App::relayed`] handles it. If it asks for
    /// acks, returns the answer: the number of sockets that the event is for. Each ack is published when it arrives.
    pub fn handle_broadcast(&mut self, broadcast: &Publication, app: &mut impl App) -> Option<Value> {
        let Publication { namespace, rooms, except, asker, json, attachments, owner, .. } = broadcast;
        let write = |out: &mut Vec<u8>| out.extend_from_slice(json.as_bytes());
        if let Some(asker) = asker {
            let sockets = self.select(namespace, rooms, except);
            for socket in &sockets {
                if let Some(number) = self.expect_ack(*socket, Some(asker.clone()), self.engine.now + ACK_TIME) {
                    self.send(*socket, Kind::Event, Some(number), attachments, write);
                }
            }
            let kind = RequestKind::BroadcastClientCount as u8;
            return Some(json!({"type": kind, "requestId": &**asker, "clientCount": sockets.len()}));
        }
        let (index, rooms, except) = self.find(namespace, rooms, except)?;
        if index == 0
            && rooms.is_empty()
            && except.is_empty()
            && let Ok((name, args)) = packet::event(json)
            && app.relayed(self, &Event { name: &name, args: &args, attachments, ack: None }, owner.as_deref())
        {
            return None;
        }
        let messages = packet::encode(Kind::Event, namespace, None, attachments, write);
        self.fan_out(&To { namespace: index, rooms: &rooms, except: &except, local: true, ..To::default() }, messages);
        None
    }

    /// Returns the connected sockets of a namespace that are in one of `rooms` (all if empty) and in no room of `except`.
    fn select(&self, namespace: &str, rooms: &[String], except: &[String]) -> Vec<SocketKey> {
        let Some((namespace, rooms, except)) = self.find(namespace, rooms, except) else { return Vec::new() };
        let to = To { namespace, rooms: &rooms, except: &except, ..To::default() };
        let members = members(&self.sockets, &self.rooms, &to);
        members.filter(|(_, socket)| socket.session.is_some()).map(|(key, _)| key).collect()
    }

    /// Converts names to the fields of [`To`]: the index of the namespace, the rooms that have members, and the sockets in
    /// any room of `except`. Returns `None` if there is no such namespace, or no member of any of the rooms.
    fn find<'a>(
        &self, namespace: &str, rooms: &'a [String], except: &[String],
    ) -> Option<(usize, Vec<&'a str>, Vec<SocketKey>)> {
        let namespace = self.namespaces.iter().position(|name| *name == namespace)?;
        let table = &self.rooms[namespace];
        // Sets, because a name may be repeated, and a socket may be in many of the rooms.
        let known: BTreeSet<_> = rooms.iter().map(String::as_str).filter(|room| table.contains_key(*room)).collect();
        if known.is_empty() && !rooms.is_empty() {
            return None;
        }
        let except: BTreeSet<_> = except.iter().map(String::as_str).collect();
        let except: BTreeSet<_> = except.iter().filter_map(|room| table.get(*room)).flatten().copied().collect();
        Some((namespace, known.into_iter().collect(), except.into_iter().collect()))
    }
}
