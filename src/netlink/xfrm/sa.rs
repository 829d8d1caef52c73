//! Security associations: `struct xfrm_usersa_info` and its attributes.

use std::net::IpAddr;

use super::{
    ESP, IF_ID, Lifetimes, SelectorFound, TUNNEL, check_selector, read_lifetimes, read_selector, same_family,
    wide_address, write_lifetimes, write_selector,
};
use crate::id::{IfId, Reqid, Spi};
use crate::netlink::attr::{Attribute, Attributes, Malformed, Reader, Writer, family, text};
use crate::netlink::message::{DUMP, Message};
use crate::netlink::request::Unencodable;
use crate::netlink::{Dump, Parsed};
use crate::ownership;
use crate::secret::KeyMaterial;
use crate::state::{Progress, Sa, SaDirection, SaId, UdpEncapsulation};
use crate::suite::{SequenceNumbers, Suite, Transform};

const NEWSA: u16 = 0x10;
const DELSA: u16 = 0x11;
const GETSA: u16 = 0x12;
const UPDSA: u16 = 0x1a;

/// Attributes, `enum xfrm_attr_type_t`.
mod kind {
    pub(super) const ALG_AUTH: u16 = 1;
    pub(super) const ALG_CRYPT: u16 = 2;
    pub(super) const ENCAP: u16 = 4;
    pub(super) const LASTUSED: u16 = 15;
    pub(super) const ALG_AEAD: u16 = 18;
    pub(super) const ALG_AUTH_TRUNC: u16 = 20;
    pub(super) const TFCPAD: u16 = 22;
    pub(super) const REPLAY_ESN_VAL: u16 = 23;
    pub(super) const SA_EXTRA_FLAGS: u16 = 24;
    pub(super) const PAD: u16 = 27;
    pub(super) const SA_DIR: u16 = 33;
    pub(super) const NAT_KEEPALIVE_INTERVAL: u16 = 34;
}

const NOPMTUDISC: u8 = 4;
const AF_UNSPEC: u8 = 32;
const ESN: u8 = 128;
const DONT_ENCAP_DSCP: u32 = 1;

const DIR_IN: u8 = 1;
const DIR_OUT: u8 = 2;

/// `UDP_ENCAP_ESPINUDP`.
const ESPINUDP: u16 = 2;
/// Octets of an algorithm's name.
const NAME: usize = 64;
/// The most sequence numbers the kernel remembers (`XFRMA_REPLAY_ESN_MAX`).
const LARGEST_WINDOW: u32 = 4096;
/// Sequence numbers skipped by an SA that goes on from another's: more than a host sends between a dump and
/// the deletion that follows it.
const SKIPPED: u64 = 1 << 24;

/// Makes an SA that must not exist yet.
pub(in crate::netlink) fn make(sa: &Sa) -> Result<Message, Unencodable> {
    encode(NEWSA, sa)
}

/// Changes the ports of an SA's UDP encapsulation; the kernel ignores most other differences.
pub(in crate::netlink) fn update(sa: &Sa) -> Result<Message, Unencodable> {
    encode(UPDSA, sa)
}

fn encode(kind: u16, sa: &Sa) -> Result<Message, Unencodable> {
    check(sa)?;
    Ok(Message::new(kind, 0, |writer| {
        write_info(writer, sa);
        write_algorithms(writer, sa);
        write_replay(writer, sa.direction, sa.sequence, sa.progress);
        if let Some(encapsulation) = sa.encapsulation {
            writer.nested(kind::ENCAP, |writer| {
                writer.u16(ESPINUDP);
                writer.bytes(&encapsulation.source_port.to_be_bytes());
                writer.bytes(&encapsulation.destination_port.to_be_bytes());
                writer.zeros(2 + 16);
            });
        }
        writer.attribute_u32(IF_ID, sa.if_id.get());
        match sa.direction {
            SaDirection::In { .. } => writer.attribute(kind::SA_DIR, &[DIR_IN]),
            SaDirection::Out { tfc_padding, nat_keepalive } => {
                writer.attribute(kind::SA_DIR, &[DIR_OUT]);
                writer.attribute_u32(kind::SA_EXTRA_FLAGS, DONT_ENCAP_DSCP);
                if let Some(size) = tfc_padding {
                    writer.attribute_u32(kind::TFCPAD, size);
                }
                if let Some(seconds) = nat_keepalive {
                    writer.attribute_u32(kind::NAT_KEEPALIVE_INTERVAL, seconds);
                }
            }
        }
    }))
}

