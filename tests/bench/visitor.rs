//! One client that does one thing after the other, with blocking calls: for what is measured step by step.

use crate::wire;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub struct Visitor {
    stream: TcpStream,
    input: Vec<u8>,
}

type Result<T> = std::result::Result<T, String>;

impl Visitor {
    pub fn connect(address: SocketAddr) -> Result<Visitor> {
        let stream = TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
        let limit = Some(Duration::from_secs(5));
        stream.set_nodelay(true).and(stream.set_read_timeout(limit)).map_err(|error| format!("connect: {error}"))?;
        Ok(Visitor { stream, input: Vec::new() })
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).map_err(|error| format!("write: {error}"))
    }

    fn more(&mut self) -> Result<()> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err("the server closed".into()),
            Ok(count) => {
                self.input.extend(&chunk[..count]);
                Ok(())
            }
            Err(error) => Err(format!("read: {error}")),
        }
    }

    /// The next answer; it must have this status.
    pub fn answer(&mut self, status: u16) -> Result<Vec<u8>> {
        loop {
            if let Some(answer) = wire::answer(&self.input)? {
                self.input.drain(..answer.used);
                let body = || String::from_utf8_lossy(&answer.body).chars().take(80).collect::<String>();
                return if answer.status == status {
                    Ok(answer.body)
                } else {
                    Err(format!("{} instead of {status}: {}", answer.status, body()))
                };
            }
            self.more()?;
        }
    }

    /// The next frame; it must start like this.
    pub fn expect(&mut self, start: &str) -> Result<()> {
        loop {
            if let Some(frame) = wire::frame(&self.input) {
                let payload: Vec<u8> = self.input.drain(..frame.payload.end).skip(frame.payload.start).collect();
                return if payload.starts_with(start.as_bytes()) {
                    Ok(())
                } else {
                    Err(format!("`{}` instead of `{start}`", String::from_utf8_lossy(&payload)))
                };
            }
            self.more()?;
        }
    }

    pub fn text(&mut self, packet: &str) -> Result<()> {
        self.send(&wire::client_frame(wire::TEXT, packet.as_bytes()))
    }

    /// Says goodbye and waits until the server has said so, too, or has hung up.
    pub fn close(mut self) -> Result<()> {
        self.send(&wire::client_frame(wire::CLOSE, &1000u16.to_be_bytes()))?;
        loop {
            while let Some(frame) = wire::frame(&self.input) {
                if frame.opcode == wire::CLOSE {
                    return Ok(());
                }
                self.input.drain(..frame.payload.end);
            }
            match self.more() {
                Err(why) if why.starts_with("read: Resource") => return Err("no close within 5 s".into()),
                Err(_) => return Ok(()),
                Ok(()) => {}
            }
        }
    }
}

pub fn get(path: &str, accept_gzip: bool) -> Vec<u8> {
    let encoding = if accept_gzip { "Accept-Encoding: gzip, deflate, br\r\n" } else { "" };
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: keep-alive\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
         Accept: text/html,*/*\r\n{encoding}\r\n"
    )
    .into_bytes()
}

/// A session by WebSocket alone, from the first byte to the last.
pub fn websocket(address: SocketAddr) -> Result<()> {
    let mut visitor = Visitor::connect(address)?;
    visitor.send(&wire::upgrade_request(None))?;
    visitor.answer(101)?;
    visitor.expect("0{")?;
    visitor.text("40")?;
    visitor.expect("40")?;
    visitor.close()
}

/// A session that starts with polling and moves to a WebSocket, as the official client does by default.
pub fn upgrade(address: SocketAddr) -> Result<()> {
    let mut polling = Visitor::connect(address)?;
    polling.send(&wire::polling_request(None, None))?;
    let open = polling.answer(200)?;
    let open: serde_json::Value = serde_json::from_slice(open.get(1..).unwrap_or(b"")).unwrap_or_default();
    let sid = open["sid"].as_str().ok_or("no sid")?;
    let (get, post) = (wire::polling_request(Some(sid), None), wire::polling_request(Some(sid), Some("40")));
    polling.send(&post)?;
    polling.answer(200)?;
    polling.send(&get)?;
    polling.answer(200)?;
    polling.send(&get)?;
    let mut websocket = Visitor::connect(address)?;
    websocket.send(&wire::upgrade_request(Some(sid)))?;
    websocket.answer(101)?;
    websocket.text("2probe")?;
    websocket.expect("3probe")?;
    polling.answer(200)?;
    websocket.text("5")?;
    websocket.close()
}
