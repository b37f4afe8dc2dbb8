//! Every option: its flag, its environment variable, its default and the reason for it.
//!
//! One table, [`OPTIONS`], is what parsing and `--help` are made from. A flag wins over the environment, the
//! environment over the default; where a value came from is remembered. Limits of which nobody needs to know
//! are fields without an option: each has its reason beside it (rule R7).

use log::LevelFilter;
use std::{collections::BTreeMap, ffi::OsString, net::IpAddr, time::Duration};

/// All settings of the server.
#[derive(Clone, Debug)]
pub struct Config {
    /// TCP port; 0 means any free one.
    pub port: u16,
    /// Address to listen on; `None`: all, of both IP versions.
    pub host: Option<IpAddr>,
    /// From one ping to the next.
    pub ping_interval: Duration,
    /// How long a pong may take.
    pub ping_timeout: Duration,
    /// How long a WebSocket may probe before it is closed.
    pub upgrade_timeout: Duration,
    /// How long a session may live without a CONNECT.
    pub connect_timeout: Duration,
    /// Bytes of a message, and of a request body.
    pub max_payload: usize,
    /// What clients may use.
    pub transports: Transports,
    /// Pages of which origins may talk to us.
    pub origins: Origins,
    /// What is logged.
    pub log: LevelFilter,
    /// Unicode scalar values in a name.
    pub max_name: usize,
    /// UTF-8 bytes in a text.
    pub max_text: usize,
    /// TCP connections at one time.
    pub max_connections: usize,
    /// Bytes that may be queued for one client; above, it is evicted.
    pub max_queue: usize,
    /// Bytes that may be queued for one client for longer than `soft_queue_time`: a reader that far behind
    /// for that long does not catch up.
    pub soft_queue: usize,
    /// See `soft_queue`.
    pub soft_queue_time: Duration,
    /// How long a write may stand still: long enough for a phone in a tunnel.
    pub write_timeout: Duration,
    /// From the first byte of a request head (or from the start of a connection) to its last.
    pub head_timeout: Duration,
    /// The same for a body: a megabyte over a bad mobile connection.
    pub body_timeout: Duration,
    /// How long a kept connection may be without a request; a little longer than the 60 s of common proxies,
    /// so that it is they who close first.
    pub idle_timeout: Duration,
    /// The second half of a WebSocket message, and the attachments of a binary packet.
    pub message_timeout: Duration,
    /// Bytes of a request head: browsers with many cookies stay below.
    pub max_head: usize,
    /// Header fields of a request; browsers behind two proxies send about 40.
    pub max_headers: usize,
    /// Frames of one WebSocket message; no client sends more than a few, proxies cut into some dozens.
    pub max_fragments: u32,
    /// Attachments of one packet: the reference's limit.
    pub max_attachments: usize,
    /// Nesting of JSON: deeper is an attack on the stack.
    pub max_depth: usize,
    /// Answers that one socket may owe us.
    pub max_acks: usize,
}

/// Which transports clients may use; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transports {
    /// HTTP long polling.
    pub polling: bool,
    /// WebSocket.
    pub websocket: bool,
}

/// Whose pages may talk to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Only our own.
    Same,
    /// Our own and these, each as browsers send it.
    Listed(Vec<String>),
    /// All, without cookies.
    Any,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            port: 3000,
            host: None,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(45),
            max_payload: 1_000_000,
            transports: Transports { polling: true, websocket: true },
            origins: Origins::Same,
            log: LevelFilter::Info,
            max_name: 64,
            max_text: 16 * 1024,
            max_connections: 15_000,
            max_queue: 4 * 1024 * 1024,
            soft_queue: 1024 * 1024,
            soft_queue_time: Duration::from_secs(20),
            write_timeout: Duration::from_secs(60),
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(75),
            message_timeout: Duration::from_secs(60),
            max_head: 16 * 1024,
            max_headers: crate::http::MAX_HEADERS,
            max_fragments: 128,
            max_attachments: 10,
            max_depth: 64,
            max_acks: 100,
        }
    }
}

/// One option.
pub struct Opt {
    /// The flag, without its dashes.
    pub flag: &'static str,
    /// The environment variable.
    pub env: &'static str,
    /// What stands for the value in `--help`.
    pub value: &'static str,
    /// The default, as one would write it.
    pub default: &'static str,
    /// What it is.
    pub help: &'static str,
    set: fn(&mut Config, &str) -> Result<(), String>,
}

