//! Versions of Linux.

use std::{fmt, str::FromStr};

/// A version of Linux, as its sources name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

/// A text that is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a Linux version such as 6.16 or 6.16.3")]
pub struct BadVersion(String);

impl Version {
    /// From here on User-Mode Linux runs its processes under seccomp: system calls are two to three times faster.
    pub const SECCOMP: Self = Self { major: 6, minor: 16, patch: 0 };
    /// The oldest version the lab is known to work with.
    pub const OLDEST: Self = Self { major: 6, minor: 12, patch: 0 };
}

impl FromStr for Version {
    type Err = BadVersion;

    /// Reads `7.3`, `7.3.4` and, without what follows the dash, `7.3-rc1`.
    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let bad = || BadVersion(text.to_owned());
        let release = text.split('-').next().unwrap_or(text);
        let mut numbers = release.split('.').map(|part| part.parse::<u32>().map_err(|_| bad()));
        let major = numbers.next().ok_or_else(bad)??;
        let minor = numbers.next().ok_or_else(bad)??;
        let patch = numbers.next().transpose()?.unwrap_or(0);
        match numbers.next() {
            None => Ok(Self { major, minor, patch }),
            Some(_) => Err(bad()),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.patch == 0 { Ok(()) } else { write!(f, ".{}", self.patch) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_number() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(version("6.9") < version("6.16"));
        assert!(version("6.16.1") < version("7.0"));
        assert_eq!(version("6.16"), Version::SECCOMP);
        assert_eq!(version("7.3.4-rc1").to_string(), "7.3.4");
        assert_eq!(version("7.3").to_string(), "7.3");
    }

    #[test]
    fn other_texts_are_no_versions() {
        for text in ["", "7", "seven", "7.x", "1.2.3.4"] {
            assert_eq!(text.parse::<Version>(), Err(BadVersion(text.to_owned())));
        }
    }
}
