//! Other people's IKE daemons as nodes of the lab: strongSwan and libreswan as the distribution has them.

mod home;
mod libreswan;
pub mod relays;
mod sas;
mod strongswan;

use std::process::ExitStatus;
use std::time::Duration;

use ippriv::network::export::{BadPairPsk, Unsupported};
use ippriv::network::{BadKey, BadPsk};

use crate::bundle::{Bundle, BundleError, LIBRESWAN, OPENVPN, STRONGSWAN, TSHARK, WIREGUARD};
use crate::net::{NetError, Node};

pub use home::File;
pub use libreswan::{KeyKind, Libreswan, LibreswanKeys};
pub use sas::{ChildSa, IkeSa};
pub use strongswan::StrongSwan;

use home::Home;

/// Runs a bundle's program on `node` to its end, in a mount namespace of its own, and gives its standard output.
///
/// # Errors
/// [`ForeignError`] when the bundle is not there or the program fails.
pub fn run(node: Node<'_>, bundle: &Bundle, argv: &[&str]) -> Result<String, ForeignError> {
    Home::make(node, bundle, &[])?.run(argv)
}

/// All that scenarios use.
pub const ALL: &[Bundle] = &[STRONGSWAN, LIBRESWAN, TSHARK, WIREGUARD, OPENVPN];

/// A running daemon of either kind.
#[derive(Debug)]
pub enum Daemon<'net> {
    /// strongSwan's.
    StrongSwan(StrongSwan<'net>),
    /// libreswan's.
    Libreswan(Libreswan<'net>),
}

/// A daemon's counts of messages that only ask or say that somebody is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Liveness {
    /// How often it asked.
    pub asked: u64,
    /// How often it answered.
    pub answered: u64,
}

impl Liveness {
    /// Reads them where each is in a line with its name before and a sign between.
    fn read(text: &str, [asked, answered]: [&str; 2], sign: char) -> Self {
        let count = |name: &str| {
            let mut values = text.lines().filter_map(|line| line.split_once(sign));
            values.find(|(key, _)| key.trim() == name).and_then(|(_, value)| value.trim().parse().ok())
        };
        Self { asked: count(asked).unwrap_or(0), answered: count(answered).unwrap_or(0) }
    }
}

impl Daemon<'_> {
    /// All IKE SAs.
    ///
    /// # Errors
    /// [`ForeignError`] when it does not answer.
    pub fn sas(&self) -> Result<Vec<IkeSa>, ForeignError> {
        match self {
            Self::StrongSwan(daemon) => daemon.sas(),
            Self::Libreswan(daemon) => daemon.sas(),
        }
    }

    /// How often it has asked peers whether they are there, and answered that.
    ///
    /// # Errors
    /// [`ForeignError`] when it does not answer.
    pub fn liveness(&self) -> Result<Liveness, ForeignError> {
        match self {
            Self::StrongSwan(daemon) => daemon.liveness(),
            Self::Libreswan(daemon) => daemon.liveness(),
        }
    }

    /// Everything it has said so far.
    ///
    /// # Errors
    /// [`ForeignError`] when its log cannot be read.
    pub fn log(&self) -> Result<String, ForeignError> {
        match self {
            Self::StrongSwan(daemon) => daemon.log(),
            Self::Libreswan(daemon) => daemon.log(),
        }
    }

    /// Has it delete its SAs and end; returns its log.
    ///
    /// # Errors
    /// [`ForeignError`] when it does not end.
    pub fn stop(self) -> Result<String, ForeignError> {
        match self {
            Self::StrongSwan(daemon) => daemon.stop(),
            Self::Libreswan(daemon) => daemon.stop(),
        }
    }
}

/// What can go wrong with somebody else's daemon.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// Its programs are not there.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Its node or a program on it failed.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The relay cannot be run with that software.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// A published key of the lab's is none.
    #[error(transparent)]
    PublishedPsk(#[from] BadPsk),
    /// A secret of two is none.
    #[error(transparent)]
    Psk(#[from] BadPairPsk),
    /// No such relay.
    #[error("found no relay `{0}` in the plan, expected one")]
    Unknown(String),
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
    /// libreswan shows no key of its own.
    #[error("{node}: found `{said}`, expected a public key of libreswan's: {source}", said = said.trim_end())]
    Key {
        /// Where.
        node: String,
        /// What it showed.
        said: String,
        /// What is wrong with that.
        source: BadKey,
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
