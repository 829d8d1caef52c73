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
        Self::expand(&Keys::of(suite), seed.as_ref(), nonces, initiator_spi, responder_spi)
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
        Self::expand(&Keys::of(suite), seed.as_ref(), nonces, initiator_spi, responder_spi)
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
        Self::expand(&self.0, seed.as_ref(), nonces, initiator_spi, responder_spi)
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
        keys: &Keys,
        seed: &[u8],
        nonces: Nonces<'_>,
        initiator_spi: IkeSpi,
        responder_spi: IkeSpi,
    ) -> Self {
        let (spi_i, spi_r) = (initiator_spi.0.to_be_bytes(), responder_spi.0.to_be_bytes());
        let parts = [nonces.initiator, nonces.responder, &spi_i, &spi_r];
        let octets = keys.prf.expand(seed, &parts, keys.total());
        Self(Arc::new(Keys { octets: Zeroizing::new(octets.as_slice().into()), ..*keys }))
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

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest;

    use super::*;
    use crate::ike::wire::KeMethod;

    fn hex(text: &str) -> Vec<u8> {
        KeyMaterial::from_hex(text).unwrap().expose().to_vec()
    }

    fn suite(encryption: Encryption, integrity: Option<Integrity>, prf: Prf) -> IkeSuite {
        IkeSuite { encryption, integrity, prf, ke: KeMethod::X25519, additional: Vec::new() }
    }

    const INITIATOR: IkeSpi = IkeSpi(0x0102_0304_0506_0708);
    const RESPONDER: IkeSpi = IkeSpi(0xa1a2_a3a4_a5a6_a7a8);

    fn hash(schedule: &KeySchedule) -> Vec<u8> {
        digest::digest(&digest::SHA256, schedule.expose()).as_ref().to_vec()
    }

    /// What Python's `hmac` makes of the formulas: hashes of all keys, and 72 octets of KEYMAT.
    #[test]
    fn schedules_are_those_of_another_implementation() {
        let gcm = suite(Encryption::AesGcm128, None, Prf::HmacSha256);
        let cbc = suite(Encryption::AesCbc256, Some(Integrity::HmacSha256_128), Prf::HmacSha384);
        let cases = [
            (
                gcm,
                [
                    "6c127e18c55ae27caf1e935c881e6e3625984115fa5f72d96e9e975cb9ff8310",
                    "b076e8aa784949349ace7bf8b810e4fe89e43cdbe81fda2f5cd68769e2902ecb",
                    "78d9d0a9720d41278fa939ec07d1c065d6d87e39ab578cd91560384a0e48607a",
                ],
                "8eafab1f101ada2ec680ff4e84ec696cce9435fa141839adca596e8b737c57889a354212512c8aa4c5614745b4f55593\
                 77ccd3de494efac8c78fd5c997660565f83cb6b16c4ece9e",
                "7e71054dd35bd99bce38ff2e29076103b1e52dab222a746f763e1b9cc7e3c2226fcd142b2e62765e285766e1537a65e3\
                 57ef0f23f63e34767d8d1b508cf2aea90bd3c9a5220fe63a",
            ),
            (
                cbc,
                [
                    "a96b5b13095504c698355a9acf9a0b51a5ab4beaf878865f11de70ffe227f7ae",
                    "26e5365c7bff282f0ee91eeb6368523f4704d0cdc1ec244387db004f12c92ab5",
                    "daff1a2d28c787b70ac2c95a245745fcf5cf86d459ae1c4622e832044b6bbc57",
                ],
                "880ab58cba2eae8e1181440cb882f937b614d2a3ef0c6384bdda93efe89b64acc8b4e3f043ae7bdf09dedc494baa3262\
                 10fd9234ee81d3743d1838980efd681bc7c71e1317a9178b",
                "a43d8b7d5a4798475717fa255d17871c8be6a2af6b8a813784a9c4bba83d056261d6584689b660d0f41d5c212fc2601d\
                 6cff7e5b7d2451f5f9aa3990060e81c1c9a3b83fb110c082",
            ),
        ];
        let (initiator, responder): (Vec<u8>, Vec<u8>) = ((0..32).collect(), (32..72).collect());
        let nonces = Nonces { initiator: &initiator, responder: &responder };
        let secrets = [SharedSecret::new(vec![9; 32]), SharedSecret::new(vec![11; 40])];
        for (suite, [initial, updated, rekeyed], child, child_with_ke) in cases {
            let first = SharedSecret::new(vec![7; 32]);
            let schedule = KeySchedule::initial(&suite, nonces, &first, INITIATOR, RESPONDER);
            assert_eq!(hash(&schedule), hex(initial));
            let next = schedule.updated(nonces, &secrets[0], INITIATOR, RESPONDER);
            assert_eq!(hash(&next), hex(updated));
            let next = schedule.rekeyed(&suite, nonces, &secrets, INITIATOR, RESPONDER);
            assert_eq!(hash(&next), hex(rekeyed));
            assert_eq!(*schedule.child(72, nonces, &[]), hex(child));
            assert_eq!(*schedule.child(72, nonces, &secrets), hex(child_with_ke));
        }
    }

    fn any() -> (IkeSuite, KeySchedule) {
        let suite = suite(Encryption::AesCbc128, Some(Integrity::HmacSha1_96), Prf::HmacSha512);
        let nonces = Nonces { initiator: &[1; 16], responder: &[2; 16] };
        let shared = SharedSecret::new(vec![3; 32]);
        let schedule = KeySchedule::initial(&suite, nonces, &shared, INITIATOR, RESPONDER);
        (suite, schedule)
    }

    #[test]
    fn keys_lie_one_after_the_other() {
        let (_, schedule) = any();
        let SkKeys { d, ai, ar, ei, er, pi, pr } = schedule.danger_keys();
        assert_eq!([d, ai, ar, ei, er, pi, pr].map(<[u8]>::len), [64, 20, 20, 16, 16, 64, 64]);
        assert_eq!([d, ai, ar, ei, er, pi, pr].concat(), schedule.expose());
        assert_eq!(schedule.authentication_key(Role::Responder), pr);
    }

    #[test]
    fn children_get_the_initiators_key_first() {
        let (_, schedule) = any();
        let nonces = Nonces { initiator: &[4; 32], responder: &[5; 32] };
        for suite in Suite::ALL {
            let keys = schedule.child_keys(suite, nonces, &[]);
            let both = schedule.child(2 * suite.key_length(), nonces, &[]);
            assert_eq!([keys.to_responder.expose(), keys.to_initiator.expose()].concat(), *both, "{suite}");
            assert_eq!(keys.to_initiator.len(), suite.key_length());
        }
    }

    #[test]
    fn a_schedule_comes_back_from_its_octets_and_from_no_others() {
        let (suite, schedule) = any();
        let restored = KeySchedule::restore(&suite, schedule.expose()).unwrap();
        assert_eq!(restored.expose(), schedule.expose());
        let short = &schedule.expose()[1..];
        let refused = KeySchedule::restore(&suite, short).unwrap_err();
        assert_eq!(refused, ScheduleLength { found: short.len(), expected: short.len() + 1 });
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", any().1), "KeySchedule(aes-cbc-128, prf-hmac-sha512)");
    }
}
