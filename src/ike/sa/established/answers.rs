//! What the peer's answers to our requests lead to.

use std::time::Duration;

use super::followup::Offered;
use super::{Established, Outcome, Purpose, Standing, Task};
use crate::ike::crypto::SharedSecret;
use crate::ike::event::{Addresses, Event};
use crate::ike::reason::{CloseReason, Step};
use crate::ike::sa::Cx;
use crate::ike::sa::child::{ChildOffer, ChildState, Sending};
use crate::ike::sa::contents::Contents;
use crate::ike::sa::established::tasks::Wish;
use crate::ike::sa::generation::Message;
use crate::ike::wire::{Direction, IkeSpi, KeMethod, Notify, NotifyType};

/// For how long a peer may answer `TEMPORARY_FAILURE` (RFC 7296 §2.25: several minutes).
const PUT_OFF: Duration = Duration::from_secs(5 * 60);

impl Established {
    pub(super) fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        spi: IkeSpi,
        message: &Message,
    ) -> Result<(), CloseReason> {
        let Some(member) = self.member(spi) else { return Ok(()) };
        let standing = member.standing;
        let Some(sent) = member.sa.in_flight.take() else { return Ok(()) };
        let step = sent.purpose.step();
        let contents = message
            .payloads()
            .ok()
            .and_then(|payloads| {
                Contents::of(message.header.exchange, Direction::Response, true, payloads).ok()
            })
            .ok_or(CloseReason::Misbehaved(step));
        let contents = match contents {
            Ok(contents) => contents,
            Err(reason) => {
                sent.purpose.release(cx);
                return Err(reason);
            }
        };
        match sent.purpose {
            Purpose::Probe => Ok(()),
            Purpose::DeleteChild(id) => {
                self.retire(cx, id);
                Ok(())
            }
            Purpose::DeleteIke => {
                if standing == Standing::Current {
                    return Err(self.closing.take().map_or(CloseReason::Local, |closing| closing.reason));
                }
                self.drop_generation(cx, spi);
                Ok(())
            }
            Purpose::Child(offer) => match offer.additional(cx, &contents) {
                methods if methods.is_empty() => self.child_answer(cx, spi, &offer, contents, Vec::new()),
                methods => self.follow_up(cx, spi, Offered::Child(offer), (message, &contents), methods),
            },
            Purpose::RekeyIke(offer) => match self.additional(cx, spi, &contents) {
                methods if methods.is_empty() => self.rekey_ike_answer(cx, spi, &offer, contents, Vec::new()),
                methods => self.follow_up(cx, spi, Offered::Ike(offer), (message, &contents), methods),
            },
            Purpose::Followup(followup) => self.followup_answer(cx, spi, *followup, contents),
        }
    }

    /// `secrets` are those of additional key exchanges, which are all made.
    pub(super) fn child_answer(
        &mut self,
        cx: &mut Cx<'_>,
        spi: IkeSpi,
        offer: &ChildOffer,
        contents: Contents,
        secrets: Vec<SharedSecret>,
    ) -> Result<(), CloseReason> {
        if let Some(error) = contents.error() {
            cx.release_esp(offer.spi);
            return self.child_refused(cx, offer, error);
        }
        if self.closing.is_some() {
            cx.release_esp(offer.spi);
            return Ok(());
        }
        let Some(keys) = self.member(spi).map(|member| member.sa.keys.clone()) else { return Ok(()) };
        let (mut child, nonce) = match offer.accept(cx, &keys, contents, secrets) {
            Ok(made) => made,
            Err(bad) => {
                cx.release_esp(offer.spi);
                return Err(bad.reason(Step::CreateChild));
            }
        };
        self.put_off = None;
        let outcome = match &offer.collision {
            // RFC 7296 §2.8.1: the lowest of the four nonces loses.
            Some(collision) => {
                let ours = offer.nonce.as_slice().min(nonce.as_slice());
                if ours < collision.lowest.as_slice() {
                    child.sending = Sending::Never;
                    Outcome::Lost(collision.theirs)
                } else {
                    Outcome::Won(collision.theirs)
                }
            }
            None => Outcome::Alone,
        };
        self.install(cx, child, offer.replaces, outcome, Addresses::default());
        Ok(())
    }

    fn child_refused(
        &mut self,
        cx: &mut Cx<'_>,
        offer: &ChildOffer,
        error: &Notify,
    ) -> Result<(), CloseReason> {
        let Some(old) = offer.replaces else {
            let tried = offer.ke.as_ref().map(|ke| ke.method);
            let again = match error.kind {
                // RFC 9370 §2.2.4: the peer has lost it on the way.
                NotifyType::STATE_NOT_FOUND => tried,
                _ => self.other_method(cx, error, tried),
            };
            match again {
                Some(method) => self.ask(Task::CreateChild(Box::new(Wish {
                    id: offer.id,
                    local: offer.local.clone(),
                    remote: offer.remote.clone(),
                    ke: Some(method),
                }))),
                None => {
                    let reason = CloseReason::Refused(Step::CreateChild, error.kind);
                    cx.event(Event::ChildFailed(offer.id, reason));
                }
            }
            return Ok(());
        };
        // The peer has replaced it meanwhile, or closed it: there is nothing left to do.
        let live = self.child(old).is_some_and(|child| child.state == ChildState::Live);
        if !live {
            return Ok(());
        }
        match error.kind {
            // RFC 7296 §2.25: the peer does not know it; make another one instead.
            NotifyType::CHILD_SA_NOT_FOUND => {
                let id = crate::ike::event::ChildId(self.next_child);
                self.next_child += 1;
                let (local, remote) = (offer.local.clone(), offer.remote.clone());
                self.drop_child(cx, old);
                self.ask(Task::CreateChild(Box::new(Wish { id, local, remote, ke: None })));
            }
            NotifyType::INVALID_KE_PAYLOAD => {
                match self.other_method(cx, error, offer.ke.as_ref().map(|ke| ke.method)) {
                    Some(method) => self.ask(Task::RekeyChild(old, Some(method))),
                    None => self.retry_child(cx, old),
                }
            }
            NotifyType::TEMPORARY_FAILURE => {
                self.retry_child(cx, old);
                return self.put_off(cx, Step::CreateChild);
            }
            // It may be a passing mood of the peer; the hard lifetime is the end of it.
            _ => self.retry_child(cx, old),
        }
        Ok(())
    }

    /// The method that `INVALID_KE_PAYLOAD` asks for, if it is one we offered and another than before.
    pub(super) fn other_method(
        &self,
        cx: &Cx<'_>,
        error: &Notify,
        tried: Option<KeMethod>,
    ) -> Option<KeMethod> {
        let method = KeMethod(u16::from_be_bytes(error.data.as_slice().try_into().ok()?));
        let offered = cx.settings.proposals.esp.ke.contains(&method) && method != KeMethod::NONE;
        (error.kind == NotifyType::INVALID_KE_PAYLOAD && offered && tried != Some(method)).then_some(method)
    }

    /// The peer has no time for us. After minutes of that the two sides do not agree on what exists.
    pub(super) fn put_off(&mut self, cx: &mut Cx<'_>, step: Step) -> Result<(), CloseReason> {
        let since = *self.put_off.get_or_insert(cx.now);
        if cx.now - since > PUT_OFF {
            return self.begin_close(cx, CloseReason::OutOfSync(step));
        }
        Ok(())
    }
}
