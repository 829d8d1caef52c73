//! The files a daemon runs by: its policy, the network document, keys and cipher policies.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ippriv::network::export::{BadPairPsk, PairPsk};
use ippriv::network::{Network, ParseError as BadNetwork, PrivateKey, Refused, UnixTime};
use ippriv::node;
use ippriv::policy::{CipherPolicy, Mismatch, NotRead, ParseError, Policy};
use ippriv::secret::KeyMaterial;
use zeroize::Zeroizing;

use crate::clock;

/// The last serial of the network document that was believed, in the state directory.
const SERIAL: &str = "serial";

/// Why the files are not used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// One cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A policy or cipher policy makes no sense.
    #[error("{}:{error}", path.display())]
    Policy {
        /// Its path.
        path: PathBuf,
        /// Where and what.
        error: Box<ParseError>,
    },
    /// The network document makes no sense.
    #[error("{}:{error}", path.display())]
    Network {
        /// Its path.
        path: PathBuf,
        /// Where and what.
        error: Box<BadNetwork>,
    },
    /// The network document is not believed.
    #[error("{}: {error}", path.display())]
    Refused {
        /// Its path.
        path: PathBuf,
        /// Why.
        error: Refused,
    },
    /// Others can read a private key.
    #[error("{}: mode {mode:04o} lets others read the key: expected 0600 (chmod 600 {})", path.display(), path.display())]
    Exposed {
        /// Its path.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A private key that is none.
    #[error("{}: {error}", path.display())]
    Key {
        /// Its path.
        path: PathBuf,
        /// Why.
        error: ippriv::network::BadKeyFile,
    },
    /// The secret of two neighbours that is none.
    #[error("{}: {error}", path.display())]
    Psk {
        /// Its path.
        path: PathBuf,
        /// Why.
        error: BadPairPsk,
    },
    /// The policy does not go with the network.
    #[error("{}: {error}", path.display())]
    Mismatch {
        /// The policy's path.
        path: PathBuf,
        /// What does not fit.
        error: Mismatch,
    },
    /// A cipher policy is missing.
    #[error(transparent)]
    Ciphers(#[from] NotRead),
}

/// Everything that is read at the start and at a reload.
#[derive(Debug)]
pub struct Loaded {
    /// The policy.
    pub policy: Policy,
    /// The network document, verified.
    pub network: Network,
    /// Keys and cipher policies.
    pub files: node::Files,
}

impl Loaded {
    /// Remembers the network document as seen: from now on an older one is refused.
    ///
    /// # Errors
    /// [`FilesError::Io`] when that cannot be written.
    pub fn remember(&self) -> Result<(), FilesError> {
        let (folder, serial) = (&self.policy.state_directory, self.network.serial());
        let seen = folder.join(SERIAL);
        if last_seen(&seen) == Some(serial) { Ok(()) } else { remember(folder, &seen, serial) }
    }
}

/// Reads the policy at `path` and everything it names. Changes nothing.
///
/// # Errors
/// [`FilesError`] for the first that is not as it has to be.
pub fn load(path: &Path) -> Result<Loaded, FilesError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut policy = Policy::parse(&read(path)?)
        .map_err(|error| FilesError::Policy { path: path.into(), error: error.into() })?;
    let named: Vec<_> = policy.cipher_files().map(|(name, file)| (name.clone(), folder.join(file))).collect();
    for (name, path) in named {
        let ciphers = CipherPolicy::parse(&read(&path)?)
            .map_err(|error| FilesError::Policy { path, error: error.into() })?;
        policy.set_cipher_policy(name, ciphers);
    }
    let network = network(&policy, &folder.join(&policy.network))?;
    policy.check(network.document()).map_err(|error| FilesError::Mismatch { path: path.into(), error })?;
    let mut files = node::Files::default();
    if let Some(relay) = &policy.relay {
        let key = private_key(&folder.join(&relay.identity))?;
        policy
            .check_identity(network.document(), key.public())
            .map_err(|error| FilesError::Mismatch { path: path.into(), error })?;
        files.identity = Some(key.into_signing_key());
        for (neighbour, file) in &relay.overlay.psk {
            files.secrets.insert(neighbour.clone(), pair_secret(&folder.join(file))?);
        }
        files.ciphers.insert(relay.ciphers.clone(), policy.cipher_policy(&relay.ciphers)?);
    }
    if let Some(client) = &policy.client {
        files.ciphers.insert(client.ciphers.clone(), policy.cipher_policy(&client.ciphers)?);
    }
    Ok(Loaded { policy, network, files })
}

/// The network document, if enough operators signed it, it is valid now, and it is not older than one seen.
fn network(policy: &Policy, path: &Path) -> Result<Network, FilesError> {
    let unverified = Network::parse(&read(path)?)
        .map_err(|error| FilesError::Network { path: path.into(), error: error.into() })?;
    let last = last_seen(&policy.state_directory.join(SERIAL));
    let now = UnixTime::from_seconds(u64::try_from(clock::unix_now()).unwrap_or_default());
    unverified
        .verify(&policy.trust, now, last)
        .map_err(|error| FilesError::Refused { path: path.into(), error })
}

/// The serial of the newest document that was taken.
fn last_seen(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn remember(folder: &Path, path: &Path, serial: u64) -> Result<(), FilesError> {
    let fail = |error| FilesError::Io { path: path.to_owned(), error };
    fs::create_dir_all(folder).map_err(fail)?;
    let new = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&new).map_err(fail)?;
    writeln!(file, "{serial}").and_then(|()| file.sync_all()).map_err(fail)?;
    fs::rename(&new, path).map_err(fail)
}

fn private_key(path: &Path) -> Result<PrivateKey, FilesError> {
    let text = secret(path)?;
    PrivateKey::from_pem(&text).map_err(|error| FilesError::Key { path: path.to_owned(), error })
}

/// The secret of two neighbours: a line of text, under the same rules as in the files of other people's daemons.
fn pair_secret(path: &Path) -> Result<KeyMaterial, FilesError> {
    let text = secret(path)?;
    let line = text.trim_end_matches('\n').to_owned();
    let psk = PairPsk::try_from(line).map_err(|error| FilesError::Psk { path: path.to_owned(), error })?;
    Ok(psk.key())
}

/// The text of a file that nobody else may read.
fn secret(path: &Path) -> Result<Zeroizing<String>, FilesError> {
    let fail = |error| FilesError::Io { path: path.to_owned(), error };
    let mut file = File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FilesError::Exposed { path: path.to_owned(), mode });
    }
    // room for all of it at once, so that no copy is left behind by growing
    let room = usize::try_from(metadata.len()).unwrap_or(0) + 1;
    let mut text = Zeroizing::new(String::with_capacity(room));
    file.read_to_string(&mut text).map_err(fail)?;
    Ok(text)
}

fn read(path: &Path) -> Result<String, FilesError> {
    fs::read_to_string(path).map_err(|error| FilesError::Io { path: path.to_owned(), error })
}
