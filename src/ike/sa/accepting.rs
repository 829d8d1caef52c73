//! The responder until both sides are authenticated: IKE_SA_INIT, IKE_INTERMEDIATE, IKE_AUTH.

use std::time::Duration;

use super::auth::{Covered, check_initiator, prove_responder};
use super::child::NONCE;
use super::contents::Contents;
use super::established::{Established, Held, Nat, Stage, Wanted, critical, other_ke};
use super::generation::{Generation, Message};
use super::init::{Transcript, abilities, notifies};
use super::{Cx, Sa, config};
use crate::id::Spi;
use crate::ike::crypto::auth::IntermediateAuth;
use crate::ike::crypto::{self, KeError, KeySchedule, Nonces, Role};
use crate::ike::event::{Event, How, Path, PeerAuthenticated};
use crate::ike::reason::{CloseReason, Step};
use crate::ike::settings::Encapsulate;
use crate::ike::wire::{
    AuthMethod, Direction, Exchange, Header, KeMethod, MessageId, Notify, NotifyType, Packet, Payload,
    encode_clear, encode_payloads,
};
use crate::time::Instant;

/// How long a failed connection answers repetitions of the request that failed.
const FAILED: Duration = Duration::from_secs(10);

/// A responder whose peer is not authenticated.
pub(in crate::ike) struct Accepting {
    sa: Generation,
    transcript: Transcript,
    intermediate: Option<IntermediateAuth>,
    nat: Nat,
    ed25519: bool,
    /// Key exchanges that are still to come, the next one last.
    additional: Vec<KeMethod>,
    until: Instant,
    failed: Option<CloseReason>,
}

/// An IKE_SA_INIT request that is answered with a notification and forgotten.
#[derive(Debug)]
pub(in crate::ike) struct Refused(pub(in crate::ike) Notify);

impl From<NotifyType> for Refused {
    fn from(kind: NotifyType) -> Self {
        Self(Notify::new(kind))
    }
}

impl Accepting {
    /// Answers IKE_SA_INIT.
    ///
    /// # Errors
    /// [`Refused`] when there is nothing to be agreed on; no state is kept then (RFC 7296 §2.21.1).
    pub(in crate::ike) fn start(
        cx: &mut Cx<'_>,
        path: Path,
        header: Header,
        contents: Contents,
        request: &[u8],
    ) -> Result<Box<Self>, Refused> {
        let abilities = abilities(&contents, (header.initiator_spi, header.responder_spi), path);
        let (Some(sa), Some(nonce_i), Some((method, data))) = (contents.sa, contents.nonce, contents.ke)
        else {
            return Err(NotifyType::INVALID_SYNTAX.into());
        };
        let ike = &cx.settings.proposals.ike;
        let chosen = match abilities.intermediate {
            true => ike.select(&sa, Some(method)),
            // RFC 9370 §2.2.1: additional key exchanges need IKE_INTERMEDIATE.
            false => ike.without_additional().select(&sa, Some(method)),
        };
        let chosen = chosen.ok_or(NotifyType::NO_PROPOSAL_CHOSEN)?;
        let suite = chosen.suite;
        if suite.ke != method {
            return Err(Refused(other_ke(suite.ke)));
        }
        let (public, secret) = crypto::respond(method, &data, cx.entropy).map_err(|error| match error {
            KeError::Length { .. } | KeError::Value(_) => NotifyType::INVALID_SYNTAX,
            KeError::Unsupported(_) | KeError::Internal(_) => NotifyType::NO_PROPOSAL_CHOSEN,
        })?;
        let spis = (header.initiator_spi, cx.new_ike_spi());
        let nonce_r = cx.random::<NONCE>().to_vec();
        let mut payloads = vec![
            Payload::Sa(vec![chosen.answer]),
            Payload::Ke { method, data: public },
            Payload::Nonce(nonce_r.clone()),
        ];
        let intermediate = !suite.additional.is_empty();
        payloads.extend(notifies(cx, spis, path, Encapsulate::BehindNat, intermediate));
        let reply = Header { responder_spi: spis.1, ..header.reply() };
        let response = encode_clear(&reply, &payloads);
        cx.transmit(path, response.clone());
        let nonces = Nonces { initiator: &nonce_i, responder: &nonce_r };
        let keys = KeySchedule::initial(&suite, nonces, &secret, spis.0, spis.1);
        let mut additional = suite.additional.clone();
        additional.reverse();
        let limit = abilities.fragments.then_some(cx.settings.datagram);
        Ok(Box::new(Self {
            sa: Generation::new(spis, Role::Responder, suite, keys, MessageId(1), limit),
            transcript: Transcript { request: request.to_vec(), response, nonce_i, nonce_r },
            intermediate: None,
            nat: abilities.nat,
            ed25519: abilities.ed25519,
            additional,
            until: cx.now + cx.settings.half_open.patience,
            failed: None,
        }))
    }

