//! Where we lose to Tor: a figure's means at equal axes, each of our systems against the best Tor there.

use std::collections::BTreeMap;

use serde_json::Value;

use super::data::{Measured, text};
use super::figure::Figure;
use super::stats::{Summary, differ};
use super::text::short;
use crate::experiment::OF;

/// Our driver, and the one we are compared with.
const OURS: &str = "ippriv";
const RIVAL: &str = "tor";

/// What a figure says of us and Tor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Places where both have a result: one for each of our systems.
    pub places: usize,
    /// Those where ours is worse, the largest difference first.
    pub losses: Vec<Loss>,
    /// Places where Tor has a result and one of our systems has none.
    pub absent: Vec<String>,
    /// The unit of means.
    pub unit: String,
}

/// A place where we lose.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// The values of axes; empty where the figure has but the system.
    pub place: String,
    /// Our system and its figures.
    pub ours: (String, Summary),
    /// The best Tor.
    pub rival: (String, Summary),
    /// The difference of means as a share of Tor's.
    pub share: f64,
    /// Whether it is more than the spread explains; `None` with one repetition.
    pub beyond_spread: Option<bool>,
}

type Place<'a> = BTreeMap<&'a str, &'a Value>;
type Entry<'a> = (String, &'a str, Summary);

/// Compares; `None` where nobody wins, or where the figure does not have both.
#[must_use]
pub fn compare(measured: &Measured, figure: &Figure<'_>) -> Option<Comparison> {
    let more_is_better = figure.plot.more_is_better?;
    let mut places: Vec<(Place<'_>, Vec<Entry<'_>>)> = Vec::new();
    let mut all_ours: Vec<String> = Vec::new();
    let mut has_rival = false;
    for (mut axes, cell) in figure.cells() {
        let system = text(axes.remove("system")?);
        let driver = [OURS, RIVAL].into_iter().find(|driver| *driver == measured.driver(&system));
        let Some(driver) = driver else { continue };
        has_rival |= driver == RIVAL;
        if driver == OURS && !all_ours.contains(&system) {
            all_ours.push(system.clone());
        }
        let entry = (system, driver, cell.summary);
        match places.iter_mut().find(|(place, _)| *place == axes) {
            Some((_, entries)) => entries.push(entry),
            None => places.push((axes, vec![entry])),
        }
    }
    if !has_rival || all_ours.is_empty() {
        return None;
    }
    let better = |a: f64, b: f64| if more_is_better { a > b } else { a < b };
    let mut found = Comparison { unit: figure.unit.clone(), ..Comparison::default() };
    for (axes, entries) in &places {
        let mut best: Option<&Entry<'_>> = None;
        for entry in entries.iter().filter(|(_, driver, _)| *driver == RIVAL) {
            if best.is_none_or(|best| better(entry.2.mean, best.2.mean)) {
                best = Some(entry);
            }
        }
        let Some(best) = best else { continue };
        let place = named(measured, axes);
        for system in &all_ours {
            let Some((_, _, ours)) = entries.iter().find(|(name, _, _)| name == system) else {
                let at = if place.is_empty() { String::new() } else { format!(" at {place}") };
                found.absent.push(format!("{system}{at}"));
                continue;
            };
            found.places += 1;
            if better(best.2.mean, ours.mean) {
                found.losses.push(Loss {
                    place: place.clone(),
                    ours: (system.clone(), *ours),
                    rival: (best.0.clone(), best.2),
                    share: (ours.mean - best.2.mean) / best.2.mean.abs(),
                    beyond_spread: differ(ours, &best.2),
                });
            }
        }
    }
    found.losses.sort_by(|a, b| b.share.abs().total_cmp(&a.share.abs()));
    Some(found)
}

impl Comparison {
    /// The first line of the figure.
    #[must_use]
    pub fn line(&self) -> String {
        let places = match self.places {
            1 => "1 place".to_owned(),
            count => format!("{count} places"),
        };
        let mut line = match self.losses.first() {
            None if self.places == 0 => String::new(),
            None => format!("We lose to Tor at none of {places} that both have."),
            Some(worst) => {
                let beyond = self.losses.iter().filter(|loss| loss.beyond_spread == Some(true)).count();
                let unknown = self.losses.iter().all(|loss| loss.beyond_spread.is_none());
                let sure = if unknown {
                    "one repetition, so that the spread is not known".to_owned()
                } else {
                    format!("by more than the spread at {beyond}")
                };
                let at = if worst.place.is_empty() { String::new() } else { format!(" at {}", worst.place) };
                format!(
                    "Where we lose to Tor: at {} of {places} ({sure}). Most{at}: {}.",
                    self.losses.len(),
                    worst.sentence(&self.unit)
                )
            }
        };
        if let Some(first) = self.absent.first() {
            let more = if self.absent.len() > 1 {
                format!(" and {} more", self.absent.len() - 1)
            } else {
                String::new()
            };
            let lost = if line.is_empty() { "" } else { " " };
            line.push_str(&format!("{lost}Tor has a result where we have none: {first}{more}."));
        }
        line
    }
}

