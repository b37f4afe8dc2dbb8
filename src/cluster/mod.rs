//! Joins several servers to one chat through Redis publish and subscribe, in the format of `@socket.io/redis-adapter`, so
//! that Node servers can take part. The channels, with the default of `redis_prefix`:
//!
//! | channel | content | subscribers |
//! |---|---|---|
//! | `socket.io#NSP#`, `socket.io#NSP#ROOM#` | broadcasts ([`wire`]) | all |
//! | `socket.io-request#NSP#` | requests to all servers, `fetchSockets` for example, in JSON ([`Request`]) | all |
//! | `socket.io-response#NSP#` | answers to requests | Node servers; salon sends no requests |
//! | `socket.io-users#/#` | how many users a node has ([`presence`]) | salon |
//! | `socket.io-history#BOOT#` | backfill: `{from, ask}` or `{from, tell}` | the salon node with that boot |
//!
//! A boot is the id of one start of a node, and backfill is history that a node asks other nodes for. [`Cluster`] has no
//! connections and reads no clock: its methods get bytes and the time, call [`Io`] and the application, and queue commands
//! for Redis. `server/cluster` sends these commands, owns the connections and drives each [`link`]. While Redis is
//! unreachable, every node serves its own clients. Publications with a number are then published again when both links are
//! up; others are dropped and counted. What other nodes have published meanwhile is asked of them: see [`presence`]. Unknown
//! fields are no error anywhere: newer versions send some.

pub mod link;
pub mod presence;
pub mod resp;
pub mod wire;

use crate::base::held::ENTRY;
use crate::base::id::Id;
use crate::base::logger::RateLimitedLog;
use crate::base::metrics::{COUNTER, GAUGE, Metrics};
use crate::config::{Config, RedisUrl};
use crate::socketio::packet::Invalid;
use crate::socketio::remote::{MAX_NAME, Request};
use crate::socketio::{App, Io, Publication};
use link::{Link, LinkFailure, LinkStep, Role};
use presence::{Presence, PresenceNote};
use resp::{RedisReply, command};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, Value};
use std::collections::VecDeque;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::time::Instant;

/// Bytes by which a publication may exceed `max_payload`: it may have many rooms, or be an answer of backfill, which has up
/// to 256 KiB or one longer message.
const MAX_PART: usize = 512 * 1024;
/// Maximum bytes of a channel that are logged.
const MAX_CHANNEL: usize = 600;
/// Maximum bytes of the boot with which the sender of a backfill question or answer names itself.
const MAX_BOOT: usize = 64;
/// A publication is dropped if it would raise the bytes of all unanswered ones above `max_queue` less this margin. A queued
/// command is unanswered too, so the queue stays below `max_queue`, above which `net` aborts the connection.
const QUEUE_MARGIN: usize = 1024;

/// Maximum number of publications that are made again at once.
const AT_ONCE: usize = 64;

const TO_MEMORY: &str = "JSON with string keys is written to memory";

/// A question for backfill, or an answer. Its content is up to the applications of both nodes.
#[derive(Serialize, Deserialize)]
struct PeerMessage<'a> {
    /// The boot of the sender.
    from: &'a str,
    #[serde(borrow, rename = "ask", skip_serializing_if = "Option::is_none")]
    question: Option<&'a RawValue>,
    #[serde(borrow, rename = "tell", skip_serializing_if = "Option::is_none")]
    answer: Option<&'a RawValue>,
}

/// A period in which at least one link is down. Its first failure is logged. A later one is logged only if Redis refuses
/// this server (because of a wrong password, for example) and the reason differs from the one that was logged last.
struct Outage {
    since: Instant,
    /// The value of `Cluster::dropped` at the start of the outage.
    dropped: u64,
    /// The reason that was logged last; empty if none was.
    reported: String,
}

/// This server as a member of a cluster.
pub struct Cluster {
    config: Config,
    pub url: RedisUrl,
    /// Marks the broadcasts of this process, which ignores them when Redis sends them back.
    uid: String,
    namespaces: &'static [&'static str],
    /// The link of each [`Role`], indexed by the role.
    pub links: [Link; 2],
    presence: Presence,
    /// The last proof that our subscriptions worked before the current outage; `None` if they still do, or never have.
    missed_since: Option<Instant>,
    /// The current outage; `None` while both links are up. The first outage begins at the start of the process.
    outage: Option<Outage>,
    /// Commands that the server must send on the connection of [`Role::Publish`].
    pub commands: VecDeque<Vec<u8>>,
    published: u64,
    received: u64,
    dropped: u64,
    invalid: u64,
    /// Limits the log lines about invalid and refused publications.
    warnings: RateLimitedLog,
    /// Limits the log lines about publications that are too long for the queue.
    drops: RateLimitedLog,
}

