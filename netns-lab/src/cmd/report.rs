//! `cargo lab report`: the page of results.

use std::path::PathBuf;
use std::process::ExitCode;

use ippriv_lab::report::{self, Painter};

use super::cargo;
use crate::Outcome;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The results, as `cargo lab run` made them, in the order of the page.
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Where index.html and a folder for each experiment go; target/lab/report without it.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let out = args.out.clone().unwrap_or_else(|| cargo::workspace().join("target/lab/report"));
    let (page, refused) = report::report(&args.dirs, &out, &Painter::with_fonts()?)?;
    for error in &refused {
        eprintln!("{error}");
    }
    println!("{}", page.display());
    Ok(if refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
