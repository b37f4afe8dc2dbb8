//! Parsers of option values. The text of an error completes the sentence "VALUE is not ...".

use super::{GIGABYTE, Origins, Recovery, RedisUrl, Transports};
use bytesize::ByteSize;
use log::LevelFilter;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

pub(super) fn port(text: &str) -> Result<u16, String> {
    if text.starts_with(r"\\") {
        return Err("a TCP port but a named pipe, as iisnode gives it: salon needs HttpPlatformHandler".into());
    }
    text.parse().map_err(|_| "a port, 0 to 65535".into())
}

pub(super) fn host(text: &str) -> Result<Option<IpAddr>, String> {
    match text.trim_matches(['[', ']']) {
        "*" => Ok(None),
        // `localhost` is the only name accepted, because it needs no DNS lookup.
        "localhost" => Ok(Some(IpAddr::from([127, 0, 0, 1]))),
        address => address.parse().map(|host: IpAddr| Some(host.to_canonical())).map_err(|_| "an IP address".into()),
    }
}

/// Returns a parser of times, written in milliseconds or with a unit, from `least` milliseconds to one day.
pub(super) fn time(least: u64) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        let time = text.parse().map(Duration::from_millis).or_else(|_| humantime::parse_duration(text)).ok();
        let range = Duration::from_millis(least)..=Duration::from_secs(86_400);
        time.filter(|time| range.contains(time)).ok_or("a time such as 300 (milliseconds), 25s or 2m, up to 24h".into())
    }
}

/// Returns a parser of numbers in `range`. They may have a unit of bytes; errors say so only if `range` reaches a gigabyte.
pub(super) fn number(range: RangeInclusive<usize>) -> impl Fn(&str) -> Result<usize, String> {
    move |text| match text.parse() {
        Ok(ByteSize(size)) if usize::try_from(size).is_ok_and(|size| range.contains(&size)) => Ok(size as usize),
        _ if *range.end() < GIGABYTE => Err(format!("a number from {} to {}", range.start(), range.end())),
        _ => Err(format!("a number such as 300000 or 300KiB, from {} to 1 GiB", range.start())),
    }
}

pub(super) fn size(text: &str) -> Result<usize, String> {
    number(1..=GIGABYTE)(text)
}

/// Returns a parser that accepts `none` and everything that `parse` accepts.
pub(super) fn optional<T>(parse: fn(&str) -> Result<T, String>) -> impl Fn(&str) -> Result<Option<T>, String> {
    move |text| if text == "none" { Ok(None) } else { parse(text).map(Some) }
}

pub(super) fn transports(text: &str) -> Result<Transports, String> {
    let names: Vec<_> = text.split(',').map(str::trim).collect();
    let [polling, websocket] = ["polling", "websocket"].map(|name| names.contains(&name));
    let valid = names.iter().all(|name| ["polling", "websocket"].contains(name));
    if valid { Ok(Transports { polling, websocket }) } else { Err("a list of polling and websocket".into()) }
}

/// Defines a parser for an option whose value is one of a few words.
macro_rules! choice {
    ($name:ident: $type:ty, $expected:literal, $($word:pat => $value:expr),*) => {
        pub(super) fn $name(text: &str) -> Result<$type, String> {
            match text {
                $($word => Ok($value),)*
                _ => Err($expected.into()),
            }
        }
    };
}

choice!(yes: bool, "yes or no", "yes" | "true" | "1" => true, "no" | "false" | "0" => false);
choice!(recovery: Recovery, "auto, always or off",
    "auto" => Recovery::Auto, "always" => Recovery::Always, "off" => Recovery::Off);

