//! Whole datagrams: a header with payloads in clear, with an SK payload (RFC 7296 §3.14) or with a fragment
//! of one (RFC 7383 §2.5).

use super::codec::Writer;
use super::payload::{self, Chain, Link};
use super::{Header, Malformed, Payload, PayloadType};

/// A datagram as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its header.
    pub header: Header,
    /// What follows.
    pub body: Body<'a>,
}

/// What follows the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body<'a> {
    /// Payloads in clear.
    Clear(Vec<Payload>),
    /// An SK payload.
    Encrypted {
        /// The type of the first payload inside.
        first: PayloadType,
        /// From the first octet of the header to the last before the IV: what the ICV covers unencrypted.
        aad: &'a [u8],
        /// IV, ciphertext and ICV.
        sealed: &'a [u8],
        /// Payloads in front of the SK payload: in clear, but covered by the ICV. Normally none.
        leading: Vec<Payload>,
    },
    /// An SKF payload.
    Fragment {
        /// The type of the first payload of the whole message in fragment 1, else none.
        first: PayloadType,
        /// Which fragment it is, from 1.
        number: u16,
        /// Of how many.
        total: u16,
        /// From the first octet of the header to the last before the IV.
        aad: &'a [u8],
        /// IV, ciphertext and ICV.
        sealed: &'a [u8],
    },
}

/// Octets that sealing takes in an SK or SKF payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The IV.
    pub iv: usize,
    /// The payloads with padding and the octet that counts the padding.
    pub plain: usize,
    /// The ICV.
    pub icv: usize,
}

/// A datagram that waits for its payloads to be sealed in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealable {
    /// Header and payload header, then zeros for IV, plaintext and ICV.
    pub datagram: Vec<u8>,
    /// Where the IV begins; what is in front of it is the associated data.
    pub body_offset: usize,
}
