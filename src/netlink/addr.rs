//! Addresses of interfaces: `RTM_NEWADDR` and `RTM_DELADDR`.

use ipnet::IpNet;

use super::attr::{Attributes, Malformed, Reader, address, family};
use super::message::{CREATE, DUMP, EXCL, Message};
use super::{Dump, LinkIndexes, Parsed, Unencodable};
use crate::state::{Address, AddressId, Scope};

const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const GETADDR: u16 = 22;

/// `IFA_ADDRESS`, `IFA_LOCAL`.
const PEER: u16 = 1;
const LOCAL: u16 = 2;
/// `IFA_F_NODAD`.
const NO_DETECTION: u8 = 2;
const GLOBAL: u8 = 0;
const HOST: u8 = 254;

/// Makes an address that must not exist yet.
pub(super) fn create(address: &Address, links: &LinkIndexes) -> Result<Message, Unencodable> {
    encode(NEWADDR, CREATE | EXCL, address, links)
}

/// Removes an address.
pub(super) fn delete(address: &Address, links: &LinkIndexes) -> Result<Message, Unencodable> {
    encode(DELADDR, 0, address, links)
}

fn encode(kind: u16, flags: u16, address: &Address, links: &LinkIndexes) -> Result<Message, Unencodable> {
    let prefix = address.id.prefix;
    let index = links.index(&address.id.link)?;
    let scope = match address.scope {
        Scope::Global => GLOBAL,
        Scope::Host => HOST,
        Scope::Other(scope) => scope,
    };
    Ok(Message::new(kind, flags, |writer| {
        writer.u8(family(prefix.addr()));
        writer.u8(prefix.prefix_len());
        writer.u8(if prefix.addr().is_ipv6() && kind == NEWADDR { NO_DETECTION } else { 0 });
        writer.u8(scope);
        writer.u32(index);
        writer.attribute_address(LOCAL, prefix.addr());
        writer.attribute_address(PEER, prefix.addr());
    }))
}

/// The addresses of all interfaces; those that `links` does not name are irrelevant.
#[derive(Debug, Clone, Copy)]
pub struct AddressDump<'a> {
    /// The interfaces that are ours.
    pub links: &'a LinkIndexes,
}

impl Dump for AddressDump<'_> {
    type Item = Parsed<Address, AddressId>;
    const ANSWER: u16 = NEWADDR;

    fn request(&self) -> Message {
        Message::new(GETADDR, DUMP, |writer| writer.zeros(8))
    }

    fn parse(&self, payload: &[u8]) -> Result<Parsed<Address, AddressId>, Malformed> {
        let mut reader = Reader::new("ifaddrmsg", payload);
        let (family, length, _flags, scope) = (reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?);
        let Some(link) = self.links.name(reader.u32()?) else { return Ok(Parsed::Irrelevant) };
        let (mut local, mut peer) = (None, None);
        for attribute in Attributes::new(reader.rest()) {
            let attribute = attribute?;
            match attribute.kind {
                LOCAL => local = address(family, attribute.content),
                PEER => peer = address(family, attribute.content),
                _ => {}
            }
        }
        let prefix = local.or(peer).and_then(|address| IpNet::new(address, length).ok());
        let Some(prefix) = prefix else { return Ok(Parsed::Irrelevant) };
        let scope = match scope {
            // A link to one peer is a form we never give an address.
            _ if peer.is_some_and(|peer| peer != prefix.addr()) => Scope::Other(scope),
            GLOBAL => Scope::Global,
            HOST if prefix.addr().is_ipv4() => Scope::Host,
            scope => Scope::Other(scope),
        };
        Ok(Parsed::Ours(Address { id: AddressId { link: link.clone(), prefix }, scope }))
    }
}
