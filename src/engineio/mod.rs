//! Engine.IO (placeholder of the skeleton).
pub mod packet;
pub mod v3;
