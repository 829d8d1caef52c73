//! Which numbers the lab gives out: link `n` (from 1) is 198.18.n.0/24 and 2001:db8:n::/64, relay `k` (from 1)
//! hands out 10.(63+k).0.0/16 and fd00:(63+k)::/64.
//!
//! 198.18.0.0/15 is set aside for network tests (RFC 2544), 2001:db8::/32 for examples (RFC 3849). In IPv6 the
//! decimal digits of `n` are written as they are, so that link 12 is 2001:db8:12::/64.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// As many links as the plan has networks for.
pub(super) const MAX_LINKS: usize = 511;
/// As many relays as 10.64.0.0/10 and what follows has /16 networks for.
pub(super) const MAX_RELAYS: usize = 192;

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Whether a link is on the public side or behind a NAT box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Public,
    Private,
}

/// The address of end `end` (0 or 1) of link `n`; both are counted by [`MAX_LINKS`] and two ends.
pub(super) fn address4(side: Side, n: usize, end: usize) -> Ipv4Addr {
    let (high, low) = ((n / 256) as u8, (n % 256) as u8);
    match side {
        Side::Public => Ipv4Addr::new(198, 18 + high, low, 1 + end as u8),
        Side::Private => Ipv4Addr::new(172, 16 + high, low, 1 + end as u8),
    }
}

/// The IPv6 address of end `end` of link `n`.
pub(super) fn address6(side: Side, n: usize, end: usize) -> Ipv6Addr {
    let host = 1 + end as u16;
    match side {
        Side::Public => Ipv6Addr::new(0x2001, 0xdb8, digits(n), 0, 0, 0, 0, host),
        Side::Private => Ipv6Addr::new(0xfd00, 0x172, 0x16, digits(n), 0, 0, 0, host),
    }
}

/// Locally administered, made of the link's number and the end's.
pub(super) fn mac(n: usize, end: usize) -> Mac {
    Mac([2, 0, 0, (n / 256) as u8, (n % 256) as u8, 1 + end as u8])
}

/// The networks relay `k` hands addresses from: prefixes of 16 and of 64 bits.
pub(super) fn pool(k: usize) -> (Ipv4Addr, Ipv6Addr) {
    (Ipv4Addr::new(10, (63 + k) as u8, 0, 0), Ipv6Addr::new(0xfd00, digits(63 + k), 0, 0, 0, 0, 0, 0))
}

/// The number whose hexadecimal digits are the decimal ones of `n`, for `n` below 10,000.
fn digits(n: usize) -> u16 {
    (0..4).map(|place| ((n / 10_usize.pow(place) % 10) as u16) << (4 * place)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_the_same_in_both_families() {
        assert_eq!(address4(Side::Public, 12, 1).to_string(), "198.18.12.2");
        assert_eq!(address6(Side::Public, 12, 1).to_string(), "2001:db8:12::2");
        assert_eq!(address4(Side::Public, MAX_LINKS, 0).to_string(), "198.19.255.1");
        assert_eq!(address6(Side::Public, MAX_LINKS, 0).to_string(), "2001:db8:511::1");
        assert_eq!(address6(Side::Private, 7, 0).to_string(), "fd00:172:16:7::1");
        assert_eq!(pool(1), ("10.64.0.0".parse().unwrap(), "fd00:64::".parse().unwrap()));
        assert_eq!(pool(MAX_RELAYS), ("10.255.0.0".parse().unwrap(), "fd00:255::".parse().unwrap()));
        assert_eq!(mac(258, 1).to_string(), "02:00:00:01:02:02");
    }
}
