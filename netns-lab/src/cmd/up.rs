//! `cargo lab up` and `cargo lab shell`: a topology to work in.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use ippriv_lab::net::Net;
use ippriv_lab::runner::{self, Choice, Clock, Streams};
use ippriv_lab::system;
use ippriv_lab::topology::{self, Topology};

use super::cargo;
use super::machine::Machine;
use crate::Outcome;

/// How long an open lab may stay open.
const LIMIT: Duration = Duration::from_secs(24 * 3600);
/// What a shell opens without a file.
const DEFAULT: &str = "netns-lab/topologies/europe.yaml";

/// Builds a topology and runs a command in it; without a command, shows it.
#[derive(clap::Args)]
pub(crate) struct Up {
    /// A topology; see netns-lab/topologies.
    file: PathBuf,
    #[command(flatten)]
    machine: Machine,
    /// The command and its arguments; nodes are network namespaces: `ip netns exec client …`.
    #[arg(last = true)]
    command: Vec<OsString>,
}

/// Builds a topology and gives you a shell in it.
#[derive(clap::Args)]
pub(crate) struct Shell {
    /// A topology; europe.yaml when there is none.
    file: Option<PathBuf>,
    /// What runs it.
    #[arg(long, value_enum, default_value = "auto")]
    runner: Choice,
}

pub(crate) fn up(args: Up) -> Outcome {
    open(&args.file, args.machine.runner, args.machine.clock(), Streams::Inherit, args.command)
}

pub(crate) fn shell(args: Shell) -> Outcome {
    if !io::stdin().is_terminal() {
        return Err("shell: standard input is not a terminal; use `cargo lab up FILE -- COMMAND`".into());
    }
    let file = args.file.unwrap_or_else(|| cargo::workspace().join(DEFAULT));
    open(&file, args.runner, args.runner.clock(None), Streams::Terminal, vec!["bash".into(), "-i".into()])
}

/// Checks the file here, where errors are seen at once, and opens it in the lab.
fn open(file: &Path, choice: Choice, clock: Clock, streams: Streams, command: Vec<OsString>) -> Outcome {
    let topology = Topology::read(file)?;
    if topology.clock == topology::Clock::Real && clock != Clock::Real {
        return Err(format!("{}: its links without a rate need real time", file.display()).into());
    }
    system::ensure(system::LAB)?;
    cargo::build_commands()?;
    let mut job = runner::in_lab(&["open"])?;
    job.argv.push(file.canonicalize()?.into());
    job.argv.extend(command);
    job.cwd = std::env::current_dir()?;
    job.clock = clock;
    job.limit = LIMIT;
    job.streams = streams;
    let finished = runner::choose(choice, clock)?.run(&job)?;
    Ok(u8::try_from(finished.code).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The part inside the lab: builds the network and runs the command, or lists the nodes.
pub(crate) fn in_lab(file: &Path, command: &[OsString]) -> Outcome {
    let net = Net::build(&Topology::read(file)?)?;
    let Some((program, arguments)) = command.split_first() else {
        for node in net.nodes() {
            let links: Vec<&str> = node.interfaces().map(|end| end.interface.as_str()).collect();
            println!(
                "{:<14} {:<16} {:<18} {}",
                node.name(),
                node.address4(),
                node.address6(),
                links.join(" ")
            );
        }
        return Ok(ExitCode::SUCCESS);
    };
    let status = Command::new(program).args(arguments).status()?;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
