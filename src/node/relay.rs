//! The relay role: layers of circuits that end here, and the addresses their clients get.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::kernel::Part;
use super::pool::Pool;
use super::tunnel::Tunnel;
use super::{Node, Purpose, Then};
use crate::control::{Event, Private, RekeyWhat};
use crate::entropy::Entropy;
use crate::ike::wire::TrafficSelector;
use crate::ike::{
    Addresses, ChildAnswer, ChildId, ChildKeys, ChildRefusal, ChildWanted, CloseReason, EspPorts, SaHandle,
};
use crate::policy::{Exit, Limits};
use crate::state::{State, UdpEncapsulation};
use crate::telescope::{HopNumber, Refused, Relay, RelayCircuit};
use crate::time::Instant;

/// A layer that ends here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Layer {
    /// Its number.
    pub(super) number: HopNumber,
    /// Its IKE SA.
    pub(super) sa: SaHandle,
    /// Where it comes from.
    pub(super) peer: IpAddr,
    /// The prefix that this counts for, if it is limited.
    prefix: Option<IpNet>,
    address: IpAddr,
    address6: Option<Ipv6Addr>,
    /// UDP encapsulation, if the client is behind a NAT.
    pub(super) encapsulation: Option<EspPorts>,
    /// Its SAs.
    pub(super) tunnel: Tunnel,
}

/// What this host does as a relay.
#[derive(Debug)]
pub(super) struct RelayRole {
    relay: Relay,
    /// Name servers that clients are told of.
    dns: Vec<IpAddr>,
    limits: Limits,
    pool: Pool,
    pool6: Option<Pool>,
    layers: BTreeMap<HopNumber, Layer>,
    per_prefix: BTreeMap<IpNet, u32>,
    last: u32,
}

impl Layer {
    /// The layer as the kernel is to hold it, or `None` while it has no SA.
    pub(super) fn circuit(&self) -> Option<RelayCircuit> {
        Some(RelayCircuit {
            number: self.number,
            peer: self.peer,
            address: self.address,
            address6: self.address6,
            keys: self.tunnel.keys()?,
            encapsulation: self.encapsulation.map(ports),
        })
    }
}

/// The ports of outbound packets.
pub(super) const fn ports(ports: EspPorts) -> UdpEncapsulation {
    UdpEncapsulation { source_port: ports.local, destination_port: ports.remote }
}

impl RelayRole {
    /// The role of `relay`, which has no layers and no neighbours yet.
    pub(super) fn new(relay: Relay, limits: Limits, quarantine: std::time::Duration) -> Self {
        let pool = Pool::new(relay.pool, quarantine);
        let pool6 = relay.pool6.map(|prefix| Pool::new(prefix, quarantine));
        Self {
            relay,
            dns: Vec::new(),
            limits,
            pool,
            pool6,
            layers: BTreeMap::new(),
            per_prefix: BTreeMap::new(),
            last: 0,
        }
    }

    /// The model of it, without layers and neighbours.
    pub(super) fn model(&self) -> Relay {
        self.relay.clone()
    }

    /// The layers that end here.
    pub(super) fn layers(&self) -> Vec<RelayCircuit> {
        self.layers.values().filter_map(Layer::circuit).collect()
    }

    /// How many layers end here.
    pub(super) fn count(&self) -> usize {
        self.layers.len()
    }

    /// How many addresses of the pools their clients have.
    pub(super) fn leases(&self) -> usize {
        self.pool.handed_out() + self.pool6.as_ref().map_or(0, Pool::handed_out)
    }

    /// Their numbers.
    pub(super) fn numbers(&self) -> impl Iterator<Item = HopNumber> {
        self.layers.keys().copied()
    }

    /// One of them.
    pub(super) fn layer(&self, number: HopNumber) -> Option<&Layer> {
        self.layers.get(&number)
    }

