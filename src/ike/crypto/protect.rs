//! The Encrypted payload (RFC 7296 §3.14) and its fragments (RFC 7383).

use std::fmt;
use std::sync::Arc;

use super::cipher::Cipher;
use super::schedule::{Keys, Role};
use crate::ike::wire::{self, Body, Header, Packet, Payload, PayloadType, Room};

/// What protects the messages of one side. It counts them, for no IV may be used twice under one key.
#[derive(Clone)]
pub struct Outgoing {
    keys: Arc<Keys>,
    sender: Role,
    next: Option<u64>,
}

/// What opens the messages of one side.
#[derive(Clone)]
pub struct Incoming {
    keys: Arc<Keys>,
    sender: Role,
}

/// A datagram that was protected as it should be. `plain` is payloads, without padding.
#[derive(Clone, PartialEq, Eq)]
pub enum Opened {
    /// A whole message.
    Whole {
        /// The type of its first payload.
        first: PayloadType,
        /// The payloads, for [`wire::decode_payloads`].
        plain: Vec<u8>,
    },
    /// A part of one, to be put together with the others.
    Fragment {
        /// Its place, from 1.
        number: u16,
        /// How many there are.
        total: u16,
        /// The type of the message's first payload; only that of fragment 1 counts.
        first: PayloadType,
        /// A part of the payloads.
        plain: Vec<u8>,
    },
}

/// A datagram that nobody with the keys of this SA has sent, or that is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// Its payloads are in clear.
    #[error("message in clear: expected an Encrypted payload")]
    Clear,
    /// Its integrity check value is wrong.
    #[error("integrity check failed: expected the keys of this IKE SA")]
    Check,
    /// It passed the check, and its padding is longer than itself.
    #[error("padding of {found} octets: expected at most {limit}")]
    Padding {
        /// What the last octet says.
        found: usize,
        /// Octets there are before it.
        limit: usize,
    },
}

/// A fragment shorter than this is not worth its headers: the least an IPv4 host takes is 576 octets.
const SMALLEST_FRAGMENT: usize = 64;
const PAYLOAD_HEADER: usize = 4;
const FRAGMENT_HEADER: usize = 8;

/// Encrypts `payloads` into one datagram, or into fragments when that would be longer than `max_datagram`
/// octets (of IKE message: without IP and UDP headers and the non-ESP marker). The caller has to know that the
/// peer takes fragments.
///
/// The result is empty, and the SA at its end, when the IVs are used up: after 2^64 messages.
#[must_use]
pub fn protect(
    outgoing: &mut Outgoing,
    header: &Header,
    payloads: &[Payload],
    max_datagram: Option<usize>,
) -> Vec<Vec<u8>> {
    let (first, plain) = wire::encode_payloads(payloads);
    protect_plain(outgoing, header, first, &plain, max_datagram)
}

/// As [`protect`], for payloads that are encoded already.
#[must_use]
pub fn protect_plain(
    outgoing: &mut Outgoing,
    header: &Header,
    first: PayloadType,
    plain: &[u8],
    max_datagram: Option<usize>,
) -> Vec<Vec<u8>> {
    let cipher = outgoing.keys.cipher(outgoing.sender);
    let whole = Header::LENGTH + PAYLOAD_HEADER + room(&cipher, plain.len()).total();
    let limit = max_datagram.unwrap_or(usize::MAX);
    let fixed = Header::LENGTH + FRAGMENT_HEADER + cipher.encryption.iv_octets() + cipher.icv_octets();
    let block = cipher.encryption.block_octets();
    let text = limit.saturating_sub(fixed).max(SMALLEST_FRAGMENT);
    let part = text - text % block - PADDING_COUNT;
    if whole <= limit || plain.len() <= part {
        return outgoing.seal(header, first, plain, None).into_iter().collect();
    }
    let parts = plain.chunks(part);
    let Ok(total) = u16::try_from(parts.len()) else { return Vec::new() };
    let sealed: Option<Vec<_>> = (1..=total)
        .zip(parts)
        .map(|(at, part)| outgoing.seal(header, first, part, Some((at, total))))
        .collect();
    sealed.unwrap_or_default()
}

