//! Results that are kept with the project: a few of their points are run again, and have to give the same samples.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::file::Time;
use super::library::Found;
use super::manifest::{Manifest, PointRecord, PointState};
use super::plan::{SYSTEM, text};
use super::run::run_point;
use super::store::{MANIFEST, SAMPLES, lines_of};
use crate::runner::Runner;

/// The drivers that experiments are about.
const MAIN: [&str; 2] = ["ippriv", "tor"];
/// The unit of samples that are counts of instructions.
const COUNTED: &str = "instr/B";
/// How far two counts may be apart: which packets the kernel handles together is not the same twice.
const NEAR: f64 = 0.25;
/// How far small ones may be apart.
const NEAR_ANYWAY: f64 = 2.0;
/// Lines that are shown of a difference.
const SHOWN: usize = 3;

/// Why a point that was run again is not as it is kept.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It has samples, but others.
    #[error("{0}")]
    Samples(String),
    /// The experiment has no such point any more.
    #[error("found a point that the experiment no longer has, expected a result of the experiment as it is")]
    NoSuchPoint,
    /// It could not be run.
    #[error("{0}")]
    Failed(String),
}

/// A kept result.
#[derive(Debug)]
pub struct Reference {
    /// What it says of itself.
    pub manifest: Manifest,
    samples: String,
}

impl Reference {
    /// Reads the result in a directory.
    ///
    /// # Errors
    /// Which file cannot be read, and why.
    pub fn read(dir: &Path) -> Result<Self, String> {
        let read = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let manifest = serde_json::from_str(&read(MANIFEST)?)
            .map_err(|error| format!("{}: {error}", dir.join(MANIFEST).display()))?;
        Ok(Self { manifest, samples: read(SAMPLES)? })
    }

    /// The points to run again: the one of ours and the one of Tor that took the least time, and where neither is
    /// there, of each driver. Where instructions are counted, which takes minutes, only the first of these.
    #[must_use]
    pub fn sampled(&self) -> Vec<&PointRecord> {
        let mut least: BTreeMap<String, (f64, &PointRecord)> = BTreeMap::new();
        for record in &self.manifest.points {
            let PointState::Done { wall_s } = record.state else { continue };
            let system = record.axes.get(SYSTEM).map(text).unwrap_or_default();
            let settings = self.manifest.experiment.systems.get(&system);
            let driver = settings.map(|settings| text(&settings["driver"])).unwrap_or_default();
            let found = least.entry(driver).or_insert((wall_s, record));
            if wall_s < found.0 {
                *found = (wall_s, record);
            }
        }
        if least.keys().any(|driver| MAIN.contains(&driver.as_str())) {
            least.retain(|driver, _| MAIN.contains(&driver.as_str()));
        }
        let most = if self.manifest.experiment.time == Time::Virtual { least.len() } else { 1 };
        least.into_values().map(|(_, record)| record).take(most).collect()
    }

    /// Runs a point again, as the experiment is today.
    ///
    /// # Errors
    /// How the experiment or its samples differ from those that are kept.
    pub fn again(&self, runner: &dyn Runner, found: &Found, record: &PointRecord) -> Result<(), Mismatch> {
        let failed = |error: &dyn std::fmt::Display| Mismatch::Failed(error.to_string());
        let experiment =
            if self.manifest.quick { found.experiment.clone().quick() } else { found.experiment.clone() };
        let plan = experiment.plan(&found.path.display().to_string()).map_err(|error| failed(&error))?;
        let same = plan
            .iter()
            .find(|planned| planned.axes == record.axes && planned.rep == record.rep)
            .filter(|planned| planned.point.seed == record.seed)
            .ok_or(Mismatch::NoSuchPoint)?;
        let (result, _) = run_point(runner, &experiment, &same.point).map_err(|error| failed(&error))?;
        let samples = result.map_err(|error| failed(&error))?;
        let lines = lines_of(&self.manifest.experiment.axes, record, &samples);
        match experiment.time {
            Time::Virtual => self.compare(record, &lines),
            Time::Instructions => self.compare_counts(record, &lines),
        }
    }

    /// The lines that are kept of a point.
    fn kept(&self, record: &PointRecord) -> Vec<&str> {
        let place = format!("{},", record.point);
        self.samples.split_inclusive('\n').filter(|line| line.starts_with(&place)).collect()
    }

