//! Which algorithms we offer, choose and take as an answer (RFC 7296 §2.7, §3.3; RFC 9370 §2.2.1).
//!
//! An offer is a list of menus: for each type of transform the choices, best first. The same menus are the
//! policy of a responder ([`IkeOffer::select`], [`EspOffer::select`]) and what an initiator holds the answer
//! against ([`IkeOffer::check`], [`EspOffer::check`]).

use super::crypto::{Encryption, IkeSuite, Integrity, Prf};
use super::wire::{
    EncryptionId, EsnId, IkeSpi, IntegrityId, KeMethod, NotifyType, PrfId, Proposal, Protocol, Transform,
    TransformType,
};
use crate::suite::{SequenceNumbers, Suite};

/// Proposals for an IKE SA, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IkeOffer(pub Vec<IkeProposal>);

/// One of them: any combination of its members may be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IkeProposal {
    /// Ciphers: all of them AEADs, or none (RFC 5282 §8).
    pub encryption: Vec<Encryption>,
    /// Integrity algorithms; empty with AEADs.
    pub integrity: Vec<Integrity>,
    /// Pseudo-random functions.
    pub prf: Vec<Prf>,
    /// Methods of the first key exchange.
    pub ke: Vec<KeMethod>,
    /// Methods of each additional key exchange; [`KeMethod::NONE`] among them makes it optional.
    pub additional: Vec<Vec<KeMethod>>,
}

/// Proposals for a child SA with ESP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EspOffer {
    /// Cipher suites, best first.
    pub suites: Vec<Suite>,
    /// Lengths of sequence numbers, best first.
    pub sequence: Vec<SequenceNumbers>,
    /// Methods of a key exchange for perfect forward secrecy; [`KeMethod::NONE`] stands for none, and so does
    /// an empty list.
    pub ke: Vec<KeMethod>,
    /// Methods of each key exchange after that, as in [`IkeProposal::additional`].
    pub additional: Vec<Vec<KeMethod>>,
}

/// The outcome of a negotiation of an IKE SA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IkeChosen {
    /// What was agreed on.
    pub suite: IkeSuite,
    /// The peer's SPI for the SA, when the SA replaces another one.
    pub peer_spi: Option<IkeSpi>,
    /// The proposal to answer with, or the answer. A responder adds its SPI when the SA replaces another one.
    pub answer: Proposal,
}

/// The outcome of a negotiation of a child SA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EspChosen {
    /// The cipher suite.
    pub suite: Suite,
    /// The length of sequence numbers.
    pub sequence: SequenceNumbers,
    /// The key exchange for perfect forward secrecy, if any.
    pub ke: Option<KeMethod>,
    /// The key exchanges after it, in their order.
    pub additional: Vec<KeMethod>,
    /// The SPI that the peer receives with.
    pub peer_spi: u32,
    /// The proposal to answer with, or the answer. A responder adds its SPI.
    pub answer: Proposal,
}

/// An answer that is none to our offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// Not exactly one proposal.
    #[error("answer to an offer: found {found} proposals, expected 1")]
    Proposals {
        /// How many.
        found: usize,
    },
    /// One with a number that none of ours has.
    #[error("answer to an offer: found proposal {found}, expected 1 to {last}")]
    Number {
        /// Its number.
        found: u8,
        /// The last of ours.
        last: usize,
    },
    /// Two transforms of one type, where there is a choice to be made.
    #[error("answer to an offer: found several transforms of type {0}, expected one")]
    Several(TransformType),
    /// Something else than we offered in the proposal of that number.
    #[error("answer to an offer: found other transforms than those of proposal {number}")]
    NotOffered {
        /// The proposal.
        number: u8,
    },
    /// A child SA without an SPI to send to.
    #[error("answer to an offer: found an SPI of {found} octets, expected {expected}")]
    Spi {
        /// Octets of it.
        found: usize,
        /// Octets it needs.
        expected: usize,
    },
}

impl BadAnswer {
    /// What to tell the peer.
    #[must_use]
    pub const fn notify(&self) -> NotifyType {
        match self {
            Self::Spi { .. } => NotifyType::INVALID_SYNTAX,
            Self::Proposals { .. } | Self::Number { .. } | Self::Several(_) | Self::NotOffered { .. } => {
                NotifyType::NO_PROPOSAL_CHOSEN
            }
        }
    }
}

