//! The nftables table: what must never pass, whatever else is missing.
//!
//! Chains accept by default, for the packets of others pass them too; every rule of ours names addresses or
//! interfaces of ours. Two exceptions are asked for by name: the kill switch, and a relay's pools.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::numbers::LEAVING;
use super::{Client, ExitPolicy, Relay};
use crate::state::{NftChain, NftHook, NftRule, NftSet, NftSetKind, NftTable};

/// Collects the rules of both roles.
#[derive(Debug, Default)]
pub(super) struct Firewall {
    sets: Vec<NftSet>,
    input: Vec<String>,
    forward: Vec<String>,
    prerouting: Vec<String>,
    mangle: Vec<String>,
    output: Vec<String>,
    postrouting: Vec<String>,
    last: Vec<String>,
}

/// nft's word for the family of an address.
const fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("{{ {} }}", items.join(", "))
}

fn ports(ranges: &[(u16, u16)]) -> String {
    list(ranges.iter().map(
        |(first, last)| {
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        },
    ))
}

impl Firewall {
    /// What a client must never send or accept.
    pub(super) fn client(&mut self, client: &Client, relay: Option<&Relay>) {
        self.handed_out(client);
        if client.kill_switch {
            self.kill_switch(client, relay);
        }
    }

    /// The addresses that relays handed out are used inside circuits and nowhere else: nothing from them
    /// leaves bare, and nothing to them is accepted that no circuit brought.
    fn handed_out(&mut self, client: &Client) {
        let hops = client.circuits.iter().flat_map(|circuit| &circuit.hops);
        let addresses = hops.flat_map(|hop| [Some(hop.address), hop.address6.map(IpAddr::V6)]);
        for (word, name) in self.addresses("handed_out", addresses.flatten()) {
            self.input.push(format!("{word} daddr @{name} iifname != \"ippc*\" drop"));
            self.output.push(format!("{word} saddr @{name} oifname != \"ippc*\" rt ipsec missing drop"));
        }
    }

    /// Drops what no circuit carries, but the layers themselves, IKE with the entries, what the user
    /// allowed, what a link needs to work at all, and the tunnels of a relay on the same host.
    fn kill_switch(&mut self, client: &Client, relay: Option<&Relay>) {
        let entries = self.addresses("entries", client.circuits.iter().filter_map(super::Telescope::entry));
        let output = &mut self.output;
        output.push("oifname \"lo\" accept".to_owned());
        output.push("oifname \"ipp*\" accept".to_owned());
        output.push("rt ipsec exists accept".to_owned());
        for (word, name) in entries {
            output.push(format!("{word} daddr @{name} meta l4proto esp accept"));
            output.push(format!("{word} daddr @{name} udp dport {{ 500, 4500 }} accept"));
        }
        if let Some(Relay { address, .. }) = relay {
            let word = family(*address);
            output.push(format!("{word} saddr {address} meta l4proto esp accept"));
            output.push(format!("{word} saddr {address} udp sport {{ 500, 4500 }} accept"));
        }
        for prefix in &client.allow {
            output.push(format!("{} daddr {prefix} accept", family(prefix.addr())));
        }
        output.push("udp sport 68 udp dport 67 accept".to_owned());
        output.push(
            "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld2-listener-report } accept"
                .to_owned(),
        );
        output.push("drop".to_owned());
        self.forward.push("iifname != \"ipp*\" oifname != \"ipp*\" drop".to_owned());
    }

    /// What a relay must never forward or send, and what an exit lets out.
    pub(super) fn relay(&mut self, relay: &Relay) {
        let word = family(relay.address);
        self.set("pool", &[relay.pool]);
        let pools = std::iter::once(relay.pool).chain(relay.neighbours.iter().map(|peer| peer.pool));
        self.set("pools", &pools.collect::<Vec<_>>());
        let neighbours: Vec<_> = relay.neighbours.iter().map(|peer| IpNet::from(peer.address)).collect();
        let from_pool = format!("{word} saddr @pool iifname != \"ippt\" drop");
        self.input.push(format!("{word} saddr @pools iifname != \"ipp*\" drop"));
        self.input.push(from_pool.clone());
        // an overlay brings layers and their IKE to this host, no other service
        let layers = format!("iifname \"ippo*\" {word} saddr @pools");
        self.input.push(format!("{layers} meta l4proto != {{ esp, udp }} drop"));
        self.input.push(format!("{layers} udp dport != {{ 500, 4500 }} drop"));
        self.forward.push(format!("{word} daddr @pools oifname != \"ipp*\" drop"));
        self.forward.push(from_pool);
        self.forward.push("iifname \"ippo*\" oifname != \"ippt\" drop".to_owned());
        self.forward.push("iifname \"ippt\" oifname \"ippt\" drop".to_owned());
        self.output.push(format!("{word} daddr @pools oifname != \"ipp*\" rt ipsec missing drop"));
        if !neighbours.is_empty() {
            self.set("neighbours", &neighbours);
            let icmp = if relay.address.is_ipv4() { "icmp" } else { "icmpv6" };
            self.forward.push(format!("iifname \"ippt\" {word} daddr @neighbours oifname != \"ippo*\" drop"));
            self.forward.push(format!("iifname \"ippt\" oifname \"ippo*\" {word} daddr != @neighbours drop"));
            self.output
                .push(format!("{word} daddr @neighbours meta l4proto {icmp} oifname != \"ippo*\" drop"));
        }
        match &relay.exit {
            Some(policy) => self.exit(relay, policy),
            None => self.forward.push("iifname \"ippt\" oifname != \"ippo*\" drop".to_owned()),
        }
    }

