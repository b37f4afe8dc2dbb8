//! In place of `tls` in a build without it: no connection has TLS.

use crate::config::Config;
use crate::net::kernel::{Kernel, Stream};
use std::convert::Infallible;
use std::io::{self, IoSlice};

/// There is none.
#[derive(Clone)]
pub struct Trust(Infallible);

/// There is none.
pub struct Identity {
    pub doubt: Option<String>,
    never: Infallible,
}

/// There is none.
pub struct Tls {
    pub unsent: Vec<u8>,
    never: Infallible,
}

/// Nothing.
#[derive(Default)]
pub struct Scratch {}

impl Trust {
    /// Fails.
    pub fn new(_: Option<&str>) -> Result<Trust, String> {
        Err("this salon is built without the feature tls".into())
    }

    pub fn connect(&self, _: &str) -> Result<Tls, String> {
        match self.0 {}
    }
}

impl Identity {
    /// Nobody: `config` takes no files.
    pub fn load(_: &Config, _: Option<&Identity>) -> Result<Option<Identity>, String> {
        Ok(None)
    }

    pub fn accept(&self) -> Tls {
        match self.never {}
    }
}

impl Tls {
    pub fn is_plain(&self) -> bool {
        match self.never {}
    }

    pub fn is_handshaking(&self) -> bool {
        match self.never {}
    }

    pub fn read(&mut self, _: &mut Kernel, _: &mut Stream, _: &mut Scratch, _: &mut [u8]) -> io::Result<usize> {
        match self.never {}
    }

    pub fn write(&mut self, _: &mut Kernel, _: &mut Stream, _: &mut Scratch, _: &[IoSlice]) -> io::Result<usize> {
        match self.never {}
    }

    pub fn say_goodbye(&mut self) -> bool {
        match self.never {}
    }
}
