//! `salon --probe`: a health check of the server on this machine, for containers without curl or another HTTP client.

use crate::config::Config;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Maximum time to connect, and for each read.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Sends GET /healthz to the server that `config` describes. `Err` is one line: no answer, or a status other than 200.
pub fn ask(config: &Config) -> Result<(), String> {
    // A server that listens on all addresses also listens on loopback.
    let host = config.host.filter(|host| !host.is_unspecified()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let address = SocketAddr::new(host, config.port);
    let answer = exchange(address).map_err(|error| format!("no answer from {address}: {error}"))?;
    let status = answer.split_ascii_whitespace().nth(1).unwrap_or("none");
    if status == "200" { Ok(()) } else { Err(format!("{address} answers with status {status}")) }
}

/// Sends the request and returns the answer. Uses plain HTTP even if the port expects HTTPS, because the certificate is for
/// the public host name and could not be verified here. Such a port answers /healthz without TLS, too.
fn exchange(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
