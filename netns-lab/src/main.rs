//! `cargo lab`: the lab kernel, programs in the lab, and the experiments.
//!
//! The same program is also the first process of a guest and the keeper of a running one; those two start before the
//! command line is read.

mod cmd;

use std::{error::Error, path::Path, process::ExitCode};

use clap::{Parser, Subcommand};
use ippriv_lab::{guest, program, runner};

/// Namespace labs, the lab kernel, experiments and figures for ippriv.
#[derive(Parser)]
#[command(name = program::NAME, version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The kernel that labs run in.
    Kernel(cmd::kernel::Args),
    /// Run an experiment, in virtual time.
    Run(cmd::run::Run),
    /// List the experiments.
    List(cmd::run::List),
    /// Draw the figures of a result, as SVG and PNG.
    Plot(cmd::plot::Args),
    /// Make one page of results, with figures and tables.
    Report(cmd::report::Args),
    /// Show what changed between two results.
    Compare(cmd::compare::Args),
    /// Run one program in the lab.
    Exec(cmd::exec::Args),
    /// Measure figures in the lab.
    Bench(cmd::bench::Args),
    /// Let clients rotate circuits for hours of virtual time, and look for what leaks.
    Soak(cmd::soak::Args),
    /// Show real traffic through a telescope, and who sees what of it.
    Demo(cmd::demo::Args),
    /// Check everything.
    Test(cmd::test::Args),
    /// Build a topology and run a command in it.
    Up(cmd::up::Up),
    /// Build a topology and open a shell in it.
    Shell(cmd::up::Shell),
    /// Make traffic inside the lab.
    #[command(hide = true)]
    Traffic(cmd::traffic::Args),
    #[command(hide = true)]
    InLab(cmd::in_lab::Args),
}

/// How a command ends: with the exit code of what it ran, or with an error to print.
type Outcome = Result<ExitCode, Box<dyn Error>>;

fn main() -> ExitCode {
    let result = if let Some(machine) = guest::Machine::of_this_process() {
        guest::init(machine).map(|()| ExitCode::SUCCESS).map_err(Into::into)
    } else if let Some(dir) = kept_directory() {
        runner::keep(Path::new(&dir)).map(|()| ExitCode::SUCCESS).map_err(Into::into)
    } else {
        dispatch(CommandLine::parse().command)
    };
    result.unwrap_or_else(|error| {
        eprintln!("{}: {}", program::NAME, chain(error.as_ref()));
        ExitCode::FAILURE
    })
}

fn dispatch(command: Command) -> Outcome {
    match command {
        Command::Kernel(args) => cmd::kernel::run(&args),
        Command::Run(args) => cmd::run::run(&args),
        Command::List(args) => cmd::run::list(&args),
        Command::Exec(args) => cmd::exec::run(args),
        Command::Plot(args) => cmd::plot::run(&args),
        Command::Report(args) => cmd::report::run(&args),
        Command::Compare(args) => cmd::compare::run(&args),
        Command::Bench(args) => cmd::bench::run(&args),
        Command::Soak(args) => cmd::soak::run(&args),
        Command::Demo(args) => cmd::demo::run(&args),
        Command::Test(args) => cmd::test::run(&args),
        Command::Up(args) => cmd::up::up(args),
        Command::Shell(args) => cmd::up::shell(args),
        Command::Traffic(args) => cmd::traffic::run(&args),
        Command::InLab(args) => cmd::in_lab::run(args),
    }
}

/// The job's directory when this process is to be a keeper.
fn kept_directory() -> Option<std::ffi::OsString> {
    let mut arguments = std::env::args_os().skip(1);
    (arguments.next()? == runner::KEEPER_ARGUMENT).then(|| arguments.next())?
}

/// An error and its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
