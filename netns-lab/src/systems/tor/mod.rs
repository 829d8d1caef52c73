//! Tor as the distribution has it, in a private network: every relay of the topology a relay of Tor's, and one client
//! for each circuit, held to its hops.
//!
//! Everything that would make one measurement unlike another is pinned (`torrc`); what is left to choose is in
//! [`Settings`]. Networks are bootstrapped once and start from their kept state (`state`).

mod blueprint;
mod bootstrap;
mod clock;
mod control;
mod daemon;
mod network;
mod settings;
mod state;
mod torrc;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use super::{Circuit, Outcome, Place, Running};
use crate::bundle::{BundleError, TOR};
use crate::net::NetError;
use crate::runner::Runner;
use crate::topology::Topology;

pub use bootstrap::in_lab as bootstrap_in_lab;
pub use control::ControlError;
pub use settings::{CongestionControl, Scheduler, Settings, Tcp};

use blueprint::Blueprint;
use daemon::Program;
use state::State;

/// Why there is no Tor.
#[derive(Debug, thiserror::Error)]
pub enum TorError {
    /// It is not unpacked.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A node or a program on it failed.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The topology cannot be a network of Tor's.
    #[error("{0}: found no relay, expected some")]
    NoRelays(String),
    /// Tor does not take such a window.
    #[error("window: found {0} cells, expected 100 to 1000")]
    Window(u16),
    /// A circuit that Tor does not build.
    #[error("circuit of {client}: found {found}, expected {expected}")]
    Circuit {
        /// Whose.
        client: String,
        /// What is wrong.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
    /// It was not bootstrapped.
    #[error("found no state of this network in {}, expected it to be prepared before the lab runs", .0.display())]
    NoState(PathBuf),
    /// The bootstrap did not do it.
    #[error("bootstrapping Tor: {0}")]
    Job(String),
    /// The program does not say what it is.
    #[error("tor --version: found `{0}`, expected a line `Tor version …`")]
    Version(String),
    /// One of the programs failed.
    #[error("`{command}` failed: {said}")]
    Program {
        /// Which.
        command: String,
        /// What it said last.
        said: String,
    },
    /// A Tor ended.
    #[error("{node}: Tor ended with {status}, expected it to run:\n{said}")]
    Ended {
        /// Where.
        node: String,
        /// How.
        status: ExitStatus,
        /// The end of its log.
        said: String,
    },
    /// A Tor was not where it should be in time.
    #[error("{node}: Tor: expected {what} within {limit:?}:\n{said}")]
    Late {
        /// Where.
        node: String,
        /// What was waited for.
        what: &'static str,
        /// How long.
        limit: Duration,
        /// The end of its log.
        said: String,
    },
    /// Relays go on talking to each other.
    #[error("relays of Tor: found them still busy with themselves after {0:?}, expected them to be quiet")]
    Restless(Duration),
    /// A Tor did not do as told.
    #[error("{node}: Tor: {source}\n{said}")]
    Control {
        /// Where.
        node: String,
        /// What went wrong.
        source: ControlError,
        /// The end of its log.
        said: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl TorError {
    fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}

/// Gets the program and bootstraps the network of a topology, unless both are there.
pub(super) fn prepare(settings: &Settings, topology: &Topology, runner: &dyn Runner) -> Outcome<()> {
    TOR.ensure()?;
    Ok(State::prepare(&Program::find()?, &Blueprint::new(settings, topology)?, runner)?)
}

/// The version of the program that is used.
pub(super) fn version() -> Outcome<String> {
    Ok(Program::find()?.version()?)
}

/// Starts the relays and a client for each circuit, and builds the circuits.
pub(super) fn start<'net>(settings: &Settings, place: Place<'net>) -> Outcome<Box<dyn Running + 'net>> {
    Ok(Box::new(network::Network::start(settings, place)?))
}

/// The fingerprints of a circuit's hops.
fn pinned(circuit: &Circuit, state: &State, blueprint: &Blueprint) -> Result<torrc::Pinned, TorError> {
    let wrong =
        |found: String, expected| TorError::Circuit { client: circuit.client.clone(), found, expected };
    // A circuit of one hop is refused by exits, of more than eight by its first relay.
    if !(2..=8).contains(&circuit.hops.len()) {
        return Err(wrong(format!("{} hops", circuit.hops.len()), "2 to 8"));
    }
    let exit = circuit.hops.last().and_then(|last| blueprint.relays.iter().find(|relay| relay.name == *last));
    if !exit.is_some_and(|relay| relay.exit) {
        return Err(wrong(format!("`{}` at its end", circuit.hops.join(" ")), "an exit of the topology"));
    }
    let fingerprint = |hop: &String| {
        let known = state.directory.fingerprints.get(hop).cloned();
        known.ok_or_else(|| wrong(format!("`{hop}`"), "a relay of the topology"))
    };
    Ok(torrc::Pinned { hops: circuit.hops.iter().map(fingerprint).collect::<Result<_, _>>()? })
}
