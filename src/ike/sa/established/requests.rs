//! What we answer (RFC 7296 §1.3, §1.4, §2.25).

use super::held::{Held, Stage, Wanted, other_ke};
use super::{Established, Purpose, Standing};
use crate::id::Spi;
use crate::ike::crypto::{self, KeError, SharedSecret};
use crate::ike::event::{Addresses, ChildId, Path};
use crate::ike::reason::{CloseReason, Step};
use crate::ike::sa::child::{ChildState, NONCE};
use crate::ike::sa::contents::Contents;
use crate::ike::sa::generation::Message;
use crate::ike::sa::selectors::narrow;
use crate::ike::sa::{Cx, config};
use crate::ike::wire::{
    Delete, Direction, Exchange, Header, IkeSpi, KeMethod, Notify, NotifyType, Payload, Protocol,
};

/// The most child SAs of one connection, those included that linger or wait for the peer to delete them.
const MOST_CHILDREN: usize = 16;

/// Why a request is answered with an error.
pub(super) enum Refusal {
    /// This one.
    Notify(Notify),
    /// It makes no sense, and the IKE SA cannot go on (RFC 7296 §2.21.3).
    Fatal(NotifyType),
}

impl From<NotifyType> for Refusal {
    fn from(kind: NotifyType) -> Self {
        Self::Notify(Notify::new(kind))
    }
}

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    /// Our SPI of the IKE SA.
    pub(super) spi: IkeSpi,
    pub(super) path: Path,
    pub(super) header: Header,
}

impl Established {
    pub(super) fn request(
        &mut self,
        cx: &mut Cx<'_>,
        spi: IkeSpi,
        path: Path,
        message: &Message,
    ) -> Result<(), CloseReason> {
        let header = message.header;
        let origin = Origin { spi, path, header };
        if self.unconfirmed.is_none_or(|response| response.through == spi || response.or == spi) {
            self.acknowledged(cx);
        }
        let result = match Self::read(message) {
            Ok(contents) => match header.exchange {
                Exchange::INFORMATIONAL => return self.informational(cx, origin, &contents),
                Exchange::CREATE_CHILD_SA => self.create_child_request(cx, origin, contents),
                Exchange::FOLLOWUP_KE => self.followup_request(cx, origin, &contents),
                _ => Err(Refusal::from(NotifyType::INVALID_SYNTAX)),
            },
            Err(refusal) => Err(refusal),
        };
        match result {
            Ok(()) => Ok(()),
            Err(Refusal::Notify(notify)) => {
                self.respond(cx, origin, &[Payload::Notify(notify)]);
                Ok(())
            }
            Err(Refusal::Fatal(kind)) => {
                self.respond(cx, origin, &[Payload::Notify(Notify::new(kind))]);
                Err(CloseReason::Misbehaved(Step::Informational))
            }
        }
    }

    fn read(message: &Message) -> Result<Contents, Refusal> {
        let payloads = message
            .payloads()
            .map_err(|error| Refusal::Fatal(error.notify().unwrap_or(NotifyType::INVALID_SYNTAX)))?;
        Contents::of(message.header.exchange, Direction::Request, true, payloads).map_err(|illegal| {
            match illegal.notify() {
                // RFC 7296 §2.5: the data is the type that is not known. This one is not fatal.
                Some(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD) => Refusal::Notify(critical(illegal)),
                Some(kind) => Refusal::Fatal(kind),
                None => Refusal::Fatal(NotifyType::INVALID_SYNTAX),
            }
        })
    }

    pub(super) fn respond(&mut self, cx: &mut Cx<'_>, origin: Origin, payloads: &[Payload]) {
        if let Some(member) = self.member(origin.spi) {
            member.sa.respond(cx, origin.path, &origin.header, payloads);
        }
    }

