//! What the engine and its owner say to each other.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::reason::CloseReason;
use super::wire::{Id, TrafficSelector};
use crate::id::Spi;
use crate::secret::KeyMaterial;
use crate::suite::{SequenceNumbers, Suite};

/// A socket of the owner, by the number the owner gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SocketId(pub u32);

/// Where datagrams of an IKE SA come from and go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Path {
    /// The bound socket.
    pub socket: SocketId,
    /// Its address and port.
    pub local: SocketAddr,
    /// The peer's address and port.
    pub remote: SocketAddr,
}

/// One connection to a peer. It stays the same when the IKE SA is rekeyed and is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SaHandle(pub(super) u64);

/// One child SA (both directions) of a connection; a rekeyed child SA has a new number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChildId(pub(super) u32);

/// What the owner has to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send `datagram` on `path`. On port 4500 the owner puts the non-ESP marker before it (RFC 3948 §2.2).
    Transmit {
        /// Where to.
        path: Path,
        /// An IKE message or a fragment of one.
        datagram: Vec<u8>,
    },
    /// Something happened to a connection.
    Event(SaHandle, Event),
    /// [`super::Endpoint::snapshot`] of this connection differs from now on. The datagrams that rely on it
    /// follow, so who journals it before sending them can be restored from the journal at any moment.
    Changed(SaHandle),
}

/// What happened to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A peer wants a child SA: answer with [`super::Endpoint::answer_child`].
    ChildWanted(Box<ChildWanted>),
    /// Install this child SA, then call [`super::Endpoint::child_installed`].
    ChildKeys(Box<ChildKeys>),
    /// The peer has installed this child SA as well: from now on send through it, and not through the one
    /// it replaces. Comes once for each [`ChildKeys`] with [`Outbound::Wait`] that lives to see it.
    ChildUse(ChildId),
    /// Uninstall both directions of this child SA, or do not install it if that has not happened yet.
    ChildGone(ChildId),
    /// A child SA asked for by [`super::Endpoint::create_child`] will not come.
    ChildFailed(ChildId, CloseReason),
    /// The peer is who it ought to be. At the initiator this comes before the first [`Event::ChildKeys`], at
    /// the responder after the child was installed.
    Established(PeerAuthenticated),
    /// The peer is reached by another path from now on; the UDP encapsulation of the child SAs follows it.
    PathChanged(Path),
    /// An initiator did not show who it is, or we do not serve it; [`Event::Closed`] follows when its repetitions
    /// need no answer any more.
    Refused(Path, CloseReason),
    /// The connection is over and all of it is gone; [`Event::ChildGone`] came for every child before this.
    /// For a responder this may be the only event: of an initiator that failed to show who it is.
    Closed(CloseReason),
}

/// Who the peer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerAuthenticated {
    /// The identity it showed; means nothing unless [`Self::how`] is a signature or a secret of the two.
    pub identity: Id,
    /// How it showed it.
    pub how: How,
}

/// How a peer was authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    /// Not at all: NULL authentication (RFC 7619).
    Null,
    /// By a secret that everyone knows.
    PublishedSecret,
    /// By a signature under the key on file for its identity.
    Signature,
    /// By the secret on file for its identity, which nobody else has.
    SharedSecret,
}

/// What the initiator asks for in its configuration payload (RFC 7296 §3.15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRequest {
    /// The families it wants an address of; both when `None`.
    pub family: Option<Family>,
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl AddressRequest {
    /// Whether an address of the family of `address` is wanted.
    #[must_use]
    pub fn wants(self, address: IpAddr) -> bool {
        match self.family {
            None => true,
            Some(Family::V4) => address.is_ipv4(),
            Some(Family::V6) => address.is_ipv6(),
        }
    }
}

/// What the responder handed out in its configuration payload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// At most one address of each family.
    pub addresses: Vec<IpAddr>,
    /// Name servers to be used through the tunnel.
    pub dns: Vec<IpAddr>,
}

