//! Runs the tests, server by server in turn, and writes the table.

use crate::plot::{self, Line};
use crate::process::{Spec, cores, pin};
use crate::rows::{Goal, Lab, ROWS, Row, SCALE, TESTS};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

pub struct Plan {
    pub servers: Vec<Spec>,
    pub tries: usize,
    pub quick: bool,
    pub only: Vec<String>,
}

/// The figures of one row and one server, a try each (`NaN` where a try failed).
type Figures = BTreeMap<(&'static str, usize), Vec<f64>>;

#[derive(Default)]
struct Results {
    figures: Figures,
    /// (row or test, server) -> what went wrong.
    faults: BTreeMap<(String, usize), String>,
}

/// The middle of sorted values.
pub fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[half],
        _ => (sorted[half - 1] + sorted[half]) / 2.0,
    }
}

/// What came of a run.
pub struct Report {
    /// Markdown.
    pub table: String,
    /// How cost grows, if that was measured.
    pub plot: Option<String>,
    /// Nothing was lost, nothing went wrong.
    pub whole: bool,
}

pub fn run(plan: &Plan) -> Result<Report, String> {
    let cores = cores();
    if let Some((_, generator)) = cores {
        pin(generator)?;
    }
    let descriptors = raise_limit()?;
    let mut results = Results::default();
    for test in TESTS {
        if !plan.only.is_empty() && !plan.only.iter().any(|only| test.name.contains(only.as_str())) {
            continue;
        }
        if descriptors < test.descriptors && !plan.quick {
            let why = format!("left out: needs {} descriptors, `ulimit -n` is {descriptors}", test.descriptors);
            eprintln!("{}: {why}", test.name);
            results.faults.insert((test.name.into(), usize::MAX), why);
            continue;
        }
        for attempt in 0..plan.tries.min(test.tries) {
            for (index, spec) in plan.servers.iter().enumerate() {
                if spec.name.starts_with("limit") && !test.floors.contains(&spec.name.as_str()) {
                    continue;
                }
                eprint!("{} {}/{}: {} ", test.name, attempt + 1, plan.tries.min(test.tries), spec.name);
                let outcome = (test.run)(&Lab { spec, cores, quick: plan.quick }).unwrap_or_else(|why| {
                    results.faults.insert((test.name.into(), index), why.clone());
                    eprint!("FAILED: {why}");
                    Default::default()
                });
                for (key, value) in &outcome.figures {
                    eprint!(" {key} {value:.3}");
                    let tries = results.figures.entry((key, index)).or_default();
                    tries.resize(attempt, f64::NAN);
                    tries.push(*value);
                }
                for fault in &outcome.faults {
                    eprint!(" ! {fault}");
                    for (key, _) in &outcome.figures {
                        results.faults.insert((key.to_string(), index), fault.clone());
                    }
                }
                eprintln!();
            }
        }
    }
    Ok(Report { table: table(plan, cores, &results), plot: plot(plan, &results), whole: results.faults.is_empty() })
}

fn plot(plan: &Plan, results: &Results) -> Option<String> {
    let lines = |pick: fn(&(usize, &'static str, &'static str)) -> &'static str| {
        let line = |(index, spec): (usize, &Spec)| {
            let figure = |row| results.figures.get(&(row, index)).map(|tries| middle(&sorted(tries)));
            let points: Vec<(usize, f64)> = SCALE.iter().filter_map(|row| Some((row.0, figure(pick(row))?))).collect();
            (!points.is_empty()).then(|| Line { name: spec.name.clone(), points })
        };
        plan.servers.iter().enumerate().filter_map(line).collect::<Vec<Line>>()
    };
    let panels = [
        ("CPU time per delivery, us, by sessions", lines(|row| row.1)),
        ("Resident bytes per idle session, by sessions", lines(|row| row.2)),
    ];
    (!panels[0].1.is_empty()).then(|| plot::svg(&panels))
}

/// The descriptors that this process, and each that it starts, may open.
fn raise_limit() -> Result<u64, String> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| format!("ulimit: {error}"))?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(|error| format!("ulimit: {error}"))?;
    Ok(hard)
}

