//! The SA payload: proposals of transforms (RFC 7296 §3.3).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::codec::{Reader, Writer, small};
use super::{EncryptionId, EsnId, IkeSpi, IntegrityId, KeMethod, Malformed, PrfId, Protocol, TransformType};

/// One protocol with the algorithms it could use: one transform of each type that occurs is to be chosen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proposal {
    /// From 1 on in an offer; in an answer that of the one chosen.
    pub number: u8,
    /// For which protocol.
    pub protocol: Protocol,
    /// The sender's SPI: empty in `IKE_SA_INIT`, else 8 octets for IKE and 4 for ESP.
    pub spi: Vec<u8>,
    /// The algorithms, in the sender's order of preference.
    pub transforms: Vec<Transform>,
}

/// An algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub struct Transform {
    /// What it is for.
    pub kind: TransformType,
    /// Which one: an [`EncryptionId`], [`PrfId`], [`IntegrityId`], [`KeMethod`] or [`EsnId`].
    pub id: u16,
    /// Bits of the key, for algorithms with keys of several lengths; [`Transform::UNUSABLE`] when it came
    /// with something we do not know.
    pub key_length: Option<u16>,
}

impl Proposal {
    /// The most proposals in one payload.
    pub const MOST: usize = 64;

    const MORE: u8 = 2;
    const MORE_TRANSFORMS: u8 = 3;

    /// The sender's SPI of an IKE SA that is to replace another one.
    #[must_use]
    pub fn ike_spi(&self) -> Option<IkeSpi> {
        let spi = <[u8; 8]>::try_from(self.spi.as_slice()).ok()?;
        (self.protocol == Protocol::IKE).then_some(IkeSpi(u64::from_be_bytes(spi)))
    }

    /// The sender's SPI of a child SA.
    #[must_use]
    pub fn child_spi(&self) -> Option<u32> {
        let spi = <[u8; 4]>::try_from(self.spi.as_slice()).ok()?;
        matches!(self.protocol, Protocol::AH | Protocol::ESP).then_some(u32::from_be_bytes(spi))
    }

    /// The transforms of one type, in order of preference.
    pub fn of(&self, kind: TransformType) -> impl Iterator<Item = Transform> + '_ {
        self.transforms.iter().copied().filter(move |transform| transform.kind == kind)
    }
}

impl Transform {
    /// The most transforms in one proposal, by the width of the field.
    pub const MOST: usize = 255;

    /// The key length of a transform with an attribute we do not know: other transforms may still be chosen,
    /// this one may not (RFC 7296 §3.3.6). No algorithm has keys of that length.
    pub const UNUSABLE: Option<u16> = Some(0);

    const HEADER: usize = 8;
    /// `Key Length`, with the bit for attributes of two octets.
    const KEY_LENGTH: u16 = 0x8000 | 14;
    const FIXED: u16 = 0x8000;

    /// An algorithm whose keys have one length only.
    #[must_use]
    pub const fn new(kind: TransformType, id: u16) -> Self {
        Self { kind, id, key_length: None }
    }

    /// A cipher with keys of so many bits.
    #[must_use]
    pub const fn encryption(id: EncryptionId, key_length: Option<u16>) -> Self {
        Self { kind: TransformType::ENCR, id: id.0, key_length }
    }

    /// A pseudo-random function.
    #[must_use]
    pub const fn prf(id: PrfId) -> Self {
        Self::new(TransformType::PRF, id.0)
    }

    /// An integrity algorithm.
    #[must_use]
    pub const fn integrity(id: IntegrityId) -> Self {
        Self::new(TransformType::INTEG, id.0)
    }

    /// The key exchange.
    #[must_use]
    pub const fn key_exchange(method: KeMethod) -> Self {
        Self::new(TransformType::KE, method.0)
    }

    /// 32 or 64 bits of sequence number.
    #[must_use]
    pub const fn esn(id: EsnId) -> Self {
        Self::new(TransformType::ESN, id.0)
    }

