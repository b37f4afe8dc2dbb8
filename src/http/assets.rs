//! The page and the official client, embedded in the program. At build time `static/build.rs` reads and compresses the files
//! and gives them entity tags. At run time paths are looked up in a fixed table, so no path can reach any other file. With
//! `--title` the page is made anew once, at the start.

use super::response::Response;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use std::borrow::Cow;
use std::hash::{DefaultHasher, Hasher};
use std::io::Write;

/// One file of the page.
pub struct Asset {
    /// Path of the URL. Requests must have exactly this path: dot segments and percent-encoding are not resolved.
    pub path: &'static str,
    pub content_type: &'static str,
    /// Whether the file is an HTML page, which is served with a Content-Security-Policy.
    pub page: bool,
    /// The uncompressed copy.
    pub plain: Copy,
    /// The copy compressed with gzip; `None` if compression saves nothing.
    pub gzip: Option<Copy>,
}

/// One encoding of a file.
pub struct Copy {
    /// Strong entity tag with its quotes. Each encoding of a file has a tag of its own (RFC 9110 section 8.8.3.3).
    pub etag: Cow<'static, str>,
    pub bytes: Bytes,
}

impl Copy {
    fn new(bytes: Vec<u8>) -> Copy {
        let mut hash = DefaultHasher::new();
        hash.write(&bytes);
        Copy { etag: format!("\"{:016x}\"", hash.finish()).into(), bytes: bytes.into() }
    }
}

/// Content-Security-Policy of the page: it may use only files and connections of its own server, and no inline scripts. At the
/// end, the origins whose pages may embed it are to be added.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                          base-uri 'none'; form-action 'self'; frame-ancestors ";

/// The title of the embedded page.
pub const TITLE: &str = "salon";

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// Returns the asset whose path is exactly `path` (without query). `/` is the path of the page.
pub fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

/// Returns the page with another title.
pub fn page(title: &str) -> Asset {
    let page = find("/").expect("the page is embedded");
    let entities = [('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&quot;"), ('\'', "&#39;")];
    let title = entities.iter().fold(title.to_owned(), |text, (character, entity)| text.replace(*character, entity));
    let mut text = String::from_utf8_lossy(&page.plain.bytes).into_owned();
    for element in ["title", "h1"] {
        text = text.replace(&format!("<{element}>{TITLE}<"), &format!("<{element}>{title}<"));
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let packed = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish()).expect("a Vec takes everything");
    let (plain, gzip) = (Copy::new(text.into_bytes()), Some(Copy::new(packed)));
    Asset { plain, gzip, ..*page }
}

impl Asset {
    /// Returns the compressed copy if there is one and `gzip` (the client accepts gzip) is true, else the uncompressed copy.
    pub fn copy(&self, gzip: bool) -> &Copy {
        self.gzip.as_ref().filter(|_| gzip).unwrap_or(&self.plain)
    }

    /// Returns the response to a GET or HEAD. `if_none_match`: value of If-None-Match; `gzip`: the client accepts gzip;
    /// `policy`: the Content-Security-Policy of a page.
    pub fn answer(&self, if_none_match: Option<&[u8]>, gzip: bool, policy: &str) -> Response {
        let copy = self.copy(gzip);
        let fresh = if_none_match.is_some_and(|list| matches(list, &copy.etag));
        // `no-cache` lets browsers keep a copy, but they must revalidate it each time (one 304 response). `same-origin`
        // hides the URL of the chat from other sites. With the stricter `no-referrer`, browsers would send the POST by which
        // the page leaves (`sendBeacon`) with `Origin: null`, which `--origins same` refuses.
        let response = Response::new(if fresh { 304 } else { 200 })
            .header("ETag", &copy.etag)
            .header("Cache-Control", "no-cache")
            .header("Vary", "Accept-Encoding")
            .header("X-Content-Type-Options", "nosniff")
            .header("Referrer-Policy", "same-origin");
        let response = if self.page { response.header("Content-Security-Policy", policy) } else { response };
        if fresh {
            return response;
        }
        let packed = gzip && self.gzip.is_some();
        let response = if packed { response.header("Content-Encoding", "gzip") } else { response };
        response.body(self.content_type, copy.bytes.clone())
    }
}

/// Whether the field If-None-Match is `*`, or a list with a tag that equals `etag` by weak comparison (RFC 9110 section
/// 13.1.2). Splitting the list at commas is safe: our tags contain no comma, and a foreign tag with commas is cut into parts
/// that lack a quote, so none of them equals one of ours.
pub fn matches(if_none_match: &[u8], etag: &str) -> bool {
    let mut tags = if_none_match.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    if_none_match.trim_ascii() == b"*" || tags.any(|tag| tag.strip_prefix(b"W/").unwrap_or(tag) == etag.as_bytes())
}
