//! Arguments and environment in, server out.

use salon::chat::Chat;
use salon::config::{self, Action, Config, Setting};
use salon::id::Ids;
use salon::tls::Identity;
use salon::{logger, probe};
use std::{env, fs, process::ExitCode};

fn main() -> ExitCode {
    let mut config = match Config::default().load(env::args_os().skip(1), |name| env::var_os(name)) {
        Ok(Action::Run(config)) => *config,
        Ok(Action::Check(config, settings, unusable)) => return check(&config, &settings, unusable),
        Ok(Action::Probe(config)) => {
            return match probe::ask(&config) {
                Ok(()) => ExitCode::SUCCESS,
                Err(why) => {
                    eprintln!("salon: {why}");
                    ExitCode::FAILURE
                }
            };
        }
        Ok(Action::Help) => {
            print!("{}", config::help());
            return ExitCode::SUCCESS;
        }
        Ok(Action::Version) => {
            println!("salon {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Err(line) => {
            eprintln!("salon: {line}");
            return ExitCode::FAILURE;
        }
    };
    logger::start(config.log);
    if config.instance == "auto" {
        config.instance = Ids::System.fresh().short();
    }
    salon::start(config.clone(), Chat::new(config))
}

/// Prints the settings, and what is wrong or looks so.
fn check(config: &Config, settings: &[Setting], mut wrong: Vec<String>) -> ExitCode {
    for Setting { flag, value, source } in settings {
        println!("{flag:17} {value:20} {source}");
    }
    // Linux shows it; elsewhere it is not known.
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let descriptors = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    let variables = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    wrong.extend(config.doubts(variables, descriptors));
    wrong.extend(Identity::load(config, None).map(|identity| identity?.doubt).unwrap_or_else(Some));
    wrong.iter().for_each(|line| println!("warning: {line}"));
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
