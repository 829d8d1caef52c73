//! The relay role: one xfrm interface for all telescopes that end here, one per neighbour for the overlay.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::client::{
    Keepalives, POLICY_PRIORITY, Tunnel, Way, guarded_route, policy, policy_at, rule_from, rule_to,
};
use super::firewall::Firewall;
use super::numbers::{self, LEAVING, NEIGHBOURS_TABLE, POOLS_TABLE, TELESCOPES, TELESCOPES_IN};
use super::{Desired, Neighbour, Refused, Relay, RelayCircuit, Requirement, insert_once, same_family};
use crate::id::{IfId, LinkName, Mtu, TableId};
use crate::state::{
    Link, PolicyDirection, RouteMetrics, Rule, RuleAction, Selector, State, Sysctl, Template,
};

/// Out of a telescope, to a neighbour: into the overlay.
const TELESCOPE_RULE: u32 = crate::ownership::FIRST_RULE;
/// ICMP errors of our own to a neighbour quote telescope packets: into the overlay.
const ICMP_RULE: u32 = TELESCOPE_RULE + 1;
/// Out of a telescope and marked by the exit's firewall: out.
const EXIT_RULE: u32 = TELESCOPE_RULE + 2;
/// Out of a telescope, not to a neighbour, and not marked: nowhere.
const NO_EXIT_RULE: u32 = TELESCOPE_RULE + 3;
/// To a pool: into a telescope or an overlay.
const POOLS_RULE: u32 = TELESCOPE_RULE + 4;
/// Before the rules of a client on the same host: the tunnels' own packets.
const BESIDE_CLIENT_RULE: u32 = TELESCOPE_RULE + 5;
/// The policy of a whole pool comes after those of the circuits in it: of two with equal priority the
/// kernel takes the older.
const POOL_PRIORITY: u32 = POLICY_PRIORITY + 1;
/// RFC 792.
const IPPROTO_ICMP: u8 = 1;
/// RFC 4443.
const IPPROTO_ICMPV6: u8 = 58;

impl Relay {
    pub(super) fn compile(&self, desired: &mut Desired, firewall: &mut Firewall) -> Result<(), Refused> {
        self.check()?;
        let state = &mut desired.state;
        relay_link(state, numbers::telescopes_link(), TELESCOPES)?;
        self.pool_policy(state)?;
        for neighbour in &self.neighbours {
            self.overlay(neighbour, state)?;
        }
        for circuit in &self.circuits {
            self.layer(circuit, state)?;
        }
        self.routing(state)?;
        firewall.relay(self);
        if self.exit.is_some() && self.address.is_ipv4() {
            desired.requirements.push(Requirement {
                path: "net/ipv4/ip_forward",
                value: "1",
                reason: "an exit forwards answers from the internet to its clients",
            });
        }
        if self.pool6.is_some() || self.address.is_ipv6() {
            desired.requirements.push(Requirement {
                path: "net/ipv6/conf/all/forwarding",
                value: "1",
                reason: "a relay of IPv6 forwards it, and Linux has no such setting for one interface",
            });
        }
        Ok(())
    }

    /// Keeps a client on the same host from taking this relay's packets into its circuits.
    pub(super) fn beside_client(&self, state: &mut State) {
        state.rules.insert(rule_from(BESIDE_CLIENT_RULE, self.address, RuleAction::Lookup(TableId::MAIN)));
    }

    fn check(&self) -> Result<(), Refused> {
        same_family(|| "relay address and pool".to_owned(), self.address, self.pool.addr())?;
        let mut pools: Vec<IpNet> = self.neighbours.iter().map(|neighbour| neighbour.pool).collect();
        pools.push(self.pool);
        pools.extend(self.pool6);
        if let Some(pool6) = self.pool6 {
            same_family(|| "pool6".to_owned(), pool6.addr(), Ipv6Addr::UNSPECIFIED.into())?;
        }
        let mut numbers = BTreeSet::new();
        for RelayCircuit { number, .. } in &self.circuits {
            if !numbers.insert(*number) {
                return Err(Refused::Twice { what: format!("circuit {number}") });
            }
        }
        for (position, first) in pools.iter().enumerate() {
            let mut others = pools.iter().skip(position + 1);
            if let Some(second) = others.find(|other| first.contains(*other) || other.contains(first)) {
                return Err(Refused::PoolsOverlap { first: *first, second: *second });
            }
        }
        Ok(())
    }

    /// One policy lets out of the telescopes whatever came through an SA of the pool; the SAs' selectors
    /// hold each circuit to its own address.
    fn pool_policy(&self, state: &mut State) -> Result<(), Refused> {
        let inward = Template { source: None, destination: self.address, reqid: TELESCOPES_IN };
        let selector = Selector::new(self.pool, Selector::any(self.address));
        policy_at(POOL_PRIORITY, state, TELESCOPES, PolicyDirection::Forward, selector, vec![inward])
    }

