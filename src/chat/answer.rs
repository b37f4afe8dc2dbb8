//! Requests for kept messages, of clients and other nodes, and the answers. Part of `chat`.

use super::history::{Entry, History};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Maximum bytes of messages in one answer, far below the default of `max_queue`. A message that is longer is sent alone.
const MAX_ANSWER: usize = 256 * 1024;
const KEPT: &str = "kept messages are JSON";

/// A request for kept messages: those after `since` if it is set, else the newest `last` ones, of those said earlier than
/// `before`, if these are set, else all. In a request of another node, `age` is the maximum time since their arrival here, in
/// milliseconds.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryRequest {
    pub since: Option<Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Moment>,
    pub last: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<u64>,
}

/// A place in the history with the id `boot`: right after the message with the number `n`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Position {
    pub boot: String,
    pub n: u64,
}

/// The place of a message in the order in which messages were said.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    pub time: u64,
    pub id: String,
}

/// The answer to a [`HistoryRequest`]: kept messages, oldest first.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer<'a> {
    #[serde(borrow)]
    pub boot: Cow<'a, str>,
    /// The highest number that this history has given out or skipped.
    pub n: u64,
    #[serde(borrow)]
    pub messages: Vec<Cow<'a, RawValue>>,
    /// Whether messages may be missing between the requested position and the first of `messages`.
    pub gap: bool,
    /// Whether the history has messages that are newer than the last of `messages`; of a request with `before`, older ones.
    pub more: bool,
}

impl History {
    /// Returns the messages that were said before a moment, newest first. If no message has the id, all of its time are among
    /// them: a client knows those that it has.
    fn before(&self, moment: &Moment) -> impl Iterator<Item = &Entry> {
        let is_it = |entry: &Entry| serde_json::from_slice(&entry.json).is_ok_and(|other: Moment| other == *moment);
        let mut same_time = self.by_time.range((moment.time, 0)..=(moment.time, u64::MAX));
        let place = same_time.find(|(_, n)| self.entry(*n).is_some_and(is_it));
        let earlier = self.by_time.range(..place.copied().unwrap_or((moment.time, u64::MAX)));
        earlier.rev().filter_map(|(_, n)| self.entry(*n))
    }

    /// Returns the answer to a request of another node, at the time `node_at` in milliseconds since 1970, or else of a client.
    /// A position with another `boot` or above the last number is ignored and sets `gap`.
    pub fn answer(&self, request: &HistoryRequest, node_at: Option<u64>) -> Answer<'_> {
        let known = request.since.as_ref().filter(|since| since.boot == self.boot && since.n <= self.last);
        let oldest = node_at.zip(request.age).map(|(at, age)| at.saturating_sub(age));
        let page = request.before.as_ref().filter(|_| request.since.is_none());
        let most = page.and(request.last).unwrap_or(usize::MAX);
        let first = match (known, request.last, oldest) {
            _ if page.is_some() => self.messages.len(),
            (Some(since), ..) => self.messages.partition_point(|message| message.n <= since.n),
            (None, Some(last), _) => self.messages.len().saturating_sub(last),
            (None, None, Some(oldest)) => {
                self.messages.iter().position(|message| message.arrived >= oldest).unwrap_or(self.messages.len())
            }
            (None, None, None) => 0,
        };
        let mut answer = Answer {
            boot: self.boot.as_str().into(),
            n: self.last,
            messages: Vec::new(),
            gap: request.since.is_some() && known.is_none_or(|since| since.n < self.dropped || self.is_lost(since.n)),
            more: false,
        };
        let older = page.into_iter().flat_map(|moment| self.before(moment));
        let mut room = MAX_ANSWER;
        for message in older.chain(self.messages.range(first..)) {
            let size = message.json.len();
            answer.more = answer.messages.len() >= most || size > room && !answer.messages.is_empty();
            if answer.more {
                break;
            }
            room = room.saturating_sub(size);
            answer.messages.push(match (node_at, &message.owner) {
                (Some(_), Some(_)) => Cow::Owned(serde_json::from_slice(&message.line()).expect(KEPT)),
                _ => Cow::Borrowed(serde_json::from_slice(&message.json).expect(KEPT)),
            });
        }
        if page.is_some() {
            answer.messages.reverse();
        }
        answer
    }
}
