//! Several servers, one chat: over Redis, in the wire format of `@socket.io/redis-adapter`, so that servers for Node can be
//! among them.
//!
//! | channel | what | heard by |
//! |---|---|---|
//! | `socket.io#NSP#`, `socket.io#NSP#ROOM#` | broadcasts ([`wire`]) | all |
//! | `socket.io-request#NSP#` | questions and orders to all servers | all |
//! | `socket.io-response#NSP#` | their answers | servers for Node; we ask nothing |
//! | `socket.io-users#/#` | how many users a node has ([`presence`]) | us |
//! | `socket.io-history#BOOT#` | `{from, ask}` or `{from, tell}`: what that node has missed, a part at a time | us |
//!
//! [`Cluster`] knows no socket and no clock: it is told what came, and leaves [`ClusterOutput`]s, as the engine does.
//! While Redis is away the chat goes on here; what should have been published is dropped and counted.

pub mod link;
pub mod presence;
pub mod wire;

use crate::base::id::Id;
use crate::base::logger::RateLimitedLog;
use crate::base::metrics::{COUNTER, GAUGE, Metrics};
use crate::config::{Config, RedisUrl};
use crate::socketio::{Elsewhere, Person, Publication};
use link::{Link, LinkFailure, LinkStep, RedisReply, Role, command};
use presence::Presence;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::VecDeque;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

/// Nodes that are asked for what we have missed: one alone may be as new as we are.
const MAX_ASKED: usize = 3;
/// A publication that tells may have this much above `max_payload`: one message above the limit of a part, or a part.
const MAX_PART: usize = 512 * 1024;

/// A question for the history of a node, or its answer; the application has made both.
#[derive(Serialize, Deserialize)]
struct PeerMessage<'a> {
    /// The boot of the node that asks or tells.
    from: &'a str,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    ask: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    tell: Option<&'a RawValue>,
}

/// What the server is to do.
#[derive(Debug)]
pub enum ClusterOutput {
    /// With the connection of a link.
    Link(Role, LinkStep),
    /// Apply this, or ask for answers.
    Broadcast(Publication),
    /// Do or answer this, for a namespace.
    Request(&'static str, Request),
    /// The users of other nodes have changed.
    Users(Elsewhere),
    /// That node asks this.
    PeerQuestion(String, Box<RawValue>),
    /// That node tells this.
    PeerAnswer(String, Box<RawValue>),
}

/// A question or an order of another server.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Request {
    uid: String,
    pub request_id: Option<String>,
    /// See `obey` in turn.rs for the numbers.
    #[serde(rename = "type")]
    pub kind: u8,
    /// To whom it applies.
    pub opts: Rooms,
    /// What they join or leave.
    pub rooms: Vec<String>,
    /// Older servers name one socket and one room.
    pub sid: Option<String>,
    pub room: Option<String>,
    /// Close the connection too.
    pub close: bool,
}

/// Sockets in one of `rooms` (of none: all), but not in `except`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Rooms {
    pub rooms: Vec<String>,
    pub except: Vec<String>,
}

/// This server as a member of a cluster.
pub struct Cluster {
    config: Config,
    pub url: RedisUrl,
    /// Marks what we have published ourselves.
    uid: String,
    namespaces: &'static [&'static str],
    links: [Link; 2],
    presence: Presence,
    /// Boots of the nodes that were asked for what we have missed.
    asked: Vec<String>,
    /// Since when a link is missing, and how much had been dropped then; `None`: both are there.
    outage: Option<(Instant, u64)>,
    /// Why, as it was last said.
    complaint: String,
    outputs: VecDeque<ClusterOutput>,
    published: u64,
    received: u64,
    /// Not published, because Redis was away or too slow.
    dropped: u64,
    /// Publications of others that made no sense.
    invalid: u64,
    complaints: RateLimitedLog,
}

