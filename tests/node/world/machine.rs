//! A host: its node, and a kernel that keeps books.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ippriv::control::{Event, Reply};
use ippriv::id::{ProcessId, Spi};
use ippriv::ike::SocketId;
use ippriv::node::{Binding, CommandId, Node};
use ippriv::plan::{Object, Op, OpError, Outcome};
use ippriv::policy::Policy;
use ippriv::state::{Direction, Link, NftSetKind, RouteKind, RuleAction, SaId, State};

/// Which operations a kernel refuses, by their number and themselves.
pub(crate) type Refuses = Box<dyn FnMut(u64, &Op) -> bool>;

/// A host.
pub(crate) struct Machine {
    pub(crate) node: Node,
    pub(crate) kernel: State,
    pub(crate) sockets: BTreeMap<SocketId, Binding>,
    pub(crate) journal: BTreeMap<String, Vec<u8>>,
    pub(crate) events: Vec<Event>,
    pub(crate) replies: Vec<(CommandId, Reply)>,
    pub(crate) refuses: Option<Refuses>,
    /// How many operations the kernel was asked for.
    pub(crate) ops: u64,
    /// How many outputs the node gave since its last start.
    pub(crate) outputs: u64,
    pub(crate) policy: Policy,
    pub(crate) number: u8,
    pub(crate) address: IpAddr,
    /// Counts starts, so that no two use the same randomness.
    pub(crate) starts: u16,
    pub(crate) alive: bool,
    /// Interfaces in other namespaces, each with the process there.
    pub(crate) lent: Vec<(Link, ProcessId)>,
    /// Processes whose end is waited for.
    pub(crate) watched: BTreeSet<ProcessId>,
    /// Whether no interface can be moved elsewhere.
    pub(crate) lends_nothing: bool,
    /// How many packets came through each inbound SA.
    pub(crate) packets: BTreeMap<Spi, u64>,
    /// How often the node asked for that.
    pub(crate) counted: u64,
    /// Every SA there ever was.
    made: BTreeSet<SaId>,
}

impl Machine {
    pub(crate) fn new(node: Node, policy: Policy, number: u8, address: IpAddr) -> Self {
        Self {
            node,
            kernel: State::default(),
            sockets: BTreeMap::new(),
            journal: BTreeMap::new(),
            events: Vec::new(),
            replies: Vec::new(),
            refuses: None,
            ops: 0,
            outputs: 0,
            policy,
            number,
            address,
            starts: 0,
            alive: true,
            lent: Vec::new(),
            watched: BTreeSet::new(),
            lends_nothing: false,
            packets: BTreeMap::new(),
            counted: 0,
            made: BTreeSet::new(),
        }
    }

    /// Makes an interface in another namespace.
    pub(crate) fn lend(&mut self, link: Link, process: ProcessId) -> Result<(), OpError> {
        let same = |other: &Link| other.if_id == link.if_id;
        let here = self.kernel.links.values().any(same);
        if self.lends_nothing || here || self.lent.iter().any(|(other, _)| same(other)) {
            return Err(OpError::Refused { errno: 17, text: None });
        }
        self.lent.push((link, process));
        Ok(())
    }

    /// How many packets came through SAs, as far as they are there.
    pub(crate) fn count(&mut self, sas: &[SaId]) -> Vec<(SaId, u64)> {
        self.counted += 1;
        let inward = |id: &&SaId| {
            let sa = self.kernel.sas.get(id);
            sa.is_some_and(|sa| sa.direction.direction() == Direction::In)
        };
        let packets = |id: &SaId| self.packets.get(&id.spi).copied().unwrap_or_default();
        sas.iter().filter(inward).map(|id| (*id, packets(id))).collect()
    }

    pub(crate) fn is_client(&self) -> bool {
        self.policy.client.is_some()
    }

    /// Whether a socket could be bound there.
    pub(crate) fn has(&self, binding: &Binding) -> bool {
        let inner = self
            .kernel
            .addresses
            .keys()
            .any(|id| id.prefix.addr() == binding.address && Some(&id.link) == binding.link.as_ref());
        binding.address == self.address && binding.link.is_none() || inner
    }

    /// What a kernel does: nothing is made twice, nothing is deleted that is not there.
    pub(crate) fn execute(&mut self, ops: &[Op]) -> Vec<Outcome> {
        let mut failed = false;
        ops.iter()
            .map(|op| {
                if failed {
                    return Outcome::NotTried;
                }
                self.ops += 1;
                if self.refuses.as_mut().is_some_and(|refuses| refuses(self.ops, op)) {
                    failed = true;
                    return Outcome::Failed(OpError::Refused { errno: 12, text: None });
                }
                assert!(self.apply(op), "{op}");
                self.assert_addresses_guarded(op);
                Outcome::Done
            })
            .collect()
    }

