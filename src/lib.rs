//! salon: a Socket.IO chat server on one thread and one event loop.

#![forbid(unsafe_code)]

pub mod assets;
pub mod chat;
pub mod config;
pub mod engineio;
pub mod http;
pub mod id;
pub mod kernel;
pub mod logger;
pub mod net;
pub mod queue;
pub mod server;
pub mod slab;
pub mod socketio;
pub mod timers;
pub mod ws;

use std::process::ExitCode;

/// Serves `app` until a signal ends it; what cannot be done is said in one line.
pub fn start<A: socketio::App>(config: config::Config, app: A) -> ExitCode {
    let (host, port) = (config.host, config.port);
    let (server, address) = match server::Server::bind(config, app) {
        Ok(bound) => bound,
        Err(error) => {
            let host = host.map_or("all addresses".to_owned(), |host| host.to_string());
            eprintln!("salon: cannot listen on port {port} of {host}: {error}");
            return ExitCode::FAILURE;
        }
    };
    log::info!("salon {} listens on http://{address}", env!("CARGO_PKG_VERSION"));
    match server.run() {
        Ok(()) => {
            log::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            log::error!("the event loop failed: {error}");
            ExitCode::FAILURE
        }
    }
}
