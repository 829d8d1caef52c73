//! The relay role: one xfrm interface for all telescopes that end here, one per neighbour for the overlay.

use std::net::IpAddr;

use ipnet::IpNet;

use super::client::{POLICY_PRIORITY, Tunnel, UNREACHABLE_METRIC, policy, rule_to};
use super::firewall::Firewall;
use super::numbers::{self, NEIGHBOURS_TABLE, POOLS_TABLE, TELESCOPES, TELESCOPES_IN};
use super::{Desired, Neighbour, Refused, Relay, RelayCircuit, Requirement, insert_once, same_family};
use crate::id::{IfId, LinkName, Mtu, TableId};
use crate::state::{
    Action, Link, Policy, PolicyDirection, PolicyId, Route, RouteId, RouteKind, RouteMetrics, Rule,
    RuleAction, Selector, State, Sysctl, Template,
};

/// Out of a telescope, to a neighbour: into the overlay.
const TELESCOPE_RULE: u32 = crate::ownership::FIRST_RULE + 10;
/// ICMP errors of our own to a neighbour quote telescope packets: into the overlay.
const ICMP_RULE: u32 = TELESCOPE_RULE + 1;
/// Out of a telescope, not to a neighbour, and no exit: nowhere.
const NO_EXIT_RULE: u32 = TELESCOPE_RULE + 2;
/// To a pool: into a telescope or an overlay.
const POOLS_RULE: u32 = TELESCOPE_RULE + 3;
/// The pool's policy comes after those of single circuits, which the kernel would not prefer by itself.
const POOL_POLICY_PRIORITY: u32 = 2 * POLICY_PRIORITY;
/// The route in use.
const METRIC: u32 = 1;
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
        if self.exit.is_some() {
            desired.requirements.push(Requirement {
                path: "net/ipv4/ip_forward",
                value: "1",
                reason: "an exit forwards answers from the internet to its clients",
            });
        }
        if self.pool6.is_some() {
            desired.requirements.push(Requirement {
                path: "net/ipv6/conf/all/forwarding",
                value: "1",
                reason: "an exit with an IPv6 pool forwards IPv6",
            });
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Refused> {
        same_family(|| "relay address and pool".to_owned(), self.address, self.pool.addr())?;
        let mut pools: Vec<IpNet> = self.neighbours.iter().map(|neighbour| neighbour.pool).collect();
        pools.push(self.pool);
        pools.extend(self.pool6);
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
        let id = PolicyId { if_id: TELESCOPES, direction: PolicyDirection::Forward, selector };
        let (priority, action) = (POOL_POLICY_PRIORITY, Action::Allow);
        insert_once(&mut state.policies, id, Policy { id, priority, action, templates: vec![inward] })
    }

    fn overlay(&self, peer: &Neighbour, state: &mut State) -> Result<(), Refused> {
        let whose = || format!("neighbour {}", peer.number);
        same_family(whose, self.address, peer.address)?;
        same_family(whose, peer.address, peer.pool.addr())?;
        peer.keys.check(whose)?;
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
        };
        tunnel.sas(&peer.keys, None, None, peer.tfc_padding, state)?;
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

    fn layer(&self, circuit: &RelayCircuit, state: &mut State) -> Result<(), Refused> {
        let whose = || format!("circuit {}", circuit.number);
        same_family(whose, self.address, circuit.peer)?;
        circuit.keys.check(whose)?;
        let address6 = circuit.address6.map(IpAddr::V6);
        for (address, pool) in [(Some(circuit.address), Some(self.pool)), (address6, self.pool6)] {
            let Some(address) = address else { continue };
            let pool = pool.unwrap_or_else(|| Selector::any(address));
            if !pool.contains(&address) || self.pool6.is_none() && address.is_ipv6() && self.address.is_ipv4()
            {
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
        guarded_route(state, POOLS_TABLE, self.pool, telescopes.clone())?;
        for peer in &self.neighbours {
            guarded_route(state, POOLS_TABLE, peer.pool, peer.number.link())?;
            guarded_route(state, NEIGHBOURS_TABLE, peer.address.into(), peer.number.link())?;
        }
        let icmp = if self.address.is_ipv4() { IPPROTO_ICMP } else { IPPROTO_ICMPV6 };
        let from = |priority, input_link: Option<LinkName>, protocol, action| Rule {
            priority,
            source: any,
            destination: any,
            input_link,
            protocol,
            action,
        };
        let neighbours = RuleAction::Lookup(NEIGHBOURS_TABLE);
        state.rules.insert(from(TELESCOPE_RULE, Some(telescopes.clone()), None, neighbours));
        let lo = "lo".parse().ok();
        state.rules.insert(from(ICMP_RULE, lo, Some(icmp), neighbours));
        if self.exit.is_none() {
            state.rules.insert(from(NO_EXIT_RULE, Some(telescopes.clone()), None, RuleAction::Unreachable));
        }
        state.rules.insert(rule_to(POOLS_RULE, any, RuleAction::Lookup(POOLS_TABLE)));
        if let Some(pool6) = self.pool6 {
            guarded_route(state, POOLS_TABLE, pool6, telescopes)?;
            let any6 = Selector::any(pool6.addr());
            state.rules.insert(rule_to(POOLS_RULE, any6, RuleAction::Lookup(POOLS_TABLE)));
        }
        Ok(())
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

/// A route through an interface, and the one to nowhere that takes over when the interface is gone.
fn guarded_route(
    state: &mut State,
    table: TableId,
    destination: IpNet,
    link: LinkName,
) -> Result<(), Refused> {
    for (metric, kind) in [(METRIC, RouteKind::Link(link)), (UNREACHABLE_METRIC, RouteKind::Unreachable)] {
        let id = RouteId { table, destination: destination.trunc(), metric };
        let route = Route { id, kind, preferred_source: None, metrics: RouteMetrics::default() };
        insert_once(&mut state.routes, id, route)?;
    }
    Ok(())
}
