//! Cipher suites of an ESP SA, what the kernel calls them, and what they cost on the wire.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A cipher suite: encryption and integrity of one SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Suite {
    /// AES-GCM with a 128-bit key and a 16-octet ICV (RFC 4106).
    #[serde(rename = "aes-gcm-128")]
    AesGcm128,
    /// AES-GCM with a 256-bit key and a 16-octet ICV (RFC 4106).
    #[serde(rename = "aes-gcm-256")]
    AesGcm256,
    /// ChaCha20-Poly1305 (RFC 7634).
    #[serde(rename = "chacha20-poly1305")]
    ChaCha20Poly1305,
    /// AES-CBC-128 (RFC 3602) with HMAC-SHA1-96 (RFC 2404): what the IPpriv paper used.
    #[serde(rename = "aes-cbc-128-hmac-sha1-96")]
    AesCbc128HmacSha1,
    /// AES-CBC-128 (RFC 3602) with HMAC-SHA256-128 (RFC 4868).
    #[serde(rename = "aes-cbc-128-hmac-sha256-128")]
    AesCbc128HmacSha256,
    /// No encryption and no integrity (RFC 2410): for benchmarks of everything else.
    #[serde(rename = "danger-null")]
    DangerNull,
}

/// How many bits the sequence numbers of an SA have (RFC 4303 §2.2.1). Both ends have to agree, for the upper
/// half is never sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SequenceNumbers {
    /// 64: extended sequence numbers.
    #[default]
    Extended,
    /// 32: the SA has to be replaced before 2^32 packets.
    Short,
}

/// How the kernel's crypto API names and splits a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    /// One algorithm for both (`aead` in iproute2); the salt is the last four octets of the key.
    Aead {
        /// Name in the kernel's crypto API.
        name: &'static str,
        /// Octets of key and salt.
        key: usize,
        /// Bits of the integrity check value.
        icv_bits: u32,
    },
    /// Encryption and integrity by two algorithms (`enc` and `auth-trunc` in iproute2).
    CipherAndAuth {
        /// Name of the cipher.
        cipher: &'static str,
        /// Octets of the cipher's key.
        cipher_key: usize,
        /// Name of the integrity algorithm.
        auth: &'static str,
        /// Octets of its key.
        auth_key: usize,
        /// Bits of the integrity check value on the wire.
        icv_bits: u32,
    },
}

/// Octets that ESP adds around a packet, before the outer IP header (RFC 4303 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    iv: u32,
    block: u32,
    icv: u32,
}

const ESP_HEADER: u32 = 8;
const ESP_TRAILER: u32 = 2;

impl Suite {
    /// Every suite.
    pub const ALL: [Self; 6] = [
        Self::AesGcm128,
        Self::AesGcm256,
        Self::ChaCha20Poly1305,
        Self::AesCbc128HmacSha1,
        Self::AesCbc128HmacSha256,
        Self::DangerNull,
    ];

    /// The name used in files and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesGcm128 => "aes-gcm-128",
            Self::AesGcm256 => "aes-gcm-256",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            Self::AesCbc128HmacSha1 => "aes-cbc-128-hmac-sha1-96",
            Self::AesCbc128HmacSha256 => "aes-cbc-128-hmac-sha256-128",
            Self::DangerNull => "danger-null",
        }
    }

    /// The kernel's algorithms (`xfrm_algo.c` lists the names and ICV lengths it accepts).
    #[must_use]
    pub const fn transform(self) -> Transform {
        match self {
            Self::AesGcm128 => Transform::Aead { name: "rfc4106(gcm(aes))", key: 20, icv_bits: 128 },
            Self::AesGcm256 => Transform::Aead { name: "rfc4106(gcm(aes))", key: 36, icv_bits: 128 },
            Self::ChaCha20Poly1305 => {
                Transform::Aead { name: "rfc7539esp(chacha20,poly1305)", key: 36, icv_bits: 128 }
            }
            Self::AesCbc128HmacSha1 => Transform::CipherAndAuth {
                cipher: "cbc(aes)",
                cipher_key: 16,
                auth: "hmac(sha1)",
                auth_key: 20,
                icv_bits: 96,
            },
            Self::AesCbc128HmacSha256 => Transform::CipherAndAuth {
                cipher: "cbc(aes)",
                cipher_key: 16,
                auth: "hmac(sha256)",
                auth_key: 32,
                icv_bits: 128,
            },
            Self::DangerNull => Transform::CipherAndAuth {
                cipher: "ecb(cipher_null)",
                cipher_key: 0,
                auth: "digest_null",
                auth_key: 0,
                icv_bits: 0,
            },
        }
    }

    /// Octets of key material for one SA: cipher key (with salt), then integrity key (RFC 7296 §2.17).
    #[must_use]
    pub const fn key_length(self) -> usize {
        match self.transform() {
            Transform::Aead { key, .. } => key,
            Transform::CipherAndAuth { cipher_key, auth_key, .. } => cipher_key + auth_key,
        }
    }

    const fn shape(self) -> Shape {
        match self {
            Self::AesGcm128 | Self::AesGcm256 | Self::ChaCha20Poly1305 => Shape { iv: 8, block: 4, icv: 16 },
            Self::AesCbc128HmacSha1 => Shape { iv: 16, block: 16, icv: 12 },
            Self::AesCbc128HmacSha256 => Shape { iv: 16, block: 16, icv: 16 },
            Self::DangerNull => Shape { iv: 0, block: 4, icv: 0 },
        }
    }

    /// Octets of the IP packet that carries an `inner` packet in tunnel mode, with an outer IP header of
    /// `outer_header` octets (20 for IPv4, 40 for IPv6).
    #[must_use]
    pub const fn tunnel_size(self, inner: u32, outer_header: u32) -> u32 {
        let Shape { iv, block, icv } = self.shape();
        outer_header + ESP_HEADER + iv + (inner + ESP_TRAILER).next_multiple_of(block) + icv
    }

    /// The largest packet whose tunnel packet has at most `outer` octets; the inverse of
    /// [`Self::tunnel_size`] (`esp4_get_mtu` in the kernel). `None` when not even an empty one fits.
    #[must_use]
    pub const fn tunnel_room(self, outer: u32, outer_header: u32) -> Option<u32> {
        let Shape { iv, block, icv } = self.shape();
        match outer.checked_sub(outer_header + ESP_HEADER + iv + icv) {
            Some(room) => (room - room % block).checked_sub(ESP_TRAILER),
            None => None,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_the_inverse_of_size() {
        for suite in Suite::ALL {
            for outer in 100..1600 {
                for header in [20, 40] {
                    let Some(room) = suite.tunnel_room(outer, header) else { continue };
                    assert!(suite.tunnel_size(room, header) <= outer, "{suite} {outer}");
                    assert!(suite.tunnel_size(room + 1, header) > outer, "{suite} {outer}");
                }
            }
        }
    }

    #[test]
    fn names_in_files_are_the_names_shown() {
        for suite in Suite::ALL {
            assert_eq!(serde_json::to_value(suite).unwrap(), suite.name());
        }
    }
}
