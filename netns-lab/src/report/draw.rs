//! A figure as a picture, 800 pixels wide.

use super::figure::{Figure, Panel};
use super::marks;
use super::scale::{Places, Scale};
use super::svg::{Anchor, Font, Svg};
use super::text::{short, width, wrap};
use crate::experiment::PlotKind;

const WIDTH: f64 = 800.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 26.0;
/// Between panels.
const GAP: f64 = 22.0;

const TITLE: Font = Font { size: 17.0, bold: true, soft: false };
const LABEL: Font = Font { size: 13.0, bold: false, soft: false };
const PANEL: Font = Font { size: 12.5, bold: true, soft: false };
const TICK: Font = Font { size: 12.0, bold: false, soft: true };
const CAPTION: Font = Font { size: 11.5, bold: false, soft: true };

/// Where a panel is, and its axes.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// The left and right edge.
    pub(super) x: (f64, f64),
    /// The top and bottom edge.
    pub(super) y: (f64, f64),
    /// Over the height.
    pub(super) up: Scale,
    /// Over the width.
    pub(super) along: Along,
}

/// What is on the x axis.
#[derive(Clone, Debug)]
pub(super) enum Along {
    /// Numbers, with the value of each place (none for a `cdf`).
    Scale(Scale, Vec<f64>),
    /// Names, each with a band of its own.
    Bands(Vec<String>),
}

impl Frame {
    /// The middle of a place on the x axis.
    pub(super) fn middle(&self, place: usize) -> f64 {
        match &self.along {
            Along::Scale(scale, values) => scale.at(values.get(place).copied().unwrap_or_default()),
            Along::Bands(names) => {
                self.x.0 + (place as f64 + 0.5) * (self.x.1 - self.x.0) / names.len().max(1) as f64
            }
        }
    }
}

/// Draws a figure as SVG. The same figure gives the same octets.
#[must_use]
pub fn draw(figure: &Figure<'_>) -> String {
    let mut svg = Svg::default();
    let mut top = 12.0;
    for line in wrap(&figure.plot.title, TITLE.size * 1.1, WIDTH - 40.0) {
        top += 20.0;
        svg.text((20.0, top), Anchor::Start, TITLE, &line);
    }
    top += 16.0;
    top = legend(figure, &mut svg, top);
    let bottom = panels(figure, &mut svg, top);
    let mut end = bottom + 12.0;
    for line in wrap(&caption(figure), CAPTION.size, WIDTH - 40.0) {
        end += 16.0;
        svg.text((20.0, end), Anchor::Start, CAPTION, &line);
    }
    svg.finish((WIDTH, end + 14.0), &figure.plot.title)
}

/// What has to be known to read the figure.
#[must_use]
pub fn caption(figure: &Figure<'_>) -> String {
    let (fewest, most) = figure.repetitions();
    // What is taken together was not done again.
    let runs = if figure.pooled.is_empty() { "repetitions" } else { "runs" };
    let several =
        if fewest == most { format!("{most} {runs}") } else { format!("{fewest} to {most} {runs}") };
    let mut parts = Vec::new();
    if figure.plot.kind == PlotKind::Cdf {
        let counts = || figure.cells().map(|(_, cell)| cell.samples.len());
        let (fewest, most) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
        let count = if fewest == most { most.to_string() } else { format!("{fewest} to {most}") };
        let of = if figure.repetitions().1 == 1 { "one run".to_owned() } else { several };
        parts.push(format!("Share of samples that are at most so large; {count} samples a curve, of {of}."));
    } else if most <= 1 {
        parts.push("One repetition: its spread is not known.".to_owned());
    } else {
        parts.push(format!("Mean of {several}; whiskers: ± one standard deviation over {runs}."));
    }
    if !figure.pooled.is_empty() {
        parts.push(format!("Taken together: {}.", figure.pooled.join("; ")));
    }
    if figure.missing > 0 {
        parts.push(format!("Gaps: {} runs gave no result.", figure.missing));
    }
    parts.join(" ")
}

/// Which look is which series; gives the end of it.
fn legend(figure: &Figure<'_>, svg: &mut Svg, top: f64) -> f64 {
    let mut at = (LEFT, top + 4.0);
    for series in &figure.series {
        let wide = 36.0 + width(&series.name, LABEL.size);
        if at.0 + wide > WIDTH - RIGHT && at.0 > LEFT {
            at = (LEFT, at.1 + 21.0);
        }
        marks::sample(svg, figure.plot.kind, &series.style, at);
        svg.text((at.0 + 36.0, at.1 + 4.5), Anchor::Start, LABEL, &series.name);
        at.0 += wide + 20.0;
    }
    at.1 + 18.0
}

