//! What an exit lets out.

use ipnet::IpNet;

/// Addresses that are nobody's on the public internet (IANA special-purpose registries, RFC 6890), which an
/// exit refuses unless told otherwise, so that no client reaches the networks around the exit.
const SPECIAL: [&str; 16] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::1/128",
    "::ffff:0:0/96",
    "64:ff9b:1::/48",
    "100::/64",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
];

/// What leaves the overlay at an exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitPolicy {
    /// Destinations refused.
    pub reject: Vec<IpNet>,
    /// TCP ports allowed, or `None` for all.
    pub tcp_ports: Option<Vec<(u16, u16)>>,
    /// UDP ports allowed, or `None` for all.
    pub udp_ports: Option<Vec<(u16, u16)>>,
}

impl Default for ExitPolicy {
    fn default() -> Self {
        let reject = SPECIAL.iter().filter_map(|prefix| prefix.parse().ok()).collect();
        Self { reject, tcp_ports: None, udp_ports: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_prefix_is_read() {
        assert_eq!(ExitPolicy::default().reject.len(), SPECIAL.len());
    }
}
