//! `ippriv run`: one command on a circuit, in a network namespace that has nothing else.
//!
//! ```text
//!  this process            the daemon
//!   leaves for its own
//!   namespaces
//!   POST …/lend ─────────► gives the circuit's innermost layer to a new interface, and moves that to us
//!   addresses, routes,
//!   resolv.conf
//!   runs the command
//!   DELETE …/lend ───────► has the circuit as before, or closes it
//! ```
//!
//! Nothing else is ever in the namespace, so that there is nothing a packet could leave by, whatever becomes of the
//! circuit, the daemon or this process. Should this process die, the daemon sees it and takes the circuit back.

mod names;
mod namespace;
mod wait;

use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;
use ippriv::control::{CircuitState, CircuitView, Event, NewCircuit, Stamped};
use ippriv::id::LinkName;
use ippriv::network::Name;
use ippriv::plan::OpError;
use ippriv::telescope::CircuitNumber;
use ipprivd::kernel::{furnish, unfurnish};
use serde::Serialize;

use super::circuit::find;
use crate::daemon::{Daemon, DaemonError};
use wait::{Received, Signals};

/// As docker and env(1) have it: what went wrong was before the command.
const NOT_RUN: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
/// How often a circuit that is being built is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How often, and how far apart, the daemon is told that the command has ended: it may be starting again.
const ATTEMPTS: u32 = 25;
const BETWEEN: Duration = Duration::from_millis(200);

/// Run a command on a circuit, and nothing else
#[derive(Args)]
pub(crate) struct Run {
    /// The circuit, by number or name; without, the first open one that nobody uses
    #[arg(long, conflicts_with_all = ["new_circuit", "hops", "length"])]
    circuit: Option<String>,
    /// Build a circuit for the command, and close it after that
    #[arg(long)]
    new_circuit: bool,
    /// The relays of a new circuit, entry first: a,b,c
    #[arg(long, value_delimiter = ',', conflicts_with = "length", requires = "new_circuit")]
    hops: Option<Vec<Name>>,
    /// How many relays a new circuit has
    #[arg(long, requires = "new_circuit")]
    length: Option<u8>,
    /// Name servers to ask through the circuit, instead of those that its exit names
    #[arg(long, value_delimiter = ',')]
    dns: Option<Vec<IpAddr>>,
    #[command(flatten)]
    daemon: Daemon,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Why a command did not run, or its circuit did not come back.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error(
        "no open circuit is free: expected --new-circuit, or one built before with `ippriv circuit new` that no \
         other command uses"
    )]
    NoCircuit,
    #[error("circuit {0} has no interface or address: expected an open one")]
    NotUsable(CircuitNumber),
    #[error(transparent)]
    Namespace(#[from] namespace::NamespaceError),
    #[error(transparent)]
    Names(#[from] names::NamesError),
    #[error("cannot furnish the command's network: {0}")]
    Furnish(OpError),
    #[error("{}: {error}", program.to_string_lossy())]
    Start { program: OsString, error: io::Error },
    #[error("cannot wait for the command: {0}")]
    Wait(io::Error),
    #[error("ended by a signal")]
    Ended(u8),
}

impl RunError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Start { error, .. } if error.kind() == io::ErrorKind::NotFound => NOT_FOUND,
            Self::Start { .. } => NOT_EXECUTABLE,
            Self::Ended(code) => *code,
            _ => NOT_RUN,
        }
    }
}

#[derive(Serialize)]
struct Lend {
    close: bool,
}

impl Run {
    /// Runs it; its exit code, 128 and the signal that ended it, or what says why it did not run.
    pub(crate) fn run(self) -> ExitCode {
        match self.on_a_circuit() {
            Ok(code) => code.into(),
            Err(error) => {
                if !matches!(error, RunError::Ended(_)) {
                    eprintln!("ippriv: {error}");
                }
                error.exit_code().into()
            }
        }
    }

    fn on_a_circuit(&self) -> Result<u8, RunError> {
        // while there is one thread: what ends this process is heard even before there is a command
        let signals = Signals::hold().map_err(RunError::Wait)?;
        let circuit = self.circuit(&signals)?;
        let result = self.on(circuit.number, &signals);
        if self.new_circuit && matches!(result, Err(Failed::NotLent(_))) {
            // the daemon closes it in the end, but for one that was never lent
            self.daemon.delete(&format!("/v1/circuits/{}", circuit.number))?;
        }
        result.map_err(|failed| match failed {
            Failed::NotLent(error) | Failed::Lent(error) => error,
        })
    }

    fn circuit(&self, signals: &Signals) -> Result<CircuitView, RunError> {
        if self.new_circuit {
            return self.new_circuit(signals);
        }
        if let Some(which) = &self.circuit {
            return Ok(find(&self.daemon, which)?);
        }
        let circuits: Vec<CircuitView> = self.daemon.get("/v1/circuits")?;
        let free = |circuit: &CircuitView| circuit.state == CircuitState::Open && circuit.lent_to.is_none();
        circuits.into_iter().find(free).ok_or(RunError::NoCircuit)
    }

