//! Experiments as files: read and checked, taken apart into points, run point by point, kept as tidy samples.

mod file;
mod library;
mod manifest;
mod plan;
mod point;
mod progress;
mod reference;
mod run;
mod star;
mod store;
mod substitute;

pub use file::{Answer, Axis, Experiment, FileError, Measure, OF, Plot, PlotKind, Quick, Time};
pub use library::{Found, Library, LibraryError};
pub use manifest::{Manifest, PointRecord, PointState};
pub use plan::{Planned, text};
pub use point::{Point, in_lab};
pub use reference::{Mismatch, Reference};
pub use run::{Options, RunError, Summary, prepare, run, systems};
