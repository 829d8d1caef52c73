//! The algorithms of an IKE SA and their sizes.

use std::fmt;

use crate::ike::wire::KeMethod;

/// How messages are encrypted. The AEAD ciphers have an ICV of 16 octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encryption {
    /// AES-GCM with a 128-bit key (RFC 5282).
    AesGcm128,
    /// AES-GCM with a 256-bit key (RFC 5282).
    AesGcm256,
    /// ChaCha20-Poly1305 (RFC 7634).
    ChaCha20Poly1305,
    /// AES-CBC with a 128-bit key (RFC 3602); needs an [`Integrity`].
    AesCbc128,
    /// AES-CBC with a 256-bit key (RFC 3602); needs an [`Integrity`].
    AesCbc256,
}

/// How messages are authenticated when the cipher does not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Integrity {
    /// HMAC-SHA1-96 (RFC 2404).
    HmacSha1_96,
    /// HMAC-SHA2-256-128 (RFC 4868).
    HmacSha256_128,
    /// HMAC-SHA2-384-192 (RFC 4868).
    HmacSha384_192,
    /// HMAC-SHA2-512-256 (RFC 4868).
    HmacSha512_256,
}

/// The pseudo-random function that keys are derived with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prf {
    /// HMAC-SHA1 (RFC 2104).
    HmacSha1,
    /// HMAC-SHA2-256 (RFC 4868).
    HmacSha256,
    /// HMAC-SHA2-384 (RFC 4868).
    HmacSha384,
    /// HMAC-SHA2-512 (RFC 4868).
    HmacSha512,
}

/// Everything an IKE SA negotiates (RFC 7296 §3.3.2, RFC 9370 §2.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IkeSuite {
    /// The cipher.
    pub encryption: Encryption,
    /// The integrity algorithm: `Some` exactly when the cipher is no AEAD.
    pub integrity: Option<Integrity>,
    /// The pseudo-random function.
    pub prf: Prf,
    /// The key exchange of IKE_SA_INIT.
    pub ke: KeMethod,
    /// The key exchanges after it, `ADDKE1` first, without those agreed to be `NONE`.
    pub additional: Vec<KeMethod>,
}

impl Encryption {
    /// Every cipher, best first.
    pub const ALL: [Self; 5] =
        [Self::AesGcm256, Self::AesGcm128, Self::ChaCha20Poly1305, Self::AesCbc256, Self::AesCbc128];

    /// Transform id of type 1 (IANA, "Transform Type 1 - Encryption Algorithm Transform IDs").
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::AesCbc128 | Self::AesCbc256 => 12,
            Self::AesGcm128 | Self::AesGcm256 => 20,
            Self::ChaCha20Poly1305 => 28,
        }
    }

    /// Value of the Key Length attribute, in bits; ciphers of one key length have none (RFC 7296 §3.3.5).
    #[must_use]
    pub const fn key_length(self) -> Option<u16> {
        match self {
            Self::AesGcm128 | Self::AesCbc128 => Some(128),
            Self::AesGcm256 | Self::AesCbc256 => Some(256),
            Self::ChaCha20Poly1305 => None,
        }
    }

    /// The cipher of a transform, if it is one of ours.
    #[must_use]
    pub fn from_transform(id: u16, key_length: Option<u16>) -> Option<Self> {
        Self::ALL.into_iter().find(|cipher| cipher.id() == id && cipher.key_length() == key_length)
    }

    /// Whether the cipher authenticates as well, so that no [`Integrity`] may go with it.
    #[must_use]
    pub const fn is_aead(self) -> bool {
        matches!(self, Self::AesGcm128 | Self::AesGcm256 | Self::ChaCha20Poly1305)
    }

    /// Octets of `SK_e`: the key, and the salt of 4 octets that AEAD ciphers take (RFC 5282 §7.1).
    #[must_use]
    pub const fn key_octets(self) -> usize {
        match self {
            Self::AesGcm128 => 16 + 4,
            Self::AesGcm256 | Self::ChaCha20Poly1305 => 32 + 4,
            Self::AesCbc128 => 16,
            Self::AesCbc256 => 32,
        }
    }

    /// Octets of the IV at the start of an Encrypted payload.
    #[must_use]
    pub const fn iv_octets(self) -> usize {
        if self.is_aead() { 8 } else { 16 }
    }

    /// The plaintext with its padding is a multiple of this many octets.
    #[must_use]
    pub const fn block_octets(self) -> usize {
        if self.is_aead() { 1 } else { 16 }
    }
}

