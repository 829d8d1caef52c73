//! The file of an experiment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An experiment. Strings `$NAME` in `topology`, `circuits`, `servers`, `system` and `workload` stand for the value
/// of that axis (or of `fixed`) at a point; in the text of `topology` they may be anywhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// What is asked, in a sentence.
    pub about: String,
    /// Which figures or tables of papers it answers.
    pub answers: Vec<Answer>,
    /// What the model leaves out, and how far to trust the result; a sentence each.
    pub caveats: Vec<String>,
    /// The network: a topology's YAML text (see netns-lab/topologies), or `{ star: … }` for one that is made.
    pub topology: Value,
    /// The paths that clients use: a list of `{ client, hops }`, or `{ random: … }` for some that are made.
    pub circuits: Value,
    /// The nodes that clients talk to.
    pub servers: Value,
    /// Settings of systems by the names that the axis `system` uses; they come on top of those that all experiments
    /// share (systems.yaml beside the experiments).
    #[serde(default)]
    pub systems: Map<String, Value>,
    /// What clients do.
    pub workload: Value,
    /// Whose time it is.
    #[serde(default, skip_serializing_if = "Time::is_virtual")]
    pub time: Time,
    /// What is varied: every combination is a point, the last axis varying fastest. The axis `system` is always
    /// there.
    pub axes: Vec<Axis>,
    /// Values that are the same at every point, unless `quick` says otherwise.
    #[serde(default)]
    pub fixed: Map<String, Value>,
    /// Further values that follow from that of an axis: by axis, value and name.
    #[serde(default)]
    pub derived: BTreeMap<String, BTreeMap<String, Map<String, Value>>>,
    /// Combinations that are left out: each a list of values by axis, all of which match.
    #[serde(default)]
    pub except: Vec<BTreeMap<String, Vec<Value>>>,
    /// How often each point is run, each time with another seed.
    pub repetitions: u32,
    /// Where randomness starts.
    #[serde(default = "one")]
    pub seed: u64,
    /// Memory of the lab, in MiB.
    #[serde(default = "memory")]
    pub memory_mib: u32,
    /// Wall time after which a point is given up, in seconds.
    #[serde(default = "limit")]
    pub limit_s: u64,
    /// The short form: axes, fixed values and repetitions that replace those above.
    #[serde(default)]
    pub quick: Quick,
    /// The figures of its page.
    pub plots: Vec<Plot>,
}

/// Whose time a point sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Time {
    /// That of the modelled network: computing takes none, and the same seed gives the same samples.
    #[default]
    Virtual,
    /// That of a processor that executes 10^9 instructions a second, with the distribution's own kernel: computing
    /// takes as long as it takes instructions.
    Instructions,
}

impl Time {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
    fn is_virtual(&self) -> bool {
        *self == Self::Virtual
    }
}

/// Something that is varied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// What, and the name of its column.
    pub name: String,
    /// What it is called in plots and tables, with its unit; the name if this is not said.
    #[serde(default)]
    pub label: Option<String>,
    /// The values that it takes: numbers, or strings such as `10mbit`.
    pub values: Vec<Value>,
}

/// What the short form of an experiment replaces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quick {
    /// Values of axes, by name.
    pub axes: BTreeMap<String, Vec<Value>>,
    /// Fixed values.
    pub fixed: Map<String, Value>,
    /// How often each point is run.
    pub repetitions: Option<u32>,
}

/// A figure or table of a paper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Authors, title, venue and year.
    pub paper: String,
    /// `Fig. 4`.
    pub figure: String,
    /// What the paper says there.
    pub says: String,
}

/// The x axis on which each of a point's samples has a place by what it is of, such as a node, or `t=5` for a time.
pub const OF: &str = "of";

/// A figure of the experiment's page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plot {
    /// The file's name without ending: lower-case letters, digits and dashes.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// How.
    #[serde(default)]
    pub kind: PlotKind,
    /// The axis whose values are on the x axis (lines, bars; or [`OF`] for whatever has samples), or whose values are
    /// the groups of a `cdf`'s curves in place of `series`.
    #[serde(default)]
    pub x: Option<String>,
    /// What the y axis (of a `cdf`: the x axis) measures.
    pub y: Measure,
    /// Axes whose values each make a line; `system` if this is not said.
    #[serde(default = "system")]
    pub series: Vec<String>,
    /// Only points with these values of axes.
    #[serde(default)]
    pub only: BTreeMap<String, Vec<Value>>,
    /// One panel for each value of this axis, side by side.
    #[serde(default)]
    pub panels: Option<String>,
    /// Whether the y axis (of a `cdf`: the x axis) is logarithmic.
    #[serde(default)]
    pub log: bool,
    /// Whether more is better, for the summary of who wins; nobody does if this is not said.
    #[serde(default)]
    pub more_is_better: Option<bool>,
}

/// How a figure shows samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlotKind {
    /// Points joined by lines, with error bars over repetitions.
    #[default]
    Line,
    /// Groups of bars, with error bars over repetitions.
    Bars,
    /// The cumulative distribution of all samples.
    Cdf,
}

/// Which samples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// [`Sample::of`](crate::workload::Sample::of); empty where that is on the x axis.
    #[serde(default)]
    pub of: String,
    /// [`Sample::what`](crate::workload::Sample::what).
    pub what: String,
    /// [`Sample::stat`](crate::workload::Sample::stat).
    pub stat: String,
}

/// Why a file is no experiment.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not an experiment's YAML.
    #[error("{file}: {what}")]
    Syntax {
        /// Which.
        file: String,
        /// Line, column and what is wrong.
        what: String,
    },
    /// It makes no sense.
    #[error("{file}: {place}: {what}")]
    Nonsense {
        /// Which.
        file: String,
        /// Which part of it.
        place: String,
        /// What was found, and what expected.
        what: String,
    },
}

impl Experiment {
    /// Reads a file.
    ///
    /// # Errors
    /// [`FileError`] with line and column, or with the part that makes no sense.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| FileError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads the text of a file that errors call `file`.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn parse(file: &str, text: &str) -> Result<Self, FileError> {
        let options = serde_saphyr::options! { with_snippet: false };
        serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| FileError::Syntax { file: file.to_owned(), what: error.to_string() })
    }
}

fn one() -> u64 {
    1
}

fn memory() -> u32 {
    1024
}

fn limit() -> u64 {
    900
}

fn system() -> Vec<String> {
    vec!["system".to_owned()]
}
