//! Files with static keys: read only when nobody else can read them.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ippriv::config::{self, Config, ConfigError};
use zeroize::Zeroizing;

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("{}: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{}: mode {mode:04o} lets others read its keys: expected 0600 (chmod 600 {})", path.display(), path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{}:{error}", path.display())]
    Invalid { path: PathBuf, error: ConfigError },
}

/// Reads and checks a file.
///
/// # Errors
/// [`FileError`] when it cannot be read, others can read it, or it does not say what it must.
pub(crate) fn read(path: &Path) -> Result<Config, FileError> {
    let unreadable = |error| FileError::Unreadable { path: path.to_owned(), error };
    let mut file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o177 != 0 {
        return Err(FileError::Exposed { path: path.to_owned(), mode });
    }
    // Room for the whole text at once, so that no copy of a key is left behind by growing.
    let room = usize::try_from(metadata.len()).unwrap_or(0) + 1;
    let mut text = Zeroizing::new(String::with_capacity(room));
    file.read_to_string(&mut text).map_err(unreadable)?;
    config::parse(&text).map_err(|error| FileError::Invalid { path: path.to_owned(), error })
}
