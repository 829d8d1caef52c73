//! Requests of the peer whose answer has to wait until the owner has installed a child SA.

use super::followup::Grant;
use super::{CONFIRMED, Established, Purpose, Unconfirmed};
use crate::id::Spi;
use crate::ike::crypto::{Nonces, Role, SharedSecret};
use crate::ike::event::{
    AddressRequest, Addresses, ChildAnswer, ChildId, ChildRefusal, ChildWanted, Event, Path,
};
use crate::ike::proposal::EspChosen;
use crate::ike::reason::CloseReason;
use crate::ike::sa::child::{Child, ChildState, Collision, Ingredients, Sending};
use crate::ike::sa::generation::Inbox;
use crate::ike::sa::selectors::narrow;
use crate::ike::sa::{Cx, config};
use crate::ike::wire::{
    Exchange, Header, IkeSpi, KeMethod, Notify, NotifyType, Payload, Proposal, TrafficSelector,
};

/// A request that is not answered yet.
#[derive(Debug)]
pub(in crate::ike) struct Held {
    /// Our SPI of the IKE SA it came through.
    pub(in crate::ike) spi: IkeSpi,
    pub(in crate::ike) header: Header,
    pub(in crate::ike) path: Path,
    /// What comes before everything else in the response: IDr and AUTH in IKE_AUTH.
    pub(in crate::ike) front: Vec<Payload>,
    pub(in crate::ike) stage: Stage,
}

/// What the request waits for.
#[derive(Debug)]
pub(in crate::ike) enum Stage {
    /// Nothing: it is about to be answered with an error.
    None,
    /// [`crate::ike::Endpoint::answer_child`].
    Wanted(Box<Wanted>),
    /// [`crate::ike::Endpoint::child_installed`].
    Installing {
        /// The child SA.
        child: ChildId,
        /// The one it replaces.
        replaces: Option<ChildId>,
        /// The rest of the response.
        payloads: Vec<Payload>,
    },
}

/// A child SA the peer asks for, with all that both sides have put into it.
#[derive(Debug)]
pub(in crate::ike) struct Wanted {
    pub(in crate::ike) choice: EspChosen,
    pub(in crate::ike) peer_spi: Spi,
    pub(in crate::ike) nonces: (Vec<u8>, Vec<u8>),
    /// Our nonce and KE payload, where the exchange has them.
    pub(in crate::ike) payloads: Vec<Payload>,
    pub(in crate::ike) shared: Vec<SharedSecret>,
    pub(in crate::ike) ts_i: Vec<TrafficSelector>,
    pub(in crate::ike) ts_r: Vec<TrafficSelector>,
    pub(in crate::ike) request: Option<AddressRequest>,
    pub(in crate::ike) replaces: Option<ChildId>,
}

impl Held {
    fn notify_of(refusal: ChildRefusal) -> NotifyType {
        match refusal {
            ChildRefusal::NoAddress => NotifyType::INTERNAL_ADDRESS_FAILURE,
            ChildRefusal::RequestRequired => NotifyType::FAILED_CP_REQUIRED,
            ChildRefusal::Selectors => NotifyType::TS_UNACCEPTABLE,
            ChildRefusal::NoMore | ChildRefusal::Kernel => NotifyType::NO_ADDITIONAL_SAS,
            ChildRefusal::Temporary => NotifyType::TEMPORARY_FAILURE,
        }
    }
}

/// The data of `INVALID_KE_PAYLOAD`: the method we want (RFC 7296 §1.3).
pub(in crate::ike::sa) fn other_ke(method: KeMethod) -> Notify {
    Notify::with_data(NotifyType::INVALID_KE_PAYLOAD, method.0.to_be_bytes().to_vec())
}

impl Established {
    /// Asks the owner about a child SA that a peer wants.
    pub(in crate::ike::sa) fn want(&mut self, cx: &mut Cx<'_>, held: Held) {
        if let Stage::Wanted(wanted) = &held.stage {
            let event = ChildWanted {
                peer: self.peer.clone(),
                path: held.path,
                request: wanted.request,
                remote: wanted.ts_i.clone(),
                local: wanted.ts_r.clone(),
                suite: wanted.choice.suite,
                encapsulation: self.nat.encapsulation(self.path),
            };
            cx.event(Event::ChildWanted(Box::new(event)));
        }
        self.hold(held);
    }

    fn hold(&mut self, held: Held) {
        if let Some(member) = self.member(held.spi) {
            member.sa.inbox = Inbox::Held;
            self.held = Some(Box::new(held));
        }
    }

    /// The owner's word on [`Event::ChildWanted`].
    pub(in crate::ike) fn answer_child(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        answer: Result<ChildAnswer, ChildRefusal>,
    ) -> crate::ike::sa::Sa {
        match self.held.take() {
            Some(held) if matches!(held.stage, Stage::Wanted(_)) => self.answered(cx, *held, answer),
            other => self.held = other,
        }
        self.settle(cx, Ok(()))
    }

    fn answered(&mut self, cx: &mut Cx<'_>, mut held: Held, answer: Result<ChildAnswer, ChildRefusal>) {
        let Stage::Wanted(mut wanted) = held.stage else { return };
        held.stage = Stage::None;
        let answer = match answer {
            Ok(answer) => answer,
            Err(refusal) => return self.refuse(cx, held, Notify::new(Held::notify_of(refusal))),
        };
        // RFC 7296 §2.9: what both sides allow.
        wanted.ts_i = narrow(&wanted.ts_i, &answer.remote);
        wanted.ts_r = narrow(&wanted.ts_r, &answer.local);
        if wanted.ts_i.is_empty() || wanted.ts_r.is_empty() {
            return self.refuse(cx, held, Notify::new(NotifyType::TS_UNACCEPTABLE));
        }
        self.make_child(cx, held, *wanted, answer.given);
    }

