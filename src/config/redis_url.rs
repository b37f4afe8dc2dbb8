//! The URL of a Redis server.

use percent_encoding::percent_decode_str;
use std::{fmt, net::IpAddr};

#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    /// Whether the scheme is `rediss://` rather than `redis://`.
    pub tls: bool,
    pub user: Option<String>,
    pub password: Option<String>,
    /// A name or an IP address; an IPv6 address has no brackets here.
    pub host: String,
    pub port: u16,
    pub database: u32,
}

impl RedisUrl {
    /// Parses `redis[s]://[[user]:password@]host[:port][/database]`; returns `None` if `text` does not have this form.
    pub fn parse(text: &str) -> Option<RedisUrl> {
        let secure = text.strip_prefix("rediss://");
        let rest = secure.or_else(|| text.strip_prefix("redis://"))?;
        let (rest, database) = rest.split_once('/').unwrap_or((rest, ""));
        let database = if database.is_empty() { 0 } else { database.parse().ok()? };
        // A password may contain an @ that is not percent-encoded, so the last @ is the separator.
        let (login, address) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let decode = |text: &str| {
            let text = percent_decode_str(text).decode_utf8().ok()?.into_owned();
            Some((!text.is_empty()).then_some(text))
        };
        let (host, port) = match address.strip_prefix('[') {
            Some(address) => address.split_once(']')?,
            None => address.split_at(address.find(':').unwrap_or(address.len())),
        };
        let port = if port.is_empty() { 6379 } else { port.strip_prefix(':')?.parse().ok()? };
        let valid = !host.is_empty() && !host.contains(['?', '#', '%', ' ']);
        let (user, password) = (decode(user)?, decode(password)?);
        valid.then(|| RedisUrl { tls: secure.is_some(), user, password, host: host.into(), port, database })
    }

    /// Whether the host seems to be on the internet rather than in a private network, judged by the name or address in the
    /// URL. Names are not resolved.
    pub fn is_public(&self) -> bool {
        match self.host.parse() {
            Ok(address) => is_public(address),
            Err(_) => self.host.contains('.') && ![".internal", ".local"].iter().any(|end| self.host.ends_with(end)),
        }
    }
}

/// Whether an address is one of the internet.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_private() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unique_local(),
    }
}

/// Shows scheme, host and port only, because the output is logged: a log must not contain user and password.
impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}", self.host, self.port)
    }
}
