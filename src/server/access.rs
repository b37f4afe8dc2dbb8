//! Decides by the head of a request which origins may connect, which address a client has, and who may read the metrics.
//!
//! This file reads the forwarded headers: X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, and what Azure's front end
//! sends in their place. Anybody can send them, so `--trust-proxy` says which proxies are trusted. Each proxy adds an entry
//! at the end of a list. The entry of the outermost trusted proxy counts; those before it may be forged.

use crate::base::text::is_same_secret;
use crate::config::{Config, Origins, TrustProxy, is_public};
use crate::http::origin;
use crate::http::{self, Method, RequestHead, Response};
use std::iter;
use std::net::{IpAddr, SocketAddr};

/// Checks whether the page that sends a request may connect. `is_engine`: the request is for Engine.IO. Returns CORS header
/// lines for the response (none for our own page); `Err` describes the refused page. Most requests without Origin are
/// allowed: browsers send Origin if a foreign page could read the response. But a foreign page can open a session by an
/// `<img>`, which Sec-Fetch-Site reveals, and read JSONP by a `<script>`. In both cases Referer must name an allowed page.
pub fn check_origin(config: &Config, head: &RequestHead, peer: IpAddr, is_engine: bool) -> Result<Box<str>, String> {
    let site = head.header("Sec-Fetch-Site").unwrap_or_default();
    let may_be_foreign =
        || matches!(site, b"cross-site" | b"same-site") || http::parameters(head.query, ["j"]) != [None];
    let page = match head.header("Origin") {
        Some(_) if head.headers("Origin").nth(1).is_some() => return Err("two origins".into()),
        Some(origin) => origin,
        None if !is_engine || site == b"same-origin" || !may_be_foreign() => return Ok(vary(config).into()),
        None => head.header("Referer").unwrap_or_default(),
    };
    let page = String::from_utf8_lossy(page);
    let origin = origin::origin_of(&page);
    match &config.origins {
        // Any page can make a sandboxed frame, whose origin is `null`: it has to be listed.
        Origins::Any if origin != "null" => return Ok("Access-Control-Allow-Origin: *\r\n".into()),
        Origins::Listed(origins) if origins.iter().any(|listed| *listed == origin) => {
            let has_owner = !matches!(&*origin, "null" | "file://");
            let credentials = if has_owner { "Access-Control-Allow-Credentials: true\r\n" } else { "" };
            return Ok(format!("Access-Control-Allow-Origin: {origin}\r\n{}{credentials}", vary(config)).into());
        }
        _ => {}
    }
    let (host, https) = requested_host(config, head, peer);
    if origin::is_same_origin(&origin, host, https) {
        return Ok(vary(config).into());
    }
    Err(format!("origin {origin:?}, host {host:?}"))
}

/// Returns the header line that keeps caches from giving the answer for one origin to another; empty if no origin is listed.
pub fn vary(config: &Config) -> &'static str {
    if let Origins::Listed(_) = config.origins { "Vary: Origin\r\n" } else { "" }
}

/// Returns the entry of the field `name` that the outermost trusted proxy has added: the last one, or one further left for
/// each inner proxy. If there are too few, because an inner proxy has replaced them by its own entry, the leftmost counts.
fn forwarded<'h>(config: &Config, head: &RequestHead<'h>, peer: IpAddr, name: &str) -> Option<&'h [u8]> {
    let hops = match &config.trust_proxy {
        TrustProxy::Hops(count) => usize::from(*count),
        TrustProxy::Listed(_) => {
            let clients = head.members("X-Forwarded-For").rev().map_while(parse_address);
            iter::once(peer).chain(clients).take_while(|address| config.trust_proxy.may_be_proxy(*address)).count()
        }
    };
    head.members(name).rev().take(hops).last()
}