/// All options.
#[rustfmt::skip]
pub const OPTIONS: &[Opt] = &[
    Opt { flag: "port", env: "PORT", value: "N", default: "3000", help: "TCP port, 0 for any free one", set: |c, v| set(&mut c.port, port(v)) },
    Opt { flag: "host", env: "HOST", value: "ADDRESS", default: "all addresses", help: "IP address to listen on", set: |c, v| set(&mut c.host, host(v)) },
    Opt { flag: "ping-interval", env: "SALON_PING_INTERVAL", value: "TIME", default: "25s", help: "from one heartbeat to the next", set: |c, v| set(&mut c.ping_interval, duration(v)) },
    Opt { flag: "ping-timeout", env: "SALON_PING_TIMEOUT", value: "TIME", default: "20s", help: "how long the answer to a heartbeat may take", set: |c, v| set(&mut c.ping_timeout, duration(v)) },
    Opt { flag: "upgrade-timeout", env: "SALON_UPGRADE_TIMEOUT", value: "TIME", default: "10s", help: "how long an upgrade to WebSocket may take", set: |c, v| set(&mut c.upgrade_timeout, duration(v)) },
    Opt { flag: "connect-timeout", env: "SALON_CONNECT_TIMEOUT", value: "TIME", default: "45s", help: "how long a session may go without a namespace", set: |c, v| set(&mut c.connect_timeout, duration(v)) },
    Opt { flag: "max-payload", env: "SALON_MAX_PAYLOAD", value: "BYTES", default: "1000000", help: "largest message or request body", set: |c, v| set(&mut c.max_payload, bytes(v, 1024)) },
    Opt { flag: "transports", env: "SALON_TRANSPORTS", value: "LIST", default: "polling,websocket", help: "transports offered to clients", set: |c, v| set(&mut c.transports, transports(v)) },
    Opt { flag: "origins", env: "SALON_ORIGINS", value: "LIST", default: "same origin", help: "further origins whose pages may connect, or *", set: |c, v| set(&mut c.origins, origins(v)) },
    Opt { flag: "log", env: "SALON_LOG", value: "LEVEL", default: "info", help: "off, error, warn, info, debug or trace", set: |c, v| set(&mut c.log, level(v)) },
    Opt { flag: "max-name", env: "SALON_MAX_NAME", value: "N", default: "64", help: "longest user name, in characters", set: |c, v| set(&mut c.max_name, bytes(v, 1)) },
    Opt { flag: "max-text", env: "SALON_MAX_TEXT", value: "BYTES", default: "16KiB", help: "longest message, in bytes of UTF-8", set: |c, v| set(&mut c.max_text, bytes(v, 1)) },
    Opt { flag: "max-connections", env: "SALON_MAX_CONNECTIONS", value: "N", default: "15000", help: "connections at one time", set: |c, v| set(&mut c.max_connections, bytes(v, 1)) },
    Opt { flag: "max-queue", env: "SALON_MAX_QUEUE", value: "BYTES", default: "4MiB", help: "queued for one client before it is dropped", set: |c, v| set(&mut c.max_queue, bytes(v, 64 * 1024)) },
    Opt { flag: "max-fragments", env: "SALON_MAX_FRAGMENTS", value: "N", default: "128", help: "frames of one WebSocket message", set: |c, v| set(&mut c.max_fragments, number(v)) },
];

/// What the command line asks for.
#[derive(Debug)]
pub enum Action {
    /// To serve.
    Run(Box<Config>),
    /// `--help`
    Help,
    /// `--version`
    Version,
}

impl Config {
    /// Reads arguments (without the program's name) and environment; `self` has the defaults. An error is one
    /// line that names the option as it was given.
    pub fn load(
        self,
        args: impl IntoIterator<Item = OsString>,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Action, String> {
        let mut given = BTreeMap::new();
        let mut parser = lexopt::Parser::from_args(args);
        while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
            match argument {
                lexopt::Arg::Short('h') | lexopt::Arg::Long("help") => return Ok(Action::Help),
                lexopt::Arg::Short('V') | lexopt::Arg::Long("version") => return Ok(Action::Version),
                lexopt::Arg::Long(name) => match OPTIONS.iter().find(|option| option.flag == name) {
                    Some(option) => {
                        let value = parser.value().map_err(|error| error.to_string())?;
                        given.insert(option.flag, value);
                    }
                    None => return Err(format!("unknown option --{name}, see --help")),
                },
                other => return Err(other.unexpected().to_string()),
            }
        }
        let mut config = self;
        for option in OPTIONS {
            // A variable that is set to nothing counts as not set: deployment templates do that.
            let from_env = env(option.env).filter(|value| !value.is_empty());
            let (name, value) = match (given.remove(option.flag), from_env) {
                (Some(value), _) => (format!("--{}", option.flag), value),
                (None, Some(value)) => (option.env.to_owned(), value),
                (None, None) => continue,
            };
            let text = value.to_str().ok_or_else(|| format!("{name}: not UTF-8"))?;
            (option.set)(&mut config, text.trim()).map_err(|why| format!("{name}: {text:?} is not {why}"))?;
        }
        Ok(Action::Run(Box::new(config)))
    }
}

