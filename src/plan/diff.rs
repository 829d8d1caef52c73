//! What has to change, and in which order.
//!
//! New before old, so that nothing that stays is ever without its object: guards first (nftables), then
//! interfaces, settings, SAs to receive through, SAs to send through, policies, addresses, routes, rules;
//! then what is no longer wanted, the other way round.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::op::{Object, Op};
use crate::state::{
    Address, Current, Direction, Link, NftTable, PolicyDirection, Route, RouteKind, Sa, State,
};

/// A desired object whose place somebody else's object has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{object}: expected the place to be free or ours, found somebody else's; nothing was changed")]
pub struct Conflict {
    /// The object that cannot be made.
    pub object: String,
}

/// Ordered operations that turn one state into another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The operations, each with an inverse.
    pub ops: Vec<Op>,
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// The operations that turn `current` into `desired`.
///
/// # Errors
/// Every [`Conflict`] there is; then nothing may be applied.
pub fn diff(desired: &State, current: &Current) -> Result<Plan, Vec<Conflict>> {
    let conflicts = conflicts(desired, current);
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    Ok(changes(desired, &current.owned))
}

/// The operations that turn `owned` into `desired`, whatever others have. Either may be a part of a host's
/// state, as long as both are the same part.
#[must_use]
pub fn changes(desired: &State, owned: &State) -> Plan {
    let mut plan = Builder::default();
    let remade = plan.links_to_remake(desired, owned);
    let owned = remade.as_ref().unwrap_or(owned);
    let remade = plan.addresses_to_remake(desired, owned);
    let owned = remade.as_ref().unwrap_or(owned);
    plan.nft(desired, owned);
    plan.each(&desired.links, &owned.links, Object::Link);
    plan.sysctls(desired, owned);
    plan.sas(desired, owned);
    plan.each(&desired.policies, &owned.policies, Object::Policy);
    plan.each(&desired.addresses, &owned.addresses, Object::Address);
    plan.each(&desired.routes, &owned.routes, Object::Route);
    for rule in desired.rules.difference(&owned.rules) {
        plan.make.push(Op::Create(Object::Rule(rule.clone())));
    }
    for rule in owned.rules.difference(&desired.rules) {
        plan.remove.push(Op::Delete(Object::Rule(rule.clone())));
    }
    plan.finish()
}

fn conflicts(desired: &State, current: &Current) -> Vec<Conflict> {
    let links = desired.links.values().filter(|link| {
        current.foreign_links.contains(&link.name) || current.foreign_if_ids.contains(&link.if_id)
    });
    let sas = desired.sas.values().filter(|sa| current.foreign_sas.contains(&sa.id));
    let policies = desired.policies.values().filter(|policy| current.foreign_policies.contains(&policy.id));
    let routes = desired.routes.values().filter(|route| current.foreign_routes.contains(&route.id));
    links
        .map(|link| Object::Link(link.clone()).to_string())
        .chain(sas.map(|sa| format!("sa {}", sa.id)))
        .chain(policies.map(|policy| format!("policy {}", policy.id)))
        .chain(routes.map(|route| format!("route {}", route.id)))
        .map(|object| Conflict { object })
        .collect()
}

#[derive(Default)]
struct Builder {
    prelude: Vec<Op>,
    make: Vec<Op>,
    remove: Vec<Op>,
}

impl Builder {
    /// An interface cannot change its identifier, nor two have the same, and one that loses IPv6 loses what
    /// hangs on it: one whose name, identifier or IPv6 is wanted otherwise goes first, with all that hangs on
    /// it. Gives what is left then, or `None` when no interface has to go.
    fn links_to_remake(&mut self, desired: &State, owned: &State) -> Option<State> {
        let changed = |link: &&Link| {
            let mut wanted = desired.links.values();
            wanted.any(|wanted| {
                let same = wanted.name == link.name;
                same != (wanted.if_id == link.if_id) || same && wanted.has_ipv6() != link.has_ipv6()
            })
        };
        let links: Vec<_> = owned.links.values().filter(changed).cloned().collect();
        if links.is_empty() {
            return None;
        }
        let mut left = owned.clone();
        for link in links {
            let over = |kind: &RouteKind| matches!(kind, RouteKind::Link(name) if *name == link.name);
            let routes = owned.routes.values().filter(|route| over(&route.kind));
            self.prelude.extend(routes.map(|route| Op::Delete(Object::Route(route.clone()))));
            let addresses = owned.addresses.values().filter(|address| address.id.link == link.name);
            self.prelude.extend(addresses.map(|address| Op::Delete(Object::Address(address.clone()))));
            let sysctls = owned.sysctls.values().filter(|sysctl| sysctl.link == link.name);
            self.prelude.extend(sysctls.map(|sysctl| Op::Delete(Object::Sysctl(sysctl.clone()))));
            left.routes.retain(|_, route| !over(&route.kind));
            left.addresses.retain(|id, _| id.link != link.name);
            left.sysctls.retain(|_, sysctl| sysctl.link != link.name);
            left.links.remove(&link.name);
            self.prelude.push(Op::Delete(Object::Link(link)));
        }
        Some(left)
    }

