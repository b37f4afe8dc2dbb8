//! What `salon --check` warns of: settings that can be used, and probably should not.

use super::{Config, OPTIONS, Origins, RedisUrl};
use std::time::Duration;

impl Config {
    /// What looks wrong, a line each. `variables` are the names in the environment, `descriptors` is how many the process may
    /// have, if that is known.
    pub fn warnings(&self, variables: impl IntoIterator<Item = String>, descriptors: Option<usize>) -> Vec<String> {
        let known = |name: &str| OPTIONS.iter().any(|option| option.env.split(' ').any(|env| env == name));
        let unknown = variables.into_iter().filter(|name| name.starts_with("SALON_") && !known(name));
        let mut doubts: Vec<_> = unknown.map(|name| format!("{name}: no such option, see --help")).collect();
        let silence = self.ping_interval + self.ping_timeout;
        let in_clear = self.redis.as_ref().filter(|redis| !redis.tls);
        let table = [
            (self.history.is_some() && self.history_messages == 0, "--history means nothing with --history-messages 0"),
            (
                self.trust_proxy && silence > Duration::from_secs(55),
                "--ping-interval plus --ping-timeout is above 55 s: proxies cut connections that are silent for 60 s",
            ),
            (
                !self.trust_proxy && self.host.is_some_and(|host| host.is_loopback()),
                "--max-per-address means nothing: all clients come from this machine; behind a proxy pass --trust-proxy",
            ),
            (self.origins == Origins::Any, "--origins *: every page in the world may speak for your users"),
            (self.max_text > self.max_payload, "--max-text is above --max-payload, which cuts it"),
            (self.soft_queue > self.max_queue, "--soft-queue is above --max-queue, and means nothing"),
            (self.recovery_bytes > self.max_queue, "--recovery-bytes is above --max-queue: who comes back is dropped"),
            (
                self.max_websockets.is_some() && !self.transports.polling,
                "--max-websockets without polling in --transports: who is over the budget can only try again",
            ),
            (
                in_clear.is_some_and(RedisUrl::is_public),
                "--redis without TLS on a public name: password and messages can be read on the way; use rediss://",
            ),
            (in_clear.is_some() && self.redis_ca.is_some(), "--redis-ca means nothing without rediss://"),
        ];
        doubts.extend(table.iter().filter(|(wrong, _)| *wrong).map(|(_, line)| (*line).to_owned()));
        if let Some(limit) = descriptors.filter(|limit| *limit < self.max_connections + 32) {
            doubts.push(format!("ulimit -n is {limit}: too low for --max-connections {}", self.max_connections));
        }
        doubts
    }
}
