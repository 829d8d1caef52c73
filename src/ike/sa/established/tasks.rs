//! Our own requests: what waits, what is on its way.

use super::followup::Followup;
use super::{Established, IkeOffer, Standing};
use crate::ike::event::{ChildId, Event};
use crate::ike::reason::{CloseReason, Step};
use crate::ike::sa::Cx;
use crate::ike::sa::child::{ChildOffer, ChildState, Ephemeral, NONCE};
use crate::ike::sa::retry::Retry;
use crate::ike::wire::{
    Delete, Exchange, IkeSpi, KeMethod, MessageId, Notify, NotifyType, Payload, Protocol, TrafficSelector,
};

/// Something to ask of the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ike) enum Task {
    /// Whether it is alive.
    Probe,
    /// A further child SA.
    CreateChild(Box<Wish>),
    /// Another child SA in place of this one, with this key exchange or the preferred one.
    RekeyChild(ChildId, Option<KeMethod>),
    /// That it forgets this child SA, which is [`ChildState::Deleting`].
    DeleteChild(ChildId),
    /// Another IKE SA in place of the current one.
    RekeyIke(Option<KeMethod>),
    /// That it forgets the whole connection.
    Close,
}

/// A child SA that we want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ike) struct Wish {
    pub(in crate::ike) id: ChildId,
    pub(in crate::ike) local: Vec<TrafficSelector>,
    pub(in crate::ike) remote: Vec<TrafficSelector>,
    pub(in crate::ike) ke: Option<KeMethod>,
}

/// Our request that is not answered yet.
#[derive(Debug)]
pub(in crate::ike) struct InFlight {
    pub(in crate::ike) id: MessageId,
    pub(in crate::ike) retry: Retry,
    pub(in crate::ike) purpose: Purpose,
}

/// What a request on its way is for.
#[derive(Debug)]
pub(in crate::ike) enum Purpose {
    /// Liveness.
    Probe,
    /// A child SA, further or in place of another one.
    Child(Box<ChildOffer>),
    /// The end of a child SA.
    DeleteChild(ChildId),
    /// New keys for the IKE SA.
    RekeyIke(Box<IkeOffer>),
    /// A further key exchange for either.
    Followup(Box<Followup>),
    /// The end of the IKE SA it was sent through.
    DeleteIke,
}

impl Purpose {
    pub(in crate::ike) const fn step(&self) -> Step {
        match self {
            Self::Probe | Self::DeleteChild(_) | Self::DeleteIke => Step::Informational,
            Self::Child(_) | Self::RekeyIke(_) => Step::CreateChild,
            Self::Followup(_) => Step::FollowupKe,
        }
    }

    /// Frees the SPIs that it reserved.
    pub(super) fn release(&self, cx: &mut Cx<'_>) {
        match self {
            Self::Child(offer) => cx.release_esp(offer.spi),
            Self::RekeyIke(offer) => cx.release_ike(offer.spi),
            Self::Followup(followup) => followup.offer.release(cx),
            Self::Probe | Self::DeleteChild(_) | Self::DeleteIke => {}
        }
    }
}

impl Established {
    /// Sends what waits, if it is our turn.
    pub(super) fn pump(&mut self, cx: &mut Cx<'_>) -> Result<(), CloseReason> {
        loop {
            let busy = self.current().is_none_or(|member| member.sa.in_flight.is_some());
            if busy || self.installing.is_some() {
                return Ok(());
            }
            // What we ask must not meet what the peer has asked or has not heard: it would be put off or
            // misunderstood (RFC 7296 §2.25).
            let waits = self.unconfirmed.is_some() || self.held.is_some() || self.awaited.is_some();
            if waits && !matches!(self.queue.front(), Some(Task::Close)) {
                return Ok(());
            }
            let Some(task) = self.queue.pop_front() else { return Ok(()) };
            self.start(cx, task)?;
        }
    }

    /// Puts a task into the queue unless it is there.
    pub(super) fn ask(&mut self, task: Task) {
        if !self.queue.contains(&task) {
            self.queue.push_back(task);
        }
    }

