//! The directory of a result: a file for each point that is done, and what is made of them all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::file::Axis;
use super::manifest::{Manifest, PointRecord, PointState};
use super::plan::{Planned, text};
use super::point::Point;
use crate::workload::Sample;

/// The samples of all points.
pub(super) const SAMPLES: &str = "samples.csv";
/// What they are samples of.
pub(super) const MANIFEST: &str = "manifest.json";
/// The directory of points.
const POINTS: &str = "points";

/// A result being made.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
}

/// A point that was run: good for as long as it is asked for exactly so.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    point: Point,
    made_by: String,
    pub(super) wall_s: f64,
    pub(super) samples: Vec<Sample>,
}

impl Store {
    /// Makes the directory.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir.join(POINTS))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// What is there of a point, when it was made by the same programs.
    pub(super) fn kept(&self, planned: &Planned, made_by: &str) -> Option<Kept> {
        let kept: Kept = serde_json::from_slice(&fs::read(self.path(&planned.point)?).ok()?).ok()?;
        (kept.point == planned.point && kept.made_by == made_by).then_some(kept)
    }

    /// Keeps a point, whole or not at all.
    pub(super) fn keep(
        &self,
        planned: &Planned,
        made_by: &str,
        (wall_s, samples): (f64, Vec<Sample>),
    ) -> io::Result<Kept> {
        let kept = Kept { point: planned.point.clone(), made_by: made_by.to_owned(), wall_s, samples };
        if let Some(path) = self.path(&planned.point) {
            self.write(&path, &serde_json::to_vec(&kept)?)?;
        }
        Ok(kept)
    }

    /// Writes the manifest, and the samples of all points that are done.
    pub(super) fn finish(&self, manifest: &Manifest, kept: &[Option<Kept>]) -> io::Result<()> {
        let csv = csv(&manifest.experiment.axes, manifest, kept);
        self.write(&self.dir.join(SAMPLES), csv.as_bytes())?;
        let mut json = serde_json::to_vec_pretty(manifest)?;
        json.push(b'\n');
        self.write(&self.dir.join(MANIFEST), &json)
    }

    /// Where a point is kept: what it is makes its name, so that an experiment can be changed between two runs.
    fn path(&self, point: &Point) -> Option<PathBuf> {
        let text = serde_json::to_vec(point).ok()?;
        let digest = digest::digest(&digest::SHA256, &text);
        let name: String = digest.as_ref().iter().take(12).map(|octet| format!("{octet:02x}")).collect();
        Some(self.dir.join(POINTS).join(name).with_extension("json"))
    }

    fn write(&self, path: &Path, octets: &[u8]) -> io::Result<()> {
        let thread = std::thread::current().id();
        let unfinished = self.dir.join(format!(".{}.{thread:?}.unfinished", std::process::id()));
        fs::write(&unfinished, octets)?;
        fs::rename(unfinished, path)
    }
}

/// The samples, tidy: one a line.
fn csv(axes: &[Axis], manifest: &Manifest, kept: &[Option<Kept>]) -> String {
    let names = axes.iter().map(|axis| axis.name.as_str());
    let columns: Vec<&str> = ["point", "rep", "seed"]
        .into_iter()
        .chain(names)
        .chain(["of", "what", "stat", "unit", "value"])
        .collect();
    let mut lines = columns.join(",") + "\n";
    for (record, kept) in manifest.points.iter().zip(kept) {
        let (PointState::Done { .. }, Some(kept)) = (&record.state, kept) else { continue };
        lines.extend(lines_of(axes, record, &kept.samples));
    }
    lines
}

/// The lines of one point.
pub(super) fn lines_of(axes: &[Axis], record: &PointRecord, samples: &[Sample]) -> Vec<String> {
    let value = |axis: &Axis| quoted(&record.axes.get(&axis.name).map_or_else(String::new, text));
    let mut place = vec![record.point.to_string(), record.rep.to_string(), record.seed.to_string()];
    place.extend(axes.iter().map(value));
    let place = place.join(",");
    let line = |Sample { of, what, stat, unit, value }: &Sample| {
        let words = [of, what, stat, unit].map(|word| quoted(word)).join(",");
        format!("{place},{words},{}\n", Value::from(*value))
    };
    samples.iter().map(line).collect()
}

/// A field as RFC 4180 wants it.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}
