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

impl TrafficSelector {
    const IPV4_RANGE: u8 = 7;
    const IPV6_RANGE: u8 = 8;
    const HEADER: usize = 8;

    /// All traffic of one address.
    #[must_use]
    pub const fn host(address: IpAddr) -> Self {
        Self::range(address, address)
    }

    /// All IPv4 traffic.
    #[must_use]
    pub const fn any_v4() -> Self {
        Self::range(IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::BROADCAST))
    }

    /// All IPv6 traffic.
    #[must_use]
    pub const fn any_v6() -> Self {
        Self::range(IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)))
    }

    /// All traffic of a prefix.
    #[must_use]
    pub fn from_net(net: IpNet) -> Self {
        Self::range(net.network(), net.broadcast())
    }

    const fn range(first: IpAddr, last: IpAddr) -> Self {
        Self { protocol: Self::ANY_PROTOCOL, ports: Self::ANY_PORT, addresses: (first, last) }
    }

    /// The prefix whose whole traffic this is; `None` when it is less, or a range that is no prefix.
    #[must_use]
    pub fn to_net(&self) -> Option<IpNet> {
        if self.protocol != Self::ANY_PROTOCOL || self.ports != Self::ANY_PORT {
            return None;
        }
        let (first, last) = self.bits()?;
        let host = first ^ last;
        // A prefix leaves all the low bits free and no other.
        if host.trailing_ones() != u128::BITS - host.leading_zeros() || first & host != 0 {
            return None;
        }
        let width: u32 = if self.addresses.0.is_ipv4() { 32 } else { 128 };
        let length = u8::try_from(width.checked_sub(host.trailing_ones())?).ok()?;
        IpNet::new(self.addresses.0, length).ok()
    }

    /// Whether all traffic of `other` is traffic of this one too.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.intersect(other) == Some(*other)
    }

    /// The traffic of both; `None` when there is none.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let protocol = match (self.protocol, other.protocol) {
            (one, other) if one == other => one,
            (Self::ANY_PROTOCOL, protocol) | (protocol, Self::ANY_PROTOCOL) => protocol,
            _ => return None,
        };
        let ports = match (self.ports, other.ports) {
            (Self::ANY_PORT, ports) | (ports, Self::ANY_PORT) => ports,
            (Self::OPAQUE, Self::OPAQUE) => Self::OPAQUE,
            (Self::OPAQUE, _) | (_, Self::OPAQUE) => return None,
            (one, other) => overlap(one, other)?,
        };
        if self.addresses.0.is_ipv4() != other.addresses.0.is_ipv4() {
            return None;
        }
        self.bits()?;
        other.bits()?;
        // Addresses of one family compare as numbers.
        let addresses = overlap(self.addresses, other.addresses)?;
        Some(Self { protocol, ports, addresses })
    }

    /// The first and the last address as numbers, when they are of one family and in order.
    fn bits(&self) -> Option<(u128, u128)> {
        let bits = match self.addresses {
            (IpAddr::V4(first), IpAddr::V4(last)) => (first.to_bits().into(), last.to_bits().into()),
            (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits(), last.to_bits()),
            _ => return None,
        };
        (bits.0 <= bits.1).then_some(bits)
    }
}

/// What two ranges, ends included, have in common.
fn overlap<T: Ord>(one: (T, T), other: (T, T)) -> Option<(T, T)> {
    let common = (one.0.max(other.0), one.1.min(other.1));
    (common.0 <= common.1).then_some(common)
}

impl fmt::Display for TrafficSelector {
    /// As `10.0.0.0/24` or `10.0.0.1-10.0.0.9 protocol 17 ports 53-53`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::range(self.addresses.0, self.addresses.1).to_net() {
            Some(net) => write!(f, "{net}")?,
            None => write!(f, "{}-{}", self.addresses.0, self.addresses.1)?,
        }
        if self.protocol != Self::ANY_PROTOCOL {
            write!(f, " protocol {}", self.protocol)?;
        }
        match self.ports {
            Self::ANY_PORT => Ok(()),
            Self::OPAQUE => f.write_str(" ports opaque"),
            (first, last) => write!(f, " ports {first}-{last}"),
        }
    }
}

