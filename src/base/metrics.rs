//! What the server tells of itself, in the text format that Prometheus reads (version 0.0.4).

use std::fmt::Display;
use std::fs;

/// The type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text, as far as it is written.
#[derive(Default)]
pub struct Metrics(String);

impl Metrics {
    /// A value that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help, "", [("", value)]);
    }

    /// A value that only grows.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help, "", [("", value)]);
    }

    /// Values of one name that differ by what a label says.
    pub fn family<'a>(
        &mut self, name: &str, kind: &str, help: &str, label: &str,
        samples: impl IntoIterator<Item = (&'a str, impl Display)>,
    ) {
        self.0 += &format!("# HELP salon_{name} {help}\n# TYPE salon_{name} {kind}\n");
        for (which, value) in samples {
            let braces = if label.is_empty() { String::new() } else { format!("{{{label}=\"{which}\"}}") };
            self.0 += &format!("salon_{name}{braces} {value}\n");
        }
    }

    /// All of it.
    pub fn text(self) -> String {
        self.0
    }
}

/// Resident memory of this process in bytes; `None` where the system does not show it as Linux does.
pub fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}
