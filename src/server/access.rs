//! Who sends a request, from which page, and what that allows: by the head, the configuration and the peer's address.

use crate::config::{Config, Origins};
use crate::http::assets;
use crate::http::{self, Method, RequestHead, Response};
use std::net::IpAddr;

/// Whether a page from elsewhere may talk to us: the header lines a listed origin needs, or what is said of one that may
/// not. Requests without Origin come from programs, not from pages; but a JSONP request is a script of a page and has none
/// either, so it has to show in another way where it comes from.
pub fn check_origin(config: &Config, head: &RequestHead) -> Result<Box<str>, String> {
    let jsonp = || http::parameters(head.query, ["j"]) != [Ok(None)] && assets::find(head.path).is_none();
    let origin = match head.header("Origin") {
        Some(origin) => origin,
        None if head.header("Sec-Fetch-Site") == Some(b"same-origin") || !jsonp() => return Ok(Box::default()),
        None => http::origin_of(head.header("Referer").unwrap_or_default()),
    };
    let listed = match &config.origins {
        Origins::Any => return Ok("Access-Control-Allow-Origin: *\r\n".into()),
        Origins::Listed(origins) => origins.iter().find(|listed| listed.as_bytes() == origin),
        Origins::Same => None,
    };
    if let Some(listed) = listed {
        let more = "Vary: Origin\r\nAccess-Control-Allow-Credentials: true\r\n";
        return Ok(format!("Access-Control-Allow-Origin: {listed}\r\n{more}").into());
    }
    let (host, https) = seen_from_outside(config, head);
    if http::same_origin(origin, host, https) {
        return Ok(Box::default());
    }
    Err(format!("origin {:?}, host {:?}", String::from_utf8_lossy(origin), String::from_utf8_lossy(host)))
}

/// The host that the browser has asked, and whether by HTTPS if that is known: by our own TLS, or a trusted proxy tells what
/// it has changed.
fn seen_from_outside<'h>(config: &Config, head: &RequestHead<'h>) -> (&'h [u8], Option<bool>) {
    let own = config.tls_cert.as_ref().map(|_| true);
    if !config.trust_proxy {
        return (head.host, own);
    }
    // Azure's front end has one header that gives the scheme, and one that is there if it was HTTPS.
    let scheme = head.header("X-Forwarded-Proto").or(head.header("X-AppService-Proto"));
    let https = match scheme {
        Some(scheme) => Some(http::last_of(scheme).eq_ignore_ascii_case(b"https")),
        None => head.header("X-ARR-SSL").map(|_| true).or(own),
    };
    let host = head.header("X-Forwarded-Host").map(http::last_of).or(head.header("X-Original-Host"));
    (host.unwrap_or(head.host), https)
}

/// Whose request this is: the peer, or whom a trusted proxy says it speaks for.
pub fn client(config: &Config, head: &RequestHead, peer: IpAddr) -> IpAddr {
    let list = head.header("X-Forwarded-For").filter(|_| config.trust_proxy);
    list.and_then(|list| http::address_of(http::last_of(list))).unwrap_or(peer.to_canonical())
}

/// The answer to a request on the port that only leads to the other one, which has TLS; the host is the one that the client
/// itself has named.
pub fn to_https(config: &Config, head: &RequestHead) -> Response {
    let (name, _) = http::split_port(str::from_utf8(head.host).unwrap_or_default());
    if name.is_empty() || !matches!(head.method, Method::Get | Method::Head) || !head.path.starts_with('/') {
        return Response::new(400).body("text/plain", "this port only leads to https").close();
    }
    let port = if config.port == 443 { String::new() } else { format!(":{}", config.port) };
    let query = if head.query.is_empty() { String::new() } else { format!("?{}", head.query) };
    Response::new(308).header("Location", &format!("https://{name}{port}{}{query}", head.path)).close()
}

/// Whoever has the token may read metrics. Without one, programs of this machine: the peer is, and no proxy has added a
/// header that names another.
pub fn may_read_metrics(config: &Config, head: &RequestHead, peer: IpAddr) -> bool {
    match &config.metrics_token {
        Some(token) => head.header("Authorization") == Some(format!("Bearer {token}").as_bytes()),
        None => peer.to_canonical().is_loopback() && !config.iis && !head.is_forwarded(),
    }
}
