//! The rules that must hold between two turns, as far as `engineio::session` can break them; part of it in builds with
//! debug assertions.

use super::*;

impl Session {
    /// Panics where a rule is broken; returns the length of the queue. For tests.
    pub fn check(&self, pool: &Pool, config: &Config) -> usize {
        let parked = matches!(self.carrier, Carrier::Polling { poll: Some(_), .. });
        assert!(!parked || self.queue.is_empty(), "a GET is parked although there is something to carry");
        assert!(!parked || !self.ended, "a GET is parked at a session that has ended");
        assert!(self.queue.bytes() <= config.max_queue + 1, "R7: the queue of a session");
        pool.iter(&self.queue).count()
    }
}
