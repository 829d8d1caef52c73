//! The main job, shown: real traffic through a telescope of three relays, beside the same traffic sent
//! directly, with captures of every link that prove who can see what.

mod draw;
mod guest;
mod wire;

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use draw::draw;
pub use guest::run as in_lab;
pub use wire::{Knower, LinkView, Stream};

use crate::runner::{self, Clock, RunError, Runner};
use crate::scenario::Verdict;

/// What a demo gave. `verdicts` says whether it is what it has to be.
#[derive(Debug, Deserialize, Serialize)]
pub struct Demo {
    /// The hosts on the way, client first, server last, with their addresses.
    pub hosts: Vec<HostView>,
    /// The routers in a line between the client's and the server's, by name.
    pub routers: Vec<String>,
    /// The circuit that IKEv2 built, entry first.
    pub circuit: Vec<HopView>,
    /// What an observer of each link sees while traffic goes through the circuit.
    pub links: Vec<LinkView>,
    /// Who could learn which end, read from the captures.
    pub knowers: Vec<Knower>,
    /// The traffic through the circuit, and the same without it.
    pub traffic: Vec<Compared>,
    /// What traceroute shows through the circuit.
    pub traceroute: Vec<String>,
    /// What has to be so, whether it is, and what was seen.
    pub verdicts: Vec<Verdict>,
}

/// A host of the demo.
#[derive(Debug, Deserialize, Serialize)]
pub struct HostView {
    /// Its name.
    pub name: String,
    /// Its IPv4 address.
    pub address: String,
    /// The router it is at.
    pub router: String,
    /// The addresses it hands out, for a relay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// A hop of the circuit, as the client's daemon tells it.
#[derive(Debug, Deserialize, Serialize)]
pub struct HopView {
    /// The relay's name.
    pub relay: String,
    /// Where IKE spoke to it: its own address.
    pub address: String,
    /// The address it handed to the client, from which the next hop was spoken to.
    pub assigned: String,
    /// The algorithms of the IKE SA.
    #[serde(rename = "ike")]
    pub ike_suite: String,
    /// The algorithms of the layer.
    #[serde(rename = "esp")]
    pub esp_suite: String,
}

/// One measurement, through the circuit and directly.
#[derive(Debug, Deserialize, Serialize)]
pub struct Compared {
    /// What was measured.
    pub what: String,
    /// Its unit.
    pub unit: String,
    /// Through the circuit.
    pub circuit: f64,
    /// Directly.
    pub direct: f64,
    /// The most that the headers leave of the narrowest link, through the circuit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
}

impl Demo {
    /// Whether every verdict holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.verdicts.is_empty() && self.verdicts.iter().all(|verdict| verdict.pass)
    }
}

/// Why there is no demo to look at.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The lab could not run it.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Our own program was not found.
    #[error("cannot find our own program: {0}")]
    Program(#[from] io::Error),
    /// It ended early.
    #[error("the demo ended with exit code {code}: {said}")]
    Ended {
        /// The exit code.
        code: i32,
        /// What it said.
        said: String,
    },
}

/// Runs the demo in the lab, in virtual time.
///
/// # Errors
/// [`DemoError`] when it has no result.
pub fn run(runner: &dyn Runner, seed: u64) -> Result<Demo, DemoError> {
    let mut job = runner::in_lab(&["demo"])?;
    job.clock = Clock::Virtual { seed };
    job.limit = Duration::from_secs(180);
    let finished = runner.run(&job)?;
    serde_json::from_slice(&finished.stdout).map_err(|_| {
        let said = [finished.stderr.as_slice(), finished.stdout.as_slice()].concat();
        DemoError::Ended { code: finished.code, said: String::from_utf8_lossy(&said).trim().to_owned() }
    })
}
