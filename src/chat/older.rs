//! Pages of the history for clients that scroll up: what was said before a place in the order of times. Part of `history`.

use super::history::{Answer, History, KEPT, MAX_ANSWER, Moment};
use std::borrow::Cow;

impl History {
    /// Adds the newest messages that were said before a moment to an answer: at most `last`, oldest first. If no message has
    /// the id, all of its time are among them: a client knows those that it has.
    pub(super) fn answer_before<'a>(&'a self, before: &Moment, last: usize, answer: &mut Answer<'a>) {
        let is_it = |json| serde_json::from_slice(json).is_ok_and(|moment: Moment| moment == *before);
        let mut same_time = self.by_time.range((before.time, 0)..=(before.time, u64::MAX));
        let place = same_time.find(|(_, n)| self.message(*n).is_some_and(|(json, _)| is_it(json)));
        let mut room = MAX_ANSWER;
        for (_, n) in self.by_time.range(..place.copied().unwrap_or((before.time, u64::MAX))).rev() {
            let Some((json, _)) = self.message(*n) else { continue };
            answer.more = answer.messages.len() >= last || json.len() > room && !answer.messages.is_empty();
            if answer.more {
                break;
            }
            room = room.saturating_sub(json.len());
            answer.messages.push(Cow::Borrowed(serde_json::from_slice(json).expect(KEPT)));
        }
        answer.messages.reverse();
    }
}