impl Integrity {
    /// Every algorithm, best first.
    pub const ALL: [Self; 4] =
        [Self::HmacSha256_128, Self::HmacSha384_192, Self::HmacSha512_256, Self::HmacSha1_96];

    /// Transform id of type 3.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::HmacSha1_96 => 2,
            Self::HmacSha256_128 => 12,
            Self::HmacSha384_192 => 13,
            Self::HmacSha512_256 => 14,
        }
    }

    /// The algorithm of a transform id, if it is one of ours.
    #[must_use]
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.id() == id)
    }

    /// Octets of `SK_a`.
    #[must_use]
    pub const fn key_octets(self) -> usize {
        self.prf().output_octets()
    }

    /// Octets of the integrity check value.
    #[must_use]
    pub const fn icv_octets(self) -> usize {
        match self {
            Self::HmacSha1_96 => 12,
            Self::HmacSha256_128 => 16,
            Self::HmacSha384_192 => 24,
            Self::HmacSha512_256 => 32,
        }
    }

    /// The function whose output is truncated.
    #[must_use]
    pub const fn prf(self) -> Prf {
        match self {
            Self::HmacSha1_96 => Prf::HmacSha1,
            Self::HmacSha256_128 => Prf::HmacSha256,
            Self::HmacSha384_192 => Prf::HmacSha384,
            Self::HmacSha512_256 => Prf::HmacSha512,
        }
    }
}

impl Prf {
    /// Every function, best first.
    pub const ALL: [Self; 4] = [Self::HmacSha256, Self::HmacSha384, Self::HmacSha512, Self::HmacSha1];

    /// Transform id of type 2.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::HmacSha1 => 2,
            Self::HmacSha256 => 5,
            Self::HmacSha384 => 6,
            Self::HmacSha512 => 7,
        }
    }

    /// The function of a transform id, if it is one of ours.
    #[must_use]
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|function| function.id() == id)
    }

    /// Octets of its output, which is also the size of its preferred key (RFC 4868 §2.1.2) and so that of
    /// `SK_d`, `SK_pi` and `SK_pr`.
    #[must_use]
    pub const fn output_octets(self) -> usize {
        match self {
            Self::HmacSha1 => 20,
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }
}

impl IkeSuite {
    /// Octets of the integrity check value at the end of an Encrypted payload.
    #[must_use]
    pub const fn icv_octets(&self) -> usize {
        match self.integrity {
            Some(integrity) => integrity.icv_octets(),
            None => 16,
        }
    }
}

impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AesGcm128 => "aes-gcm-128",
            Self::AesGcm256 => "aes-gcm-256",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            Self::AesCbc128 => "aes-cbc-128",
            Self::AesCbc256 => "aes-cbc-256",
        })
    }
}

impl fmt::Display for Integrity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HmacSha1_96 => "hmac-sha1-96",
            Self::HmacSha256_128 => "hmac-sha256-128",
            Self::HmacSha384_192 => "hmac-sha384-192",
            Self::HmacSha512_256 => "hmac-sha512-256",
        })
    }
}

impl fmt::Display for Prf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HmacSha1 => "prf-hmac-sha1",
            Self::HmacSha256 => "prf-hmac-sha256",
            Self::HmacSha384 => "prf-hmac-sha384",
            Self::HmacSha512 => "prf-hmac-sha512",
        })
    }
}

/// As in `aes-gcm-256/prf-hmac-sha256/X25519+MLKEM768`.
impl fmt::Display for IkeSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.encryption)?;
        if let Some(integrity) = self.integrity {
            write!(f, "/{integrity}")?;
        }
        write!(f, "/{}/{}", self.prf, self.ke)?;
        self.additional.iter().try_for_each(|method| write!(f, "+{method}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transform_ids_map_both_ways() {
        for cipher in Encryption::ALL {
            assert_eq!(Encryption::from_transform(cipher.id(), cipher.key_length()), Some(cipher));
        }
        for algorithm in Integrity::ALL {
            assert_eq!(Integrity::from_id(algorithm.id()), Some(algorithm));
        }
        for function in Prf::ALL {
            assert_eq!(Prf::from_id(function.id()), Some(function));
        }
    }

    #[test]
    fn a_cipher_needs_the_key_length_it_was_defined_with() {
        assert_eq!(Encryption::from_transform(20, None), None);
        assert_eq!(Encryption::from_transform(20, Some(192)), None);
        assert_eq!(Encryption::from_transform(28, Some(256)), None);
    }
}
