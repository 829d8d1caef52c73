//! Replacing the IKE SA (RFC 7296 §1.3.2, §2.8, §2.8.2, §2.18, §2.25.2).

use std::time::Duration;

use super::children::later;
use super::followup::{Grant, IkeGrant};
use super::requests::{Origin, Refusal, answer_ke};
use super::{CONFIRMED, Established, IkeOffer, Member, Purpose, Standing, Task, Unconfirmed};
use crate::ike::crypto::{IkeSuite, Nonces, Prf, Role, SharedSecret};
use crate::ike::proposal::{IkeOffer as Offer, IkeProposal};
use crate::ike::reason::{CloseReason, Step};
use crate::ike::sa::Cx;
use crate::ike::sa::child::{NONCE, earlier};
use crate::ike::sa::contents::Contents;
use crate::ike::sa::generation::Generation;
use crate::ike::wire::{IkeSpi, KeMethod, MessageId, NotifyType, Payload, Proposal};

/// The most IKE SAs of one connection: two collisions and what they leave behind. A peer that replaces and
/// replaces without deleting is put off.
const MOST: usize = 6;

/// How long an IKE SA that was replaced waits for its initiator to delete it.
const PATIENCE: Duration = Duration::from_secs(120);

/// The proposals for an IKE SA in place of one with this suite.
pub(super) fn proposals(cx: &Cx<'_>, old: &IkeSuite, spi: IkeSpi) -> Vec<Proposal> {
    offered(&cx.settings.proposals.ike, old).to_wire(Some(spi))
}

/// What we ask for in place of an IKE SA with this suite. Additional key exchanges are made again where the old
/// one had them, so that who has got hold of its keys is locked out, quantum computer or not (RFC 9370 §2.2.4).
/// Where it had none the peer may not know them; they are not in the way of one that is to have them.
fn offered(all: &Offer, old: &IkeSuite) -> Offer {
    let Offer(mut proposals) = accepted(all, old.prf);
    if old.additional.is_empty() {
        for proposal in &mut proposals {
            proposal.additional.clear();
        }
    }
    let mut distinct: Vec<IkeProposal> = Vec::with_capacity(proposals.len());
    for proposal in proposals {
        if !distinct.contains(&proposal) {
            distinct.push(proposal);
        }
    }
    Offer(distinct)
}

/// What we agree to while `prf` is the PRF. It stays if our settings still have it: strongSwan 5.9 makes the new
/// keys with the old PRF alone, where RFC 7296 §2.18 has the new one expand them.
fn accepted(all: &Offer, prf: Prf) -> Offer {
    let stays = all.0.iter().any(|proposal| proposal.prf.contains(&prf));
    let mut proposals = all.0.clone();
    for proposal in &mut proposals {
        proposal.prf.retain(|other| !stays || *other == prf);
    }
    proposals.retain(|proposal| !proposal.prf.is_empty());
    Offer(proposals)
}

impl Established {
    /// The peer wants a new IKE SA.
    pub(super) fn rekey_ike_request(
        &mut self,
        cx: &mut Cx<'_>,
        origin: Origin,
        contents: Contents,
    ) -> Result<(), Refusal> {
        // RFC 7296 §2.25.2: not while we create, replace or close a child SA.
        let busy = self.is_busy();
        // Nor when the peer has granted us one already: what is left are further key exchanges.
        let granted = matches!(self.purpose(), Some(Purpose::Followup(_)));
        let Some(member) = self.member(origin.spi) else { return Ok(()) };
        if busy || granted || member.standing != Standing::Current {
            return Err(NotifyType::TEMPORARY_FAILURE.into());
        }
        let prf = member.sa.keys.prf();
        let (Some(sa), Some(theirs)) = (contents.sa, contents.nonce) else {
            return Err(NotifyType::INVALID_SYNTAX.into());
        };
        let sent = contents.ke.as_ref().map(|(method, _)| *method);
        let chosen = accepted(&cx.settings.proposals.ike, prf)
            .select(&sa, sent)
            .ok_or(NotifyType::NO_PROPOSAL_CHOSEN)?;
        let peer_spi =
            chosen.peer_spi.filter(|spi| *spi != IkeSpi::ZERO).ok_or(NotifyType::NO_PROPOSAL_CHOSEN)?;
        let (ke, secret) = answer_ke(cx, chosen.suite.ke, contents.ke.as_ref())?;
        let spi = cx.new_ike_spi();
        let ours = cx.random::<NONCE>().to_vec();
        let answer = Proposal { spi: spi.0.to_be_bytes().to_vec(), ..chosen.answer };
        let mut payloads = vec![Payload::Sa(vec![answer]), Payload::Nonce(ours.clone()), ke];
        let methods = chosen.suite.additional.clone();
        let grant =
            IkeGrant { peer_spi, spi, suite: chosen.suite, nonces: (theirs, ours), secrets: vec![secret] };
        if methods.is_empty() {
            self.respond(cx, origin, &payloads);
            self.complete_ike(cx, origin, grant);
        } else {
            payloads.push(self.wait_for(cx, origin.spi, &methods, Grant::Ike(Box::new(grant))));
            self.respond(cx, origin, &payloads);
        }
        Ok(())
    }

