//! What a figure shows: the samples of a plot, sorted into panels, series and places on the x axis.

use std::collections::BTreeMap;

use serde_json::Value;

use super::data::{Measured, place, text};
use super::stats::Summary;
use super::style::{self, Style};
use crate::experiment::{Axis, OF, Plot, PlotKind, PointRecord, PointState};
use crate::workload::Sample;

/// A figure without its looks.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure<'a> {
    /// What was asked for.
    pub plot: &'a Plot,
    /// What is measured, in words, with its unit.
    pub label: String,
    /// The unit alone; empty for a plain number.
    pub unit: String,
    /// The label of the x axis (of a `cdf`: of nothing).
    pub x_label: String,
    /// The places on the x axis; one without value where the plot has no `x`.
    pub x: Vec<Option<&'a Value>>,
    /// What has a line of its own, and its looks.
    pub series: Vec<Series<'a>>,
    /// Side by side.
    pub panels: Vec<Panel<'a>>,
    /// Axes that are none of these and have several values, all of which went into each mean: with those values.
    pub pooled: Vec<String>,
    /// How many of its points failed or were not run.
    pub missing: usize,
}

/// A line of a figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Series<'a> {
    /// In the legend.
    pub name: String,
    /// The values of the axes that make it.
    pub values: Vec<(&'a str, &'a Value)>,
    /// Its looks.
    pub style: Style,
}

/// A panel of a figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel<'a> {
    /// Above it; empty for the only one.
    pub title: String,
    /// The axis and its value that make it.
    pub value: Option<(&'a str, &'a Value)>,
    /// By series, then by place on the x axis; `None` where nothing was measured.
    pub cells: Vec<Vec<Option<Cell>>>,
}

/// What was measured at one place of a figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Of the repetitions, each by its mean.
    pub summary: Summary,
    /// All samples, sorted.
    pub samples: Vec<f64>,
}

/// Why there is no figure.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FigureError {
    /// The experiment has no such axis.
    #[error("plot {plot}: axis {axis}: expected one of {}", known.join(", "))]
    NoAxis {
        /// Which figure.
        plot: String,
        /// What was asked for.
        axis: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Samples that belong together are in different units.
    #[error("plot {plot}: units {first} and {second}: expected one")]
    Units {
        /// Which figure.
        plot: String,
        /// One unit.
        first: String,
        /// Another.
        second: String,
    },
    /// Nothing was measured that it could show.
    #[error("plot {plot}: no samples of {of} {what} {stat} at its points")]
    Empty {
        /// Which figure.
        plot: String,
        /// As in [`Measure`](crate::experiment::Measure).
        of: String,
        /// As there.
        what: String,
        /// As there.
        stat: String,
    },
}

