//! Parses and compares authorities (`host:port`) and origins. `server/access` decides which origins may connect.

use std::borrow::Cow;

/// Splits the authority of a URL, or a Host field, into host and port (RFC 3986 section 3.2). An IPv6 address keeps its
/// brackets. User information (`user@`) stays part of the host, so that such a host does not match any valid Host field.
pub fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        // A colon inside the brackets of an IPv6 address is not the one before a port.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Splits an absolute URL into scheme, authority and the rest. Returns `None` if `url` has no `://`.
pub fn split_url(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    Some((scheme, authority, rest))
}

/// Returns the origin of an absolute URL, as a browser writes it into the Origin field; other text is returned unchanged.
/// Native clients write the URL of the WebSocket into that field, so `ws` stands for `http` and a path is dropped. Browsers
/// send neither.
pub fn origin_of(url: &str) -> Cow<'_, str> {
    match split_url(url) {
        Some(("ws", authority, _)) => format!("http://{authority}").into(),
        Some(("wss", authority, _)) => format!("https://{authority}").into(),
        Some((_, _, rest)) => url[..url.len() - rest.len()].into(),
        None => url.into(),
    }
}

/// Whether an Origin field (RFC 6454) names `host`, the host that the client addressed. A `host` without port matches ports
/// 80 and 443: behind a proxy that terminates TLS the scheme may be unknown. If `https` is known, the scheme must match.
pub fn is_same_origin(origin: &str, host: &str, https: Option<bool>) -> bool {
    let Some((scheme, authority, "")) = split_url(origin) else { return false };
    let default_port = match (scheme, https) {
        ("http", None | Some(false)) => "80",
        ("https", None | Some(true)) => "443",
        _ => return false,
    };
    let ((page, page_port), (own, own_port)) = (split_port(authority), split_port(host));
    let port = page_port.unwrap_or(default_port);
    let same_port = own_port.map_or(matches!(port, "80" | "443"), |own| own == port);
    same_port && !page.is_empty() && page.eq_ignore_ascii_case(own)
}
