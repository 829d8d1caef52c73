//! What clients do on a system under test, and what of it is measured.
//!
//! A workload runs inside the lab on a built network whose system is ready: it starts servers and clients on nodes
//! and gives samples. It never spins, so that it fits virtual time.

use std::error::Error;

use serde::{Deserialize, Serialize};

use crate::net::Net;
use crate::systems::{Circuit, Way};

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
}

impl Settings {
    /// Does it and says what came of it.
    ///
    /// # Errors
    /// Whatever keeps it from its end.
    pub fn run(&self, _arena: Arena<'_>) -> Outcome<Vec<Sample>> {
        match self {
            Self::Nothing {} => Ok(Vec::new()),
        }
    }
}
