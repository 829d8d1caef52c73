//! Hosts for tests: a small network of clients and relays with keys made from numbers.
#![allow(dead_code, reason = "each test takes what it needs")]

pub(crate) mod kernel;
pub(crate) mod listing;
pub(crate) mod random;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use ippriv::id::{Mtu, Spi};
use ippriv::secret::KeyMaterial;
use ippriv::state::{Policy, PolicyDirection, Rule, RuleAction, Sa, SaDirection, State};
use ippriv::suite::{SequenceNumbers, Suite};
use ippriv::telescope::{
    CircuitNumber, Client, Desired, ExitPolicy, Hop, HopNumber, Host, Neighbour, NeighbourNumber, Relay,
    RelayCircuit, SaKeys, Telescope, TunnelKeys,
};

/// The client whose state is looked at.
pub(crate) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2));

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

/// Relay `relay`'s public address.
pub(crate) fn relay_address(relay: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(198, 18, relay, 2))
}

/// The pool relay `relay` hands addresses out of.
pub(crate) fn pool(relay: u8) -> IpNet {
    net(&format!("10.{}.0.0/16", 64 + relay))
}

/// Its IPv6 pool.
pub(crate) fn pool6(relay: u8) -> IpNet {
    net(&format!("fd00:{relay}::/64"))
}

/// A circuit as all who take part in it see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Circuit {
    pub(crate) number: u16,
    pub(crate) client: IpAddr,
    /// From entry to exit.
    pub(crate) relays: Vec<u8>,
    pub(crate) suite: Suite,
    pub(crate) dual_stack: bool,
    /// Which keys are in use: a rekey adds one.
    pub(crate) generation: u8,
    pub(crate) traffic: Vec<IpNet>,
}

impl Circuit {
    pub(crate) fn through(number: u16, relays: &[u8]) -> Self {
        Self {
            number,
            client: CLIENT,
            relays: relays.to_vec(),
            suite: Suite::AesGcm128,
            dual_stack: false,
            generation: 0,
            traffic: Vec::new(),
        }
    }

    /// A circuit of another client.
    pub(crate) fn of_another(mut self) -> Self {
        self.number += 100;
        self.client = ip("198.18.100.2");
        self
    }

    pub(crate) fn dual_stack(mut self) -> Self {
        self.dual_stack = true;
        self
    }

    pub(crate) fn traffic(mut self, prefixes: &[&str]) -> Self {
        self.traffic = prefixes.iter().map(|prefix| net(prefix)).collect();
        self
    }

    pub(crate) fn number(&self) -> CircuitNumber {
        CircuitNumber::try_from(u32::from(self.number)).expect("a circuit number")
    }

    /// The address that the relay at `position` hands out.
    pub(crate) fn address(&self, position: usize) -> IpAddr {
        let [high, low] = self.number.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(10, 64 + self.relays[position], high, low.max(1)))
    }

    fn address6(&self, position: usize) -> Option<Ipv6Addr> {
        let exit = position + 1 == self.relays.len();
        let relay = u16::from(self.relays[position]);
        (exit && self.dual_stack).then(|| Ipv6Addr::new(0xfd00, relay, 0, 0, 0, 0, 0, self.number))
    }

    fn layer_keys(&self, position: usize) -> TunnelKeys {
        let layer = u32::try_from(position).expect("few layers");
        let seed = u32::from(self.number) * 64 + layer * 8 + u32::from(self.generation % 4) * 2;
        keys(self.suite, 0x1_0000 + seed)
    }
}

/// A circuit through the first `count` relays.
pub(crate) fn hops(count: u8) -> Circuit {
    Circuit::through(1, &(1..=count).collect::<Vec<_>>())
}

/// Key material that differs between seeds.
pub(crate) fn key(suite: Suite, seed: u32) -> KeyMaterial {
    let octets = (0..suite.key_length()).map(|i| seed.to_be_bytes()[i % 4] ^ u8::try_from(i).unwrap_or(0));
    KeyMaterial::new(octets.collect())
}