fn check(sa: &Sa) -> Result<(), Unencodable> {
    same_family(sa.source, sa.id.destination)?;
    if let Some(selector) = &sa.selector {
        check_selector(selector)?;
    }
    if sa.key.len() != sa.suite.key_length() {
        return Err(Unencodable::KeyLength { found: sa.key.len(), expected: sa.suite.key_length() });
    }
    match sa.direction {
        SaDirection::In { replay_window: window }
            if !window.is_multiple_of(32) || !(32..=LARGEST_WINDOW).contains(&window) =>
        {
            Err(Unencodable::ReplayWindow(window))
        }
        _ => Ok(()),
    }
}

const fn flags(direction: SaDirection, sequence: SequenceNumbers, any_family: bool) -> u8 {
    let base = match direction {
        SaDirection::In { .. } => 0,
        SaDirection::Out { .. } => NOPMTUDISC,
    };
    let esn = match sequence {
        SequenceNumbers::Extended => ESN,
        SequenceNumbers::Short => 0,
    };
    if any_family { base | esn | AF_UNSPEC } else { base | esn }
}

fn write_info(writer: &mut Writer, sa: &Sa) {
    write_selector(writer, sa.selector.as_ref());
    writer.wide_address(sa.id.destination);
    writer.bytes(&sa.id.spi.get().to_be_bytes());
    writer.u8(ESP);
    writer.zeros(3);
    writer.wide_address(sa.source);
    write_lifetimes(writer);
    writer.zeros(12 + 4);
    writer.u32(sa.reqid.0);
    writer.u16(family(sa.id.destination).into());
    writer.u8(TUNNEL);
    writer.u8(0);
    writer.u8(flags(sa.direction, sa.sequence, sa.selector.is_none()));
    writer.zeros(7);
}

/// Appends the algorithms; the caller has checked the key's length.
fn write_algorithms(writer: &mut Writer, sa: &Sa) {
    let key = sa.key.expose();
    match sa.suite.transform() {
        Transform::Aead { name, icv_bits, .. } => {
            write_algorithm(writer, kind::ALG_AEAD, name, Some(icv_bits), key);
        }
        Transform::CipherAndAuth { cipher, cipher_key, auth, icv_bits, .. } => {
            let (cipher_key, auth_key) = key.split_at_checked(cipher_key).unwrap_or((key, &[]));
            write_algorithm(writer, kind::ALG_AUTH_TRUNC, auth, Some(icv_bits), auth_key);
            write_algorithm(writer, kind::ALG_CRYPT, cipher, None, cipher_key);
        }
    }
}

/// Appends a `struct xfrm_algo`, or `xfrm_algo_aead` or `xfrm_algo_auth` when there is an ICV.
fn write_algorithm(writer: &mut Writer, kind: u16, name: &str, icv_bits: Option<u32>, key: &[u8]) {
    writer.nested(kind, |writer| {
        writer.bytes(name.as_bytes());
        writer.zeros(NAME.saturating_sub(name.len()));
        writer.u32(u32::try_from(key.len() * 8).unwrap_or(u32::MAX));
        if let Some(bits) = icv_bits {
            writer.u32(bits);
        }
        writer.bytes(key);
    });
}

