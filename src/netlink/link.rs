//! xfrm interfaces: `RTM_NEWLINK` and `RTM_DELLINK`.

use std::collections::BTreeMap;

use super::attr::{Attributes, INET6, Malformed, Reader, Writer};
use super::message::{CREATE, DUMP, EXCL, Message};
use super::{Dump, Unencodable};
use crate::id::{IfId, LinkName, Mtu, ProcessId};
use crate::ownership;
use crate::state::Link;

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;

/// Attributes, `enum` in `if_link.h`.
mod kind {
    pub(super) const IFNAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const NET_NS_PID: u16 = 19;
    pub(super) const LINKINFO: u16 = 18;
    pub(super) const INFO_KIND: u16 = 1;
    pub(super) const INFO_DATA: u16 = 2;
    pub(super) const XFRM_IF_ID: u16 = 2;
    pub(super) const AF_SPEC: u16 = 26;
    pub(super) const INET6_ADDR_GEN_MODE: u16 = 8;
    pub(super) const EXT_MASK: u16 = 29;
}

const XFRM: &str = "xfrm";
const IFF_UP: u32 = 1;
/// `IN6_ADDR_GEN_MODE_NONE`.
const NO_ADDRESSES: u8 = 1;
/// `RTEXT_FILTER_SKIP_STATS`.
const SKIP_STATISTICS: u32 = 8;

/// Which number the kernel gave each interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkIndexes {
    by_name: BTreeMap<LinkName, u32>,
    by_index: BTreeMap<u32, LinkName>,
}

impl LinkIndexes {
    /// Adds an interface.
    pub fn insert(&mut self, name: LinkName, index: u32) {
        self.by_name.insert(name.clone(), index);
        self.by_index.insert(index, name);
    }

    /// The number of the interface called `name`.
    ///
    /// # Errors
    /// [`Unencodable::UnknownLink`] when there is none.
    pub fn index(&self, name: &LinkName) -> Result<u32, Unencodable> {
        self.by_name.get(name).copied().ok_or_else(|| Unencodable::UnknownLink(name.clone()))
    }

    /// The name of the interface with this number.
    #[must_use]
    pub fn name(&self, index: u32) -> Option<&LinkName> {
        self.by_index.get(&index)
    }
}

/// Makes an interface, still down. It has no lower device: routes and policies decide where packets leave.
pub(super) fn create(link: &Link) -> Message {
    Message::new(NEWLINK, CREATE | EXCL, |writer| {
        write_info(writer, 0, 0);
        writer.attribute_text(kind::IFNAME, link.name.as_str());
        writer.attribute_u32(kind::MTU, link.mtu.get());
        write_kind(writer, link.if_id);
    })
}

/// Turns IPv6 address generation off. The kernel ignores this in [`create`], and in a message that turns the
/// interface on it comes too late, so it has to go in between.
pub(super) fn without_addresses(name: &LinkName) -> Message {
    Message::new(NEWLINK, 0, |writer| {
        write_info(writer, 0, 0);
        writer.attribute_text(kind::IFNAME, name.as_str());
        writer.nested(kind::AF_SPEC, |writer| {
            writer.nested(INET6.into(), |writer| {
                writer.attribute(kind::INET6_ADDR_GEN_MODE, &[NO_ADDRESSES]);
            });
        });
    })
}

/// Changes MTU, state and, if it differs, identifier.
pub(super) fn change(old: &Link, new: &Link) -> Message {
    Message::new(NEWLINK, 0, |writer| {
        write_info(writer, if new.up { IFF_UP } else { 0 }, IFF_UP);
        writer.attribute_text(kind::IFNAME, new.name.as_str());
        writer.attribute_u32(kind::MTU, new.mtu.get());
        if old.if_id != new.if_id {
            write_kind(writer, new.if_id);
        }
    })
}

/// Turns an interface on that need not be ours, such as the loopback.
#[must_use]
pub fn turn_on(name: &LinkName) -> Message {
    Message::new(NEWLINK, 0, |writer| {
        write_info(writer, IFF_UP, IFF_UP);
        writer.attribute_text(kind::IFNAME, name.as_str());
    })
}

/// Moves the interface with this number to the network namespace of a process, where it is called `name`. The
/// kernel turns it off and takes its addresses away.
#[must_use]
pub fn move_to(index: u32, process: ProcessId, name: &LinkName) -> Message {
    Message::new(NEWLINK, 0, |writer| {
        writer.zeros(4);
        writer.u32(index);
        writer.zeros(8);
        writer.attribute_u32(kind::NET_NS_PID, process.get());
        writer.attribute_text(kind::IFNAME, name.as_str());
    })
}