    fn overlay(&self, peer: &Neighbour, state: &mut State) -> Result<(), Refused> {
        let whose = || format!("neighbour {}", peer.number);
        same_family(whose, self.address, peer.address)?;
        same_family(whose, peer.address, peer.pool.addr())?;
        let if_id = peer.number.if_id();
        let reqid = peer.number.reqid();
        relay_link(state, peer.number.link(), if_id)?;
        let tunnel = Tunnel {
            local: self.address,
            remote: peer.address,
            reqid,
            in_reqid: reqid,
            if_id,
            in_selector: None,
            keepalives: Keepalives::Theirs,
        };
        if let Some(keys) = &peer.keys {
            keys.check(whose)?;
            tunnel.sas(keys, None, None, peer.tfc_padding, state)?;
        }
        let outward = vec![Template { source: Some(self.address), destination: peer.address, reqid }];
        let inward = vec![Template { source: Some(peer.address), destination: self.address, reqid }];
        let any = Selector::any(self.address);
        let host = IpNet::from;
        for (direction, source, destination, templates) in [
            (PolicyDirection::Out, any, any, &outward),
            // telescopes that end here, and the neighbour's ICMP errors
            (PolicyDirection::In, peer.pool, host(self.address), &inward),
            (PolicyDirection::In, host(peer.address), host(self.address), &inward),
            // telescopes on their way back
            (PolicyDirection::Forward, host(peer.address), self.pool, &inward),
        ] {
            policy(state, if_id, direction, Selector::new(source, destination), templates.clone())?;
        }
        Ok(())
    }

    /// What the kernel holds for one circuit alone, of those that pass.
    ///
    /// # Errors
    /// [`Refused`] when the circuit's addresses or keys do not fit this relay.
    pub fn circuit_state(&self, circuit: &RelayCircuit) -> Result<State, Refused> {
        let mut state = State::default();
        self.layer(circuit, &mut state)?;
        Ok(state)
    }

    fn layer(&self, circuit: &RelayCircuit, state: &mut State) -> Result<(), Refused> {
        let whose = || format!("circuit {}", circuit.number);
        same_family(whose, self.address, circuit.peer)?;
        circuit.keys.check(whose)?;
        let address6 = circuit.address6.map(IpAddr::V6);
        for (address, pool) in [(Some(circuit.address), Some(self.pool)), (address6, self.pool6)] {
            let Some(address) = address else { continue };
            let Some(pool) = pool else { return Err(Refused::NoPool6 { whose: whose(), address }) };
            if !pool.contains(&address) {
                return Err(Refused::OutsidePool { whose: whose(), address, pool });
            }
        }
        let reqid = circuit.number.reqid();
        let any = Selector::any(circuit.address);
        // An SA for both families can have no selector, so that policies hold the circuit to its addresses.
        let (in_reqid, in_selector, out_selector) = if address6.is_some() {
            (reqid, None, None)
        } else {
            let own = IpNet::from(circuit.address);
            (TELESCOPES_IN, Some(Selector::new(own, any)), Some(Selector::new(any, own)))
        };
        let tunnel = Tunnel {
            local: self.address,
            remote: circuit.peer,
            reqid,
            in_reqid,
            if_id: TELESCOPES,
            in_selector,
            keepalives: Keepalives::Theirs,
        };
        tunnel.sas(&circuit.keys, circuit.encapsulation, out_selector, None, state)?;
        let outward = Template { source: Some(self.address), destination: circuit.peer, reqid };
        let inward = Template { source: Some(circuit.peer), destination: self.address, reqid };
        for address in std::iter::once(circuit.address).chain(address6) {
            let any = Selector::any(address);
            let own = IpNet::from(address);
            policy(state, TELESCOPES, PolicyDirection::Out, Selector::new(any, own), vec![outward])?;
            if address6.is_some() {
                let selector = Selector::new(own, any);
                policy(state, TELESCOPES, PolicyDirection::Forward, selector, vec![inward])?;
            }
        }
        Ok(())
    }

