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
    let numbers = if fragment.is_some() { FRAGMENT_HEADER } else { 0 };
    let body_offset = Header::LENGTH + PAYLOAD_HEADER + numbers;
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
) -> [u8; Header::LENGTH + PAYLOAD_HEADER] {
    let mut writer = Writer::with_capacity(Header::LENGTH + PAYLOAD_HEADER);
    header.encode(&mut writer, PayloadType::SK, Header::LENGTH + PAYLOAD_HEADER + plain_length);
    writer.u8(first.0);
    writer.u8(0);
    writer.u16(medium(PAYLOAD_HEADER + plain_length));
    writer.finish().first_chunk().copied().unwrap_or([0; Header::LENGTH + PAYLOAD_HEADER])
}
