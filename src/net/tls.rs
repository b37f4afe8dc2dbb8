//! TLS under a connection: the kernel moves ciphertext, `net` moves plaintext.
//!
//! rustls does the work through its unbuffered interface: records are read, decrypted and encrypted in buffers that all
//! connections share. A connection owns the state of rustls, and has buffers only while there is an incomplete record or
//! unsent ciphertext (R10). The ordinary interface of rustls would make this file shorter, but it keeps a read buffer of
//! 4,096 bytes: an idle connection costs 7.7 KB of heap with it and 3.3 KB here (rustls 0.23.46).
//!
//! TLS sessions are resumed by tickets, which clients keep. Not supported: early data, client certificates, OCSP stapling.

use crate::config::Config;
use crate::net::kernel::{self, Stream, Transfer};
use rustls::client::{UnbufferedClientConnection, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, ProducesTickets, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{CertificateError, ClientConfig, CommonState, Error, RootCertStore, ServerConfig};
use std::io::{self, ErrorKind, IoSlice, Write};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

/// Maximum bytes of ciphertext that one read of the kernel moves, and maximum length of a handshake message.
const SCRATCH: usize = 64 * 1024;
/// Maximum reads in a row without plaintext (handshake messages, parts of records); then other connections have their turn.
const READS: usize = 16;
/// Maximum bytes of plaintext encrypted for one write: three records of 16 KiB.
const PLAINTEXT: usize = 48 * 1024;
/// Upper bound of the bytes that encryption adds to `PLAINTEXT` bytes.
const OVERHEAD: usize = 512;
/// A certificate that expires within this time causes a warning.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Returns the certificates in a PEM file. `Err` is one line. A file without certificates is an `Err` too.
fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let list = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match list.map_err(|error| format!("{file}: {error}"))? {
        list if list.is_empty() => Err(format!("{file}: no certificate in it")),
        list => Ok(list),
    }
}

/// The certificate authorities that are trusted on outgoing connections.
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Trusts the authorities in the PEM file `file`; without one, those that browsers trust. `Err` is one line.
    pub fn new(file: Option<&str>) -> Result<Trust, String> {
        let mut roots = RootCertStore::empty();
        match file {
            Some(file) => {
                for certificate in certificates(file)? {
                    roots.add(certificate).map_err(|error| format!("{file}: {error}"))?;
                }
            }
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Trust(Arc::new(config)))
    }

    /// Returns the client side of a new connection. The server's certificate must contain `host`, a name or an IP address.
    pub fn connect(&self, host: &str) -> Result<Tls, String> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| format!("{host:?} is neither a host name nor an IP address"))?;
        let client = UnbufferedClientConnection::new(Arc::clone(&self.0), name).map_err(|error| error.to_string())?;
        let mut tls = Tls::new(Side::Client(client));
        // Appends the ClientHello to `unsent`.
        tls.side.send(&mut tls.partial, Some(&[]), &mut tls.unsent).map_err(|error| error.to_string())?;
        Ok(tls)
    }
}

/// The server's certificate chain and key.
pub struct Identity {
    config: Arc<ServerConfig>,
    tickets: Arc<dyn ProducesTickets>,
    /// A warning if clients reject the certificate because of its dates, or will within 14 days. The server uses it anyway.
    pub warning: Option<String>,
}

impl Identity {
    /// Reads the files that `config` names; returns `None` if it names none. `old` is the identity used so far: session
    /// tickets issued by it stay valid. `Err` is one line.
    pub fn load(config: &Config, old: Option<&Identity>) -> Result<Option<Identity>, String> {
        let (cert, key) = match (&config.tls_cert, &config.tls_key) {
            (None, None) if config.redirect_http.is_none() => return Ok(None),
            (None, None) => return Err("--redirect-http means nothing without --tls-cert".into()),
            (Some(_), None) => return Err("--tls-cert needs --tls-key".into()),
            (None, Some(_)) => return Err("--tls-key needs --tls-cert".into()),
            (Some(cert), Some(key)) => (cert, key),
        };
        let chain = certificates(cert).map_err(|why| format!("--tls-cert {why}"))?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("--tls-key {key}: {error}"))?;
        let warning = date_warning(&chain[0], UnixTime::now()).map(|why| format!("--tls-cert {cert}: {why}"));
        let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, secret).map_err(
            |error| match error {
                Error::InconsistentKeys(_) => format!("the key in {key} does not belong to the certificate in {cert}"),
                error => format!("--tls-cert {cert}, --tls-key {key}: {error}"),
            },
        )?;
        let tickets = match old {
            Some(old) => Arc::clone(&old.tickets),
            None => ring::Ticketer::new().map_err(|error| error.to_string())?,
        };
        config.ticketer = Arc::clone(&tickets);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Identity { config: Arc::new(config), tickets, warning }))
    }

    /// Returns the server side of a new connection.
    pub fn accept(&self) -> Tls {
        let server = UnbufferedServerConnection::new(Arc::clone(&self.config));
        Tls::new(Side::Server(server.expect("fails only if a fragment size is set and out of range")))
    }
}

