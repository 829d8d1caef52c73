//! NAT detection (RFC 7296 §2.23).

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use crate::ike::wire::IkeSpi;

/// What an end that believes to be at `address` puts into its NAT_DETECTION notification:
/// `SHA1(SPIi | SPIr | IP | port)`.
#[must_use]
pub fn nat_detection_hash(initiator_spi: IkeSpi, responder_spi: IkeSpi, address: SocketAddr) -> [u8; 20] {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(&initiator_spi.0.to_be_bytes());
    context.update(&responder_spi.0.to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => context.update(&ip.octets()),
        IpAddr::V6(ip) => context.update(&ip.octets()),
    }
    context.update(&address.port().to_be_bytes());
    context.finish().as_ref().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::KeyMaterial;

    /// As Python's `hashlib` has it.
    #[test]
    fn the_hash_is_over_spis_address_and_port() {
        for (address, expected) in [
            ("192.0.2.1:500", "7382fc0a797574a3274c755f37b3852b7394b414"),
            ("[2001:db8::1]:4500", "0e47d8075ac895ac341ac27d9f35d5d5a3391d76"),
        ] {
            let hash = nat_detection_hash(
                IkeSpi(0x0102_0304_0506_0708),
                IkeSpi(0xa1a2_a3a4_a5a6_a7a8),
                address.parse().unwrap(),
            );
            assert_eq!(hash, KeyMaterial::from_hex(expected).unwrap().expose(), "{address}");
        }
    }
}
