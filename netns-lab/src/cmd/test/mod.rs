//! `cargo lab test`: everything that has to hold, checked.

mod host;
mod results;
mod scenarios;

use std::process::ExitCode;

use ippriv_lab::runner::{self, Choice, Clock};
use ippriv_lab::scenario::{self, Scenario, interop};
use ippriv_lab::topology::Topology;
use ippriv_lab::{foreign, kernel, parallel, system, systems};

use scenarios::Tried;

use super::cargo;
use crate::Outcome;

/// Checks format, lints and docs, runs unit, core and kernel tests, and every scenario in the lab.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only scenarios, and kept results (`result-NAME`), whose name contains this, and nothing else.
    filter: Option<String>,
    /// Where the randomness of virtual time starts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Guests at a time; as many as there are cores if this is not said.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Show every verdict, not only those that fail.
    #[arg(long)]
    verbose: bool,
    /// Print one JSON object instead, of scenarios only: them with all verdicts, and the matrix of other people's daemons.
    #[arg(long, requires = "filter")]
    json: bool,
}

/// How many tests did what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    fn exit_code(self) -> ExitCode {
        if self.failed + self.skipped == 0 && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    const fn of(pass: bool) -> Self {
        if pass {
            Self { passed: 1, failed: 0, skipped: 0 }
        } else {
            Self { passed: 0, failed: 1, skipped: 0 }
        }
    }
}

pub(crate) fn run(args: &Args) -> Outcome {
    system::ensure(system::LAB)?;
    kernel::ensure()?;
    let mut tally = Tally::default();
    if args.filter.is_none() {
        tally.add(host::checks());
        tally.add(host::cargo_tests()?);
    }
    cargo::build_commands()?;
    let runner = runner::choose(Choice::Uml, Clock::Virtual { seed: args.seed })?;
    let jobs = args.jobs.map_or_else(parallel::cores, usize::from);
    let wanted = |name: &str| args.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()));
    let tried: Vec<&Scenario> = scenario::all().filter(|scenario| wanted(scenario.name)).collect();
    let needs_foreign = tried.iter().any(|scenario| scenario.needs_foreign());
    if needs_foreign {
        for bundle in foreign::ALL {
            bundle.ensure()?;
        }
    }
    if tried.iter().any(|scenario| scenario.needs_tor()) {
        let prepared = systems::Settings::Tor(systems::tor::Settings::default())
            .prepare(&Topology::chain(3)?, runner.as_ref());
        prepared.map_err(|error| error as Box<dyn std::error::Error>)?;
    }
    if args.filter.is_none() {
        tally.add(results::same_seed_same_bytes(runner.as_ref())?);
    }
    if !args.json {
        tally.add(results::same_results(runner.as_ref(), jobs, wanted)?);
    }
    let mut results = Vec::new();
    let try_one = |scenario: &&Scenario| scenarios::try_one(runner.as_ref(), scenario, args.seed);
    parallel::in_order(jobs, &tried, try_one, |scenario, tried| {
        if !args.json {
            tried.show(scenario.about, args.verbose);
        }
        tally.add(tried.tally());
        results.push(tried);
    });
    let matrix =
        interop::Matrix::new(results.iter().map(|tried| (tried.scenario, tried.verdicts.as_slice())));
    if scenario::all().map(|scenario| scenario.name).filter(|name| name.starts_with("interop-")).all(wanted) {
        tally.skipped += matrix.untried();
    }
    if args.json {
        println!("{}", serde_json::to_string(&Results { scenarios: &results, matrix: &matrix })?);
        return Ok(tally.exit_code());
    }
    if needs_foreign {
        println!("── other people's daemons\n{matrix}");
    }
    if tally.skipped > 0 {
        println!("{} tests were skipped, which counts as failing", tally.skipped);
    }
    println!("{} passed, {} failed", tally.passed, tally.failed + tally.skipped);
    Ok(tally.exit_code())
}

/// What `--json` prints.
#[derive(serde::Serialize)]
struct Results<'a> {
    scenarios: &'a [Tried],
    matrix: &'a interop::Matrix,
}

const fn mark(pass: bool) -> &'static str {
    if pass { "  ok  " } else { "FAILED" }
}
