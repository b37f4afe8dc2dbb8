//! Broadcasts and requests of other servers of a cluster. Node servers send requests for `fetchSockets`, `socketsJoin`,
//! `socketsLeave`, `disconnectSockets` and `serverSideEmit`; salon sends none. Part of `socketio`.
//!
//! Other servers name sockets by id. Each socket is in a room with the name of its id, as in the reference, so that rooms
//! and exceptions are found in the same way.

use super::packet::{self, Kind};
use super::rooms::members;
use super::{App, Event, Io, Publication, To};
use crate::base::slab::SocketKey;
use crate::engineio::CloseReason;
use serde::Deserialize;
use serde_json::{Value, json};
use std::slice;
use std::time::Duration;

/// How long clients may take to ack a broadcast of another server.
const ACK_TIME: Duration = Duration::from_secs(5);

/// Requests and answers, by the numbers of `@socket.io/redis-adapter`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "u8")]
pub enum RequestKind {
    /// Lists the ids of the sockets in some rooms.
    Sockets,
    AllRooms,
    /// `socketsJoin`
    RemoteJoin,
    /// `socketsLeave`
    RemoteLeave,
    /// `disconnectSockets`
    RemoteDisconnect,
    /// `fetchSockets`
    RemoteFetch,
    /// `serverSideEmit`: an event for the servers themselves.
    ServerSideEmit,
    /// A broadcast that asks clients for acks; not in JSON.
    Broadcast,
    /// The first answer to that: how many clients are asked.
    BroadcastClientCount,
    /// A further answer for each client: its ack; not in JSON.
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

/// A request of another server, as it stands in JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Request {
    /// The server that sends it.
    pub uid: String,
    /// Set if that server waits for an answer.
    pub request_id: Option<String>,
    #[serde(rename = "type")]
    pub kind: RequestKind,
    /// The sockets it applies to.
    pub opts: Selection,
    /// Rooms to join or leave; for [`RequestKind::Sockets`], the rooms to list.
    pub rooms: Vec<String>,
    /// Older servers name one socket and one room, in place of `opts` and `rooms`.
    pub sid: Option<String>,
    pub room: Option<String>,
    /// For [`RequestKind::RemoteDisconnect`]: close the session as well.
    pub close: bool,
}

/// The connected sockets in at least one of `rooms` (all, if there are none), without those in a room of `except`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Selection {
    pub rooms: Vec<String>,
    pub except: Vec<String>,
}

impl Io {
    /// Carries out a request and returns the answer, if one is wanted. A Node server waits for an answer of every server, so
    /// even `serverSideEmit` is answered, for which nothing is done here.
    pub fn handle_request(&mut self, namespace: &str, request: &Request) -> Option<Value> {
        let sockets = match &request.sid {
            Some(sid) => self.select(namespace, slice::from_ref(sid), &[]),
            None => self.select(namespace, &request.opts.rooms, &request.opts.except),
        };
        let rooms = request.room.as_ref().map_or(&request.rooms[..], slice::from_ref);
        let places = sockets.iter().flat_map(|socket| rooms.iter().map(|room| (*socket, room)));
        let mut answer = json!({});
        match request.kind {
            RequestKind::Sockets => {
                let sockets = self.select(namespace, &request.rooms, &[]);
                answer["sockets"] = sockets.iter().filter_map(|key| Some(self.socket(*key)?.id.to_string())).collect();
            }
            RequestKind::AllRooms => answer["rooms"] = json!(self.all_rooms(namespace)),
            RequestKind::RemoteJoin => places.for_each(|(socket, room)| self.join(socket, room)),
            RequestKind::RemoteLeave => places.for_each(|(socket, room)| self.leave_room(socket, room)),
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

    /// A socket as `fetchSockets` returns it. The handshake is left empty: its request is not kept, and `auth` holds secrets.
    fn describe(&self, socket: SocketKey) -> Value {
        let rooms = self.sockets.get(socket).map_or(&[][..], |socket| &socket.rooms);
        let handshake = json!({
            "headers": {}, "time": "", "address": "", "xdomain": false, "secure": false, "issued": 0, "url": "",
            "query": {}, "auth": {}
        });
        json!({"id": rooms.first(), "handshake": handshake, "rooms": rooms, "data": {}})
    }

    fn all_rooms(&self, namespace: &str) -> Vec<&str> {
        let rooms = self.rooms.keys().filter(|(index, _)| self.namespaces[*index] == namespace);
        rooms.map(|(_, room)| &**room).collect()
    }

    /// Disconnects a socket, and with `close` its session, which may have sockets in other namespaces.
    fn disconnect_socket(&mut self, socket: SocketKey, close: bool) {
        let session = self.sockets.get(socket).and_then(|known| known.session());
        self.disconnect(socket);
        if let Some(session) = session.filter(|_| close) {
            self.engine.close(session, CloseReason::ServerClose);
        }
    }

    /// Delivers a broadcast of another server as one of our own, or lets the application do that ([`App::relayed`]). If acks
    /// are wanted, returns the first answer, the number of clients that are asked; their acks become publications.
    pub fn handle_broadcast(&mut self, broadcast: &Publication, app: &mut impl App) -> Option<Value> {
        let Publication { namespace, rooms, except, asker, json, attachments } = broadcast;
        let write = |out: &mut Vec<u8>| out.extend_from_slice(json.as_bytes());
        if let Some(asker) = asker {
            let sockets = self.select(namespace, rooms, except);
            for socket in &sockets {
                if let Some(number) = self.expect_ack(*socket, Some(asker.clone()), self.engine.now + ACK_TIME) {
                    self.send(*socket, Kind::Event, Some(number), attachments, write);
                }
            }
            let kind = RequestKind::BroadcastClientCount as u8;
            return Some(json!({"type": kind, "requestId": asker, "clientCount": sockets.len()}));
        }
        let (index, rooms, except) = self.find(namespace, rooms, except)?;
        if index == 0
            && rooms.is_empty()
            && except.is_empty()
            && let Ok((name, args)) = packet::event(json)
            && app.relayed(self, &Event { name: &name, args: &args, attachments, ack: None })
        {
            return None;
        }
        let messages = packet::encode(Kind::Event, namespace, None, attachments, write);
        self.fan_out(&To { namespace: index, rooms: &rooms, except: &except, local: true }, messages);
        None
    }

    /// The connected sockets of a namespace that are in one of the rooms (of no rooms: all) and in none of `except`.
    fn select(&self, namespace: &str, rooms: &[String], except: &[String]) -> Vec<SocketKey> {
        let Some((namespace, rooms, except)) = self.find(namespace, rooms, except) else { return Vec::new() };
        let to = To { namespace, rooms: &rooms, except: &except, local: true };
        let members = members(&self.sockets, &self.rooms, &to);
        members.filter(|(_, socket)| socket.session().is_some()).map(|(key, _)| key).collect()
    }

    /// Converts names to the fields of [`To`]: the index of the namespace, the rooms, and the sockets in the rooms of `except`.
    fn find<'a>(
        &self, namespace: &str, rooms: &'a [String], except: &[String],
    ) -> Option<(usize, Vec<&'a str>, Vec<SocketKey>)> {
        let namespace = self.namespaces.iter().position(|name| *name == namespace)?;
        let except = except.iter().filter_map(|room| self.rooms.get(&(namespace, room.as_str().into())));
        Some((namespace, rooms.iter().map(String::as_str).collect(), except.flatten().copied().collect()))
    }
}
