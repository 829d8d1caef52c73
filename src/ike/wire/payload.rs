//! Payloads and the chain of them (RFC 7296 §3.2).

use super::codec::{Reader, Writer};
use super::identity::{decode_typed, encode_typed};
use super::{
    AuthMethod, CertEncoding, Configuration, Delete, Id, KeMethod, Malformed, Notify, PayloadType, Proposal,
    TrafficSelector, proposal, selector,
};

/// A payload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Payload {
    /// Proposals for an SA, or the one chosen.
    Sa(Vec<Proposal>),
    /// Public key exchange data.
    Ke {
        /// The method.
        method: KeMethod,
        /// What the method sends.
        data: Vec<u8>,
    },
    /// Who the initiator is.
    IdI(Id),
    /// Who the responder is, or should be.
    IdR(Id),
    /// A certificate.
    Cert {
        /// How it is encoded.
        encoding: CertEncoding,
        /// The certificate.
        data: Vec<u8>,
    },
    /// Certificates that the sender could check.
    CertReq {
        /// How they are to be encoded.
        encoding: CertEncoding,
        /// The authorities.
        data: Vec<u8>,
    },
    /// The proof of an identity.
    Auth {
        /// How it was made.
        method: AuthMethod,
        /// The proof.
        data: Vec<u8>,
    },
    /// Random octets.
    Nonce(Vec<u8>),
    /// An error or a piece of news.
    Notify(Notify),
    /// SAs the sender has removed.
    Delete(Delete),
    /// What implementation the sender is, or which extensions it has.
    VendorId(Vec<u8>),
    /// What the initiator's end sends.
    TsI(Vec<TrafficSelector>),
    /// What the responder's end sends.
    TsR(Vec<TrafficSelector>),
    /// Configuration.
    Cp(Configuration),
    /// A message of the Extensible Authentication Protocol, unread.
    Eap(Vec<u8>),
    /// One of a type we do not know; its body is dropped.
    Unknown {
        /// The type.
        kind: PayloadType,
        /// Whether the sender wants the message refused by who does not know it.
        critical: bool,
    },
}

/// The most payloads in one message. A host with many addresses lists each of them in a notification.
pub const MOST_PAYLOADS: usize = 128;

const HEADER: usize = 4;
const CRITICAL: u8 = 0x80;

/// Octets a nonce has at least and at most (RFC 7296 §3.9).
const NONCE: std::ops::RangeInclusive<usize> = 16..=256;

impl Payload {
    /// Its type on the wire.
    #[must_use]
    pub const fn kind(&self) -> PayloadType {
        match self {
            Self::Sa(_) => PayloadType::SA,
            Self::Ke { .. } => PayloadType::KE,
            Self::IdI(_) => PayloadType::IDI,
            Self::IdR(_) => PayloadType::IDR,
            Self::Cert { .. } => PayloadType::CERT,
            Self::CertReq { .. } => PayloadType::CERTREQ,
            Self::Auth { .. } => PayloadType::AUTH,
            Self::Nonce(_) => PayloadType::NONCE,
            Self::Notify(_) => PayloadType::NOTIFY,
            Self::Delete(_) => PayloadType::DELETE,
            Self::VendorId(_) => PayloadType::VENDOR_ID,
            Self::TsI(_) => PayloadType::TSI,
            Self::TsR(_) => PayloadType::TSR,
            Self::Cp(_) => PayloadType::CP,
            Self::Eap(_) => PayloadType::EAP,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Sa(proposals) => proposal::encode(proposals, writer),
            Self::Ke { method, data } => {
                writer.u16(method.0);
                writer.u16(0);
                writer.bytes(data);
            }
            Self::IdI(id) | Self::IdR(id) => id.encode(writer),
            Self::Cert { encoding, data } | Self::CertReq { encoding, data } => {
                writer.u8(encoding.0);
                writer.bytes(data);
            }
            Self::Auth { method, data } => encode_typed(method.0, data, writer),
            Self::Nonce(data) | Self::VendorId(data) | Self::Eap(data) => writer.bytes(data),
            Self::Notify(notify) => notify.encode(writer),
            Self::Delete(delete) => delete.encode(writer),
            Self::TsI(selectors) | Self::TsR(selectors) => selector::encode(selectors, writer),
            Self::Cp(configuration) => configuration.encode(writer),
            Self::Unknown { .. } => {}
        }
    }

