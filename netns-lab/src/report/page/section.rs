//! The part of a page about one experiment.

use super::super::data::{Measured, text};
use super::super::draw::draw;
use super::super::figure::Figure;
use super::super::losses::Comparison;
use super::super::stats::quantile;
use super::super::text::{escape, number, short};
use super::{Entry, Shown, quick, runs, table};
use crate::experiment::{Manifest, PointState};

pub(super) fn section(entry: &Entry<'_>, all: &[Shown<'_>]) -> String {
    let manifest = &entry.measured.manifest;
    let folder = escape(entry.folder);
    let mut html = format!(
        "<section>\n<h2 id=\"{folder}\">{}{}</h2>\n<p class=\"lead\">{}</p>\n",
        escape(&manifest.name),
        quick(manifest.quick),
        escape(&manifest.experiment.about)
    );
    html.push_str(&claims(manifest, all));
    for shown in all {
        html.push_str(&figure(entry, shown));
    }
    html.push_str(&caveats(manifest));
    html.push_str(&how(entry.measured, all));
    html.push_str(&failures(manifest));
    html.push_str(&format!(
        "<p class=\"files\">Data: <a href=\"{folder}/samples.csv\">every sample</a> (CSV), \
         <a href=\"{folder}/manifest.json\">manifest</a> (JSON).</p>\n</section>\n"
    ));
    html
}

/// What papers say beside what was measured.
fn claims(manifest: &Manifest, all: &[Shown<'_>]) -> String {
    let answers = &manifest.experiment.answers;
    if answers.is_empty() {
        return String::new();
    }
    let measured: String = all
        .iter()
        .filter_map(|shown| shown.figure.as_ref().ok())
        .map(|figure| format!("<li>{}</li>", ranges(figure)))
        .collect();
    let mut html = String::from(
        "<div class=\"wide\"><table class=\"claims\">\n<thead><tr><th>Figure or table</th><th>What the paper says</th>\
         <th>What was measured here</th></tr></thead>\n<tbody>\n",
    );
    for (at, answer) in answers.iter().enumerate() {
        let here = match at {
            0 => format!("<td rowspan=\"{}\"><ul>{measured}</ul></td>", answers.len()),
            _ => String::new(),
        };
        html.push_str(&format!(
            "<tr><td><b>{}</b><br><span class=\"gap\">{}</span></td><td>{}</td>{here}</tr>\n",
            escape(&answer.figure),
            escape(&answer.paper),
            escape(&answer.says)
        ));
    }
    html.push_str("</tbody></table></div>\n");
    html
}

/// Each series with its lowest and highest mean.
fn ranges(figure: &Figure<'_>) -> String {
    let ranges: Vec<String> = figure
        .series
        .iter()
        .enumerate()
        .map(|(at, series)| {
            let cells = figure.panels.iter().flat_map(|panel| panel.cells[at].iter().flatten());
            let (low, high) = cells.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), cell| {
                (low.min(cell.summary.mean), high.max(cell.summary.mean))
            });
            let (low, high) = (three(low), three(high));
            let range = if low == high { low } else { format!("{low} to {high}") };
            format!("{} {range}", escape(&series.name))
        })
        .collect();
    format!("<b>{}</b>, {}: {}", escape(&figure.plot.title), escape(&figure.label), ranges.join("; "))
}

fn three(value: f64) -> String {
    number(value, super::super::text::decimals(value, 3))
}

fn figure(entry: &Entry<'_>, shown: &Shown<'_>) -> String {
    let (folder, name) = (escape(entry.folder), escape(&shown.plot.name));
    let head = format!("<h3 id=\"{folder}-{name}\">{}</h3>\n", escape(&shown.plot.title));
    let figure = match &shown.figure {
        Ok(figure) => figure,
        Err(why) => return format!("{head}<p class=\"verdict none\">No figure: {}.</p>\n", escape(why)),
    };
    let mut html = head;
    if let Some(compared) = &shown.compared {
        let class = if compared.losses.is_empty() && compared.absent.is_empty() { "fine" } else { "lose" };
        html.push_str(&format!("<p class=\"verdict {class}\">{}</p>\n", escape(&compared.line())));
    }
    html.push_str(&format!("<figure>\n{}</figure>\n", draw(figure)));
    html.push_str(&format!(
        "<p class=\"files\"><small><a href=\"{folder}/{name}.svg\">SVG</a> \
         <a href=\"{folder}/{name}.png\">PNG</a></small></p>\n"
    ));
    html.push_str(&table::table(figure));
    html.push_str(&shown.compared.as_ref().map(losses).unwrap_or_default());
    html
}