    /// Whether the peer may not replace the IKE SA now.
    pub(super) fn is_busy(&mut self) -> bool {
        let child = match self.purpose() {
            Some(Purpose::DeleteChild(_)) => true,
            Some(purpose) => purpose.child_offer().is_some(),
            None => false,
        };
        child || self.installing.is_some() || self.held.is_some() || self.generations.len() >= MOST
    }

    /// The peer has made all key exchanges for a new IKE SA.
    pub(super) fn complete_ike(&mut self, cx: &mut Cx<'_>, origin: Origin, grant: IkeGrant) {
        let IkeGrant { peer_spi, spi, suite, nonces: (theirs, ours), secrets } = grant;
        let Some(member) = self.member(origin.spi) else { return cx.release_ike(spi) };
        let nonces = Nonces { initiator: &theirs, responder: &ours };
        let keys = member.sa.keys.rekeyed(&suite, nonces, &secrets, peer_spi, spi);
        let limit = member.sa.limit;
        let new = Generation::new((peer_spi, spi), Role::Responder, suite, keys, MessageId::ZERO, limit);
        let collides = match self.purpose().and_then(Purpose::ike_offer) {
            // RFC 7296 §2.8.2: both do it at once, and the nonces will tell which one stays.
            Some(own) => {
                own.collision = Some(theirs.min(ours));
                true
            }
            None => false,
        };
        self.unconfirmed = Some(Unconfirmed { through: origin.spi, or: spi, until: cx.now + CONFIRMED });
        self.generations.push(Member { sa: new, standing: Standing::Candidate });
        if !collides {
            self.promote(cx, spi);
        }
    }

    /// The additional key exchanges that the peer's answer to our wish for a new IKE SA calls for.
    pub(super) fn additional(&mut self, cx: &Cx<'_>, old: IkeSpi, contents: &Contents) -> Vec<KeMethod> {
        let (Some(sa), Some(member), None) = (&contents.sa, self.member(old), contents.error()) else {
            return Vec::new();
        };
        let chosen = offered(&cx.settings.proposals.ike, &member.sa.suite).check(sa);
        chosen.map(|chosen| chosen.suite.additional).unwrap_or_default()
    }

    /// The peer's answer to our wish for a new IKE SA; `secrets` are those of additional key exchanges, which are
    /// all made.
    pub(super) fn rekey_ike_answer(
        &mut self,
        cx: &mut Cx<'_>,
        old: IkeSpi,
        offer: &IkeOffer,
        contents: Contents,
        secrets: Vec<SharedSecret>,
    ) -> Result<(), CloseReason> {
        let candidate = self.candidate();
        if let Some(error) = contents.error() {
            cx.release_ike(offer.spi);
            if let Some(theirs) = candidate {
                // RFC 7296 §2.8.2: theirs was finished before ours was seen.
                self.promote(cx, theirs);
                return Ok(());
            }
            self.soft = later(cx);
            return match error.kind {
                NotifyType::INVALID_KE_PAYLOAD => {
                    let method = error.data.as_slice().try_into().map(u16::from_be_bytes).map(KeMethod);
                    let known = |method: &KeMethod| {
                        cx.settings.proposals.ike.0.iter().any(|proposal| proposal.ke.contains(method))
                    };
                    if let Some(method) =
                        method.ok().filter(known).filter(|method| *method != offer.ke.method)
                    {
                        self.ask(Task::RekeyIke(Some(method)));
                    }
                    Ok(())
                }
                NotifyType::TEMPORARY_FAILURE => self.put_off(cx, Step::CreateChild),
                _ => Ok(()),
            };
        }
        self.put_off = None;
        let (new, nonce) = match self.accept_ike(cx, old, offer, contents, secrets) {
            Ok(made) => made,
            Err(reason) => {
                cx.release_ike(offer.spi);
                return Err(reason);
            }
        };
        let spi = new.own_spi();
        self.generations.push(Member { sa: new, standing: Standing::Candidate });
        let lowest = offer.nonce.as_slice().min(nonce.as_slice());
        let lost = offer.collision.as_deref().is_some_and(|theirs| lowest < theirs);
        match candidate {
            // The SA with the lowest nonce is closed by who created it; the other's creator closes the old one.
            Some(theirs) if lost => {
                self.promote(cx, theirs);
                self.delete_generation(cx, spi);
            }
            _ => {
                self.promote(cx, spi);
                self.delete_generation(cx, old);
            }
        }
        Ok(())
    }

