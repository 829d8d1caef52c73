//! Experiments as files: read and checked, taken apart into points, run point by point, kept as tidy samples.

mod file;
mod manifest;

pub use file::{Answer, Axis, Experiment, FileError, Measure, Plot, PlotKind, Quick};
pub use manifest::{Manifest, PointRecord, PointState};
