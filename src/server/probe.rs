//! `salon --probe`: a health check of the server on this machine, for containers without curl or another HTTP client.

use crate::config::Config;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Time limit to connect, and for each read.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Sends GET /healthz to the address that `config` lets a server listen on. Fails unless the status is 200; the error is
/// one line.
pub fn ask(config: &Config) -> Result<(), String> {
    // A server that listens on all addresses also listens on loopback.
    let host = config.host.filter(|host| !host.is_unspecified()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let address = SocketAddr::new(host, config.port);
    let answer = exchange(address).map_err(|error| format!("no answer from {address}: {error}"))?;
    let status = answer.split_ascii_whitespace().nth(1).unwrap_or("none");
    if status == "200" { Ok(()) } else { Err(format!("{address} answers with status {status}")) }
}

/// Uses plain HTTP even if the port speaks HTTPS, which answers /healthz so too: a certificate is for the public host name
/// and could not be verified here.
fn exchange(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