    /// Its limits and exit policy after a reload.
    pub(super) fn reload(&mut self, exit: Option<crate::telescope::ExitPolicy>, limits: Limits) {
        self.relay.exit = exit;
        self.limits = limits;
    }

    /// The name servers of its exit, which clients are told of from now on.
    pub(super) fn name_servers(&mut self, exit: Option<&Exit>) {
        self.dns =
            exit.filter(|_| self.relay.exit.is_some()).map(|exit| exit.dns.clone()).unwrap_or_default();
    }

    /// Takes a layer over that was there before a restart.
    pub(super) fn adopt(&mut self, layer: Layer) {
        self.pool.retake(layer.address);
        if let (Some(pool), Some(address)) = (&mut self.pool6, layer.address6) {
            pool.retake(address.into());
        }
        if let Some(prefix) = layer.prefix {
            *self.per_prefix.entry(prefix).or_default() += 1;
        }
        self.last = self.last.max(layer.number.get());
        self.layers.insert(layer.number, layer);
    }

    /// A number that is free. They go round, so that one is not used again at once.
    fn free_number(&mut self) -> Option<HopNumber> {
        for _ in 0..HopNumber::LAST {
            self.last = self.last % HopNumber::LAST + 1;
            let number = HopNumber::try_from(self.last).ok()?;
            if !self.layers.contains_key(&number) {
                return Some(number);
            }
        }
        None
    }

    /// The prefix that clients at `peer` share their limit with; the pools of other relays have none, for
    /// the circuits of everybody come from there.
    fn prefix(peer: IpAddr, pools: &[IpNet]) -> Option<IpNet> {
        if pools.iter().any(|pool| pool.contains(&peer)) {
            return None;
        }
        let length = if peer.is_ipv4() { 24 } else { 56 };
        IpNet::new(peer, length).ok().map(|net| net.trunc())
    }

    /// Admits a layer and gives it addresses.
    fn admit(
        &mut self,
        sa: SaHandle,
        wanted: &ChildWanted,
        pools: &[IpNet],
        now: Instant,
        entropy: &mut dyn Entropy,
    ) -> Result<(HopNumber, ChildAnswer), ChildRefusal> {
        let request = wanted.request.ok_or(ChildRefusal::RequestRequired)?;
        let peer = wanted.path.remote.ip();
        let prefix = Self::prefix(peer, pools);
        let of_prefix = prefix.and_then(|prefix| self.per_prefix.get(&prefix)).copied().unwrap_or_default();
        let all = u32::try_from(self.layers.len()).unwrap_or(u32::MAX);
        if all >= self.limits.circuits || of_prefix >= self.limits.circuits_per_prefix {
            return Err(ChildRefusal::NoMore);
        }
        let number = self.free_number().ok_or(ChildRefusal::NoMore)?;
        let address = self.pool.take(now, entropy).ok_or(ChildRefusal::NoAddress)?;
        let wants6 = request.wants(Ipv6Addr::UNSPECIFIED.into()) && self.relay.exit.is_some();
        let address6 = match self.pool6.as_mut().filter(|_| wants6).and_then(|pool| pool.take(now, entropy)) {
            Some(IpAddr::V6(address)) => Some(address),
            _ => None,
        };
        if let Some(prefix) = prefix {
            *self.per_prefix.entry(prefix).or_default() += 1;
        }
        let encapsulation = wanted.encapsulation;
        let tunnel = Tunnel::default();
        self.layers
            .insert(number, Layer { number, sa, peer, prefix, address, address6, encapsulation, tunnel });
        let addresses: Vec<IpAddr> = std::iter::once(address).chain(address6.map(IpAddr::V6)).collect();
        let mut local = Vec::new();
        for given in &addresses {
            local.push(if given.is_ipv4() { TrafficSelector::any_v4() } else { TrafficSelector::any_v6() });
        }
        let remote = addresses.iter().copied().map(TrafficSelector::host).collect();
        let reachable = |server: &&IpAddr| addresses.iter().any(|given| given.is_ipv4() == server.is_ipv4());
        let dns = self.dns.iter().filter(reachable).copied().collect();
        Ok((number, ChildAnswer { given: Addresses { addresses, dns }, remote, local }))
    }

