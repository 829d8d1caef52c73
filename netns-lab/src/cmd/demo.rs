//! `cargo lab demo`: the main job, shown.

use std::process::ExitCode;

use ippriv_lab::runner::{self, Choice, Clock};
use ippriv_lab::{demo, kernel, system};

use super::cargo;
use crate::Outcome;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Where the randomness of virtual time starts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &Args) -> Outcome {
    system::ensure(system::LAB)?;
    kernel::ensure()?;
    cargo::build_commands()?;
    eprintln!("building the network, sending traffic directly and through a circuit, capturing every link …");
    let runner = runner::choose(Choice::Uml, Clock::Virtual { seed: args.seed })?;
    let demo = demo::run(runner.as_ref(), args.seed)?;
    if args.json {
        println!("{}", serde_json::to_string(&demo)?);
    } else {
        print!("{}", demo::draw(&demo));
    }
    Ok(if demo.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
