//! One Engine.IO session: all transitions between its states are in this file.
//!
//! ```text
//!    handshake over polling                         handshake over WebSocket
//!             |                                                 |
//!             v         WebSocket for this sid: 101             |
//!          polling -----------------------------> probing       |
//!             ^   probe fails, times out, closes    |  |        |
//!             +-------------------------------------+  |        |
//!             |            `2probe`, `3probe`, then `5`|        v
//!             |                                        +--> WebSocket
//!             | close()                                         | close()
//!        CloseQueued: `1` waits for a GET                       |
//!             | a GET takes it, or `ping_timeout` is over       v
//!             +---------------------------------------------> Gone
//! ```
//!
//! - Polling: a GET is parked until packets are queued for the session. It is answered at the end of the turn
//!   ([`Session::take_payload`]), so that all packets of a turn can leave in one payload.
//! - Probing: messages use polling until the upgrade packet `5` arrives. A GET that is parked when `2probe` arrives is
//!   answered with a noop at once, each later GET after 100 ms: the client polls again until it has read `3probe`, and would
//!   poll in a tight loop if the answer came at once. A GET that is still parked when `5` arrives is answered then. Some
//!   clients (elephant.io, SocketIOClient) send `5` without a probe. In `CloseQueued` an answered probe stays.
//! - Heartbeat: in protocol 4 the server pings and waits for the pong; in protocols 2 and 3 the client pings. The time for a
//!   pong counts from when the ping was due, even if it was sent early. The heartbeat continues during a probe.
//!
//! A session ends in two steps. `close`, and nothing else, queues the event `Closed` for `socketio` (rule R4). `release`
//! drops the queue: within `close`, unless the close packet waits there for a GET. Then the engine removes the session.
//!
//! | cause | where | reason in `Closed` |
//! |---|---|---|
//! | packet `1` of the client | `receive` | `ClientClose` |
//! | the client's WebSocket, parked GET or unfinished POST was lost | `connection_lost` | `TransportClose` |
//! | two GETs or two POSTs at a time | `poll`, `post` | `TransportError` |
//! | no pong in time (protocols 2 and 3: no ping) | `expire` | `PingTimeout` |
//! | a packet or payload is invalid | `receive`, `end_post`, `receive_frame` | `ParseError` |
//! | more bytes queued than `max_queue` | `enqueue` | `Evicted` |
//! | the server drains | `expire` | `ServerClose` |
//! | `socketio` or `server` closes the session | [`Engine::close`] | that of the caller |

use super::output::{CloseReason, Context, EngineOutput, NORMAL, Out, SessionEvent};
use super::packet::{self, Encoded, Packet, Version};
use super::payload::Payload;
use super::request::{ClientInfo, Poll};
use super::v3;
use crate::base::held::ENTRY;
use crate::base::limits::Limit;
use crate::base::queue::Queue;
use crate::base::slab::ConnId;
use crate::base::timers::Deadline;
use bytes::Bytes;
use std::time::{Duration, Instant};

/// Time after which a GET that is parked during a probe gets a noop. (The reference checks every 100 ms.)
const NOOP_DELAY: Duration = Duration::from_millis(100);
/// Time between the 101 response and the open packet for clients of protocols 2 and 3.
const OPEN_DELAY: Duration = Duration::from_millis(20);
/// Maximum number of packets in one payload for a client that may be python-engineio, which refuses more.
const FEW_PACKETS: usize = 16;

/// A WebSocket that may take over from polling.
struct Probe {
    conn: ConnId,
    /// The time at which the WebSocket is closed unless the upgrade packet (`5`) has arrived.
    deadline: Instant,
    /// Whether `2probe` has arrived and was answered with `3probe`.
    answered: bool,
    /// The time at which the parked GET gets a noop, unless it has been answered by then.
    noop_at: Option<Instant>,
}

/// What a session waits for. [`Session::deadline`] is the time at which the wait ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Waits until [`OPEN_DELAY`] is over, to send the open packet over WebSocket (protocols 2 and 3).
    Opening,
    /// Waits until the next ping is due (protocol 4).
    Idle,
    /// Waits for the client's pong (protocol 4) or its next ping (protocols 2 and 3).
    Heartbeat,
    /// Waits for a GET that takes the close packet. `Closed` has been queued for `socketio`.
    CloseQueued,
    /// Waits for nothing: the engine removes the session after this transition.
    Gone,
}

