//! Live tests: the real binary as a process of its own, real sockets.
//!
//! With `SALON_TEST_TLS=1` in the environment every server has TLS, and every client speaks it.
//! With `SALON_TEST_KERNEL=7` in the environment the same tests run against a server that moves one byte at a
//! time and is lied to by its kernel (see tests/seams/kernel.rs).
mod autobahn;
mod chat;
mod echo;
mod engine;
mod harness;
mod history;
mod hosting;
mod http;
mod jsonp;
mod old;
mod outside;
mod poller;
mod process;
#[cfg(target_os = "linux")]
mod redis;
mod secure;
mod security;
mod socketio;
mod websocket;
