//! One Engine.IO session: all transitions between its states are in this file.
//!
//! ```text
//!   handshake over polling                      handshake over WebSocket
//!            |                                             |
//!            v          upgrade request, 101               |
//!        Polling  ---------------------------->  Polling + Probe
//!            ^      probe fails, 10 s, closed        |     |
//!            +---------------------------------------+     |
//!            |              `2probe`, `3probe`, `5`  |     v
//!            |                                       +-> WebSocket
//!            |  end(): ping timeout, close, error          |
//!            v                                             v
//!        ended: the farewell waits for a GET --------->  gone
//! ```
//!
//! - Polling: a GET without anything to carry is parked; what gathers in one turn leaves in one payload
//!   ([`Session::take_payload`], at the end of the turn).
//! - Probe: messages go on over polling until `5`. The GET that is parked when `2probe` comes is ended with a
//!   noop at once; each later one after 100 ms, because a client asks again until `3probe` has reached it, and
//!   an answer at once would make it spin; one still parked at `5` ends with the `5`.
//! - Heartbeat: in protocol 4 we ping and wait for the pong, in protocol 3 the client pings. Deadlines count from
//!   the scheduled time, not from when the ping left. It never pauses, not for a probe either.
//!
//! `Closed` rises in `close()` and nowhere else, so it rises once (rule R4).

use super::output::{CloseReason, EngineOutput, Out, SessionEvent};
use super::packet::{self, Encoded, Packet, Version};
use super::payload::Payload;
use super::request::{ClientInfo, Poll};
use super::v3;
use crate::base::limits::Limit;
use crate::base::queue::{Pool, Queue};
use crate::base::slab::{ConnId, SessionId};
use crate::base::timers::Deadline;
use crate::config::Config;
use crate::ws;
use bytes::Bytes;
use std::time::{Duration, Instant};

/// How long a GET waits for its noop while the upgrade is probed (the reference looks every 100 ms).
const NOOP_DELAY: Duration = Duration::from_millis(100);
/// How long after the 101 an older client gets its open packet.
const OPEN_DELAY: Duration = Duration::from_millis(20);
/// Packets in one payload for clients that may be python-engineio, which refuses more.
const FEW_PACKETS: usize = 16;

/// What every transition needs to know, and where it leaves its effects.
pub(super) struct Turn<'a> {
    pub id: SessionId,
    pub now: Instant,
    pub config: &'a Config,
    pub out: &'a mut Out,
}

/// A WebSocket that may take over from polling.
struct Probe {
    conn: ConnId,
    /// When it must have come to `5`.
    deadline: Instant,
    /// `2probe` has been answered.
    answered: bool,
    /// When the GET that is parked then is to be ended.
    noop_at: Option<Instant>,
}

/// What a session waits for, until [`Session::deadline`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// The moment to send the open packet to the WebSocket of an older client.
    Opening,
    /// The time of our next ping (protocol 4).
    Idle,
    /// The answer to our ping (4), or a ping of the client (3).
    Heartbeat,
    /// It has ended; a GET that takes the farewell.
    CloseQueued,
    /// Nothing: it can be forgotten.
    Gone,
}

/// One session.
pub(super) struct Session {
    pub client: ClientInfo,
    pub timer: Deadline,
    phase: Phase,
    deadline: Instant,
    /// When a server that stops sends it away.
    pub drain_at: Option<Instant>,
    /// While there is none it polls; once there is one, nothing is parked or probed.
    websocket: Option<ConnId>,
    /// The GET that is parked.
    poll: Option<Poll>,
    /// The connection whose POST is under way.
    post: Option<ConnId>,
    probe: Option<Box<Probe>>,
    /// Packets that wait for a GET, or for the opening.
    queue: Queue,
}

impl Session {
    /// A session that polls (the open packet is the answer to the request that made it), or that starts on a WebSocket.
    pub fn new(client: ClientInfo, websocket: Option<ConnId>, config: &Config, now: Instant) -> Session {
        let mut session = Session {
            client,
            timer: Deadline::default(),
            phase: Phase::Opening,
            deadline: now,
            drain_at: None,
            websocket,
            poll: None,
            post: None,
            probe: None,
            queue: Queue::default(),
        };
        session.restart_heartbeat(config, now);
        session
    }

