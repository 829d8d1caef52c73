//! Newtypes for the numbers the kernel tells objects apart by, so that none is mistaken for another.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number outside the range its type allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {found}: expected {expected}")]
pub struct OutOfRange {
    what: &'static str,
    found: String,
    expected: &'static str,
}

impl OutOfRange {
    pub(crate) fn new(what: &'static str, found: impl fmt::Display, expected: &'static str) -> Self {
        Self { what, found: found.to_string(), expected }
    }
}

/// The Security Parameters Index of an ESP SA, in host byte order.
///
/// 0 is never on the wire and 1 to 255 are reserved (RFC 4303 §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Spi(NonZeroU32);

impl Spi {
    const EXPECTED: &'static str = "an SPI of at least 256 (RFC 4303 section 2.1)";

    /// The SPI as a number in host byte order.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl TryFrom<u32> for Spi {
    type Error = OutOfRange;

    fn try_from(value: u32) -> Result<Self, OutOfRange> {
        match NonZeroU32::new(value) {
            Some(spi) if value >= 256 => Ok(Self(spi)),
            _ => Err(OutOfRange::new("spi", value, Self::EXPECTED)),
        }
    }
}

impl From<Spi> for u32 {
    fn from(spi: Spi) -> Self {
        spi.get()
    }
}

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.get())
    }
}

/// Ties the templates of a policy to the SAs that may serve them (`reqid` in iproute2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Reqid(pub u32);

impl fmt::Display for Reqid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The interface identifier that ties SAs and policies to one xfrm interface (`if_id` in iproute2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct IfId(NonZeroU32);

impl IfId {
    /// An identifier, or `None` for 0, which means "no interface" to the kernel.
    #[must_use]
    pub const fn new(value: u32) -> Option<Self> {
        match NonZeroU32::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The identifier as a number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for IfId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.get())
    }
}

/// A process, as this host counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(transparent)]
pub struct ProcessId(NonZeroU32);

impl ProcessId {
    /// A process, or `None` for 0: the kernel's word for one that this host does not see.
    #[must_use]
    pub const fn new(value: u32) -> Option<Self> {
        match NonZeroU32::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// A routing table (`ip route … table N`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct TableId(pub u32);

impl TableId {
    /// The main table, `RT_TABLE_MAIN`.
    pub const MAIN: Self = Self(254);
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::MAIN { f.write_str("main") } else { write!(f, "{}", self.0) }
    }
}

/// A packet mark with its mask (`mark V/M` in iproute2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Mark {
    /// The bits to match.
    pub value: u32,
    /// Which bits count.
    pub mask: u32,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}/{:#x}", self.value, self.mask)
    }
}

/// The largest IP packet a link carries, in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Mtu(u32);

impl Mtu {
    /// What every IPv4 link must carry (RFC 791 §3.2).
    pub const IPV4_MINIMUM: Self = Self(68);
    /// What every IPv6 link must carry (RFC 8200 §5).
    pub const IPV6_MINIMUM: Self = Self(1280);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1500);

    /// The MTU as a number of octets.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Mtu {
    type Error = OutOfRange;

    fn try_from(value: u32) -> Result<Self, OutOfRange> {
        if (Self::IPV4_MINIMUM.0..=65_535).contains(&value) {
            Ok(Self(value))
        } else {
            Err(OutOfRange::new("mtu", value, "68 to 65535 octets"))
        }
    }
}

impl From<Mtu> for u32 {
    fn from(mtu: Mtu) -> Self {
        mtu.0
    }
}

impl fmt::Display for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The name of a network interface: 1 to 15 octets, no `/`, no white space (`dev_valid_name` in the kernel).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkName(String);

impl LinkName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LinkName {
    type Err = OutOfRange;

    fn from_str(name: &str) -> Result<Self, OutOfRange> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if (1..=15).contains(&name.len()) && name.chars().all(plain) {
            Ok(Self(name.to_owned()))
        } else {
            Err(OutOfRange::new("interface name", format!("{name:?}"), "1 to 15 letters, digits, - or _"))
        }
    }
}

impl TryFrom<String> for LinkName {
    type Error = OutOfRange;

    fn try_from(name: String) -> Result<Self, OutOfRange> {
        name.parse()
    }
}

impl From<LinkName> for String {
    fn from(name: LinkName) -> Self {
        name.0
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_spis_are_refused() {
        assert!(Spi::try_from(0).is_err());
        assert_eq!(
            Spi::try_from(255).unwrap_err().to_string(),
            "spi 255: expected an SPI of at least 256 (RFC 4303 section 2.1)"
        );
        assert_eq!(Spi::try_from(0x901).unwrap().to_string(), "0x00000901");
    }

    #[test]
    fn link_names_that_would_escape_a_path_or_rule_are_refused() {
        for bad in ["", "a/b", "has space", "sixteen-letters-", "a\"b", "a.b"] {
            assert!(bad.parse::<LinkName>().is_err(), "{bad:?}");
        }
        assert_eq!("ippc1".parse::<LinkName>().unwrap().as_str(), "ippc1");
    }
}
