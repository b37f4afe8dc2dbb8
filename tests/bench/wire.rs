//! The bytes that both sides of the bench need: WebSocket frames, HTTP answers, and the one chat message.

use std::ops::Range;

/// One WebSocket frame inside a buffer. Fragments do not occur here.
pub struct Frame {
    pub opcode: u8,
    pub mask: Option<[u8; 4]>,
    pub payload: Range<usize>,
}

pub const TEXT: u8 = 1;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// The first frame of `input`, if it is there as a whole.
pub fn frame(input: &[u8]) -> Option<Frame> {
    let (&[first, second], rest) = input.split_first_chunk()?;
    let (long, length) = match second & 127 {
        126 => (2, u16::from_be_bytes(*rest.first_chunk()?) as usize),
        127 => (8, u64::from_be_bytes(*rest.first_chunk()?) as usize),
        short => (0, short as usize),
    };
    let mask = if second & 128 == 0 { None } else { Some(*rest.get(long..)?.first_chunk()?) };
    let start = 2 + long + if mask.is_some() { 4 } else { 0 };
    let payload = start..start.checked_add(length)?;
    (payload.end <= input.len()).then_some(Frame { opcode: first & 15, mask, payload })
}

/// Appends a frame: masked as clients do it, or not, as servers do it.
pub fn push_frame(out: &mut Vec<u8>, opcode: u8, mask: Option<[u8; 4]>, payload: &[u8]) {
    out.push(128 | opcode);
    let bit = if mask.is_some() { 128 } else { 0 };
    match payload.len() {
        short @ 0..=125 => out.push(bit | short as u8),
        middle @ 126..=0xffff => {
            out.push(bit | 126);
            out.extend((middle as u16).to_be_bytes());
        }
        long => {
            out.push(bit | 127);
            out.extend((long as u64).to_be_bytes());
        }
    }
    out.extend(mask.iter().flatten());
    let start = out.len();
    out.extend(payload);
    if let Some(mask) = mask {
        apply_mask(mask, &mut out[start..]);
    }
}

pub fn apply_mask(mask: [u8; 4], payload: &mut [u8]) {
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// A client's frame. One fixed mask will do: the server has the same work with every mask but the empty one.
pub fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 14);
    push_frame(&mut out, opcode, Some([0x37, 0xfa, 0x21, 0x3d]), payload);
    out
}

pub fn upgrade_request(sid: Option<&str>) -> Vec<u8> {
    let sid = sid.map_or(String::new(), |sid| format!("&sid={sid}"));
    format!(
        "GET /socket.io/?EIO=4&transport=websocket{sid} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes()
}

/// A browser's polling request: `GET` without, `POST` with a body. No `Accept-Encoding`: bodies are to stay readable.
pub fn polling_request(sid: Option<&str>, body: Option<&str>) -> Vec<u8> {
    let method = if body.is_some() { "POST" } else { "GET" };
    let sid = sid.map_or(String::new(), |sid| format!("&sid={sid}"));
    let length = body.map_or(String::new(), |body| {
        format!("Content-type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n", body.len())
    });
    format!(
        "{method} /socket.io/?EIO=4&transport=polling&t=PXyZ1a0{sid} HTTP/1.1\r\nHost: 127.0.0.1\r\n\
         Connection: keep-alive\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/130.0.0.0 Safari/537.36\r\nAccept: */*\r\nReferer: http://127.0.0.1/\r\n\
         Accept-Language: en-US,en;q=0.9\r\n{length}\r\n{}",
        body.unwrap_or("")
    )
    .into_bytes()
}

/// One HTTP answer inside a buffer.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    /// Bytes of the buffer that it took.
    pub used: usize,
}

