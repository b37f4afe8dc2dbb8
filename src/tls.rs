//! TLS under a connection: what the kernel moves is ciphertext, what `net` moves is plaintext.
//!
//! rustls does the work, with the buffered interface: ciphertext that the kernel does not take yet waits inside, at most
//! 64 KiB, and nothing is held once it has left. (The unbuffered interface would save copying those bytes once; in return
//! partial records of the peer and the order of handshake and data would be ours to keep.)

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, crypto::ring};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;

/// What to trust when we are the client.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// The authorities in a PEM file, or those that browsers trust. An error is one line.
    pub fn new(file: Option<&str>) -> Result<Trust, String> {
        let mut roots = RootCertStore::empty();
        match file {
            Some(file) => {
                let certificates = CertificateDer::pem_file_iter(file).map_err(|error| format!("{file}: {error}"))?;
                for certificate in certificates {
                    let certificate = certificate.map_err(|error| format!("{file}: {error}"))?;
                    roots.add(certificate).map_err(|error| format!("{file}: {error}"))?;
                }
                if roots.is_empty() {
                    return Err(format!("{file}: no certificate in it"));
                }
            }
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has the ciphers of TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Trust(Arc::new(config)))
    }

    /// A connection to `host`, a name or an address that its certificate must have.
    pub fn connect(&self, host: &str) -> Result<Tls, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host:?} is no name for TLS"))?;
        let connection = ClientConnection::new(Arc::clone(&self.0), name).map_err(|error| error.to_string())?;
        Ok(Tls(connection.into()))
    }
}

/// One side of a connection.
pub struct Tls(Connection);

/// The kernel, as rustls sees it.
struct Wire<F>(F);

impl<F: FnMut(&mut [u8]) -> io::Result<usize>> Read for Wire<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0(buffer)
    }
}

/// The same for the other direction.
struct Out<F>(F);

impl<F: FnMut(&[IoSlice]) -> io::Result<usize>> Write for Out<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice]) -> io::Result<usize> {
        self.0(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tls {
    /// Reads plaintext; `kernel` reads ciphertext. 0 is the end, also one without the goodbye of TLS: HTTP and WebSocket see
    /// for themselves whether something is missing.
    pub fn read(
        &mut self, buffer: &mut [u8], mut kernel: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match self.0.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                result => return result,
            }
            self.0.read_tls(&mut Wire(&mut kernel))?;
            self.0.process_new_packets().map_err(io::Error::other)?;
        }
    }

    /// Takes plaintext, as much as there is room for, and writes ciphertext through `kernel`. `WouldBlock`: nothing was taken,
    /// and the kernel or the peer's part of the handshake has to come first.
    pub fn write(
        &mut self, slices: &[IoSlice], mut kernel: impl FnMut(&[IoSlice]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.flush(&mut kernel)?;
        if self.0.is_handshaking() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = self.0.writer().write_vectored(slices)?;
        match self.flush(&mut kernel) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    fn flush(&mut self, kernel: &mut impl FnMut(&[IoSlice]) -> io::Result<usize>) -> io::Result<()> {
        while self.0.wants_write() {
            match self.0.write_tls(&mut Out(&mut *kernel)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// Whether ciphertext waits to be written.
    pub fn wants_write(&self) -> bool {
        self.0.wants_write()
    }

    /// Says goodbye: the next write sends it.
    pub fn close(&mut self) {
        self.0.send_close_notify();
    }
}