/// Appends a `struct xfrm_replay_state_esn`. An SA that sends has no window at all: Linux 6.10 and later
/// refuse one that has.
///
/// An SA that goes on from another's progress takes everything up to there for received, and sends on from
/// beyond what the other can have sent since. Without a bitmap, which comes last, nothing is received yet.
///
/// Short sequence numbers take the same structure, whose upper halves the kernel then ignores
/// (`XFRM_REPLAY_MODE_BMP`): the older one has windows of 32 packets only.
fn write_replay(
    writer: &mut Writer,
    direction: SaDirection,
    sequence: SequenceNumbers,
    Progress(progress): Progress,
) {
    let (window, received, sent) = match direction {
        SaDirection::In { replay_window } => (replay_window, progress.unwrap_or(0), 0),
        SaDirection::Out { .. } => (0, 0, progress.map_or(0, |last| last.saturating_add(SKIPPED))),
    };
    let last = match sequence {
        SequenceNumbers::Extended => u64::MAX,
        SequenceNumbers::Short => u32::MAX.into(),
    };
    let (received, sent) = (received.min(last), sent.min(last));
    let words = window / 32;
    let halves = |number: u64| [(number >> 32) as u32, number as u32];
    let ([received_high, received_low], [sent_high, sent_low]) = (halves(received), halves(sent));
    writer.nested(kind::REPLAY_ESN_VAL, |writer| {
        for number in [words, sent_low, received_low, sent_high, received_high, window] {
            writer.u32(number);
        }
        if received > 0 {
            for _ in 0..words {
                writer.u32(u32::MAX);
            }
        }
    });
}

/// Removes an SA.
pub(in crate::netlink) fn delete(id: SaId) -> Message {
    Message::new(DELSA, 0, |writer| write_id(writer, id))
}

/// `struct xfrm_usersa_id`.
fn write_id(writer: &mut Writer, id: SaId) {
    writer.wide_address(id.destination);
    writer.bytes(&id.spi.get().to_be_bytes());
    writer.u16(family(id.destination).into());
    writer.u8(ESP);
    writer.u8(0);
}

/// All SAs.
#[derive(Debug, Clone, Copy)]
pub struct SaDump;

impl Dump for SaDump {
    type Item = Parsed<Sa, SaId>;
    const ANSWER: u16 = NEWSA;

    fn request(&self) -> Message {
        Message::new(GETSA, DUMP, |_| {})
    }

    /// An SA of ours in a form we never give one becomes a stand-in with an empty key.
    fn parse(&self, payload: &[u8]) -> Result<Parsed<Sa, SaId>, Malformed> {
        let mut reader = Reader::new("xfrm_usersa_info", payload);
        let info = Info::read(&mut reader)?;
        let found = Found::read(reader.rest())?;
        let (Some(source), Some(id)) = (info.source(), info.id()) else { return Ok(Parsed::Irrelevant) };
        let Some(if_id) = found.if_id.filter(|if_id| ownership::owns_sa(Some(*if_id), info.reqid)) else {
            return Ok(Parsed::Foreign(id));
        };
        let stand_in = || Sa {
            source,
            id,
            reqid: info.reqid,
            if_id,
            direction: SaDirection::In { replay_window: 0 },
            suite: Suite::AesGcm256,
            sequence: SequenceNumbers::Extended,
            key: KeyMaterial::new(Vec::new()),
            selector: None,
            encapsulation: None,
            progress: Progress::default(),
        };
        Ok(Parsed::Ours(found.into_sa(&info, source, id, if_id).unwrap_or_else(stand_in)))
    }
}

/// How many packets went through one SA: for one that receives, those that were authentic and not replayed
/// (`xfrm_input` in `net/xfrm/xfrm_input.c`). The kernel refuses with `ESRCH` when there is no such SA.
#[derive(Debug, Clone, Copy)]
pub struct SaPackets(pub SaId);

impl Dump for SaPackets {
    type Item = u64;
    const ANSWER: u16 = NEWSA;

    fn request(&self) -> Message {
        Message::new(GETSA, 0, |writer| write_id(writer, self.0))
    }

    fn parse(&self, payload: &[u8]) -> Result<u64, Malformed> {
        let mut reader = Reader::new("xfrm_usersa_info", payload);
        Ok(Info::read(&mut reader)?.packets)
    }
}

