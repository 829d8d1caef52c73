//! Keys of digital signatures: the relay's own Ed25519 key, and the keys of peers.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{self, Ed25519KeyPair, KeyPair, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::der::{self, Reader};
use crate::entropy::Entropy;

/// An Ed25519 private key (RFC 8032), ready to sign; the library wipes it when dropped.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

/// The public key of a peer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PublicKey {
    /// Ed25519 (RFC 8032).
    Ed25519([u8; 32]),
    /// ECDSA on P-256: an uncompressed point, `4 | x | y`.
    EcdsaP256([u8; 65]),
    /// ECDSA on P-384: an uncompressed point, `4 | x | y`.
    EcdsaP384([u8; 97]),
    /// RSA of 2048 to 8192 bits: the DER of its SubjectPublicKeyInfo.
    Rsa(Vec<u8>),
}

/// Octets or text that are no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Not base64.
    #[error("public key: expected base64 of a SubjectPublicKeyInfo")]
    Base64,
    /// Not a SubjectPublicKeyInfo of a kind we know (RFC 5280 §4.1, RFC 8410, RFC 5480, RFC 8017).
    #[error(
        "public key of {found} octets: expected a SubjectPublicKeyInfo of Ed25519, P-256, P-384 or RSA of \
         2048 to 8192 bits"
    )]
    PublicKey {
        /// Octets found.
        found: usize,
    },
    /// A seed that the crypto library refuses.
    #[error("private key: expected the 32 octets of an Ed25519 seed")]
    Seed,
}

impl SigningKey {
    /// The key of a seed (RFC 8032 §5.1.5).
    ///
    /// # Errors
    /// [`BadKey::Seed`] when the library refuses it, which it has no reason to.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, BadKey> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| BadKey::Seed)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| BadKey::Seed)?;
        Ok(Self { pair, public })
    }

    /// A new key, for who keeps no identity between two runs.
    ///
    /// # Errors
    /// As [`Self::from_seed`].
    pub fn generate(entropy: &mut dyn Entropy) -> Result<Self, BadKey> {
        let mut seed = Zeroizing::new([0; 32]);
        entropy.secret_fill(seed.as_mut_slice());
        Self::from_seed(&seed)
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> PublicKey {
        PublicKey::Ed25519(self.public)
    }

    /// Signs `message`; the same message has the same signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.pair.sign(message).as_ref().first_chunk().copied().unwrap_or([0; 64])
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.public())
    }
}

/// What precedes the key in a SubjectPublicKeyInfo of Ed25519 (RFC 8410 §4).
const ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
/// The same for an uncompressed point of P-256 (RFC 5480 §2).
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3,
    1, 7, 3, 0x42, 0,
];
/// The same for P-384.
const P384: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x22, 3, 0x62,
    0,
];
/// `rsaEncryption` (RFC 8017 appendix A.1).
const RSA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo. Points are checked to be on their curve, and the modulus of RSA to be of
    /// an acceptable size.
    ///
    /// # Errors
    /// [`BadKey::PublicKey`] when it is something else.
    pub fn from_spki_der(octets: &[u8]) -> Result<Self, BadKey> {
        let refused = BadKey::PublicKey { found: octets.len() };
        let key = if let Some(key) = strip(octets, &ED25519) {
            Self::Ed25519(key)
        } else if let Some(point) = strip(octets, &P256) {
            Self::EcdsaP256(point)
        } else if let Some(point) = strip(octets, &P384) {
            Self::EcdsaP384(point)
        } else if is_rsa(octets).is_some() {
            Self::Rsa(octets.to_vec())
        } else {
            return Err(refused);
        };
        let (algorithm, raw): (&'static dyn signature::VerificationAlgorithm, &[u8]) = match &key {
            Self::Ed25519(_) => return Ok(key),
            Self::EcdsaP256(point) => (&signature::ECDSA_P256_SHA256_ASN1, point),
            Self::EcdsaP384(point) => (&signature::ECDSA_P384_SHA384_ASN1, point),
            Self::Rsa(der) => (&signature::RSA_PKCS1_2048_8192_SHA256, der),
        };
        ParsedPublicKey::new(algorithm, raw).map_err(|_| refused)?;
        Ok(key)
    }

    /// The key as a SubjectPublicKeyInfo.
    #[must_use]
    pub fn to_spki_der(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => [&ED25519[..], key].concat(),
            Self::EcdsaP256(point) => [&P256[..], point].concat(),
            Self::EcdsaP384(point) => [&P384[..], point].concat(),
            Self::Rsa(der) => der.clone(),
        }
    }

    /// Reads the base64 of a SubjectPublicKeyInfo, as between the lines of a PEM file.
    ///
    /// # Errors
    /// [`BadKey::Base64`] and [`BadKey::PublicKey`].
    pub fn from_base64(text: &str) -> Result<Self, BadKey> {
        Self::from_spki_der(&STANDARD.decode(text).map_err(|_| BadKey::Base64)?)
    }

    /// The base64 of the key's SubjectPublicKeyInfo.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.to_spki_der())
    }
}

