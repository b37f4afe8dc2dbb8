//! The rules that must hold between two turns, as far as `engineio::session` can break them; part of it in builds with
//! debug assertions.

use super::*;

impl Session {
    /// Panics where a rule is broken; returns the length of the queue. For tests.
    pub fn check(&self, pool: &Pool, config: &Config) -> usize {
        let parked = self.poll.is_some();
        assert!(!parked || self.queue.is_empty(), "a GET is parked although there is something to carry");
        assert!(!parked || !self.is_closed(), "a GET is parked at a session that has ended");
        assert!(!self.websocket.is_some() || !parked && self.probe.is_none(), "it polls although it has a WebSocket");
        assert!(self.queue.bytes <= config.max_queue + 1, "R7: the queue of a session");
        pool.iter(&self.queue).count()
    }

    /// Whether those above know of it, and not yet of its end.
    pub fn is_open(&self) -> bool {
        !self.is_closed() && self.phase != Phase::Opening && !self.client.plain
    }

    /// The connections of its GET, its POST and its WebSocket (or what may become that).
    pub fn connections(&self) -> [Option<ConnId>; 3] {
        let websocket = self.websocket.or(self.probe.as_ref().map(|probe| probe.conn));
        [self.poll.map(|poll| poll.conn), self.post, websocket]
    }
}
