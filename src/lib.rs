//! salon: a Socket.IO chat server on one thread with one event loop.
//!
//! # Map
//!
//! The files in reading order, which is also the order of imports: a file imports only files above it. The few exceptions
//! are named in `tests/pure/layout.rs`, which checks this list.
//!
//! ```text
//! config/values         parsers of option values
//! config/redis_url      the URL of Redis
//! config/trust_proxy    trusted proxies, by number or address; prefixes of addresses (CIDR)
//! config/mod            the table of options: flags, variables, defaults, reasons; loading
//! config/check          the warnings of --check
//! base/slab             values in slabs, named by keys with a generation
//! base/held             counts the bytes of shared buffers, for the account of bytes held for peers (R7)
//! base/queue            many queues of bytes in one vector
//! base/timers           timers, sorted by deadline
//! base/id               session ids and other ids that cannot be guessed
//! base/text             invisible characters; comparison of secrets
//! base/logger           log lines on standard error; rate limit of repeated lines
//! base/table            macro for enums with constants per variant
//! base/metrics          the text format of Prometheus
//! base/limits           one counter and log line per limit; counts per address; the address with most half-open connections
//! base/mod              declares the modules of this folder
//! net/kernel            every read and write of connections
//! net/tls               TLS by rustls
//! net/no_tls            stand-in for net/tls in builds without TLS
//! net/connection        one TCP connection: stream, outbox, deadlines
//! net/listener          a listening socket; its pause when the process has no file descriptors left (EMFILE)
//! net/mod               mio: poll, accept, read, flush, reap; eviction of clients that do not read
//! net/outbox            queues output, writes it at the end of a turn; deadlines of slow readers; bytes held (R7)
//! http/response         responses
//! http/assets           the embedded page and client
//! http/origin           parses and compares hosts, ports and origins
//! http/mod              request heads and bodies; protection against request smuggling
//! ws                    WebSocket frames, their limits and close codes; the upgrade response
//! engineio/packet       packets and payloads of protocol 4; messages encoded once for many recipients
//! engineio/v3           packets and payloads of protocols 2 and 3
//! engineio/jsonp        JSONP
//! engineio/budget       the budget of WebSockets on platforms that limit them
//! engineio/request      what a request head asks for, or its refusal; client kinds by User-Agent (recovery, payloads)
//! engineio/output       events for socketio, outputs for server
//! engineio/payload      encodes bodies of poll responses, and compresses them
//! engineio/session      one session: heartbeat, upgrade probe and noop, packets per poll, close, eviction of slow pollers
//! engineio/mod          all sessions, by sid; handshake, limits of new sessions, drain
//! socketio/packet       packets of Socket.IO
//! socketio/rate         the rate limit of events (token bucket)
//! socketio/app          how to write an application: trait App
//! socketio/recovery     connection state recovery; the grace after a broken connection (--leave-grace)
//! socketio/mod          namespaces and sockets, from CONNECT to their end; acks that clients owe
//! socketio/rooms        rooms and their members
//! socketio/door         the password of --password, and how often an address may guess it
//! socketio/send         events, acks and broadcasts to clients
//! socketio/receive      packets of clients
//! socketio/remote       requests of other servers: fetchSockets and others
//! chat/journal          the history file: append, sync, rewrite, lock
//! chat/history          the last messages, found by number and by id (duplicates)
//! chat/answer           requests for kept messages, and the answers
//! chat/typing           who types; `stop typing` for clients that are recovered
//! chat/elsewhere        users of other nodes: what the nodes report, and what clients have heard
//! chat/mod              the chat: messages, typing, requests for history; catch-up with other nodes
//! chat/users            users: names, keys, tags, numUsers; who has joined and left
//! cluster/resp          RESP2, the protocol of Redis
//! cluster/link          one connection to Redis: keepalive, timeouts, retries
//! cluster/wire          broadcasts in the format of @socket.io/redis-adapter
//! cluster/presence      which nodes there are, their users; nodes that fall silent; whom to ask for missed messages
//! cluster/mod           this server as a node of a cluster
//! server/access         which origins may connect, who may read /metrics; client addresses from X-Forwarded-For
//! server/protocol       what a connection carries: HTTP, WebSocket or Redis
//! server/signals        SIGTERM, SIGINT, SIGHUP
//! server/mod            one turn of the event loop; start here for an overview
//! server/account        the account of bytes held for peers, its limit, and who is dropped above it
//! server/input          reads connections: backpressure, half-close, deadlines
//! server/http           routes requests, sends responses
//! server/websocket      frames in the turn of the loop
//! server/metrics        the text of /metrics
//! server/cluster        connections to Redis; the cluster's part of a turn
//! server/probe          salon --probe
//! lib                   this map
//! main                  arguments and environment in, server out
//! ```
//!
//! `net` is the lowest layer, the application the highest. Bytes and events go up; calls go down and only fill queues:
//!
//! ```text
//!            net --bytes--> http, ws --requests, frames--> engineio --events--> socketio --events--> App
//!  outbox <-- server <-- outputs ----------------------- engineio <--send----- socketio <--Io------- App
//! ```
//!
//! # Rules
//!
//! Comments refer to these rules by number.
//!
//! - R1 A key never names two things: keys have a generation.
//! - R2 A readable connection is read until `WouldBlock` (on Unix also: until a short read), or it is remembered as unread,
//!   or reading it is paused.
//! - R3 A connection with a non-empty outbox (or unsent ciphertext) is in the dirty list, or its last write returned
//!   `WouldBlock`.
//! - R4 Each `Opened` event of a session is followed by exactly one `Closed` event.
//! - R5 A call that goes down raises no event before it returns. A full outbox, a broken connection or a `disconnect` is
//!   only marked; the event follows later, from the queue.
//! - R6 The layers other than `server` have no clock and no randomness, and of them only `net` has sockets. `server` passes
//!   in the time and the source of ids. Exceptions: the time of log lines, the check of a certificate's dates, the random
//!   numbers of TLS, and the wait for the lock of the history file at the start.
//! - R7 Everything that a peer can make grow has a limit, in `config` if operators may need to change it.
//! - R8 Bytes from peers never cause a panic. An `expect` states the invariant that it relies on, arithmetic on numbers from
//!   peers is checked, and header values are bytes rather than text.
//! - R9 Each HTTP response has a Content-Length (except 1xx, 204 and 304). A refused upgrade gets a complete response
//!   before the connection is closed.
//! - R10 An idle connection owns no buffer: it keeps input only while that input cannot be processed yet, and outbox entries
//!   only while bytes wait to be sent. A TLS connection also keeps the state of rustls.
//! - R11 Event arguments that the server passes on stay raw JSON: they are sent as the bytes that arrived, which keeps exact
//!   numbers, key order and lone surrogates. Only what the application checks is decoded.
//!
//! # Trust boundary
//!
//! The last five of these files parse bytes of Redis and its other users, the others bytes of clients; `chat` parses both.
//! Each line names the fuzz target in `tests/fuzz` (`world` runs the whole server), and tests of hostile input in `tests`.
//!
//! ```text
//! net/tls            -            live/secure.rs
//! http/mod           http         pure/http.rs live/http.rs live/security.rs
//! http/origin        http         pure/http.rs
//! server/access      http         pure/http.rs live/engine.rs live/hosting.rs
//! ws                 websocket    pure/ws.rs live/autobahn.rs
//! engineio/request   world        live/engine.rs
//! engineio/packet    payload_v4   pure/engineio_packet.rs
//! engineio/v3        payload_v3   pure/engineio_v3.rs live/old.rs
//! engineio/jsonp     payload_v3   live/jsonp.rs
//! socketio/packet    socketio     pure/socketio_packet.rs live/socketio.rs
//! socketio/recovery  world        recovery/raw.test.mjs
//! socketio/door      -            world/door.rs clients/door.test.mjs
//! chat/mod           world        live/chat.rs live/history.rs
//! chat/history       world        pure/history.rs
//! chat/answer        world        pure/history.rs live/history.rs
//! chat/users         world        live/chat.rs cluster/together.test.mjs
//! socketio/remote    -            pure/cluster_wire.rs pure/cluster_limits.rs cluster/hostile.test.mjs cluster/node.test.mjs
//! cluster/resp       resp         pure/cluster_link.rs cluster/outage.test.mjs
//! cluster/wire       messagepack  pure/cluster_wire.rs cluster/hostile.test.mjs
//! cluster/mod        -            pure/cluster_limits.rs cluster/hostile.test.mjs history/cluster.test.mjs
//! cluster/presence   -            cluster/hostile.test.mjs
//! ```

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
use std::time::Instant;

/// Serves `app` until a signal stops the process. `Err` is a text of one line.
pub fn start<A: socketio::App>(config: config::Config, app: A) -> Result<(), String> {
    let server = Server::new(config, app, Ids::System, Instant::now());
    server.and_then(Server::run).map_err(|error| error.to_string())?;
    log::info!("stopped");
    Ok(())
}
