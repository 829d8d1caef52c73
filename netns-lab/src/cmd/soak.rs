//! `cargo lab soak`: hours of virtual time.

use std::process::ExitCode;
use std::time::Duration;

use ippriv_lab::runner::{self, Choice, Clock};
use ippriv_lab::soak::{self, Settings};
use ippriv_lab::{kernel, system};

use super::cargo;
use crate::Outcome;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Hours of virtual time: 48 minutes of each are busy, then all circuits are closed and everything is counted.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=1000))]
    hours: u32,
    /// How many clients rotate circuits.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(5..=100))]
    clients: u16,
    /// Minutes, in the mean, until a client goes over to the next circuit.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=60))]
    rotation: u16,
    /// Where the randomness of virtual time starts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON object instead: figures and verdicts.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if cfg!(debug_assertions) {
        return cargo::again_optimised();
    }
    system::ensure(system::LAB)?;
    kernel::ensure()?;
    cargo::build_commands()?;
    let runner = runner::choose(Choice::Uml, Clock::Virtual { seed: args.seed })?;
    let rotation = Duration::from_secs(60 * u64::from(args.rotation));
    let settings = Settings { rotation, ..Settings::full(args.hours, args.clients.into()) };
    let soaked = soak::run_in_lab(runner.as_ref(), &settings, args.seed)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&soaked)?);
    } else {
        for verdict in &soaked.verdicts {
            println!(
                "{} {}: {}",
                if verdict.pass { "  ok  " } else { "FAILED" },
                verdict.name,
                verdict.evidence
            );
        }
        println!("{:.1} virtual hours in {:.0} minutes", f64::from(args.hours), soaked.wall_s / 60.0);
    }
    Ok(if soaked.verdicts.iter().all(|verdict| verdict.pass) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
