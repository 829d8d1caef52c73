//! What many values are like, in a few figures.

use serde::{Deserialize, Serialize};

/// The value that this share (0 to 1) of all values do not exceed: the nearest rank, always one of the values.
/// They have to be in ascending order; `None` if there are none.
#[must_use]
pub fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// Jain's index of fairness (Jain, Chiu, Hawe 1984): 1 when all have the same, 1/n when one has all.
#[must_use]
pub fn fairness(shares: &[f64]) -> Option<f64> {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    Some(sum * sum / (shares.len() as f64 * squares)).filter(|index| index.is_finite())
}

/// What many values are like, in their unit; only the count is there when there are none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many.
    pub count: u64,
    /// Their arithmetic mean.
    pub mean: Option<f64>,
    /// The median.
    pub p50: Option<f64>,
    /// What 95 % do not exceed.
    pub p95: Option<f64>,
    /// What 99 % do not exceed.
    pub p99: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
}

impl Spread {
    /// Of these values, in any order.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let count = values.len() as u64;
        let mean = values.iter().sum::<f64>() / count as f64;
        Self {
            count,
            // To the millionth, so that the report does not show how sums are rounded.
            mean: Some((mean * 1e6).round() / 1e6).filter(|mean| mean.is_finite()),
            p50: percentile(&values, 0.5),
            p95: percentile(&values, 0.95),
            p99: percentile(&values, 0.99),
            max: values.last().copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occur() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        let at = |share| percentile(&values, share).unwrap();
        assert_eq!([0.0, 0.01, 0.5, 0.95, 0.99, 1.0].map(at), [1.0, 1.0, 50.0, 95.0, 99.0, 100.0]);
        assert_eq!(percentile(&[3.0, 8.0], 0.5), Some(3.0));
        assert_eq!(percentile(&[3.0, 8.0], 0.51), Some(8.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn a_spread_needs_no_order() {
        let spread = Spread::of(vec![4.0, 1.0, 2.0, 3.0]);
        assert_eq!((spread.count, spread.mean, spread.p50, spread.max), (4, Some(2.5), Some(2.0), Some(4.0)));
        assert_eq!(Spread::of(Vec::new()), Spread::default());
    }

    #[test]
    fn fairness_is_one_for_equals() {
        assert_eq!(fairness(&[2.0, 2.0, 2.0]), Some(1.0));
        assert_eq!(fairness(&[3.0, 0.0, 0.0]), Some(1.0 / 3.0));
        assert_eq!(fairness(&[0.0]), None);
    }
}
