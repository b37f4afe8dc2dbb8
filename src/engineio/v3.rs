//! What older clients speak (placeholder until the codec lands).

use super::packet::{Encoded, Invalid, Packet};
use bytes::Bytes;

/// Which older protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `EIO=3`
    V3,
    /// `EIO=2`
    V2,
}

/// The old wire forms of a message.
#[derive(Debug)]
pub struct Forms;

pub fn callback(number: &str) -> Option<u32> {
    number.parse().ok()
}
pub fn jsonp(_callback: u32, _body: &[u8]) -> Vec<u8> {
    Vec::new()
}
pub fn jsonp_body(_body: &[u8]) -> Result<Bytes, Invalid> {
    Err(Invalid("not served yet"))
}
pub fn payload(_packets: &[Bytes], _version: Version, _base64: bool) -> (Vec<u8>, &'static str) {
    (Vec::new(), "text/plain; charset=UTF-8")
}
pub fn decode_payload(_body: Bytes, _binary: bool, _version: Version) -> Result<Vec<Packet>, Invalid> {
    Err(Invalid("not served yet"))
}
pub fn decode_frame(_data: super::packet::Data, _version: Version) -> Result<Packet, Invalid> {
    Err(Invalid("not served yet"))
}
pub fn frame(message: &Encoded, _version: Version) -> Bytes {
    message.frame()
}
pub fn packet(message: &Encoded, _version: Version) -> Bytes {
    message.packet()
}
pub fn packet_to_frame(packet: &Bytes) -> Bytes {
    super::packet::packet_to_frame(packet)
}
