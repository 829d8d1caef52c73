//! Civil time, for how long a document is valid.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Seconds since 1970-01-01 00:00 UTC. Unlike [`crate::time::Instant`] it has a meaning outside of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnixTime(u64);

/// Text that is no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("time {found:?}: expected RFC 3339 in whole seconds since 1970, such as 2026-11-21T12:00:00Z")]
pub struct NotATime {
    found: String,
}

impl UnixTime {
    /// The last moment that RFC 3339 can write: the end of the year 9999 in any zone.
    const LAST: u64 = 253_402_207_200;

    /// The moment `seconds` after the epoch, at most the end of the year 9999.
    #[must_use]
    pub fn from_seconds(seconds: u64) -> Self {
        Self(seconds.min(Self::LAST))
    }

    /// Seconds since the epoch.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0
    }
}

impl FromStr for UnixTime {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        let refused = || NotATime { found: text.chars().take(80).collect() };
        let moment: Timestamp = text.parse().map_err(|_| refused())?;
        let seconds = u64::try_from(moment.as_second()).map_err(|_| refused())?;
        if moment.subsec_nanosecond() != 0 || seconds > Self::LAST {
            return Err(refused());
        }
        Ok(Self(seconds))
    }
}

impl TryFrom<String> for UnixTime {
    type Error = NotATime;

    fn try_from(text: String) -> Result<Self, NotATime> {
        text.parse()
    }
}

impl From<UnixTime> for String {
    fn from(time: UnixTime) -> Self {
        time.to_string()
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.0).unwrap_or(i64::MAX);
        match Timestamp::from_second(seconds) {
            Ok(moment) => moment.fmt(f),
            Err(_) => write!(f, "@{seconds}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_seconds_agree() {
        let time: UnixTime = "2026-11-21T13:00:00+01:00".parse().unwrap();
        assert_eq!(time.seconds(), 1_795_262_400);
        assert_eq!(time.to_string(), "2026-11-21T12:00:00Z");
        assert_eq!(UnixTime::from_seconds(u64::MAX).to_string().parse(), Ok(UnixTime(UnixTime::LAST)));
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for bad in ["", "2026-11-21", "2026-11-21T12:00:00", "2026-11-21T12:00:00.5Z", "1969-01-01T00:00:00Z"]
        {
            assert!(bad.parse::<UnixTime>().is_err(), "{bad}");
        }
    }
}
