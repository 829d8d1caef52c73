//! Reading a policy, and saying where in its file an error is.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

use super::check::{Invalid, Part};
use super::{CipherPolicy, Policy};
use crate::form::{self, Located};

/// What is wrong with the text of a policy, and where.
pub type ParseError = Located<Problem>;

/// What is wrong with the text of a policy.
pub type Problem = form::Problem<Invalid>;

impl Policy {
    /// Reads a policy. Whether it fits its network is [`Self::check`].
    ///
    /// # Errors
    /// [`ParseError`] for text that is not YAML of this form, and for roles that contradict themselves.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let policy: Self = form::read(text)?;
        match policy.find_invalid() {
            Ok(()) => Ok(policy),
            Err(invalid) => Err(Located::invalid(place(text, &invalid), invalid)),
        }
    }
}

impl CipherPolicy {
    /// Reads a file with one cipher policy.
    ///
    /// # Errors
    /// [`ParseError`] for text that is not YAML of this form.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Ok(form::read(text)?)
    }
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
    let places: Places = form::read(text).ok()?;
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
    location.map(form::place)
}
