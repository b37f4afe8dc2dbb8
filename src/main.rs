//! The program: reads arguments and environment, then runs the server, the check or the probe, or prints the help.

use salon::base::id::Ids;
use salon::base::logger;
use salon::chat::Chat;
use salon::config::{self, Action, Config, Settings, check};
use salon::net::tls::Identity;
use salon::server::probe;
use std::io::{self, ErrorKind, Write};
use std::{env, process::ExitCode};

fn main() -> ExitCode {
    let settings = Config::default().load(env::args_os().skip(1), |name| env::var_os(name));
    settings.and_then(run).unwrap_or_else(|error| {
        // `eprintln!` panics if standard error is closed or full. The exit status shows the failure in any case.
        let _ = writeln!(io::stderr(), "salon: {error}");
        ExitCode::FAILURE
    })
}

fn run(Settings { action, mut config, lines, errors }: Settings) -> Result<ExitCode, String> {
    match action {
        Action::Run => {
            logger::start(config.log);
            if config.instance == "auto" {
                config.instance = Ids::System.fresh().short();
            }
            salon::start(config.clone(), Chat::new(config))?;
        }
        Action::Check => return print_check(&config, lines, errors),
        Action::Probe => probe::ask(&config)?,
        Action::Help => print(&config::help())?,
        Action::Version => print(concat!("salon ", env!("CARGO_PKG_VERSION"), "\n"))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints all settings, then a warning for each setting that is wrong or looks wrong. Returns failure if there is any.
fn print_check(config: &Config, mut lines: Vec<String>, mut warnings: Vec<String>) -> Result<ExitCode, String> {
    let variables = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    warnings.extend(config.warnings(variables, check::open_files_limit()));
    let warning = Identity::load(config, None).map(|identity| identity.and_then(|identity| identity.warning));
    warnings.extend(warning.unwrap_or_else(Some));
    lines.extend(warnings.iter().map(|line| format!("warning: {line}")));
    print(&(lines.join("\n") + "\n"))?;
    Ok(if warnings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints to standard output. A broken pipe is no failure: a reader such as `head` ends when it has seen enough.
fn print(text: &str) -> Result<(), String> {
    let failure = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()).err();
    let failure = failure.filter(|error| error.kind() != ErrorKind::BrokenPipe);
    failure.map_or(Ok(()), |error| Err(format!("cannot write to standard output: {error}")))
}
