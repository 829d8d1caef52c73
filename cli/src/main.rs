//! `ippriv`: asks the daemon, and checks, plans, applies and explains what a file asks of this host's kernel.
//!
//! Exit codes: 0 done, 1 failed (nothing changed, or unwound, as the message says), 2 wrong usage, 3 no daemon,
//! 4 not allowed to ask it, 5 no such thing, 6 refused by it, 7 too late or too busy.

mod cmds;
mod daemon;
mod file;
mod key;
mod network;
mod output;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Onion routing at layer 3 with stock Linux IPsec.
#[derive(Parser)]
#[command(name = "ippriv", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Circuit(cmds::circuit::Circuit),
    Relay(cmds::relay::Relay),
    Overlay(cmds::overlay::Overlay),
    Status(cmds::status::Status),
    Events(cmds::events::Events),
    Reload(cmds::reload::Reload),
    Stop(cmds::stop::Stop),
    Run(cmds::run::Run),
    #[command(hide = true)]
    Rekey(cmds::rekey::Rekey),
    #[command(hide = true)]
    Debug(cmds::debug::Debug),
    Check(cmds::check::Check),
    Plan(cmds::plan::Plan),
    Apply(cmds::apply::Apply),
    Down(cmds::down::Down),
    Explain(cmds::explain::Explain),
    Key(key::Key),
    Network(network::Network),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    File(#[from] file::FileError),
    #[error(transparent)]
    Key(#[from] key::KeyError),
    #[error(transparent)]
    Network(#[from] network::NetworkError),
    #[error("cannot reach the kernel: {0}")]
    Kernel(#[from] ipprivd::kernel::KernelError),
    #[error(transparent)]
    Plan(#[from] ipprivd::driver::PlanError),
    #[error("{0}")]
    Unwound(String),
    #[error(transparent)]
    Requirement(#[from] ipprivd::event_loop::RequirementError),
    #[error(transparent)]
    Daemon(#[from] daemon::DaemonError),
    #[error("the daemon writes no keys: expected it to be started with --danger-keylog DIR, in a lab")]
    NoKeyLog,
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Circuit(command) => command.run(),
        Command::Relay(command) => command.run(),
        Command::Overlay(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Events(command) => command.run(),
        Command::Reload(command) => command.run(),
        Command::Stop(command) => command.run(),
        // its exit codes are those of the command that it runs
        Command::Run(command) => return command.run(),
        Command::Rekey(command) => command.run(),
        Command::Debug(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Plan(command) => command.run(),
        Command::Apply(command) => command.run(),
        Command::Down(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::Key(command) => command.run(),
        Command::Network(command) => command.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Somebody closed the pipe we write to, such as `head`.
        Err(Failed::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ippriv: {error}");
            match error {
                Failed::Daemon(error) => error.exit_code().into(),
                _ => ExitCode::FAILURE,
            }
        }
    }
}
