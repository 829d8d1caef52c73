//! xfrm interfaces, their addresses and their settings.

use std::fmt;

use ipnet::IpNet;

use crate::id::{IfId, LinkName, Mtu};

/// An xfrm interface (`ip link add … type xfrm if_id N`), up, with IPv6 address generation off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: LinkName,
    /// The identifier its SAs and policies carry.
    pub if_id: IfId,
    /// Its MTU.
    pub mtu: Mtu,
    /// Whether it is up.
    pub up: bool,
}

impl Link {
    /// Whether the kernel does IPv6 on it: not below IPv6's minimum MTU, and then it takes away every IPv6
    /// address and route there.
    #[must_use]
    pub fn has_ipv6(&self) -> bool {
        self.mtu >= Mtu::IPV6_MINIMUM
    }
}

/// How far an address is meant to be used (`/etc/iproute2/rt_scopes`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Usable as a source towards anywhere.
    Global,
    /// Ours, but never chosen as a source by itself.
    Host,
    /// Any other `RT_SCOPE_*` number, or that of an address with a peer: never asked for, but found.
    Other(u8),
}

/// What tells an address apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressId {
    /// The interface.
    pub link: LinkName,
    /// Address with prefix length.
    pub prefix: IpNet,
}

impl fmt::Display for AddressId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.prefix, self.link)
    }
}

/// An address of an interface of ours; for IPv6 without duplicate address detection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Interface and address.
    pub id: AddressId,
    /// How far it is meant to be used; for IPv6 the kernel decides that itself, so it is always global.
    pub scope: Scope,
}

/// A setting of an interface of ours, under `/proc/sys`. It goes when the interface goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    /// The interface it belongs to.
    pub link: LinkName,
    /// Path below `/proc/sys`, such as `net/ipv4/conf/ippt/forwarding`.
    pub path: String,
    /// The value, without a newline.
    pub value: String,
}
