//! The YAML file as it is written; `check` turns it into a [`Topology`](super::Topology).

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::Clock;
use super::units::{Delay, Rate, Share};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) clock: Clock,
    pub(super) nodes: Vec<Spanned<NodeEntry>>,
    pub(super) links: Vec<Spanned<LinkEntry>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeEntry {
    pub(super) name: Spanned<String>,
    pub(super) role: RoleName,
    pub(super) pool: Option<Spanned<Ipv4Net>>,
    pub(super) pool6: Option<Spanned<Ipv6Net>>,
    pub(super) exit: Option<Spanned<bool>>,
    pub(super) outside: Option<Spanned<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RoleName {
    Router,
    Host,
    Client,
    Relay,
    Server,
    Nat,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkEntry {
    /// The two ends; the first is the one captures are taken at.
    pub(super) between: Spanned<Vec<Spanned<String>>>,
    pub(super) addresses: Option<Spanned<Vec<Spanned<Ipv4Net>>>>,
    pub(super) addresses6: Option<Spanned<Vec<Spanned<Ipv6Net>>>>,
    pub(super) rate: Option<Rate>,
    pub(super) delay: Option<Delay>,
    pub(super) jitter: Option<Spanned<Delay>>,
    pub(super) loss: Option<Share>,
    pub(super) reorder: Option<Spanned<Share>>,
    pub(super) queue: Option<Spanned<u32>>,
    pub(super) mtu: Option<Spanned<u16>>,
    /// What differs towards the second end.
    #[serde(default)]
    pub(super) to: Direction,
    /// What differs coming back from it.
    #[serde(default)]
    pub(super) from: Direction,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Direction {
    pub(super) rate: Option<Rate>,
    pub(super) delay: Option<Delay>,
    pub(super) jitter: Option<Spanned<Delay>>,
    pub(super) loss: Option<Share>,
    pub(super) reorder: Option<Spanned<Share>>,
    pub(super) queue: Option<Spanned<u32>>,
    pub(super) mtu: Option<Spanned<u16>>,
}

/// Gives a value that was made by code, not read, the location "nowhere".
pub(super) fn unplaced<T>(value: T) -> Spanned<T> {
    Spanned::new(value, Location::UNKNOWN, Location::UNKNOWN)
}

impl NodeEntry {
    pub(super) fn plain(name: &str, role: RoleName) -> Spanned<Self> {
        let name = unplaced(name.to_owned());
        unplaced(Self { name, role, pool: None, pool6: None, exit: None, outside: None })
    }

    pub(super) fn relay(name: &str, pool: (Ipv4Addr, Ipv6Addr), exit: bool) -> Option<Spanned<Self>> {
        let mut entry = Self::plain(name, RoleName::Relay);
        entry.value.pool = Some(unplaced(Ipv4Net::new(pool.0, 16).ok()?));
        entry.value.pool6 = Some(unplaced(Ipv6Net::new(pool.1, 64).ok()?));
        entry.value.exit = exit.then(|| unplaced(true));
        Some(entry)
    }
}

impl LinkEntry {
    pub(super) fn plain(ends: [&str; 2], rate: Rate, delay: Delay) -> Spanned<Self> {
        unplaced(Self {
            between: unplaced(ends.map(|end| unplaced(end.to_owned())).into()),
            addresses: None,
            addresses6: None,
            rate: Some(rate),
            delay: Some(delay),
            jitter: None,
            loss: None,
            reorder: None,
            queue: None,
            mtu: None,
            to: Direction::default(),
            from: Direction::default(),
        })
    }
}
