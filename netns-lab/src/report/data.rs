//! Reading a result: its manifest and its samples, checked against each other.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::experiment::{Axis, Manifest, OF, PointRecord};
use crate::workload::Sample;

/// A result that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Its samples, in the order of the file.
    pub rows: Vec<Row>,
    /// What they are of, as an axis: in the order of the file, and times as their seconds.
    pub(super) places: Axis,
}

/// A sample and the point it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where the point is in [`Manifest::points`].
    pub at: usize,
    /// The sample.
    pub sample: Sample,
}

/// Why a directory is not a result.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The manifest is not one.
    #[error("{}: {source}", path.display())]
    Manifest {
        /// Its file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// The samples are not CSV, or not those of the manifest.
    #[error("{}: line {line}: {what}", path.display())]
    Samples {
        /// Their file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What was found, and what expected.
        what: String,
    },
}

impl Measured {
    /// Reads the result in a directory.
    ///
    /// # Errors
    /// [`ReadError`] with the file and the line.
    pub fn read(dir: &Path) -> Result<Self, ReadError> {
        let read = |name: &str| {
            let path = dir.join(name);
            std::fs::read_to_string(&path)
                .map_err(|source| ReadError::Unreadable { path: path.clone(), source })
                .map(|text| (path, text))
        };
        let (path, text) = read("manifest.json")?;
        let manifest = serde_json::from_str(&text).map_err(|source| ReadError::Manifest { path, source })?;
        let (path, text) = read("samples.csv")?;
        let rows = rows(&manifest, &text).map_err(|(line, what)| ReadError::Samples { path, line, what })?;
        Ok(Self::new(manifest, rows))
    }

    /// A result of these samples.
    pub(super) fn new(manifest: Manifest, rows: Vec<Row>) -> Self {
        let mut names: Vec<&str> = Vec::new();
        for row in &rows {
            if !names.contains(&row.sample.of.as_str()) {
                names.push(&row.sample.of);
            }
        }
        let places =
            Axis { name: OF.to_owned(), label: None, values: names.into_iter().map(place).collect() };
        Self { manifest, rows, places }
    }

    /// The value of an axis at a point, or what is fixed by that name.
    #[must_use]
    pub fn value<'a>(&'a self, point: &'a PointRecord, axis: &str) -> Option<&'a Value> {
        point.axes.get(axis).or_else(|| self.manifest.experiment.fixed.get(axis))
    }

    /// The driver of a system: what its settings say, else what its name begins with.
    #[must_use]
    pub fn driver<'a>(&'a self, system: &'a str) -> &'a str {
        let settings = self.manifest.experiment.systems.get(system);
        let said = settings.and_then(|settings| settings.get("driver")?.as_str());
        said.unwrap_or_else(|| system.split('-').next().unwrap_or(system))
    }
}

/// A value of an axis as text: as it is in samples, figures and tables.
#[must_use]
pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What a sample is of, as a place on an axis: `t=5` is the number.
pub(super) fn place(of: &str) -> Value {
    let time: Option<serde_json::Number> = of.strip_prefix("t=").and_then(|seconds| seconds.parse().ok());
    time.map_or_else(|| of.into(), Value::Number)
}

fn rows(manifest: &Manifest, csv: &str) -> Result<Vec<Row>, (u64, String)> {
    let axes: Vec<&str> = manifest.experiment.axes.iter().map(|axis| axis.name.as_str()).collect();
    let columns = [&["point", "rep", "seed"][..], &axes, &["of", "what", "stat", "unit", "value"]].concat();
    let mut reader = csv::ReaderBuilder::new().from_reader(csv.as_bytes());
    let line_of = |error: &csv::Error| error.position().map_or(1, csv::Position::line);
    let header = reader.headers().map_err(|error| (line_of(&error), error.to_string()))?;
    if header.iter().ne(columns.iter().copied()) {
        let found: Vec<&str> = header.iter().collect();
        return Err((1, format!("columns {}: expected {}", found.join(","), columns.join(","))));
    }
    let by_number: BTreeMap<(usize, u32), usize> =
        manifest.points.iter().enumerate().map(|(at, point)| ((point.point, point.rep), at)).collect();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| (line_of(&error), error.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        rows.push(row(manifest, &by_number, &axes, &record).map_err(|what| (line, what))?);
    }
    Ok(rows)
}

