//! The keys of an IKE SA and of its children (RFC 7296 §2.14, §2.17, §2.18; RFC 9370 §2.2.2, §2.2.4).

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::algorithm::{Encryption, IkeSuite, Integrity, Prf};
use super::exchange::SharedSecret;
use super::protect::{Incoming, Outgoing};
use crate::ike::wire::IkeSpi;
use crate::secret::KeyMaterial;
use crate::suite::Suite;

/// Which side of an IKE SA: who sent its first message. A rekeyed SA's initiator is who asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Sent the first message.
    Initiator,
    /// Answered it.
    Responder,
}

/// The nonces of one exchange, without payload headers.
#[derive(Debug, Clone, Copy)]
pub struct Nonces<'a> {
    /// `Ni`.
    pub initiator: &'a [u8],
    /// `Nr`.
    pub responder: &'a [u8],
}

/// The keys of an IKE SA: `SK_d`, `SK_ai`, `SK_ar`, `SK_ei`, `SK_er`, `SK_pi`, `SK_pr`. Copies share one
/// allocation, which is wiped when the last of them goes.
#[derive(Clone)]
pub struct KeySchedule(Arc<Keys>);

/// Octets that are no [`KeySchedule`] of a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("keys of an IKE SA: found {found} octets, expected {expected}")]
pub struct ScheduleLength {
    found: usize,
    expected: usize,
}

/// The keys by name, for a key log.
#[derive(Clone, Copy)]
pub struct SkKeys<'a> {
    /// Key that children's keys come from.
    pub d: &'a [u8],
    /// Integrity key of the initiator; empty with an AEAD.
    pub ai: &'a [u8],
    /// Integrity key of the responder; empty with an AEAD.
    pub ar: &'a [u8],
    /// Cipher key of the initiator, with its salt.
    pub ei: &'a [u8],
    /// Cipher key of the responder, with its salt.
    pub er: &'a [u8],
    /// Key of the initiator's authentication.
    pub pi: &'a [u8],
    /// Key of the responder's authentication.
    pub pr: &'a [u8],
}

/// The keys of a pair of ESP SAs; the initiator is that of the exchange that made them.
#[derive(Debug, PartialEq, Eq)]
pub struct ChildKeys {
    /// Key of the SA from initiator to responder.
    pub to_responder: KeyMaterial,
    /// Key of the SA from responder to initiator.
    pub to_initiator: KeyMaterial,
}

/// What the keys of an SA are for and where they lie; shared by those who protect and open messages.
pub(super) struct Keys {
    pub(super) encryption: Encryption,
    pub(super) integrity: Option<Integrity>,
    pub(super) prf: Prf,
    octets: Zeroizing<Box<[u8]>>,
}

impl Role {
    /// The other side.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }
}

impl KeySchedule {
    /// The keys of a new IKE SA, from its IKE_SA_INIT (RFC 7296 §2.14).
    #[must_use]
    pub fn initial(
        suite: &IkeSuite,
        nonces: Nonces<'_>,
        shared: &SharedSecret,
        initiator_spi: IkeSpi,
        responder_spi: IkeSpi,
    ) -> Self {
        let key = [nonces.initiator, nonces.responder].concat();
        let seed = suite.prf.compute(&key, &[shared.expose()]);
        Self::expand(Keys::of(suite), seed.as_ref(), nonces, initiator_spi, responder_spi)
    }

    /// The keys of the IKE SA that replaces this one (RFC 7296 §2.18). `shared` has the secret of the KE
    /// payloads first, then those of additional exchanges in their order (RFC 9370 §2.2.4). The nonces and
    /// SPIs are the new ones.
    #[must_use]
    pub fn rekeyed(
        &self,
        suite: &IkeSuite,
        nonces: Nonces<'_>,
        shared: &[SharedSecret],
        initiator_spi: IkeSpi,
        responder_spi: IkeSpi,
    ) -> Self {
        let seed = self.0.prf.compute(self.0.get(self.0.d()), &mixed(nonces, shared));
        Self::expand(Keys::of(suite), seed.as_ref(), nonces, initiator_spi, responder_spi)
    }

    /// The keys after an additional key exchange in IKE_INTERMEDIATE (RFC 9370 §2.2.2); nonces and SPIs are
    /// those of IKE_SA_INIT.
    #[must_use]
    pub fn updated(
        &self,
        nonces: Nonces<'_>,
        shared: &SharedSecret,
        initiator_spi: IkeSpi,
        responder_spi: IkeSpi,
    ) -> Self {
        let parts = [shared.expose(), nonces.initiator, nonces.responder];
        let seed = self.0.prf.compute(self.0.get(self.0.d()), &parts);
        Self::expand(self.0.empty(), seed.as_ref(), nonces, initiator_spi, responder_spi)
    }

    /// `length` octets of KEYMAT (RFC 7296 §2.17), at most 255 outputs of the PRF. `shared` is empty for the
    /// child of IKE_AUTH and without perfect forward secrecy; else as for [`Self::rekeyed`].
    #[must_use]
    pub fn child(&self, length: usize, nonces: Nonces<'_>, shared: &[SharedSecret]) -> Zeroizing<Vec<u8>> {
        self.0.prf.expand(self.0.get(self.0.d()), &mixed(nonces, shared), length)
    }

