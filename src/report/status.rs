//! What of ours a kernel holds, as circuits and overlays.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::id::IfId;
use crate::state::{PolicyDirection, RouteKind, State, Template};

/// Our part of a kernel's state.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Circuits of this host as a client.
    pub circuits: Vec<CircuitStatus>,
    /// Overlays to neighbours.
    pub neighbours: Vec<NeighbourStatus>,
    /// Layers of others' circuits that end here.
    pub layers: usize,
    /// Whether the nftables table is there.
    pub firewall: bool,
    /// Whether that table drops what no circuit carries.
    pub kill_switch: bool,
}

/// A circuit of this host as a client.
#[derive(Debug, Serialize)]
pub struct CircuitStatus {
    /// Its interface.
    pub link: String,
    /// Its addresses towards the internet.
    pub addresses: Vec<String>,
    /// The MTU inside.
    pub mtu: u32,
    /// The relays, entry first.
    pub relays: Vec<String>,
    /// What is missing for it to carry packets; empty when it is complete.
    pub missing: Vec<String>,
}

/// An overlay to a neighbour.
#[derive(Debug, Serialize)]
pub struct NeighbourStatus {
    /// Its interface.
    pub link: String,
    /// The neighbour's address.
    pub address: String,
    /// What is missing for it to carry packets; empty when it is complete.
    pub missing: Vec<String>,
}

impl Status {
    /// The status of a host whose kernel holds `state`.
    #[must_use]
    pub fn new(state: &State) -> Self {
        let mut circuits = Vec::new();
        let mut neighbours = Vec::new();
        let templates = outward_templates(state);
        for link in state.links.values() {
            let through = templates.get(&link.if_id).map_or(&[][..], Vec::as_slice);
            let mut missing: Vec<String> =
                through.iter().flat_map(|template| missing_sas(state, link.if_id, template)).collect();
            if through.is_empty() {
                missing.push("policy out".to_owned());
            }
            if !link.up {
                missing.push("link up".to_owned());
            }
            let name = link.name.to_string();
            if name.starts_with("ippc") {
                let routed = |kind: &RouteKind| matches!(kind, RouteKind::Link(to) if *to == link.name);
                let mut routes = state.routes.values().filter(|route| routed(&route.kind)).peekable();
                if routes.peek().is_none() {
                    missing.push("route".to_owned());
                }
                circuits.push(CircuitStatus {
                    addresses: routes
                        .filter_map(|route| route.preferred_source)
                        .map(|address| address.to_string())
                        .collect(),
                    link: name,
                    mtu: link.mtu.get(),
                    relays: through.iter().rev().map(|template| template.destination.to_string()).collect(),
                    missing,
                });
            } else if name.starts_with("ippo") {
                let address = through.first().map(|template| template.destination.to_string());
                neighbours.push(NeighbourStatus {
                    link: name,
                    address: address.unwrap_or_default(),
                    missing,
                });
            }
        }
        let layers = state
            .links
            .values()
            .filter(|link| link.name.as_str() == "ippt")
            .flat_map(|link| templates.get(&link.if_id))
            .map(Vec::len)
            .sum();
        let drops = |rule: &crate::state::NftRule| rule.0 == "drop";
        let chains = state.nft.iter().flat_map(|table| &table.chains);
        Self {
            circuits,
            neighbours,
            layers,
            firewall: state.nft.is_some(),
            kill_switch: chains.flat_map(|chain| &chain.rules).any(drops),
        }
    }
}

/// The templates of the outward policies of each interface, each once.
fn outward_templates(state: &State) -> BTreeMap<IfId, Vec<Template>> {
    let mut templates: BTreeMap<IfId, Vec<Template>> = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    let outward = state.policies.values().filter(|policy| policy.id.direction == PolicyDirection::Out);
    for policy in outward {
        let of_link = templates.entry(policy.id.if_id).or_default();
        let new = policy.templates.iter().filter(|template| seen.insert((policy.id.if_id, **template)));
        of_link.extend(new);
    }
    templates
}

fn missing_sas(state: &State, if_id: IfId, template: &Template) -> Vec<String> {
    let any = |from, to| {
        state
            .sas
            .values()
            .any(|sa| sa.if_id == if_id && Some(sa.source) == from && Some(sa.id.destination) == to)
    };
    let (local, remote) = (template.source, Some(template.destination));
    let mut missing = Vec::new();
    if !any(local, remote) {
        missing.push(format!("sa out to {}", template.destination));
    }
    if !any(remote, local) {
        missing.push(format!("sa in from {}", template.destination));
    }
    missing
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = |missing: &[String]| match missing {
            [] => "complete".to_owned(),
            missing => format!("INCOMPLETE, missing {}", missing.join(", ")),
        };
        for circuit in &self.circuits {
            writeln!(
                f,
                "circuit {}: {} ─ internet, from {}, mtu {}: {}",
                circuit.link,
                circuit.relays.join(" ═ "),
                circuit.addresses.join(" and "),
                circuit.mtu,
                verdict(&circuit.missing)
            )?;
        }
        for neighbour in &self.neighbours {
            writeln!(
                f,
                "overlay {}: ═ {}: {}",
                neighbour.link,
                neighbour.address,
                verdict(&neighbour.missing)
            )?;
        }
        if self.layers > 0 {
            writeln!(f, "{} layers of circuits end here", self.layers)?;
        }
        let on = |flag| if flag { "on" } else { "off" };
        writeln!(f, "firewall {}, kill switch {}", on(self.firewall), on(self.kill_switch))
    }
}