/// What follows `prefix`, if that is all of it.
fn strip<const N: usize>(octets: &[u8], prefix: &[u8]) -> Option<[u8; N]> {
    octets.strip_prefix(prefix)?.try_into().ok()
}

fn is_rsa(octets: &[u8]) -> Option<()> {
    let mut outer = Reader(octets);
    let mut info = outer.enter(der::SEQUENCE)?;
    outer.end()?;
    let mut algorithm = info.enter(der::SEQUENCE)?;
    info.take(der::BIT_STRING)?;
    info.end()?;
    let known = algorithm.take(der::OID)? == RSA;
    known.then_some(())
}

impl FromStr for PublicKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        Self::from_base64(text)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Seeded;
    use crate::secret::KeyMaterial;

    fn hex(text: &str) -> Vec<u8> {
        KeyMaterial::from_hex(text).unwrap().expose().to_vec()
    }

    /// RFC 8032 §7.1, test 1.
    #[test]
    fn ed25519_is_that_of_rfc_8032() {
        let seed = hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let key = SigningKey::from_seed(seed.as_slice().try_into().unwrap()).unwrap();
        let public = hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert_eq!(key.public().to_spki_der()[12..], public);
        assert_eq!(
            key.sign(&[])[..],
            hex(
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b\
                 d25bf5f0595bbe24655141438e7a100b"
            )
        );
    }

    /// RFC 8410 §10.1.
    #[test]
    fn base64_is_that_of_rfc_8410_and_comes_back() {
        let text = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";
        let key: PublicKey = text.parse().unwrap();
        assert_eq!(key.to_string(), text);
        assert!(matches!(key, PublicKey::Ed25519([0x19, 0xbf, ..])));
    }

    #[test]
    fn keys_of_other_kinds_and_sizes_are_refused() {
        let good = SigningKey::generate(&mut Seeded::new([1; 32])).unwrap().public().to_spki_der();
        let longer = [&good[..], &[0]].concat();
        let off_the_curve = [&P256[..], &[4], &[1; 64]].concat();
        for bad in [&[][..], &good[1..], &longer, &off_the_curve, &P384] {
            assert_eq!(PublicKey::from_spki_der(bad), Err(BadKey::PublicKey { found: bad.len() }));
        }
        assert_eq!(PublicKey::from_base64("%"), Err(BadKey::Base64));
    }

    #[test]
    fn the_seed_decides_the_key_and_debug_does_not_show_it() {
        let generate = |seed| SigningKey::generate(&mut Seeded::new([seed; 32])).unwrap();
        assert_eq!(generate(1).public(), generate(1).public());
        assert_ne!(generate(1).public(), generate(2).public());
        let key = SigningKey::from_seed(&[0xab; 32]).unwrap();
        assert_eq!(format!("{key:?}"), format!("SigningKey(of {})", key.public()));
    }
}
