//! What headers leave of a link for those who use it.

/// Octets that netem counts of a frame beside its IP packet: the Ethernet header.
const ETHERNET_HEADER: u32 = 14;
/// Octets of the IPv4 and TCP headers, and of the timestamps that every segment carries.
pub const TCP_HEADERS: u32 = 20 + 20 + 12;

/// The most payload of TCP, in the unit of `rate`, that goes over a link with packets of `mtu` octets which are
/// `wire` octets long there, with all that is around them up to the IP header.
#[must_use]
pub fn tcp_limit(rate: f64, mtu: u32, wire: u32) -> f64 {
    rate * f64::from(mtu - TCP_HEADERS) / f64::from(wire + ETHERNET_HEADER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_link_is_less_its_headers() {
        assert!((tcp_limit(10.0, 1500, 1500) - 9.5641).abs() < 5e-5);
    }
}