/// All panels and the labels of axes; gives the end of them.
fn panels(figure: &Figure<'_>, svg: &mut Svg, top: f64) -> f64 {
    let count = figure.panels.len().max(1);
    let columns = match count {
        1..=3 => count,
        4 => 2,
        _ => 3,
    };
    let rows = count.div_ceil(columns);
    let height = match (rows, columns) {
        (1, 1) => 330.0,
        (1, 2) => 280.0,
        (1, _) => 240.0,
        _ => 190.0,
    };
    let titled = figure.panels.iter().any(|panel| !panel.title.is_empty());
    let head = if titled { 24.0 } else { 6.0 };
    let wide = (WIDTH - LEFT - RIGHT - GAP * (columns - 1) as f64) / columns as f64;
    let (up, along) = axes(figure);
    let mut bottom = top;
    for (at, panel) in figure.panels.iter().enumerate() {
        let (row, column) = (at / columns, at % columns);
        let x = LEFT + column as f64 * (wide + GAP);
        let y = top + head + row as f64 * (height + head + 26.0);
        bottom = y + height;
        let along = match along.clone() {
            Along::Scale(scale, values) => Along::Scale(scale.over(x, x + wide), values),
            bands @ Along::Bands(_) => bands,
        };
        let up = up.clone().over(y + height, y);
        let frame = Frame { x: (x, x + wide), y: (y, y + height), up, along };
        draw_panel(figure, panel, &frame, column == 0, svg);
    }
    let first = top + head;
    let is_cdf = figure.plot.kind == PlotKind::Cdf;
    let (side, under) =
        if is_cdf { ("share of samples", &figure.label) } else { (figure.label.as_str(), &figure.x_label) };
    // A label that is longer than the axis is smaller.
    let fit = |text: &str, room: f64| (LABEL.size * room / width(text, LABEL.size)).clamp(8.0, LABEL.size);
    let size = fit(side, bottom - first);
    svg.text_up((20.0, f64::midpoint(first, bottom)), Font { size, ..LABEL }, side);
    let named = |label: &str| match &axes(figure).1 {
        Along::Scale(..) if !is_cdf => match Places::of(&figure.x) {
            Places::Quantities(_, unit) if !unit.is_empty() && !label.contains('(') => {
                format!("{label} ({unit})")
            }
            _ => label.to_owned(),
        },
        _ => label.to_owned(),
    };
    let under = named(under);
    if under.is_empty() {
        return bottom + 20.0;
    }
    let size = fit(&under, WIDTH - LEFT - RIGHT);
    let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
    svg.text((middle, bottom + 40.0), Anchor::Middle, Font { size, ..LABEL }, &under);
    bottom + 44.0
}

/// The axes that all panels share.
fn axes(figure: &Figure<'_>) -> (Scale, Along) {
    let cells = || figure.cells().map(|(_, cell)| cell);
    if figure.plot.kind == PlotKind::Cdf {
        let ends =
            cells().flat_map(|cell| cell.samples.first().into_iter().chain(cell.samples.last()).copied());
        let ends: Vec<f64> = ends.collect();
        let (low, high) =
            ends.iter().fold((f64::MAX, f64::MIN), |(low, high), end| (low.min(*end), high.max(*end)));
        let along = if !figure.plot.log && low >= 0.0 && low < high * 0.5 {
            Scale::from_zero(ends.iter().copied())
        } else {
            Scale::around(ends.iter().copied(), figure.plot.log)
        };
        return (Scale::from_zero([1.0].into_iter()), Along::Scale(along, Vec::new()));
    }
    let reach: Vec<f64> = cells()
        .flat_map(|cell| {
            let (mean, sd) = (cell.summary.mean, cell.summary.sd.unwrap_or_default());
            // On a logarithmic axis a whisker may go below everything: that does not make the axis longer.
            [mean, mean + sd, if figure.plot.log { mean } else { mean - sd }]
        })
        .collect();
    let up = if figure.plot.log {
        Scale::around(reach.into_iter(), true)
    } else {
        // A spread of a small mean may reach below zero where nothing can be.
        let negative = cells().any(|cell| cell.summary.mean < 0.0);
        Scale::from_zero(reach.into_iter().filter(|value| negative || *value >= 0.0))
    };
    let along = match (figure.plot.kind, Places::of(&figure.x)) {
        (PlotKind::Line, Places::Quantities(values, _)) => {
            let positive = values.iter().copied().fold(f64::MAX, f64::min);
            let largest = values.iter().copied().fold(f64::MIN, f64::max);
            let scale = Scale::around(values.iter().copied(), positive > 0.0 && largest / positive >= 30.0);
            Along::Scale(scale, values)
        }
        (_, Places::Names(names)) => Along::Bands(names),
        (_, Places::Quantities(..)) => Along::Bands(
            figure.x.iter().map(|value| value.map(super::data::text).unwrap_or_default()).collect(),
        ),
    };
    (up, along)
}