    /// What our request in flight on the current IKE SA is for.
    pub(super) fn purpose(&mut self) -> Option<&mut Purpose> {
        Some(&mut self.current()?.sa.in_flight.as_mut()?.purpose)
    }

    fn start(&mut self, cx: &mut Cx<'_>, task: Task) -> Result<(), CloseReason> {
        let Some(spi) = self.current().map(|member| member.sa.own_spi()) else { return Ok(()) };
        match task {
            Task::Probe => {
                self.send(cx, spi, Exchange::INFORMATIONAL, &[], Purpose::Probe);
            }
            Task::DeleteChild(id) => {
                let Some(child) = self.child(id) else { return Ok(()) };
                if matches!(child.state, ChildState::Deleting { .. }) {
                    // RFC 7296 §3.11: the SPIs are those the sender receives with.
                    let payload = Payload::Delete(Delete::children(vec![child.inbound.spi.get()]));
                    self.send(cx, spi, Exchange::INFORMATIONAL, &[payload], Purpose::DeleteChild(id));
                }
            }
            Task::Close => {
                let payload = Payload::Delete(Delete::ike());
                self.send(cx, spi, Exchange::INFORMATIONAL, &[payload], Purpose::DeleteIke);
            }
            Task::RekeyChild(id, ke) => self.start_rekey_child(cx, spi, id, ke)?,
            Task::CreateChild(wish) => {
                let Wish { id, local, remote, ke } = *wish;
                let key_exchange = self.key_exchange(cx, ke);
                let offer = ChildOffer::new(cx, id, None, key_exchange, (local, remote));
                let payloads =
                    offer.payloads(cx).map_err(|error| CloseReason::KeyExchange(Step::CreateChild, error))?;
                let purpose = Purpose::Child(Box::new(offer));
                self.send(cx, spi, Exchange::CREATE_CHILD_SA, &payloads, purpose);
            }
            Task::RekeyIke(ke) => self.start_rekey_ike(cx, spi, ke)?,
        }
        Ok(())
    }

    /// The key exchange for a child SA, and those after it: this one or what the settings prefer. Only a peer
    /// that made additional ones with us before knows what they are (RFC 9370 §2.2.4).
    fn key_exchange(&mut self, cx: &Cx<'_>, ke: Option<KeMethod>) -> (Option<KeMethod>, Vec<Vec<KeMethod>>) {
        let esp = &cx.settings.proposals.esp;
        let known = self.current().is_some_and(|member| !member.sa.suite.additional.is_empty());
        let ke = ke.or_else(|| self.preferred(cx));
        (ke, if known && ke.is_some() { esp.additional.clone() } else { Vec::new() })
    }

    /// RFC 7296 §1.3.3.
    fn start_rekey_child(
        &mut self,
        cx: &mut Cx<'_>,
        spi: IkeSpi,
        id: ChildId,
        ke: Option<KeMethod>,
    ) -> Result<(), CloseReason> {
        let new = ChildId(self.next_child);
        let Some(child) = self.child(id) else { return Ok(()) };
        if child.state != ChildState::Live {
            return Ok(());
        }
        let rekeyed = Notify {
            protocol: Protocol::ESP,
            ..Notify::about_child(NotifyType::REKEY_SA, child.inbound.spi.get())
        };
        let selectors = (child.local.clone(), child.remote.clone());
        self.next_child += 1;
        let key_exchange = self.key_exchange(cx, ke);
        let offer = ChildOffer::new(cx, new, Some(id), key_exchange, selectors);
        let mut payloads = vec![Payload::Notify(rekeyed)];
        payloads
            .extend(offer.payloads(cx).map_err(|error| CloseReason::KeyExchange(Step::CreateChild, error))?);
        self.send(cx, spi, Exchange::CREATE_CHILD_SA, &payloads, Purpose::Child(Box::new(offer)));
        Ok(())
    }

