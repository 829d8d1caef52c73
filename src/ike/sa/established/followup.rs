//! Additional key exchanges when an SA is made or replaced: IKE_FOLLOWUP_KE (RFC 9370 §2.2.4).
//!
//! CREATE_CHILD_SA agrees on everything and carries the first key exchange; each further one has an exchange of
//! its own, and the new SA comes to be with the last of them. The initiator's half is [`Followup`], a request on
//! its way like others. The responder's is [`Awaited`], which it may forget: the initiator then begins anew.

use std::time::Duration;

use super::held::{Held, Stage, Wanted};
use super::requests::{Origin, Refusal};
use super::{Established, IkeOffer, Purpose, Standing};
use crate::id::Spi;
use crate::ike::crypto::{self, IkeSuite, SharedSecret};
use crate::ike::event::{Addresses, ChildId};
use crate::ike::reason::{CloseReason, Step};
use crate::ike::sa::Cx;
use crate::ike::sa::child::{ChildOffer, ChildState, Ephemeral};
use crate::ike::sa::contents::Contents;
use crate::ike::sa::generation::Message;
use crate::ike::wire::{
    Direction, Exchange, IkeSpi, KeMethod, Notify, NotifyType, Payload, PayloadType, decode_payloads,
};
use crate::time::Instant;

/// How long the responder waits for the next exchange: as long as the initiator may take to repeat itself.
const PATIENCE: Duration = Duration::from_secs(120);

/// Our wish for an SA that the peer has granted, with key exchanges still to be made.
#[derive(Debug)]
pub(in crate::ike) struct Followup {
    pub(super) offer: Offered,
    /// The peer's answer to CREATE_CHILD_SA.
    pub(super) answer: (PayloadType, Vec<u8>),
    /// What is made already: our half and the peer's.
    pub(super) made: Vec<(Ephemeral, Vec<u8>)>,
    /// Our half of the one on its way.
    pub(super) ke: Ephemeral,
    /// What is to come, the next one last.
    pub(super) left: Vec<KeMethod>,
}

/// The SA that key exchanges are made for.
#[derive(Debug)]
pub(in crate::ike) enum Offered {
    /// A child SA.
    Child(Box<ChildOffer>),
    /// An IKE SA in place of the current one.
    Ike(Box<IkeOffer>),
}

/// The peer's wish for an SA that we have granted, with key exchanges still to come.
#[derive(Debug)]
pub(in crate::ike) struct Awaited {
    /// Our SPI of the IKE SA that they come through.
    pub(super) through: IkeSpi,
    /// What the peer names it by.
    link: [u8; 8],
    /// What is to come, the next one last.
    left: Vec<KeMethod>,
    pub(super) until: Instant,
    grant: Grant,
}

/// What we have granted.
#[derive(Debug)]
pub(super) enum Grant {
    Child { spi: Spi, wanted: Box<Wanted>, given: Addresses },
    Ike(Box<IkeGrant>),
}

/// An IKE SA that the peer may have.
#[derive(Debug)]
pub(super) struct IkeGrant {
    pub(super) peer_spi: IkeSpi,
    pub(super) spi: IkeSpi,
    pub(super) suite: IkeSuite,
    /// The peer's and ours.
    pub(super) nonces: (Vec<u8>, Vec<u8>),
    pub(super) secrets: Vec<SharedSecret>,
}

impl Grant {
    fn secrets(&mut self) -> &mut Vec<SharedSecret> {
        match self {
            Self::Child { wanted, .. } => &mut wanted.shared,
            Self::Ike(grant) => &mut grant.secrets,
        }
    }

    fn release(&self, cx: &mut Cx<'_>) {
        match self {
            Self::Child { spi, .. } => cx.release_esp(*spi),
            Self::Ike(grant) => cx.release_ike(grant.spi),
        }
    }
}

impl Purpose {
    /// The child SA that it is to make.
    pub(super) fn child_offer(&mut self) -> Option<&mut ChildOffer> {
        match self {
            Self::Child(offer) => Some(offer),
            Self::Followup(followup) => match &mut followup.offer {
                Offered::Child(offer) => Some(offer),
                Offered::Ike(_) => None,
            },
            Self::Probe | Self::DeleteChild(_) | Self::RekeyIke(_) | Self::DeleteIke => None,
        }
    }

