//! One circuit: where it stands, and the layers it has.

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::super::CommandId;
use super::super::relay::ports;
use super::super::tunnel::Tunnel;
use super::Lent;
use super::verdict::Suspect;
use crate::ike::{EspPorts, SaHandle, SocketId};
use crate::network::Name;
use crate::policy;
use crate::telescope::{self, CircuitNumber, Hop, Telescope};
use crate::time::Instant;

/// Where a circuit stands.
///
/// ```text
///           ┌──────────────────── retry ───────────────────┐
///           ▼                                              │
///  Idle → Building ──all hops──► Open ──┐                  │
///           └─────failure───────────────┴► Closing ──► Idle│(failed)
///                                              └─► gone (closed by a person)
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::node) enum Stage {
    /// Nothing of it exists; it is begun at this time, if at all.
    Idle(Option<Instant>),
    /// It grows hop by hop.
    Building {
        /// When the current hop is given up.
        hop: Option<Instant>,
        /// When all is given up.
        circuit: Instant,
    },
    /// It carries traffic.
    Open,
    /// The relays are being told, from the exit inwards; nothing passes any more.
    Closing {
        /// When that is given up.
        until: Instant,
    },
}

/// What becomes of a circuit once it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) enum Afterwards {
    /// It is built again.
    Rebuild,
    /// It stays, as failed.
    Stay,
    /// It is forgotten.
    Forget,
}

/// A relay of a circuit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::node) struct Stop {
    /// Its name.
    pub(in crate::node) name: Name,
    /// Its address.
    pub(in crate::node) address: IpAddr,
}

/// A layer of a circuit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::node) struct HopState {
    /// Its IKE SA.
    pub(in crate::node) sa: SaHandle,
    /// The socket that its IKE uses.
    #[serde(skip, default = "no_socket")]
    pub(in crate::node) socket: SocketId,
    /// The relay's address.
    pub(in crate::node) relay: IpAddr,
    /// What the relay handed out.
    pub(in crate::node) address: Option<IpAddr>,
    /// The same of IPv6 at the exit.
    pub(in crate::node) address6: Option<Ipv6Addr>,
    /// The name servers that it told of, if it is the exit.
    #[serde(default)]
    pub(in crate::node) dns: Vec<IpAddr>,
    /// UDP encapsulation, of the first layer.
    pub(in crate::node) encapsulation: Option<EspPorts>,
    /// Its SAs.
    pub(in crate::node) tunnel: Tunnel,
    /// Whether the kernel has it.
    pub(in crate::node) done: bool,
}

const fn no_socket() -> SocketId {
    SocketId(u32::MAX)
}

/// A circuit of this client.
#[derive(Debug, Clone)]
pub(in crate::node) struct Circuit {
    /// Its number.
    pub(in crate::node) number: CircuitNumber,
    /// What was asked for.
    pub(in crate::node) spec: policy::Circuit,
    /// The relays it passes, once they are chosen.
    pub(in crate::node) path: Vec<Stop>,
    /// The layers it has, the last one perhaps under construction.
    pub(in crate::node) hops: Vec<HopState>,
    /// Where it stands.
    pub(in crate::node) stage: Stage,
    /// Since when.
    pub(in crate::node) since: Instant,
    /// When its building began.
    pub(in crate::node) began: Instant,
    /// Why it failed last.
    pub(in crate::node) reason: Option<String>,
    /// What becomes of it once it is closed.
    pub(in crate::node) afterwards: Afterwards,
    /// Who waits until it is open.
    pub(in crate::node) waiting: Vec<CommandId>,
    /// Who waits until it is closed.
    pub(in crate::node) closing: Vec<CommandId>,
    /// How often it failed in a row.
    pub(in crate::node) failures: u32,
    /// The relay that does not answer, while it is open.
    pub(super) suspect: Option<Suspect>,
    /// Who uses it instead of this host.
    pub(in crate::node) lent: Option<Lent>,
}

