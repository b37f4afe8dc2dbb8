//! The page and the official client, embedded: `static/build.rs` reads, compresses and tags the files at build time.
//! At run time a path is compared with a fixed list, so there is no file system to escape into and nothing to compress.

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
}

/// What a GET or HEAD is answered.
pub struct Answer {
    /// 200, or 304 if the client's copy is still good.
    pub status: u16,
    /// Content-Type; a 304 has none.
    pub content_type: Option<&'static str>,
    /// The other header lines; Content-Length is left to the encoder.
    pub headers: Vec<(&'static str, &'static str)>,
    /// The body of a GET; empty in a 304.
    pub body: &'static [u8],
}

/// Answers a GET or HEAD of this asset. `if_none_match` is the header's value, `gzip` whether the client accepts it.
pub fn answer(asset: &Asset, if_none_match: Option<&[u8]>, gzip: bool) -> Answer {
    let copy = asset.copy(gzip);
    let mut headers = vec![("ETag", copy.etag)];
    headers.extend(COMMON);
    if asset.page {
        headers.push(("Content-Security-Policy", POLICY));
    }
    if if_none_match.is_some_and(|list| matches(list, copy.etag)) {
        return Answer { status: 304, content_type: None, headers, body: b"" };
    }
    if !std::ptr::eq(copy, &asset.plain) {
        headers.push(("Content-Encoding", "gzip"));
    }
    Answer { status: 200, content_type: Some(asset.content_type), headers, body: copy.bytes }
}

/// Whether an If-None-Match names this entity tag, so that the answer is 304: a list compared weakly, or `*`
/// (RFC 9110 13.1.2). Opaque tags may hold commas, so the list is walked quote by quote; what follows a syntax error
/// is not looked at, which costs a transfer and no more.
pub fn matches(if_none_match: &[u8], etag: &str) -> bool {
    if if_none_match.trim_ascii() == b"*" {
        return true;
    }
    let mut rest = if_none_match;
    loop {
        while let [b' ' | b'\t' | b',', tail @ ..] = rest {
            rest = tail;
        }
        rest = rest.strip_prefix(b"W/").unwrap_or(rest);
        let Some(end) = rest.iter().skip(1).position(|&byte| byte == b'"').filter(|_| rest[0] == b'"') else {
            return false;
        };
        let (tag, tail) = rest.split_at(end + 2);
        if tag == etag.as_bytes() {
            return true;
        }
        rest = tail;
    }
}