impl Default for IkeOffer {
    /// AEADs with ML-KEM-768 after the first key exchange, or not; the same for who has not heard of additional
    /// key exchanges; AES-CBC with HMAC for who has no AEAD.
    fn default() -> Self {
        let hybrid = IkeProposal {
            encryption: vec![Encryption::AesGcm256, Encryption::AesGcm128, Encryption::ChaCha20Poly1305],
            integrity: Vec::new(),
            prf: vec![Prf::HmacSha256, Prf::HmacSha384],
            ke: vec![KeMethod::X25519, KeMethod::P256, KeMethod::P384],
            additional: vec![vec![KeMethod::MLKEM768, KeMethod::NONE]],
        };
        let classic = IkeProposal { additional: Vec::new(), ..hybrid.clone() };
        let cbc = IkeProposal {
            encryption: vec![Encryption::AesCbc256, Encryption::AesCbc128],
            integrity: vec![Integrity::HmacSha256_128, Integrity::HmacSha384_192, Integrity::HmacSha512_256],
            ..classic.clone()
        };
        Self(vec![hybrid, classic, cbc])
    }
}

impl IkeOffer {
    /// The same without additional key exchanges, for a peer that knows no IKE_INTERMEDIATE.
    #[must_use]
    pub fn without_additional(&self) -> Self {
        let mut proposals: Vec<IkeProposal> = Vec::with_capacity(self.0.len());
        for proposal in &self.0 {
            let plain = IkeProposal { additional: Vec::new(), ..proposal.clone() };
            let required = proposal.additional.iter().any(|methods| !methods.contains(&KeMethod::NONE));
            if !required && !proposals.contains(&plain) {
                proposals.push(plain);
            }
        }
        Self(proposals)
    }

    /// The method of the first proposal's first choice: what an initiator sends a KE payload for unasked.
    #[must_use]
    pub fn guess(&self) -> Option<KeMethod> {
        self.0.first().and_then(|proposal| proposal.ke.first().copied())
    }

    /// The proposals for an SA payload; `spi` is ours when the SA replaces another one.
    #[must_use]
    pub fn to_wire(&self, spi: Option<IkeSpi>) -> Vec<Proposal> {
        let spi = spi.map_or_else(Vec::new, |spi| spi.0.to_be_bytes().to_vec());
        to_wire(&self.menus(), Protocol::IKE, &spi)
    }

    /// Chooses from a peer's proposals: the first of ours that one of them meets. A KE payload of method
    /// `guess` came with them, and is taken if that is allowed, for another one would cost a round trip.
    #[must_use]
    pub fn select(&self, offers: &[Proposal], guess: Option<KeMethod>) -> Option<IkeChosen> {
        let menus = self.menus();
        select(&menus, Protocol::IKE, offers, guess).and_then(|(picked, offer)| {
            let answer = Proposal { spi: Vec::new(), transforms: picked.answered(offer), ..offer.clone() };
            IkeChosen::new(&picked, offer.ike_spi(), answer)
        })
    }

    /// Takes the answer to [`Self::to_wire`].
    ///
    /// # Errors
    /// [`BadAnswer`] when it is no choice from what we offered.
    pub fn check(&self, answer: &[Proposal]) -> Result<IkeChosen, BadAnswer> {
        let (picked, answer) = check(&self.menus(), Protocol::IKE, answer)?;
        IkeChosen::new(&picked, answer.ike_spi(), answer.clone())
            .ok_or(BadAnswer::NotOffered { number: answer.number })
    }

    fn menus(&self) -> Vec<Menu> {
        self.0.iter().map(IkeProposal::menu).collect()
    }
}

impl IkeProposal {
    fn menu(&self) -> Menu {
        let mut menu = Menu::default();
        menu.add(TransformType::ENCR, self.encryption.iter().map(|cipher| cipher.transform()));
        menu.add(TransformType::PRF, self.prf.iter().map(|function| Transform::prf(PrfId(function.id()))));
        menu.add(TransformType::INTEG, self.integrity.iter().map(|algorithm| algorithm.transform()));
        menu.add_ke(&self.ke, &self.additional);
        menu
    }
}

impl IkeChosen {
    fn new(picked: &Picked, peer_spi: Option<IkeSpi>, answer: Proposal) -> Option<Self> {
        let cipher = picked.get(TransformType::ENCR)?;
        let encryption = Encryption::from_transform(cipher.id, cipher.key_length)?;
        let integrity = match picked.get(TransformType::INTEG) {
            Some(transform) if transform.id != NEUTRAL => Some(Integrity::from_id(transform.id)?),
            _ => None,
        };
        if encryption.is_aead() == integrity.is_some() {
            return None;
        }
        let suite = IkeSuite {
            encryption,
            integrity,
            prf: Prf::from_id(picked.get(TransformType::PRF)?.id)?,
            ke: picked.ke()?,
            additional: picked.additional(),
        };
        Some(Self { suite, peer_spi, answer })
    }
}

