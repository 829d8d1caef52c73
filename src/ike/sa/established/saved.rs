//! A connection as data and back. What can be found out again is left out: tasks that wait follow from
//! timers and states, and requests of the peer that are held will be repeated by it.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::followup::{Followup, Offered};
use super::{
    Closing, Established, FAR, IkeOffer, InFlight, Installing, Member, Nat, Outcome, Purpose, Standing, Task,
    Unconfirmed,
};
use crate::entropy::Entropy as _;
use crate::id::Spi;
use crate::ike::crypto::{Encryption, IkeSuite, Integrity, KeySchedule, Prf, Role};
use crate::ike::event::{Addresses, ChildId, DirectionKeys, Event, Path, PeerAuthenticated};
use crate::ike::reason::CloseReason;
use crate::ike::sa::Cx;
use crate::ike::sa::child::{Child, ChildOffer, ChildState, Collision, Ephemeral, Sending};
use crate::ike::sa::generation::Generation;
use crate::ike::sa::retry::{Retry, SavedRetry};
use crate::ike::snapshot::{BadSnapshot, Octets};
use crate::ike::wire::{IkeSpi, KeMethod, MessageId, PayloadType, TrafficSelector};
use crate::secret::KeyMaterial;
use crate::suite::{SequenceNumbers, Suite};
use crate::time::Instant;

/// IVs left out after a restart: more than were used between the snapshot and the end of the process.
const SKIPPED_IVS: u64 = 1 << 20;

/// A connection.
#[derive(Serialize, Deserialize)]
pub(in crate::ike) struct SavedSa {
    path: Path,
    peer: PeerAuthenticated,
    nat: Nat,
    generations: Vec<SavedGeneration>,
    children: Vec<SavedChild>,
    next_child: u32,
    installing: Option<(ChildId, Option<ChildId>, Outcome)>,
    soft: Left,
    hard: Left,
    closing: bool,
    #[serde(default)]
    unconfirmed: Option<(IkeSpi, IkeSpi, Left)>,
}

/// Time that is left, in milliseconds.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
struct Left(u64);

#[derive(Serialize, Deserialize)]
struct SavedGeneration {
    spis: (IkeSpi, IkeSpi),
    initiator: bool,
    suite: SavedSuite,
    keys: Octets,
    limit: Option<usize>,
    ivs: u64,
    next_request: MessageId,
    expected: MessageId,
    response: Vec<Octets>,
    standing: SavedStanding,
    in_flight: Option<SavedInFlight>,
}

#[derive(Serialize, Deserialize)]
enum SavedStanding {
    Current,
    Candidate,
    Superseded(Left),
    Closing,
}

/// Transform IDs.
#[derive(Serialize, Deserialize)]
struct SavedSuite {
    encryption: (u16, Option<u16>),
    integrity: Option<u16>,
    prf: u16,
    ke: KeMethod,
    additional: Vec<KeMethod>,
}

#[derive(Serialize, Deserialize)]
struct SavedInFlight {
    id: MessageId,
    retry: SavedRetry,
    purpose: SavedPurpose,
}

#[derive(Serialize, Deserialize)]
enum SavedPurpose {
    Probe,
    DeleteChild(ChildId),
    DeleteIke,
    Child(SavedOffer),
    RekeyIke(SavedIkeOffer),
    Followup(Box<SavedFollowup>),
}

#[derive(Serialize, Deserialize)]
struct SavedIkeOffer {
    spi: IkeSpi,
    nonce: Octets,
    ke: SavedKe,
    collision: Option<Octets>,
}

#[derive(Serialize, Deserialize)]
struct SavedFollowup {
    offer: SavedOffered,
    answer: (u8, Octets),
    made: Vec<(SavedKe, Octets)>,
    ke: SavedKe,
    left: Vec<KeMethod>,
}

#[derive(Serialize, Deserialize)]
enum SavedOffered {
    Child(SavedOffer),
    Ike(SavedIkeOffer),
}

/// A key exchange of ours: the method and the seed.
#[derive(Serialize, Deserialize)]
struct SavedKe(KeMethod, Octets);

#[derive(Serialize, Deserialize)]
struct SavedOffer {
    id: ChildId,
    replaces: Option<ChildId>,
    spi: Spi,
    nonce: Octets,
    ke: Option<SavedKe>,
    additional: Vec<Vec<KeMethod>>,
    local: Vec<TrafficSelector>,
    remote: Vec<TrafficSelector>,
    collision: Option<Collision>,
}

