//! Every option: its name, environment variable, default and reason, in one table.
//!
//! The table below makes the fields of [`Config`], their defaults, the flags and the text of `--help`. A flag
//! (`--ping-interval 25s`) wins over the environment (`SALON_PING_INTERVAL`), the environment over the default.
//! `--check` shows what came of it, and what looks wrong.
//! Everything a peer can grow has its limit here (rule R7).

use log::LevelFilter;
use percent_encoding::percent_decode_str;
use std::net::{IpAddr, Ipv4Addr};
use std::{collections::BTreeMap, ffi::OsString, fmt, time::Duration};

/// Header fields a head may have at most, whatever the option says: room for them is on the stack.
pub const MAX_HEADERS: usize = 64;

/// One option, as `--help` shows it.
pub struct Opt {
    pub flag: &'static str,
    /// Variables, separated by spaces; the first that is set counts.
    pub env: &'static str,
    pub default: &'static str,
    pub help: &'static str,
    set: fn(&mut Config, &str) -> Result<(), String>,
}

macro_rules! options {
    ($($field:ident: $type:ty = $flag:literal, $env:literal, $default:literal, $parse:expr, $help:literal;)*) => {
        /// All settings of the server; the table in the source says what each is.
        #[derive(Clone, Debug)]
        pub struct Config {
            $(#[doc = $help] pub $field: $type,)*
            /// IIS has started us, and gave the port: nobody else can reach it.
            pub iis: bool,
            /// Azure App Service has.
            pub azure: bool,
        }

        impl Default for Config {
            fn default() -> Self {
                let good = "a default is a good value";
                Config { $($field: $parse($default).expect(good),)* iis: false, azure: false }
            }
        }

        /// All options, in the order of `--help`.
        pub const OPTIONS: &[Opt] = &[$(Opt {
            flag: $flag,
            env: $env,
            default: $default,
            help: $help,
            set: |config, text| $parse(text).map(|value| config.$field = value),
        },)*];
    };
}

options! {
    port: u16 = "port", "HTTP_PLATFORM_PORT ASPNETCORE_PORT PORT", "3000", port,
        "TCP port; 0 means any free one. The first two variables come from IIS";
    host: Option<IpAddr> = "host", "HOST", "*", host,
        "IP address to listen on; * means all of both versions (if IIS gave the port: 127.0.0.1)";
    base: String = "base", "SALON_BASE", "/", base, "path below which everything is served, as an IIS virtual application";
    trust_proxy: Option<bool> = "trust-proxy", "SALON_TRUST_PROXY", "auto", yes_or_auto,
        "believe X-Forwarded-For, -Host, -Proto and their kin: yes, no, or auto: yes under IIS and on Azure";
    origins: Origins = "origins", "SALON_ORIGINS", "same", origins,
        "origins whose pages may connect besides our own: a list, or * for all (then without cookies)";
    transports: Transports = "transports", "SALON_TRANSPORTS", "polling,websocket", transports,
        "what clients may use";
    max_websockets: Option<usize> = "max-websockets", "SALON_MAX_WEBSOCKETS WEBSOCKET_CONCURRENT_REQUEST_LIMIT", "none", budget,
        "WebSockets that the platform allows at one time; who comes later stays on polling. The second variable is Azure's";
    old_clients: bool = "old-clients", "SALON_OLD_CLIENTS", "yes", yes,
        "serve EIO=2 and EIO=3, the protocols of Socket.IO 1.x and 2.x: yes or no";
    recovery: Recovery = "recovery", "SALON_RECOVERY", "auto", recovery,
        "connection state recovery: auto (JavaScript clients and those with ?recovery=1), always or off";
    recovery_time: Duration = "recovery-time", "SALON_RECOVERY_TIME", "2m", time,
        "how long after a broken connection a client can go on where it was";
    recovery_packets: usize = "recovery-packets", "SALON_RECOVERY_PACKETS", "10000", size,
        "packets kept for clients that come back";
    recovery_bytes: usize = "recovery-bytes", "SALON_RECOVERY_BYTES", "2MiB", size,
        "bytes of packets kept for clients that come back: half of --max-queue, so that they can be sent at once";
    leave_grace: Duration = "leave-grace", "SALON_LEAVE_GRACE", "5s", time_or_none,
        "how long a broken connection is no goodbye; 0: user left is announced at once";
    metrics_token: Option<String> = "metrics-token", "SALON_METRICS_TOKEN", "none", token,
        "who sends it as a bearer token may read /metrics; without one, only programs of this machine";
    redis: Option<RedisUrl> = "redis", "REDIS_URL", "none", redis,
        "share the chat through this Redis: redis://user:password@host:port/db, or rediss:// for TLS";
    redis_ca: Option<String> = "redis-ca", "SALON_REDIS_CA", "none", file,
        "PEM file of the authorities to trust for rediss://; without one, those that browsers trust";
    redis_prefix: String = "redis-prefix", "SALON_REDIS_PREFIX", "socket.io", prefix,
        "how the names of channels begin: `key` of the adapter for Node";
    presence_beat: Duration = "presence-beat", "SALON_PRESENCE_BEAT", "10s", time,
        "how often a node with users tells the others how many; after three times without, it is forgotten";
    instance: String = "instance", "SALON_INSTANCE", "auto", name,
        "the name of this node in log lines and among the others; auto makes one up";
    drain: Duration = "drain", "SALON_DRAIN", "3s", time_or_none,
        "over how long a stopping server sends its clients away; Azure kills after 5 s. 0: all at once";
    log: LevelFilter = "log", "SALON_LOG", "info", level, "off, error, warn, info, debug or trace";
    ping_interval: Duration = "ping-interval", "SALON_PING_INTERVAL", "25s", time, "from one heartbeat to the next";
    ping_timeout: Duration = "ping-timeout", "SALON_PING_TIMEOUT", "20s", time, "how long its answer may take";
    upgrade_timeout: Duration = "upgrade-timeout", "SALON_UPGRADE_TIMEOUT", "10s", time,
        "how long a WebSocket may take to replace polling";
    connect_timeout: Duration = "connect-timeout", "SALON_CONNECT_TIMEOUT", "45s", time,
        "how long a session may go without a namespace";
    head_timeout: Duration = "head-timeout", "SALON_HEAD_TIMEOUT", "10s", time,
        "how long a request head may take from its first byte, or a new connection to send one";
    body_timeout: Duration = "body-timeout", "SALON_BODY_TIMEOUT", "60s", time,
        "how long a request body may take: a megabyte over a bad mobile connection";
    idle_timeout: Duration = "idle-timeout", "SALON_IDLE_TIMEOUT", "75s", time,
        "how long a connection is kept for the next request: a little longer than the 60 s of common proxies";
    message_timeout: Duration = "message-timeout", "SALON_MESSAGE_TIMEOUT", "60s", time,
        "how long the rest of a WebSocket message, or the attachments of a packet, may take";
    write_timeout: Duration = "write-timeout", "SALON_WRITE_TIMEOUT", "60s", time,
        "how long a client may take nothing of what is queued for it: long enough for a tunnel";
    max_name: usize = "max-name", "SALON_MAX_NAME", "64", size, "longest user name, in Unicode scalar values";
    max_text: usize = "max-text", "SALON_MAX_TEXT", "16KiB", size, "longest text, in bytes of UTF-8";
    max_payload: usize = "max-payload", "SALON_MAX_PAYLOAD", "1000000", size,
        "largest message, and largest request body";
    max_connections: usize = "max-connections", "SALON_MAX_CONNECTIONS", "15000", size,
        "TCP connections at one time, and sessions: below the usual 20,000 descriptors";
    max_queue: usize = "max-queue", "SALON_MAX_QUEUE", "4MiB", size,
        "bytes queued for one client at which it is dropped; a sender with half of them is not read";
    soft_queue: usize = "soft-queue", "SALON_SOFT_QUEUE", "1MiB", size,
        "bytes queued for one client for --soft-time at which it is dropped: it will not catch up";
    soft_time: Duration = "soft-time", "SALON_SOFT_TIME", "20s", time, "see --soft-queue";
    max_head: usize = "max-head", "SALON_MAX_HEAD", "16KiB", size, "largest request head; many cookies stay below";
    max_headers: usize = "max-headers", "SALON_MAX_HEADERS", "64", headers,
        "header fields of a request, 64 at most: browsers behind two proxies send about 40";
    max_fragments: usize = "max-fragments", "SALON_MAX_FRAGMENTS", "128", size,
        "frames of a WebSocket message: clients send one, proxies cut some dozens";
    max_attachments: usize = "max-attachments", "SALON_MAX_ATTACHMENTS", "10", size,
        "binary attachments of a packet, as in the reference";
    max_depth: usize = "max-depth", "SALON_MAX_DEPTH", "64", depth, "nesting of JSON, 128 at most: the stack is finite";
    max_acks: usize = "max-acks", "SALON_MAX_ACKS", "100", size, "answers that one socket may owe us";
}

/// Which transports clients may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transports {
    pub polling: bool,
    pub websocket: bool,
}