    /// Whether we know all that came with it.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.key_length != Self::UNUSABLE
    }

    /// The registry's name for the algorithm.
    fn name(self) -> Option<&'static str> {
        match self.kind {
            TransformType::ENCR => EncryptionId(self.id).name(),
            TransformType::PRF => PrfId(self.id).name(),
            TransformType::INTEG => IntegrityId(self.id).name(),
            TransformType::ESN => EsnId(self.id).name(),
            kind if kind == TransformType::KE || TransformType::ADDITIONAL.contains(&kind) => {
                KeMethod(self.id).name()
            }
            _ => None,
        }
    }
}

impl fmt::Display for Transform {
    /// As `ENCR ENCR_AES_GCM_16 256`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} {name}", self.kind)?,
            None => write!(f, "{} {}", self.kind, self.id)?,
        }
        match self.key_length {
            Some(bits) => write!(f, " {bits}"),
            None => Ok(()),
        }
    }
}

pub(super) fn encode(proposals: &[Proposal], writer: &mut Writer) {
    for (index, proposal) in proposals.iter().enumerate() {
        let more = index + 1 < proposals.len();
        writer.u8(if more { Proposal::MORE } else { 0 });
        writer.u8(0);
        writer.measured(2, |writer| {
            writer.u8(proposal.number);
            writer.u8(proposal.protocol.0);
            writer.u8(small(proposal.spi.len()));
            writer.u8(small(proposal.transforms.len()));
            writer.bytes(&proposal.spi);
            for (index, transform) in proposal.transforms.iter().enumerate() {
                transform.encode(writer, index + 1 < proposal.transforms.len());
            }
        });
    }
}

pub(super) fn decode(body: &[u8]) -> Result<Vec<Proposal>, Malformed> {
    let mut reader = Reader::new("SA payload", body);
    let mut proposals = Vec::new();
    loop {
        let more = reader.u8()?;
        reader.u8()?;
        let length = reader.u16()?;
        proposals.push(Proposal::decode(reader.part("proposal", length, 4)?)?);
        if !more_follow("last substructure of a proposal", more, Proposal::MORE)? {
            break;
        }
        if proposals.len() == Proposal::MOST {
            return Err(Malformed::TooMany { what: "proposals", limit: Proposal::MOST });
        }
    }
    reader.end()?;
    Ok(proposals)
}

/// What the octet in front of each substructure says (RFC 7296 §3.3.1).
fn more_follow(what: &'static str, found: u8, more: u8) -> Result<bool, Malformed> {
    match found {
        0 => Ok(false),
        found if found == more => Ok(true),
        found => {
            let expected = if more == Proposal::MORE { "0 or 2" } else { "0 or 3" };
            Err(Malformed::Field { what, found: found.into(), expected })
        }
    }
}

impl Proposal {
    fn decode(mut reader: Reader<'_>) -> Result<Self, Malformed> {
        let number = reader.u8()?;
        let protocol = Protocol(reader.u8()?);
        let spi_size = reader.u8()?;
        let count = reader.u8()?;
        let spi = reader.bytes(spi_size.into())?.to_vec();
        let mut transforms = Vec::with_capacity(usize::from(count).min(reader.len() / Transform::HEADER));
        for left in (0..count).rev() {
            let more = reader.u8()?;
            reader.u8()?;
            let length = reader.u16()?;
            transforms.push(Transform::decode(reader.part("transform", length, 4)?)?);
            if more_follow("last substructure of a transform", more, Self::MORE_TRANSFORMS)? != (left > 0) {
                let expected = "0 in the last transform, 3 in others";
                let what = "last substructure of a transform";
                return Err(Malformed::Field { what, found: more.into(), expected });
            }
        }
        reader.end()?;
        Ok(Self { number, protocol, spi, transforms })
    }
}

impl Transform {
    fn encode(self, writer: &mut Writer, more: bool) {
        writer.u8(if more { Proposal::MORE_TRANSFORMS } else { 0 });
        writer.u8(0);
        writer.measured(2, |writer| {
            writer.u8(self.kind.0);
            writer.u8(0);
            writer.u16(self.id);
            if let Some(bits) = self.key_length {
                writer.u16(Self::KEY_LENGTH);
                writer.u16(bits);
            }
        });
    }