#[derive(Serialize, Deserialize)]
struct SavedChild {
    id: ChildId,
    suite: Suite,
    sequence_numbers: SequenceNumbers,
    inbound: (Spi, Octets),
    outbound: (Spi, Octets),
    local: Vec<TrafficSelector>,
    remote: Vec<TrafficSelector>,
    soft: Left,
    hard: Left,
    state: ChildState,
    sending: Sending,
}

impl Left {
    fn until(at: Instant, now: Instant) -> Self {
        Self(u64::try_from((at - now).as_millis()).unwrap_or(u64::MAX))
    }

    fn from(self, now: Instant) -> Instant {
        now + Duration::from_millis(self.0)
    }
}

impl Established {
    pub(in crate::ike) fn save(&self, now: Instant) -> SavedSa {
        // A child SA the peer waits for does not exist before the peer has its answer.
        let held = |child: &&Child| {
            child.state == ChildState::Installing
                && self.installing.as_ref().is_none_or(|installing| installing.child != child.id)
        };
        SavedSa {
            path: self.path,
            peer: self.peer.clone(),
            nat: self.nat,
            generations: self.generations.iter().map(|member| member.save(now)).collect(),
            children: self
                .children
                .iter()
                .filter(|child| !held(child))
                .map(|child| SavedChild::of(child, now))
                .collect(),
            next_child: self.next_child,
            installing: self.installing.as_ref().map(|known| (known.child, known.replaces, known.outcome)),
            soft: Left::until(self.soft, now),
            hard: Left::until(self.hard, now),
            closing: self.closing.is_some(),
            unconfirmed: self
                .unconfirmed
                .map(|Unconfirmed { through, or, until }| (through, or, Left::until(until, now))),
        }
    }
}

impl SavedSa {
    pub(in crate::ike) fn revive(self, cx: &mut Cx<'_>) -> Result<Box<Established>, BadSnapshot> {
        if matches!(self.installing, Some((_, _, Outcome::First))) {
            return Err(BadSnapshot::Unfinished);
        }
        let now = cx.now;
        let generations: Vec<Member> =
            self.generations.into_iter().map(|saved| saved.revive(now)).collect::<Result<_, _>>()?;
        if generations.iter().filter(|member| member.standing == Standing::Current).count() != 1 {
            return Err(BadSnapshot::Damaged("IKE SAs"));
        }
        let children: Vec<Child> = self.children.into_iter().map(|saved| saved.revive(now)).collect();
        claim(cx, &generations, &children)?;
        let mut sa = Box::new(Established {
            path: self.path,
            peer: self.peer,
            nat: self.nat,
            generations,
            children,
            next_child: self.next_child,
            queue: VecDeque::new(),
            held: None,
            awaited: None,
            installing: None,
            probe_at: first_probe(cx),
            follows_at: now,
            soft: self.soft.from(now),
            hard: self.hard.from(now),
            childless_end: now + cx.settings.lifetimes.childless,
            put_off: None,
            closing: None,
            unconfirmed: self.unconfirmed.map(|(through, or, left)| Unconfirmed {
                through,
                or,
                until: left.from(now),
            }),
            farewell: None,
        });
        if self.closing {
            sa.closing = Some(Closing { reason: CloseReason::Local, by: now + super::CLOSING });
            sa.queue.push_back(Task::Close);
        }
        let deleting: Vec<ChildId> = sa
            .children
            .iter()
            .filter(|child| matches!(child.state, ChildState::Deleting { .. }))
            .map(|child| child.id)
            .collect();
        for id in deleting {
            if !matches!(sa.purpose(), Some(Purpose::DeleteChild(sent)) if *sent == id) {
                sa.ask(Task::DeleteChild(id));
            }
        }
        if let Some((child, replaces, outcome)) = self.installing
            && let Some(known) = sa.child(child)
        {
            let encapsulation = sa.nat.encapsulation(sa.path);
            let keys = known.keys(replaces, Addresses::default(), encapsulation, sa.path);
            cx.event(Event::ChildKeys(Box::new(keys)));
            sa.installing = Some(Box::new(Installing { child, replaces, outcome }));
        }
        cx.changed = true;
        Ok(sa)
    }
}

/// One of the first things is to see whether the peer is still there; a relay with many does not ask all of them
/// at once.
fn first_probe(cx: &mut Cx<'_>) -> Instant {
    let Some(silence) = cx.settings.lifetimes.probe else { return FAR };
    let tenth = u64::try_from(silence.as_millis() / 10).unwrap_or(u64::MAX);
    cx.now + Duration::from_millis(cx.entropy.below(tenth))
}

