//! `cargo lab test`: everything that has to hold, checked.

use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use ippriv_lab::experiment::{self, Reference};
use ippriv_lab::runner::{self, Choice, Clock, Job, Runner, Streams};
use ippriv_lab::scenario::{self, Report, Scenario, Verdict, interop};
use ippriv_lab::topology::Topology;
use ippriv_lab::{foreign, kernel, system, systems};

use super::cargo;
use crate::Outcome;

/// Checks format, lints and docs, runs unit, core and kernel tests, and every scenario in the lab.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only scenarios whose name contains this, and nothing else.
    filter: Option<String>,
    /// Where the randomness of virtual time starts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Show every verdict, not only those that fail.
    #[arg(long)]
    verbose: bool,
    /// Print one JSON object instead: the scenarios with all verdicts, and the matrix of other people's daemons.
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
        tally.add(host_checks());
        tally.add(cargo_tests()?);
    }
    cargo::build_commands()?;
    let runner = runner::choose(Choice::Uml, Clock::Virtual { seed: args.seed })?;
    let wanted = |scenario: &&Scenario| {
        args.filter.as_ref().is_none_or(|filter| scenario.name.contains(filter.as_str()))
    };
    if scenario::all().filter(wanted).any(Scenario::needs_foreign) {
        for bundle in foreign::ALL {
            bundle.ensure()?;
        }
    }
    if scenario::all().filter(wanted).any(Scenario::needs_tor) {
        let prepared = systems::Settings::Tor(systems::tor::Settings::default())
            .prepare(&Topology::chain(3)?, runner.as_ref());
        prepared.map_err(|error| error as Box<dyn std::error::Error>)?;
    }
    if args.filter.is_none() {
        tally.add(same_seed_same_bytes(runner.as_ref())?);
        tally.add(same_results(runner.as_ref())?);
    }
    let mut results = Vec::new();
    for scenario in scenario::all().filter(wanted) {
        let result = try_scenario(runner.as_ref(), scenario, args);
        tally.add(result.tally());
        if scenario.needs_tor() {
            tally.add(same_again(runner.as_ref(), scenario, args, &result));
        }
        results.push(result);
    }
    let matrix =
        interop::Matrix::new(results.iter().map(|tried| (tried.scenario, tried.verdicts.as_slice())));
    if scenario::all().filter(|scenario| scenario.name.starts_with("interop-")).all(|one| wanted(&one)) {
        tally.skipped += matrix.untried();
    }
    if args.json {
        println!("{}", serde_json::to_string(&Results { scenarios: &results, matrix: &matrix })?);
        return Ok(tally.exit_code());
    }
    if scenario::all().filter(wanted).any(Scenario::needs_foreign) {
        println!("── other people's daemons\n{matrix}");
    }
    if tally.skipped > 0 {
        println!("{} tests were skipped, which counts as failing", tally.skipped);
    }
    println!("{} passed, {} failed", tally.passed, tally.failed + tally.skipped);
    Ok(tally.exit_code())
}

