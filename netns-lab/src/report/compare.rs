//! What changed between two runs of an experiment.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use super::data::{Measured, text};
use super::losses::spread;
use super::stats::{Summary, differ};
use super::text::number;

/// What changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changes {
    /// Differences of means, the largest first; what is equal is not here.
    pub changed: Vec<Change>,
    /// How many figures have exactly the same samples from the same seeds.
    pub identical: usize,
    /// How many have the same samples although seeds differ, or other samples with the same mean.
    pub same_mean: usize,
    /// Figures that only the first has.
    pub only_first: Vec<String>,
    /// Figures that only the second has.
    pub only_second: Vec<String>,
    /// Versions that differ: what, first, second.
    pub versions: Vec<(String, Option<String>, Option<String>)>,
}

/// A figure that changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The values of the axes.
    pub axes: String,
    /// Of what, what, and which statistic.
    pub measure: String,
    /// The unit.
    pub unit: String,
    /// The first run's repetitions.
    pub first: Summary,
    /// The second's.
    pub second: Summary,
    /// Second less first.
    pub difference: f64,
    /// That as a share of the first mean; `None` where that is zero.
    pub share: Option<f64>,
    /// What to make of it.
    pub judgement: Judgement,
}

/// What to make of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// The same seeds gave something else, which in virtual time only a change of programs does.
    SameSeeds,
    /// Other seeds, and more than the spread of repetitions explains: Welch's t-test at 95 %.
    BeyondSpread,
    /// Other seeds, and no more than that.
    WithinSpread,
    /// Other seeds, and one repetition at least on one side.
    Unknown,
}

/// The axes, and what is measured there in which unit.
type Key = (String, String, String);
/// Figures of each repetition, with its seed.
type Repetitions = BTreeMap<(u32, u64), Vec<f64>>;

/// Compares two results. Points are the same when all their axes are.
#[must_use]
pub fn changes(first: &Measured, second: &Measured) -> Changes {
    let (a, b) = (figures(first), figures(second));
    let name = |(axes, measure, unit): &Key| format!("{axes}: {measure}{}", bracketed(unit));
    let mut found = Changes {
        changed: Vec::new(),
        identical: 0,
        same_mean: 0,
        only_first: a.keys().filter(|key| !b.contains_key(*key)).map(name).collect(),
        only_second: b.keys().filter(|key| !a.contains_key(*key)).map(name).collect(),
        versions: versions(first, second),
    };
    for (key, one) in &a {
        let Some(other) = b.get(key) else { continue };
        if one == other {
            found.identical += 1;
            continue;
        }
        let Some((first, second)) = summary(one).zip(summary(other)) else { continue };
        let difference = second.mean - first.mean;
        if difference == 0.0 {
            found.same_mean += 1;
            continue;
        }
        let judgement = if one.keys().eq(other.keys()) {
            Judgement::SameSeeds
        } else {
            match differ(&first, &second) {
                Some(true) => Judgement::BeyondSpread,
                Some(false) => Judgement::WithinSpread,
                None => Judgement::Unknown,
            }
        };
        let share = (first.mean != 0.0).then(|| difference / first.mean.abs());
        let (axes, measure, unit) = key.clone();
        found.changed.push(Change { axes, measure, unit, first, second, difference, share, judgement });
    }
    // What was nothing before has no share, and comes first.
    let size = |change: &Change| change.share.map_or(f64::INFINITY, f64::abs);
    found.changed.sort_by(|a, b| size(b).total_cmp(&size(a)));
    found
}

impl Changes {
    /// Whether both have the same figures, and no mean differs by more than a share `tolerance` of the first.
    #[must_use]
    pub fn within(&self, tolerance: f64) -> bool {
        self.only_first.is_empty()
            && self.only_second.is_empty()
            && self.changed.iter().all(|change| change.share.is_some_and(|share| share.abs() <= tolerance))
    }

    /// For people: a line for each difference.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut text = String::new();
        for (what, first, second) in &self.versions {
            let said = |version: &Option<String>| version.clone().unwrap_or_else(|| "none".to_owned());
            let _ = writeln!(text, "version of {what}: {} -> {}", said(first), said(second));
        }
        for change in &self.changed {
            let share = match change.share {
                Some(share) if share < 0.0 => format!("−{} %", number(-share * 100.0, 2)),
                Some(share) => format!("+{} %", number(share * 100.0, 2)),
                None => "from 0".to_owned(),
            };
            let _ = writeln!(
                text,
                "{share:>10}  {}: {}: {} -> {}{}, {}",
                change.axes,
                change.measure,
                spread(&change.first),
                spread(&change.second),
                bracketed(&change.unit),
                change.judgement.words()
            );
        }
        for (which, only) in [("first", &self.only_first), ("second", &self.only_second)] {
            for name in only {
                let _ = writeln!(text, "only in the {which}: {name}");
            }
        }
        let _ = writeln!(
            text,
            "{} changed; {} exactly equal from the same seeds; {} with equal means",
            self.changed.len(),
            self.identical,
            self.same_mean
        );
        text
    }
}

