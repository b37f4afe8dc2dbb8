//! Data structures and services that know nothing of the protocols: slabs, queues, timers, ids, logging, metrics, limits.

pub mod held;
pub mod id;
pub mod limits;
pub mod logger;
pub mod metrics;
pub mod queue;
pub mod slab;
pub(crate) mod table;
pub mod text;
pub mod timers;