    fn apply(&mut self, op: &Op) -> bool {
        if let Op::Create(Object::Sa(sa)) = op {
            assert!(self.made.insert(sa.id), "{op}: its nonces would be used twice");
        }
        let state = &mut self.kernel;
        macro_rules! on {
            ($map:ident, $key:expr, $object:expr) => {
                match op {
                    Op::Create(_) => state.$map.insert($key, $object).is_none(),
                    Op::Replace { .. } => state.$map.insert($key, $object).is_some(),
                    Op::Delete(_) => state.$map.remove(&$key).is_some(),
                }
            };
        }
        match op.object().clone() {
            Object::Link(link) => on!(links, link.name.clone(), link),
            Object::Sa(sa) => on!(sas, sa.id, sa),
            Object::Policy(policy) => on!(policies, policy.id, policy),
            Object::Address(address) => on!(addresses, address.id.clone(), address),
            Object::Route(route) => on!(routes, route.id, route),
            Object::Sysctl(sysctl) => on!(sysctls, sysctl.path.clone(), sysctl),
            Object::Rule(rule) => match op {
                Op::Delete(_) => state.rules.remove(&rule),
                Op::Create(_) | Op::Replace { .. } => state.rules.insert(rule),
            },
            Object::Nft(table) => {
                state.nft = if matches!(op, Op::Delete(_)) { None } else { Some(table) };
                true
            }
        }
    }

    /// Panics if a relay's address is there that the guards of the firewall do not look at.
    fn assert_addresses_guarded(&self, after: &Op) {
        let sets = self.kernel.nft.iter().flat_map(|table| &table.sets);
        let kinds: Vec<_> =
            sets.filter(|set| set.name.starts_with("handed_out")).map(|set| &set.kind).collect();
        let known = |address: IpAddr| {
            kinds.iter().any(|kind| match (kind, address) {
                (NftSetKind::Ipv4(known), IpAddr::V4(address)) => known.contains(&address),
                (NftSetKind::Ipv6(known), IpAddr::V6(address)) => known.contains(&address),
                _ => false,
            })
        };
        let circuits = self.kernel.addresses.keys().filter(|id| id.link.as_str().starts_with("ippc"));
        for id in circuits {
            assert!(known(id.prefix.addr()), "no guard looks at {id} after {after}");
        }
    }

    /// Panics if anything that a circuit is to carry could leave in clear.
    pub(crate) fn assert_closed(&self) {
        let Some(client) = self.policy.client.as_ref().filter(|_| !self.kernel.is_empty()) else { return };
        let all = client.circuits.iter();
        for (hops, prefix) in all.flat_map(|one| one.traffic.iter().map(|prefix| (one.hops.len(), prefix))) {
            let routes: Vec<_> =
                self.kernel.routes.values().filter(|route| route.id.destination == *prefix).collect();
            let nowhere = |table| {
                let found = routes.iter().filter(|route| route.id.table == table);
                found
                    .max_by_key(|route| route.id.metric)
                    .is_some_and(|route| route.kind == RouteKind::Unreachable)
            };
            let tables = self.kernel.rules.iter().filter_map(|rule| match rule.action {
                RuleAction::Lookup(table)
                    if rule.source.prefix_len() == 0 && rule.destination.prefix_len() == 0 =>
                {
                    Some(table)
                }
                _ => None,
            });
            let guard = tables.into_iter().find(|table| nowhere(*table));
            let guard = guard.unwrap_or_else(|| panic!("nothing guards {prefix}"));
            for route in routes.iter().filter(|route| route.id.table == guard) {
                let RouteKind::Link(link) = &route.kind else { continue };
                let link = &self.kernel.links[link];
                let source = route.preferred_source.unwrap();
                let policy = self
                    .kernel
                    .policies
                    .values()
                    .find(|policy| {
                        policy.id.if_id == link.if_id
                            && policy.id.selector.source == ipnet::IpNet::from(source)
                    })
                    .unwrap_or_else(|| panic!("no policy for {source}"));
                assert_eq!(policy.templates.len(), hops, "{prefix}: not through all layers");
            }
        }
        let nft = self.kernel.nft.as_ref().unwrap_or_else(|| panic!("no kill switch"));
        let output =
            nft.chains.iter().filter(|chain| chain.rules.last().is_some_and(|rule| rule.0 == "drop"));
        assert_eq!(output.count(), 1, "no kill switch: {nft:?}");
        for policy in self.kernel.policies.values() {
            assert!(!policy.templates.is_empty(), "in clear: {}", policy.id);
        }
        for binding in self.sockets.values() {
            let inside = matches!(binding.address, IpAddr::V4(address) if address.is_private());
            assert_eq!(inside, binding.link.is_some(), "{binding:?}");
        }
    }
}