    /// A repetition of IKE_SA_INIT gets the same response (RFC 7296 §2.1); `false` when it is another request.
    pub(in crate::ike) fn repeat(&self, cx: &mut Cx<'_>, path: Path, request: &[u8]) -> bool {
        let same = self.transcript.request == request;
        if same && self.sa.expected == MessageId(1) {
            cx.transmit(path, self.transcript.response.clone());
        }
        same
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.until
    }

    pub(super) fn timeout(self: Box<Self>, cx: &mut Cx<'_>) -> Sa {
        if cx.now < self.until {
            return Sa::Accepting(self);
        }
        // Who never came back is no news to anyone.
        cx.release_ike(self.sa.own_spi());
        if let Some(reason) = self.failed {
            cx.event(Event::Closed(reason));
        }
        Sa::Closed
    }

    pub(super) fn give_up(self: Box<Self>, cx: &mut Cx<'_>, reason: CloseReason) -> Sa {
        cx.release_ike(self.sa.own_spi());
        cx.event(Event::Closed(reason));
        Sa::Closed
    }

    pub(super) fn datagram(mut self: Box<Self>, cx: &mut Cx<'_>, path: Path, packet: &Packet<'_>) -> Sa {
        let Some(message) = self.sa.hear(cx, path, None, packet) else { return Sa::Accepting(self) };
        if self.failed.is_some() {
            return Sa::Accepting(self);
        }
        let header = message.header;
        let expected = if self.additional.is_empty() { Exchange::AUTH } else { Exchange::INTERMEDIATE };
        let contents = message
            .payloads()
            .map_err(|error| Notify::new(error.notify().unwrap_or(NotifyType::INVALID_SYNTAX)))
            .and_then(|payloads| {
                Contents::of(header.exchange, Direction::Request, true, payloads).map_err(|illegal| {
                    match illegal.notify() {
                        Some(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD) => critical(illegal),
                        other => Notify::new(other.unwrap_or(NotifyType::INVALID_SYNTAX)),
                    }
                })
            });
        match contents {
            Ok(contents) if header.exchange == expected => match expected {
                Exchange::AUTH => self.auth(cx, path, header, contents),
                _ => self.intermediate(cx, path, &message, contents),
            },
            Ok(_) => {
                let reason = CloseReason::Misbehaved(Step::Auth);
                self.fail(cx, path, header, Notify::new(NotifyType::INVALID_SYNTAX), reason)
            }
            Err(notify) => self.fail(cx, path, header, notify, CloseReason::Misbehaved(Step::Auth)),
        }
    }

    /// Answers with an error that ends the connection (RFC 7296 §2.21.2).
    fn fail(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        path: Path,
        header: Header,
        notify: Notify,
        reason: CloseReason,
    ) -> Sa {
        self.sa.respond(cx, path, &header, &[Payload::Notify(notify)]);
        self.until = cx.now + FAILED;
        cx.event(Event::Refused(path, reason.clone()));
        self.failed = Some(reason);
        Sa::Accepting(self)
    }

