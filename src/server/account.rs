//! The account of all bytes held for peers (rule R7), and what happens above its limit. Part of `server`.
//!
//! | the account is above | then |
//! |---|---|
//! | `max_held` | new sessions get 503, and connections that hold more than [`SMALL`] are not read |
//! | `max_held` by a sixteenth, or for [`PATIENCE`] | sessions and connections that hold most are dropped until it is not |

use super::Server;
use crate::base::held::{self, ENTRY};
use crate::base::limits::Limit;
use crate::base::slab::{ConnId, SessionId};
use crate::engineio::CloseReason;
use crate::socketio::App;
use std::mem;
use std::time::Duration;

/// Bytes that a connection may hold and still be read while the account is above its limit: ordinary messages must not wait.
const SMALL: usize = 16 * 1024;

/// Time above the limit after which the largest holders are dropped even if they stopped growing: others wait.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection or session that can be dropped because of the bytes that it holds.
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
            ("tables", self.io.tables().iter().sum()),
        ]
    }

    fn total(&self) -> usize {
        self.held().iter().map(|(_, bytes)| bytes).sum()
    }

    /// Whether the account is above its limit.
    pub(super) fn is_over_limit(&self) -> bool {
        self.total() > self.config.max_held
    }

    /// Whether a connection must not be read until the account is below its limit: the connection holds more than [`SMALL`].
    pub(super) fn waits_for_account(&self, id: ConnId) -> bool {
        if self.over_since.is_none() {
            return false;
        }
        let client = self.net.get(id).filter(|connection| connection.protocol.is_client());
        client.is_some_and(|connection| connection.holds() > SMALL) && self.is_over_limit()
    }

    /// Drops the largest holders if the account is too far or too long above its limit. Called after a connection is read.
    pub(super) fn shed(&mut self) {
        let (total, limit) = (self.total(), self.config.max_held);
        if total <= limit {
            self.over_since = None;
            return;
        }
        let since = *self.over_since.get_or_insert(self.now);
        let patient = self.now.saturating_duration_since(since) < PATIENCE;
        let mut excess = total.saturating_sub(if patient { limit + limit / 16 } else { limit });
        if excess == 0 {
            return;
        }
        let connections = self.net.connections.iter().filter(|(_, connection)| connection.protocol.is_client());
        let connections = connections.map(|(id, connection)| (connection.holds(), Holder::Connection(id)));
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

    /// Once the account is below its limit again, puts the connections that have waited for that on the unread list.
    pub(super) fn resume_reading(&mut self) {
        if !self.waiting.is_empty() && !self.is_over_limit() {
            mem::take(&mut self.waiting).into_iter().for_each(|id| self.net.remember_unread(id));
        }
    }
}