    /// The client has shown that it lives: from one heartbeat to the next.
    fn restart_heartbeat(&mut self, config: &Config, now: Instant) {
        (self.phase, self.deadline) = match self.client.version {
            Version::V4 => (Phase::Idle, now + config.ping_interval),
            _ => (Phase::Heartbeat, now + config.ping_interval + config.ping_timeout),
        };
    }

    /// Sends the open packet over WebSocket: at once, but to older clients a moment after the 101. They are used
    /// to that from the reference, and some (the protocol's own test suite) miss what comes together with it.
    pub fn open(&mut self, open: Bytes, turn: &mut Turn) {
        turn.out.pool.push(&mut self.queue, open);
        match self.client.version {
            Version::V4 => self.opened(turn),
            _ => (self.phase, self.deadline) = (Phase::Opening, turn.now + OPEN_DELAY),
        }
    }

    fn opened(&mut self, turn: &mut Turn) {
        self.restart_heartbeat(turn.config, turn.now);
        self.send_queue(turn.out);
        turn.out.events.push_back(SessionEvent::Opened(turn.id));
    }

    /// Whether it has moved to WebSocket.
    pub fn has_websocket(&self) -> bool {
        self.websocket.is_some()
    }

    /// Whether those above know of its end.
    fn is_closed(&self) -> bool {
        self.phase >= Phase::CloseQueued
    }

    /// Whether it can be forgotten.
    pub fn is_gone(&self) -> bool {
        self.phase == Phase::Gone
    }

    /// When [`Session::expire`] wants to be called.
    pub fn due(&self) -> Instant {
        let probe = self.probe.iter().flat_map(|probe| [Some(probe.deadline), probe.noop_at]);
        probe.chain([self.drain_at]).flatten().fold(self.deadline, Instant::min)
    }

