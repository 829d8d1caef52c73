//! `cargo lab bench`: figures.

use std::io::{self, Write as _};
use std::process::ExitCode;

use ippriv_lab::bench;
use ippriv_lab::runner::{self, Choice};
use serde_json::Value;

use super::cargo;
use crate::Outcome;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which; without it, the list of all.
    name: Option<String>,
    /// What runs it.
    #[arg(long, value_enum, default_value = "auto")]
    runner: Choice,
    /// Print one JSON object.
    #[arg(long, requires = "name")]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let mut out = io::stdout().lock();
    match &args.name {
        None => {
            for bench in bench::all() {
                writeln!(out, "{:<16} {}", bench.name, bench.about)?;
            }
        }
        // Figures are those of optimised programs.
        Some(_) if cfg!(debug_assertions) => return cargo::again_optimised(),
        Some(name) => {
            let bench = bench::find(name)?;
            cargo::build_commands()?;
            let runner = runner::choose(args.runner, bench.clock)?;
            let result = bench::run(runner.as_ref(), name)?;
            if args.json {
                writeln!(out, "{result}")?;
            } else {
                write!(out, "{}", lines(&result["figures"]))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One figure a line.
fn lines(figures: &Value) -> String {
    let pairs = figures.as_object().into_iter().flatten();
    pairs.map(|(name, value)| format!("{name:<32} {value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_a_line() {
        let figures = serde_json::json!({ "install_seconds": 1.5, "circuits": 10_000 });
        let expected = format!("{:<32} 10000\n{:<32} 1.5\n", "circuits", "install_seconds");
        assert_eq!(lines(&figures), expected);
    }
}
