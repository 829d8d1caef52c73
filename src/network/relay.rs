//! A relay, as the network document describes it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::{IdentityKey, Name};
use crate::id::OutOfRange;

/// A relay of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Its name, unique in the network.
    pub name: Name,
    /// Its public IPv4 address.
    pub address: Ipv4Addr,
    /// Its public IPv6 address.
    pub address6: Option<Ipv6Addr>,
    /// The key it proves itself with in IKE_AUTH.
    pub identity: IdentityKey,
    /// What runs there.
    pub software: Software,
    /// How clients authenticate to it.
    pub clients: ClientAuth,
    /// The IPv4 addresses it hands out; no other relay's overlap.
    pub pool: Ipv4Net,
    /// The IPv6 addresses it hands out.
    pub pool6: Option<Ipv6Net>,
    /// Where in a circuit it may be; never empty.
    pub roles: BTreeSet<Role>,
    /// What leaves there; `Some` exactly when [`Role::Exit`] is among the roles.
    pub exit: Option<ExitSummary>,
    /// Who runs it: circuits should not pass one operator twice.
    pub operator: Option<Name>,
    /// How often it is chosen, compared with others.
    pub weight: Weight,
    /// The relays it keeps overlay tunnels with.
    pub neighbours: Neighbours,
}

/// A place in a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// First: knows the client.
    Entry,
    /// Between: knows neither end.
    Middle,
    /// Last: knows the destinations.
    Exit,
}

/// The IKE daemon of a relay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Software {
    /// `ipprivd`.
    #[default]
    Ippriv,
    /// strongSwan's charon.
    Strongswan,
    /// libreswan's pluto.
    Libreswan,
}

/// How clients authenticate to a relay: never as somebody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// NULL authentication (RFC 7619).
    #[default]
    Anonymous,
    /// A pre-shared key that everybody knows, for software without NULL authentication.
    Psk(PublishedPsk),
}

/// A pre-shared key printed in the network document: no secret, and worth nothing as authentication.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublishedPsk(String);

/// A published key of the wrong length or with characters that configuration files of others cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("published psk of {found} octets: expected 32 to 256 printable ASCII characters without \" and \\")]
pub struct BadPsk {
    found: usize,
}

/// The ports that leave at an exit. The addresses an exit rejects are not part of the summary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExitSummary {
    /// TCP ports as first and last, or `None` for all.
    pub tcp_ports: Option<Vec<(u16, u16)>>,
    /// UDP ports as first and last, or `None` for all.
    pub udp_ports: Option<Vec<(u16, u16)>>,
}

/// How often a relay is chosen, compared with others; one of weight 0 only when it is asked for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Weight(u32);

/// The relays a relay keeps overlay tunnels with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Neighbours {
    /// Every relay that has it as neighbour.
    #[default]
    All,
    /// These.
    Only(BTreeSet<Name>),
}

impl Relay {
    /// Whether it may be at this place of a circuit.
    #[must_use]
    pub fn may_be(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Whether it would keep an overlay tunnel with `other`; a tunnel needs both.
    #[must_use]
    pub fn wants(&self, other: &Name) -> bool {
        match &self.neighbours {
            Neighbours::All => *other != self.name,
            Neighbours::Only(names) => names.contains(other),
        }
    }
}

impl Role {
    /// The name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Middle => "middle",
            Self::Exit => "exit",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Software {
    /// The name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ippriv => "ippriv",
            Self::Strongswan => "strongswan",
            Self::Libreswan => "libreswan",
        }
    }
}

impl fmt::Display for Software {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PublishedPsk {
    /// The key as text; its octets are what IKE takes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PublishedPsk {
    type Error = BadPsk;

    fn try_from(text: String) -> Result<Self, BadPsk> {
        let plain = |c: u8| matches!(c, b' '..=b'~') && c != b'"' && c != b'\\';
        if (32..=256).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text))
        } else {
            Err(BadPsk { found: text.len() })
        }
    }
}

impl From<PublishedPsk> for String {
    fn from(psk: PublishedPsk) -> Self {
        psk.0
    }
}

impl ExitSummary {
    /// Whether connections to a TCP port leave.
    #[must_use]
    pub fn allows_tcp(&self, port: u16) -> bool {
        allows(self.tcp_ports.as_deref(), port)
    }

    /// Whether packets to a UDP port leave.
    #[must_use]
    pub fn allows_udp(&self, port: u16) -> bool {
        allows(self.udp_ports.as_deref(), port)
    }
}

fn allows(ranges: Option<&[(u16, u16)]>, port: u16) -> bool {
    ranges.is_none_or(|ranges| ranges.iter().any(|(first, last)| (*first..=*last).contains(&port)))
}

impl Weight {
    /// The largest weight, so that sums over all relays of a network fit 64 bits with ease.
    pub const LAST: u32 = 1_000_000;

    /// The weight.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<u32> for Weight {
    type Error = OutOfRange;

    fn try_from(value: u32) -> Result<Self, OutOfRange> {
        if value <= Self::LAST {
            Ok(Self(value))
        } else {
            Err(OutOfRange::new("weight", value, "0 to 1000000"))
        }
    }
}

impl From<Weight> for u32 {
    fn from(weight: Weight) -> Self {
        weight.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_without_ports_allows_all_and_an_empty_list_none() {
        let all = ExitSummary::default();
        let some = ExitSummary { tcp_ports: Some(vec![(80, 80), (8000, 8999)]), udp_ports: Some(vec![]) };
        assert!(all.allows_tcp(1) && all.allows_udp(65_535));
        assert!(some.allows_tcp(80) && some.allows_tcp(8999) && !some.allows_tcp(81) && !some.allows_udp(53));
    }

    #[test]
    fn published_keys_have_a_length_and_need_no_escaping() {
        let psk = |text: &str| PublishedPsk::try_from(text.to_owned());
        assert!(psk(&"k".repeat(32)).is_ok());
        for bad in ["k".repeat(31), "k".repeat(257), "k\"".repeat(20), "k\n".repeat(20), "ä".repeat(20)] {
            assert!(psk(&bad).is_err(), "{bad}");
        }
    }
}
