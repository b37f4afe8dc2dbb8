//! Every option in one table: name, environment variable, default, parser and help text.
//!
//! The macro `options!` turns the table into the fields of [`Config`], their defaults, the flags and the text of `--help`.
//! For example, the field `ping_interval` is set by the flag `--ping-interval` or the variable `SALON_PING_INTERVAL`; a row
//! may name other variables. A flag wins over the environment, and the environment over the default. `--check` shows every
//! value and its source, and warns of what looks wrong. Many rows are limits of what a peer can make grow (rule R7).

pub mod check;
mod redis_url;
mod trust_proxy;
mod values;

use lexopt::Arg::{Long, Short};
use log::LevelFilter;
pub use redis_url::{RedisUrl, is_public};
use std::ffi::{OsStr, OsString};
use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, sync::LazyLock, time::Duration};
pub use trust_proxy::TrustProxy;
use values::*;

/// The largest value of `max_headers`: the parser of requests has room for this number of header fields on the stack.
pub const MAX_HEADERS: usize = 64;

/// The largest value of an option that is a size. A larger one is taken for a mistake; sums of sizes must fit into 32 bits.
const GIGABYTE: usize = 1 << 30;

/// The smallest value of `max_queue`: room for the largest file of the page, and for the answers to `history` and `users`.
pub const MIN_QUEUE: usize = 512 * 1024;

/// The largest value of `max_connections`, for which `base::slab` has enough keys.
pub const MAX_CONNECTIONS: usize = if cfg!(target_pointer_width = "64") { GIGABYTE } else { 65_000 };

/// One option, as `--help` shows it.
pub struct Opt {
    pub flag: String,
    /// Names of environment variables, separated by spaces; the first variable that is set counts.
    pub env: String,
    pub default: &'static str,
    pub help: &'static str,
    /// Whether `--check` and error messages hide the value.
    pub secret: bool,
    /// Parses a value and stores it in the `Config`. The text of an error completes the sentence "VALUE is not ...".
    set: fn(&mut Config, &OsStr) -> Result<(), String>,
}