pub(super) fn encode(selectors: &[TrafficSelector], writer: &mut Writer) {
    writer.u8(small(selectors.len()));
    writer.zeros(3);
    for selector in selectors {
        let (first, last) = selector.addresses;
        let v4 = first.is_ipv4();
        writer.u8(if v4 { TrafficSelector::IPV4_RANGE } else { TrafficSelector::IPV6_RANGE });
        writer.u8(selector.protocol);
        writer.measured(2, |writer| {
            writer.u16(selector.ports.0);
            writer.u16(selector.ports.1);
            writer.address(first);
            writer.address(last);
        });
    }
}

/// Selectors of types we do not know are left out, as narrowing would do (RFC 7296 §2.9).
pub(super) fn decode(what: &'static str, body: &[u8]) -> Result<Vec<TrafficSelector>, Malformed> {
    let mut reader = Reader::new(what, body);
    let count = usize::from(reader.u8()?);
    reader.bytes(3)?;
    if count > TrafficSelector::MOST {
        return Err(Malformed::TooMany { what: "traffic selectors", limit: TrafficSelector::MOST });
    }
    let mut selectors = Vec::with_capacity(count.min(reader.len() / TrafficSelector::HEADER));
    for _ in 0..count {
        let kind = reader.u8()?;
        let protocol = reader.u8()?;
        let length = reader.u16()?;
        let mut part = reader.part("traffic selector", length, 4)?;
        if !matches!(kind, TrafficSelector::IPV4_RANGE | TrafficSelector::IPV6_RANGE) {
            continue;
        }
        let ports = (part.u16()?, part.u16()?);
        let addresses = (address(kind, &mut part)?, address(kind, &mut part)?);
        part.end()?;
        if ports.0 > ports.1 && ports != TrafficSelector::OPAQUE {
            let expected = "none above the end port, or opaque";
            return Err(Malformed::Field { what: "start port", found: ports.0.into(), expected });
        }
        if addresses.0 > addresses.1 {
            return Err(Malformed::Reversed { first: addresses.0, last: addresses.1 });
        }
        selectors.push(TrafficSelector { protocol, ports, addresses });
    }
    reader.end()?;
    Ok(selectors)
}