/// The text of `--help`.
pub fn help() -> String {
    let mut text = String::from("salon: a Socket.IO chat server\n\nUsage: salon [OPTIONS]\n\n");
    for option in OPTIONS {
        let flag = format!("--{} {}", option.flag, option.value);
        text += &format!("  {flag:<26} {}\n{:29}{}, default: {}\n", option.help, "", option.env, option.default);
    }
    text + "  -h, --help                 this text\n  -V, --version              the version\n"
}

fn set<T>(field: &mut T, value: Result<T, String>) -> Result<(), String> {
    *field = value?;
    Ok(())
}

fn port(text: &str) -> Result<u16, String> {
    if text.starts_with(r"\\") {
        return Err("a TCP port but a named pipe, as iisnode gives it: salon needs HttpPlatformHandler".into());
    }
    text.parse().map_err(|_| "a port, 0 to 65535".into())
}

fn host(text: &str) -> Result<Option<IpAddr>, String> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match inner {
        // What people write for it, and the one name that needs no look-up.
        "localhost" => Ok(Some(IpAddr::from([127, 0, 0, 1]))),
        _ => inner.parse().map(Some).map_err(|_| "an IP address".into()),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "a number that fits".into())
}

/// A time: milliseconds, or with a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit: u64 = match &text[digits..] {
        "" | "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let number: Option<u64> = text[..digits].parse().ok();
    let millis = number.and_then(|number| number.checked_mul(unit));
    match millis.filter(|millis| (1..=86_400_000).contains(millis)) {
        Some(millis) => Ok(Duration::from_millis(millis)),
        None => Err("a time such as 300 (milliseconds), 25s or 2m, up to 24h".into()),
    }
}

/// A size or count of at least `least`.
fn bytes(text: &str, least: usize) -> Result<usize, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit: Option<usize> = match text[digits..].trim() {
        "" => Some(1),
        "KB" | "kB" => Some(1_000),
        "MB" => Some(1_000_000),
        "k" | "K" | "KiB" => Some(1 << 10),
        "M" | "MiB" => Some(1 << 20),
        _ => None,
    };
    let number: Option<usize> = text[..digits].parse().ok();
    let size = unit.and_then(|unit| number?.checked_mul(unit));
    // Above a gigabyte it is a mistake, and sums of a few of them must not overflow on 32-bit targets.
    size.filter(|size| (least..=1 << 30).contains(size))
        .ok_or(format!("a number from {least} to 1 GiB, such as 65536 or 64KiB"))
}

fn transports(text: &str) -> Result<Transports, String> {
    let mut transports = Transports { polling: false, websocket: false };
    for name in text.split(',') {
        match name.trim() {
            "polling" => transports.polling = true,
            "websocket" => transports.websocket = true,
            _ => return Err("a list of polling and websocket".into()),
        }
    }
    Ok(transports)
}

fn origins(text: &str) -> Result<Origins, String> {
    if text == "*" {
        return Ok(Origins::Any);
    }
    let check = |origin: &str| {
        let host = origin.split_once("://").map(|(_, host)| host);
        let fine = host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*']));
        if origin == "null" || fine && !origin.contains(|c: char| c.is_whitespace() || c.is_control()) {
            Ok(origin.to_ascii_lowercase())
        } else {
            Err("a list of origins such as https://a.example:8443 (no path, no slash at the end), null, or *".into())
        }
    };
    text.split(',').map(|origin| check(origin.trim())).collect::<Result<_, _>>().map(Origins::Listed)
}

fn level(text: &str) -> Result<LevelFilter, String> {
    text.parse().map_err(|_| "off, error, warn, info, debug or trace".into())
}
