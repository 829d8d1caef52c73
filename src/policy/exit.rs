//! What leaves at an exit, and which name servers its clients are told of.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use crate::dns;
use crate::form::{AddressForm, PortRange, PrefixForm, prefixes, ranges};
use crate::telescope::ExitPolicy;

/// The exit of a relay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Form")]
pub struct Exit {
    /// What leaves.
    pub leaving: ExitPolicy,
    /// Name servers that clients are told of, at most [`dns::MOST`]; every one can be reached from here.
    pub dns: Vec<IpAddr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    reject: Option<Vec<PrefixForm>>,
    tcp_ports: Option<Vec<PortRange>>,
    udp_ports: Option<Vec<PortRange>>,
    #[serde(default)]
    dns: Vec<AddressForm>,
}

/// Where name servers listen (RFC 1035 §4.2).
const DOMAIN: u16 = 53;

/// Name servers that clients could not ask.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum BadNameServers {
    #[error("dns: found {0} name servers, expected at most {most}, for no resolver asks more", most = dns::MOST)]
    TooMany(usize),
    #[error("dns {0}: expected the address of one host, neither loopback, link-local nor multicast")]
    Unusable(IpAddr),
    #[error("dns {0} is there twice: expected it once")]
    Twice(IpAddr),
    #[error("dns {server}: found {reject} in reject, expected an address that leaves here")]
    Rejected { server: IpAddr, reject: IpNet },
    #[error("dns: found no port {DOMAIN} in udp_ports, expected it, for name servers are asked there")]
    NoPort,
}

impl TryFrom<Form> for Exit {
    type Error = BadNameServers;

    fn try_from(form: Form) -> Result<Self, BadNameServers> {
        let leaving = ExitPolicy {
            reject: form.reject.map_or(ExitPolicy::default().reject, prefixes),
            tcp_ports: ranges(form.tcp_ports),
            udp_ports: ranges(form.udp_ports),
        };
        let dns: Vec<IpAddr> = form.dns.into_iter().map(|AddressForm(address)| address).collect();
        check(&leaving, &dns)?;
        Ok(Self { leaving, dns })
    }
}

fn check(leaving: &ExitPolicy, servers: &[IpAddr]) -> Result<(), BadNameServers> {
    if servers.len() > dns::MOST {
        return Err(BadNameServers::TooMany(servers.len()));
    }
    for (at, server) in servers.iter().copied().enumerate() {
        if !dns::is_usable(server) {
            return Err(BadNameServers::Unusable(server));
        }
        if servers.iter().take(at).any(|before| *before == server) {
            return Err(BadNameServers::Twice(server));
        }
        if let Some(reject) = leaving.reject.iter().find(|reject| reject.contains(&server)).copied() {
            return Err(BadNameServers::Rejected { server, reject });
        }
    }
    let leaves =
        |ranges: &Vec<(u16, u16)>| ranges.iter().any(|(first, last)| (*first..=*last).contains(&DOMAIN));
    match &leaving.udp_ports {
        Some(ranges) if !servers.is_empty() && !leaves(ranges) => Err(BadNameServers::NoPort),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn name_servers_that_clients_could_not_ask_are_refused() {
        let leaving = ExitPolicy::default();
        for (texts, expected) in [
            (&["9.9.9.9", "1.1.1.1", "8.8.8.8", "8.8.4.4"][..], "found 4 name servers, expected at most 3"),
            (&["127.0.0.53"], "dns 127.0.0.53: expected the address of one host"),
            (&["ff02::fb"], "dns ff02::fb: expected the address of one host"),
            (&["9.9.9.9", "9.9.9.9"], "dns 9.9.9.9 is there twice"),
            (&["10.0.0.53"], "dns 10.0.0.53: found 10.0.0.0/8 in reject"),
        ] {
            let error = check(&leaving, &servers(texts)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(check(&leaving, &servers(&["9.9.9.9", "2620:fe::fe"])), Ok(()));
    }

    #[test]
    fn questions_have_to_leave() {
        let leaving = |udp| ExitPolicy { udp_ports: Some(udp), ..ExitPolicy::default() };
        let one = servers(&["9.9.9.9"]);
        assert_eq!(check(&leaving(vec![(443, 443)]), &one), Err(BadNameServers::NoPort));
        assert_eq!(check(&leaving(vec![(443, 443)]), &[]), Ok(()));
        assert_eq!(check(&leaving(vec![(1, 100)]), &one), Ok(()));
    }
}