/// Who takes part in connection state recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    Auto,
    Always,
    Off,
}

/// Whose pages may talk to us, besides our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    Same,
    Listed(Vec<String>),
    Any,
}

/// Where a Redis server is, and who we are there.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    /// `rediss://`
    pub tls: bool,
    pub user: Option<String>,
    pub password: Option<String>,
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    pub port: u16,
    pub database: u32,
}

impl RedisUrl {
    /// Reads a URL; `None` if it is none.
    fn parse(text: &str) -> Option<RedisUrl> {
        let (scheme, rest) = text.split_once("://")?;
        let tls = match scheme {
            "redis" => false,
            "rediss" => true,
            _ => return None,
        };
        let (rest, database) = rest.split_once('/').unwrap_or((rest, ""));
        let database = if database.is_empty() { 0 } else { database.parse().ok()? };
        // A password may have an @ that nobody has encoded.
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
        let fine = !host.is_empty() && !host.contains(['?', '#', '%', ' ']);
        let (user, password) = (decode(user)?, decode(password)?);
        fine.then(|| RedisUrl { tls, user, password, host: host.into(), port, database })
    }

    /// Whether the way there may lead through the internet, as far as the name tells.
    fn is_public(&self) -> bool {
        match self.host.parse() {
            Ok(IpAddr::V4(address)) => !address.is_loopback() && !address.is_private() && !address.is_link_local(),
            Ok(IpAddr::V6(address)) => !address.is_loopback() && !address.is_unique_local(),
            Err(_) => self.host.contains('.') && ![".internal", ".local"].iter().any(|end| self.host.ends_with(end)),
        }
    }
}

