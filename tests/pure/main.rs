//! Pure tests: every core, literal bytes in, events and outputs compared.
mod assets;
mod budget;
mod cluster_link;
mod cluster_wire;
mod config;
mod dependencies;
mod engineio_packet;
mod engineio_v3;
mod history;
mod http;
mod id;
mod queue;
mod random;
mod slab;
mod socketio_packet;
mod timers;
mod ws;
