//! What is measured in the lab, each time against what users would take instead.
//!
//! A benchmark runs as a program inside the lab ([`in_lab`]) and gives the host ([`run`]) one JSON object of figures.

mod circuit_setup;
mod forwarding;
mod goodput;
mod ike_flood;
mod ike_handshake;
mod ike_relay;
mod kernel_install;

use std::error::Error;
use std::io::{self, Write as _};
use std::time::Duration;

use serde_json::{Value, json};

use crate::runner::{self, Clock, Finished, RunError, Runner};

/// Something measured in the lab.
#[derive(Debug)]
pub struct Bench {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it measures, in one line.
    pub about: &'static str,
    /// The time it is measured in: real when the figures are the machine's, virtual when they are the network's.
    pub clock: Clock,
    /// Measures, inside the lab; the figures are an object, its keys naming the units of the values.
    pub in_lab: fn() -> Result<Value, Box<dyn Error>>,
    /// Makes figures, on the host, of those and the readings that [`guest::cpu_mark`](crate::guest::cpu_mark)
    /// asked for, where what counts is the lab kernel's CPU time.
    pub cpu: Option<CpuFigures>,
}

/// Makes figures of what a benchmark said inside the lab and of its CPU marks, or says what is wrong with them.
pub type CpuFigures = fn(&Value, &[(String, Duration)]) -> Result<Value, String>;

/// Every benchmark.
pub const ALL: &[&[Bench]] = &[
    circuit_setup::ALL,
    forwarding::ALL,
    goodput::ALL,
    ike_flood::ALL,
    ike_handshake::ALL,
    kernel_install::ALL,
];

/// All benchmarks, one after the other.
pub fn all() -> impl Iterator<Item = &'static Bench> {
    ALL.iter().copied().flatten()
}

/// Why a benchmark has no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// No such benchmark.
    #[error("found no benchmark `{0}`, expected one of {names}", names = names())]
    Unknown(String),
    /// The lab could not run it.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Our own program has no path, or its output cannot be written.
    #[error("cannot run our own program: {0}")]
    Program(#[from] io::Error),
    /// It failed inside the lab.
    #[error("{name} ended with exit code {code}, expected one JSON object of figures: {said}")]
    Failed {
        /// Which.
        name: &'static str,
        /// Its exit code.
        code: i32,
        /// What it said.
        said: String,
    },
}

fn names() -> String {
    all().map(|bench| bench.name).collect::<Vec<_>>().join(", ")
}

/// The benchmark called `name`.
///
/// # Errors
/// [`BenchError::Unknown`] with the names there are.
pub fn find(name: &str) -> Result<&'static Bench, BenchError> {
    all().find(|bench| bench.name == name).ok_or_else(|| BenchError::Unknown(name.to_owned()))
}

/// Measures in this process, which has to be inside the lab, and writes `{"name": …, "figures": {…}}`.
///
/// # Errors
/// Whatever the measurement failed with.
pub fn in_lab(name: &str) -> Result<(), Box<dyn Error>> {
    let bench = find(name)?;
    let figures = (bench.in_lab)()?;
    Ok(writeln!(io::stdout(), "{}", json!({ "name": bench.name, "figures": figures }))?)
}

/// Measures in the lab; the object that [`in_lab`] wrote.
///
/// # Errors
/// [`BenchError`] when there is no such benchmark or it gave no figures.
pub fn run(runner: &dyn Runner, name: &str) -> Result<Value, BenchError> {
    let bench = find(name)?;
    let mut job = runner::in_lab(&["bench", bench.name])?;
    job.clock = bench.clock;
    job.limit = LIMIT;
    job.cpu_marks = bench.cpu.is_some();
    let Finished { stdout, stderr, code, cpu_marks, .. } = runner.run(&job)?;
    let failed = |said: &str| BenchError::Failed { name: bench.name, code, said: said.trim().to_owned() };
    match (serde_json::from_slice::<Value>(&stdout), code) {
        (Ok(mut result), 0) => {
            if let Some(cpu) = bench.cpu {
                result["figures"] = cpu(&result["figures"], &cpu_marks).map_err(|error| failed(&error))?;
            }
            Ok(result)
        }
        _ => Err(failed(&(String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr)))),
    }
}

/// Wall time that the slowest machine may need for a benchmark.
const LIMIT: Duration = Duration::from_secs(900);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_benchmark_is_told_the_known_ones() {
        let error = find("bogus").unwrap_err().to_string();
        assert_eq!(error, format!("found no benchmark `bogus`, expected one of {}", names()));
        assert!(names().contains("kernel-install, plan-10000"), "{}", names());
    }
}