impl Judgement {
    fn words(self) -> &'static str {
        match self {
            Self::SameSeeds => "from the same seeds",
            Self::BeyondSpread => "more than the spread of repetitions",
            Self::WithinSpread => "within the spread of repetitions",
            Self::Unknown => "spread not known from one repetition",
        }
    }
}

fn bracketed(unit: &str) -> String {
    if matches!(unit, "" | "1") { String::new() } else { format!(" {unit}") }
}

fn figures(measured: &Measured) -> BTreeMap<Key, Repetitions> {
    let mut figures: BTreeMap<Key, Repetitions> = BTreeMap::new();
    for row in &measured.rows {
        let Some(point) = measured.manifest.points.get(row.at) else { continue };
        let axes: Vec<String> =
            point.axes.iter().map(|(axis, value)| format!("{axis} {}", text(value))).collect();
        let sample = &row.sample;
        let measure = [&sample.of, &sample.what, &sample.stat].map(String::as_str).join(" ");
        let key = (axes.join(", "), measure, sample.unit.clone());
        figures.entry(key).or_default().entry((point.rep, point.seed)).or_default().push(sample.value);
    }
    figures
}

/// Over repetitions, each by its mean.
fn summary(repetitions: &Repetitions) -> Option<Summary> {
    let means: Vec<f64> = repetitions.values().filter_map(|values| Some(Summary::of(values)?.mean)).collect();
    Summary::of(&means)
}

fn versions(first: &Measured, second: &Measured) -> Vec<(String, Option<String>, Option<String>)> {
    let (a, b) = (&first.manifest.versions, &second.manifest.versions);
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let differing = names.into_iter().filter(|name| a.get(*name) != b.get(*name));
    differing.map(|name| (name.clone(), a.get(name).cloned(), b.get(name).cloned())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::made;
    use super::*;

    #[test]
    fn a_run_is_identical_to_itself() {
        let measured = made::loss_sweep();
        let found = changes(&measured, &measured);
        // Two figures at each of eleven places that gave any.
        assert_eq!((found.changed.len(), found.identical, found.same_mean), (0, 22, 0));
        assert!(found.within(0.0));
        assert_eq!(found.lines(), "0 changed; 22 exactly equal from the same seeds; 0 with equal means\n");
    }

    #[test]
    fn the_largest_change_is_first_and_tolerance_is_a_share() {
        let first = made::loss_sweep();
        let mut second = first.clone();
        second.rows[0].sample.value *= 1.03;
        for row in second.rows.iter_mut().filter(|row| row.at / 3 == 5 && row.sample.what == "goodput") {
            row.sample.value /= 2.0;
        }
        let found = changes(&first, &second);
        assert_eq!(found.changed.len(), 2);
        let largest = &found.changed[0];
        assert_eq!((largest.axes.as_str(), largest.share), ("loss 3, system ippriv", Some(-0.5)));
        assert_eq!(largest.judgement, Judgement::SameSeeds);
        assert!(!found.within(0.1) && found.within(0.5));
        assert!(found.lines().starts_with("  −50.00 %  loss 3, system ippriv: bulk goodput mean: 1.4"));
    }

    #[test]
    fn other_seeds_are_judged_by_the_spread() {
        let first = made::loss_sweep();
        let judged = |factor: f64, keep: u32| {
            let mut second = first.clone();
            for point in &mut second.manifest.points {
                point.seed += 10;
            }
            let points = second.manifest.points.clone();
            second.rows.retain(|row| points[row.at].rep < keep);
            for row in &mut second.rows {
                row.sample.value *= factor;
            }
            changes(&first, &second).changed[0].judgement
        };
        assert_eq!(judged(1.000_001, 3), Judgement::WithinSpread);
        assert_eq!(judged(3.0, 3), Judgement::BeyondSpread);
        assert_eq!(judged(3.0, 1), Judgement::Unknown);
    }

    #[test]
    fn what_one_side_lacks_is_a_change() {
        let first = made::loss_sweep();
        let mut second = first.clone();
        let points = second.manifest.points.clone();
        second.rows.retain(|row| points[row.at].axes["system"] != "direct");
        second.manifest.versions.insert("tor".to_owned(), "0.4.9.12".to_owned());
        let found = changes(&first, &second);
        assert!(!found.within(1.0));
        assert_eq!(found.only_first.len(), 6);
        assert_eq!(changes(&second, &first).only_second.len(), 6);
        assert!(found.lines().contains("version of tor: 0.4.9.11 -> 0.4.9.12\n"));
        assert!(
            found.lines().contains("only in the first: loss 0, system direct: bulk goodput mean Mbit/s\n")
        );
    }
}
