//! Socket.IO (placeholder of the skeleton).
pub mod packet;
