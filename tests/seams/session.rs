//! Invariants of one session between two turns, in builds with debug assertions.

use super::*;
use crate::base::queue::Pool;
use crate::config::Config;

impl Session {
    /// Panics if an invariant is broken; returns the number of queued packets.
    pub fn check(&self, pool: &Pool, config: &Config) -> usize {
        let parked = self.poll.is_some();
        assert!(!parked || self.queue.is_empty(), "a GET is parked although packets are queued");
        assert!(!parked || !self.is_closed(), "a GET is parked at a closed session");
        assert!(self.websocket.is_none() || !parked && self.probe.is_none(), "it polls although it has a WebSocket");
        assert!(self.queue.held() <= config.max_queue + 65, "R7: the queue of a session");
        pool.iter(&self.queue).count()
    }

    /// Whether `Opened` was raised and `Closed` was not; plain sessions do not count.
    pub fn is_open(&self) -> bool {
        !self.is_closed() && self.phase != Phase::Opening && !self.client.plain
    }

    /// The connections of the GET, the POST, and the WebSocket or probe.
    pub fn connections(&self) -> [Option<ConnId>; 3] {
        let websocket = self.websocket.or(self.probe.as_ref().map(|probe| probe.conn));
        [self.poll.map(|poll| poll.conn), self.post, websocket]
    }
}
