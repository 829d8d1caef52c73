//! The numbers of a figure.

use super::super::data::text;
use super::super::figure::{Cell, Figure};
use super::super::losses::spread;
use super::super::stats::quantile;
use super::super::text::{escape, short};
use crate::experiment::PlotKind;

/// Every series at every place: mean ± standard deviation, and of how many repetitions.
pub(super) fn table(figure: &Figure<'_>) -> String {
    let is_cdf = figure.plot.kind == PlotKind::Cdf;
    let columns: Vec<String> = if is_cdf {
        ["samples", "mean", "5 %", "median", "95 %", "99 %"].map(str::to_owned).to_vec()
    } else {
        figure.x.iter().map(|x| x.map(text).unwrap_or_else(|| "mean".to_owned())).collect()
    };
    let over = match figure.x_label.as_str() {
        "" => String::new(),
        label => format!(", by {label}"),
    };
    let mut html = format!(
        "<details open><summary>{}{}</summary>\n<div class=\"wide\"><table>\n<thead><tr><th></th>",
        escape(&figure.label),
        escape(&over)
    );
    for column in &columns {
        html.push_str(&format!("<th class=\"figure\">{}</th>", escape(column)));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for panel in &figure.panels {
        if !panel.title.is_empty() {
            html.push_str(&format!(
                "<tr><th colspan=\"{}\">{}</th></tr>\n",
                columns.len() + 1,
                escape(&panel.title)
            ));
        }
        for (series, cells) in figure.series.iter().zip(&panel.cells) {
            html.push_str(&format!(
                "<tr><td><span class=\"swatch\" style=\"background:{}\"></span>{}</td>",
                series.style.colour,
                escape(&series.name)
            ));
            if is_cdf {
                html.push_str(&distribution(cells.first().and_then(Option::as_ref)));
            } else {
                html.extend(cells.iter().map(|cell| mean(cell.as_ref())));
            }
            html.push_str("</tr>\n");
        }
    }
    html.push_str("</tbody></table></div></details>\n");
    html
}

const GAP: &str = "<td class=\"figure gap\">–</td>";

fn mean(cell: Option<&Cell>) -> String {
    cell.map_or_else(
        || GAP.to_owned(),
        |cell| {
            format!("<td class=\"figure\">{}<small>n {}</small></td>", spread(&cell.summary), cell.summary.n)
        },
    )
}

fn distribution(cell: Option<&Cell>) -> String {
    let Some(cell) = cell else { return GAP.repeat(6) };
    let mut html = format!("<td class=\"figure\">{}</td>{}", cell.samples.len(), mean(Some(cell)));
    for share in [0.05, 0.5, 0.95, 0.99] {
        let value = quantile(&cell.samples, share).map(short).unwrap_or_default();
        html.push_str(&format!("<td class=\"figure\">{value}</td>"));
    }
    html
}

#[cfg(test)]
mod tests {
    use super::super::super::made;
    use super::*;

    #[test]
    fn a_gap_is_no_zero() {
        let measured = made::loss_sweep();
        let html = table(&Figure::of(&measured, &measured.manifest.experiment.plots[0]).unwrap());
        let row = html.lines().find(|line| line.contains("tor-w100")).unwrap();
        assert_eq!(row.matches("n 3").count(), 2, "{row}");
        assert!(row.ends_with(&format!("{GAP}</tr>")), "{row}");
    }

    #[test]
    fn distributions_have_quantiles() {
        let measured = made::loss_sweep();
        let html = table(&Figure::of(&measured, &measured.manifest.experiment.plots[2]).unwrap());
        assert!(html.contains("<th class=\"figure\">99 %</th>"));
        let row = html.lines().find(|line| line.contains("direct")).unwrap();
        assert!(row.contains("<td class=\"figure\">180</td>"), "{row}");
    }
}
