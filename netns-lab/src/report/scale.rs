//! Axes of figures: from values to places, and the ticks between.

use serde_json::Value;

use super::data::text;
use super::text::number;

/// An axis with numbers on it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    log: bool,
    /// Where the lowest and the highest value are, in pixels.
    pub(super) span: (f64, f64),
}

/// The unit steps of axes: one, two and five.
const STEPS: [f64; 3] = [1.0, 2.0, 5.0];

impl Scale {
    /// From zero (or below, if values are) to a round number that no value is above.
    pub(super) fn from_zero(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) =
            values.fold((0.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        let high = if high == low { low + 1.0 } else { high };
        let step = step(high - low, 5);
        let round = |value: f64| value * step;
        Self::new(round((low / step).floor()), round((high / step - 1e-9).ceil()), false)
    }

    /// From just below the lowest to just above the highest.
    pub(super) fn around(values: impl Iterator<Item = f64> + Clone, log: bool) -> Self {
        let finite = values.filter(|value| value.is_finite() && (!log || *value > 0.0));
        let (low, high) = finite
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        match (low <= high, log) {
            (false, _) => Self::new(1.0, 10.0, log),
            (true, true) => {
                let (below, above) = (round_log(low, false), round_log(high, true));
                Self::new(below, if above > below { above } else { below * 10.0 }, true)
            }
            (true, false) => {
                let room = if high > low { (high - low) * 0.04 } else { 1.0 };
                Self::new(low - room, high + room, false)
            }
        }
    }

    fn new(low: f64, high: f64, log: bool) -> Self {
        Self { low, high, log, span: (0.0, 1.0) }
    }

    /// The same, over these pixels.
    pub(super) fn over(mut self, from: f64, to: f64) -> Self {
        self.span = (from, to);
        self
    }

    /// Where a value is; what is beyond the ends is at the ends.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            let from = self.low.log10();
            (value.max(self.low).log10() - from) / (self.high.log10() - from)
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.span.0 + share.clamp(0.0, 1.0) * (self.span.1 - self.span.0)
    }

    /// Where bars begin.
    pub(super) fn base(&self) -> f64 {
        self.at(if self.log { self.low } else { 0.0 })
    }

    /// Values that get a line, about `count`, with their text.
    pub(super) fn ticks(&self, count: usize) -> Vec<(f64, String)> {
        if self.log {
            return self.log_ticks(count);
        }
        let step = step(self.high - self.low, count);
        let digits = usize::try_from(-(step.log10().floor() as i32)).unwrap_or(0);
        let (first, last) =
            ((self.low / step - 1e-9).ceil() as i64, (self.high / step + 1e-9).floor() as i64);
        (first..=last).map(|at| at as f64 * step).map(|value| (value, number(value, digits))).collect()
    }

    fn log_ticks(&self, count: usize) -> Vec<(f64, String)> {
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let few = (last - first) as usize * STEPS.len() <= count + 4;
        let mut ticks = Vec::new();
        for decade in first..=last {
            for step in STEPS.iter().take(if few { STEPS.len() } else { 1 }) {
                let value = step * 10_f64.powi(decade);
                if value >= self.low * 0.999 && value <= self.high * 1.001 {
                    ticks.push((value, number(value, usize::try_from(-decade).unwrap_or(0))));
                }
            }
        }
        ticks
    }
}

/// The step of a round size that cuts a range into at most about so many parts.
fn step(range: f64, parts: usize) -> f64 {
    let raw = range / parts as f64;
    let decade = 10_f64.powf(raw.log10().floor());
    let found = STEPS.iter().map(|step| step * decade).find(|step| *step >= raw * 0.999);
    found.unwrap_or(decade * 10.0)
}

/// The next of 1, 2, 5, 10, … below or above.
fn round_log(value: f64, up: bool) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let mut steps = STEPS.into_iter().chain([10.0]).map(|step| step * decade);
    if up {
        steps.find(|step| *step >= value * 0.999).unwrap_or(decade * 10.0)
    } else {
        steps.rfind(|step| *step <= value * 1.001).unwrap_or(decade)
    }
}

/// What the values of an axis are, for placing them.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Places {
    /// Quantities in one unit, which is empty for plain numbers.
    Quantities(Vec<f64>, &'static str),
    /// Names.
    Names(Vec<String>),
}