    /// The IKE SA that it is to make.
    pub(super) fn ike_offer(&mut self) -> Option<&mut IkeOffer> {
        match self {
            Self::RekeyIke(offer) => Some(offer),
            Self::Followup(followup) => match &mut followup.offer {
                Offered::Ike(offer) => Some(offer),
                Offered::Child(_) => None,
            },
            Self::Probe | Self::Child(_) | Self::DeleteChild(_) | Self::DeleteIke => None,
        }
    }
}

// The initiator's half.

impl Established {
    /// The peer has granted an SA with additional key exchanges: makes the first of them.
    pub(super) fn follow_up(
        &mut self,
        cx: &mut Cx<'_>,
        spi: IkeSpi,
        offer: Offered,
        (message, contents): (&Message, &Contents),
        mut methods: Vec<KeMethod>,
    ) -> Result<(), CloseReason> {
        methods.reverse();
        let Some(first) = methods.pop().filter(|_| self.closing.is_none()) else {
            offer.release(cx);
            return Ok(());
        };
        let answer = (message.first, message.plain.clone());
        let ke = Ephemeral::new(cx, first);
        let followup = Followup { offer, answer, made: Vec::new(), ke, left: methods };
        self.ask_followup(cx, spi, followup, contents)
    }

    /// Sends the next request; `contents` is the peer's answer to the last one, which names it.
    fn ask_followup(
        &mut self,
        cx: &mut Cx<'_>,
        spi: IkeSpi,
        followup: Followup,
        contents: &Contents,
    ) -> Result<(), CloseReason> {
        let step = Step::FollowupKe;
        let link = contents.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE).map(|link| link.data.clone());
        let ke = followup.ke.payload().map_err(|error| CloseReason::KeyExchange(step, error));
        let (ke, link) = match (ke, link) {
            (Ok(ke), Some(link)) => (ke, link),
            (result, _) => {
                followup.offer.release(cx);
                return Err(result.err().unwrap_or(CloseReason::Misbehaved(step)));
            }
        };
        let link = Notify::with_data(NotifyType::ADDITIONAL_KEY_EXCHANGE, link);
        let purpose = Purpose::Followup(Box::new(followup));
        self.send(cx, spi, Exchange::FOLLOWUP_KE, &[ke, Payload::Notify(link)], purpose);
        Ok(())
    }

    /// The peer's half of an additional key exchange. With the last one the SA is there.
    pub(super) fn followup_answer(
        &mut self,
        cx: &mut Cx<'_>,
        spi: IkeSpi,
        mut followup: Followup,
        contents: Contents,
    ) -> Result<(), CloseReason> {
        if contents.error().is_some() {
            return self.granted(cx, spi, &followup.offer, contents, Vec::new());
        }
        let step = Step::FollowupKe;
        let theirs = contents.ke.as_ref().filter(|(method, _)| *method == followup.ke.method);
        let Some((_, data)) = theirs else {
            followup.offer.release(cx);
            return Err(CloseReason::Misbehaved(step));
        };
        if let Some(next) = followup.left.pop() {
            let next = Ephemeral::new(cx, next);
            followup.made.push((std::mem::replace(&mut followup.ke, next), data.clone()));
            return self.ask_followup(cx, spi, followup, &contents);
        }
        followup.made.push((followup.ke, data.clone()));
        let secrets = followup.made.iter().map(|(ours, theirs)| ours.finish(theirs)).collect();
        let secrets: Vec<SharedSecret> = match secrets {
            Ok(secrets) => secrets,
            Err(error) => {
                followup.offer.release(cx);
                return Err(CloseReason::KeyExchange(step, error));
            }
        };
        let (first, plain) = &followup.answer;
        let granted = decode_payloads(*first, plain).ok().and_then(|payloads| {
            Contents::of(Exchange::CREATE_CHILD_SA, Direction::Response, true, payloads).ok()
        });
        match granted {
            Some(granted) => self.granted(cx, spi, &followup.offer, granted, secrets),
            None => {
                followup.offer.release(cx);
                Err(CloseReason::Misbehaved(step))
            }
        }
    }

    fn granted(
        &mut self,
        cx: &mut Cx<'_>,
        spi: IkeSpi,
        offer: &Offered,
        contents: Contents,
        secrets: Vec<SharedSecret>,
    ) -> Result<(), CloseReason> {
        match offer {
            Offered::Child(offer) => self.child_answer(cx, spi, offer, contents, secrets),
            Offered::Ike(offer) => self.rekey_ike_answer(cx, spi, offer, contents, secrets),
        }
    }
}

