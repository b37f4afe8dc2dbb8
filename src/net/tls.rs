//! TLS under a connection: what the kernel moves is ciphertext, what `net` moves is plaintext.
//!
//! rustls does the work, through its unbuffered interface: records are read into, decrypted in and encrypted into the
//! scratch that all connections share. A connection owns what rustls remembers of it, and only while there is
//! such a thing the start of a record that is not whole yet and ciphertext that the kernel has not taken (rule R10).
//! Sessions are resumed by tickets, which the clients keep, not we. Not done: early data, client certificates, OCSP.

use crate::config::Config;
use crate::net::kernel::{Kernel, Stream};
use rustls::client::{UnbufferedClientConnection, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, ProducesTickets, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{CertificateError, ClientConfig, Error, RootCertStore, ServerConfig};
use std::io::{self, ErrorKind, IoSlice, Write};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

/// What one read or write of ciphertext moves at most. A read also has to hold the largest message of a handshake.
const SCRATCH: usize = 64 * 1024;
/// Reads that bring no plaintext, until others have their turn.
const READS: usize = 16;
/// Plaintext that is encrypted for one write: three records.
const PLAINTEXT: usize = 48 * 1024;
/// More than any cipher suite adds to that.
const OVERHEAD: usize = 512;
/// A certificate that ends within this time is worth a warning.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let list = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match list.map_err(|error| format!("{file}: {error}"))? {
        list if list.is_empty() => Err(format!("{file}: no certificate in it")),
        list => Ok(list),
    }
}

/// What to trust when we are the client.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// The authorities in a PEM file, or those that browsers trust. An error is one line.
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

    /// A connection to `host`, a name or an address that its certificate must have.
    pub fn connect(&self, host: &str) -> Result<Tls, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host:?} is no name for TLS"))?;
        let client = UnbufferedClientConnection::new(Arc::clone(&self.0), name).map_err(|error| error.to_string())?;
        let mut tls = Tls::new(Side::Client(client));
        tls.talk.begun = true;
        let hello = tls.talk.advance(&mut [], Outgoing::Plain(&[]), &mut &mut [][..], &mut tls.unsent);
        hello.map_err(|error| error.to_string())?;
        Ok(tls)
    }
}

/// Who we are to our clients: certificate and key.
pub struct Identity {
    config: Arc<ServerConfig>,
    tickets: Arc<dyn ProducesTickets>,
    /// What is wrong with the certificate, although it can be used.
    pub doubt: Option<String>,
}

impl Identity {
    /// Reads the files that `config` names; `None` if it names none. `old` is who we were so far, if anybody: its tickets
    /// stay good. An error is one line.
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
        let doubt = doubt(&chain[0], UnixTime::now()).map(|doubt| format!("--tls-cert {cert}: {doubt}"));
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
        Ok(Some(Identity { config: Arc::new(config), tickets, doubt }))
    }

    /// The server's side of a new connection.
    pub fn accept(&self) -> Tls {
        let server = UnbufferedServerConnection::new(Arc::clone(&self.config));
        Tls::new(Side::Server(server.expect("fails only for a fragment size that is out of range, and none is set")))
    }
}

/// What a client will hold against a certificate because of the date. rustls checks that before it looks for an issuer, so
/// none has to be known.
fn doubt(certificate: &CertificateDer, now: UnixTime) -> Option<String> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let judge = |at| {
        let algorithms = ring::default_provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &RootCertStore::empty(), &[], at, algorithms).err()
    };
    let soon = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + SOON);
    use CertificateError::{ExpiredContext, NotValidYetContext};
    match (judge(now), judge(soon)) {
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

enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
    /// A client that does not speak TLS; a request of HTTP can be told what is wrong.
    Plain,
    /// It is over: what comes or goes is nothing, but for the alert that says why.
    Failed,
}

/// One side of a connection.
pub struct Tls {
    talk: Talk,
    /// The start of a record, or of a message of the handshake.
    partial: Vec<u8>,
    /// Ciphertext that the kernel has not taken yet.
    pub unsent: Vec<u8>,
    /// We have said goodbye.
    closed: bool,
}

/// What rustls remembers, and how far it has come.
struct Talk {
    side: Side,
    /// The client has sent its first byte.
    begun: bool,
    /// Both sides have agreed on keys.
    ready: bool,
    /// The peer has said goodbye.
    ended: bool,
}

