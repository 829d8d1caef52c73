//! Established connections as data, so that a daemon that restarts loses none.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::event::SaHandle;
use super::sa::{Cx, Established, SavedSa};
use crate::time::Instant;

/// A connection with all its secrets. It belongs into memory that only root reads.
#[derive(Serialize, Deserialize)]
pub struct Snapshot {
    version: u32,
    handle: SaHandle,
    sa: SavedSa,
}

/// A snapshot that cannot be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSnapshot {
    /// It was written by another version of this program.
    #[error("snapshot of version {found}: expected {VERSION}")]
    Version {
        /// Its version.
        found: u32,
    },
    /// A value in it is none that we write.
    #[error("snapshot: {0}: expected what this program writes")]
    Damaged(&'static str),
    /// Its SPIs belong to another connection of this host.
    #[error("snapshot: an SPI of it is in use: expected each snapshot to be restored once")]
    InUse,
    /// Its first child SA was still being installed.
    #[error("snapshot: the first child SA is missing: expected it to be installed")]
    Unfinished,
}

const VERSION: u32 = 1;

impl Snapshot {
    pub(super) fn of(sa: &Established, handle: SaHandle, now: Instant) -> Self {
        Self { version: VERSION, handle, sa: sa.save(now) }
    }

    /// The handle of the connection when the snapshot was made.
    #[must_use]
    pub const fn handle(&self) -> SaHandle {
        self.handle
    }

    pub(super) fn revive(self, cx: &mut Cx<'_>) -> Result<Box<Established>, BadSnapshot> {
        if self.version != VERSION {
            return Err(BadSnapshot::Version { found: self.version });
        }
        self.sa.revive(cx)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({})", self.handle)
    }
}

/// Octets that wipe themselves, in Base64 where they are text.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Octets(Zeroizing<Vec<u8>>);

impl Octets {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Octets {
    fn from(octets: Vec<u8>) -> Self {
        Self(Zeroizing::new(octets))
    }
}

impl From<&[u8]> for Octets {
    fn from(octets: &[u8]) -> Self {
        octets.to_vec().into()
    }
}

impl From<Octets> for Vec<u8> {
    fn from(mut octets: Octets) -> Self {
        std::mem::take(&mut *octets.0)
    }
}

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Octets({})", self.0.len())
    }
}

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = Zeroizing::new(STANDARD.encode(self.as_slice()));
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        // The text is not repeated in the error, for it may be a key.
        STANDARD
            .decode(text.as_bytes())
            .map(Self::from)
            .map_err(|_| serde::de::Error::custom("octets: expected Base64"))
    }
}
