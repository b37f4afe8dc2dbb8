//! Every option: its name, environment variable, default and reason, in one table.
//!
//! The table below makes the fields of [`Config`], their defaults, the flags and the text of `--help`. The field
//! `ping_interval` is the flag `--ping-interval`; that wins over the environment (`SALON_PING_INTERVAL`, or what the table
//! names instead), the environment over the default. `--check` shows what came of it, and what looks wrong.
//! Everything a peer can grow has its limit here (rule R7).

mod check;
mod redis_url;
mod values;

use lexopt::Arg::{Long, Short};
use log::LevelFilter;
pub use redis_url::RedisUrl;
use std::{collections::BTreeMap, ffi::OsString, net::IpAddr, path::PathBuf, sync::LazyLock, time::Duration};
use values::*;

/// Header fields a head may have at most, whatever the option says: room for them is on the stack.
pub const MAX_HEADERS: usize = 64;

/// Above this a number is a mistake; sums of a few must fit into 32 bits.
const GIGABYTE: usize = 1 << 30;

/// One option, as `--help` shows it.
pub struct Opt {
    pub flag: String,
    /// Variables, separated by spaces; the first that is set counts.
    pub env: String,
    pub default: &'static str,
    pub help: &'static str,
    set: fn(&mut Config, &str) -> Result<(), String>,
}

