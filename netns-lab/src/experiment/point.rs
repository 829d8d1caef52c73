//! One point: everything about it is in its description, which is all that the lab is given.

use std::io::{self, Read as _, Write as _};

use serde::{Deserialize, Serialize};

use crate::net::Net;
use crate::systems::{self, Circuit, Place};
use crate::topology::Topology;
use crate::workload::{self, Arena, Sample};

/// What happens at a point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// The network, as a topology's YAML text.
    pub topology: String,
    /// The paths that clients use.
    pub circuits: Vec<Circuit>,
    /// The nodes that clients talk to.
    pub servers: Vec<String>,
    /// What carries the packets.
    pub system: systems::Settings,
    /// What clients do.
    pub workload: workload::Settings,
    /// Where randomness starts, the kernel's and the workload's.
    pub seed: u64,
}

/// How points fail.
type Outcome<T> = systems::Outcome<T>;

impl Point {
    /// Builds the network, starts the system and does the workload, in this process, which has to be in the lab.
    ///
    /// # Errors
    /// Whatever keeps it from its end.
    pub fn run(&self) -> Outcome<Vec<Sample>> {
        let net = Net::build(&Topology::parse("topology", &self.topology)?)?;
        let place = Place { net: &net, circuits: &self.circuits, servers: &self.servers };
        let system = self.system.start(place)?;
        let ways = system.ways();
        let arena = Arena {
            net: &net,
            circuits: &self.circuits,
            ways: &ways,
            servers: &self.servers,
            seed: self.seed,
        };
        let mut samples = self.workload.run(arena)?;
        for time in system.set_up().into_iter().flatten() {
            samples.push(sample("circuit", "set_up", "each", "s", time.as_secs_f64()));
        }
        for (name, value) in system.counters()? {
            samples.push(sample("system", &name, "sum", "1", value));
        }
        Ok(samples)
    }
}

fn sample(of: &str, what: &str, stat: &str, unit: &str, value: f64) -> Sample {
    let [of, what, stat, unit] = [of, what, stat, unit].map(str::to_owned);
    Sample { of, what, stat, unit, value }
}

/// Reads a point from standard input, runs it, and writes its samples to standard output, a line of JSON each.
///
/// # Errors
/// What keeps the point from its end.
pub fn in_lab() -> Outcome<()> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let point: Point = serde_json::from_str(&text)?;
    let samples = point.run()?;
    let mut out = io::stdout().lock();
    for sample in samples {
        writeln!(out, "{}", serde_json::to_string(&sample)?)?;
    }
    Ok(out.flush()?)
}