/// A peer's wish for a child SA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildWanted {
    /// Who asks.
    pub peer: PeerAuthenticated,
    /// Where from.
    pub path: Path,
    /// The addresses it asks for, if any.
    pub request: Option<AddressRequest>,
    /// What it wants to send from (TSi).
    pub remote: Vec<TrafficSelector>,
    /// What it wants to send to (TSr).
    pub local: Vec<TrafficSelector>,
    /// The cipher suite that will be used.
    pub suite: Suite,
    /// UDP encapsulation that will be used.
    pub encapsulation: Option<EspPorts>,
}

/// The owner's consent to a child SA.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChildAnswer {
    /// What the peer gets in reply to its [`AddressRequest`].
    pub given: Addresses,
    /// What the peer may send from; the engine takes the intersection with what it asked for.
    pub remote: Vec<TrafficSelector>,
    /// What it may send to; the engine takes the intersection with what it asked for.
    pub local: Vec<TrafficSelector>,
}

/// Why the owner does not want a child SA, or could not install it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum ChildRefusal {
    /// No address is left or none is given out (`INTERNAL_ADDRESS_FAILURE`).
    #[error("no address to hand out")]
    NoAddress,
    /// An address has to be asked for (`FAILED_CP_REQUIRED`).
    #[error("no address was asked for: expected a configuration request")]
    RequestRequired,
    /// The selectors are not acceptable (`TS_UNACCEPTABLE`).
    #[error("traffic selectors that are not allowed here")]
    Selectors,
    /// One child SA for each connection, or the host is full (`NO_ADDITIONAL_SAS`).
    #[error("no further child SA is accepted")]
    NoMore,
    /// Try again later (`TEMPORARY_FAILURE`).
    #[error("not at the moment")]
    Temporary,
    /// The kernel did not take it; the peer is told `NO_ADDITIONAL_SAS`.
    #[error("the kernel refused the SA")]
    Kernel,
}

/// Whether the outbound SA may be used as soon as it is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outbound {
    /// Yes: the peer is ready, or there is no other SA to use meanwhile.
    Now,
    /// Not before [`Event::ChildUse`]; until then the replaced SA is used.
    Wait,
}

/// SPI and key of one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectionKeys {
    /// SPI.
    pub spi: Spi,
    /// Key material of [`Suite::key_length`] octets.
    pub key: KeyMaterial,
}

/// UDP ports of encapsulated ESP (RFC 3948).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EspPorts {
    /// Ours.
    pub local: u16,
    /// The peer's.
    pub remote: u16,
}

/// A child SA to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildKeys {
    /// Its name in events and commands.
    pub child: ChildId,
    /// The child SA it takes the place of; that one stays installed until its [`Event::ChildGone`].
    pub replaces: Option<ChildId>,
    /// When the outbound SA may be used.
    pub outbound: Outbound,
    /// Cipher suite of both directions.
    pub suite: Suite,
    /// Sequence numbers of both directions.
    pub sequence_numbers: SequenceNumbers,
    /// What we receive with.
    pub inbound_keys: DirectionKeys,
    /// What we send with.
    pub outbound_keys: DirectionKeys,
    /// Our side of the traffic.
    pub local: Vec<TrafficSelector>,
    /// The peer's side of the traffic.
    pub remote: Vec<TrafficSelector>,
    /// What the responder handed out: to us at the initiator, by us at the responder; empty for a rekey.
    pub given: Addresses,
    /// UDP encapsulation, when there is a NAT on the path.
    pub encapsulation: Option<EspPorts>,
    /// The outer addresses.
    pub path: Path,
}

impl ChildKeys {
    /// The keys as lines of Wireshark's `esp_sa`; none for ciphers that Wireshark has no name for. Whoever has
    /// them reads everything.
    #[must_use]
    pub fn danger_key_log(&self) -> Vec<Zeroizing<String>> {
        super::key_log::esp(self)
    }
}

impl fmt::Display for SaHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ike{}", self.0)
    }
}

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "child{}", self.0)
    }
}
