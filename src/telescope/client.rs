//! The client role: one xfrm interface per circuit, with all layers in one policy.

use std::net::IpAddr;

use ipnet::IpNet;

use super::numbers::{LOOKING_OUT, TRAFFIC_TABLE};
use super::{Client, Desired, Hop, MAX_HOPS, Refused, Stage, Telescope, insert_once, same_family};
use super::{lent, mtu};
use crate::id::{LinkName, TableId};
use crate::state::{
    Action, Address, AddressId, Direction, Link, Policy, PolicyDirection, PolicyId, Progress, Route, RouteId,
    RouteKind, RouteMetrics, Rule, RuleAction, Sa, SaDirection, SaId, Scope, Selector, State, Template,
};

/// The packets of all layers, and what goes to destinations the user allows, are routed as without us.
pub(super) const BYPASS_RULE: u32 = crate::ownership::FIRST_RULE + 10;
/// What is sent from a circuit's address goes through the circuit.
const SOURCE_RULE: u32 = BYPASS_RULE + 5;
/// What goes to a circuit's destinations goes through it.
const TRAFFIC_RULE: u32 = BYPASS_RULE + 6;
/// RFC 768: IKE's transport.
const IPPROTO_UDP: u8 = 17;
/// Metric of the route in use.
const METRIC: u32 = 1;
/// Metric of the route that takes over when the interface is gone: to nowhere.
const UNREACHABLE_METRIC: u32 = 0xffff_fff0;
/// Every policy of ours leaves room before and after it.
pub(super) const POLICY_PRIORITY: u32 = 1000;
/// Sequence numbers remembered on inbound SAs (RFC 4303 §3.4.3): enough for reordering at 1 Gbit/s.
pub(super) const REPLAY_WINDOW: u32 = 4096;

impl Client {
    pub(super) fn compile(&self, desired: &mut Desired) -> Result<(), Refused> {
        let state = &mut desired.state;
        for prefix in &self.allow {
            state.rules.insert(rule_to(BYPASS_RULE, *prefix, RuleAction::Lookup(TableId::MAIN)));
        }
        for prefix in self.guarded.iter().map(IpNet::trunc) {
            guard(prefix, state);
            // else the daemon could not find out which address it has towards the entries
            let everywhere = Selector::any(prefix.addr());
            let looking_out = rule_to(BYPASS_RULE, everywhere, RuleAction::Lookup(TableId::MAIN));
            state.rules.insert(Rule { mark: Some(LOOKING_OUT), ..looking_out });
        }
        for circuit in &self.circuits {
            self.circuit(circuit, state)?;
        }
        Ok(())
    }

    fn circuit(&self, circuit: &Telescope, state: &mut State) -> Result<(), Refused> {
        let number = circuit.number;
        let least = usize::from(circuit.carries_traffic());
        if !(least..=MAX_HOPS).contains(&circuit.hops.len()) {
            return Err(Refused::HopCount { circuit: number, found: circuit.hops.len() });
        }
        let exit = circuit.hops.last().filter(|_| circuit.carries_traffic());
        let layers = circuit.layers();
        let ipv6_inside = exit.is_some_and(|exit| exit.address6.is_some());
        let inside = mtu::of_circuit(circuit.mtu, self.path_mtu, &layers, ipv6_inside)?;
        let lent = circuit.stage == Stage::Lent;
        let mtu = if lent { lent::mtus(inside, &layers).around } else { inside };
        let link = number.link();
        insert_once(
            &mut state.links,
            link.clone(),
            Link { name: link.clone(), if_id: number.if_id(), mtu, up: true },
        )?;
        self.layers(circuit, state)?;
        if lent {
            lent::route_outwards(circuit, state)?;
        }
        for (position, hop) in circuit.hops.iter().enumerate() {
            let last = exit.is_some() && position + 1 == circuit.hops.len();
            if last && lent {
                continue;
            }
            let scope = if last || hop.address.is_ipv6() { Scope::Global } else { Scope::Host };
            address(state, &link, hop.address, scope)?;
            if !last {
                // else the bundle's inner routes lead through the interface and take its MTU for the path's
                state.rules.insert(rule_from(BYPASS_RULE, hop.address, RuleAction::Lookup(TableId::MAIN)));
            }
        }
        if let Some(entry) = circuit.entry() {
            // only from our own address: what the user sends to the entry goes through the circuit
            let first_layer = rule_from(BYPASS_RULE, self.address, RuleAction::Lookup(TableId::MAIN));
            state.rules.insert(Rule { destination: entry.into(), ..first_layer });
        }
        let Some(exit) = exit.filter(|_| !lent) else { return Ok(()) };
        if let Some(address6) = exit.address6 {
            address(state, &link, IpAddr::V6(address6), Scope::Global)?;
        }
        routing(circuit, exit, &link, state)
    }