pub(super) struct Session {
    pub client: ClientInfo,
    pub timer: Deadline,
    phase: Phase,
    deadline: Instant,
    /// The time at which the session is closed because the server drains; `None` if it does not drain.
    pub drain_at: Option<Instant>,
    /// The WebSocket; `None` while the session polls. With a WebSocket there is no parked GET and no probe.
    pub websocket: Option<ConnId>,
    poll: Option<Poll>,
    /// The connection of a POST whose body is not complete.
    pub post: Option<ConnId>,
    probe: Option<Box<Probe>>,
    /// Packets that wait for a GET. In `Opening`, the open packet, which waits for [`OPEN_DELAY`].
    pub queue: Queue,
}

impl Session {
    /// Creates a session, which polls if `websocket` is `None`. `start_on_websocket` or `finish_opening` must open it.
    pub fn new(client: ClientInfo, websocket: Option<ConnId>, now: Instant) -> Session {
        Session {
            client,
            timer: Deadline::default(),
            phase: Phase::Opening,
            deadline: now + OPEN_DELAY,
            drain_at: None,
            websocket,
            poll: None,
            post: None,
            probe: None,
            queue: Queue::default(),
        }
    }

    /// Restarts the heartbeat: the session has just opened, or the client has shown that it is alive.
    fn restart_heartbeat(&mut self, cx: &Context) {
        (self.phase, self.deadline) = match self.client.version {
            Version::V4 => (Phase::Idle, cx.now + cx.config.ping_interval),
            _ => (Phase::Heartbeat, cx.now + cx.config.ping_interval + cx.config.ping_timeout),
        };
    }

    /// Sends the open packet over WebSocket: in protocol 4 at once, in protocols 2 and 3 [`OPEN_DELAY`] after the 101
    /// response. Some clients (the protocol's own test suite) lose a frame that comes in the same segment as the 101.
    pub fn start_on_websocket(&mut self, open: Bytes, cx: &mut Context) {
        cx.out.pool.push(&mut self.queue, open);
        if self.client.version == Version::V4 {
            self.finish_opening(cx);
        }
    }

    /// Starts the heartbeat, and tells `socketio` that the session is open. On a WebSocket, sends the open packet.
    pub fn finish_opening(&mut self, cx: &mut Context) {
        self.restart_heartbeat(cx);
        self.send_queue(cx.out);
        cx.out.events.push_back(SessionEvent::Opened(cx.id));
    }

    pub fn is_closed(&self) -> bool {
        self.phase >= Phase::CloseQueued
    }

    pub fn is_gone(&self) -> bool {
        self.phase == Phase::Gone
    }

    /// Returns the time at which [`Session::expire`] is to be called.
    pub fn next_deadline(&self) -> Instant {
        let probe = self.probe.iter().flat_map(|probe| [Some(probe.deadline), probe.noop_at]);
        probe.chain([self.drain_at.filter(|_| self.post.is_none())]).flatten().fold(self.deadline, Instant::min)
    }

