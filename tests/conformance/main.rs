//! The server for the protocols' public test suites: an echo of Engine.IO messages at `/engine.io/`, and at `/socket.io/` an
//! application with the handlers that the Socket.IO suite expects.
//!
//! | client sends | application does |
//! |---|---|
//! | CONNECT to `/` or `/custom` | `auth` with the payload of the CONNECT |
//! | `message` in `/` | `message-back` with the same arguments |
//! | `message-with-ack` in `/` | an answer with the same arguments |
//!
//! Beyond the suites, for tests/live/socketio.rs:
//!
//! | client sends | application does |
//! |---|---|
//! | CONNECT with `{"refuse":"why"}` | refuses with that message |
//! | `ask`, `ask-briefly` | `question` with the same arguments and an ack id, or `busy`; then `answer` with the arguments of the ack, or `no-answer` |
//! | `end-all` | ends all sockets of all clients |
//!
//! It implements `App` as the chat does and takes the same options. Only their defaults differ: the suites expect
//! heartbeats within half a second. `cargo run --release --example conformance`; the suites want port 3000.

use salon::{
    base::logger,
    base::slab::{SessionId, SocketKey},
    config::{self, Action, Config, Origins, Recovery, Settings},
    engineio::{
        Engine,
        packet::{Data, Encoded},
    },
    socketio::{App, ClusterApp, DisconnectReason, Event, Io},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{env, process::ExitCode, time::Duration};

/// The time limit of the ack of `ask`, and of `ask-briefly`.
const TIME: Duration = Duration::from_secs(3600);
const BRIEFLY: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Conformance {
    /// The connected sockets, oldest first.
    sockets: Vec<SocketKey>,
}

/// An auth payload that asks to be refused.
#[derive(Deserialize)]
struct Refusal {
    refuse: String,
}

impl App for Conformance {
    fn namespaces(&self) -> &'static [&'static str] {
        &["/", "/custom"]
    }

    fn admit(&mut self, _namespace: &str, auth: Option<&RawValue>) -> Result<(), String> {
        match auth.map(|auth| serde_json::from_str(auth.get())) {
            Some(Ok(Refusal { refuse })) => Err(refuse),
            _ => Ok(()),
        }
    }

    fn connected(&mut self, cx: &mut Io, socket: SocketKey, auth: Option<&RawValue>) {
        self.sockets.push(socket);
        let nothing = serde_json::json!({});
        match auth {
            Some(auth) => cx.emit(socket, "auth", &(auth,), &[]),
            None => cx.emit(socket, "auth", &(nothing,), &[]),
        }
    }

    fn event(&mut self, cx: &mut Io, socket: SocketKey, event: &Event) {
        let namespace = cx.socket(socket).expect("a socket that emits is connected").namespace;
        match (event.name, namespace) {
            ("message", 0) => cx.emit(socket, "message-back", &event.args, event.attachments),
            ("message-with-ack", 0) => cx.ack(socket, event.ack, &event.args, event.attachments),
            ("ask" | "ask-briefly", _) => {
                let time = if event.name == "ask" { TIME } else { BRIEFLY };
                if cx.emit_with_ack(socket, "question", &event.args, time).is_none() {
                    cx.emit(socket, "busy", &[(); 0], &[]);
                }
            }
            ("end-all", _) => self.sockets.iter().for_each(|socket| cx.disconnect(*socket)),
            _ => {}
        }
    }

    fn acknowledged(&mut self, cx: &mut Io, socket: SocketKey, number: u64, answer: Option<&Event>) {
        cx.socket(socket).expect("a socket that owes an ack is connected");
        match answer {
            Some(answer) => cx.emit(socket, "answer", &answer.args, answer.attachments),
            None => cx.emit(socket, "no-answer", &(number,), &[]),
        }
    }

    fn disconnected(&mut self, _cx: &mut Io, socket: SocketKey, _reason: DisconnectReason) {
        self.sockets.retain(|known| *known != socket);
    }

    fn plain_path(&self) -> Option<&'static str> {
        Some("/engine.io/")
    }

    fn plain_message(&mut self, engine: &mut Engine, session: SessionId, data: Data) {
        let echo = match data {
            Data::Text(text) => Encoded::text(|out| out.extend_from_slice(text.as_bytes())),
            Data::Binary(bytes) => Encoded::binary(bytes),
        };
        engine.send(session, &echo);
    }
}

impl ClusterApp for Conformance {}

fn main() -> ExitCode {
    let defaults = Config {
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        connect_timeout: Duration::from_millis(1000),
        origins: Origins::Any,
        recovery: Recovery::Off,
        ..Config::default()
    };
    let settings = defaults.load(env::args_os().skip(1), |name| env::var_os(name));
    let done = settings.and_then(|Settings { action, config, .. }| {
        if action != Action::Run {
            print!("{}", config::help());
            return Ok(());
        }
        logger::start(config.log);
        salon::start(config, Conformance::default())
    });
    if let Err(line) = done {
        eprintln!("conformance: {line}");
        return ExitCode::from(2);
    }
    ExitCode::SUCCESS
}
