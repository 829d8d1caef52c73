//! Why a connection ended, for the eyes of an admin.

use std::fmt;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::crypto::{BadAuth, KeError};
use super::event::ChildRefusal;
use super::wire::{Id, NotifyType};

/// How far a connection had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Step {
    /// IKE_SA_INIT: keys are agreed.
    Init,
    /// IKE_INTERMEDIATE: further keys are agreed (RFC 9370).
    Intermediate,
    /// IKE_AUTH: who is who, and the first child SA.
    Auth,
    /// CREATE_CHILD_SA: another child SA, or new keys.
    CreateChild,
    /// IKE_FOLLOWUP_KE: further keys for that (RFC 9370).
    FollowupKe,
    /// INFORMATIONAL: deletion and liveness.
    Informational,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Init => "IKE_SA_INIT",
            Self::Intermediate => "IKE_INTERMEDIATE",
            Self::Auth => "IKE_AUTH",
            Self::CreateChild => "CREATE_CHILD_SA",
            Self::FollowupKe => "IKE_FOLLOWUP_KE",
            Self::Informational => "INFORMATIONAL",
        })
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// Our own command.
    #[error("closed here")]
    Local,
    /// The peer deleted it.
    #[error("the peer deleted the connection")]
    PeerDeleted,
    /// The peer did not answer a request, however often it was sent.
    #[error("{0}: the peer does not answer")]
    Unresponsive(Step),
    /// The peer answered with an error.
    #[error("{0}: the peer answered {1}")]
    Refused(Step, NotifyType),
    /// The peer's message lacks something that has to be there, or holds what must not.
    #[error("{0}: the peer sent a message that is not as RFC 7296 has it")]
    Misbehaved(Step),
    /// The responder asked for one retry after another.
    #[error("IKE_SA_INIT: the peer asked for more than {0} retries")]
    TooManyRetries(u8),
    /// The peer chose what was not offered, or offered nothing we take.
    #[error("{0}: no algorithms in common")]
    NoProposal(Step),
    /// The peer's key exchange value is no good.
    #[error("{0}: {1}")]
    KeyExchange(Step, KeError),
    /// The peer is not the one we want to talk to.
    #[error("IKE_AUTH: the peer says it is {}: expected {}", shown(found), shown(expected))]
    WrongIdentity {
        /// Who it says it is.
        found: Id,
        /// Whom we expected.
        expected: Id,
    },
    /// We have no key for who the peer says it is, or do not serve whoever comes in this way.
    #[error("IKE_AUTH: {} is nobody we serve", shown(_0))]
    UnknownPeer(Id),
    /// The peer is not who it says it is.
    #[error("IKE_AUTH: {0}")]
    Unauthenticated(BadAuth),
    /// The peer answered with something that others could show as well.
    #[error(
        "IKE_AUTH: the peer did not prove who it is: expected a signature under its key, or the secret of the two"
    )]
    Unsigned,
    /// Our own side cannot authenticate itself.
    #[error("IKE_AUTH: this host has no key of its own to sign with")]
    NoCredentials,
    /// The peer refused the first child SA.
    #[error("the peer refused the child SA: {0}")]
    ChildRefused(NotifyType),
    /// The owner refused the first child SA.
    #[error("the child SA was not installed: {0}")]
    ChildNotInstalled(ChildRefusal),
    /// The responder did not give the address that was asked for.
    #[error("IKE_AUTH: the peer handed out no address")]
    NoAddress,
    /// No child SA was left, and no other one came.
    #[error("no child SA was left")]
    Childless,
    /// Its hard lifetime is over.
    #[error("its lifetime is over")]
    Expired,
    /// The peer answered "later" for minutes: the two sides no longer agree on what exists.
    #[error("{0}: the peer answered TEMPORARY_FAILURE for too long")]
    OutOfSync(Step),
    /// Our own crypto failed.
    #[error("{0}: the crypto library failed")]
    Internal(Step),
}

impl CloseReason {
    /// The same without identities, for logs that must not tell who comes.
    #[must_use]
    pub fn nameless(&self) -> String {
        match self {
            Self::UnknownPeer(_) => "IKE_AUTH: nobody we serve".to_owned(),
            Self::WrongIdentity { .. } => "IKE_AUTH: the peer is not the one expected".to_owned(),
            other => other.to_string(),
        }
    }
}

/// An identity in one line that harms no terminal: names as they are, the rest in hexadecimal.
pub(super) fn shown(id: &Id) -> String {
    match std::str::from_utf8(&id.data) {
        _ if id.data.is_empty() => id.kind.to_string(),
        Ok(name) if name.chars().all(|c| c.is_ascii_graphic()) => name.to_owned(),
        _ => id.data.iter().fold(format!("{} ", id.kind), |mut text, octet| {
            let _ = write!(text, "{octet:02x}");
            text
        }),
    }
}
