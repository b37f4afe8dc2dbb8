//! Who types, or has typed a short while ago. Part of `chat`.
//!
//! `typing` and `stop typing` are not kept for recovery: thousands of them would push out the messages that a client has
//! missed. A client that is recovered may have missed a `stop typing`, so it is told who has stopped.

use crate::base::slab::SocketKey;
use crate::socketio::{Io, To};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Maximum number of users whose typing is known; the typing of further ones is passed on, but a client that is recovered may
/// show it until its own time-out.
const MAX_TYPISTS: usize = 1_000;
/// Maximum bytes of the argument of `typing`, by which a user is known.
const MAX_NOTE: usize = 1024;

struct Typist {
    /// The time of the last `typing` or `stop typing`.
    at: Instant,
    is_typing: bool,
}

/// The users by the argument of their `typing`, which is also that of their `stop typing`.
#[derive(Default)]
pub(super) struct Typists(HashMap<Box<[u8]>, Typist>);

impl Typists {
    /// Sends `typing` or `stop typing`, and notes it. Users of whom nothing was heard for longer than `time` are forgotten.
    pub fn tell(&mut self, cx: &mut Io, to: &To, event: &str, note: &impl Serialize, time: Duration) {
        let note = cx.broadcast(&To { transient: true, ..*to }, event, note, &[]);
        let (at, is_typing) = (cx.engine.now, event == "typing");
        if let Some(typist) = self.0.get_mut(&*note) {
            *typist = Typist { at, is_typing };
        } else if is_typing && note.len() <= MAX_NOTE {
            if self.0.len() >= MAX_TYPISTS {
                self.0.retain(|_, typist| typist.at + time > at);
            }
            if self.0.len() < MAX_TYPISTS {
                self.0.insert(note[..].into(), Typist { at, is_typing });
            }
        }
    }

    /// Sends `stop typing` of the users who have stopped in the last `time`, which the socket may have missed.
    pub fn recover(&self, cx: &mut Io, socket: SocketKey, time: Duration) {
        for (note, typist) in &self.0 {
            if !typist.is_typing
                && typist.at + time > cx.engine.now
                && let Ok(note) = serde_json::from_slice::<&RawValue>(note)
            {
                cx.emit_transient(socket, "stop typing", &(note,));
            }
        }
    }
}
