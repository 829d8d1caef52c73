//! The configuration payload: the address that a relay hands out (RFC 7296 §2.19, §3.15).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ike::event::{AddressRequest, Addresses, Family};
use crate::ike::wire::{Attribute, AttributeType, Configuration, CpType};

/// The prefix length that comes with an IPv6 address: a host's.
const HOST_PREFIX: u8 = 128;
/// The most name servers we take.
const MOST_DNS: usize = 8;

/// What an initiator sends. Every client asks for the same things, so that the question tells nothing.
pub(super) fn request(wanted: AddressRequest) -> Configuration {
    let empty = |kind| Attribute { kind, data: Vec::new() };
    let mut attributes = Vec::new();
    if wanted.family != Some(Family::V6) {
        attributes.extend([AttributeType::INTERNAL_IP4_ADDRESS, AttributeType::INTERNAL_IP4_DNS].map(empty));
    }
    if wanted.family != Some(Family::V4) {
        attributes.extend([AttributeType::INTERNAL_IP6_ADDRESS, AttributeType::INTERNAL_IP6_DNS].map(empty));
    }
    Configuration { kind: CpType::REQUEST, attributes }
}

/// What a responder reads from that; `None` when no address is asked for.
pub(super) fn requested(configuration: &Configuration) -> Option<AddressRequest> {
    let asks = |kind| configuration.attributes.iter().any(|attribute| attribute.kind == kind);
    let v4 = asks(AttributeType::INTERNAL_IP4_ADDRESS);
    let v6 = asks(AttributeType::INTERNAL_IP6_ADDRESS);
    let family = match (v4, v6) {
        (true, true) => None,
        (true, false) => Some(Family::V4),
        (false, true) => Some(Family::V6),
        (false, false) => return None,
    };
    (configuration.kind == CpType::REQUEST).then_some(AddressRequest { family })
}

/// What a responder answers.
pub(super) fn reply(given: &Addresses) -> Configuration {
    let mut attributes = Vec::new();
    for address in &given.addresses {
        attributes.push(match address {
            IpAddr::V4(v4) => {
                Attribute { kind: AttributeType::INTERNAL_IP4_ADDRESS, data: v4.octets().to_vec() }
            }
            IpAddr::V6(v6) => {
                let data = [&v6.octets()[..], &[HOST_PREFIX]].concat();
                Attribute { kind: AttributeType::INTERNAL_IP6_ADDRESS, data }
            }
        });
    }
    for server in &given.dns {
        attributes.push(match server {
            IpAddr::V4(v4) => Attribute { kind: AttributeType::INTERNAL_IP4_DNS, data: v4.octets().to_vec() },
            IpAddr::V6(v6) => Attribute { kind: AttributeType::INTERNAL_IP6_DNS, data: v6.octets().to_vec() },
        });
    }
    Configuration { kind: CpType::REPLY, attributes }
}

/// What an initiator reads from that: the first address of each family, and name servers. Values of another
/// length than they should have are ignored.
pub(super) fn given(configuration: &Configuration) -> Addresses {
    let mut given = Addresses::default();
    if configuration.kind != CpType::REPLY {
        return given;
    }
    for Attribute { kind, data } in &configuration.attributes {
        let v4 = || Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(data.as_slice()).ok()?)));
        let v6 = || Some(IpAddr::V6(Ipv6Addr::from(*data.first_chunk::<16>()?)));
        let (address, server) = match *kind {
            AttributeType::INTERNAL_IP4_ADDRESS => (v4(), None),
            AttributeType::INTERNAL_IP6_ADDRESS => (v6(), None),
            AttributeType::INTERNAL_IP4_DNS => (None, v4()),
            AttributeType::INTERNAL_IP6_DNS => (None, v6()),
            _ => (None, None),
        };
        if let Some(address) = address
            && !given.addresses.iter().any(|known| known.is_ipv4() == address.is_ipv4())
        {
            given.addresses.push(address);
        }
        given.dns.extend(server.filter(|_| given.dns.len() < MOST_DNS));
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_come_across() {
        for family in [None, Some(Family::V4), Some(Family::V6)] {
            let wanted = AddressRequest { family };
            assert_eq!(requested(&request(wanted)), Some(wanted));
        }
        let addresses = Addresses {
            addresses: vec!["10.64.0.7".parse().unwrap(), "fd00::7".parse().unwrap()],
            dns: vec!["10.64.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        };
        assert_eq!(given(&reply(&addresses)), addresses);
        assert_eq!(requested(&reply(&addresses)), None);
        assert_eq!(given(&request(AddressRequest { family: None })), Addresses::default());
    }

    #[test]
    fn no_more_name_servers_than_anybody_needs_and_none_of_a_wrong_length() {
        let servers = |kind, count: u8, length: usize| {
            (0..count).map(move |last| Attribute { kind, data: vec![last; length] })
        };
        let v4 = AttributeType::INTERNAL_IP4_DNS;
        let attributes = servers(v4, 3, 3).chain(servers(v4, 50, 4)).chain(servers(v4, 1, 16)).collect();
        let found = given(&Configuration { kind: CpType::REPLY, attributes });
        assert_eq!(found.dns.len(), MOST_DNS);
        assert_eq!(found.dns.last(), Some(&"7.7.7.7".parse().unwrap()));
        let attributes = servers(AttributeType::INTERNAL_IP6_DNS, 2, 15).collect();
        assert!(given(&Configuration { kind: CpType::REPLY, attributes }).dns.is_empty());
    }

    #[test]
    fn one_address_of_a_family_and_none_of_a_wrong_length() {
        let attribute =
            |data: &[u8]| Attribute { kind: AttributeType::INTERNAL_IP4_ADDRESS, data: data.to_vec() };
        let attributes = vec![attribute(&[1]), attribute(&[10, 0, 0, 1]), attribute(&[10, 0, 0, 2])];
        let found = given(&Configuration { kind: CpType::REPLY, attributes });
        assert_eq!(found.addresses, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    }
}
