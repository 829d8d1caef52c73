//! The directory a job and its keeper share with the guest, and what is in it.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// An output line that starts with this is a CPU mark; the rest of the line is its name.
pub(crate) const MARK_PREFIX: &[u8] = b"@cpu-mark ";

const PREFIX: &str = "ippriv-lab.";

/// What the guest's first process is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GuestJob {
    pub(crate) argv: Vec<OsString>,
    /// The program's whole environment.
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) cwd: PathBuf,
    pub(crate) out_dir: Option<PathBuf>,
    pub(crate) mounts: BTreeMap<String, PathBuf>,
    pub(crate) terminal: bool,
    pub(crate) cpu_marks: bool,
}

/// What the keeper is told: the machine to start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) argv: Vec<OsString>,
    /// The machine's whole environment.
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) terminal: bool,
    /// The only processor of the host's that it runs on, if it is bound to one.
    pub(crate) processor: Option<usize>,
}

/// The shared directory, as its host sees it. It lives until the keeper removes it.
///
/// Files: `job` and `stdin` (host to guest), `machine` (host to keeper), `stdout`, `stderr`, `exit`, `failure` and
/// `mark` (guest to host), `log` (the machine's own output), `pid` and `ended` (keeper to host), `lock` (held by all
/// that use the directory).
#[derive(Clone, Debug)]
pub(crate) struct JobDir(PathBuf);

impl JobDir {
    /// Makes a directory that only this user can enter, and returns it with the lock that marks it as used.
    pub(crate) fn create() -> io::Result<(Self, File)> {
        remove_abandoned();
        let parent = std::env::temp_dir().canonicalize()?;
        let pid = std::process::id();
        for attempt in 0..10_000 {
            // Locked before it has the name under which `remove_abandoned` looks.
            let unready = parent.join(format!(".{PREFIX}{pid}.{attempt}"));
            match DirBuilder::new().mode(0o700).create(&unready) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other?,
            }
            let lock = File::create(unready.join("lock"))?;
            lock.lock_shared()?;
            let path = parent.join(format!("{PREFIX}{pid}.{attempt}"));
            if path.exists() {
                fs::remove_dir_all(&unready)?;
                continue;
            }
            fs::rename(&unready, &path)?;
            return Ok((Self(path), lock));
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("no free name in {}", parent.display())))
    }

    /// The directory as its guest or keeper sees it.
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Joins in holding the directory.
    pub(crate) fn hold(&self) -> io::Result<File> {
        let lock = File::open(self.file("lock"))?;
        lock.lock_shared()?;
        Ok(lock)
    }

    pub(crate) fn remove(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.0)
    }

    /// Writes a file that nobody ever sees half written.
    pub(crate) fn put(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let unready = self.file(&format!("{name}.new"));
        fs::write(&unready, content)?;
        fs::rename(unready, self.file(name))
    }

    pub(crate) fn put_json<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        self.put(name, &serde_json::to_vec(value)?)
    }

    pub(crate) fn get_json<T: DeserializeOwned>(&self, name: &str) -> io::Result<T> {
        Ok(serde_json::from_slice(&fs::read(self.file(name))?)?)
    }

    /// A file's content as text, if it is there.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        fs::read(self.file(name)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Removes directories of this user whose job, keeper and guest are all gone: nothing holds their lock.
fn remove_abandoned() {
    let user = rustix::process::getuid().as_raw();
    let entries = fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    for dir in entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes())) {
        let ours = dir.metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() == user);
        let Some(lock) = File::open(dir.path().join("lock")).ok().filter(|_| ours) else { continue };
        let held = matches!(lock.try_lock(), Err(TryLockError::WouldBlock));
        if !held {
            // Best effort: another process may be removing it at the same moment.
            let _ = fs::remove_dir_all(dir.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn a_job_with_bytes_that_are_no_text_passes_through_its_file() {
        let (dir, _lock) = JobDir::create().unwrap();
        let job = GuestJob {
            argv: vec!["printf".into(), OsString::from_vec(vec![0xff, b'\n', b'"'])],
            env: vec![("A=".into(), "b c".into())],
            cwd: "/tmp".into(),
            out_dir: Some("/tmp/out".into()),
            mounts: [("bin".to_owned(), "/opt/bin".into())].into(),
            terminal: false,
            cpu_marks: true,
        };
        dir.put_json("job", &job).unwrap();
        assert_eq!(dir.get_json::<GuestJob>("job").unwrap(), job);
        dir.remove().unwrap();
    }

    #[test]
    fn only_directories_nobody_holds_are_abandoned() {
        let (held, _lock) = JobDir::create().unwrap();
        let (left, lock) = JobDir::create().unwrap();
        drop(lock);
        remove_abandoned();
        assert!(held.path().exists());
        assert!(!left.path().exists());
        held.remove().unwrap();
    }
}
