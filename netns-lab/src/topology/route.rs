//! Who sends what where: shortest paths over the links, the same for both families.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::{End, LinkId, NodeId, Role, Topology};

/// One entry of a node's routing tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// For these destinations,
    pub to4: Ipv4Net,
    /// or these,
    pub to6: Ipv6Net,
    /// through this neighbour,
    pub via4: Ipv4Addr,
    /// by its other address,
    pub via6: Ipv6Addr,
    /// on this interface.
    pub interface: String,
}

/// How far a node is: microseconds, then links.
type Cost = (u64, usize);

/// How a node is reached.
#[derive(Clone, Copy)]
struct Reached {
    cost: Cost,
    /// The first link of the way.
    first: LinkId,
    /// The last one.
    last: LinkId,
}

impl Topology {
    /// The routes of a node: one per network it is not part of and can reach, or a single default route where
    /// there is one way out.
    ///
    /// Paths have the least delay, then the fewest links; of equal ones the first in the file wins. They lead
    /// through routers, relays and, from the inside out, through NAT boxes.
    #[must_use]
    pub fn routes(&self, from: NodeId) -> Vec<Route> {
        let mut ends = self.ends_of(from);
        if let (Some((_, here, there)), None) = (ends.next(), ends.next()) {
            return vec![route(Ipv4Net::default(), Ipv6Net::default(), here, there)];
        }
        let reached = self.reach(from);
        let mut routes = Vec::new();
        for (index, link) in self.links.iter().enumerate() {
            let id = LinkId(index);
            if link.ends.iter().any(|end| end.node == from) {
                continue;
            }
            let nearest = link
                .ends
                .iter()
                .filter_map(|end| reached[end.node.0].filter(|way| self.passes(end.node, way.last, id)))
                .min_by_key(|way| way.cost);
            let gateway = nearest.and_then(|way| self.ends_of(from).find(|(link, ..)| *link == way.first));
            if let Some((_, here, there)) = gateway {
                routes.push(route(link.ends[0].address4.trunc(), link.ends[0].address6.trunc(), here, there));
            }
        }
        if let Role::Nat { outside } = self.node(from).role
            && let Some((_, here, there)) = self.ends_of(from).find(|(link, ..)| *link == outside)
        {
            routes.push(route(Ipv4Net::default(), Ipv6Net::default(), here, there));
        }
        routes
    }

    /// The ends that a packet to this address is sent from on its way, as far as the routes lead it: ends without
    /// the last node's if there is no way, or one that goes round in circles.
    #[must_use]
    pub fn path(&self, from: NodeId, to: Ipv4Addr) -> Vec<(LinkId, &End)> {
        let mut path: Vec<(LinkId, &End)> = Vec::new();
        let mut node = from;
        while path.len() < self.links.len()
            && !self.ends_of(node).any(|(_, here, _)| here.address4.addr() == to)
        {
            let connected = self.ends_of(node).find(|(_, here, _)| here.address4.contains(&to));
            let next = connected.or_else(|| {
                let routes = self.routes(node).into_iter().filter(|route| route.to4.contains(&to));
                let interface = routes.max_by_key(|route| route.to4.prefix_len())?.interface;
                self.ends_of(node).find(|(_, here, _)| here.interface == interface)
            });
            let Some((link, here, there)) = next else { break };
            path.push((link, here));
            node = there.node;
        }
        path
    }

    /// Dijkstra's algorithm over all nodes.
    fn reach(&self, from: NodeId) -> Vec<Option<Reached>> {
        let mut reached: Vec<Option<Reached>> = vec![None; self.nodes.len()];
        let mut heap = BinaryHeap::from([Reverse(((0, 0), from))]);
        while let Some(Reverse((cost, node))) = heap.pop() {
            let here = reached[node.0];
            if here.is_some_and(|way| way.cost < cost) || (node != from && !self.node(node).role.forwards()) {
                continue;
            }
            for (link, near, far) in self.ends_of(node) {
                let Some(first) =
                    here.map_or(Some(link), |way| self.passes(node, way.last, link).then_some(way.first))
                else {
                    continue;
                };
                let cost = (cost.0 + near.egress.delay.micros(), cost.1 + 1);
                if far.node != from && reached[far.node.0].is_none_or(|known| cost < known.cost) {
                    reached[far.node.0] = Some(Reached { cost, first, last: link });
                    heap.push(Reverse((cost, far.node)));
                }
            }
        }
        reached
    }

    /// Whether a node reached over one link leads on to another: a NAT box does not, from the outside.
    fn passes(&self, node: NodeId, arrived: LinkId, onward: LinkId) -> bool {
        match self.node(node).role {
            Role::Nat { outside } => arrived != outside || onward == outside,
            _ => true,
        }
    }
}

fn route(to4: Ipv4Net, to6: Ipv6Net, here: &End, there: &End) -> Route {
    let (via4, via6) = (there.address4.addr(), there.address6.addr());
    Route { to4, to6, via4, via6, interface: here.interface.clone() }
}
