//! What clients do on a system under test, and what of it is measured.
//!
//! A workload runs inside the lab on a built network whose system is ready: it starts servers and clients on nodes
//! and gives samples. It never spins, so that it fits virtual time.
//!
//! All nodes have one clock: a workload says when its window opens and closes, in moments of that clock, and every
//! program counts what falls into it. Reports come by standard output of whoever receives, never over the network that
//! is measured. What is pinned so that figures are the network's and not a buffer's is listed in
//! docs/experiments/workloads.md.

mod accounts;
mod call;
mod clients;
mod cost;
mod echo;
mod page;
mod profiles;
mod saturate;
mod stage;
mod stream;
mod stress;

use std::error::Error;

use serde::{Deserialize, Serialize};

use crate::net::Net;
use crate::systems::{Circuit, Way};
use crate::traffic::Spread;

/// How workloads fail; the text is for people and names the node and the program.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// One measured figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// What does something: `bulk`, `probe`, `web`, a node.
    pub of: String,
    /// What is measured: `goodput`, `round_trip`, `page_time`.
    pub what: String,
    /// What the value is of all there were: `mean`, `p50`, `p95`, `p99`, `sum`, `count`, or `each` where every
    /// single one is a sample.
    pub stat: String,
    /// `Mbit/s`, `ms`, `s`, `B`, `1`.
    pub unit: String,
    /// The figure.
    pub value: f64,
}

impl Sample {
    fn new(of: &str, what: &str, stat: &str, unit: &str, value: f64) -> Self {
        let [of, what, stat, unit] = [of, what, stat, unit].map(str::to_owned);
        Self { of, what, stat, unit, value }
    }

    fn count(of: &str, what: &str, value: u64) -> Self {
        Self::new(of, what, "count", "1", value as f64)
    }

    /// The mean and the percentiles that there are.
    fn spread(of: &str, what: &str, unit: &str, spread: &Spread) -> Vec<Self> {
        let Spread { mean, p50, p95, p99, .. } = spread;
        let stats = [("mean", mean), ("p50", p50), ("p95", p95), ("p99", p99)];
        stats.iter().filter_map(|(stat, value)| Some(Self::new(of, what, stat, unit, (**value)?))).collect()
    }

    /// Every value, and their spread.
    fn each(of: &str, what: &str, unit: &str, values: &[f64]) -> Vec<Self> {
        let mut samples: Vec<Self> =
            values.iter().map(|value| Self::new(of, what, "each", unit, *value)).collect();
        samples.extend(Self::spread(of, what, unit, &Spread::of(values.to_vec())));
        samples
    }
}

/// Where a workload takes place.
#[derive(Clone, Copy, Debug)]
pub struct Arena<'net> {
    /// The network.
    pub net: &'net Net,
    /// The circuits that the experiment has.
    pub circuits: &'net [Circuit],
    /// How each is used.
    pub ways: &'net [Way],
    /// The nodes that clients talk to.
    pub servers: &'net [String],
    /// Where randomness of the workload starts.
    pub seed: u64,
}

/// A workload and its settings, as experiments write them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Settings {
    /// Nothing: for what the system itself tells, such as the time circuits take.
    Nothing {},
    /// Bulk flows, and a probe beside them.
    Stream(stream::Settings),
    /// A page, as a browser gets it.
    Page(page::Settings),
    /// Web clients with pauses and bulk clients without.
    Clients(clients::Settings),
    /// A stream of timestamps on every circuit, and a probe that may first be alone.
    Echo(echo::Settings),
    /// Calls by UDP.
    Call(call::Settings),
    /// As much as goes, over time.
    Saturate(saturate::Settings),
    /// What a byte costs each node.
    Cost(cost::Settings),
    /// As much as goes past a busy relay.
    Stress(stress::Settings),
}

impl Settings {
    /// Does it and says what came of it.
    ///
    /// # Errors
    /// Whatever keeps it from its end.
    pub fn run(&self, arena: Arena<'_>) -> Outcome<Vec<Sample>> {
        match self {
            Self::Nothing {} => Ok(Vec::new()),
            Self::Stream(settings) => stream::run(settings, arena),
            Self::Page(settings) => page::run(settings, arena),
            Self::Clients(settings) => clients::run(settings, arena),
            Self::Echo(settings) => echo::run(settings, arena),
            Self::Call(settings) => call::run(settings, arena),
            Self::Saturate(settings) => saturate::run(settings, arena),
            Self::Cost(settings) => cost::run(settings, arena),
            Self::Stress(settings) => stress::run(settings, arena),
        }
    }

    /// Gets what the workload needs from outside, on the host, before any lab runs.
    ///
    /// # Errors
    /// What is missing and how to get it.
    pub fn prepare(&self) -> Outcome<()> {
        match self {
            Self::Stress(_) => stress::prepare(),
            _ => Ok(()),
        }
    }
}
