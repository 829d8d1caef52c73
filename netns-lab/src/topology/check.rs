//! From what a file says to a complete network, or to the first thing wrong with it.

use std::collections::BTreeMap;

use ipnet::{Ipv4Net, Ipv6Net};
use serde_saphyr::{Location, Spanned};

use super::error::Fault;
use super::file::{Direction, File, LinkEntry, NodeEntry, RoleName};
use super::plan::{self, MAX_LINKS, Side};
use super::{Clock, Delay, Egress, End, Link, LinkId, Node, NodeId, Relay, Role, Share, Topology};

/// Names a node cannot have, as its neighbours' interfaces and their settings are called like that.
const RESERVED: [&str; 3] = ["lo", "all", "default"];
/// Interface names have at most 15 bytes (`IFNAMSIZ`, linux/if.h).
const NAME_MAX: usize = 15;
/// The least MTU of an IPv6 link (RFC 8200, section 5).
const MTU_MIN: u16 = 1280;
const MTU_DEFAULT: u16 = 1500;
const QUEUE_DEFAULT: u32 = 100;

pub(super) fn resolve(name: String, file: File) -> Result<Topology, Fault> {
    let mut networks = Networks::default();
    let ids = names(&file.nodes)?;
    let ends = link_ends(&file.links, &ids)?;
    let nodes = file
        .nodes
        .iter()
        .map(|entry| node(entry, &ids, &ends, &mut networks))
        .collect::<Result<Vec<_>, _>>()?;
    for entry in &file.links {
        networks.claim_given(&entry.value)?;
    }
    let mut links = Vec::new();
    for (index, entry) in file.links.iter().enumerate() {
        links.push(link(LinkId(index), entry, ends[index], &nodes, file.clock, &mut networks)?);
    }
    let topology = Topology { name, description: file.description, clock: file.clock, nodes, links };
    connected(&topology, &file.nodes)?;
    Ok(topology)
}

fn names(entries: &[Spanned<NodeEntry>]) -> Result<BTreeMap<&str, NodeId>, Fault> {
    let mut ids = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        let Spanned { value: name, referenced: at, .. } = &entry.value.name;
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
        if !starts || name.len() > NAME_MAX || !name.bytes().all(plain) || RESERVED.contains(&name.as_str()) {
            let expected = format!(
                "a letter, then letters, digits and dashes, all lower case, at most {NAME_MAX}, and none of {}",
                RESERVED.join(", ")
            );
            return Err(Fault::new(*at, format!("the name `{name}`"), expected));
        }
        if ids.insert(name.as_str(), NodeId(index)).is_some() {
            return Err(Fault::new(*at, format!("a second node `{name}`"), "each name once"));
        }
    }
    Ok(ids)
}

fn known(ids: &BTreeMap<&str, NodeId>, name: &Spanned<String>) -> Result<NodeId, Fault> {
    ids.get(name.value.as_str()).copied().ok_or_else(|| {
        Fault::new(name.referenced, format!("unknown node `{}`", name.value), "the name of a node")
    })
}

fn link_ends(
    entries: &[Spanned<LinkEntry>],
    ids: &BTreeMap<&str, NodeId>,
) -> Result<Vec<[NodeId; 2]>, Fault> {
    let mut all: Vec<[NodeId; 2]> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let Spanned { value: between, referenced: at, .. } = &entry.value.between;
        let [first, second] = between.as_slice() else {
            return Err(Fault::new(*at, format!("a list of {}", between.len()), "two nodes"));
        };
        let ends = [known(ids, first)?, known(ids, second)?];
        if ends[0] == ends[1] {
            return Err(Fault::new(
                *at,
                format!("a link from `{}` to itself", first.value),
                "two different nodes",
            ));
        }
        if all.contains(&ends) || all.contains(&[ends[1], ends[0]]) {
            let found = format!("a second link between `{}` and `{}`", first.value, second.value);
            return Err(Fault::new(*at, found, "at most one"));
        }
        if index >= MAX_LINKS {
            return Err(Fault::new(
                *at,
                format!("link number {}", index + 1),
                format!("at most {MAX_LINKS}"),
            ));
        }
        all.push(ends);
    }
    Ok(all)
}

