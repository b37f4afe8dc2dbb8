//! One user of the chat with rust_socketio: chatter URL polling|websocket|upgrade NAME TEXTS
//!
//! Logs in as NAME; at the message `go` it says each of the TEXTS (a JSON array) at once. Prints one JSON line for each
//! event that it hears. Ends with its standard input.

use rust_socketio::{ClientBuilder, Event, Payload, RawClient, TransportType};
use serde_json::{Value, json};
use std::error::Error;
use std::io::Read;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, transport, name, texts] = &arguments[..] else { return Err("four arguments are needed".into()) };
    let transport = match transport.as_str() {
        "polling" => TransportType::Polling,
        "websocket" => TransportType::Websocket,
        "upgrade" => TransportType::WebsocketUpgrade,
        _ => return Err("an unknown transport".into()),
    };
    let texts: Vec<String> = serde_json::from_str(texts)?;
    let client = ClientBuilder::new(url.as_str())
        .transport_type(transport)
        .reconnect(false)
        .on_any(move |event, payload, client| hear(event, payload, client, &texts))
        .on(Event::Error, |payload, _| eprintln!("error: {payload:?}"))
        .on(Event::Close, |_, _| eprintln!("closed"))
        .connect()?;
    // The answer to CONNECT may not be here yet: this client does not wait for it.
    client.emit("add user", json!(name))?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn hear(event: Event, payload: Payload, client: RawClient, texts: &[String]) {
    let Payload::Text(arguments) = payload else { return eprintln!("not text: {payload:?}") };
    let event = String::from(event);
    let [data] = &arguments[..] else { return eprintln!("{event} with {} arguments", arguments.len()) };
    println!("{}", Value::from(vec![json!(event), data.clone()]));
    if event == "new message" && data["message"] == "go" {
        for text in texts {
            client.emit("new message", json!(text)).unwrap_or_else(|error| eprintln!("{error}"));
        }
    }
}
