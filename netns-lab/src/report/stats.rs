//! Statistics of samples. Nothing here makes up what was not measured: no figures, no summary.

use serde::Serialize;

/// Mean and spread of figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How many there are.
    pub n: usize,
    /// Their arithmetic mean.
    pub mean: f64,
    /// Their standard deviation as an estimate for the population, that is by n − 1; one figure has none.
    pub sd: Option<f64>,
}

impl Summary {
    /// Summarises figures; `None` if there are none.
    #[must_use]
    pub fn of(figures: &[f64]) -> Option<Self> {
        let n = figures.len();
        let first = *figures.first()?;
        // Equal figures have exactly themselves as mean and no spread, which sums of fractions do not give.
        if figures.iter().all(|figure| *figure == first) {
            return Some(Self { n, mean: first, sd: (n > 1).then_some(0.0) });
        }
        let mean = figures.iter().sum::<f64>() / n as f64;
        let squares: f64 = figures.iter().map(|figure| (figure - mean).powi(2)).sum();
        Some(Self { n, mean, sd: (n > 1).then(|| (squares / (n - 1) as f64).sqrt()) })
    }

    /// How sure the mean is: the standard error.
    #[must_use]
    pub fn error(&self) -> Option<f64> {
        self.sd.map(|sd| sd / (self.n as f64).sqrt())
    }
}

/// The figure below which a share `q` of them lies, between the nearest two by a straight line (type 7 of Hyndman
/// and Fan, what R and NumPy do). `sorted` must be; `None` if there are none.
#[must_use]
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = q.clamp(0.0, 1.0) * last as f64;
    let below = at.floor() as usize;
    let (low, high) = (*sorted.get(below)?, *sorted.get((below + 1).min(last))?);
    Some(low + (high - low) * (at - below as f64))
}

/// The empirical distribution function: each figure once, with the share of figures that are at most that.
#[must_use]
pub fn ecdf(sorted: &[f64]) -> Vec<(f64, f64)> {
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for (at, figure) in sorted.iter().enumerate() {
        let share = (at + 1) as f64 / sorted.len() as f64;
        match steps.last_mut() {
            Some(last) if last.0 == *figure => last.1 = share,
            _ => steps.push((*figure, share)),
        }
    }
    steps
}

/// Whether two means differ by more than their spread explains: Welch's t-test at 95 %. `None` where a spread is not
/// known.
#[must_use]
pub fn differ(a: &Summary, b: &Summary) -> Option<bool> {
    let (error_a, error_b) = (a.error()?.powi(2), b.error()?.powi(2));
    let error = error_a + error_b;
    if error == 0.0 {
        return Some(a.mean != b.mean);
    }
    let freedom = error.powi(2) / (error_a.powi(2) / (a.n - 1) as f64 + error_b.powi(2) / (b.n - 1) as f64);
    Some((a.mean - b.mean).abs() > student(freedom) * error.sqrt())
}

/// The quantile 0.975 of Student's distribution, for the whole degrees of freedom below.
fn student(freedom: f64) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
        2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048,
        2.045, 2.042,
    ];
    TABLE.get((freedom.floor() as usize).max(1) - 1).copied().unwrap_or(1.96)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_by_n_minus_one() {
        let summary = Summary::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
        assert_eq!((summary.n, summary.mean), (8, 5.0));
        assert!((summary.sd.unwrap() - (32.0_f64 / 7.0).sqrt()).abs() < 1e-12);
        assert!((summary.error().unwrap() - (4.0_f64 / 7.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn one_figure_has_no_spread_and_none_no_mean() {
        assert_eq!(Summary::of(&[3.0]), Some(Summary { n: 1, mean: 3.0, sd: None }));
        assert_eq!(Summary::of(&[]), None);
        let same = Summary::of(&[0.1; 3]).unwrap();
        assert_eq!((same.mean, same.sd), (0.1, Some(0.0)));
    }

    #[test]
    fn quantiles_lie_between_figures() {
        let figures = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(quantile(&figures, 0.5), Some(2.5));
        assert_eq!(quantile(&figures, 0.0), Some(1.0));
        assert_eq!(quantile(&figures, 1.0), Some(4.0));
        assert_eq!(quantile(&figures, 0.25), Some(1.75));
        assert_eq!(quantile(&[7.0], 0.9), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn equal_figures_are_one_step() {
        assert_eq!(ecdf(&[1.0, 2.0, 2.0, 5.0]), [(1.0, 0.25), (2.0, 0.75), (5.0, 1.0)]);
        assert!(ecdf(&[]).is_empty());
    }

    #[test]
    fn a_difference_must_be_larger_than_the_spread() {
        let summary = |figures: &[f64]| Summary::of(figures).unwrap();
        assert_eq!(differ(&summary(&[1.0, 1.1, 0.9]), &summary(&[2.0, 2.1, 1.9])), Some(true));
        assert_eq!(differ(&summary(&[1.0, 2.0, 0.0]), &summary(&[2.0, 3.0, 1.0])), Some(false));
        assert_eq!(differ(&summary(&[1.0, 1.0]), &summary(&[1.1, 1.1])), Some(true));
        assert_eq!(differ(&summary(&[1.0]), &summary(&[9.0, 9.0])), None);
    }
}
