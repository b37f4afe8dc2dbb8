//! The rules that must hold between two turns, as far as `engineio` can break them; part of it in builds with
//! debug assertions.

use super::*;

impl Engine {
    /// Panics where a rule is broken that must hold between two turns. For tests.
    pub fn check(&self) {
        assert!(self.out.events.is_empty() && self.out.outputs.is_empty(), "the turn is not settled");
        assert_eq!(self.sids.len(), self.sessions.len());
        assert_eq!(self.timers.len(), self.sessions.len(), "every session has its heartbeat");
        let mut entries = 0;
        for (id, session) in self.sessions.iter() {
            assert_eq!(self.sids.get(&session.sid), Some(&id), "R1");
            assert!(session.timer.at() <= Some(session.due()), "the timer of {id:?} is late");
            entries += session.check(&self.out.pool, &self.config);
        }
        assert_eq!(entries, self.out.pool.len(), "a queued packet has no owner");
    }
}
