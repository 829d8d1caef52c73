//! Reading a policy, and saying where in its file an error is.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_saphyr::Spanned;

use super::check::{Invalid, Part};
use super::{CipherPolicy, Policy};
use crate::config;

/// What is wrong with the text of a policy, and where. Lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Line and column, when the error has a place.
    pub place: Option<(u64, u64)>,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with the text of a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not YAML of this form, in the words of the reader.
    #[error("{0}")]
    Form(String),
    /// A policy that makes no sense.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl Policy {
    /// Reads a policy. Whether it fits its network is [`Self::check`].
    ///
    /// # Errors
    /// [`ParseError`] for text that is not YAML of this form, and for roles that contradict themselves.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let policy: Self = read(text)?;
        match policy.find_invalid() {
            Ok(()) => Ok(policy),
            Err(invalid) => Err(ParseError { place: place(text, &invalid), problem: invalid.into() }),
        }
    }
}

impl CipherPolicy {
    /// Reads a file with one cipher policy.
    ///
    /// # Errors
    /// [`ParseError`] for text that is not YAML of this form.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        read(text)
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, ParseError> {
    serde_saphyr::from_str_with_options(text, config::limits(text)).map_err(|error| {
        let error = config::located(&error);
        ParseError { place: error.place, problem: Problem::Form(error.message) }
    })
}

/// The places of what an error may be about, read a second time so that the policy itself need not hold them.
#[derive(Deserialize)]
struct Places {
    relay: Option<Spanned<IgnoredAny>>,
    client: Option<Spanned<ClientPlaces>>,
}

#[derive(Deserialize)]
struct ClientPlaces {
    #[serde(default)]
    circuits: Vec<Spanned<IgnoredAny>>,
}

fn place(text: &str, invalid: &Invalid) -> Option<(u64, u64)> {
    let places: Places = read(text).ok()?;
    let client = places.client.as_ref().map(|client| client.referenced);
    let circuits = places.client.as_ref().map_or(&[][..], |client| &client.value.circuits);
    let location = match invalid {
        Invalid::NoRole => None,
        Invalid::UnknownCiphers { by: Part::Relay, .. } => places.relay.map(|relay| relay.referenced),
        Invalid::UnknownCiphers { by: Part::Client, .. }
        | Invalid::TooManyCircuits { .. }
        | Invalid::TimeoutsReversed => client,
        Invalid::CircuitTwice { circuit: at, .. }
        | Invalid::TrafficTwice { circuit: at, .. }
        | Invalid::MtuTooLarge { circuit: at, .. } => circuits.get(*at).map(|circuit| circuit.referenced),
    };
    location.map(config::place)
}

impl fmt::Display for ParseError {
    /// `LINE:COLUMN: message`, to follow a file name and a colon.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{line}:{column}: {}", self.problem),
            None => write!(f, " {}", self.problem),
        }
    }
}

impl std::error::Error for ParseError {}
