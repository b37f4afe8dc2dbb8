//! JSONP, of any protocol: payloads as script calls out, as form fields in.
//! Source: docs/engine.io-protocol/v3.md, "JSONP".

use super::packet::Invalid;
use super::v3::escape;
use crate::http;
use bytes::Bytes;

/// A payload as a call of JSONP callback `callback`, of any protocol: pure ASCII, because U+2028 and U+2029 once
/// ended a line inside a JavaScript string, and without `<`, so that nothing reads as HTML.
pub fn encode(callback: u32, body: &[u8]) -> Vec<u8> {
    let quoted = serde_json::Value::from(String::from_utf8_lossy(body)).to_string().replace('<', "\\u003c");
    let mut script = format!("___eio[{callback}](").into_bytes();
    escape(&quoted, &mut script);
    script.extend_from_slice(b");");
    script
}

/// The payload in the form that JSONP clients of any protocol post: field `d`. Browsers treat line ends in forms
/// each in their own way, so `\n` stands for one, and a backslash before an `n` is doubled.
pub fn decode(body: &[u8]) -> Result<Bytes, Invalid> {
    let form = str::from_utf8(body).map_err(|_| Invalid("a form is not UTF-8"))?;
    let [Ok(Some(payload))] = http::parameters(form, ["d"]) else { return Err(Invalid("a form without one field d")) };
    let parts: Vec<String> = payload.split(r"\\n").map(|part| part.replace(r"\n", "\n")).collect();
    Ok(parts.join(r"\n").into())
}
