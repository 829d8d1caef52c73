//! What a node remembers, so that the next one takes over what the kernel still forwards.
//!
//! A record holds a whole connection: its IKE SA and what it is for. Records are written before anything is
//! sent that relies on them, and only for what stands: what was being built when the daemon died is built
//! again.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::client::{Circuit, HopState, Lent, Stage, Stop};
use super::overlay::Phase;
use super::relay::Layer;
use super::tunnel::Tunnel;
use super::{Node, Output, Purpose, Record};
use crate::id::Mtu;
use crate::ike::{self, ChildKeys, SaHandle, Snapshot};
use crate::network::Name;
use crate::policy::{Circuit as Spec, Hops, Rebuild};
use crate::state::RouteMetrics;
use crate::telescope::{CircuitNumber, NeighbourNumber};

/// A layer that ends here.
#[derive(Serialize, Deserialize)]
struct LayerRecord {
    ike: Snapshot,
    layer: Layer,
}

/// An overlay that stands.
#[derive(Serialize, Deserialize)]
struct OverlayRecord {
    ike: Snapshot,
    number: NeighbourNumber,
    tunnel: Tunnel,
}

/// A circuit that is open.
#[derive(Serialize, Deserialize)]
struct CircuitRecord {
    number: CircuitNumber,
    name: Name,
    lasting: bool,
    traffic: Vec<IpNet>,
    mtu: Option<Mtu>,
    advmss: Option<u32>,
    initcwnd: Option<u32>,
    congestion_control: Option<String>,
    path: Vec<Stop>,
    hops: Vec<HopState>,
    ike: Vec<Snapshot>,
    entry_address: std::net::IpAddr,
    #[serde(default)]
    lent: Option<Lent>,
}

const LAYER: &str = "layer/";
const OVERLAY: &str = "overlay/";
const CIRCUIT: &str = "circuit/";
const NEIGHBOUR: &str = "neighbour/";

/// The numbers that neighbours had, by name.
pub(super) fn neighbour_numbers(journal: &[Record]) -> BTreeMap<String, NeighbourNumber> {
    let number = |record: &Record| Some((record.key.strip_prefix(NEIGHBOUR)?.to_owned(), read(record)?));
    journal.iter().filter_map(number).collect()
}

fn read<T: serde::de::DeserializeOwned>(record: &Record) -> Option<T> {
    serde_json::from_slice(record.value.as_deref()?).ok()
}

impl Node {
    /// Remembers a connection as it is now.
    pub(super) fn journal(&mut self, sa: SaHandle) {
        match self.purposes.get(&sa).copied() {
            Some(Purpose::Layer(number)) => {
                let Some(ike) = self.ike.snapshot(sa) else { return };
                let Some(layer) = self.relay.as_ref().and_then(|role| role.layer(number)).cloned() else {
                    return;
                };
                self.write(format!("{LAYER}{number}"), &LayerRecord { ike, layer });
            }
            Some(Purpose::Overlay(number)) => {
                let Some(ike) = self.ike.snapshot(sa) else { return };
                let Some(overlay) = self.overlays.get_mut(number) else { return };
                if overlay.phase == Phase::Up(sa) {
                    let record = OverlayRecord { ike, number, tunnel: overlay.tunnel.clone() };
                    let key = format!("{OVERLAY}{}", overlay.name);
                    self.write(key, &record);
                }
            }
            Some(Purpose::Hop(circuit, _)) => self.journal_circuit(circuit),
            None => {}
        }
    }

    /// Remembers the number of a neighbour, which names its interface, or forgets it.
    pub(super) fn journal_neighbour(&mut self, name: &Name, number: Option<NeighbourNumber>) {
        let key = format!("{NEIGHBOUR}{name}");
        match number {
            Some(number) => self.write(key, &number),
            None => self.queue.push_back(Output::Journal(Record { key, value: None })),
        }
    }

    /// Remembers a circuit as it is now, if it is open.
    pub(super) fn journal_circuit(&mut self, number: CircuitNumber) {
        let Some(role) = &self.client else { return };
        let Some(entry_address) = role.address() else { return };
        let Some(circuit) = role.circuits().get(&number).filter(|circuit| circuit.stage == Stage::Open)
        else {
            return;
        };
        let ike: Option<Vec<Snapshot>> = circuit.hops.iter().map(|hop| self.ike.snapshot(hop.sa)).collect();
        let Some(ike) = ike else { return };
        let options = circuit.spec.options.clone();
        let record = CircuitRecord {
            number,
            name: circuit.spec.name.clone(),
            lasting: circuit.lasting(),
            traffic: circuit.spec.traffic.clone(),
            mtu: circuit.spec.mtu,
            advmss: options.advmss,
            initcwnd: options.initcwnd,
            congestion_control: options.congestion_control,
            path: circuit.path.clone(),
            hops: circuit.hops.clone(),
            ike,
            entry_address,
            lent: circuit.lent,
        };
        self.write(format!("{CIRCUIT}{number}"), &record);
    }

    /// Forgets a circuit.
    pub(super) fn forget_circuit(&mut self, number: CircuitNumber) {
        self.queue.push_back(Output::Journal(Record { key: format!("{CIRCUIT}{number}"), value: None }));
    }

