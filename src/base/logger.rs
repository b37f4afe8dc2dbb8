//! Log lines on standard error, and a rate limit for lines that clients could cause in large numbers.
//!
//! The event loop must not wait for whoever reads standard error. So a line is written only if standard error takes it at
//! once, and is dropped and counted otherwise. `O_NONBLOCK` is no solution: the flag would also affect other processes that
//! share standard error, such as the shell that started this one.

use crate::base::text::is_invisible;
use log::{Level, LevelFilter, Log, Metadata, Record};
#[cfg(unix)]
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fmt::Arguments;
use std::io::{self, Write};
use std::mem;
#[cfg(unix)]
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

/// Maximum bytes of a line without its note of dropped lines. poll(2) reports a pipe as writable if 4,096 fit (PIPE_BUF).
const MAX_LINE: usize = 4096 - 64;
/// Minimum time between two lines of a [`RateLimitedLog`].
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The number of lines dropped since the start, because standard error did not take them.
pub static DROPPED: AtomicU64 = AtomicU64::new(0);
/// The number of dropped lines that no later line has reported yet.
static UNTOLD: AtomicU64 = AtomicU64::new(0);

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata) -> bool {
        // tungstenite logs every frame at `trace`, so only warnings and errors of dependencies are shown.
        metadata.target().starts_with("salon") || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let shows = |c: char| c == ' ' || !is_invisible(c);
            let escape = |c: char| if shows(c) { c.to_string() } else { c.escape_default().to_string() };
            let text: String = record.args().to_string().chars().map(escape).collect();
            let mut line =
                format!("{} {:5} {text}", humantime::format_rfc3339_seconds(SystemTime::now()), record.level());
            line.truncate(line.floor_char_boundary(MAX_LINE));
            let untold = UNTOLD.swap(0, Relaxed);
            line += &if untold > 0 { format!(" ({untold} lines before it were dropped)\n") } else { "\n".to_owned() };
            if !is_writable() || io::stderr().lock().write_all(line.as_bytes()).is_err() {
                DROPPED.fetch_add(1, Relaxed);
                UNTOLD.fetch_add(untold + 1, Relaxed);
            }
        }
    }

    fn flush(&self) {}
}

/// Whether standard error takes a line without blocking. Only Unix can tell for every kind of file.
fn is_writable() -> bool {
    #[cfg(unix)]
    return poll(&mut [PollFd::new(io::stderr().as_fd(), PollFlags::POLLOUT)], PollTimeout::ZERO) == Ok(1);
    #[cfg(not(unix))]
    true
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
