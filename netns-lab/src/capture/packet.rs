//! A captured packet, as far as its headers were understood.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::topology::Mac;

/// A captured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When, since 1970.
    pub time: Duration,
    /// Bytes on the link, with the Ethernet header.
    pub length: u32,
    /// Sender and receiver on the link, if there is an Ethernet header.
    pub macs: Option<[Mac; 2]>,
    /// The IP packet in it, if it is one.
    pub ip: Option<Ip>,
}

/// An IP header and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// Differentiated services code point, 0 to 63.
    pub dscp: u8,
    /// Congestion notification, 0 to 3.
    pub ecn: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Bytes of the whole IP packet, as its header says.
    pub total_length: u32,
    /// The don't-fragment bit; always set in IPv6, which routers never fragment.
    pub dont_fragment: bool,
    /// Which piece of a packet it is, unless it is all of one.
    pub fragment: Option<Fragment>,
    /// The protocol in it, by IANA's number; in IPv6 that after the extension headers.
    pub protocol: u8,
    /// That protocol's header.
    pub transport: Transport,
}

/// A piece of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Common to all pieces.
    pub id: u32,
    /// Bytes of the packet before this piece.
    pub offset: u16,
    /// Whether more pieces follow.
    pub more: bool,
}

/// The header after IP's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Encapsulating security payload.
    Esp(Esp),
    /// User datagram.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// The ESP packet in it, if a port is 4500 and it is not IKE (RFC 3948).
        esp: Option<Esp>,
    },
    /// TCP segment.
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// ICMP or ICMPv6 message.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Of a ping or its answer.
        echo: Option<Echo>,
        /// Of an error.
        quote: Option<Quote>,
    },
    /// No header here: not the first piece of a packet.
    LaterFragment,
    /// Another protocol.
    Other,
    /// The header is not all there.
    Truncated,
}

/// An ESP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Esp {
    /// Security parameters index.
    pub spi: u32,
    /// Sequence number (its lower half).
    pub sequence: u32,
}

/// What tells pings apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Of the ping process.
    pub id: u16,
    /// Of the packet.
    pub sequence: u16,
}

/// What an ICMP error says about another packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The MTU, where the error is that the packet is too big.
    pub mtu: Option<u32>,
    /// The packet, as far as it is quoted.
    pub packet: Box<Ip>,
}

impl Packet {
    /// The IP headers in it: its own and the one it quotes.
    pub fn headers(&self) -> impl Iterator<Item = &Ip> {
        std::iter::successors(self.ip.as_ref(), |ip| ip.quoted())
    }
}

impl Ip {
    /// Its ESP header, also one inside UDP.
    #[must_use]
    pub fn esp(&self) -> Option<Esp> {
        match self.transport {
            Transport::Esp(esp) => Some(esp),
            Transport::Udp { esp, .. } => esp,
            _ => None,
        }
    }

    /// The packet it complains about.
    #[must_use]
    pub fn quoted(&self) -> Option<&Self> {
        match &self.transport {
            Transport::Icmp { quote: Some(quote), .. } => Some(&quote.packet),
            _ => None,
        }
    }
}

impl fmt::Display for Ip {
    /// One line for messages about packets that should not be there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {} ", self.source, self.destination)?;
        match &self.transport {
            Transport::Esp(esp) => write!(f, "ESP spi 0x{:08x} seq {}", esp.spi, esp.sequence)?,
            Transport::Udp { source, destination, esp: None } => write!(f, "UDP {source} > {destination}")?,
            Transport::Udp { source, destination, esp: Some(esp) } => {
                write!(f, "UDP {source} > {destination} ESP spi 0x{:08x} seq {}", esp.spi, esp.sequence)?;
            }
            Transport::Tcp { source, destination } => write!(f, "TCP {source} > {destination}")?,
            Transport::Icmp { kind, code, quote, .. } => {
                write!(f, "ICMP type {kind} code {code}")?;
                if let Some(quote) = quote {
                    write!(f, " about ({})", quote.packet)?;
                }
            }
            Transport::LaterFragment => f.write_str("later fragment")?,
            Transport::Other => write!(f, "protocol {}", self.protocol)?,
            Transport::Truncated => write!(f, "protocol {}, cut short", self.protocol)?,
        }
        write!(f, ", {} bytes", self.total_length)
    }
}
