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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::crypto::{Encryption, IkeSuite, Integrity, KeySchedule, Nonces, Prf, SharedSecret};
    use crate::ike::wire::{Exchange, Flags, IkeSpi, KeMethod, MessageId};

    fn suites() -> Vec<IkeSuite> {
        let suite = |encryption, integrity| IkeSuite {
            encryption,
            integrity,
            prf: Prf::HmacSha256,
            ke: KeMethod::X25519,
            additional: Vec::new(),
        };
        let aeads = Encryption::ALL.into_iter().filter(|cipher| cipher.is_aead());
        let cbc = Integrity::ALL.into_iter().flat_map(|integrity| {
            [Encryption::AesCbc128, Encryption::AesCbc256].map(|cipher| suite(cipher, Some(integrity)))
        });
        aeads.map(|cipher| suite(cipher, None)).chain(cbc).collect()
    }

    fn schedule(suite: &IkeSuite) -> KeySchedule {
        let nonces = Nonces { initiator: &[1; 32], responder: &[2; 32] };
        KeySchedule::initial(suite, nonces, &SharedSecret::new(vec![3; 32]), IkeSpi(4), IkeSpi(5))
    }

    fn header() -> Header {
        Header {
            initiator_spi: IkeSpi(4),
            responder_spi: IkeSpi(5),
            exchange: Exchange::AUTH,
            flags: Flags { initiator: true, response: false },
            message_id: MessageId(1),
        }
    }

    fn open(incoming: &Incoming, datagram: &[u8]) -> Result<Opened, Forged> {
        let Ok(packet) = wire::decode(datagram) else { panic!("not decoded") };
        unprotect(incoming, &packet)
    }

    #[test]
    fn messages_of_every_length_come_back_and_only_to_the_other_side() {
        for suite in suites() {
            let schedule = schedule(&suite);
            let mut outgoing = schedule.outgoing(Role::Initiator);
            for length in 0..70 {
                let payloads = [Payload::VendorId(vec![7; length])];
                let sent = protect(&mut outgoing, &header(), &payloads, None);
                let [datagram] = sent.as_slice() else { panic!("{suite}: {} datagrams", sent.len()) };
                let Ok(Opened::Whole { first, plain }) = open(&schedule.incoming(Role::Responder), datagram)
                else {
                    panic!("{suite}: {length}");
                };
                assert_eq!(wire::decode_payloads(first, &plain).unwrap(), payloads);
                let reflected = open(&schedule.incoming(Role::Initiator), datagram);
                assert_eq!(reflected, Err(Forged::Check), "{suite}");
            }
        }
    }

    #[test]
    fn every_altered_octet_is_noticed() {
        for suite in suites() {
            let schedule = schedule(&suite);
            let payloads = [Payload::Nonce(vec![9; 20])];
            let whole = protect(&mut schedule.outgoing(Role::Responder), &header(), &payloads, None);
            let payloads = [Payload::VendorId(vec![9; 400])];
            let parts = protect(&mut schedule.outgoing(Role::Responder), &header(), &payloads, Some(256));
            let incoming = schedule.incoming(Role::Initiator);
            for good in [&whole[0], &parts[0], &parts[1]] {
                assert!(open(&incoming, good).is_ok());
                for at in 0..good.len() {
                    for bit in [1, 0x10, 0x80] {
                        let mut bad = good.clone();
                        bad[at] ^= bit;
                        let noticed = wire::decode(&bad).is_err() || open(&incoming, &bad).is_err();
                        assert!(noticed, "{suite}: octet {at} of {}", bad.len());
                    }
                }
            }
        }
    }

    #[test]
    fn cut_messages_are_refused() {
        for suite in suites() {
            let schedule = schedule(&suite);
            let sent = protect(&mut schedule.outgoing(Role::Initiator), &header(), &[], None);
            let packet = wire::decode(&sent[0]).unwrap();
            let Body::Encrypted { first, aad, sealed, .. } = packet.body else { panic!("in clear") };
            for length in 0..sealed.len() {
                let sealed = &sealed[..length];
                let body = Body::Encrypted { first, aad, sealed, leading: Vec::new() };
                let cut = Packet { header: header(), body };
                assert_eq!(unprotect(&schedule.incoming(Role::Responder), &cut), Err(Forged::Check));
            }
        }
    }

    #[test]
    fn long_messages_become_fragments_that_fit_and_join() {
        let payloads = [Payload::VendorId((0..=255).cycle().take(3000).collect())];
        let (kind, plain) = wire::encode_payloads(&payloads);
        for suite in suites() {
            let schedule = schedule(&suite);
            for limit in [300, 576, 1232, 1233, 1400] {
                let mut outgoing = schedule.outgoing(Role::Initiator);
                let sent = protect(&mut outgoing, &header(), &payloads, Some(limit));
                assert_eq!(outgoing.used(), u64::try_from(sent.len()).unwrap());
                let mut joined = Vec::new();
                for (index, datagram) in sent.iter().enumerate() {
                    assert!(datagram.len() <= limit, "{suite}: {} > {limit}", datagram.len());
                    let Opened::Fragment { number, total, first, plain } =
                        open(&schedule.incoming(Role::Responder), datagram).unwrap()
                    else {
                        panic!("{suite}: no fragment");
                    };
                    assert_eq!((usize::from(number), usize::from(total)), (index + 1, sent.len()));
                    assert_eq!(first, if number == 1 { kind } else { PayloadType::NONE });
                    joined.extend(plain);
                }
                assert_eq!(joined, plain);
                let fullest = sent.iter().map(Vec::len).max().unwrap();
                assert!(fullest + suite.encryption.block_octets() > limit, "{suite}: {fullest} of {limit}");
            }
        }
    }

    #[test]
    fn a_limit_below_any_fragment_still_sends_something() {
        let schedule = schedule(&suites()[0]);
        let mut outgoing = schedule.outgoing(Role::Initiator);
        assert_eq!(protect(&mut outgoing, &header(), &[], Some(0)).len(), 1);
        let long = [Payload::VendorId(vec![0; 130])];
        assert_eq!(protect(&mut outgoing, &header(), &long, Some(0)).len(), 3);
    }

    #[test]
    fn ivs_differ_and_are_never_used_twice() {
        for suite in suites() {
            let schedule = schedule(&suite);
            let mut outgoing = schedule.outgoing(Role::Initiator);
            let mut seen = std::collections::BTreeSet::new();
            let mut send = |outgoing: &mut Outgoing| {
                let sent = protect(outgoing, &header(), &[], None);
                sent.first()
                    .is_none_or(|sent| seen.insert(sent[32..32 + suite.encryption.iv_octets()].to_vec()))
            };
            assert!((0..50).all(|_| send(&mut outgoing)), "{suite}");
            let mut restored = schedule.outgoing(Role::Initiator);
            restored.skip(outgoing.used());
            assert!(send(&mut restored), "{suite}");
        }
    }

    #[test]
    fn when_the_ivs_are_used_up_nothing_is_sent() {
        let schedule = schedule(&suites()[0]);
        let mut outgoing = schedule.outgoing(Role::Initiator);
        outgoing.skip(u64::MAX);
        assert_eq!(protect(&mut outgoing, &header(), &[], None).len(), 1);
        assert!(protect(&mut outgoing, &header(), &[], None).is_empty());
        outgoing.skip(1);
        assert!(protect(&mut outgoing, &header(), &[], None).is_empty());
    }

    #[test]
    fn clear_messages_and_impossible_padding_are_refused() {
        let suite = &suites()[0];
        let schedule = schedule(suite);
        let incoming = schedule.incoming(Role::Responder);
        assert_eq!(open(&incoming, &wire::encode_clear(&header(), &[])), Err(Forged::Clear));
        let cipher = incoming.keys.cipher(Role::Initiator);
        for (plain, expected) in [
            (&[][..], Forged::Padding { found: 1, limit: 0 }),
            (&[1, 3], Forged::Padding { found: 3, limit: 1 }),
        ] {
            let room = Room { iv: 8, plain: plain.len(), icv: 16 };
            let mut sealable = wire::encode_encrypted(&header(), PayloadType::NONE, room, None);
            let (aad, body) = sealable.datagram.split_at_mut(sealable.body_offset);
            body[8..8 + plain.len()].copy_from_slice(plain);
            cipher.seal(aad, body).unwrap();
            assert_eq!(open(&incoming, &sealable.datagram), Err(expected));
        }
    }
}