    /// Grants the peer a child SA: it comes to be now, or after further key exchanges.
    pub(super) fn make_child(&mut self, cx: &mut Cx<'_>, held: Held, mut wanted: Wanted, given: Addresses) {
        let spi = cx.new_esp_spi();
        let mut payloads = Vec::new();
        if wanted.request.is_some() {
            payloads.push(Payload::Cp(config::reply(&given)));
        }
        let answer = Proposal { spi: spi.get().to_be_bytes().to_vec(), ..wanted.choice.answer.clone() };
        payloads.push(Payload::Sa(vec![answer]));
        payloads.append(&mut wanted.payloads);
        payloads.push(Payload::TsI(wanted.ts_i.clone()));
        payloads.push(Payload::TsR(wanted.ts_r.clone()));
        if wanted.choice.additional.is_empty() {
            return self.complete_child(cx, held, (spi, wanted), given, payloads);
        }
        let methods = wanted.choice.additional.clone();
        let grant = Grant::Child { spi, wanted: Box::new(wanted), given };
        payloads.push(self.wait_for(cx, held.spi, &methods, grant));
        self.reply_held(cx, held, payloads);
    }

    /// Makes the keys of a child SA the peer asked for, and lets the owner install it; `payloads` then are the
    /// answer to the request that is held.
    pub(super) fn complete_child(
        &mut self,
        cx: &mut Cx<'_>,
        mut held: Held,
        (spi, wanted): (Spi, Wanted),
        given: Addresses,
        payloads: Vec<Payload>,
    ) {
        let Some(member) = self.member(held.spi) else { return cx.release_esp(spi) };
        let keys = member.sa.keys.clone();
        let Wanted { choice, peer_spi, nonces, shared, ts_i, ts_r, replaces, .. } = wanted;
        let id = ChildId(self.next_child);
        self.next_child += 1;
        let ingredients = Ingredients {
            keys: &keys,
            role: Role::Responder,
            nonces: Nonces { initiator: &nonces.0, responder: &nonces.1 },
            shared: &shared,
        };
        let mut child = Child::new(cx, id, spi, (&choice, peer_spi), &ingredients, (ts_r, ts_i));
        if replaces.is_some() {
            child.sending = Sending::Waits;
        }
        let event = child.keys(replaces, given, self.nat.encapsulation(self.path), self.path);
        self.children.push(child);
        self.children.shrink_to_fit();
        if let Some(old) = replaces
            && let Some(offer) = self.purpose().and_then(Purpose::child_offer)
            && offer.replaces == Some(old)
        {
            let lowest = nonces.0.min(nonces.1);
            offer.collision = Some(Collision { theirs: id, lowest: lowest.into() });
        }
        held.stage = Stage::Installing { child: id, replaces, payloads };
        self.hold(held);
        cx.event(Event::ChildKeys(Box::new(event)));
    }

    /// The owner has installed, or not, a child SA that the peer asked for: the response can go.
    pub(super) fn held_child_installed(
        &mut self,
        cx: &mut Cx<'_>,
        id: ChildId,
        result: Result<(), ChildRefusal>,
    ) -> Result<(), CloseReason> {
        let Some(mut held) = self.held.take() else { return Ok(()) };
        let Stage::Installing { child, replaces, payloads } = &mut held.stage else {
            self.held = Some(held);
            return Ok(());
        };
        if *child != id {
            self.held = Some(held);
            return Ok(());
        }
        let (replaces, payloads) = (*replaces, std::mem::take(payloads));
        if let Err(refusal) = result {
            if let Some(offer) = self.purpose().and_then(Purpose::child_offer)
                && offer.collision.as_ref().is_some_and(|collision| collision.theirs == id)
            {
                offer.collision = None;
            }
            self.drop_child(cx, id);
            self.refuse(cx, *held, Notify::new(Held::notify_of(refusal)));
            return Ok(());
        }
        if let Some(child) = self.child_mut(id) {
            child.state = ChildState::Live;
        }
        if let Some(old) = replaces.and_then(|old| self.child_mut(old))
            && old.state == ChildState::Live
        {
            old.state = ChildState::Replaced { by: id };
        }
        self.put_off = None;
        let through = held.spi;
        self.reply_held(cx, *held, payloads);
        self.unconfirmed = Some(Unconfirmed { through, or: through, until: cx.now + CONFIRMED });
        Ok(())
    }

    /// Answers with an error; in IKE_AUTH the IKE SA comes to be even so (RFC 7296 §1.2).
    pub(in crate::ike::sa) fn refuse(&mut self, cx: &mut Cx<'_>, held: Held, notify: Notify) {
        self.reply_held(cx, held, vec![Payload::Notify(notify)]);
    }

    fn reply_held(&mut self, cx: &mut Cx<'_>, held: Held, payloads: Vec<Payload>) {
        let Held { spi, header, path, mut front, .. } = held;
        front.extend(payloads);
        if let Some(member) = self.member(spi) {
            member.sa.respond(cx, path, &header, &front);
        }
        if header.exchange == Exchange::AUTH {
            cx.event(Event::Established(self.peer.clone()));
        }
    }
}
