//! Security associations and policies (RFC 4301 §4.4) as Linux XFRM keeps them.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::id::{IfId, Reqid, Spi};
use crate::secret::KeyMaterial;
use crate::suite::{SequenceNumbers, Suite};

/// What tells an ESP SA apart: RFC 4301 §4.1, `xfrm_usersa_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SaId {
    /// Destination of the packets it protects.
    pub destination: IpAddr,
    /// Its SPI.
    pub spi: Spi,
}

impl fmt::Display for SaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "esp spi {} to {}", self.spi, self.destination)
    }
}

/// Which way an SA works on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Packets come in through it.
    In,
    /// Packets go out through it.
    Out,
}

/// The part of an SA that depends on its direction (`XFRMA_SA_DIR`, Linux 6.10, refuses any mixture).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaDirection {
    /// Receives.
    In {
        /// Sequence numbers remembered against replay (RFC 4303 §3.4.3), a multiple of 32.
        replay_window: u32,
    },
    /// Sends; DSCP and DF of the inner packet are never copied to the outer header.
    Out {
        /// Pads every packet to this size, or to the path MTU when that is smaller (RFC 4303 §2.7).
        tfc_padding: Option<u32>,
        /// Sends NAT keepalives this many seconds apart (RFC 3948 §4); only with UDP encapsulation.
        nat_keepalive: Option<u32>,
    },
}

impl SaDirection {
    /// The direction alone.
    #[must_use]
    pub const fn direction(self) -> Direction {
        match self {
            Self::In { .. } => Direction::In,
            Self::Out { .. } => Direction::Out,
        }
    }
}

/// ESP in UDP (RFC 3948).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpEncapsulation {
    /// Source port of the packets this SA protects.
    pub source_port: u16,
    /// Their destination port.
    pub destination_port: u16,
}

/// A tunnel-mode ESP SA with extended sequence numbers (RFC 4303 §2.2.1), on an xfrm interface of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sa {
    /// Outer source address.
    pub source: IpAddr,
    /// Outer destination address and SPI.
    pub id: SaId,
    /// Ties it to templates.
    pub reqid: Reqid,
    /// Ties it to an xfrm interface.
    pub if_id: IfId,
    /// Which way it works, with what only that way has.
    pub direction: SaDirection,
    /// Cipher suite.
    pub suite: Suite,
    /// Length of sequence numbers; the other end's is the same.
    pub sequence: SequenceNumbers,
    /// Key material of [`Suite::key_length`] octets.
    pub key: KeyMaterial,
    /// Which inner packets it may carry; `None` for any of both families (`XFRM_STATE_AF_UNSPEC`).
    pub selector: Option<Selector>,
    /// UDP encapsulation, for a peer behind NAT.
    pub encapsulation: Option<UdpEncapsulation>,
    /// How far it has come.
    pub progress: Progress,
}

impl Sa {
    /// Whether it differs from another in nothing but the interface, which the kernel changes in place
    /// (`xfrm_state_update`).
    #[must_use]
    pub fn differs_in_interface_only(&self, other: &Self) -> bool {
        self.if_id != other.if_id && Self { if_id: other.if_id, ..self.clone() } == *other
    }

    /// Whether it differs from another in nothing but the ports of UDP encapsulation, as after a NAT has changed
    /// its mind. The kernel can change these in place.
    #[must_use]
    pub fn differs_in_ports_only(&self, other: &Self) -> bool {
        let moved = Self { encapsulation: other.encapsulation, ..self.clone() };
        self.encapsulation.is_some()
            && other.encapsulation.is_some()
            && self.encapsulation != other.encapsulation
            && moved == *other
    }
}

/// The last sequence number that an SA sent, or the highest it received (RFC 4303 §3.3.3, §3.4.3), as a dump
/// found it; `None` for an SA that starts anew.
///
/// An SA that takes the place of one with the same key goes on from there: else its counter nonces would
/// repeat and its peer would take its packets for replays. Every packet changes it, so it takes no part in
/// equality.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress(pub Option<u64>);

impl PartialEq for Progress {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Progress {}

/// Which packets an SA or policy is about (`xfrm_selector`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    /// Source addresses.
    pub source: IpNet,
    /// Destination addresses, of the same family.
    pub destination: IpNet,
    /// IP protocol number, or `None` for any.
    pub protocol: Option<u8>,
}

impl Selector {
    /// Packets of any protocol from `source` to `destination`.
    #[must_use]
    pub const fn new(source: IpNet, destination: IpNet) -> Self {
        Self { source, destination, protocol: None }
    }

    /// Every address of the family of `like`.
    #[must_use]
    pub fn any(like: IpAddr) -> IpNet {
        match like {
            IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
            IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.source, self.destination)?;
        match self.protocol {
            Some(protocol) => write!(f, " proto {protocol}"),
            None => Ok(()),
        }
    }
}

/// Where in the stack a policy applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyDirection {
    /// Packets for this host.
    In,
    /// Packets this host sends.
    Out,
    /// Packets it forwards, as they come in.
    Forward,
}

impl fmt::Display for PolicyDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Forward => "fwd",
        })
    }
}

/// What tells a policy apart (`xfrm_policy_bysel_ctx`): selector, direction and interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId {
    /// Interface identifier.
    pub if_id: IfId,
    /// Direction.
    pub direction: PolicyDirection,
    /// Selector.
    pub selector: Selector,
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} if_id {}", self.direction, self.selector, self.if_id)
    }
}

/// What becomes of the packets a policy selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// They pass, through the templates.
    Allow,
    /// They are dropped.
    Block,
}

/// One tunnel-mode ESP transformation a policy asks for (`xfrm_user_tmpl`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Template {
    /// Outer source, or `None` for any (only for policies on packets coming in).
    pub source: Option<IpAddr>,
    /// Outer destination.
    pub destination: IpAddr,
    /// The SAs that may serve it.
    pub reqid: Reqid,
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            Some(source) => write!(f, "{source}>{} reqid {}", self.destination, self.reqid),
            None => write!(f, "any>{} reqid {}", self.destination, self.reqid),
        }
    }
}

/// A security policy on an xfrm interface of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Selector, direction and interface.
    pub id: PolicyId,
    /// The lower, the earlier it is looked at.
    pub priority: u32,
    /// What becomes of the packets.
    pub action: Action,
    /// The transformations, innermost first; at most `XFRM_MAX_DEPTH` = 6.
    pub templates: Vec<Template>,
}
