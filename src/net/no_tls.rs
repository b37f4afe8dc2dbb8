//! Stand-in for `tls` in a build without that feature: the same types and functions, but no value of them can exist.

use crate::config::Config;
use crate::net::kernel::{Kernel, Stream, Transfer};
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

/// Methods that cannot be called, since no value exists.
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
    /// `None`: a build without TLS refuses the options that name files.
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
        read(&mut Kernel, &mut Stream, &mut Scratch, &mut [u8]) -> io::Result<Transfer>;
        write(&mut Kernel, &mut Stream, &mut Scratch, &[IoSlice]) -> io::Result<Transfer>;
    }
}
