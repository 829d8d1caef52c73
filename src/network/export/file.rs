//! What an export consists of.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use crate::network::Name;

/// Files for a host, and what to run once they are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The xfrm interface of the overlay tunnel to each neighbour: where its traffic is counted.
    pub overlays: BTreeMap<Name, String>,
    /// The files, in no order that matters.
    pub files: Vec<File>,
    /// Command lines for root's shell, in order.
    pub commands: Vec<String>,
}

/// A text file.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Its absolute path.
    pub path: String,
    /// Who may read it.
    pub access: Access,
    text: Zeroizing<String>,
}

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody: mode 0644.
    Everybody,
    /// Root, for it has a secret in it: mode 0600.
    Root,
    /// Everybody, and root runs it: mode 0755.
    Program,
}

impl Access {
    /// The file's mode.
    #[must_use]
    pub const fn mode(self) -> u32 {
        match self {
            Self::Everybody => 0o644,
            Self::Root => 0o600,
            Self::Program => 0o755,
        }
    }
}

impl Export {
    /// The text of the file at `path`.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|file| file.path == path).map(File::text)
    }
}

impl File {
    pub(super) fn new(path: impl Into<String>, access: Access, text: String) -> Self {
        Self { path: path.into(), access, text: Zeroizing::new(text) }
    }

    /// Its text, wiped when dropped: it may have a secret in it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({}, {:?}, {} octets)", self.path, self.access, self.text.len())
    }
}