impl Loss {
    /// The figures of both, and the difference.
    #[must_use]
    pub fn sentence(&self, unit: &str) -> String {
        let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
        let (ours, rival) = (&self.ours, &self.rival);
        // Of a hundredth as much one says "1 % less", of a hundredfold delay rather "times".
        let how = match self.share {
            share if share >= 2.0 => format!("{} times as much", short(share + 1.0)),
            share if share >= 0.0 => format!("{} % more", percent(share)),
            share => format!("{} % less", percent(-share)),
        };
        format!("{} {} against {} {}{unit} ({how})", ours.0, spread(&ours.1), rival.0, spread(&rival.1))
    }
}

/// `8.35 ± 0.02`, with digits that the spread leaves.
#[must_use]
pub(super) fn spread(summary: &Summary) -> String {
    match summary.sd {
        None => short(summary.mean),
        Some(sd) => {
            let decimals = super::text::decimals(summary.mean, 4).min(match sd {
                0.0 => usize::MAX,
                sd => super::text::decimals(sd, 2),
            });
            let number = |value| super::text::number(value, decimals);
            format!("{} ± {}", number(summary.mean), number(sd))
        }
    }
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    super::text::number(percent, usize::from(percent < 10.0))
}

/// `loss 3, flows 1`.
fn named(measured: &Measured, axes: &Place<'_>) -> String {
    let order = measured.manifest.experiment.axes.iter();
    let axes_named =
        order.filter_map(|axis| Some(format!("{} {}", axis.name, text(axes.get(axis.name.as_str())?))));
    let place = axes.get(OF).map(|place| if place.is_number() { format!("{place} s") } else { text(place) });
    let parts: Vec<String> = axes_named.chain(place).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::made;
    use super::*;

    fn compared(measured: &Measured, plot: usize) -> Option<Comparison> {
        compare(measured, &Figure::of(measured, &measured.manifest.experiment.plots[plot]).unwrap())
    }

    #[test]
    fn losses_are_told_with_the_worst_first() {
        let compared = compared(&made::loss_sweep(), 0).unwrap();
        assert_eq!(compared.places, 3);
        let lost: Vec<&str> = compared.losses.iter().map(|loss| loss.place.as_str()).collect();
        assert_eq!(lost, ["loss 3", "loss 1", "loss 0"]);
        assert!(compared.losses.iter().all(|loss| loss.rival.0 == "tor-kist"));
        let line = compared.line();
        assert!(
            line.starts_with("Where we lose to Tor: at 3 of 3 places (by more than the spread at "),
            "{line}"
        );
        assert!(line.contains("Most at loss 3: ippriv 1.4"), "{line}");
        assert!(line.ends_with("% less)."), "{line}");
    }

    #[test]
    fn less_delay_wins() {
        let compared = compared(&made::loss_sweep(), 2).unwrap();
        assert_eq!(compared.losses, []);
        assert_eq!(compared.line(), "We lose to Tor at none of 1 place that both have.");
    }

    #[test]
    fn a_result_that_only_tor_has_is_told() {
        let mut measured = made::loss_sweep();
        let points = measured.manifest.points.clone();
        measured
            .rows
            .retain(|row| points[row.at].axes["system"] != "ippriv" || points[row.at].axes["loss"] != 3);
        let line = compared(&measured, 0).unwrap().line();
        assert!(line.ends_with(" Tor has a result where we have none: ippriv at loss 3."), "{line}");
    }

    #[test]
    fn a_place_says_what_its_samples_are_of() {
        let measured = made::loss_sweep();
        let mut rows = measured.rows;
        rows.retain(|row| row.sample.what == "goodput");
        for row in &mut rows {
            row.sample.of = "t=3".to_owned();
        }
        let mut measured = Measured::new(measured.manifest, rows);
        let plot = &mut measured.manifest.experiment.plots[0];
        (plot.x, plot.y.of) = (Some(OF.to_owned()), String::new());
        let compared = compared(&measured, 0).unwrap();
        assert_eq!(compared.losses[0].place, "3 s");
    }

    #[test]
    fn without_tor_or_without_a_winner_nothing_is_said() {
        let mut measured = made::loss_sweep();
        measured.manifest.experiment.plots[0].more_is_better = None;
        assert_eq!(compared(&measured, 0), None);
        let points = measured.manifest.points.clone();
        measured.rows.retain(|row| !points[row.at].axes["system"].as_str().unwrap().starts_with("tor"));
        assert_eq!(compared(&measured, 1), None);
    }

    #[test]
    fn the_spread_decides_how_many_digits_are_shown() {
        let summary = |mean, sd| Summary { n: 3, mean, sd };
        assert_eq!(spread(&summary(8.351_23, Some(0.12))), "8.35 ± 0.12");
        assert_eq!(spread(&summary(8.351_23, Some(0.0))), "8.351 ± 0.000");
        assert_eq!(spread(&summary(1234.6, Some(210.0))), "1235 ± 210");
        assert_eq!(spread(&summary(0.5, None)), "0.5");
    }
}
