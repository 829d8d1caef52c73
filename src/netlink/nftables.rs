//! Changes of sets in our nftables table, as transactions of nfnetlink. What makes the table is a script for
//! `nft`; this is for what changes with every layer of a circuit, and must not wait for a program.

use std::net::IpAddr;

use super::Message;
use super::attr::Writer;
use super::message::CREATE;
use crate::ownership::NFT_TABLE;
use crate::state::SetChange;

/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`.
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
/// `NFNL_SUBSYS_NFTABLES`.
const NFTABLES: u16 = 10;
/// `NFT_MSG_NEWSETELEM` and `NFT_MSG_DELSETELEM`.
const NEW_ELEMENTS: u16 = NFTABLES << 8 | 12;
const DELETE_ELEMENTS: u16 = NFTABLES << 8 | 14;
/// `NFPROTO_UNSPEC` and `NFPROTO_INET`.
const UNSPECIFIED: u8 = 0;
const INET: u8 = 1;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// `NFTA_SET_ELEM_LIST_TABLE`, `NFTA_SET_ELEM_LIST_SET` and `NFTA_SET_ELEM_LIST_ELEMENTS`.
const TABLE: u16 = 1;
const SET: u16 = 2;
const ELEMENTS: u16 = 3;
/// `NFTA_LIST_ELEM`, `NFTA_SET_ELEM_KEY` and `NFTA_DATA_VALUE`.
const ELEMENT: u16 = 1;
const KEY: u16 = 1;
const VALUE: u16 = 1;
/// Addresses in a message: their attribute may have 64 KiB, and each takes 28 octets at most.
const MOST: usize = 2048;

/// The messages of the transaction that carries `changes` out, for [`super::Batch::transaction`]. An address
/// that comes may be there already; one that goes must be there.
#[must_use]
pub fn change_sets(changes: &[SetChange]) -> Vec<Message> {
    let mut messages = vec![bracket(BEGIN)];
    for SetChange { set, add, remove } in changes {
        messages.extend(add.chunks(MOST).map(|addresses| elements(NEW_ELEMENTS, CREATE, set, addresses)));
        messages.extend(remove.chunks(MOST).map(|addresses| elements(DELETE_ELEMENTS, 0, set, addresses)));
    }
    messages.push(bracket(END));
    messages
}

/// Begins or ends a transaction.
fn bracket(kind: u16) -> Message {
    Message::new(kind, 0, |writer| header(writer, UNSPECIFIED, NFTABLES))
}

fn elements(kind: u16, flags: u16, set: &str, addresses: &[IpAddr]) -> Message {
    Message::new(kind, flags, |writer| {
        header(writer, INET, 0);
        writer.attribute_text(TABLE, NFT_TABLE);
        writer.attribute_text(SET, set);
        writer.nested(NESTED | ELEMENTS, |list| {
            for address in addresses {
                list.nested(NESTED | ELEMENT, |element| {
                    element.nested(NESTED | KEY, |key| key.attribute_address(VALUE, *address));
                });
            }
        });
    })
}

/// `struct nfgenmsg`, whose last number is in network byte order.
fn header(writer: &mut Writer, family: u8, resource: u16) {
    writer.u8(family);
    writer.u8(0);
    writer.bytes(&resource.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn more_addresses_than_an_attribute_holds_come_in_several_messages() {
        let add: Vec<_> = (0..5000).map(|number| Ipv4Addr::from_bits(number).into()).collect();
        let messages = change_sets(&[SetChange { set: "handed_out".to_owned(), add, remove: Vec::new() }]);
        let kinds: Vec<_> = messages.iter().map(Message::kind).collect();
        assert_eq!(kinds, [BEGIN, NEW_ELEMENTS, NEW_ELEMENTS, NEW_ELEMENTS, END]);
        assert!(messages.iter().all(|message| message.as_bytes().len() < usize::from(u16::MAX)));
    }
}