    fn exit(&mut self, relay: &Relay, policy: &ExitPolicy) {
        let leaving = "iifname \"ippt\" oifname != \"ipp*\"";
        for (v4, name, word) in [(true, "exit_reject", "ip"), (false, "exit_reject6", "ip6")] {
            let prefixes: Vec<IpNet> =
                policy.reject.iter().copied().filter(|prefix| prefix.addr().is_ipv4() == v4).collect();
            if !prefixes.is_empty() {
                self.set(name, &prefixes);
                self.forward
                    .push(format!("{leaving} {word} daddr @{name} reject with icmpx type admin-prohibited"));
            }
        }
        for (protocol, allowed) in [("tcp", &policy.tcp_ports), ("udp", &policy.udp_ports)] {
            match allowed.as_deref() {
                None => {}
                Some([]) => self.forward.push(format!("{leaving} meta l4proto {protocol} drop")),
                Some(ranges) => self.forward.push(format!(
                    "{leaving} {protocol} dport != {} reject with icmpx type admin-prohibited",
                    ports(ranges)
                )),
            }
        }
        let word = family(relay.address);
        self.mangle.push(format!("{leaving} {word} dscp set cs0"));
        self.leaves(word, "pool", "pools", leaving);
        if let Some(pool6) = relay.pool6 {
            if word != "ip6" {
                self.mangle.push(format!("{leaving} ip6 dscp set cs0"));
            }
            self.set("pool6", &[pool6]);
            self.forward.push("ip6 saddr @pool6 iifname != \"ippt\" drop".to_owned());
            self.forward.push("ip6 daddr @pool6 oifname != \"ippt\" drop".to_owned());
            self.leaves("ip6", "pool6", "pool6", leaving);
        }
    }

    /// What may leave gets the mark without which there is no way out, and the exit's address. What has kept
    /// an address of the pool all the same, as connection tracking leaves invalid packets alone, is dropped.
    /// Circuits that go on from here have kept it too: the kernel shows their packets once more, with the
    /// interface that the overlay's own packets leave by, right before it encrypts them.
    fn leaves(&mut self, word: &str, pool: &str, pools: &str, leaving: &str) {
        let mark = LEAVING.value;
        self.prerouting.push(format!(
            "iifname \"ippt\" {word} saddr @{pool} {word} daddr != @{pools} meta mark set {mark:#x}"
        ));
        self.postrouting.push(format!("{word} saddr @{pool} {leaving} masquerade fully-random"));
        self.last.push(format!("{word} saddr @{pool} oifname != \"ipp*\" rt ipsec missing drop"));
    }

    /// Makes two sets of addresses that change with the circuits, as the rules about them do not. Gives nft's
    /// word for the family, and the name, of each.
    fn addresses(
        &mut self,
        name: &str,
        addresses: impl Iterator<Item = IpAddr>,
    ) -> [(&'static str, String); 2] {
        let (mut ipv4, mut ipv6) = (BTreeSet::new(), BTreeSet::new());
        for address in addresses {
            match address {
                IpAddr::V4(address) => drop(ipv4.insert(address)),
                IpAddr::V6(address) => drop(ipv6.insert(address)),
            }
        }
        let names = [name.to_owned(), format!("{name}6")];
        let kinds = [NftSetKind::Ipv4(ipv4), NftSetKind::Ipv6(ipv6)];
        self.sets.extend(names.iter().cloned().zip(kinds).map(|(name, kind)| NftSet { name, kind }));
        let [ipv4, ipv6] = names;
        [("ip", ipv4), ("ip6", ipv6)]
    }

    fn set(&mut self, name: &str, prefixes: &[IpNet]) {
        let prefixes = IpNet::aggregate(&prefixes.to_vec());
        self.sets.push(NftSet { name: name.to_owned(), kind: NftSetKind::Prefixes(prefixes) });
    }

    /// The table, or `None` when no role asked for anything.
    pub(super) fn into_table(self) -> Option<NftTable> {
        let chains: Vec<NftChain> = [
            ("input", NftHook::Input, self.input),
            ("prerouting", NftHook::PreroutingMangle, self.prerouting),
            ("mangle", NftHook::ForwardMangle, self.mangle),
            ("forward", NftHook::Forward, self.forward),
            ("output", NftHook::Output, self.output),
            ("postrouting", NftHook::PostroutingNat, self.postrouting),
            ("last", NftHook::PostroutingLast, self.last),
        ]
        .into_iter()
        .filter(|(_, _, rules)| !rules.is_empty())
        .map(|(name, hook, rules)| NftChain {
            name: name.to_owned(),
            hook,
            rules: rules.into_iter().map(NftRule).collect(),
        })
        .collect();
        (!chains.is_empty()).then_some(NftTable { sets: self.sets, chains })
    }
}
