//! What experiments may choose of Tor.

use serde::{Deserialize, Serialize};

/// What can be set. The default is Tor as it is today.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How a relay and a client share a connection among circuits.
    pub scheduler: Scheduler,
    /// How a circuit keeps from having too much under way.
    pub congestion_control: CongestionControl,
    /// Cells that may be under way on a circuit without congestion control, 100 to 1000.
    pub window: u16,
    /// TCP's congestion control at relays.
    pub relay_tcp: Tcp,
    /// TCP's congestion control at clients, of Tor's connections.
    pub client_tcp: Tcp,
}

/// Tor's schedulers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheduler {
    /// By what the kernel says of each connection (Jansen et al., USENIX Security 2014): the default.
    #[default]
    Kist,
    /// The same without asking the kernel.
    KistLite,
    /// All that is there, at once: before 2018.
    Vanilla,
}

/// Tor's flow control of circuits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CongestionControl {
    /// By round trip times (Tor's proposal 324): the default.
    #[default]
    Vegas,
    /// A window of fixed size. YAML may take a plain `off` for a truth value, hence the name.
    #[serde(rename = "none")]
    Off,
}

/// A congestion control of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tcp {
    /// Linux's default.
    #[default]
    Cubic,
    /// By rate and round trip time.
    Bbr,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            scheduler: Scheduler::default(),
            congestion_control: CongestionControl::default(),
            window: 1000,
            relay_tcp: Tcp::default(),
            client_tcp: Tcp::default(),
        }
    }
}

impl Settings {
    /// Tor takes no other windows from its consensus.
    pub(super) const fn window_is_valid(&self) -> bool {
        100 <= self.window && self.window <= 1000
    }
}

impl Scheduler {
    /// As torrc calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Kist => "KIST",
            Self::KistLite => "KISTLite",
            Self::Vanilla => "Vanilla",
        }
    }
}

impl Tcp {
    /// As the kernel calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::Bbr => "bbr",
        }
    }
}
