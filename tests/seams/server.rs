//! The rules that must hold between two turns, as far as `server` can break them; part of it in builds with
//! debug assertions.

use super::*;

impl<A: App> Server<A> {
    /// What a scripted world needs: connections without sockets, what is left to do, and the rules.
    pub fn connect_pipe(&mut self) -> ConnId {
        let id = self.net.connect_pipe();
        self.net.set_phase(id, Some(self.now + self.config.head_timeout));
        id
    }

    /// The pipe of a connection, while it is there.
    pub fn pipe(&mut self, id: ConnId) -> Option<&mut crate::kernel::seam::Pipe> {
        self.net.pipe(id)
    }

    /// What was left to be done, for the next turn.
    pub fn left(&mut self) -> Vec<Wake> {
        let mut wakes = Vec::new();
        self.net.drain_events(&mut wakes);
        wakes
    }

    /// Panics where a rule is broken that must hold between two turns.
    pub fn check(&self) {
        self.net.check(|id| self.is_paused(id));
        self.engine.check();
        self.io.check();
        assert!(self.resume.is_empty(), "the turn is not settled");
    }

    /// The application.
    pub fn app(&mut self) -> &mut A {
        &mut self.app
    }
}