/// Returns a warning if clients reject the certificate because of its dates, now or within [`SOON`]. The verification here
/// fails in any case, because no authority is given; but rustls checks the dates before it looks for the issuer.
fn date_warning(certificate: &CertificateDer, now: UnixTime) -> Option<String> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let verify = |at| {
        let algorithms = ring::default_provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &RootCertStore::empty(), &[], at, algorithms).err()
    };
    let soon = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + SOON);
    use CertificateError::{ExpiredContext, NotValidYetContext};
    match (verify(now), verify(soon)) {
        (Some(Error::InvalidCertificate(ExpiredContext { time, not_after })), _) => {
            Some(format!("it expired {} days ago", (time.as_secs() - not_after.as_secs()) / 86_400))
        }
        (Some(Error::InvalidCertificate(NotValidYetContext { .. })), _) => Some("it is not valid yet".into()),
        (_, Some(Error::InvalidCertificate(ExpiredContext { not_after, .. }))) => {
            Some(format!("it expires in {} days", not_after.as_secs().saturating_sub(now.as_secs()) / 86_400))
        }
        _ => None,
    }
}

/// The TLS state of a connection.
pub struct Tls {
    side: Side,
    /// Whether the first byte from the peer was read. It shows whether a client speaks TLS.
    begun: bool,
    /// Received bytes that rustls cannot process yet: the start of a record or of a handshake message.
    partial: Vec<u8>,
    /// Ciphertext that the kernel has not taken yet.
    pub unsent: Vec<u8>,
}

/// The state of rustls, or the reason why rustls is not used any more.
enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
    /// The client speaks plain HTTP: bytes pass unchanged, so that the client gets a response that it can read.
    Plain,
    /// The peer has violated the protocol: input is ignored, and only the alert in `unsent` is still sent.
    Failed,
}

/// Buffers that all connections share. Their contents are used only within one call.
#[derive(Default)]
pub struct Scratch {
    plain: Vec<u8>,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

/// What is to be encrypted: plaintext, or `None` for the close_notify alert, after which nothing can be sent. The plaintext
/// is empty if only messages of TLS itself, such as those of the handshake, are to be sent.
type Outgoing<'a> = Option<&'a [u8]>;

impl Tls {
    fn new(side: Side) -> Tls {
        Tls { side, begun: false, partial: Vec::new(), unsent: Vec::new() }
    }

    /// Returns the bytes of records that are not complete, or not sent yet.
    pub fn held(&self) -> usize {
        self.partial.capacity() + self.unsent.capacity()
    }

    /// Whether the client speaks plain HTTP instead of TLS.
    pub fn is_plain(&self) -> bool {
        matches!(self.side, Side::Plain)
    }

    pub fn is_handshaking(&self) -> bool {
        self.side.common().is_some_and(CommonState::is_handshaking)
    }

