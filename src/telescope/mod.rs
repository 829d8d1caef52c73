//! Telescopes and the relays they pass, and the kernel state each role needs for them.
//!
//! ```text
//!  S ──────────────── A ═══════════════ B ═══════════════ C ──── D
//!    layer 1  S→A       overlay A=B       overlay B=C       NAT
//!    layer 2  S_A→B     (long-term ESP between relays; hides telescope SPIs)
//!    layer 3  S_B→C
//!  inner packet: S_C → D
//! ```
//!
//! `S_A`, `S_B`, `S_C` are the private addresses that A, B, C hand to S. The design follows Kiraly, Bianchi
//! and Lo Cigno, "Solving performance issues in anonymization overlays with a L3 approach" (2008).

mod client;
mod exit;
mod firewall;
mod lent;
pub mod mtu;
mod numbers;
mod relay;

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

pub use exit::ExitPolicy;
pub use numbers::{CircuitNumber, HopNumber, LOOKING_OUT, NeighbourNumber};
pub use relay::settings;

use crate::id::{Mtu, Spi};
use crate::secret::KeyMaterial;
use crate::state::{RouteMetrics, State, UdpEncapsulation};
use crate::suite::{SequenceNumbers, Suite};

/// Relays a circuit may pass: `XFRM_MAX_DEPTH` is 6, and one transformation is left for the host's own use.
pub const MAX_HOPS: usize = 5;

/// SPI and key of one SA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaKeys {
    /// SPI.
    pub spi: Spi,
    /// Key material of [`Suite::key_length`] octets.
    pub key: KeyMaterial,
}

/// Both directions of a tunnel, as one end sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelKeys {
    /// Cipher suite of both directions.
    pub suite: Suite,
    /// Length of the sequence numbers of both directions.
    pub sequence: SequenceNumbers,
    /// The SA to send through.
    pub out: SaKeys,
    /// The SAs to receive through; more than one while keys are replaced, so that nothing is lost.
    pub r#in: Vec<SaKeys>,
}

/// One relay of a circuit, as the client knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The relay's public address, where this layer ends.
    pub relay: IpAddr,
    /// The address the relay handed out (`S_A`); the next layer starts from it.
    pub address: IpAddr,
    /// The IPv6 address it handed out, of use at the exit only.
    pub address6: Option<Ipv6Addr>,
    /// This layer's SAs.
    pub keys: TunnelKeys,
    /// UDP encapsulation, of use on the first hop only (client behind NAT).
    pub encapsulation: Option<UdpEncapsulation>,
}

/// A circuit, as its client knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telescope {
    /// Tells the client's circuits apart.
    pub number: CircuitNumber,
    /// The relays from entry to exit, 1 to [`MAX_HOPS`].
    pub hops: Vec<Hop>,
    /// Destinations that go through this circuit. Sockets bound to its address do so anyway.
    pub traffic: Vec<IpNet>,
    /// The MTU inside, or `None` for 1280 or what fits.
    pub mtu: Option<Mtu>,
    /// Options of connections through this circuit.
    pub options: RouteMetrics,
    /// How far it is, and who looks after its keys.
    pub stage: Stage,
}

/// How far a circuit is, and who looks after its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Complete, with keys from a file: there is no IKE with its relays.
    Static,
    /// Being built or taken down by IKE: nothing passes but IKE with the relays, each within the layers
    /// before it.
    Building {
        /// The relay to be reached through the layers so far.
        next: Option<IpAddr>,
    },
    /// Complete and carrying traffic, with IKE to its relays for new keys.
    Open,
    /// The same, but what it carries belongs to another network namespace: see [`Telescope::lent_link`].
    Lent,
}

impl Telescope {
    /// The tunnels around what the circuit carries, innermost first.
    #[must_use]
    pub fn layers(&self) -> Vec<mtu::Layer> {
        let layer = |hop: &Hop| mtu::Layer::to(hop.relay, hop.keys.suite, hop.encapsulation.is_some());
        self.hops.iter().rev().map(layer).collect()
    }

