//! A built network with circuits dealt out on it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::capture::CaptureError;
use crate::deal::{Deal, DealError, Wish};
use crate::net::{Net, NetError, RawOutput};
use crate::topology::{Topology, TopologyError};

/// A network in the lab kernel and what its hosts have to do.
#[derive(Debug)]
pub struct Lab {
    /// The network.
    pub net: Net,
    /// The hosts' parts.
    pub deal: Deal,
}

/// What can go wrong while a lab is used.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// In the network.
    #[error(transparent)]
    Net(#[from] NetError),
    /// With the circuits.
    #[error(transparent)]
    Deal(#[from] DealError),
    /// With the topology.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// With a host's files.
    #[error("cannot make a host's files: {0}")]
    Files(String),
    /// With a capture.
    #[error(transparent)]
    Capture(#[from] CaptureError),
}

impl Lab {
    /// Builds `topology` and deals out `wishes`; nothing is applied yet.
    ///
    /// # Errors
    /// [`LabError`] when the network or the circuits cannot be made.
    pub fn new(topology: &Topology, wishes: &[Wish]) -> Result<Self, LabError> {
        let net = Net::build(topology)?;
        let deal = Deal::new(&net, wishes)?;
        Ok(Self { net, deal })
    }

    /// The same on a chain of `relays` relays, with one circuit through all of them from `client`, applied.
    ///
    /// # Errors
    /// [`LabError`] when the network or the circuits cannot be made.
    pub fn chain(relays: usize) -> Result<Self, LabError> {
        let names: Vec<String> = (1..=relays).map(|k| format!("relay{k}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let lab = Self::new(&Topology::chain(relays)?, &[Wish::new("client", &names)])?;
        lab.apply()?;
        Ok(lab)
    }

    /// Applies every host's part.
    ///
    /// # Errors
    /// [`LabError`] with what `ippriv` said.
    pub fn apply(&self) -> Result<(), LabError> {
        Ok(self.deal.apply(&self.net)?)
    }

    /// Applies one host's part again.
    ///
    /// # Errors
    /// [`LabError`] with what `ippriv` said.
    pub fn apply_on(&self, name: &str) -> Result<(), LabError> {
        Ok(self.deal.apply_on(&self.net, name)?)
    }

    /// Runs a program on a node and gives its standard output.
    ///
    /// # Errors
    /// [`LabError`] when it fails.
    pub fn on(&self, node: &str, argv: &[&str]) -> Result<String, LabError> {
        Ok(self.net.node(node)?.run(argv)?.stdout)
    }

    /// Runs a program on a node, whatever its exit code.
    ///
    /// # Errors
    /// [`LabError`] when it cannot be started.
    pub fn try_on(&self, node: &str, argv: &[&str]) -> Result<RawOutput, LabError> {
        Ok(self.net.node(node)?.try_run(argv)?)
    }

    /// How many of `count` pings from `node` to `to` are answered.
    ///
    /// # Errors
    /// [`LabError`] when `ping` cannot be started.
    pub fn ping(&self, node: &str, to: IpAddr, count: u32) -> Result<u32, LabError> {
        let (to, count) = (to.to_string(), count.to_string());
        let output = self.try_on(node, &["ping", "-n", "-c", &count, "-i", "0.1", "-W", "1", &to])?;
        let received = output.stdout.split(", ").find_map(|part| part.strip_suffix(" received"));
        Ok(received.and_then(|number| number.parse().ok()).unwrap_or(0))
    }

    /// A node's IPv4 address.
    ///
    /// # Errors
    /// [`LabError`] for an unknown node.
    pub fn address4(&self, node: &str) -> Result<Ipv4Addr, LabError> {
        Ok(self.net.node(node)?.address4())
    }

    /// A node's IPv6 address.
    ///
    /// # Errors
    /// [`LabError`] for an unknown node.
    pub fn address6(&self, node: &str) -> Result<Ipv6Addr, LabError> {
        Ok(self.net.node(node)?.address6())
    }
}
