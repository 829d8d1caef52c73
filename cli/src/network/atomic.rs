//! Changes of files that happen whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::NetworkError;

/// A change under way. While it is, `FILE.new` exists and nobody else begins one.
pub(super) struct Change {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
}

impl Change {
    /// Begins to change the file at `path`, which exists.
    pub(super) fn begin(path: &Path) -> Result<Self, NetworkError> {
        let failed = |error| NetworkError::Write { path: path.to_owned(), error };
        // A link stays a link: the file that it leads to is replaced.
        let path = fs::canonicalize(path).map_err(failed)?;
        let mode = fs::metadata(&path).map_err(failed)?.permissions().mode() & 0o777;
        let mut temporary = path.clone().into_os_string();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        match OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary) {
            Ok(file) => Ok(Self { path, temporary, file }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(NetworkError::Busy { path, temporary })
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The file that is changed.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the file's text.
    pub(super) fn finish(mut self, text: &str) -> Result<(), NetworkError> {
        let written = self.write(text);
        written.map_err(|error| NetworkError::Write { path: self.path.clone(), error })
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.file.write_all(text.as_bytes())?;
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        // The new name is safe when its folder is.
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

impl Drop for Change {
    /// Gone already when the change was finished; then there is nothing to remove.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Makes a file that is not there yet.
pub(super) fn create(path: &Path, text: &str) -> Result<(), NetworkError> {
    let failed = |error| NetworkError::Write { path: path.to_owned(), error };
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}
