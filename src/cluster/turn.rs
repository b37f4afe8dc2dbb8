//! The cluster's part in the turn of the loop: its connections, and the way between [`Cluster`] and [`Io`]. Part of `server`.

use super::{Server, Speaks};
pub use crate::cluster::link::Role;
use crate::cluster::wire::Broadcast;
use crate::cluster::{Cluster, Event, Output, Request};
use crate::config::Config;
use crate::engineio::Engine;
use crate::metrics::Metrics;
use crate::net::Cause;
use crate::slab::{ConnId, SocketKey};
use crate::socketio::{App, MAX_PEOPLE};
use crate::tls::Trust;
use bytes::Bytes;
use serde_json::json;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// How long clients may take to answer a question of another server.
const QUESTION_TIME: Duration = Duration::from_secs(5);

/// The cluster, if there is one, and the connections of its links.
pub struct Links {
    cluster: Option<Box<Cluster>>,
    /// For `rediss://`.
    trust: Option<Trust>,
    connections: [Option<ConnId>; 2],
}

impl Links {
    /// Fails if the file of `redis_ca` is of no use.
    pub fn new(config: &Config, namespaces: &'static [&'static str], engine: &mut Engine) -> io::Result<Links> {
        let trust = match &config.redis {
            Some(url) if url.tls => Some(Trust::new(config.redis_ca.as_deref())),
            _ => None,
        };
        let trust = trust.transpose().map_err(|why| io::Error::other(format!("--redis-ca {why}")))?;
        let cluster = config.redis.clone().map(|url| {
            let ids = [engine.fresh_id(), engine.fresh_id()];
            Box::new(Cluster::new(config.clone(), url, namespaces, ids, engine.now))
        });
        Ok(Links { cluster, trust, connections: [None; 2] })
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.cluster.as_ref()?.due()
    }

    pub fn expire(&mut self, now: Instant) {
        self.cluster.iter_mut().for_each(|cluster| cluster.expire(now));
    }

    pub fn goodbye(&mut self, now: Instant) {
        self.cluster.iter_mut().for_each(|cluster| cluster.goodbye(now));
    }

    /// Bytes of a link. Those of one that was given up are nothing.
    pub fn receive(&mut self, role: Role, id: ConnId, bytes: &[u8], now: Instant) -> Option<usize> {
        match &mut self.cluster {
            Some(cluster) if self.connections[role as usize] == Some(id) && !bytes.is_empty() => {
                cluster.receive(role, bytes, now)
            }
            _ if bytes.is_empty() => None,
            _ => Some(bytes.len()),
        }
    }

    /// A connection of a link is over; perhaps one that was given up.
    pub fn lost(&mut self, id: ConnId, cause: Cause, now: Instant) {
        for role in [Role::Publish, Role::Subscribe] {
            if let Some(cluster) = self.cluster.as_mut().filter(|_| self.connections[role as usize] == Some(id)) {
                self.connections[role as usize] = None;
                let why = match &cause {
                    Cause::Error(error) => error.to_string(),
                    _ => "the connection was closed".into(),
                };
                cluster.failed(role, &why, false, now);
            }
        }
    }

    pub fn metrics(&self, metrics: &mut Metrics) {
        self.cluster.iter().for_each(|cluster| cluster.metrics(metrics));
    }
}

impl<A: App> Server<A> {
    /// Carries broadcasts of ours to the cluster, and what it wants to the sockets and connections. Returns whether there was
    /// anything.
    pub(super) fn carry(&mut self) -> bool {
        let Some(cluster) = &mut self.links.cluster else { return false };
        let now = self.now;
        let mut moved = false;
        while let Some(publication) = self.io.publications.pop_front() {
            cluster.publish(&publication, now);
            moved = true;
        }
        let (event, output) = (cluster.poll_event(), cluster.poll_output());
        moved |= event.is_some() || output.is_some();
        match event {
            Some(Event::Broadcast(broadcast)) => self.apply(&broadcast),
            Some(Event::Request(namespace, request)) => self.obey(namespace, &request),
            Some(Event::Users { users, people, lost }) => {
                self.app.elsewhere(&mut self.io, users, people, &lost);
            }
            Some(Event::Asked(node, question)) => {
                if let Some(answer) = self.app.tell(&question) {
                    cluster.send_missed(&node, None, Some(&answer), now);
                }
            }
            Some(Event::Told(node, answer)) => {
                if let Some(question) = self.app.learn(&mut self.io, &answer) {
                    cluster.send_missed(&node, Some(&question), None, now);
                }
            }
            None => {}
        }
        match output {
            Some(Output::Resolve(role, host, port)) => self.resolve(role, &host, port),
            Some(Output::Connect(role, address, greeting)) => self.connect(role, address, greeting.into()),
            Some(Output::Send(role, bytes)) => {
                if let Some(id) = self.links.connections[role as usize] {
                    self.net.push(id, bytes.into());
                }
            }
            Some(Output::Close(role)) => {
                if let Some(id) = self.links.connections[role as usize].take() {
                    self.net.doom(id);
                }
            }
            None => {}
        }
        moved
    }

