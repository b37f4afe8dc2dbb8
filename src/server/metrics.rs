//! The answer to GET /metrics. Part of `server`.

use super::Server;
use crate::base::metrics::{self, Metrics};
use crate::engineio::{CloseReason, Refusal};
use crate::socketio::App;
use std::iter;

impl<A: App> Server<A> {
    pub(super) fn metrics(&mut self) -> String {
        let mut metrics = Metrics::default();
        let queued = self.net.queued() + self.io.engine.out.pool.bytes();
        metrics.gauge("queued_bytes", "Bytes that clients have not taken yet, on either transport.", queued);
        metrics.gauge("uptime_seconds", "Since the start.", (self.now - self.start).as_secs_f64());
        let sessions = iter::zip(["polling", "websocket"], self.io.engine.transports());
        metrics.family("sessions", "gauge", "Engine.IO sessions.", "transport", sessions);
        let sockets = iter::zip(["connected", "held"], self.io.sockets());
        let help = "Sockets, and those kept for clients that may come back.";
        metrics.family("sockets", "gauge", help, "state", sockets);
        self.net.metrics(&mut metrics);
        let budget = &self.io.engine.budget;
        metrics.gauge("websockets", "Open WebSockets.", budget.used);
        if let Some(limit) = budget.limit {
            metrics.gauge("websockets_limit", "WebSockets that --max-websockets allows.", limit);
            let help = "Upgrades that were offered and may still come.";
            metrics.gauge("websockets_promised", help, budget.promised());
            metrics.counter("websockets_refused_total", "WebSockets beyond --max-websockets.", budget.refused);
        }
        let counters = &self.io.engine.out.counters;
        metrics.counter("messages_received_total", "Messages of clients.", counters.received);
        metrics.counter("messages_sent_total", "Messages to clients, each recipient counted.", counters.sent);
        let ended = iter::zip(CloseReason::TABLE.map(|(name, _)| name), counters.ended);
        metrics.family("sessions_ended_total", "counter", "Sessions that have ended.", "reason", ended);
        let refused = iter::zip(Refusal::TABLE.map(|(name, _)| name), counters.refused);
        metrics.family(
            "requests_refused_total",
            "counter",
            "Requests of Engine.IO that were refused.",
            "kind",
            refused,
        );
        let turns = iter::zip(["bytes", "timer"], self.turns);
        metrics.family("turns_total", "counter", "Turns of the loop.", "cause", turns);
        metrics.gauge("lag_seconds_max", "The longest that a timer was late.", self.lag.as_secs_f64());
        if let Some(bytes) = metrics::resident() {
            metrics.gauge("resident_bytes", "Resident memory.", bytes);
        }
        self.io.engine.out.limits.metrics(&mut metrics);
        metrics.gauge("timers", "Timers that run.", self.net.timers() + self.io.timers());
        #[cfg(feature = "redis")]
        self.links.metrics(&mut metrics);
        self.app.metrics(&mut metrics);
        metrics.text()
    }
}
