use std::path::PathBuf;

use clap::Args;
use ippriv::network::{Document, Ed25519Key, Name, edit};

use super::atomic::Change;
use super::{NetworkError, parse, show};
use crate::file::Text;
use crate::{Failed, key};

/// Sign a document as one of its operators
#[derive(Args)]
pub(super) struct Sign {
    /// The document
    file: PathBuf,
    /// The operator's name in the document [default: whose public key it is]
    #[arg(long)]
    operator: Option<Name>,
    /// The file with the operator's private key, of mode 0600
    #[arg(long)]
    key: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Sign {
    pub(super) fn run(self) -> Result<(), Failed> {
        let change = Change::begin(&self.file)?;
        let text = Text::read(change.path())?;
        let unverified = parse(&text)?;
        let document = unverified.document();
        let key = key::read(&self.key)?;
        let operator = self.operator(document, key.public())?;
        let changed = edit::add_signature(&text.text, &key.sign(document, operator));
        let changed = changed
            .map_err(|error| NetworkError::Edit { path: self.file.clone(), error: Box::new(error) })?;
        change.finish(&changed)?;
        show::changed(&self.file, document, "signed", self.json)
    }

    /// The operator who has this key in the document, and no other: nobody else's signature would count.
    fn operator(&self, document: &Document, found: Ed25519Key) -> Result<Name, NetworkError> {
        let owner = document.operators.iter().find(|(_, key)| **key == found).map(|(name, _)| name);
        match (&self.operator, owner) {
            (None, Some(owner)) => Ok(owner.clone()),
            (Some(name), Some(owner)) if name == owner => Ok(name.clone()),
            (Some(name), _) if document.operators.contains_key(name) => {
                let (path, operator, expected) = (self.key.clone(), name.clone(), document.operators[name]);
                Err(NetworkError::OtherKey { path, operator, found, expected })
            }
            (given, _) => {
                let known: Vec<&str> = document.operators.keys().map(Name::as_str).collect();
                let operator = given.as_ref().map_or_else(|| format!("with key {found}"), Name::to_string);
                Err(NetworkError::UnknownOperator {
                    path: self.file.clone(),
                    operator,
                    known: known.join(", "),
                })
            }
        }
    }
}
