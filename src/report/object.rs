//! A kernel object in one line, in the words of iproute2.

use crate::plan::Object;
use crate::state::{
    Action, NftSetKind, NftTable, Policy, Route, RouteKind, Sa, SaDirection, Scope, Template,
};

/// The kind of an object, as machines read it.
pub(super) const fn kind(object: &Object) -> &'static str {
    match object {
        Object::Link(_) => "link",
        Object::Sa(_) => "sa",
        Object::Policy(_) => "policy",
        Object::Address(_) => "address",
        Object::Route(_) => "route",
        Object::Rule(_) => "rule",
        Object::Nft(_) => "nftables",
        Object::Sysctl(_) => "sysctl",
    }
}

/// An object with everything about it but its keys.
#[must_use]
pub fn describe(object: &Object) -> String {
    match object {
        Object::Link(link) => {
            let state = if link.up { "up" } else { "down" };
            format!("link {} type xfrm if_id {} mtu {} {state}", link.name, link.if_id, link.mtu)
        }
        Object::Sa(sa) => describe_sa(sa),
        Object::Policy(policy) => describe_policy(policy),
        Object::Address(address) => {
            let scope = match address.scope {
                Scope::Global => "",
                Scope::Host => " scope host",
                Scope::Other(_) => " scope other",
            };
            format!("address {}{scope}", address.id)
        }
        Object::Route(route) => describe_route(route),
        Object::Rule(rule) => format!("rule {rule}"),
        Object::Nft(table) => describe_table(table),
        Object::Sysctl(sysctl) => format!("sysctl {} = {}", sysctl.path, sysctl.value),
    }
}

fn describe_sa(sa: &Sa) -> String {
    let way = match sa.direction {
        SaDirection::In { replay_window } => format!("in replay-window {replay_window}"),
        SaDirection::Out { tfc_padding, .. } => {
            tfc_padding.map_or_else(|| "out".to_owned(), |octets| format!("out tfc-padding {octets}"))
        }
    };
    let selector = sa.selector.map(|selector| format!(" sel {selector}")).unwrap_or_default();
    let encapsulation = sa
        .encapsulation
        .map(|ports| format!(" in udp {}>{}", ports.source_port, ports.destination_port))
        .unwrap_or_default();
    format!(
        "sa {} > {} spi {} reqid {} if_id {} {} {way}{selector}{encapsulation}",
        sa.source, sa.id.destination, sa.id.spi, sa.reqid, sa.if_id, sa.suite
    )
}

fn describe_policy(policy: &Policy) -> String {
    let action = match policy.action {
        Action::Allow => "",
        Action::Block => " block",
    };
    let templates: Vec<String> = policy.templates.iter().map(Template::to_string).collect();
    format!("policy {}{action} through {}", policy.id, templates.join(" in "))
}

fn describe_route(route: &Route) -> String {
    let kind = match &route.kind {
        RouteKind::Link(link) => format!(" dev {link}"),
        RouteKind::Unreachable => " unreachable".to_owned(),
    };
    let source = route.preferred_source.map(|source| format!(" src {source}")).unwrap_or_default();
    let metrics = &route.metrics;
    let number =
        |name: &str, value: Option<u32>| value.map(|value| format!(" {name} {value}")).unwrap_or_default();
    let congestion =
        metrics.congestion_control.as_deref().map(|name| format!(" congctl {name}")).unwrap_or_default();
    format!(
        "route {}{kind}{source}{}{}{congestion}",
        route.id,
        number("advmss", metrics.advmss),
        number("initcwnd", metrics.initcwnd)
    )
}

fn describe_table(table: &NftTable) -> String {
    let rules: usize = table.chains.iter().map(|chain| chain.rules.len()).sum();
    let elements: usize = table
        .sets
        .iter()
        .map(|set| match &set.kind {
            NftSetKind::Prefixes(prefixes) => prefixes.len(),
            NftSetKind::Ipv4(addresses) => addresses.len(),
            NftSetKind::Ipv6(addresses) => addresses.len(),
        })
        .sum();
    let chains: Vec<&str> = table.chains.iter().map(|chain| chain.name.as_str()).collect();
    format!("nftables table inet ippriv: {rules} rules in {}, {elements} set elements", chains.join(", "))
}