    /// Reads a payload that was split off the chain.
    pub(super) fn decode(link: &Link<'_>) -> Result<Self, Malformed> {
        let body = link.body;
        Ok(match link.kind {
            PayloadType::SA => Self::Sa(proposal::decode(body)?),
            PayloadType::KE => {
                let mut reader = Reader::new("KE payload", body);
                let method = KeMethod(reader.u16()?);
                reader.u16()?;
                Self::Ke { method, data: reader.rest().to_vec() }
            }
            PayloadType::IDI => Self::IdI(Id::decode("IDi payload", body)?),
            PayloadType::IDR => Self::IdR(Id::decode("IDr payload", body)?),
            PayloadType::CERT => {
                let (encoding, data) = decode_certificate("CERT payload", body)?;
                Self::Cert { encoding, data }
            }
            PayloadType::CERTREQ => {
                let (encoding, data) = decode_certificate("CERTREQ payload", body)?;
                Self::CertReq { encoding, data }
            }
            PayloadType::AUTH => {
                let (method, data) = decode_typed("AUTH payload", body)?;
                Self::Auth { method: AuthMethod(method), data }
            }
            PayloadType::NONCE => Self::Nonce(decode_nonce(body)?),
            PayloadType::NOTIFY => Self::Notify(Notify::decode(body)?),
            PayloadType::DELETE => Self::Delete(Delete::decode(body)?),
            PayloadType::VENDOR_ID => Self::VendorId(body.to_vec()),
            PayloadType::TSI => Self::TsI(selector::decode("TSi payload", body)?),
            PayloadType::TSR => Self::TsR(selector::decode("TSr payload", body)?),
            PayloadType::CP => Self::Cp(Configuration::decode(body)?),
            PayloadType::EAP => Self::Eap(body.to_vec()),
            PayloadType::SK | PayloadType::SKF => {
                let expected = "no encrypted payload inside another one";
                return Err(Malformed::Field { what: "payload type", found: link.kind.0.into(), expected });
            }
            kind => Self::Unknown { kind, critical: link.critical },
        })
    }
}

fn decode_certificate(what: &'static str, body: &[u8]) -> Result<(CertEncoding, Vec<u8>), Malformed> {
    let mut reader = Reader::new(what, body);
    Ok((CertEncoding(reader.u8()?), reader.rest().to_vec()))
}

fn decode_nonce(body: &[u8]) -> Result<Vec<u8>, Malformed> {
    if NONCE.contains(&body.len()) {
        return Ok(body.to_vec());
    }
    let found = u64::try_from(body.len()).unwrap_or(u64::MAX);
    Err(Malformed::Field { what: "length of a nonce", found, expected: "16 to 256 octets" })
}

/// A payload split off the chain, its body unread.
pub(super) struct Link<'a> {
    pub(super) kind: PayloadType,
    pub(super) critical: bool,
    /// The type of the next payload; in SK and SKF that of the first inside.
    pub(super) next: PayloadType,
    pub(super) body: &'a [u8],
}

/// The payloads one after the other, each of which says what the next is.
pub(super) struct Chain<'a> {
    next: PayloadType,
    reader: Reader<'a>,
    taken: usize,
}

impl<'a> Chain<'a> {
    pub(super) const fn new(first: PayloadType, octets: &'a [u8]) -> Self {
        Self { next: first, reader: Reader::new("payloads", octets), taken: 0 }
    }

    /// The next payload, or `None` at the end of chain and octets.
    pub(super) fn link(&mut self) -> Result<Option<Link<'a>>, Malformed> {
        let kind = self.next;
        if kind == PayloadType::NONE {
            self.reader.end()?;
            return Ok(None);
        }
        if self.taken == MOST_PAYLOADS {
            return Err(Malformed::TooMany { what: "payloads", limit: MOST_PAYLOADS });
        }
        self.taken += 1;
        let next = PayloadType(self.reader.u8()?);
        let critical = self.reader.u8()? & CRITICAL != 0;
        let length = self.reader.u16()?;
        let body = self.reader.part("payload", length, HEADER)?.rest();
        // Inside of SK and SKF are other payloads: they end the chain.
        let last = matches!(kind, PayloadType::SK | PayloadType::SKF);
        self.next = if last { PayloadType::NONE } else { next };
        Ok(Some(Link { kind, critical, next, body }))
    }
}

/// Reads what an SK payload held, without padding.
///
/// # Errors
/// [`Malformed`] when a payload is not as its type requires, or the chain does not end with the octets.
pub fn decode_payloads(first: PayloadType, plain: &[u8]) -> Result<Vec<Payload>, Malformed> {
    let mut chain = Chain::new(first, plain);
    let mut payloads = Vec::new();
    while let Some(link) = chain.link()? {
        payloads.push(Payload::decode(&link)?);
    }
    Ok(payloads)
}

/// Writes what an SK payload is to hold, without padding, and the type of the first payload.
///
/// A payload too long for its 16-bit length gets the length 0, which every decoder refuses.
#[must_use]
pub fn encode_payloads(payloads: &[Payload]) -> (PayloadType, Vec<u8>) {
    let mut writer = Writer::default();
    let first = write_payloads(payloads, &mut writer);
    (first, writer.finish())
}