impl Encryption {
    fn transform(self) -> Transform {
        Transform::encryption(EncryptionId(self.id()), self.key_length())
    }
}

impl Integrity {
    const fn transform(self) -> Transform {
        Transform::integrity(IntegrityId(self.id()))
    }
}

impl Default for EspOffer {
    /// Every suite worth its name, with either length of sequence numbers, with a key exchange or without, and
    /// with ML-KEM-768 after it or not.
    fn default() -> Self {
        Self {
            suites: vec![
                Suite::AesGcm256,
                Suite::AesGcm128,
                Suite::ChaCha20Poly1305,
                Suite::AesCbc128HmacSha256,
            ],
            sequence: vec![SequenceNumbers::Extended, SequenceNumbers::Short],
            ke: vec![KeMethod::X25519, KeMethod::P256, KeMethod::P384, KeMethod::NONE],
            additional: vec![vec![KeMethod::MLKEM768, KeMethod::NONE]],
        }
    }
}

impl EspOffer {
    /// The same without key exchanges: for the child of IKE_AUTH, where there is no place for them
    /// (RFC 7296 §1.2).
    #[must_use]
    pub fn without_ke(&self) -> Self {
        Self { ke: Vec::new(), additional: Vec::new(), ..self.clone() }
    }

    /// The method that an initiator sends a KE payload for, if any.
    #[must_use]
    pub fn guess(&self) -> Option<KeMethod> {
        self.ke.first().copied().filter(|method| *method != KeMethod::NONE)
    }

    /// The proposals for an SA payload; `spi` is what we receive with.
    #[must_use]
    pub fn to_wire(&self, spi: u32) -> Vec<Proposal> {
        to_wire(&self.menus(), Protocol::ESP, &spi.to_be_bytes())
    }

    /// Chooses from a peer's proposals, as [`IkeOffer::select`]; `guess` is `None` when no KE payload came
    /// with them.
    #[must_use]
    pub fn select(&self, offers: &[Proposal], guess: Option<KeMethod>) -> Option<EspChosen> {
        let menus = self.menus();
        select(&menus, Protocol::ESP, offers, guess).and_then(|(picked, offer)| {
            let answer = Proposal { spi: Vec::new(), transforms: picked.answered(offer), ..offer.clone() };
            EspChosen::new(&picked, offer.child_spi()?, answer)
        })
    }

    /// As [`Self::select`] for the child of IKE_AUTH. Some peers offer a KE transform there too; it has no
    /// meaning and is passed over.
    #[must_use]
    pub fn select_without_ke(&self, offers: &[Proposal]) -> Option<EspChosen> {
        let meaningful: Vec<Proposal> = offers
            .iter()
            .map(|offer| {
                let mut offer = offer.clone();
                offer.transforms.retain(|transform| {
                    transform.kind != TransformType::KE
                        && !TransformType::ADDITIONAL.contains(&transform.kind)
                });
                offer
            })
            .collect();
        self.without_ke().select(&meaningful, None)
    }

    /// Takes the answer to [`Self::to_wire`].
    ///
    /// # Errors
    /// [`BadAnswer`] when it is no choice from what we offered.
    pub fn check(&self, answer: &[Proposal]) -> Result<EspChosen, BadAnswer> {
        let (picked, answer) = check(&self.menus(), Protocol::ESP, answer)?;
        let spi = answer.child_spi().ok_or(BadAnswer::Spi { found: answer.spi.len(), expected: 4 })?;
        EspChosen::new(&picked, spi, answer.clone()).ok_or(BadAnswer::NotOffered { number: answer.number })
    }

    /// All AEADs share a menu; other suites fix two algorithms and have one each. Menus with a key exchange
    /// come first.
    fn menus(&self) -> Vec<Menu> {
        let mut groups: Vec<Vec<Suite>> = Vec::new();
        for &suite in &self.suites {
            match groups.iter_mut().find(|group| suite.is_aead() && group.iter().all(|other| other.is_aead()))
            {
                Some(group) => group.push(suite),
                None => groups.push(vec![suite]),
            }
        }
        let (none, methods): (Vec<_>, Vec<_>) =
            self.ke.iter().copied().partition(|method| *method == KeMethod::NONE);
        let with_ke = (!methods.is_empty()).then_some((methods, &self.additional[..]));
        let without_ke =
            (with_ke.is_none() || !none.is_empty()).then_some((Vec::new(), &self.additional[..0]));
        let exchanges = with_ke.into_iter().chain(without_ke);
        exchanges
            .flat_map(|(methods, additional)| {
                groups.iter().map(move |group| self.menu(group, &methods, additional)).collect::<Vec<_>>()
            })
            .collect()
    }

