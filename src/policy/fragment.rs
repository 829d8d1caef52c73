//! The largest IKE datagram.

use serde::Deserialize;

/// How many octets of UDP payload an IKE message may have before it goes in fragments (RFC 7383), to peers that put
/// them together. A setting, for some networks drop what is larger than they like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub struct FragmentSize(u16);

/// A size that is not one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("fragment size of {found} octets: expected {} to {}", FragmentSize::LEAST.0, FragmentSize::MOST.0)]
pub struct BadFragmentSize {
    found: u16,
}

impl FragmentSize {
    /// With less, what every fragment has of its own would be most of it.
    pub const LEAST: Self = Self(200);
    /// What Ethernet carries (RFC 894): 1500 octets with the headers of IPv4 and UDP.
    pub const MOST: Self = Self(1472);

    /// The number of octets.
    #[must_use]
    pub fn octets(self) -> usize {
        self.0.into()
    }
}

impl Default for FragmentSize {
    /// With four layers around it, it still fits 1500.
    fn default() -> Self {
        Self(1200)
    }
}

impl TryFrom<u16> for FragmentSize {
    type Error = BadFragmentSize;

    fn try_from(octets: u16) -> Result<Self, BadFragmentSize> {
        if (Self::LEAST.0..=Self::MOST.0).contains(&octets) {
            Ok(Self(octets))
        } else {
            Err(BadFragmentSize { found: octets })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_bounds() {
        assert_eq!(FragmentSize::try_from(200).unwrap(), FragmentSize::LEAST);
        assert_eq!(FragmentSize::try_from(1472).unwrap(), FragmentSize::MOST);
        let said = FragmentSize::try_from(1473).unwrap_err().to_string();
        assert_eq!(said, "fragment size of 1473 octets: expected 200 to 1472");
        assert!(FragmentSize::try_from(199).is_err());
    }
}