/// A tunnel as its first end sees it.
pub(crate) fn keys(suite: Suite, seed: u32) -> TunnelKeys {
    let sa = |seed| SaKeys { spi: Spi::try_from(seed).expect("an SPI"), key: key(suite, seed) };
    TunnelKeys { suite, sequence: SequenceNumbers::Extended, out: sa(seed), r#in: vec![sa(seed + 1)] }
}

/// The same tunnel as its other end sees it.
pub(crate) fn mirrored(keys: TunnelKeys) -> TunnelKeys {
    let out = keys.r#in.into_iter().next().expect("one inbound SA");
    TunnelKeys { suite: keys.suite, sequence: keys.sequence, out, r#in: vec![keys.out] }
}

pub(crate) fn client(circuits: &[Circuit]) -> Client {
    let telescope = |circuit: &Circuit| Telescope {
        number: circuit.number(),
        hops: (0..circuit.relays.len())
            .map(|position| Hop {
                relay: relay_address(circuit.relays[position]),
                address: circuit.address(position),
                address6: circuit.address6(position),
                keys: circuit.layer_keys(position),
                encapsulation: None,
            })
            .collect(),
        traffic: circuit.traffic.clone(),
        mtu: None,
        options: ippriv::state::RouteMetrics::default(),
        stage: ippriv::telescope::Stage::Static,
    };
    Client {
        address: CLIENT,
        path_mtu: Mtu::ETHERNET,
        kill_switch: false,
        allow: Vec::new(),
        guarded: Vec::new(),
        circuits: circuits.iter().map(telescope).collect(),
    }
}

/// Relay `relay` with its part of the circuits, and overlay tunnels to those before and after it.
pub(crate) fn relay(relay: u8, circuits: &[Circuit]) -> Relay {
    let mut neighbours = std::collections::BTreeSet::new();
    let mut parts = Vec::new();
    let mut exit = false;
    for circuit in circuits {
        let Some(position) = circuit.relays.iter().position(|other| *other == relay) else { continue };
        let before = position.checked_sub(1);
        neighbours.extend(before.map(|position| circuit.relays[position]));
        neighbours.extend(circuit.relays.get(position + 1));
        exit |= position + 1 == circuit.relays.len();
        parts.push(RelayCircuit {
            number: HopNumber::try_from(u32::from(circuit.number)).expect("a circuit number"),
            peer: before.map_or(circuit.client, |position| circuit.address(position)),
            address: circuit.address(position),
            address6: circuit.address6(position),
            keys: mirrored(circuit.layer_keys(position)),
            encapsulation: None,
        });
    }
    let neighbour = |other: u8| {
        let (low, high) = (relay.min(other), relay.max(other));
        let shared = keys(Suite::AesGcm256, 0x900 + u32::from(low) * 32 + u32::from(high) * 2);
        Neighbour {
            number: NeighbourNumber::try_from(u32::from(other)).expect("a neighbour number"),
            address: relay_address(other),
            pool: pool(other),
            keys: Some(if relay == low { shared } else { mirrored(shared) }),
            tfc_padding: None,
        }
    };
    Relay {
        address: relay_address(relay),
        pool: pool(relay),
        pool6: parts.iter().any(|part| part.address6.is_some()).then(|| pool6(relay)),
        exit: exit.then(ExitPolicy::default),
        neighbours: neighbours.into_iter().map(neighbour).collect(),
        circuits: parts,
    }
}

pub(crate) fn as_host(client: Option<Client>, relay: Option<Relay>) -> Host {
    Host { client, relay }
}

pub(crate) fn client_state(circuits: &[Circuit]) -> Desired {
    compiled(&as_host(Some(client(circuits)), None))
}

pub(crate) fn relay_state(number: u8, circuits: &[Circuit]) -> Desired {
    compiled(&as_host(None, Some(relay(number, circuits))))
}

pub(crate) fn compiled(host: &Host) -> Desired {
    host.desired().unwrap_or_else(|refused| panic!("{refused}"))
}

pub(crate) fn policies(state: &State, direction: PolicyDirection) -> Vec<&Policy> {
    state.policies.values().filter(|policy| policy.id.direction == direction).collect()
}

pub(crate) fn inbound(state: &State) -> Vec<&Sa> {
    state.sas.values().filter(|sa| matches!(sa.direction, SaDirection::In { .. })).collect()
}

pub(crate) fn outbound(state: &State) -> Vec<&Sa> {
    state.sas.values().filter(|sa| matches!(sa.direction, SaDirection::Out { .. })).collect()
}

/// The rules of a chain, or none when there is no such chain.
pub(crate) fn chain<'a>(state: &'a State, name: &str) -> Vec<&'a str> {
    let chains = state.nft.iter().flat_map(|table| &table.chains);
    let rules = chains.filter(|chain| chain.name == name).flat_map(|chain| &chain.rules);
    rules.map(|rule| rule.0.as_str()).collect()
}

/// The table a rule leads to.
pub(crate) fn looks_up(rule: &Rule) -> Option<ippriv::id::TableId> {
    match rule.action {
        RuleAction::Lookup(table) => Some(table),
        RuleAction::Unreachable => None,
    }
}
