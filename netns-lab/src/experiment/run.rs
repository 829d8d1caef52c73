//! Runs an experiment: point by point, as many at a time as there are cores, going on where it was interrupted.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::file::{Experiment, FileError, Time};
use super::library::Found;
use super::manifest::{Manifest, PointRecord, PointState};
use super::plan::{Planned, SYSTEM, text};
use super::point::Point;
use super::progress::{Progress, rough};
use super::store::{Kept, Store};
use crate::parallel;
use crate::runner::{self, Clock, Finished, Runner};
use crate::systems;
use crate::topology::Topology;
use crate::workload::Sample;

/// Characters of a failed point's last words that are kept.
const LAST_WORDS: usize = 2000;

/// How an experiment is run.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// Whether the experiment is in its short form.
    pub quick: bool,
    /// Points at a time.
    pub jobs: usize,
    /// The result's directory.
    pub out: &'a Path,
    /// The command that asked for it.
    pub command: Vec<String>,
    /// Versions of what takes part. Points that others made are made again.
    pub versions: BTreeMap<String, String>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Points that have samples.
    pub done: usize,
    /// Points that have none.
    pub failed: usize,
    /// Points that were there already.
    pub kept: usize,
}

/// Why it could not even begin, or not be kept.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The experiment makes no sense.
    #[error(transparent)]
    File(#[from] FileError),
    /// The result cannot be written.
    #[error("{dir}: {source}")]
    Store {
        /// Where.
        dir: String,
        /// Why.
        source: io::Error,
    },
    /// A system lacks something from outside.
    #[error("{system}: {why}")]
    Unprepared {
        /// Which.
        system: String,
        /// What.
        why: String,
    },
}

/// Runs all points that are not there yet; what fails is noted and does not keep the others from running. `say` gets
/// a line for each point.
///
/// # Errors
/// [`RunError`] when nothing can be run or kept.
pub fn run(
    runner: &dyn Runner,
    found: &Found,
    options: &Options<'_>,
    say: &dyn Fn(&str),
) -> Result<Summary, RunError> {
    let plan = found.experiment.plan(&found.path.display().to_string())?;
    let broken = |source| RunError::Store { dir: options.out.display().to_string(), source };
    let store = Store::open(options.out).map_err(broken)?;
    let made_by = options.versions.iter().map(|(name, version)| format!("{name} {version}"));
    let work = Work {
        runner,
        found,
        options,
        plan: &plan,
        store: &store,
        made_by: made_by.collect::<Vec<_>>().join(", "),
    };
    let (kept, there) = work.all(say).map_err(broken)?;
    let records = plan.iter().enumerate().zip(&kept).map(|((number, planned), kept)| {
        let state = match kept {
            Ok(kept) => PointState::Done { wall_s: kept.wall_s },
            Err(why) => PointState::Failed { why: why.clone() },
        };
        record(number, planned, state)
    });
    let manifest = Manifest {
        name: found.name.clone(),
        quick: options.quick,
        experiment: found.experiment.clone(),
        command: options.command.clone(),
        versions: options.versions.clone(),
        points: records.collect(),
    };
    let failed = kept.iter().filter(|kept| kept.is_err()).count();
    let kept: Vec<Option<Kept>> = kept.into_iter().map(Result::ok).collect();
    store.finish(&manifest, &kept).map_err(broken)?;
    Ok(Summary { done: plan.len() - failed, failed, kept: there })
}

/// Gets what the systems of an experiment need from outside, and says the versions of what that is, by name.
///
/// # Errors
/// [`RunError::Unprepared`] with the system and what it lacks.
pub fn prepare(runner: &dyn Runner, found: &Found) -> Result<BTreeMap<String, String>, RunError> {
    let plan = found.experiment.plan(&found.path.display().to_string())?;
    let mut versions = BTreeMap::new();
    let mut over = Vec::new();
    for Planned { axes, point, .. } in &plan {
        let needs = (&point.system, &point.topology);
        if over.contains(&needs) {
            continue;
        }
        over.push(needs);
        let prepared = || -> systems::Outcome<_> {
            point.workload.prepare()?;
            point.system.prepare(&Topology::parse("topology", &point.topology)?, runner)?;
            point.system.versions()
        };
        versions.extend(prepared().map_err(|error| RunError::Unprepared {
            system: axes.get(SYSTEM).map(text).unwrap_or_default(),
            why: error.to_string(),
        })?);
    }
    Ok(versions)
}

fn record(number: usize, planned: &Planned, state: PointState) -> PointRecord {
    let Planned { axes, rep, point } = planned;
    PointRecord { point: number, rep: *rep, seed: point.seed, axes: axes.clone(), state }
}

