//! Where the soak takes place: relays, clients and a server around one router.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::Settings;
use crate::daemons::{CircuitPlan, Plan};
use crate::scenario::{Lab, LabError};
use crate::topology::Topology;

/// The host that everything goes through.
pub(super) const ROUTER: &str = "router";
/// The host that clients talk to.
pub(super) const SERVER: &str = "server";
/// Where it listens.
pub(super) const PORT: u16 = 7200;
/// What nft calls the set of hosts that have disappeared.
pub(super) const GONE: &str = "inet soak gone";
/// The router's firewall, with the set of hosts that have disappeared.
const FIREWALL: &str = "table inet soak {
    set gone { type ipv4_addr; }
    chain forward {
        type filter hook forward priority 0
        ip saddr @gone drop
        ip daddr @gone drop
    }
}
";
/// How long keys are used.
pub(super) const CHILD_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// How long the keys of IKE SAs are used.
pub(super) const IKE_LIFETIME: Duration = Duration::from_secs(30 * 60);
/// The last relays are exits.
const EXITS: usize = 2;

/// The names of the relays.
pub(super) fn relays(settings: &Settings) -> Vec<String> {
    (1..=settings.relays).map(|number| format!("relay{number}")).collect()
}

/// The names of the clients.
pub(super) fn clients(settings: &Settings) -> Vec<String> {
    (1..=settings.clients).map(|number| format!("client{number}")).collect()
}

/// The clients whose policy has a circuit that is always built again: one in five.
pub(super) fn keepers(settings: &Settings) -> Vec<String> {
    clients(settings).into_iter().step_by(5).collect()
}

/// Hosts whose daemons are never killed, so that their memory can be watched: the last relay and the last tenth
/// of the clients.
pub(super) fn witnesses(settings: &Settings) -> Vec<String> {
    let clients = clients(settings);
    let keepers = keepers(settings);
    let tenth =
        clients.iter().rev().filter(|client| !keepers.contains(client)).take(clients.len().div_ceil(10));
    relays(settings).into_iter().last().into_iter().chain(tenth.cloned()).collect()
}

/// Whether a relay lets circuits out.
pub(super) fn is_exit(settings: &Settings, relay: usize) -> bool {
    relay + EXITS >= settings.relays
}

/// Builds the network.
pub(super) fn build(settings: &Settings) -> Result<Lab, LabError> {
    let lab = Lab::new(&Topology::parse("soak", &topology(settings))?, &[])?;
    lab.net.node(ROUTER)?.run_with(&["nft", "-f", "-"], FIREWALL)?;
    Ok(lab)
}

fn topology(settings: &Settings) -> String {
    let mut text = format!(
        "description: A router and what is around it.\nnodes:\n  - {{ name: {ROUTER}, role: router }}\n"
    );
    let mut links = String::new();
    for (place, relay) in relays(settings).iter().enumerate() {
        let exit = if is_exit(settings, place) { ", exit: true" } else { "" };
        let pool = 64 + place;
        let _ = writeln!(
            text,
            "  - {{ name: {relay}, role: relay, pool: 10.{pool}.0.0/16, pool6: 'fd00:{pool}::/64'{exit} }}"
        );
        let _ =
            writeln!(links, "  - {{ between: [{ROUTER}, {relay}], rate: 100mbit, delay: {}ms }}", 2 + place);
    }
    for (place, client) in clients(settings).iter().enumerate() {
        let _ = writeln!(text, "  - {{ name: {client}, role: client }}");
        let _ = writeln!(
            links,
            "  - {{ between: [{ROUTER}, {client}], rate: 20mbit, delay: {}ms }}",
            5 + place % 10
        );
    }
    let _ = writeln!(text, "  - {{ name: {SERVER}, role: server }}");
    let _ = writeln!(links, "  - {{ between: [{ROUTER}, {SERVER}], rate: 100mbit }}");
    text + "links:\n" + &links
}

/// What the hosts' policies say.
pub(super) fn plan(settings: &Settings, server: Ipv4Addr) -> Plan {
    let keepers = keepers(settings);
    let lasting = |client: &String| CircuitPlan {
        length: Some(3),
        traffic: vec![format!("{server}/32")],
        ..CircuitPlan::new(client, &[])
    };
    let lifetimes = format!(
        "  lifetimes: {{ ike: {}s, child: {}s }}\n",
        IKE_LIFETIME.as_secs(),
        CHILD_LIFETIME.as_secs()
    );
    Plan {
        idle_clients: clients(settings),
        relay_lines: lifetimes.clone(),
        client_lines: lifetimes,
        log: Some("debug".to_owned()),
        ..Plan::new(keepers.iter().map(lasting).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_can_be_built_and_some_hosts_only_watch() {
        for settings in [Settings::full(24, 20), Settings::short()] {
            let topology = Topology::parse("soak", &topology(&settings)).unwrap();
            assert_eq!(topology.nodes.len(), settings.relays + settings.clients + 2);
            let (keepers, witnesses) = (keepers(&settings), witnesses(&settings));
            assert!(witnesses.len() >= 2 && !keepers.is_empty(), "{keepers:?} {witnesses:?}");
            assert!(keepers.iter().all(|keeper| !witnesses.contains(keeper)));
        }
    }
}
