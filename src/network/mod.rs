//! The network document: which relays there are, signed by operators that the user believes.
//!
//! [`Network::parse`] reads a document, [`Unverified::verify`] checks it against the user's [`Trust`], and
//! only what comes out of that is a [`Network`]. `docs/network-document.md` is the reference.

mod canonical;
mod check;
mod document;
pub mod edit;
pub mod export;
mod key;
mod name;
mod relay;
mod signing;
mod time;
mod trust;
mod verify;
mod write;

use std::collections::BTreeMap;

use serde::Serialize;

pub use check::{Invalid, MAX_RELAYS, Shared};
pub use key::{BadKey, Ed25519Key, IdentityKey, Spki};
pub use name::{Name, NotAName};
pub use relay::{BadPsk, ClientAuth, ExitSummary, Neighbours, PublishedPsk, Relay, Role, Software, Weight};
pub use signing::{BadKeyFile, PrivateKey, Purpose};
pub use time::{NotATime, UnixTime};
pub use trust::{BadTrust, Trust};
pub use verify::{ParseError, Problem, Refused, Signature, Unverified};

/// What a network document says, whoever signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Document {
    /// The name of the network.
    pub network: Name,
    /// Grows with every edition.
    pub serial: u64,
    /// Not to be used before.
    pub valid_from: UnixTime,
    /// Not to be used from then on.
    pub valid_until: UnixTime,
    /// Who is to sign. For people to see: believed is only who is in [`Trust`].
    pub operators: BTreeMap<Name, Ed25519Key>,
    /// How many of them are to sign.
    pub threshold: usize,
    /// The relays, in the order of the document.
    pub relays: Vec<Relay>,
}

/// A network document that enough of the user's operators have signed and that is valid now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    document: Document,
}

impl Network {
    /// The name of the network.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.document.network
    }

    /// The serial, to be given to the next [`Unverified::verify`].
    #[must_use]
    pub const fn serial(&self) -> u64 {
        self.document.serial
    }

    /// When it stops being valid.
    #[must_use]
    pub const fn valid_until(&self) -> UnixTime {
        self.document.valid_until
    }

    /// All that it says.
    #[must_use]
    pub const fn document(&self) -> &Document {
        &self.document
    }

    /// The relays, in the order of the document.
    #[must_use]
    pub fn relays(&self) -> &[Relay] {
        &self.document.relays
    }

    /// The relay of that name.
    #[must_use]
    pub fn relay(&self, name: &str) -> Option<&Relay> {
        self.document.relay(name)
    }

    /// The relays that keep overlay tunnels with `relay`, in the order of the document.
    pub fn neighbours<'a>(&'a self, relay: &'a Relay) -> impl Iterator<Item = &'a Relay> {
        self.relays().iter().filter(move |other| linked(relay, other))
    }
}

impl Document {
    /// The relay of that name.
    #[must_use]
    pub fn relay(&self, name: &str) -> Option<&Relay> {
        self.relays.iter().find(|relay| relay.name == *name)
    }
}

/// Whether two relays keep an overlay tunnel, so that one may follow the other in a circuit.
#[must_use]
pub fn linked(left: &Relay, right: &Relay) -> bool {
    left.wants(&right.name) && right.wants(&left.name)
}
