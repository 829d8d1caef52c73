//! A kernel in memory that treats operations as Linux does, and fails or lies on demand.

use std::collections::{BTreeMap, BTreeSet};

use ippriv::id::{IfId, LinkName};
use ippriv::plan::{Conflict, Ending, Object, Op, OpError, Outcome, Step, Transaction, diff};
use ippriv::state::{Current, Link, PolicyId, Route, RouteId, RouteKind, SaId, State, Sysctl};

const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EEXIST: i32 = 17;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;
const EADDRNOTAVAIL: i32 = 99;

/// What every interface has before we set it.
const DEFAULTS: [(&str, &str); 3] = [("forwarding", "0"), ("rp_filter", "0"), ("send_redirects", "1")];

/// Objects, ours and others', and what goes wrong when. Operations count from 0 over the kernel's life.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Kernel {
    held: Current,
    pub(crate) faults: BTreeMap<usize, OpError>,
    /// Operations that are acknowledged and not carried out.
    pub(crate) lies: BTreeSet<usize>,
    executed: usize,
}

pub(crate) fn refused(errno: i32) -> OpError {
    OpError::Refused { errno, text: None }
}

type Answer = Result<(), OpError>;

fn answer(good: bool, errno: i32) -> Answer {
    if good { Ok(()) } else { Err(refused(errno)) }
}

impl Kernel {
    /// A kernel with `state` in it and some objects of others.
    pub(crate) fn holding(state: &State, foreign: &Current) -> Self {
        let held = Current { owned: settled(state), ..foreign.clone() };
        Self { held, ..Self::default() }
    }

    pub(crate) fn dump(&self) -> Current {
        self.held.clone()
    }

    pub(crate) fn held_mut(&mut self) -> &mut Current {
        &mut self.held
    }

    /// Carries operations out until one fails.
    pub(crate) fn execute(&mut self, ops: &[Op]) -> Vec<Outcome> {
        let mut failed = false;
        ops.iter()
            .map(|op| {
                if failed {
                    return Outcome::NotTried;
                }
                match self.one(op) {
                    Ok(()) => Outcome::Done,
                    Err(error) => {
                        failed = true;
                        Outcome::Failed(error)
                    }
                }
            })
            .collect()
    }

    /// A whole transaction, or the conflicts that forbid it.
    pub(crate) fn turn_into(&mut self, desired: &State) -> Result<Ending, Vec<Conflict>> {
        let before = self.dump();
        let plan = diff(desired, &before)?;
        let mut transaction = Transaction::new(plan, desired.clone(), before);
        for _ in 0..10_000 {
            match transaction.step() {
                Step::Execute(ops) => {
                    let outcomes = self.execute(ops);
                    transaction.executed(&outcomes);
                }
                Step::Dump => transaction.dumped(&self.dump()),
                Step::Finished => return Ok(transaction.into_ending()),
            }
        }
        panic!("the transaction does not come to an end");
    }

    fn one(&mut self, op: &Op) -> Answer {
        let position = self.executed;
        self.executed += 1;
        if let Some(error) = self.faults.get(&position) {
            return Err(error.clone());
        }
        if self.lies.contains(&position) {
            return Ok(());
        }
        match op {
            Op::Create(object) => self.create(object.clone()),
            Op::Replace { old, new } => self.replace(old, new.clone()),
            Op::Delete(object) => self.delete(object),
        }
    }

    fn create(&mut self, object: Object) -> Answer {
        let (held, owned) = (&self.held, &self.held.owned);
        match &object {
            Object::Link(link) => {
                let same = |other: &Link| other.name == link.name || other.if_id == link.if_id;
                let others =
                    held.foreign_links.contains(&link.name) || held.foreign_if_ids.contains(&link.if_id);
                answer(!others && !owned.links.values().any(same), EEXIST)?;
            }
            Object::Sa(sa) => {
                answer(!held.foreign_sas.contains(&sa.id) && !owned.sas.contains_key(&sa.id), EEXIST)?;
            }
            Object::Policy(policy) => {
                let others = held.foreign_policies.contains(&policy.id);
                answer(!others && !owned.policies.contains_key(&policy.id), EEXIST)?;
            }
            Object::Address(address) => {
                answer(owned.links.contains_key(&address.id.link), ENODEV)?;
                answer(!owned.addresses.contains_key(&address.id), EEXIST)?;
            }
            Object::Route(route) => {
                let others = held.foreign_routes.contains(&route.id);
                answer(!others && !owned.routes.contains_key(&route.id), EEXIST)?;
                self.reachable(route)?;
            }
            Object::Rule(rule) => answer(!owned.rules.contains(rule), EEXIST)?,
            Object::Nft(_) => answer(owned.nft.is_none(), EEXIST)?,
            Object::Sysctl(setting) => answer(owned.links.contains_key(&setting.link), ENOENT)?,
        }
        self.put(object);
        Ok(())
    }

