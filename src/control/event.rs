use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::command::{Rekey, RekeyWhat};
use super::private::Private;
use super::reply::{Reloaded, Stopping};
use crate::id::ProcessId;
use crate::telescope::{CircuitNumber, HopNumber};

/// Something that people and programs may want to know. In JSON, its kind is the field `event`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The daemon serves.
    Started {
        /// Its version.
        version: String,
        /// How many circuits, overlays and relayed layers it found alive and took over.
        adopted: u64,
    },
    /// The daemon begins to stop.
    Stopping {
        /// How.
        how: Stopping,
    },
    /// A circuit of this client is being built.
    CircuitBuilding {
        /// Which.
        circuit: CircuitNumber,
        /// What people call it.
        name: Option<String>,
        /// The relays, entry first.
        hops: Vec<String>,
    },
    /// A circuit reaches one relay further.
    HopDone {
        /// Which circuit.
        circuit: CircuitNumber,
        /// The layer: 1 ends at the entry.
        hop: u8,
        /// The relay where it ends.
        relay: String,
    },
    /// A circuit carries packets.
    CircuitOpen {
        /// Which.
        circuit: CircuitNumber,
        /// How long it took to build, in milliseconds.
        took_ms: u64,
    },
    /// A circuit could not be built or is broken.
    CircuitFailed {
        /// Which.
        circuit: CircuitNumber,
        /// The layer at fault, if one is: 1 ends at the entry.
        hop: Option<u8>,
        /// Why, in words.
        reason: String,
    },
    /// A circuit is gone.
    CircuitClosed {
        /// Which.
        circuit: CircuitNumber,
        /// Why, in words.
        reason: String,
    },
    /// A process in another network namespace uses a circuit instead of this host.
    CircuitLent {
        /// Which.
        circuit: CircuitNumber,
        /// The process.
        process: ProcessId,
    },
    /// It does so no more: it has no network then.
    CircuitReturned {
        /// Which.
        circuit: CircuitNumber,
        /// The process.
        process: ProcessId,
        /// Why, in words.
        reason: String,
    },
    /// An overlay to a neighbour carries packets.
    OverlayUp {
        /// The neighbour.
        relay: String,
    },
    /// An overlay to a neighbour carries no packets any more.
    OverlayDown {
        /// The neighbour.
        relay: String,
        /// Why, in words.
        reason: String,
    },
    /// A layer of somebody's circuit ends at this relay now.
    RelayCircuitUp {
        /// Its number at this relay.
        layer: HopNumber,
        /// Where it comes from.
        peer: Private<IpAddr>,
    },
    /// A layer of somebody's circuit ends here no more.
    RelayCircuitDown {
        /// Its number at this relay.
        layer: HopNumber,
        /// Why, in words.
        reason: String,
    },
    /// A peer sends from another address now, such as a client whose NAT gave it another port.
    RelayPeerMoved {
        /// The layer's number at this relay.
        layer: HopNumber,
        /// Where it comes from now.
        peer: Private<SocketAddr>,
    },
    /// Somebody's handshake was refused.
    HandshakeRefused {
        /// Whose.
        peer: Private<SocketAddr>,
        /// Why, in words without addresses or identities.
        reason: String,
    },
    /// SAs of this host have new keys.
    Rekeyed(Rekey),
    /// A layer that ends at this relay has new keys.
    RelayRekeyed {
        /// Its number at this relay.
        layer: HopNumber,
        /// Which SA.
        what: RekeyWhat,
    },
    /// This client's own address is another now.
    AddressChanged {
        /// Whether it has one.
        online: bool,
    },
    /// The kernel refused something, and what depended on it was given up.
    KernelRefused {
        /// What.
        operation: String,
        /// Why, in the kernel's words.
        error: String,
    },
    /// Policy and network were read again and hold now.
    ReloadDone(Reloaded),
    /// They were read again and refused; nothing has changed.
    ReloadRefused {
        /// Why, with file and line.
        reason: String,
    },
    /// Events were left out, because whoever reads them is too slow.
    Lost {
        /// How many.
        events: u64,
    },
}

/// How much an event matters. The same as levels of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everyday detail.
    Debug,
    /// What a person following the log wants to see.
    Info,
    /// Something does not work that should.
    Warn,
}

impl Event {
    /// How much it matters. A relay's traffic is everyday: at INFO it would tell when clients come and go.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            Self::HopDone { .. }
            | Self::RelayCircuitUp { .. }
            | Self::RelayCircuitDown { .. }
            | Self::RelayPeerMoved { .. }
            | Self::HandshakeRefused { .. }
            | Self::Rekeyed(_)
            | Self::RelayRekeyed { .. } => Level::Debug,
            Self::Started { .. }
            | Self::Stopping { .. }
            | Self::CircuitBuilding { .. }
            | Self::CircuitOpen { .. }
            | Self::CircuitClosed { .. }
            | Self::CircuitLent { .. }
            | Self::CircuitReturned { .. }
            | Self::OverlayUp { .. }
            | Self::AddressChanged { .. }
            | Self::ReloadDone(_) => Level::Info,
            Self::CircuitFailed { .. }
            | Self::OverlayDown { .. }
            | Self::KernelRefused { .. }
            | Self::ReloadRefused { .. }
            | Self::Lost { .. } => Level::Warn,
        }
    }
}

/// An event as the shell hands it on: one line of `GET /v1/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped {
    /// When, in RFC 3339 with milliseconds, UTC.
    pub time: String,
    /// Counts from 1 at each start of the daemon; a gap means lost events.
    pub sequence: u64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}
