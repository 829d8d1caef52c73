//! Child SAs: what is kept of one, and how the two ends agree on it (RFC 7296 §1.3, §2.9, §2.17).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Cx;
use super::contents::Contents;
use super::selectors::lie_within;
use crate::entropy::{Entropy, Seeded};
use crate::id::Spi;
use crate::ike::crypto::{KeError, KeyExchange, KeySchedule, Nonces, Role, SharedSecret};
use crate::ike::event::{Addresses, ChildId, ChildKeys, DirectionKeys, EspPorts, Outbound, Path};
use crate::ike::proposal::{EspChosen, EspOffer};
use crate::ike::reason::{CloseReason, Step};
use crate::ike::snapshot::Octets;
use crate::ike::wire::{KeMethod, NotifyType, Payload, TrafficSelector};
use crate::suite::{SequenceNumbers, Suite};
use crate::time::Instant;

/// Octets of our nonces; at least half the size of the largest PRF key (RFC 7296 §2.10).
pub(super) const NONCE: usize = 32;

/// One child SA.
#[derive(Debug)]
pub(in crate::ike) struct Child {
    pub(super) id: ChildId,
    pub(super) suite: Suite,
    pub(super) sequence_numbers: SequenceNumbers,
    pub(super) inbound: DirectionKeys,
    pub(super) outbound: DirectionKeys,
    pub(super) local: Vec<TrafficSelector>,
    pub(super) remote: Vec<TrafficSelector>,
    pub(super) soft: Instant,
    pub(super) hard: Instant,
    pub(super) state: ChildState,
    pub(super) sending: Sending,
}

/// How far a child SA is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ChildState {
    /// The owner has not said yet that it is installed.
    Installing,
    /// It carries traffic.
    Live,
    /// Another one has taken its place; one of both ends will delete it.
    Replaced {
        /// Which one.
        by: ChildId,
    },
    /// We are about to delete it, or have asked the peer to.
    Deleting {
        /// Which one has taken its place, if any.
        by: Option<ChildId>,
    },
    /// Both ends have agreed on its end; it still receives what was overtaken.
    Lingering,
}

/// Whether the owner sends through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Sending {
    /// It does.
    Yes,
    /// It will be told to when the peer has spoken again.
    Waits,
    /// It never will: another one won.
    Never,
}

/// A key exchange we started, small enough to keep in a snapshot: the key pair follows from the seed.
#[derive(Clone)]
pub(in crate::ike) struct Ephemeral {
    pub(super) method: KeMethod,
    pub(super) seed: Zeroizing<[u8; 32]>,
}

/// A child SA we asked for.
#[derive(Debug)]
pub(in crate::ike) struct ChildOffer {
    pub(super) id: ChildId,
    pub(super) replaces: Option<ChildId>,
    pub(super) spi: Spi,
    pub(super) nonce: Vec<u8>,
    pub(super) ke: Option<Ephemeral>,
    /// The methods of each key exchange after that, as offered; empty without any.
    pub(super) additional: Vec<Vec<KeMethod>>,
    pub(super) local: Vec<TrafficSelector>,
    pub(super) remote: Vec<TrafficSelector>,
    /// The peer replaced the same child SA while our request was on its way (RFC 7296 §2.8.1).
    pub(super) collision: Option<Collision>,
}

/// The other exchange of a collision.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::ike) struct Collision {
    /// The child SA it made.
    pub(super) theirs: ChildId,
    /// The lower of its two nonces.
    pub(super) lowest: Octets,
}

/// Why an answer to our offer is no good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadAnswer {
    /// Something is missing.
    Incomplete,
    /// It chose what was not offered.
    NoProposal,
    /// It widened the selectors.
    Selectors,
    /// Its key exchange value is no good.
    Ke(KeError),
}

