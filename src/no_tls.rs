//! In place of `tls` in a build without it: no connection has TLS.

use std::convert::Infallible;
use std::io::{self, IoSlice};

/// There is none.
#[derive(Clone)]
pub struct Trust(Infallible);

/// There is none.
pub struct Tls(Infallible);

impl Trust {
    /// Fails.
    pub fn new(_: Option<&str>) -> Result<Trust, String> {
        Err("this salon is built without the feature tls".into())
    }

    pub fn connect(&self, _: &str) -> Result<Tls, String> {
        match self.0 {}
    }
}

impl Tls {
    pub fn read(&mut self, _: &mut [u8], _: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        match self.0 {}
    }

    pub fn write(&mut self, _: &[IoSlice], _: impl FnMut(&[IoSlice]) -> io::Result<usize>) -> io::Result<usize> {
        match self.0 {}
    }

    pub fn wants_write(&self) -> bool {
        match self.0 {}
    }

    pub fn close(&mut self) {
        match self.0 {}
    }
}