/// Memory that all connections share; nothing in it outlives a call.
#[derive(Default)]
pub struct Scratch {
    plain: Vec<u8>,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

/// What is to be encrypted.
#[derive(Clone, Copy)]
enum Outgoing<'a> {
    /// Perhaps nothing.
    Plain(&'a [u8]),
    /// The goodbye of TLS.
    Goodbye,
}

/// How far a step of rustls has come.
enum Step {
    More,
    /// The handshake waits for the peer.
    Blocked,
    /// All that has come is decrypted, and what was to be sent is encrypted.
    Done,
    /// The peer has said goodbye.
    Ended,
}

impl Tls {
    fn new(side: Side) -> Tls {
        let talk = Talk { side, begun: false, ready: false, ended: false };
        Tls { talk, partial: Vec::new(), unsent: Vec::new(), closed: false }
    }

    /// Whether the client turned out not to speak TLS: bytes pass as they are.
    pub fn is_plain(&self) -> bool {
        matches!(self.talk.side, Side::Plain)
    }

    /// Whether both sides are about to agree on keys.
    pub fn is_handshaking(&self) -> bool {
        !self.talk.ready && !self.is_plain()
    }

    /// Reads plaintext. 0 is the end, also one without the goodbye of TLS: HTTP and WebSocket see for themselves whether
    /// something is missing. An answer of the handshake, or an alert, then waits to be written. `InvalidData`: the peer breaks
    /// the rules of TLS.
    pub fn read(
        &mut self, kernel: &mut Kernel, stream: &mut Stream, scratch: &mut Scratch, buffer: &mut [u8],
    ) -> io::Result<usize> {
        scratch.incoming.resize(SCRATCH.min(buffer.len()), 0);
        for _ in 0..READS {
            if self.talk.ended {
                return Ok(0);
            }
            let kept = self.partial.len();
            let (start, room) = scratch.incoming.split_at_mut(kept);
            start.copy_from_slice(&self.partial);
            if room.is_empty() {
                return Err(self.failed("a message of the handshake is too long".into()));
            }
            let count = kernel.read(stream, room)?;
            if count == 0 || matches!(self.talk.side, Side::Failed) {
                return Ok(count);
            }
            if !mem::replace(&mut self.talk.begun, true) && room[0].is_ascii_uppercase() {
                self.talk.side = Side::Plain;
            }
            if self.is_plain() {
                buffer[..count].copy_from_slice(&room[..count]);
                return Ok(count);
            }
            let mut left = &mut *buffer;
            let incoming = &mut scratch.incoming[..kept + count];
            let result = self.talk.advance(incoming, Outgoing::Plain(&[]), &mut left, &mut self.unsent);
            let left = left.len();
            match result {
                Ok(used) => self.partial = incoming[used..].to_vec(),
                Err(error) => return Err(self.failed(error.into())),
            }
            if left < buffer.len() {
                return Ok(buffer.len() - left);
            }
        }
        kernel.spurious_would_block = true;
        Err(ErrorKind::WouldBlock.into())
    }

    fn failed(&mut self, error: Box<dyn std::error::Error + Send + Sync>) -> io::Error {
        self.talk.side = Side::Failed;
        self.partial = Vec::new();
        io::Error::new(ErrorKind::InvalidData, error)
    }

    /// Takes plaintext, as much as there is room for, and writes ciphertext. `WouldBlock`: nothing was taken, and the kernel
    /// or the peer's part of the handshake has to come first.
    pub fn write(
        &mut self, kernel: &mut Kernel, stream: &mut Stream, scratch: &mut Scratch, slices: &[IoSlice],
    ) -> io::Result<usize> {
        let (sent, result) = write_all(kernel, stream, &self.unsent);
        self.unsent.drain(..sent);
        self.unsent.shrink_to_fit();
        result?;
        match self.talk.side {
            Side::Plain => return kernel.write(stream, slices),
            Side::Failed => return Ok(slices.iter().map(|slice| slice.len()).sum()),
            _ if slices.is_empty() => return Ok(0),
            _ => {}
        }
        let Scratch { plain, outgoing, .. } = scratch;
        plain.clear();
        outgoing.clear();
        for slice in slices {
            plain.extend_from_slice(&slice[..slice.len().min(PLAINTEXT - plain.len())]);
        }
        self.talk.encrypt(&mut self.partial, Outgoing::Plain(plain), outgoing).map_err(io::Error::other)?;
        if !self.talk.ready {
            return Err(ErrorKind::WouldBlock.into());
        }
        let (sent, result) = write_all(kernel, stream, outgoing);
        self.unsent.extend_from_slice(&outgoing[sent..]);
        match result {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(plain.len()),
        }
    }