fn table(plan: &Plan, cores: Option<(usize, usize)>, results: &Results) -> String {
    let mut out = machine(plan, cores);
    let names: Vec<&str> = plan.servers.iter().map(|spec| spec.name.as_str()).collect();
    let _ = writeln!(out, "\n| figure | {} | salon is to reach | |", names.join(" | "));
    let _ = writeln!(out, "|---|{}---|---|", "---:|".repeat(names.len()));
    for row in ROWS {
        if (0..names.len()).any(|index| results.figures.contains_key(&(row.key, index))) {
            let cells: Vec<String> = (0..names.len()).map(|index| cell(row, index, results)).collect();
            let (goal, reached) = verdict(row, &names, results);
            let _ = writeln!(out, "| {} | {} | {goal} | {reached} |", row.title, cells.join(" | "));
        }
    }
    if !results.faults.is_empty() {
        let _ = writeln!(out, "\n`!`: the row does not count for this server.\n");
    }
    for ((key, index), fault) in &results.faults {
        let name = names.get(*index).copied().unwrap_or("all");
        let _ = writeln!(out, "- {key}, {name}: {fault}");
    }
    out
}

fn machine(plan: &Plan, cores: Option<(usize, usize)>) -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("").trim_matches([' ', '\t', ':']);
    let load = read("/proc/loadavg");
    let pinned = match cores {
        Some((server, generator)) => format!("server pinned to core {server}, generator to core {generator}"),
        None => "**server and generator on one core: CPU figures hold, latencies do not**".into(),
    };
    let quick = if plan.quick { " **Quick run: the figures mean nothing.**" } else { "" };
    format!(
        "{model}, Linux {}, {} tries (median, from the least to the greatest), {pinned}, a fresh server process per test. \
         Load at the end {} (2 is this bench).{quick}\n",
        read("/proc/sys/kernel/osrelease").trim(),
        plan.tries,
        load.split(' ').next().unwrap_or("?"),
    )
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn cell(row: &Row, index: usize, results: &Results) -> String {
    let Some(tries) = results.figures.get(&(row.key, index)) else { return String::new() };
    let (values, digits) = (sorted(tries), row.decimals);
    let fault = if results.faults.contains_key(&(row.key.into(), index)) { " !" } else { "" };
    match values[..] {
        [] => "-".into(),
        [one] => format!("{one:.digits$}{fault}"),
        [least, .., greatest] => {
            format!("{:.digits$} ({least:.digits$} - {greatest:.digits$}){fault}", middle(&values))
        }
    }
}

/// The goal in words, and whether the column `salon` reaches it. Ratios are taken try by try: their median forgives a
/// machine that was slower for a while.
fn verdict(row: &Row, names: &[&str], results: &Results) -> (String, String) {
    let figures = |name: &str| {
        let index = names.iter().position(|&known| known == name)?;
        results.figures.get(&(row.key, index))
    };
    let salon = figures("salon").map(|tries| sorted(tries)).filter(|values| !values.is_empty());
    let faulty = names
        .iter()
        .position(|&name| name == "salon")
        .is_some_and(|index| results.faults.contains_key(&(row.key.to_string(), index)));
    let say = |reached: bool, figure: String| match (faulty, reached) {
        (true, _) => "**no: !**".to_string(),
        (_, true) => format!("yes{figure}"),
        (_, false) => format!("**no**{figure}"),
    };
    match (&row.goal, salon) {
        (Goal::None, _) => Default::default(),
        (Goal::AtMost(most), salon) => {
            let reached = salon.map_or(String::new(), |values| say(middle(&values) <= *most, String::new()));
            (format!("{most}"), reached)
        }
        (Goal::Times(most, other), salon) => {
            let ratios = salon.and(figures("salon").zip(figures(other))).map(|(own, other)| {
                sorted(&own.iter().zip(other).map(|(own, other)| own / other).collect::<Vec<f64>>())
            });
            let reached = ratios
                .filter(|ratios| !ratios.is_empty())
                .map_or(String::new(), |ratios| say(middle(&ratios) <= *most, format!(", {:.2} x", middle(&ratios))));
            (format!("{most} x {other}"), reached)
        }
    }
}
