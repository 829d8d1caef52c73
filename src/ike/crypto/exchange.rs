//! Key exchange: X25519, P-256, P-384 and ML-KEM-768, each from both sides.

use std::fmt;

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use ml_kem::kem::{Decapsulate, KeyExport};
use ml_kem::ml_kem_768;
use zeroize::{Zeroize, Zeroizing};

use crate::entropy::Entropy;
use crate::ike::wire::KeMethod;

/// Why a key exchange came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeError {
    /// A method that is not implemented.
    #[error("key exchange method {0}: expected X25519, P-256, P-384 or ML-KEM-768")]
    Unsupported(KeMethod),
    /// The peer's value has the wrong size.
    #[error("key exchange data of {method}: found {found} octets, expected {expected}")]
    Length {
        /// The method.
        method: KeMethod,
        /// Octets found.
        found: usize,
        /// Octets the method takes.
        expected: usize,
    },
    /// The peer's value has the right size and is no public key: not on the curve, of small order, or not
    /// reduced.
    #[error("key exchange data of {0}: found a value that is no valid public key")]
    Value(KeMethod),
    /// The crypto library failed by itself.
    #[error("key exchange {0}: the crypto library failed")]
    Internal(KeMethod),
}

/// What both sides know after a key exchange, `g^ir` or `SK(n)`; wiped when dropped.
pub struct SharedSecret(Zeroizing<Vec<u8>>);

/// A key exchange that waits for the peer's value: the initiator's side.
pub struct KeyExchange {
    method: KeMethod,
    public: Box<[u8]>,
    private: Private,
}

enum Private {
    Curve(PrivateKey),
    /// The seed (d, z) of FIPS 203 §7.1, 64 octets instead of the expanded key's 10,000.
    MlKem768(Box<Zeroizing<[u8; 64]>>),
}

/// Whether [`KeyExchange::start`] and [`respond`] know `method`.
#[must_use]
pub fn supported(method: KeMethod) -> bool {
    sizes(method).is_some()
}

impl KeyExchange {
    /// Makes a key pair from `entropy`.
    ///
    /// # Errors
    /// [`KeError::Unsupported`] for other methods than the four.
    pub fn start(method: KeMethod, entropy: &mut dyn Entropy) -> Result<Self, KeError> {
        match curve(method) {
            Some(curve) => {
                let (private, public) = curve.generate(entropy)?;
                Ok(Self { method, public: public.into_boxed_slice(), private: Private::Curve(private) })
            }
            None if method == KeMethod::MLKEM768 => {
                let mut seed = Box::new(Zeroizing::new([0; 64]));
                entropy.secret_fill(seed.as_mut_slice());
                let public = decapsulation_key(&seed).encapsulation_key().to_bytes();
                Ok(Self { method, public: public.as_slice().into(), private: Private::MlKem768(seed) })
            }
            None => Err(KeError::Unsupported(method)),
        }
    }

    /// The method it was started with.
    #[must_use]
    pub const fn method(&self) -> KeMethod {
        self.method
    }

    /// Data of our KE payload.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Completes the exchange with the data of the responder's KE payload.
    ///
    /// # Errors
    /// [`KeError::Length`] and [`KeError::Value`] when `peer` is no value of the method, among them the
    /// X25519 points that give zero (RFC 8031 §4).
    pub fn finish(self, peer: &[u8]) -> Result<SharedSecret, KeError> {
        let Some(sizes) = sizes(self.method) else { return Err(KeError::Unsupported(self.method)) };
        check_length(self.method, peer, sizes.responder)?;
        match (&self.private, curve(self.method)) {
            (Private::Curve(private), Some(curve)) => curve.agree(private, peer),
            (Private::MlKem768(seed), _) => {
                let ciphertext =
                    ml_kem_768::Ciphertext::try_from(peer).map_err(|_| KeError::Value(self.method))?;
                let mut key = decapsulation_key(seed).decapsulate(&ciphertext);
                let secret = SharedSecret::new(key.as_slice().to_vec());
                key.zeroize();
                Ok(secret)
            }
            (Private::Curve(_), None) => Err(KeError::Internal(self.method)),
        }
    }
}

/// The responder's side, at once: data of our KE payload, and the secret shared with who sent `peer`.
///
/// # Errors
/// As [`KeyExchange::start`] and [`KeyExchange::finish`].
pub fn respond(
    method: KeMethod,
    peer: &[u8],
    entropy: &mut dyn Entropy,
) -> Result<(Vec<u8>, SharedSecret), KeError> {
    let Some(sizes) = sizes(method) else { return Err(KeError::Unsupported(method)) };
    check_length(method, peer, sizes.initiator)?;
    if let Some(curve) = curve(method) {
        let (private, public) = curve.generate(entropy)?;
        let secret = curve.agree(&private, peer)?;
        return Ok((public, secret));
    }
    let encoded = peer.try_into().map_err(|_| KeError::Value(method))?;
    let key = ml_kem_768::EncapsulationKey::new(encoded).map_err(|_| KeError::Value(method))?;
    let mut message = Zeroizing::new([0; 32]);
    entropy.secret_fill(message.as_mut_slice());
    let mut wide = (*message).into();
    let (ciphertext, mut shared) = key.encapsulate_deterministic(&wide);
    let secret = SharedSecret::new(shared.as_slice().to_vec());
    shared.zeroize();
    wide.zeroize();
    Ok((ciphertext.as_slice().to_vec(), secret))
}

