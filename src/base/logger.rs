//! Log lines on standard error, and a brake for those that could be many.

use log::{Level, LevelFilter, Log, Metadata, Record};
use std::fmt::Arguments;
use std::io::{self, Write};
use std::time::{Duration, Instant, SystemTime};

/// One line of a kind in this time.
const QUIET_TIME: Duration = Duration::from_secs(10);

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata) -> bool {
        // The crates below tell of every frame at debug.
        metadata.target().starts_with("salon") || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let time = humantime::format_rfc3339_seconds(SystemTime::now());
            let line = format!("{time} {:5} {}\n", record.level(), record.args());
            // If nobody reads standard error, there is nobody to be told.
            let _ = io::stderr().lock().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// Starts logging; called once.
pub fn start(level: LevelFilter) {
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(level);
    }
}

/// Lets one line through in ten seconds and counts the others.
#[derive(Default)]
pub struct RateLimitedLog {
    last: Option<Instant>,
    suppressed: u64,
}

impl RateLimitedLog {
    /// Whether a line may be written now; if so, how many were suppressed since the last.
    pub fn allow(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < QUIET_TIME) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }

    /// Writes a warning if it may be written now.
    pub fn warn(&mut self, now: Instant, line: Arguments) {
        if let Some(more) = self.allow(now) {
            log::warn!("{line} ({more} more before)");
        }
    }
}
