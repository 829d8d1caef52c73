use std::path::PathBuf;

use clap::Args;
use ippriv::network::{Name, Trust, UnixTime};
use ippriv::policy::Policy;

use super::{NetworkError, Operator, now, operators, read, show};
use crate::Failed;
use crate::file::Text;

/// Verify a document as the daemon does: signatures of trusted operators, serial and time
#[derive(Args)]
pub(super) struct Verify {
    /// The document
    file: PathBuf,
    /// Trust the operators of this policy
    #[arg(long, conflicts_with_all = ["operators", "threshold", "name"], required_unless_present = "operators")]
    policy: Option<PathBuf>,
    /// Trust this operator; once for each
    #[arg(long = "operator", value_name = "NAME=ed25519:BASE64")]
    operators: Vec<Operator>,
    /// How many of them have to have signed [default: all]
    #[arg(long)]
    threshold: Option<usize>,
    /// The network it has to be of [default: any]
    #[arg(long)]
    name: Option<Name>,
    /// Refuse serials before this one
    #[arg(long)]
    last_seen: Option<u64>,
    /// The time to verify for, in RFC 3339 [default: now]
    #[arg(long)]
    at: Option<UnixTime>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(self) -> Result<(), Failed> {
        let unverified = read(&self.file)?;
        let trust = match self.policy {
            Some(path) => {
                let text = Text::read(&path)?.text;
                Policy::parse(&text)
                    .map_err(|error| NetworkError::Policy { path, error: Box::new(error) })?
                    .trust
            }
            None => {
                let operators = operators(self.operators)?;
                let threshold = self.threshold.unwrap_or(operators.len());
                let trust = Trust::new(operators, threshold).map_err(NetworkError::from)?;
                match self.name {
                    Some(name) => trust.of_network(name),
                    None => trust,
                }
            }
        };
        let verified = unverified.verify(&trust, self.at.unwrap_or_else(now), self.last_seen);
        let network = verified.map_err(|error| NetworkError::Refused { path: self.file.clone(), error })?;
        show::changed(&self.file, network.document(), "verified", self.json)
    }
}