    /// Compares lines with those that are kept of a point: of the same, and counts of instructions near each other.
    fn compare_counts(&self, record: &PointRecord, now: &[String]) -> Result<(), Mismatch> {
        let kept = self.kept(record);
        if kept.len() != now.len() {
            return Err(number(now.len(), kept.len()));
        }
        for (kept, now) in kept.into_iter().zip(now) {
            let differs = || {
                let text = format!("found `{}`, expected about `{}`", now.trim_end(), kept.trim_end());
                Mismatch::Samples(text)
            };
            let split = |line: &str| -> Option<(String, f64)> {
                let (name, value) = line.trim_end().rsplit_once(',')?;
                Some((name.to_owned(), value.parse().ok()?))
            };
            let ((kept, before), (now, after)) = split(kept).zip(split(now)).ok_or_else(differs)?;
            let apart = (after - before).abs();
            let far = apart > NEAR_ANYWAY && apart > NEAR * before.abs();
            if kept != now || (kept.ends_with(COUNTED) && far) {
                return Err(differs());
            }
        }
        Ok(())
    }

    /// Compares lines with those that are kept of a point.
    fn compare(&self, record: &PointRecord, now: &[String]) -> Result<(), Mismatch> {
        let kept = self.kept(record);
        let differ = kept.iter().zip(now).filter(|(kept, now)| *kept != now);
        let shown: Vec<String> = differ
            .take(SHOWN)
            .map(|(kept, now)| format!("found `{}`, expected `{}`", now.trim_end(), kept.trim_end()))
            .collect();
        if shown.is_empty() && kept.len() == now.len() {
            return Ok(());
        }
        Err(if shown.is_empty() {
            number(now.len(), kept.len())
        } else {
            Mismatch::Samples(shown.join("; "))
        })
    }
}

fn number(now: usize, kept: usize) -> Mismatch {
    Mismatch::Samples(format!("{now} samples where {kept} are kept"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference() -> Reference {
        let point = |number: usize, system: &str, wall_s: f64| {
            serde_json::json!({
                "point": number, "rep": 0, "seed": 1, "axes": { "system": system },
                "state": { "done": { "wall_s": wall_s } },
            })
        };
        let manifest = serde_json::json!({
            "name": "x", "quick": false, "command": [], "versions": {},
            "points": [point(0, "old", 9.0), point(1, "tor", 4.0), point(2, "ippriv", 1.0), point(3, "no", 0.1)],
            "experiment": {
                "about": "", "answers": [], "caveats": [], "topology": "", "circuits": [], "servers": [],
                "systems": {
                    "tor": { "driver": "tor" }, "old": { "driver": "tor" }, "ippriv": { "driver": "ippriv" },
                    "no": { "driver": "direct" },
                },
                "workload": {}, "axes": [{ "name": "system", "values": ["tor", "ippriv"] }],
                "repetitions": 1, "plots": [],
            },
        });
        let samples = "point,…\n1,0,1,tor,a,b,c,d,5\n10,0,1,tor,a,b,c,d,7\n".to_owned();
        Reference { manifest: serde_json::from_value(manifest).unwrap(), samples }
    }

    #[test]
    fn the_cheapest_points_of_ours_and_of_tor_are_run_again() {
        let points: Vec<usize> = reference().sampled().iter().map(|record| record.point).collect();
        assert_eq!(points, [2, 1]);
    }

    #[test]
    fn counts_may_differ_a_little_and_other_samples_at_all() {
        let mut reference = reference();
        reference.samples = "1,0,1,tor,a,cpu,sum,instr/B,40\n1,0,1,tor,a,goodput,sum,Mbit/s,5\n".to_owned();
        let lines = |cpu: f64, goodput: f64| {
            vec![
                format!("1,0,1,tor,a,cpu,sum,instr/B,{cpu}\n"),
                format!("1,0,1,tor,a,goodput,sum,Mbit/s,{goodput}\n"),
            ]
        };
        let record = reference.manifest.points[1].clone();
        assert_eq!(reference.compare_counts(&record, &lines(45.0, 9.0)), Ok(()));
        let far = reference.compare_counts(&record, &lines(60.0, 5.0)).unwrap_err().to_string();
        assert!(far.starts_with("found `1,0,1,tor"), "{far}");
        assert!(reference.compare_counts(&record, &lines(40.0, 5.0)[..1]).is_err());
        reference.manifest.experiment.time = Time::Instructions;
        assert_eq!(reference.sampled().len(), 1);
    }

    #[test]
    fn a_sample_that_differs_is_told() {
        let reference = reference();
        let record = &reference.manifest.points[1];
        let line = |value: u32| vec![format!("1,0,1,tor,a,b,c,d,{value}\n")];
        assert_eq!(reference.compare(record, &line(5)), Ok(()));
        assert_eq!(
            reference.compare(record, &line(6)),
            Err(Mismatch::Samples("found `1,0,1,tor,a,b,c,d,6`, expected `1,0,1,tor,a,b,c,d,5`".to_owned()))
        );
        assert_eq!(reference.compare(record, &[]), Err(number(0, 1)));
    }
}
