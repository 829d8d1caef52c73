//! Whole datagrams: a header with payloads in clear, with an SK payload (RFC 7296 §3.14) or with a fragment
//! of one (RFC 7383 §2.5).

use super::codec::{Reader, Writer, medium};
use super::payload::{self, Chain, Link};
use super::{Header, Malformed, Payload, PayloadType};

/// A datagram as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its header.
    pub header: Header,
    /// What follows.
    pub body: Body<'a>,
}

/// What follows the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body<'a> {
    /// Payloads in clear.
    Clear(Vec<Payload>),
    /// An SK payload.
    Encrypted {
        /// The type of the first payload inside.
        first: PayloadType,
        /// From the first octet of the header to the last before the IV: what the ICV covers unencrypted.
        aad: &'a [u8],
        /// IV, ciphertext and ICV.
        sealed: &'a [u8],
        /// Payloads in front of the SK payload: in clear, but covered by the ICV. Normally none.
        leading: Vec<Payload>,
    },
    /// An SKF payload.
    Fragment {
        /// The type of the first payload of the whole message in fragment 1, else none.
        first: PayloadType,
        /// Which fragment it is, from 1.
        number: u16,
        /// Of how many.
        total: u16,
        /// From the first octet of the header to the last before the IV.
        aad: &'a [u8],
        /// IV, ciphertext and ICV.
        sealed: &'a [u8],
    },
}

/// Octets that sealing takes in an SK or SKF payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The IV.
    pub iv: usize,
    /// The payloads with padding and the octet that counts the padding.
    pub plain: usize,
    /// The ICV.
    pub icv: usize,
}

/// A datagram that waits for its payloads to be sealed in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealable {
    /// Header and payload header, then zeros for IV, plaintext and ICV.
    pub datagram: Vec<u8>,
    /// Where the IV begins; what is in front of it is the associated data.
    pub body_offset: usize,
}

const PAYLOAD_HEADER: usize = 4;
/// Number and total, in front of the IV of a fragment.
const FRAGMENT_HEADER: usize = 4;

impl Sealable {
    /// Where the IV begins behind an SK payload's header.
    pub const WHOLE: usize = Header::LENGTH + PAYLOAD_HEADER;
    /// Where it begins behind an SKF payload's.
    pub const FRAGMENT: usize = Self::WHOLE + FRAGMENT_HEADER;
}

/// Reads a datagram as far as it is in clear.
///
/// # Errors
/// [`Malformed`] when it is no IKEv2 message.
pub fn decode(datagram: &[u8]) -> Result<Packet<'_>, Malformed> {
    let (header, first) = Header::decode(datagram)?;
    let mut chain = Chain::new(first, datagram.get(Header::LENGTH..).unwrap_or_default());
    let mut leading = Vec::new();
    while let Some(link) = chain.link()? {
        match link.kind {
            PayloadType::SK => {
                // Refuses octets behind the payload: it has to be the last.
                chain.link()?;
                let (aad, sealed) = split(datagram, link.body.len());
                return Ok(Packet {
                    header,
                    body: Body::Encrypted { first: link.next, aad, sealed, leading },
                });
            }
            PayloadType::SKF => {
                chain.link()?;
                return Ok(Packet { header, body: decode_fragment(datagram, &link, &leading)? });
            }
            _ => leading.push(Payload::decode(&link)?),
        }
    }
    Ok(Packet { header, body: Body::Clear(leading) })
}

fn decode_fragment<'a>(
    datagram: &'a [u8],
    link: &Link<'a>,
    leading: &[Payload],
) -> Result<Body<'a>, Malformed> {
    if let Some(payload) = leading.first() {
        let expected = "no payload in front of a fragment";
        return Err(Malformed::Field { what: "payload type", found: payload.kind().0.into(), expected });
    }
    let mut reader = Reader::new("SKF payload", link.body);
    let (number, total) = (reader.u16()?, reader.u16()?);
    if number == 0 || number > total {
        return Err(Malformed::FragmentNumber { number, total });
    }
    let (aad, sealed) = split(datagram, reader.len());
    Ok(Body::Fragment { first: link.next, number, total, aad, sealed })
}

/// The datagram without its last `sealed` octets, and those.
fn split(datagram: &[u8], sealed: usize) -> (&[u8], &[u8]) {
    datagram.split_at_checked(datagram.len().saturating_sub(sealed)).unwrap_or_default()
}

