//! Routing rules: `RTM_NEWRULE` and `RTM_DELRULE`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::attr::{Attributes, Malformed, Reader, Writer, address, family};
use super::message::{CREATE, DUMP, EXCL, Message};
use super::{Dump, Unencodable};
use crate::id::{LinkName, Mark, TableId};
use crate::ownership;
use crate::state::{Rule, RuleAction};

const NEWRULE: u16 = 32;
const DELRULE: u16 = 33;
const GETRULE: u16 = 34;

/// Attributes, `FRA_*`.
mod kind {
    pub(super) const DST: u16 = 1;
    pub(super) const SRC: u16 = 2;
    pub(super) const IIFNAME: u16 = 3;
    pub(super) const PRIORITY: u16 = 6;
    pub(super) const FWMARK: u16 = 10;
    pub(super) const SUPPRESS_PREFIXLEN: u16 = 14;
    pub(super) const TABLE: u16 = 15;
    pub(super) const FWMASK: u16 = 16;
    pub(super) const PAD: u16 = 18;
    pub(super) const PROTOCOL: u16 = 21;
    pub(super) const IP_PROTO: u16 = 22;
}

/// `FR_ACT_TO_TBL`, `FR_ACT_UNREACHABLE`.
const TO_TABLE: u8 = 1;
const UNREACHABLE: u8 = 7;
/// `FIB_RULE_IIF_DETACHED`: the interface is not there now.
const DETACHED: u32 = 8;
/// The IP protocol of a stand-in. As an attribute it would mean "any", so it is left out.
const ALTERED: u8 = 0;

/// Makes a rule that must not exist yet.
pub(super) fn create(rule: &Rule) -> Result<Message, Unencodable> {
    if rule.protocol == Some(ALTERED) {
        return Err(Unencodable::Altered);
    }
    encode(NEWRULE, CREATE | EXCL, rule)
}

/// Removes a rule: the first that has at least these properties.
pub(super) fn delete(rule: &Rule) -> Result<Message, Unencodable> {
    encode(DELRULE, 0, rule)
}

fn encode(kind: u16, flags: u16, rule: &Rule) -> Result<Message, Unencodable> {
    let (source, destination) = (rule.source, rule.destination);
    if family(source.addr()) != family(destination.addr()) {
        return Err(Unencodable::MixedFamilies(source.addr(), destination.addr()));
    }
    let (action, table) = match rule.action {
        RuleAction::Lookup(table) => (TO_TABLE, Some(table)),
        RuleAction::Unreachable => (UNREACHABLE, None),
    };
    Ok(Message::new(kind, flags, |writer| {
        writer.u8(family(source.addr()));
        writer.u8(destination.prefix_len());
        writer.u8(source.prefix_len());
        writer.u8(0);
        // A table above 255 is told by its attribute alone.
        writer.u8(table.and_then(|table| u8::try_from(table.0).ok()).unwrap_or(0));
        writer.zeros(2);
        writer.u8(action);
        writer.u32(0);
        write_prefix(writer, kind::SRC, source);
        write_prefix(writer, kind::DST, destination);
        writer.attribute_u32(kind::PRIORITY, rule.priority);
        if let Some(table) = table {
            writer.attribute_u32(kind::TABLE, table.0);
        }
        if let Some(link) = &rule.input_link {
            writer.attribute_text(kind::IIFNAME, link.as_str());
        }
        if let Some(protocol) = rule.protocol.filter(|protocol| *protocol != ALTERED) {
            writer.attribute(kind::IP_PROTO, &[protocol]);
        }
        if let Some(mark) = rule.mark {
            writer.attribute_u32(kind::FWMARK, mark.value);
            writer.attribute_u32(kind::FWMASK, mark.mask);
        }
        writer.attribute(kind::PROTOCOL, &[ownership::PROTOCOL]);
    }))
}

fn write_prefix(writer: &mut Writer, kind: u16, prefix: IpNet) {
    if prefix.prefix_len() > 0 {
        writer.attribute_address(kind, prefix.network());
    }
}

/// The rules of both families; others' come as `None`.
#[derive(Debug, Clone, Copy)]
pub struct RuleDump;

impl Dump for RuleDump {
    type Item = Option<Rule>;
    const ANSWER: u16 = NEWRULE;

    fn request(&self) -> Message {
        Message::new(GETRULE, DUMP, |writer| writer.zeros(12))
    }

    /// A rule of ours in a form we never give one becomes a stand-in for IP protocol 0.
    fn parse(&self, payload: &[u8]) -> Result<Option<Rule>, Malformed> {
        let mut reader = Reader::new("fib_rule_hdr", payload);
        let family = reader.u8()?;
        let (destination_length, source_length, tos) = (reader.u8()?, reader.u8()?, reader.u8()?);
        let table = reader.u8()?;
        reader.slice(2)?;
        let (action, flags) = (reader.u8()?, reader.u32()?);
        let mut found = Found::read(family, reader.rest())?;
        if !ownership::owns_rule(found.protocol, found.priority) {
            return Ok(None);
        }
        let any = address(family, &[0; 16]);
        let prefix = |found: Option<IpAddr>, length| IpNet::new(found.or(any)?, length).ok();
        let source = prefix(found.source, source_length);
        let destination = prefix(found.destination, destination_length);
        let (Some(source), Some(destination)) = (source, destination) else { return Ok(None) };

        let action = match action {
            TO_TABLE => RuleAction::Lookup(found.table.unwrap_or(TableId(table.into()))),
            UNREACHABLE => RuleAction::Unreachable,
            _ => {
                found.strange = true;
                RuleAction::Unreachable
            }
        };
        found.strange |= found.mark != 0 && found.mask.is_none();
        let altered = found.strange || tos != 0 || flags & !DETACHED != 0;
        Ok(Some(Rule {
            priority: found.priority,
            source,
            destination,
            input_link: found.input_link,
            protocol: if altered { Some(ALTERED) } else { found.ip_protocol },
            mark: found.mask.map(|mask| Mark { value: found.mark, mask }),
            action,
        }))
    }
}

/// The attributes of a rule.
#[derive(Default)]
struct Found {
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    input_link: Option<LinkName>,
    priority: u32,
    table: Option<TableId>,
    protocol: u8,
    ip_protocol: Option<u8>,
    mark: u32,
    /// The kernel shows one for every rule with a mark.
    mask: Option<u32>,
    /// Whether there is an attribute we never set.
    strange: bool,
}

impl Found {
    fn read(family: u8, octets: &[u8]) -> Result<Self, Malformed> {
        let mut found = Self::default();
        for attribute in Attributes::new(octets) {
            let attribute = attribute?;
            match attribute.kind {
                kind::SRC => found.source = address(family, attribute.content),
                kind::DST => found.destination = address(family, attribute.content),
                kind::IIFNAME => {
                    found.input_link = attribute.text().and_then(|name| name.parse().ok());
                    found.strange |= found.input_link.is_none();
                }
                kind::PRIORITY => found.priority = attribute.u32()?,
                kind::TABLE => found.table = Some(TableId(attribute.u32()?)),
                kind::PROTOCOL => found.protocol = attribute.u8()?,
                kind::IP_PROTO => found.ip_protocol = Some(attribute.u8()?),
                kind::FWMARK => found.mark = attribute.u32()?,
                kind::FWMASK => found.mask = Some(attribute.u32()?),
                kind::SUPPRESS_PREFIXLEN => found.strange |= attribute.u32()? != u32::MAX,
                kind::PAD => {}
                _ => found.strange = true,
            }
        }
        Ok(found)
    }
}
