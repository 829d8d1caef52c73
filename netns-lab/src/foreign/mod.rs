//! Other people's IKE daemons as nodes of the lab: strongSwan and libreswan as the distribution has them.

mod bundle;
mod home;
mod strongswan;

use std::process::ExitStatus;
use std::time::Duration;

use crate::net::NetError;

pub use bundle::{Bundle, BundleError, LIBRESWAN, STRONGSWAN, TSHARK};
pub use home::File;
pub use strongswan::StrongSwan;

use home::Home;

/// All that scenarios use.
pub const ALL: &[Bundle] = &[STRONGSWAN, LIBRESWAN, TSHARK];

/// What can go wrong with somebody else's daemon.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// Its programs are not there.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Its node or a program on it failed.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A file is to be written where the daemon does not look.
    #[error("found a file `{0}` for a daemon, expected one below /etc")]
    Path(String),
    /// The daemon ended.
    #[error("{node}: the daemon ended with {status}, expected it to run: {}", said.trim_end())]
    Ended {
        /// Where.
        node: String,
        /// How.
        status: ExitStatus,
        /// Its log.
        said: String,
    },
    /// The daemon took too long to start.
    #[error("{node}: the daemon was not ready within {limit:?}: {}", said.trim_end())]
    NotReady {
        /// Where.
        node: String,
        /// How long it was waited for.
        limit: Duration,
        /// Its log.
        said: String,
    },
    /// The daemon refused what it was told to do.
    #[error("{node}: `{command}`: found {said}, expected success", said = said.trim_end())]
    Refused {
        /// Where.
        node: String,
        /// What it was told.
        command: String,
        /// What it answered.
        said: String,
    },
}
