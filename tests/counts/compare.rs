//! Runs the scenarios under callgrind and compares the counts with counts.txt, or writes that.
//!
//! `counts`: compares; `counts write`: writes; `counts run NAME`: runs one scenario, under valgrind.

use crate::scenarios::SCENARIOS;
use std::env::{self, consts::ARCH};
use std::fs;
use std::process::{Command, ExitCode};

const FILE: &str = "tests/counts/counts.txt";
/// How much a count may grow, in per cent.
const TOLERANCE: f64 = 5.0;

pub fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(),
        ["write"] => write(),
        ["run", name] => {
            let found = SCENARIOS.iter().find(|(known, _)| *known == name);
            found.map(|(_, run)| run()).ok_or(format!("no scenario {name}"))
        }
        _ => Err("usage: counts [write | run NAME]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("counts: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the counts depend on: the first line of the file.
fn compiler() -> Result<String, String> {
    let output = Command::new("rustc").arg("--version").output().map_err(|error| format!("rustc: {error}"))?;
    Ok(format!("{} on {ARCH}", String::from_utf8_lossy(&output.stdout).trim()))
}

/// The instructions of one scenario. It runs in a process of its own, so that none depends on those before.
fn count(name: &str) -> Result<u64, String> {
    let own = env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=*counted_turn*"])
        .arg(own)
        .args(["run", name])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    collected.filter(|count| *count > 0 && output.status.success()).ok_or(format!("{name} was not counted:\n{text}"))
}

fn write() -> Result<(), String> {
    let mut text = format!("{}\n", compiler()?);
    for (name, _) in SCENARIOS {
        text += &format!("{name} {}\n", count(name)?);
    }
    print!("{text}");
    fs::write(FILE, text).map_err(|error| format!("{FILE}: {error}"))
}

fn compare() -> Result<(), String> {
    let text = fs::read_to_string(FILE).map_err(|error| format!("{FILE}: {error}"))?;
    let (head, lines) = text.split_once('\n').unwrap_or_default();
    let compiler = compiler()?;
    if head != compiler {
        println!("counts: not compared, for they are of {head}, and this is {compiler}");
        return Ok(());
    }
    let mut grown = Vec::new();
    for (name, _) in SCENARIOS {
        let known = lines.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        let known = known.ok_or(format!("{FILE} does not know {name}: make counts"))?;
        let count = count(name)?;
        let percent = (count as f64 / known as f64 - 1.0) * 100.0;
        println!("counts: {name}: {count} ({percent:+.2} %)");
        if percent > TOLERANCE {
            grown.push(*name);
        }
    }
    if grown.is_empty() {
        return Ok(());
    }
    Err(format!("more than {TOLERANCE} % more instructions: {}; if that is meant: make counts", grown.join(", ")))
}
