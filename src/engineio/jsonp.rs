//! JSONP is polling for browsers without cross-origin XHR: the server sends a payload as a script, the client sends one as a
//! form field. It is available in all protocol versions.
//! Source: docs/engine.io-protocol/v3.md, "JSONP".

use super::packet::Invalid;
use super::v3::escape;
use crate::http;
use bytes::Bytes;

/// Returns a script that passes the payload `body` to JSONP callback number `callback`. The script is ASCII, because U+2028
/// and U+2029 end a line in JavaScript strings before ES2019. It has no `<`, so that it cannot be taken for HTML.
pub fn encode(callback: u32, body: &[u8]) -> Vec<u8> {
    let quoted = serde_json::Value::from(String::from_utf8_lossy(body)).to_string().replace('<', "\\u003c");
    let mut script = format!("___eio[{callback}](").into_bytes();
    escape(&quoted, &mut script);
    script.extend_from_slice(b");");
    script
}

/// Returns the payload in field `d` of a posted form. Browsers change line ends in forms, so clients write a line end as the
/// two characters `\n`. Where the text itself has these two characters, clients write `\\n`.
pub fn decode(body: &[u8]) -> Result<Bytes, Invalid> {
    let form = str::from_utf8(body).map_err(|_| Invalid("a form is not UTF-8"))?;
    let [Some(payload)] = http::parameters(form, ["d"]) else { return Err(Invalid("a form without the field d")) };
    let parts: Vec<String> = payload.split(r"\\n").map(|part| part.replace(r"\n", "\n")).collect();
    Ok(parts.join(r"\n").into())
}