impl Cluster {
    /// A member that tries to connect at once. `ids` are fresh ones; `now` is the time.
    pub fn new(
        config: Config, url: RedisUrl, namespaces: &'static [&'static str], ids: [Id; 2], now: Instant,
    ) -> Cluster {
        let [uid, boot] = ids;
        let presence = Presence::new(config.instance.clone(), boot.to_string(), config.presence_beat);
        let [publish, subscribe] = greetings(&config, &url, namespaces, presence.boot());
        Cluster {
            presence,
            config,
            url,
            uid: uid.short(),
            namespaces,
            links: [Link::new(publish, now), Link::new(subscribe, now)],
            asked: Vec::new(),
            outage: Some((now, 0)),
            complaint: String::new(),
            outputs: VecDeque::new(),
            published: 0,
            received: 0,
            dropped: 0,
            invalid: 0,
            complaints: RateLimitedLog::default(),
        }
    }

    /// What is next to be done.
    pub fn poll(&mut self) -> Option<ClusterOutput> {
        self.outputs.pop_front()
    }

    /// When [`Cluster::expire`] wants to be called.
    pub fn due(&self) -> Option<Instant> {
        self.links.iter().map(Link::due).chain(self.presence.due()).min()
    }

    /// Does what is due.
    pub fn expire(&mut self, now: Instant) {
        for role in [Role::Publish, Role::Subscribe] {
            let step = self.links[role as usize].expire(now);
            self.step(role, step, now);
        }
        while let Some(lost) = self.presence.expire(now) {
            self.users(lost);
        }
    }

    /// The users of other nodes have changed.
    fn users(&mut self, lost: Vec<Person>) {
        self.outputs.push_back(ClusterOutput::Users(self.presence.elsewhere(lost)));
    }

    fn step(&mut self, role: Role, step: Result<Option<LinkStep>, LinkFailure>, now: Instant) {
        match step {
            Ok(step) => self.outputs.extend(step.map(|step| ClusterOutput::Link(role, step))),
            Err(failure) => self.failed(role, failure, now),
        }
    }

    /// The host has these addresses, or none because of this.
    pub fn resolved(&mut self, role: Role, found: io::Result<Vec<SocketAddr>>, now: Instant) {
        let step = self.links[role as usize].resolved(found, now);
        self.step(role, step, now);
    }

    /// The connection of a link is gone, or of no use.
    pub fn failed(&mut self, role: Role, LinkFailure { why, refused }: LinkFailure, now: Instant) {
        let line = format!("{:?}: {why}", self.url);
        // Then there is silence until it is back: it may be away for hours. Only a wrong password is worth a second line.
        if self.outage.is_none() {
            self.outage = Some((now, self.dropped));
            log::warn!("redis: lost {line}; the chat goes on here, alone");
            self.complaint = line;
        } else if self.complaint.is_empty() || refused && self.complaint != line {
            log::warn!("redis: no connection to {line}");
            self.complaint = line;
        }
        self.outputs.push_back(ClusterOutput::Link(role, LinkStep::Close));
        let random = BuildHasherDefault::<DefaultHasher>::default().hash_one((&self.uid, now));
        let step = self.links[role as usize].failed(refused, random, now);
        self.step(role, Ok(step), now);
    }

    /// Takes bytes of a link: returns how many are done with; `None`, if the rest of a message is still to come.
    pub fn receive(&mut self, role: Role, bytes: &[u8], now: Instant) -> Option<usize> {
        let (reply, used) = match self.links[role as usize].receive(bytes, now) {
            Ok(whole) => whole?,
            Err(failure) => {
                self.failed(role, failure, now);
                return Some(bytes.len());
            }
        };
        if self.links.iter().all(Link::is_up)
            && let Some((since, dropped)) = self.outage.take()
        {
            let (time, dropped) = ((now - since).as_secs_f32(), self.dropped - dropped);
            log::info!("redis: connected to {:?} after {time:.1} s; {dropped} publications were dropped", self.url);
            self.complaint.clear();
            self.presence.greet();
        }
        match reply {
            RedisReply::Message(channel, content) => self.message(&channel, &content, now),
            // The link itself is fine: memory is full, say, or this is a replica.
            RedisReply::Error(text) => {
                self.dropped += 1;
                if let Some(more) = self.complaints.allow(now) {
                    log::warn!("redis: {:?} refuses a publication: {text} ({more} more lines before)", self.url);
                }
            }
            RedisReply::Fine => {}
        }
        Some(used)
    }

    fn is_up(&self) -> bool {
        self.outage.is_none()
    }

    fn message(&mut self, channel: &[u8], content: &[u8], now: Instant) {
        let prefix = self.config.redis_prefix.as_bytes();
        let result = match channel.strip_prefix(prefix).and_then(|name| str::from_utf8(name).ok()) {
            Some("-users#/#") => self.presence.receive(content, now).map(|boot| {
                self.users(Vec::new());
                // Before both links are there nothing can be asked; then all nodes tell of themselves again.
                let new = boot.filter(|boot| self.asked.len() < MAX_ASKED && !self.asked.contains(boot));
                if let Some(boot) = new.filter(|_| self.is_up()) {
                    self.send_to_peer(&boot, RawValue::from_string("{}".into()).ok().as_deref(), None, now);
                    self.asked.push(boot);
                }
            }),
            Some(name) if name.starts_with("-history#") => self.missed(content),
            Some(name) => match name.strip_prefix("-request#").and_then(|name| name.strip_suffix('#')) {
                Some(namespace) => self.request(namespace, content),
                None => self.broadcast(content),
            },
            None => None,
        };
        self.received += 1;
        if result.is_none() {
            self.invalid += 1;
            if let Some(more) = self.complaints.allow(now) {
                let channel = String::from_utf8_lossy(channel);
                log::warn!(
                    "redis: a publication on {channel:?} makes no sense and is dropped ({more} more lines before)"
                );
            }
        }
    }

    /// `None`, here and below: it makes no sense.
    fn broadcast(&mut self, content: &[u8]) -> Option<()> {
        if content.len() > self.config.max_payload {
            return None;
        }
        let (uid, broadcast) = wire::decode(content, &self.config).ok()?;
        if uid != self.uid {
            self.outputs.push_back(ClusterOutput::Broadcast(broadcast));
        }
        Some(())
    }

    fn request(&mut self, namespace: &str, content: &[u8]) -> Option<()> {
        if content.first() != Some(&b'{') {
            return self.broadcast(content);
        }
        let namespace = self.namespaces.iter().find(|name| **name == namespace)?;
        let request: Request = serde_json::from_slice(content).ok()?;
        if request.uid != self.uid {
            self.outputs.push_back(ClusterOutput::Request(namespace, request));
        }
        Some(())
    }

    fn missed(&mut self, content: &[u8]) -> Option<()> {
        if content.len() > self.config.max_payload + MAX_PART {
            return None;
        }
        let PeerMessage { from, ask, tell } = serde_json::from_slice(content).ok()?;
        let from = Some(from.to_owned()).filter(|from| from.len() <= 64)?;
        self.outputs.push_back(match (ask, tell) {
            (Some(ask), None) => ClusterOutput::PeerQuestion(from, ask.to_owned()),
            (None, Some(tell)) if self.asked.contains(&from) => ClusterOutput::PeerAnswer(from, tell.to_owned()),
            _ => return None,
        });
        Some(())
    }

    /// Asks a node for what we have missed, or answers one that has asked that.
    pub fn send_to_peer(&mut self, boot: &str, ask: Option<&RawValue>, tell: Option<&RawValue>, now: Instant) {
        let content = serde_json::to_vec(&PeerMessage { from: self.presence.boot(), ask, tell });
        self.send(&channel(&self.config, "-history", boot), &content.expect("memory takes it"), now);
    }

    /// Publishes what sockets of other servers are to have, or what those servers have asked for.
    pub fn publish(&mut self, publication: &Publication, now: Instant) {
        let Publication { namespace, rooms, asker, .. } = publication;
        let mut channel = channel(&self.config, if asker.is_some() { "-response" } else { "" }, namespace);
        if let (None, [room]) = (asker, &rooms[..]) {
            channel += &format!("{room}#");
        }
        let content = wire::encode(&self.uid, publication);
        self.send(&channel, &content, now);
    }

    /// Tells other nodes who is here, if that is new to them; `None`: this one stops.
    pub fn announce_presence(
        &mut self, users: Option<(usize, u64)>, people: impl FnOnce() -> Vec<Person>, now: Instant,
    ) {
        if self.is_up()
            && let Some(note) = self.presence.note(users, people, now)
        {
            self.send(&channel(&self.config, "-users", "/"), &note, now);
        }
    }

    fn send(&mut self, channel: &str, content: &[u8], now: Instant) {
        let link = &mut self.links[Role::Publish as usize];
        let command = command(&["PUBLISH".as_bytes(), channel.as_bytes(), content]);
        // A little below what would end the connection.
        if !link.is_up() || link.unanswered() + command.len() > self.config.max_queue - 1024 {
            self.dropped += 1;
            return;
        }
        link.published(command.len(), now);
        self.published += 1;
        self.outputs.push_back(ClusterOutput::Link(Role::Publish, LinkStep::Send(command)));
    }

    /// Answers a question of another server.
    pub fn answer(&mut self, namespace: &str, answer: &impl Serialize, now: Instant) {
        let content = serde_json::to_vec(answer).expect("an answer has string keys and goes to memory");
        self.send(&channel(&self.config, "-response", namespace), &content, now);
    }

    pub fn metrics(&self, metrics: &mut Metrics) {
        metrics.rows(&[
            ("redis_up", GAUGE, "1 while both connections to Redis are up.", &u8::from(self.is_up())),
            ("redis_published_total", COUNTER, "Publications sent.", &self.published),
            ("redis_received_total", COUNTER, "Publications received, including our own.", &self.received),
            ("redis_dropped_total", COUNTER, "Publications not sent: Redis was down or too slow.", &self.dropped),
            ("redis_invalid_total", COUNTER, "Publications received that could not be decoded.", &self.invalid),
        ]);
    }
}

fn channel(config: &Config, what: &str, name: &str) -> String {
    format!("{}{what}#{name}#", config.redis_prefix)
}

/// What each link says first. Subscriptions are made one by one, so that each has one answer.
fn greetings(config: &Config, url: &RedisUrl, namespaces: &[&str], boot: &str) -> [Vec<Vec<u8>>; 2] {
    let mut login = Vec::new();
    if let Some(password) = &url.password {
        let words = ["AUTH"].into_iter().chain(url.user.as_deref()).chain([&**password]);
        login.push(command(&words.collect::<Vec<_>>()));
    }
    if url.database > 0 {
        login.push(command(&["SELECT", &url.database.to_string()]));
    }
    let patterns = namespaces.iter().map(|name| command(&["PSUBSCRIBE", &(channel(config, "", name) + "*")]));
    let requests = namespaces.iter().map(|name| channel(config, "-request", name));
    let channels = requests.chain([channel(config, "-users", "/"), channel(config, "-history", boot)]);
    let subscribe = patterns.chain(channels.map(|channel| command(&["SUBSCRIBE", &channel])));
    [login.iter().cloned().chain([command(&["PING"])]).collect(), login.iter().cloned().chain(subscribe).collect()]
}
