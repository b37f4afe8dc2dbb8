//! Arguments and environment in, server out.

use salon::{
    chat::{self, Chat},
    config::{self, Action, Config},
    logger,
};
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
    let chat = Chat::new(chat::Settings { max_name: config.max_name, max_text: config.max_text });
    salon::start(config, chat)
}