impl Cluster {
    /// Creates a node whose links are to connect at once. `ids` become its uid and its boot.
    pub fn new(
        config: Config, url: RedisUrl, namespaces: &'static [&'static str], ids: [Id; 2], now: Instant,
    ) -> Cluster {
        let [uid, boot] = ids;
        let presence = Presence::new(config.instance.clone(), boot.to_string(), config.presence_beat);
        let greetings = greetings(&config, &url, namespaces, &presence.own.boot);
        Cluster {
            presence,
            config,
            url,
            uid: uid.short(),
            namespaces,
            links: greetings.map(|greeting| Link::new(greeting, now)),
            missed_since: None,
            outage: Some(Outage { since: now, dropped: 0, reported: String::new() }),
            commands: VecDeque::new(),
            published: 0,
            received: 0,
            dropped: 0,
            invalid: 0,
            warnings: RateLimitedLog::default(),
            drops: RateLimitedLog::default(),
        }
    }

    /// Returns the time at which [`Link::expire`] and [`Cluster::tend_presence`] are to be called.
    pub fn due(&self) -> Option<Instant> {
        let presence = if self.is_up() { self.presence.due() } else { None };
        self.links.iter().map(Link::due).chain(presence).min()
    }

    /// While both links are up: removes silent nodes, asks other nodes for what was missed, and publishes our presence note,
    /// if it is due, and what Redis has not confirmed. `stopping`: this server stops, so the note is a bye.
    pub fn tend_presence(&mut self, stopping: bool, io: &mut Io, app: &mut impl App) {
        if !self.is_up() {
            return;
        }
        let now = io.engine.now;
        while let Some(lost) = self.presence.expire(self.links[Role::Subscribe as usize].heard, now) {
            app.elsewhere(io, &lost, 0, Vec::new());
        }
        while let Some((boot, age)) = self.presence.question(now) {
            let question = age.map_or("{}".into(), |age| format!("{{\"age\":{}}}", age.as_millis()));
            self.send_to_peer(&boot, serde_json::from_str(&question).ok(), None, now);
        }
        let users = (!stopping).then(|| app.present());
        if let Some(note) = self.presence.presence_note(users, || app.people(), now) {
            self.publish(&channel(&self.config, "-users", "/"), &note, None, now);
            self.publish_again(io, app);
        }
    }

    /// Has the application publish again what is not confirmed, oldest first. Called when there is room, and at each note of
    /// ours: after an outage, and in case Redis refuses publications no longer. What is no longer kept is dropped.
    fn publish_again(&mut self, io: &mut Io, app: &impl App) {
        let unconfirmed = &mut self.links[Role::Publish as usize].unconfirmed;
        let numbers = (0..AT_ONCE).map_while(|_| unconfirmed.pop_first());
        self.dropped += numbers.filter(|number| !app.publish_again(io, *number)).count() as u64;
    }

    /// Handles the failure of a link, and returns its next step. Logs the first failure of an outage, and after that only a
    /// refusal with a new reason, which an operator must correct.
    pub fn fail_link(&mut self, role: Role, failure: LinkFailure, now: Instant) -> Option<LinkStep> {
        let LinkFailure { why, refused } = failure;
        let link = &self.links[role as usize];
        if role == Role::Subscribe && link.is_up() {
            self.missed_since.get_or_insert(link.heard);
        }
        let what = if self.is_up() { "lost the connection" } else { "no connection" };
        let begin = || Outage { since: now, dropped: self.dropped, reported: String::new() };
        let outage = self.outage.get_or_insert_with(begin);
        if outage.reported.is_empty() || refused && outage.reported != why {
            log::warn!("redis: {what} to {:?}: {why}; this node serves its clients alone", self.url);
            outage.reported = why;
        }
        let random = BuildHasherDefault::<DefaultHasher>::default().hash_one((&self.uid, now));
        self.links[role as usize].fail(refused, random, now)
    }

    /// Handles the reply at the start of `bytes`. Returns its length, or `None` if incomplete. `Err`: the link has failed.
    pub fn receive(
        &mut self, role: Role, bytes: &[u8], io: &mut Io, app: &mut impl App,
    ) -> Result<Option<usize>, LinkFailure> {
        let now = io.engine.now;
        let Some((reply, used)) = self.links[role as usize].receive(bytes, now)? else { return Ok(None) };
        if self.links.iter().all(Link::is_up)
            && let Some(Outage { since, dropped, .. }) = self.outage.take()
        {
            let (time, dropped) = ((now - since).as_secs_f32(), self.dropped - dropped);
            log::info!("redis: connected to {:?} after {time:.1} s; {dropped} publications were dropped", self.url);
            self.presence.greet(self.missed_since.take(), now);
        }
        match reply {
            RedisReply::Message(channel, content) => {
                self.received += 1;
                if let Err(Invalid(why)) = self.receive_publication(channel, content, io, app) {
                    self.invalid += 1;
                    let channel = String::from_utf8_lossy(&channel[..channel.len().min(MAX_CHANNEL)]);
                    self.warnings.warn(now, format_args!("redis: invalid publication on {channel:?} ignored: {why}"));
                }
            }
            // The command has failed, but not the link: Redis may be out of memory or a read-only replica.
            RedisReply::Error(text) => {
                self.dropped += 1;
                self.warnings.warn(now, format_args!("redis: {:?} refuses a publication: {text:?}", self.url));
            }
            RedisReply::Success => {
                let link = &self.links[Role::Publish as usize];
                if self.is_up() && !link.unconfirmed.is_empty() && link.unanswered_bytes < self.config.max_queue / 4 * 3
                {
                    self.publish_again(io, app);
                }
            }
        }
        Ok(Some(used))
    }

    fn is_up(&self) -> bool {
        self.outage.is_none()
    }

    fn receive_publication(
        &mut self, channel: &[u8], content: &[u8], io: &mut Io, app: &mut impl App,
    ) -> Result<(), Invalid> {
        if content.len() > self.config.max_payload + MAX_PART {
            return Err(Invalid("longer than --max-payload and 512 KiB"));
        }
        let name = channel.strip_prefix(self.config.redis_prefix.as_bytes()).and_then(|name| str::from_utf8(name).ok());
        match name.ok_or(Invalid("an unknown channel"))? {
            "-users#/#" => self.receive_presence(content, io, app),
            name if name.starts_with("-history#") => self.receive_from_peer(content, io, app),
            name => match name.strip_prefix("-request#").and_then(|name| name.strip_suffix('#')) {
                Some(namespace) if content.first() == Some(&b'{') => self.receive_request(namespace, content, io),
                // A broadcast with acks comes on the channel for requests, too, but in MessagePack instead of JSON.
                _ => self.receive_broadcast(content, io, app),
            },
        }
    }

    fn receive_presence(&mut self, content: &[u8], io: &mut Io, app: &mut impl App) -> Result<(), Invalid> {
        if let Some(PresenceNote { node, users, people, .. }) = self.presence.receive(content, io.engine.now)? {
            app.elsewhere(io, &node, users, people);
        }
        Ok(())
    }

    fn receive_broadcast(&mut self, content: &[u8], io: &mut Io, app: &mut impl App) -> Result<(), Invalid> {
        let (uid, broadcast) = wire::decode(content, &self.config)?;
        if uid != self.uid {
            let answer = io.handle_broadcast(&broadcast, app);
            self.answer(&broadcast.namespace, answer, io.engine.now);
        }
        Ok(())
    }

    fn receive_request(&mut self, namespace: &str, content: &[u8], io: &mut Io) -> Result<(), Invalid> {
        let namespace = self.namespaces.iter().find(|name| **name == namespace).ok_or(Invalid("unknown namespace"))?;
        let request: Request =
            serde_json::from_slice(content).map_err(|_| Invalid("not a request, or beyond its limits"))?;
        let names = [&request.uid, &request.request_id, &request.sid, &request.room];
        if names.into_iter().flatten().any(|name| name.len() > MAX_NAME) {
            return Err(Invalid("a request with an id or a name that is too long"));
        }
        if request.uid.as_ref() != Some(&self.uid) {
            let answer = io.handle_request(namespace, &request);
            self.answer(namespace, answer, io.engine.now);
        }
        Ok(())
    }

    fn receive_from_peer(&mut self, content: &[u8], io: &mut Io, app: &mut impl App) -> Result<(), Invalid> {
        let PeerMessage { from, question, answer } =
            serde_json::from_slice(content).map_err(|_| Invalid("not a question for backfill or an answer"))?;
        if from.len() > MAX_BOOT {
            return Err(Invalid("a boot that is too long"));
        }
        let (question, answer) = match (question, answer) {
            (Some(question), None) => (None, app.answer_peer(io, question)),
            (None, Some(answer)) if self.presence.takes_answer(from, io.engine.now) => {
                let question = app.learn_from_peer(io, answer);
                if question.is_none() {
                    self.presence.answered(from, io.engine.now);
                }
                (question, None)
            }
            _ => return Err(Invalid("backfill without a question")),
        };
        self.send_to_peer(from, question.as_deref(), answer.as_deref(), io.engine.now);
        Ok(())
    }

    /// Sends a question for backfill or an answer to the node with this boot; sends nothing if both are `None`.
    fn send_to_peer(&mut self, boot: &str, question: Option<&RawValue>, answer: Option<&RawValue>, now: Instant) {
        if question.is_none() && answer.is_none() {
            return;
        }
        let content = serde_json::to_vec(&PeerMessage { from: &self.presence.own.boot, question, answer });
        self.publish(&channel(&self.config, "-history", boot), &content.expect(TO_MEMORY), None, now);
    }

    /// Publishes a broadcast for the sockets of other servers, or a client's ack for the server that asked for the ack.
    pub fn publish_broadcast(&mut self, publication: &Publication, now: Instant) {
        let Publication { namespace, rooms, asker, .. } = publication;
        let mut channel = channel(&self.config, if asker.is_some() { "-response" } else { "" }, namespace);
        if let (None, [room]) = (asker, &rooms[..]) {
            channel += &format!("{room}#");
        }
        self.publish(&channel, &wire::encode(&self.uid, publication), publication.number, now);
    }

    /// Publishes the answer to a request or a broadcast of another server, if there is one.
    fn answer(&mut self, namespace: &str, answer: Option<Value>, now: Instant) {
        if let Some(answer) = answer {
            self.publish(&channel(&self.config, "-response", namespace), answer.to_string().as_bytes(), None, now);
        }
    }

    /// Queues a PUBLISH command. Without room, or while the link is down, a publication with a `number` is kept for later,
    /// at most `history_messages` of them, and any other is dropped.
    fn publish(&mut self, channel: &str, content: &[u8], number: Option<u64>, now: Instant) {
        let link = &mut self.links[Role::Publish as usize];
        let command = command(&["PUBLISH".as_bytes(), channel.as_bytes(), content]);
        let bytes = command.len() + ENTRY;
        let is_full = link.unanswered_bytes + bytes > self.config.max_queue.saturating_sub(QUEUE_MARGIN);
        if !link.is_up() || is_full {
            link.unconfirmed.extend(number);
            let excess = link.unconfirmed.len() > self.config.history_messages;
            let lost = number.is_none() || excess && link.unconfirmed.pop_first().is_some();
            self.dropped += u64::from(lost);
            if lost && link.is_up() {
                let line = format_args!(
                    "redis: a publication of {} bytes on {channel:?} is dropped: together with the {} bytes that Redis has \
                     not taken yet, it is too long for the queue; see --max-queue",
                    content.len(),
                    link.unanswered_bytes
                );
                self.drops.warn(now, line);
            }
            return;
        }
        link.published(bytes, number, now);
        self.published += 1;
        self.commands.push_back(command);
    }

    pub fn metrics(&self, metrics: &mut Metrics) {
        let unconfirmed = self.links[Role::Publish as usize].unconfirmed.len();
        metrics.rows(&[
            ("redis_up", GAUGE, "1 while both connections to Redis are up.", &u8::from(self.is_up())),
            ("redis_published_total", COUNTER, "Publications sent.", &self.published),
            ("redis_received_total", COUNTER, "Publications received, including our own.", &self.received),
            ("redis_dropped_total", COUNTER, "Publications not sent, or refused by Redis.", &self.dropped),
            ("redis_unconfirmed", GAUGE, "Messages to be published again.", &unconfirmed),
            ("redis_invalid_total", COUNTER, "Publications received that were invalid.", &self.invalid),
        ]);
    }
}

fn channel(config: &Config, kind: &str, name: &str) -> String {
    format!("{}{kind}#{name}#", config.redis_prefix)
}

/// Returns the greeting of each link. Each channel has a SUBSCRIBE of its own, so that each command has one reply.
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
