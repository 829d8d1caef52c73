//! Systems under test: what carries a client's packets to a server, each a driver of one file.
//!
//! An experiment wants circuits ([`Circuit`]) on a network that is built; a driver starts its system on the
//! network's nodes, waits until it can carry traffic, and says how programs on a client use each circuit ([`Way`]).
//! Adding a system: a file with a struct of its settings, a `start`, and a variant of [`Settings`]; see
//! docs/experiments/adding-a-system.md.

mod counters;
mod direct;
mod host;
mod ippriv;
mod legs;
mod openvpn;
mod relay_queue;
mod tcp_tunnel;
pub mod tor;
mod wireguard;

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bundle::{OPENVPN, WIREGUARD};
use crate::net::Net;
use crate::runner::Runner;
use crate::topology::Topology;

/// How drivers fail; the text is for people and names the node and the program.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A path that an experiment wants, entry first. Systems without relays ignore the hops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Circuit {
    /// The node that uses it.
    pub client: String,
    /// The relays.
    pub hops: Vec<String>,
}

/// What a driver is given.
#[derive(Clone, Copy, Debug)]
pub struct Place<'net> {
    /// The network, built; nothing of any system runs in it yet.
    pub net: &'net Net,
    /// The circuits to provide. One client may want several; each has to be a path of its own through the system
    /// (another Tor client, another telescope).
    pub circuits: &'net [Circuit],
    /// The nodes that clients want to reach.
    pub servers: &'net [String],
}

/// How a program on the client uses a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Like any host: the kernel finds the way.
    Plain,
    /// With this source address.
    From(IpAddr),
    /// Through this SOCKS 5 proxy.
    Socks(SocketAddr),
}

/// A system that runs. Dropping it stops it.
pub trait Running {
    /// How programs use each circuit, in the order of [`Place::circuits`].
    fn ways(&self) -> Vec<Way>;

    /// How long each circuit took to be there, where the system can tell: from the first packet for it, with
    /// everything below it up already.
    fn set_up(&self) -> Vec<Option<Duration>> {
        Vec::new()
    }

    /// Counters of the system's own that are worth a line in the result, by name, since it was started.
    ///
    /// # Errors
    /// When they cannot be read.
    fn counters(&self) -> Outcome<BTreeMap<String, f64>> {
        Ok(BTreeMap::new())
    }
}

/// A system and its settings, as experiments write them: `{ driver: ippriv, suite: aes-128-gcm }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "driver", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Settings {
    /// No relays at all.
    Direct(direct::Settings),
    /// Telescopes.
    Ippriv(ippriv::Settings),
    /// A private Tor network.
    Tor(tor::Settings),
    /// Kernel WireGuard in kernel WireGuard.
    Wireguard(wireguard::Settings),
    /// Packets in a TCP connection.
    TcpTunnel(tcp_tunnel::Settings),
    /// The same by OpenVPN.
    Openvpn(openvpn::Settings),
}

impl Settings {
    /// Starts the system and waits until it can carry traffic on all circuits.
    ///
    /// # Errors
    /// Whatever keeps it from that.
    pub fn start<'net>(&self, place: Place<'net>) -> Outcome<Box<dyn Running + 'net>> {
        match self {
            Self::Direct(settings) => direct::start(settings, place),
            Self::Ippriv(settings) => ippriv::start(settings, place),
            Self::Tor(settings) => tor::start(settings, place),
            Self::Wireguard(settings) => wireguard::start(settings, place),
            Self::TcpTunnel(settings) => tcp_tunnel::start(settings, place),
            Self::Openvpn(settings) => openvpn::start(settings, place),
        }
    }

    /// Gets what the system needs from outside, on the host, before any lab runs: packages, and state that is kept
    /// from one run on this topology to the next. `runner` runs what makes it.
    ///
    /// # Errors
    /// What is missing and how to get it.
    pub fn prepare(&self, topology: &Topology, runner: &dyn Runner) -> Outcome<()> {
        match self {
            Self::Tor(settings) => tor::prepare(settings, topology, runner),
            Self::Direct(_) | Self::Ippriv(_) | Self::TcpTunnel(_) => Ok(()),
            Self::Wireguard(_) => WIREGUARD.ensure().map(drop).map_err(Into::into),
            Self::Openvpn(_) => OPENVPN.ensure().map(drop).map_err(Into::into),
        }
    }

    /// Versions of other people's programs that take part, by name, for manifests; once prepared.
    ///
    /// # Errors
    /// A program does not say.
    pub fn versions(&self) -> Outcome<BTreeMap<String, String>> {
        match self {
            Self::Tor(_) => Ok([("tor".to_owned(), tor::version()?)].into()),
            Self::Direct(_) | Self::Ippriv(_) | Self::TcpTunnel(_) => Ok(BTreeMap::new()),
            Self::Wireguard(_) => Ok([("wireguard-tools".to_owned(), wireguard::version()?)].into()),
            Self::Openvpn(_) => Ok([("openvpn".to_owned(), openvpn::version()?)].into()),
        }
    }
}
