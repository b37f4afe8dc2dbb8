//! Authorities (`host:port`) and origins. Which origins may connect is decided by `server/access`.

/// Host and port of a URL or of a Host field (RFC 3986 section 3.2). User information is not split off: it stays part of
/// the host, which then matches no valid Host field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// An IPv6 address keeps its brackets.
    pub host: &'a str,
    pub port: Option<&'a str>,
}

impl<'a> Authority<'a> {
    /// Splits at the last colon, unless that is inside the brackets of an IPv6 address.
    pub fn parse(text: &'a str) -> Authority<'a> {
        match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => Authority { host, port: Some(port) },
            _ => Authority { host: text, port: None },
        }
    }
}

/// Scheme, authority and the rest of an absolute URL; `None` if it has no `://`.
pub fn split_url(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    Some((scheme, authority, rest))
}

/// The origin of an absolute URL, as the browser writes it into the Origin field; other text stays as it is.
pub fn origin_of(url: &str) -> &str {
    split_url(url).map_or(url, |(_, _, rest)| &url[..url.len() - rest.len()])
}

/// Whether an Origin field (RFC 6454) names the host that the client addressed. A missing port stands for both 80 and
/// 443: behind a proxy that ends TLS the scheme is unknown. Where it is known (`https`), it must match as well.
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