    /// RFC 7296 §1.4.
    fn informational(
        &mut self,
        cx: &mut Cx<'_>,
        origin: Origin,
        contents: &Contents,
    ) -> Result<(), CloseReason> {
        if contents.deletes.iter().any(|delete| delete.protocol == Protocol::IKE) {
            // RFC 7296 §1.4.1: the answer to the deletion of the IKE SA is empty.
            self.respond(cx, origin, &[]);
            return self.generation_deleted(cx, origin.spi);
        }
        let mut ours = Vec::new();
        let named = contents.deletes.iter().filter(|delete| delete.protocol == Protocol::ESP);
        for spi in named.flat_map(|delete| &delete.spis) {
            let found = self
                .children
                .iter()
                .find(|child| child.outbound.spi.get() == *spi && child.state != ChildState::Lingering)
                .map(|child| (child.id, child.inbound.spi));
            let Some((id, inbound)) = found else { continue };
            // RFC 7296 §2.25.1: asked to close what we are closing ourselves, we do not name it.
            if !matches!(self.purpose(), Some(Purpose::DeleteChild(closing)) if *closing == id) {
                ours.push(inbound.get());
            }
            self.retire(cx, id);
        }
        let payloads: &[Payload] =
            if ours.is_empty() { &[] } else { &[Payload::Delete(Delete::children(ours))] };
        self.respond(cx, origin, payloads);
        // RFC 7296 §2.21.2: the initiator does not believe us.
        if contents.has(NotifyType::AUTHENTICATION_FAILED) {
            return Err(CloseReason::Refused(Step::Auth, NotifyType::AUTHENTICATION_FAILED));
        }
        Ok(())
    }

    fn create_child_request(
        &mut self,
        cx: &mut Cx<'_>,
        origin: Origin,
        contents: Contents,
    ) -> Result<(), Refusal> {
        let standing = self.member(origin.spi).map(|member| member.standing);
        let alive = matches!(standing, Some(Standing::Current | Standing::Candidate));
        // RFC 7296 §2.25.2: not while we are closing it, nor when it is replaced already.
        if self.closing.is_some() || !alive {
            return Err(NotifyType::TEMPORARY_FAILURE.into());
        }
        // With a window of one it has given up what it had begun.
        self.forget_awaited(cx);
        let for_ike = contents
            .sa
            .as_ref()
            .is_some_and(|sa| sa.first().is_some_and(|offer| offer.protocol == Protocol::IKE));
        if for_ike {
            return self.rekey_ike_request(cx, origin, contents);
        }
        // RFC 7296 §2.25.2: no new child SAs while we replace the IKE SA.
        if self.purpose().is_some_and(|purpose| purpose.ike_offer().is_some()) || self.held.is_some() {
            return Err(NotifyType::TEMPORARY_FAILURE.into());
        }
        match contents.notify(NotifyType::REKEY_SA) {
            Some(notify) => {
                let spi = notify.child_spi().ok_or(NotifyType::INVALID_SYNTAX)?;
                self.rekey_child_request(cx, origin, contents, spi)
            }
            None => self.new_child_request(cx, origin, contents),
        }
    }

    /// RFC 7296 §1.3.3, with the collisions of §2.25.1.
    fn rekey_child_request(
        &mut self,
        cx: &mut Cx<'_>,
        origin: Origin,
        contents: Contents,
        spi: u32,
    ) -> Result<(), Refusal> {
        let named = self
            .children
            .iter()
            .find(|child| child.outbound.spi.get() == spi && child.state != ChildState::Lingering);
        let Some(old) = named else {
            return Err(Refusal::Notify(Notify::about_child(NotifyType::CHILD_SA_NOT_FOUND, spi)));
        };
        let (id, local, remote) = (old.id, old.local.clone(), old.remote.clone());
        // Nor when the peer has granted it to us already: what is left are further key exchanges.
        let granted = match self.purpose() {
            Some(purpose @ Purpose::Followup(_)) => {
                purpose.child_offer().is_some_and(|offer| offer.replaces == Some(id))
            }
            _ => false,
        };
        if granted || !self.may_replace(id) {
            return Err(NotifyType::TEMPORARY_FAILURE.into());
        }
        let mut wanted = self.read_wanted(cx, contents, Some(id))?;
        // RFC 7296 §2.9.2: the new SA carries what the old one did.
        wanted.ts_i = narrow(&wanted.ts_i, &remote);
        wanted.ts_r = narrow(&wanted.ts_r, &local);
        if wanted.ts_i.is_empty() || wanted.ts_r.is_empty() {
            return Err(NotifyType::TS_UNACCEPTABLE.into());
        }
        let Origin { spi, path, header } = origin;
        let held = Held { spi, header, path, front: Vec::new(), stage: Stage::None };
        self.make_child(cx, held, wanted, Addresses::default());
        Ok(())
    }