/// The fixed part of an SA.
struct Info {
    selector: SelectorFound,
    destination: [u8; 16],
    spi: u32,
    protocol: u8,
    source: [u8; 16],
    endless: bool,
    packets: u64,
    reqid: Reqid,
    family: u16,
    mode: u8,
    /// The window of SAs without extended sequence numbers.
    old_window: u8,
    flags: u8,
}

impl Info {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let selector = read_selector(reader)?;
        let destination = reader.array()?;
        let spi = u32::from_be_bytes(reader.array()?);
        let protocol = reader.u8()?;
        reader.slice(3)?;
        let source = reader.array()?;
        let Lifetimes { endless, packets } = read_lifetimes(reader)?;
        reader.slice(12 + 4)?;
        let reqid = Reqid(reader.u32()?);
        let family = reader.u16()?;
        let mode = reader.u8()?;
        let old_window = reader.u8()?;
        let flags = reader.u8()?;
        reader.slice(7)?;
        Ok(Self {
            selector,
            destination,
            spi,
            protocol,
            source,
            endless,
            packets,
            reqid,
            family,
            mode,
            old_window,
            flags,
        })
    }

    fn source(&self) -> Option<IpAddr> {
        wide_address(self.family, self.source)
    }

    /// The identity, if this is an ESP SA that has got its SPI already.
    fn id(&self) -> Option<SaId> {
        if self.protocol != ESP {
            return None;
        }
        let destination = wide_address(self.family, self.destination)?;
        Some(SaId { destination, spi: Spi::try_from(self.spi).ok()? })
    }
}

/// An algorithm as read; `icv_bits` is 0 for those that have none.
struct Algorithm<'a> {
    name: &'a str,
    icv_bits: u32,
    key: &'a [u8],
}

impl<'a> Algorithm<'a> {
    fn read(attribute: Attribute<'a>, has_icv: bool) -> Result<Self, Malformed> {
        let mut reader = Reader::new("algorithm", attribute.content);
        let name = text(reader.slice(NAME)?).unwrap_or_default();
        let bits = reader.u32()?;
        let icv_bits = if has_icv { reader.u32()? } else { 0 };
        let key = reader.slice(usize::try_from(bits.div_ceil(8)).unwrap_or(usize::MAX))?;
        Ok(Self { name, icv_bits, key })
    }
}

/// The attributes of an SA.
#[derive(Default)]
struct Found<'a> {
    aead: Option<Algorithm<'a>>,
    cipher: Option<Algorithm<'a>>,
    auth: Option<Algorithm<'a>>,
    encapsulation: Option<(u16, UdpEncapsulation)>,
    replay: Option<Replay>,
    if_id: Option<IfId>,
    extra_flags: u32,
    tfc_padding: Option<u32>,
    nat_keepalive: Option<u32>,
    direction: Option<u8>,
    /// Whether there is an attribute we never set.
    strange: bool,
}

impl<'a> Found<'a> {
    fn read(octets: &'a [u8]) -> Result<Self, Malformed> {
        let mut found = Self::default();
        for attribute in Attributes::new(octets) {
            let attribute = attribute?;
            match attribute.kind {
                kind::ALG_AEAD => found.aead = Some(Algorithm::read(attribute, true)?),
                kind::ALG_CRYPT => found.cipher = Some(Algorithm::read(attribute, false)?),
                kind::ALG_AUTH_TRUNC => found.auth = Some(Algorithm::read(attribute, true)?),
                kind::ENCAP => found.encapsulation = Some(read_encapsulation(attribute)?),
                kind::REPLAY_ESN_VAL => found.replay = Some(Replay::read(attribute)?),
                IF_ID => found.if_id = IfId::new(attribute.u32()?),
                kind::SA_EXTRA_FLAGS => found.extra_flags = attribute.u32()?,
                kind::TFCPAD => found.tfc_padding = Some(attribute.u32()?),
                kind::NAT_KEEPALIVE_INTERVAL => found.nat_keepalive = Some(attribute.u32()?),
                kind::SA_DIR => found.direction = Some(attribute.u8()?),
                // The kernel repeats a truncated algorithm as one that is not; the others say nothing of form.
                kind::ALG_AUTH | kind::LASTUSED | kind::PAD => {}
                _ => found.strange = true,
            }
        }
        Ok(found)
    }