    /// SAs of every layer, and the policies: all layers at once on the way out, each its own on the way in,
    /// so that what a relay injects below its layer is refused.
    fn layers(&self, circuit: &Telescope, state: &mut State) -> Result<(), Refused> {
        let outer = circuit.number.if_id();
        let lent = circuit.stage == Stage::Lent;
        let inner = if lent { circuit.number.lent_if_id() } else { outer };
        let mut local = self.address;
        let mut templates = Vec::with_capacity(circuit.hops.len());
        for (layer, hop) in (0..).zip(&circuit.hops) {
            let whose = || format!("circuit {} hop {}", circuit.number, layer + 1);
            same_family(whose, local, hop.relay)?;
            hop.keys.check(whose)?;
            let reqid = circuit.number.reqid(layer);
            let exit = usize::try_from(layer).is_ok_and(|layer| layer + 1 == circuit.hops.len());
            let if_id = if exit { inner } else { outer };
            let tunnel = Tunnel {
                local,
                remote: hop.relay,
                reqid,
                in_reqid: reqid,
                if_id,
                in_selector: None,
                keepalives: Keepalives::Ours,
            };
            tunnel.sas(&hop.keys, hop.encapsulation, None, None, state)?;
            templates.push(Template { source: Some(local), destination: hop.relay, reqid });
            let inward = Template { source: Some(hop.relay), destination: local, reqid };
            let address6 = hop.address6.filter(|_| exit).map(IpAddr::V6);
            for address in std::iter::once(hop.address).chain(address6) {
                let selector = Selector::new(Selector::any(address), address.into());
                policy(state, if_id, PolicyDirection::In, selector, vec![inward])?;
            }
            local = hop.address;
        }
        for (layers, relay) in circuit.reached_by_ike() {
            let Some(from) = layers.checked_sub(1).and_then(|hop| circuit.hops.get(hop)) else { continue };
            let around = templates.iter().take(layers).rev().copied().collect();
            let selector =
                Selector { protocol: Some(IPPROTO_UDP), ..Selector::new(from.address.into(), relay.into()) };
            policy(state, outer, PolicyDirection::Out, selector, around)?;
        }
        if lent {
            lent::innermost_layer(circuit, &mut templates, state)?;
        }
        templates.reverse();
        let exit = circuit.hops.last().filter(|_| circuit.carries_traffic());
        let addresses = exit.into_iter().flat_map(|hop| [Some(hop.address), hop.address6.map(IpAddr::V6)]);
        for address in addresses.flatten() {
            let selector = Selector::new(address.into(), Selector::any(address));
            policy(state, inner, PolicyDirection::Out, selector, templates.clone())?;
        }
        Ok(())
    }
}

/// Both directions of a tunnel as one end sees them.
pub(super) struct Tunnel {
    pub(super) local: IpAddr,
    pub(super) remote: IpAddr,
    pub(super) reqid: crate::id::Reqid,
    pub(super) in_reqid: crate::id::Reqid,
    pub(super) if_id: crate::id::IfId,
    pub(super) in_selector: Option<Selector>,
    /// Who keeps the mapping of a NAT on the way alive.
    pub(super) keepalives: Keepalives,
}

/// Who sends NAT keepalives: whoever is behind the NAT (RFC 3948 §4), so that a relay does not have to for all of
/// its clients.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keepalives {
    Ours,
    Theirs,
}