    /// Queues the goodbye, behind which nothing can be sent; `false` if it cannot be said (any more).
    pub fn say_goodbye(&mut self) -> bool {
        self.talk.ready
            && !mem::replace(&mut self.closed, true)
            && self.talk.encrypt(&mut self.partial, Outgoing::Goodbye, &mut self.unsent).is_ok()
    }
}

impl Talk {
    fn encrypt(&mut self, partial: &mut Vec<u8>, send: Outgoing, outgoing: &mut Vec<u8>) -> Result<(), Error> {
        let used = self.advance(partial, send, &mut &mut [][..], outgoing)?;
        partial.drain(..used);
        Ok(())
    }

    /// Goes on until rustls needs more of the peer, or has done what it was asked: decrypts what has come, and appends what is
    /// to be sent to `outgoing`. Returns how much is done with. After an error the peer is told why.
    fn advance(
        &mut self, incoming: &mut [u8], send: Outgoing, received: &mut &mut [u8], outgoing: &mut Vec<u8>,
    ) -> Result<usize, Error> {
        let mut used = 0;
        loop {
            // Always what rustls has not taken yet, to the last byte: it remembers how far it has looked, and panics if there
            // is less.
            let (discard, step) = self.step(&mut incoming[used..], send, received, outgoing);
            used += discard;
            match step {
                Ok(Step::More) => {}
                Ok(Step::Ended) => self.ended = true,
                Ok(Step::Blocked) => return Ok(used),
                Ok(Step::Done) => {
                    self.ready = true;
                    return Ok(used);
                }
                Err(error) => {
                    // No step more than that: rustls would stumble over the same bytes again.
                    while self.has_queued() {
                        let _ = self.step(&mut incoming[used..], send, received, outgoing);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Whether the next step encodes a message of the handshake or an alert, whatever has come.
    fn has_queued(&self) -> bool {
        match &self.side {
            Side::Client(client) => client.wants_write(),
            Side::Server(server) => server.wants_write(),
            Side::Plain | Side::Failed => false,
        }
    }

    fn step(
        &mut self, incoming: &mut [u8], send: Outgoing, received: &mut &mut [u8], outgoing: &mut Vec<u8>,
    ) -> (usize, Result<Step, Error>) {
        match &mut self.side {
            Side::Client(client) => act(client.process_tls_records(incoming), send, received, outgoing),
            Side::Server(server) => act(server.process_tls_records(incoming), send, received, outgoing),
            Side::Plain | Side::Failed => (0, Ok(Step::Blocked)),
        }
    }
}

/// Does what rustls asks for; `received` shrinks to what is left of it. Returns how many of the incoming bytes are done with.
fn act<Data>(
    status: UnbufferedStatus<'_, '_, Data>, send: Outgoing, received: &mut &mut [u8], outgoing: &mut Vec<u8>,
) -> (usize, Result<Step, Error>) {
    let at = outgoing.len();
    let mut handle = |state| match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let room = "plaintext is shorter than the ciphertext it was, for which there was room";
                received.write_all(record?.payload).map_err(|_| Error::General(room.into()))?;
            }
            Ok(Step::More)
        }
        ConnectionState::EncodeTlsData(mut data) => {
            if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
                outgoing.resize(at + size.required_size, 0);
                data.encode(&mut outgoing[at..]).map_err(|error| Error::General(error.to_string()))?;
            }
            Ok(Step::More)
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Step::More)
        }
        ConnectionState::WriteTraffic(mut traffic) => {
            let count = match send {
                Outgoing::Plain([]) => Ok(0),
                Outgoing::Plain(plain) => {
                    outgoing.resize(at + plain.len() + OVERHEAD, 0);
                    traffic.encrypt(plain, &mut outgoing[at..])
                }
                Outgoing::Goodbye => {
                    outgoing.resize(at + OVERHEAD, 0);
                    traffic.queue_close_notify(&mut outgoing[at..])
                }
            };
            outgoing.truncate(at + count.map_err(|error| Error::General(error.to_string()))?);
            Ok(Step::Done)
        }
        ConnectionState::BlockedHandshake | ConnectionState::Closed => Ok(Step::Blocked),
        ConnectionState::PeerClosed => Ok(Step::Ended),
        _ => Err(Error::General("early data, which was not offered".into())),
    };
    (status.discard, status.state.and_then(&mut handle))
}

/// Writes until all is written, or something stops it. Returns how much was.
fn write_all(kernel: &mut Kernel, stream: &mut Stream, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut sent = 0;
    while sent < bytes.len() {
        match kernel.write(stream, &[IoSlice::new(&bytes[sent..])]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (sent, Err(error)),
        }
    }
    (sent, Ok(()))
}
