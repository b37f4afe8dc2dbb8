//! A listening socket, and its pause after EMFILE. Part of `net`.

use crate::base::logger::RateLimitedLog;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// Maximum number of connections that the kernel holds until they are accepted. Linux lowers it to net.core.somaxconn.
const BACKLOG: i32 = 1024;
/// Maximum pause of accept after EMFILE. It ends early when a connection closes; nothing reports other free descriptors.
const PAUSE: Duration = Duration::from_secs(1);

pub struct Listener {
    socket: TcpListener,
    /// Whether connections may be waiting: accept has not returned `WouldBlock` since the last readiness event.
    pub ready: bool,
    /// The time at which accept is tried again after EMFILE; `None` if accept is not paused.
    pub pause: Option<Instant>,
    failures: RateLimitedLog,
}

impl Listener {
    /// Listens on `host`. `None` means all addresses: of IPv6 and IPv4 if one socket can serve both, else of IPv4 only.
    /// Also returns the address, with the port that the system has chosen if `port` is 0.
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

    /// Accepts one connection. `None`: none is waiting (this clears `ready`), or accept failed (EMFILE sets `pause`).
    pub fn accept(&mut self, now: Instant) -> Option<(TcpStream, SocketAddr)> {
        match self.socket.accept() {
            Ok(accepted) => return Some(accepted),
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.ready = false,
            // The peer gave up while it was waiting, or a signal interrupted the call: the next accept may succeed.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
            // EMFILE, ENFILE, ENOBUFS, ENOMEM: no descriptor or no memory for one more connection.
            Err(error) => {
                self.failures.warn(now, format_args!("cannot accept connections for now: {error}"));
                self.pause = Some(now + PAUSE);
            }
        }
        None
    }
}

/// Creates a listening socket. Unlike mio's `bind`, sets the backlog, and lets a socket for all of IPv6 take IPv4 as well.
fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    // Windows is left out: there the option would let a second process take over the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Counts the clients that wait for room. The kernel does not tell how many there are: one is counted when an event tells of
/// it, others that came in the same turn when they are accepted.
#[derive(Default)]
pub struct Waiting {
    /// The clients that this turn has counted.
    pub new: usize,
    /// The clients that are counted and not accepted yet; `None` if none can be waiting.
    counted: Option<usize>,
}

impl Waiting {
    /// Counts a client that comes while there is no room.
    pub(super) fn count(&mut self) {
        self.new += 1;
        *self.counted.get_or_insert(0) += 1;
    }

    /// Called for each accepted client: it has waited if `counted` is set.
    pub(super) fn accept(&mut self) {
        match &mut self.counted {
            Some(0) => self.new += 1,
            Some(counted) => *counted -= 1,
            None => {}
        }
    }

    /// Called after the last client that can be accepted. Who comes next waits if there is no room.
    pub(super) fn settle(&mut self, is_full: bool) {
        self.counted = is_full.then(|| self.counted.unwrap_or(0));
    }
}
