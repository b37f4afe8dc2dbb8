//! The page and the official client, embedded: `static/build.rs` reads and compresses the files at build time, and gives
//! them entity tags. At run time a path is looked up in a fixed table: no file system is read, so no path can leave a folder.

use super::response::Response;

/// One file of the page.
pub struct Asset {
    /// Path of the URL. Requests must send exactly this: dot segments and percent-encoding are not resolved.
    pub path: &'static str,
    pub content_type: &'static str,
    /// An HTML page, served with [`POLICY`].
    pub page: bool,
    /// Uncompressed.
    pub plain: Copy,
    /// Compressed; `None` if that saves nothing.
    pub gzip: Option<Copy>,
}

/// One encoding of a file.
pub struct Copy {
    /// Strong entity tag with its quotes, different for each encoding (RFC 9110 section 8.8.3.3).
    pub etag: &'static str,
    pub bytes: &'static [u8],
}

/// Content-Security-Policy of the page: only files and connections of its own server, and no scripts inside the HTML.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                          base-uri 'none'; form-action 'self'; frame-ancestors 'self'";

/// Headers of every asset. `no-cache` lets browsers keep a copy if they revalidate it each time, which costs one 304.
/// `same-origin` hides the URL of the chat from other sites; the stricter `no-referrer` would make browsers send beacons
/// with `Origin: null`.
const COMMON: [(&str, &str); 4] = [
    ("Cache-Control", "no-cache"),
    ("Vary", "Accept-Encoding"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
];

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The asset at this path (without query), compared byte by byte; `/` is the page.
pub fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

impl Asset {
    /// The compressed copy, if there is one and the client accepts gzip.
    pub fn copy(&self, gzip: bool) -> &Copy {
        self.gzip.as_ref().filter(|_| gzip).unwrap_or(&self.plain)
    }

    /// The response to a GET or HEAD. `if_none_match`: the value of that header; `gzip`: the client accepts gzip.
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

/// Whether an If-None-Match contains this entity tag, so that the response is 304: `*`, or a list compared weakly
/// (RFC 9110 section 13.1.2). Splitting at commas is safe: our tags have none, and the halves of a foreign tag that has one
/// equal no tag of ours.
pub fn matches(if_none_match: &[u8], etag: &str) -> bool {
    let mut tags = if_none_match.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    if_none_match.trim_ascii() == b"*" || tags.any(|tag| tag.strip_prefix(b"W/").unwrap_or(tag) == etag.as_bytes())
}
