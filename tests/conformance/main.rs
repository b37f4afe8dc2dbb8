//! What the protocols' public test suites need at the other end: an echo of Engine.IO messages at `/engine.io/`,
//! and an application with the handlers that the Socket.IO suite expects at `/socket.io/`.
//!
//! It is built on the same `App` as the chat and takes the same options; only its defaults differ, because the
//! suites count in half seconds. `cargo run --release --example conformance`; the suites want port 3000.

use salon::{
    config::{self, Action, Config, Origins, Recovery},
    engineio::{
        Engine,
        packet::{Data, Encoded},
    },
    logger,
    slab::{SessionId, SocketKey},
    socketio::{App, Cx, Event},
};
use serde_json::value::RawValue;
use std::{env, process::ExitCode, time::Duration};

struct Conformance;

impl App for Conformance {
    fn namespaces(&self) -> &'static [&'static str] {
        &["/", "/custom"]
    }

    fn connected(&mut self, cx: &mut Cx, socket: SocketKey, auth: Option<&RawValue>) {
        let nothing = serde_json::json!({});
        match auth {
            Some(auth) => cx.emit(socket, "auth", &(auth,), &[]),
            None => cx.emit(socket, "auth", &(nothing,), &[]),
        }
    }

    fn event(&mut self, cx: &mut Cx, socket: SocketKey, event: &Event) {
        if cx.namespace(socket) != Some(0) {
            return;
        }
        match event.name {
            "message" => cx.emit(socket, "message-back", &event.args, event.attachments),
            "message-with-ack" => {
                if let Some(number) = event.ack {
                    cx.ack(socket, number, &event.args, event.attachments);
                }
            }
            _ => {}
        }
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

fn main() -> ExitCode {
    let defaults = Config {
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        connect_timeout: Duration::from_millis(1000),
        origins: Origins::Any,
        recovery: Recovery::Off,
        ..Config::default()
    };
    match defaults.load(env::args_os().skip(1), |name| env::var_os(name)) {
        Ok(Action::Run(config)) => {
            logger::start(config.log);
            salon::start(*config, Conformance)
        }
        Ok(_) => {
            print!("{}", config::help());
            ExitCode::SUCCESS
        }
        Err(line) => {
            eprintln!("conformance: {line}");
            ExitCode::from(2)
        }
    }
}
