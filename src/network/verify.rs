//! Reading a document, and believing it.

use std::collections::BTreeSet;
use std::fmt;

use super::check::Invalid;
use super::document::Form;
use super::{Document, Name, Network, Trust, UnixTime};
use crate::form::{self, Located};

/// An operator's signature over [`Document::canonical`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Who says to have signed.
    pub operator: Name,
    /// An Ed25519 signature (RFC 8032).
    pub octets: [u8; 64],
}

/// A document that makes sense and that nobody has checked the signatures of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unverified {
    pub(super) document: Document,
    pub(super) signatures: Vec<Signature>,
}

/// What is wrong with the text of a document, and where.
pub type ParseError = Located<Problem>;

/// What is wrong with the text of a document.
pub type Problem = form::Problem<Invalid>;

/// Why a document is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nobody signed.
    #[error("no signatures: expected those of {expected} trusted operators")]
    Unsigned {
        /// How many have to sign.
        expected: usize,
    },
    /// Only operators signed whom the user does not know.
    #[error("signed by {}: expected {expected} trusted operators", Names(found))]
    Strangers {
        /// Who signed.
        found: BTreeSet<Name>,
        /// How many trusted ones have to sign.
        expected: usize,
    },
    /// Not enough signed, and a signature is not what its operator's key makes of this document.
    #[error(
        "signature of {operator} does not fit document and key: expected it to, or {expected} others that do"
    )]
    Forged {
        /// Whose signature it says to be.
        operator: Name,
        /// How many good ones are needed.
        expected: usize,
    },
    /// Too few of those whom the user knows.
    #[error("signed by {}: expected {expected} trusted operators", Names(found))]
    UnderSigned {
        /// Who did.
        found: BTreeSet<Name>,
        /// How many have to.
        expected: usize,
    },
    /// A document of another network with the same operators.
    #[error("document of network {found}: expected network {expected}")]
    OtherNetwork {
        /// The document's network.
        found: Name,
        /// The user's.
        expected: Name,
    },
    /// An edition before one that was seen.
    #[error("serial {found}: expected at least {seen}, which was seen before")]
    OldSerial {
        /// The document's serial.
        found: u64,
        /// The last one seen.
        seen: u64,
    },
    /// A document of the future.
    #[error("valid from {from}, and now is {now}: expected a document that is valid (is the clock right?)")]
    NotYetValid {
        /// When it begins to be valid.
        from: UnixTime,
        /// The time given.
        now: UnixTime,
    },
    /// A document of the past.
    #[error("valid until {until}, and now is {now}: expected a newer edition")]
    Stale {
        /// When it stopped being valid.
        until: UnixTime,
        /// The time given.
        now: UnixTime,
    },
}

impl Network {
    /// Reads a document and checks that it makes sense. Whether it is to be believed is the next step.
    ///
    /// # Errors
    /// [`ParseError`] for text that is not YAML of this form, and for a document that contradicts itself.
    pub fn parse(text: &str) -> Result<Unverified, ParseError> {
        let form: Form = form::read(text)?;
        let places: Vec<_> = form.relays.iter().map(|relay| form::place(relay.referenced)).collect();
        let (document, signatures) = form.into_document();
        match document.find_invalid() {
            Ok(()) => Ok(Unverified { document, signatures }),
            Err((relay, invalid)) => {
                let place = relay.and_then(|at| places.get(at).copied());
                Err(Located::invalid(place, invalid))
            }
        }
    }
}

impl Unverified {
    /// What it says.
    #[must_use]
    pub const fn document(&self) -> &Document {
        &self.document
    }

    /// The signatures, good or not.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Who of the trusted operators has signed this document. Each counts once, however often he signed.
    #[must_use]
    pub fn signers(&self, trust: &Trust) -> BTreeSet<Name> {
        let octets = self.document.canonical();
        let good = |signature: &&Signature| {
            let key = trust.operators().get(&signature.operator);
            key.is_some_and(|key| key.verifies(&octets, &signature.octets))
        };
        self.signatures.iter().filter(good).map(|signature| signature.operator.clone()).collect()
    }

    /// Believes the document when enough of the trusted operators signed it and it is valid `now`.
    /// `last_seen` is the serial of the last network that was believed; that edition itself is still good.
    ///
    /// A signature that does not fit counts as none: operators replace keys at other times than users learn
    /// of it, and the others' signatures are worth the same.
    ///
    /// # Errors
    /// [`Refused`] says why not. Signatures are checked first, so that the rest is about a document that the
    /// operators have made.
    pub fn verify(self, trust: &Trust, now: UnixTime, last_seen: Option<u64>) -> Result<Network, Refused> {
        self.check_signatures(trust)?;
        let document = self.document;
        if let Some(expected) = trust.network().filter(|expected| **expected != document.network) {
            return Err(Refused::OtherNetwork { found: document.network, expected: expected.clone() });
        }
        match last_seen {
            Some(seen) if document.serial < seen => Err(Refused::OldSerial { found: document.serial, seen }),
            _ if now < document.valid_from => Err(Refused::NotYetValid { from: document.valid_from, now }),
            _ if now >= document.valid_until => Err(Refused::Stale { until: document.valid_until, now }),
            _ => Ok(Network { document }),
        }
    }

    fn check_signatures(&self, trust: &Trust) -> Result<(), Refused> {
        let expected = trust.threshold();
        let found = self.signers(trust);
        if found.len() >= expected {
            return Ok(());
        }
        let known = |signature: &&Signature| trust.operators().contains_key(&signature.operator);
        if self.signatures.is_empty() {
            return Err(Refused::Unsigned { expected });
        }
        if !self.signatures.iter().any(|signature| known(&signature)) {
            let found = self.signatures.iter().map(|signature| signature.operator.clone()).collect();
            return Err(Refused::Strangers { found, expected });
        }
        let mut claimed = self.signatures.iter().filter(known).map(|signature| &signature.operator);
        match claimed.find(|operator| !found.contains(*operator)) {
            Some(operator) => Err(Refused::Forged { operator: operator.clone(), expected }),
            None => Err(Refused::UnderSigned { found, expected }),
        }
    }
}

/// Names with commas between.
struct Names<'a>(&'a BTreeSet<Name>);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name}")?;
        }
        Ok(())
    }
}