struct Work<'a> {
    runner: &'a dyn Runner,
    found: &'a Found,
    options: &'a Options<'a>,
    plan: &'a [Planned],
    store: &'a Store,
    made_by: String,
}

/// What became of each point, and how many were there already.
type Results = (Vec<Result<Kept, String>>, usize);

impl Work<'_> {
    fn all(&self, say: &dyn Fn(&str)) -> io::Result<Results> {
        let kept = |planned| self.store.kept(planned, &self.made_by).map(Ok);
        let mut results: Vec<Option<Result<Kept, String>>> = self.plan.iter().map(kept).collect();
        let there = results.iter().flatten().count();
        let missing: Vec<usize> = (0..results.len()).filter(|number| results[*number].is_none()).collect();
        if there > 0 {
            say(&format!("{there} of {} points are there already", results.len()));
        }
        let mut progress = Progress::new(missing.iter().map(|number| self.kind(*number)));
        let mut done = there;
        let work = |number: &usize| self.one(*number);
        parallel::each(self.options.jobs, &missing, work, |place, ended| {
            let (number, (result, wall)) = (missing[place], ended?);
            done += 1;
            progress.over(self.kind(number), wall);
            say(&self.line(number, done, &result, wall, progress.left(self.options.jobs)));
            results[number] = Some(result);
            Ok::<(), io::Error>(())
        })?;
        let unrun = || Err("was not run".to_owned());
        Ok((results.into_iter().map(|result| result.unwrap_or_else(unrun)).collect(), there))
    }

    /// Points of one system take about as long as one another.
    fn kind(&self, number: usize) -> &str {
        self.plan[number].axes.get(SYSTEM).and_then(serde_json::Value::as_str).unwrap_or_default()
    }

    fn one(&self, number: usize) -> io::Result<(Result<Kept, String>, Duration)> {
        let planned = &self.plan[number];
        let (result, wall) = run_point(self.runner, &self.found.experiment, &planned.point)?;
        let result = match result {
            Ok(samples) => Ok(self.store.keep(planned, &self.made_by, (wall.as_secs_f64(), samples))?),
            Err(why) => Err(why),
        };
        Ok((result, wall))
    }

    fn line(
        &self,
        number: usize,
        done: usize,
        result: &Result<Kept, String>,
        wall: Duration,
        left: Option<Duration>,
    ) -> String {
        let title = self.plan[number].title(&self.found.experiment.axes);
        let what = match result {
            Ok(_) => format!("{:.1} s", wall.as_secs_f64()),
            Err(why) => format!("FAILED: {}", why.lines().last().unwrap_or_default()),
        };
        let left = left.filter(|left| !left.is_zero()).map(|left| format!(", {} left", rough(left)));
        format!("{done}/{}{} {title}: {what}", self.plan.len(), left.unwrap_or_default())
    }
}

/// Runs one point in the lab: its samples, or why there are none, and the wall time.
pub(super) fn run_point(
    runner: &dyn Runner,
    experiment: &Experiment,
    point: &Point,
) -> io::Result<(Result<Vec<Sample>, String>, Duration)> {
    let mut job = runner::in_lab(&["point"])?;
    job.stdin = serde_json::to_vec(point)?;
    job.clock = match experiment.time {
        Time::Virtual => Clock::Virtual { seed: point.seed },
        Time::Instructions => Clock::Instructions,
    };
    job.limit = Duration::from_secs(experiment.limit_s);
    job.memory_mib = experiment.memory_mib;
    Ok(match runner.run(&job) {
        Err(error) => (Err(error.to_string()), job.limit),
        Ok(finished) => (samples(&finished), finished.wall),
    })
}

/// The samples that a point's lab wrote, or why there are none.
fn samples(finished: &Finished) -> Result<Vec<Sample>, String> {
    let said = String::from_utf8_lossy(&finished.stdout);
    if finished.code != 0 {
        let stderr = String::from_utf8_lossy(&finished.stderr);
        let words = format!("{said}{stderr}");
        let cut = words.char_indices().rev().nth(LAST_WORDS).map_or(0, |(at, _)| at);
        return Err(format!("exit code {}: {}", finished.code, words[cut..].trim()));
    }
    let read = |line: &str| {
        serde_json::from_str(line).map_err(|error| format!("found `{line}`, expected a sample: {error}"))
    };
    said.lines().map(read).collect()
}

/// The names of the systems that an experiment compares.
#[must_use]
pub fn systems(found: &Found) -> Vec<String> {
    let axis = found.experiment.axes.iter().find(|axis| axis.name == SYSTEM);
    axis.map(|axis| axis.values.iter().map(text).collect()).unwrap_or_default()
}
