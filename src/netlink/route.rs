//! Routes: `RTM_NEWROUTE` and `RTM_DELROUTE`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::attr::{Attributes, INET, Malformed, Reader, Writer, address, family};
use super::message::{CREATE, DUMP, EXCL, Message, REPLACE};
use super::request::Existing;
use super::{Dump, LinkIndexes, Parsed, Unencodable};
use crate::id::TableId;
use crate::ownership;
use crate::state::{Route, RouteId, RouteKind, RouteMetrics};

const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const GETROUTE: u16 = 26;

/// Attributes, `enum rtattr_type_t`.
mod kind {
    pub(super) const DST: u16 = 1;
    pub(super) const OIF: u16 = 4;
    pub(super) const PRIORITY: u16 = 6;
    pub(super) const PREFSRC: u16 = 7;
    pub(super) const METRICS: u16 = 8;
    pub(super) const CACHEINFO: u16 = 12;
    pub(super) const TABLE: u16 = 15;
    pub(super) const PREF: u16 = 20;
    pub(super) const PAD: u16 = 18;
}

/// Metrics, `RTAX_*`.
mod metric {
    pub(super) const ADVMSS: u16 = 8;
    pub(super) const INITCWND: u16 = 11;
    pub(super) const CC_ALGO: u16 = 16;
}

/// `RTN_UNSPEC`, `RTN_UNICAST`, `RTN_UNREACHABLE`.
const UNSPECIFIED: u8 = 0;
const UNICAST: u8 = 1;
const UNREACHABLE: u8 = 7;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_LINK: u8 = 253;
/// `RT_SCOPE_NOWHERE`: matches every scope when removing.
const SCOPE_ANY: u8 = 255;
/// The longest name of a congestion control algorithm (`TCP_CA_NAME_MAX` with a NUL).
const LONGEST_NAME: usize = 15;

/// Makes or replaces a route.
pub(super) fn make(route: &Route, existing: Existing, links: &LinkIndexes) -> Result<Message, Unencodable> {
    check(route)?;
    let flags = match existing {
        Existing::Refuse => CREATE | EXCL,
        Existing::Replace => CREATE | REPLACE,
    };
    let (route_type, scope, output) = match &route.kind {
        RouteKind::Link(name) => (UNICAST, SCOPE_LINK, Some(links.index(name)?)),
        RouteKind::Unreachable => (UNREACHABLE, SCOPE_UNIVERSE, None),
    };
    Ok(Message::new(NEWROUTE, flags, |writer| {
        write_id(writer, route.id, scope, route_type);
        if let Some(index) = output {
            writer.attribute_u32(kind::OIF, index);
        }
        write_options(writer, route);
    }))
}

/// Removes a route of ours, wherever it leads.
pub(super) fn delete(id: RouteId) -> Message {
    Message::new(DELROUTE, 0, |writer| write_id(writer, id, SCOPE_ANY, UNSPECIFIED))
}

/// `struct rtmsg`, and the attributes that tell a route apart.
fn write_id(writer: &mut Writer, id: RouteId, scope: u8, route_type: u8) {
    let RouteId { table, destination, metric } = id;
    writer.u8(family(destination.addr()));
    writer.u8(destination.prefix_len());
    writer.zeros(2);
    // A table above 255 is told by its attribute alone.
    writer.u8(u8::try_from(table.0).unwrap_or(0));
    writer.u8(ownership::PROTOCOL);
    writer.u8(scope);
    writer.u8(route_type);
    writer.u32(0);
    if destination.prefix_len() > 0 {
        writer.attribute_address(kind::DST, destination.network());
    }
    writer.attribute_u32(kind::TABLE, table.0);
    writer.attribute_u32(kind::PRIORITY, metric);
}

fn check(route: &Route) -> Result<(), Unencodable> {
    if route.id.metric == 0 {
        return Err(Unencodable::NoMetric);
    }
    if let Some(name) = &route.metrics.congestion_control
        && !(1..=LONGEST_NAME).contains(&name.len())
    {
        return Err(Unencodable::CongestionControl(name.clone()));
    }
    match route.preferred_source {
        Some(source) if family(source) != family(route.id.destination.addr()) => {
            Err(Unencodable::MixedFamilies(source, route.id.destination.addr()))
        }
        Some(source) if source.is_unspecified() => Err(Unencodable::Altered),
        _ => Ok(()),
    }
}

fn write_options(writer: &mut Writer, route: &Route) {
    if let Some(source) = route.preferred_source {
        writer.attribute_address(kind::PREFSRC, source);
    }
    let RouteMetrics { advmss, initcwnd, congestion_control } = &route.metrics;
    if route.metrics != RouteMetrics::default() {
        writer.nested(kind::METRICS, |writer| {
            if let Some(octets) = advmss {
                writer.attribute_u32(metric::ADVMSS, *octets);
            }
            if let Some(segments) = initcwnd {
                writer.attribute_u32(metric::INITCWND, *segments);
            }
            if let Some(name) = congestion_control {
                writer.attribute(metric::CC_ALGO, name.as_bytes());
            }
        });
    }
}