/// The first answer of `input`, if it is there as a whole. Bodies by Content-Length or chunked.
pub fn answer(input: &[u8]) -> Result<Option<Answer>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(start) = head.parse(input).map_err(|error| format!("HTTP answer: {error}"))? else {
        return Ok(None);
    };
    let header = |name: &str| head.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    let status = head.code.unwrap_or(0);
    if header("transfer-encoding").is_some() {
        let (mut at, mut body) = (start, Vec::new());
        loop {
            let size = httparse::parse_chunk_size(&input[at..]).map_err(|_| "HTTP answer: bad chunk".to_string())?;
            let httparse::Status::Complete((line, size)) = size else { return Ok(None) };
            let from = at + line;
            at = from + size as usize + 2;
            if at > input.len() {
                return Ok(None);
            }
            if size == 0 {
                return Ok(Some(Answer { status, body, used: at }));
            }
            body.extend(&input[from..at - 2]);
        }
    }
    let length = match header("content-length") {
        Some(value) => str::from_utf8(value).ok().and_then(|v| v.parse().ok()).ok_or("HTTP answer: bad length")?,
        None if status < 200 || status == 204 || status == 304 => 0,
        None => return Err(format!("HTTP answer {status} without a length")),
    };
    let end = start + length;
    Ok((end <= input.len()).then(|| Answer { status, body: input[start..end].to_vec(), used: end }))
}

// The chat message. Everything but the two numbers is fixed, so a receiver checks it whole by comparing bytes, and the
// floor, which must not keep a name per connection, finds the sender's name in the text: sender 7 is called u00007 and
// its 12th message says 00007:0000012:the quick ...

const PAD: &str = ":the quick brown fox jumps";
/// What a client's message packet starts and ends with; the text stands between.
pub const SAID: (&str, &str) = ("42[\"new message\",\"", "\"]");
/// What the server's starts with, and what stands between name and text, and at the end.
pub const HEARD: (&str, &str, &str) = ("42[\"new message\",{\"username\":\"u", "\",\"message\":\"", "\"}");
pub const SENDER_DIGITS: usize = 5;
const NUMBER_DIGITS: usize = 7;

pub fn name(sender: usize) -> String {
    format!("u{sender:05}")
}

pub fn said(sender: usize, number: usize) -> String {
    format!("{}{sender:05}:{number:07}{PAD}{}", SAID.0, SAID.1)
}

/// Sender and number of a packet that is a chat message: `None` if it is something else, an error if it is damaged.
pub fn heard(packet: &[u8]) -> Option<Result<(usize, usize), ()>> {
    if !packet.starts_with(b"42[\"new message\"") {
        return None;
    }
    Some(exact(packet).or_else(|| loose(packet)).ok_or(()))
}

fn digits(bytes: &[u8]) -> Option<usize> {
    bytes.iter().try_fold(0, |sum, b| b.is_ascii_digit().then(|| sum * 10 + (b - b'0') as usize))
}

/// The text of a message without quotes.
fn text(text: &[u8]) -> Option<(usize, usize)> {
    let (sender, rest) = text.split_at_checked(SENDER_DIGITS)?;
    let (number, pad) = rest.strip_prefix(b":")?.split_at_checked(NUMBER_DIGITS)?;
    (pad == PAD.as_bytes()).then_some((digits(sender)?, digits(number)?))
}

fn exact(packet: &[u8]) -> Option<(usize, usize)> {
    let packet = without_offset(packet.strip_suffix(b"]")?);
    let (name, rest) = packet.strip_prefix(HEARD.0.as_bytes())?.split_at_checked(SENDER_DIGITS)?;
    // What follows the text, such as the number in the history, is the server's own.
    let (said, more) =
        rest.strip_prefix(HEARD.1.as_bytes())?.split_at_checked(SENDER_DIGITS + 1 + NUMBER_DIGITS + PAD.len())?;
    let found = text(said)?;
    (digits(name)? == found.0 && more.starts_with(b"\"") && more.ends_with(b"}")).then_some(found)
}

/// The packet without the offset, `,"123"`, that clients get which know connection state recovery.
fn without_offset(packet: &[u8]) -> &[u8] {
    let digits = |packet: &'_ [u8]| packet.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let stripped = packet.strip_suffix(b"\"").and_then(|rest| rest[..rest.len() - digits(rest)].strip_suffix(b",\""));
    stripped.unwrap_or(packet)
}

/// Servers may put the keys in another order, or blanks between.
fn loose(packet: &[u8]) -> Option<(usize, usize)> {
    let value: serde_json::Value = serde_json::from_slice(&packet[2..]).ok()?;
    let found = text(value[1]["message"].as_str()?.as_bytes())?;
    (value[1]["username"] == name(found.0) && value.as_array()?.len() == 2).then_some(found)
}
