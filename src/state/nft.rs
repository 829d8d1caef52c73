//! Our nftables table. Sets of addresses change in place; whatever else changes, the table is replaced as a
//! whole, in one transaction.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The table `inet ippriv`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NftTable {
    /// Sets of addresses or ports, by unique name.
    pub sets: Vec<NftSet>,
    /// Base chains, by unique name.
    pub chains: Vec<NftChain>,
}

/// A named set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NftSet {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: NftSetKind,
}

/// The elements of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NftSetKind {
    /// IPv4 or IPv6 prefixes, all of one family, sorted and disjoint.
    Prefixes(Vec<IpNet>),
    /// Single IPv4 addresses, which come and go while the table stays.
    Ipv4(BTreeSet<Ipv4Addr>),
    /// The same of IPv6.
    Ipv6(BTreeSet<Ipv6Addr>),
}

/// Addresses that come into a set and leave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetChange {
    /// The set's name.
    pub set: String,
    /// Those that come.
    pub add: Vec<IpAddr>,
    /// Those that go.
    pub remove: Vec<IpAddr>,
}

impl NftTable {
    /// What turns this table into `new` in place; `None` when more than addresses in sets has to change, or
    /// nothing at all.
    #[must_use]
    pub fn changes_in_place(&self, new: &Self) -> Option<Vec<SetChange>> {
        if self.chains != new.chains || self.sets.len() != new.sets.len() {
            return None;
        }
        let mut changes = Vec::new();
        for (old, new) in self.sets.iter().zip(&new.sets).filter(|(old, new)| old != new) {
            if old.name != new.name {
                return None;
            }
            changes.push(match (&old.kind, &new.kind) {
                (NftSetKind::Ipv4(from), NftSetKind::Ipv4(to)) => set_change(&old.name, from, to),
                (NftSetKind::Ipv6(from), NftSetKind::Ipv6(to)) => set_change(&old.name, from, to),
                _ => return None,
            });
        }
        (!changes.is_empty()).then_some(changes)
    }

    /// This table, with the addresses besides that `old` has in the same sets.
    #[must_use]
    pub fn keeping_addresses_of(&self, old: &Self) -> Self {
        let mut kept = self.clone();
        for set in &mut kept.sets {
            let Some(old) = old.sets.iter().find(|old| old.name == set.name) else { continue };
            match (&mut set.kind, &old.kind) {
                (NftSetKind::Ipv4(new), NftSetKind::Ipv4(old)) => new.extend(old),
                (NftSetKind::Ipv6(new), NftSetKind::Ipv6(old)) => new.extend(old),
                _ => {}
            }
        }
        kept
    }
}

fn set_change<A: Copy + Ord + Into<IpAddr>>(name: &str, old: &BTreeSet<A>, new: &BTreeSet<A>) -> SetChange {
    let without = |some: &BTreeSet<A>, others| some.difference(others).copied().map(Into::into).collect();
    SetChange { set: name.to_owned(), add: without(new, old), remove: without(old, new) }
}

/// Where a base chain hooks into the stack, with its type and priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NftHook {
    /// `type filter hook input priority filter`.
    Input,
    /// `type filter hook forward priority filter`.
    Forward,
    /// `type filter hook output priority filter`.
    Output,
    /// `type nat hook postrouting priority srcnat`.
    PostroutingNat,
    /// `type filter hook forward priority mangle`.
    ForwardMangle,
    /// `type filter hook prerouting priority mangle`: before the route is looked up.
    PreroutingMangle,
    /// `type filter hook postrouting`, right after NAT: sees what leaves as it leaves.
    PostroutingLast,
}

/// A base chain; its policy is always accept, for others' packets pass through it too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NftChain {
    /// Its name.
    pub name: String,
    /// Its hook.
    pub hook: NftHook,
    /// Its rules, in order.
    pub rules: Vec<NftRule>,
}

/// A rule in nft's own syntax.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NftRule(pub String);