    fn menu(&self, suites: &[Suite], ke: &[KeMethod], additional: &[Vec<KeMethod>]) -> Menu {
        let mut menu = Menu::default();
        menu.add(TransformType::ENCR, suites.iter().map(|suite| suite.encryption_transform()));
        menu.add(TransformType::INTEG, suites.iter().filter_map(|suite| suite.integrity_transform()));
        menu.add_ke(ke, additional);
        menu.add(TransformType::ESN, self.sequence.iter().map(|length| Transform::esn(length.esn())));
        menu
    }
}

impl EspChosen {
    fn new(picked: &Picked, peer_spi: u32, answer: Proposal) -> Option<Self> {
        let cipher = picked.get(TransformType::ENCR)?;
        let integrity = picked.get(TransformType::INTEG).filter(|transform| transform.id != NEUTRAL);
        let suite = Suite::ALL.into_iter().find(|suite| {
            suite.encryption_transform() == cipher && suite.integrity_transform() == integrity
        })?;
        let extended = picked.get(TransformType::ESN).is_some_and(|transform| transform.id == EsnId::YES.0);
        let sequence = if extended { SequenceNumbers::Extended } else { SequenceNumbers::Short };
        let (ke, additional) = (picked.ke(), picked.additional());
        Some(Self { suite, sequence, ke, additional, peer_spi, answer })
    }
}

impl SequenceNumbers {
    const fn esn(self) -> EsnId {
        match self {
            Self::Extended => EsnId::YES,
            Self::Short => EsnId::NO,
        }
    }
}

impl Suite {
    /// The transform of type 1 that stands for the suite's cipher.
    #[must_use]
    pub const fn encryption_transform(self) -> Transform {
        match self {
            Self::AesGcm128 => Transform::encryption(EncryptionId::AES_GCM_16, Some(128)),
            Self::AesGcm256 => Transform::encryption(EncryptionId::AES_GCM_16, Some(256)),
            Self::ChaCha20Poly1305 => Transform::encryption(EncryptionId::CHACHA20_POLY1305, None),
            Self::AesCbc128HmacSha1 | Self::AesCbc128HmacSha256 => {
                Transform::encryption(EncryptionId::AES_CBC, Some(128))
            }
            Self::DangerNull => Transform::encryption(EncryptionId::NULL, None),
        }
    }

    /// The transform of type 3 that stands for the suite's integrity algorithm, if it has one.
    #[must_use]
    pub const fn integrity_transform(self) -> Option<Transform> {
        match self {
            Self::AesCbc128HmacSha1 => Some(Transform::integrity(IntegrityId::HMAC_SHA1_96)),
            Self::AesCbc128HmacSha256 => Some(Transform::integrity(IntegrityId::HMAC_SHA2_256_128)),
            Self::AesGcm128 | Self::AesGcm256 | Self::ChaCha20Poly1305 | Self::DangerNull => None,
        }
    }

    const fn is_aead(self) -> bool {
        matches!(self, Self::AesGcm128 | Self::AesGcm256 | Self::ChaCha20Poly1305)
    }
}

/// The id that stands for "none" in every type that has one, and that a missing type means.
const NEUTRAL: u16 = 0;

/// The choices of a proposal by type, best first.
#[derive(Debug, Default)]
struct Menu(Vec<(TransformType, Vec<Transform>)>);

/// One transform of each type.
#[derive(Debug)]
struct Picked(Vec<Transform>);

impl Menu {
    /// Adds a type, unless there is nothing to choose from.
    fn add(&mut self, kind: TransformType, choices: impl Iterator<Item = Transform>) {
        let choices: Vec<Transform> = choices.collect();
        if !choices.is_empty() {
            self.0.push((kind, choices));
        }
    }

    fn add_ke(&mut self, ke: &[KeMethod], additional: &[Vec<KeMethod>]) {
        self.add(TransformType::KE, ke.iter().copied().map(Transform::key_exchange));
        for (kind, methods) in TransformType::ADDITIONAL.into_iter().zip(additional) {
            self.add(kind, methods.iter().map(|method| Transform::new(kind, method.0)));
        }
    }