/// Writes a message in clear.
#[must_use]
pub fn encode_clear(header: &Header, payloads: &[Payload]) -> Vec<u8> {
    let (first, body) = payload::encode_payloads(payloads);
    let length = Header::LENGTH + body.len();
    let mut writer = Writer::with_capacity(length);
    header.encode(&mut writer, first, length);
    writer.bytes(&body);
    writer.finish()
}

/// Writes a message with an SK payload, or an SKF payload for `fragment` (number from 1, total), up to what
/// has to be sealed. `first` is the type of the first payload inside; in fragments after the first it is left
/// out (RFC 7383 §2.5).
#[must_use]
pub fn encode_encrypted(
    header: &Header,
    first: PayloadType,
    room: Room,
    fragment: Option<(u16, u16)>,
) -> Sealable {
    let Room { iv, plain, icv } = room;
    let sealed = iv + plain + icv;
    let body_offset = if fragment.is_some() { Sealable::FRAGMENT } else { Sealable::WHOLE };
    let mut writer = Writer::with_capacity(body_offset + sealed);
    let (kind, first) = match fragment {
        None => (PayloadType::SK, first),
        Some((1, _)) => (PayloadType::SKF, first),
        Some(_) => (PayloadType::SKF, PayloadType::NONE),
    };
    header.encode(&mut writer, kind, body_offset + sealed);
    writer.u8(first.0);
    writer.u8(0);
    writer.measured(2, |writer| {
        if let Some((number, total)) = fragment {
            writer.u16(number);
            writer.u16(total);
        }
        writer.zeros(sealed);
    });
    Sealable { datagram: writer.finish(), body_offset }
}

