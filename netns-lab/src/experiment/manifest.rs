//! What a result says of itself, beside its samples.
//!
//! A result is a directory: `manifest.json`, `samples.csv`, and `points/` from which the two are made. The columns
//! of the samples are `point,rep,seed`, then the axes in the experiment's order, then `of,what,stat,unit,value`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Experiment;

/// The manifest of a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The experiment's name: its file's without folder and ending.
    pub name: String,
    /// Whether it is the short form.
    pub quick: bool,
    /// The experiment as it was run: values of `quick` and of the command line are in their places.
    pub experiment: Experiment,
    /// The command that made it.
    pub command: Vec<String>,
    /// Versions of what took part: `ippriv`, `kernel`, `tor`, …
    pub versions: BTreeMap<String, String>,
    /// Every point, in order.
    pub points: Vec<PointRecord>,
}

/// A point of a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointRecord {
    /// Its number, from 0.
    pub point: usize,
    /// Which repetition of its axes' values it is, from 0.
    pub rep: u32,
    /// Where its randomness started.
    pub seed: u64,
    /// The values of the axes.
    pub axes: Map<String, Value>,
    /// What became of it.
    pub state: PointState,
}

/// What became of a point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PointState {
    /// Its samples are there.
    Done {
        /// Seconds of wall time that it took.
        wall_s: f64,
    },
    /// It gave no samples.
    Failed {
        /// Why.
        why: String,
    },
    /// It was not run yet.
    Open,
}
