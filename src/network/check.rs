//! Whether what a document says makes sense, whoever signed it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{BadTrust, Document, IdentityKey, Name, Neighbours, Relay, Role, Software, Trust, UnixTime};

/// Relays of one network: a relay tells its neighbours apart by 4095 numbers.
pub const MAX_RELAYS: usize = 4096;

/// What makes no sense in a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// An end before the beginning.
    #[error("valid_until {until}: expected a time after valid_from {from}")]
    Validity {
        /// The beginning.
        from: UnixTime,
        /// The end.
        until: UnixTime,
    },
    /// Operators or a threshold that make no sense.
    #[error(transparent)]
    Operators(#[from] BadTrust),
    /// More relays than can be told apart.
    #[error("{found} relays: expected at most {MAX_RELAYS}")]
    TooManyRelays {
        /// How many there are.
        found: usize,
    },
    /// Two relays that share what must tell them apart.
    #[error("relay {relay}: {what} is also of relay {other}: expected its own")]
    Shared {
        /// The later one.
        relay: Name,
        /// The earlier one.
        other: Name,
        /// What they share.
        what: Shared,
    },
    /// An address at which nobody is reached.
    #[error("relay {relay}: address {address}: expected one that others can reach")]
    Unreachable {
        /// The relay.
        relay: Name,
        /// Its address.
        address: IpAddr,
    },
    /// A pool with bits set behind its prefix.
    #[error("relay {relay}: pool {found}: expected {expected}")]
    PoolBits {
        /// The relay.
        relay: Name,
        /// Its pool.
        found: IpNet,
        /// The pool without those bits.
        expected: IpNet,
    },
    /// A pool too small to hand anything out, or so large that it is a mistake.
    #[error("relay {relay}: pool {pool}: expected a prefix of 8 to 30 bits for IPv4, of 32 to 126 for IPv6")]
    PoolSize {
        /// The relay.
        relay: Name,
        /// Its pool.
        pool: IpNet,
    },
    /// Pools that overlap, so that an address has two owners.
    #[error(
        "relay {relay}: pool {pool} overlaps pool {other_pool} of relay {other}: expected disjoint pools"
    )]
    PoolsOverlap {
        /// One relay.
        relay: Name,
        /// Its pool.
        pool: IpNet,
        /// The other relay.
        other: Name,
        /// Its pool.
        other_pool: IpNet,
    },
    /// A public address that is also handed out.
    #[error(
        "relay {relay}: address {address} is in pool {pool} of relay {other}: expected one outside of all pools"
    )]
    AddressInPool {
        /// The relay.
        relay: Name,
        /// Its public address.
        address: IpAddr,
        /// Whose pool it is in.
        other: Name,
        /// The pool.
        pool: IpNet,
    },
    /// An ippriv relay with a key that ipprivd does not sign with.
    #[error("relay {relay}: identity of kind {found}: expected ed25519 for software ippriv")]
    IdentityKind {
        /// The relay.
        relay: Name,
        /// The kind of its key.
        found: &'static str,
    },
    /// A relay without a place in circuits.
    #[error("relay {relay}: no roles: expected some of entry, middle, exit")]
    NoRole {
        /// The relay.
        relay: Name,
    },
    /// An exit that does not say what leaves.
    #[error("relay {relay}: role exit without `exit`: expected `exit: {{}}` or the ports that leave")]
    ExitUnsaid {
        /// The relay.
        relay: Name,
    },
    /// Something leaves at a relay that is no exit.
    #[error("relay {relay}: `exit` without role exit: expected both or none")]
    NoExit {
        /// The relay.
        relay: Name,
    },
    /// An exit where nothing leaves.
    #[error("relay {relay}: an exit with no ports: expected some of TCP or UDP")]
    ExitOfNothing {
        /// The relay.
        relay: Name,
    },
    /// A neighbour that is no relay of the document, or the relay itself.
    #[error("relay {relay}: neighbour {neighbour}: expected another relay of this document")]
    Stranger {
        /// The relay.
        relay: Name,
        /// What it names.
        neighbour: Name,
    },
    /// A neighbour that does not want to be one.
    #[error("relay {relay}: neighbour {neighbour} does not have it as neighbour: expected both or none")]
    OneSided {
        /// The relay.
        relay: Name,
        /// What it names.
        neighbour: Name,
    },
}

