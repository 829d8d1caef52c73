//! What tells each kernel object apart, in one form for our model and for what iproute2 and nft list.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use ippriv::state::{Action, RouteKind, RuleAction, Selector, State};
use ippriv::suite::Transform;

/// The objects of a state.
pub(super) fn expected(state: &State) -> BTreeSet<String> {
    let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    let sas = state.sas.values().map(|sa| {
        let key = sa.key.expose();
        let key = match sa.suite.transform() {
            Transform::Aead { .. } => hex(key),
            Transform::CipherAndAuth { cipher_key, .. } => hex(&key[cipher_key..]) + &hex(&key[..cipher_key]),
        };
        format!(
            "sa {} {} {} {} if_id {} key {key}",
            sa.source, sa.id.destination, sa.id.spi, sa.reqid.0, sa.if_id
        )
    });
    let policies = state.policies.values().map(|policy| {
        let Selector { source, destination, .. } = policy.id.selector;
        let templates = policy.templates.iter().map(|template| {
            let any = Selector::any(template.destination).addr();
            format!(
                " through {} {} {}",
                template.source.unwrap_or(any),
                template.destination,
                template.reqid.0
            )
        });
        let action = if policy.action == Action::Block { " block" } else { "" };
        format!(
            "policy {source} {destination} {} {}{action} if_id {}{}",
            policy.id.direction,
            policy.priority,
            policy.id.if_id,
            templates.collect::<String>()
        )
    });
    let links = state.links.values().map(|link| format!("link {} {} {}", link.name, link.mtu, link.if_id));
    let addresses = state.addresses.keys().map(|id| format!("address {} {}", id.link, id.prefix));
    let routes = state.routes.values().map(|route| {
        let kind = match &route.kind {
            RouteKind::Link(link) => link.as_str(),
            RouteKind::Unreachable => "unreachable",
        };
        let source = route.preferred_source.map(|source| format!(" src {source}")).unwrap_or_default();
        format!(
            "route {} table {} metric {} {kind}{source}",
            route.id.destination, route.id.table.0, route.id.metric
        )
    });
    let rules = state.rules.iter().map(|rule| {
        let link = rule.input_link.as_ref().map(|link| format!(" iif {link}")).unwrap_or_default();
        let protocol = rule.protocol.map(|number| format!(" ipproto {number}")).unwrap_or_default();
        let action = match rule.action {
            RuleAction::Lookup(table) => format!("lookup {table}"),
            RuleAction::Unreachable => "unreachable".to_owned(),
        };
        format!("rule {} {} {}{link}{protocol} {action}", rule.priority, rule.source, rule.destination)
    });
    let nft = state.nft.iter().map(|table| {
        let rules: usize = table.chains.iter().map(|chain| chain.rules.len()).sum();
        format!("nft inet ippriv {} chains {} sets {rules} rules", table.chains.len(), table.sets.len())
    });
    sas.chain(policies).chain(links).chain(addresses).chain(routes).chain(rules).chain(nft).collect()
}

/// The objects in records of a [`Listing`](super::listing::Listing). What the kernel makes by itself for an
/// interface or address of ours is left out.
pub(super) fn listed(records: &[&str]) -> BTreeSet<String> {
    let ours = |record: &&&str| record.starts_with("nft \"inet\" \"ippriv\" ");
    let count =
        |kind| records.iter().filter(ours).filter(|record| record.split(' ').nth(4) == Some(kind)).count();
    let nft =
        format!("nft inet ippriv {} chains {} sets {} rules", count("chain"), count("set"), count("rule"));
    let others = records.iter().filter_map(|record| object(record));
    others.chain((count("table") == 1).then_some(nft)).collect()
}