    /// The best choice of each type that `offer` has too. A type that is missing on one side is the same as
    /// "none" there, which ciphers and pseudo-random functions do not have; a type we do not know has to be
    /// refused with all that it came with (RFC 7296 §3.3.6).
    fn pick(&self, offer: &Proposal, guess: Option<KeMethod>) -> Option<Picked> {
        let mut kinds: Vec<TransformType> = self.0.iter().map(|(kind, _)| *kind).collect();
        kinds.extend(offer.transforms.iter().map(|transform| transform.kind));
        kinds.sort_unstable();
        kinds.dedup();
        let mut picked = Picked(Vec::with_capacity(kinds.len()));
        for kind in kinds {
            let none = [Transform::new(kind, NEUTRAL)];
            let ours =
                self.0.iter().find(|(ours, _)| *ours == kind).map_or(&none[..], |(_, choices)| choices);
            let transform = if offer.of(kind).next().is_none() {
                none.into_iter().find(|none| has_none(kind) && ours.contains(none))
            } else {
                let meets = |choice: &Transform| {
                    offer.of(kind).any(|theirs| theirs == *choice) && picked.may_add(*choice)
                };
                let guessed = guess.filter(|_| kind == TransformType::KE).map(Transform::key_exchange);
                let guessed = guessed.filter(|guessed| ours.contains(guessed) && meets(guessed));
                guessed.or_else(|| ours.iter().copied().find(meets))
            };
            picked.0.push(transform?);
        }
        Some(picked)
    }
}

/// Whether a transform of this type may be left out, and a missing one means its value 0.
fn has_none(kind: TransformType) -> bool {
    matches!(kind, TransformType::INTEG | TransformType::KE | TransformType::ESN)
        || TransformType::ADDITIONAL.contains(&kind)
}

/// Whether the type is about key exchange.
fn is_ke(kind: TransformType) -> bool {
    kind == TransformType::KE || TransformType::ADDITIONAL.contains(&kind)
}

impl Picked {
    fn get(&self, kind: TransformType) -> Option<Transform> {
        self.0.iter().copied().find(|transform| transform.kind == kind)
    }

    fn ke(&self) -> Option<KeMethod> {
        self.get(TransformType::KE).map(|transform| KeMethod(transform.id)).filter(|ke| *ke != KeMethod::NONE)
    }

    fn additional(&self) -> Vec<KeMethod> {
        let additional = TransformType::ADDITIONAL.into_iter().filter_map(|kind| self.get(kind));
        additional
            .map(|transform| KeMethod(transform.id))
            .filter(|method| *method != KeMethod::NONE)
            .collect()
    }

    /// No method may be carried out twice (RFC 9370 §2.2.1).
    fn may_add(&self, transform: Transform) -> bool {
        let twice = |other: &Transform| is_ke(other.kind) && other.id == transform.id;
        !is_ke(transform.kind) || transform.id == NEUTRAL || !self.0.iter().any(twice)
    }

    /// The transforms of the types that `offer` has.
    fn answered(&self, offer: &Proposal) -> Vec<Transform> {
        self.0.iter().copied().filter(|transform| offer.of(transform.kind).next().is_some()).collect()
    }
}

fn to_wire(menus: &[Menu], protocol: Protocol, spi: &[u8]) -> Vec<Proposal> {
    let numbered = (1..=u8::MAX).zip(menus);
    numbered
        .map(|(number, menu)| {
            let mut transforms: Vec<Transform> = Vec::new();
            for transform in menu.0.iter().flat_map(|(_, choices)| choices) {
                if !transforms.contains(transform) {
                    transforms.push(*transform);
                }
            }
            Proposal { number, protocol, spi: spi.to_vec(), transforms }
        })
        .collect()
}

fn select<'a>(
    menus: &[Menu],
    protocol: Protocol,
    offers: &'a [Proposal],
    guess: Option<KeMethod>,
) -> Option<(Picked, &'a Proposal)> {
    menus.iter().find_map(|menu| {
        let mut offers = offers.iter().filter(|offer| offer.protocol == protocol);
        offers.find_map(|offer| Some((menu.pick(offer, guess)?, offer)))
    })
}

fn check<'a>(
    menus: &[Menu],
    protocol: Protocol,
    answer: &'a [Proposal],
) -> Result<(Picked, &'a Proposal), BadAnswer> {
    let [answer] = answer else { return Err(BadAnswer::Proposals { found: answer.len() }) };
    let number = answer.number;
    let menu = usize::from(number).checked_sub(1).and_then(|index| menus.get(index));
    let menu = menu.ok_or(BadAnswer::Number { found: number, last: menus.len() })?;
    for transform in &answer.transforms {
        if answer.of(transform.kind).count() > 1 {
            return Err(BadAnswer::Several(transform.kind));
        }
    }
    let picked = menu.pick(answer, None).filter(|_| answer.protocol == protocol);
    Ok((picked.ok_or(BadAnswer::NotOffered { number })?, answer))
}

#[cfg(test)]
mod tests;
