//! `cargo lab run` and `cargo lab list`: experiments.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use ippriv_lab::experiment::{self, Found, Library, Options, Time};
use ippriv_lab::kernel;
use ippriv_lab::parallel;
use ippriv_lab::runner::{self, Choice, Clock, RunError, Runner};
use ippriv_lab::stock::Stock;
use ippriv_lab::system;
use serde_json::{Value, json};

use super::cargo;
use crate::Outcome;

/// Where results go unless something else is said, below the workspace.
const RESULTS: &str = "target/lab/results";

/// Runs an experiment: in virtual time, the same on every machine, or on a processor that counts instructions.
#[derive(clap::Args)]
pub(crate) struct Run {
    /// Its name (see `cargo lab list`), or a file.
    experiment: String,
    /// The short form.
    #[arg(long)]
    quick: bool,
    /// Only these values of an axis, separated by commas; may be given for several axes.
    #[arg(long, value_name = "AXIS=VALUE,…", value_parser = parse_only)]
    only: Vec<(String, Vec<String>)>,
    /// Where randomness starts, instead of where the file says.
    #[arg(long)]
    seed: Option<u64>,
    /// How often each point is run, instead of as the file says.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: Option<u32>,
    /// Where the keys of ippriv's circuits come from: IKEv2, or dealt out by the lab.
    #[arg(long, value_enum)]
    keying: Option<Keying>,
    /// Points at a time; as many as there are cores if this is not said.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// The result's directory; points that it has already are kept.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Lists the experiments.
#[derive(clap::Args)]
pub(crate) struct List {
    /// Print one JSON array instead.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Keying {
    /// `ipprivd` on every host.
    Ike,
    /// Dealt out by the lab.
    Static,
}

/// The experiments that come with the project.
pub(super) fn library() -> Library {
    Library::at(&cargo::workspace().join("netns-lab/experiments"))
}

pub(crate) fn run(args: &Run) -> Outcome {
    let found = changed(library().find(&args.experiment)?, args)?;
    let name = if args.quick { format!("{}-quick", found.name) } else { found.name.clone() };
    let out = args.out.clone().unwrap_or_else(|| cargo::workspace().join(RESULTS).join(name));
    // Nonsense is told before anything is built.
    found.experiment.plan(&found.path.display().to_string())?;
    system::ensure(system::LAB)?;
    cargo::build_commands()?;
    // What systems keep from one run to the next is made in virtual time, whatever the points see.
    let lab = runner::choose(Choice::Uml, Clock::Virtual { seed: 1 })?;
    let versions = versions(lab.as_ref(), &found)?;
    let counting = counting(&found)?;
    let runner = counting.as_deref().unwrap_or(lab.as_ref());
    let options = Options {
        quick: args.quick,
        jobs: args.jobs.map_or_else(parallel::cores, usize::from),
        out: &out,
        command: std::env::args().skip(1).collect(),
        versions,
    };
    let summary = experiment::run(runner, &found, &options, &|line| eprintln!("{line}"))?;
    println!("{} points, {} failed: {}", summary.done + summary.failed, summary.failed, out.display());
    Ok(if summary.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The runner that counts instructions, if that is what the experiment is about.
pub(super) fn counting(found: &Found) -> Result<Option<Box<dyn Runner>>, RunError> {
    match found.experiment.time {
        Time::Virtual => Ok(None),
        Time::Instructions => runner::choose(Choice::Qemu, Clock::Instructions).map(Some),
    }
}

/// The experiment as the command line wants it.
fn changed(mut found: Found, args: &Run) -> Result<Found, Box<dyn std::error::Error>> {
    if args.quick {
        found.experiment = found.experiment.quick();
    }
    let mut narrowed = BTreeSet::new();
    for (axis, values) in &args.only {
        if !narrowed.insert(axis) {
            return Err(format!("--only {axis}: found twice, expected all its values at once").into());
        }
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        found.experiment = found.experiment.only(axis, &values)?;
    }
    found.experiment.seed = args.seed.unwrap_or(found.experiment.seed);
    found.experiment.repetitions = args.repetitions.unwrap_or(found.experiment.repetitions);
    if let Some(keying) = args.keying {
        let keying = match keying {
            Keying::Ike => "ike",
            Keying::Static => "static",
        };
        for (_, settings) in &mut found.experiment.systems {
            if settings["driver"] == "ippriv" {
                settings["keying"] = keying.into();
            }
        }
    }
    Ok(found)
}

/// Versions of the kernel, of our own programs, and of what the systems of an experiment are made of.
pub(super) fn versions(
    runner: &dyn Runner,
    found: &Found,
) -> Result<BTreeMap<String, String>, Box<dyn std::error::Error>> {
    let mut versions = BTreeMap::from([
        ("kernel".to_owned(), kernel::ensure()?.build()?),
        ("ippriv".to_owned(), own_version(cargo::workspace())),
        ("system".to_owned(), system::name()),
    ]);
    if found.experiment.time == Time::Instructions {
        versions.extend(Stock::ensure()?.versions());
    }
    versions.extend(experiment::prepare(runner, found)?);
    Ok(versions)
}

/// The commit that the programs are built from, and whether something was changed since.
fn own_version(workspace: &Path) -> String {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty", "--abbrev=12"]).current_dir(workspace).stderr(Stdio::null());
    let said = git.output().ok().filter(|output| output.status.success()).map(|output| output.stdout);
    let commit = said.map(|said| String::from_utf8_lossy(&said).trim().to_owned());
    commit.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned())
}

pub(crate) fn list(args: &List) -> Outcome {
    let library = library();
    let mut out = io::stdout().lock();
    let mut all = Vec::new();
    for name in library.names()? {
        let found = library.find(&name)?;
        if args.json {
            all.push(entry(&found)?);
            continue;
        }
        writeln!(out, "{name:<20} {}", found.experiment.about)?;
        for answer in &found.experiment.answers {
            writeln!(out, "{:<20}   {}, {}", "", answer.figure, answer.paper)?;
        }
    }
    if args.json {
        writeln!(out, "{}", Value::Array(all))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn entry(found: &Found) -> Result<Value, Box<dyn std::error::Error>> {
    let experiment = &found.experiment;
    let file = found.path.display().to_string();
    Ok(json!({
        "name": found.name,
        "about": experiment.about,
        "answers": experiment.answers,
        "systems": experiment::systems(found),
        "points": experiment.plan(&file)?.len(),
        "quick_points": experiment.clone().quick().plan(&file)?.len(),
    }))
}

fn parse_only(text: &str) -> Result<(String, Vec<String>), String> {
    let (axis, values) = text.split_once('=').ok_or("expected AXIS=VALUE,VALUE")?;
    Ok((axis.to_owned(), values.split(',').map(str::to_owned).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_narrowed_by_lists() {
        let only = parse_only("loss=0%,3%").unwrap();
        assert_eq!(only, ("loss".to_owned(), vec!["0%".to_owned(), "3%".to_owned()]));
        assert!(parse_only("loss").is_err());
    }
}
