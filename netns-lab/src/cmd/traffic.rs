//! `ippriv-lab traffic`: the programs that make traffic, started on the hosts of a lab.

use std::process::ExitCode;

use ippriv_lab::traffic;

use crate::Outcome;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which one.
    name: String,
    /// Its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let code: Option<ExitCode> = traffic::dispatch(&args.name, &args.arguments);
    code.ok_or_else(|| format!("no traffic program {}", args.name).into())
}
