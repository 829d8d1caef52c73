//! Public keys of relays and operators, as text and as octets.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// An Ed25519 public key (RFC 8032). As text `ed25519:` and base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ed25519Key([u8; 32]);

/// The key a relay proves itself with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum IdentityKey {
    /// Ed25519, of every ippriv relay.
    Ed25519(Ed25519Key),
    /// ECDSA on P-256, of a relay with other software.
    EcdsaP256(Spki),
    /// ECDSA on P-384, of a relay with other software.
    EcdsaP384(Spki),
    /// RSA of 2048 to 8192 bits, of a relay with other software.
    Rsa(Spki),
}

/// A `SubjectPublicKeyInfo` in DER (RFC 5280 section 4.1), of a valid key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spki(Vec<u8>);

/// Text that is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// No `ALGORITHM:` that we know.
    #[error("key: expected ed25519:, ecdsa-p256:, ecdsa-p384: or rsa:, then base64")]
    Kind,
    /// Not base64, or not its one standard form.
    #[error("{0} key: expected base64 with padding (RFC 4648 section 4)")]
    Base64(&'static str),
    /// Octets that are no key of that kind.
    #[error("{kind} key of {octets} octets: expected {expected}")]
    Octets {
        /// The kind of key.
        kind: &'static str,
        /// How many octets were found.
        octets: usize,
        /// What was expected.
        expected: &'static str,
    },
    /// A key of a kind that only relays with other software have.
    #[error("{0} key: expected ed25519:")]
    NotEd25519(&'static str),
}

/// `SEQUENCE { SEQUENCE { id-Ed25519 }, BIT STRING }` up to the key (RFC 8410 section 4).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

impl Ed25519Key {
    /// The key with these octets.
    ///
    /// # Errors
    /// [`BadKey::Octets`] when they encode no point of the curve.
    pub fn new(octets: [u8; 32]) -> Result<Self, BadKey> {
        match ParsedPublicKey::new(&ED25519, octets) {
            Ok(_) => Ok(Self(octets)),
            Err(_) => Err(BadKey::Octets { kind: "ed25519", octets: 32, expected: "a point of Curve25519" }),
        }
    }

    /// The 32 octets of RFC 8032.
    #[must_use]
    pub const fn octets(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        ParsedPublicKey::new(&ED25519, self.0).is_ok_and(|key| key.verify_sig(message, signature).is_ok())
    }
}

impl IdentityKey {
    /// The name of the kind of key, as before the colon.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "ed25519",
            Self::EcdsaP256(_) => "ecdsa-p256",
            Self::EcdsaP384(_) => "ecdsa-p384",
            Self::Rsa(_) => "rsa",
        }
    }

    /// The key as `SubjectPublicKeyInfo` in DER.
    #[must_use]
    pub fn to_spki(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => [&ED25519_SPKI[..], &key.0].concat(),
            Self::EcdsaP256(spki) | Self::EcdsaP384(spki) | Self::Rsa(spki) => spki.0.clone(),
        }
    }

    /// The octets behind the colon.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        match self {
            Self::Ed25519(key) => &key.0,
            Self::EcdsaP256(spki) | Self::EcdsaP384(spki) | Self::Rsa(spki) => &spki.0,
        }
    }
}

impl FromStr for IdentityKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let (kind, encoded) = text.split_once(':').ok_or(BadKey::Kind)?;
        match kind {
            "ed25519" => {
                let octets = decode("ed25519", encoded)?;
                let wrong = BadKey::Octets {
                    kind: "ed25519",
                    octets: octets.len(),
                    expected: "32 octets (RFC 8032)",
                };
                let octets = octets.try_into().map_err(|_| wrong)?;
                Ok(Self::Ed25519(Ed25519Key::new(octets)?))
            }
            "ecdsa-p256" => spki("ecdsa-p256", &ECDSA_P256_SHA256_ASN1, encoded).map(Self::EcdsaP256),
            "ecdsa-p384" => spki("ecdsa-p384", &ECDSA_P384_SHA384_ASN1, encoded).map(Self::EcdsaP384),
            "rsa" => spki("rsa", &RSA_PKCS1_2048_8192_SHA256, encoded).map(Self::Rsa),
            _ => Err(BadKey::Kind),
        }
    }
}

fn decode(kind: &'static str, encoded: &str) -> Result<Vec<u8>, BadKey> {
    STANDARD.decode(encoded).map_err(|_| BadKey::Base64(kind))
}

fn spki(
    kind: &'static str,
    algorithm: &'static (impl VerificationAlgorithm + 'static),
    encoded: &str,
) -> Result<Spki, BadKey> {
    let octets = decode(kind, encoded)?;
    // aws-lc takes bare points and RSAPublicKey too, which do not say what they are.
    let sequence = octets.len() > 64 && octets[0] == 0x30 && has_algorithm(kind, &octets);
    if sequence && ParsedPublicKey::new(algorithm, &octets).is_ok() {
        Ok(Spki(octets))
    } else {
        let expected = "a SubjectPublicKeyInfo of a key of that kind, in DER";
        Err(BadKey::Octets { kind, octets: octets.len(), expected })
    }
}

/// Whether the object identifier of the algorithm is near the beginning.
fn has_algorithm(kind: &str, octets: &[u8]) -> bool {
    // id-ecPublicKey (RFC 5480) or rsaEncryption (RFC 8017)
    let identifier: &[u8] = if kind == "rsa" {
        &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01]
    } else {
        &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]
    };
    octets[..24.min(octets.len())].windows(identifier.len()).any(|window| window == identifier)
}

impl FromStr for Ed25519Key {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        match text.parse()? {
            IdentityKey::Ed25519(key) => Ok(key),
            other => Err(BadKey::NotEd25519(other.kind())),
        }
    }
}

impl TryFrom<String> for IdentityKey {
    type Error = BadKey;

    fn try_from(text: String) -> Result<Self, BadKey> {
        text.parse()
    }
}

impl TryFrom<String> for Ed25519Key {
    type Error = BadKey;

    fn try_from(text: String) -> Result<Self, BadKey> {
        text.parse()
    }
}

impl From<IdentityKey> for String {
    fn from(key: IdentityKey) -> Self {
        key.to_string()
    }
}

impl From<Ed25519Key> for String {
    fn from(key: Ed25519Key) -> Self {
        key.to_string()
    }
}

impl From<Ed25519Key> for IdentityKey {
    fn from(key: Ed25519Key) -> Self {
        Self::Ed25519(key)
    }
}

impl fmt::Display for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind(), STANDARD.encode(self.octets()))
    }
}

impl fmt::Display for Ed25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Ed25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Spki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(&self.0))
    }
}
