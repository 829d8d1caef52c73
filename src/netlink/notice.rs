//! What the kernel says unasked: XFRM multicast groups `ACQUIRE` and `MAPPING`, and changes of addresses and
//! routes.

use std::net::{IpAddr, SocketAddr};

use super::attr::{Attributes, Malformed, Reader, address};
use super::message::Frame;
use crate::id::Spi;
use crate::ownership::in_range;
use crate::state::SaId;

/// `XFRM_MSG_ACQUIRE`, `XFRM_MSG_MAPPING`.
const ACQUIRE: u16 = 0x17;
const MAPPING: u16 = 0x26;
/// `XFRMA_TMPL`, `XFRMA_IF_ID`.
const TMPL: u16 = 5;
const IF_ID: u16 = 31;

/// `RTM_NEWLINK` to `RTM_DELROUTE`.
const ROUTING: std::ops::RangeInclusive<u16> = 16..=25;

/// Octets of `saddr`, a selector, and a policy's form before the attributes of an `xfrm_user_acquire`, and of
/// its three algorithm masks and number.
const ACQUIRE_REST: usize = 16 + 56 + 168 + 12 + 4;

/// Something about SAs of ours that the kernel says unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A packet matches a policy of ours whose SA is missing.
    Acquire {
        /// The far end of the missing tunnel.
        peer: IpAddr,
    },
    /// Packets of an SA with UDP encapsulation come from elsewhere now.
    Mapping {
        /// The SA they come through.
        sa: SaId,
        /// Where they come from.
        remote: SocketAddr,
    },
}

/// Reads a message of the XFRM groups; `None` when it is of no interest.
///
/// # Errors
/// [`Malformed`] when it ends too early.
pub fn xfrm_notice(frame: &Frame<'_>) -> Result<Option<Notice>, Malformed> {
    match frame.kind {
        ACQUIRE => acquire(frame.payload),
        MAPPING => mapping(frame.payload),
        _ => Ok(None),
    }
}

/// Whether a message of the routing groups may mean that this host has another address now.
#[must_use]
pub fn address_changes(frame: &Frame<'_>) -> bool {
    ROUTING.contains(&frame.kind)
}

/// `struct xfrm_user_acquire`. It has no family: that of the template of the same destination is it.
fn acquire(payload: &[u8]) -> Result<Option<Notice>, Malformed> {
    let mut reader = Reader::new("xfrm_user_acquire", payload);
    let destination: [u8; 16] = reader.array()?;
    reader.slice(8 + ACQUIRE_REST)?;
    let (mut ours, mut peer) = (false, None);
    for attribute in Attributes::new(reader.rest()) {
        let attribute = attribute?;
        match attribute.kind {
            IF_ID => ours = in_range(attribute.u32()?),
            TMPL => {
                let mut templates = Reader::new("xfrm_user_tmpl", attribute.content);
                while peer.is_none() && !templates.rest().is_empty() {
                    peer = template(&mut templates, destination)?;
                }
            }
            _ => {}
        }
    }
    Ok(peer.filter(|_| ours).map(|peer| Notice::Acquire { peer }))
}

/// Reads a `struct xfrm_user_tmpl`; its destination, if that has the octets of `destination`.
fn template(reader: &mut Reader<'_>, destination: [u8; 16]) -> Result<Option<IpAddr>, Malformed> {
    let found: [u8; 16] = reader.array()?;
    reader.slice(8)?;
    let family = reader.u16()?;
    reader.slice(2 + 16 + 4 + 4 + 12)?;
    let family = u8::try_from(family).unwrap_or_default();
    Ok(address(family, &found).filter(|_| found == destination))
}

