//! The relay role.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use super::{Exit, default_ciphers, duration};
use crate::network::Name;
use crate::telescope::HopNumber;

/// The relay role: entry, middle and, with an exit policy, exit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    /// Its name in the network document.
    pub name: Name,
    /// The file with its identity key.
    pub identity: PathBuf,
    /// What leaves here; `None` when nothing does.
    pub exit: Option<Exit>,
    /// What it takes on at most.
    #[serde(default)]
    pub limits: Limits,
    /// Its tunnels with other relays.
    #[serde(default)]
    pub overlay: Overlay,
    /// The cipher policy for clients.
    #[serde(default = "default_ciphers")]
    pub ciphers: Name,
    /// How long an address stays unused after its circuit is gone, so that no late packet reaches a stranger.
    #[serde(default = "five_minutes", deserialize_with = "duration::any")]
    pub pool_quarantine: Duration,
    /// How long keys are used, towards clients and neighbours.
    #[serde(default)]
    pub lifetimes: Lifetimes,
}

/// What a relay takes on at most. A prefix is a /24 of IPv4 or a /56 of IPv6; pools of other relays have none
/// of the limits per prefix, because the circuits of everybody come from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// IKE SAs that are not authenticated yet; beyond half of it, cookies are asked for (RFC 7296 section 2.6).
    #[serde(deserialize_with = "count")]
    pub half_open: u32,
    /// The same from one prefix.
    #[serde(deserialize_with = "count")]
    pub half_open_per_prefix: u32,
    /// Circuits.
    #[serde(deserialize_with = "circuits")]
    pub circuits: u32,
    /// Circuits from one prefix.
    #[serde(deserialize_with = "count")]
    pub circuits_per_prefix: u32,
}

/// The tunnels of a relay with other relays.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Overlay {
    /// Pads every packet to this size in octets; not when absent.
    pub tfc_padding: Option<u32>,
    /// The cipher policy.
    pub ciphers: Name,
    /// When tunnels are there.
    pub neighbours: TunnelTime,
    /// Files with pre-shared keys, by neighbour: for relays with software that cannot verify Ed25519.
    pub psk: BTreeMap<Name, PathBuf>,
}

/// When overlay tunnels are there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TunnelTime {
    /// Always: their traffic tells nothing about when a circuit began.
    #[default]
    Always,
    /// From the first packet on.
    OnDemand,
}

/// How long keys are used. They are replaced earlier, and without loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lifetimes {
    /// Keys of IKE SAs.
    #[serde(deserialize_with = "duration::positive")]
    pub ike: Duration,
    /// Keys of ESP SAs.
    #[serde(deserialize_with = "duration::positive")]
    pub child: Duration,
}

const fn five_minutes() -> Duration {
    Duration::from_secs(300)
}

impl Default for Limits {
    fn default() -> Self {
        Self { half_open: 1024, half_open_per_prefix: 32, circuits: 30_000, circuits_per_prefix: 256 }
    }
}

impl Default for Overlay {
    fn default() -> Self {
        Self {
            tfc_padding: None,
            ciphers: default_ciphers(),
            neighbours: TunnelTime::default(),
            psk: BTreeMap::new(),
        }
    }
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { ike: Duration::from_secs(4 * 3600), child: Duration::from_secs(3600) }
    }
}

/// At least one, or nothing would ever come about.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    limit(u32::deserialize(deserializer)?, u32::MAX).map_err(de::Error::custom)
}

/// No more than can be told apart.
fn circuits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    limit(u32::deserialize(deserializer)?, HopNumber::LAST).map_err(de::Error::custom)
}

fn limit(found: u32, last: u32) -> Result<u32, BadLimit> {
    if (1..=last).contains(&found) { Ok(found) } else { Err(BadLimit { found, last }) }
}

#[derive(Debug, thiserror::Error)]
#[error("limit {found}: expected 1 to {last}")]
struct BadLimit {
    found: u32,
    last: u32,
}