fn row(
    manifest: &Manifest,
    by_number: &BTreeMap<(usize, u32), usize>,
    axes: &[&str],
    record: &csv::StringRecord,
) -> Result<Row, String> {
    let field = |at: usize| record.get(at).unwrap_or_default();
    let (number, rep, seed) = (whole(field(0), "point")?, whole(field(1), "rep")?, whole(field(2), "seed")?);
    let place = usize::try_from(number).ok().zip(u32::try_from(rep).ok());
    let at = *place
        .and_then(|place| by_number.get(&place))
        .ok_or_else(|| format!("point {number}, repetition {rep}: expected one of the manifest"))?;
    let point = &manifest.points[at];
    if point.seed != seed {
        return Err(format!("seed {seed}: expected {}, as the manifest says", point.seed));
    }
    for (axis, found) in axes.iter().zip(record.iter().skip(3)) {
        let expected = point.axes.get(*axis).map(text).unwrap_or_default();
        if expected != found {
            return Err(format!("{axis} {found}: expected {expected}, as the manifest says"));
        }
    }
    let rest = 3 + axes.len();
    let value = field(rest + 4);
    let sample = Sample {
        of: field(rest).to_owned(),
        what: field(rest + 1).to_owned(),
        stat: field(rest + 2).to_owned(),
        unit: field(rest + 3).to_owned(),
        value: value
            .parse()
            .ok()
            .filter(|value: &f64| value.is_finite())
            .ok_or_else(|| format!("value {value}: expected a finite number"))?,
    };
    Ok(Row { at, sample })
}

fn whole(text: &str, column: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{column} {text}: expected a whole number"))
}

#[cfg(test)]
mod tests {
    use super::super::made;
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dir = made::Dir::new("read");
        let measured = made::loss_sweep();
        made::write(&measured, dir.path());
        assert_eq!(Measured::read(dir.path()).unwrap(), measured);
    }

    #[test]
    fn quoted_fields_keep_commas_quotes_and_lines() {
        let dir = made::Dir::new("quoted");
        let mut measured = made::loss_sweep();
        for row in &mut measured.rows {
            row.sample.of = "a \"b\", c\nd".to_owned();
        }
        let measured = Measured::new(measured.manifest, measured.rows);
        made::write(&measured, dir.path());
        assert_eq!(Measured::read(dir.path()).unwrap(), measured);
    }

    #[test]
    fn errors_name_file_and_line() {
        let dir = made::Dir::new("errors");
        let error = || Measured::read(dir.path()).unwrap_err().to_string();
        assert!(error().contains("manifest.json: No such file"), "{}", error());
        made::write(&made::loss_sweep(), dir.path());
        let samples = dir.path().join("samples.csv");
        let good = std::fs::read_to_string(&samples).unwrap();
        let header = good.lines().next().unwrap();
        for (line, wrong, says) in [
            (
                1,
                "point,rep,seed,of",
                "line 1: columns point,rep,seed,of: expected point,rep,seed,system,loss,",
            ),
            (2, "0,0,1,direct,0,bulk,goodput,mean,Mbit/s,nan", "line 2: value nan: expected a finite number"),
            (
                2,
                "0,0,1,direct,3,bulk,goodput,mean,Mbit/s,1",
                "line 2: loss 3: expected 0, as the manifest says",
            ),
            (
                2,
                "0,0,9,direct,0,bulk,goodput,mean,Mbit/s,1",
                "line 2: seed 9: expected 1, as the manifest says",
            ),
            (
                2,
                "999,0,1,direct,0,bulk,goodput,mean,Mbit/s,1",
                "line 2: point 999, repetition 0: expected one of",
            ),
            (2, "x,0,1,direct,0,bulk,goodput,mean,Mbit/s,1", "line 2: point x: expected a whole number"),
            (2, "0,0,1", "3 fields"),
        ] {
            let text = if line == 1 { format!("{wrong}\n") } else { format!("{header}\n{wrong}\n") };
            std::fs::write(&samples, text).unwrap();
            assert!(error().contains("samples.csv"), "{}", error());
            assert!(error().contains(says), "{}", error());
        }
        std::fs::write(dir.path().join("manifest.json"), "{\n]").unwrap();
        assert!(error().contains("line 2 column 1"), "{}", error());
    }

    #[test]
    fn drivers_are_known_by_settings_or_by_name() {
        let measured = made::loss_sweep();
        assert_eq!(measured.driver("tor-kist"), "tor");
        assert_eq!(measured.driver("wireguard-3"), "wireguard");
    }
}
