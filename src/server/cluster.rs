//! The connections to Redis: name lookup, connect, TLS. Also passes bytes from Redis to [`Cluster`], and publications of
//! [`Io`](crate::socketio::Io) through `Cluster` to Redis. Part of `server`.

use super::{Protocol, Server};
use crate::base::held;
use crate::base::slab::ConnId;
use crate::cluster::Cluster;
pub use crate::cluster::link::Role;
use crate::cluster::link::{LinkStep, NextStep};
use crate::config::Config;
use crate::engineio::Engine;
use crate::net::tls::Trust;
use crate::net::{EndCause, Net};
use crate::socketio::App;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;
use std::{io, thread};

/// The result of a name lookup: the link that needs it, and the addresses of the host of Redis.
type Found = (Role, io::Result<Vec<SocketAddr>>);

/// The cluster, and the connections of its links.
pub struct Links {
    pub cluster: Cluster,
    /// The certificate authorities that are trusted; `None` if the URL is not `rediss://`.
    trust: Option<Trust>,
    /// The connection of each link, indexed by [`Role`]; `None` while the link has no connection.
    connections: [Option<ConnId>; 2],
    /// The channel on which the threads that look up the host send their results.
    found: (Sender<Found>, Receiver<Found>),
}

impl Links {
    /// Returns `None` without `--redis`. `Err` if the file of `--redis-ca` cannot be used.
    pub fn new(
        config: &Config, namespaces: &'static [&'static str], engine: &mut Engine,
    ) -> io::Result<Option<Box<Links>>> {
        let Some(url) = config.redis.clone() else { return Ok(None) };
        let trust = url.tls.then(|| Trust::new(config.redis_ca.as_deref())).transpose();
        let trust = trust.map_err(|why| io::Error::other(format!("--redis-ca {why}")))?;
        let ids = [engine.ids.fresh(), engine.ids.fresh()];
        let cluster = Cluster::new(config.clone(), url, namespaces, ids, engine.now);
        Ok(Some(Box::new(Links { cluster, trust, connections: [None; 2], found: mpsc::channel() })))
    }

    /// Handles name lookups that have ended and deadlines of links that have passed.
    fn expire(&mut self, net: &mut Net<Protocol>, now: Instant) {
        while let Ok((role, found)) = self.found.1.try_recv() {
            let step = self.cluster.links[role as usize].resolved(found, now);
            self.drive(role, step, net, now);
        }
        for role in [Role::Publish, Role::Subscribe] {
            let step = self.cluster.links[role as usize].expire(now);
            self.drive(role, step, net, now);
        }
    }

    /// Carries out a step of a link and the steps that follow. A failure, of the link or of a step, closes the connection.
    fn drive(&mut self, role: Role, mut step: NextStep, net: &mut Net<Protocol>, now: Instant) {
        loop {
            step = match step {
                Ok(None) => return,
                Ok(Some(LinkStep::Resolve)) => self.resolve(role, net),
                Ok(Some(LinkStep::Connect(address, greeting))) => self.connect(role, address, greeting, net),
                Ok(Some(LinkStep::Send(command))) => return self.send(role, command, net),
                Err(failure) => {
                    if let Some(id) = self.connections[role as usize].take() {
                        net.abort(id);
                    }
                    Ok(self.cluster.fail_link(role, failure, now))
                }
            };
        }
    }

    fn send(&self, role: Role, command: Vec<u8>, net: &mut Net<Protocol>) {
        if let Some(id) = self.connections[role as usize] {
            net.push(id, held::share(command));
        }
    }

    /// Looks up the host of Redis in a thread, because getaddrinfo may block for seconds. The thread only sends its result
    /// and wakes the loop. It cannot be cancelled: if the link stops waiting, the thread runs on until getaddrinfo returns.
    fn resolve(&self, role: Role, net: &Net<Protocol>) -> NextStep {
        let (host, port) = (self.cluster.url.host.clone(), self.cluster.url.port);
        let (sender, waker) = (self.found.0.clone(), Arc::clone(&net.waker));
        let thread = thread::Builder::new().name("resolve".into()).spawn(move || {
            let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            // Sending and waking succeed while the event loop runs; after that, nobody needs the result.
            let _ = sender.send((role, found));
            let _ = waker.wake();
        });
        thread.map(|_| None).map_err(|error| error.to_string().into())
    }

    fn connect(&mut self, role: Role, address: SocketAddr, greeting: Vec<u8>, net: &mut Net<Protocol>) -> NextStep {
        let tls = self.trust.as_ref().map(|trust| trust.connect(&self.cluster.url.host)).transpose()?;
        let id = net.connect(address, tls, Protocol::Redis(role)).map_err(|error| error.to_string())?;
        self.connections[role as usize] = Some(id);
        net.push(id, greeting.into());
        Ok(None)
    }
}

impl<A: App> Server<A> {
    /// Passes the publications of `Io` to the cluster, and the commands of the cluster to the connection that publishes.
    pub(super) fn publish(&mut self) {
        let Some(links) = &mut self.links else { return };
        for publication in self.io.publications.drain(..) {
            links.cluster.publish_broadcast(&publication, self.now);
        }
        while let Some(command) = links.cluster.commands.pop_front() {
            links.send(Role::Publish, command, &mut self.net);
        }
    }

    /// Does the cluster's work at the end of a turn: name lookups, deadlines, silent nodes, and a presence note if due.
    pub(super) fn tend_links(&mut self) {
        let Some(links) = &mut self.links else { return };
        links.expire(&mut self.net, self.now);
        links.cluster.tend_presence(self.stopping.is_some(), &mut self.io, &mut self.app);
    }

    /// Handles the reply at the start of `bytes`. Returns the number of bytes used, or `None` if the reply is incomplete.
    pub(super) fn receive_from_redis(&mut self, role: Role, bytes: &[u8]) -> Option<usize> {
        let links = self.links.as_mut()?;
        links.cluster.receive(role, bytes, &mut self.io, &mut self.app).unwrap_or_else(|failure| {
            links.drive(role, Err(failure), &mut self.net, self.now);
            Some(bytes.len())
        })
    }

    /// Handles the end of a connection to Redis, unless this server has closed the connection because its link failed.
    pub(super) fn redis_connection_lost(&mut self, role: Role, id: ConnId, cause: EndCause) {
        let Some(links) = &mut self.links else { return };
        if links.connections[role as usize] == Some(id) {
            let why = match cause {
                EndCause::Error(error) => error.to_string(),
                _ => "the connection was closed".into(),
            };
            links.drive(role, Err(why.into()), &mut self.net, self.now);
        }
    }
}
