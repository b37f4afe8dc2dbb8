//! Finds settings that cannot work together, and those that are probably a mistake, of which `salon --check` warns.

use super::{Config, OPTIONS, Origins, RedisUrl, TrustProxy};
use std::{fs, time::Duration};

/// Maximum bytes of a message besides text and name: its other fields, the packet around it, and the response head.
const ENVELOPE: usize = 1024;

impl Config {
    /// Returns why nobody could use a server with these settings together: one line, which names them.
    pub(super) fn conflict(&self) -> Option<&'static str> {
        let too_long = self.longest_message() > self.max_queue.min(self.max_held);
        let no_transport = self.max_websockets == Some(0) && !self.transports.polling;
        let line = "--max-queue and --max-held must have room for a message by --max-text and --max-payload";
        too_long.then_some(line).or(no_transport.then_some("--max-websockets 0 needs polling in --transports"))
    }

    /// Returns the bytes of the longest message to a client. In its JSON, the sender may write each byte of the text as an
    /// escape of six bytes, and each character of the name as two such escapes (a surrogate pair).
    fn longest_message(&self) -> usize {
        self.max_text.saturating_mul(6).min(self.max_payload) + 12 * self.max_name + ENVELOPE
    }

    /// Returns one line per setting that looks wrong. `variables` are the names of all environment variables. `open_files`
    /// is the maximum number of open files, or `None` if it is unlimited or unknown.
    pub fn warnings(&self, variables: impl IntoIterator<Item = String>, open_files: Option<usize>) -> Vec<String> {
        let known = |name: &str| OPTIONS.iter().any(|option| option.env.split(' ').any(|env| env == name));
        let unknown = variables.into_iter().filter(|name| name.starts_with("SALON_") && !known(name));
        let mut warnings: Vec<_> = unknown.map(|name| format!("{name}: no such option, see --help")).collect();
        let unused_history = self.history.is_some() && self.history_messages == 0;
        let silence = self.ping_interval + self.ping_timeout;
        let behind_proxy = self.trust_proxy != TrustProxy::NONE;
        let silent_behind_proxy = behind_proxy && silence > Duration::from_secs(55);
        let local = self.host.filter(|host| host.is_loopback());
        let only_local_clients = !behind_proxy && local.is_some();
        let no_listed_proxy = local.is_some_and(|host| !self.trust_proxy.may_be_proxy(host));
        let no_fallback = self.max_websockets.is_some() && !self.transports.polling;
        let plain_redis = self.redis.as_ref().filter(|redis| !redis.tls);
        let public_redis = plain_redis.is_some_and(RedisUrl::is_public);
        let shortest = [self.ping_timeout, self.connect_timeout, self.head_timeout].into_iter().min();
        let forgets_long = self.history_messages > 0 && self.longest_message() > self.history_bytes;
        // `cluster::resp` accepts replies of at most 16 MiB; 1 MiB of that is left for what encloses the message.
        let large_for_redis = self.redis.is_some() && self.longest_message() > 15 << 20;
        // A reply that has not arrived as a whole is held too.
        let reply = if self.redis.is_some() { 16 << 20 } else { 0 };
        let kept = self.max_queue + self.history_bytes + self.recovery_bytes + reply;
        let lists = |it| matches!(&self.origins, Origins::Listed(origins) if origins.iter().any(|listed| listed == it));
        let table = [
            (unused_history, "--history has no effect with --history-messages 0"),
            (silent_behind_proxy, "--ping-interval plus --ping-timeout is above 55 s: proxies cut silence at 60 s"),
            (only_local_clients, "--max-per-address has no effect on local clients; behind a proxy, use --trust-proxy"),
            (no_listed_proxy, "--trust-proxy has no address of this machine, but --host admits no others"),
            (
                self.password.is_some() && !self.knows_proxy,
                "--password without --trust-proxy: say yes or no, or all clients behind a proxy count as one that guesses",
            ),
            (self.origins == Origins::Any, "--origins *: any web page can connect and act for the user who opens it"),
            (lists("null"), "--origins null: any web page can connect from a sandboxed frame"),
            (lists("file://"), "--origins file://: any file that the user opens can connect"),
            (self.max_text > self.max_payload, "--max-text is above --max-payload, which limits it"),
            (self.soft_queue > self.max_queue, "--soft-queue is above --max-queue, so it has no effect"),
            (self.recovery_bytes > self.max_queue, "--recovery-bytes above --max-queue: recovery can evict a client"),
            (
                self.max_held < kept,
                "--max-held is below --max-queue + --history-bytes + --recovery-bytes (+ 16 MiB for Redis): new ones get 503",
            ),
            (self.max_per_address >= self.max_connections, "--max-per-address allows one to use up --max-connections"),
            (self.max_packets < self.event_burst, "--max-packets is below --event-burst: a burst over polling fails"),
            (shortest < Some(Duration::from_secs(1)), "--ping-timeout, --connect-timeout or --head-timeout below 1 s"),
            (forgets_long, "--history-bytes is below a long message, which is then not kept; see --max-text"),
            (large_for_redis, "--redis carries messages of at most 15 MiB; see --max-text and --max-payload"),
            (no_fallback, "--max-websockets without polling in --transports: clients beyond the limit cannot connect"),
            (public_redis, "--redis without TLS to a public host: others can read what it carries; use rediss://"),
            (plain_redis.is_some() && self.redis_ca.is_some(), "--redis-ca has no effect without rediss://"),
        ];
        warnings.extend(table.iter().filter(|(wrong, _)| *wrong).map(|(_, line)| (*line).to_owned()));
        if let Some(limit) = open_files.filter(|limit| *limit < self.max_connections + 32) {
            warnings.push(format!("ulimit -n is {limit}: too low for --max-connections {}", self.max_connections));
        }
        warnings
    }
}

/// Returns the maximum number of open files of this process; `None` if it is unlimited, or unknown (without Linux's /proc).
pub fn open_files_limit() -> Option<usize> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    soft.split_whitespace().next()?.parse().ok()
}