    fn routing(&self, state: &mut State) -> Result<(), Refused> {
        let any = Selector::any(self.address);
        let telescopes = numbers::telescopes_link();
        let way = |link| Some(Way { link, preferred_source: None, metrics: RouteMetrics::default() });
        guarded_route(state, POOLS_TABLE, self.pool.trunc(), way(telescopes.clone()))?;
        for peer in &self.neighbours {
            guarded_route(state, POOLS_TABLE, peer.pool.trunc(), way(peer.number.link()))?;
            guarded_route(state, NEIGHBOURS_TABLE, peer.address.into(), way(peer.number.link()))?;
        }
        let icmp = if self.address.is_ipv4() { IPPROTO_ICMP } else { IPPROTO_ICMPV6 };
        let from = |priority, input_link: Option<LinkName>, protocol, action| Rule {
            priority,
            source: any,
            destination: any,
            input_link,
            protocol,
            mark: None,
            action,
        };
        let neighbours = RuleAction::Lookup(NEIGHBOURS_TABLE);
        state.rules.insert(from(TELESCOPE_RULE, Some(telescopes.clone()), None, neighbours));
        let lo = "lo".parse().ok();
        state.rules.insert(from(ICMP_RULE, lo, Some(icmp), neighbours));
        state.rules.insert(rule_to(POOLS_RULE, any, RuleAction::Lookup(POOLS_TABLE)));
        for pool in std::iter::once(self.pool).chain(self.pool6) {
            self.leaving(Selector::any(pool.addr()), &telescopes, state);
        }
        if let Some(pool6) = self.pool6 {
            guarded_route(state, POOLS_TABLE, pool6.trunc(), way(telescopes))?;
            let any6 = Selector::any(pool6.addr());
            state.rules.insert(rule_to(POOLS_RULE, any6, RuleAction::Lookup(POOLS_TABLE)));
        }
        Ok(())
    }

    /// Nothing out of a telescope finds a way out but what an exit's firewall marked: without the firewall,
    /// which hides the addresses of the pool, an exit lets nothing out at all.
    fn leaving(&self, any: IpNet, telescopes: &LinkName, state: &mut State) {
        let rule = |priority, mark, action| Rule {
            priority,
            source: any,
            destination: any,
            input_link: Some(telescopes.clone()),
            protocol: None,
            mark,
            action,
        };
        if self.exit.is_some() {
            state.rules.insert(rule(EXIT_RULE, Some(LEAVING), RuleAction::Lookup(TableId::MAIN)));
        }
        state.rules.insert(rule(NO_EXIT_RULE, None, RuleAction::Unreachable));
    }
}

/// An interface whose packets are forwarded, and whose senders are routed back another way than they came.
fn relay_link(state: &mut State, name: LinkName, if_id: IfId) -> Result<(), Refused> {
    for sysctl in settings(&name) {
        state.sysctls.insert(sysctl.path.clone(), sysctl);
    }
    let link = Link { name: name.clone(), if_id, mtu: Mtu::ETHERNET, up: true };
    insert_once(&mut state.links, name, link)
}

/// The settings we make on the interface called `name`, if it is one of ours: a relay's have some, a client's
/// none.
pub fn settings(name: &LinkName) -> impl Iterator<Item = Sysctl> {
    let relay = numbers::is_telescopes_or_overlay(name);
    let all = [("forwarding", "1"), ("rp_filter", "2"), ("send_redirects", "0")];
    all.into_iter().filter(move |_| relay).map(move |(setting, value)| Sysctl {
        link: name.clone(),
        path: format!("net/ipv4/conf/{name}/{setting}"),
        value: value.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{ExitPolicy, Host};
    use super::*;

    fn rules(exit: Option<ExitPolicy>) -> (Vec<String>, String) {
        let relay = Relay {
            address: "192.0.2.1".parse().unwrap(),
            pool: "10.9.0.0/16".parse().unwrap(),
            pool6: Some("fd00:9::/64".parse().unwrap()),
            exit,
            neighbours: Vec::new(),
            circuits: Vec::new(),
        };
        let state = Host { client: None, relay: Some(relay) }.desired().unwrap().state;
        (state.rules.iter().map(ToString::to_string).collect(), format!("{:?}", state.nft))
    }

    #[test]
    fn only_marked_packets_leave_an_exit() {
        let (with, nft) = rules(Some(ExitPolicy::default()));
        for any in ["0.0.0.0/0", "::/0"] {
            let out = format!("4952: from {any} to {any} iif ippt fwmark 0x49500001/0xffffffff lookup main");
            assert!(with.contains(&out), "{with:?}");
            assert!(with.contains(&format!("4953: from {any} to {any} iif ippt unreachable")), "{with:?}");
        }
        assert!(nft.contains("ip saddr @pool ip daddr != @pools meta mark set 0x49500001"), "{nft}");
        assert!(nft.contains("ip6 saddr @pool6 ip6 daddr != @pool6 meta mark set 0x49500001"), "{nft}");

        assert!(nft.contains(r#"ip saddr @pool oifname != \"ipp*\" rt ipsec missing drop"#), "{nft}");

        let (without, nft) = rules(None);
        assert!(!without.iter().any(|rule| rule.contains("fwmark")), "{without:?}");
        assert!(without.iter().filter(|rule| rule.ends_with("iif ippt unreachable")).count() == 2);
        assert!(!nft.contains("mark"), "{nft}");
    }
}