impl<'a> Figure<'a> {
    /// Sorts the samples of a result into a figure.
    ///
    /// # Errors
    /// [`FigureError`] when the plot does not fit the result.
    pub fn of(measured: &'a Measured, plot: &'a Plot) -> Result<Self, FigureError> {
        let axes = Axes { measured, plot };
        let is_cdf = plot.kind == PlotKind::Cdf;
        let series_axes: Vec<&'a str> = match &plot.x {
            Some(group) if is_cdf => vec![group],
            _ => plot.series.iter().map(String::as_str).collect(),
        };
        let x_axis = plot.x.as_deref().filter(|_| !is_cdf);
        for name in series_axes.iter().copied().chain(x_axis).chain(plot.panels.as_deref()) {
            axes.find(name)?;
        }
        let x: Vec<Option<&Value>> = match x_axis {
            Some(axis) => axes.values(axis).into_iter().map(Some).collect(),
            None => vec![None],
        };
        let panel_values: Vec<Option<(&str, &Value)>> = match plot.panels.as_deref() {
            Some(axis) => axes.values(axis).into_iter().map(|value| Some((axis, value))).collect(),
            None => vec![None],
        };
        let (unit, samples) = axes.samples()?;
        let mut series: Vec<Series<'a>> = axes.series(&series_axes);
        let cell = |panel: &Option<(&str, &Value)>, series: &Series<'_>, x: &Option<&Value>| {
            let wanted = panel.iter().chain(&series.values).copied().chain(x_axis.zip(*x));
            let wanted: Vec<(&str, &Value)> = wanted.collect();
            cell(samples.iter().filter(|sample| {
                wanted.iter().all(|(axis, value)| match *axis {
                    OF => sample.place == **value,
                    _ => measured.value(sample.point, axis) == Some(*value),
                })
            }))
        };
        let mut panels: Vec<Panel<'a>> = Vec::new();
        for value in panel_values {
            let row = |series| x.iter().map(|x| cell(&value, series, x)).collect();
            let cells: Vec<Vec<Option<Cell>>> = series.iter().map(row).collect();
            if cells.iter().flatten().any(Option::is_some) {
                let title = value.map(|(axis, value)| axes.titled(axis, value)).unwrap_or_default();
                panels.push(Panel { title, value, cells });
            }
        }
        // A series that was not asked for anywhere is no gap.
        for at in (0..series.len()).rev() {
            if panels.iter().all(|panel| panel.cells[at].iter().all(Option::is_none)) {
                series.remove(at);
                for panel in &mut panels {
                    panel.cells.remove(at);
                }
            }
        }
        if panels.is_empty() {
            let measure = plot.y.clone();
            let (of, what, stat) = (measure.of, measure.what, measure.stat);
            return Err(FigureError::Empty { plot: plot.name.clone(), of, what, stat });
        }
        let used: Vec<&str> = series_axes.into_iter().chain(x_axis).chain(plot.panels.as_deref()).collect();
        Ok(Self {
            plot,
            label: label(plot, &unit),
            unit,
            x_label: x_axis.map(|axis| axes.label(axis)).unwrap_or_default(),
            x,
            series,
            panels,
            pooled: axes.pooled(&used),
            missing: axes.points().filter(|point| !matches!(point.state, PointState::Done { .. })).count(),
        })
    }

    /// Every cell that there is, with the values of the axes that it is at.
    pub fn cells(&self) -> impl Iterator<Item = (BTreeMap<&'a str, &'a Value>, &Cell)> {
        let x_axis = self.plot.x.as_deref().filter(|_| self.plot.kind != PlotKind::Cdf);
        self.panels.iter().flat_map(move |panel| {
            self.series.iter().zip(&panel.cells).flat_map(move |(series, cells)| {
                self.x.iter().zip(cells).filter_map(move |(x, cell)| {
                    let axes = panel.value.into_iter().chain(series.values.iter().copied());
                    Some((axes.chain(x_axis.zip(*x)).collect(), cell.as_ref()?))
                })
            })
        })
    }

    /// The fewest and the most repetitions behind a mean.
    #[must_use]
    pub fn repetitions(&self) -> (usize, usize) {
        let counts = || self.cells().map(|(_, cell)| cell.summary.n);
        (counts().min().unwrap_or(0), counts().max().unwrap_or(0))
    }
}

/// A sample's point, what it is of, and its value.
struct Valued<'a> {
    point: &'a PointRecord,
    place: Value,
    value: f64,
}

/// The samples of one place: those of a repetition count as one figure, their mean.
fn cell<'s, 'a: 's>(samples: impl Iterator<Item = &'s Valued<'a>>) -> Option<Cell> {
    let mut all = Vec::new();
    let mut by_point: BTreeMap<(usize, u32), Vec<f64>> = BTreeMap::new();
    for Valued { point, value, .. } in samples {
        all.push(*value);
        by_point.entry((point.point, point.rep)).or_default().push(*value);
    }
    all.sort_by(f64::total_cmp);
    let means: Vec<f64> = by_point.values().filter_map(|values| Some(Summary::of(values)?.mean)).collect();
    Some(Cell { summary: Summary::of(&means)?, samples: all })
}