/// Routes of both families: those of one table, or all that carry our protocol number. The kernel filters
/// when the socket asks for strict checking (`NETLINK_GET_STRICT_CHK`).
#[derive(Debug, Clone, Copy)]
pub struct RouteDump<'a> {
    /// The table, or `None` for all.
    pub table: Option<TableId>,
    /// All interfaces.
    pub links: &'a LinkIndexes,
}

impl Dump for RouteDump<'_> {
    type Item = Parsed<Route, RouteId>;
    const ANSWER: u16 = NEWROUTE;

    fn request(&self) -> Message {
        Message::new(GETROUTE, DUMP, |writer| {
            writer.zeros(5);
            writer.u8(if self.table.is_none() { ownership::PROTOCOL } else { 0 });
            writer.zeros(2 + 4);
            if let Some(table) = self.table {
                writer.attribute_u32(kind::TABLE, table.0);
            }
        })
    }

    /// A route of ours in a form we never give one becomes a stand-in with an unspecified source.
    fn parse(&self, payload: &[u8]) -> Result<Parsed<Route, RouteId>, Malformed> {
        let mut reader = Reader::new("rtmsg", payload);
        let family = reader.u8()?;
        let (length, source_length, tos) = (reader.u8()?, reader.u8()?, reader.u8()?);
        let (table, protocol, _scope, route_type) = (reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?);
        reader.u32()?;
        let Some(found) = Found::read(family, reader.rest())? else { return Ok(Parsed::Irrelevant) };

        let table = found.table.unwrap_or(TableId(table.into()));
        let destination = found.destination.unwrap_or(unspecified(family));
        let Ok(destination) = IpNet::new(destination, length) else { return Ok(Parsed::Irrelevant) };
        let id = RouteId { table, destination, metric: found.metric };
        if !ownership::in_range(table.0) {
            return Ok(Parsed::Irrelevant);
        }
        if !ownership::owns_route(protocol, table) {
            return Ok(Parsed::Foreign(id));
        }
        let link = found.output.and_then(|index| self.links.name(index)).cloned();
        let kind = match (route_type, link) {
            (UNICAST, Some(link)) => Some(RouteKind::Link(link)),
            (UNREACHABLE, _) => Some(RouteKind::Unreachable),
            _ => None,
        };
        let usual = kind.is_some() && source_length == 0 && tos == 0 && !found.strange;
        let kind = kind.unwrap_or(RouteKind::Unreachable);
        let preferred_source = if usual { found.source } else { Some(unspecified(family)) };
        Ok(Parsed::Ours(Route { id, kind, preferred_source, metrics: found.metrics }))
    }
}

const fn unspecified(family: u8) -> IpAddr {
    match family {
        INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// The attributes of a route.
#[derive(Default)]
struct Found {
    table: Option<TableId>,
    destination: Option<IpAddr>,
    metric: u32,
    output: Option<u32>,
    source: Option<IpAddr>,
    metrics: RouteMetrics,
    /// Whether there is an attribute we never set.
    strange: bool,
}

impl Found {
    /// `None` for a family other than ours.
    fn read(family: u8, octets: &[u8]) -> Result<Option<Self>, Malformed> {
        if address(family, &[0; 16]).is_none() {
            return Ok(None);
        }
        let mut found = Self::default();
        for attribute in Attributes::new(octets) {
            let attribute = attribute?;
            match attribute.kind {
                kind::TABLE => found.table = Some(TableId(attribute.u32()?)),
                kind::DST => found.destination = address(family, attribute.content),
                kind::PRIORITY => found.metric = attribute.u32()?,
                kind::OIF => found.output = Some(attribute.u32()?),
                kind::PREFSRC => found.source = address(family, attribute.content),
                kind::METRICS => found.read_metrics(attribute.attributes())?,
                kind::CACHEINFO | kind::PAD => {}
                kind::PREF => found.strange |= attribute.u8()? != 0,
                _ => found.strange = true,
            }
        }
        Ok(Some(found))
    }

    fn read_metrics(&mut self, attributes: Attributes<'_>) -> Result<(), Malformed> {
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                metric::ADVMSS => self.metrics.advmss = Some(attribute.u32()?),
                metric::INITCWND => self.metrics.initcwnd = Some(attribute.u32()?),
                metric::CC_ALGO => self.metrics.congestion_control = attribute.text().map(str::to_owned),
                _ => self.strange = true,
            }
        }
        Ok(())
    }
}
