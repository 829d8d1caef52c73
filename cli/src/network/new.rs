use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ippriv::network::{Document, Name, UnixTime};
use ippriv::policy::duration;

use super::{NetworkError, Operator, atomic, now, operators, show};
use crate::Failed;

/// Write a new document without relays and signatures
#[derive(Args)]
pub(super) struct New {
    /// The file to make; one that exists is never replaced
    #[arg(long)]
    out: PathBuf,
    /// The name of the network
    #[arg(long)]
    name: Name,
    /// An operator and its public key; once for each
    #[arg(long = "operator", value_name = "NAME=ed25519:BASE64", required = true)]
    operators: Vec<Operator>,
    /// How many operators have to sign [default: more than half]
    #[arg(long)]
    threshold: Option<usize>,
    /// How long it is valid, from now
    #[arg(long, default_value = "30d", value_parser = duration::parse)]
    valid: Duration,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl New {
    pub(super) fn run(self) -> Result<(), Failed> {
        let operators = operators(self.operators)?;
        let valid_from = now();
        let document = Document {
            network: self.name,
            serial: 1,
            valid_from,
            valid_until: UnixTime::from_seconds(valid_from.seconds().saturating_add(self.valid.as_secs())),
            threshold: self.threshold.unwrap_or(operators.len() / 2 + 1),
            operators,
            relays: Vec::new(),
        };
        document
            .check()
            .map_err(|error| NetworkError::Invalid { path: self.out.clone(), error: Box::new(error) })?;
        atomic::create(&self.out, &document.to_yaml())?;
        show::changed(&self.out, &document, "made", self.json)
    }
}