impl BadAnswer {
    pub(super) const fn reason(self, step: Step) -> CloseReason {
        match self {
            Self::Incomplete => CloseReason::Misbehaved(step),
            Self::NoProposal => CloseReason::NoProposal(step),
            Self::Selectors => CloseReason::ChildRefused(NotifyType::TS_UNACCEPTABLE),
            Self::Ke(error) => CloseReason::KeyExchange(step, error),
        }
    }
}

/// What the keys of a child SA come from; the roles are those of the exchange.
pub(super) struct Ingredients<'a> {
    pub(super) keys: &'a KeySchedule,
    pub(super) role: Role,
    pub(super) nonces: Nonces<'a>,
    pub(super) shared: &'a [SharedSecret],
}

impl Ephemeral {
    pub(in crate::ike) fn new(cx: &mut Cx<'_>, method: KeMethod) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        cx.entropy.secret_fill(seed.as_mut_slice());
        Self { method, seed }
    }

    fn exchange(&self) -> Result<KeyExchange, KeError> {
        KeyExchange::start(self.method, &mut Seeded::new(*self.seed))
    }

    /// The KE payload.
    pub(in crate::ike) fn payload(&self) -> Result<Payload, KeError> {
        Ok(Payload::Ke { method: self.method, data: self.exchange()?.public().to_vec() })
    }

    pub(in crate::ike) fn finish(&self, peer: &[u8]) -> Result<SharedSecret, KeError> {
        self.exchange()?.finish(peer)
    }
}

impl std::fmt::Debug for Ephemeral {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ephemeral({})", self.method)
    }
}

impl Child {
    /// A child SA that both ends have agreed on, to be installed.
    pub(super) fn new(
        cx: &mut Cx<'_>,
        id: ChildId,
        own_spi: Spi,
        (choice, peer_spi): (&EspChosen, Spi),
        ingredients: &Ingredients<'_>,
        (local, remote): (Vec<TrafficSelector>, Vec<TrafficSelector>),
    ) -> Self {
        let Ingredients { keys, role, nonces, shared } = ingredients;
        let material = keys.child_keys(choice.suite, *nonces, shared);
        let (out, r#in) = match role {
            Role::Initiator => (material.to_responder, material.to_initiator),
            Role::Responder => (material.to_initiator, material.to_responder),
        };
        let lifetimes = cx.settings.lifetimes;
        Self {
            id,
            suite: choice.suite,
            sequence_numbers: choice.sequence,
            inbound: DirectionKeys { spi: own_spi, key: r#in },
            outbound: DirectionKeys { spi: peer_spi, key: out },
            local,
            remote,
            soft: earlier(cx, lifetimes.child_soft),
            hard: cx.now + lifetimes.child_hard,
            state: ChildState::Installing,
            sending: Sending::Yes,
        }
    }

    /// What the owner installs.
    pub(super) fn keys(
        &self,
        replaces: Option<ChildId>,
        given: Addresses,
        encapsulation: Option<EspPorts>,
        path: Path,
    ) -> ChildKeys {
        ChildKeys {
            child: self.id,
            replaces,
            outbound: match self.sending {
                Sending::Yes => Outbound::Now,
                Sending::Waits | Sending::Never => Outbound::Wait,
            },
            suite: self.suite,
            sequence_numbers: self.sequence_numbers,
            inbound_keys: self.inbound.clone(),
            outbound_keys: self.outbound.clone(),
            local: self.local.clone(),
            remote: self.remote.clone(),
            given,
            encapsulation,
            path,
        }
    }
}

/// A moment up to a tenth before `lifetime` is over, at random.
pub(super) fn earlier(cx: &mut Cx<'_>, lifetime: Duration) -> Instant {
    let tenth = u64::try_from(lifetime.as_millis() / 10).unwrap_or(u64::MAX);
    cx.now + lifetime.saturating_sub(Duration::from_millis(cx.entropy.below(tenth)))
}

impl ChildOffer {
    /// An offer with a fresh SPI and nonce, a key exchange, and those that may follow it.
    pub(super) fn new(
        cx: &mut Cx<'_>,
        id: ChildId,
        replaces: Option<ChildId>,
        (ke, additional): (Option<KeMethod>, Vec<Vec<KeMethod>>),
        (local, remote): (Vec<TrafficSelector>, Vec<TrafficSelector>),
    ) -> Self {
        let ke = ke.map(|method| Ephemeral::new(cx, method));
        let nonce = cx.random::<NONCE>().to_vec();
        Self { id, replaces, spi: cx.new_esp_spi(), nonce, ke, additional, local, remote, collision: None }
    }

