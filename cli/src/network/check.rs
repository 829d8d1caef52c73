//! What `ippriv check` says about files without secrets.

use std::io;
use std::path::Path;

use ippriv::network::UnixTime;
use ippriv::policy::{CipherPolicy, Policy};

use super::{NetworkError, now, parse};
use crate::Failed;
use crate::file::{FileError, Text};

/// Checks a policy, its cipher policies, and, when it is there, that its network document is believed and fits.
pub(crate) fn policy(file: &Text, at: Option<UnixTime>) -> Result<String, Failed> {
    let mut policy = Policy::parse(&file.text)
        .map_err(|error| NetworkError::Policy { path: file.path.clone(), error: Box::new(error) })?;
    let folder = file.path.parent().unwrap_or(Path::new("."));
    let files: Vec<_> = policy.cipher_files().map(|(name, path)| (name.clone(), folder.join(path))).collect();
    for (name, path) in files {
        let read = cipher_policy(&Text::read(&path)?)?;
        policy.set_cipher_policy(name, read);
    }
    let path = folder.join(&policy.network);
    let document = match Text::read(&path) {
        Ok(document) => document,
        Err(FileError::Unreadable { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(format!(
                "{}; network document {} is not there to check it with",
                roles(&policy),
                path.display()
            ));
        }
        Err(error) => return Err(error.into()),
    };
    let verified = parse(&document)?.verify(&policy.trust, at.unwrap_or_else(now), None);
    let network = verified.map_err(|error| NetworkError::Refused { path: path.clone(), error })?;
    let fits = policy.check(network.document());
    fits.map_err(|error| NetworkError::Mismatch { path: file.path.clone(), error: Box::new(error) })?;
    Ok(format!("{} in network {} of {} relays", roles(&policy), network.name(), network.relays().len()))
}

/// Checks a cipher policy.
pub(crate) fn ciphers(file: &Text) -> Result<String, Failed> {
    let policy = cipher_policy(file)?;
    Ok(format!("a cipher policy with {} suites of ESP and {} of IKE", policy.esp.len(), policy.ike.len()))
}

/// Checks a network document, but not whether anybody is to believe it.
pub(crate) fn document(file: &Text) -> Result<String, Failed> {
    let unverified = parse(file)?;
    let document = unverified.document();
    let signers: Vec<&str> =
        unverified.signatures().iter().map(|signature| signature.operator.as_str()).collect();
    let signers = if signers.is_empty() { "nobody".to_owned() } else { signers.join(", ") };
    Ok(format!(
        "network {} of {} relays, serial {}, signed by {signers} (`ippriv network verify` verifies that)",
        document.network,
        document.relays.len(),
        document.serial
    ))
}

fn cipher_policy(file: &Text) -> Result<CipherPolicy, NetworkError> {
    CipherPolicy::parse(&file.text)
        .map_err(|error| NetworkError::Policy { path: file.path.clone(), error: Box::new(error) })
}

fn roles(policy: &Policy) -> String {
    let relay = policy.relay.as_ref().map(|relay| format!("relay {}", relay.name));
    let client =
        policy.client.as_ref().map(|client| format!("a client with {} circuits", client.circuits.len()));
    relay.into_iter().chain(client).collect::<Vec<_>>().join(" and ")
}
