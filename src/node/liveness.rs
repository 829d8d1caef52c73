//! Peers whose daemon is silent while their kernel goes on forwarding.
//!
//! A daemon may be killed and stay away for minutes, and its kernel loses no packet meanwhile. So while a peer owes
//! an answer, the packets are counted that come through what it holds of the connection: as long as there are more
//! and more, it is alive (RFC 7296 §2.4), be it a relay of our circuit, a neighbour or a client. When none come
//! either, it is dead as soon as it would be without any counting.

use std::collections::{BTreeMap, BTreeSet};

use super::io::Output;
use super::tunnel::Tunnel;
use super::{Node, Purpose};
use crate::ike::SaHandle;
use crate::state::SaId;
use crate::time::Instant;

/// How many times is looked while a peer has to answer. The first time there is nothing to compare with, and the
/// last time may come too late.
const LOOKS: u32 = 5;

/// The packets of peers that owe an answer. Empty, and never due, when none does.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    due: Option<Instant>,
    counters: BTreeMap<SaId, Counter>,
}

/// What came through an SA.
#[derive(Debug, Clone, Copy)]
struct Counter {
    connection: SaHandle,
    /// As far as that is known.
    packets: Option<u64>,
}

impl Liveness {
    /// When to look next.
    pub(super) const fn next_timeout(&self) -> Option<Instant> {
        self.due
    }
}

impl Node {
    /// Begins to look when a peer owes an answer, and ends it when none does.
    pub(super) fn watch_silent(&mut self) {
        if self.ike.unanswered().next().is_none() {
            self.liveness = Liveness::default();
        } else if self.liveness.due.is_none() {
            self.liveness.due = Some(self.now + self.ike.settings().established.total() / LOOKS);
        }
    }

    /// Asks how many packets came, if it is time.
    pub(super) fn look_for_traffic(&mut self) {
        if self.liveness.due.take_if(|due| *due <= self.now).is_none() {
            return;
        }
        let before = std::mem::take(&mut self.liveness.counters);
        let counters: BTreeMap<SaId, Counter> = self
            .ike
            .unanswered()
            .flat_map(|connection| self.inbound(connection).map(move |id| (id, connection)))
            .map(|(id, connection)| {
                let known = before.get(&id).filter(|counter| counter.connection == connection);
                (id, Counter { connection, packets: known.and_then(|counter| counter.packets) })
            })
            .collect();
        if !counters.is_empty() {
            self.queue.push_back(Output::Count(counters.keys().copied().collect()));
        }
        self.liveness.counters = counters;
    }

    /// So many came.
    pub(super) fn counted(&mut self, counts: &[(SaId, u64)]) {
        let mut alive = BTreeSet::new();
        for (id, packets) in counts {
            let Some(counter) = self.liveness.counters.get_mut(id) else { continue };
            if counter.packets.replace(*packets).is_some_and(|before| before < *packets) {
                alive.insert(counter.connection);
            }
        }
        for connection in alive {
            self.ike.traffic_seen(self.now, connection);
        }
    }

    /// The SAs that we receive through over a connection.
    fn inbound(&self, connection: SaHandle) -> impl Iterator<Item = SaId> {
        let own = self.ike.path(connection).map(|path| path.local.ip());
        let tunnel = self.tunnel(connection);
        let spis = tunnel.into_iter().flat_map(move |tunnel| tunnel.inbound(connection));
        own.into_iter().flat_map(move |destination| spis.clone().map(move |spi| SaId { destination, spi }))
    }

    /// The tunnel that a connection is for.
    fn tunnel(&self, connection: SaHandle) -> Option<&Tunnel> {
        match *self.purposes.get(&connection)? {
            Purpose::Layer(number) => self.relay.as_ref()?.layer(number).map(|layer| &layer.tunnel),
            Purpose::Overlay(number) => self.overlays.get(number).map(|overlay| &overlay.tunnel),
            Purpose::Hop(circuit, hop) => {
                let circuit = self.client.as_ref()?.circuits().get(&circuit)?;
                circuit.hops.get(hop).map(|hop| &hop.tunnel)
            }
        }
    }
}