    fn accept_ike(
        &mut self,
        cx: &Cx<'_>,
        old: IkeSpi,
        made: &IkeOffer,
        contents: Contents,
        mut secrets: Vec<SharedSecret>,
    ) -> Result<(Generation, Vec<u8>), CloseReason> {
        let step = Step::CreateChild;
        let (Some(sa), Some(nonce), Some((method, data)), Some(member)) =
            (contents.sa, contents.nonce, contents.ke, self.member(old))
        else {
            return Err(CloseReason::Misbehaved(step));
        };
        let chosen = offered(&cx.settings.proposals.ike, &member.sa.suite)
            .check(&sa)
            .map_err(|_| CloseReason::NoProposal(step))?;
        let peer_spi = chosen.peer_spi.ok_or(CloseReason::Misbehaved(step))?;
        if chosen.suite.ke != made.ke.method || method != made.ke.method {
            return Err(CloseReason::NoProposal(step));
        }
        secrets.insert(0, made.ke.finish(&data).map_err(|error| CloseReason::KeyExchange(step, error))?);
        let nonces = Nonces { initiator: &made.nonce, responder: &nonce };
        let keys = member.sa.keys.rekeyed(&chosen.suite, nonces, &secrets, made.spi, peer_spi);
        let spis = (made.spi, peer_spi);
        let limit = member.sa.limit;
        let new = Generation::new(spis, Role::Initiator, chosen.suite, keys, MessageId::ZERO, limit);
        Ok((new, nonce))
    }

    /// The peer has deleted one of the IKE SAs.
    pub(super) fn generation_deleted(&mut self, cx: &mut Cx<'_>, spi: IkeSpi) -> Result<(), CloseReason> {
        let Some(member) = self.member(spi) else { return Ok(()) };
        if member.standing == Standing::Current {
            let ended = self.closing.take().map_or(CloseReason::PeerDeleted, |closing| closing.reason);
            if self.candidate().is_none() || ended != CloseReason::PeerDeleted {
                self.farewell = Some(spi);
                return Err(ended);
            }
            // RFC 7296 §2.25.2: ours is forgotten; theirs, if there is one, stands.
            let Some(theirs) = self.candidate() else { return Err(CloseReason::PeerDeleted) };
            self.promote(cx, theirs);
        }
        // It stays a while for repetitions of the request.
        let until = cx.now + CONFIRMED;
        if let Some(member) = self.member(spi) {
            member.standing = Standing::Superseded(until);
            if let Some(sent) = member.sa.in_flight.take() {
                sent.purpose.release(cx);
            }
        }
        Ok(())
    }

    fn candidate(&self) -> Option<IkeSpi> {
        let of = |member: &&Member| member.standing == Standing::Candidate;
        self.generations.iter().find(of).map(|member| member.sa.own_spi())
    }

    /// Makes an IKE SA the current one. The children go with it (RFC 7296 §2.8).
    fn promote(&mut self, cx: &mut Cx<'_>, spi: IkeSpi) {
        let until = cx.now + PATIENCE;
        for member in &mut self.generations {
            if member.sa.own_spi() == spi {
                member.standing = Standing::Current;
            } else if matches!(member.standing, Standing::Current | Standing::Candidate) {
                member.standing = Standing::Superseded(until);
            }
        }
        let lifetimes = cx.settings.lifetimes;
        self.soft = earlier(cx, lifetimes.ike_soft);
        self.hard = cx.now + lifetimes.ike_hard;
        self.queue.retain(|task| !matches!(task, Task::RekeyIke(_)));
        self.put_off = None;
        // What the peer has begun through the old one it gives up.
        self.forget_awaited(cx);
    }

    /// Forgets an IKE SA that is not the current one.
    pub(super) fn drop_generation(&mut self, cx: &mut Cx<'_>, spi: IkeSpi) {
        let Some(at) = self.generations.iter().position(|member| member.sa.own_spi() == spi) else { return };
        let member = self.generations.remove(at);
        self.generations.shrink_to_fit();
        cx.changed = true;
        cx.release_ike(spi);
        if let Some(sent) = member.sa.in_flight {
            sent.purpose.release(cx);
        }
        if self.awaited.as_ref().is_some_and(|awaited| awaited.through == spi) {
            self.forget_awaited(cx);
        }
        if self.held.as_ref().is_some_and(|held| held.spi == spi) {
            self.held = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prf_stays_while_the_settings_have_it() {
        let all = Offer::default();
        for prf in [Prf::HmacSha256, Prf::HmacSha384] {
            let accepted = accepted(&all, prf);
            assert!(accepted.0.iter().all(|proposal| proposal.prf == [prf]));
            assert!(!accepted.0.is_empty());
        }
        let others: Vec<Prf> =
            accepted(&all, Prf::HmacSha512).0.iter().flat_map(|one| one.prf.clone()).collect();
        assert!(others.contains(&Prf::HmacSha256) && others.contains(&Prf::HmacSha384));
    }
}
