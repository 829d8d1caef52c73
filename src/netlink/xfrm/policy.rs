//! Security policies: `struct xfrm_userpolicy_info` and its templates.

use super::{
    ESP, IF_ID, SelectorFound, TUNNEL, check_selector, known_family, read_lifetimes, read_selector,
    same_family, unspecified, wide_address, write_lifetimes, write_selector,
};
use crate::id::{IfId, Reqid};
use crate::netlink::attr::{Attributes, Malformed, Reader, Writer, family};
use crate::netlink::message::{DUMP, Message};
use crate::netlink::request::{Existing, Unencodable};
use crate::netlink::{Dump, Parsed};
use crate::ownership;
use crate::state::{Action, Policy, PolicyDirection, PolicyId, Template};

const NEWPOLICY: u16 = 0x13;
const DELPOLICY: u16 = 0x14;
const GETPOLICY: u16 = 0x15;
const UPDPOLICY: u16 = 0x19;

/// `XFRMA_TMPL`, `XFRMA_POLICY_TYPE`, `XFRMA_PAD`.
const TMPL: u16 = 5;
const POLICY_TYPE: u16 = 16;
const PAD: u16 = 27;
/// Octets of a `struct xfrm_user_tmpl`.
const TEMPLATE: usize = 64;
/// `XFRM_MAX_DEPTH`.
const DEEPEST: usize = 6;
const ALLOW: u8 = 0;
const BLOCK: u8 = 1;

/// Makes or replaces a policy.
pub(in crate::netlink) fn make(policy: &Policy, existing: Existing) -> Result<Message, Unencodable> {
    check(policy)?;
    let kind = match existing {
        Existing::Refuse => NEWPOLICY,
        Existing::Replace => UPDPOLICY,
    };
    Ok(Message::new(kind, 0, |writer| {
        write_selector(writer, Some(&policy.id.selector));
        write_lifetimes(writer);
        writer.u32(policy.priority);
        writer.u32(0);
        writer.u8(direction(policy.id.direction));
        writer.u8(match policy.action {
            Action::Allow => ALLOW,
            Action::Block => BLOCK,
        });
        writer.zeros(2 + 4);
        writer.nested(TMPL, |writer| {
            for template in &policy.templates {
                write_template(writer, template);
            }
        });
        writer.attribute_u32(IF_ID, policy.id.if_id.get());
    }))
}

fn check(policy: &Policy) -> Result<(), Unencodable> {
    check_selector(&policy.id.selector)?;
    if !(1..=DEEPEST).contains(&policy.templates.len()) {
        return Err(Unencodable::Templates(policy.templates.len()));
    }
    for template in &policy.templates {
        same_family(template.source.unwrap_or(template.destination), template.destination)?;
    }
    Ok(())
}

const fn direction(direction: PolicyDirection) -> u8 {
    match direction {
        PolicyDirection::In => 0,
        PolicyDirection::Out => 1,
        PolicyDirection::Forward => 2,
    }
}

/// `struct xfrm_user_tmpl`: any algorithm, shared by all, required.
fn write_template(writer: &mut Writer, template: &Template) {
    writer.wide_address(template.destination);
    writer.u32(0);
    writer.u8(ESP);
    writer.zeros(3);
    writer.u16(family(template.destination).into());
    writer.zeros(2);
    writer.wide_address(template.source.unwrap_or(unspecified(template.destination)));
    writer.u32(template.reqid.0);
    writer.u8(TUNNEL);
    writer.zeros(3);
    for _ in 0..3 {
        writer.u32(u32::MAX);
    }
}

/// Removes a policy.
pub(in crate::netlink) fn delete(id: &PolicyId) -> Result<Message, Unencodable> {
    check_selector(&id.selector)?;
    Ok(Message::new(DELPOLICY, 0, |writer| {
        write_selector(writer, Some(&id.selector));
        writer.u32(0);
        writer.u8(direction(id.direction));
        writer.zeros(3);
        writer.attribute_u32(IF_ID, id.if_id.get());
    }))
}

/// All policies.
#[derive(Debug, Clone, Copy)]
pub struct PolicyDump;

impl Dump for PolicyDump {
    type Item = Parsed<Policy, PolicyId>;
    const ANSWER: u16 = NEWPOLICY;

