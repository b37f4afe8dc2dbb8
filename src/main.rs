//! Arguments and environment in, server out.

use salon::base::id::Ids;
use salon::base::logger;
use salon::chat::Chat;
use salon::config::{Action, Config};
use salon::net::tls::Identity;
use salon::server::probe;
use std::{env, fs, process::ExitCode};

fn main() -> ExitCode {
    let action = Config::default().load(env::args_os().skip(1), |name| env::var_os(name));
    action.and_then(run).unwrap_or_else(|why| {
        eprintln!("salon: {why}");
        ExitCode::FAILURE
    })
}

fn run(action: Action) -> Result<ExitCode, String> {
    match action {
        Action::Run(mut config) => {
            logger::start(config.log);
            if config.instance == "auto" {
                config.instance = Ids::System.fresh().short();
            }
            return Ok(salon::start(*config.clone(), Chat::new(*config)));
        }
        Action::Check(config, settings, unusable) => return Ok(check(&config, &settings, unusable)),
        Action::Probe(config) => probe::ask(&config)?,
        Action::Print(text) => print!("{text}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the settings, and what is wrong or looks so.
fn check(config: &Config, settings: &[String], mut wrong: Vec<String>) -> ExitCode {
    settings.iter().for_each(|line| println!("{line}"));
    // Linux shows it; elsewhere it is not known.
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let descriptors = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    let variables = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    wrong.extend(config.warnings(variables, descriptors));
    wrong.extend(Identity::load(config, None).map(|identity| identity?.doubt).unwrap_or_else(Some));
    wrong.iter().for_each(|line| println!("warning: {line}"));
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