    /// Reads plaintext into `buffer`. `Moved(0)` is the end of the stream, with or without a close_notify alert: HTTP and
    /// WebSocket themselves detect an incomplete message. Afterwards `unsent` may have a handshake message or an alert to be
    /// written. Fails with `InvalidData` if the peer violates the protocol.
    pub fn read(&mut self, stream: &mut Stream, scratch: &mut Scratch, buffer: &mut [u8]) -> io::Result<Transfer> {
        scratch.incoming.resize(SCRATCH.min(buffer.len()), 0);
        for _ in 0..READS {
            // `advance` leaves nothing in rustls. So rustls wants to read unless the peer has sent its close_notify alert,
            // the end of its plaintext.
            if self.side.common().is_some_and(|common| !common.wants_read()) {
                return Ok(Transfer::Moved(0));
            }
            let kept = self.partial.len();
            let (start, room) = scratch.incoming.split_at_mut(kept);
            start.copy_from_slice(&self.partial);
            if room.is_empty() {
                return Err(self.fail("a handshake message is too long".into()));
            }
            let count = match kernel::read(stream, room)? {
                Transfer::Moved(count) | Transfer::Drained(count) => count,
                blocked => return Ok(blocked),
            };
            if count == 0 || matches!(self.side, Side::Failed) {
                return Ok(Transfer::Moved(count));
            }
            // An HTTP request begins with a capital letter (65 to 90), a TLS record with its content type (20 to 24).
            let first = !mem::replace(&mut self.begun, true);
            if first && room[0].is_ascii_uppercase() && matches!(self.side, Side::Server(_)) {
                self.side = Side::Plain;
            }
            if self.is_plain() {
                buffer[..count].copy_from_slice(&room[..count]);
                return Ok(Transfer::Moved(count));
            }
            let mut left = &mut *buffer;
            let incoming = &mut scratch.incoming[..kept + count];
            let used = self.side.advance(incoming, Some(&[]), &mut left, &mut self.unsent);
            let left = left.len();
            let used = used.map_err(|error| self.fail(error.into()))?;
            self.partial = incoming[used..].to_vec();
            if left < buffer.len() {
                return Ok(Transfer::Moved(buffer.len() - left));
            }
        }
        Ok(Transfer::Retry)
    }

    fn fail(&mut self, error: Box<dyn std::error::Error + Send + Sync>) -> io::Error {
        self.side = Side::Failed;
        self.partial = Vec::new();
        io::Error::new(ErrorKind::InvalidData, error)
    }

    /// Writes the ciphertext in `unsent`, then encrypts and writes up to 48 KiB of `slices`. `Moved` is the number of bytes
    /// taken from `slices`. None are taken while the handshake is incomplete or older ciphertext is left in `unsent`.
    pub fn write(&mut self, stream: &mut Stream, scratch: &mut Scratch, slices: &[IoSlice]) -> io::Result<Transfer> {
        let (sent, last) = write_all(stream, &self.unsent)?;
        self.unsent.drain(..sent);
        self.unsent.shrink_to_fit();
        if !self.unsent.is_empty() {
            return Ok(last);
        }
        match self.side {
            Side::Plain => return kernel::write(stream, slices),
            Side::Failed => return Ok(Transfer::Moved(slices.iter().map(|slice| slice.len()).sum())),
            _ if slices.is_empty() => return Ok(Transfer::Moved(0)),
            _ if self.is_handshaking() => return Ok(Transfer::WouldBlock),
            _ => {}
        }
        let Scratch { plain, outgoing, .. } = scratch;
        plain.clear();
        outgoing.clear();
        for slice in slices {
            plain.extend_from_slice(&slice[..slice.len().min(PLAINTEXT - plain.len())]);
        }
        self.side.send(&mut self.partial, Some(plain), outgoing).map_err(io::Error::other)?;
        let (sent, _) = write_all(stream, outgoing)?;
        self.unsent.extend_from_slice(&outgoing[sent..]);
        Ok(Transfer::Moved(plain.len()))
    }

    /// Appends the close_notify alert to `unsent`. Returns `false` if the alert was queued before or cannot be sent.
    pub fn queue_close_notify(&mut self) -> bool {
        let before = self.unsent.len();
        let result = self.side.send(&mut self.partial, None, &mut self.unsent);
        result.is_ok() && self.unsent.len() > before
    }
}

impl Side {
    /// Returns the state that server and client have in common; `None` if rustls is not used any more.
    fn common(&self) -> Option<&CommonState> {
        match self {
            Side::Server(server) => Some(server),
            Side::Client(client) => Some(client),
            Side::Plain | Side::Failed => None,
        }
    }

