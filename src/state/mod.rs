//! Kernel objects as data: what we want in the kernel and what a dump says is there, in the same types.

mod link;
mod nft;
mod route;
mod xfrm;

use std::collections::{BTreeMap, BTreeSet};

pub use link::{Address, AddressId, Link, Scope, Sysctl};
pub use nft::{NftChain, NftHook, NftRule, NftSet, NftSetKind, NftTable, SetChange};
pub use route::{Route, RouteId, RouteKind, RouteMetrics, Rule, RuleAction};
pub use xfrm::{
    Action, Direction, Policy, PolicyDirection, PolicyId, Progress, Sa, SaDirection, SaId, Selector,
    Template, UdpEncapsulation,
};

use crate::id::LinkName;

/// A set of kernel objects, all of them ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// xfrm interfaces.
    pub links: BTreeMap<LinkName, Link>,
    /// Security associations.
    pub sas: BTreeMap<SaId, Sa>,
    /// Security policies.
    pub policies: BTreeMap<PolicyId, Policy>,
    /// Addresses of our interfaces.
    pub addresses: BTreeMap<AddressId, Address>,
    /// Routes in our tables.
    pub routes: BTreeMap<RouteId, Route>,
    /// Routing rules; a rule is its own identity.
    pub rules: BTreeSet<Rule>,
    /// The nftables table, if any.
    pub nft: Option<NftTable>,
    /// Settings of our interfaces under `/proc/sys`, by path.
    pub sysctls: BTreeMap<String, Sysctl>,
}

impl State {
    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.links.len()
            + self.sas.len()
            + self.policies.len()
            + self.addresses.len()
            + self.routes.len()
            + self.rules.len()
            + usize::from(self.nft.is_some())
            + self.sysctls.len()
    }

    /// Whether there is no object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a dump of the kernel holds: our objects, and those of others that ours must not collide with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Current {
    /// Ours, by the marks in [`crate::ownership`].
    pub owned: State,
    /// Interfaces of others, by name.
    pub foreign_links: BTreeSet<LinkName>,
    /// Interface identifiers of others' xfrm interfaces.
    pub foreign_if_ids: BTreeSet<crate::id::IfId>,
    /// SAs of others.
    pub foreign_sas: BTreeSet<SaId>,
    /// Policies of others that carry an interface identifier of our range.
    pub foreign_policies: BTreeSet<PolicyId>,
    /// Routes of others in our tables.
    pub foreign_routes: BTreeSet<RouteId>,
}
