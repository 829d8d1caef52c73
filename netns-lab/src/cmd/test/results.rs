//! What has to come out again as it did before.

use std::path::Path;

use ippriv_lab::experiment::{self, Found, Mismatch, PointRecord, Reference, Time};
use ippriv_lab::parallel;
use ippriv_lab::runner::{self, Clock, Runner};

use super::{Tally, mark};
use crate::cmd::{cargo, run};

/// The same seed has to give the same captures byte for byte, another seed others.
pub(super) fn same_seed_same_bytes(runner: &dyn Runner) -> Result<Tally, Box<dyn std::error::Error>> {
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

/// An experiment whose result is kept.
struct Kept {
    found: Found,
    reference: Reference,
    /// What runs its points, where the lab kernel does not.
    counting: Option<Box<dyn Runner>>,
    /// What takes part today in another version than then.
    others: Vec<String>,
}

/// Where results are kept.
const RESULTS: &str = "docs/results";
/// Where short forms of those are kept whose points take too long to be run again by each test.
const SHORT: &str = "tests/results";

/// Points of the results that are kept, run again, `jobs` at a time, have to give the same samples. Only of those
/// whose name with `result-` before it is `wanted`.
pub(super) fn same_results(
    runner: &dyn Runner,
    jobs: usize,
    wanted: impl Fn(&str) -> bool,
) -> Result<Tally, Box<dyn std::error::Error>> {
    let mut tally = Tally::default();
    let mut names = run::library().names()?;
    names.retain(|name| wanted(&titled(name)));
    if names.is_empty() {
        return Ok(tally);
    }
    println!("── results: a point of ours and one of Tor's of each experiment in docs/results, run again");
    let mut all = Vec::new();
    for name in names {
        let [whole, short] = [RESULTS, SHORT].map(|dir| cargo::workspace().join(dir).join(&name));
        if whole.is_dir() {
            all.push(kept(runner, &name, if short.is_dir() { &short } else { &whole })?);
        } else {
            println!(
                "{} {}: found no result, expected one in {}",
                mark(false),
                titled(&name),
                whole.display()
            );
            tally.add(Tally::of(false));
        }
    }
    let points =
        all.iter().flat_map(|kept| kept.reference.sampled().into_iter().map(move |record| (kept, record)));
    let again = |(kept, record): &(&Kept, &PointRecord)| {
        kept.reference.again(kept.counting.as_deref().unwrap_or(runner), &kept.found, record)
    };
    parallel::in_order(jobs, &points.collect::<Vec<_>>(), again, |(kept, record), result| {
        let (pass, what) = kept.judged(result);
        let title = record.axes.values().map(experiment::text).collect::<Vec<_>>().join(" ");
        println!("{} {}: {title}: {what}", mark(pass), titled(&kept.found.name));
        tally.add(Tally::of(pass));
    });
    Ok(tally)
}

/// What the test of a kept result is called.
fn titled(name: &str) -> String {
    format!("result-{name}")
}

fn kept(runner: &dyn Runner, name: &str, dir: &Path) -> Result<Kept, Box<dyn std::error::Error>> {
    let (found, reference) = (run::library().find(name)?, Reference::read(dir)?);
    let versions = run::versions(runner, &found)?.into_iter().filter(|(name, _)| name != "ippriv");
    let others = versions.filter(|(name, version)| reference.manifest.versions.get(name) != Some(version));
    let others = others.map(|(name, _)| name).collect();
    Ok(Kept { counting: run::counting(&found)?, found, reference, others })
}

impl Kept {
    /// Whether what came of a point passes, and what is said of it. Another build of the kernel, another Tor or
    /// another release give other samples; that they are there is all one can ask then.
    fn judged(&self, result: Result<(), Mismatch>) -> (bool, String) {
        match result {
            Ok(()) if self.found.experiment.time == Time::Instructions => (true, "about the same".to_owned()),
            Ok(()) => (true, "the same".to_owned()),
            Err(Mismatch::Samples(why)) if !self.others.is_empty() => {
                (true, format!("not the same with another {:?}: {why}", self.others))
            }
            Err(why) => (false, why.to_string()),
        }
    }
}
