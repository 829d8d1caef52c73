//! Spans of time in files: `250ms`, `30s`, `5m`, `24h`, `7d`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// Text that is no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("duration {found:?}: expected {expected}, such as 250ms, 30s, 5m, 24h or 7d")]
pub struct NotADuration {
    found: String,
    expected: &'static str,
}

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// No span of ours is longer: ten years.
const LONGEST: Duration = Duration::from_secs(3650 * 86_400);

/// Reads a number and a unit.
///
/// # Errors
/// [`NotADuration`] for anything else, and for more than ten years.
pub fn parse(text: &str) -> Result<Duration, NotADuration> {
    let refused = |expected| NotADuration { found: text.chars().take(40).collect(), expected };
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = UNITS.iter().find(|(name, _)| *name == unit);
    let number: Option<u64> = number.parse().ok();
    let (Some(number), Some((_, factor))) = (number, unit) else {
        return Err(refused("a number and a unit"));
    };
    match number.checked_mul(*factor).map(Duration::from_millis) {
        Some(span) if span <= LONGEST => Ok(span),
        _ => Err(refused("at most ten years")),
    }
}

/// A span that may be nothing.
pub(super) fn any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// A span that is something.
pub(super) fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    match parse(&text).map_err(de::Error::custom)? {
        Duration::ZERO => Err(de::Error::custom(NotADuration { found: text, expected: "more than nothing" })),
        span => Ok(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_a_number_and_a_unit() {
        for (text, milliseconds) in
            [("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("24h", 86_400_000), ("7d", 604_800_000)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for bad in ["", "30", "s", "30 s", "-1s", "1.5h", "1w", "4000d", "99999999999999999999s", "1m30s"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
