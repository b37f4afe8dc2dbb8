//! Arguments and environment in, server out.

use salon::chat::Chat;
use salon::config::{self, Action, Config};
use salon::logger;
use std::{env, process::ExitCode};

fn main() -> ExitCode {
    let config = match Config::default().load(env::args_os().skip(1), |name| env::var_os(name)) {
        Ok(Action::Run(config)) => *config,
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
            return ExitCode::from(2);
        }
    };
    logger::start(config.log);
    salon::start(config.clone(), Chat::new(config))
}
