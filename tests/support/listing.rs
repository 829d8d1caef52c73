//! A listing of everything a host's kernel has to hold, to be read and compared by people.

use std::fmt::{Display, Write as _};

use ippriv::state::{NftSetKind, Route, RouteKind, Sa, SaDirection, State};
use ippriv::telescope::Desired;

/// One line per object, in the order of the maps.
pub(crate) fn listing(desired: &Desired) -> String {
    let state = &desired.state;
    let mut text = String::new();
    let links = state.links.values();
    section(
        &mut text,
        "links",
        links.map(|link| {
            format!("{} if_id {} mtu {}{}", link.name, link.if_id, link.mtu, if link.up { " up" } else { "" })
        }),
    );
    section(&mut text, "sas", state.sas.values().map(sa));
    let policies = state.policies.values();
    section(
        &mut text,
        "policies",
        policies.map(|policy| {
            let templates: Vec<_> = policy.templates.iter().map(ToString::to_string).collect();
            format!(
                "{} priority {} {:?}: {}",
                policy.id,
                policy.priority,
                policy.action,
                templates.join(", then ")
            )
        }),
    );
    let addresses = state.addresses.values();
    section(
        &mut text,
        "addresses",
        addresses.map(|address| format!("{} scope {:?}", address.id, address.scope)),
    );
    section(&mut text, "routes", state.routes.values().map(route));
    section(&mut text, "rules", state.rules.iter().map(ToString::to_string));
    section(
        &mut text,
        "settings",
        state.sysctls.values().map(|setting| format!("{} = {}", setting.path, setting.value)),
    );
    nft(&mut text, state);
    let requirements = desired.requirements.iter();
    section(
        &mut text,
        "asked of the host",
        requirements.map(|asked| format!("{} = {} ({})", asked.path, asked.value, asked.reason)),
    );
    text
}

fn section(text: &mut String, name: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        line(text, &format!("{name}:"));
        lines.for_each(|object| line(text, &format!("  {object}")));
    }
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a string takes everything");
}

fn optional(word: &str, value: Option<impl Display>) -> String {
    value.map(|value| format!(" {word} {value}")).unwrap_or_default()
}

fn sa(sa: &Sa) -> String {
    let direction = match sa.direction {
        SaDirection::In { replay_window } => format!("in replay {replay_window}"),
        SaDirection::Out { tfc_padding, nat_keepalive } => {
            format!("out{}{}", optional("padded to", tfc_padding), optional("keepalive", nat_keepalive))
        }
    };
    let ports = sa.encapsulation.map(|udp| format!("{}>{}", udp.source_port, udp.destination_port));
    format!(
        "{}>{} spi {} reqid {} if_id {} {direction} {} key of {} octets{}{}",
        sa.source,
        sa.id.destination,
        sa.id.spi,
        sa.reqid,
        sa.if_id,
        sa.suite,
        sa.key.len(),
        optional("for", sa.selector),
        optional("in udp", ports),
    )
}

fn route(route: &Route) -> String {
    let way = match &route.kind {
        RouteKind::Link(link) => format!("dev {link}"),
        RouteKind::Unreachable => "unreachable".to_owned(),
    };
    let metrics = &route.metrics;
    format!(
        "{} {way}{}{}{}{}",
        route.id,
        optional("src", route.preferred_source),
        optional("advmss", metrics.advmss),
        optional("initcwnd", metrics.initcwnd),
        optional("congctl", metrics.congestion_control.as_ref()),
    )
}

fn nft(text: &mut String, state: &State) {
    let Some(table) = &state.nft else { return };
    line(text, "nftables inet ippriv:");
    for set in &table.sets {
        let elements: Vec<_> = match &set.kind {
            NftSetKind::Prefixes(prefixes) => prefixes.iter().map(ToString::to_string).collect(),
            NftSetKind::Ipv4(addresses) => addresses.iter().map(ToString::to_string).collect(),
            NftSetKind::Ipv6(addresses) => addresses.iter().map(ToString::to_string).collect(),
        };
        line(text, &format!("  set {} {{ {} }}", set.name, elements.join(", ")));
    }
    for chain in &table.chains {
        line(text, &format!("  chain {} at {:?}:", chain.name, chain.hook));
        chain.rules.iter().for_each(|rule| line(text, &format!("    {}", rule.0)));
    }
}