fn node(
    entry: &Spanned<NodeEntry>,
    ids: &BTreeMap<&str, NodeId>,
    ends: &[[NodeId; 2]],
    networks: &mut Networks,
) -> Result<Node, Fault> {
    let NodeEntry { name, role, pool, pool6, exit, outside } = &entry.value;
    let stray = [
        ("pool", "relay", pool.as_ref().map(|field| field.referenced)),
        ("pool6", "relay", pool6.as_ref().map(|field| field.referenced)),
        ("exit", "relay", exit.as_ref().map(|field| field.referenced)),
        ("outside", "nat", outside.as_ref().map(|field| field.referenced)),
    ];
    let owner = match role {
        RoleName::Relay => "relay",
        RoleName::Nat => "nat",
        RoleName::Router | RoleName::Host | RoleName::Client | RoleName::Server => "",
    };
    for (field, of, at) in stray {
        if let (Some(at), true) = (at, of != owner) {
            let expected = format!("it only where the role is `{of}`");
            return Err(Fault::new(at, format!("`{field}` on `{}`", name.value), expected));
        }
    }
    let missing = |field: &str| {
        Fault::new(
            entry.referenced,
            format!("no `{field}` on `{}`", name.value),
            format!("one, as it is a {owner}"),
        )
    };
    let role = match role {
        RoleName::Router => Role::Router,
        RoleName::Host => Role::Host,
        RoleName::Client => Role::Client,
        RoleName::Server => Role::Server,
        RoleName::Relay => {
            let pool = pool.as_ref().ok_or_else(|| missing("pool"))?;
            networks.claim4(pool.value, pool.referenced, format!("the pool of `{}`", name.value))?;
            if let Some(pool6) = pool6 {
                networks.claim6(pool6.value, pool6.referenced, format!("the pool of `{}`", name.value))?;
            }
            let exit = exit.as_ref().is_some_and(|exit| exit.value);
            Role::Relay(Relay { pool: pool.value, pool6: pool6.as_ref().map(|pool| pool.value), exit })
        }
        RoleName::Nat => {
            let outside = outside.as_ref().ok_or_else(|| missing("outside"))?;
            let (here, there) = (known(ids, name)?, known(ids, outside)?);
            let joins = |ends: &&[NodeId; 2]| **ends == [here, there] || **ends == [there, here];
            let link = ends.iter().position(|ends| joins(&ends)).ok_or_else(|| {
                let found = format!("`{}`, which `{}` has no link to", outside.value, name.value);
                Fault::new(outside.referenced, found, "the node at the other end of a link")
            })?;
            Role::Nat { outside: LinkId(link) }
        }
    };
    Ok(Node { name: name.value.clone(), role })
}

fn link(
    id: LinkId,
    entry: &Spanned<LinkEntry>,
    ends: [NodeId; 2],
    nodes: &[Node],
    clock: Clock,
    networks: &mut Networks,
) -> Result<Link, Fault> {
    let names = ends.map(|end| nodes[end.0].name.clone());
    let behind = |end: NodeId| matches!(nodes[end.0].role, Role::Nat { outside } if outside != id);
    let side = if ends.into_iter().any(behind) { Side::Private } else { Side::Public };
    let n = id.0 + 1;

    let planned4 = [0, 1].map(|end| Ipv4Net::new_assert(plan::address4(side, n, end), 24));
    let planned6 = [0, 1].map(|end| Ipv6Net::new_assert(plan::address6(side, n, end), 64));
    let what = format!("the network of {}-{}", names[0], names[1]);
    let addresses4 = match &entry.value.addresses {
        Some(given) => pair(given, Ipv4Net::trunc)?,
        None => networks.claim4(planned4[0].trunc(), entry.referenced, what.clone()).map(|()| planned4)?,
    };
    let addresses6 = match &entry.value.addresses6 {
        Some(given) => pair(given, Ipv6Net::trunc)?,
        None => networks.claim6(planned6[0].trunc(), entry.referenced, what).map(|()| planned6)?,
    };
    let egress = [&entry.value.to, &entry.value.from].map(|direction| egress(entry, direction, clock));
    let [egress_to, egress_from] = egress;
    let end = |end: usize, egress| End {
        node: ends[end],
        interface: names[1 - end].clone(),
        address4: addresses4[end],
        address6: addresses6[end],
        mac: plan::mac(n, end),
        egress,
    };
    Ok(Link { name: format!("{}-{}", names[0], names[1]), ends: [end(0, egress_to?), end(1, egress_from?)] })
}

fn egress(entry: &Spanned<LinkEntry>, own: &Direction, clock: Clock) -> Result<Egress, Fault> {
    let both = &entry.value;
    let rate = own.rate.or(both.rate);
    let jitter = own.jitter.as_ref().or(both.jitter.as_ref());
    let reorder = own.reorder.as_ref().or(both.reorder.as_ref());
    let queue = own.queue.as_ref().or(both.queue.as_ref());
    let mtu = own.mtu.as_ref().or(both.mtu.as_ref());
    let delay = own.delay.or(both.delay).unwrap_or_default();

    if rate.is_none() && clock == Clock::Virtual {
        let expected = "a `rate` both ways, as no time passes on a link without one (or `clock: real`)";
        return Err(Fault::new(entry.referenced, "a link without rate", expected));
    }
    if let (Some(jitter), None) = (jitter, rate) {
        return Err(Fault::new(
            jitter.referenced,
            "jitter without rate",
            "a `rate`, which keeps packets in order",
        ));
    }
    if let Some(jitter) = jitter.filter(|jitter| jitter.value > delay) {
        return Err(Fault::new(jitter.referenced, "more jitter than delay", "at most as much"));
    }
    if let (Some(reorder), Delay::ZERO) = (reorder, delay) {
        let expected = "a `delay` that packets can overtake others in";
        return Err(Fault::new(reorder.referenced, "reordering without delay", expected));
    }
    if let Some(queue) = queue.filter(|queue| queue.value == 0) {
        return Err(Fault::new(queue.referenced, "a queue of 0 packets", "at least 1"));
    }
    if let Some(mtu) = mtu.filter(|mtu| mtu.value < MTU_MIN) {
        let expected = format!("at least {MTU_MIN}, the least that IPv6 works with");
        return Err(Fault::new(mtu.referenced, format!("an MTU of {}", mtu.value), expected));
    }
    Ok(Egress {
        rate,
        delay,
        jitter: jitter.map_or(Delay::ZERO, |jitter| jitter.value),
        loss: own.loss.or(both.loss).unwrap_or_default(),
        reorder: reorder.map_or(Share::NONE, |reorder| reorder.value),
        queue: queue.map_or(QUEUE_DEFAULT, |queue| queue.value),
        mtu: mtu.map_or(MTU_DEFAULT, |mtu| mtu.value),
    })
}

