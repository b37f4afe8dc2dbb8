//! A server for tests of what the chat does not do: binary events, a second namespace, plain Engine.IO.

use crate::harness::Server;
use salon::{
    base::logger,
    base::slab::{SessionId, SocketKey},
    config::Config,
    engineio::{
        Engine,
        packet::{Data, Encoded},
    },
    socketio::{App, ClusterApp, Event, Io},
};
use serde_json::value::RawValue;
use std::{env, net::Ipv4Addr, process::Command};

/// The environment variable that makes the test `server` run a server.
const ECHO: &str = "SALON_TEST_ECHO";

/// Sends back what it gets: messages of Engine.IO at `/engine.io/`, events of Socket.IO. A socket that connects gets its id.
struct Echo;

impl App for Echo {
    fn namespaces(&self) -> &'static [&'static str] {
        &["/", "/custom"]
    }

    fn connected(&mut self, cx: &mut Io, socket: SocketKey, _: Option<&RawValue>) {
        let id = cx.socket(socket).expect("the socket is connected").id.to_string();
        cx.emit(socket, "id", &(id,), &[]);
    }

    fn event(&mut self, cx: &mut Io, socket: SocketKey, event: &Event) {
        cx.emit(socket, event.name, &event.args, event.attachments);
        cx.ack(socket, event.ack, &event.args, event.attachments);
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

impl ClusterApp for Echo {}

/// Not a test: what [`start`] makes of this program, in a process of its own.
#[test]
#[ignore = "other tests start it"]
fn server() {
    if env::var_os(ECHO).is_some() {
        let [tls_cert, tls_key] = ["SALON_TLS_CERT", "SALON_TLS_KEY"].map(|name| env::var(name).ok());
        let config = Config { port: 0, host: Some(Ipv4Addr::LOCALHOST.into()), tls_cert, tls_key, ..Config::default() };
        logger::start(config.log);
        salon::start(config, Echo).expect("the server runs");
    }
}

/// Starts it, with what is the default of all options, on a free port.
pub fn start() -> Server {
    let mut command = Command::new(env::current_exe().expect("this program has a path"));
    command.args(["--exact", "echo::server", "--ignored", "--nocapture"]).env(ECHO, "1");
    Server::run(command)
}
