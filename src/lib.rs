//! salon: a Socket.IO chat server on one thread and one event loop. This is the map.
//!
//! In reading order; a file imports only what stands above it:
//!
//! ```text
//! config                    every option, its default, its reason
//! slab queue timers id      values with keys that never lie, queues in one arena, deadlines, sids
//! logger metrics limits     lines on standard error; figures for Prometheus; who has reached which limit
//! kernel tls net            every byte in and out; TLS; sockets, outboxes, deadlines of connections (listener is part of net)
//! http assets ws access     requests and answers; the embedded page; WebSocket frames; who may ask for what
//! engineio/packet v3        packets and payloads of protocol 4; those of older clients
//! engineio/session mod      one session and all its transitions; all sessions, found by sid
//! socketio/packet mod       packets of Socket.IO; namespaces, sockets, rooms, acks, broadcasts; trait App
//! history chat              the last messages; the application
//! cluster/link wire presence mod   one chat on several servers, over Redis (url is part of config, turn of server)
//! signals server probe main what ends the loop; its turn, and who speaks with whom; `--probe`
//! ```
//!
//! Bytes and events go up, calls go down and only enqueue:
//!
//! ```text
//!            net --bytes--> http, ws --requests, frames--> engineio --events--> socketio --events--> App
//!  outbox <-- server <-- outputs ----------------------- engineio <--send----- socketio <--Io------- App
//! ```
//!
//! The rules, by the numbers that comments refer to:
//!
//! - R1 A key never names two things. R2 A readable edge is read to `WouldBlock`, or the connection is remembered.
//! - R3 An outbox that is not empty is to be written this turn, or has seen `WouldBlock`. R4 Every `Opened` has one
//!   `Closed`. R5 What goes down raises nothing before it returns.
//! - R6 No clock, socket or randomness below `server`. R7 What a peer can grow has a limit in `config`. R8 Bytes of
//!   peers never panic; `expect` says which invariant it stands on.
//! - R9 Every answer has a Content-Length (but 1xx, 204, 304). R10 An idle connection owns no buffer. R11 Arguments
//!   that are passed on leave as the bytes that came.

#![forbid(unsafe_code)]

pub mod access;
pub mod assets;
pub mod chat;
#[cfg(feature = "redis")]
pub mod cluster;
pub mod config;
pub mod engineio;
pub mod history;
pub mod http;
pub mod id;
pub mod kernel;
pub mod limits;
pub mod logger;
pub mod metrics;
pub mod net;
pub mod probe;
pub mod queue;
pub mod server;
pub mod signals;
pub mod slab;
pub mod socketio;
pub mod timers;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
pub mod tls;
pub mod ws;

use id::Ids;
use server::Server;
use std::process::ExitCode;
use std::time::Instant;

/// Serves `app` until a signal ends it; what cannot be done is said in one line.
pub fn start<A: socketio::App>(config: config::Config, app: A) -> ExitCode {
    match Server::new(config, app, Ids::System, Instant::now()).and_then(Server::run) {
        Ok(()) => {
            log::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("salon: {error}");
            ExitCode::FAILURE
        }
    }
}
