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
        let flags = Flags { initiator: bits & Self::INITIATOR != 0, response: bits & Self::RESPONSE != 0 };
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

#[cfg(test)]
mod tests {
    use super::*;

    const OCTETS: [u8; 28] = [
        1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 9, // SPIs
        33, 0x20, 34, 0x08, 0, 0, 0, 7, 0, 0, 0, 28,
    ];

    fn header() -> Header {
        Header {
            initiator_spi: IkeSpi(0x0102_0304_0506_0708),
            responder_spi: IkeSpi(9),
            exchange: Exchange::SA_INIT,
            flags: Flags { initiator: true, response: false },
            message_id: MessageId(7),
        }
    }

    fn changed(at: usize, value: u8) -> Result<Header, Malformed> {
        let mut octets = OCTETS;
        octets[at] = value;
        decode_header(&octets)
    }

    #[test]
    fn a_header_has_the_octets_of_the_rfc() {
        let mut writer = Writer::default();
        header().encode(&mut writer, PayloadType::SA, 28);
        assert_eq!(writer.finish(), OCTETS);
        assert_eq!(decode_header(&OCTETS), Ok(header()));
        assert_eq!(header().initiator_spi.to_string(), "0102030405060708");
    }

    #[test]
    fn other_major_versions_are_refused_and_only_higher_ones_answered() {
        let answer = |octet| changed(17, octet).unwrap_err().notify();
        assert_eq!(answer(0x10), None);
        assert_eq!(answer(0x30), Some(crate::ike::wire::NotifyType::INVALID_MAJOR_VERSION));
        assert_eq!(changed(17, 0x2f), Ok(header()));
    }

    #[test]
    fn flags_are_read_one_by_one_and_others_ignored() {
        let flags = |octet| changed(19, octet).unwrap().flags;
        assert_eq!(flags(0xff), Flags { initiator: true, response: true });
        assert_eq!(flags(0x20), Flags { initiator: false, response: true });
        assert_eq!(flags(0xd7), Flags { initiator: false, response: false });
    }

    #[test]
    fn the_length_is_that_of_the_datagram() {
        assert_eq!(changed(27, 29), Err(Malformed::Datagram { found: 28, expected: 29 }));
        assert_eq!(changed(27, 27), Err(Malformed::Datagram { found: 28, expected: 27 }));
        assert!(changed(24, 255).is_err());
        for length in 0..OCTETS.len() {
            let found = decode_header(&OCTETS[..length]).unwrap_err();
            assert_eq!(found, Malformed::Datagram { found: length, expected: 28 });
            assert_eq!(found.notify(), None);
        }
    }

    #[test]
    fn a_reply_comes_from_the_other_side() {
        let reply = header().reply();
        assert_eq!((header().direction(), reply.direction()), (Direction::Request, Direction::Response));
        assert_eq!(reply.flags, Flags { initiator: false, response: true });
        assert_eq!(reply.reply().flags, Flags { initiator: true, response: true });
    }

    #[test]
    fn message_ids_never_wrap() {
        assert_eq!(MessageId::ZERO.next(), Some(MessageId(1)));
        assert_eq!(MessageId(u32::MAX).next(), None);
    }
}
