//! `salon --probe`: asks the server on this machine how it is, for the HEALTHCHECK of a container that has no other program.

use crate::config::Config;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks for /healthz where `config` lets a server listen. An error is one line that says what is wrong.
pub fn ask(config: &Config) -> Result<(), String> {
    // A server on all addresses is on this one too.
    let host = config.host.filter(|host| !host.is_unspecified()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let address = SocketAddr::new(host, config.port);
    let answer = exchange(address).map_err(|error| format!("no answer from {address}: {error}"))?;
    let status = answer.split_ascii_whitespace().nth(1).unwrap_or("none");
    if status == "200" { Ok(()) } else { Err(format!("{address} answers with status {status}")) }
}

/// In clear also where TLS is spoken: the certificate is for those who come from outside, here it proves nothing.
fn exchange(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
