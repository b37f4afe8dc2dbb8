//! Stand-in for `tls` in a build without that feature: the same types and methods, but no connection can have TLS.

use crate::config::Config;
use crate::net::kernel::{Stream, Transfer};
use std::convert::Infallible;
use std::io::{self, IoSlice};

/// Stands for all types of `tls` of which no value can exist here. The public fields are those that other files use.
pub struct Never {
    pub warning: Option<String>,
    pub unsent: Vec<u8>,
    never: Infallible,
}

pub use self::{Never as Identity, Never as Tls, Never as Trust};

pub type Scratch = ();

/// Defines methods that cannot be called, because a value of `Infallible` cannot exist.
macro_rules! never {
    ($($name:ident($($argument:ty),*) -> $result:ty;)*) => {
        $(pub fn $name(&self $(, _: $argument)*) -> $result {
            match self.never {}
        })*
    };
}

impl Never {
    /// Stands for `Trust::new`.
    pub fn new(_: Option<&str>) -> Result<Trust, String> {
        Err("this salon is built without the feature tls".into())
    }

    /// Stands for `Identity::load`: there is no certificate. `config` refuses `--tls-cert` and `--tls-key` in such a build.
    pub fn load(config: &Config, _: Option<&Identity>) -> Result<Option<Identity>, String> {
        match config.redirect_http {
            Some(_) => Err("--redirect-http means nothing without --tls-cert".into()),
            None => Ok(None),
        }
    }

    never! {
        connect(&str) -> Result<Tls, String>;
        accept() -> Tls;
        is_plain() -> bool;
        held() -> usize;
        is_handshaking() -> bool;
        queue_close_notify() -> bool;
        read(&mut Stream, &mut Scratch, &mut [u8]) -> io::Result<Transfer>;
        write(&mut Stream, &mut Scratch, &[IoSlice]) -> io::Result<Transfer>;
    }
}
