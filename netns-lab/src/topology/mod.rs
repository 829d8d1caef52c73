//! Networks as data: who is there, which links join them, how good the links are.
//!
//! A [`Topology`] is read from YAML ([`Topology::read`]) or made by code ([`Topology::chain`]). Either way it
//! comes out checked and complete: every link end has its addresses, its interface name and its MAC address,
//! all of them a function of the file alone. [`crate::net`] builds it.

mod chain;
mod check;
mod error;
mod file;
mod plan;
mod route;
mod units;

use std::path::Path;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::Deserialize;

pub use error::{Place, TopologyError};
pub use plan::Mac;
pub use route::Route;
pub use units::{Delay, Rate, Share, UnitError};

use error::Fault;

/// A checked network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The file's name without folder and ending, or what made it.
    pub name: String,
    /// What the network is for, in a sentence.
    pub description: String,
    /// The clock it is meant for.
    pub clock: Clock,
    /// In the order of the file.
    pub nodes: Vec<Node>,
    /// In the order of the file.
    pub links: Vec<Link>,
}

/// The clock a network can be run under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// Any clock, also one that advances only with the modelled network: every link has a rate.
    #[default]
    Virtual,
    /// The machine's clock only; links may be as fast as the machine is.
    Real,
}

/// The position of a node in [`Topology::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(usize);

/// The position of a link in [`Topology::links`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(usize);

/// One machine of the network; it gets a network namespace of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Lower-case letters, digits and dashes; at most 15, as neighbours name their interface after it.
    pub name: String,
    /// What it is there for.
    pub role: Role,
}

/// What a node is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Forwards; knows nothing of ippriv.
    Router,
    /// An ordinary host.
    Host,
    /// A host that wants privacy.
    Client,
    /// Forwards circuits.
    Relay(Relay),
    /// A host that clients want to reach.
    Server,
    /// Forwards and masquerades what leaves by its outside link, in both families.
    Nat {
        /// The link to the rest of the network.
        outside: LinkId,
    },
}

/// What a relay offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Inner addresses it hands to clients.
    pub pool: Ipv4Net,
    /// The same for IPv6.
    pub pool6: Option<Ipv6Net>,
    /// Whether it lets circuits out to servers.
    pub exit: bool,
}

/// A cable between two nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// `FIRST-SECOND`.
    pub name: String,
    /// Its two ends; captures are taken at the first.
    pub ends: [End; 2],
}

/// One end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The node that has it.
    pub node: NodeId,
    /// The interface's name there: that of the node at the other end.
    pub interface: String,
    /// Address and network.
    pub address4: Ipv4Net,
    /// Address and network.
    pub address6: Ipv6Net,
    /// Hardware address.
    pub mac: Mac,
    /// What happens to packets this end sends.
    pub egress: Egress,
}

/// What a link does to packets of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// As fast as that; `None` only under [`Clock::Real`].
    pub rate: Option<Rate>,
    /// On the way for that long.
    pub delay: Delay,
    /// Give or take; never changes the order of packets.
    pub jitter: Delay,
    /// Lost at random.
    pub loss: Share,
    /// Sent ahead of the packets under way.
    pub reorder: Share,
    /// Packets that fit, waiting and under way together; more are dropped.
    pub queue: u32,
    /// Largest IP packet, in bytes. One that is larger than the other end's is sent, but dropped there without
    /// notice.
    pub mtu: u16,
}

impl Topology {
    /// Reads and checks a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is no topology; the message has file, line and column.
    pub fn read(path: &Path) -> Result<Self, TopologyError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TopologyError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Checks the text of a file that errors will call `file`.
    ///
    /// # Errors
    ///
    /// The text is no topology.
    pub fn parse(file: &str, text: &str) -> Result<Self, TopologyError> {
        let options = serde_saphyr::options! { with_snippet: false };
        let name =
            Path::new(file).file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        serde_saphyr::from_str_with_options(text, options)
            .map_err(Fault::from)
            .and_then(|entries| check::resolve(name, entries))
            .map_err(|fault| fault.in_file(file))
    }

    /// The node of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|node| node.name == name).map(NodeId)
    }

    /// The node with this id.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The link with this id.
    #[must_use]
    pub fn link(&self, id: LinkId) -> &Link {
        &self.links[id.0]
    }

    /// All nodes with their ids, in order.
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// The links at a node, in order; each with the end that is there and the one over there.
    pub fn ends_of(&self, node: NodeId) -> impl Iterator<Item = (LinkId, &End, &End)> {
        self.links.iter().enumerate().filter_map(move |(index, link)| {
            let [first, second] = &link.ends;
            match (first.node == node, second.node == node) {
                (true, _) => Some((LinkId(index), first, second)),
                (_, true) => Some((LinkId(index), second, first)),
                _ => None,
            }
        })
    }

    /// The relays in the order of the file, which is the order of a circuit through all of them.
    pub fn relays(&self) -> impl Iterator<Item = (NodeId, &Relay)> {
        self.nodes.iter().enumerate().filter_map(|(index, node)| match &node.role {
            Role::Relay(relay) => Some((NodeId(index), relay)),
            _ => None,
        })
    }
}

impl Role {
    /// Whether packets of others pass through such a node.
    #[must_use]
    pub const fn forwards(&self) -> bool {
        match self {
            Self::Router | Self::Relay(_) | Self::Nat { .. } => true,
            Self::Host | Self::Client | Self::Server => false,
        }
    }
}

#[cfg(test)]
mod tests;
