//! How large a packet may be inside a telescope.

use std::net::IpAddr;

use crate::id::Mtu;
use crate::suite::Suite;

/// What a client's interface gets when it fits: the least that IPv6 needs.
pub const DEFAULT: Mtu = Mtu::IPV6_MINIMUM;

/// One tunnel around a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// Its suite.
    pub suite: Suite,
    /// The octets of its outer IP header (and UDP header, with UDP encapsulation).
    pub outer_header: u32,
}

impl Layer {
    /// A tunnel to `destination`.
    #[must_use]
    pub const fn to(destination: IpAddr, suite: Suite, in_udp: bool) -> Self {
        let ip = if destination.is_ipv4() { 20 } else { 40 };
        Self { suite, outer_header: if in_udp { ip + 8 } else { ip } }
    }
}

/// An MTU that the path or the traffic does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DoesNotFit {
    /// Larger than what the path carries with all layers around it.
    #[error("mtu {asked}: expected at most {room}, which {layers} layers leave of a path of {path}")]
    Path {
        /// The MTU asked for.
        asked: Mtu,
        /// What fits.
        room: u32,
        /// How many layers there are.
        layers: usize,
        /// The MTU of the path.
        path: Mtu,
    },
    /// Too small for IPv6 inside.
    #[error(
        "mtu {found} is below 1280, which IPv6 needs (RFC 8200 section 5): expected fewer hops, a smaller suite, or no IPv6 address"
    )]
    Ipv6 {
        /// The MTU.
        found: u32,
    },
}

/// Octets on the wire of an `inner` packet within `layers`, innermost first.
#[must_use]
pub fn wire_size(inner: u32, layers: &[Layer]) -> u32 {
    layers.iter().fold(inner, |size, layer| layer.suite.tunnel_size(size, layer.outer_header))
}

/// The largest packet that fits a path within `layers`, innermost first; 0 when none does.
#[must_use]
pub fn room(path: Mtu, layers: &[Layer]) -> u32 {
    layers
        .iter()
        .rev()
        .try_fold(path.get(), |size, layer| layer.suite.tunnel_room(size, layer.outer_header))
        .unwrap_or(0)
}

/// The MTU of a circuit's interface.
///
/// # Errors
/// [`DoesNotFit`] when `asked` is too large for the path, or the result too small for IPv6 that is wanted.
pub fn of_circuit(
    asked: Option<Mtu>,
    path: Mtu,
    layers: &[Layer],
    ipv6_inside: bool,
) -> Result<Mtu, DoesNotFit> {
    let room = room(path, layers);
    let chosen = asked.map_or(DEFAULT.get().min(room), Mtu::get);
    let mtu = Mtu::try_from(chosen).unwrap_or(Mtu::IPV4_MINIMUM);
    if mtu.get() > room {
        return Err(DoesNotFit::Path { asked: mtu, room, layers: layers.len(), path });
    }
    if ipv6_inside && mtu < Mtu::IPV6_MINIMUM {
        return Err(DoesNotFit::Ipv6 { found: mtu.get() });
    }
    Ok(mtu)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(suite: Suite, count: usize) -> Vec<Layer> {
        vec![Layer { suite, outer_header: 20 }; count]
    }

    /// Sizes read from captures of the kernel: three layers between client and entry, and between entry and
    /// middle (two layers and the overlay); two between middle and exit.
    #[test]
    fn sizes_are_those_measured_on_the_wire() {
        use Suite::{AesCbc128HmacSha1, AesGcm128, AesGcm256, ChaCha20Poly1305};
        for (suite, inner, client_entry, middle_exit) in [
            (AesGcm128, 1212, 1380, 1324),
            (AesGcm256, 1212, 1380, 1324),
            (ChaCha20Poly1305, 1212, 1380, 1324),
            (AesCbc128HmacSha1, 1212, 1400, 1336),
            (AesGcm128, 64, 232, 176),
            (AesCbc128HmacSha1, 64, 264, 200),
        ] {
            assert_eq!(wire_size(inner, &layers(suite, 3)), client_entry, "{suite} {inner}");
            assert_eq!(wire_size(inner, &layers(suite, 2)), middle_exit, "{suite} {inner}");
        }
    }

    #[test]
    fn the_largest_inner_packet_is_the_one_measured() {
        use Suite::{AesCbc128HmacSha1, AesCbc128HmacSha256, AesGcm128, ChaCha20Poly1305, DangerNull};
        for (suite, room_of_three) in [
            (AesGcm128, 1334),
            (ChaCha20Poly1305, 1334),
            (AesCbc128HmacSha1, 1310),
            (AesCbc128HmacSha256, 1310),
            (DangerNull, 1406),
        ] {
            let three = layers(suite, 3);
            let found = room(Mtu::ETHERNET, &three);
            assert_eq!(found, room_of_three, "{suite}");
            assert!(wire_size(found, &three) <= 1500 && wire_size(found + 1, &three) > 1500, "{suite}");
        }
    }

    #[test]
    fn ipv6_outer_headers_leave_less_than_ipv6_needs_inside() {
        let v6 = vec![Layer { suite: Suite::AesGcm128, outer_header: 40 }; 3];
        assert_eq!(room(Mtu::ETHERNET, &v6), 1274);
        assert_eq!(of_circuit(None, Mtu::ETHERNET, &v6, true), Err(DoesNotFit::Ipv6 { found: 1274 }));
        assert_eq!(of_circuit(None, Mtu::ETHERNET, &v6, false).unwrap().get(), 1274);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let three = layers(Suite::AesGcm128, 3);
        let asked = Mtu::try_from(1335).ok();
        let text = of_circuit(asked, Mtu::ETHERNET, &three, false).unwrap_err().to_string();
        assert_eq!(text, "mtu 1335: expected at most 1334, which 3 layers leave of a path of 1500");
        assert_eq!(of_circuit(None, Mtu::ETHERNET, &three, true).unwrap(), DEFAULT);
    }
}