    /// The key exchange to begin with for a child SA: that of the IKE SA if it may be, for the peer is known to do
    /// it. libreswan answers a wrong guess here with `INVALID_SYNTAX`, which leads nowhere.
    fn preferred(&mut self, cx: &Cx<'_>) -> Option<KeMethod> {
        let esp = &cx.settings.proposals.esp;
        let used = self.current().map(|member| member.sa.suite.ke);
        used.filter(|method| esp.ke.contains(method)).or_else(|| esp.guess())
    }

    /// RFC 7296 §1.3.2.
    fn start_rekey_ike(
        &mut self,
        cx: &mut Cx<'_>,
        spi: IkeSpi,
        ke: Option<KeMethod>,
    ) -> Result<(), CloseReason> {
        let Some(suite) = self.current().map(|member| member.sa.suite.clone()) else { return Ok(()) };
        let method = ke.unwrap_or(suite.ke);
        let offer = IkeOffer {
            spi: cx.new_ike_spi(),
            nonce: cx.random::<NONCE>().to_vec(),
            ke: Ephemeral::new(cx, method),
            collision: None,
        };
        let payloads = [
            Payload::Sa(super::rekey::proposals(cx, &suite, offer.spi)),
            Payload::Nonce(offer.nonce.clone()),
            offer.ke.payload().map_err(|error| CloseReason::KeyExchange(Step::CreateChild, error))?,
        ];
        self.send(cx, spi, Exchange::CREATE_CHILD_SA, &payloads, Purpose::RekeyIke(Box::new(offer)));
        Ok(())
    }

    /// Sends a request through the IKE SA with this SPI, whose window has to be free.
    pub(super) fn send(
        &mut self,
        cx: &mut Cx<'_>,
        spi: IkeSpi,
        exchange: Exchange,
        payloads: &[Payload],
        purpose: Purpose,
    ) {
        let path = self.path;
        let Some(member) = self.member(spi) else { return };
        let header = member.sa.next_header(exchange);
        let datagrams = member.sa.seal(cx, &header, payloads);
        let retry = Retry::start(cx, &cx.settings.established, path, datagrams);
        member.sa.in_flight = Some(Box::new(InFlight { id: header.message_id, retry, purpose }));
    }

    /// Deletes an IKE SA that is not the current one any more.
    pub(super) fn delete_generation(&mut self, cx: &mut Cx<'_>, spi: IkeSpi) {
        if let Some(member) = self.member(spi) {
            member.standing = Standing::Closing;
            let payload = Payload::Delete(Delete::ike());
            self.send(cx, spi, Exchange::INFORMATIONAL, &[payload], Purpose::DeleteIke);
        }
    }

    // Commands of the owner.

    pub(in crate::ike) fn probe(mut self: Box<Self>, cx: &mut Cx<'_>) -> crate::ike::sa::Sa {
        self.ask(Task::Probe);
        self.settle(cx, Ok(()))
    }

    pub(in crate::ike) fn rekey_ike(mut self: Box<Self>, cx: &mut Cx<'_>) -> crate::ike::sa::Sa {
        if self.closing.is_none() {
            self.ask(Task::RekeyIke(None));
        }
        self.settle(cx, Ok(()))
    }

    pub(in crate::ike) fn rekey_child(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        id: ChildId,
    ) -> crate::ike::sa::Sa {
        if self.closing.is_none() {
            self.ask(Task::RekeyChild(id, None));
        }
        self.settle(cx, Ok(()))
    }

    /// A further child SA; the number it will have.
    pub(in crate::ike) fn create_child(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        local: Vec<TrafficSelector>,
        remote: Vec<TrafficSelector>,
    ) -> (crate::ike::sa::Sa, ChildId) {
        let id = ChildId(self.next_child);
        self.next_child += 1;
        if self.closing.is_none() {
            self.ask(Task::CreateChild(Box::new(Wish { id, local, remote, ke: None })));
        } else {
            cx.event(Event::ChildFailed(id, CloseReason::Local));
        }
        (self.settle(cx, Ok(())), id)
    }

    pub(in crate::ike) fn close_child(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        id: ChildId,
    ) -> crate::ike::sa::Sa {
        self.delete_child(cx, id, None);
        self.settle(cx, Ok(()))
    }
}