    /// The SA, or `None` when it has a form we never give one.
    fn into_sa(self, info: &Info, source: IpAddr, id: SaId, if_id: IfId) -> Option<Sa> {
        let direction = self.direction()?;
        let selector = match info.selector {
            SelectorFound::Unspecified => None,
            SelectorFound::Plain(selector) => Some(selector),
            SelectorFound::Other { .. } => return None,
        };
        let extra_flags = match direction {
            SaDirection::In { .. } => 0,
            SaDirection::Out { .. } => DONT_ENCAP_DSCP,
        };
        let sequence = if info.flags & ESN == 0 { SequenceNumbers::Short } else { SequenceNumbers::Extended };
        let usual = info.endless
            && info.mode == TUNNEL
            && info.old_window == 0
            && info.flags == flags(direction, sequence, selector.is_none())
            && self.extra_flags == extra_flags
            && !self.strange;
        let encapsulation = match self.encapsulation {
            Some((ESPINUDP, ports)) => Some(ports),
            Some(_) => return None,
            None => None,
        };
        let (suite, key) = self.suite()?;
        let progress = Progress(self.replay.as_ref().map(|replay| match direction {
            SaDirection::In { .. } => replay.received,
            SaDirection::Out { .. } => replay.sent,
        }));
        usual.then_some(Sa {
            source,
            id,
            reqid: info.reqid,
            if_id,
            direction,
            suite,
            sequence,
            key,
            selector,
            encapsulation,
            progress,
        })
    }

    /// The direction; before Linux 6.10, which does not tell it, only SAs that receive have a window.
    fn direction(&self) -> Option<SaDirection> {
        let replay_window = self.replay.as_ref()?.window;
        match (self.direction, replay_window) {
            (Some(DIR_IN), _) | (None, 1..) => (self.tfc_padding.is_none() && self.nat_keepalive.is_none())
                .then_some(SaDirection::In { replay_window }),
            (Some(DIR_OUT) | None, 0) => {
                Some(SaDirection::Out { tfc_padding: self.tfc_padding, nat_keepalive: self.nat_keepalive })
            }
            _ => None,
        }
    }

    /// The suite whose algorithms these are, and its key material.
    fn suite(&self) -> Option<(Suite, KeyMaterial)> {
        let suite = Suite::ALL.into_iter().find(|suite| self.has_algorithms_of(*suite))?;
        let mut key = Vec::with_capacity(suite.key_length());
        for algorithm in [&self.aead, &self.cipher, &self.auth].into_iter().flatten() {
            key.extend_from_slice(algorithm.key);
        }
        Some((suite, KeyMaterial::new(key)))
    }

    fn has_algorithms_of(&self, suite: Suite) -> bool {
        let is = |found: &Algorithm<'_>, expected: &str, octets: usize, bits: u32| {
            found.name == expected && found.key.len() == octets && found.icv_bits == bits
        };
        match (suite.transform(), &self.aead, &self.cipher, &self.auth) {
            (Transform::Aead { name, key, icv_bits }, Some(aead), None, None) => {
                is(aead, name, key, icv_bits)
            }
            (
                Transform::CipherAndAuth { cipher: name, cipher_key, auth: auth_name, auth_key, icv_bits },
                None,
                Some(cipher),
                Some(auth),
            ) => is(cipher, name, cipher_key, 0) && is(auth, auth_name, auth_key, icv_bits),
            _ => false,
        }
    }
}

/// `struct xfrm_encap_tmpl`.
fn read_encapsulation(attribute: Attribute<'_>) -> Result<(u16, UdpEncapsulation), Malformed> {
    let mut reader = Reader::new("xfrm_encap_tmpl", attribute.content);
    let kind = reader.u16()?;
    let source_port = u16::from_be_bytes(reader.array()?);
    let destination_port = u16::from_be_bytes(reader.array()?);
    Ok((kind, UdpEncapsulation { source_port, destination_port }))
}

