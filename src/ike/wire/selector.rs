//! Traffic selectors: which packets an SA carries (RFC 7296 §3.13).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Malformed;
use super::codec::{Reader, Writer, small};

/// A range of addresses, with a protocol and ports or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub struct TrafficSelector {
    /// The IP protocol, or [`TrafficSelector::ANY_PROTOCOL`].
    pub protocol: u8,
    /// The first and the last port; [`TrafficSelector::ANY_PORT`] or [`TrafficSelector::OPAQUE`].
    pub ports: (u16, u16),
    /// The first and the last address, of one family.
    pub addresses: (IpAddr, IpAddr),
}

impl TrafficSelector {
    /// The most selectors in one payload.
    pub const MOST: usize = 64;
    /// Any IP protocol.
    pub const ANY_PROTOCOL: u8 = 0;
    /// Any port, or none.
    pub const ANY_PORT: (u16, u16) = (0, 65_535);
    /// Packets that have no port to see, as fragments after the first.
    pub const OPAQUE: (u16, u16) = (65_535, 0);
}