    fn dismiss(&mut self, number: HopNumber, now: Instant) -> Option<Layer> {
        let layer = self.layers.remove(&number)?;
        self.pool.give_back(now, layer.address);
        if let (Some(pool), Some(address)) = (&mut self.pool6, layer.address6) {
            pool.give_back(now, address.into());
        }
        if let Some(prefix) = layer.prefix
            && let Some(count) = self.per_prefix.get_mut(&prefix)
        {
            *count -= 1;
            if *count == 0 {
                self.per_prefix.remove(&prefix);
            }
        }
        Some(layer)
    }
}

impl Node {
    /// A client wants its circuit to end here or to go on from here.
    pub(super) fn layer_wanted(
        &mut self,
        sa: SaHandle,
        wanted: &ChildWanted,
    ) -> Result<ChildAnswer, ChildRefusal> {
        let pools = self.overlays.pools();
        let role = self.relay.as_mut().ok_or(ChildRefusal::NoMore)?;
        let (number, answer) = role.admit(sa, wanted, &pools, self.now, &mut self.entropy)?;
        self.purposes.insert(sa, Purpose::Layer(number));
        Ok(answer)
    }

    /// Keys for a layer: its first or new ones.
    pub(super) fn layer_keys(&mut self, number: HopNumber, sa: SaHandle, keys: &ChildKeys) {
        let accepts = self.relay.as_ref().and_then(|role| role.layer(number)).map(|layer| {
            let suits = layer.tunnel.accepts(keys);
            (suits, layer.tunnel.in_use().is_none())
        });
        let Some((true, first)) = accepts else {
            return self.ike.child_installed(self.now, sa, keys.child, Err(ChildRefusal::Temporary));
        };
        let peer = keys.path.remote.ip();
        self.change_layer(number, Then::Installed(sa, keys.child), |layer| {
            layer.peer = peer;
            layer.encapsulation = keys.encapsulation;
            layer.tunnel.add(sa, keys);
        });
        self.event(if first {
            Event::RelayCircuitUp { layer: number, peer: Private::new(peer) }
        } else {
            Event::RelayRekeyed { layer: number, what: RekeyWhat::Child }
        });
    }

    /// The kernel did not take a child SA of a layer.
    pub(super) fn layer_not_installed(&mut self, number: HopNumber, sa: SaHandle, child: ChildId) {
        if let Some(layer) = self.relay.as_mut().and_then(|role| role.layers.get_mut(&number)) {
            layer.tunnel.remove(sa, child);
        }
    }

    /// What the kernel is to hold of a layer.
    pub(super) fn layer_state(&self, number: HopNumber) -> Result<State, Refused> {
        let Some(role) = &self.relay else { return Ok(State::default()) };
        let layer = role.layer(number).and_then(Layer::circuit);
        layer.map_or_else(|| Ok(State::default()), |layer| role.relay.circuit_state(&layer))
    }

    /// Changes a layer, and then the kernel.
    pub(super) fn change_layer(&mut self, number: HopNumber, then: Then, change: impl FnOnce(&mut Layer)) {
        let Some(layer) = self.relay.as_mut().and_then(|role| role.layers.get_mut(&number)) else { return };
        change(layer);
        self.kernel.push(Part::Layer(number), then);
    }

    /// The connection of a layer is over.
    pub(super) fn layer_closed(&mut self, number: HopNumber, reason: &CloseReason) {
        let now = self.now;
        if self.relay.as_mut().is_none_or(|role| role.dismiss(number, now).is_none()) {
            return;
        }
        self.kernel.push(Part::Layer(number), Then::Nothing);
        self.event(Event::RelayCircuitDown { layer: number, reason: reason.to_string() });
    }
}
