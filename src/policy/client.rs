//! The client role.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};

use super::relay::Lifetimes;
use super::{default_ciphers, duration};
use crate::form::{CongestionControl, PrefixForm, prefixes};
use crate::id::Mtu;
use crate::network::Name;
use crate::state::RouteMetrics;
use crate::telescope::MAX_HOPS;

/// The client role.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// The address the entries see.
    #[serde(default)]
    pub address: ClientAddress,
    /// MTU of the path to the entries.
    #[serde(default = "ethernet")]
    pub path_mtu: Mtu,
    /// Whether everything that no circuit carries is dropped.
    #[serde(default)]
    pub kill_switch: bool,
    /// Destinations reached outside the circuits even so.
    #[serde(default, deserialize_with = "prefix_list")]
    pub allow: Vec<IpNet>,
    /// Its circuits.
    #[serde(default)]
    pub circuits: Vec<Circuit>,
    /// How long it waits.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// The cipher policy.
    #[serde(default = "default_ciphers")]
    pub ciphers: Name,
    /// How long keys are used.
    #[serde(default)]
    pub lifetimes: Lifetimes,
}

/// The address that the entries see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientAddress {
    /// The one that the kernel's routes choose.
    #[default]
    Auto,
    /// This one.
    Fixed(IpAddr),
}

/// A circuit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "CircuitForm")]
pub struct Circuit {
    /// Tells the client's circuits apart.
    pub name: Name,
    /// The relays it passes.
    pub hops: Hops,
    /// Destinations that go through it; what is sent from its address does so anyway.
    pub traffic: Vec<IpNet>,
    /// The MTU inside, or `None` for 1280 or what fits.
    pub mtu: Option<Mtu>,
    /// Whether it is built again after it failed.
    pub rebuild: Rebuild,
    /// Options of connections through it.
    pub options: RouteMetrics,
}

/// The relays that a circuit passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hops {
    /// These, entry first; 1 to [`MAX_HOPS`].
    Named(Vec<Name>),
    /// This many, chosen at random by weight; 1 to [`MAX_HOPS`].
    Chosen(usize),
}

/// What happens to a circuit that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Rebuild {
    /// It is built again.
    #[default]
    Always,
    /// It stays down.
    Never,
}

/// How long a client waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// For one relay to answer.
    #[serde(deserialize_with = "duration::positive")]
    pub hop: Duration,
    /// For a circuit to be complete.
    #[serde(deserialize_with = "duration::positive")]
    pub circuit: Duration,
    /// Silence after which a relay is asked whether it is still there (RFC 7296 section 2.4).
    #[serde(deserialize_with = "duration::positive")]
    pub silence: Duration,
    /// For a relay of a complete circuit to answer that, or anything else, before it counts as dead.
    #[serde(deserialize_with = "duration::positive")]
    pub dead: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            hop: Duration::from_secs(20),
            circuit: Duration::from_secs(60),
            silence: Duration::from_secs(10),
            dead: Duration::from_secs(20),
        }
    }
}

const fn ethernet() -> Mtu {
    Mtu::ETHERNET
}

fn prefix_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    Vec::<PrefixForm>::deserialize(deserializer).map(prefixes)
}

impl<'de> Deserialize<'de> for ClientAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let refused =
            |_| de::Error::custom(format!("{text:?}: expected auto, or an IP address such as 198.51.100.2"));
        text.parse().map(Self::Fixed).map_err(refused)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CircuitForm {
    name: Name,
    hops: Option<Vec<Name>>,
    length: Option<usize>,
    #[serde(default, deserialize_with = "prefix_list")]
    traffic: Vec<IpNet>,
    mtu: Option<Mtu>,
    #[serde(default = "yes")]
    rebuild: bool,
    #[serde(default)]
    options: OptionsForm,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct OptionsForm {
    advmss: Option<u32>,
    initcwnd: Option<u32>,
    congestion_control: Option<CongestionControl>,
}

const fn yes() -> bool {
    true
}

/// Relays of a circuit that says nothing about them.
const USUAL_LENGTH: usize = 3;

/// Why a circuit makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum BadCircuit {
    #[error("circuit {circuit}: hops and length: expected one of them")]
    HopsAndLength { circuit: Name },
    #[error(
        "circuit {circuit}: {found} hops: expected 1 to {MAX_HOPS} (the kernel nests at most 6 transformations)"
    )]
    HopCount { circuit: Name, found: usize },
    #[error("circuit {circuit}: relay {relay} is there twice: expected different relays")]
    SameRelay { circuit: Name, relay: Name },
}

impl TryFrom<CircuitForm> for Circuit {
    type Error = BadCircuit;

    fn try_from(form: CircuitForm) -> Result<Self, BadCircuit> {
        let circuit = || form.name.clone();
        let hops = match (form.hops, form.length) {
            (Some(_), Some(_)) => return Err(BadCircuit::HopsAndLength { circuit: circuit() }),
            (Some(names), None) => Hops::Named(names),
            (None, length) => Hops::Chosen(length.unwrap_or(USUAL_LENGTH)),
        };
        let found = hops.len();
        if !(1..=MAX_HOPS).contains(&found) {
            return Err(BadCircuit::HopCount { circuit: circuit(), found });
        }
        if let Some(relay) = hops.twice() {
            return Err(BadCircuit::SameRelay { circuit: circuit(), relay: relay.clone() });
        }
        Ok(Self {
            name: form.name,
            hops,
            traffic: form.traffic,
            mtu: form.mtu,
            rebuild: if form.rebuild { Rebuild::Always } else { Rebuild::Never },
            options: RouteMetrics {
                advmss: form.options.advmss,
                initcwnd: form.options.initcwnd,
                congestion_control: form.options.congestion_control.map(|CongestionControl(name)| name),
            },
        })
    }
}

impl Hops {
    /// How many relays there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        match self {
            Self::Named(names) => names.len(),
            Self::Chosen(length) => *length,
        }
    }

    /// A relay that is named again.
    fn twice(&self) -> Option<&Name> {
        let Self::Named(names) = self else { return None };
        let again = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name));
        again.map(|(_, name)| name)
    }
}