/// Every place where we lose.
fn losses(compared: &Comparison) -> String {
    if compared.losses.len() < 2 && compared.absent.len() < 2 {
        return String::new();
    }
    let mut html = String::from("<details><summary>Every place where we lose to Tor</summary>\n<ul>\n");
    for loss in &compared.losses {
        let at = if loss.place.is_empty() { String::new() } else { format!("{}: ", loss.place) };
        let sure = match loss.beyond_spread {
            Some(true) => "more than the spread",
            Some(false) => "within the spread",
            None => "spread not known",
        };
        html.push_str(&format!(
            "<li>{}, {sure}</li>\n",
            escape(&format!("{at}{}", loss.sentence(&compared.unit)))
        ));
    }
    for absent in &compared.absent {
        html.push_str(&format!("<li>{}: no result</li>\n", escape(absent)));
    }
    html.push_str("</ul></details>\n");
    html
}

fn caveats(manifest: &Manifest) -> String {
    let items: String =
        manifest.experiment.caveats.iter().map(|caveat| format!("<li>{}</li>\n", escape(caveat))).collect();
    if items.is_empty() {
        return String::new();
    }
    format!("<h3>What this leaves out, and how far to trust it</h3>\n<ul>\n{items}</ul>\n")
}

/// How it was run, so that it can be again.
fn how(measured: &Measured, all: &[Shown<'_>]) -> String {
    let manifest = &measured.manifest;
    let mut seeds: Vec<u64> = manifest.points.iter().map(|point| point.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    // Each repetition has a seed of its own; where each point has, the ends say enough.
    let seeds = match seeds.as_slice() {
        [first, .., last] if seeds.len() > 12 => format!("{} different, from {first} to {last}", seeds.len()),
        seeds => seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
    };
    let versions: Vec<String> = manifest
        .versions
        .iter()
        .map(|(what, version)| format!("{} {}", escape(what), escape(version)))
        .collect();
    let systems: String = manifest
        .experiment
        .systems
        .iter()
        .map(|(name, settings)| format!("{}: {}\n", escape(name), escape(&settings.to_string())))
        .collect();
    let spreads: String = all.iter().filter_map(spread).collect();
    format!(
        "<h3>How it was run</h3>\n<div class=\"wide\"><table>\n<tbody>\n\
         <tr><th>Runs</th><td>{}; {} repetitions of each point</td></tr>\n\
         <tr><th>Spread</th><td>{}</td></tr>\n\
         <tr><th>Seeds</th><td>{seeds} (the experiment's is {})</td></tr>\n\
         <tr><th>Versions</th><td>{}</td></tr>\n</tbody></table></div>\n\
         <pre>{}</pre>\n<details><summary>Settings of the systems</summary>\n<pre>{systems}</pre></details>\n",
        runs(measured),
        manifest.experiment.repetitions,
        if spreads.is_empty() { "not known from one repetition".to_owned() } else { spreads },
        manifest.experiment.seed,
        versions.join("<br>"),
        command_line(&manifest.command),
    )
}

/// How large standard deviations are against their means.
fn spread(shown: &Shown<'_>) -> Option<String> {
    let figure = shown.figure.as_ref().ok()?;
    let cells = figure.cells().map(|(_, cell)| cell.summary);
    let mut shares: Vec<f64> = cells
        .filter(|summary| summary.mean != 0.0)
        .filter_map(|summary| Some(100.0 * summary.sd? / summary.mean.abs()))
        .collect();
    shares.sort_by(f64::total_cmp);
    let (half, most) = (quantile(&shares, 0.5)?, shares.last()?);
    Some(format!(
        "{}: {} % of the mean in the median place, {} % at most.<br>",
        escape(&shown.plot.title),
        short((half * 100.0).round() / 100.0),
        short((most * 10.0).round() / 10.0)
    ))
}

/// The command as a shell takes it.
fn command_line(command: &[String]) -> String {
    let plain = |word: &str| {
        let safe = |letter: char| letter.is_ascii_alphanumeric() || "-_./=:,+@%".contains(letter);
        !word.is_empty() && word.chars().all(safe)
    };
    let words = command.iter().map(|word| match plain(word) {
        true => escape(word),
        false => format!("&#39;{}&#39;", escape(word).replace('\'', "&#39;\\&#39;&#39;")),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn failures(manifest: &Manifest) -> String {
    let mut rows = String::new();
    for point in &manifest.points {
        let why = match &point.state {
            PointState::Failed { why } => escape(why),
            PointState::Open => "not run yet".to_owned(),
            PointState::Done { .. } => continue,
        };
        let axes: Vec<String> = point
            .axes
            .iter()
            .map(|(axis, value)| format!("{} {}", escape(axis), escape(&text(value))))
            .collect();
        rows.push_str(&format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{why}</td></tr>\n",
            point.point,
            axes.join(", "),
            point.rep,
            point.seed
        ));
    }
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "<h3>Runs without result</h3>\n<div class=\"wide\"><table>\n<thead><tr><th>Run</th><th>Axes</th>\
         <th>Repetition</th><th>Seed</th><th>Why</th></tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_typed_again() {
        let command = ["cargo", "it's", "", "a b", "x=1"].map(str::to_owned);
        assert_eq!(
            command_line(&command),
            "cargo &#39;it&#39;\\&#39;&#39;s&#39; &#39;&#39; &#39;a b&#39; x=1"
        );
    }
}
