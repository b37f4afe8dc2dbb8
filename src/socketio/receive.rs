//! Packets from clients: decodes the messages of a session and passes the result to the application. Part of `socketio`.

use super::packet::{self, Invalid, Kind, Packet};
use super::rate::{self, Rate};
use super::{App, DisconnectReason, Event, Io, PendingPacket, Publication};
use crate::base::held;
use crate::base::limits::Limit;
use crate::base::slab::{SessionId, SocketKey};
use crate::engineio;
use crate::ws::Text;
use bytes::Bytes;

impl Io {
    /// Handles a text message, which is one packet, and checks the rate limit. A packet with attachments waits for them.
    pub(super) fn receive_packet(&mut self, id: SessionId, text: Text, app: &mut impl App) -> Result<(), Invalid> {
        let Some(state) = self.sessions.get_mut(&id) else { return Ok(()) };
        if state.pending.is_some() {
            return Err(Invalid("a packet before all attachments of the last one"));
        }
        let rate = rate::take(&mut state.full_at, self.engine.now, &self.config);
        if rate == Rate::Flood {
            self.evict_flooder(id);
            return Ok(());
        }
        let packet = packet::decode(&text, &self.config)?;
        let namespace = self.namespaces.iter().position(|name| *name == packet.namespace);
        let in_namespace =
            |key: &&SocketKey| self.sockets.get(**key).is_some_and(|socket| Some(socket.namespace) == namespace);
        let mut socket = state.sockets.iter().find(in_namespace).copied();
        let joined = namespace.is_some_and(|namespace| state.joined & 1 << namespace != 0);
        // An event beyond the rate limit is refused. If it asks for an ack, the ack has an error. Its attachments will be
        // dropped.
        if rate == Rate::Exceeded && packet.kind == Kind::Event && socket.take().is_some() {
            self.engine.hit(Limit::Events, id);
            if packet.id.is_some() {
                self.reply(id, Kind::Ack, packet.namespace, packet.id, r#"[{"error":"too many events"}]"#);
            }
        }
        match packet.kind {
            Kind::Connect => match (namespace, socket) {
                (None, _) => self.refuse(id, packet.namespace, "Invalid namespace"),
                (Some(namespace), None) => {
                    self.connect(id, namespace, packet.args.first().copied(), packet.query, app);
                }
                // Old clients (`EIO=2`, `EIO=3`) get this socket without a CONNECT, so one that they send is ignored.
                (Some(0), Some(_)) if self.engine.is_old(id) => {}
                (Some(_), Some(_)) => return Err(Invalid("a second CONNECT to a namespace")),
            },
            Kind::ConnectError => return Err(Invalid("only a server may refuse a CONNECT")),
            // A packet that finds no socket is ignored if the server may have ended the socket.
            _ if !joined => return Err(Invalid("a packet for a namespace that was not joined")),
            Kind::Disconnect => socket.into_iter().for_each(|socket| self.remove(socket, DisconnectReason::Left)),
            Kind::Event | Kind::Ack if packet.attachments == 0 => {
                socket.into_iter().for_each(|socket| self.deliver(socket, &packet, &[], app));
            }
            Kind::Event | Kind::Ack => {
                packet::placeholders(packet.data, packet.attachments)?;
                let Some(state) = self.sessions.get_mut(&id) else { return Ok(()) };
                let (count, held) = (packet.attachments, 0);
                let text = held::share(text.as_bytes()).try_into().expect("it was a text before");
                let pending = PendingPacket { text, socket, attachments: Vec::with_capacity(count), held, count };
                state.pending = Some(Box::new(pending));
                self.timers.set(id, &mut state.deadline, self.engine.now + self.config.message_timeout);
            }
        }
        Ok(())
    }

    /// Closes a session whose client ignores the rate limit.
    pub(super) fn evict_flooder(&mut self, id: SessionId) {
        self.engine.hit(Limit::Flood, id);
        self.engine.close(id, engineio::CloseReason::Evicted);
    }

    /// Handles a binary message, which is the next attachment of the pending packet.
    pub(super) fn receive_attachment(
        &mut self, id: SessionId, bytes: Bytes, app: &mut impl App,
    ) -> Result<(), Invalid> {
        let Some(state) = self.sessions.get_mut(&id) else { return Ok(()) };
        let mut pending = state.pending.take().ok_or(Invalid("an attachment without a packet"))?;
        pending.held += bytes.len();
        if pending.held > self.config.max_payload {
            self.engine.hit(Limit::Payload, id);
            return Err(Invalid("attachments that are too large together"));
        }
        // A small attachment must not keep the large body that it was a part of.
        let mut attachment = Vec::from(bytes);
        attachment.shrink_to_fit();
        pending.attachments.push(held::share(attachment));
        if pending.attachments.len() < pending.count {
            state.pending = Some(pending);
            return Ok(());
        }
        self.timers.clear(id, &mut state.deadline);
        // The socket may have been removed after the packet arrived.
        let Some(socket) = pending.socket.filter(|socket| self.sockets.get(*socket).is_some()) else { return Ok(()) };
        let packet = packet::decode(&pending.text, &self.config)?;
        self.deliver(socket, &packet, &pending.attachments, app);
        Ok(())
    }

    /// Passes a complete event or ack to the application. An ack that another server asked for is published.
    fn deliver(&mut self, socket: SocketKey, packet: &Packet, attachments: &[Bytes], app: &mut impl App) {
        let (name, args, number) = (&*packet.name, &packet.args[..], packet.id);
        if packet.kind == Kind::Event {
            return app.event(self, socket, &Event { name, args, attachments, ack: number });
        }
        // An ack that is late, or that nobody asked for, is ignored.
        if let Some(number) = number
            && let Some(known) = self.sockets.get(socket)
            && let Some(mut ack) = self.acks.remove(&(socket, number))
        {
            self.ack_timers.clear((socket, number), &mut ack.deadline);
            if ack.asker.is_none() {
                return app.acknowledged(self, socket, number, Some(&Event { name, args, attachments, ack: None }));
            }
            self.publications.push_back(Publication {
                namespace: self.namespaces[known.namespace].to_owned(),
                asker: ack.asker,
                json: args.first().map_or("null", |first| first.get()).to_owned(),
                attachments: attachments.to_vec(),
                ..Publication::default()
            });
        }
    }
}
