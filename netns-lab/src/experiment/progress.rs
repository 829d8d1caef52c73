//! How far it is, and how long it will still take.

use std::collections::BTreeMap;
use std::time::Duration;

/// Wall times so far, by what has a pace of its own.
#[derive(Debug, Default)]
pub(super) struct Progress {
    done: BTreeMap<String, (u32, Duration)>,
    open: BTreeMap<String, u32>,
}

impl Progress {
    /// With so many points still to run of each kind.
    pub(super) fn new<'a>(kinds: impl Iterator<Item = &'a str>) -> Self {
        let mut progress = Self::default();
        for kind in kinds {
            *progress.open.entry(kind.to_owned()).or_default() += 1;
        }
        progress
    }

    /// A point of a kind is over.
    pub(super) fn over(&mut self, kind: &str, wall: Duration) {
        let (count, sum) = self.done.entry(kind.to_owned()).or_default();
        (*count, *sum) = (*count + 1, *sum + wall);
        if let Some(open) = self.open.get_mut(kind) {
            *open = open.saturating_sub(1);
        }
    }

    /// Wall time that all the rest will take when `jobs` run at a time, as far as can be told: kinds that nothing
    /// is known of count as the mean of the others.
    pub(super) fn left(&self, jobs: usize) -> Option<Duration> {
        let means: BTreeMap<&str, f64> = self
            .done
            .iter()
            .map(|(kind, (count, sum))| (kind.as_str(), sum.as_secs_f64() / f64::from(*count)))
            .collect();
        if means.is_empty() {
            return None;
        }
        let other = means.values().sum::<f64>() / means.len() as f64;
        let of = |(kind, open): (&String, &u32)| {
            f64::from(*open) * means.get(kind.as_str()).copied().unwrap_or(other)
        };
        let seconds: f64 = self.open.iter().map(of).sum();
        Some(Duration::from_secs_f64(seconds / jobs.max(1) as f64))
    }
}

/// `40 s`, `12 min`, `1 h 20 min`.
pub(super) fn rough(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..90 => format!("{seconds} s"),
        90..5400 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_pace_of_its_own() {
        let mut progress = Progress::new(["tor", "tor", "tor", "direct", "direct"].into_iter());
        assert_eq!(progress.left(2), None);
        progress.over("tor", Duration::from_secs(40));
        assert_eq!(progress.left(2), Some(Duration::from_secs(80)), "direct is not known yet");
        progress.over("direct", Duration::from_secs(2));
        assert_eq!(progress.left(2), Some(Duration::from_secs(41)));
    }

    #[test]
    fn times_are_told_roughly() {
        let told = [40, 95, 7500].map(|seconds| rough(Duration::from_secs(seconds)));
        assert_eq!(told, ["40 s", "2 min", "2 h 5 min"]);
    }
}
