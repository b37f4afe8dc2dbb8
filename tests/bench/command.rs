//! The command line.

use crate::process::Spec;
use crate::report::{self, Plan};
use lexopt::prelude::{Long, Value, ValueExt};
use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = "\
bench run [options]          measure salon and the floors, print a Markdown table
  --tries N                  median of N tries (default 5; the 30 s of idle sessions are tried at most twice)
  --only TEST                only the tests whose name contains this; may be given again
  --server NAME=COMMAND      one more server; it must listen on $HOST:$PORT ({port} in the command is replaced), take
                             the ping interval in ms from $SALON_PING_INTERVAL, and run the chat; may be given again
  --without NAME             leave out limit, limit-batch or salon; may be given again
  --note TEXT                a line to stand below the table, such as versions; may be given again
  --out FILE                 write the table there, too, and beside it (.svg) how cost grows
  --quick                    small and short: shows that all works, the figures mean nothing
bench floor                  the floor `limit`, on $HOST:$PORT
bench floor-batch            the floor `limit-batch`
";

pub fn main() -> ExitCode {
    match command() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::from(2)
        }
    }
}

fn say(error: lexopt::Error) -> String {
    error.to_string()
}

fn value(parser: &mut lexopt::Parser) -> Result<String, String> {
    parser.value().and_then(|value| value.string()).map_err(say)
}

fn command() -> Result<bool, String> {
    let mut parser = lexopt::Parser::from_env();
    let mut mode = String::new();
    let mut out = None;
    let mut extra = Vec::new();
    let mut without: Vec<String> = Vec::new();
    let mut notes = String::new();
    let mut plan = Plan { servers: Vec::new(), tries: 5, quick: false, only: Vec::new() };
    while let Some(argument) = parser.next().map_err(say)? {
        match argument {
            Value(word) if mode.is_empty() => mode = word.string().map_err(say)?,
            Long("tries") => {
                plan.tries = value(&mut parser)?.parse().ok().filter(|&n| n > 0).ok_or("--tries: a number above 0")?
            }
            Long("only") => plan.only.push(value(&mut parser)?),
            Long("server") => extra.push(spec(&value(&mut parser)?)?),
            Long("without") => without.push(value(&mut parser)?),
            Long("note") => notes += &format!("\n{}\n", value(&mut parser)?),
            Long("out") => out = Some(value(&mut parser)?),
            Long("quick") => plan.quick = true,
            Long("help") => {
                print!("{HELP}");
                return Ok(true);
            }
            other => return Err(say(other.unexpected())),
        }
    }
    match mode.as_str() {
        "run" => {}
        "floor" | "floor-batch" => return floor(mode == "floor-batch"),
        _ => return Err(format!("what to do?\n{HELP}")),
    }
    if let Some(directory) = out.as_ref().and_then(|out: &String| std::path::Path::new(out).parent()) {
        std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    plan.servers = own_servers()?;
    plan.servers.retain(|server| !without.contains(&server.name));
    plan.servers.extend(extra);
    let report = report::run(&plan)?;
    let table = report.table + &notes;
    print!("{table}");
    if let Some(out) = out {
        let out = std::path::Path::new(&out);
        let picture = report.plot.map_or(Ok(()), |plot| std::fs::write(out.with_extension("svg"), plot));
        picture.and(std::fs::write(out, &table)).map_err(|error| format!("{}: {error}", out.display()))?;
    }
    Ok(report.whole)
}

fn spec(text: &str) -> Result<Spec, String> {
    let (name, command) = text.split_once('=').ok_or("--server: NAME=COMMAND")?;
    let command: Vec<String> = command.split_whitespace().map(String::from).collect();
    if name.is_empty() || command.is_empty() {
        Err("--server: NAME=COMMAND".into())
    } else {
        Ok(Spec { name: name.into(), command })
    }
}

/// The floors are this executable; salon stands one directory above it.
fn own_servers() -> Result<Vec<Spec>, String> {
    let bench = std::env::current_exe().map_err(|error| format!("where am I? {error}"))?;
    let target = bench.parent().and_then(|examples| examples.parent()).ok_or("where am I?")?;
    let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let spec = |name: &str, command: Vec<String>| Spec { name: name.into(), command };
    Ok(vec![
        spec("limit", vec![path(&bench), "floor".into()]),
        spec("limit-batch", vec![path(&bench), "floor-batch".into()]),
        spec("salon", vec![path(&target.join("salon")), "--port".into(), "{port}".into()]),
    ])
}

fn floor(merge: bool) -> Result<bool, String> {
    let env = |name, default: &str| std::env::var(name).unwrap_or(default.into());
    let port = env("PORT", "3000").parse().map_err(|_| "PORT: not a port")?;
    let interval =
        env("SALON_PING_INTERVAL", "25000").parse().map_err(|_| "SALON_PING_INTERVAL: not a number of ms")?;
    crate::floor::run(&env("HOST", "127.0.0.1"), port, merge, Duration::from_millis(interval))
        .map_err(|error| format!("port {port}: {error}"))?;
    Ok(true)
}