/// Returns the host that the browser addressed, and whether it used HTTPS (`None` if unknown). A trusted proxy may have
/// changed both, so its headers are preferred.
fn requested_host<'h>(config: &Config, head: &RequestHead<'h>, peer: IpAddr) -> (&'h str, Option<bool>) {
    let entry = |name| forwarded(config, head, peer, name);
    // Azure: X-AppService-Proto names the scheme, and X-ARR-SSL is present if the scheme was HTTPS.
    let https = match entry("X-Forwarded-Proto").or_else(|| entry("X-AppService-Proto")) {
        // For a WebSocket, Traefik sends `wss` instead of `https`.
        Some(scheme) => Some(scheme.eq_ignore_ascii_case(b"https") || scheme.eq_ignore_ascii_case(b"wss")),
        None => (entry("X-ARR-SSL").is_some() || config.tls_cert.is_some()).then_some(true),
    };
    let host = entry("X-Forwarded-Host").or_else(|| entry("X-Original-Host"));
    (host.map_or(head.host, |host| str::from_utf8(host).unwrap_or_default()), https)
}

/// Returns the client's address for limits and logs: the peer's, or the one that a trusted proxy names in X-Forwarded-For.
pub fn client_address(config: &Config, head: &RequestHead, peer: IpAddr) -> IpAddr {
    forwarded(config, head, peer, "X-Forwarded-For").and_then(parse_address).unwrap_or(peer)
}

/// Whether a request comes through a proxy nearby of which `--trust-proxy` says neither that it is trusted nor that it is not.
pub fn has_unknown_proxy(config: &Config, head: &RequestHead, peer: IpAddr) -> bool {
    !config.knows_proxy && !is_public(peer) && head.header("X-Forwarded-For").is_some()
}

/// Parses an entry of X-Forwarded-For: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
/// [`origin::split_port`] is not used, because it would take the last group of an IPv6 address without brackets for a port.
fn parse_address(entry: &[u8]) -> Option<IpAddr> {
    let entry = str::from_utf8(entry).ok()?;
    let address = entry.parse::<SocketAddr>().map(|address| address.ip());
    let address = address.or_else(|_| entry.trim_matches(['[', ']']).parse()).ok();
    address.map(|address| address.to_canonical())
}

/// The header fields that browsers, curl and Prometheus send of their own accord, besides those that begin with `Sec-`. Any
/// other may come from a proxy: Via, Forwarded, X-Real-IP, CF-Connecting-IP, and many more than a list could name.
const DIRECT_FIELDS: &str = "accept accept-charset accept-encoding accept-language authorization cache-control connection \
                             content-length content-type cookie dnt host if-modified-since if-none-match keep-alive pragma \
                             priority referer te upgrade-insecure-requests user-agent x-prometheus-scrape-timeout-seconds";

/// Whether a request shows no trace of a proxy on this machine, which could send it for anybody. By default nginx 1.28 adds
/// no header field, but speaks HTTP/1.0, which the clients named above do not. The host must be an address or localhost: a
/// foreign page can have its own host name resolved to a loopback address (DNS rebinding).
fn is_direct(head: &RequestHead) -> bool {
    let is_known = |name: String| name.starts_with("sec-") || DIRECT_FIELDS.split(' ').any(|known| known == name);
    let (host, _) = origin::split_port(head.host);
    let is_local = host.eq_ignore_ascii_case("localhost") || parse_address(host.as_bytes()).is_some();
    head.minor == 1 && is_local && head.fields.iter().all(|field| is_known(field.name.to_ascii_lowercase()))
}

/// Whether the sender may read the metrics: with the token or, if none is set, directly from this machine, not via IIS.
pub fn may_read_metrics(config: &Config, head: &RequestHead, peer: IpAddr) -> bool {
    let Some(token) = &config.metrics_token else { return peer.is_loopback() && !config.iis && is_direct(head) };
    let credentials = head.header("Authorization").unwrap_or_default();
    let (scheme, presented) = credentials.split_at_checked("Bearer ".len()).unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"Bearer ") && is_same_secret(presented.trim_ascii_start(), token)
}

/// Returns the response on the port of `--redirect-http`: a redirect to the same host on the port with TLS, or 400.
pub fn redirect_to_https(config: &Config, head: &RequestHead) -> Response {
    let (host, _) = origin::split_port(head.host);
    if host.is_empty() || !matches!(head.method, Method::Get | Method::Head) || !head.path.starts_with('/') {
        return Response::text(400, "this port only redirects to https").close();
    }
    let port = if config.port == 443 { String::new() } else { format!(":{}", config.port) };
    Response::redirect(&format!("https://{host}{port}{}", head.path), head.query).close()
}
