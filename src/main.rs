//! The program: reads arguments and environment, then runs the server, the check or the probe, or prints the help.

use salon::base::id::Ids;
use salon::base::logger;
use salon::chat::Chat;
use salon::config::{self, Action, Config, Settings, check};
use salon::net::tls::Identity;
use salon::server::probe;
use std::{env, process::ExitCode};

fn main() -> ExitCode {
    let settings = Config::default().load(env::args_os().skip(1), |name| env::var_os(name));
    settings.and_then(run).unwrap_or_else(|error| {
        eprintln!("salon: {error}");
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
        Action::Check => return Ok(print_check(&config, &lines, errors)),
        Action::Probe => probe::ask(&config)?,
        Action::Help => print!("{}", config::help()),
        Action::Version => println!("salon {}", env!("CARGO_PKG_VERSION")),
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints all settings, then a warning for each setting that is wrong or looks wrong. Returns failure if there is any.
fn print_check(config: &Config, lines: &[String], mut warnings: Vec<String>) -> ExitCode {
    let variables = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    warnings.extend(config.warnings(variables, check::open_files_limit()));
    match Identity::load(config, None) {
        Ok(identity) => warnings.extend(identity.and_then(|identity| identity.warning)),
        Err(error) => warnings.push(error),
    }
    lines.iter().for_each(|line| println!("{line}"));
    warnings.iter().for_each(|line| println!("warning: {line}"));
    if warnings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
