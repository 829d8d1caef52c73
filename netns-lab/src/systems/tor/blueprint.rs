//! What a private Tor network is a function of: the part of it that takes time to come to be, and is kept.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::settings::{CongestionControl, Settings};
use super::{TorError, torrc};
use crate::topology::Topology;

/// Relays and what their authority has them all do. Delays, rates and clients are no part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Blueprint {
    /// In the topology's order; the first is the directory authority too.
    pub(super) relays: Vec<Relay>,
    /// Parameters of the consensus.
    pub(super) params: BTreeMap<String, u32>,
}

/// A relay as others know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Relay {
    /// Its node.
    pub(super) name: String,
    /// Where it listens.
    pub(super) address: Ipv4Addr,
    /// Whether streams may leave there.
    pub(super) exit: bool,
}

impl Blueprint {
    /// That of a topology's relays.
    pub(super) fn new(settings: &Settings, topology: &Topology) -> Result<Self, TorError> {
        let relays: Vec<Relay> = topology
            .relays()
            .filter_map(|(id, relay)| {
                let (_, here, _) = topology.ends_of(id).next()?;
                let name = topology.node(id).name.clone();
                Some(Relay { name, address: here.address4.addr(), exit: relay.exit })
            })
            .collect();
        if relays.is_empty() {
            return Err(TorError::NoRelays(topology.name.clone()));
        }
        Ok(Self { relays, params: params(settings)? })
    }

    /// What a state of this network is kept under: another Tor, other relays or another configuration of ours each
    /// have their own.
    pub(super) fn key(&self, version: &str) -> String {
        let configuration = torrc::shape(self);
        let parts = [version, &serde_json::to_string(self).unwrap_or_default(), &configuration].join("\0");
        let bytes = digest(&SHA256, parts.as_bytes());
        let hex: String = bytes.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("{version}-{hex}")
    }
}

/// What the authority votes for. Relays follow the consensus in these, whatever their own configuration.
fn params(settings: &Settings) -> Result<BTreeMap<String, u32>, TorError> {
    let mut params = vec![
        // No padding on idle connections, and none to hide how circuits are set up: bytes that no client asked for,
        // at random times.
        ("nf_ito_low", 0),
        ("nf_ito_high", 0),
        ("circpad_padding_disabled", 1),
        // A circuit is one path.
        ("cfx_enabled", 0),
    ];
    match settings.congestion_control {
        CongestionControl::Vegas => params.push(("cc_alg", 2)),
        CongestionControl::Off if settings.window_is_valid() => {
            params.extend([("cc_alg", 0), ("circwindow", u32::from(settings.window))]);
        }
        CongestionControl::Off => return Err(TorError::Window(settings.window)),
    }
    Ok(params.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(settings: &Settings, relays: usize) -> Blueprint {
        Blueprint::new(settings, &Topology::chain(relays).unwrap()).unwrap()
    }

    #[test]
    fn a_network_is_its_relays_and_parameters() {
        let blueprint = of(&Settings::default(), 3);
        let names: Vec<&str> = blueprint.relays.iter().map(|relay| relay.name.as_str()).collect();
        assert_eq!(names, ["relay1", "relay2", "relay3"]);
        assert_eq!(blueprint.relays.iter().map(|relay| relay.exit).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!(blueprint.params.get("cc_alg"), Some(&2));
    }

    #[test]
    fn what_makes_another_network_makes_another_key() {
        let best = Settings::default();
        let key = |settings: &Settings, relays, version| of(settings, relays).key(version);
        let first = key(&best, 3, "0.4.9.11");
        assert!(first.starts_with("0.4.9.11-"), "{first}");
        assert_eq!(first, key(&best, 3, "0.4.9.11"));
        let clients = Settings { scheduler: super::super::settings::Scheduler::Vanilla, ..best.clone() };
        assert_eq!(first, key(&clients, 3, "0.4.9.11"), "the scheduler is no matter of the consensus");
        let windows = [100, 1000].map(|window| Settings {
            congestion_control: CongestionControl::Off,
            window,
            ..best.clone()
        });
        let mut others = vec![first, key(&best, 4, "0.4.9.11"), key(&best, 3, "0.4.9.12")];
        others.extend(windows.iter().map(|settings| key(settings, 3, "0.4.9.11")));
        others.sort();
        others.dedup();
        assert_eq!(others.len(), 5);
    }

    #[test]
    fn tor_knows_windows_from_100_to_1000() {
        for (window, good) in [(99, false), (100, true), (1000, true), (1001, false)] {
            let settings =
                Settings { congestion_control: CongestionControl::Off, window, ..Settings::default() };
            let made = Blueprint::new(&settings, &Topology::chain(3).unwrap());
            assert_eq!(made.is_ok(), good, "{window}");
        }
    }
}
