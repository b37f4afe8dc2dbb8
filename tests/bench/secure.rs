//! TLS for the swarm: a certificate made for the occasion, and streams that may have TLS. Sockets do not block.

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

/// A certificate for localhost and its key, as files that go with this value; and who believes it.
pub struct Identity {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub trust: Arc<ClientConfig>,
}

impl Identity {
    pub fn new() -> Result<Identity, String> {
        let say = |error: rcgen::Error| error.to_string();
        let key = KeyPair::generate().map_err(say)?;
        let cert = CertificateParams::new(vec!["localhost".into()]).and_then(|it| it.self_signed(&key)).map_err(say)?;
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).map_err(|error| error.to_string())?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let write = |end: &str, text: String| {
            let path = std::env::temp_dir().join(format!("salon-bench-{}-{end}.pem", std::process::id()));
            fs::write(&path, text).map(|()| path).map_err(|error| error.to_string())
        };
        Ok(Identity {
            cert: write("cert", cert.pem())?,
            key: write("key", key.serialize_pem())?,
            trust: Arc::new(config.with_root_certificates(roots).with_no_client_auth()),
        })
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.cert).and(fs::remove_file(&self.key));
    }
}

/// A connection, and what is between it and its user.
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    pub fn new(socket: TcpStream, tls: Option<&Arc<ClientConfig>>) -> Result<Stream, String> {
        let Some(config) = tls else { return Ok(Stream::Plain(socket)) };
        let name = ServerName::try_from("localhost").map_err(|error| error.to_string())?;
        let client = ClientConnection::new(Arc::clone(config), name).map_err(|error| error.to_string())?;
        Ok(Stream::Tls(Box::new(StreamOwned::new(client, socket))))
    }

    pub fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}
