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

    const HEADER: usize = 8;
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
