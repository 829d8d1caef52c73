//! What can be wrong with octets that should be a message.

use std::net::IpAddr;

use super::NotifyType;

/// Octets that are no IKEv2 message, or no payloads of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// No IKE header, or one of another length than the datagram.
    #[error("datagram of {found} octets: expected {expected}")]
    Datagram {
        /// Octets there are.
        found: usize,
        /// Octets there should be.
        expected: usize,
    },
    /// Another major version than 2.
    #[error("IKE version {major}: expected 2")]
    Version {
        /// The major version.
        major: u8,
    },
    /// A fragment that can be part of no message (RFC 7383 §2.6).
    #[error("fragment {number} of {total}: expected a number from 1 to the total")]
    FragmentNumber {
        /// Which fragment it says it is.
        number: u16,
        /// Of how many.
        total: u16,
    },
    /// Fewer octets than the part needs.
    #[error("{what}: found {found} octets, expected at least {expected}")]
    Short {
        /// What was being read.
        what: &'static str,
        /// Octets there are.
        found: usize,
        /// Octets there should be.
        expected: usize,
    },
    /// Octets after the end of the part.
    #[error("{what}: found {found} more octets, expected its end")]
    Trailing {
        /// What was being read.
        what: &'static str,
        /// Octets there are too many.
        found: usize,
    },
    /// A field with a value it must not have.
    #[error("{what}: found {found}, expected {expected}")]
    Field {
        /// Which field.
        what: &'static str,
        /// Its value.
        found: u64,
        /// The values it may have.
        expected: &'static str,
    },
    /// A range of addresses that ends before it begins.
    #[error("range from {first} to {last}: expected addresses in order")]
    Reversed {
        /// The first address.
        first: IpAddr,
        /// The last address.
        last: IpAddr,
    },
    /// More parts than we take from anyone.
    #[error("{what}: found more than {limit}, expected at most that many")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The most we take.
        limit: usize,
    },
}

impl Malformed {
    /// What to tell the peer, if anything. Of what came unprotected only a higher version is worth an answer
    /// (RFC 7296 §2.5, §2.21.2); fragments with bad numbers are dropped in silence (RFC 7383 §2.6).
    #[must_use]
    pub const fn notify(&self) -> Option<NotifyType> {
        match self {
            Self::Version { major } if *major > 2 => Some(NotifyType::INVALID_MAJOR_VERSION),
            Self::Datagram { .. } | Self::Version { .. } | Self::FragmentNumber { .. } => None,
            Self::Short { .. }
            | Self::Trailing { .. }
            | Self::Field { .. }
            | Self::Reversed { .. }
            | Self::TooMany { .. } => Some(NotifyType::INVALID_SYNTAX),
        }
    }
}
