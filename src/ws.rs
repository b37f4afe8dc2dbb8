//! (placeholder of the skeleton)
pub use tungstenite::Utf8Bytes as Text;