/// Removes an interface.
#[must_use]
pub fn delete(name: &LinkName) -> Message {
    Message::new(DELLINK, 0, |writer| {
        write_info(writer, 0, 0);
        writer.attribute_text(kind::IFNAME, name.as_str());
    })
}

/// `struct ifinfomsg`.
fn write_info(writer: &mut Writer, flags: u32, mask: u32) {
    writer.zeros(8);
    writer.u32(flags);
    writer.u32(mask);
}

fn write_kind(writer: &mut Writer, if_id: IfId) {
    writer.nested(kind::LINKINFO, |writer| {
        writer.attribute(kind::INFO_KIND, XFRM.as_bytes());
        writer.nested(kind::INFO_DATA, |writer| writer.attribute_u32(kind::XFRM_IF_ID, if_id.get()));
    });
}

/// An interface as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkEntry {
    /// Its number.
    pub index: u32,
    /// Its name, unless it is one that ours never have.
    pub name: Option<LinkName>,
    /// Its identifier, if it is an xfrm interface that has one.
    pub if_id: Option<IfId>,
    /// The interface, if it is ours.
    pub ours: Option<Link>,
}

/// All interfaces.
#[derive(Debug, Clone, Copy)]
pub struct LinkDump;

impl Dump for LinkDump {
    type Item = LinkEntry;
    const ANSWER: u16 = NEWLINK;

    fn request(&self) -> Message {
        Message::new(GETLINK, DUMP, |writer| {
            write_info(writer, 0, 0);
            writer.attribute_u32(kind::EXT_MASK, SKIP_STATISTICS);
        })
    }

    fn parse(&self, payload: &[u8]) -> Result<LinkEntry, Malformed> {
        let mut reader = Reader::new("ifinfomsg", payload);
        reader.slice(4)?;
        let (index, flags) = (reader.u32()?, reader.u32()?);
        reader.u32()?;
        let (mut name, mut mtu, mut if_id) = (None, None, None);
        for attribute in Attributes::new(reader.rest()) {
            let attribute = attribute?;
            match attribute.kind {
                kind::IFNAME => name = attribute.text().and_then(|name| name.parse::<LinkName>().ok()),
                kind::MTU => mtu = Mtu::try_from(attribute.u32()?).ok(),
                kind::LINKINFO => if_id = read_if_id(attribute.attributes())?,
                _ => {}
            }
        }
        let ours = match (&name, mtu, if_id) {
            (Some(name), Some(mtu), Some(if_id)) if ownership::owns_link(name, Some(if_id)) => {
                Some(Link { name: name.clone(), if_id, mtu, up: flags & IFF_UP != 0 })
            }
            _ => None,
        };
        Ok(LinkEntry { index, name, if_id, ours })
    }
}

/// The identifier in `IFLA_LINKINFO`, if that describes an xfrm interface.
fn read_if_id(attributes: Attributes<'_>) -> Result<Option<IfId>, Malformed> {
    let (mut is_xfrm, mut if_id) = (false, None);
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.kind {
            kind::INFO_KIND => is_xfrm = attribute.text() == Some(XFRM),
            kind::INFO_DATA => {
                for datum in attribute.attributes() {
                    let datum = datum?;
                    if is_xfrm && datum.kind == kind::XFRM_IF_ID {
                        if_id = IfId::new(datum.u32()?);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(if_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The octets of `ip link set ippr1 netns 77 name ippc1`, with a number for the name.
    #[test]
    fn an_interface_is_moved_by_number_and_named_there() {
        let message = move_to(8, ProcessId::new(77).unwrap(), &"ippc1".parse().unwrap());
        let mut expected = Vec::new();
        expected.extend([0; 4]);
        expected.extend(8_u32.to_ne_bytes());
        expected.extend([0; 8]);
        for (kind, content) in [(19_u16, &77_u32.to_ne_bytes()[..]), (3, b"ippc1\0")] {
            expected.extend(u16::try_from(4 + content.len()).unwrap().to_ne_bytes());
            expected.extend(kind.to_ne_bytes());
            expected.extend(content);
            expected.resize(expected.len().next_multiple_of(4), 0);
        }
        assert_eq!(message.as_bytes()[16..], expected);
        assert_eq!(message.kind(), NEWLINK);
    }

    #[test]
    fn turning_on_changes_nothing_else() {
        let message = turn_on(&"lo".parse().unwrap());
        let octets = &message.as_bytes()[16..];
        assert_eq!(octets[8..16], [IFF_UP.to_ne_bytes(), IFF_UP.to_ne_bytes()].concat());
        assert_eq!(octets.len(), 16 + 8);
    }
}