/// Without the password: this may be logged.
impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Action {
    Run(Box<Config>),
    /// Show the settings, and what looks wrong.
    Check(Box<Config>, Vec<Setting>),
    /// Ask the server that runs with these settings how it is.
    Probe(Box<Config>),
    Help,
    Version,
}

/// An option as it is set.
#[derive(Debug)]
pub struct Setting {
    pub flag: &'static str,
    /// A secret is not shown.
    pub value: String,
    /// `default`, the variable or the flag.
    pub source: String,
}

impl Config {
    /// Reads arguments (without the program's name) and environment; `self` has the defaults. An error is one
    /// line that names the option as it was given.
    pub fn load(
        mut self, args: impl IntoIterator<Item = OsString>, env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Action, String> {
        let mut flags = BTreeMap::new();
        let (mut check, mut probe) = (false, false);
        let mut parser = lexopt::Parser::from_args(args);
        while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
            match argument {
                lexopt::Arg::Short('h') | lexopt::Arg::Long("help") => return Ok(Action::Help),
                lexopt::Arg::Short('V') | lexopt::Arg::Long("version") => return Ok(Action::Version),
                lexopt::Arg::Long("check") => check = true,
                lexopt::Arg::Long("probe") => probe = true,
                lexopt::Arg::Long(name) => {
                    let option = OPTIONS.iter().find(|option| option.flag == name);
                    let option = option.ok_or_else(|| format!("unknown option --{name}, see --help"))?;
                    let value = match parser.optional_value() {
                        Some(value) => value,
                        None if option.is_switch() && !next_is_value(&mut parser) => "yes".into(),
                        None => parser.value().map_err(|error| error.to_string())?,
                    };
                    flags.insert(option.flag, value);
                }
                other => return Err(other.unexpected().to_string()),
            }
        }
        let mut settings = Vec::new();
        for option in OPTIONS {
            // A variable that is set to nothing counts as not set: deployment templates do that.
            let set = |name: &&str| env(name).is_some_and(|value| !value.is_empty());
            let variable = option.env.split(' ').find(set);
            let (name, value) = match (flags.remove(option.flag), variable) {
                (Some(value), _) => (format!("--{}", option.flag), value),
                (None, Some(variable)) => (variable.to_owned(), env(variable).unwrap_or_default()),
                (None, None) => ("default".to_owned(), option.default.into()),
            };
            self.iis |= ["HTTP_PLATFORM_PORT", "ASPNETCORE_PORT"].contains(&name.as_str());
            let text = value.to_str().ok_or_else(|| format!("{name}: not UTF-8"))?.trim();
            // The default is not set anew: an example of the tests has others.
            if name != "default" {
                // What is wrong with a secret is said without showing it.
                let shown = || if option.is_secret() { "the value".into() } else { format!("{text:?}") };
                (option.set)(&mut self, text).map_err(|expected| format!("{name}: {} is not {expected}", shown()))?;
            }
            let value = if option.is_secret() && name != "default" { "(a secret)".into() } else { text.to_owned() };
            settings.push(Setting { flag: option.flag, value, source: name });
        }
        self.azure = env("WEBSITE_SITE_NAME").is_some();
        if self.iis && self.host.is_none() {
            self.host = Some(Ipv4Addr::LOCALHOST.into());
        }
        // What follows from others is shown as it is.
        for setting in &mut settings {
            match (setting.flag, self.host) {
                ("host", Some(host)) => setting.value = host.to_string(),
                ("trust-proxy", _) if self.trust_proxy.is_none() => {
                    setting.value = format!("auto: {}", if self.trusts_proxy() { "yes" } else { "no" });
                }
                _ => {}
            }
        }
        Ok(match (check, probe) {
            (true, _) => Action::Check(Box::new(self), settings),
            (_, true) => Action::Probe(Box::new(self)),
            _ => Action::Run(Box::new(self)),
        })
    }

