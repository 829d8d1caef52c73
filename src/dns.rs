//! Name servers that exits tell their clients of (RFC 7296 §3.15.1, `INTERNAL_IP4_DNS` and `INTERNAL_IP6_DNS`).

use std::net::IpAddr;

/// The most name servers of one exit: a resolver asks no more of `resolv.conf` (`MAXNS` in `resolv.h`).
pub const MOST: usize = 3;

/// Whether a question to this address can leave at an exit at all, and goes to one host.
#[must_use]
pub fn is_usable(server: IpAddr) -> bool {
    match server {
        IpAddr::V4(v4) => {
            !(v4.is_loopback()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_link_local()
                || v4.is_broadcast())
        }
        IpAddr::V6(v6) => {
            // a mapped address would be asked over IPv4, past whatever was decided about IPv6
            let mapped = v6.to_ipv4_mapped().is_some();
            !(v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
                || mapped)
        }
    }
}

/// What came of a list of name servers that somebody else made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sifted {
    /// The first [`MOST`] that are of use, each once.
    pub usable: Vec<IpAddr>,
    /// The others.
    pub ignored: Vec<IpAddr>,
}

/// Takes what is of use out of a list.
#[must_use]
pub fn sift(given: &[IpAddr]) -> Sifted {
    let mut sifted = Sifted::default();
    for server in given.iter().copied() {
        let known = sifted.usable.contains(&server);
        if !known && is_usable(server) && sifted.usable.len() < MOST {
            sifted.usable.push(server);
        } else if !known {
            sifted.ignored.push(server);
        }
    }
    sifted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn hosts_on_the_way_to_nowhere_are_not_asked() {
        for good in ["9.9.9.9", "10.0.0.53", "2620:fe::fe", "fd00::53"] {
            assert!(is_usable(good.parse().unwrap()), "{good}");
        }
        for bad in [
            "127.0.0.53",
            "0.0.0.0",
            "224.0.0.251",
            "169.254.1.1",
            "255.255.255.255",
            "::1",
            "::",
            "ff02::fb",
            "fe80::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(!is_usable(bad.parse().unwrap()), "{bad}");
        }
    }

    #[test]
    fn the_first_few_of_use_are_taken_each_once() {
        let sifted = sift(&list(&[
            "127.0.0.1",
            "9.9.9.9",
            "9.9.9.9",
            "1.1.1.1",
            "ff02::fb",
            "2620:fe::fe",
            "8.8.8.8",
        ]));
        assert_eq!(sifted.usable, list(&["9.9.9.9", "1.1.1.1", "2620:fe::fe"]));
        assert_eq!(sifted.ignored, list(&["127.0.0.1", "ff02::fb", "8.8.8.8"]));
    }
}