/// A row is `field [variables] mark: type = default, parser`; the comment above it is the help text. If the brackets are
/// omitted, the variable is `SALON_FIELD`. The mark may be omitted, or is `secret`, or `path` (the value need not be UTF-8).
macro_rules! options {
    ($($(#[doc = $help:literal])* $field:ident $([$env:literal])? $($mark:ident)?: $type:ty = $default:literal, $parse:expr;)*) => {
        /// The value of every option. The comment on a field is the help text of the option.
        #[derive(Clone, Debug)]
        pub struct Config {
            $($(#[doc = $help])* pub $field: $type,)*
            /// Whether IIS has set the port, by an environment variable. Then `host` and `trust_proxy` have other defaults.
            pub iis: bool,
            /// Whether `trust_proxy` is set, by the operator or the platform.
            pub knows_proxy: bool,
        }

        impl Default for Config {
            fn default() -> Self {
                let valid = "a default is a valid value";
                Config { $($field: parse!([$($mark)?] $parse, OsStr::new($default)).expect(valid),)* iis: false, knows_proxy: false }
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
            help: concat!($($help),*).trim_start(),
            secret: stringify!($($mark)?) == "secret",
            set: |config, value| parse!([$($mark)?] $parse, value).map(|value| config.$field = value),
        },)*]);
    };
}

/// Applies a parser to a value: to the `OsStr` if the row has the mark `path`, otherwise to its text, which must be UTF-8.
macro_rules! parse {
    ([path] $parse:expr, $value:expr) => {
        $parse($value)
    };
    ([$($secret:ident)?] $parse:expr, $value:expr) => {
        $value.to_str().ok_or("UTF-8".to_owned()).and_then($parse)
    };
}

options! {
    /// TCP port to listen on; 0 picks a free one. IIS sets the first two variables
    port ["HTTP_PLATFORM_PORT ASPNETCORE_PORT PORT"]: u16 = "3000", port;
    /// IP address to listen on; * means all IPv4 and IPv6 addresses. If IIS set the port, the default is 127.0.0.1
    host ["HOST"]: Option<IpAddr> = "*", host;
    /// PEM file with the certificate chain; turns on HTTPS and WSS on --port. SIGHUP reloads it
    tls_cert: Option<String> = "none", optional(tls_file);
    /// PEM file with the private key of --tls-cert
    tls_key: Option<String> = "none", optional(tls_file);
    /// second port, plain HTTP, which redirects to https:// on --port
    redirect_http: Option<u16> = "none", optional(port);
    /// path prefix of all URLs, such as /chat for an IIS virtual application
    base: String = "/", base;
    /// proxies whose X-Forwarded-For, -Host, -Proto and similar headers count: no, yes (one proxy), a number of proxies, or
    /// a list of their addresses such as 10.0.0.0/8,::1. The default is yes under IIS and on Azure
    trust_proxy: TrustProxy = "no", TrustProxy::parse;
    /// origins whose pages may connect: same (as this server), a list of others, or * for all (without cookies)
    origins: Origins = "same", origins;
    /// name of the chat on the page, at most 64 characters
    title: String = "salon", title;
    /// origins whose pages may embed the page in a frame: same (as this server), a list of others besides, or * for all
    frame_ancestors: String = "same", frame_ancestors;
    /// transports that clients may use (polling, websocket)
    transports: Transports = "polling,websocket", transports;
    /// concurrent WebSockets that the platform allows; further clients stay on polling. Azure sets the second variable
    max_websockets ["SALON_MAX_WEBSOCKETS WEBSOCKET_CONCURRENT_REQUEST_LIMIT"]: Option<usize> = "none", budget;
    /// serve EIO=2 and EIO=3, the protocols of Socket.IO 1.x and 2.x: yes or no
    old_clients: bool = "yes", yes;
    /// connection state recovery: auto (for JavaScript clients, and any that connect with ?recovery=1), always or off
    recovery: Recovery = "auto", recovery;
    /// time after a lost connection in which a client can recover its state
    recovery_time: Duration = "2m", time(1);
    /// packets kept for recovery, for all clients together
    recovery_packets: usize = "10000", size;
    /// bytes of packets kept for recovery; half of --max-queue, so that all of them can be sent at once
    recovery_bytes: usize = "2MiB", size;
    /// delay before `user left` is announced after a lost connection; 0 announces it at once
    leave_grace: Duration = "5s", time(0);
    /// file that keeps the history over a restart
    history path: Option<PathBuf> = "none", file;
    /// messages kept for clients that join later, and to recognize a message sent twice; 0 keeps none
    history_messages: usize = "200", number(0..=GIGABYTE);
    /// bytes of those messages
    history_bytes: usize = "512KiB", size;
    /// password that clients must present to connect: `auth: {password}`, or ?password= for Socket.IO 1.x and 2.x
    password secret: Option<String> = "none", optional(password);
    /// bearer token that may read /metrics; without one, only programs on this machine may
    metrics_token secret: Option<String> = "none", optional(token);
    /// Redis through which several servers share the chat: redis://user:password@host:port/db, or rediss:// for TLS
    redis ["REDIS_URL"] secret: Option<RedisUrl> = "none", optional(redis);
    /// PEM file with the authorities to trust for rediss://; without one, those that browsers trust
    redis_ca: Option<String> = "none", optional(|path| Ok(path.to_owned()));
    /// prefix of the Redis channels; the adapter for Node calls it `key`
    redis_prefix: String = "socket.io", word;
    /// interval at which a node reports its number of users to the others; after three missing reports it is forgotten
    presence_beat: Duration = "10s", time(1);
    /// name of this node in log lines and in the cluster; auto generates one
    instance: String = "auto", word;
    /// time over which a stopping server answers requests under way and disconnects its clients; 0 disconnects all at
    /// once. Azure kills a process after 5 s
    drain: Duration = "3s", time(0);
    /// log level: off, error, warn, info, debug or trace
    log: LevelFilter = "info", level;
    /// interval between the pings of a session (heartbeat)
    ping_interval: Duration = "25s", time(1);
    /// time in which a client must answer a ping
    ping_timeout: Duration = "20s", time(1);
    /// time in which a WebSocket must complete the upgrade from polling
    upgrade_timeout: Duration = "10s", time(1);
    /// time in which a new session must connect to a namespace
    connect_timeout: Duration = "45s", time(1);
    /// time in which a request head must be complete, counted from its first byte or from the start of the connection
    head_timeout: Duration = "10s", time(1);
    /// time in which a request body must be complete: enough for a megabyte over a bad mobile connection
    body_timeout: Duration = "60s", time(1);
    /// time for which a connection is kept open for the next request once an answer has left: a little longer than the
    /// 60 s of common proxies
    idle_timeout: Duration = "75s", time(1);
    /// time in which a WebSocket message, or the attachments of a packet, must be complete
    message_timeout: Duration = "60s", time(1);
    /// time after which a client that accepts none of the bytes queued for it is evicted: a train may be in a tunnel
    write_timeout: Duration = "60s", time(1);
    /// longest user name, in Unicode scalar values; at most 256
    max_name: usize = "64", number(1..=256);
    /// longest text of a chat message, in bytes of UTF-8
    max_text: usize = "16KiB", size;
    /// largest message and largest request body, in bytes
    max_payload: usize = "1000000", number(1000..=GIGABYTE);
    /// concurrent TCP connections, and concurrent sessions: fewer than the usual limit of 20,000 open files
    max_connections: usize = "15000", number(3..=MAX_CONNECTIONS);
    /// connections, and sessions, per address (per /64 for IPv6): a class of 200 behind one NAT address needs 600.
    /// Without --trust-proxy, programs on this machine are exempt
    max_per_address: usize = "1000", number(3..=GIGABYTE);
    /// connections without a complete request head, at most half of --max-connections; beyond it the address with most of
    /// them loses its oldest, so that silent clients cannot block others
    max_half_open: usize = "1000", size;
    /// bytes held for all clients together, shared buffers counted once; above it new sessions get 503, and those who hold
    /// most are not read, then dropped. A quarter of a small host's memory
    max_held ["SALON_MAX_HELD SALON_MAX_QUEUED"]: usize = "64MiB", size;
    /// bytes queued for one client at which it is evicted; at half of it, or at --soft-queue, the server stops reading from
    /// the client (backpressure)
    max_queue: usize = "4MiB", number(MIN_QUEUE..=GIGABYTE);
    /// bytes queued for one client at which it is evicted after --soft-time: it will not catch up
    soft_queue: usize = "1MiB", size;
    /// time that a client may stay above --soft-queue
    soft_time: Duration = "20s", time(1);
    /// largest request head, in bytes: enough for many cookies
    max_head: usize = "16KiB", number(1024..=GIGABYTE);
    /// header fields per request, at most 64: browsers behind two proxies send about 40
    max_headers: usize = "64", number(16..=MAX_HEADERS);
    /// packets per polling payload: as many as --event-burst, because a client sends all that it has queued at once
    max_packets: usize = "5000", number(16..=GIGABYTE);
    /// frames per WebSocket message: clients send one, proxies make it some dozens
    max_fragments: usize = "128", size;
    /// binary attachments per packet, as in the reference implementation
    max_attachments: usize = "10", size;
    /// nesting depth of JSON, at most 128, because the stack is finite
    max_depth: usize = "64", number(4..=128);
    /// events per socket that the client has yet to acknowledge; those of all sockets may take a quarter of --max-held
    max_acks: usize = "100", size;
    /// rooms per socket; those of all sockets may take a quarter of --max-held
    max_rooms: usize = "1000", size;
    /// events per second and session in the long run (rate of the token bucket): far above what a person sends
    event_rate: usize = "200", number(1..=1_000_000);
    /// events per session in a burst (size of the token bucket); beyond it events are refused, beyond twice that the
    /// session is closed
    event_burst: usize = "5000", number(3..=1_000_000);
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transports {
    pub polling: bool,
    pub websocket: bool,
}

/// Which clients take part in connection state recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    Auto,
    Always,
    Off,
}

/// The origins whose pages may connect, besides the server's own origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    Same,
    Listed(Vec<String>),
    Any,
}

/// What the command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Run,
    Check,
    Probe,
    Help,
    Version,
}

