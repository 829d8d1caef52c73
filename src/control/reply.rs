use std::fmt;

use serde::{Deserialize, Serialize};

use super::view::{CircuitView, OverlayView, RelayView, Status};

/// The answer to a [`Command`](super::Command).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// How the daemon is.
    Status(Box<Status>),
    /// A circuit.
    Circuit(Box<CircuitView>),
    /// All circuits, by number.
    Circuits(Vec<CircuitView>),
    /// A relay.
    Relay(Box<RelayView>),
    /// All relays, by name.
    Relays(Vec<RelayView>),
    /// All overlays, by the neighbour's name.
    Overlays(Vec<OverlayView>),
    /// It is done.
    Done,
    /// It was not done, and nothing has changed.
    Refused(Refusal),
}

impl Reply {
    /// A refusal.
    #[must_use]
    pub fn refused(code: RefusalCode, message: impl Into<String>) -> Self {
        Self::Refused(Refusal { code, message: message.into() })
    }
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The kind of reason, for programs.
    pub code: RefusalCode,
    /// The reason in words a person can act on: what was found, what was expected.
    pub message: String,
}

/// The body of an HTTP answer whose status is no success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Why.
    pub error: Refusal,
}

/// The kind of reason why something was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// What was asked for makes no sense.
    Invalid,
    /// There is no such circuit, relay or overlay.
    NotFound,
    /// What there is stands in the way, such as a circuit of that name.
    Conflict,
    /// The policy forbids it, or this host does not have the role for it.
    NotAllowed,
    /// No relays of the network fit what was asked for.
    NoPath,
    /// It was tried and failed, such as a circuit whose relay did not answer.
    Failed,
    /// It took too long.
    TimedOut,
    /// The daemon cannot do it now: it is starting, stopping, or has too much to do.
    Unavailable,
}

impl RefusalCode {
    /// The code as it is written in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::NotAllowed => "not_allowed",
            Self::NoPath => "no_path",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Unavailable => "unavailable",
        }
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a reload did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// What is different now, a line each; empty when the files say what they said before.
    pub changes: Vec<String>,
    /// What only a restart would change, a line each.
    pub restart: Vec<String>,
}

/// How the daemon stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopping {
    /// The kernel keeps everything and goes on forwarding; the next daemon adopts it.
    Keep,
    /// Peers are told, and everything is removed.
    Flush,
}
