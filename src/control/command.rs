use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::id::ProcessId;
use crate::telescope::CircuitNumber;

/// What somebody asks of the daemon's core. Reloading and stopping are the shell's, which has the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// How it is: answered by [`Reply::Status`](super::Reply::Status).
    Status,
    /// Build a circuit: answered by [`Reply::Circuit`](super::Reply::Circuit).
    CircuitNew(NewCircuit),
    /// All circuits of this host as a client: [`Reply::Circuits`](super::Reply::Circuits).
    CircuitList,
    /// One of them: [`Reply::Circuit`](super::Reply::Circuit).
    CircuitShow(CircuitNumber),
    /// Close one, orderly: [`Reply::Done`](super::Reply::Done) when it is gone.
    CircuitClose(CircuitNumber),
    /// Let a process in another network namespace use one: [`Reply::Circuit`](super::Reply::Circuit) when its
    /// interface is there.
    CircuitLend(Lend),
    /// Take one back: [`Reply::Done`](super::Reply::Done) when this host has it again, or it is closed.
    CircuitReturn {
        /// The circuit.
        circuit: CircuitNumber,
        /// Who has it.
        process: ProcessId,
    },
    /// All relays of the network: [`Reply::Relays`](super::Reply::Relays).
    RelayList,
    /// One of them, by name: [`Reply::Relay`](super::Reply::Relay).
    RelayShow(String),
    /// This relay's overlays to its neighbours: [`Reply::Overlays`](super::Reply::Overlays).
    OverlayList,
    /// Give an SA new keys before it is due: [`Reply::Done`](super::Reply::Done) when the new ones serve.
    Rekey(Rekey),
}

/// A circuit to be built. What is left out is chosen by the policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewCircuit {
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The relays by name, entry first. Excludes `length`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hops: Option<Vec<String>>,
    /// How many relays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<u8>,
    /// Destinations that go through it. None: only sockets bound to its address or interface do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<IpNet>,
    /// Whether to answer only when the circuit is open or has failed, instead of at once.
    pub wait: bool,
}

/// A circuit to be lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lend {
    /// The circuit.
    pub circuit: CircuitNumber,
    /// Whose network namespace its interface goes to; it comes back when that process ends.
    pub process: ProcessId,
    /// Whether it is closed when it comes back.
    pub close: bool,
}

/// What gets new keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rekey {
    /// Whose SA.
    pub target: RekeyTarget,
    /// Which of its SAs.
    pub what: RekeyWhat,
}

/// Whose SA gets new keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RekeyTarget {
    /// A layer of a circuit of this host as a client.
    Circuit {
        /// The circuit.
        circuit: CircuitNumber,
        /// The layer: 1 ends at the entry.
        hop: u8,
    },
    /// An overlay of this relay.
    Overlay {
        /// The neighbour's name.
        relay: String,
    },
}

/// Which SA gets new keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RekeyWhat {
    /// The ESP SAs, both ways (RFC 7296 §1.3.3).
    Child,
    /// The IKE SA (RFC 7296 §1.3.2).
    Ike,
}
