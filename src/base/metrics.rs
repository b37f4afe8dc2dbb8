//! The text format of Prometheus (version 0.0.4), for the response to GET /metrics. All metric names begin with `salon_`.

use std::fmt::Display;
use std::fs;

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The Prometheus type of a value that goes up and down.
pub const GAUGE: &str = "gauge";
/// The Prometheus type of a value that only grows.
pub const COUNTER: &str = "counter";

/// A metric without labels: name (without `salon_`), type, help text and value.
pub type Row<'a> = (&'a str, &'a str, &'a str, &'a dyn Display);

/// The body of the response, as far as it is written.
#[derive(Default)]
pub struct Metrics(pub String);

impl Metrics {
    pub fn rows(&mut self, rows: &[Row]) {
        for (name, kind, help, value) in rows {
            self.head(name, kind, help);
            self.0 += &format!("salon_{name} {value}\n");
        }
    }

    /// Writes one metric with several samples. A sample is a value of `label` and the number measured for that label value.
    pub fn family<'a>(
        &mut self, name: &str, kind: &str, help: &str, label: &str,
        samples: impl IntoIterator<Item = (&'a str, impl Display)>,
    ) {
        self.head(name, kind, help);
        for (case, value) in samples {
            self.0 += &format!("salon_{name}{{{label}=\"{case}\"}} {value}\n");
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.0 += &format!("# HELP salon_{name} {help}\n# TYPE salon_{name} {kind}\n");
    }
}

/// Returns the resident memory of this process in bytes, or `None` on systems without Linux's /proc.
pub fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}
