//! Which payloads a message may and must have, per exchange and direction (RFC 7296 appendix C).

use super::{Direction, Exchange, Notify, NotifyType, Payload, PayloadType};

/// A message that is well formed but not what its exchange allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// A payload we do not know but must (RFC 7296 §2.5).
    #[error("critical payload of unknown type {0}: expected one we know")]
    Critical(PayloadType),
    /// An exchange we do not know.
    #[error("exchange {0}: expected one we know")]
    Exchange(Exchange),
    /// In clear where it must be encrypted, or the other way round.
    #[error("{exchange} {direction} {}: expected the opposite", if *.encrypted { "encrypted" } else { "in clear" })]
    Protection {
        /// The exchange.
        exchange: Exchange,
        /// Question or answer.
        direction: Direction,
        /// Whether it came encrypted.
        encrypted: bool,
    },
    /// Too few or too many payloads of one type.
    #[error("{exchange} {direction}: found {found} {kind} payloads, expected {min} to {max}")]
    Count {
        /// The exchange.
        exchange: Exchange,
        /// Question or answer.
        direction: Direction,
        /// The payload's type.
        kind: PayloadType,
        /// How many there are.
        found: usize,
        /// The fewest allowed.
        min: usize,
        /// The most allowed.
        max: usize,
    },
    /// Too few or too many notifications of one kind.
    #[error("{exchange} {direction}: found {found} {kind} notifications, expected {min} to {max}")]
    Notifications {
        /// The exchange.
        exchange: Exchange,
        /// Question or answer.
        direction: Direction,
        /// The notification's kind.
        kind: NotifyType,
        /// How many there are.
        found: usize,
        /// The fewest allowed.
        min: usize,
        /// The most allowed.
        max: usize,
    },
}

/// Says whether a message may look like this.
///
/// # Errors
/// [`Illegal`] when not.
pub fn check(
    exchange: Exchange,
    direction: Direction,
    encrypted: bool,
    payloads: &[Payload],
) -> Result<(), Illegal> {
    let _ = (exchange, direction, encrypted, payloads);
    Err(Illegal::Exchange(exchange))
}
