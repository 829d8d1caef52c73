//! Files: those with keys are read only when nobody else can read them.

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

/// A file as it was read.
pub(crate) struct Text {
    pub(crate) path: PathBuf,
    pub(crate) text: Zeroizing<String>,
    /// Who may do what with it, as in `chmod`.
    mode: u32,
}

impl Text {
    /// Reads a file of whatever kind.
    pub(crate) fn read(path: &Path) -> Result<Self, FileError> {
        let unreadable = |error| FileError::Unreadable { path: path.to_owned(), error };
        let mut file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        // Room for the whole text at once, so that no copy of a key is left behind by growing.
        let room = usize::try_from(metadata.len()).unwrap_or(0) + 1;
        let mut text = Zeroizing::new(String::with_capacity(room));
        file.read_to_string(&mut text).map_err(unreadable)?;
        Ok(Self { path: path.to_owned(), text, mode: metadata.mode() & 0o7777 })
    }

    /// Refuses a file with keys that others can read.
    pub(crate) fn unexposed(self) -> Result<Self, FileError> {
        if self.mode & 0o177 == 0 {
            Ok(self)
        } else {
            Err(FileError::Exposed { path: self.path, mode: self.mode })
        }
    }

    /// What it says, as a file with static keys.
    pub(crate) fn config(self) -> Result<Config, FileError> {
        let Self { path, text, .. } = self.unexposed()?;
        config::parse(&text).map_err(|error| FileError::Invalid { path, error })
    }
}

/// Reads and checks a file with static keys.
///
/// # Errors
/// [`FileError`] when it cannot be read, others can read it, or it does not say what it must.
pub(crate) fn read(path: &Path) -> Result<Config, FileError> {
    Text::read(path)?.config()
}
