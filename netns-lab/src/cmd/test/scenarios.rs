//! The scenarios, some at a time.

use ippriv_lab::runner::Runner;
use ippriv_lab::scenario::{self, Scenario, Verdict};

use super::{Tally, mark};

/// A scenario and what it gave.
#[derive(serde::Serialize)]
pub(super) struct Tried {
    pub(super) scenario: &'static str,
    seconds: f64,
    pub(super) verdicts: Vec<Verdict>,
    /// What it said besides.
    #[serde(skip)]
    said: String,
    /// What it gave the second time, if it was run twice.
    #[serde(skip)]
    again: Option<Vec<Verdict>>,
}

impl Tried {
    pub(super) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        self.verdicts.iter().for_each(|verdict| tally.add(Tally::of(verdict.pass)));
        if let Some(again) = &self.again {
            tally.add(Tally::of(*again == self.verdicts));
        }
        tally
    }

    /// Prints what a person wants to know of it.
    pub(super) fn show(&self, about: &str, verbose: bool) {
        let Self { scenario, verdicts, .. } = self;
        println!("── {scenario}: {about}");
        let failed = verdicts.iter().filter(|verdict| !verdict.pass).count();
        for verdict in verdicts.iter().filter(|verdict| verbose || !verdict.pass) {
            println!("{} {}: {}", mark(verdict.pass), verdict.name, verdict.evidence);
        }
        if failed > 0 && !self.said.is_empty() {
            println!("{}", self.said.trim_end());
        }
        let (passed, all) = (verdicts.len() - failed, verdicts.len());
        println!("{} {scenario}: {passed} of {all} in {:.1} s", mark(failed == 0), self.seconds);
        let Some(again) = &self.again else { return };
        println!("{} {scenario}: the same seed gives the same again", mark(again == verdicts));
        for (first, again) in verdicts.iter().zip(again).filter(|(first, again)| first != again) {
            println!("       first {}, then {}", first.evidence, again.evidence);
        }
    }
}

/// Runs a scenario. One that tells times of other people's programs is run once more: they have to be the same.
pub(super) fn try_one(runner: &dyn Runner, scenario: &Scenario, seed: u64) -> Tried {
    let (verdicts, said, seconds) = match scenario::run(runner, scenario, seed) {
        Ok(report) => (report.verdicts, report.said, report.wall.as_secs_f64()),
        Err(error) => {
            let (name, evidence) = ("runs".to_owned(), error.to_string());
            (vec![Verdict { name, pass: false, evidence, cells: Vec::new() }], String::new(), 0.0)
        }
    };
    let again = scenario
        .needs_tor()
        .then(|| scenario::run(runner, scenario, seed).map(|report| report.verdicts).unwrap_or_default());
    Tried { scenario: scenario.name, seconds, verdicts, said, again }
}
