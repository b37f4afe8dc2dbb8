//! A client of long polling in each of its encodings: separators of EIO=4, lengths in text, lengths in bytes, JSONP.
//! It is as strict as the strictest of the official clients.

use crate::harness::{Client, Response, Server, Talk, request};
use std::collections::VecDeque;

pub const TEXT: &str = "text/plain; charset=UTF-8";
pub const OCTETS: &str = "application/octet-stream";
pub const SCRIPT: &str = "text/javascript; charset=UTF-8";
pub const FORM: &str = "application/x-www-form-urlencoded";

/// How the bodies of a session look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    /// EIO=4: packets with 0x1e between them.
    Separated,
    /// Lengths in digits, text.
    Lengths,
    /// Lengths in bytes.
    Bytes,
}

/// A session over polling, with one connection for its GETs and one for its POSTs.
pub struct Poller {
    pub sid: String,
    /// The target of its requests.
    pub target: String,
    pub gets: Client,
    pub posts: Client,
    encoding: Encoding,
    /// Header lines of each request.
    fields: String,
    /// Packets that have come with one that was asked for.
    received: VecDeque<String>,
}

impl Poller {
    /// A session as the parameters say: `EIO=3`, `EIO=2&b64=1`, `EIO=4&j=0`; a timestamp `t` is that of clients before 1.4.
    pub fn open(server: &Server, parameters: &str) -> Poller {
        Poller::open_with(server, parameters, "")
    }

    /// The same with header lines.
    pub fn open_with(server: &Server, parameters: &str, fields: &str) -> Poller {
        let target = format!("/socket.io/?{parameters}&transport=polling");
        let text = parameters.contains("b64=1") || parameters.contains("j=");
        let encoding = match &parameters[..5] {
            "EIO=4" => Encoding::Separated,
            "EIO=2" if !text => Encoding::Bytes,
            "EIO=3" if !text && parameters.contains("t=") => Encoding::Bytes,
            _ => Encoding::Lengths,
        };
        let mut gets = server.connect();
        let response = gets.ask(request("GET", &target, fields, ""));
        let (posts, received) = (server.connect(), VecDeque::new());
        let mut poller = Poller { sid: String::new(), target, gets, posts, encoding, fields: fields.into(), received };
        let packets = poller.packets(&response);
        let [open] = &packets[..] else { panic!("more than the open packet: {packets:?}") };
        let open = open.strip_prefix('0').expect("an open packet");
        let open: serde_json::Value = serde_json::from_str(open).expect("JSON");
        poller.sid = open["sid"].as_str().expect("a string").to_owned();
        poller.target += &format!("&sid={}", poller.sid);
        poller
    }

    /// Sends a GET.
    pub fn park(&mut self) {
        self.gets.send(request("GET", &self.target, &self.fields, ""));
    }

    /// Sends a GET, and returns the answer as it is.
    pub fn get(&mut self) -> Response {
        self.park();
        self.gets.response()
    }

    /// The packets of a 200.
    pub fn packets(&self, response: &Response) -> Vec<String> {
        assert_eq!(response.status, 200, "{response:?}");
        let text = match self.script_payload(response) {
            Some(payload) => payload,
            None if self.encoding == Encoding::Bytes => return packets_of_bytes(response),
            None => {
                assert_eq!(response.header("Content-Type"), Some(TEXT));
                response.text().to_owned()
            }
        };
        match self.encoding {
            Encoding::Separated => text.split('\x1e').map(str::to_owned).collect(),
            _ => packets_of_text(&text),
        }
    }

    /// What a script of JSONP calls its function with, if the session is one.
    fn script_payload(&self, response: &Response) -> Option<String> {
        let (_, number) = self.target.split_once("&j=")?;
        let number = number.split('&').next()?;
        assert_eq!(response.header("Content-Type"), Some(SCRIPT));
        Some(payload_of_script(response.text(), number))
    }

    /// Sends a payload of these packets.
    pub fn post(&mut self, packets: &[&str]) -> Response {
        let payload = match self.encoding {
            Encoding::Separated => packets.join("\x1e").into_bytes(),
            Encoding::Lengths => packets.iter().flat_map(|packet| lengths(packet).into_bytes()).collect(),
            Encoding::Bytes => packets.iter().flat_map(|packet| bytes(packet)).collect(),
        };
        if self.target.contains("&j=") {
            return self.post_raw(FORM, form(str::from_utf8(&payload).expect("text")).as_bytes());
        }
        self.post_raw(if self.encoding == Encoding::Bytes { OCTETS } else { TEXT }, &payload)
    }