/// Format, lints and docs, each one test.
fn host_checks() -> Tally {
    let mut tally = Tally::default();
    for (name, arguments, variable) in [
        ("format", &["fmt", "--all", "--check"][..], None),
        ("lints", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"], None),
        (
            "docs",
            &["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"],
            Some(("RUSTDOCFLAGS", "-D warnings")),
        ),
    ] {
        println!("── {name}: cargo {}", arguments.join(" "));
        let mut command = cargo::command();
        command.args(arguments).stdin(Stdio::null());
        if let Some((name, value)) = variable {
            command.env(name, value);
        }
        let pass = command.status().is_ok_and(|status| status.success());
        println!("{} {name}", mark(pass));
        tally.add(Tally::of(pass));
    }
    tally
}

/// Runs the tests of all packages on the host, then those that are marked as needing the lab inside it.
fn cargo_tests() -> Result<Tally, Box<dyn std::error::Error>> {
    println!("── tests on this host: cargo test --workspace --no-fail-fast");
    let mut command = cargo::command();
    command.args(["test", "--workspace", "--no-fail-fast", "--quiet"]).stdin(Stdio::null());
    let (text, success) = cargo::watched(&mut command)?;
    let mut tally = Tally::default();
    for line in text.lines() {
        tally.add(result_line(line).unwrap_or_default());
    }
    if !success && tally.failed == 0 {
        println!("{} cargo test ended without a result", mark(false));
        tally.add(Tally::of(false));
    }
    println!("── tests in the lab: those marked as ignored on this host");
    for program in cargo::test_programs()? {
        let list = Command::new(&program).args(["--ignored", "--list", "--format", "terse"]).output()?;
        if list.stdout.is_empty() {
            continue;
        }
        let mut job = Job::new([program.as_os_str()]);
        job.argv.extend(["--ignored", "--test-threads=1"].map(Into::into));
        job.env.insert("PATH".into(), system::search_path());
        job.cwd = std::env::current_dir()?;
        job.limit = Duration::from_secs(300);
        job.streams = Streams::Capture;
        let finished = runner::choose(Choice::Uml, Clock::Real)?.run(&job)?;
        let text = String::from_utf8_lossy(&finished.stdout).into_owned();
        print!("{text}{}", String::from_utf8_lossy(&finished.stderr));
        let results: Vec<Tally> = text.lines().filter_map(result_line).collect();
        for result in &results {
            tally.passed += result.passed;
            tally.failed += result.failed;
            // They were counted as skipped on the host.
            tally.skipped = tally.skipped.saturating_sub(result.passed + result.failed);
        }
        if results.is_empty() {
            tally.add(Tally::of(false));
        }
    }
    Ok(tally)
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn result_line(line: &str) -> Option<Tally> {
    let counts = line.trim().strip_prefix("test result: ")?.split_once(". ")?.1;
    let count = |word: &str| {
        let part = counts.split("; ").find_map(|part| part.strip_suffix(word));
        part.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    };
    Some(Tally { passed: count("passed"), failed: count("failed"), skipped: count("ignored") })
}

/// The same seed has to give the same captures byte for byte, another seed others.
fn same_seed_same_bytes(runner: &dyn Runner) -> Result<Tally, Box<dyn std::error::Error>> {
    println!("── same-seed: captures of a download over lossy links, twice with one seed, once with another");
    let digest = |seed| -> Result<String, Box<dyn std::error::Error>> {
        let mut job = runner::in_lab(&["digest"])?;
        job.clock = Clock::Virtual { seed };
        let finished = runner.run(&job)?;
        let said = [finished.stdout, finished.stderr].concat();
        Ok(String::from_utf8_lossy(&said).trim().to_owned())
    };
    let (first, again, other) = (digest(1)?, digest(1)?, digest(2)?);
    let digested = first.ends_with(" packets");
    let mut tally = Tally::default();
    for (pass, what) in [
        (digested && first == again, format!("same-seed: seed 1 gives {first}, and again {again}")),
        (digested && first != other, format!("same-seed: seed 2 gives {other}")),
    ] {
        println!("{} {what}", mark(pass));
        tally.add(Tally::of(pass));
    }
    Ok(tally)
}

/// Points of the results in docs/results, run again, have to give the same samples.
fn same_results(runner: &dyn Runner) -> Result<Tally, Box<dyn std::error::Error>> {
    println!("── results: a point of ours and one of Tor's of each experiment in docs/results, run again");
    let library = super::run::library();
    let mut tally = Tally::default();
    for name in library.names()? {
        let dir = cargo::workspace().join("docs/results").join(&name);
        if !dir.is_dir() {
            println!("{} {name}: found no result, expected one in {}", mark(false), dir.display());
            tally.add(Tally::of(false));
            continue;
        }
        let (found, reference) = (library.find(&name)?, Reference::read(&dir)?);
        let versions = super::run::versions(runner, &found)?;
        // Another build of the kernel, another Tor or another release give other samples; that they are there is
        // all one can ask then.
        let others: Vec<&String> = versions
            .iter()
            .filter(|(name, _)| name.as_str() != "ippriv")
            .filter(|(name, version)| reference.manifest.versions.get(*name) != Some(*version))
            .map(|(name, _)| name)
            .collect();
        for record in reference.sampled() {
            let counting = super::run::counting(&found)?;
            let result = reference.again(counting.as_deref().unwrap_or(runner), &found, record);
            let title = record.axes.values().map(experiment::text).collect::<Vec<_>>().join(" ");
            let (pass, what) = match result {
                Ok(()) => (true, "the same".to_owned()),
                Err(why) if others.is_empty() => (false, why),
                Err(why) => {
                    let given = why.starts_with("found `") || why.contains("samples where");
                    (given, format!("not the same with another {others:?}: {why}"))
                }
            };
            println!("{} {name}: {title}: {what}", mark(pass));
            tally.add(Tally::of(pass));
        }
    }
    Ok(tally)
}

/// What `--json` prints.
#[derive(serde::Serialize)]
struct Results<'a> {
    scenarios: &'a [Tried],
    matrix: &'a interop::Matrix,
}

/// A scenario and what it gave.
#[derive(serde::Serialize)]
struct Tried {
    scenario: &'static str,
    seconds: f64,
    verdicts: Vec<Verdict>,
}

impl Tried {
    fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        self.verdicts.iter().for_each(|verdict| tally.add(Tally::of(verdict.pass)));
        tally
    }
}

