//! `ippriv network`: network documents, from the first line to the last signature.

mod add;
mod atomic;
pub(crate) mod check;
mod export;
mod new;
mod show;
mod sign;
mod verify;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use ippriv::network::edit::EditError;
use ippriv::network::export as exports;
use ippriv::network::{self, BadTrust, Ed25519Key, Invalid, Name, Refused, Software, UnixTime, Unverified};
use ippriv::policy::{self, Mismatch};

use crate::Failed;
use crate::file::Text;

/// Make, sign, verify and show network documents
#[derive(Args)]
pub(crate) struct Network {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    New(new::New),
    Add(Box<add::Add>),
    Sign(sign::Sign),
    Verify(verify::Verify),
    Show(show::Show),
    Export(export::Export),
}

/// Why a command about network documents failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error("{}:{error}", path.display())]
    Document { path: PathBuf, error: Box<network::ParseError> },
    #[error("{}:{error}", path.display())]
    Policy { path: PathBuf, error: Box<policy::ParseError> },
    #[error("{}:{error}", path.display())]
    Edit { path: PathBuf, error: Box<EditError> },
    #[error("{}: {error}", path.display())]
    Invalid { path: PathBuf, error: Box<Invalid> },
    #[error("{}: {error}", path.display())]
    Refused { path: PathBuf, error: Refused },
    #[error("{}: {error}", path.display())]
    Mismatch { path: PathBuf, error: Box<Mismatch> },
    #[error("{}: cannot be written: {error}", path.display())]
    Write { path: PathBuf, error: io::Error },
    #[error("{} is there: expected nobody else to change {}; remove it if nobody does", temporary.display(), path.display())]
    Busy { path: PathBuf, temporary: PathBuf },
    #[error(transparent)]
    Trust(#[from] BadTrust),
    #[error("{}: key {found}: expected {expected}, which the document has for operator {operator}", path.display())]
    OtherKey { path: PathBuf, operator: Name, found: Ed25519Key, expected: Ed25519Key },
    #[error("{}: operator {operator}: expected one of the document: {known}", path.display())]
    UnknownOperator { path: PathBuf, operator: String, known: String },
    #[error(transparent)]
    Psk(#[from] network::BadPsk),
    #[error("{}: relay {relay}: expected one of the document, and of its neighbours", path.display())]
    UnknownRelay { path: PathBuf, relay: Name },
    #[error("{}: relay {relay} runs {found}: expected {expected}", path.display())]
    OtherSoftware { path: PathBuf, relay: Name, found: Software, expected: Software },
    #[error("{}: {error}", path.display())]
    Export { path: PathBuf, error: Box<exports::Unsupported> },
    #[error("{}: {error}", path.display())]
    PairPsk { path: PathBuf, error: exports::BadPairPsk },
    #[error("operator {0} is given twice: expected once")]
    OperatorTwice(Name),
}

impl Network {
    pub(crate) fn run(self) -> Result<(), Failed> {
        match self.command {
            Command::New(command) => command.run(),
            Command::Add(command) => command.run(),
            Command::Sign(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::Show(command) => command.run(),
            Command::Export(command) => command.run(),
        }
    }
}

/// Reads a document, whoever signed it.
fn read(path: &Path) -> Result<Unverified, Failed> {
    Ok(parse(&Text::read(path)?)?)
}

fn parse(file: &Text) -> Result<Unverified, NetworkError> {
    network::Network::parse(&file.text)
        .map_err(|error| NetworkError::Document { path: file.path.clone(), error: error.into() })
}

#[expect(clippy::disallowed_methods, reason = "documents are valid for a time, and here is the shell")]
fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_seconds(since.as_secs())
}

/// An operator on the command line: `NAME=ed25519:BASE64`.
#[derive(Clone)]
struct Operator {
    name: Name,
    key: Ed25519Key,
}

impl std::str::FromStr for Operator {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, key) = text.split_once('=').ok_or("expected NAME=ed25519:BASE64")?;
        let name = name.parse().map_err(|error: network::NotAName| error.to_string())?;
        let key = key.parse().map_err(|error: network::BadKey| error.to_string())?;
        Ok(Self { name, key })
    }
}

fn operators(given: Vec<Operator>) -> Result<std::collections::BTreeMap<Name, Ed25519Key>, NetworkError> {
    let mut operators = std::collections::BTreeMap::new();
    for Operator { name, key } in given {
        if operators.insert(name.clone(), key).is_some() {
            return Err(NetworkError::OperatorTwice(name));
        }
    }
    Ok(operators)
}
