//! Documents as YAML.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{ClientAuth, Document, Name, Neighbours, Relay, Signature, Software, Weight};

impl Document {
    /// The text of a file that says this, without signatures.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut text = String::from("# A network document of ippriv: docs/network-document.md.\n");
        let mut line = |words: &str| {
            text.push_str(words);
            text.push('\n');
        };
        line(&format!("network: {}", name(&self.network)));
        line(&format!("serial: {}", self.serial));
        line(&format!("valid_from: {}", self.valid_from));
        line(&format!("valid_until: {}", self.valid_until));
        line("operators:");
        for (operator, key) in &self.operators {
            line(&format!("  {}: {key}", name(operator)));
        }
        line(&format!("threshold: {}", self.threshold));
        line(if self.relays.is_empty() { "relays: []" } else { "relays:" });
        for relay in &self.relays {
            text.push_str(&relay_item(relay, "  "));
        }
        text
    }
}

/// A relay as an item of a list.
pub(super) fn relay_item(relay: &Relay, indent: &str) -> String {
    let mut fields = vec![
        ("name", name(&relay.name)),
        ("address", relay.address.to_string()),
        ("identity", relay.identity.to_string()),
    ];
    if let Some(address) = relay.address6 {
        fields.insert(2, ("address6", format!("\"{address}\"")));
    }
    if relay.software != Software::default() {
        fields.push(("software", relay.software.to_string()));
    }
    if let ClientAuth::Psk(psk) = &relay.clients {
        fields.push(("clients", format!("{{ psk: \"{}\" }}", psk.as_str())));
    }
    fields.push(("pool", relay.pool.to_string()));
    if let Some(pool) = relay.pool6 {
        fields.push(("pool6", format!("\"{pool}\"")));
    }
    let roles = relay.roles.iter().map(|role| role.name().to_owned());
    fields.push(("roles", flow(roles)));
    if let Some(exit) = &relay.exit {
        let ports = [("tcp_ports", &exit.tcp_ports), ("udp_ports", &exit.udp_ports)];
        let said =
            ports.iter().filter_map(|(key, list)| Some(format!("{key}: {}", port_list(list.as_ref()?))));
        let said: Vec<String> = said.collect();
        fields
            .push(("exit", if said.is_empty() { "{}".into() } else { format!("{{ {} }}", said.join(", ")) }));
    }
    if let Some(operator) = &relay.operator {
        fields.push(("operator", name(operator)));
    }
    if relay.weight != Weight::default() {
        fields.push(("weight", relay.weight.get().to_string()));
    }
    if let Neighbours::Only(names) = &relay.neighbours {
        fields.push(("neighbours", flow(names.iter().map(name))));
    }
    item(&fields, indent)
}

/// A signature as an item of a list.
pub(super) fn signature_item(signature: &Signature, indent: &str) -> String {
    let octets = STANDARD.encode(signature.octets);
    item(&[("operator", name(&signature.operator)), ("signature", octets)], indent)
}

fn item(fields: &[(&str, String)], indent: &str) -> String {
    let mut text = String::new();
    for (at, (key, value)) in fields.iter().enumerate() {
        let dash = if at == 0 { "- " } else { "  " };
        let _ = writeln!(text, "{indent}{dash}{key}: {value}");
    }
    text
}

fn flow(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn port_list(ranges: &[(u16, u16)]) -> String {
    flow(ranges.iter().map(|(first, last)| {
        if first == last { format!("\"{first}\"") } else { format!("\"{first}-{last}\"") }
    }))
}

/// A name, quoted where YAML would take it for a number or a word of its own.
fn name(name: &Name) -> String {
    let text = name.as_str();
    let word =
        matches!(text, "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n" | "nan" | "inf");
    if word || text.starts_with(|c: char| c.is_ascii_digit()) {
        format!("\"{text}\"")
    } else {
        text.to_owned()
    }
}
