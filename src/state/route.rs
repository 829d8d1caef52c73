//! Routes in our tables and the rules that lead to them.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::id::{LinkName, Mark, TableId};

/// What tells a route apart for us: one route per table, prefix and metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId {
    /// Routing table.
    pub table: TableId,
    /// Destination.
    pub destination: IpNet,
    /// Metric (priority): the lowest is used. Never 0, which IPv6 would turn into 1024.
    pub metric: u32,
}

impl fmt::Display for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} table {} metric {}", self.destination, self.table, self.metric)
    }
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// Out of an interface.
    Link(LinkName),
    /// Nowhere: senders get an ICMP unreachable, and nothing falls through to another table.
    Unreachable,
}

/// Options for the connections over a route (`RTAX_*`). `None` leaves the kernel's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteMetrics {
    /// TCP maximum segment size to announce, in octets.
    pub advmss: Option<u32>,
    /// TCP's initial congestion window, in segments.
    pub initcwnd: Option<u32>,
    /// TCP congestion control by name, such as `bbr`.
    pub congestion_control: Option<String>,
}

/// A route of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Table, destination and metric.
    pub id: RouteId,
    /// Where it leads.
    pub kind: RouteKind,
    /// The source address of packets sent over it.
    pub preferred_source: Option<IpAddr>,
    /// Options.
    pub metrics: RouteMetrics,
}

/// What a rule does with the packets it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleAction {
    /// Looks the route up in this table.
    Lookup(TableId),
    /// Refuses them.
    Unreachable,
}

/// A routing rule of ours. Its family is that of its prefixes, always given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// When it is looked at: the lowest first.
    pub priority: u32,
    /// Source addresses (`0.0.0.0/0` or `::/0` for any of the family).
    pub source: IpNet,
    /// Destination addresses, of the same family.
    pub destination: IpNet,
    /// Only packets that came in here; `lo` means sent by this host.
    pub input_link: Option<LinkName>,
    /// Only this IP protocol.
    pub protocol: Option<u8>,
    /// Only packets with this mark.
    pub mark: Option<Mark>,
    /// What it does.
    pub action: RuleAction,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: from {} to {}", self.priority, self.source, self.destination)?;
        if let Some(link) = &self.input_link {
            write!(f, " iif {link}")?;
        }
        if let Some(protocol) = self.protocol {
            write!(f, " ipproto {protocol}")?;
        }
        if let Some(mark) = self.mark {
            write!(f, " fwmark {mark}")?;
        }
        match self.action {
            RuleAction::Lookup(table) => write!(f, " lookup {table}"),
            RuleAction::Unreachable => f.write_str(" unreachable"),
        }
    }
}
