//! The answer to GET /metrics, collected from all parts of the server.

use super::Server;
use crate::base::logger;
use crate::base::metrics::{COUNTER, GAUGE, Metrics, resident};
use crate::engineio::{CloseReason, Refusal};
use crate::socketio::App;
use std::iter::zip;
use std::sync::atomic::Ordering::Relaxed;

impl<A: App> Server<A> {
    pub(super) fn metrics(&mut self) -> String {
        let mut metrics = Metrics::default();
        let engine = &self.io.engine;
        let (out, budget) = (&engine.out, &engine.budget);
        let queued = self.net.queued() + engine.queues().map(|(bytes, _)| bytes).sum::<usize>();
        metrics.rows(&[
            ("queued_bytes", GAUGE, "Bytes queued for clients, and 64 for each entry of a queue.", &queued),
            ("uptime_seconds", GAUGE, "Time since the start.", &(self.now - self.start).as_secs_f64()),
            ("websockets", GAUGE, "Open WebSockets.", &budget.used),
            ("messages_received_total", COUNTER, "Messages from clients.", &out.received),
            ("messages_sent_total", COUNTER, "Messages to clients, counted once per recipient.", &out.sent),
            ("lag_seconds_max", GAUGE, "The longest delay of a timer so far.", &self.lag.as_secs_f64()),
            ("log_lines_dropped_total", COUNTER, "Log lines not written.", &logger::DROPPED.load(Relaxed)),
            ("timers", GAUGE, "Running timers.", &(self.net.timers() + self.io.timers())),
        ]);
        if let Some(limit) = budget.limit {
            let promised = budget.offers.values().filter(|until| **until > self.now).count();
            metrics.rows(&[
                ("websockets_limit", GAUGE, "WebSockets that --max-websockets allows.", &limit),
                ("websockets_promised", GAUGE, "Upgrades offered to clients and not yet made.", &promised),
                ("websockets_refused_total", COUNTER, "WebSockets refused by --max-websockets.", &budget.refused),
            ]);
        }
        if let Some(bytes) = resident() {
            metrics.rows(&[("resident_bytes", GAUGE, "Resident memory.", &bytes)]);
        }
        let help = "Bytes held for clients and other servers; shared buffers count once.";
        metrics.family("held_bytes", GAUGE, help, "kind", self.held());
        let sessions = zip(["polling", "websocket"], engine.transports());
        metrics.family("sessions", GAUGE, "Engine.IO sessions.", "transport", sessions);
        let help = "Sockets, connected or held for connection state recovery.";
        metrics.family("sockets", GAUGE, help, "state", zip(["connected", "held"], self.io.sockets()));
        let ended = CloseReason::TABLE.iter().map(|(label, _)| *label).zip(out.closed);
        metrics.family("sessions_ended_total", COUNTER, "Sessions closed.", "reason", ended);
        let refused = Refusal::TABLE.iter().map(|(label, _)| *label).zip(out.refused);
        metrics.family("requests_refused_total", COUNTER, "Engine.IO requests refused.", "kind", refused);
        let turns = zip(["bytes", "timer"], self.turns);
        metrics.family("turns_total", COUNTER, "Turns of the event loop, by what woke it.", "cause", turns);
        out.limits.metrics(&mut metrics);
        self.net.metrics(&mut metrics);
        #[cfg(feature = "redis")]
        self.links.iter().for_each(|links| links.cluster.metrics(&mut metrics));
        self.app.metrics(&mut metrics);
        metrics.0
    }
}
