//! The client role: circuits, and what they are to carry.

mod build;
mod circuit;
mod command;
mod lend;
mod select;
mod verdict;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;

use super::Node;
use crate::id::Mtu;
use crate::policy::{ClientAddress, Timeouts};
use crate::suite::Suite;
use crate::telescope::mtu::{self, Layer};
use crate::telescope::{CircuitNumber, Client};
use crate::time::Instant;
pub(super) use circuit::{Circuit, HopState, Stage, Stop};
pub(super) use lend::Lent;

/// Time before a failed circuit is built again; it doubles up to [`LONGEST_REST`].
const FIRST_REST: Duration = Duration::from_secs(1);
/// The longest time between two attempts.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// How long relays get to confirm that a circuit is over.
const CLOSING: Duration = Duration::from_secs(3);

/// What this host does as a client.
#[derive(Debug)]
pub(super) struct ClientRole {
    /// The address that entries see; `None` while there is none.
    address: Option<IpAddr>,
    follows: bool,
    path_mtu: Mtu,
    kill_switch: bool,
    allow: Vec<IpNet>,
    /// What the policy's circuits are to carry. It stays guarded when somebody closes one of them.
    guarded: Vec<IpNet>,
    timeouts: Timeouts,
    circuits: BTreeMap<CircuitNumber, Circuit>,
    last: u32,
}

fn traffic(policy: &crate::policy::Client) -> Vec<IpNet> {
    policy.circuits.iter().flat_map(|circuit| circuit.traffic.iter().copied()).collect()
}

impl ClientRole {
    /// The role as a policy has it. Its circuits are numbered in the policy's order.
    pub(super) fn new(policy: &crate::policy::Client, now: Instant) -> Self {
        let (address, follows) = match policy.address {
            ClientAddress::Auto => (None, true),
            ClientAddress::Fixed(address) => (Some(address), false),
        };
        let mut role = Self {
            address,
            follows,
            path_mtu: policy.path_mtu,
            kill_switch: policy.kill_switch,
            allow: policy.allow.clone(),
            guarded: traffic(policy),
            timeouts: policy.timeouts,
            circuits: BTreeMap::new(),
            last: 0,
        };
        for spec in &policy.circuits {
            role.add(spec.clone(), now);
        }
        role
    }

    /// What of another policy holds at once.
    pub(super) fn reload(&mut self, policy: &crate::policy::Client) {
        self.kill_switch = policy.kill_switch;
        self.allow.clone_from(&policy.allow);
        self.guarded = traffic(policy);
        self.timeouts = policy.timeouts;
    }

    /// Adds a circuit that is not begun.
    pub(super) fn add(&mut self, spec: crate::policy::Circuit, now: Instant) -> Option<CircuitNumber> {
        for _ in 0..CircuitNumber::LAST {
            self.last = self.last % CircuitNumber::LAST + 1;
            let number = CircuitNumber::try_from(self.last).ok()?;
            if let Entry::Vacant(free) = self.circuits.entry(number) {
                free.insert(Circuit::new(number, spec, now));
                return Some(number);
            }
        }
        None
    }

    /// The model of the role.
    pub(super) fn model(&self) -> Client {
        let circuits = self.circuits.values();
        let mut guarded = self.guarded.clone();
        guarded.extend(circuits.flat_map(|circuit| circuit.spec.traffic.iter().copied()));
        guarded.sort_unstable();
        guarded.dedup();
        Client {
            // without an address there are no circuits either
            address: self.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            path_mtu: self.path_mtu,
            kill_switch: self.kill_switch,
            allow: self.allow.clone(),
            guarded,
            circuits: self.circuits.values().filter_map(Circuit::telescope).collect(),
        }
    }

    /// The circuits, by number.
    pub(super) const fn circuits(&self) -> &BTreeMap<CircuitNumber, Circuit> {
        &self.circuits
    }

    /// Whether everything that no circuit carries is dropped.
    pub(super) const fn kill_switch(&self) -> bool {
        self.kill_switch
    }

    /// Puts circuits in the place of those of the policy: they stood before a restart.
    pub(super) fn adopt(&mut self, circuit: Circuit) {
        let same = |other: &&Circuit| other.spec.name == circuit.spec.name;
        if let Some(fresh) = self.circuits.values().find(same).map(|other| other.number) {
            self.circuits.remove(&fresh);
        }
        if let Some(shifted) = self.circuits.remove(&circuit.number) {
            self.last = self.last.max(circuit.number.get());
            self.add(shifted.spec, shifted.since);
        }
        self.last = self.last.max(circuit.number.get());
        self.circuits.insert(circuit.number, circuit);
    }

    /// Goes on with the address that circuits left from before a restart; `None` when it is another now.
    pub(super) fn use_address(&mut self, address: IpAddr) -> Option<()> {
        if self.follows && self.address.is_none() {
            self.address = Some(address);
        }
        (self.address == Some(address)).then_some(())
    }

    /// The address that entries see.
    pub(super) const fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Whether IPv6 fits within the layers of a circuit and one more of the same kind.
    fn has_room_for_ipv6(&self, circuit: &Circuit) -> bool {
        let mut layers = circuit.telescope().map(|telescope| telescope.layers()).unwrap_or_default();
        let innermost = layers.first().copied();
        layers.push(innermost.unwrap_or(Layer::to(Ipv4Addr::UNSPECIFIED.into(), Suite::AesGcm256, false)));
        let asked = circuit.spec.mtu.is_none_or(|mtu| mtu >= Mtu::IPV6_MINIMUM);
        asked && mtu::room(self.path_mtu, &layers) >= Mtu::IPV6_MINIMUM.get()
    }

    /// When the next circuit has something to do.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.circuits.values().filter_map(Circuit::next_timeout).min()
    }
}

impl Node {
    /// Changes one of our circuits.
    fn circuit_mut(&mut self, number: CircuitNumber) -> Option<&mut Circuit> {
        self.client.as_mut()?.circuits.get_mut(&number)
    }

    /// Changes a layer of one of our circuits.
    pub(super) fn hop_mut(&mut self, number: CircuitNumber, hop: usize) -> Option<&mut HopState> {
        self.circuit_mut(number)?.hops.get_mut(hop)
    }
}
