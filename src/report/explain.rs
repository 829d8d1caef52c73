//! What a file builds, in words and a picture.

use std::fmt::Write as _;

use crate::telescope::mtu;
use crate::telescope::{Client, Desired, Host, Relay, Telescope};

/// Explains a host's roles and the kernel state they need.
#[must_use]
pub fn explain(host: &Host, desired: &Desired) -> String {
    let mut text = String::new();
    if let Some(client) = &host.client {
        client_role(client, &mut text);
    }
    if let Some(relay) = &host.relay {
        relay_role(relay, &mut text);
    }
    let state = &desired.state;
    line(
        &mut text,
        &format!(
            "In the kernel: {} interfaces, {} SAs, {} policies, {} addresses, {} routes, {} rules, {} nftables table.",
            state.links.len(),
            state.sas.len(),
            state.policies.len(),
            state.addresses.len(),
            state.routes.len(),
            state.rules.len(),
            usize::from(state.nft.is_some())
        ),
    );
    for requirement in &desired.requirements {
        line(
            &mut text,
            &format!("Needs {} = {}: {}.", requirement.path, requirement.value, requirement.reason),
        );
    }
    text
}

fn line(text: &mut String, words: &str) {
    text.push_str(words);
    text.push('\n');
}

fn client_role(client: &Client, text: &mut String) {
    line(text, &format!("Client at {}.", client.address));
    for circuit in &client.circuits {
        telescope(client, circuit, text);
    }
    if client.kill_switch {
        let allowed: Vec<String> = client.allow.iter().map(ToString::to_string).collect();
        let but = if allowed.is_empty() { String::new() } else { format!(", {}", allowed.join(", ")) };
        line(
            text,
            &format!("Kill switch: nothing leaves but through circuits, to the entries as ESP or IKE{but}."),
        );
    } else {
        line(text, "No kill switch: what no circuit carries goes out directly.");
    }
}

fn telescope(client: &Client, circuit: &Telescope, text: &mut String) {
    let relays: Vec<String> = circuit.hops.iter().map(|hop| hop.relay.to_string()).collect();
    line(text, &format!("\nCircuit {} on {}:", circuit.number, circuit.number.link()));
    line(text, &format!("  {} ─ {} ─ internet", client.address, relays.join(" ═ ")));
    let mut local = client.address;
    for (layer, hop) in circuit.hops.iter().enumerate() {
        let indent = "  ".repeat(layer + 1);
        line(text, &format!("{indent}layer {}: {local} > {} {}", layer + 1, hop.relay, hop.keys.suite));
        local = hop.address;
    }
    let address6 = circuit.hops.last().and_then(|hop| hop.address6);
    let also = address6.map(|address| format!(" and {address}")).unwrap_or_default();
    line(text, &format!("  inside: packets from {local}{also}"));
    let layers = circuit.layers();
    if let Ok(mtu) = mtu::of_circuit(circuit.mtu, client.path_mtu, &layers, address6.is_some()) {
        let size = mtu::wire_size(mtu.get(), &layers);
        let room = mtu::room(client.path_mtu, &layers);
        line(
            text,
            &format!(
                "  MTU {mtu}: {size} octets on the wire of {}; at most {room} would fit",
                client.path_mtu
            ),
        );
    }
    let traffic: Vec<String> = circuit.traffic.iter().map(ToString::to_string).collect();
    if traffic.is_empty() {
        line(text, "  carries what is sent from its own addresses");
    } else {
        line(text, &format!("  carries what goes to {}", traffic.join(", ")));
    }
}

fn relay_role(relay: &Relay, text: &mut String) {
    let kind = if relay.exit.is_some() { "Relay and exit" } else { "Relay (entry or middle)" };
    line(text, &format!("{kind} at {}, handing out {}.", relay.address, relay.pool));
    for peer in &relay.neighbours {
        let suite = peer.keys.as_ref().map_or("no keys".to_owned(), |keys| keys.suite.to_string());
        let padding = peer.tfc_padding.map(|octets| format!(", padded to {octets}")).unwrap_or_default();
        line(
            text,
            &format!(
                "  {} ═ {} on {} ({suite}{padding}), which hands out {}",
                relay.address,
                peer.address,
                peer.number.link(),
                peer.pool
            ),
        );
    }
    let _ = writeln!(text, "  {} circuits end a layer here.", relay.circuits.len());
}