    fn request(&self) -> Message {
        Message::new(GETPOLICY, DUMP, |_| {})
    }

    /// A policy of ours in a form we never give one becomes a stand-in without templates. One whose identity
    /// has parts that ours never have (ports, a mark) is foreign: we could not name it to the kernel.
    fn parse(&self, payload: &[u8]) -> Result<Parsed<Policy, PolicyId>, Malformed> {
        let mut reader = Reader::new("xfrm_userpolicy_info", payload);
        let selector = read_selector(&mut reader)?;
        let endless = read_lifetimes(&mut reader)?.endless;
        let priority = reader.u32()?;
        reader.u32()?;
        let (direction, action, flags, share) = (reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?);
        reader.slice(4)?;
        let found = Found::read(reader.rest())?;

        let direction = match direction {
            0 => PolicyDirection::In,
            1 => PolicyDirection::Out,
            2 => PolicyDirection::Forward,
            _ => return Ok(Parsed::Irrelevant),
        };
        let Some(if_id) = found.if_id.filter(|if_id| ownership::in_range(if_id.get())) else {
            return Ok(Parsed::Irrelevant);
        };
        let (selector, nameable) = match selector {
            SelectorFound::Plain(selector) => (selector, !found.strange),
            SelectorFound::Other { selector: Some(selector) } => (selector, false),
            SelectorFound::Unspecified | SelectorFound::Other { selector: None } => {
                return Ok(Parsed::Irrelevant);
            }
        };
        let id = PolicyId { if_id, direction, selector };
        if !nameable || !ownership::owns_policy(Some(if_id), found.reqids.iter().copied()) {
            return Ok(Parsed::Foreign(id));
        }
        let action = match action {
            ALLOW => Some(Action::Allow),
            BLOCK => Some(Action::Block),
            _ => None,
        };
        let usual = endless && flags == 0 && share == 0 && action.is_some();
        let templates = found.templates.filter(|_| usual).unwrap_or_default();
        let action = action.unwrap_or(Action::Block);
        Ok(Parsed::Ours(Policy { id, priority, action, templates }))
    }
}

/// The attributes of a policy.
struct Found {
    if_id: Option<IfId>,
    reqids: Vec<Reqid>,
    /// `None` when one of them has a form we never give one.
    templates: Option<Vec<Template>>,
    /// Whether there is an attribute we never set.
    strange: bool,
}

impl Found {
    fn read(octets: &[u8]) -> Result<Self, Malformed> {
        let mut found = Self { if_id: None, reqids: Vec::new(), templates: Some(Vec::new()), strange: false };
        for attribute in Attributes::new(octets) {
            let attribute = attribute?;
            match attribute.kind {
                IF_ID => found.if_id = IfId::new(attribute.u32()?),
                TMPL => {
                    for template in attribute.content.chunks(TEMPLATE) {
                        found.read_template(template)?;
                    }
                }
                POLICY_TYPE => found.strange |= attribute.u8()? != 0,
                PAD => {}
                _ => found.strange = true,
            }
        }
        Ok(found)
    }

    fn read_template(&mut self, octets: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new("xfrm_user_tmpl", octets);
        let destination = reader.array()?;
        let spi = reader.u32()?;
        let protocol = reader.u8()?;
        reader.slice(3)?;
        let family = reader.u16()?;
        reader.slice(2)?;
        let source = reader.array()?;
        let reqid = Reqid(reader.u32()?);
        let (mode, share, optional) = (reader.u8()?, reader.u8()?, reader.u8()?);
        reader.slice(1)?;
        let algorithms = [reader.u32()?, reader.u32()?, reader.u32()?];

        self.reqids.push(reqid);
        let usual = spi == 0
            && protocol == ESP
            && known_family(family)
            && mode == TUNNEL
            && share == 0
            && optional == 0
            && algorithms == [u32::MAX; 3];
        match (wide_address(family, destination), wide_address(family, source)) {
            (Some(destination), Some(source)) if usual => {
                let source = Some(source).filter(|source| !source.is_unspecified());
                if let Some(templates) = &mut self.templates {
                    templates.push(Template { source, destination, reqid });
                }
            }
            _ => self.templates = None,
        }
        Ok(())
    }
}
