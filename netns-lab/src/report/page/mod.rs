//! The page of results: one file without scripts, light or dark as the reader likes, fit for print.

mod section;
mod table;

use super::data::Measured;
use super::figure::Figure;
use super::losses::{Comparison, compare};
use super::text::escape;
use crate::experiment::{Plot, PointState};

const STYLE: &str = include_str!("style.css");

/// A result and the folder that its files have beside the page.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The result.
    pub measured: &'a Measured,
    /// The folder, and its place in the page.
    pub folder: &'a str,
}

/// A plot, and what came of it.
struct Shown<'a> {
    plot: &'a Plot,
    figure: Result<Figure<'a>, String>,
    compared: Option<Comparison>,
}

/// The page of results, in their order.
#[must_use]
pub fn page(entries: &[Entry<'_>]) -> String {
    let title = match entries {
        [only] => format!("{}: what was measured", only.measured.manifest.name),
        _ => "Experiments: what was measured".to_owned(),
    };
    let title = escape(&title);
    let all: Vec<Vec<Shown<'_>>> = entries.iter().map(|entry| shown(entry.measured)).collect();
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n"
    );
    html.push_str(
        "<p class=\"soft\">Every mean is over repetitions with different seeds; ± is one standard deviation by n − 1. \
         A gap is a place without result, never a zero. Each figure begins with where we lose to Tor: each of our \
         systems against the best Tor at the same values of all axes.</p>\n",
    );
    html.push_str(&summary(entries, &all));
    html.push_str("</header>\n<main>\n");
    for (entry, shown) in entries.iter().zip(&all) {
        html.push_str(&section::section(entry, shown));
    }
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

fn shown(measured: &Measured) -> Vec<Shown<'_>> {
    let plots = measured.manifest.experiment.plots.iter();
    plots
        .map(|plot| {
            let figure = Figure::of(measured, plot).map_err(|error| error.to_string());
            let compared = figure.as_ref().ok().and_then(|figure| compare(measured, figure));
            Shown { plot, figure, compared }
        })
        .collect()
}

/// The table of contents, with what was asked and where we lose.
fn summary(entries: &[Entry<'_>], all: &[Vec<Shown<'_>>]) -> String {
    let mut html = String::from(
        "<nav class=\"wide\"><table>\n<thead><tr><th>Experiment</th><th>What was asked</th><th>Answers</th>\
         <th>Runs</th><th>Where we lose to Tor</th></tr></thead>\n<tbody>\n",
    );
    for (entry, shown) in entries.iter().zip(all) {
        let manifest = &entry.measured.manifest;
        let answers: Vec<String> =
            manifest.experiment.answers.iter().map(|answer| escape(&answer.figure)).collect();
        let lost: Vec<String> = shown.iter().filter_map(lost).collect();
        let lost = if !lost.is_empty() {
            lost.join("<br>")
        } else if shown.iter().any(|shown| shown.compared.is_some()) {
            "nowhere".to_owned()
        } else {
            "<span class=\"gap\">no figure has both</span>".to_owned()
        };
        html.push_str(&format!(
            "<tr><td><a href=\"#{folder}\">{name}</a>{quick}</td><td>{about}</td><td>{answers}</td><td>{runs}</td>\
             <td>{lost}</td></tr>\n",
            folder = escape(entry.folder),
            name = escape(&manifest.name),
            quick = quick(manifest.quick),
            about = escape(&manifest.experiment.about),
            answers = answers.join("<br>"),
            runs = runs(entry.measured),
        ));
    }
    html.push_str("</tbody></table></nav>\n");
    html
}

fn lost(shown: &Shown<'_>) -> Option<String> {
    let compared = shown.compared.as_ref()?;
    let title = escape(&shown.plot.title);
    let absent = match compared.absent.len() {
        0 => String::new(),
        count => format!("; {count} without a result of ours"),
    };
    let (lost, places) = (compared.losses.len(), compared.places);
    (lost > 0 || !absent.is_empty()).then(|| format!("{title}: {lost} of {places}{absent}"))
}

fn quick(quick: bool) -> &'static str {
    if quick { " <span class=\"badge\">short form</span>" } else { "" }
}

/// How many runs there are, and what became of them.
fn runs(measured: &Measured) -> String {
    let count = |state: fn(&PointState) -> bool| {
        measured.manifest.points.iter().filter(|point| state(&point.state)).count()
    };
    let done = count(|state| matches!(state, PointState::Done { .. }));
    let failed = count(|state| matches!(state, PointState::Failed { .. }));
    let open = count(|state| matches!(state, PointState::Open));
    let mut text = format!("{done} done");
    if failed > 0 {
        text.push_str(&format!(", {failed} failed"));
    }
    if open > 0 {
        text.push_str(&format!(", {open} not run"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::made;
    use super::*;

    fn made_page() -> String {
        page(&[Entry { measured: &made::loss_sweep(), folder: "made" }])
    }

    #[test]
    fn a_page_needs_nothing_else() {
        let html = made_page();
        for foreign in ["<script", "<link", "src=", "@import", "url(", "http://", "https://"] {
            let here = html.replace("http://www.w3.org/2000/svg", "");
            assert!(!here.contains(foreign), "{foreign}");
        }
        assert_eq!(html, made_page());
        assert_eq!(html.matches("<svg").count(), 3);
    }

    #[test]
    fn a_figure_begins_with_where_we_lose() {
        let html = made_page();
        let figure = html.split("<h3 id=\"made-goodput\">").nth(1).unwrap();
        let first = figure.split("</h3>").nth(1).unwrap().trim_start();
        assert!(
            first.starts_with("<p class=\"verdict lose\">Where we lose to Tor: at 3 of 3 places"),
            "{first:.200}"
        );
    }

    #[test]
    fn a_page_says_what_was_claimed_run_and_left_out() {
        let html = made_page();
        for said in [
            "A. Author, &lt;Onions&gt;, 2008",
            "Ours &amp; theirs.",
            "One bottleneck only.",
            "<b>goodput against loss</b>, goodput of bulk (Mbit/s): direct ",
            "tor on b: no circuit, expected one in 60 s",
            "33 done, 3 failed",
            "0.4.9.11",
            "cargo lab run &#39;made up&#39;",
            "1, 2, 3",
            "made/samples.csv",
            "made/goodput.png",
        ] {
            assert!(html.contains(said), "{said}");
        }
    }

    #[test]
    fn several_results_have_a_table_of_contents() {
        let measured = made::loss_sweep();
        let entries =
            [Entry { measured: &measured, folder: "made" }, Entry { measured: &measured, folder: "made-2" }];
        let html = page(&entries);
        for place in ["href=\"#made\"", "href=\"#made-2\"", "id=\"made\"", "id=\"made-2\""] {
            assert!(html.contains(place), "{place}");
        }
    }

    #[test]
    fn a_plot_that_does_not_fit_is_told_in_its_place() {
        let mut measured = made::loss_sweep();
        measured.manifest.experiment.plots[0].y.what = "nothing".to_owned();
        let html = page(&[Entry { measured: &measured, folder: "made" }]);
        assert!(html.contains("no samples of bulk nothing mean"));
    }
}
