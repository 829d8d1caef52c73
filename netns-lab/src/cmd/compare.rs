//! `cargo lab compare`: what changed between two results.

use std::path::PathBuf;
use std::process::ExitCode;

use ippriv_lab::report::{self, Measured};

use crate::Outcome;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The result to compare with.
    first: PathBuf,
    /// The result that is compared.
    second: PathBuf,
    /// By which share of the first means may differ, all of them, for the exit code to be 0: 0.01 is one per cent.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = parse_share)]
    tolerance: f64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let changes = report::changes(&Measured::read(&args.first)?, &Measured::read(&args.second)?);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&changes)?);
    } else {
        print!("{}", changes.lines());
    }
    Ok(if changes.within(args.tolerance) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse_share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| *share >= 0.0 && share.is_finite());
    share.ok_or_else(|| "expected a share such as 0.01".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_not_negative() {
        assert_eq!(parse_share("0.01"), Ok(0.01));
        for wrong in ["", "-1", "1%", "nan", "inf"] {
            assert!(parse_share(wrong).is_err(), "{wrong}");
        }
    }
}
