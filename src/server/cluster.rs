//! The cluster's part in the turn of the loop: its connections, and the way between [`Cluster`] and [`Io`](crate::socketio::Io).
//! Part of `server`.

use super::{Protocol, Server};
use crate::base::metrics::Metrics;
use crate::base::slab::{ConnId, SocketKey};
use crate::cluster::link::LinkStep;
pub use crate::cluster::link::Role;
use crate::cluster::{Cluster, ClusterOutput, Request};
use crate::config::Config;
use crate::engineio::Engine;
use crate::net::EndCause;
use crate::net::tls::Trust;
use crate::socketio::{App, Publication};
use serde_json::{Value, json};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};
use std::{io, slice, thread};

/// How long clients may take to answer a question of another server.
const QUESTION_TIME: Duration = Duration::from_secs(5);

/// The addresses of the host, for a link.
type Found = (Role, io::Result<Vec<SocketAddr>>);

/// The cluster, if there is one, and the connections of its links.
pub struct Links {
    cluster: Option<Box<Cluster>>,
    /// For `rediss://`.
    trust: Option<Trust>,
    connections: [Option<ConnId>; 2],
    /// How threads that look the host up hand over what they have found.
    found: (Sender<Found>, Receiver<Found>),
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
            let ids = [engine.ids.fresh(), engine.ids.fresh()];
            Box::new(Cluster::new(config.clone(), url, namespaces, ids, engine.now))
        });
        Ok(Links { cluster, trust, connections: [None; 2], found: mpsc::channel() })
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.cluster.as_ref()?.due()
    }

    /// Bytes of a link.
    pub fn receive(&mut self, role: Role, bytes: &[u8], now: Instant) -> Option<usize> {
        self.cluster.as_mut()?.receive(role, bytes, now)
    }

    /// A connection of a link is over; perhaps one that was given up.
    pub fn connection_lost(&mut self, role: Role, id: ConnId, cause: EndCause, now: Instant) {
        if let Some(cluster) = &mut self.cluster
            && self.connections[role as usize].take_if(|own| *own == id).is_some()
        {
            let failure = match cause {
                EndCause::Error(error) => error.to_string().into(),
                _ => "the connection was closed".into(),
            };
            cluster.failed(role, failure, now);
        }
    }

    pub fn metrics(&self, metrics: &mut Metrics) {
        self.cluster.iter().for_each(|cluster| cluster.metrics(metrics));
    }
}

impl<A: App> Server<A> {
    /// Carries broadcasts of ours to the cluster, and what it wants to the sockets and connections. Returns whether there was
    /// anything.
    pub(super) fn exchange_with_cluster(&mut self) -> bool {
        let Some(cluster) = &mut self.links.cluster else { return false };
        let now = self.now;
        if let Some(publication) = self.io.publications.pop_front() {
            cluster.publish(&publication, now);
            return true;
        }
        match cluster.poll() {
            Some(ClusterOutput::Link(role, step)) => self.step(role, step),
            Some(ClusterOutput::Broadcast(broadcast)) => self.apply(&broadcast),
            Some(ClusterOutput::Request(namespace, request)) => self.handle_request(namespace, &request),
            Some(ClusterOutput::Users(elsewhere)) => self.app.elsewhere(&mut self.io, elsewhere),
            Some(ClusterOutput::PeerQuestion(node, question)) => {
                if let Some(answer) = self.app.answer_peer(&question) {
                    cluster.send_to_peer(&node, None, Some(&answer), now);
                }
            }
            Some(ClusterOutput::PeerAnswer(node, answer)) => {
                if let Some(question) = self.app.learn_from_peer(&mut self.io, &answer) {
                    cluster.send_to_peer(&node, Some(&question), None, now);
                }
            }
            None => return false,
        }
        true
    }

    /// At the end of the turn: the cluster gets the addresses that were looked up, does what is due, and tells other nodes who
    /// is here, if that has changed.
    pub(super) fn tend_links(&mut self) {
        let Links { cluster: Some(cluster), found: (_, found), .. } = &mut self.links else { return };
        while let Ok((role, found)) = found.try_recv() {
            cluster.resolved(role, found, self.now);
        }
        cluster.expire(self.now);
        let present = self.stopping.is_none().then(|| self.app.present());
        cluster.announce_presence(present, || self.app.people(), self.now);
    }

