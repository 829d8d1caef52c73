//! What outlives the daemon's death: records of the core in a file that only root reads and that a reboot
//! wipes.
//!
//! Append-only: a record is one `write`, so that a killed daemon leaves at most its last record torn, and a
//! torn tail is cut off when the file is opened. A later record of a key replaces earlier ones; when the dead
//! outweigh the living, the living are copied to a new file that takes the old one's name. The page cache is
//! all that has to survive, so nothing is synced to a disk, where nothing of it may ever be.

mod codec;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use codec::Frame;
use ippriv::node::Record;
use rustix::fs::{FlockOperation, flock, fstatfs};
use zeroize::Zeroizing;

/// `TMPFS_MAGIC` and `RAMFS_MAGIC` of `include/uapi/linux/magic.h`.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
/// Dead octets that are not worth copying the living for.
const SLACK: u64 = 1 << 20;

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The directory is on a disk.
    #[error(
        "{}: the journal holds keys: expected a directory on tmpfs, which a reboot wipes, such as /run/ippriv",
        path.display()
    )]
    Persistent {
        /// The directory.
        path: PathBuf,
    },
    /// Others could exchange the journal or read it.
    #[error(
        "{}: owner {owner}, mode {mode:04o}: expected {expected} as the owner, and nobody else to have {access}",
        path.display()
    )]
    Exposed {
        /// The directory or file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Its mode.
        mode: u32,
        /// Whose it should be.
        expected: u32,
        /// What others must not have.
        access: &'static str,
    },
    /// Another daemon has it.
    #[error("{}: in use by another ipprivd: expected one for each runtime directory", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// It is of another version.
    #[error("{}: no journal of this version of ipprivd: stop the other version with --flush first", path.display())]
    Foreign {
        /// Its path.
        path: PathBuf,
    },
    /// A record that does not fit.
    #[error("a record of {octets} octets: expected at most {}", codec::LARGEST)]
    TooLarge {
        /// Its length.
        octets: usize,
    },
}

/// Where a journal may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Only where a reboot wipes it.
    Memory,
    /// Anywhere: for tests and for machines without a tmpfs, whose owners say so.
    Anywhere,
}

/// What a journal held when it was opened.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The latest record of each key that was not forgotten.
    pub records: Vec<Record>,
    /// Octets of torn records at the end, which were cut off.
    pub torn: u64,
}

/// Where the latest value of a key is in the file.
#[derive(Clone, Copy)]
struct Span {
    start: u64,
    length: u64,
}

/// An open journal.
pub struct Journal {
    path: PathBuf,
    file: File,
    end: u64,
    living: u64,
    spans: BTreeMap<String, Span>,
    /// Held, so that no second daemon writes.
    _lock: File,
}

impl Journal {
    /// Opens the journal of `directory`, or makes one.
    ///
    /// # Errors
    /// [`JournalError`] when it cannot be opened or is not safe there.
    pub fn open(directory: &Path, storage: Storage) -> Result<(Self, Recovered), JournalError> {
        check_directory(directory, storage)?;
        let lock = lock(&directory.join("lock"))?;
        let path = directory.join("journal");
        remove_if_there(&half_made(&path))?;
        let mut file = open_private(&path)?;
        let octets = read_all(&path, &file)?;
        let fail = |error| JournalError::Io { path: path.clone(), error };
        if octets.len() < codec::HEADER.len() && codec::HEADER.starts_with(&octets) {
            file.set_len(0).map_err(fail)?;
            file.write_all(codec::HEADER).map_err(fail)?;
            let end = codec::HEADER.len() as u64;
            let spans = BTreeMap::new();
            let journal = Self { path, file, end, living: 0, spans, _lock: lock };
            return Ok((journal, Recovered { records: Vec::new(), torn: octets.len() as u64 }));
        }
        if !octets.starts_with(codec::HEADER) {
            return Err(JournalError::Foreign { path });
        }
        let mut spans = BTreeMap::new();
        let mut end = codec::HEADER.len();
        while let Some(rest) = octets.get(end..)
            && let Some(Frame { key, value, length }) = codec::read(rest)
        {
            match value {
                None => spans.remove(key),
                Some(_) => spans.insert(key.to_owned(), Span { start: end as u64, length: length as u64 }),
            };
            end += length;
        }
        let torn = octets.len().saturating_sub(end) as u64;
        if torn > 0 {
            file.set_len(end as u64).map_err(fail)?;
        }
        let records = spans.values().filter_map(|span| codec::record(&octets, span.start)).collect();
        let living = spans.values().map(|span| span.length).sum();
        let journal = Self { path, file, end: end as u64, living, spans, _lock: lock };
        Ok((journal, Recovered { records, torn }))
    }

