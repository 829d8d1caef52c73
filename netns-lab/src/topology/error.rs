//! What can be wrong with a topology, and where.

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde_saphyr::Location;

/// A topology that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// The file itself could not be read.
    #[error("{}: found {source}, expected a readable topology file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text is not a topology.
    #[error("{place}: found {found}, expected {expected}")]
    Invalid {
        /// File, line and column.
        place: Place,
        /// What stands there.
        found: String,
        /// What could stand there.
        expected: String,
    },
}

/// A place in a topology file; lines and columns count from 1, line 0 means a topology made by code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named by the caller.
    pub file: String,
    /// Line.
    pub line: u64,
    /// Column, in characters.
    pub column: u64,
}

impl Place {
    pub(super) fn new(file: &str, at: Location) -> Self {
        Self { file: file.to_owned(), line: at.line(), column: at.column() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}:{}", self.file, self.column),
        }
    }
}

/// What a check found where, before it is known which file it was in.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: Location,
    pub(super) found: String,
    pub(super) expected: String,
}

impl Fault {
    pub(super) fn new(at: Location, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { at, found: found.into(), expected: expected.into() }
    }

    pub(super) fn in_file(self, file: &str) -> TopologyError {
        TopologyError::Invalid {
            place: Place::new(file, self.at),
            found: self.found,
            expected: self.expected,
        }
    }
}

impl From<serde_saphyr::Error> for Fault {
    fn from(error: serde_saphyr::Error) -> Self {
        use serde_saphyr::Error as Yaml;
        let at = error.location().unwrap_or(Location::UNKNOWN);
        let (found, expected) = match error.without_snippet() {
            Yaml::SerdeInvalidType { unexpected, expected, .. }
            | Yaml::SerdeInvalidValue { unexpected, expected, .. } => (unexpected.clone(), expected.clone()),
            Yaml::SerdeUnknownField { field, expected, .. } => {
                (format!("unknown field `{field}`"), one_of(expected))
            }
            Yaml::SerdeUnknownVariant { variant, expected, .. } => (format!("`{variant}`"), one_of(expected)),
            Yaml::SerdeMissingField { field, .. } => (format!("no field `{field}`"), "one here".to_owned()),
            Yaml::DuplicateMappingKey { key: Some(key), .. } => {
                (format!("a second `{key}`"), "each field once".to_owned())
            }
            Yaml::Unexpected { expected, .. } => ("something else".to_owned(), (*expected).to_owned()),
            Yaml::Message { msg, .. } => {
                match msg.strip_prefix("found ").and_then(|msg| msg.split_once(", expected ")) {
                    Some((found, expected)) => (found.to_owned(), expected.to_owned()),
                    None if msg.contains("IP address") => {
                        (msg.clone(), "an address with its prefix length, such as 192.0.2.1/24".to_owned())
                    }
                    None => (msg.clone(), "a topology".to_owned()),
                }
            }
            other => (first_line(&other.to_string()), "a topology".to_owned()),
        };
        Self { at, found, expected }
    }
}

fn one_of(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        None => "nothing".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
