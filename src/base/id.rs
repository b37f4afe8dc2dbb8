//! Ids that cannot be guessed: session ids, socket ids, private ids of recovery.
//!
//! 120 random bits, written as 20 characters of the URL-safe base64 alphabet. Guessable session ids were
//! CVE-2017-16031. The cores below `server` know no randomness (rule R6): where ids come from is handed in.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::{fmt, str};

/// An id: 20 characters `[A-Za-z0-9_-]`. Its `Debug` form is cut after six: who knows a whole session id
/// can speak for that session, so no log ever has one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 20]);

impl Id {
    /// Reads an id that a peer presents; `None` if it cannot be one.
    pub fn parse(text: &str) -> Option<Id> {
        let bytes: [u8; 20] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)).then_some(Id(bytes))
    }

    /// Its first six characters, for what must differ but is no secret.
    pub fn short(self) -> String {
        self.as_str()[..6].to_owned()
    }

    fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("base64 is ASCII")
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}…", &self.as_str()[..6])
    }
}

/// Where ids come from.
pub enum Ids {
    /// The operating system.
    System,
    /// A counter: the same sequence for the same start. For tests that must be replayable, never for a server.
    Seeded(u64),
}

impl Ids {
    /// A fresh id. Panics if the operating system has no randomness to give: nothing safe could follow.
    pub fn fresh(&mut self) -> Id {
        let mut bytes = [0; 15];
        match self {
            Ids::System => getrandom::fill(&mut bytes).expect("the operating system gives random bytes"),
            Ids::Seeded(counter) => {
                *counter += 1;
                bytes[..8].copy_from_slice(&counter.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
                bytes[8..].copy_from_slice(&counter.to_be_bytes()[1..]);
            }
        }
        let mut id = Id([0; 20]);
        URL_SAFE_NO_PAD.encode_slice(bytes, &mut id.0).expect("15 bytes are 20 characters");
        id
    }
}
