//! salon: a Socket.IO chat server on one thread and one event loop. This is the map.
//!
//! In reading order, which is also the order of imports: a file uses what stands above it. `app` and `socketio/mod` name each
//! other, and the parts of a folder that extend its main type stand behind it. A test holds this list against the folder.
//!
//! ```text
//! config/values         parsers of option values
//! config/redis_url      the URL of Redis
//! config/mod            every option, its variable, default and reason
//! config/check          what --check warns of
//! base/slab             values in slabs, named by keys with a generation
//! base/queue            many queues in one arena
//! base/timers           deadlines in order
//! base/id               ids that cannot be guessed
//! base/logger           lines on standard error; the rate limit of repeated ones
//! base/table            enums with constants per variant: labels, messages, codes
//! base/metrics          the text format of Prometheus
//! base/limits           which limits were reached how often; counts by address
//! base/mod
//! net/kernel            every read(2) and writev(2)
//! net/tls               TLS by rustls
//! net/no_tls            its stand-in in builds without TLS
//! net/connection        one TCP connection: stream, outbox, deadlines
//! net/listener          a listening socket
//! net/mod               mio: poll, accept, read, flush, reap
//! http/response         responses
//! http/assets           the embedded page and client
//! http/mod              request heads and bodies
//! ws                    WebSocket frames
//! engineio/packet       packets and payloads of protocol 4; messages encoded once for many recipients
//! engineio/v3           packets and payloads of protocols 2 and 3
//! engineio/jsonp        JSONP
//! engineio/budget       how many WebSockets the platform allows
//! engineio/request      what a request asks for
//! engineio/output       events for socketio, outputs for net
//! engineio/payload      bodies of answers to polls, compressed once
//! engineio/session      one session and its transitions
//! engineio/mod          all sessions, found by sid
//! socketio/packet       packets of Socket.IO
//! socketio/app          trait App and its types
//! socketio/recovery     connection state recovery
//! socketio/mod          namespaces, sockets, rooms, acks, broadcasts
//! socketio/remote       what other servers of a cluster ask of them
//! chat/journal          the history file
//! chat/history          the last messages
//! chat/mod              the application: the chat
//! cluster/link          one connection to Redis
//! cluster/wire          broadcasts in the format of @socket.io/redis-adapter
//! cluster/presence      users of other nodes
//! cluster/mod           this server as a member of a cluster
//! server/access         origins, client addresses, forwarded headers
//! server/signals        SIGTERM, SIGINT, SIGHUP
//! server/mod            the turn of the loop
//! server/http           a request in, an answer out
//! server/metrics        GET /metrics
//! server/cluster        connections to Redis; the cluster's part of the turn
//! server/probe          salon --probe
//! lib
//! main                  arguments and environment in, server out
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

pub mod base;
pub mod chat;
#[cfg(feature = "redis")]
pub mod cluster;
pub mod config;
pub mod engineio;
pub mod http;
pub mod net;
pub mod server;
pub mod socketio;
pub mod ws;

use base::id::Ids;
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