    fn step(&mut self, role: Role, step: LinkStep) {
        let Links { cluster: Some(cluster), trust, connections, found: (sender, _) } = &mut self.links else { return };
        let connection = &mut connections[role as usize];
        match (step, *connection) {
            // The system's look-up blocks, for seconds when a name server is away. So a thread asks, hands the answer over and
            // ends; it touches no state. The link gives up after some seconds, the thread ends when the system lets it.
            (LinkStep::Resolve, _) => {
                let (host, port, sender) = (cluster.url.host.clone(), cluster.url.port, sender.clone());
                let waker = Arc::clone(&self.net.waker);
                let begun = thread::Builder::new().name("resolve".into()).spawn(move || {
                    let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
                    // Neither fails while the loop runs, and after that nobody waits.
                    let _ = sender.send((role, found));
                    let _ = waker.wake();
                });
                if let Err(error) = begun {
                    cluster.resolved(role, Err(error), self.now);
                }
            }
            (LinkStep::Connect(address, greeting), _) => {
                let tls = trust.as_ref().map(|trust| trust.connect(&cluster.url.host)).transpose();
                let connect =
                    |tls| self.net.connect(address, tls, Protocol::Redis(role)).map_err(|error| error.to_string());
                match tls.and_then(connect) {
                    Ok(id) => {
                        *connection = Some(id);
                        self.net.push(id, greeting.into());
                    }
                    Err(why) => cluster.failed(role, why.into(), self.now),
                }
            }
            (LinkStep::Send(bytes), Some(id)) => self.net.push(id, bytes.into()),
            (LinkStep::Close, Some(id)) => {
                *connection = None;
                self.net.abort(id);
            }
            (LinkStep::Send(_) | LinkStep::Close, None) => {}
        }
    }

    /// A broadcast of another server, by the same function as those of our own.
    fn apply(&mut self, broadcast: &Publication) {
        let Publication { namespace, rooms, except, asker, .. } = broadcast;
        let Some(asker) = asker else {
            return self.io.relay(broadcast, &mut self.app);
        };
        let members = self.io.named(namespace, rooms, except);
        let Some(cluster) = &mut self.links.cluster else { return };
        let answer = json!({"type": 8, "requestId": asker, "clientCount": members.len()});
        cluster.answer(namespace, &answer, self.now);
        for socket in members {
            self.io.ask(socket, broadcast, self.now + QUESTION_TIME);
        }
    }

    /// A question or an order of another server. The numbers are the adapter's.
    fn handle_request(&mut self, namespace: &str, request: &Request) {
        let Request { request_id, kind, opts, rooms, sid, room, close, .. } = request;
        let members = match sid {
            // The sockets of some rooms: here they are the request's own.
            _ if *kind == 0 => self.io.named(namespace, rooms, &[]),
            None => self.io.named(namespace, &opts.rooms, &opts.except),
            Some(sid) => self.io.named(namespace, slice::from_ref(sid), &[]),
        };
        let rooms = room.as_ref().map_or(&rooms[..], slice::from_ref);
        let mut answer = json!({});
        match kind {
            0 => {
                let sockets: Vec<_> = members.iter().filter_map(|key| self.io.rooms_of(*key).first()).collect();
                answer["sockets"] = json!(sockets);
            }
            1 => answer["rooms"] = json!(self.io.rooms(namespace)),
            2 | 3 => {
                for (socket, room) in members.iter().flat_map(|socket| rooms.iter().map(move |room| (socket, room))) {
                    if *kind == 2 { self.io.join(*socket, room) } else { self.io.leave_room(*socket, room) }
                }
            }
            4 => members.iter().for_each(|socket| self.io.end(*socket, *close)),
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
                answer["sockets"] = members.iter().map(describe).collect();
            }
            // An event for the server itself: nobody here listens, but the caller waits for all.
            6 => answer = json!({"type": 6, "data": null}),
            _ => return,
        }
        if let (Some(id), Some(cluster)) = (request_id, &mut self.links.cluster) {
            answer["requestId"] = Value::from(id.as_str());
            cluster.answer(namespace, &answer, self.now);
        }
    }
}