/// Appends payloads and gives the type of the first.
pub(super) fn write_payloads(payloads: &[Payload], writer: &mut Writer) -> PayloadType {
    for (index, payload) in payloads.iter().enumerate() {
        writer.u8(payloads.get(index + 1).map_or(PayloadType::NONE, Payload::kind).0);
        let critical = matches!(payload, Payload::Unknown { critical: true, .. });
        writer.u8(if critical { CRITICAL } else { 0 });
        writer.measured(2, |writer| payload.encode(writer));
    }
    payloads.first().map_or(PayloadType::NONE, Payload::kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_the_octets_of_the_rfc() {
        let samples: [(Payload, &[u8]); 8] = [
            (Payload::Ke { method: KeMethod::X25519, data: vec![9; 2] }, &[0, 31, 0, 0, 9, 9]),
            (Payload::IdR(Id::fqdn("b")), b"\x02\0\0\0b"),
            (Payload::Cert { encoding: CertEncoding::X509_SIGNATURE, data: vec![1] }, &[4, 1]),
            (Payload::CertReq { encoding: CertEncoding::RAW_PUBLIC_KEY, data: vec![] }, &[15]),
            (Payload::Auth { method: AuthMethod::NULL, data: vec![5] }, &[13, 0, 0, 0, 5]),
            (Payload::Nonce(vec![6; 16]), &[6; 16]),
            (Payload::VendorId(b"me".to_vec()), b"me"),
            (Payload::Eap(vec![1, 2, 0, 4]), &[1, 2, 0, 4]),
        ];
        for (payload, body) in samples {
            let (first, octets) = encode_payloads(std::slice::from_ref(&payload));
            let length = u8::try_from(4 + body.len()).unwrap();
            assert_eq!(octets, [&[0, 0, 0, length], body].concat());
            assert_eq!(first, payload.kind());
            assert_eq!(decode_payloads(first, &octets), Ok(vec![payload]));
        }
    }

    #[test]
    fn the_critical_bit_counts_only_where_the_payload_is_unknown() {
        let known =
            decode_payloads(PayloadType::VENDOR_ID, &[200, 0x80, 0, 5, 1, 0, 0xff, 0, 6, 1, 2]).unwrap();
        let unknown = Payload::Unknown { kind: PayloadType(200), critical: true };
        assert_eq!(known, [Payload::VendorId(vec![1]), unknown.clone()]);
        let (first, octets) = encode_payloads(&known);
        assert_eq!(octets, [200, 0, 0, 5, 1, 0, 0x80, 0, 4]);
        assert_eq!(decode_payloads(first, &octets), Ok(known));
        let (_, octets) = encode_payloads(&[Payload::Unknown { kind: PayloadType(200), critical: false }]);
        assert_eq!(octets, [0, 0, 0, 4]);
    }

    #[test]
    fn lengths_below_the_header_or_beyond_the_end_are_refused() {
        for length in [0, 1, 3, 6, 255] {
            assert!(decode_payloads(PayloadType::VENDOR_ID, &[0, 0, 0, length, 9]).is_err(), "{length}");
        }
        let short = Malformed::Short { what: "payload", found: 5, expected: 6 };
        assert_eq!(decode_payloads(PayloadType::VENDOR_ID, &[0, 0, 0, 6, 9]), Err(short));
        assert_eq!(short.to_string(), "payload: found 5 octets, expected at least 6");
        assert_eq!(short.notify(), Some(crate::ike::wire::NotifyType::INVALID_SYNTAX));
    }

    #[test]
    fn the_chain_ends_with_the_octets() {
        let trailing = Err(Malformed::Trailing { what: "payloads", found: 1 });
        assert_eq!(decode_payloads(PayloadType::VENDOR_ID, &[0, 0, 0, 4, 9]), trailing);
        assert!(decode_payloads(PayloadType::VENDOR_ID, &[43, 0, 0, 4]).is_err());
    }

    #[test]
    fn the_number_of_payloads_is_bounded() {
        let most = vec![Payload::VendorId(vec![]); MOST_PAYLOADS];
        let (first, octets) = encode_payloads(&most);
        assert_eq!(decode_payloads(first, &octets), Ok(most.clone()));
        let (first, octets) = encode_payloads(&[most, vec![Payload::VendorId(vec![])]].concat());
        let limit = Malformed::TooMany { what: "payloads", limit: 128 };
        assert_eq!(decode_payloads(first, &octets), Err(limit));
    }

    #[test]
    fn nonces_have_16_to_256_octets() {
        for (length, fits) in [(0, false), (15, false), (16, true), (256, true), (257, false)] {
            let (first, octets) = encode_payloads(&[Payload::Nonce(vec![1; length])]);
            assert_eq!(decode_payloads(first, &octets).is_ok(), fits, "{length}");
        }
    }

    #[test]
    fn a_payload_too_long_for_its_length_field_is_refused_by_every_decoder() {
        for length in [65_531, 65_532, 100_000] {
            let (first, octets) = encode_payloads(&[Payload::VendorId(vec![1; length])]);
            assert_eq!(decode_payloads(first, &octets).is_ok(), length == 65_531);
        }
    }

    /// Thirty thousand SAs may hold some of these at once.
    #[test]
    fn payloads_are_small() {
        assert!(size_of::<Payload>() <= 64, "{}", size_of::<Payload>());
    }
}
