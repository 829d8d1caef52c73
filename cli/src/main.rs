//! `ippriv`: checks, plans, applies and explains what a file asks of this host's kernel.
//!
//! Exit codes: 0 done, 1 failed (nothing changed, or unwound, as the message says), 2 wrong usage.

mod cmds;
mod file;
mod key;
mod network;
mod output;

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
    Check(cmds::check::Check),
    Plan(cmds::plan::Plan),
    Apply(cmds::apply::Apply),
    Down(cmds::down::Down),
    Explain(cmds::explain::Explain),
    Status(cmds::status::Status),
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
    #[error(
        "{path} is {found}: expected {expected}, because {reason}; set it with: sysctl -w {path}={expected}"
    )]
    Requirement { path: String, found: String, expected: &'static str, reason: &'static str },
    #[error(
        "the module {module} is loaded: expected it not to be, for with it the kernel drops ESP inside ESP from devices \
         with GRO on; nothing was changed; unload it with: modprobe -r {module}"
    )]
    Offload { module: String },
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Check(command) => command.run(),
        Command::Plan(command) => command.run(),
        Command::Apply(command) => command.run(),
        Command::Down(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Key(command) => command.run(),
        Command::Network(command) => command.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Somebody closed the pipe we write to, such as `head`.
        Err(Failed::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ippriv: {error}");
            ExitCode::FAILURE
        }
    }
}
