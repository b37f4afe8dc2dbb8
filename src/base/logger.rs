//! Log lines on standard error, and a rate limit for lines that clients could cause in large numbers.

use log::{Level, LevelFilter, Log, Metadata, Record};
use std::fmt::Arguments;
use std::io::{self, Write};
use std::mem;
use std::time::{Duration, Instant, SystemTime};

/// Minimum time between two lines of a [`RateLimitedLog`].
const LOG_INTERVAL: Duration = Duration::from_secs(10);

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata) -> bool {
        // tungstenite logs every frame at `trace`, so only warnings and errors of dependencies are shown.
        metadata.target().starts_with("salon") || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let time = humantime::format_rfc3339_seconds(SystemTime::now());
            let line = format!("{time} {:5} {}\n", record.level(), record.args());
            // A failure to write to standard error cannot be reported anywhere.
            let _ = io::stderr().lock().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// Installs the logger, which drops lines less severe than `level`. Only the first call has an effect.
pub fn start(level: LevelFilter) {
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(level);
    }
}

/// A log that writes at most one line in ten seconds and counts the lines that it suppresses.
#[derive(Default)]
pub struct RateLimitedLog {
    last: Option<Instant>,
    suppressed: u64,
}

impl RateLimitedLog {
    /// Logs `line` with the number of lines suppressed before it, unless a line was logged less than ten seconds ago.
    pub fn warn(&mut self, now: Instant, line: Arguments) {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < LOG_INTERVAL) {
            self.suppressed += 1;
            return;
        }
        self.last = Some(now);
        log::warn!("{line} ({} suppressed)", mem::take(&mut self.suppressed));
    }
}