    /// The keys of a pair of ESP SAs with `suite`, cut from [`Self::child`]: the initiator's first, each
    /// with the cipher's key before that of integrity.
    #[must_use]
    pub fn child_keys(&self, suite: Suite, nonces: Nonces<'_>, shared: &[SharedSecret]) -> ChildKeys {
        let length = suite.key_length();
        let material = self.child(2 * length, nonces, shared);
        let (to_responder, to_initiator) = material.split_at(length.min(material.len()));
        ChildKeys {
            to_responder: KeyMaterial::new(to_responder.to_vec()),
            to_initiator: KeyMaterial::new(to_initiator.to_vec()),
        }
    }

    /// What protects the messages that `role` sends.
    #[must_use]
    pub fn outgoing(&self, role: Role) -> Outgoing {
        Outgoing::new(Arc::clone(&self.0), role)
    }

    /// What opens the messages that the peer of `role` sends.
    #[must_use]
    pub fn incoming(&self, role: Role) -> Incoming {
        Incoming::new(Arc::clone(&self.0), role.other())
    }

    /// The pseudo-random function of this SA.
    #[must_use]
    pub fn prf(&self) -> Prf {
        self.0.prf
    }

    /// `SK_pi` or `SK_pr`.
    #[must_use]
    pub fn authentication_key(&self, role: Role) -> &[u8] {
        self.0.get(self.0.p(role))
    }

    /// All keys by name, for a key log: whoever has them reads and forges everything.
    #[must_use]
    pub fn danger_keys(&self) -> SkKeys<'_> {
        let keys = &*self.0;
        SkKeys {
            d: keys.get(keys.d()),
            ai: keys.get(keys.a(Role::Initiator)),
            ar: keys.get(keys.a(Role::Responder)),
            ei: keys.get(keys.e(Role::Initiator)),
            er: keys.get(keys.e(Role::Responder)),
            pi: keys.get(keys.p(Role::Initiator)),
            pr: keys.get(keys.p(Role::Responder)),
        }
    }

    /// All keys in one piece, for [`Self::restore`].
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0.octets
    }

    /// The schedule that [`Self::expose`] gave the octets of.
    ///
    /// # Errors
    /// [`ScheduleLength`] when `octets` are not as many as `suite` needs.
    pub fn restore(suite: &IkeSuite, octets: &[u8]) -> Result<Self, ScheduleLength> {
        let keys = Keys::of(suite);
        if octets.len() != keys.total() {
            return Err(ScheduleLength { found: octets.len(), expected: keys.total() });
        }
        Ok(Self(Arc::new(Keys { octets: Zeroizing::new(octets.into()), ..keys })))
    }

    fn expand(
        keys: Keys,
        seed: &[u8],
        nonces: Nonces<'_>,
        initiator_spi: IkeSpi,
        responder_spi: IkeSpi,
    ) -> Self {
        let (spi_i, spi_r) = (initiator_spi.0.to_be_bytes(), responder_spi.0.to_be_bytes());
        let parts = [nonces.initiator, nonces.responder, &spi_i, &spi_r];
        let octets = keys.prf.expand(seed, &parts, keys.total());
        Self(Arc::new(Keys { octets: Zeroizing::new(octets.as_slice().into()), ..keys }))
    }
}

impl fmt::Debug for KeySchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySchedule({}, {})", self.0.encryption, self.0.prf)
    }
}

/// `SK(0) | Ni | Nr | SK(1) | ... | SK(n)`.
fn mixed<'a>(nonces: Nonces<'a>, shared: &'a [SharedSecret]) -> Vec<&'a [u8]> {
    let (first, additional) = shared.split_at(shared.len().min(1));
    let expose = SharedSecret::expose;
    let mut parts = Vec::with_capacity(shared.len() + 2);
    parts.extend(first.iter().map(expose));
    parts.extend([nonces.initiator, nonces.responder]);
    parts.extend(additional.iter().map(expose));
    parts
}

impl Keys {
    fn of(suite: &IkeSuite) -> Self {
        let IkeSuite { encryption, integrity, prf, .. } = *suite;
        Self { encryption, integrity, prf, octets: Zeroizing::default() }
    }

    fn empty(&self) -> Self {
        Self { octets: Zeroizing::default(), ..*self }
    }

    fn total(&self) -> usize {
        3 * self.prf.output_octets() + 2 * self.integrity_octets() + 2 * self.encryption.key_octets()
    }

    fn integrity_octets(&self) -> usize {
        self.integrity.map_or(0, Integrity::key_octets)
    }

    fn d(&self) -> Range<usize> {
        0..self.prf.output_octets()
    }

    pub(super) fn a(&self, role: Role) -> Range<usize> {
        pair(self.prf.output_octets(), self.integrity_octets(), role)
    }

    pub(super) fn e(&self, role: Role) -> Range<usize> {
        pair(self.a(Role::Responder).end, self.encryption.key_octets(), role)
    }

    fn p(&self, role: Role) -> Range<usize> {
        pair(self.e(Role::Responder).end, self.prf.output_octets(), role)
    }

    pub(super) fn get(&self, range: Range<usize>) -> &[u8] {
        &self.octets[range]
    }
}

fn pair(start: usize, length: usize, role: Role) -> Range<usize> {
    match role {
        Role::Initiator => start..start + length,
        Role::Responder => start + length..start + 2 * length,
    }
}
