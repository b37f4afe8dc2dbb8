//! Where connections come in: a listening socket, and when it rests. Part of `net`.

use crate::base::logger::RateLimitedLog;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// Connections the kernel keeps for us until they are accepted (Linux cuts this to net.core.somaxconn).
const BACKLOG: i32 = 1024;
/// How long accept rests after EMFILE if no connection closes before; no edge would tell of the freed descriptor.
const PAUSE: Duration = Duration::from_secs(1);

/// A listening socket.
pub struct Listener {
    socket: TcpListener,
    /// Accept may have something: it has not said `WouldBlock` since the last edge.
    pub ready: bool,
    /// Until when it rests after EMFILE.
    pub pause: Option<Instant>,
    failures: RateLimitedLog,
}

impl Listener {
    /// Listens there, by default on all addresses of both IP versions where the system can do that with one socket, else
    /// of IPv4. Returns the address too, with the real port if that was 0.
    pub fn open(
        host: Option<IpAddr>, port: u16, registry: &Registry, token: Token,
    ) -> io::Result<(Listener, SocketAddr)> {
        let socket = match host {
            Some(host) => bind(SocketAddr::new(host, port))?,
            None => match bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
                Err(error) if error.kind() != ErrorKind::AddrInUse && error.kind() != ErrorKind::PermissionDenied => {
                    bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))?
                }
                result => result?,
            },
        };
        let address = socket.local_addr()?;
        let mut socket = TcpListener::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok((Listener { socket, ready: false, pause: None, failures: RateLimitedLog::default() }, address))
    }

    /// Accepts one connection, if one is there.
    pub fn accept(&mut self, now: Instant) -> Option<(TcpStream, SocketAddr)> {
        match self.socket.accept() {
            Ok(accepted) => return Some(accepted),
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.ready = false,
            // The peer gave up while it was waiting, or a signal came: the next one may be fine.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
            // EMFILE, ENFILE, ENOBUFS, ENOMEM: there is nothing to accept with.
            Err(error) => {
                self.failures.warn(now, format_args!("cannot accept connections for now: {error}"));
                self.pause = Some(now + PAUSE);
            }
        }
        None
    }
}

/// A listening socket that mio's own `bind` cannot make: backlog 1,024, and IPv6 with IPv4 where possible.
fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    // On Windows this option would let a second process take the port away.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