/// The two addresses given for a link: different ones of one network.
fn pair<N: Copy + Eq + std::fmt::Display>(
    given: &Spanned<Vec<Spanned<N>>>,
    network: impl Fn(&N) -> N,
) -> Result<[N; 2], Fault> {
    let [first, second] = given.value.as_slice() else {
        let found = format!("a list of {}", given.value.len());
        return Err(Fault::new(given.referenced, found, "two addresses, one for each end"));
    };
    if first.value == second.value {
        let found = format!("the address {} twice", first.value);
        return Err(Fault::new(second.referenced, found, "a different one for each end"));
    }
    if network(&first.value) != network(&second.value) {
        let expected = format!("one of {}, as the other end", network(&first.value));
        return Err(Fault::new(second.referenced, format!("the address {}", second.value), expected));
    }
    Ok([first.value, second.value])
}

fn connected(topology: &Topology, entries: &[Spanned<NodeEntry>]) -> Result<(), Fault> {
    let mut seen = vec![false; topology.nodes.len()];
    let mut todo: Vec<NodeId> = topology.node_ids().take(1).collect();
    while let Some(node) = todo.pop() {
        if !std::mem::replace(&mut seen[node.0], true) {
            todo.extend(topology.ends_of(node).map(|(_, _, far)| far.node));
        }
    }
    // A single node is connected to all the others, but has no address.
    if let [only] = &mut seen[..] {
        *only = !topology.links.is_empty();
    }
    match entries.iter().zip(seen).find(|(_, seen)| !seen) {
        Some((entry, _)) => {
            let found = format!("`{}`, which no link leads to", entry.value.name.value);
            Err(Fault::new(entry.referenced, found, "all nodes connected"))
        }
        None => Ok(()),
    }
}

/// The networks in use, and what for.
#[derive(Default)]
struct Networks {
    v4: Vec<(Ipv4Net, String)>,
    v6: Vec<(Ipv6Net, String)>,
}

impl Networks {
    /// Claims what a link was given by the file, before the plan fills the gaps.
    fn claim_given(&mut self, entry: &LinkEntry) -> Result<(), Fault> {
        let what = || {
            let names: Vec<&str> = entry.between.value.iter().map(|name| name.value.as_str()).collect();
            format!("the network of {}", names.join("-"))
        };
        if let Some(first) = entry.addresses.as_ref().and_then(|given| given.value.first()) {
            self.claim4(first.value.trunc(), first.referenced, what())?;
        }
        if let Some(first) = entry.addresses6.as_ref().and_then(|given| given.value.first()) {
            self.claim6(first.value.trunc(), first.referenced, what())?;
        }
        Ok(())
    }

    fn claim4(&mut self, net: Ipv4Net, at: Location, what: String) -> Result<(), Fault> {
        if net != net.trunc() {
            return Err(Fault::new(at, format!("{net} as {what}"), format!("the network {}", net.trunc())));
        }
        let clash = self.v4.iter().find(|(other, _)| net.contains(other) || other.contains(&net));
        unclaimed(net, &what, at, clash)?;
        self.v4.push((net, what));
        Ok(())
    }

    fn claim6(&mut self, net: Ipv6Net, at: Location, what: String) -> Result<(), Fault> {
        if net != net.trunc() {
            return Err(Fault::new(at, format!("{net} as {what}"), format!("the network {}", net.trunc())));
        }
        let clash = self.v6.iter().find(|(other, _)| net.contains(other) || other.contains(&net));
        unclaimed(net, &what, at, clash)?;
        self.v6.push((net, what));
        Ok(())
    }
}

fn unclaimed<N: std::fmt::Display>(
    net: N,
    what: &str,
    at: Location,
    clash: Option<&(N, String)>,
) -> Result<(), Fault> {
    match clash {
        None => Ok(()),
        Some((other, use_of)) => {
            let expected = format!("no overlap with {other}, {use_of}");
            Err(Fault::new(at, format!("{net} as {what}"), expected))
        }
    }
}