fn try_scenario(runner: &dyn Runner, scenario: &Scenario, args: &Args) -> Tried {
    if !args.json {
        println!("── {}: {}", scenario.name, scenario.about);
    }
    let report = scenario::run(runner, scenario, args.seed).unwrap_or_else(|error| Report {
        verdicts: vec![Verdict {
            name: "runs".into(),
            pass: false,
            evidence: error.to_string(),
            cells: Vec::new(),
        }],
        said: String::new(),
        wall: Duration::ZERO,
    });
    if !args.json {
        show(scenario, &report, args.verbose);
    }
    let Report { verdicts, wall, .. } = report;
    Tried { scenario: scenario.name, seconds: wall.as_secs_f64(), verdicts }
}

/// Runs a scenario that tells times of other people's programs once more: they have to be the same.
fn same_again(runner: &dyn Runner, scenario: &Scenario, args: &Args, first: &Tried) -> Tally {
    let again = scenario::run(runner, scenario, args.seed);
    let verdicts = again.map(|report| report.verdicts).unwrap_or_default();
    let same = verdicts == first.verdicts;
    if !args.json {
        println!("{} {}: the same seed gives the same again", mark(same), scenario.name);
        for (first, again) in first.verdicts.iter().zip(&verdicts).filter(|(first, again)| first != again) {
            println!("       first {}, then {}", first.evidence, again.evidence);
        }
    }
    Tally::of(same)
}

fn show(scenario: &Scenario, report: &Report, verbose: bool) {
    let failed = report.verdicts.iter().filter(|verdict| !verdict.pass).count();
    for verdict in report.verdicts.iter().filter(|verdict| verbose || !verdict.pass) {
        println!("{} {}: {}", mark(verdict.pass), verdict.name, verdict.evidence);
    }
    if failed > 0 && !report.said.is_empty() {
        println!("{}", report.said.trim_end());
    }
    let seconds = report.wall.as_secs_f64();
    println!(
        "{} {}: {} of {} in {seconds:.1} s",
        mark(failed == 0),
        scenario.name,
        report.verdicts.len() - failed,
        report.verdicts.len()
    );
}

const fn mark(pass: bool) -> &'static str {
    if pass { "  ok  " } else { "FAILED" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_of_a_test_program_is_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(result_line(line), Some(Tally { passed: 12, failed: 3, skipped: 1 }));
        assert_eq!(result_line("test foo ... ok"), None);
    }
}
