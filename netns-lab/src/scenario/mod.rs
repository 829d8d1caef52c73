//! What is tried in the lab, each with verdicts that say what was seen.
//!
//! A scenario runs as a program inside the lab ([`in_lab`]) and reports to the host ([`run`]) line by line.

mod circuits;
mod command;
pub(crate) mod dice;
mod digest;
mod faults;
mod first_network;
mod foreign;
mod headers;
mod identity;
mod ike;
pub mod interop;
mod kill_switch;
mod lab;
mod links;
mod listing;
mod pair;
mod plans;
mod rekey;
mod removal;
mod secrets;
mod systems;
mod tor;
mod tshark;
mod verdict;
mod watch;
mod wire;
mod workloads;

use std::error::Error;
use std::io::{self, Write as _};
use std::time::Duration;

pub use digest::run as digest;
pub use lab::{Lab, LabError};
pub use verdict::{Verdict, Verdicts};

use crate::runner::{self, Clock, Finished, RunError, Runner};

/// Something tried in the lab.
#[derive(Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows, in one line.
    pub about: &'static str,
    /// Tries it.
    pub run: fn(&mut Verdicts) -> Result<(), Box<dyn Error>>,
}

impl Scenario {
    /// Whether other people's programs take part.
    #[must_use]
    pub fn needs_foreign(&self) -> bool {
        ["interop-", "ike-tshark", "lab-systems-"].iter().any(|prefix| self.name.starts_with(prefix))
    }

    /// Whether a private Tor network on a chain of three relays takes part.
    #[must_use]
    pub fn needs_tor(&self) -> bool {
        self.name.starts_with("lab-tor")
    }
}

/// Every scenario, in the order of tests.
pub const ALL: &[&[Scenario]] = &[
    circuits::ALL,
    ike::ALL,
    crate::soak::ALL,
    tshark::ALL,
    pair::ALL,
    links::ALL,
    headers::ALL,
    removal::ALL,
    kill_switch::ALL,
    rekey::ALL,
    plans::ALL,
    foreign::ALL,
    faults::ALL,
    command::ALL,
    first_network::ALL,
    secrets::ALL,
    workloads::ALL,
    tor::ALL,
    systems::ALL,
    interop::ALL[0],
    interop::ALL[1],
    interop::ALL[2],
    interop::ALL[3],
    interop::ALL[4],
];

/// All scenarios, one after the other.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    ALL.iter().copied().flatten()
}

/// Why a scenario has no verdicts at all.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The lab could not run it.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The program beside which others are found has no path.
    #[error("cannot find our own program: {0}")]
    Program(#[from] io::Error),
}

/// Runs the scenario called `name` in this process, which has to be inside the lab; `false` when there is none.
///
/// # Errors
/// When the verdicts cannot be written to standard output.
pub fn in_lab(name: &str) -> io::Result<bool> {
    let Some(scenario) = all().find(|scenario| scenario.name == name) else { return Ok(false) };
    let mut verdicts = Verdicts::default();
    if let Err(error) = (scenario.run)(&mut verdicts) {
        verdicts.check("runs to its end", false, error);
    }
    let mut out = io::stdout().lock();
    for verdict in verdicts.into_list() {
        writeln!(out, "{}", serde_json::to_string(&verdict)?)?;
    }
    out.flush()?;
    Ok(true)
}

/// What a scenario gave.
#[derive(Debug)]
pub struct Report {
    /// The verdicts, none of them when the scenario died.
    pub verdicts: Vec<Verdict>,
    /// What it said besides.
    pub said: String,
    /// Wall time.
    pub wall: Duration,
}

/// Runs a scenario in the lab in virtual time.
///
/// # Errors
/// [`ScenarioError`] when the lab could not run it or it hung.
pub fn run(runner: &dyn Runner, scenario: &Scenario, seed: u64) -> Result<Report, ScenarioError> {
    let mut job = runner::in_lab(&["scenario", scenario.name])?;
    job.clock = Clock::Virtual { seed };
    let Finished { stdout, stderr, wall, code, .. } = runner.run(&job)?;
    let mut verdicts = Vec::new();
    let mut said = String::new();
    for line in String::from_utf8_lossy(&stdout).lines() {
        match serde_json::from_str(line) {
            Ok(verdict) => verdicts.push(verdict),
            Err(_) => said = said + line + "\n",
        }
    }
    said.push_str(&String::from_utf8_lossy(&stderr));
    if code != 0 || verdicts.is_empty() {
        let evidence = format!("exit code {code}, {} verdicts; {}", verdicts.len(), said.trim());
        verdicts.push(Verdict { name: "reports".into(), pass: false, evidence, cells: Vec::new() });
    }
    Ok(Report { verdicts, said, wall })
}