impl Circuit {
    /// A circuit that is not begun.
    pub(super) const fn new(number: CircuitNumber, spec: policy::Circuit, now: Instant) -> Self {
        let afterwards = match spec.rebuild {
            policy::Rebuild::Always => Afterwards::Rebuild,
            policy::Rebuild::Never => Afterwards::Stay,
        };
        Self {
            number,
            spec,
            path: Vec::new(),
            hops: Vec::new(),
            stage: Stage::Idle(None),
            since: now,
            began: now,
            reason: None,
            afterwards,
            waiting: Vec::new(),
            closing: Vec::new(),
            failures: 0,
            suspect: None,
            lent: None,
        }
    }

    /// A circuit that was open before a restart; its layers are to be added.
    pub(in crate::node) fn open(
        number: CircuitNumber,
        spec: policy::Circuit,
        lasting: bool,
        path: Vec<Stop>,
        now: Instant,
    ) -> Self {
        let mut circuit = Self::new(number, spec, now);
        if !lasting {
            circuit.afterwards = Afterwards::Forget;
        }
        circuit.path = path;
        circuit.stage = Stage::Open;
        circuit
    }

    /// Takes over what a daemon before this one was finding out, if layers are missing.
    pub(in crate::node) fn suspect_missing(&mut self, now: Instant) {
        let missing = self.hops.len() < self.path.len();
        self.suspect = missing.then(|| Suspect::inherited(self.hops.len(), now));
    }

    /// Whether it is one of the policy's, and not one that somebody asked for since.
    pub(in crate::node) fn lasting(&self) -> bool {
        self.afterwards != Afterwards::Forget
    }

    /// Whether it carries traffic, as far as is known.
    pub(in crate::node) fn is_open(&self) -> bool {
        self.stage == Stage::Open && self.suspect.is_none()
    }

    /// Enters a stage.
    pub(super) fn enter(&mut self, stage: Stage, now: Instant) {
        self.suspect = None;
        self.stage = stage;
        self.since = now;
    }

    /// The name of the relay at a hop, counted from 0.
    pub(super) fn relay_name(&self, hop: usize) -> String {
        self.path.get(hop).map(|stop| stop.name.to_string()).unwrap_or_default()
    }

    /// The circuit as the kernel is to hold it, or `None` while there is nothing of it.
    pub(in crate::node) fn telescope(&self) -> Option<Telescope> {
        let done = self.hops.iter().take_while(|hop| hop.tunnel.keys().is_some()).count();
        // a circuit that lost a layer is not a shorter circuit: its traffic would leave at another relay
        let open = self.stage == Stage::Open && done == self.path.len();
        let stage = match self.stage {
            Stage::Idle(_) => return None,
            Stage::Open if open && self.lent.is_some() => telescope::Stage::Lent,
            Stage::Open if open => telescope::Stage::Open,
            // a relay whose layer is gone already has to hear of it through the layers before it
            Stage::Open | Stage::Closing { .. } => {
                telescope::Stage::Building { next: self.hops.get(done).map(|hop| hop.relay) }
            }
            Stage::Building { .. } => {
                telescope::Stage::Building { next: self.path.get(done).map(|stop| stop.address) }
            }
        };
        let hops = self.hops.iter().map_while(|hop| {
            Some(Hop {
                relay: hop.relay,
                address: hop.address?,
                address6: hop.address6,
                keys: hop.tunnel.keys()?,
                encapsulation: hop.encapsulation.map(ports),
            })
        });
        let traffic = if stage == telescope::Stage::Open { self.spec.traffic.clone() } else { Vec::new() };
        Some(Telescope {
            number: self.number,
            hops: hops.collect(),
            traffic,
            mtu: self.spec.mtu,
            options: self.spec.options.clone(),
            stage,
        })
    }

    /// When it has something to do.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match self.stage {
            Stage::Idle(due) => due,
            Stage::Building { hop, circuit } => Some(hop.map_or(circuit, |hop| hop.min(circuit))),
            Stage::Open => self.suspect.as_ref().map(|suspect| suspect.look),
            Stage::Closing { until } => Some(until),
        }
    }
}
