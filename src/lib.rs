//! salon: a Socket.IO chat server on one thread and one event loop.

#![forbid(unsafe_code)]

pub mod assets;
pub mod config;
pub mod engineio;
pub mod http;
pub mod id;
pub mod slab;
pub mod socketio;
pub mod timers;
pub mod ws;