    /// Parks a GET. Returns `false` if the caller must refuse it: the session is on a WebSocket, or has a parked GET
    /// already. As in the reference, a second GET also closes the session, and the first GET is answered with `1`.
    pub fn poll(&mut self, poll: Poll, cx: &mut Context) -> bool {
        if self.websocket.is_some() {
            return false;
        }
        if self.poll.is_some() {
            self.close(CloseReason::TransportError, cx);
            return false;
        }
        self.poll = Some(poll);
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.answered) {
            probe.noop_at = Some(cx.now + NOOP_DELAY);
        }
        if !self.queue.is_empty() {
            cx.out.ready.push(cx.id);
        }
        true
    }

    /// Handles the head of a POST; returns `false` if the caller must refuse it. As in the reference, a second POST while
    /// one is unfinished closes the session, and the connection of the first one is closed without a response.
    pub fn post(&mut self, conn: ConnId, cx: &mut Context) -> bool {
        if self.websocket.is_some() {
            return false;
        }
        if let Some(first) = self.post {
            cx.out.outputs.push_back(EngineOutput::Close(first, None));
            self.close(CloseReason::TransportError, cx);
            return false;
        }
        self.post = Some(conn);
        true
    }

    /// Handles the next packet of a POST. Returns `false` if the session is closed: then the packet has no effect.
    pub fn receive_posted(&mut self, packet: Packet, cx: &mut Context) -> bool {
        if self.is_closed() {
            return false;
        }
        self.receive(packet, cx);
        true
    }

    /// Ends a POST. If it is not `valid`, the session is closed; otherwise its packets have been handled.
    pub fn end_post(&mut self, valid: bool, cx: &mut Context) {
        self.post = None;
        self.drain_at = self.drain_at.map(|at| at.max(cx.now));
        if !valid {
            self.close(CloseReason::ParseError, cx);
        }
    }

    /// Makes a new WebSocket the session's probe. Returns `false` if the session has a probe or WebSocket, or is closed.
    pub fn probe(&mut self, conn: ConnId, cx: &Context) -> bool {
        let free = self.websocket.is_none() && self.probe.is_none() && !self.is_closed();
        if free {
            let deadline = cx.now + cx.config.upgrade_timeout;
            self.probe = Some(Box::new(Probe { conn, deadline, answered: false, noop_at: None }));
        }
        free
    }

    /// Handles a packet from any WebSocket accepted for this session. `packet` is `None` if the frame is no valid packet.
    pub fn receive_frame(&mut self, conn: ConnId, packet: Option<Packet>, cx: &mut Context) {
        if self.phase == Phase::Opening && packet.is_some() {
            self.finish_opening(cx);
        }
        match (self.probe.as_mut().filter(|probe| probe.conn == conn), packet) {
            (None, Some(packet)) if self.websocket == Some(conn) => self.receive(packet, cx),
            (None, None) if self.websocket == Some(conn) => self.close(CloseReason::ParseError, cx),
            (None, _) => cx.out.outputs.push_back(EngineOutput::Close(conn, Some(NORMAL))),
            (Some(probe), Some(Packet::Ping(text))) if &*text == "probe" => {
                probe.answered = true;
                cx.out.outputs.push_back(EngineOutput::Frame(conn, packet::PONG_PROBE_FRAME));
                // If packets are queued, the parked GET is answered with them at the end of the turn.
                if self.queue.is_empty() {
                    self.answer_noop(cx.out);
                }
            }
            // The upgrade is complete: from now on all packets use the WebSocket, first those that no GET has taken.
            (Some(_), Some(Packet::Upgrade)) => {
                self.answer_noop(cx.out);
                (self.websocket, self.probe) = (Some(conn), None);
                self.send_queue(cx.out);
                if self.is_closed() {
                    cx.out.outputs.push_back(EngineOutput::Close(conn, Some(NORMAL)));
                    self.release(cx);
                }
            }
            (Some(_), _) => self.drop_probe(cx.out),
        }
    }

    /// Sends all queued packets over the WebSocket of the session, if it has one.
    fn send_queue(&mut self, out: &mut Out) {
        let Some(conn) = self.websocket else { return };
        while let Some(packet) = out.pool.pop(&mut self.queue) {
            let frame = match self.client.version {
                Version::V4 => packet::packet_to_frame(&packet),
                _ => v3::packet_to_frame(&packet),
            };
            out.outputs.push_back(EngineOutput::Frame(conn, frame));
        }
    }

    /// Handles a packet that came over polling or on the WebSocket of this session, not on a probe.
    fn receive(&mut self, packet: Packet, cx: &mut Context) {
        match (packet, self.client.version) {
            (Packet::Message(data), _) => {
                cx.out.received += 1;
                cx.out.events.push_back(SessionEvent::Message(cx.id, data));
            }
            (Packet::Pong(_), Version::V4) if self.phase == Phase::Heartbeat => self.restart_heartbeat(cx),
            (Packet::Ping(text), Version::V2 | Version::V3) => {
                self.restart_heartbeat(cx);
                cx.out.events.push_back(SessionEvent::Ping(cx.id));
                let pong = packet::pong(&text);
                match self.websocket {
                    Some(conn) => cx.out.outputs.push_back(EngineOutput::Frame(conn, packet::packet_to_frame(&pong))),
                    None => self.enqueue(pong, cx),
                }
            }
            (Packet::Close, _) => self.close(CloseReason::ClientClose, cx),
            // These have no effect. In particular, a pong without a ping does not postpone the next ping.
            (Packet::Pong(_), Version::V4) | (Packet::Noop | Packet::Upgrade, _) => {}
            // A client must not send these: a ping in protocol 4, a pong in protocols 2 and 3, and an open packet.
            _ => self.close(CloseReason::ParseError, cx),
        }
    }

    /// Sends a message: in a frame if the session is on a WebSocket, else through the queue, which the next GET empties.
    pub fn send(&mut self, message: &Encoded, cx: &mut Context) {
        if self.is_closed() {
            return;
        }
        cx.out.sent += 1;
        match (self.websocket, self.client.version) {
            (Some(conn), Version::V4) => cx.out.outputs.push_back(EngineOutput::Frame(conn, message.frame())),
            (Some(conn), old) => cx.out.outputs.push_back(EngineOutput::Frame(conn, v3::frame(message, old))),
            (None, Version::V4) => self.enqueue(message.packet(), cx),
            (None, _) => self.enqueue(v3::packet(message), cx),
        }
    }

    /// Queues a packet for a GET. If the queue would exceed `max_queue` bytes, the client does not read: it is evicted.
    fn enqueue(&mut self, packet: Bytes, cx: &mut Context) {
        if self.queue.held() + packet.len() + ENTRY > cx.config.max_queue {
            cx.out.pool.clear(&mut self.queue);
            cx.out.limits.hit(Limit::Queue, cx.now, self.client.address);
            return self.close(CloseReason::Evicted, cx);
        }
        self.push(packet, cx);
    }

    /// Queues a packet without checking `max_queue`. If it is the first, a parked GET is answered at the end of the turn.
    fn push(&mut self, packet: Bytes, cx: &mut Context) {
        if self.queue.is_empty() && self.poll.is_some() {
            cx.out.ready.push(cx.id);
        }
        cx.out.pool.push(&mut self.queue, packet);
    }

    /// Takes the parked GET, and puts the packets for it into `packets`. Returns `None` if either is missing. A payload has
    /// 1 to 16 packets (more if the client accepts them) and at most `max_payload` bytes, unless one packet is longer.
    pub fn take_payload(&mut self, packets: &mut Vec<Bytes>, cx: &mut Context) -> Option<Poll> {
        let poll = self.poll.take_if(|_| !self.queue.is_empty())?;
        packets.clear();
        let most = if self.client.long_payloads { usize::MAX } else { FEW_PACKETS };
        let mut bytes = 0;
        while packets.len() < most
            && let Some(packet) = cx.out.pool.front(&self.queue)
        {
            bytes += match self.client.version {
                Version::V4 => packet.len() + usize::from(!packets.is_empty()),
                _ => v3::framed_length(packet),
            };
            // The close packet has a payload of its own: clients 4.6 to 4.8 report the end twice if a DISCONNECT precedes it.
            // But a client that has read `3probe` may not poll again.
            let alone = *packet == packet::CLOSE && self.probe.is_none();
            if !packets.is_empty() && (alone || bytes > cx.config.max_payload) {
                break;
            }
            packets.extend(cx.out.pool.pop(&mut self.queue));
        }
        if self.is_closed() && self.queue.is_empty() {
            self.release(cx);
        }
        Some(poll)
    }

    /// Answers the parked GET, if there is one, with a noop.
    fn answer_noop(&mut self, out: &mut Out) {
        if let Some(poll) = self.poll.take() {
            let response = Payload::new(&[packet::NOOP], &self.client, poll.jsonp).response(None);
            out.outputs.push_back(EngineOutput::Answer(poll.conn, response));
        }
    }

    /// Closes the probing WebSocket, if there is one; polling continues.
    fn drop_probe(&mut self, out: &mut Out) {
        out.outputs.extend(self.probe.take().map(|probe| EngineOutput::Close(probe.conn, Some(NORMAL))));
    }

    /// Handles the loss of `conn`. Closes the session if `conn` was its WebSocket or, without one, carried its GET or POST.
    pub fn connection_lost(&mut self, conn: ConnId, cx: &mut Context) {
        self.probe.take_if(|probe| probe.conn == conn);
        let parked = self.poll.take_if(|poll| poll.conn == conn).is_some();
        let posted = self.post.take_if(|post| *post == conn).is_some();
        if self.websocket.map_or(parked || posted, |own| own == conn) {
            self.close(CloseReason::TransportClose, cx);
        }
    }

    pub fn expire(&mut self, cx: &mut Context) {
        // The drain waits for a POST under way, so that its packets are still handled.
        if self.post.is_none() && self.drain_at.is_some_and(|at| at <= cx.now) {
            return self.close(CloseReason::ServerClose, cx);
        }
        if self.probe.as_ref().is_some_and(|probe| probe.deadline <= cx.now) {
            cx.out.limits.hit(Limit::UpgradeTime, cx.now, self.client.address);
            self.drop_probe(cx.out);
        } else if let Some(probe) = &mut self.probe
            && probe.noop_at.take_if(|at| *at <= cx.now).is_some()
        {
            self.answer_noop(cx.out);
        }
        if self.deadline > cx.now {
            return;
        }
        match self.phase {
            Phase::Opening => self.finish_opening(cx),
            Phase::Idle => self.ping(cx.now, cx),
            Phase::Heartbeat => self.close(CloseReason::PingTimeout, cx),
            // The loop was late: a GET arrived before this timer ran, and takes the close packet at the end of the turn.
            Phase::CloseQueued if self.poll.is_some() => self.deadline = cx.now + cx.config.ping_timeout,
            Phase::CloseQueued | Phase::Gone => self.release(cx),
        }
    }

    /// Sends the ping if it is due by the time `by`, which may be in the future: one wake-up of the loop then serves many
    /// sessions. `ping_timeout` runs from when the ping was due, not from when it is sent.
    pub fn ping(&mut self, by: Instant, cx: &mut Context) {
        if self.phase == Phase::Idle && self.deadline <= by {
            self.phase = Phase::Heartbeat;
            self.deadline += cx.config.ping_timeout;
            match self.websocket {
                Some(conn) => cx.out.outputs.push_back(EngineOutput::Frame(conn, packet::PING_FRAME)),
                None => self.enqueue(packet::PING, cx),
            }
        }
    }

    /// Closes the session. On a closed one only an eviction has an effect: it drops the packets that still wait for a GET.
    pub fn close(&mut self, reason: CloseReason, cx: &mut Context) {
        if self.is_closed() {
            return if reason == CloseReason::Evicted {
                self.release(cx)
            };
        }
        cx.out.events.push_back(SessionEvent::Closed(cx.id, reason, self.client.address));
        cx.out.closed[reason as usize] += 1;
        self.drain_at = None;
        let (_, code) = reason.row();
        if let Some(conn) = self.websocket {
            cx.out.outputs.push_back(EngineOutput::Close(conn, code));
            self.release(cx);
        } else if reason == CloseReason::ServerClose || code.is_some_and(|code| code != NORMAL) && self.poll.is_some() {
            // A parked GET takes the close packet at the end of this turn. Only for `ServerClose` does the packet also wait
            // for a later GET. In other cases a later GET gets 400, because the sid is unknown, as in the reference.
            self.push(packet::CLOSE, cx);
            (self.phase, self.deadline) = (Phase::CloseQueued, cx.now + cx.config.ping_timeout);
            let probe = self.probe.take_if(|probe| !probe.answered);
            cx.out.outputs.extend(probe.map(|probe| EngineOutput::Close(probe.conn, Some(NORMAL))));
        } else {
            self.answer_noop(cx.out);
            self.release(cx);
        }
    }

    /// Drops the queued packets and the probe; the engine removes the session after this transition.
    fn release(&mut self, cx: &mut Context) {
        self.drop_probe(cx.out);
        cx.out.pool.clear(&mut self.queue);
        self.phase = Phase::Gone;
    }
}

#[cfg(debug_assertions)]
#[path = "../../tests/seams/session.rs"]
mod check;
