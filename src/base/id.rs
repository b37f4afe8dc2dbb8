//! Ids that cannot be guessed: session ids (sid), socket ids, and the private ids (pid) of recovery.
//!
//! An id is 120 random bits, written as 20 characters of the URL-safe base64 alphabet. Guessable ids were a vulnerability of
//! Socket.IO 0.9 (CVE-2017-16031). The layers below `server` have no randomness of their own (rule R6): they get an [`Ids`].

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::{fmt, str};

/// An id: 20 characters `[A-Za-z0-9_-]`. `Debug` shows only the first six, for logs: a whole session id is enough to take
/// over the session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 20]);

impl Id {
    /// Parses an id that a client sent. Returns `None` if `text` does not have the form of an id.
    pub fn parse(text: &str) -> Option<Id> {
        let bytes: [u8; 20] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)).then_some(Id(bytes))
    }

    /// Returns the first six characters, for names and logs: unlikely to collide, and too few to take over a session.
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

/// A source of ids.
pub enum Ids {
    /// Random bits of the operating system.
    System,
    /// A counter, for tests: the same initial value gives the same ids.
    Seeded(u64),
}

impl Ids {
    /// Returns a new id. Panics if the operating system provides no random bits, because a guessable id would be unsafe.
    pub fn fresh(&mut self) -> Id {
        let mut bytes = [0; 15];
        match self {
            Ids::System => getrandom::fill(&mut bytes).expect("the operating system provides random bits"),
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