/// Takes the SPIs of a connection into use.
fn claim(cx: &mut Cx<'_>, generations: &[Member], children: &[Child]) -> Result<(), BadSnapshot> {
    let mut ike: Vec<IkeSpi> = generations.iter().map(|member| member.sa.own_spi()).collect();
    let mut esp: Vec<Spi> = children.iter().map(|child| child.inbound.spi).collect();
    for sent in generations.iter().filter_map(|member| member.sa.in_flight.as_ref()) {
        match &sent.purpose {
            Purpose::Child(offer) => esp.push(offer.spi),
            Purpose::RekeyIke(offer) => ike.push(offer.spi),
            Purpose::Followup(followup) => match &followup.offer {
                Offered::Child(offer) => esp.push(offer.spi),
                Offered::Ike(offer) => ike.push(offer.spi),
            },
            Purpose::Probe | Purpose::DeleteChild(_) | Purpose::DeleteIke => {}
        }
    }
    if cx.claim(&ike, &esp) { Ok(()) } else { Err(BadSnapshot::InUse) }
}

impl Member {
    fn save(&self, now: Instant) -> SavedGeneration {
        let sa = &self.sa;
        let suite = &sa.suite;
        SavedGeneration {
            spis: (sa.initiator_spi, sa.responder_spi),
            initiator: sa.role == Role::Initiator,
            suite: SavedSuite {
                encryption: (suite.encryption.id(), suite.encryption.key_length()),
                integrity: suite.integrity.map(Integrity::id),
                prf: suite.prf.id(),
                ke: suite.ke,
                additional: suite.additional.clone(),
            },
            keys: sa.keys.expose().into(),
            limit: sa.limit,
            ivs: sa.outgoing.used(),
            next_request: sa.next_request,
            expected: sa.expected,
            response: sa.response.iter().map(|datagram| datagram.as_slice().into()).collect(),
            standing: match self.standing {
                Standing::Current => SavedStanding::Current,
                Standing::Candidate => SavedStanding::Candidate,
                Standing::Superseded(until) => SavedStanding::Superseded(Left::until(until, now)),
                Standing::Closing => SavedStanding::Closing,
            },
            in_flight: sa.in_flight.as_ref().map(|sent| SavedInFlight {
                id: sent.id,
                retry: sent.retry.save(),
                purpose: SavedPurpose::of(&sent.purpose),
            }),
        }
    }
}

impl SavedGeneration {
    fn revive(self, now: Instant) -> Result<Member, BadSnapshot> {
        let suite = self.suite.revive().ok_or(BadSnapshot::Damaged("algorithms"))?;
        let keys = KeySchedule::restore(&suite, self.keys.as_slice())
            .map_err(|_| BadSnapshot::Damaged("keys of the IKE SA"))?;
        let role = if self.initiator { Role::Initiator } else { Role::Responder };
        let mut sa = Generation::new(self.spis, role, suite, keys, MessageId::ZERO, self.limit);
        // No IV may be used twice under one key, and some were used after the snapshot.
        sa.outgoing.skip(self.ivs.saturating_add(SKIPPED_IVS));
        sa.next_request = self.next_request;
        sa.expected = self.expected;
        sa.response = self.response.into_iter().map(Vec::from).collect();
        if let Some(SavedInFlight { id, retry, purpose }) = self.in_flight {
            let purpose = purpose.revive()?;
            sa.in_flight = Some(Box::new(InFlight { id, retry: Retry::restore(retry, now), purpose }));
        }
        let standing = match self.standing {
            SavedStanding::Current => Standing::Current,
            SavedStanding::Candidate => Standing::Candidate,
            SavedStanding::Superseded(left) => Standing::Superseded(left.from(now)),
            SavedStanding::Closing => Standing::Closing,
        };
        Ok(Member { sa, standing })
    }
}

impl SavedSuite {
    fn revive(self) -> Option<IkeSuite> {
        let integrity = match self.integrity {
            Some(id) => Some(Integrity::from_id(id)?),
            None => None,
        };
        Some(IkeSuite {
            encryption: Encryption::from_transform(self.encryption.0, self.encryption.1)?,
            integrity,
            prf: Prf::from_id(self.prf)?,
            ke: self.ke,
            additional: self.additional,
        })
    }
}

impl SavedPurpose {
    fn of(purpose: &Purpose) -> Self {
        match purpose {
            Purpose::Probe => Self::Probe,
            Purpose::DeleteChild(id) => Self::DeleteChild(*id),
            Purpose::DeleteIke => Self::DeleteIke,
            Purpose::Child(offer) => Self::Child(SavedOffer::of(offer)),
            Purpose::RekeyIke(offer) => Self::RekeyIke(SavedIkeOffer::of(offer)),
            Purpose::Followup(followup) => Self::Followup(Box::new(SavedFollowup {
                offer: match &followup.offer {
                    Offered::Child(offer) => SavedOffered::Child(SavedOffer::of(offer)),
                    Offered::Ike(offer) => SavedOffered::Ike(SavedIkeOffer::of(offer)),
                },
                answer: (followup.answer.0.0, followup.answer.1.as_slice().into()),
                made: followup
                    .made
                    .iter()
                    .map(|(ours, theirs)| (SavedKe::of(ours), theirs.as_slice().into()))
                    .collect(),
                ke: SavedKe::of(&followup.ke),
                left: followup.left.clone(),
            })),
        }
    }

