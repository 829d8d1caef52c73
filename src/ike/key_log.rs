//! Keys in the form of Wireshark's tables (`uat` files of its profiles), for looking at what went over a wire.
//!
//! Whoever has a line reads everything under its keys. Algorithms without a name in those tables give no line.

use std::fmt::Write as _;
use std::net::IpAddr;

use zeroize::Zeroizing;

use super::crypto::{Encryption, Integrity};
use super::event::{ChildKeys, DirectionKeys};
use super::sa::Generation;
use crate::suite::{Suite, Transform};

/// A line of `ikev2_decryption_table`: SPIs, `SK_ei`, `SK_er`, the cipher, `SK_ai`, `SK_ar`, the integrity
/// algorithm.
pub(super) fn ike(sa: &Generation) -> Option<Zeroizing<String>> {
    let keys = sa.keys.danger_keys();
    let cipher = match sa.suite.encryption {
        Encryption::AesGcm128 => "AES-GCM-128 with 16 octet ICV [RFC5282]",
        Encryption::AesGcm256 => "AES-GCM-256 with 16 octet ICV [RFC5282]",
        Encryption::AesCbc128 => "AES-CBC-128 [RFC3602]",
        Encryption::AesCbc256 => "AES-CBC-256 [RFC3602]",
        Encryption::ChaCha20Poly1305 => return None,
    };
    let integrity = match sa.suite.integrity {
        None => "NONE [RFC4306]",
        Some(Integrity::HmacSha1_96) => "HMAC_SHA1_96 [RFC2404]",
        Some(Integrity::HmacSha256_128) => "HMAC_SHA2_256_128 [RFC4868]",
        Some(Integrity::HmacSha384_192) => "HMAC_SHA2_384_192 [RFC4868]",
        Some(Integrity::HmacSha512_256) => "HMAC_SHA2_512_256 [RFC4868]",
    };
    Some(Zeroizing::new(format!(
        "{:016x},{:016x},{},{},\"{cipher}\",{},{},\"{integrity}\"",
        sa.initiator_spi.0,
        sa.responder_spi.0,
        *hex(keys.ei),
        *hex(keys.er),
        *hex(keys.ai),
        *hex(keys.ar),
    )))
}

/// The two lines of `esp_sa` of a child SA, inbound first: addresses, SPI, cipher and its key, integrity
/// algorithm and its key.
pub(super) fn esp(keys: &ChildKeys) -> Vec<Zeroizing<String>> {
    let (local, remote) = (keys.path.local.ip(), keys.path.remote.ip());
    let inbound = esp_line(keys.suite, remote, local, &keys.inbound_keys);
    let outbound = esp_line(keys.suite, local, remote, &keys.outbound_keys);
    inbound.into_iter().chain(outbound).collect()
}

fn esp_line(suite: Suite, from: IpAddr, to: IpAddr, keys: &DirectionKeys) -> Option<Zeroizing<String>> {
    let (cipher, auth) = match suite {
        Suite::AesGcm128 | Suite::AesGcm256 => ("AES-GCM with 16 octet ICV [RFC4106]", "NULL"),
        Suite::AesCbc128HmacSha1 => ("AES-CBC [RFC3602]", "HMAC-SHA-1-96 [RFC2404]"),
        Suite::AesCbc128HmacSha256 => ("AES-CBC [RFC3602]", "HMAC-SHA-256-128 [RFC4868]"),
        Suite::DangerNull => ("NULL", "NULL"),
        Suite::ChaCha20Poly1305 => return None,
    };
    let cipher_octets = match suite.transform() {
        Transform::Aead { key, .. } => key,
        Transform::CipherAndAuth { cipher_key, .. } => cipher_key,
    };
    let (key, auth_key) = keys.key.expose().split_at_checked(cipher_octets)?;
    let shown = |key: &[u8]| {
        if key.is_empty() { Zeroizing::default() } else { Zeroizing::new(format!("0x{}", *hex(key))) }
    };
    let family = if from.is_ipv4() { "IPv4" } else { "IPv6" };
    Some(Zeroizing::new(format!(
        "\"{family}\",\"{from}\",\"{to}\",\"0x{:08x}\",\"{cipher}\",\"{}\",\"{auth}\",\"{}\"",
        keys.spi.get(),
        *shown(key),
        *shown(auth_key),
    )))
}

fn hex(octets: &[u8]) -> Zeroizing<String> {
    // Room for all of it at once: a string that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(octets.len() * 2));
    for octet in octets {
        let _ = write!(text, "{octet:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Spi;
    use crate::secret::KeyMaterial;

    fn line(suite: Suite) -> Option<String> {
        let key = KeyMaterial::new((0..suite.key_length()).map(|n| u8::try_from(n).unwrap()).collect());
        let keys = DirectionKeys { spi: Spi::try_from(0x1234).unwrap(), key };
        let line = esp_line(suite, "192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap(), &keys);
        line.map(|line| line.to_string())
    }

    #[test]
    fn an_esp_line_has_what_wireshark_wants() {
        assert_eq!(
            line(Suite::AesGcm128).unwrap(),
            "\"IPv4\",\"192.0.2.1\",\"192.0.2.2\",\"0x00001234\",\"AES-GCM with 16 octet ICV [RFC4106]\",\
             \"0x000102030405060708090a0b0c0d0e0f10111213\",\"NULL\",\"\"",
        );
        assert_eq!(
            line(Suite::AesCbc128HmacSha1).unwrap(),
            "\"IPv4\",\"192.0.2.1\",\"192.0.2.2\",\"0x00001234\",\"AES-CBC [RFC3602]\",\
             \"0x000102030405060708090a0b0c0d0e0f\",\"HMAC-SHA-1-96 [RFC2404]\",\
             \"0x101112131415161718191a1b1c1d1e1f20212223\"",
        );
        assert_eq!(line(Suite::ChaCha20Poly1305), None);
    }
}