    /// An address cannot change its scope, and the kernel removes the routes that prefer one that goes: both
    /// go first. Gives what is left then, or `None` when no address has to go.
    fn addresses_to_remake(&mut self, desired: &State, owned: &State) -> Option<State> {
        let changed =
            |address: &&Address| desired.addresses.get(&address.id).is_some_and(|wanted| wanted != *address);
        let addresses: Vec<_> = owned.addresses.values().filter(changed).cloned().collect();
        if addresses.is_empty() {
            return None;
        }
        let mut left = owned.clone();
        for address in addresses {
            let prefers = |route: &Route| route.preferred_source == Some(address.id.prefix.addr());
            let routes = left.routes.values().filter(|route| prefers(route));
            self.prelude.extend(routes.map(|route| Op::Delete(Object::Route(route.clone()))));
            left.routes.retain(|_, route| !prefers(route));
            left.addresses.remove(&address.id);
            self.prelude.push(Op::Delete(Object::Address(address)));
        }
        Some(left)
    }

    /// An address that guards looked at goes from their sets after all else, for until then there may be
    /// packets with it.
    fn nft(&mut self, desired: &State, owned: &State) {
        let replace = |old: &NftTable, new: &NftTable| Op::Replace {
            old: Object::Nft(old.clone()),
            new: Object::Nft(new.clone()),
        };
        match (&owned.nft, &desired.nft) {
            (None, None) => {}
            (None, Some(new)) => self.make.push(Op::Create(Object::Nft(new.clone()))),
            (Some(old), Some(new)) => {
                let between = new.keeping_addresses_of(old);
                if *old != between {
                    self.make.push(replace(old, &between));
                }
                if between != *new {
                    self.remove.push(replace(&between, new));
                }
            }
            (Some(old), None) => self.remove.push(Op::Delete(Object::Nft(old.clone()))),
        }
    }

    fn each<K: Ord, V: Clone + PartialEq>(
        &mut self,
        desired: &BTreeMap<K, V>,
        owned: &BTreeMap<K, V>,
        object: fn(V) -> Object,
    ) {
        for (key, new) in desired {
            match owned.get(key) {
                None => self.make.push(Op::Create(object(new.clone()))),
                Some(old) if old != new => {
                    self.make.push(Op::Replace { old: object(old.clone()), new: object(new.clone()) });
                }
                Some(_) => {}
            }
        }
        let obsolete = owned.iter().filter(|(key, _)| !desired.contains_key(key));
        self.remove.extend(obsolete.map(|(_, old)| Op::Delete(object(old.clone()))));
    }

    /// Settings go with their interface, and are named then so that undoing brings them back. Those of an
    /// interface that stays are left alone.
    fn sysctls(&mut self, desired: &State, owned: &State) {
        for (path, new) in &desired.sysctls {
            match owned.sysctls.get(path) {
                None => self.make.push(Op::Create(Object::Sysctl(new.clone()))),
                Some(old) if old != new => self
                    .make
                    .push(Op::Replace { old: Object::Sysctl(old.clone()), new: Object::Sysctl(new.clone()) }),
                Some(_) => {}
            }
        }
        let gone = owned.sysctls.values().filter(|sysctl| !desired.links.contains_key(&sysctl.link));
        self.remove.extend(gone.map(|sysctl| Op::Delete(Object::Sysctl(sysctl.clone()))));
    }

    /// An SA to receive through comes before one to send through, for the newest of the latter is used at
    /// once; they go the other way round. The kernel changes no key in place, so that an altered SA goes
    /// right before its successor comes, which goes on counting if it has the same key. What it can
    /// change are the interface and the ports of UDP encapsulation.
    fn sas(&mut self, desired: &State, owned: &State) {
        for direction in [Direction::In, Direction::Out] {
            for (id, new) in &desired.sas {
                if new.direction.direction() != direction {
                    continue;
                }
                let mut new = new.clone();
                if let Some(old) = owned.sas.get(id) {
                    new.source = source_of(&new, old, desired);
                }
                match owned.sas.get(id) {
                    Some(old) if *old == new => continue,
                    Some(old) if old.differs_in_ports_only(&new) || old.differs_in_interface_only(&new) => {
                        self.make.push(Op::Replace { old: Object::Sa(old.clone()), new: Object::Sa(new) });
                        continue;
                    }
                    Some(old) => {
                        if old.key == new.key {
                            new.progress = old.progress;
                        }
                        self.make.push(Op::Delete(Object::Sa(old.clone())));
                    }
                    None => {}
                }
                self.make.push(Op::Create(Object::Sa(new)));
            }
        }
        for direction in [Direction::In, Direction::Out] {
            let obsolete = owned
                .sas
                .iter()
                .filter(|(id, old)| old.direction.direction() == direction && !desired.sas.contains_key(id));
            self.remove.extend(obsolete.map(|(_, old)| Op::Delete(Object::Sa(old.clone()))));
        }
    }

    /// `remove` was filled in the order of making, and is carried out backwards.
    fn finish(mut self) -> Plan {
        let mut ops = self.prelude;
        ops.append(&mut self.make);
        ops.extend(self.remove.into_iter().rev());
        Plan { ops }
    }
}

/// The source of an SA that takes the place of another. Whoever sends to us through a NAT may come from
/// elsewhere tomorrow: the source it had is no reason to make the SA anew, unless packets are delivered here
/// only from the new one.
fn source_of(new: &Sa, old: &Sa, desired: &State) -> IpAddr {
    let receives = new.direction.direction() == Direction::In && new.encapsulation.is_some();
    let may_stay = receives && new.source.is_ipv4() == old.source.is_ipv4() && new.source != old.source;
    let compared = || {
        let inward = desired.policies.values().filter(|policy| policy.id.direction == PolicyDirection::In);
        inward.flat_map(|policy| &policy.templates).any(|template| {
            template.source == Some(new.source)
                && (template.destination, template.reqid) == (new.id.destination, new.reqid)
        })
    };
    if may_stay && !compared() { old.source } else { new.source }
}