    /// Where the client's own packets go: the relay that sees its address.
    #[must_use]
    pub fn entry(&self) -> Option<IpAddr> {
        let next = match self.stage {
            Stage::Building { next } => next,
            Stage::Static | Stage::Open | Stage::Lent => None,
        };
        self.hops.first().map(|hop| hop.relay).or(next)
    }

    /// The relays that IKE reaches from inside the circuit, each with the number of layers around it.
    fn reached_by_ike(&self) -> impl Iterator<Item = (usize, IpAddr)> {
        let next = match self.stage {
            Stage::Static => return Vec::new().into_iter(),
            Stage::Building { next } => next,
            Stage::Open | Stage::Lent => None,
        };
        let all = self.hops.iter().map(|hop| hop.relay).chain(next);
        all.enumerate().skip(1).collect::<Vec<_>>().into_iter()
    }

    const fn carries_traffic(&self) -> bool {
        matches!(self.stage, Stage::Static | Stage::Open | Stage::Lent)
    }
}

/// The client role of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The address the entry relays see.
    pub address: IpAddr,
    /// The MTU of the path to the entry.
    pub path_mtu: Mtu,
    /// Whether everything that no circuit carries is dropped.
    pub kill_switch: bool,
    /// Destinations reached outside the circuits even so: management, the local network.
    pub allow: Vec<IpNet>,
    /// Destinations that are unreachable as long as no circuit carries them: those of circuits that are to
    /// be, while they are being built or after they failed.
    pub guarded: Vec<IpNet>,
    /// Its circuits.
    pub circuits: Vec<Telescope>,
}

/// A long-term overlay tunnel to another relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Tells the neighbours apart.
    pub number: NeighbourNumber,
    /// Its public address.
    pub address: IpAddr,
    /// The pools it hands addresses out of.
    pub pool: IpNet,
    /// The overlay's SAs; without them it is there and carries nothing.
    pub keys: Option<TunnelKeys>,
    /// Pads every packet of the overlay to this size in octets.
    pub tfc_padding: Option<u32>,
}

/// A relay's part of one circuit: the layer that ends here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayCircuit {
    /// Tells the relay's circuits apart.
    pub number: HopNumber,
    /// Where this layer comes from: the client for an entry, else the address the relay before handed out.
    pub peer: IpAddr,
    /// The address handed out to the client.
    pub address: IpAddr,
    /// The IPv6 address handed out to the client.
    pub address6: Option<Ipv6Addr>,
    /// The layer's SAs.
    pub keys: TunnelKeys,
    /// UDP encapsulation, for a client behind NAT.
    pub encapsulation: Option<UdpEncapsulation>,
}

/// The relay role of a host: entry, middle and, with an exit policy, exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Its public address.
    pub address: IpAddr,
    /// The addresses it hands out.
    pub pool: IpNet,
    /// The IPv6 addresses it hands out, for an exit.
    pub pool6: Option<IpNet>,
    /// What leaves the overlay here; `None` when nothing does.
    pub exit: Option<ExitPolicy>,
    /// The relays it has overlay tunnels with.
    pub neighbours: Vec<Neighbour>,
    /// The circuits that pass.
    pub circuits: Vec<RelayCircuit>,
}

/// Everything ippriv is to do on one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// The client role, if it has it.
    pub client: Option<Client>,
    /// The relay role, if it has it.
    pub relay: Option<Relay>,
}

/// A setting of the host that ippriv needs but does not own, so that it asks instead of changing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Path below `/proc/sys`.
    pub path: &'static str,
    /// The value it must have.
    pub value: &'static str,
    /// What it is needed for.
    pub reason: &'static str,
}

/// What the kernel of a host has to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Our objects.
    pub state: State,
    /// What others must have set.
    pub requirements: Vec<Requirement>,
}