    /// RFC 9370 §2.2.2.
    fn intermediate(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        path: Path,
        message: &Message,
        contents: Contents,
    ) -> Sa {
        let Message { header, first, plain } = message;
        let wanted = self.additional.pop();
        let Some((method, data)) = contents.ke.filter(|(method, _)| Some(*method) == wanted) else {
            let reason = CloseReason::Misbehaved(Step::Intermediate);
            return self.fail(cx, path, *header, Notify::new(NotifyType::INVALID_SYNTAX), reason);
        };
        let (public, secret) = match crypto::respond(method, &data, cx.entropy) {
            Ok(made) => made,
            Err(error) => {
                let reason = CloseReason::KeyExchange(Step::Intermediate, error);
                return self.fail(cx, path, *header, Notify::new(NotifyType::INVALID_SYNTAX), reason);
            }
        };
        let payloads = [Payload::Ke { method, data: public }];
        // RFC 9242 §3.3.2: AUTH covers both messages, under the keys they were protected with.
        let covered = self.intermediate.get_or_insert_default();
        covered.add(&self.sa.keys, Role::Initiator, header, *first, plain);
        let (first, plain) = encode_payloads(&payloads);
        covered.add(&self.sa.keys, Role::Responder, &header.reply(), first, &plain);
        self.sa.respond(cx, path, header, &payloads);
        self.sa.mix_in(self.transcript.nonces(), &secret);
        Sa::Accepting(self)
    }

    /// RFC 7296 §1.2, §2.15.
    fn auth(self: Box<Self>, cx: &mut Cx<'_>, path: Path, header: Header, mut contents: Contents) -> Sa {
        let covered = Covered {
            transcript: &self.transcript,
            intermediate: self.intermediate.as_ref(),
            message_id: header.message_id,
            sa: &self.sa,
        };
        let (Some(id), Some((method, data))) = (contents.id_i.take(), contents.auth.take()) else {
            let reason = CloseReason::Misbehaved(Step::Auth);
            return self.fail(cx, path, header, Notify::new(NotifyType::INVALID_SYNTAX), reason);
        };
        let peers = &cx.settings.peers;
        // Who shows a secret of the two is answered with it.
        let secret = peers.secrets.get(&id).filter(|_| method == AuthMethod::SHARED_KEY);
        let checked = match &cx.settings.credentials {
            // RFC 8420 §2: Ed25519 is not for who does not announce it.
            Some(credentials) if self.ed25519 || secret.is_some() => {
                check_initiator(&covered, peers, &id, (method, &data)).map(|how| {
                    (how, prove_responder(&covered, credentials, secret), credentials.identity.clone())
                })
            }
            Some(_) | None => Err(CloseReason::NoCredentials),
        };
        let (how, auth, own): (How, Payload, _) = match checked {
            Ok(checked) => checked,
            Err(reason) => {
                let notify = Notify::new(NotifyType::AUTHENTICATION_FAILED);
                return self.fail(cx, path, header, notify, reason);
            }
        };
        // RFC 7296 §2.23: IKE_AUTH may come from another port than IKE_SA_INIT.
        let peer = PeerAuthenticated { identity: id, how };
        let wanted = wanted(cx, &self.transcript, contents);
        let spi = self.sa.own_spi();
        let mut sa = Established::new(cx, self.sa, path, peer, self.nat);
        let front = vec![Payload::IdR(own), auth];
        match wanted {
            Ok(wanted) => {
                let stage = Stage::Wanted(Box::new(wanted));
                sa.want(cx, Held { spi, header, path, front, stage });
            }
            Err(kind) => {
                sa.refuse(cx, Held { spi, header, path, front, stage: Stage::None }, Notify::new(kind));
            }
        }
        sa.settle(cx, Ok(()))
    }
}

/// The first child SA.
fn wanted(cx: &Cx<'_>, transcript: &Transcript, contents: Contents) -> Result<Wanted, NotifyType> {
    let (Some(sa), Some(ts_i), Some(ts_r)) = (contents.sa, contents.ts_i, contents.ts_r) else {
        return Err(NotifyType::NO_PROPOSAL_CHOSEN);
    };
    let choice = cx.settings.proposals.esp.select_without_ke(&sa).ok_or(NotifyType::NO_PROPOSAL_CHOSEN)?;
    let peer_spi = Spi::try_from(choice.peer_spi).map_err(|_| NotifyType::INVALID_SYNTAX)?;
    Ok(Wanted {
        choice,
        peer_spi,
        nonces: (transcript.nonce_i.clone(), transcript.nonce_r.clone()),
        payloads: Vec::new(),
        shared: Vec::new(),
        ts_i,
        ts_r,
        request: contents.cp.as_ref().and_then(config::requested),
        replaces: None,
    })
}