impl SharedSecret {
    /// Takes `octets` over.
    #[must_use]
    pub fn new(octets: Vec<u8>) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// The octets, for the key schedule and for restoring one.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedSecret({} octets)", self.0.len())
    }
}

impl fmt::Debug for KeyExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyExchange({})", self.method)
    }
}

/// Octets of KE data that each side sends.
struct Sizes {
    initiator: usize,
    responder: usize,
}

fn sizes(method: KeMethod) -> Option<Sizes> {
    let both = |octets| Some(Sizes { initiator: octets, responder: octets });
    match method {
        KeMethod::X25519 => both(32),
        KeMethod::P256 => both(64),
        KeMethod::P384 => both(96),
        KeMethod::MLKEM768 => Some(Sizes { initiator: 1184, responder: 1088 }),
        _ => None,
    }
}

const fn check_length(method: KeMethod, peer: &[u8], expected: usize) -> Result<(), KeError> {
    if peer.len() == expected { Ok(()) } else { Err(KeError::Length { method, found: peer.len(), expected }) }
}

fn decapsulation_key(seed: &[u8; 64]) -> ml_kem_768::DecapsulationKey {
    let mut wide = (*seed).into();
    let key = ml_kem_768::DecapsulationKey::from_seed(wide);
    wide.zeroize();
    key
}

/// An elliptic curve and the form of its points.
struct Curve {
    method: KeMethod,
    algorithm: &'static agreement::Algorithm,
    private_octets: usize,
    /// What the library puts before `x || y`, and RFC 5903 §7 leaves out.
    prefix: &'static [u8],
}

/// The prefix of an uncompressed point (SEC 1 §2.3.3).
const UNCOMPRESSED: &[u8] = &[4];
/// A random octet string is no private key of P-256 once in 2^32 times.
const TRIES: usize = 8;

const fn curve(method: KeMethod) -> Option<Curve> {
    match method {
        KeMethod::X25519 => {
            Some(Curve { method, algorithm: &agreement::X25519, private_octets: 32, prefix: &[] })
        }
        KeMethod::P256 => {
            Some(Curve { method, algorithm: &agreement::ECDH_P256, private_octets: 32, prefix: UNCOMPRESSED })
        }
        KeMethod::P384 => {
            Some(Curve { method, algorithm: &agreement::ECDH_P384, private_octets: 48, prefix: UNCOMPRESSED })
        }
        _ => None,
    }
}

impl Curve {
    fn generate(&self, entropy: &mut dyn Entropy) -> Result<(PrivateKey, Vec<u8>), KeError> {
        let mut octets = Zeroizing::new([0; 48]);
        let octets = &mut octets[..self.private_octets];
        let private = (0..TRIES)
            .find_map(|_| {
                entropy.secret_fill(octets);
                PrivateKey::from_private_key(self.algorithm, octets).ok()
            })
            .ok_or(KeError::Internal(self.method))?;
        let public = private.compute_public_key().map_err(|_| KeError::Internal(self.method))?;
        let public = public.as_ref().get(self.prefix.len()..).ok_or(KeError::Internal(self.method))?.to_vec();
        Ok((private, public))
    }