impl Tunnel {
    /// Adds the SAs. `out_selector` limits what may go out; `tfc_padding` pads it.
    pub(super) fn sas(
        &self,
        keys: &super::TunnelKeys,
        encapsulation: Option<crate::state::UdpEncapsulation>,
        out_selector: Option<Selector>,
        tfc_padding: Option<u32>,
        state: &mut State,
    ) -> Result<(), Refused> {
        let ours = self.keepalives == Keepalives::Ours;
        let nat_keepalive = encapsulation.filter(|_| ours).map(|_| NAT_KEEPALIVE);
        let outward = SaDirection::Out { tfc_padding, nat_keepalive };
        let inward = SaDirection::In { replay_window: REPLAY_WINDOW };
        let all = std::iter::once((outward, &keys.out)).chain(keys.r#in.iter().map(|sa| (inward, sa)));
        for (direction, sa) in all {
            let (source, destination, reqid, selector) = match direction.direction() {
                Direction::Out => (self.local, self.remote, self.reqid, out_selector),
                Direction::In => (self.remote, self.local, self.in_reqid, self.in_selector),
            };
            let id = SaId { destination, spi: sa.spi };
            let encapsulation = encapsulation.map(|ports| match direction.direction() {
                Direction::Out => ports,
                Direction::In => crate::state::UdpEncapsulation {
                    source_port: ports.destination_port,
                    destination_port: ports.source_port,
                },
            });
            let sa = Sa {
                source,
                id,
                reqid,
                if_id: self.if_id,
                direction,
                suite: keys.suite,
                sequence: keys.sequence,
                key: sa.key.clone(),
                selector,
                encapsulation,
                progress: Progress::default(),
            };
            insert_once(&mut state.sas, id, sa)?;
        }
        Ok(())
    }
}

/// Seconds between NAT keepalives: RFC 3948 §4 asks for 20 by default.
const NAT_KEEPALIVE: u32 = 20;

pub(super) fn policy(
    state: &mut State,
    if_id: crate::id::IfId,
    direction: PolicyDirection,
    selector: Selector,
    templates: Vec<Template>,
) -> Result<(), Refused> {
    policy_at(POLICY_PRIORITY, state, if_id, direction, selector, templates)
}

pub(super) fn policy_at(
    priority: u32,
    state: &mut State,
    if_id: crate::id::IfId,
    direction: PolicyDirection,
    selector: Selector,
    templates: Vec<Template>,
) -> Result<(), Refused> {
    let id = PolicyId { if_id, direction, selector };
    let policy = Policy { id, priority, action: Action::Allow, templates };
    insert_once(&mut state.policies, id, policy)
}

fn address(state: &mut State, link: &LinkName, address: IpAddr, scope: Scope) -> Result<(), Refused> {
    let id = AddressId { link: link.clone(), prefix: address.into() };
    insert_once(&mut state.addresses, id.clone(), Address { id, scope })
}

pub(super) fn rule_to(priority: u32, destination: IpNet, action: RuleAction) -> Rule {
    let source = Selector::any(destination.addr());
    Rule { priority, source, destination, input_link: None, protocol: None, mark: None, action }
}

/// The circuit's own table, with nowhere to go when the interface is gone, and the rules that lead there.
/// The destinations of all circuits share a table, so that the longest prefix decides between them. One of a
/// family that the circuit does not carry is unreachable rather than reached directly.
fn routing(circuit: &Telescope, exit: &Hop, link: &LinkName, state: &mut State) -> Result<(), Refused> {
    let table = circuit.number.table();
    let addresses = [Some(exit.address), exit.address6.map(IpAddr::V6)];
    let through = |address| Way {
        link: link.clone(),
        preferred_source: Some(address),
        metrics: circuit.options.clone(),
    };
    for address in addresses.into_iter().flatten() {
        let everywhere = Selector::any(address);
        guarded_route(state, table, everywhere, Some(through(address)))?;
        state.rules.insert(rule_from(SOURCE_RULE, address, RuleAction::Lookup(table)));
    }
    for prefix in circuit.traffic.iter().map(IpNet::trunc) {
        let of_family = |address: &IpAddr| address.is_ipv4() == prefix.addr().is_ipv4();
        let source = addresses.into_iter().flatten().find(of_family);
        guard(prefix, state);
        let Some(source) = source else { continue };
        open_route(state, TRAFFIC_TABLE, prefix, through(source))
            .map_err(|_| Refused::Twice { what: format!("traffic to {prefix}") })?;
    }
    Ok(())
}

/// Makes destinations unreachable but through circuits.
fn guard(prefix: IpNet, state: &mut State) {
    let (id, route) = to_nowhere(TRAFFIC_TABLE, prefix);
    state.routes.insert(id, route);
    let everywhere = Selector::any(prefix.addr());
    state.rules.insert(rule_to(TRAFFIC_RULE, everywhere, RuleAction::Lookup(TRAFFIC_TABLE)));
}

pub(super) fn rule_from(priority: u32, source: IpAddr, action: RuleAction) -> Rule {
    let destination = Selector::any(source);
    Rule {
        priority,
        source: source.into(),
        destination,
        input_link: None,
        protocol: None,
        mark: None,
        action,
    }
}

/// Where a route leads as long as its interface is there.
pub(super) struct Way {
    pub(super) link: LinkName,
    pub(super) preferred_source: Option<IpAddr>,
    pub(super) metrics: RouteMetrics,
}

/// A route through an interface, and the one to nowhere that takes over when the interface is gone.
pub(super) fn guarded_route(
    state: &mut State,
    table: TableId,
    destination: IpNet,
    way: Option<Way>,
) -> Result<(), Refused> {
    let (nowhere, route) = to_nowhere(table, destination);
    insert_once(&mut state.routes, nowhere, route)?;
    way.map_or(Ok(()), |way| open_route(state, table, destination, way))
}

fn to_nowhere(table: TableId, destination: IpNet) -> (RouteId, Route) {
    let id = RouteId { table, destination, metric: UNREACHABLE_METRIC };
    let kind = RouteKind::Unreachable;
    (id, Route { id, kind, preferred_source: None, metrics: RouteMetrics::default() })
}

fn open_route(state: &mut State, table: TableId, destination: IpNet, way: Way) -> Result<(), Refused> {
    let Way { link, preferred_source, metrics } = way;
    let id = RouteId { table, destination, metric: METRIC };
    insert_once(&mut state.routes, id, Route { id, kind: RouteKind::Link(link), preferred_source, metrics })
}