/// The result of reading the command line and the environment.
#[derive(Debug)]
pub struct Settings {
    pub action: Action,
    pub config: Config,
    /// One line per option with its value and source, for `--check`. The values of secrets are hidden.
    pub lines: Vec<String>,
    /// One error message per value that cannot be used, or per set of values that cannot work together.
    pub errors: Vec<String>,
}

impl Config {
    /// Returns the number of bytes queued for one client above which nothing more is read from it (backpressure). Not above
    /// `soft_queue`: answers to its own requests must not evict a client.
    pub fn pause_above(&self) -> usize {
        (self.max_queue / 2).min(self.soft_queue)
    }

    /// Applies arguments (without the program's name) and environment to `self`, which holds the defaults.
    /// Fails if the command line is malformed; if the action is `Run` or `Probe`, also if a value is unusable or values
    /// cannot work together. The error is one line.
    pub fn load(
        mut self, args: impl IntoIterator<Item = OsString>, env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Settings, String> {
        let (action, mut flags) = parse_flags(args).map_err(|error| error.to_string())?;
        let (mut lines, mut errors) = (Vec::new(), Vec::new());
        for option in OPTIONS.iter() {
            let (source, value) = self.resolve(option, flags.remove(&*option.flag), &env);
            let value = value.to_str().map_or(&*value, |text| OsStr::new(text.trim()));
            // `port` is the first option, so `iis` is known before `resolve` chooses defaults of `host` and `trust_proxy`.
            self.iis |= ["HTTP_PLATFORM_PORT", "ASPNETCORE_PORT"].contains(&&*source);
            // An option that is not set keeps the default of `self`. The conformance app has other defaults than the table.
            let is_set = source != "default";
            self.knows_proxy |= is_set && option.flag == "trust-proxy";
            if is_set && let Err(expected) = (option.set)(&mut self, value) {
                let shown = if option.secret { "the value".to_owned() } else { format!("{value:?}") };
                errors.push(format!("{source}: {shown} is not {expected}"));
            }
            let shown = if option.secret && is_set { "(a secret)".into() } else { value.to_string_lossy() };
            lines.push(format!("{:17} {shown:20} {source}", option.flag));
        }
        let half = self.max_connections.div_ceil(2);
        if self.max_half_open > half {
            self.max_half_open = half;
            lines.push(format!("{:17} {half:<20} half of --max-connections", "max-half-open"));
        }
        errors.extend(self.conflict().map(str::to_owned));
        match errors.first() {
            Some(error) if matches!(action, Action::Run | Action::Probe) => Err(error.clone()),
            _ => Ok(Settings { action, config: self, lines, errors }),
        }
    }

    /// Returns the source and the value of an option: those of the flag, else of the first variable that is set, else of the
    /// platform (IIS or Azure), else of the default.
    fn resolve(
        &self, option: &Opt, flag: Option<OsString>, env: impl Fn(&str) -> Option<OsString>,
    ) -> (String, OsString) {
        if let Some(value) = flag {
            return (format!("--{}", option.flag), value);
        }
        // An empty variable counts as not set: deployment templates often set unused variables to the empty string.
        let set = |name: &str| Some((name.to_owned(), env(name).filter(|value| !value.is_empty())?));
        if let Some(found) = option.env.split(' ').find_map(set) {
            return found;
        }
        let (source, value) = match &*option.flag {
            "host" if self.iis => ("IIS", "127.0.0.1"),
            "trust-proxy" if self.iis => ("IIS", "yes"),
            "trust-proxy" if env("WEBSITE_SITE_NAME").is_some() => ("Azure", "yes"),
            _ => ("default", option.default),
        };
        (source.to_owned(), value.into())
    }
}

/// Parses the command line. Returns the action, and the value of each flag (the last value if a flag is given twice).
fn parse_flags(
    args: impl IntoIterator<Item = OsString>,
) -> Result<(Action, BTreeMap<&'static str, OsString>), lexopt::Error> {
    let (mut action, mut flags) = (Action::Run, BTreeMap::new());
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok((Action::Help, flags)),
            Short('V') | Long("version") => return Ok((Action::Version, flags)),
            Long("check") => action = Action::Check,
            Long("probe") => action = Action::Probe,
            Long(name) => {
                // The former name of this option.
                let name = if name == "max-queued" { "max-held" } else { name };
                let option = OPTIONS.iter().find(|option| option.flag == name);
                let option = option.ok_or_else(|| format!("unknown option --{name}, see --help"))?;
                let value = match parser.optional_value() {
                    Some(value) => value,
                    // The flag of a yes/no option means yes if no value follows.
                    None if ["yes", "no"].contains(&option.default) && parser.values().is_err() => "yes".into(),
                    None => parser.value()?,
                };
                flags.insert(&*option.flag, value);
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok((action, flags))
}

pub fn help() -> String {
    let mut text = String::from("salon: a Socket.IO chat server\n\nUsage: salon [OPTIONS]\n\n");
    for Opt { flag, env, default, help, .. } in OPTIONS.iter() {
        let env = env.replace(' ', ", ");
        text += &format!("  --{flag} VALUE, {env} (default: {default})\n        {help}\n");
    }
    text += "  --check\n        print all settings and their sources, and warn of what looks wrong; status 1 if anything does\n";
    text += "  --probe\n        ask the server that runs with these settings whether it serves; status 0 if it does\n";
    text + "  -h, --help\n        print this text\n  -V, --version\n        print the version\n"
}
