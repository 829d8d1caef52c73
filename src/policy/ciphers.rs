//! Cipher policies: what is offered and accepted, in the order of preference.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use crate::ike::crypto::{Encryption, Integrity, Prf};
use crate::ike::wire::KeMethod;
use crate::suite::Suite;

/// What is offered and accepted in IKE, in the order of preference.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CipherPolicy {
    /// Suites of the ESP SAs; never empty, never [`Suite::DangerNull`].
    #[serde(default = "default_esp", deserialize_with = "esp")]
    pub esp: Vec<Suite>,
    /// Suites of the IKE SAs; never empty.
    #[serde(default = "default_ike", deserialize_with = "some")]
    pub ike: Vec<IkeCipher>,
    /// Key exchange methods; never empty.
    #[serde(default = "default_key_exchange", deserialize_with = "some")]
    pub key_exchange: Vec<KeyExchangeMethod>,
    /// Whether ML-KEM-768 is added to the key exchange (RFC 9370).
    #[serde(default)]
    pub post_quantum: PostQuantum,
}

/// Encryption, integrity and pseudo-random function of an IKE SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, Serialize)]
pub enum IkeCipher {
    /// AES-GCM with a 128-bit key (RFC 5282), PRF HMAC-SHA2-256.
    #[serde(rename = "aes-gcm-128-sha256")]
    AesGcm128Sha256,
    /// AES-GCM with a 256-bit key (RFC 5282), PRF HMAC-SHA2-384.
    #[serde(rename = "aes-gcm-256-sha384")]
    AesGcm256Sha384,
    /// ChaCha20-Poly1305 (RFC 7634), PRF HMAC-SHA2-256.
    #[serde(rename = "chacha20-poly1305-sha256")]
    ChaCha20Poly1305Sha256,
    /// AES-CBC with a 128-bit key, integrity and PRF HMAC-SHA2-256 (RFC 4868).
    #[serde(rename = "aes-cbc-128-sha256")]
    AesCbc128Sha256,
    /// AES-CBC with a 256-bit key, integrity and PRF HMAC-SHA2-384 (RFC 4868).
    #[serde(rename = "aes-cbc-256-sha384")]
    AesCbc256Sha384,
}

/// A key exchange method of IKEv2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyExchangeMethod {
    /// Curve25519 (RFC 8031).
    X25519,
    /// NIST P-256 (RFC 5903).
    P256,
    /// NIST P-384 (RFC 5903).
    P384,
}

/// Whether ML-KEM-768 is an additional key exchange: `true`, `false` or `required` in files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PostQuantum {
    /// Offered first; the peer may do without. Who changes that on the way is found out by AUTH.
    #[default]
    Preferred,
    /// Peers without it are refused.
    Required,
    /// Not offered.
    Off,
}

/// Where a cipher policy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CipherSource {
    /// In a file of its own.
    File(PathBuf),
    /// Here.
    Inline(CipherPolicy),
}

impl IkeCipher {
    /// What it stands for.
    #[must_use]
    pub const fn algorithms(self) -> (Encryption, Option<Integrity>, Prf) {
        match self {
            Self::AesGcm128Sha256 => (Encryption::AesGcm128, None, Prf::HmacSha256),
            Self::AesGcm256Sha384 => (Encryption::AesGcm256, None, Prf::HmacSha384),
            Self::ChaCha20Poly1305Sha256 => (Encryption::ChaCha20Poly1305, None, Prf::HmacSha256),
            Self::AesCbc128Sha256 => {
                (Encryption::AesCbc128, Some(Integrity::HmacSha256_128), Prf::HmacSha256)
            }
            Self::AesCbc256Sha384 => {
                (Encryption::AesCbc256, Some(Integrity::HmacSha384_192), Prf::HmacSha384)
            }
        }
    }
}

impl KeyExchangeMethod {
    /// The method on the wire.
    #[must_use]
    pub const fn method(self) -> KeMethod {
        match self {
            Self::X25519 => KeMethod::X25519,
            Self::P256 => KeMethod::P256,
            Self::P384 => KeMethod::P384,
        }
    }
}

impl Default for CipherPolicy {
    fn default() -> Self {
        Self {
            esp: default_esp(),
            ike: default_ike(),
            key_exchange: default_key_exchange(),
            post_quantum: PostQuantum::default(),
        }
    }
}

fn default_esp() -> Vec<Suite> {
    vec![Suite::AesGcm128, Suite::AesGcm256, Suite::ChaCha20Poly1305]
}

fn default_ike() -> Vec<IkeCipher> {
    vec![IkeCipher::AesGcm256Sha384, IkeCipher::AesGcm128Sha256, IkeCipher::ChaCha20Poly1305Sha256]
}

fn default_key_exchange() -> Vec<KeyExchangeMethod> {
    vec![KeyExchangeMethod::X25519, KeyExchangeMethod::P256, KeyExchangeMethod::P384]
}

/// A list of different things, at least one.
fn some<'de, D: Deserializer<'de>, T: Deserialize<'de> + PartialEq>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let list = Vec::<T>::deserialize(deserializer)?;
    if list.is_empty() {
        return Err(de::Error::custom("empty list: expected at least one"));
    }
    if list.iter().enumerate().any(|(at, item)| list[..at].contains(item)) {
        return Err(de::Error::custom("the same twice in a list: expected each once"));
    }
    Ok(list)
}

fn esp<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Suite>, D::Error> {
    let list = some(deserializer)?;
    if list.contains(&Suite::DangerNull) {
        return Err(de::Error::custom("danger-null protects nothing: expected a cipher"));
    }
    Ok(list)
}

impl<'de> Deserialize<'de> for PostQuantum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choice;
        impl Visitor<'_> for Choice {
            type Value = PostQuantum;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or required")
            }

            fn visit_bool<E: de::Error>(self, wanted: bool) -> Result<PostQuantum, E> {
                Ok(if wanted { PostQuantum::Preferred } else { PostQuantum::Off })
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PostQuantum, E> {
                match text {
                    "required" => Ok(PostQuantum::Required),
                    _ => Err(E::custom(format!("post_quantum {text:?}: expected true, false or required"))),
                }
            }
        }
        deserializer.deserialize_any(Choice)
    }
}

impl<'de> Deserialize<'de> for CipherSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Source;
        impl<'de> Visitor<'de> for Source {
            type Value = CipherSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of a file, or a cipher policy")
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<CipherSource, E> {
                Ok(CipherSource::File(path.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CipherSource, A::Error> {
                CipherPolicy::deserialize(MapAccessDeserializer::new(map)).map(CipherSource::Inline)
            }
        }
        deserializer.deserialize_any(Source)
    }
}