    /// RFC 7296 §1.3.1.
    fn new_child_request(
        &mut self,
        cx: &mut Cx<'_>,
        origin: Origin,
        contents: Contents,
    ) -> Result<(), Refusal> {
        let wanted = self.read_wanted(cx, contents, None)?;
        let Origin { spi, path, header } = origin;
        self.want(cx, Held { spi, header, path, front: Vec::new(), stage: Stage::Wanted(Box::new(wanted)) });
        Ok(())
    }

    fn read_wanted(
        &mut self,
        cx: &mut Cx<'_>,
        contents: Contents,
        replaces: Option<ChildId>,
    ) -> Result<Wanted, Refusal> {
        if self.children.len() >= MOST_CHILDREN {
            return Err(NotifyType::NO_ADDITIONAL_SAS.into());
        }
        let (Some(sa), Some(nonce), Some(ts_i), Some(ts_r)) =
            (contents.sa, contents.nonce, contents.ts_i, contents.ts_r)
        else {
            return Err(NotifyType::INVALID_SYNTAX.into());
        };
        let sent = contents.ke.as_ref().map(|(method, _)| *method);
        let choice = cx.settings.proposals.esp.select(&sa, sent).ok_or(NotifyType::NO_PROPOSAL_CHOSEN)?;
        let peer_spi = Spi::try_from(choice.peer_spi).map_err(|_| NotifyType::INVALID_SYNTAX)?;
        let ours = cx.random::<NONCE>().to_vec();
        let mut payloads = vec![Payload::Nonce(ours.clone())];
        let mut shared = Vec::new();
        if let Some(method) = choice.ke {
            let (payload, secret) = answer_ke(cx, method, contents.ke.as_ref())?;
            payloads.push(payload);
            shared.push(secret);
        }
        Ok(Wanted {
            choice,
            peer_spi,
            nonces: (nonce, ours),
            payloads,
            shared,
            ts_i,
            ts_r,
            request: contents.cp.as_ref().and_then(config::requested),
            replaces,
        })
    }
}

/// Our half of a key exchange, or the error that asks for another method (RFC 7296 §1.3).
pub(super) fn answer_ke(
    cx: &mut Cx<'_>,
    method: KeMethod,
    sent: Option<&(KeMethod, Vec<u8>)>,
) -> Result<(Payload, SharedSecret), Refusal> {
    match sent {
        Some((theirs, data)) if *theirs == method => match crypto::respond(method, data, cx.entropy) {
            Ok((data, secret)) => Ok((Payload::Ke { method, data }, secret)),
            Err(KeError::Length { .. } | KeError::Value(_)) => Err(NotifyType::INVALID_SYNTAX.into()),
            Err(KeError::Unsupported(_) | KeError::Internal(_)) => Err(NotifyType::TEMPORARY_FAILURE.into()),
        },
        _ => Err(Refusal::Notify(other_ke(method))),
    }
}

/// `UNSUPPORTED_CRITICAL_PAYLOAD` with the type in question.
pub(in crate::ike::sa) fn critical(illegal: crate::ike::wire::Illegal) -> Notify {
    let data = match illegal {
        crate::ike::wire::Illegal::Critical(kind) => vec![kind.0],
        _ => Vec::new(),
    };
    Notify::with_data(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, data)
}
