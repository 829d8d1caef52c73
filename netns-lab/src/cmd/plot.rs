//! `cargo lab plot`: the figures of a result.

use std::path::PathBuf;
use std::process::ExitCode;

use ippriv_lab::report::{self, Measured, Painter};

use crate::Outcome;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The result, as `cargo lab run` made it; figures are written into it.
    dir: PathBuf,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let measured = Measured::read(&args.dir)?;
    let plotted = report::plot(&measured, &args.dir, &Painter::with_fonts()?)?;
    for file in &plotted.files {
        println!("{}", file.display());
    }
    for error in &plotted.refused {
        eprintln!("{error}");
    }
    Ok(if plotted.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