    /// Whether headers of a proxy are believed.
    pub fn trusts_proxy(&self) -> bool {
        self.trust_proxy.unwrap_or(self.iis || self.azure)
    }

    /// What looks wrong, a line each. `variables` are the names in the environment, `descriptors` is how many the process may
    /// have, if that is known.
    pub fn doubts(&self, variables: impl IntoIterator<Item = String>, descriptors: Option<usize>) -> Vec<String> {
        let mut doubts = Vec::new();
        let known = |name: &str| OPTIONS.iter().any(|option| option.env.split(' ').any(|env| env == name));
        let unknown = variables.into_iter().filter(|name| name.starts_with("SALON_") && !known(name));
        doubts.extend(unknown.map(|name| format!("{name}: no such option, see --help")));
        let mut doubt = |wrong: bool, line: &str| doubts.extend(wrong.then(|| line.to_owned()));
        let silence = self.ping_interval + self.ping_timeout;
        doubt(
            self.trusts_proxy() && silence > Duration::from_secs(55),
            "--ping-interval plus --ping-timeout is above 55 s: proxies cut connections that are silent for 60 s",
        );
        doubt(self.origins == Origins::Any, "--origins *: every page in the world may speak for your users");
        doubt(self.max_text > self.max_payload, "--max-text is above --max-payload, which cuts it");
        doubt(self.soft_queue > self.max_queue, "--soft-queue is above --max-queue, and means nothing");
        doubt(self.recovery_bytes > self.max_queue, "--recovery-bytes is above --max-queue: who comes back is dropped");
        doubt(
            self.max_websockets.is_some() && !self.transports.polling,
            "--max-websockets without polling in --transports: who is over the budget can only try again",
        );
        if let Some(redis) = &self.redis {
            doubt(
                !redis.tls && redis.is_public(),
                "--redis without TLS on a public name: password and messages can be read on the way; use rediss://",
            );
            doubt(!redis.tls && self.redis_ca.is_some(), "--redis-ca means nothing without rediss://");
        }
        if let Some(limit) = descriptors.filter(|limit| *limit < self.max_connections + 32) {
            doubts.push(format!("ulimit -n is {limit}: too low for --max-connections {}", self.max_connections));
        }
        doubts
    }
}

