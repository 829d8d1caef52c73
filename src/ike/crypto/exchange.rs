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