/// A `struct xfrm_replay_state_esn` but for its bitmap.
struct Replay {
    window: u32,
    sent: u64,
    received: u64,
}

impl Replay {
    fn read(attribute: Attribute<'_>) -> Result<Self, Malformed> {
        let mut reader = Reader::new("xfrm_replay_state_esn", attribute.content);
        reader.slice(4)?;
        let (sent_low, received_low) = (reader.u32()?, reader.u32()?);
        let (sent_high, received_high) = (reader.u32()?, reader.u32()?);
        let window = reader.u32()?;
        let number = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        Ok(Self { window, sent: number(sent_high, sent_low), received: number(received_high, received_low) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sa(direction: SaDirection, progress: Progress) -> Sa {
        let number = 0x4950_0001;
        Sa {
            source: "192.0.2.1".parse().unwrap(),
            id: SaId { destination: "192.0.2.2".parse().unwrap(), spi: Spi::try_from(0x1001).unwrap() },
            reqid: Reqid(number),
            if_id: IfId::new(number).unwrap(),
            direction,
            suite: Suite::AesGcm128,
            sequence: SequenceNumbers::Extended,
            key: KeyMaterial::new(vec![1; 20]),
            selector: None,
            encapsulation: None,
            progress,
        }
    }

    /// What a kernel that took `sa` would dump: a request has the form of an answer.
    fn dumped(sa: &Sa) -> Sa {
        match SaDump.parse(&make(sa).unwrap().as_bytes()[16..]) {
            Ok(Parsed::Ours(found)) => found,
            _ => panic!("expected an SA of ours"),
        }
    }

    #[test]
    fn an_sa_goes_on_where_another_left_off() {
        let last = 0x7_ffff_fff0;
        let out = SaDirection::Out { tfc_padding: None, nat_keepalive: None };
        let inward = SaDirection::In { replay_window: 64 };
        assert_eq!(dumped(&sa(out, Progress(Some(last)))).progress.0, Some(last + SKIPPED));
        assert_eq!(dumped(&sa(out, Progress(Some(0)))).progress.0, Some(SKIPPED));
        assert_eq!(dumped(&sa(inward, Progress(Some(last)))).progress.0, Some(last));
        for direction in [out, inward] {
            assert_eq!(dumped(&sa(direction, Progress(None))).progress.0, Some(0));
        }
    }

    #[test]
    fn short_sequence_numbers_come_back_and_end_at_32_bits() {
        for direction in [
            SaDirection::Out { tfc_padding: None, nat_keepalive: None },
            SaDirection::In { replay_window: 64 },
        ] {
            let near_the_end = Progress(Some(0xffff_fff0));
            let short = Sa { sequence: SequenceNumbers::Short, ..sa(direction, near_the_end) };
            assert_eq!(dumped(&short), short);
            assert_ne!(dumped(&short), sa(direction, near_the_end));
            assert!(dumped(&short).progress.0.is_some_and(|last| last <= u32::MAX.into()));
        }
    }

    #[test]
    fn packets_are_read_from_xfrm_lifetime_cur() {
        let sa = sa(SaDirection::In { replay_window: 64 }, Progress(None));
        let mut payload = make(&sa).unwrap().as_bytes()[16..].to_vec();
        for (place, value) in (160..192).step_by(8).zip([0x1111_u64, 0x7_0000_0002, 0x3333, 0x4444]) {
            payload[place..place + 8].copy_from_slice(&value.to_ne_bytes());
        }
        assert_eq!(SaPackets(sa.id).parse(&payload), Ok(0x7_0000_0002));
        assert!(SaPackets(sa.id).parse(&payload[..223]).is_err());
    }

    #[test]
    fn progress_takes_no_part_in_equality() {
        let inward = SaDirection::In { replay_window: 64 };
        assert_eq!(sa(inward, Progress(Some(7))), sa(inward, Progress(None)));
    }
}
