//! The experiments that come with the project, and those of users.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::file::{Experiment, FileError};

/// The settings of systems that experiments of a directory share.
const SYSTEMS: &str = "systems.yaml";

/// A directory of experiments.
#[derive(Clone, Debug)]
pub struct Library {
    dir: PathBuf,
}

/// An experiment and where it was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its file's name without folder and ending.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// The experiment, with the settings of the systems that it uses.
    pub experiment: Experiment,
}

/// Why there is no such experiment.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// No such file or name.
    #[error("found no experiment `{wanted}`, expected a file or one of {}", known.join(", "))]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// A file is none.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Library {
    /// The experiments in a directory.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The names of all experiments.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn names(&self) -> Result<Vec<String>, LibraryError> {
        let unreadable = |source| FileError::Unreadable { path: self.dir.clone(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let is_experiment = path.extension().is_some_and(|ending| ending == "yaml")
                && path.file_name().is_some_and(|name| name != SYSTEMS);
            names.extend(
                path.file_stem().filter(|_| is_experiment).map(|stem| stem.to_string_lossy().into_owned()),
            );
        }
        names.sort();
        Ok(names)
    }

    /// The experiment of this name, or in this file if it looks like one.
    ///
    /// # Errors
    /// There is none, or it is not right.
    pub fn find(&self, wanted: &str) -> Result<Found, LibraryError> {
        let path = if wanted.contains('/') || wanted.ends_with(".yaml") {
            PathBuf::from(wanted)
        } else {
            self.dir.join(wanted).with_extension("yaml")
        };
        if !path.is_file() {
            return Err(LibraryError::Unknown { wanted: wanted.to_owned(), known: self.names()? });
        }
        let mut experiment = Experiment::read(&path)?;
        let beside = path.with_file_name(SYSTEMS);
        let shared = if beside.is_file() { beside } else { self.dir.join(SYSTEMS) };
        experiment.share_systems(&read_systems(&shared)?);
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Found { name, path, experiment })
    }
}

fn read_systems(path: &Path) -> Result<Map<String, Value>, FileError> {
    let text =
        fs::read_to_string(path).map_err(|source| FileError::Unreadable { path: path.to_owned(), source })?;
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(&text, options)
        .map_err(|error| FileError::Syntax { file: path.display().to_string(), what: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systems::Settings;

    fn shipped() -> Library {
        Library::at(&Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments"))
    }

    #[test]
    fn every_shipped_experiment_makes_sense_long_and_short() {
        for name in shipped().names().unwrap() {
            let found = shipped().find(&name).unwrap();
            let file = found.path.display().to_string();
            assert!(!found.experiment.answers.is_empty(), "{file}: answers nothing");
            assert!(!found.experiment.caveats.is_empty(), "{file}: no model is without caveats");
            assert!(!found.experiment.plots.is_empty(), "{file}: shows nothing");
            let long = found.experiment.plan(&file).unwrap().len();
            let short = found.experiment.quick().plan(&file).unwrap().len();
            assert!(short <= long, "{file}: {short} points are not shorter than {long}");
        }
    }

    #[test]
    fn every_shared_system_can_be_read() {
        for (name, settings) in read_systems(&shipped().dir.join(SYSTEMS)).unwrap() {
            let result: Result<Settings, _> = serde_json::from_value(settings);
            assert!(result.is_ok(), "{name}: {result:?}");
        }
    }

    #[test]
    fn an_unknown_name_is_told_the_known_ones() {
        let error = shipped().find("fig5000").unwrap_err().to_string();
        assert!(error.starts_with("found no experiment `fig5000`, expected a file or one of "), "{error}");
    }
}
