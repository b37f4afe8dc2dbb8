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

    /// Reads once; false if the server has closed.
    fn more(&mut self) -> Result<bool> {
        let mut chunk = [0; 16 * 1024];
        let count = self.stream.read(&mut chunk).map_err(|error| format!("read: {error}"))?;
        self.input.extend(&chunk[..count]);
        Ok(count > 0)
    }

    fn need_more(&mut self) -> Result<()> {
        if self.more()? { Ok(()) } else { Err("the server closed".into()) }
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
            self.need_more()?;
        }
    }

    /// The next frame; it must start like this. Some servers ping at once.
    pub fn expect(&mut self, start: &str) -> Result<()> {
        loop {
            if let Some(frame) = wire::frame(&self.input) {
                let payload: Vec<u8> = self.input.drain(..frame.payload.end).skip(frame.payload.start).collect();
                if payload == b"2" && start != "2" {
                    continue;
                }
                return if payload.starts_with(start.as_bytes()) {
                    Ok(())
                } else {
                    Err(format!("`{}` instead of `{start}`", String::from_utf8_lossy(&payload)))
                };
            }
            self.need_more()?;
        }
    }

    pub fn text(&mut self, packet: &str) -> Result<()> {
        self.send(&wire::client_frame(wire::TEXT, packet.as_bytes()))
    }

    /// Waits until the server has said goodbye, too, or has hung up.
    fn goodbye(&mut self) -> Result<()> {
        loop {
            while let Some(frame) = wire::frame(&self.input) {
                if frame.opcode == wire::CLOSE {
                    return Ok(());
                }
                self.input.drain(..frame.payload.end);
            }
            if !self.more()? {
                return Ok(());
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

// The visits. A crowd walks in step, as a server that is busy finds several with something to say whenever it looks.

fn crowd(address: SocketAddr, count: usize) -> Result<Vec<Visitor>> {
    (0..count).map(|_| Visitor::connect(address)).collect()
}

fn each<T>(crowd: &mut [Visitor], act: impl FnMut(&mut Visitor) -> Result<T>) -> Result<Vec<T>> {
    crowd.iter_mut().map(act).collect()
}

fn close(crowd: &mut [Visitor]) -> Result<()> {
    let goodbye = wire::client_frame(wire::CLOSE, &1000u16.to_be_bytes());
    each(crowd, |visitor| visitor.send(&goodbye))?;
    each(crowd, Visitor::goodbye).map(drop)
}

/// Sessions by WebSocket alone, from the first byte to the last.
pub fn websocket(address: SocketAddr, count: usize) -> Result<()> {
    let mut crowd = crowd(address, count)?;
    each(&mut crowd, |visitor| visitor.send(&wire::upgrade_request(None)))?;
    each(&mut crowd, |visitor| visitor.answer(101))?;
    each(&mut crowd, |visitor| visitor.expect("0{"))?;
    each(&mut crowd, |visitor| visitor.text("40"))?;
    each(&mut crowd, |visitor| visitor.expect("40"))?;
    close(&mut crowd)
}

/// Sessions that start with polling and move to a WebSocket, as the official client does by default.
pub fn upgrade(address: SocketAddr, count: usize) -> Result<()> {
    let mut polling = crowd(address, count)?;
    each(&mut polling, |visitor| visitor.send(&wire::polling_request(None, None)))?;
    let sids = each(&mut polling, |visitor| {
        let open = visitor.answer(200)?;
        let open: serde_json::Value = serde_json::from_slice(open.get(1..).unwrap_or(b"")).unwrap_or_default();
        open["sid"].as_str().map(String::from).ok_or("no sid".into())
    })?;
    let send = |crowd: &mut [Visitor], request: &dyn Fn(&str) -> Vec<u8>| {
        crowd.iter_mut().zip(&sids).try_for_each(|(visitor, sid)| visitor.send(&request(sid)))
    };
    send(&mut polling, &|sid| wire::polling_request(Some(sid), Some("40")))?;
    each(&mut polling, |visitor| visitor.answer(200))?;
    send(&mut polling, &|sid| wire::polling_request(Some(sid), None))?;
    each(&mut polling, |visitor| visitor.answer(200))?;
    send(&mut polling, &|sid| wire::polling_request(Some(sid), None))?;
    let mut websocket = crowd(address, count)?;
    send(&mut websocket, &|sid| wire::upgrade_request(Some(sid)))?;
    each(&mut websocket, |visitor| visitor.answer(101))?;
    each(&mut websocket, |visitor| visitor.text("2probe"))?;
    each(&mut websocket, |visitor| visitor.expect("3probe"))?;
    // The parked GET comes back with a noop; then the client seals the upgrade.
    each(&mut polling, |visitor| visitor.answer(200))?;
    each(&mut websocket, |visitor| visitor.text("5"))?;
    close(&mut websocket)
}

/// `GET /` on connections that stay.
pub struct Readers(Vec<Visitor>);

impl Readers {
    pub fn new(address: SocketAddr, count: usize) -> Result<Readers> {
        crowd(address, count).map(Readers)
    }

    pub fn read(&mut self) -> Result<()> {
        let request = get("/", true);
        each(&mut self.0, |visitor| visitor.send(&request))?;
        each(&mut self.0, |visitor| visitor.answer(200)).map(drop)
    }
}