/// What no two relays may share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Shared {
    /// The name.
    #[error("name {0}")]
    Name(Name),
    /// A public address.
    #[error("address {0}")]
    Address(IpAddr),
    /// The identity key.
    #[error("identity")]
    Identity,
}

/// An error, and which relay of the list it is about.
pub(super) type Found = (Option<usize>, Invalid);

impl Document {
    /// Checks that it makes sense, as reading does; for documents that were made and not read.
    ///
    /// # Errors
    /// [`Invalid`] for the first thing that does not.
    pub fn check(&self) -> Result<(), Invalid> {
        self.find_invalid().map_err(|(_, invalid)| invalid)
    }

    pub(super) fn find_invalid(&self) -> Result<(), Found> {
        if self.valid_from >= self.valid_until {
            return Err((None, Invalid::Validity { from: self.valid_from, until: self.valid_until }));
        }
        Trust::new(self.operators.clone(), self.threshold).map_err(|bad| (None, bad.into()))?;
        if self.relays.len() > MAX_RELAYS {
            return Err((None, Invalid::TooManyRelays { found: self.relays.len() }));
        }
        for (at, relay) in self.relays.iter().enumerate() {
            relay.check().map_err(|invalid| (Some(at), invalid))?;
        }
        self.find_shared()?;
        self.find_overlap()?;
        self.find_bad_neighbour()
    }

    fn find_shared(&self) -> Result<(), Found> {
        let mut names = BTreeMap::new();
        let mut addresses: BTreeMap<IpAddr, &Relay> = BTreeMap::new();
        let mut identities = BTreeMap::new();
        for (at, relay) in self.relays.iter().enumerate() {
            let shared = |other: &Relay, what| {
                (Some(at), Invalid::Shared { relay: relay.name.clone(), other: other.name.clone(), what })
            };
            if let Some(other) = names.insert(&relay.name, relay) {
                return Err(shared(other, Shared::Name(relay.name.clone())));
            }
            for address in relay.addresses() {
                if let Some(other) = addresses.insert(address, relay) {
                    return Err(shared(other, Shared::Address(address)));
                }
            }
            if let Some(other) = identities.insert(&relay.identity, relay) {
                return Err(shared(other, Shared::Identity));
            }
        }
        Ok(())
    }

    /// Prefixes either nest or are disjoint, so that in order of address each need only be compared with the
    /// one before, as long as no two before it overlap.
    fn find_overlap(&self) -> Result<(), Found> {
        let mut pools: Vec<(IpNet, usize)> = Vec::with_capacity(self.relays.len());
        for (at, relay) in self.relays.iter().enumerate() {
            pools.extend(relay.pools().map(|pool| (pool, at)));
        }
        pools.sort_unstable();
        for pair in pools.windows(2) {
            let [(first, owner), (second, other)] = *pair else { continue };
            if first.contains(&second) {
                let (later, earlier) = if owner > other { (owner, other) } else { (other, owner) };
                let (pool, other_pool) = if owner > other { (first, second) } else { (second, first) };
                let (relay, other) = (self.relays[later].name.clone(), self.relays[earlier].name.clone());
                return Err((Some(later), Invalid::PoolsOverlap { relay, pool, other, other_pool }));
            }
        }
        for (at, relay) in self.relays.iter().enumerate() {
            for address in relay.addresses() {
                let after = pools.partition_point(|(pool, _)| pool.addr() <= address);
                let Some((pool, owner)) = after.checked_sub(1).and_then(|last| pools.get(last)) else {
                    continue;
                };
                if pool.contains(&address) {
                    let (relay, other) = (relay.name.clone(), self.relays[*owner].name.clone());
                    return Err((Some(at), Invalid::AddressInPool { relay, address, other, pool: *pool }));
                }
            }
        }
        Ok(())
    }