    /// Remembers a record; it is safe from the daemon's death when this returns.
    ///
    /// # Errors
    /// [`JournalError`] when it cannot be written. The journal is as before then.
    pub fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        let frame = codec::write(record)?;
        let length = frame.len() as u64;
        if let Err(error) = self.file.write_all(&frame) {
            // Half a record in the middle would hide all that come after it.
            let undone = self.file.set_len(self.end);
            return Err(self.failed(undone.err().unwrap_or(error)));
        }
        let span = Span { start: self.end, length };
        self.end += length;
        let old = match record.value {
            Some(_) => {
                self.living += length;
                self.spans.insert(record.key.clone(), span)
            }
            None => self.spans.remove(&record.key),
        };
        self.living -= old.map_or(0, |span| span.length);
        if self.end - self.living > SLACK + self.living {
            self.compact()?;
        }
        Ok(())
    }

    /// Forgets everything and removes the file: nothing is left to adopt.
    ///
    /// # Errors
    /// [`JournalError`] when it cannot be removed.
    pub fn remove(self) -> Result<(), JournalError> {
        remove_if_there(&self.path)
    }

    /// Copies the living to a new file, which then takes the place of the old one.
    fn compact(&mut self) -> Result<(), JournalError> {
        let new_path = half_made(&self.path);
        remove_if_there(&new_path)?;
        let mut new = open_private(&new_path)?;
        let mut spans = BTreeMap::new();
        let mut end = codec::HEADER.len() as u64;
        let copied = (|| {
            new.write_all(codec::HEADER)?;
            for (key, span) in &self.spans {
                let room = usize::try_from(span.length).map_err(io::Error::other)?;
                let mut frame = Zeroizing::new(vec![0; room]);
                self.file.read_exact_at(&mut frame, span.start)?;
                new.write_all(&frame)?;
                spans.insert(key.clone(), Span { start: end, length: span.length });
                end += span.length;
            }
            fs::rename(&new_path, &self.path)
        })();
        copied.map_err(|error| JournalError::Io { path: new_path, error })?;
        self.file = new;
        self.spans = spans;
        self.end = end;
        Ok(())
    }

    fn failed(&self, error: io::Error) -> JournalError {
        JournalError::Io { path: self.path.clone(), error }
    }
}

/// Where a compaction writes until it is complete.
fn half_made(path: &Path) -> PathBuf {
    path.with_extension("new")
}

fn check_directory(directory: &Path, storage: Storage) -> Result<(), JournalError> {
    let fail = |error| JournalError::Io { path: directory.to_owned(), error };
    let opened = File::open(directory).map_err(fail)?;
    let metadata = opened.metadata().map_err(fail)?;
    exposed(directory, &metadata, 0o022, "write access")?;
    let kind = fstatfs(&opened).map_err(|errno| fail(errno.into()))?.f_type;
    let in_memory = u64::try_from(kind).is_ok_and(|kind| IN_MEMORY.contains(&kind));
    if storage == Storage::Memory && !in_memory {
        return Err(JournalError::Persistent { path: directory.to_owned() });
    }
    Ok(())
}

fn exposed(
    path: &Path,
    metadata: &fs::Metadata,
    forbidden: u32,
    access: &'static str,
) -> Result<(), JournalError> {
    let expected = rustix::process::geteuid().as_raw();
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if owner != expected || mode & forbidden != 0 {
        return Err(JournalError::Exposed { path: path.to_owned(), owner, mode, expected, access });
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, JournalError> {
    let file = open_private(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(_) => Err(JournalError::InUse { path: path.to_owned() }),
    }
}

/// Opens or makes a file that only we read and write; every write goes to its end.
fn open_private(path: &Path) -> Result<File, JournalError> {
    let fail = |error| JournalError::Io { path: path.to_owned(), error };
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    let file = options.open(path).map_err(fail)?;
    exposed(path, &file.metadata().map_err(fail)?, 0o077, "any access")?;
    Ok(file)
}

fn read_all(path: &Path, file: &File) -> Result<Zeroizing<Vec<u8>>, JournalError> {
    let fail = |error| JournalError::Io { path: path.to_owned(), error };
    let length = usize::try_from(file.metadata().map_err(fail)?.len()).unwrap_or(usize::MAX);
    let mut octets = Zeroizing::new(vec![0; length]);
    file.read_exact_at(&mut octets, 0).map_err(fail)?;
    Ok(octets)
}

fn remove_if_there(path: &Path) -> Result<(), JournalError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(JournalError::Io { path: path.to_owned(), error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
