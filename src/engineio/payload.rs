//! Bodies of responses to polling GETs. If consecutive sessions of a turn get the same packets in the same format, the body
//! is encoded and compressed once for all of them.

use super::packet::{self, Version};
use super::request::ClientInfo;
use super::v3::Framing;
use super::{jsonp, v3};
use crate::base::held;
use crate::http::Response;
use bytes::Bytes;
use flate2::{Compression, Crc, write::DeflateEncoder};
use std::io::Write;

/// Bodies with more than this number of bytes are compressed for clients that accept gzip, as in the reference.
const GZIP_FROM: usize = 1024;

pub(super) struct Payload {
    packets: Vec<Bytes>,
    /// What the format depends on: protocol version, framing, and JSONP callback number, if any.
    kind: (Version, Framing, Option<u32>),
    body: Bytes,
    content_type: &'static str,
    /// The compressed body, made for the first client that accepts gzip.
    gzip: Option<Bytes>,
}

impl Payload {
    pub fn new(packets: &[Bytes], client: &ClientInfo, jsonp: Option<u32>) -> Payload {
        let (mut body, mut content_type) = match client.version {
            Version::V4 => (packet::payload(packets), "text/plain; charset=UTF-8"),
            _ => v3::payload(packets, client.framing),
        };
        if let Some(callback) = jsonp {
            (body, content_type) = (jsonp::encode(callback, &body), "text/javascript; charset=UTF-8");
        }
        let kind = (client.version, client.framing, jsonp);
        Payload { packets: packets.to_vec(), kind, body: held::share(body), content_type, gzip: None }
    }

    /// Whether `packets` in the format of `client` give this body. Compares addresses instead of bytes: the recipients of a
    /// broadcast share one allocation. Compares all packets: two queues may begin alike and end in different acks.
    pub fn is_of(&self, packets: &[Bytes], client: &ClientInfo, jsonp: Option<u32>) -> bool {
        let same = |(one, other): (&Bytes, &Bytes)| one.as_ptr_range() == other.as_ptr_range();
        let equal = self.packets.len() == packets.len() && self.packets.iter().zip(packets).all(same);
        equal && self.kind == (client.version, client.framing, jsonp)
    }

    /// Returns a response with this body. `deflate` is the compressor, or `None` if the client does not accept gzip.
    pub fn response(&mut self, deflate: Option<&mut Option<Deflate>>) -> Response {
        let response = Response::new(200).header("Cache-Control", "no-store");
        match deflate.filter(|_| self.body.len() > GZIP_FROM) {
            None => response.body(self.content_type, self.body.clone()),
            Some(deflate) => {
                let body = self.gzip.get_or_insert_with(|| gzip(deflate, &self.body)).clone();
                response.header("Content-Encoding", "gzip").body(self.content_type, body)
            }
        }
    }
}

/// The compressor, reused for all payloads. A `GzEncoder` cannot be reset, and a new one allocates 350 KB.
pub(super) type Deflate = DeflateEncoder<Vec<u8>>;

/// Compresses `bytes` into one gzip member (RFC 1952): head without name and time, compressed data, checksum, length.
fn gzip(deflate: &mut Option<Deflate>, bytes: &[u8]) -> Bytes {
    let deflate = deflate.get_or_insert_with(|| DeflateEncoder::new(Vec::new(), Compression::fast()));
    let infallible = "memory takes everything";
    deflate.get_mut().extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
    deflate.write_all(bytes).expect(infallible);
    let mut out = deflate.reset(Vec::new()).expect(infallible);
    let mut sum = Crc::new();
    sum.update(bytes);
    out.extend_from_slice(&sum.sum().to_le_bytes());
    out.extend_from_slice(&sum.amount().to_le_bytes());
    held::share(out)
}
