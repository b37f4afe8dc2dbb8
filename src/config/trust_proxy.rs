//! The value of `--trust-proxy`: which proxies are trusted, by their number or by their addresses.

use std::net::IpAddr;

/// The proxies whose forwarded headers count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustProxy {
    /// This number of proxies, one behind the other, at any address.
    Hops(u8),
    /// The proxies at these addresses, however many are behind one another. Each entry is a prefix (CIDR): an address as
    /// 128 bits, and the number of leading bits that must match.
    Listed(Vec<(u128, u32)>),
}

/// Returns an address as 128 bits: an IPv4 address as an IPv4-mapped one (RFC 4291 section 2.5.5.2).
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Parses an address or a prefix, such as `10.0.0.1`, `10.0.0.0/8` or `2001:db8::/32`.
fn parse_prefix(text: &str) -> Option<(u128, u32)> {
    let (all, mapped) = if text.contains(':') { ("128", 0) } else { ("32", 96) };
    let (address, length) = text.split_once('/').unwrap_or((text, all));
    let length = mapped + u32::from(length.parse::<u8>().ok()?);
    Some((bits(address.parse().ok()?), length)).filter(|_| length <= 128)
}

impl TrustProxy {
    pub const NONE: TrustProxy = TrustProxy::Hops(0);

    pub(super) fn parse(text: &str) -> Result<TrustProxy, String> {
        let list = || text.split(',').map(|entry| parse_prefix(entry.trim())).collect::<Option<_>>();
        let proxies = match text {
            "no" | "false" => Some(TrustProxy::NONE),
            "yes" | "true" => Some(TrustProxy::Hops(1)),
            _ => text.parse().map(TrustProxy::Hops).ok().or_else(|| list().map(TrustProxy::Listed)),
        };
        proxies.ok_or("yes, no, a number of proxies up to 255, or a list of addresses such as 10.0.0.0/8,::1".into())
    }

    /// Whether `peer` may be a proxy, which connects for many clients. If no proxy is trusted, only a program on this
    /// machine may be one: a local proxy can run although nobody has set `--trust-proxy`.
    pub fn may_be_proxy(&self, peer: IpAddr) -> bool {
        match self {
            Self::Hops(0) => peer.is_loopback(),
            Self::Hops(_) => true,
            Self::Listed(list) => list.iter().any(|(prefix, length)| (prefix ^ bits(peer)).leading_zeros() >= *length),
        }
    }
}