    fn find_bad_neighbour(&self) -> Result<(), Found> {
        let relays: BTreeMap<&Name, &Relay> = self.relays.iter().map(|relay| (&relay.name, relay)).collect();
        for (at, relay) in self.relays.iter().enumerate() {
            let Neighbours::Only(names) = &relay.neighbours else { continue };
            for neighbour in names {
                let (relay, named) = (&relay.name, neighbour.clone());
                let Some(other) = relays.get(neighbour).filter(|other| other.name != *relay) else {
                    return Err((Some(at), Invalid::Stranger { relay: relay.clone(), neighbour: named }));
                };
                if !other.wants(relay) {
                    return Err((Some(at), Invalid::OneSided { relay: relay.clone(), neighbour: named }));
                }
            }
        }
        Ok(())
    }
}

impl Relay {
    /// Its public addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        std::iter::once(IpAddr::V4(self.address)).chain(self.address6.map(IpAddr::V6))
    }

    /// The prefixes it hands addresses out of.
    pub fn pools(&self) -> impl Iterator<Item = IpNet> {
        std::iter::once(IpNet::V4(self.pool)).chain(self.pool6.map(IpNet::V6))
    }

    /// Checks what needs no other relay.
    fn check(&self) -> Result<(), Invalid> {
        let relay = || self.name.clone();
        if let Some(address) = self.addresses().find(|address| !reachable(*address)) {
            return Err(Invalid::Unreachable { relay: relay(), address });
        }
        for pool in self.pools() {
            if pool.addr() != pool.network() {
                return Err(Invalid::PoolBits { relay: relay(), found: pool, expected: pool.trunc() });
            }
            let sizes = if pool.addr().is_ipv4() { 8..=30 } else { 32..=126 };
            if !sizes.contains(&pool.prefix_len()) {
                return Err(Invalid::PoolSize { relay: relay(), pool });
            }
        }
        if self.software == Software::Ippriv && !matches!(self.identity, IdentityKey::Ed25519(_)) {
            return Err(Invalid::IdentityKind { relay: relay(), found: self.identity.kind() });
        }
        check_exit(&self.name, &self.roles, self.exit.as_ref())
    }
}

fn check_exit(
    relay: &Name,
    roles: &BTreeSet<Role>,
    exit: Option<&super::ExitSummary>,
) -> Result<(), Invalid> {
    let relay = relay.clone();
    if roles.is_empty() {
        return Err(Invalid::NoRole { relay });
    }
    let none = |ports: &Option<Vec<(u16, u16)>>| ports.as_ref().is_some_and(Vec::is_empty);
    match exit {
        None if roles.contains(&Role::Exit) => Err(Invalid::ExitUnsaid { relay }),
        Some(_) if !roles.contains(&Role::Exit) => Err(Invalid::NoExit { relay }),
        Some(exit) if none(&exit.tcp_ports) && none(&exit.udp_ports) => Err(Invalid::ExitOfNothing { relay }),
        _ => Ok(()),
    }
}

/// Private addresses are somebody's in their own network, and so they pass.
fn reachable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let other = address.is_loopback() || address.is_multicast() || address.is_link_local();
            !(other || address == Ipv4Addr::BROADCAST || address.octets()[0] == 0)
        }
        IpAddr::V6(address) => {
            let other = address.is_loopback() || address.is_multicast() || address.is_unicast_link_local();
            !(other || address == Ipv6Addr::UNSPECIFIED || address.to_ipv4_mapped().is_some())
        }
    }
}