/// `struct xfrm_user_mapping`. Whether the SA is ours, who installed it knows.
fn mapping(payload: &[u8]) -> Result<Option<Notice>, Malformed> {
    let mut reader = Reader::new("xfrm_user_mapping", payload);
    let destination: [u8; 16] = reader.array()?;
    let spi = u32::from_be_bytes(reader.array()?);
    let family = u8::try_from(reader.u16()?).unwrap_or_default();
    reader.slice(2 + 4 + 16)?;
    let source: [u8; 16] = reader.array()?;
    reader.slice(2)?;
    let port = u16::from_be_bytes(reader.array()?);
    let sa = || Some(SaId { destination: address(family, &destination)?, spi: Spi::try_from(spi).ok()? });
    let remote = || Some(SocketAddr::new(address(family, &source)?, port));
    Ok(sa().zip(remote()).map(|(sa, remote)| Notice::Mapping { sa, remote }))
}

#[cfg(test)]
mod tests {
    use super::super::attr::{INET, INET6, Writer};
    use super::*;

    fn frame(kind: u16, payload: &[u8]) -> Frame<'_> {
        Frame { kind, flags: 0, sequence: 0, payload }
    }

    fn acquire_of(peer: IpAddr, if_id: u32) -> Vec<u8> {
        let mut writer = Writer::new(512);
        writer.wide_address(peer);
        writer.zeros(8 + ACQUIRE_REST);
        writer.nested(TMPL, |writer| {
            for (destination, family) in [("192.0.2.99".parse().unwrap(), INET), (peer, family_of(peer))] {
                writer.wide_address(destination);
                writer.zeros(8);
                writer.u16(family.into());
                writer.zeros(2 + 16 + 4 + 4 + 12);
            }
        });
        writer.attribute_u32(IF_ID, if_id);
        writer.as_bytes().to_vec()
    }

    const fn family_of(address: IpAddr) -> u8 {
        if address.is_ipv4() { INET } else { INET6 }
    }

    #[test]
    fn an_acquire_tells_the_peer_in_either_family() {
        for peer in ["192.0.2.7", "2001:db8::7"] {
            let peer: IpAddr = peer.parse().unwrap();
            let payload = acquire_of(peer, crate::ownership::FIRST + 1);
            assert_eq!(xfrm_notice(&frame(ACQUIRE, &payload)), Ok(Some(Notice::Acquire { peer })));
        }
    }

    #[test]
    fn an_acquire_for_others_policies_is_of_no_interest() {
        let payload = acquire_of("192.0.2.7".parse().unwrap(), 7);
        assert_eq!(xfrm_notice(&frame(ACQUIRE, &payload)), Ok(None));
    }

    #[test]
    fn a_mapping_tells_the_sa_and_the_new_source() {
        let mut writer = Writer::new(128);
        writer.wide_address("192.0.2.1".parse().unwrap());
        writer.bytes(&0xc000_0001_u32.to_be_bytes());
        writer.u16(INET.into());
        writer.zeros(2 + 4);
        writer.wide_address("198.51.100.1".parse().unwrap());
        writer.wide_address("198.51.100.2".parse().unwrap());
        writer.bytes(&4500_u16.to_be_bytes());
        writer.bytes(&4501_u16.to_be_bytes());
        let payload = writer.as_bytes();
        let sa = SaId { destination: "192.0.2.1".parse().unwrap(), spi: Spi::try_from(0xc000_0001).unwrap() };
        let remote = "198.51.100.2:4501".parse().unwrap();
        assert_eq!(xfrm_notice(&frame(MAPPING, payload)), Ok(Some(Notice::Mapping { sa, remote })));
        for end in 0..payload.len() {
            assert!(xfrm_notice(&frame(MAPPING, &payload[..end])).is_err(), "{end}");
        }
    }

    #[test]
    fn routing_messages_are_told_from_others() {
        assert!(address_changes(&frame(20, &[])));
        assert!(address_changes(&frame(25, &[])));
        assert!(!address_changes(&frame(3, &[])));
        assert_eq!(xfrm_notice(&frame(0x18, &[])), Ok(None));
    }
}
