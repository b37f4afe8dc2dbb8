//! Connection state recovery, as Socket.IO 4.6 has it: what was missed arrives after all, once and in order.
//!
//! A CONNECT is answered with a private id (`pid`), every event carries its offset as one more argument, and a client
//! that comes back presents both: `{"pid":...,"offset":...}`. What was sent meanwhile is kept here, once however many
//! it was for, for a bounded time, number and bytes. An offset counts all packets kept since the start of the process,
//! so it says by itself whether something is missing between it and the oldest one here.
//! Source: docs of Socket.IO, "Connection state recovery"; the protocol text does not have it.

use super::{Socket, To};
use crate::base::id::Id;
use crate::base::slab::SocketKey;
use crate::config::Config;
use crate::engineio::packet::Encoded;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Instant;

/// What a kept packet costs besides its bytes, roughly.
const OVERHEAD: usize = 256;

/// The private id as the client has it: the key finds the socket, the random part proves that it is the owner.
pub fn pid(key: SocketKey, secret: Id) -> String {
    format!("{:x}.{secret}", key.pack())
}

/// What a CONNECT presents: the socket, the proof, and the last offset if any event has come.
pub struct Credentials {
    pub key: SocketKey,
    pub secret: Id,
    pub offset: Option<u64>,
}

/// Reads what a CONNECT presents. Whatever is not of this form is nothing: the client gets a fresh socket.
pub fn presented(auth: Option<&RawValue>) -> Option<Credentials> {
    #[derive(Deserialize)]
    struct Auth<'a> {
        #[serde(borrow)]
        pid: Cow<'a, str>,
        #[serde(borrow, default)]
        offset: Option<Cow<'a, str>>,
    }
    let auth: Auth = serde_json::from_str(auth?.get()).ok()?;
    let (key, secret) = auth.pid.split_once('.')?;
    let key = SocketKey::unpack(usize::from_str_radix(key, 16).ok()?);
    let offset = auth.offset.map(|offset| offset.parse()).transpose().ok()?;
    Some(Credentials { key, secret: Id::parse(secret)?, offset })
}

/// The packet of an event with its offset as one more argument.
pub fn with_offset(event: &Encoded, offset: u64) -> Encoded {
    let array = event.data().strip_suffix(b"]").expect("an event is an array, which has its name at least");
    Encoded::text(|out| out.extend([array, format!(",\"{offset}\"]").as_bytes()].concat()))
}

/// Whom a kept packet was for.
pub enum Target {
    One(SocketKey),
    Many { namespace: usize, rooms: Box<[Box<str>]>, except: Box<[SocketKey]> },
}

impl Target {
    pub fn many(to: &To) -> Target {
        let rooms = to.rooms.iter().map(|room| Box::from(*room)).collect();
        Target::Many { namespace: to.namespace, rooms, except: to.except.into() }
    }

    fn has(&self, key: SocketKey, socket: &Socket) -> bool {
        match self {
            Target::One(one) => *one == key,
            Target::Many { namespace, rooms, except } => {
                *namespace == socket.namespace
                    && !except.contains(&key)
                    && (rooms.is_empty() || rooms.iter().any(|room| socket.rooms.contains(room)))
            }
        }
    }
}

struct Entry {
    at: Instant,
    bytes: usize,
    target: Target,
    /// The event with its offset, then its attachments.
    messages: Vec<Encoded>,
}

/// What was sent lately.
#[derive(Default)]
pub struct Log {
    kept: VecDeque<Entry>,
    bytes: usize,
    /// The offset of the newest packet that was ever here.
    pub last: u64,
}

impl Log {
    /// Keeps what was sent under the next offset.
    pub fn keep(&mut self, target: Target, messages: Vec<Encoded>, now: Instant, config: &Config) {
        let bytes = OVERHEAD + messages.iter().map(|message| message.data().len()).sum::<usize>();
        self.kept.push_back(Entry { at: now, bytes, target, messages });
        self.bytes += bytes;
        self.last += 1;
        while let Some(oldest) = self.kept.front()
            && (self.kept.len() > config.recovery_packets
                || self.bytes > config.recovery_bytes
                || oldest.at + config.recovery_time < now)
        {
            self.bytes -= oldest.bytes;
            self.kept.pop_front();
        }
    }

    /// What the socket has not had since `offset`, in order; `None` if some is no longer here, or the offset never was.
    pub fn since(&self, offset: u64, key: SocketKey, socket: &Socket) -> Option<impl Iterator<Item = &Encoded>> {
        let missed = usize::try_from(self.last.checked_sub(offset)?).ok()?;
        let missed = if socket.latest.get() <= offset { 0 } else { missed };
        let first = self.kept.len().checked_sub(missed)?;
        let missed = self.kept.range(first..).filter(move |kept| kept.target.has(key, socket));
        Some(missed.flat_map(|kept| &kept.messages))
    }

    /// Forgets all packets, when nobody is left who could ask for them.
    pub fn clear(&mut self) {
        *self = Log { last: self.last, ..Log::default() };
    }
}
