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