    /// The payloads of a CREATE_CHILD_SA request, in the order of RFC 7296 appendix C.
    pub(super) fn payloads(&self, cx: &Cx<'_>) -> Result<Vec<Payload>, KeError> {
        let offer = self.menu(cx);
        let mut payloads =
            vec![Payload::Sa(offer.to_wire(self.spi.get())), Payload::Nonce(self.nonce.clone())];
        if let Some(ke) = &self.ke {
            payloads.push(ke.payload()?);
        }
        payloads.push(Payload::TsI(self.local.clone()));
        payloads.push(Payload::TsR(self.remote.clone()));
        Ok(payloads)
    }

    /// The additional key exchanges that an answer calls for.
    pub(super) fn additional(&self, cx: &Cx<'_>, contents: &Contents) -> Vec<KeMethod> {
        let (Some(sa), None) = (&contents.sa, contents.error()) else { return Vec::new() };
        self.menu(cx).check(sa).map(|choice| choice.additional).unwrap_or_default()
    }

    /// Reads the answer to a CREATE_CHILD_SA request; `secrets` are those of additional key exchanges.
    pub(super) fn accept(
        &self,
        cx: &mut Cx<'_>,
        keys: &KeySchedule,
        contents: Contents,
        secrets: Vec<SharedSecret>,
    ) -> Result<(Child, Vec<u8>), BadAnswer> {
        let (Some(sa), Some(nonce), Some(ts_i), Some(ts_r)) =
            (contents.sa, contents.nonce, contents.ts_i, contents.ts_r)
        else {
            return Err(BadAnswer::Incomplete);
        };
        let choice = self.menu(cx).check(&sa).map_err(|_| BadAnswer::NoProposal)?;
        let peer_spi = Spi::try_from(choice.peer_spi).map_err(|_| BadAnswer::Incomplete)?;
        let mut shared = match (choice.ke, &self.ke, contents.ke) {
            (None, _, _) => Vec::new(),
            (Some(chosen), Some(ours), Some((method, data))) if chosen == ours.method && chosen == method => {
                vec![ours.finish(&data).map_err(BadAnswer::Ke)?]
            }
            (Some(_), _, _) => return Err(BadAnswer::Incomplete),
        };
        shared.extend(secrets);
        // RFC 7296 §2.9: the responder may narrow, never widen.
        if !lie_within(&ts_i, &self.local) || !lie_within(&ts_r, &self.remote) {
            return Err(BadAnswer::Selectors);
        }
        let nonces = Nonces { initiator: &self.nonce, responder: &nonce };
        let ingredients = Ingredients { keys, role: Role::Initiator, nonces, shared: &shared };
        let child = Child::new(cx, self.id, self.spi, (&choice, peer_spi), &ingredients, (ts_i, ts_r));
        Ok((child, nonce))
    }

    /// What we offer, with the key exchange that we send a value for in front.
    fn menu(&self, cx: &Cx<'_>) -> EspOffer {
        let mut offer = EspOffer { additional: self.additional.clone(), ..cx.settings.proposals.esp.clone() };
        match &self.ke {
            Some(first) => {
                offer.ke.retain(|method| *method != first.method);
                offer.ke.insert(0, first.method);
                offer
            }
            None => offer.without_ke(),
        }
    }
}