impl Offered {
    /// Frees the SPI that it reserved.
    pub(super) fn release(&self, cx: &mut Cx<'_>) {
        match self {
            Self::Child(offer) => cx.release_esp(offer.spi),
            Self::Ike(offer) => cx.release_ike(offer.spi),
        }
    }
}

// The responder's half.

impl Established {
    /// Waits for the additional key exchanges of what we have granted; the payload that says so.
    pub(super) fn wait_for(
        &mut self,
        cx: &mut Cx<'_>,
        through: IkeSpi,
        methods: &[KeMethod],
        grant: Grant,
    ) -> Payload {
        self.forget_awaited(cx);
        let link = cx.random();
        let left = methods.iter().rev().copied().collect();
        let until = cx.now + PATIENCE;
        self.awaited = Some(Box::new(Awaited { through, link, left, until, grant }));
        link_payload(link)
    }

    /// Forgets what the peer has not finished.
    pub(super) fn forget_awaited(&mut self, cx: &mut Cx<'_>) {
        if let Some(awaited) = self.awaited.take() {
            awaited.grant.release(cx);
        }
    }

    /// The peer makes an additional key exchange.
    pub(super) fn followup_request(
        &mut self,
        cx: &mut Cx<'_>,
        origin: Origin,
        contents: &Contents,
    ) -> Result<(), Refusal> {
        let named = contents.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE).map(|link| link.data.as_slice());
        let is_meant =
            |awaited: &mut Box<Awaited>| awaited.through == origin.spi && named == Some(&awaited.link[..]);
        // RFC 9370 §2.2.4: the initiator will begin anew.
        let mut awaited = self.awaited.take_if(is_meant).ok_or(NotifyType::STATE_NOT_FOUND)?;
        let ke = match self.make_additional(cx, origin, &mut awaited, contents) {
            Ok(ke) => ke,
            Err(refusal) => {
                awaited.grant.release(cx);
                return Err(refusal);
            }
        };
        if !awaited.left.is_empty() {
            let link = link_payload(awaited.link);
            awaited.until = cx.now + PATIENCE;
            self.awaited = Some(awaited);
            self.respond(cx, origin, &[ke, link]);
            return Ok(());
        }
        match awaited.grant {
            Grant::Child { spi, wanted, given } => {
                let Origin { spi: through, path, header } = origin;
                let held = Held { spi: through, header, path, front: Vec::new(), stage: Stage::None };
                self.complete_child(cx, held, (spi, *wanted), given, vec![ke]);
            }
            Grant::Ike(grant) => {
                self.respond(cx, origin, &[ke]);
                self.complete_ike(cx, origin, *grant);
            }
        }
        Ok(())
    }

    /// Our half of the next key exchange, if what it is for can still come to be.
    fn make_additional(
        &mut self,
        cx: &mut Cx<'_>,
        origin: Origin,
        awaited: &mut Awaited,
        contents: &Contents,
    ) -> Result<Payload, Refusal> {
        let standing = self.member(origin.spi).map(|member| member.standing);
        let late = match &awaited.grant {
            Grant::Child { wanted, .. } => {
                let alive = matches!(standing, Some(Standing::Current | Standing::Candidate));
                !alive || self.held.is_some() || wanted.replaces.is_some_and(|old| !self.may_replace(old))
            }
            Grant::Ike(_) => standing != Some(Standing::Current) || self.is_busy(),
        };
        if late || self.closing.is_some() {
            return Err(NotifyType::TEMPORARY_FAILURE.into());
        }
        let wanted = awaited.left.pop();
        let theirs = contents.ke.as_ref().filter(|(method, _)| Some(*method) == wanted);
        let (method, data) = theirs.ok_or(NotifyType::INVALID_SYNTAX)?;
        let (data, secret) =
            crypto::respond(*method, data, cx.entropy).map_err(|_| NotifyType::INVALID_SYNTAX)?;
        awaited.grant.secrets().push(secret);
        Ok(Payload::Ke { method: *method, data })
    }

    /// Whether the peer may replace a child SA. Not when it is replaced already, and be it that the owner is
    /// still at it (RFC 7296 §2.25.1).
    pub(super) fn may_replace(&self, id: ChildId) -> bool {
        let installing = self.installing.as_ref().is_some_and(|installing| installing.replaces == Some(id));
        !installing && self.child(id).is_some_and(|child| child.state == ChildState::Live)
    }
}

fn link_payload(link: [u8; 8]) -> Payload {
    Payload::Notify(Notify::with_data(NotifyType::ADDITIONAL_KEY_EXCHANGE, link.to_vec()))
}