    fn replace(&mut self, old: &Object, new: Object) -> Answer {
        let owned = &self.held.owned;
        match (old, &new) {
            (Object::Link(old), Object::Link(new)) => {
                answer(owned.links.contains_key(&old.name), ENODEV)?;
                answer(old.name == new.name && old.if_id == new.if_id, EINVAL)?;
            }
            (Object::Policy(old), Object::Policy(new)) => {
                answer(old.id == new.id && owned.policies.contains_key(&old.id), ENOENT)?;
            }
            (Object::Address(old), Object::Address(new)) => {
                answer(old.id == new.id && owned.addresses.contains_key(&old.id), EADDRNOTAVAIL)?;
            }
            (Object::Route(old), Object::Route(new)) => {
                answer(old.id == new.id && owned.routes.contains_key(&old.id), ENOENT)?;
                self.reachable(new)?;
            }
            (Object::Nft(_), Object::Nft(_)) => answer(owned.nft.is_some(), ENOENT)?,
            (Object::Sysctl(old), Object::Sysctl(new)) => {
                answer(old.path == new.path && owned.sysctls.contains_key(&old.path), ENOENT)?;
            }
            // no key changes in place, and a rule is its own identity
            _ => return Err(refused(EINVAL)),
        }
        self.put(new);
        Ok(())
    }

    fn delete(&mut self, object: &Object) -> Answer {
        let owned = &mut self.held.owned;
        match object {
            Object::Link(link) => {
                answer(owned.links.remove(&link.name).is_some(), ENODEV)?;
                let addresses: Vec<_> =
                    owned.addresses.keys().filter(|id| id.link == link.name).cloned().collect();
                owned.sysctls.retain(|_, setting| setting.link != link.name);
                owned.routes.retain(|_, route| route.kind != RouteKind::Link(link.name.clone()));
                for id in addresses {
                    forget_address(owned, &id);
                }
                Ok(())
            }
            Object::Sa(sa) => answer(owned.sas.remove(&sa.id).is_some(), ESRCH),
            Object::Policy(policy) => answer(owned.policies.remove(&policy.id).is_some(), ENOENT),
            Object::Address(address) => {
                answer(owned.addresses.contains_key(&address.id), EADDRNOTAVAIL)?;
                forget_address(owned, &address.id);
                Ok(())
            }
            Object::Route(route) => answer(owned.routes.remove(&route.id).is_some(), ESRCH),
            Object::Rule(rule) => answer(owned.rules.remove(rule), ENOENT),
            Object::Nft(_) => answer(owned.nft.take().is_some(), ENOENT),
            Object::Sysctl(_) => Ok(()),
        }
    }

    fn put(&mut self, object: Object) {
        let owned = &mut self.held.owned;
        match object {
            Object::Link(link) => {
                defaults(owned, &link.name);
                owned.links.insert(link.name.clone(), link);
            }
            Object::Sa(sa) => drop(owned.sas.insert(sa.id, sa)),
            Object::Policy(policy) => drop(owned.policies.insert(policy.id, policy)),
            Object::Address(address) => drop(owned.addresses.insert(address.id.clone(), address)),
            Object::Route(route) => drop(owned.routes.insert(route.id, route)),
            Object::Rule(rule) => drop(owned.rules.insert(rule)),
            Object::Nft(table) => owned.nft = Some(table),
            Object::Sysctl(setting) => drop(owned.sysctls.insert(setting.path.clone(), setting)),
        }
    }

    /// The interface has to be there, and the preferred source has to be an address of this host.
    fn reachable(&self, route: &Route) -> Answer {
        let owned = &self.held.owned;
        if let RouteKind::Link(link) = &route.kind {
            answer(owned.links.contains_key(link), ENODEV)?;
        }
        let local = |source| owned.addresses.keys().any(|id| id.prefix.addr() == source);
        answer(route.preferred_source.is_none_or(local), EINVAL)
    }
}

/// Takes an address away, with the routes that prefer it as their source unless another link has it too.
fn forget_address(owned: &mut State, id: &ippriv::state::AddressId) {
    owned.addresses.remove(id);
    let gone = id.prefix.addr();
    if !owned.addresses.keys().any(|other| other.prefix.addr() == gone) {
        owned.routes.retain(|_, route| route.preferred_source != Some(gone));
    }
}

fn defaults(owned: &mut State, link: &LinkName) {
    for (setting, value) in DEFAULTS {
        let path = format!("net/ipv4/conf/{link}/{setting}");
        let sysctl = Sysctl { link: link.clone(), path: path.clone(), value: value.to_owned() };
        owned.sysctls.entry(path).or_insert(sysctl);
    }
}

/// `state` as a dump shows it: every interface has all its settings.
pub(crate) fn settled(state: &State) -> State {
    let mut state = state.clone();
    for link in state.links.keys().cloned().collect::<Vec<_>>() {
        defaults(&mut state, &link);
    }
    state
}

/// Objects of others that ours never meet.
pub(crate) fn bystanders() -> Current {
    let sa =
        SaId { destination: super::ip("192.0.2.9"), spi: ippriv::id::Spi::try_from(0xdead).expect("an SPI") };
    let link = |name: &str| name.parse::<LinkName>().expect("a name");
    let selector = ippriv::state::Selector::new(super::net("192.0.2.0/24"), super::net("0.0.0.0/0"));
    Current {
        owned: State::default(),
        foreign_links: ["lo", "eth0", "wg0"].into_iter().map(link).collect(),
        foreign_if_ids: [7].into_iter().filter_map(IfId::new).collect(),
        foreign_sas: BTreeSet::from([sa]),
        foreign_policies: IfId::new(ippriv::ownership::LAST)
            .map(|if_id| PolicyId { if_id, direction: ippriv::state::PolicyDirection::Out, selector })
            .into_iter()
            .collect(),
        foreign_routes: BTreeSet::from([RouteId {
            table: ippriv::id::TableId(ippriv::ownership::LAST),
            destination: super::net("192.0.2.0/24"),
            metric: 1,
        }]),
    }
}
