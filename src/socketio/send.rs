//! Packets to clients: events to one socket, acks, broadcasts. Part of `socketio`.
//!
//! A broadcast is encoded once; the queues of the recipients hold references to its packet and its attachments.

use super::packet::{self, Kind};
use super::recovery::{self, Target};
use super::rooms::members;
use super::{ACK_BYTES, Io, PendingAck, Publication, TABLE_SHARE, To};
use crate::base::limits::Limit;
use crate::base::slab::{SessionId, SocketKey};
use crate::base::timers::Deadline;
use crate::engineio::packet::Encoded;
use crate::ws::Text;
use bytes::Bytes;
use serde::Serialize;
use std::time::{Duration, Instant};

impl Io {
    pub fn emit(&mut self, socket: SocketKey, name: &str, args: &impl Serialize, attachments: &[Bytes]) {
        self.send(socket, Kind::Event, None, attachments, |out| {
            packet::write_event(out, name, args);
        });
    }

    /// Sends an event that is not kept for recovery.
    pub fn emit_transient(&mut self, socket: SocketKey, name: &str, args: &impl Serialize) {
        let Some(socket) = self.sockets.get(socket) else { return };
        let messages = packet::encode(Kind::Event, self.namespaces[socket.namespace], None, &[], |out| {
            packet::write_event(out, name, args);
        });
        socket.session.into_iter().for_each(|session| self.engine.send(session, &messages[0]));
    }

    /// Sends an event that asks for an ack within `timeout`, and returns its number, with which
    /// [`App::acknowledged`](super::App::acknowledged) will be called. Sends nothing and returns `None` if the socket is
    /// gone, or if it, or all sockets together, owe too many acks already.
    pub fn emit_with_ack(
        &mut self, socket: SocketKey, name: &str, args: &impl Serialize, timeout: Duration,
    ) -> Option<u64> {
        let number = self.expect_ack(socket, None, self.engine.now + timeout)?;
        self.send(socket, Kind::Event, Some(number), &[], |out| {
            packet::write_event(out, name, args);
        });
        Some(number)
    }

    /// Answers the client's event that had this `number` in [`Event::ack`](super::Event::ack). Does nothing if `number` is
    /// `None`: the client wants no ack.
    pub fn ack(&mut self, socket: SocketKey, number: Option<u64>, args: &impl Serialize, attachments: &[Bytes]) {
        if number.is_some() {
            self.send(socket, Kind::Ack, number, attachments, |out| packet::write_json(out, args));
        }
    }

    /// Sends an event to all sockets that `to` names. Returns the bytes of its arguments as they were sent, with commas
    /// between them. They share one allocation with the packet in the queues of the recipients.
    pub fn broadcast(&mut self, to: &To, name: &str, args: &impl Serialize, attachments: &[Bytes]) -> Bytes {
        let (mut json, mut length) = (0, 0);
        let messages = packet::encode(Kind::Event, self.namespaces[to.namespace], None, attachments, |out| {
            json = out.len();
            length = packet::write_event(out, name, args);
            json = out.len() - json;
        });
        let data = messages[0].data();
        let end = data.len() - 1;
        if self.config.redis.is_some() && !to.local {
            self.publish(to, str::from_utf8(&data[data.len() - json..]).expect("JSON is UTF-8"), attachments);
        }
        // `fan_out` may return a packet with one more argument at the end, the offset for recovery. The other arguments are
        // at the same place as in `messages[0]`.
        self.fan_out(to, messages).slice(end - length..end)
    }

    /// Sends an event, the JSON array `[name, args...]`, to the sockets of other servers that `to` names. Only in a cluster.
    pub fn publish(&mut self, to: &To, json: &str, attachments: &[Bytes]) {
        let except = to.except.iter().filter_map(|key| self.socket(*key));
        self.publications.push_back(Publication {
            namespace: self.namespaces[to.namespace].to_owned(),
            rooms: to.rooms.iter().map(|room| (*room).to_owned()).collect(),
            except: except.map(|socket| socket.id.to_string()).collect(),
            asker: None,
            json: json.to_owned(),
            attachments: attachments.to_vec(),
            owner: to.owner.map(Box::from),
            number: to.number,
        });
    }

    /// Sends an encoded event to all sockets that `to` names. Returns its packet, with an offset if it is kept for recovery.
    pub(super) fn fan_out(&mut self, to: &To, mut messages: Vec<Encoded>) -> Bytes {
        let is_kept = self.recoverable > 0 && !to.transient;
        let recoverable = is_kept.then(|| recovery::with_offset(&messages[0], self.log.last + 1));
        for (_, socket) in members(&self.sockets, &self.rooms, to) {
            if is_kept {
                socket.latest.set(self.log.last + 1);
            }
            if let Some(session) = socket.session {
                let own = recoverable.as_ref().filter(|_| socket.secret.is_some());
                self.engine.send(session, own.unwrap_or(&messages[0]));
                messages[1..].iter().for_each(|attachment| self.engine.send(session, attachment));
            }
        }
        let Some(recoverable) = recoverable else { return messages[0].bytes() };
        let bytes = recoverable.bytes();
        messages[0] = recoverable;
        self.log.keep(Target::many(to), messages, self.engine.now, &self.config);
        bytes
    }

    /// Sends a packet to one socket; `number` is its ack id. As in the reference, a packet with an ack id is not kept for
    /// recovery, because the ack would come too late.
    pub(super) fn send(
        &mut self, key: SocketKey, kind: Kind, number: Option<u64>, attachments: &[Bytes],
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(socket) = self.sockets.get(key) else { return };
        let mut messages = packet::encode(kind, self.namespaces[socket.namespace], number, attachments, write);
        let keep = number.is_none() && socket.secret.is_some();
        if keep {
            messages[0] = recovery::with_offset(&messages[0], self.log.last + 1);
        }
        if let Some(session) = socket.session {
            messages.iter().for_each(|message| self.engine.send(session, message));
        }
        if keep {
            socket.latest.set(self.log.last + 1);
            self.log.keep(Target::One(key), messages, self.engine.now, &self.config);
        }
    }

    /// Sends a packet without attachments to a session, whether or not it has a socket in the namespace.
    pub(super) fn reply(&mut self, session: SessionId, kind: Kind, namespace: &str, number: Option<u64>, json: &str) {
        let messages = packet::encode(kind, namespace, number, &[], |out| out.extend_from_slice(json.as_bytes()));
        self.engine.send(session, &messages[0]);
    }

    /// Registers an ack that is due at `at`. `asker` is the id of the request with which another server asks for the ack, if
    /// one does. Returns the ack id, or `None` if the socket is gone or owes `max_acks` acks already, or if the acks that all
    /// sockets owe take a quarter of `max_held`.
    pub(super) fn expect_ack(&mut self, key: SocketKey, asker: Option<Text>, at: Instant) -> Option<u64> {
        let socket = self.sockets.get_mut(key)?;
        let is_full = self.acks.len() * ACK_BYTES > self.config.max_held / TABLE_SHARE;
        if is_full || self.acks.range((key, 0)..=(key, u64::MAX)).count() >= self.config.max_acks {
            socket.session.into_iter().for_each(|session| self.engine.hit(Limit::Acks, session));
            return None;
        }
        let number = socket.next_ack;
        socket.next_ack += 1;
        let mut deadline = Deadline::default();
        self.ack_timers.set((key, number), &mut deadline, at);
        self.acks.insert((key, number), PendingAck { deadline, asker });
        Some(number)
    }
}
