//! The server without sockets: pipes in memory, a clock that is moved by hand, seeded ids.
//!
//! Everything above the kernel is the real server, with the real turns. After each turn its rules are checked
//! (`Server::check`), and everything it has written is read as a client would.
//!
//! - `stage`: the server, the other ends of its connections, the clock
//! - `closing`: slow readers, connections that end, and those that are not begun
//! - `client`: a client of Socket.IO 4 on both transports, and all that is known of what it must hear
//! - `drain`: what a stopping server still answers, and when it ends
//! - `heartbeat`: when pings leave, and when those who do not answer are closed
//! - `hours`: hours of chat, in seconds
//! - `limits`: what those run into who want too much
//! - `pairs`: the smallest and the largest values of any two options together
//! - `play`: scripts of what clients and visitors do, well-behaved and not
//! - `scripts`: fixed ones and random ones
//!
//! Pipes and rules are part of the server only in builds with debug assertions.

#![cfg(debug_assertions)]

#[path = "../bench/wire.rs"]
#[allow(dead_code)]
mod wire;

mod account;
mod client;
mod closing;
mod door;
mod drain;
mod heartbeat;
mod hours;
mod limits;
mod pairs;
#[allow(dead_code)]
mod play;
mod scripts;
mod stage;
