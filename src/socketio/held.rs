//! Which suspended sockets are given up when there are too many. Part of `socketio`.
//!
//! Suspended sockets count for the address of their client, so that one address cannot take recovery and grace from others.

use super::recovery::Suspension;
use super::{DisconnectReason, Io};
use crate::base::limits::network;
use crate::base::slab::SocketKey;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

/// The suspended sockets of one network, in the order in which they are given up: first those that the application has not
/// marked ([`Io::mark`]), among them those that were suspended first, by [`Suspension::number`].
pub(super) type Order = BTreeSet<(bool, u64, SocketKey)>;

/// The suspended sockets of each network: an IPv4 address, or a /64 of IPv6.
pub(super) type Held = HashMap<IpAddr, Order>;

impl Io {
    /// Marks a socket as one that is given up after others while it is suspended, for example because its user has a name.
    pub fn mark(&mut self, key: SocketKey) {
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.marked = true;
        }
    }

    /// Counts a socket that is suspended now for `address`. Removes one of this address if the address then has more sessions
    /// and suspended sockets than `max_per_address`; or one of the address that has most, if there are more suspended sockets
    /// than `max_connections`.
    pub(super) fn hold(&mut self, key: SocketKey, marked: bool, number: u64, address: IpAddr) {
        let own = self.held.entry(network(address)).or_default();
        own.insert((marked, number, key));
        let from = if self.engine.exceeds_address(address, own.len()) {
            Some(own)
        } else if self.suspended.len() > self.config.max_connections {
            self.held.values_mut().max_by_key(|order| order.len())
        } else {
            None
        };
        if let Some(&(.., first)) = from.and_then(|order| order.first()) {
            self.remove(first, DisconnectReason::Ended);
        }
    }

    /// Undoes [`Io::hold`] for a socket that is not suspended any more.
    pub(super) fn release_held(&mut self, key: SocketKey, marked: bool, suspension: &Suspension) {
        let network = network(suspension.address);
        if let Some(own) = self.held.get_mut(&network) {
            own.remove(&(marked, suspension.number, key));
            if own.is_empty() {
                self.held.remove(&network);
            }
        }
    }
}