/// Whether the next argument can be the value of a flag that needs none.
fn next_is_value(parser: &mut lexopt::Parser) -> bool {
    let next = parser.try_raw_args().and_then(|args| args.peek().map(|next| next.to_owned()));
    next.is_some_and(|next| !next.to_string_lossy().starts_with('-'))
}

impl Opt {
    /// Whether the flag alone means `yes`.
    fn is_switch(&self) -> bool {
        ["yes", "no", "auto"].contains(&self.default) && self.flag != "recovery" && self.flag != "instance"
    }

    /// Whether its value is not to be shown.
    fn is_secret(&self) -> bool {
        ["redis", "metrics-token"].contains(&self.flag)
    }
}

/// The text of `--help`.
pub fn help() -> String {
    let mut text = String::from("salon: a Socket.IO chat server\n\nUsage: salon [OPTIONS]\n\n");
    for Opt { flag, env, default, help, .. } in OPTIONS {
        let env = env.replace(' ', ", ");
        text += &format!("  --{flag} VALUE, {env} (default: {default})\n        {help}\n");
    }
    text +=
        "  --check\n        show all settings, where they come from and what looks wrong; status 1 if anything does\n";
    text += "  --probe\n        ask the server that runs with these settings; status 0 if it serves\n";
    text + "  -h, --help\n        this text\n  -V, --version\n        the version\n"
}

fn port(text: &str) -> Result<u16, String> {
    if text.starts_with(r"\\") {
        return Err("a TCP port but a named pipe, as iisnode gives it: salon needs HttpPlatformHandler".into());
    }
    text.parse().map_err(|_| "a port, 0 to 65535".into())
}

fn host(text: &str) -> Result<Option<IpAddr>, String> {
    match text.trim_matches(['[', ']']) {
        "*" => Ok(None),
        // What people write, and the one name that needs no look-up.
        "localhost" => Ok(Some(IpAddr::from([127, 0, 0, 1]))),
        address => address.parse().map(Some).map_err(|_| "an IP address".into()),
    }
}

/// Milliseconds, or a number with a unit; at most a day, at least a millisecond.
fn time(text: &str) -> Result<Duration, String> {
    let unit = match text.trim_start_matches(|c: char| c.is_ascii_digit()) {
        "" | "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    match number(text).and_then(|number| number.checked_mul(unit)) {
        Some(millis @ 1..=86_400_000) => Ok(Duration::from_millis(millis)),
        _ => Err("a time such as 300 (milliseconds), 25s or 2m, up to 24h".into()),
    }
}

fn time_or_none(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { time(text) }
}

/// A count, or bytes with a unit. Above a gigabyte it is a mistake; sums of a few must fit into 32 bits.
fn size(text: &str) -> Result<usize, String> {
    let unit = match text.trim_start_matches(|c: char| c.is_ascii_digit()) {
        "" => 1,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "k" | "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        _ => 0,
    };
    match number(text).and_then(|number| number.checked_mul(unit)) {
        Some(size @ 1..=0x4000_0000) => Ok(size as usize),
        _ => Err("a number such as 65536 or 64KiB, up to 1 GiB".into()),
    }
}

fn number(text: &str) -> Option<u64> {
    text[..text.bytes().take_while(u8::is_ascii_digit).count()].parse().ok()
}

fn headers(text: &str) -> Result<usize, String> {
    size(text).ok().filter(|count| *count <= MAX_HEADERS).ok_or(format!("a number from 1 to {MAX_HEADERS}"))
}

fn depth(text: &str) -> Result<usize, String> {
    size(text).ok().filter(|depth| *depth <= 128).ok_or("a number from 1 to 128".into())
}