/// Checks and decrypts a datagram. Nothing in it may be believed before.
///
/// # Errors
/// [`Forged`] when it was not made with the keys of the SA.
pub fn unprotect(incoming: &Incoming, packet: &Packet<'_>) -> Result<Opened, Forged> {
    let (aad, sealed) = match &packet.body {
        Body::Clear(_) => return Err(Forged::Clear),
        Body::Encrypted { aad, sealed, .. } | Body::Fragment { aad, sealed, .. } => (aad, sealed),
    };
    let mut plain = incoming.keys.cipher(incoming.sender).open(aad, sealed).map_err(|_| Forged::Check)?;
    let Some(padding) = plain.pop() else { return Err(Forged::Padding { found: 1, limit: 0 }) };
    let padding = usize::from(padding);
    let Some(length) = plain.len().checked_sub(padding) else {
        return Err(Forged::Padding { found: padding, limit: plain.len() });
    };
    plain.truncate(length);
    Ok(match packet.body {
        Body::Fragment { number, total, first, .. } => Opened::Fragment { number, total, first, plain },
        Body::Encrypted { first, .. } => Opened::Whole { first, plain },
        Body::Clear(_) => return Err(Forged::Clear),
    })
}

impl Outgoing {
    pub(super) const fn new(keys: Arc<Keys>, sender: Role) -> Self {
        Self { keys, sender, next: Some(0) }
    }

    /// How many IVs are used, for a later [`Self::skip`]; `u64::MAX` when all are.
    #[must_use]
    pub const fn used(&self) -> u64 {
        match self.next {
            Some(next) => next,
            None => u64::MAX,
        }
    }

    /// Leaves out `count` IVs: who restores an SA leaves out all that may have been used under its keys.
    pub const fn skip(&mut self, count: u64) {
        self.next = match self.next {
            Some(next) => next.checked_add(count),
            None => None,
        };
    }

    fn seal(
        &mut self,
        header: &Header,
        first: PayloadType,
        plain: &[u8],
        fragment: Option<(u16, u16)>,
    ) -> Option<Vec<u8>> {
        let number = self.next?;
        self.skip(1);
        let cipher = self.keys.cipher(self.sender);
        let room = room(&cipher, plain.len());
        let mut sealable = wire::encode_encrypted(header, first, room, fragment);
        let (aad, body) = sealable.datagram.split_at_mut_checked(sealable.body_offset)?;
        cipher.write_iv(number, body.get_mut(..room.iv)?);
        let text = body.get_mut(room.iv..room.iv + room.plain)?;
        text.get_mut(..plain.len())?.copy_from_slice(plain);
        let padding = room.plain - plain.len() - PADDING_COUNT;
        *text.last_mut()? = u8::try_from(padding).ok()?;
        cipher.seal(aad, body).ok()?;
        Some(sealable.datagram)
    }
}

/// The octet that counts the padding.
const PADDING_COUNT: usize = 1;

fn room(cipher: &Cipher<'_>, plain: usize) -> Room {
    Room {
        iv: cipher.encryption.iv_octets(),
        plain: (plain + PADDING_COUNT).next_multiple_of(cipher.encryption.block_octets()),
        icv: cipher.icv_octets(),
    }
}

impl Room {
    const fn total(&self) -> usize {
        self.iv + self.plain + self.icv
    }
}

impl Incoming {
    pub(super) const fn new(keys: Arc<Keys>, sender: Role) -> Self {
        Self { keys, sender }
    }
}

impl Keys {
    fn cipher(&self, sender: Role) -> Cipher<'_> {
        Cipher {
            encryption: self.encryption,
            integrity: self.integrity,
            key: self.get(self.e(sender)),
            integrity_key: self.get(self.a(sender)),
        }
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outgoing({:?}, {}, {} used)", self.sender, self.keys.encryption, self.used())
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incoming(from {:?}, {})", self.sender, self.keys.encryption)
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole { first, plain } => write!(f, "Whole({first}, {} octets)", plain.len()),
            Self::Fragment { number, total, plain, .. } => {
                write!(f, "Fragment({number} of {total}, {} octets)", plain.len())
            }
        }
    }
}