    /// A GET. Returns whether it is parked. A second one is refused and ends the session, the first with `1`, as in the reference.
    pub fn poll(&mut self, poll: Poll, turn: &mut Turn) -> bool {
        if self.has_websocket() {
            return false;
        }
        if self.poll.is_some() {
            self.close(CloseReason::TransportError, turn);
            return false;
        }
        self.poll = Some(poll);
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.answered) {
            probe.noop_at = Some(turn.now + NOOP_DELAY);
        }
        if !self.queue.is_empty() {
            turn.out.ready.push(turn.id);
        }
        true
    }

    /// The head of a POST. Returns whether its body is wanted. A second one ends the session, and the connection of the first
    /// without an answer, as in the reference.
    pub fn post(&mut self, conn: ConnId, turn: &mut Turn) -> bool {
        if self.has_websocket() {
            return false;
        }
        if let Some(first) = self.post {
            turn.out.outputs.push_back(EngineOutput::Abort(first));
            self.close(CloseReason::TransportError, turn);
            return false;
        }
        self.post = Some(conn);
        true
    }

    /// The packets of a POST, in order, if it could be read; nothing that follows the end of the session counts.
    pub fn posted(&mut self, packets: Option<Vec<Packet>>, turn: &mut Turn) {
        self.post = None;
        let Some(packets) = packets else { return self.close(CloseReason::ParseError, turn) };
        for packet in packets {
            if self.is_closed() {
                return;
            }
            self.packet(packet, turn);
        }
    }

    /// A WebSocket wants to take over. Returns whether it may: one probe at a time, and none once upgraded.
    pub fn probe(&mut self, conn: ConnId, turn: &Turn) -> bool {
        let may = !self.has_websocket() && self.probe.is_none() && !self.is_closed();
        if may {
            let deadline = turn.now + turn.config.upgrade_timeout;
            self.probe = Some(Box::new(Probe { conn, deadline, answered: false, noop_at: None }));
        }
        may
    }

    /// A packet that came in a WebSocket frame, on whatever connection; `None` if it could not be read.
    pub fn frame(&mut self, conn: ConnId, packet: Option<Packet>, turn: &mut Turn) {
        if self.phase == Phase::Opening && packet.is_some() {
            self.opened(turn);
        }
        match (self.probe.as_mut().filter(|probe| probe.conn == conn), packet) {
            (None, Some(packet)) if self.websocket == Some(conn) => self.packet(packet, turn),
            (None, None) if self.websocket == Some(conn) => self.close(CloseReason::ParseError, turn),
            (None, _) => turn.out.outputs.push_back(EngineOutput::Close(conn)),
            (Some(probe), Some(Packet::Ping(text))) if &*text == "probe" && !probe.answered => {
                probe.answered = true;
                turn.out.outputs.push_back(EngineOutput::Frame(conn, packet::PONG_PROBE_FRAME));
                // With something to carry it is answered at the end of the turn.
                if self.queue.is_empty() {
                    self.answer_noop(turn.out);
                }
            }
            // From here on everything goes over the WebSocket, first of all what polling has not carried.
            (Some(probe), Some(Packet::Upgrade)) if probe.answered => {
                self.answer_noop(turn.out);
                (self.websocket, self.probe) = (Some(conn), None);
                self.send_queue(turn.out);
            }
            (Some(_), _) => self.drop_probe(turn.out),
        }
    }

    /// Sends over WebSocket what was queued before there was one.
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

    /// A packet on the transport that counts.
    fn packet(&mut self, packet: Packet, turn: &mut Turn) {
        match (packet, self.client.version) {
            (Packet::Message(data), _) => {
                turn.out.counters.received += 1;
                turn.out.events.push_back(SessionEvent::Message(turn.id, data));
            }
            // A pong nobody asked for changes nothing, however many there are.
            (Packet::Pong(_), Version::V4) => {
                if self.phase == Phase::Heartbeat {
                    self.restart_heartbeat(turn.config, turn.now);
                }
            }
            (Packet::Ping(text), Version::V2 | Version::V3) => {
                self.restart_heartbeat(turn.config, turn.now);
                self.control(packet::pong(&text), turn);
            }
            (Packet::Close, _) => self.close(CloseReason::ClientClose, turn),
            (Packet::Noop | Packet::Upgrade, _) => {}
            // A heartbeat in the wrong direction, or a second handshake.
            _ => self.close(CloseReason::ParseError, turn),
        }
    }

    /// Sends a message: over WebSocket into the outbox of the connection, over polling into the queue.
    pub fn send(&mut self, message: &Encoded, turn: &mut Turn) {
        if self.is_closed() {
            return;
        }
        turn.out.counters.sent += 1;
        match (self.websocket, self.client.version) {
            (Some(conn), Version::V4) => turn.out.outputs.push_back(EngineOutput::Frame(conn, message.frame())),
            (Some(conn), old) => turn.out.outputs.push_back(EngineOutput::Frame(conn, v3::frame(message, old))),
            (None, Version::V4) => self.enqueue(message.packet(), turn),
            (None, _) => self.enqueue(v3::packet(message), turn),
        }
    }

    /// Sends a packet that is no message: a pong.
    fn control(&mut self, packet: Bytes, turn: &mut Turn) {
        let Some(conn) = self.websocket else { return self.enqueue(packet, turn) };
        turn.out.outputs.push_back(EngineOutput::Frame(conn, packet::packet_to_frame(&packet)));
    }

    fn enqueue(&mut self, packet: Bytes, turn: &mut Turn) {
        if self.queue.bytes + packet.len() > turn.config.max_queue {
            turn.out.pool.clear(&mut self.queue);
            turn.out.limits.hit(Limit::Queue, turn.now, self.client.address);
            return self.close(CloseReason::Evicted, turn);
        }
        self.push(packet, turn);
    }

    /// The first packet that a parked GET can carry has the session looked at when the turn ends.
    fn push(&mut self, packet: Bytes, turn: &mut Turn) {
        if self.queue.is_empty() && self.poll.is_some() {
            turn.out.ready.push(turn.id);
        }
        turn.out.pool.push(&mut self.queue, packet);
    }

    /// The end of the turn: the parked GET, if there is something to carry, and what one payload may: 16 packets unless
    /// the client takes more, and no more bytes than `max_payload` (but always one packet).
    pub fn take_payload(&mut self, packets: &mut Vec<Bytes>, turn: &mut Turn) -> Option<Poll> {
        let poll = self.poll.take_if(|_| !self.queue.is_empty())?;
        packets.clear();
        let most = if self.client.many { usize::MAX } else { FEW_PACKETS };
        let mut bytes = 0;
        while packets.len() < most
            && let Some(packet) = turn.out.pool.front(&self.queue)
        {
            bytes += match self.client.version {
                Version::V4 => packet.len() + usize::from(!packets.is_empty()),
                _ => v3::framed_length(packet),
            };
            if !packets.is_empty() && bytes > turn.config.max_payload {
                break;
            }
            packets.extend(turn.out.pool.pop(&mut self.queue));
        }
        if self.is_closed() && self.queue.is_empty() {
            self.phase = Phase::Gone;
        }
        Some(poll)
    }

    /// Ends the parked GET with a noop.
    fn answer_noop(&mut self, out: &mut Out) {
        if let Some(poll) = self.poll.take() {
            let response = Payload::new(&[packet::NOOP], &self.client, poll.jsonp).response(None);
            out.outputs.push_back(EngineOutput::Answer(poll.conn, response));
        }
    }

    /// The probe has failed; polling goes on as if it had never been.
    fn drop_probe(&mut self, out: &mut Out) {
        out.outputs.extend(self.probe.take().map(|probe| EngineOutput::Close(probe.conn)));
    }

    /// A connection that belonged to this session is no more. A GET that is cancelled ends it, a probe does not.
    pub fn connection_lost(&mut self, conn: ConnId, turn: &mut Turn) {
        self.probe.take_if(|probe| probe.conn == conn);
        let parked = self.poll.take_if(|poll| poll.conn == conn).is_some();
        if self.websocket.map_or(parked || self.post == Some(conn), |own| own == conn) {
            self.close(CloseReason::TransportClose, turn);
        }
    }

    /// Time has passed.
    pub fn expire(&mut self, turn: &mut Turn) {
        if self.drain_at.is_some_and(|at| at <= turn.now) {
            return self.close(CloseReason::ServerClose, turn);
        }
        if self.probe.as_ref().is_some_and(|probe| probe.deadline <= turn.now) {
            turn.out.limits.hit(Limit::UpgradeTime, turn.now, self.client.address);
            self.drop_probe(turn.out);
        } else if let Some(probe) = &mut self.probe
            && probe.noop_at.take_if(|at| *at <= turn.now).is_some()
        {
            self.answer_noop(turn.out);
        }
        if self.deadline > turn.now {
            return;
        }
        match self.phase {
            Phase::Opening => self.opened(turn),
            Phase::Idle => self.ping(turn.now, turn),
            Phase::Heartbeat => self.close(CloseReason::PingTimeout, turn),
            // The loop stood still, and a GET has come before this: it takes the farewell when the turn ends.
            Phase::CloseQueued if self.poll.is_some() => self.deadline = turn.now + turn.config.ping_timeout,
            Phase::CloseQueued | Phase::Gone => self.release(turn),
        }
    }

    /// Sends a ping that is due at `by`, maybe a little early; the time for its answer counts from when it was due.
    pub fn ping(&mut self, by: Instant, turn: &mut Turn) {
        if self.phase == Phase::Idle && self.deadline <= by {
            self.phase = Phase::Heartbeat;
            self.deadline += turn.config.ping_timeout;
            match self.websocket {
                Some(conn) => turn.out.outputs.push_back(EngineOutput::Frame(conn, packet::PING_FRAME)),
                None => self.enqueue(packet::PING, turn),
            }
        }
    }

    /// Ends the session, once, and tells those above.
    pub fn close(&mut self, reason: CloseReason, turn: &mut Turn) {
        if self.is_closed() {
            return;
        }
        turn.out.events.push_back(SessionEvent::Closed(turn.id, reason));
        turn.out.counters.ended[reason as usize] += 1;
        self.drain_at = None;
        self.drop_probe(turn.out);
        match (self.websocket, reason.close_code()) {
            (Some(conn), code) => {
                let frame = code.map(|code| EngineOutput::Frame(conn, ws::close_frame(code, "")));
                turn.out.outputs.extend(frame.into_iter().chain([EngineOutput::Close(conn)]));
                self.release(turn);
            }
            // Who is parked gets the farewell now. Who is not gets it with the next GET, but only if we wished to
            // end: after an error or a time-out the reference knows the session no more, and answers 400.
            (None, Some(_)) if self.poll.is_some() || reason == CloseReason::ServerClose => {
                self.push(packet::CLOSE, turn);
                (self.phase, self.deadline) = (Phase::CloseQueued, turn.now + turn.config.ping_timeout);
            }
            (None, _) => {
                self.answer_noop(turn.out);
                self.release(turn);
            }
        }
    }

    /// Nothing more is to be done, and nobody is there to take what is queued.
    fn release(&mut self, turn: &mut Turn) {
        turn.out.pool.clear(&mut self.queue);
        self.phase = Phase::Gone;
    }
}

#[cfg(debug_assertions)]
#[path = "../../tests/seams/session.rs"]
mod check;