    /// At the end of the turn: other nodes are told who is here, if that has changed.
    pub(super) fn tell_presence(&mut self) {
        if let Some(cluster) = self.links.cluster.as_mut().filter(|_| self.stopping.is_none()) {
            cluster.tell(self.app.present(), || self.app.people(MAX_PEOPLE), self.now);
        }
    }

    fn resolve(&mut self, role: Role, host: &str, port: u16) {
        let Some(cluster) = &mut self.links.cluster else { return };
        if let Ok(address) = host.parse::<IpAddr>() {
            cluster.resolved(role, Ok(vec![SocketAddr::new(address, port)]), self.now);
        } else if let Err(error) = self.net.resolve(role as usize, host, port) {
            cluster.resolved(role, Err(error.to_string()), self.now);
        }
    }

    /// Names were looked up.
    pub(super) fn resolved(&mut self) {
        while let Some((number, addresses)) = self.net.resolved() {
            let role = if number == Role::Publish as usize { Role::Publish } else { Role::Subscribe };
            if let Some(cluster) = &mut self.links.cluster {
                cluster.resolved(role, addresses.map_err(|error| error.to_string()), self.now);
            }
        }
        self.pump();
    }

    fn connect(&mut self, role: Role, address: SocketAddr, greeting: Bytes) {
        let Links { cluster: Some(cluster), trust, connections } = &mut self.links else { return };
        let tls = trust.as_ref().map(|trust| trust.connect(cluster.host())).transpose();
        let connection =
            tls.and_then(|tls| self.net.connect(address, tls, Speaks::Redis(role)).map_err(|error| error.to_string()));
        match connection {
            Ok(id) => {
                connections[role as usize] = Some(id);
                self.net.push(id, greeting);
            }
            Err(why) => cluster.failed(role, &why, false, self.now),
        }
    }

    /// A broadcast of another server, by the same function as those of our own.
    fn apply(&mut self, broadcast: &Broadcast) {
        let Broadcast { namespace, rooms, except, event, attachments, request, .. } = broadcast;
        let Some(request) = request else {
            return self.io.relay(broadcast, &mut self.app);
        };
        let members = self.io.named(namespace, rooms, except);
        let Some(cluster) = &mut self.links.cluster else { return };
        let answer = json!({"type": 8, "requestId": request, "clientCount": members.len()});
        cluster.answer(namespace, &answer, self.now);
        for socket in members {
            self.io.ask(socket, request, event, attachments, self.now + QUESTION_TIME);
        }
    }

    /// A question or an order of another server. The numbers are the adapter's.
    fn obey(&mut self, namespace: &str, request: &Request) {
        let Some(cluster) = &mut self.links.cluster else { return };
        let id = request.request_id.as_deref().unwrap_or_default();
        let (sid, room) = (request.sid.as_slice(), request.room.as_slice());
        let members = match sid {
            [] => self.io.named(namespace, &request.opts.rooms, &request.opts.except),
            sid => self.io.named(namespace, sid, &[]),
        };
        let rooms = if room.is_empty() { &request.rooms } else { room };
        match request.kind {
            // The sockets of some rooms: here they are the request's own.
            0 => {
                let members = self.io.named(namespace, &request.rooms, &[]);
                let sockets: Vec<_> = members.iter().filter_map(|key| self.io.rooms_of(*key).first()).collect();
                cluster.answer(namespace, &json!({"requestId": id, "sockets": sockets}), self.now);
            }
            1 => {
                let rooms = self.io.rooms(namespace);
                cluster.answer(namespace, &json!({"requestId": id, "rooms": rooms}), self.now);
            }
            2 | 3 => {
                for (socket, room) in members.iter().flat_map(|socket| rooms.iter().map(move |room| (socket, room))) {
                    if request.kind == 2 { self.io.join(*socket, room) } else { self.io.leave(*socket, room) }
                }
            }
            4 => members.iter().for_each(|socket| self.io.end(*socket, request.close)),
            5 => {
                let describe = |key: &SocketKey| {
                    let rooms = self.io.rooms_of(*key);
                    // What a request has brought is not kept, and `auth` holds secrets.
                    let handshake = json!({
                        "headers": {}, "time": "", "address": "", "xdomain": false, "secure": false, "issued": 0,
                        "url": "", "query": {}, "auth": {}
                    });
                    json!({"id": rooms.first(), "handshake": handshake, "rooms": rooms, "data": {}})
                };
                let sockets: Vec<_> = members.iter().map(describe).collect();
                cluster.answer(namespace, &json!({"requestId": id, "sockets": sockets}), self.now);
            }
            // An event for the server itself: nobody here listens, but the caller waits for all.
            6 if request.request_id.is_some() => {
                cluster.answer(namespace, &json!({"type": 6, "requestId": id, "data": null}), self.now);
            }
            _ => {}
        }
        if request.sid.is_some() && request.request_id.is_some() {
            cluster.answer(namespace, &json!({"requestId": id}), self.now);
        }
    }
}