    /// Builds a circuit; one that somebody does not wait for is closed again.
    fn new_circuit(&self, signals: &Signals) -> Result<CircuitView, RunError> {
        let name = format!("run-{}", std::process::id());
        let hops = self.hops.as_ref().map(|hops| hops.iter().map(ToString::to_string).collect());
        let new = NewCircuit {
            name: Some(name.clone()),
            hops,
            length: self.length,
            traffic: Vec::new(),
            wait: true,
        };
        let daemon = self.daemon.clone();
        let building = thread::spawn(move || daemon.post("/v1/circuits", &new));
        while !building.is_finished() {
            if let Some(signal) = signals.next(LOOK).map_err(RunError::Wait)?.filter(Received::ends) {
                if let Ok(circuit) = find(&self.daemon, &name) {
                    self.daemon.delete(&format!("/v1/circuits/{}", circuit.number))?;
                }
                return Err(RunError::Ended(signal.exit_code()));
            }
        }
        match building.join() {
            Ok(built) => Ok(built?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn on(&self, number: CircuitNumber, signals: &Signals) -> Result<u8, Failed> {
        // before there is a second thread, which would have namespaces of its own
        namespace::leave().map_err(|error| Failed::NotLent(error.into()))?;
        let path = format!("/v1/circuits/{number}/lend");
        let lent = self.daemon.post::<CircuitView>(&path, &Lend { close: self.new_circuit });
        let circuit = lent.map_err(|error| Failed::NotLent(error.into()))?;
        let link: Option<LinkName> = circuit.link.as_deref().and_then(|link| link.parse().ok());
        let result = match &link {
            Some(link) if !circuit.addresses.is_empty() => self.command(&circuit, link, signals),
            _ => Err(RunError::NotUsable(number)),
        };
        // With the namespace it would go a little later, in the way of the next command on this circuit.
        let removed = link.map(|link| unfurnish(&link));
        if let Some(Err(error)) = removed.filter(|_| result.is_ok()) {
            eprintln!("ippriv: circuit {number}: its interface is not removed: {error}");
        }
        self.give_back(number, &path);
        result.map_err(Failed::Lent)
    }

    fn command(&self, circuit: &CircuitView, link: &LinkName, signals: &Signals) -> Result<u8, RunError> {
        furnish(link, &circuit.addresses).map_err(RunError::Furnish)?;
        let servers = self.dns.as_ref().unwrap_or(&circuit.dns);
        if servers.is_empty() {
            let number = circuit.number;
            eprintln!(
                "ippriv: circuit {number}: its exit names no name servers: no name can be looked up; see --dns"
            );
        }
        names::look_up_through(servers)?;
        let (program, arguments) = self.command.split_first().ok_or(RunError::NoCircuit)?;
        let started = Command::new(program).args(arguments).spawn();
        let child = started.map_err(|error| RunError::Start { program: program.clone(), error })?;
        let ended = Arc::new(AtomicBool::new(false));
        self.tell_when_gone(circuit.number, Arc::clone(&ended));
        let code = signals.until_end_of(child).map_err(RunError::Wait);
        ended.store(true, Ordering::Relaxed);
        code
    }

    /// Says on standard error when the command has lost its network, on a thread that ends with this process.
    fn tell_when_gone(&self, number: CircuitNumber, ended: Arc<AtomicBool>) {
        let daemon = self.daemon.clone();
        let own = std::process::id();
        let follow = move || {
            let told = daemon.lines::<DaemonError>("/v1/events?follow=true", |line| {
                match serde_json::from_slice(line) {
                    Ok(Stamped { event: Event::CircuitReturned { circuit, process, reason }, .. })
                        if circuit == number && process.get() == own && !ended.load(Ordering::Relaxed) =>
                    {
                        eprintln!(
                            "ippriv: circuit {number} is gone: {reason}; the command has no network now"
                        );
                    }
                    _ => {}
                }
                Ok(())
            });
            // without it the command runs all the same
            drop(told);
        };
        drop(thread::Builder::new().spawn(follow));
    }

    /// Tells the daemon that the command has ended. One that is gone finds out when it starts again.
    fn give_back(&self, number: CircuitNumber, path: &str) {
        for attempt in 1..=ATTEMPTS {
            match self.daemon.delete(path) {
                Err(DaemonError::NotRunning(_) | DaemonError::Ended(_)) if attempt < ATTEMPTS => {
                    thread::sleep(BETWEEN);
                }
                // it is closed or somebody else's by now
                Ok(()) | Err(DaemonError::Refused(_)) => return,
                Err(error) => {
                    eprintln!("ippriv: circuit {number} is not given back: {error}");
                    return;
                }
            }
        }
    }
}

/// Whether the daemon takes the circuit back.
enum Failed {
    NotLent(RunError),
    Lent(RunError),
}
