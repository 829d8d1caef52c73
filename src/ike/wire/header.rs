//! The header of every message (RFC 7296 §3.1).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::codec::{Reader, Writer};
use super::{Exchange, Malformed, PayloadType};

/// One side's SPI of an IKE SA, chosen by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(transparent)]
pub struct IkeSpi(pub u64);

impl IkeSpi {
    /// The responder's in the first message, when it has not chosen one yet.
    pub const ZERO: Self = Self(0);
}

impl fmt::Display for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IkeSpi({self})")
    }
}

/// Which request of one side, or the answer to which (RFC 7296 §2.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(transparent)]
pub struct MessageId(pub u32);

impl MessageId {
    /// The first request of either side.
    pub const ZERO: Self = Self(0);

    /// The one after this; `None` when the SA has used up its numbers and must not live on (RFC 7296 §2.2).
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(next) => Some(Self(next)),
            None => None,
        }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Whether a message asks or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// It asks.
    Request,
    /// It answers.
    Response,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "request",
            Self::Response => "response",
        })
    }
}

/// The bits of the header that have a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flags {
    /// The sender is the original initiator of the IKE SA.
    pub initiator: bool,
    /// The message answers a request.
    pub response: bool,
}

/// The header of a message, without what the codec computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Header {
    /// The SPI of the IKE SA's original initiator.
    pub initiator_spi: IkeSpi,
    /// The SPI of its original responder.
    pub responder_spi: IkeSpi,
    /// What the message is for.
    pub exchange: Exchange,
    /// Who sent it, and whether it asks or answers.
    pub flags: Flags,
    /// Which request it is or answers.
    pub message_id: MessageId,
}

impl Header {
    /// Octets of it on the wire.
    pub const LENGTH: usize = 28;

    const INITIATOR: u8 = 0x08;
    const RESPONSE: u8 = 0x20;
    const VERSION_2_0: u8 = 0x20;

    /// Whether the message asks or answers.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        if self.flags.response { Direction::Response } else { Direction::Request }
    }

    /// The header of the answer to a request with this one.
    #[must_use]
    pub const fn reply(&self) -> Self {
        Self { flags: Flags { initiator: !self.flags.initiator, response: true }, ..*self }
    }

    /// Writes it; the length is that of the whole message.
    pub(super) fn encode(&self, writer: &mut Writer, first: PayloadType, length: usize) {
        writer.u64(self.initiator_spi.0);
        writer.u64(self.responder_spi.0);
        writer.u8(first.0);
        writer.u8(Self::VERSION_2_0);
        writer.u8(self.exchange.0);
        let initiator = if self.flags.initiator { Self::INITIATOR } else { 0 };
        let response = if self.flags.response { Self::RESPONSE } else { 0 };
        writer.u8(initiator | response);
        writer.u32(self.message_id.0);
        writer.u32(u32::try_from(length).unwrap_or(u32::MAX));
    }

    /// Reads it and the type of the first payload.
    pub(super) fn decode(datagram: &[u8]) -> Result<(Self, PayloadType), Malformed> {
        let found = datagram.len();
        if found < Self::LENGTH {
            return Err(Malformed::Datagram { found, expected: Self::LENGTH });
        }
        let mut reader = Reader::new("header", datagram);
        let initiator_spi = IkeSpi(reader.u64()?);
        let responder_spi = IkeSpi(reader.u64()?);
        let first = PayloadType(reader.u8()?);
        // The minor version says nothing that a receiver has to heed (RFC 7296 §2.5).
        let major = reader.u8()? >> 4;
        if major != 2 {
            return Err(Malformed::Version { major });
        }
        let exchange = Exchange(reader.u8()?);
        let bits = reader.u8()?;
        let flags =
            Flags { initiator: bits & Self::INITIATOR != 0, response: bits & Self::RESPONSE != 0 };
        let message_id = MessageId(reader.u32()?);
        let expected = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
        if found != expected {
            return Err(Malformed::Datagram { found, expected });
        }
        Ok((Self { initiator_spi, responder_spi, exchange, flags, message_id }, first))
    }
}

/// Reads the header alone, which allocates nothing: enough to find the SA a datagram belongs to.
///
/// # Errors
/// [`Malformed`] when it is no IKEv2 message or not the whole of one.
pub fn decode_header(datagram: &[u8]) -> Result<Header, Malformed> {
    Header::decode(datagram).map(|(header, _)| header)
}
