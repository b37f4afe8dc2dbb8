//! Parses and compares authorities (`host:port`) and origins. `server/access` decides which origins may connect.

/// Host and port of a URL or of a Host field (RFC 3986 section 3.2). User information (`user@`) stays part of the
/// host, so that such a host does not match any valid Host field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// An IPv6 address keeps its brackets.
    pub host: &'a str,
    pub port: Option<&'a str>,
}

impl<'a> Authority<'a> {
    /// Splits `text` at the last colon, unless that colon is inside the brackets of an IPv6 address.
    pub fn parse(text: &'a str) -> Authority<'a> {
        match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => Authority { host, port: Some(port) },
            _ => Authority { host: text, port: None },
        }
    }
}

/// Splits an absolute URL into scheme, authority and the rest. Returns `None` if `url` has no `://`.
pub fn split_url(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    Some((scheme, authority, rest))
}

/// Returns the origin of an absolute URL, as a browser writes it into the Origin field; other text is returned unchanged.
pub fn origin_of(url: &str) -> &str {
    split_url(url).map_or(url, |(_, _, rest)| &url[..url.len() - rest.len()])
}

/// Whether an Origin field (RFC 6454) names `host`, the host that the client addressed. A `host` without port stands for
/// both 80 and 443, because behind a proxy that ends TLS the scheme is unknown. If `https` is known, the scheme must match.
pub fn is_same_origin(origin: &str, host: &str, https: Option<bool>) -> bool {
    let Some((scheme, authority, "")) = split_url(origin) else { return false };
    let default_port = match (scheme, https) {
        ("http", None | Some(false)) => "80",
        ("https", None | Some(true)) => "443",
        _ => return false,
    };
    let (page, own) = (Authority::parse(authority), Authority::parse(host));
    let port = page.port.unwrap_or(default_port);
    let same_port = own.port.map_or(matches!(port, "80" | "443"), |own| own == port);
    same_port && !page.host.is_empty() && page.host.eq_ignore_ascii_case(own.host)
}
