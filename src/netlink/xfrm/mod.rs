//! XFRM messages: what security associations and policies have in common.

mod policy;
mod sa;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
pub use policy::PolicyDump;
pub(super) use policy::{delete as delete_policy, make as make_policy};
pub use sa::{SaDump, SaPackets};
pub(super) use sa::{delete as delete_sa, make as make_sa, update as update_sa};

use super::attr::{INET, INET6, Malformed, Reader, Writer, address, family};
use super::request::Unencodable;
use crate::state::Selector;

/// `IPPROTO_ESP`.
const ESP: u8 = 50;
/// `XFRM_MODE_TUNNEL`.
const TUNNEL: u8 = 1;
/// `XFRM_INF`.
const INFINITE: u64 = u64::MAX;
/// `XFRMA_IF_ID`.
const IF_ID: u16 = 31;

/// Appends a `struct xfrm_selector`; for `None` one of no family, which matches both.
fn write_selector(writer: &mut Writer, selector: Option<&Selector>) {
    let Some(selector) = selector else {
        writer.zeros(56);
        return;
    };
    writer.wide_address(selector.destination.network());
    writer.wide_address(selector.source.network());
    writer.zeros(8);
    writer.u16(family(selector.source.addr()).into());
    writer.u8(selector.destination.prefix_len());
    writer.u8(selector.source.prefix_len());
    writer.u8(selector.protocol.unwrap_or(0));
    writer.zeros(3 + 8);
}

/// Refuses a selector from one address family to the other.
fn check_selector(selector: &Selector) -> Result<(), Unencodable> {
    same_family(selector.source.addr(), selector.destination.addr())
}

/// Refuses addresses of two families.
const fn same_family(source: IpAddr, destination: IpAddr) -> Result<(), Unencodable> {
    if family(source) == family(destination) {
        Ok(())
    } else {
        Err(Unencodable::MixedFamilies(source, destination))
    }
}

/// A `struct xfrm_selector` as read.
enum SelectorFound {
    /// Both families, any packet.
    Unspecified,
    /// One of ours.
    Plain(Selector),
    /// One with ports, an interface or a user, which `selector` leaves out.
    Other { selector: Option<Selector> },
}

/// Reads a `struct xfrm_selector`.
fn read_selector(reader: &mut Reader<'_>) -> Result<SelectorFound, Malformed> {
    let destination: [u8; 16] = reader.array()?;
    let source: [u8; 16] = reader.array()?;
    let ports = reader.u64()?;
    let kind = reader.u16()?;
    let (destination_length, source_length) = (reader.u8()?, reader.u8()?);
    let protocol = reader.u8()?;
    reader.slice(3)?;
    let (interface, user) = (reader.u32()?, reader.u32()?);

    let unused = ports == 0 && interface == 0 && user == 0;
    if kind == 0 {
        let empty = destination == [0; 16] && source == [0; 16] && protocol == 0;
        let any = unused && empty && destination_length == 0 && source_length == 0;
        return Ok(if any { SelectorFound::Unspecified } else { SelectorFound::Other { selector: None } });
    }
    let net = |octets: [u8; 16], length| Some(IpNet::new(wide_address(kind, octets)?, length).ok()?.trunc());
    let selector = || {
        Some(Selector {
            source: net(source, source_length)?,
            destination: net(destination, destination_length)?,
            protocol: (protocol != 0).then_some(protocol),
        })
    };
    Ok(match selector() {
        Some(selector) if unused => SelectorFound::Plain(selector),
        selector => SelectorFound::Other { selector },
    })
}

/// The address in an `xfrm_address_t` of `family`.
fn wide_address(family: u16, octets: [u8; 16]) -> Option<IpAddr> {
    address(u8::try_from(family).ok()?, &octets)
}

/// The address that means "any" in `family`.
const fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// Appends a `struct xfrm_lifetime_cfg` without limits and the zeros of a `struct xfrm_lifetime_cur`.
fn write_lifetimes(writer: &mut Writer) {
    for _ in 0..4 {
        writer.u64(INFINITE);
    }
    writer.zeros(4 * 8 + 4 * 8);
}

/// A `struct xfrm_lifetime_cfg` and a `struct xfrm_lifetime_cur` as read.
struct Lifetimes {
    /// Whether there are no limits.
    endless: bool,
    /// How many packets went through so far.
    packets: u64,
}

/// Reads both.
fn read_lifetimes(reader: &mut Reader<'_>) -> Result<Lifetimes, Malformed> {
    let mut endless = true;
    for _ in 0..4 {
        endless &= reader.u64()? == INFINITE;
    }
    for _ in 0..4 {
        endless &= reader.u64()? == 0;
    }
    let (_octets, packets) = (reader.u64()?, reader.u64()?);
    reader.slice(2 * 8)?;
    Ok(Lifetimes { endless, packets })
}

/// Whether `family` is one that we know.
const fn known_family(family: u16) -> bool {
    family == INET as u16 || family == INET6 as u16
}