/// What is measured, in words.
fn label(plot: &Plot, unit: &str) -> String {
    let measure = &plot.y;
    let stat = match measure.stat.as_str() {
        "each" | "mean" | "" => "",
        "p50" => ", median",
        "p95" => ", 95th percentile",
        "p99" => ", 99th percentile",
        "sum" => ", in total",
        "count" => ", count",
        other => &format!(", {other}"),
    };
    let what = measure.what.replace('_', " ");
    let of =
        if measure.of.is_empty() { String::new() } else { format!(" of {}", measure.of.replace('_', " ")) };
    let unit = if unit.is_empty() { String::new() } else { format!(" ({unit})") };
    format!("{what}{of}{stat}{unit}")
}

/// The axes of the experiment, as a plot narrows them.
#[derive(Clone, Copy)]
struct Axes<'a> {
    measured: &'a Measured,
    plot: &'a Plot,
}

impl<'a> Axes<'a> {
    fn find(self, name: &str) -> Result<&'a Axis, FigureError> {
        if name == OF {
            return Ok(&self.measured.places);
        }
        let axes = &self.measured.manifest.experiment.axes;
        axes.iter().find(|axis| axis.name == name).ok_or_else(|| FigureError::NoAxis {
            plot: self.plot.name.clone(),
            axis: name.to_owned(),
            known: axes.iter().map(|axis| axis.name.clone()).collect(),
        })
    }

    /// The values of an axis that the plot wants.
    fn values(self, name: &str) -> Vec<&'a Value> {
        let values = self.find(name).map(|axis| axis.values.iter()).into_iter().flatten();
        values.filter(|value| self.wants(name, value)).collect()
    }

    fn wants(self, axis: &str, value: &Value) -> bool {
        if axis == OF {
            let mut rows = self.measured.rows.iter();
            return rows.any(|row| self.shows(&row.sample) && place(&row.sample.of) == *value);
        }
        self.plot.only.get(axis).is_none_or(|values| values.contains(value))
    }

    /// Whether the plot is of such samples.
    fn shows(self, sample: &Sample) -> bool {
        let measure = &self.plot.y;
        let anything = measure.of.is_empty() && self.plot.x.as_deref() == Some(OF);
        (anything || sample.of == measure.of)
            && (&sample.what, &sample.stat) == (&measure.what, &measure.stat)
    }

    /// The points that the plot wants.
    fn points(self) -> impl Iterator<Item = &'a PointRecord> {
        self.measured.manifest.points.iter().filter(move |point| self.has(point))
    }

    fn has(self, point: &PointRecord) -> bool {
        let mut only = self.plot.only.iter();
        only.all(|(axis, values)| {
            self.measured.value(point, axis).is_some_and(|value| values.contains(value))
        })
    }

    /// The unit of the samples that the plot wants, and the samples with their points.
    fn samples(self) -> Result<(String, Vec<Valued<'a>>), FigureError> {
        let mut unit: Option<&str> = None;
        let mut samples = Vec::new();
        for row in &self.measured.rows {
            let sample = &row.sample;
            let Some(point) = self.measured.manifest.points.get(row.at) else { continue };
            if !self.shows(sample) || !self.has(point) {
                continue;
            }
            match unit {
                Some(unit) if unit != sample.unit => {
                    return Err(FigureError::Units {
                        plot: self.plot.name.clone(),
                        first: unit.to_owned(),
                        second: sample.unit.clone(),
                    });
                }
                _ => unit = Some(&sample.unit),
            }
            samples.push(Valued { point, place: place(&sample.of), value: sample.value });
        }
        // A ratio is a plain number.
        Ok((unit.filter(|unit| *unit != "1").unwrap_or_default().to_owned(), samples))
    }

    /// Every combination of the values of axes, the last varying fastest, with looks.
    fn series(self, axes: &[&'a str]) -> Vec<Series<'a>> {
        let mut all: Vec<Vec<(&'a str, &'a Value)>> = vec![Vec::new()];
        for axis in axes {
            let values = self.values(axis);
            let longer =
                all.iter().flat_map(|one| values.iter().map(|value| [&one[..], &[(*axis, *value)]].concat()));
            all = longer.collect();
        }
        let systems: Vec<String> =
            self.find("system").map(|axis| axis.values.iter().map(text).collect()).unwrap_or_default();
        let drivers: Vec<(&str, &str)> =
            systems.iter().map(|system| (system.as_str(), self.measured.driver(system))).collect();
        let styles = style::of_systems(&drivers);
        let varying: Vec<&str> = axes.iter().copied().filter(|axis| self.values(axis).len() > 1).collect();
        let mut seen: Vec<String> = Vec::new();
        let looks = all.into_iter().map(|values| {
            let system = values.iter().find(|(axis, _)| *axis == "system").map(|(_, value)| text(value));
            let rest: Vec<String> =
                values.iter().filter(|(axis, _)| *axis != "system").map(|(_, value)| text(value)).collect();
            let rest = rest.join(" ");
            let at = seen.iter().position(|known| *known == rest).unwrap_or_else(|| {
                seen.push(rest);
                seen.len() - 1
            });
            let system = system.and_then(|system| systems.iter().position(|name| *name == system));
            let style = match system.and_then(|system| styles.get(system)) {
                Some(style) => style.variant(at),
                None => style::other(at),
            };
            let named = values.iter().filter(|(axis, _)| varying.contains(axis));
            let named: Vec<String> = named.map(|(axis, value)| self.named(axis, value)).collect();
            let name = match (named.is_empty(), values.first()) {
                (true, Some((axis, value))) => self.named(axis, value),
                _ => named.join(", "),
            };
            Series { name, values, style }
        });
        looks.collect()
    }

    /// A value in a legend: numbers say what they count.
    fn named(self, axis: &str, value: &Value) -> String {
        if value.is_string() { text(value) } else { self.titled(axis, value) }
    }

    /// A value with its axis.
    fn titled(self, axis: &str, value: &Value) -> String {
        let (label, name) = (self.label(axis), axis.replace('_', " "));
        // With a label `loss on the bottleneck (%)`, 3 is `loss 3 %`.
        match label.strip_suffix(')').and_then(|label| label.rsplit_once(" (")) {
            Some((_, unit)) if !value.is_string() => format!("{name} {} {unit}", text(value)),
            _ => format!("{name} {}", text(value)),
        }
    }

    fn label(self, axis: &str) -> String {
        if axis == OF {
            let are_times = self.values(axis).iter().all(|place| place.is_number());
            return if are_times { "time (s)" } else { "" }.to_owned();
        }
        let label = self.find(axis).ok().and_then(|axis| axis.label.clone());
        label.unwrap_or_else(|| axis.replace('_', " "))
    }

    /// Axes that the figure does not tell apart.
    fn pooled(self, used: &[&str]) -> Vec<String> {
        let mut pooled = Vec::new();
        for axis in &self.measured.manifest.experiment.axes {
            let values = self.values(&axis.name);
            if values.len() > 1 && !used.contains(&axis.name.as_str()) {
                let values: Vec<String> = values.into_iter().map(text).collect();
                pooled.push(format!("{} {}", self.label(&axis.name), values.join(", ")));
            }
        }
        pooled
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::made;
    use super::*;

    fn plot(measured: &Measured, at: usize, changes: &Value) -> Plot {
        let mut plot = serde_json::to_value(&measured.manifest.experiment.plots[at]).unwrap();
        for (field, value) in changes.as_object().unwrap() {
            plot[field] = value.clone();
        }
        serde_json::from_value(plot).unwrap()
    }

    #[test]
    fn cells_are_means_over_repetitions_and_gaps_stay_gaps() {
        let measured = made::loss_sweep();
        let figure = Figure::of(&measured, &measured.manifest.experiment.plots[0]).unwrap();
        let names: Vec<&str> = figure.series.iter().map(|series| series.name.as_str()).collect();
        assert_eq!(names, ["direct", "ippriv", "tor-kist", "tor-w100"]);
        assert_eq!(figure.label, "goodput of bulk (Mbit/s)");
        assert_eq!(figure.x_label, "loss on the bottleneck (%)");
        assert_eq!(figure.panels.len(), 1);
        assert!(figure.panels[0].cells[3][1].is_some());
        assert_eq!(figure.panels[0].cells[3][2], None);
        assert_eq!(figure.missing, 3);
        assert_eq!(figure.repetitions(), (3, 3));
        let cell = figure.panels[0].cells[0][0].as_ref().unwrap();
        assert_eq!(cell.summary, Summary::of(&cell.samples).unwrap());
        assert_eq!(figure.cells().count(), 11);
    }

    #[test]
    fn samples_of_one_repetition_are_one_figure() {
        let measured = made::loss_sweep();
        let figure = Figure::of(&measured, &measured.manifest.experiment.plots[2]).unwrap();
        let cell = figure.panels[0].cells[0][0].as_ref().unwrap();
        assert_eq!((cell.summary.n, cell.samples.len()), (9, 180));
        assert!(cell.samples.is_sorted());
        assert_eq!(figure.pooled, ["loss on the bottleneck (%) 0, 1, 3"]);
    }

    #[test]
    fn panels_and_only_narrow() {
        let measured = made::loss_sweep();
        let changes = json!({ "panels": "loss", "x": null, "only": { "loss": [0, 3], "system": ["ippriv", "tor-w100"] } });
        let plot = plot(&measured, 1, &changes);
        let figure = Figure::of(&measured, &plot).unwrap();
        let titles: Vec<&str> = figure.panels.iter().map(|panel| panel.title.as_str()).collect();
        assert_eq!(titles, ["loss 0 %", "loss 3 %"]);
        assert_eq!(figure.series.len(), 2);
        assert_eq!(figure.panels[1].cells[1], [None]);
    }

    #[test]
    fn groups_of_a_cdf_take_the_place_of_series() {
        let measured = made::loss_sweep();
        let plot = plot(&measured, 2, &json!({ "x": "loss", "only": { "system": ["ippriv"] } }));
        let figure = Figure::of(&measured, &plot).unwrap();
        assert_eq!(figure.series.len(), 3);
        assert_eq!(figure.series[1].name, "loss 1 %");
        assert!(figure.pooled.is_empty());
    }

    #[test]
    fn what_samples_are_of_has_places_on_the_axis() {
        let measured = made::loss_sweep();
        let mut rows = measured.rows.clone();
        for (of, value) in [("t=0", 5.0), ("t=1", 6.0), ("t=10", 7.0)] {
            let mut row = rows[0].clone();
            (row.sample.of, row.sample.what, row.sample.value) =
                (of.to_owned(), "goodput_at".to_owned(), value);
            rows.push(row);
        }
        let measured = Measured::new(measured.manifest, rows);
        let changes = json!({ "x": OF, "y": { "what": "goodput_at", "stat": measured.rows[0].sample.stat } });
        let plot = plot(&measured, 0, &changes);
        let figure = Figure::of(&measured, &plot).unwrap();
        let x: Vec<f64> = figure.x.iter().filter_map(|place| place.and_then(Value::as_f64)).collect();
        assert_eq!((x, figure.x_label.as_str()), (vec![0.0, 1.0, 10.0], "time (s)"));
        let values = figure.cells().map(|(axes, cell)| (axes[OF].as_f64().unwrap(), cell.summary.mean));
        assert_eq!(values.collect::<Vec<_>>(), [(0.0, 5.0), (1.0, 6.0), (10.0, 7.0)]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut measured = made::loss_sweep();
        let wrong = plot(&measured, 0, &json!({ "x": "rate" }));
        let error = Figure::of(&measured, &wrong).unwrap_err().to_string();
        assert_eq!(error, "plot goodput: axis rate: expected one of system, loss");
        let wrong = plot(&measured, 0, &json!({ "y": { "of": "web", "what": "x", "stat": "p50" } }));
        let error = Figure::of(&measured, &wrong).unwrap_err().to_string();
        assert_eq!(error, "plot goodput: no samples of web x p50 at its points");
        measured.rows[0].sample.unit = "kbit/s".to_owned();
        let error = Figure::of(&measured, &measured.manifest.experiment.plots[0]).unwrap_err().to_string();
        assert_eq!(error, "plot goodput: units kbit/s and Mbit/s: expected one");
    }
}
