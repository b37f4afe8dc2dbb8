//! Stand-in for `tls` in a build without that feature: the same types and methods, but no connection can have TLS.

use crate::config::Config;
use crate::net::kernel::{Stream, Transfer};
use std::convert::Infallible;
use std::io::{self, IoSlice};

#[derive(Clone)]
pub struct Trust {
    never: Infallible,
}

pub struct Identity {
    pub warning: Option<String>,
    never: Infallible,
}

pub struct Tls {
    pub unsent: Vec<u8>,
    never: Infallible,
}

#[derive(Default)]
pub struct Scratch {}

/// Defines methods that cannot be called, because a value of `Infallible` cannot exist.
macro_rules! never {
    ($($name:ident($($argument:ty),*) -> $result:ty;)*) => {
        $(pub fn $name(&self $(, _: $argument)*) -> $result {
            match self.never {}
        })*
    };
}

impl Trust {
    pub fn new(_: Option<&str>) -> Result<Trust, String> {
        Err("this salon is built without the feature tls".into())
    }

    never! { connect(&str) -> Result<Tls, String>; }
}

impl Identity {
    /// Returns `None`: in a build without TLS, `config` refuses the options that name files.
    pub fn load(_: &Config, _: Option<&Identity>) -> Result<Option<Identity>, String> {
        Ok(None)
    }

    never! { accept() -> Tls; }
}

impl Tls {
    never! {
        is_plain() -> bool;
        is_handshaking() -> bool;
        queue_close_notify() -> bool;
        read(&mut Stream, &mut Scratch, &mut [u8]) -> io::Result<Transfer>;
        write(&mut Stream, &mut Scratch, &[IoSlice]) -> io::Result<Transfer>;
    }
}
