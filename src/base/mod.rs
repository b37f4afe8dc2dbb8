//! The shelf: values with keys that never lie, queues, deadlines, ids, log lines, figures. Read once, used by all.

pub mod id;
pub mod limits;
pub mod logger;
pub mod metrics;
pub mod queue;
pub mod slab;
pub mod timers;
