//! Our nftables table. It is only ever replaced as a whole, in one transaction.

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