fn transports(text: &str) -> Result<Transports, String> {
    let mut transports = Transports::default();
    for name in text.split(',') {
        match name.trim() {
            "polling" => transports.polling = true,
            "websocket" => transports.websocket = true,
            _ => return Err("a list of polling and websocket".into()),
        }
    }
    Ok(transports)
}

fn recovery(text: &str) -> Result<Recovery, String> {
    match text {
        "auto" => Ok(Recovery::Auto),
        "always" => Ok(Recovery::Always),
        "off" => Ok(Recovery::Off),
        _ => Err("auto, always or off".into()),
    }
}

fn origins(text: &str) -> Result<Origins, String> {
    let check = |origin: &str| {
        let origin = origin.to_ascii_lowercase();
        let (scheme, host) = origin.split_once("://").unwrap_or_default();
        let visible = host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/*?#@".contains(&byte));
        // Browsers leave the default port out.
        let default = if scheme == "https" { ":443" } else { ":80" };
        let fine = !scheme.is_empty() && !host.is_empty() && visible && !host.ends_with(default);
        if fine || origin == "null" { Ok(origin) } else { Err(()) }
    };
    let list = || text.split(',').map(|origin| check(origin.trim())).collect::<Result<_, _>>();
    match text {
        "same" => Ok(Origins::Same),
        "*" => Ok(Origins::Any),
        _ => list().map(Origins::Listed).map_err(|()| {
            "a list of origins such as https://a.example:8443 (no path, no slash at the end, no default port), null, or *".into()
        }),
    }
}

fn yes(text: &str) -> Result<bool, String> {
    match text {
        "yes" | "true" | "1" => Ok(true),
        "no" | "false" | "0" => Ok(false),
        _ => Err("yes or no".into()),
    }
}

fn yes_or_auto(text: &str) -> Result<Option<bool>, String> {
    if text == "auto" { Ok(None) } else { yes(text).map(Some).map_err(|_| "yes, no or auto".into()) }
}

/// -1 is how Azure says that there is no limit.
fn budget(text: &str) -> Result<Option<usize>, String> {
    match text {
        "none" | "-1" => Ok(None),
        "0" => Ok(Some(0)),
        _ => size(text).map(Some).map_err(|_| "a number of WebSockets, or none".into()),
    }
}

/// Without the slash at the end: nothing for `/`.
fn base(text: &str) -> Result<String, String> {
    let path = text.trim_end_matches('/');
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"/._~-".contains(&byte);
    if (path.is_empty() || path.starts_with('/')) && path.bytes().all(fine) && !path.contains("//") {
        Ok(path.into())
    } else {
        Err("a path such as /chat, of letters, digits and . _ ~ -".into())
    }
}

fn token(text: &str) -> Result<Option<String>, String> {
    match text {
        "none" => Ok(None),
        _ if text.len() >= 8 && text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(text.into())),
        _ => Err("a token of at least 8 visible ASCII characters".into()),
    }
}

fn redis(text: &str) -> Result<Option<RedisUrl>, String> {
    match text {
        "none" => Ok(None),
        _ if !cfg!(feature = "redis") => Err("of use: this salon is built without the feature redis".into()),
        _ if text.starts_with("rediss:") && !cfg!(feature = "tls") => {
            Err("of use: this salon is built without the feature tls".into())
        }
        _ => RedisUrl::parse(text).map(Some).ok_or("a URL such as redis://:password@host:6379".into()),
    }
}

fn file(text: &str) -> Result<Option<String>, String> {
    Ok((text != "none").then(|| text.into()))
}

fn prefix(text: &str) -> Result<String, String> {
    // No character that has a meaning in a pattern of Redis, or between the parts of a channel.
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if text.bytes().all(fine) { Ok(text.into()) } else { Err("letters, digits and . _ : -".into()) }
}

fn name(text: &str) -> Result<String, String> {
    let fine = text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fine { Ok(text.into()) } else { Err("a name of at most 64 visible ASCII characters".into()) }
}

fn level(text: &str) -> Result<LevelFilter, String> {
    text.parse().map_err(|_| "off, error, warn, info, debug or trace".into())
}
