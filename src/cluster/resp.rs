//! RESP2, the protocol of Redis, as far as publish and subscribe need it. A crate for all of RESP would be more to audit.
//!
//! ```text
//! command = "*" count CRLF, then for each word "$" length CRLF bytes CRLF
//! reply   = value | "*" count CRLF value...             at most 4 values, never an array in an array
//! value   = "+" text CRLF | "-" error CRLF | ":" integer CRLF | "$" length CRLF bytes CRLF
//! ```
//!
//! Anything else is an error. So are the null values `$-1` and `*-1`: no command that salon sends is answered with them.
//! Source: the Redis documentation, "Redis serialization protocol specification".

use std::borrow::Cow;

/// Maximum bytes of one string, and of an incomplete reply kept as input. Far above the default of `max_payload`.
pub const MAX_REPLY: usize = 16 * 1024 * 1024;
/// Maximum number of values in an array: `pmessage` has 4.
const MAX_VALUES: usize = 4;
/// Maximum bytes before the CRLF of a line that holds a count or a length.
const MAX_NUMBER: usize = 16;
/// Maximum bytes before the CRLF of any other line.
const MAX_TEXT: usize = 4096;

/// One message from Redis: the reply to a command, or a publication.
#[derive(Debug, PartialEq, Eq)]
pub enum RedisReply<'a> {
    /// A reply of success: `OK`, `PONG`, a number, or the array that answers PING and SUBSCRIBE on a subscribed connection.
    Success,
    /// A publication: channel and content.
    Message(&'a [u8], &'a [u8]),
    Error(Cow<'a, str>),
}

/// Parses the reply at the start of `bytes`. Returns the reply and its length, or `None` if the reply is incomplete.
pub fn reply(bytes: &[u8]) -> Result<Option<(RedisReply<'_>, usize)>, &'static str> {
    let mut rest = bytes;
    let Some((kind, content)) = take_value(&mut rest)? else { return Ok(None) };
    let count = if kind == b'*' { number(content, MAX_VALUES)? } else { 0 };
    let mut values = [&[][..]; MAX_VALUES];
    for value in &mut values[..count] {
        match take_value(&mut rest)? {
            None => return Ok(None),
            Some((b'*', _)) => return Err("an array in an array"),
            Some((_, content)) => *value = content,
        }
    }
    let reply = match values {
        _ if kind == b'-' => RedisReply::Error(String::from_utf8_lossy(content)),
        [b"message", channel, content, _] | [b"pmessage", _, channel, content] => RedisReply::Message(channel, content),
        _ => RedisReply::Success,
    };
    Ok(Some((reply, bytes.len() - rest.len())))
}

/// Takes a value from the start of `rest`. Returns its type (the first byte) and its content, or `None` if the value is
/// incomplete. The content of an array is only its count.
fn take_value<'a>(rest: &mut &'a [u8]) -> Result<Option<(u8, &'a [u8])>, &'static str> {
    let Some((kind, text)) = rest.split_first() else { return Ok(None) };
    let limit = match kind {
        b'*' | b'$' => MAX_NUMBER,
        b'+' | b'-' | b':' => MAX_TEXT,
        _ => return Err("not RESP2"),
    };
    let Some(end) = text.windows(2).take(limit).position(|pair| pair == b"\r\n") else {
        return if text.len() > limit { Err("a line that is too long") } else { Ok(None) };
    };
    let (mut content, mut tail) = (&text[..end], &text[end + 2..]);
    if *kind == b'$' {
        let length = number(content, MAX_REPLY)?;
        if tail.len() < length + 2 {
            return Ok(None);
        }
        (content, tail) = tail.split_at(length);
        tail = tail.strip_prefix(b"\r\n").ok_or("a string that is longer than its length")?;
    }
    *rest = tail;
    Ok(Some((*kind, content)))
}

fn number(digits: &[u8], limit: usize) -> Result<usize, &'static str> {
    let number = str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    number.filter(|number| *number <= limit).ok_or("a count or length that is no number, or too large")
}

/// Returns a command in its encoded form, an array of strings.
pub fn command(words: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words.iter().map(AsRef::as_ref) {
        out.extend([format!("${}\r\n", word.len()).as_bytes(), word, b"\r\n"].concat());
    }
    out
}
