//! Rates, durations and shares as topology files write them: `20mbit`, `5ms`, `1%`.
//!
//! The spelling is the one `tc` uses, so a file can be read next to `tc qdisc show`.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// A link rate in bit/s, never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Rate(u64);

impl Rate {
    /// A rate of `megabits` Mbit/s; at least 1.
    #[must_use]
    pub const fn mbit(megabits: u32) -> Self {
        Self(if megabits == 0 { 1 } else { megabits as u64 } * 1_000_000)
    }

    /// Bits per second.
    #[must_use]
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }

    /// How long `bytes` occupy the line at this rate.
    #[must_use]
    pub fn time_for(self, bytes: usize) -> Duration {
        Duration::from_nanos((bytes as u64).saturating_mul(8_000_000_000) / self.0)
    }
}

impl TryFrom<String> for Rate {
    type Error = UnitError;

    fn try_from(text: String) -> Result<Self, UnitError> {
        const UNITS: [(&str, u64); 4] =
            [("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1000), ("bit", 1)];
        match scaled(&text, &UNITS) {
            Some(bits) if bits > 0 => Ok(Self(bits)),
            _ => {
                Err(UnitError { found: text, expected: "a rate above zero such as 20mbit, 512kbit or 1gbit" })
            }
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}bit", self.0)
    }
}

/// A one-way delay or its jitter, in whole microseconds: what `tc` prints and keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Delay(u64);

impl Delay {
    /// No delay at all.
    pub const ZERO: Self = Self(0);

    /// A delay of `milliseconds`.
    #[must_use]
    pub const fn ms(milliseconds: u32) -> Self {
        Self(milliseconds as u64 * 1000)
    }

    /// Whole microseconds.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// The same span for `std`.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_micros(self.0)
    }
}

impl TryFrom<String> for Delay {
    type Error = UnitError;

    fn try_from(text: String) -> Result<Self, UnitError> {
        const UNITS: [(&str, u64); 3] = [("us", 1), ("ms", 1000), ("s", 1_000_000)];
        match scaled(&text, &UNITS) {
            Some(micros) => Ok(Self(micros)),
            None => Err(UnitError { found: text, expected: "a duration such as 5ms, 250us or 1s" }),
        }
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}us", self.0)
    }
}

/// A share of packets between 0 and 100 %, kept in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Share(u32);

impl Share {
    /// No packet at all.
    pub const NONE: Self = Self(0);

    /// Millionths of all packets.
    #[must_use]
    pub const fn ppm(self) -> u32 {
        self.0
    }
}

impl TryFrom<String> for Share {
    type Error = UnitError;

    fn try_from(text: String) -> Result<Self, UnitError> {
        match scaled(&text, &[("%", 10_000)]).map(u32::try_from) {
            Some(Ok(ppm)) if ppm <= 1_000_000 => Ok(Self(ppm)),
            _ => Err(UnitError { found: text, expected: "a share between 0% and 100%, such as 0.5%" }),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:04}%", self.0 / 10_000, self.0 % 10_000)
    }
}

/// A quantity that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found `{found}`, expected {expected}")]
pub struct UnitError {
    found: String,
    expected: &'static str,
}

/// Reads `12.5ms` as 12.5 times the scale of `ms`; `None` unless the result is a whole number.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(split);
    let scale = units.iter().find(|(name, _)| *name == unit)?.1;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut value = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    let mut step = scale;
    for digit in fraction.chars() {
        let digit = u64::from(digit.to_digit(10)?);
        if step % 10 != 0 && digit != 0 {
            return None;
        }
        step /= 10;
        value = value.checked_add(digit * step)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_tc_reads() {
        assert_eq!(Rate::try_from("20mbit".to_owned()), Ok(Rate::mbit(20)));
        assert_eq!(Rate::try_from("1.5mbit".to_owned()).map(Rate::bits_per_second), Ok(1_500_000));
        assert_eq!(Delay::try_from("2.5ms".to_owned()).map(Delay::micros), Ok(2500));
        assert_eq!(Delay::try_from("0ms".to_owned()), Ok(Delay::ZERO));
        assert_eq!(Share::try_from("0.05%".to_owned()).map(Share::ppm), Ok(500));
        assert_eq!(Share::try_from("100%".to_owned()).map(|s| s.to_string()), Ok("100.0000%".to_owned()));
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["", "20", "mbit", "20 mbit", "-1mbit", "0mbit", "1.2.3mbit", "99999999999gbit", "1.5bit"]
        {
            assert!(Rate::try_from(text.to_owned()).is_err(), "{text:?}");
        }
        for text in ["5", "5m", "5parsec", "1.5us", "ms"] {
            assert!(Delay::try_from(text.to_owned()).is_err(), "{text:?}");
        }
        for text in ["1", "101%", "100.0001%", "%"] {
            assert!(Share::try_from(text.to_owned()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_full_packet_takes_its_time() {
        assert_eq!(Rate::mbit(20).time_for(1500), Duration::from_micros(600));
    }
}
