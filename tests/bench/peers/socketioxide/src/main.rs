//! The chat on socketioxide and tokio's current-thread runtime, to be compared with salon: PORT and HOST as there, the
//! ping interval in ms in SALON_PING_INTERVAL.

use axum::http::header;
use axum::{Router, routing::get};
use serde_json::{Value, json};
use socketioxide::extract::{Data, SocketRef, State};
use socketioxide::{SocketIo, socket::DisconnectReason};
use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// What salon serves, so that the same bytes are compared.
const PAGE: &str = include_str!("../../../../../static/index.html");

/// Named users.
type Users = Arc<AtomicUsize>;
#[derive(Clone)]
struct Name(Value);

async fn relay(socket: SocketRef, event: &'static str, mut fields: Value) {
    let Some(Name(name)) = socket.extensions.get() else { return };
    fields["username"] = name;
    // An error is a full queue of a recipient: the message is lost to it, and the bench sees that.
    let _ = socket.broadcast().emit(event, &fields).await;
}

async fn connected(socket: SocketRef) {
    socket.on("add user", async |socket: SocketRef, Data(name): Data<Value>, State(users): State<Users>| {
        if socket.extensions.insert(Name(name)).is_none() {
            let count = users.fetch_add(1, Relaxed) + 1;
            let _ = socket.emit("login", &json!({ "numUsers": count }));
            relay(socket, "user joined", json!({ "numUsers": count })).await;
        }
    });
    socket.on("new message", async |socket: SocketRef, Data(message): Data<Value>| {
        relay(socket, "new message", json!({ "message": message })).await;
    });
    socket.on("typing", async |socket: SocketRef| relay(socket, "typing", json!({})).await);
    socket.on("stop typing", async |socket: SocketRef| relay(socket, "stop typing", json!({})).await);
    socket.on_disconnect(async |socket: SocketRef, _: DisconnectReason, State(users): State<Users>| {
        if socket.extensions.get::<Name>().is_some() {
            let count = users.fetch_sub(1, Relaxed) - 1;
            relay(socket, "user left", json!({ "numUsers": count })).await;
        }
    });
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let variable = |name: &str, default: &str| env::var(name).unwrap_or(default.to_owned());
    let interval = variable("SALON_PING_INTERVAL", "25000").parse().expect("a number of milliseconds");
    let (layer, io) = SocketIo::builder()
        .ping_interval(Duration::from_millis(interval))
        .with_state(Users::default())
        .build_layer();
    io.ns("/", connected);
    let page = get(async || ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE));
    let address = format!("{}:{}", variable("HOST", "127.0.0.1"), variable("PORT", "3000"));
    let listener = tokio::net::TcpListener::bind(address).await.expect("the port is free");
    axum::serve(listener, Router::new().route("/", page).layer(layer)).await.expect("sockets work");
}