macro_rules! options {
    ($($field:ident $([$env:literal])?: $type:ty = $default:literal, $parse:expr, $help:literal;)*) => {
        /// All settings of the server; the table in the source says what each is.
        #[derive(Clone, Debug)]
        pub struct Config {
            $(#[doc = $help] pub $field: $type,)*
            /// IIS has started us, and gave the port: nobody else can reach it.
            pub iis: bool,
        }

        impl Default for Config {
            fn default() -> Self {
                let good = "a default is a good value";
                Config { $($field: $parse($default).expect(good),)* iis: false }
            }
        }

        /// All options, in the order of `--help`.
        pub static OPTIONS: LazyLock<Vec<Opt>> = LazyLock::new(|| vec![$(Opt {
            flag: stringify!($field).replace('_', "-"),
            env: match concat!($($env)?) {
                "" => format!("SALON_{}", stringify!($field).to_uppercase()),
                env => env.to_owned(),
            },
            default: $default,
            help: $help,
            set: |config, text| $parse(text).map(|value| config.$field = value),
        },)*]);
    };
}

options! {
    port ["HTTP_PLATFORM_PORT ASPNETCORE_PORT PORT"]: u16 = "3000", port,
        "TCP port; 0 means any free one. The first two variables come from IIS";
    host ["HOST"]: Option<IpAddr> = "*", host,
        "IP address to listen on; * means all of both versions (if IIS gave the port: 127.0.0.1)";
    tls_cert: Option<String> = "none", optional(tls_file),
        "PEM file with the certificate (and those that lead to its authority): HTTPS and WSS on --port. Reread on SIGHUP";
    tls_key: Option<String> = "none", optional(tls_file), "PEM file with the key of --tls-cert";
    redirect_http: Option<u16> = "none", optional(port),
        "second port, without TLS, that sends browsers to https:// on --port";
    base: String = "/", base, "path below which everything is served, as an IIS virtual application";
    trust_proxy: bool = "no", yes,
        "believe X-Forwarded-For, -Host, -Proto and their kin: yes or no (under IIS and on Azure: yes)";
    origins: Origins = "same", origins,
        "origins whose pages may connect besides our own: a list, or * for all (then without cookies)";
    transports: Transports = "polling,websocket", transports, "what clients may use";
    max_websockets ["SALON_MAX_WEBSOCKETS WEBSOCKET_CONCURRENT_REQUEST_LIMIT"]: Option<usize> = "none", budget,
        "WebSockets that the platform allows at one time; who comes later stays on polling. The second variable is Azure's";
    old_clients: bool = "yes", yes, "serve EIO=2 and EIO=3, the protocols of Socket.IO 1.x and 2.x: yes or no";
    recovery: Recovery = "auto", recovery,
        "connection state recovery: auto (JavaScript clients and those with ?recovery=1), always or off";
    recovery_time: Duration = "2m", time(1), "how long after a broken connection a client can go on where it was";
    recovery_packets: usize = "10000", number(1..=GIGABYTE), "packets kept for clients that come back";
    recovery_bytes: usize = "2MiB", number(1..=GIGABYTE),
        "bytes of packets kept for clients that come back: half of --max-queue, so that they can be sent at once";
    leave_grace: Duration = "5s", time(0),
        "how long a broken connection is no goodbye; 0: user left is announced at once";
    history: Option<PathBuf> = "none", optional(|path| Ok(path.into())), "file in which messages outlive the process";
    history_messages: usize = "200", number(0..=GIGABYTE),
        "messages kept for who comes later, or sends one twice; 0: none";
    history_bytes: usize = "512KiB", number(1..=GIGABYTE), "bytes of messages kept for that";
    metrics_token: Option<String> = "none", optional(token),
        "who sends it as a bearer token may read /metrics; without one, only programs of this machine";
    redis ["REDIS_URL"]: Option<RedisUrl> = "none", optional(redis),
        "share the chat through this Redis: redis://user:password@host:port/db, or rediss:// for TLS";
    redis_ca: Option<String> = "none", optional(|path| Ok(path.to_owned())),
        "PEM file of the authorities to trust for rediss://; without one, those that browsers trust";
    redis_prefix: String = "socket.io", word, "how the names of channels begin: `key` of the adapter for Node";
    presence_beat: Duration = "10s", time(1),
        "how often a node with users tells the others how many; after three times without, it is forgotten";
    instance: String = "auto", word, "the name of this node in log lines and among the others; auto makes one up";
    drain: Duration = "3s", time(0),
        "over how long a stopping server sends its clients away; Azure kills after 5 s. 0: all at once";
    log: LevelFilter = "info", level, "off, error, warn, info, debug or trace";
    ping_interval: Duration = "25s", time(1), "from one heartbeat to the next";
    ping_timeout: Duration = "20s", time(1), "how long its answer may take";
    upgrade_timeout: Duration = "10s", time(1), "how long a WebSocket may take to replace polling";
    connect_timeout: Duration = "45s", time(1), "how long a session may go without a namespace";
    head_timeout: Duration = "10s", time(1),
        "how long a request head may take from its first byte, or a new connection to send one";
    body_timeout: Duration = "60s", time(1),
        "how long a request body may take: a megabyte over a bad mobile connection";
    idle_timeout: Duration = "75s", time(1),
        "how long a connection is kept for the next request: a little longer than the 60 s of common proxies";
    message_timeout: Duration = "60s", time(1),
        "how long the rest of a WebSocket message, or the attachments of a packet, may take";
    write_timeout: Duration = "60s", time(1),
        "how long a client may take nothing of what is queued for it: long enough for a tunnel";
    max_name: usize = "64", number(1..=GIGABYTE), "longest user name, in Unicode scalar values";
    max_text: usize = "16KiB", number(1..=GIGABYTE), "longest text, in bytes of UTF-8";
    max_payload: usize = "1000000", number(1..=GIGABYTE), "largest message, and largest request body";
    max_connections: usize = "15000", number(1..=GIGABYTE),
        "TCP connections at one time, and sessions: below the usual 20,000 descriptors";
    max_per_address: usize = "1000", number(1..=GIGABYTE),
        "connections, and sessions, of one address (IPv6: of one /64): a class of 200 behind one NAT address has 600. Programs of this machine are exempt without --trust-proxy";
    max_half_open: usize = "1000", number(1..=GIGABYTE),
        "connections that have sent no whole request head: beyond it the oldest is closed, so that the silent keep nobody out";
    max_queued: usize = "64MiB", number(1..=GIGABYTE),
        "bytes queued for all clients together, shared ones counted for each, above which new sessions get 503: a quarter of a small host's memory";
    max_queue: usize = "4MiB", number(1..=GIGABYTE),
        "bytes queued for one client at which it is dropped; a sender with half of them is not read";
    soft_queue: usize = "1MiB", number(1..=GIGABYTE),
        "bytes queued for one client for --soft-time at which it is dropped: it will not catch up";
    soft_time: Duration = "20s", time(1), "see --soft-queue";
    max_head: usize = "16KiB", number(1..=GIGABYTE), "largest request head; many cookies stay below";
    max_headers: usize = "64", number(1..=MAX_HEADERS),
        "header fields of a request, 64 at most: browsers behind two proxies send about 40";
    max_packets: usize = "2000", number(1..=GIGABYTE),
        "packets of one payload: many more than what a client gathers while it waits for its turn";
    max_fragments: usize = "128", number(1..=GIGABYTE),
        "frames of a WebSocket message: clients send one, proxies cut some dozens";
    max_attachments: usize = "10", number(1..=GIGABYTE), "binary attachments of a packet, as in the reference";
    max_depth: usize = "64", number(1..=128), "nesting of JSON, 128 at most: the stack is finite";
    max_acks: usize = "100", number(1..=GIGABYTE), "answers that one socket may owe us";
    max_rooms: usize = "1000", number(1..=GIGABYTE), "rooms that one socket may be in";
    event_rate: usize = "200", number(1..=1_000_000),
        "events a second of one session, in the long run; no human comes near";
    event_burst: usize = "5000", number(1..=1_000_000),
        "events of one session at once, above which they are refused; above twice that the session is closed";
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

/// What the command line asks for.
#[derive(Debug)]
pub enum Action {
    Run(Box<Config>),
    /// Show the settings, a line each without secrets, and which of them cannot be used; and what looks wrong.
    Check(Box<Config>, Vec<String>, Vec<String>),
    /// Ask the server that runs with these settings how it is.
    Probe(Box<Config>),
    /// Say what was asked for.
    Print(String),
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
                Short('h') | Long("help") => return Ok(Action::Print(help())),
                Short('V') | Long("version") => {
                    return Ok(Action::Print(format!("salon {}\n", env!("CARGO_PKG_VERSION"))));
                }
                Long("check") => check = true,
                Long("probe") => probe = true,
                Long(name) => {
                    let option = OPTIONS.iter().find(|option| option.flag == name);
                    let option = option.ok_or_else(|| format!("unknown option --{name}, see --help"))?;
                    let value = match parser.optional_value() {
                        Some(value) => value,
                        // Of what is yes or no the flag alone means yes.
                        None if ["yes", "no"].contains(&option.default) && parser.values().is_err() => "yes".into(),
                        None => parser.value().map_err(|error| error.to_string())?,
                    };
                    flags.insert(&option.flag, value);
                }
                other => return Err(other.unexpected().to_string()),
            }
        }
        let on_azure = env("WEBSITE_SITE_NAME").is_some();
        let (mut settings, mut unusable) = (Vec::new(), Vec::new());
        for option in OPTIONS.iter() {
            let flag = flags.remove(&option.flag).map(|value| (format!("--{}", option.flag), value));
            // A variable that is set to nothing counts as not set: deployment templates do that.
            let set = |name: &str| Some((name.to_owned(), env(name).filter(|value| !value.is_empty())?));
            let (source, value) = match flag.or_else(|| option.env.split(' ').find_map(set)) {
                Some(set) => set,
                None if option.flag == "host" && self.iis => ("IIS".to_owned(), "127.0.0.1".into()),
                None if option.flag == "trust-proxy" && self.iis => ("IIS".to_owned(), "yes".into()),
                None if option.flag == "trust-proxy" && on_azure => ("Azure".to_owned(), "yes".into()),
                None => ("default".to_owned(), option.default.into()),
            };
            self.iis |= ["HTTP_PLATFORM_PORT", "ASPNETCORE_PORT"].contains(&source.as_str());
            let text = match value.to_str() {
                Some(text) => text.trim(),
                None if option.flag == "history" => {
                    settings.push(format!("{:17} {:20} {source}", option.flag, value.to_string_lossy()));
                    self.history = Some(value.into());
                    continue;
                }
                None => return Err(format!("{source}: not UTF-8")),
            };
            let secret = ["redis", "metrics-token"].contains(&&*option.flag) && source != "default";
            // The default is not set anew: an example of the tests has others.
            if source != "default" {
                // What is wrong with a secret is said without showing it.
                let shown = if secret { "the value".to_owned() } else { format!("{text:?}") };
                let set = (option.set)(&mut self, text);
                unusable.extend(set.err().map(|expected| format!("{source}: {shown} is not {expected}")));
            }
            let shown = if secret { "(a secret)" } else { text };
            settings.push(format!("{:17} {shown:20} {source}", option.flag));
        }
        match (unusable.first(), check, probe) {
            (_, true, _) => Ok(Action::Check(Box::new(self), settings, unusable)),
            (Some(line), ..) => Err(line.clone()),
            (None, _, true) => Ok(Action::Probe(Box::new(self))),
            _ => Ok(Action::Run(Box::new(self))),
        }
    }
}

/// The text of `--help`.
pub fn help() -> String {
    let mut text = String::from("salon: a Socket.IO chat server\n\nUsage: salon [OPTIONS]\n\n");
    for Opt { flag, env, default, help, .. } in OPTIONS.iter() {
        let env = env.replace(' ', ", ");
        text += &format!("  --{flag} VALUE, {env} (default: {default})\n        {help}\n");
    }
    text +=
        "  --check\n        show all settings, where they come from and what looks wrong; status 1 if anything does\n";
    text += "  --probe\n        ask the server that runs with these settings; status 0 if it serves\n";
    text + "  -h, --help\n        this text\n  -V, --version\n        the version\n"
}
