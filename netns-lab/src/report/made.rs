//! Results for tests that nobody measured.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::data::{Measured, Row, text};
use crate::experiment::{Experiment, Manifest, PointRecord, PointState};
use crate::workload::Sample;

/// A new empty folder that goes away.
pub(super) struct Dir(PathBuf);

impl Dir {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ippriv-report-{name}.{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Goodput and delay of four systems at three losses, three times; at the largest loss a system gives nothing.
pub(super) fn loss_sweep() -> Measured {
    let plot = |name: &str, kind: &str, x: Option<&str>, what: &str, stat: &str, more: bool| {
        json!({
            "name": name, "title": format!("{what} against loss"), "kind": kind, "x": x,
            "y": { "of": if what == "goodput" { "bulk" } else { "probe" }, "what": what, "stat": stat },
            "more_is_better": more, "log": what == "round_trip",
        })
    };
    let experiment = json!({
        "about": "Who gets how much through a lossy link?",
        "answers": [{ "paper": "A. Author, <Onions>, 2008", "figure": "Fig. 4", "says": "Ours & theirs." }],
        "caveats": ["One bottleneck only."],
        "topology": "", "circuits": [], "servers": [], "workload": {},
        "systems": {
            "direct": { "driver": "direct" }, "ippriv": { "driver": "ippriv" },
            "tor-kist": { "driver": "tor" }, "tor-w100": { "driver": "tor", "window": 100 },
        },
        "axes": [
            { "name": "system", "values": ["direct", "ippriv", "tor-kist", "tor-w100"] },
            { "name": "loss", "label": "loss on the bottleneck (%)", "values": [0, 1, 3] },
        ],
        "repetitions": 3,
        "plots": [
            plot("goodput", "line", Some("loss"), "goodput", "mean", true),
            plot("bars", "bars", Some("loss"), "goodput", "mean", true),
            plot("delay", "cdf", None, "round_trip", "each", false),
        ],
    });
    run(experiment, |axes, rep| {
        let system = text(&axes["system"]);
        let loss = axes["loss"].as_f64().unwrap();
        let (goodput, delay) = match system.as_str() {
            "direct" => (9.5 - 2.5 * loss, 34.0),
            "ippriv" => (8.35 - 2.3 * loss, 35.0),
            "tor-kist" => (8.93 - 2.0 * loss, 80.0),
            _ if loss > 2.0 => return Err("tor on b: no circuit, expected one in 60 s".to_owned()),
            _ => (4.0 - loss, 230.0),
        };
        let mut samples =
            vec![sample("bulk", "goodput", "mean", "Mbit/s", goodput * (1.0 + 0.02 * noise(rep, 0)))];
        samples.extend((0..20).map(|at| {
            sample("probe", "round_trip", "each", "ms", delay * (1.0 + loss * noise(rep + 7, at).powi(2)))
        }));
        Ok(samples)
    })
}

pub(super) fn sample(of: &str, what: &str, stat: &str, unit: &str, value: f64) -> Sample {
    let (of, what, stat, unit) = (of.to_owned(), what.to_owned(), stat.to_owned(), unit.to_owned());
    Sample { of, what, stat, unit, value }
}

/// Something from −1 to 1 that is always the same for the same numbers.
pub(super) fn noise(a: u32, b: u32) -> f64 {
    let mixed = (u64::from(a) << 32 | u64::from(b)).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 40) as f64 / f64::from(1 << 23) - 1.0
}

/// An experiment's result, with what `measure` says for each point and repetition.
pub(super) fn run(
    experiment: Value,
    measure: impl Fn(&Map<String, Value>, u32) -> Result<Vec<Sample>, String>,
) -> Measured {
    let experiment: Experiment = serde_json::from_value(experiment).unwrap();
    let mut all = vec![Map::new()];
    for axis in &experiment.axes {
        let longer = all.iter().flat_map(|map| {
            axis.values.iter().map(|value| {
                let mut map = map.clone();
                map.insert(axis.name.clone(), value.clone());
                map
            })
        });
        all = longer.collect();
    }
    let mut points = Vec::new();
    let mut rows = Vec::new();
    for axes in all {
        for rep in 0..experiment.repetitions {
            let at = points.len();
            let state = match measure(&axes, rep) {
                Ok(samples) => {
                    rows.extend(samples.into_iter().map(|sample| Row { at, sample }));
                    PointState::Done { wall_s: 2.5 }
                }
                Err(why) => PointState::Failed { why },
            };
            points.push(PointRecord { point: at, rep, seed: u64::from(rep) + 1, axes: axes.clone(), state });
        }
    }
    let manifest = Manifest {
        name: "made".to_owned(),
        quick: false,
        experiment,
        command: vec!["cargo".into(), "lab".into(), "run".into(), "made up".into()],
        versions: [("kernel".to_owned(), "7.3.4".to_owned()), ("tor".to_owned(), "0.4.9.11".to_owned())]
            .into(),
        points,
    };
    Measured::new(manifest, rows)
}

/// Writes a result as the runner does.
pub(super) fn write(measured: &Measured, dir: &Path) {
    std::fs::write(dir.join("manifest.json"), serde_json::to_string_pretty(&measured.manifest).unwrap())
        .unwrap();
    let mut csv = csv::Writer::from_path(dir.join("samples.csv")).unwrap();
    let axes = measured.manifest.experiment.axes.iter().map(|axis| axis.name.clone());
    let start = ["point", "rep", "seed"].map(str::to_owned).into_iter();
    let end = ["of", "what", "stat", "unit", "value"].map(str::to_owned);
    csv.write_record(start.chain(axes).chain(end)).unwrap();
    for Row { at, sample } in &measured.rows {
        let point = &measured.manifest.points[*at];
        let start = [point.point.to_string(), point.rep.to_string(), point.seed.to_string()].into_iter();
        let axes = measured.manifest.experiment.axes.iter().map(|axis| text(&point.axes[&axis.name]));
        let Sample { of, what, stat, unit, value } = sample.clone();
        csv.write_record(start.chain(axes).chain([of, what, stat, unit, value.to_string()])).unwrap();
    }
    csv.flush().unwrap();
}

/// Everything that a page can have, with many systems.
pub(super) fn large() -> Measured {
    let experiment = json!({
        "about": "How do goodput and delay depend on the loss of a link between relays?",
        "answers": [{ "paper": "Seed 003, 2008", "figure": "Fig. 4",
            "says": "IPpriv keeps the goodput of a direct connection while Tor's falls by an order of magnitude." }],
        "caveats": ["One bottleneck only.", "Computing costs no time."],
        "topology": "", "circuits": [], "servers": [], "workload": {},
        "systems": { "tcp-over-tcp": { "driver": "tcp-tunnel" } },
        "axes": [
            { "name": "flows", "values": [1, 5] },
            { "name": "loss", "label": "loss on the link between relays (%)", "values": [0, 0.1, 0.5, 1, 2, 3, 5] },
            { "name": "system", "values":
                ["direct", "ippriv", "tor-kist", "tor-vanilla", "tor-w100", "wireguard", "tcp-over-tcp", "openvpn"] },
        ],
        "repetitions": 4,
        "plots": [
            { "name": "goodput", "title": "Goodput against loss", "x": "loss", "panels": "flows", "more_is_better": true,
              "y": { "of": "bulk", "what": "goodput", "stat": "mean" } },
            { "name": "single", "title": "Goodput of five flows against loss", "x": "loss", "only": { "flows": [5] },
              "more_is_better": true, "y": { "of": "bulk", "what": "goodput", "stat": "mean" } },
            { "name": "delay-log", "title": "Delay of a probe beside bulk traffic", "x": "loss", "panels": "flows",
              "log": true, "more_is_better": false, "y": { "of": "probe", "what": "round_trip", "stat": "each" } },
            { "name": "bars", "title": "Goodput without and with 3 % loss", "kind": "bars", "x": "loss",
              "only": { "loss": [0, 3], "flows": [5] }, "more_is_better": true,
              "y": { "of": "bulk", "what": "goodput", "stat": "mean" } },
            { "name": "cdf", "title": "Delay of a probe beside five flows, 1 % loss", "kind": "cdf", "log": true,
              "only": { "loss": [1], "flows": [5] }, "more_is_better": false,
              "y": { "of": "probe", "what": "round_trip", "stat": "each" } },
            { "name": "both", "title": "Goodput of two systems and two loads", "x": "loss", "series": ["system", "flows"],
              "only": { "system": ["ippriv", "tor-kist", "direct"] }, "more_is_better": true,
              "y": { "of": "bulk", "what": "goodput", "stat": "mean" } },
            { "name": "many", "title": "Goodput for each loss", "kind": "bars", "panels": "loss", "x": "flows",
              "y": { "of": "bulk", "what": "goodput", "stat": "mean" } },
        ],
    });
    run(experiment, |axes, rep| {
        let (loss, flows) = (axes["loss"].as_f64().unwrap(), axes["flows"].as_f64().unwrap());
        let (top, steep, delay, wild): (f64, f64, f64, f64) = match axes["system"].as_str().unwrap() {
            "direct" => (9.48, 1.0, 34.0, 0.3),
            "ippriv" => (8.35, 1.0, 35.0, 0.3),
            "tor-kist" => (8.93, 0.8 * flows.sqrt(), 85.0, 0.7),
            "tor-vanilla" => (9.12, 0.85 * flows.sqrt(), 240.0, 1.0),
            "tor-w100" => (2.9, 0.5, 130.0, 0.6),
            "wireguard" => (8.8, 1.02, 35.0, 0.3),
            "openvpn" if loss > 2.5 => return Err("openvpn on b: no tunnel, expected one in 30 s".to_owned()),
            "openvpn" => (8.6, 1.3 * flows.sqrt(), 600.0, 1.5),
            _ => (9.0, 1.1 * flows.sqrt(), 500.0, 1.4),
        };
        let limit = 3.1 * flows / (loss.sqrt() + 0.01) / steep;
        let shaky = 1.0 + 0.09 * loss.min(1.0) * noise(rep, (loss * 10.0) as u32 + top as u32);
        let goodput = (top.powi(-3) + limit.powi(-3)).powf(-1.0 / 3.0) * shaky;
        let mut samples = vec![sample("bulk", "goodput", "mean", "Mbit/s", goodput)];
        samples.extend((0..150).map(|at| {
            let queue = 40.0 * goodput / 9.5
                + delay * (1.0 + loss * 0.4) * wild * noise(rep * 31 + at, at).powi(4) * 4.0;
            sample("probe", "round_trip", "each", "ms", delay + queue)
        }));
        Ok(samples)
    })
}

/// Writes them where somebody can look: `IPPRIV_LOOK=DIR cargo test -p ippriv-lab look_at`.
#[test]
fn look_at_figures() {
    #[expect(clippy::disallowed_methods, reason = "where to is for the one who looks to say")]
    let Some(dir) = std::env::var_os("IPPRIV_LOOK").map(PathBuf::from) else { return };
    let (from, small) = (dir.join("result"), dir.join("small"));
    for dir in [&from, &small] {
        std::fs::create_dir_all(dir).unwrap();
    }
    write(&large(), &from);
    write(&loss_sweep(), &small);
    let painter = super::Painter::with_fonts().unwrap();
    super::report(&[from, small], &dir.join("page"), &painter).unwrap();
}
