//! The account of all bytes held for peers (rule R7), and what happens above its limit. Part of `server`.
//!
//! | the account is above | then |
//! |---|---|
//! | `max_held` | new sessions get 503, and connections that hold more than [`SMALL`] are not read |
//! | `max_held` and a sixteenth | the sessions and connections that hold most are dropped until it is below |

use super::Server;
use super::protocol::Protocol;
use crate::base::held::{self, ENTRY};
use crate::base::limits::Limit;
use crate::base::slab::{ConnId, SessionId};
use crate::engineio::CloseReason;
use crate::socketio::App;
use std::mem;

/// Bytes that a connection may hold and still be read above the limit: an ordinary message must not wait for it.
const SMALL: usize = 16 * 1024;

/// Who holds bytes, and can be dropped.
enum Holder {
    Connection(ConnId),
    Session(SessionId),
}

impl<A: App> Server<A> {
    /// Returns the bytes held for peers, by kind: see `held_bytes` in the metrics.
    pub(super) fn held(&self) -> [(&'static str, usize); 4] {
        let entries = self.net.pool.len + self.io.engine.out.pool.len;
        [
            ("buffers", held::shared()),
            ("entries", entries * ENTRY),
            ("input", self.net.held),
            ("recovery", self.io.kept_overhead()),
        ]
    }

    fn total(&self) -> usize {
        self.held().iter().map(|(_, bytes)| bytes).sum()
    }

    /// Whether the account is above its limit.
    pub(super) fn is_over_limit(&self) -> bool {
        self.total() > self.config.max_held
    }

    /// Whether a connection waits until the account is below its limit, because it is one of those that hold much.
    pub(super) fn waits_for_account(&self, id: ConnId) -> bool {
        let holds = self.net.get(id).map_or(0, |connection| connection.holds());
        holds > SMALL && self.is_over_limit()
    }

    /// Drops those who hold most while the account is too far above its limit. Called after each connection that was read.
    pub(super) fn shed(&mut self) {
        let limit = self.config.max_held + self.config.max_held / 16;
        let mut excess = self.total().saturating_sub(limit);
        if excess == 0 {
            return;
        }
        let is_client = |(_, id): &(usize, ConnId)| {
            let protocol = self.net.get(*id).map(|connection| &connection.protocol);
            matches!(protocol, Some(Protocol::Http { .. } | Protocol::WebSocket { .. }))
        };
        let connections = self.net.holders().filter(is_client).map(|(holds, id)| (holds, Holder::Connection(id)));
        let sessions = self.io.holders().map(|(holds, id)| (holds, Holder::Session(id)));
        let mut holders: Vec<_> = connections.chain(sessions).filter(|(holds, _)| *holds > 0).collect();
        holders.sort_unstable_by_key(|(holds, _)| *holds);
        while excess > 0
            && let Some((holds, holder)) = holders.pop()
        {
            match holder {
                Holder::Connection(id) => self.net.shed(id),
                Holder::Session(id) => {
                    self.io.engine.hit(Limit::Holder, id);
                    self.io.engine.close(id, CloseReason::Evicted);
                }
            }
            excess = excess.saturating_sub(holds);
        }
        self.pump();
    }

    /// Puts the connections that have waited for the account on the unread list, when it is below its limit again.
    pub(super) fn resume_reading(&mut self) {
        if !self.waiting.is_empty() && !self.is_over_limit() {
            mem::take(&mut self.waiting).into_iter().for_each(|id| self.net.remember_unread(id));
        }
    }
}