    fn decode(mut reader: Reader<'_>) -> Result<Self, Malformed> {
        let kind = TransformType(reader.u8()?);
        reader.u8()?;
        let id = reader.u16()?;
        let mut transform = Self::new(kind, id);
        while !reader.is_empty() {
            let attribute = reader.u16()?;
            let value = reader.u16()?;
            if attribute & Self::FIXED == 0 {
                reader.bytes(value.into())?;
            }
            let first = transform.key_length.is_none();
            let known = attribute == Self::KEY_LENGTH && first;
            transform.key_length = if known { Some(value) } else { Self::UNUSABLE };
        }
        Ok(transform)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(proposals: &[Proposal]) -> Vec<u8> {
        let mut writer = Writer::default();
        encode(proposals, &mut writer);
        writer.finish()
    }

    fn esp() -> Proposal {
        Proposal {
            number: 1,
            protocol: Protocol::ESP,
            spi: vec![0xc0, 1, 2, 3],
            transforms: vec![
                Transform::encryption(EncryptionId::AES_GCM_16, Some(256)),
                Transform::esn(EsnId::NO),
            ],
        }
    }

    /// From one transform with these attributes.
    fn with_attributes(attributes: &[u8]) -> Result<Transform, Malformed> {
        let mut octets = vec![1, 0, 0, 12];
        octets.extend(attributes);
        Transform::decode(Reader::new("transform", &octets))
    }

    #[test]
    fn a_proposal_has_the_octets_of_the_rfc() {
        let expected = [
            0, 0, 0, 32, 1, 3, 4, 2, // the proposal
            0xc0, 1, 2, 3, // its SPI
            3, 0, 0, 12, 1, 0, 0, 20, 0x80, 14, 1, 0, // AES-GCM, 256 bits
            0, 0, 0, 8, 5, 0, 0, 0, // no ESN
        ];
        assert_eq!(octets(&[esp()]), expected);
        assert_eq!(decode(&expected).unwrap(), [esp()]);
        assert_eq!(esp().child_spi(), Some(0xc001_0203));
        assert_eq!(esp().ike_spi(), None);
    }

    #[test]
    fn many_proposals_and_transforms_keep_their_order() {
        let proposals: Vec<Proposal> = (1..=64)
            .map(|number| Proposal {
                number,
                protocol: Protocol::IKE,
                spi: vec![number; 8],
                transforms: (0..255).rev().map(|id| Transform::new(TransformType::PRF, id)).collect(),
            })
            .collect();
        let one_more = [proposals.clone(), vec![esp()]].concat();
        assert_eq!(decode(&octets(&proposals)), Ok(proposals));
        let limit = Malformed::TooMany { what: "proposals", limit: 64 };
        assert_eq!(decode(&octets(&one_more)), Err(limit));
    }

    #[test]
    fn an_sa_payload_without_a_proposal_is_refused() {
        assert!(decode(&[]).is_err());
    }

    #[test]
    fn an_unknown_attribute_makes_the_transform_unusable_and_the_message_stays_readable() {
        let unusable = [
            &[0x80, 99, 0, 1][..],
            &[0, 99, 0, 2, 7, 7],
            &[0x80, 14, 0, 128, 0x80, 99, 0, 1],
            &[0x80, 14, 0, 128, 0x80, 14, 1, 0],
        ];
        for attributes in unusable {
            let transform = with_attributes(attributes).unwrap();
            assert!(!transform.is_usable(), "{attributes:?}");
            assert_eq!((transform.kind, transform.id), (TransformType::ENCR, 12));
        }
        assert!(with_attributes(&[0x80, 14, 0, 128]).unwrap().is_usable());
        assert!(with_attributes(&[]).unwrap().is_usable());
        assert!(with_attributes(&[0, 99, 0, 3, 7, 7]).is_err());
    }

    #[test]
    fn counts_and_marks_of_the_last_must_agree() {
        let good = octets(&[esp()]);
        for (at, value) in
            [(0, 2), (0, 1), (3, 31), (3, 33), (6, 5), (7, 1), (7, 3), (12, 0), (12, 2), (24, 3)]
        {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(decode(&bad).is_err(), "{value} at {at}");
        }
    }

    #[test]
    fn transforms_show_their_names() {
        assert_eq!(esp().transforms[0].to_string(), "ENCR ENCR_AES_GCM_16 256");
        assert_eq!(Transform::new(TransformType::ADDKE1, 36).to_string(), "ADDKE1 ML-KEM-768");
        assert_eq!(Transform::new(TransformType(13), 5).to_string(), "13 5");
    }
}