fn object(record: &str) -> Option<String> {
    if record.starts_with("/proc/sys/") || record.starts_with("nft \"inet\" \"ippriv\" ") {
        return None;
    }
    let (six, line) = record.strip_prefix("-6 ").map_or((false, record), |line| (true, line));
    let words: Vec<&str> =
        line.split(|c: char| c.is_whitespace() || c == '\\').filter(|word| !word.is_empty()).collect();
    let after =
        |name: &str| words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1)).copied();
    let net = |text: Option<&str>| -> Option<IpNet> {
        match text {
            None | Some("all" | "default") => Some(if six { "::/0" } else { "0.0.0.0/0" }.parse().ok()?),
            Some(text) => text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)),
        }
    };
    if words.first() == Some(&"src") && words.contains(&"spi") {
        let keys = words.iter().filter_map(|word| word.strip_prefix("0x")).filter(|word| word.len() >= 32);
        return Some(format!(
            "sa {} {} {} {} if_id {} key {}",
            after("src")?,
            after("dst")?,
            after("spi")?,
            number(after("reqid")?)?,
            after("if_id")?,
            keys.collect::<String>()
        ));
    }
    if words.first() == Some(&"src") {
        let templates = words.split(|word| *word == "tmpl").skip(1).map(|template| {
            let at = |name: &str| {
                template.iter().position(|word| *word == name).and_then(|at| template.get(at + 1))
            };
            Some(format!(" through {} {} {}", at("src")?, at("dst")?, number(at("reqid")?)?))
        });
        let block = if after("action") == Some("block") { " block" } else { "" };
        return Some(format!(
            "policy {} {} {} {}{block} if_id {}{}",
            net(after("src"))?,
            net(after("dst"))?,
            after("dir")?,
            after("priority")?,
            after("if_id")?,
            templates.collect::<Option<String>>()?
        ));
    }
    if line.contains(":\t") {
        let priority = line.split_once(":\t")?.0;
        let link = after("iif").map(|link| format!(" iif {link}")).unwrap_or_default();
        let protocol =
            after("ipproto").map(|name| format!(" ipproto {}", protocol(name))).unwrap_or_default();
        let action = after("lookup").map_or("unreachable".to_owned(), |table| format!("lookup {table}"));
        return Some(format!(
            "rule {priority} {} {}{link}{protocol} {action}",
            net(after("from"))?,
            net(after("to"))?
        ));
    }
    if line.contains("link/none") {
        let name = words.first()?.split(['@', ':']).next()?;
        return Some(format!("link {name} {} {}", after("mtu")?, after("if_id")?));
    }
    if let Some(address) = after("inet").or_else(|| after("inet6")) {
        return Some(format!("address {} {}", words.first()?, net(Some(address))?));
    }
    (after("proto") == Some("73")).then_some(())?;
    let kinds = ["unicast", "unreachable"];
    let destination = words.iter().find(|word| !kinds.contains(word))?;
    let kind = if words.contains(&"unreachable") { "unreachable" } else { after("dev")? };
    let source = after("src").map(|source| format!(" src {source}")).unwrap_or_default();
    Some(format!(
        "route {} table {} metric {} {kind}{source}",
        net(Some(destination))?,
        after("table")?,
        after("metric")?
    ))
}

/// A number that iproute2 writes as decimal, hexadecimal, or both: `7(0x00000007)`.
fn number(text: &str) -> Option<u32> {
    text.split('(').next()?.parse().ok()
}

/// A protocol's number, which iproute2 writes as the name it has.
fn protocol(name: &str) -> &str {
    match name {
        "icmp" => "1",
        "ipv6-icmp" => "58",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_known_by_their_listing() {
        for (record, expected) in [
            (
                "src 192.0.2.1 dst 192.0.2.2\\\tproto esp spi 0x00001001 reqid 7 mode tunnel\\\taead rfc4106(gcm(aes)) \
                 0x000102030405060708090a0b0c0d0e0f10111213 128\\\tif_id 0x5\\\tdir in",
                Some(
                    "sa 192.0.2.1 192.0.2.2 0x00001001 7 if_id 0x5 key 000102030405060708090a0b0c0d0e0f10111213",
                ),
            ),
            (
                "src 0.0.0.0/0 dst 10.64.0.2/32 \\\tdir out priority 9 \\\ttmpl src 192.0.2.1 dst 192.0.2.2\t\tproto esp \
                 reqid 7 mode tunnel\\\tif_id 0x5",
                Some("policy 0.0.0.0/0 10.64.0.2/32 out 9 if_id 0x5 through 192.0.2.1 192.0.2.2 7"),
            ),
            ("ippc1@NONE: <UP> mtu 1280 link/none xfrm if_id 0x5", Some("link ippc1 1280 0x5")),
            ("ippc1    inet6 fd00::2/128 scope global", Some("address ippc1 fd00::2/128")),
            (
                "-6 unreachable default dev lo table 7 proto 73 metric 9",
                Some("route ::/0 table 7 metric 9 unreachable"),
            ),
            (
                "10.0.0.1 dev ippc1 table 7 proto 73 metric 9",
                Some("route 10.0.0.1/32 table 7 metric 9 ippc1"),
            ),
            ("local 10.64.0.2 dev ippc1 table local proto kernel", None),
            (
                "4961:\tfrom all iif lo ipproto icmp lookup 7 proto 73",
                Some("rule 4961 0.0.0.0/0 0.0.0.0/0 iif lo ipproto 1 lookup 7"),
            ),
        ] {
            assert_eq!(object(record).as_deref(), expected, "{record}");
        }
    }
}
