//! The page and the official client, embedded: `static/build.rs` reads, compresses and tags the files at build time.
//! At run time a path is compared with a fixed list, so there is no file system to escape into and nothing to compress.

use super::response::Response;

/// One file of the page.
pub struct Asset {
    /// Path in the URL, as it must be sent: no dot segments, no percent-encoding.
    pub path: &'static str,
    /// Value of Content-Type.
    pub content_type: &'static str,
    /// An HTML page: its answers carry [`POLICY`].
    pub page: bool,
    /// As it is.
    pub plain: Copy,
    /// Compressed; absent where that does not pay.
    pub gzip: Option<Copy>,
}

/// One encoding of a file.
pub struct Copy {
    /// Strong entity tag with its quotes, different for each encoding (RFC 9110 8.8.3.3).
    pub etag: &'static str,
    /// The bytes as they go into the body.
    pub bytes: &'static [u8],
}

/// Content-Security-Policy of the page: its own files and its own server, nothing else, and no script inside the HTML.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                          base-uri 'none'; form-action 'self'; frame-ancestors 'self'";

/// On every answer. `no-cache` means: keep it, but ask each time, which costs one 304. `same-origin` tells other sites
/// nothing of where the chat is; stricter, `no-referrer` would make browsers send beacons with `Origin: null`.
const COMMON: [(&str, &str); 4] = [
    ("Cache-Control", "no-cache"),
    ("Vary", "Accept-Encoding"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
];

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The asset at this path (without query), byte for byte; `/` is the page.
pub fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

impl Asset {
    /// The encoding for a client that does or does not accept gzip.
    pub fn copy(&self, gzip: bool) -> &Copy {
        self.gzip.as_ref().filter(|_| gzip).unwrap_or(&self.plain)
    }

    /// The answer to a GET or HEAD of this file. `if_none_match` is that header's value, `gzip` whether it is accepted.
    pub fn answer(&self, if_none_match: Option<&[u8]>, gzip: bool) -> Response {
        let copy = self.copy(gzip);
        let fresh = if_none_match.is_some_and(|list| matches(list, copy.etag));
        let response = Response::new(if fresh { 304 } else { 200 }).header("ETag", copy.etag);
        let response = COMMON.iter().fold(response, |response, (name, value)| response.header(name, value));
        let response = if self.page { response.header("Content-Security-Policy", POLICY) } else { response };
        if fresh {
            return response;
        }
        let packed = gzip && self.gzip.is_some();
        let response = if packed { response.header("Content-Encoding", "gzip") } else { response };
        response.body(self.content_type, copy.bytes)
    }
}

/// Whether an If-None-Match names this entity tag, so that the answer is 304: a list compared weakly, or `*`
/// (RFC 9110 13.1.2). Our tags have no commas; one in a tag of others cuts it into parts that are no tags.
pub fn matches(if_none_match: &[u8], etag: &str) -> bool {
    let mut tags = if_none_match.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    if_none_match.trim_ascii() == b"*" || tags.any(|tag| tag.strip_prefix(b"W/").unwrap_or(tag) == etag.as_bytes())
}