    fn revive(self) -> Result<Purpose, BadSnapshot> {
        Ok(match self {
            Self::Probe => Purpose::Probe,
            Self::DeleteChild(id) => Purpose::DeleteChild(id),
            Self::DeleteIke => Purpose::DeleteIke,
            Self::Child(saved) => Purpose::Child(Box::new(saved.revive()?)),
            Self::RekeyIke(saved) => Purpose::RekeyIke(Box::new(saved.revive()?)),
            Self::Followup(saved) => {
                let SavedFollowup { offer, answer: (first, plain), made, ke, left } = *saved;
                let offer = match offer {
                    SavedOffered::Child(saved) => Offered::Child(Box::new(saved.revive()?)),
                    SavedOffered::Ike(saved) => Offered::Ike(Box::new(saved.revive()?)),
                };
                let made = made.into_iter().map(|(ours, theirs)| Ok((ours.revive()?, theirs.into())));
                Purpose::Followup(Box::new(Followup {
                    offer,
                    answer: (PayloadType(first), plain.into()),
                    made: made.collect::<Result<_, _>>()?,
                    ke: ke.revive()?,
                    left,
                }))
            }
        })
    }
}

impl SavedKe {
    fn of(ke: &Ephemeral) -> Self {
        Self(ke.method, ke.seed.as_slice().into())
    }

    fn revive(self) -> Result<Ephemeral, BadSnapshot> {
        let seed = self.1.as_slice().try_into().map_err(|_| BadSnapshot::Damaged("seed"))?;
        Ok(Ephemeral { method: self.0, seed: Zeroizing::new(seed) })
    }
}

impl SavedIkeOffer {
    fn of(offer: &IkeOffer) -> Self {
        Self {
            spi: offer.spi,
            nonce: offer.nonce.as_slice().into(),
            ke: SavedKe::of(&offer.ke),
            collision: offer.collision.as_deref().map(Octets::from),
        }
    }

    fn revive(self) -> Result<IkeOffer, BadSnapshot> {
        let Self { spi, nonce, ke, collision } = self;
        Ok(IkeOffer { spi, nonce: nonce.into(), ke: ke.revive()?, collision: collision.map(Vec::from) })
    }
}

impl SavedOffer {
    fn of(offer: &ChildOffer) -> Self {
        Self {
            id: offer.id,
            replaces: offer.replaces,
            spi: offer.spi,
            nonce: offer.nonce.as_slice().into(),
            ke: offer.ke.as_ref().map(SavedKe::of),
            additional: offer.additional.clone(),
            local: offer.local.clone(),
            remote: offer.remote.clone(),
            collision: offer.collision.clone(),
        }
    }

    fn revive(self) -> Result<ChildOffer, BadSnapshot> {
        Ok(ChildOffer {
            id: self.id,
            replaces: self.replaces,
            spi: self.spi,
            nonce: self.nonce.into(),
            ke: self.ke.map(SavedKe::revive).transpose()?,
            additional: self.additional,
            local: self.local,
            remote: self.remote,
            collision: self.collision,
        })
    }
}

impl SavedChild {
    fn of(child: &Child, now: Instant) -> Self {
        let keys = |keys: &DirectionKeys| (keys.spi, Octets::from(keys.key.expose()));
        Self {
            id: child.id,
            suite: child.suite,
            sequence_numbers: child.sequence_numbers,
            inbound: keys(&child.inbound),
            outbound: keys(&child.outbound),
            local: child.local.clone(),
            remote: child.remote.clone(),
            soft: Left::until(child.soft, now),
            hard: Left::until(child.hard, now),
            state: child.state,
            sending: child.sending,
        }
    }

    fn revive(self, now: Instant) -> Child {
        let keys = |(spi, key): (Spi, Octets)| DirectionKeys { spi, key: KeyMaterial::new(key.into()) };
        Child {
            id: self.id,
            suite: self.suite,
            sequence_numbers: self.sequence_numbers,
            inbound: keys(self.inbound),
            outbound: keys(self.outbound),
            local: self.local,
            remote: self.remote,
            soft: self.soft.from(now),
            hard: self.hard.from(now),
            state: self.state,
            sending: self.sending,
        }
    }
}