/// What authentication covers of the front of an `IKE_INTERMEDIATE` message: header and SK payload header as
/// if the message were neither sealed nor fragmented (`IntAuth_*A` of RFC 9242 §3.3.2). The `plain_length`
/// octets of payloads follow there, without padding.
#[must_use]
pub fn intermediate_header(
    header: &Header,
    first: PayloadType,
    plain_length: usize,
) -> [u8; Sealable::WHOLE] {
    let mut writer = Writer::with_capacity(Sealable::WHOLE);
    header.encode(&mut writer, PayloadType::SK, Sealable::WHOLE + plain_length);
    writer.u8(first.0);
    writer.u8(0);
    writer.u16(medium(PAYLOAD_HEADER + plain_length));
    writer.finish().first_chunk().copied().unwrap_or([0; Sealable::WHOLE])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::wire::{Exchange, Flags, IkeSpi, MessageId, Notify, NotifyType, decode_payloads};

    fn header(exchange: Exchange) -> Header {
        Header {
            initiator_spi: IkeSpi(1),
            responder_spi: IkeSpi(2),
            exchange,
            flags: Flags { initiator: true, response: false },
            message_id: MessageId(1),
        }
    }

    const ROOM: Room = Room { iv: 8, plain: 4, icv: 16 };

    fn cookie() -> Payload {
        Payload::Notify(Notify::with_data(NotifyType::COOKIE, vec![0xc0]))
    }

    #[test]
    fn a_message_in_clear_has_header_and_chain() {
        let nonce = Payload::Nonce(vec![7; 16]);
        let datagram = encode_clear(&header(Exchange::SA_INIT), &[cookie(), nonce.clone()]);
        assert_eq!(datagram[16..28], [41, 0x20, 34, 8, 0, 0, 0, 1, 0, 0, 0, 57]);
        assert_eq!(datagram[28..41], [40, 0, 0, 9, 0, 0, 0x40, 6, 0xc0, 0, 0, 0, 20]);
        let packet = decode(&datagram).unwrap();
        assert_eq!(packet.header, header(Exchange::SA_INIT));
        assert_eq!(packet.body, Body::Clear(vec![cookie(), nonce]));
    }

    #[test]
    fn an_encrypted_message_leaves_room_and_is_split_where_sealing_begins() {
        let mut sealable = encode_encrypted(&header(Exchange::AUTH), PayloadType::IDI, ROOM, None);
        assert_eq!(sealable.body_offset, 32);
        sealable.datagram[32..].fill(0xee);
        let datagram = sealable.datagram;
        assert_eq!(datagram[16..32], [46, 0x20, 35, 8, 0, 0, 0, 1, 0, 0, 0, 60, 35, 0, 0, 32]);
        let Body::Encrypted { first, aad, sealed, leading } = decode(&datagram).unwrap().body else {
            panic!("not encrypted");
        };
        assert_eq!((first, leading), (PayloadType::IDI, vec![]));
        assert_eq!((aad, sealed), datagram.split_at(32));
    }

    #[test]
    fn an_empty_message_has_no_first_payload() {
        let sealable = encode_encrypted(&header(Exchange::INFORMATIONAL), PayloadType::NONE, ROOM, None);
        let body = decode(&sealable.datagram).unwrap().body;
        assert!(matches!(body, Body::Encrypted { first: PayloadType::NONE, .. }));
        assert_eq!(decode_payloads(PayloadType::NONE, &[]), Ok(vec![]));
        assert!(decode_payloads(PayloadType::NONE, &[0]).is_err());
    }

    #[test]
    fn fragments_are_numbered_and_the_first_names_the_first_payload() {
        for (number, expected) in [(1, PayloadType::IDI), (2, PayloadType::NONE), (3, PayloadType::NONE)] {
            let header = header(Exchange::AUTH);
            let sealable = encode_encrypted(&header, PayloadType::IDI, ROOM, Some((number, 3)));
            assert_eq!(sealable.body_offset, 36);
            let datagram = sealable.datagram;
            let low = number.to_be_bytes()[1];
            assert_eq!(datagram[28..36], [expected.0, 0, 0, 36, 0, low, 0, 3]);
            let (aad, sealed) = datagram.split_at(36);
            let fragment = Body::Fragment { first: expected, number, total: 3, aad, sealed };
            assert_eq!(decode(&datagram).unwrap().body, fragment);
        }
    }

    #[test]
    fn fragments_with_impossible_numbers_are_dropped_in_silence() {
        for (number, total) in [(0, 1), (0, 0), (2, 1), (1, 0)] {
            let header = header(Exchange::AUTH);
            let sealable = encode_encrypted(&header, PayloadType::IDI, ROOM, Some((number, total)));
            let error = decode(&sealable.datagram).unwrap_err();
            assert_eq!(error, Malformed::FragmentNumber { number, total });
            assert_eq!(error.notify(), None);
        }
    }

    /// A datagram whose payloads are these octets.
    fn by_hand(first: PayloadType, octets: &[u8]) -> Vec<u8> {
        let length = Header::LENGTH + octets.len();
        let mut writer = Writer::default();
        header(Exchange::AUTH).encode(&mut writer, first, length);
        writer.bytes(octets);
        writer.finish()
    }

    #[test]
    fn payloads_in_front_of_the_encrypted_one_are_kept() {
        let datagram = by_hand(PayloadType::VENDOR_ID, &[46, 0, 0, 5, b'x', 41, 0, 0, 6, 1, 2]);
        let Body::Encrypted { first, aad, sealed, leading } = decode(&datagram).unwrap().body else {
            panic!("not encrypted");
        };
        assert_eq!(first, PayloadType::NOTIFY);
        assert_eq!(leading, [Payload::VendorId(b"x".to_vec())]);
        assert_eq!((aad, sealed), datagram.split_at(37));
        assert_eq!(sealed, [1, 2]);

        let fragment = by_hand(PayloadType::VENDOR_ID, &[53, 0, 0, 5, b'x', 41, 0, 0, 8, 0, 1, 0, 1]);
        assert!(decode(&fragment).is_err());
    }

    #[test]
    fn the_encrypted_payload_is_the_last() {
        for kind in [PayloadType::SK, PayloadType::SKF] {
            let octets = [43, 0, 0, 8, 0, 1, 0, 1, 0, 0, 0, 4];
            assert_eq!(
                decode(&by_hand(kind, &octets)),
                Err(Malformed::Trailing { what: "payloads", found: 4 })
            );
            assert!(decode(&by_hand(kind, &octets[..8])).is_ok());
            assert!(decode_payloads(kind, &octets[..8]).is_err());
        }
    }

    #[test]
    fn the_front_of_an_intermediate_message_looks_unsealed_and_whole() {
        let front = intermediate_header(&header(Exchange::INTERMEDIATE), PayloadType::KE, 1192);
        assert_eq!(front[16..20], [46, 0x20, 43, 8]);
        assert_eq!(front[24..], [0, 0, 4, 200, 34, 0, 4, 172]);
    }
}
