//! The configuration payload, by which a relay hands out addresses (RFC 7296 §3.15).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::codec::{Reader, Writer, medium};
use super::{AttributeType, CpType, Malformed};

/// A question for configuration, or the answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Configuration {
    /// Which of both.
    pub kind: CpType,
    /// What is asked or answered.
    pub attributes: Vec<Attribute>,
}

/// A piece of configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attribute {
    /// What it is.
    pub kind: AttributeType,
    /// Its value; empty in a question that asks for any.
    pub data: Vec<u8>,
}

impl Configuration {
    /// The attribute of this kind that comes first.
    #[must_use]
    pub fn get(&self, kind: AttributeType) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.kind == kind)
    }
}

impl Attribute {
    /// The most attributes in one payload.
    pub const MOST: usize = 64;

    /// The first bit on the wire is reserved.
    const KIND: u16 = 0x7fff;
    const PREFIX_LENGTH_OF_HOST: u8 = 128;

    /// A question for any value.
    #[must_use]
    pub const fn any(kind: AttributeType) -> Self {
        Self { kind, data: Vec::new() }
    }

    /// An address handed out, or wished for: `INTERNAL_IP4_ADDRESS` or `INTERNAL_IP6_ADDRESS` with a prefix
    /// of all bits.
    #[must_use]
    pub fn internal(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => {
                Self { kind: AttributeType::INTERNAL_IP4_ADDRESS, data: address.octets().to_vec() }
            }
            IpAddr::V6(address) => {
                let data = [&address.octets()[..], &[Self::PREFIX_LENGTH_OF_HOST]].concat();
                Self { kind: AttributeType::INTERNAL_IP6_ADDRESS, data }
            }
        }
    }

    /// A name server.
    #[must_use]
    pub fn dns(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => {
                Self { kind: AttributeType::INTERNAL_IP4_DNS, data: address.octets().to_vec() }
            }
            IpAddr::V6(address) => {
                Self { kind: AttributeType::INTERNAL_IP6_DNS, data: address.octets().to_vec() }
            }
        }
    }

    /// The address in an attribute that holds one; the prefix length behind an IPv6 one is left out. `None`
    /// when it is empty, of a kind without address, or of a wrong length.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self.kind {
            AttributeType::INTERNAL_IP4_ADDRESS | AttributeType::INTERNAL_IP4_DNS => {
                <[u8; 4]>::try_from(self.data.as_slice()).ok().map(|octets| Ipv4Addr::from(octets).into())
            }
            AttributeType::INTERNAL_IP6_DNS => {
                <[u8; 16]>::try_from(self.data.as_slice()).ok().map(|octets| Ipv6Addr::from(octets).into())
            }
            AttributeType::INTERNAL_IP6_ADDRESS => {
                let octets = <[u8; 17]>::try_from(self.data.as_slice()).ok()?;
                octets.first_chunk().map(|octets: &[u8; 16]| Ipv6Addr::from(*octets).into())
            }
            _ => None,
        }
    }
}

impl Configuration {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.u8(self.kind.0);
        writer.zeros(3);
        for attribute in &self.attributes {
            writer.u16(attribute.kind.0 & Attribute::KIND);
            writer.u16(medium(attribute.data.len()));
            writer.bytes(&attribute.data);
        }
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("CP payload", body);
        let kind = CpType(reader.u8()?);
        reader.bytes(3)?;
        let mut attributes = Vec::new();
        while !reader.is_empty() {
            if attributes.len() == Attribute::MOST {
                return Err(Malformed::TooMany { what: "configuration attributes", limit: Attribute::MOST });
            }
            let kind = AttributeType(reader.u16()? & Attribute::KIND);
            let length = reader.u16()?;
            attributes.push(Attribute { kind, data: reader.bytes(length.into())?.to_vec() });
        }
        Ok(Self { kind, attributes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(configuration: &Configuration) -> Vec<u8> {
        let mut writer = Writer::default();
        configuration.encode(&mut writer);
        writer.finish()
    }

    #[test]
    fn configurations_have_the_octets_of_the_rfc() {
        let request = Configuration {
            kind: CpType::REQUEST,
            attributes: vec![Attribute::any(AttributeType::INTERNAL_IP4_ADDRESS)],
        };
        assert_eq!(octets(&request), [1, 0, 0, 0, 0, 1, 0, 0]);
        let v6: IpAddr = "2001:db8::7".parse().unwrap();
        let reply = Configuration {
            kind: CpType::REPLY,
            attributes: vec![Attribute::internal("10.9.8.7".parse().unwrap()), Attribute::internal(v6)],
        };
        let mut expected = vec![2, 0, 0, 0, 0, 1, 0, 4, 10, 9, 8, 7, 0, 8, 0, 17];
        expected.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 128]);
        assert_eq!(octets(&reply), expected);
        assert_eq!(Configuration::decode(&expected), Ok(reply.clone()));
        assert_eq!(reply.get(AttributeType::INTERNAL_IP6_ADDRESS).unwrap().address(), Some(v6));
        assert_eq!(reply.get(AttributeType::INTERNAL_IP4_DNS), None);
    }

    #[test]
    fn addresses_are_read_only_where_they_are_and_whole() {
        for address in ["10.0.0.53", "2001:db8::53"].map(|text| text.parse().unwrap()) {
            assert_eq!(Attribute::dns(address).address(), Some(address));
            assert_eq!(Attribute::internal(address).address(), Some(address));
        }
        let kinds = [
            AttributeType::INTERNAL_IP4_ADDRESS,
            AttributeType::INTERNAL_IP6_ADDRESS,
            AttributeType::INTERNAL_IP6_DNS,
            AttributeType::APPLICATION_VERSION,
        ];
        for kind in kinds {
            for length in [0, 3, 5, 15, 18] {
                assert_eq!(Attribute { kind, data: vec![0; length] }.address(), None);
            }
        }
    }

    #[test]
    fn the_reserved_bit_is_ignored_and_bad_lengths_are_not() {
        let expected = Attribute { kind: AttributeType::INTERNAL_IP4_DNS, data: vec![1] };
        let decoded = Configuration::decode(&[1, 9, 9, 9, 0x80, 3, 0, 1, 1]).unwrap();
        assert_eq!(decoded.attributes, [expected]);
        for bad in [&[1, 0, 0][..], &[1, 0, 0, 0, 0, 1], &[1, 0, 0, 0, 0, 1, 0, 2, 9]] {
            assert!(Configuration::decode(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_number_of_attributes_is_bounded() {
        let mut configuration = Configuration {
            kind: CpType::REQUEST,
            attributes: vec![Attribute::any(AttributeType(3)); Attribute::MOST],
        };
        assert!(Configuration::decode(&octets(&configuration)).is_ok());
        configuration.attributes.push(Attribute::any(AttributeType(3)));
        let limit = Malformed::TooMany { what: "configuration attributes", limit: 64 };
        assert_eq!(Configuration::decode(&octets(&configuration)), Err(limit));
    }
}