pub(super) fn origins(text: &str) -> Result<Origins, String> {
    let check = |origin: &str| {
        let origin = origin.to_ascii_lowercase();
        let (scheme, host) = origin.split_once("://").unwrap_or_default();
        let visible = host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/*?#@".contains(&byte));
        // A browser omits the default port in Origin, so a listed origin with the default port would never match.
        let default = if scheme == "https" { ":443" } else { ":80" };
        let valid = !scheme.is_empty() && !host.is_empty() && visible && !host.ends_with(default);
        if valid || matches!(&*origin, "null" | "file://") { Ok(origin) } else { Err(()) }
    };
    let list = || text.split(',').map(|origin| check(origin.trim())).collect::<Result<_, _>>();
    match text {
        "same" => Ok(Origins::Same),
        "*" => Ok(Origins::Any),
        _ => list().map(Origins::Listed).map_err(|()| {
            "a list of origins such as https://a.example:8443 (no path, no slash at the end, no default port), null, file://, or *".into()
        }),
    }
}

/// Parses `max_websockets`. Azure sets WEBSOCKET_CONCURRENT_REQUEST_LIMIT to -1 if there is no limit.
pub(super) fn budget(text: &str) -> Result<Option<usize>, String> {
    match text {
        "none" | "-1" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| "a number of WebSockets, or none".into()),
    }
}

/// Parses the path prefix `base` and removes the slashes at its end, so `/` becomes the empty prefix.
pub(super) fn base(text: &str) -> Result<String, String> {
    let path = text.trim_end_matches('/');
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"/._~-".contains(&byte);
    let valid = (path.is_empty() || path.starts_with('/')) && path.bytes().all(valid) && !path.contains("//");
    if valid { Ok(path.into()) } else { Err("a path such as /chat, of letters, digits and . _ ~ -".into()) }
}

/// Parses a name. Refuses characters with a meaning in patterns of Redis (`*?[`) or in channel names of the adapter (`#`).
pub(super) fn word(text: &str) -> Result<String, String> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    let valid = (1..=64).contains(&text.len()) && text.bytes().all(valid);
    if valid { Ok(text.into()) } else { Err("at most 64 letters, digits and . _ : -".into()) }
}

pub(super) fn title(text: &str) -> Result<String, String> {
    let valid = (1..=64).contains(&text.chars().count()) && !text.contains(char::is_control);
    if valid { Ok(text.into()) } else { Err("a title of 1 to 64 characters".into()) }
}

/// Returns the value of the directive `frame-ancestors` of the Content-Security-Policy.
pub(super) fn frame_ancestors(text: &str) -> Result<String, String> {
    match origins(text)? {
        Origins::Same => Ok("'self'".into()),
        Origins::Any => Ok("*".into()),
        Origins::Listed(list)
            if list.iter().all(|origin| !origin.contains([';', ',', '\'']) && origin.starts_with("http")) =>
        {
            Ok(format!("'self' {}", list.join(" ")))
        }
        Origins::Listed(_) => Err("a list of http:// and https:// origins, same or *".into()),
    }
}

pub(super) fn password(text: &str) -> Result<String, String> {
    let valid = (1..=256).contains(&text.len()) && !text.contains(char::is_control);
    if valid { Ok(text.into()) } else { Err("a password of 1 to 256 bytes without control characters".into()) }
}

pub(super) fn token(text: &str) -> Result<String, String> {
    let valid = text.len() >= 8 && text.bytes().all(|byte| byte.is_ascii_graphic());
    if valid { Ok(text.into()) } else { Err("a token of at least 8 visible ASCII characters".into()) }
}

fn built_with(feature: &str, built: bool) -> Result<(), String> {
    if built { Ok(()) } else { Err(format!("supported: salon was built without the feature {feature}")) }
}

pub(super) fn redis(text: &str) -> Result<RedisUrl, String> {
    let url = RedisUrl::parse(text).ok_or("a URL such as redis://:password@host:6379")?;
    built_with("redis", cfg!(feature = "redis"))?;
    built_with("tls", cfg!(feature = "tls") || !url.tls)?;
    Ok(url)
}

pub(super) fn tls_file(path: &str) -> Result<String, String> {
    built_with("tls", cfg!(feature = "tls"))?;
    Ok(path.to_owned())
}

/// Parses `none` or a path, which need not be UTF-8.
pub(super) fn file(path: &OsStr) -> Result<Option<PathBuf>, String> {
    Ok((path != "none").then(|| path.into()))
}

pub(super) fn level(text: &str) -> Result<LevelFilter, String> {
    text.parse().map_err(|_| "off, error, warn, info, debug or trace".into())
}