    /// Sends a body.
    pub fn post_raw(&mut self, content_type: &str, body: &[u8]) -> Response {
        let fields = format!("{}Content-Type: {content_type}\r\n", self.fields);
        self.posts.send(post_with(&self.target, &fields, body));
        self.posts.response()
    }

    /// The server does not know the session any more.
    pub fn assert_gone(&mut self) {
        assert_eq!(self.get().brief(), (400, r#"{"code":1,"message":"Session ID unknown"}"#));
    }
}

impl Talk for Poller {
    fn is_old(&self) -> bool {
        self.encoding != Encoding::Separated
    }

    fn send(&mut self, packet: &str) {
        assert_eq!(self.post(&[&format!("4{packet}")]).brief(), (200, "ok"));
    }

    fn receive_whole(&mut self) -> String {
        if self.received.is_empty() {
            let response = self.get();
            self.received.extend(self.packets(&response));
        }
        let packet = self.received.pop_front().expect("a payload has a packet");
        packet.strip_prefix('4').unwrap_or_else(|| panic!("no message: {packet:?}")).to_owned()
    }
}

/// A POST of bytes.
pub fn post(target: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    post_with(target, &format!("Content-Type: {content_type}\r\n"), body)
}

/// The same with header lines of one's own.
pub fn post_with(target: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST {target} HTTP/1.1\r\nHost: salon.example\r\n{fields}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// A packet in a text payload: behind its length in UTF-16 code units.
pub fn lengths(packet: &str) -> String {
    format!("{}:{packet}", packet.encode_utf16().count())
}

/// A packet in a binary payload: behind its length in bytes.
pub fn bytes(packet: &str) -> Vec<u8> {
    let digits = packet.len().to_string().bytes().map(|digit| digit - b'0').collect();
    [vec![0], digits, vec![0xff], packet.as_bytes().to_vec()].concat()
}

/// A payload as the form of a JSONP client.
pub fn form(payload: &str) -> String {
    let lines = payload.replace(r"\n", "\\\n").replace('\n', r"\n");
    let escaped = lines.bytes().map(|byte| match byte {
        b' ' => "+".to_owned(),
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    format!("d={}", escaped.collect::<String>())
}

/// The argument of the call that a JSONP script is.
pub fn payload_of_script(script: &str, number: &str) -> String {
    let literal = script.strip_prefix(&format!("___eio[{number}](")).and_then(|rest| rest.strip_suffix(");"));
    let literal = literal.unwrap_or_else(|| panic!("no call of {number}: {script:?}"));
    serde_json::from_str(literal).unwrap_or_else(|error| panic!("{error}: {literal:?}"))
}

fn packets_of_text(payload: &str) -> Vec<String> {
    let mut rest: Vec<u16> = payload.encode_utf16().collect();
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let colon = rest.iter().position(|unit| *unit == u16::from(b':')).expect("a colon behind the length");
        let length: usize = String::from_utf16(&rest[..colon]).expect("text").parse().expect("a length");
        let tail = rest.split_off(colon + 1);
        assert!(length > 0 && length <= tail.len(), "a length that fits: {payload:?}");
        packets.push(String::from_utf16(&tail[..length]).expect("whole characters"));
        rest = tail[length..].to_vec();
    }
    packets
}

fn packets_of_bytes(response: &Response) -> Vec<String> {
    assert_eq!(response.header("Content-Type"), Some(OCTETS));
    let mut rest = &response.body[..];
    let mut packets = Vec::new();
    while let [kind, tail @ ..] = rest {
        assert_eq!(*kind, 0, "text: {response:?}");
        let end = tail.iter().position(|byte| *byte == 0xff).expect("a length ends with ff");
        let length = tail[..end].iter().fold(0, |length, digit| length * 10 + usize::from(*digit));
        let (packet, more) = tail[end + 1..].split_at(length);
        packets.push(str::from_utf8(packet).expect("UTF-8").to_owned());
        rest = more;
    }
    packets
}
