//! What is drawn inside a panel: lines, bars, distributions.

use super::draw::{Along, Frame};
use super::figure::{Cell, Figure, Panel};
use super::stats::{ecdf, quantile};
use super::style::Style;
use super::svg::{Anchor, Font, Svg};
use super::text::{decimals, number, width};
use crate::experiment::PlotKind;

const VALUE: Font = Font { size: 10.5, bold: false, soft: true };
/// Half of a marker.
const MARKER: f64 = 4.2;
/// The shares at which a distribution has markers.
const MARKED: [f64; 5] = [0.1, 0.3, 0.5, 0.7, 0.9];

/// Draws all series of a panel, what stands out over the others.
pub(super) fn draw(figure: &Figure<'_>, panel: &Panel<'_>, frame: &Frame, svg: &mut Svg) {
    let mut order: Vec<usize> = (0..figure.series.len()).collect();
    order.sort_by_key(|at| figure.series[*at].style.stands_out);
    for at in order {
        let (style, cells) = (&figure.series[at].style, &panel.cells[at]);
        match figure.plot.kind {
            PlotKind::Line => line(cells, style, frame, svg),
            PlotKind::Bars => bars(cells, style, (at, figure.series.len()), frame, svg),
            PlotKind::Cdf => distribution(cells, style, frame, svg),
        }
    }
}

/// A series in the legend.
pub(super) fn sample(svg: &mut Svg, kind: PlotKind, style: &Style, (x, y): (f64, f64)) {
    if kind == PlotKind::Bars {
        svg.rect((x + 12.0, y - 6.0), (16.0, 12.0), "", style.colour);
    } else {
        svg.line(&[(x, y), (x + 28.0, y)], style.colour, thickness(style), style.dash);
        svg.marker(style.marker, (x + 14.0, y), size(style), style.colour);
    }
}

fn thickness(style: &Style) -> f64 {
    if style.stands_out { 2.8 } else { 1.8 }
}

fn size(style: &Style) -> f64 {
    if style.stands_out { MARKER * 1.2 } else { MARKER }
}

fn line(cells: &[Option<Cell>], style: &Style, frame: &Frame, svg: &mut Svg) {
    let place = |at: usize, cell: &Cell| (frame.middle(at), frame.up.at(cell.summary.mean));
    let with_places: Vec<Option<(f64, f64)>> =
        cells.iter().enumerate().map(|(at, cell)| cell.as_ref().map(|cell| place(at, cell))).collect();
    for stretch in with_places.split(Option::is_none) {
        let points: Vec<(f64, f64)> = stretch.iter().flatten().copied().collect();
        if points.len() > 1 {
            svg.line(&points, style.colour, thickness(style), style.dash);
        }
    }
    for (at, cell) in cells.iter().enumerate() {
        if let Some(cell) = cell {
            whisker(cell, frame.middle(at), 4.0, style.colour, frame, svg);
        }
    }
    for point in with_places.into_iter().flatten() {
        svg.marker(style.marker, point, size(style), style.colour);
    }
}

/// The spread, unless it is too small to be seen.
fn whisker(cell: &Cell, x: f64, half: f64, colour: &str, frame: &Frame, svg: &mut Svg) {
    let Some(sd) = cell.summary.sd else { return };
    let ends = (frame.up.at(cell.summary.mean + sd), frame.up.at(cell.summary.mean - sd));
    if ends.1 - ends.0 >= 1.0 {
        svg.whisker(x, ends, half, colour);
    }
}

fn bars(cells: &[Option<Cell>], style: &Style, (at, count): (usize, usize), frame: &Frame, svg: &mut Svg) {
    let bands = match &frame.along {
        Along::Bands(names) => names.len().max(1),
        Along::Scale(_, values) => values.len().max(1),
    };
    let band = (frame.x.1 - frame.x.0) / bands as f64;
    let wide = (band * 0.82 / count as f64).min(56.0);
    for (place, cell) in cells.iter().enumerate() {
        let Some(cell) = cell else { continue };
        let left = frame.middle(place) + (at as f64 - count as f64 / 2.0) * wide;
        let (end, base) = (frame.up.at(cell.summary.mean), frame.up.base());
        let (top, bottom) = (end.min(base), end.max(base));
        svg.rect((left + 1.0, top), ((wide - 2.0).max(1.0), bottom - top), "", style.colour);
        whisker(cell, left + wide / 2.0, (wide / 5.0).min(5.0), "#444444", frame, svg);
        if wide > width("0.00", VALUE.size) {
            let text = number(cell.summary.mean, decimals(cell.summary.mean, 3));
            let above = frame.up.at(cell.summary.mean + cell.summary.sd.unwrap_or_default()).min(top);
            svg.text((left + wide / 2.0, above - 5.0), Anchor::Middle, VALUE, &text);
        }
    }
}

fn distribution(cells: &[Option<Cell>], style: &Style, frame: &Frame, svg: &mut Svg) {
    let Along::Scale(along, _) = &frame.along else { return };
    for cell in cells.iter().flatten() {
        let mut path: Vec<(f64, f64)> = Vec::new();
        let mut y = frame.up.at(0.0);
        for (value, share) in ecdf(&cell.samples) {
            let (x, up) = (along.at(value), frame.up.at(share));
            // Steps too small to be seen are left out.
            match path.last() {
                Some(last) if x - last.0 < 0.5 && last.1 - up < 0.5 && share < 1.0 => continue,
                _ => path.extend([(x, y), (x, up)]),
            }
            y = up;
        }
        svg.line(&path, style.colour, thickness(style), style.dash);
        for share in MARKED {
            if let Some(value) = quantile(&cell.samples, share) {
                svg.marker(style.marker, (along.at(value), frame.up.at(share)), size(style), style.colour);
            }
        }
    }
}
