//! The door: whether a client knows the password of `--password`, and how often an address may guess.
//!
//! A client of protocol 5 presents it in its CONNECT, as `{"password":...}`. Older clients, which have no such payload, present
//! it in the query of the handshake or of the namespace. A client that is connected stays when the password is changed.

use super::Io;
use crate::base::held::ENTRY;
use crate::base::limits::{Limit, network};
use crate::base::slab::SessionId;
use crate::base::text::is_same_secret;
use crate::http;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Wrong passwords that an address (a /64 for IPv6) may present. After the last one, passwords are refused unread for a minute.
const TRIES: u32 = 30;
const MINUTE: Duration = Duration::from_secs(60);
/// Maximum number of addresses that are known. Beyond it, the one that has guessed longest ago is forgotten.
const MAX_ADDRESSES: usize = 10_000;

/// How many wrong passwords each address has presented without a pause of a minute, and when the last one.
#[derive(Default)]
pub struct Guesses(HashMap<IpAddr, (u32, Instant)>);

impl Guesses {
    /// Returns the wrong passwords of an address that still count.
    fn of(&self, address: IpAddr, now: Instant) -> u32 {
        self.0.get(&network(address)).filter(|(_, last)| *last + MINUTE > now).map_or(0, |(count, _)| *count)
    }

    /// Returns the estimated memory of the table, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.len() * ENTRY
    }

    /// Counts a wrong password.
    fn count(&mut self, address: IpAddr, now: Instant) {
        let count = self.of(address, now) + 1;
        self.0.insert(network(address), (count, now));
        if self.0.len() > MAX_ADDRESSES
            && let Some(oldest) = self.0.iter().min_by_key(|(_, (_, last))| *last).map(|(address, _)| *address)
        {
            self.0.remove(&oldest);
        }
    }
}

impl Io {
    /// Whether the client of `session` may connect: there is no password, or its CONNECT or the handshake has the right one.
    /// `query` is that of the namespace.
    pub(super) fn opens_door(&mut self, session: SessionId, auth: Option<&RawValue>, query: &str) -> bool {
        let Some(password) = &self.config.password else { return true };
        let Some(client) = self.engine.client(session) else { return false };
        if self.guesses.of(client.address, self.engine.now) >= TRIES {
            self.engine.hit(Limit::Passwords, session);
            return false;
        }
        let [in_query] = http::parameters(query, ["password"]);
        let presented = auth.and_then(password_of).or(in_query);
        let is_right =
            presented.map_or(client.password, |presented| Some(is_same_secret(presented.as_bytes(), password)));
        if is_right == Some(false) {
            self.guesses.count(client.address, self.engine.now);
            self.engine.hit(Limit::Passwords, session);
        }
        is_right == Some(true)
    }
}

/// Returns the password in the payload of a CONNECT.
fn password_of(auth: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Auth<'a> {
        #[serde(borrow)]
        password: Cow<'a, str>,
    }
    Some(serde_json::from_str::<Auth>(auth.get()).ok()?.password)
}