    fn agree(&self, private: &PrivateKey, peer: &[u8]) -> Result<SharedSecret, KeError> {
        let mut point = [0; 97];
        let point = &mut point[..self.prefix.len() + peer.len()];
        let (prefix, coordinates) = point.split_at_mut(self.prefix.len());
        prefix.copy_from_slice(self.prefix);
        coordinates.copy_from_slice(peer);
        let peer = UnparsedPublicKey::new(self.algorithm, &*point);
        agreement::agree(private, peer, KeError::Value(self.method), |shared| {
            Ok(SharedSecret::new(shared.to_vec()))
        })
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{digest, kem};

    use super::*;
    use crate::entropy::Seeded;
    use crate::secret::KeyMaterial;

    const METHODS: [KeMethod; 4] = [KeMethod::X25519, KeMethod::P256, KeMethod::P384, KeMethod::MLKEM768];

    /// Gives the same octets again and again.
    struct Fixed(Vec<u8>);

    impl Entropy for Fixed {
        fn public_fill(&mut self, _: &mut [u8]) {}

        fn secret_fill(&mut self, octets: &mut [u8]) {
            octets.copy_from_slice(&self.0);
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        KeyMaterial::from_hex(text).unwrap().expose().to_vec()
    }

    fn start(method: KeMethod, private: &str) -> KeyExchange {
        KeyExchange::start(method, &mut Fixed(hex(private))).unwrap()
    }

    /// RFC 7748 §6.1.
    #[test]
    fn x25519_is_that_of_rfc_7748() {
        let alice =
            start(KeMethod::X25519, "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let bob = start(KeMethod::X25519, "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        let public = hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        assert_eq!(alice.public(), hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
        assert_eq!(bob.public(), public);
        assert_eq!(
            alice.finish(&public).unwrap().expose(),
            hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
        );
    }

    /// RFC 5903 §8.1.
    #[test]
    fn p256_is_that_of_rfc_5903() {
        let exchange =
            start(KeMethod::P256, "C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433");
        let public = hex("DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180\
             5271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3");
        let peer = hex("D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63\
             56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB");
        assert_eq!(exchange.public(), public);
        assert_eq!(
            exchange.finish(&peer).unwrap().expose(),
            hex("D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE")
        );
    }

    /// The hash of the encapsulation key that OpenSSL makes of the same seed.
    #[test]
    fn ml_kem_keys_are_those_of_another_implementation() {
        let seed: Vec<u8> = (0..64).collect();
        let exchange = KeyExchange::start(KeMethod::MLKEM768, &mut Fixed(seed)).unwrap();
        assert_eq!(
            digest::digest(&digest::SHA256, exchange.public()).as_ref(),
            hex("0b7934c83125c788995e2ba6bd761e33046b3e40571be53e023309a29f398cc9")
        );
        let theirs = kem::EncapsulationKey::new(&kem::ML_KEM_768, exchange.public()).unwrap();
        let (ciphertext, secret) = theirs.encapsulate().unwrap();
        assert_eq!(exchange.finish(ciphertext.as_ref()).unwrap().expose(), secret.as_ref());
    }

    #[test]
    fn both_sides_share_a_secret_and_the_seed_decides_which() {
        for method in METHODS {
            let run = |seed: u8| {
                let mut entropy = Seeded::new([seed; 32]);
                let ours = KeyExchange::start(method, &mut entropy).unwrap();
                let sent = ours.public().to_vec();
                let (answer, theirs) = respond(method, &sent, &mut entropy).unwrap();
                let ours = ours.finish(&answer).unwrap();
                assert_eq!(ours.expose(), theirs.expose(), "{method}");
                (sent, answer, ours.expose().to_vec())
            };
            assert_eq!(run(1), run(1), "{method}");
            assert_ne!(run(1).2, run(2).2, "{method}");
        }
    }

    #[test]
    fn values_of_another_size_are_refused() {
        let mut entropy = Seeded::new([3; 32]);
        for method in METHODS {
            let ours = KeyExchange::start(method, &mut entropy).unwrap();
            let short = &ours.public()[1..];
            let expected = ours.public().len();
            assert_eq!(
                respond(method, short, &mut entropy).unwrap_err(),
                KeError::Length { method, found: expected - 1, expected }
            );
            assert!(matches!(ours.finish(&[]), Err(KeError::Length { found: 0, .. })));
        }
    }

    #[test]
    fn values_that_are_no_keys_are_refused() {
        let mut entropy = Seeded::new([4; 32]);
        // Zero and one are of small order; (1, 1) and (0, 0) are on neither curve.
        let one = [&[1][..], &[0; 31]].concat();
        for (method, peer) in [
            (KeMethod::X25519, vec![0; 32]),
            (KeMethod::X25519, one),
            (KeMethod::P256, vec![0; 64]),
            (KeMethod::P256, vec![1; 64]),
            (KeMethod::P384, vec![0; 96]),
            (KeMethod::MLKEM768, vec![0xff; 1184]),
        ] {
            assert_eq!(respond(method, &peer, &mut entropy).unwrap_err(), KeError::Value(method));
        }
        let exchange = KeyExchange::start(KeMethod::X25519, &mut entropy).unwrap();
        assert_eq!(exchange.finish(&[0; 32]).unwrap_err(), KeError::Value(KeMethod::X25519));
    }

    #[test]
    fn other_methods_are_not_supported() {
        let mut entropy = Seeded::new([5; 32]);
        for method in [KeMethod::NONE, KeMethod::MODP2048, KeMethod::MLKEM1024, KeMethod(999)] {
            assert!(!supported(method));
            assert_eq!(KeyExchange::start(method, &mut entropy).unwrap_err(), KeError::Unsupported(method));
            assert_eq!(respond(method, &[], &mut entropy).unwrap_err(), KeError::Unsupported(method));
        }
        assert!(METHODS.into_iter().all(supported));
    }

    #[test]
    fn a_source_that_gives_no_private_key_ends_in_an_error() {
        let stuck = KeyExchange::start(KeMethod::P256, &mut Fixed(vec![0xff; 32]));
        assert_eq!(stuck.unwrap_err(), KeError::Internal(KeMethod::P256));
    }
}