fn address(kind: u8, reader: &mut Reader<'_>) -> Result<IpAddr, Malformed> {
    Ok(if kind == TrafficSelector::IPV4_RANGE {
        reader.array::<4>()?.into()
    } else {
        reader.array::<16>()?.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(selectors: &[TrafficSelector]) -> Vec<u8> {
        let mut writer = Writer::default();
        encode(selectors, &mut writer);
        writer.finish()
    }

    fn net(text: &str) -> TrafficSelector {
        TrafficSelector::from_net(text.parse().unwrap())
    }

    fn range(first: &str, last: &str) -> TrafficSelector {
        TrafficSelector::range(first.parse().unwrap(), last.parse().unwrap())
    }

    #[test]
    fn selectors_have_the_octets_of_the_rfc() {
        let https = TrafficSelector { protocol: 6, ports: (443, 443), ..net("10.0.0.0/8") };
        let selectors = [https, TrafficSelector::any_v6()];
        let mut expected = vec![2, 0, 0, 0];
        expected.extend([7, 6, 0, 16, 1, 187, 1, 187, 10, 0, 0, 0, 10, 255, 255, 255]);
        expected.extend([8, 0, 0, 40, 0, 0, 255, 255]);
        expected.extend([0; 16]);
        expected.extend([255; 16]);
        assert_eq!(octets(&selectors), expected);
        assert_eq!(decode("TSi payload", &expected).unwrap(), selectors);
    }

    #[test]
    fn unknown_types_are_left_out_and_counted() {
        let mut body = vec![2, 0, 0, 0, 10, 0, 0, 6, 1, 2];
        body.extend(&octets(&[net("10.0.0.1/32")])[4..]);
        assert_eq!(decode("TSi payload", &body).unwrap(), [net("10.0.0.1/32")]);
        body[0] = 1;
        assert!(decode("TSi payload", &body).is_err());
    }

    #[test]
    fn the_number_of_selectors_is_bounded() {
        let most = vec![net("10.0.0.1/32"); TrafficSelector::MOST];
        assert_eq!(decode("TSi payload", &octets(&most)), Ok(most.clone()));
        let more = octets(&[most, vec![net("10.0.0.1/32")]].concat());
        let limit = Malformed::TooMany { what: "traffic selectors", limit: 64 };
        assert_eq!(decode("TSi payload", &more), Err(limit));
    }

    #[test]
    fn reversed_ranges_and_mixed_families_are_refused() {
        let v6 = range("10.0.0.1", "2001:db8::1");
        for bad in [
            TrafficSelector { ports: (2, 1), ..net("10.0.0.1/32") },
            range("10.0.0.2", "10.0.0.1"),
            range("2001:db8::2", "2001:db8::1"),
            v6,
        ] {
            assert!(decode("TSi payload", &octets(&[bad])).is_err(), "{bad:?}");
            assert_eq!((TrafficSelector { ports: (0, 65_535), ..bad }).to_net().is_some(), bad.ports.0 == 2);
        }
        assert_eq!(TrafficSelector::any_v6().intersect(&v6), None);
        let opaque = TrafficSelector { ports: TrafficSelector::OPAQUE, ..net("10.0.0.1/32") };
        assert_eq!(decode("TSi payload", &octets(&[opaque])), Ok(vec![opaque]));
    }

    #[test]
    fn prefixes_are_found_in_ranges() {
        for text in
            ["10.1.2.3/32", "10.0.0.0/8", "0.0.0.0/0", "128.0.0.0/1", "2001:db8::/64", "::/0", "::1/128"]
        {
            assert_eq!(net(text).to_net().unwrap().to_string(), text);
            assert_eq!(net(text).to_string(), text);
        }
        assert_eq!(TrafficSelector::any_v4(), net("0.0.0.0/0"));
        assert_eq!(TrafficSelector::any_v6(), net("::/0"));
        assert_eq!(TrafficSelector::host("10.1.2.3".parse().unwrap()), net("10.1.2.3/32"));
        for (first, last) in [("10.0.0.1", "10.0.0.2"), ("10.0.0.0", "10.0.0.2"), ("10.0.0.1", "10.0.0.255")]
        {
            assert_eq!(range(first, last).to_net(), None);
        }
        assert_eq!(TrafficSelector { protocol: 6, ..net("10.0.0.0/8") }.to_net(), None);
        assert_eq!(TrafficSelector { ports: (1, 65_535), ..net("10.0.0.0/8") }.to_net(), None);
    }

    #[test]
    fn intersections_narrow_each_part() {
        let dns = TrafficSelector { protocol: 17, ports: (53, 53), ..net("10.0.0.0/8") };
        let low = TrafficSelector { protocol: 17, ports: (0, 1023), ..range("10.0.0.5", "11.0.0.0") };
        let both = TrafficSelector { protocol: 17, ports: (53, 53), ..range("10.0.0.5", "10.255.255.255") };
        assert_eq!(dns.intersect(&low), Some(both));
        assert_eq!(low.intersect(&dns), Some(both));
        assert_eq!(both.to_string(), "10.0.0.5-10.255.255.255 protocol 17 ports 53-53");
        assert!(TrafficSelector::any_v4().contains(&both) && dns.contains(&both) && low.contains(&both));
        assert!(!dns.contains(&low) && !both.contains(&dns));
        assert_eq!(dns.intersect(&TrafficSelector { protocol: 6, ..dns }), None);
        assert_eq!(dns.intersect(&TrafficSelector { ports: (54, 60), ..dns }), None);
        assert_eq!(dns.intersect(&net("11.0.0.0/8")), None);
        assert_eq!(TrafficSelector::any_v4().intersect(&TrafficSelector::any_v6()), None);
    }

    #[test]
    fn any_port_includes_opaque_and_other_ranges_do_not() {
        let any = net("10.0.0.1/32");
        let opaque = TrafficSelector { ports: TrafficSelector::OPAQUE, ..any };
        assert!(any.contains(&opaque) && opaque.contains(&opaque) && !opaque.contains(&any));
        assert_eq!(opaque.intersect(&TrafficSelector { ports: (0, 9), ..any }), None);
        assert_eq!(opaque.to_string(), "10.0.0.1/32 ports opaque");
    }
}