    /// Forgets what a connection was for.
    pub(super) fn forget(&mut self, sa: SaHandle) {
        let key = match self.purposes.get(&sa).copied() {
            Some(Purpose::Layer(number)) => format!("{LAYER}{number}"),
            Some(Purpose::Overlay(number)) => {
                let current = self.overlays.get_mut(number).filter(|overlay| overlay.phase == Phase::Up(sa));
                let Some(overlay) = current else { return };
                format!("{OVERLAY}{}", overlay.name)
            }
            Some(Purpose::Hop(circuit, _)) => format!("{CIRCUIT}{circuit}"),
            None => return,
        };
        self.queue.push_back(Output::Journal(Record { key, value: None }));
    }

    fn write(&mut self, key: String, record: &impl Serialize) {
        // these types have nothing that JSON cannot hold
        let Ok(value) = serde_json::to_vec(record) else { return };
        self.queue.push_back(Output::Journal(Record { key, value: Some(Zeroizing::new(value)) }));
    }

    /// Takes over what stood before a restart, and forgets what makes no sense any more.
    pub(super) fn adopt(&mut self, journal: &[Record]) {
        for record in journal {
            let adopted = if record.key.starts_with(LAYER) {
                read(record).and_then(|record| self.adopt_layer(record))
            } else if let Some(name) = record.key.strip_prefix(OVERLAY) {
                read(record).and_then(|record| self.adopt_overlay(name, record))
            } else if let Some(name) = record.key.strip_prefix(NEIGHBOUR) {
                if self.overlays.iter().any(|overlay| overlay.name == *name) {
                    continue;
                }
                None
            } else {
                read(record).and_then(|record| self.adopt_circuit(record))
            };
            match adopted {
                Some(()) => self.adopted += 1,
                None => {
                    self.queue.push_back(Output::Journal(Record { key: record.key.clone(), value: None }));
                }
            }
        }
    }

    /// Lets the engine go on with a connection; gives its child SAs. One that was being installed is among
    /// them: the kernel may hold it already.
    fn restore(&mut self, snapshot: Snapshot) -> Option<(SaHandle, Vec<ChildKeys>)> {
        let sa = self.ike.restore(self.now, snapshot).ok()?;
        let mut children: Vec<ChildKeys> = self.ike.children(sa).collect();
        while let Some(output) = self.ike.poll_output() {
            if let ike::Output::Event(_, ike::Event::ChildKeys(keys)) = &output {
                children.push((**keys).clone());
            }
            self.replayed.push_back(output);
        }
        Some((sa, children))
    }

    fn adopt_layer(&mut self, record: LayerRecord) -> Option<()> {
        let mut layer = record.layer;
        let model = self.relay.as_ref()?.model();
        model.circuit_state(&layer.circuit()?).ok()?;
        let (sa, children) = self.restore(record.ike)?;
        layer.tunnel.taken_over(sa, &children);
        layer.sa = sa;
        self.purposes.insert(sa, Purpose::Layer(layer.number));
        self.relay.as_mut()?.adopt(layer);
        Some(())
    }

    fn adopt_overlay(&mut self, name: &str, record: OverlayRecord) -> Option<()> {
        let known = self.overlays.get_mut(record.number).filter(|overlay| overlay.name == *name)?;
        let number = known.number;
        let (sa, children) = self.restore(record.ike)?;
        let mut tunnel = record.tunnel;
        tunnel.taken_over(sa, &children);
        self.overlays.adopt(number, sa, tunnel);
        self.purposes.insert(sa, Purpose::Overlay(number));
        Some(())
    }

    fn adopt_circuit(&mut self, record: CircuitRecord) -> Option<()> {
        let now = self.now;
        let role = self.client.as_mut()?;
        role.use_address(record.entry_address)?;
        let known = role.circuits().values().find(|circuit| circuit.spec.name == record.name);
        if record.lasting && known.is_none() || record.ike.len() != record.hops.len() {
            return None;
        }
        let spec = known.map(|circuit| circuit.spec.clone()).unwrap_or_else(|| Spec {
            name: record.name,
            hops: Hops::Named(record.path.iter().map(|stop| stop.name.clone()).collect()),
            traffic: record.traffic,
            mtu: record.mtu,
            rebuild: Rebuild::Never,
            options: RouteMetrics {
                advmss: record.advmss,
                initcwnd: record.initcwnd,
                congestion_control: record.congestion_control,
            },
        });
        let number = record.number;
        let mut circuit = Circuit::open(number, spec, record.lasting, record.path, now);
        circuit.lent = record.lent;
        for (place, (mut hop, ike)) in record.hops.into_iter().zip(record.ike).enumerate() {
            let Some((sa, children)) = self.restore(ike) else {
                for hop in circuit.hops {
                    self.purposes.remove(&hop.sa);
                    self.ike.forget(hop.sa);
                }
                return None;
            };
            hop.tunnel.taken_over(sa, &children);
            hop.sa = sa;
            circuit.hops.push(hop);
            self.purposes.insert(sa, Purpose::Hop(number, place));
        }
        circuit.suspect_missing(now);
        self.client.as_mut()?.adopt(circuit);
        Some(())
    }
}