    /// Encrypts `send` and appends the ciphertext to `outgoing`; during the handshake, appends only handshake messages.
    fn send(&mut self, partial: &mut Vec<u8>, send: Outgoing, outgoing: &mut Vec<u8>) -> Result<(), Error> {
        let used = self.advance(partial, send, &mut &mut [][..], outgoing)?;
        partial.drain(..used);
        Ok(())
    }

    /// Runs rustls until it needs more input or all is done: decrypts `incoming` into `received`, and appends messages of
    /// the handshake and the ciphertext of `send` to `outgoing`. Returns how many bytes of `incoming` are used up. After an
    /// error, `outgoing` ends with the alert that names it.
    fn advance(
        &mut self, incoming: &mut [u8], send: Outgoing, received: &mut &mut [u8], outgoing: &mut Vec<u8>,
    ) -> Result<usize, Error> {
        let mut used = 0;
        loop {
            // rustls remembers how far it has parsed and panics if it gets fewer bytes later, so it gets all that are left.
            let (discard, step) = self.step(&mut incoming[used..], send, received, outgoing);
            used += discard;
            match step {
                Ok(true) => {}
                Ok(false) => return Ok(used),
                Err(error) => {
                    // These steps append the alert that is queued. Any step after them would fail on the same bytes again.
                    while self.common().is_some_and(CommonState::wants_write) {
                        let _ = self.step(&mut incoming[used..], send, received, outgoing);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Runs one step of rustls. Returns how many bytes of `incoming` are used up, and whether another step must follow. If
    /// not, all complete records are decrypted and all output is encrypted, or the handshake waits for the peer.
    fn step(
        &mut self, incoming: &mut [u8], send: Outgoing, received: &mut &mut [u8], outgoing: &mut Vec<u8>,
    ) -> (usize, Result<bool, Error>) {
        match self {
            Side::Server(server) => handle(server.process_tls_records(incoming), send, received, outgoing),
            Side::Client(client) => handle(client.process_tls_records(incoming), send, received, outgoing),
            Side::Plain | Side::Failed => (0, Ok(false)),
        }
    }
}

/// Performs the one action that rustls asks for, and returns what `step` returns. `received` shrinks to its free part.
fn handle<Data>(
    status: UnbufferedStatus<'_, '_, Data>, send: Outgoing, received: &mut &mut [u8], outgoing: &mut Vec<u8>,
) -> (usize, Result<bool, Error>) {
    let at = outgoing.len();
    let act = |state| match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let message = "plaintext does not fit, although it is shorter than its ciphertext";
                received.write_all(record?.payload).map_err(|_| Error::General(message.into()))?;
            }
            Ok(true)
        }
        ConnectionState::EncodeTlsData(mut data) => {
            if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
                outgoing.resize(at + size.required_size, 0);
                data.encode(&mut outgoing[at..]).map_err(|error| Error::General(error.to_string()))?;
            }
            Ok(true)
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(true)
        }
        // A connection that has nothing to send must not allocate here (R10).
        ConnectionState::WriteTraffic(mut traffic) if !matches!(send, Some([])) => {
            outgoing.resize(at + send.map_or(0, <[u8]>::len) + OVERHEAD, 0);
            let room = &mut outgoing[at..];
            let count = match send {
                Some(plain) => traffic.encrypt(plain, room),
                None => traffic.queue_close_notify(room),
            };
            outgoing.truncate(at + count.map_err(|error| Error::General(error.to_string()))?);
            Ok(false)
        }
        ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake | ConnectionState::Closed => Ok(false),
        ConnectionState::PeerClosed => Ok(true),
        _ => Err(Error::General("unexpected early data".into())),
    };
    (status.discard, status.state.and_then(act))
}

/// Writes until all `bytes` are written or the kernel takes no more. Returns how many were written, and the last result.
fn write_all(stream: &mut Stream, bytes: &[u8]) -> io::Result<(usize, Transfer)> {
    let mut sent = 0;
    while sent < bytes.len() {
        match kernel::write(stream, &[IoSlice::new(&bytes[sent..])])? {
            Transfer::Moved(count) => sent += count,
            stopped => return Ok((sent, stopped)),
        }
    }
    Ok((sent, Transfer::Moved(sent)))
}
