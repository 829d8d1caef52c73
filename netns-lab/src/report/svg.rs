//! Writing SVG: the few shapes that figures need, with the same octets for the same figure.
//!
//! Colours of paper and ink are attributes that a page's style sheet overrides by class, so that a figure is dark on
//! white alone and follows the reader's theme in a page.

use std::fmt::Write as _;

use super::style::Marker;
use super::text::escape;

/// Ink of titles and labels.
pub(super) const INK: &str = "#1b1b1f";
/// Ink of ticks and captions.
pub(super) const SOFT: &str = "#5c5c66";
/// Lines behind the data.
pub(super) const GRID: &str = "#e4e4ea";
/// Lines around the data.
pub(super) const AXIS: &str = "#9a9aa5";
/// What is drawn upon.
pub(super) const PAPER: &str = "#ffffff";

/// A picture in the making.
#[derive(Debug, Default)]
pub(super) struct Svg(String);

/// Where text is beside its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// How text looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Font {
    pub(super) size: f64,
    pub(super) bold: bool,
    pub(super) soft: bool,
}

impl Svg {
    pub(super) fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, font: Font, text: &str) {
        self.text_with((x, y), anchor, font, "", text);
    }

    /// Text that runs upwards.
    pub(super) fn text_up(&mut self, (x, y): (f64, f64), font: Font, text: &str) {
        let turn = format!(" transform=\"rotate(-90 {} {})\"", px(x), px(y));
        self.text_with((x, y), Anchor::Middle, font, &turn, text);
    }

    fn text_with(&mut self, (x, y): (f64, f64), anchor: Anchor, font: Font, more: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let (class, fill) = if font.soft { ("soft", SOFT) } else { ("ink", INK) };
        let weight = if font.bold { " font-weight=\"700\"" } else { "" };
        let _ = writeln!(
            self.0,
            "<text class=\"{class}\" x=\"{}\" y=\"{}\" font-size=\"{}\" fill=\"{fill}\"{weight}{anchor}{more}>{}</text>",
            px(x),
            px(y),
            px(font.size),
            escape(text)
        );
    }

    /// A line of the frame: `class` is `grid` or `axis`.
    pub(super) fn rule(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let stroke = if class == "grid" { GRID } else { AXIS };
        let _ = writeln!(
            self.0,
            "<path class=\"{class}\" d=\"M{} {}L{} {}\" stroke=\"{stroke}\"/>",
            px(x1),
            px(y1),
            px(x2),
            px(y2)
        );
    }

    /// A line through points.
    pub(super) fn line(&mut self, points: &[(f64, f64)], colour: &str, width: f64, dash: &str) {
        let mut path = String::new();
        for (at, (x, y)) in points.iter().enumerate() {
            let _ = write!(path, "{}{} {}", if at == 0 { 'M' } else { 'L' }, px(*x), px(*y));
        }
        let dash = if dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dash}\"") };
        let _ = writeln!(
            self.0,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{}\" stroke-linejoin=\"round\"{dash}/>",
            px(width)
        );
    }

    /// The spread around a mean: a line with ends.
    pub(super) fn whisker(&mut self, x: f64, (top, bottom): (f64, f64), half: f64, colour: &str) {
        let _ = writeln!(
            self.0,
            "<path d=\"M{l} {t}H{r}M{x} {t}V{b}M{l} {b}H{r}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.2\"/>",
            l = px(x - half),
            r = px(x + half),
            x = px(x),
            t = px(top),
            b = px(bottom)
        );
    }

    /// A filled rectangle; `class` may be empty.
    pub(super) fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), class: &str, fill: &str) {
        let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
        let _ = writeln!(
            self.0,
            "<rect{class} x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{fill}\"/>",
            px(x),
            px(y),
            px(width),
            px(height)
        );
    }

    /// A point's shape with a rim of paper, so that it is seen upon lines.
    pub(super) fn marker(&mut self, marker: Marker, (x, y): (f64, f64), size: f64, colour: &str) {
        let polygon = |corners: &[(f64, f64)]| {
            let mut path = String::new();
            for (at, (dx, dy)) in corners.iter().enumerate() {
                let (x, y) = (px(x + dx * size), px(y + dy * size));
                let _ = write!(path, "{}{x} {y}", if at == 0 { 'M' } else { 'L' });
            }
            path
        };
        let filled = |path: String| {
            format!(
                "<path class=\"rim\" d=\"{path}Z\" fill=\"{colour}\" stroke=\"{PAPER}\" stroke-width=\"1\"/>"
            )
        };
        let stroked = |d: f64| {
            let (l, r, t, b) = (px(x - d), px(x + d), px(y - d), px(y + d));
            format!(
                "<path d=\"M{l} {t}L{r} {b}M{l} {b}L{r} {t}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
            )
        };
        let drawn = match marker {
            Marker::Disc => format!(
                "<circle class=\"rim\" cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{colour}\" stroke=\"{PAPER}\" \
                 stroke-width=\"1\"/>",
                px(x),
                px(y),
                px(size)
            ),
            Marker::Ring => format!(
                "<circle class=\"hollow\" cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{PAPER}\" stroke=\"{colour}\" \
                 stroke-width=\"1.6\"/>",
                px(x),
                px(y),
                px(size * 0.85)
            ),
            Marker::Square => filled(polygon(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)])),
            Marker::Up => filled(polygon(&[(0.0, -1.15), (1.1, 0.85), (-1.1, 0.85)])),
            Marker::Down => filled(polygon(&[(0.0, 1.15), (1.1, -0.85), (-1.1, -0.85)])),
            Marker::Diamond => filled(polygon(&[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)])),
            Marker::Cross => stroked(size * 0.85),
            Marker::Plus => {
                let d = size * 1.1;
                let (l, r, t, b) = (px(x - d), px(x + d), px(y - d), px(y + d));
                let (x, y) = (px(x), px(y));
                format!(
                    "<path d=\"M{l} {y}H{r}M{x} {t}V{b}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
                )
            }
        };
        let _ = writeln!(self.0, "{drawn}");
    }

    /// The whole picture, with what a screen reader says of it.
    pub(super) fn finish(self, (width, height): (f64, f64), title: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" \
             height=\"{h}\" font-family=\"DejaVu Sans, Verdana, Geneva, sans-serif\">\n<title>{}</title>\n\
             <rect class=\"paper\" width=\"{w}\" height=\"{h}\" fill=\"{PAPER}\"/>\n{}</svg>\n",
            escape(title),
            self.0,
            w = px(width),
            h = px(height)
        )
    }
}

/// A length in tenths of pixels.
fn px(value: f64) -> String {
    let tenths = (value * 10.0).round() / 10.0;
    // Not "-0".
    format!("{}", if tenths == 0.0 { 0.0 } else { tenths })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_short_and_never_minus_zero() {
        assert_eq!([px(1.0), px(0.25), px(-0.01), px(-2.34)], ["1", "0.3", "0", "-2.3"]);
    }

    #[test]
    fn text_cannot_break_out() {
        let mut svg = Svg::default();
        let font = Font { size: 10.0, bold: false, soft: false };
        svg.text((0.0, 0.0), Anchor::Start, font, "</text><script>");
        let svg = svg.finish((10.0, 10.0), "a & b");
        assert!(!svg.contains("<script>") && svg.contains("a &amp; b"));
    }
}