fn draw_panel(figure: &Figure<'_>, panel: &Panel<'_>, frame: &Frame, first: bool, svg: &mut Svg) {
    let ((left, right), (top, bottom)) = (frame.x, frame.y);
    if !panel.title.is_empty() {
        let room = right - left;
        let size = (PANEL.size * room / width(&panel.title, PANEL.size * 1.1)).clamp(8.0, PANEL.size);
        svg.text((left, top - 9.0), Anchor::Start, Font { size, ..PANEL }, &panel.title);
    }
    for (value, text) in frame.up.ticks(5) {
        let y = frame.up.at(value);
        svg.rule("grid", (left, y), (right, y));
        if first {
            svg.text((left - 8.0, y + 4.0), Anchor::End, TICK, &text);
        }
    }
    match &frame.along {
        Along::Scale(scale, values) => {
            let ticks = match values.len() {
                // What was measured says more than what is round.
                1..=10 => values.iter().map(|value| (*value, short(*value))).collect(),
                _ => scale.ticks(((right - left) / 70.0) as usize),
            };
            let mut free = f64::MIN;
            for (value, text) in ticks {
                let x = scale.at(value);
                let half = width(&text, TICK.size) / 2.0;
                if figure.plot.kind == PlotKind::Cdf {
                    svg.rule("grid", (x, top), (x, bottom));
                }
                svg.rule("axis", (x, bottom), (x, bottom + 4.0));
                if x - half > free {
                    svg.text((x, bottom + 18.0), Anchor::Middle, TICK, &text);
                    free = x + half + 6.0;
                }
            }
        }
        Along::Bands(names) => {
            let room = (right - left) / names.len().max(1) as f64 - 6.0;
            let widest = names.iter().map(|name| width(name, TICK.size)).fold(1.0, f64::max);
            let size = (TICK.size * room / widest).clamp(7.0, TICK.size);
            for (place, name) in names.iter().enumerate() {
                svg.text((frame.middle(place), bottom + 18.0), Anchor::Middle, Font { size, ..TICK }, name);
            }
        }
    }
    marks::draw(figure, panel, frame, svg);
    svg.rule("axis", (left, bottom), (right, bottom));
}

#[cfg(test)]
mod tests {
    use super::super::made;
    use super::*;

    #[test]
    fn a_small_figure_is_drawn_as_it_always_was() {
        let measured = made::loss_sweep();
        let figure = Figure::of(&measured, &measured.manifest.experiment.plots[0]).unwrap();
        let drawn = draw(&figure);
        if drawn != include_str!("golden.svg") {
            let path = std::env::temp_dir().join("ippriv-golden.svg");
            std::fs::write(&path, &drawn).unwrap();
            panic!("not golden.svg; if it should be, copy {}", path.display());
        }
    }

    #[test]
    fn gaps_break_lines() {
        let measured = made::loss_sweep();
        let figure = Figure::of(&measured, &measured.manifest.experiment.plots[0]).unwrap();
        let drawn = draw(&figure);
        let colour = figure.series[3].style.colour;
        let lines = drawn.lines().filter(|line| line.contains(colour) && line.contains("stroke-linejoin"));
        // One in the legend, one through two points out of three.
        assert_eq!(lines.map(|line| line.matches('L').count()).collect::<Vec<_>>(), [1, 1]);
        assert!(caption(&figure).ends_with("Gaps: 3 runs gave no result."));
    }

    #[test]
    fn every_kind_is_drawn_whole() {
        let measured = made::loss_sweep();
        for plot in &measured.manifest.experiment.plots {
            let drawn = draw(&Figure::of(&measured, plot).unwrap());
            assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{}", plot.name);
            let tree = resvg::usvg::Tree::from_str(&drawn, &resvg::usvg::Options::default()).unwrap();
            assert_eq!(tree.size().width(), 800.0);
        }
    }

    #[test]
    fn captions_tell_the_spread_or_that_there_is_none() {
        let mut measured = made::loss_sweep();
        let plot = measured.manifest.experiment.plots[0].clone();
        let with = caption(&Figure::of(&measured, &plot).unwrap());
        assert!(with.starts_with("Mean of 3 repetitions; whiskers: ± one standard deviation"), "{with}");
        let points = measured.manifest.points.clone();
        measured.rows.retain(|row| points[row.at].rep == 0);
        let without = caption(&Figure::of(&measured, &plot).unwrap());
        assert!(without.starts_with("One repetition: its spread is not known."), "{without}");
        let plot = measured.manifest.experiment.plots[2].clone();
        let cdf = caption(&Figure::of(&measured, &plot).unwrap());
        assert!(cdf.contains("Taken together: loss on the bottleneck (%) 0, 1, 3."), "{cdf}");
    }
}