/// Why a model makes no sense, in the user's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A circuit with no or too many relays.
    #[error(
        "circuit {circuit}: {found} hops: expected 1 to {MAX_HOPS} (the kernel nests at most 6 transformations)"
    )]
    HopCount {
        /// The circuit.
        circuit: CircuitNumber,
        /// How many there are.
        found: usize,
    },
    /// Key material of the wrong length.
    #[error("{whose}: key of {found} octets: expected {expected} for {suite}")]
    KeyLength {
        /// Whose key.
        whose: String,
        /// Its length.
        found: usize,
        /// The length expected.
        expected: usize,
        /// The suite.
        suite: Suite,
    },
    /// A tunnel without any SA to receive through.
    #[error("{whose}: no inbound SA: expected at least one")]
    NoInbound {
        /// Whose tunnel.
        whose: String,
    },
    /// Two SAs with the same SPI and destination, two circuits with the same number, and the like.
    #[error("{what} is there twice: expected it once")]
    Twice {
        /// What is doubled.
        what: String,
    },
    /// An address that must come from a pool and does not.
    #[error("{whose}: address {address}: expected one of the pool {pool}")]
    OutsidePool {
        /// Whose address.
        whose: String,
        /// The address.
        address: IpAddr,
        /// The pool.
        pool: IpNet,
    },
    /// An IPv6 address of a relay that hands none out.
    #[error("{whose}: address {address}: expected a relay with an IPv6 pool")]
    NoPool6 {
        /// Whose address.
        whose: String,
        /// The address.
        address: IpAddr,
    },
    /// Pools that overlap, so that an address has two owners.
    #[error("pool {first} overlaps pool {second}: expected disjoint pools")]
    PoolsOverlap {
        /// One.
        first: IpNet,
        /// The other.
        second: IpNet,
    },
    /// Addresses of both families where one is needed.
    #[error("{whose}: {left} and {right}: expected addresses of one family")]
    FamiliesDiffer {
        /// Whose.
        whose: String,
        /// One address.
        left: IpAddr,
        /// The other.
        right: IpAddr,
    },
    /// An MTU that does not fit the path, or not IPv6.
    #[error(transparent)]
    Mtu(#[from] mtu::DoesNotFit),
}

impl Host {
    /// The kernel state this host needs.
    ///
    /// # Errors
    /// [`Refused`] when the model contradicts itself or cannot work.
    pub fn desired(&self) -> Result<Desired, Refused> {
        let mut desired = Desired::default();
        let mut firewall = firewall::Firewall::default();
        if let Some(client) = &self.client {
            client.compile(&mut desired)?;
        }
        if let Some(relay) = &self.relay {
            relay.compile(&mut desired, &mut firewall)?;
            if self.client.is_some() {
                relay.beside_client(&mut desired.state);
            }
        }
        // last, for the kill switch ends in drop
        if let Some(client) = &self.client {
            firewall.client(client, self.relay.as_ref());
        }
        desired.state.nft = firewall.into_table();
        Ok(desired)
    }
}

/// Adds `object` under `key`, or says that it is there already.
fn insert_once<K: Ord + std::fmt::Display, V>(
    map: &mut std::collections::BTreeMap<K, V>,
    key: K,
    object: V,
) -> Result<(), Refused> {
    if map.contains_key(&key) {
        return Err(Refused::Twice { what: key.to_string() });
    }
    map.insert(key, object);
    Ok(())
}

impl TunnelKeys {
    /// Checks the lengths of all keys.
    fn check(&self, whose: impl Fn() -> String) -> Result<(), Refused> {
        let expected = self.suite.key_length();
        let mut keys = std::iter::once(&self.out).chain(&self.r#in).map(|sa| sa.key.len());
        if let Some(found) = keys.find(|&found| found != expected) {
            return Err(Refused::KeyLength { whose: whose(), found, expected, suite: self.suite });
        }
        if self.r#in.is_empty() {
            return Err(Refused::NoInbound { whose: whose() });
        }
        Ok(())
    }
}

/// Whether two addresses are of one family.
fn same_family(whose: impl Fn() -> String, left: IpAddr, right: IpAddr) -> Result<(), Refused> {
    if left.is_ipv4() == right.is_ipv4() {
        Ok(())
    } else {
        Err(Refused::FamiliesDiffer { whose: whose(), left, right })
    }
}