impl Places {
    pub(super) fn of(values: &[Option<&Value>]) -> Self {
        let found: Option<Vec<(f64, &'static str)>> =
            values.iter().map(|value| value.and_then(quantity)).collect();
        match found {
            Some(all) if all.windows(2).all(|two| two[0].1 == two[1].1) && !all.is_empty() => {
                let unit = all.first().map(|(_, unit)| *unit).unwrap_or_default();
                Self::Quantities(all.into_iter().map(|(value, _)| value).collect(), unit)
            }
            _ => Self::Names(values.iter().map(|value| value.map(text).unwrap_or_default()).collect()),
        }
    }
}

/// `3`, `10mbit`, `20ms`, `0.5%` as a number in a unit that their kind shares.
fn quantity(value: &Value) -> Option<(f64, &'static str)> {
    const UNITS: [(&str, f64, &str); 8] = [
        ("kbit", 0.001, "Mbit/s"),
        ("mbit", 1.0, "Mbit/s"),
        ("gbit", 1000.0, "Mbit/s"),
        ("us", 0.001, "ms"),
        ("ms", 1.0, "ms"),
        ("s", 1000.0, "ms"),
        ("%", 1.0, "%"),
        ("", 1.0, ""),
    ];
    if let Some(number) = value.as_f64() {
        return Some((number, ""));
    }
    let text = value.as_str()?;
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    UNITS.iter().find(|(name, _, _)| *name == unit).map(|(_, factor, unit)| (number * factor, *unit))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(scale: &Scale) -> Vec<String> {
        scale.ticks(5).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(texts(&Scale::from_zero([9.4].into_iter())), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(texts(&Scale::from_zero([0.31].into_iter())), ["0.0", "0.1", "0.2", "0.3", "0.4"]);
        assert_eq!(texts(&Scale::from_zero([-1.0, 3.0].into_iter())), ["−1", "0", "1", "2", "3"]);
        assert_eq!(texts(&Scale::from_zero([].into_iter())), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(
            texts(&Scale::around([34.0, 870.0].into_iter(), true)),
            ["20", "50", "100", "200", "500", "1000"]
        );
        assert_eq!(texts(&Scale::around([0.02, 7000.0].into_iter(), true))[..3], ["0.1", "1", "10"]);
    }

    #[test]
    fn places_are_in_proportion_and_within() {
        let scale = Scale::from_zero([10.0].into_iter()).over(100.0, 0.0);
        assert_eq!((scale.at(0.0), scale.at(5.0), scale.at(99.0)), (100.0, 50.0, 0.0));
        let scale = Scale::around([1.0, 100.0].into_iter(), true).over(0.0, 2.0);
        assert_eq!((scale.at(1.0), scale.at(10.0), scale.at(-3.0)), (0.0, 1.0, 0.0));
        assert_eq!(scale.base(), 0.0);
    }

    #[test]
    fn nothing_and_equal_values_have_a_scale() {
        for log in [false, true] {
            for values in [&[][..], &[5.0, 5.0], &[0.0]] {
                let scale = Scale::around(values.iter().copied(), log).over(0.0, 1.0);
                assert!(scale.at(5.0).is_finite(), "{values:?}");
                assert!(!scale.ticks(5).is_empty(), "{values:?}");
            }
        }
    }

    #[test]
    fn quantities_share_a_unit_or_are_names() {
        let places = |values: &[Value]| Places::of(&values.iter().map(Some).collect::<Vec<_>>());
        let rates = [json!("500kbit"), json!("10mbit"), json!("1gbit")];
        assert_eq!(places(&rates), Places::Quantities(vec![0.5, 10.0, 1000.0], "Mbit/s"));
        assert_eq!(places(&[json!(0), json!(0.5)]), Places::Quantities(vec![0.0, 0.5], ""));
        assert_eq!(places(&[json!("1ms"), json!("3%")]), Places::Names(vec!["1ms".into(), "3%".into()]));
        assert_eq!(places(&[json!("cake"), json!(3)]), Places::Names(vec!["cake".into(), "3".into()]));
        assert_eq!(Places::of(&[None]), Places::Names(vec![String::new()]));
    }
}
