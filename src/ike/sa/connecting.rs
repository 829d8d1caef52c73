//! The initiator until both sides are authenticated: IKE_SA_INIT, IKE_INTERMEDIATE, IKE_AUTH.

use super::auth::{Covered, check_responder, prove};
use super::child::{Child, Ingredients, NONCE};
use super::contents::Contents;
use super::established::{Established, FAR, FIRST_CHILD, Nat, Outcome, Translated};
use super::generation::{Generation, Message};
use super::init::{Transcript, abilities, notifies};
use super::retry::Retry;
use super::selectors::{lie_within, narrow};
use super::{Cx, Sa, config};
use crate::id::Spi;
use crate::ike::crypto::auth::IntermediateAuth;
use crate::ike::crypto::{IkeSuite, KeyExchange, KeySchedule, Nonces, Role};
use crate::ike::event::{Addresses, Event, How, Path, PeerAuthenticated};
use crate::ike::reason::{CloseReason, Step};
use crate::ike::settings::{Connect, Encapsulate, OwnAuth};
use crate::ike::wire::{
    Body, Direction, Exchange, Flags, Header, Id, IkeSpi, KeMethod, MessageId, Notify, NotifyType, Packet,
    Payload, TrafficSelector, encode_clear, encode_payloads,
};
use crate::time::Instant;

/// How often we start again because the responder wants a cookie or another key exchange.
const MOST_RETRIES: u8 = 5;
/// The longest cookie (RFC 7296 §2.6).
const LONGEST_COOKIE: usize = 64;

/// An initiator.
pub(in crate::ike) struct Connecting {
    connect: Box<Connect>,
    path: Path,
    stage: Stage,
}

enum Stage {
    Init(Box<Init>),
    Keyed(Box<Keyed>),
}

/// IKE_SA_INIT is on its way.
struct Init {
    spi: IkeSpi,
    nonce: Vec<u8>,
    /// `None` once it is completed.
    exchange: Option<KeyExchange>,
    cookie: Option<Vec<u8>>,
    request: Vec<u8>,
    retries: u8,
    retry: Retry,
}

/// Keys are agreed; IKE_INTERMEDIATE or IKE_AUTH is on its way.
struct Keyed {
    sa: Generation,
    transcript: Transcript,
    intermediate: Option<IntermediateAuth>,
    nat: Nat,
    /// Key exchanges that are still to come, the next one last.
    additional: Vec<KeMethod>,
    waiting: Option<Waiting>,
}

/// A request on its way.
struct Waiting {
    awaited: MessageId,
    retry: Retry,
    step: KeyedStep,
}

/// A response to IKE_SA_INIT that has passed the first checks.
#[derive(Clone, Copy)]
struct Heard<'a> {
    octets: &'a [u8],
    path: Path,
    responder_spi: IkeSpi,
}

enum KeyedStep {
    Intermediate(KeyExchange),
    Auth { spi: Spi, message_id: MessageId },
}

impl Connecting {
    /// Sends the first message.
    pub(in crate::ike) fn start(cx: &mut Cx<'_>, connect: Connect) -> Sa {
        let path = connect.path;
        let spi = cx.new_ike_spi();
        let nonce = cx.random::<NONCE>().to_vec();
        let method = cx.settings.proposals.ike.guess();
        let exchange = method.map(|method| KeyExchange::start(method, cx.entropy));
        let Some(Ok(exchange)) = exchange else {
            cx.release_ike(spi);
            cx.event(Event::Closed(CloseReason::NoProposal(Step::Init)));
            return Sa::Closed;
        };
        let request = init_request(cx, &connect, (spi, &nonce, &exchange, None));
        let retry = Retry::start(cx, &cx.settings.connecting, path, vec![request.clone()]);
        let init = Init { spi, nonce, exchange: Some(exchange), cookie: None, request, retries: 0, retry };
        Sa::Connecting(Box::new(Self {
            connect: Box::new(connect),
            path,
            stage: Stage::Init(Box::new(init)),
        }))
    }

    pub(super) fn deadline(&self) -> Instant {
        match &self.stage {
            Stage::Init(init) => init.retry.deadline(),
            Stage::Keyed(keyed) => keyed.waiting.as_ref().map_or(FAR, |waiting| waiting.retry.deadline()),
        }
    }

    pub(super) fn timeout(mut self: Box<Self>, cx: &mut Cx<'_>) -> Sa {
        let policy = &cx.settings.connecting;
        let (fired, step) = match &mut self.stage {
            Stage::Init(init) => (init.retry.fire(cx, policy, self.path), Step::Init),
            Stage::Keyed(keyed) => match &mut keyed.waiting {
                Some(waiting) => (waiting.retry.fire(cx, policy, self.path), waiting.step.name()),
                None => return Sa::Connecting(self),
            },
        };
        match fired {
            Ok(()) => Sa::Connecting(self),
            Err(_) => self.give_up(cx, CloseReason::Unresponsive(step)),
        }
    }

    /// Ends it without a word to the peer.
    pub(super) fn give_up(self, cx: &mut Cx<'_>, reason: CloseReason) -> Sa {
        match self.stage {
            Stage::Init(init) => cx.release_ike(init.spi),
            Stage::Keyed(keyed) => {
                cx.release_ike(keyed.sa.own_spi());
                if let Some(Waiting { step: KeyedStep::Auth { spi, .. }, .. }) = keyed.waiting {
                    cx.release_esp(spi);
                }
            }
        }
        cx.event(Event::Closed(reason));
        Sa::Closed
    }

    pub(super) fn datagram(
        self: Box<Self>,
        cx: &mut Cx<'_>,
        path: Path,
        octets: &[u8],
        packet: &Packet<'_>,
    ) -> Sa {
        match self.stage {
            Stage::Init(_) => self.init_response(cx, path, octets, packet),
            Stage::Keyed(_) => self.keyed_response(cx, path, packet),
        }
    }

    /// RFC 7296 §1.2, §2.6, §2.7. Nothing here is authenticated: what makes no sense is ignored, for the real
    /// answer may still come.
    fn init_response(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        path: Path,
        octets: &[u8],
        packet: &Packet<'_>,
    ) -> Sa {
        let Stage::Init(init) = &mut self.stage else { return Sa::Connecting(self) };
        let header = packet.header;
        let expected =
            Flags { initiator: false, response: true } == header.flags && header.initiator_spi == init.spi;
        let Body::Clear(payloads) = &packet.body else { return Sa::Connecting(self) };
        if !expected || header.exchange != Exchange::SA_INIT || header.message_id != MessageId::ZERO {
            return Sa::Connecting(self);
        }
        let Ok(contents) = Contents::of(Exchange::SA_INIT, Direction::Response, false, payloads.clone())
        else {
            return Sa::Connecting(self);
        };
        if let Some(cookie) = contents.notify(NotifyType::COOKIE)
            && contents.sa.is_none()
        {
            // RFC 7296 §2.6: the same message again, with the cookie in front.
            if cookie.data.is_empty() || cookie.data.len() > LONGEST_COOKIE {
                return Sa::Connecting(self);
            }
            init.cookie = Some(cookie.data.clone());
            return self.again(cx);
        }
        if let Some(error) = contents.error() {
            if error.kind != NotifyType::INVALID_KE_PAYLOAD {
                let reason = CloseReason::Refused(Step::Init, error.kind);
                return self.give_up(cx, reason);
            }
            // RFC 7296 §1.2: again with the method the responder chose, if it is one of ours.
            let method = error.data.as_slice().try_into().map(u16::from_be_bytes).map(KeMethod);
            let offered = |method: &KeMethod| {
                init.exchange.as_ref().is_some_and(|exchange| *method != exchange.method())
                    && cx.settings.proposals.ike.0.iter().any(|proposal| proposal.ke.contains(method))
            };
            let Some(method) = method.ok().filter(offered) else { return Sa::Connecting(self) };
            let Ok(exchange) = KeyExchange::start(method, cx.entropy) else {
                return self.give_up(cx, CloseReason::NoProposal(Step::Init));
            };
            init.exchange = Some(exchange);
            return self.again(cx);
        }
        if header.responder_spi == IkeSpi::ZERO {
            return Sa::Connecting(self);
        }
        self.keys(cx, Heard { octets, path, responder_spi: header.responder_spi }, contents)
    }

    /// Sends IKE_SA_INIT again, changed.
    fn again(mut self: Box<Self>, cx: &mut Cx<'_>) -> Sa {
        let Stage::Init(init) = &mut self.stage else { return Sa::Connecting(self) };
        init.retries += 1;
        if init.retries > MOST_RETRIES {
            return self.give_up(cx, CloseReason::TooManyRetries(MOST_RETRIES));
        }
        let Some(exchange) = &init.exchange else { return Sa::Connecting(self) };
        let parts = (init.spi, &init.nonce[..], exchange, init.cookie.as_deref());
        init.request = init_request(cx, &self.connect, parts);
        init.retry = Retry::start(cx, &cx.settings.connecting, self.path, vec![init.request.clone()]);
        Sa::Connecting(self)
    }

    /// The responder has chosen: keys follow, and the next request.
    fn keys(mut self: Box<Self>, cx: &mut Cx<'_>, heard: Heard<'_>, contents: Contents) -> Sa {
        let Stage::Init(init) = &mut self.stage else { return Sa::Connecting(self) };
        let spis = (init.spi, heard.responder_spi);
        let abilities = abilities(&contents, spis, heard.path);
        let (Some(sa), Some(nonce_r), Some((method, data))) = (contents.sa, contents.nonce, contents.ke)
        else {
            return Sa::Connecting(self);
        };
        let Some(exchange) = init.exchange.take_if(|exchange| exchange.method() == method) else {
            return Sa::Connecting(self);
        };
        let chosen = cx.settings.proposals.ike.check(&sa).ok().map(|chosen| chosen.suite);
        let sound =
            |suite: &IkeSuite| suite.ke == method && (suite.additional.is_empty() || abilities.intermediate);
        let Some(suite) = chosen.filter(sound) else {
            return self.give_up(cx, CloseReason::NoProposal(Step::Init));
        };
        let secret = match exchange.finish(&data) {
            Ok(secret) => secret,
            Err(error) => return self.give_up(cx, CloseReason::KeyExchange(Step::Init, error)),
        };
        let nonces = Nonces { initiator: &init.nonce, responder: &nonce_r };
        let keys = KeySchedule::initial(&suite, nonces, &secret, spis.0, spis.1);
        let mut additional = suite.additional.clone();
        additional.reverse();
        let limit = abilities.fragments.then_some(self.connect.datagram.unwrap_or(cx.settings.datagram));
        let mut nat = abilities.nat;
        if self.connect.encapsulate == Encapsulate::Always {
            nat.here = Translated::Yes;
        }
        // RFC 7296 §2.23: with a NAT on the path everything goes on on port 4500.
        if let Some(float) = self.connect.float.filter(|_| nat != Nat::default()) {
            self.path = float;
            cx.event(Event::PathChanged(float));
        }
        let transcript = Transcript {
            request: std::mem::take(&mut init.request),
            response: heard.octets.to_vec(),
            nonce_i: std::mem::take(&mut init.nonce),
            nonce_r,
        };
        let keyed = Keyed {
            sa: Generation::new(spis, Role::Initiator, suite, keys, MessageId(1), limit),
            transcript,
            intermediate: None,
            nat,
            additional,
            waiting: None,
        };
        self.stage = Stage::Keyed(Box::new(keyed));
        self.go_on(cx)
    }

    /// Sends the next request: IKE_INTERMEDIATE while there are key exchanges to make, then IKE_AUTH.
    fn go_on(mut self: Box<Self>, cx: &mut Cx<'_>) -> Sa {
        let Stage::Keyed(keyed) = &mut self.stage else { return Sa::Connecting(self) };
        let (header, payloads, step) = match keyed.additional.pop() {
            Some(method) => {
                let exchange = match KeyExchange::start(method, cx.entropy) {
                    Ok(exchange) => exchange,
                    Err(error) => {
                        return self.give_up(cx, CloseReason::KeyExchange(Step::Intermediate, error));
                    }
                };
                let header = keyed.sa.next_header(Exchange::INTERMEDIATE);
                let payloads = vec![Payload::Ke { method, data: exchange.public().to_vec() }];
                // RFC 9242 §3.3.2: AUTH covers the messages before it.
                let (first, plain) = encode_payloads(&payloads);
                keyed.intermediate.get_or_insert_default().add(
                    &keyed.sa.keys,
                    Role::Initiator,
                    &header,
                    first,
                    &plain,
                );
                (header, payloads, KeyedStep::Intermediate(exchange))
            }
            None => {
                let header = keyed.sa.next_header(Exchange::AUTH);
                let spi = cx.new_esp_spi();
                let payloads = auth_request(cx, &self.connect, keyed, header.message_id, spi);
                (header, payloads, KeyedStep::Auth { spi, message_id: header.message_id })
            }
        };
        let datagrams = keyed.sa.seal(cx, &header, &payloads);
        let retry = Retry::start(cx, &cx.settings.connecting, self.path, datagrams);
        keyed.waiting = Some(Waiting { awaited: header.message_id, retry, step });
        Sa::Connecting(self)
    }

    fn keyed_response(mut self: Box<Self>, cx: &mut Cx<'_>, path: Path, packet: &Packet<'_>) -> Sa {
        let Stage::Keyed(keyed) = &mut self.stage else { return Sa::Connecting(self) };
        if packet.header.direction() == Direction::Request {
            return Sa::Connecting(self);
        }
        let awaited = keyed.waiting.as_ref().map(|waiting| waiting.awaited);
        let Some(message) = keyed.sa.hear(cx, path, awaited, packet) else { return Sa::Connecting(self) };
        let Some(waiting) = keyed.waiting.take() else { return Sa::Connecting(self) };
        let step = waiting.step.name();
        let contents = message.payloads().ok().and_then(|payloads| {
            Contents::of(message.header.exchange, Direction::Response, true, payloads).ok()
        });
        match (waiting.step, contents) {
            (KeyedStep::Intermediate(exchange), Some(contents)) => {
                self.intermediate_response(cx, exchange, &message, contents)
            }
            (KeyedStep::Auth { spi, message_id }, Some(contents)) => {
                self.auth_response(cx, spi, message_id, contents)
            }
            (KeyedStep::Auth { spi, .. }, None) => {
                cx.release_esp(spi);
                self.give_up(cx, CloseReason::Misbehaved(step))
            }
            (KeyedStep::Intermediate(_), None) => self.give_up(cx, CloseReason::Misbehaved(step)),
        }
    }

    /// RFC 9370 §2.2.2.
    fn intermediate_response(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        exchange: KeyExchange,
        message: &Message,
        contents: Contents,
    ) -> Sa {
        let Stage::Keyed(keyed) = &mut self.stage else { return Sa::Connecting(self) };
        if let Some(error) = contents.error() {
            let reason = CloseReason::Refused(Step::Intermediate, error.kind);
            return self.give_up(cx, reason);
        }
        let Some((_, data)) = contents.ke.filter(|(method, _)| *method == exchange.method()) else {
            return self.give_up(cx, CloseReason::Misbehaved(Step::Intermediate));
        };
        let Message { header, first, plain } = message;
        keyed.intermediate.get_or_insert_default().add(
            &keyed.sa.keys,
            Role::Responder,
            header,
            *first,
            plain,
        );
        match exchange.finish(&data) {
            Ok(secret) => keyed.sa.mix_in(keyed.transcript.nonces(), &secret),
            Err(error) => return self.give_up(cx, CloseReason::KeyExchange(Step::Intermediate, error)),
        }
        self.go_on(cx)
    }

    /// RFC 7296 §1.2, §2.15.
    fn auth_response(self, cx: &mut Cx<'_>, spi: Spi, message_id: MessageId, mut contents: Contents) -> Sa {
        let Self { connect, path, stage } = self;
        let Stage::Keyed(keyed) = stage else { return Sa::Closed };
        let mut keyed = *keyed;
        let checked = keyed.check(&connect, message_id, &contents);
        if let Err(reason) = checked {
            cx.release_esp(spi);
            // RFC 7296 §2.21.2: the responder is told, for it believes that all is well.
            if !matches!(reason, CloseReason::Refused(..)) {
                let header = keyed.sa.next_header(Exchange::INFORMATIONAL);
                let notify = Payload::Notify(Notify::new(NotifyType::AUTHENTICATION_FAILED));
                for datagram in keyed.sa.seal(cx, &header, &[notify]) {
                    cx.transmit(path, datagram);
                }
            }
            let sa = Self { connect, path, stage: Stage::Keyed(Box::new(keyed)) };
            return sa.give_up(cx, reason);
        }
        let refused = contents.error().map(|error| error.kind).filter(|_| contents.sa.is_none());
        let made = match refused {
            Some(kind) => Err(CloseReason::ChildRefused(kind)),
            None => keyed.child(cx, &connect, spi, &mut contents),
        };
        let how = match connect.own {
            OwnAuth::SharedSecret { .. } => How::SharedSecret,
            OwnAuth::Null | OwnAuth::PublishedSecret(_) | OwnAuth::Signature(_) => How::Signature,
        };
        let peer = PeerAuthenticated { identity: connect.peer, how };
        cx.event(Event::Established(peer.clone()));
        let mut sa = Established::new(cx, keyed.sa, path, peer, keyed.nat);
        let result = match made {
            Ok((child, given)) => {
                sa.install(cx, child, None, Outcome::First, given);
                Ok(())
            }
            Err(reason) => {
                cx.release_esp(spi);
                sa.begin_close(cx, reason)
            }
        };
        sa.settle(cx, result)
    }
}

impl KeyedStep {
    const fn name(&self) -> Step {
        match self {
            Self::Intermediate(_) => Step::Intermediate,
            Self::Auth { .. } => Step::Auth,
        }
    }
}

impl Keyed {
    /// That the responder is the one we want.
    fn check(
        &self,
        connect: &Connect,
        message_id: MessageId,
        contents: &Contents,
    ) -> Result<(), CloseReason> {
        let (Some(id), Some((method, data))) = (&contents.id_r, &contents.auth) else {
            return Err(match contents.error() {
                Some(error) => CloseReason::Refused(Step::Auth, error.kind),
                None => CloseReason::Misbehaved(Step::Auth),
            });
        };
        let covered = Covered {
            transcript: &self.transcript,
            intermediate: self.intermediate.as_ref(),
            message_id,
            sa: &self.sa,
        };
        check_responder(&covered, connect, id, (*method, data))
    }

    /// The first child SA.
    fn child(
        &self,
        cx: &mut Cx<'_>,
        connect: &Connect,
        spi: Spi,
        contents: &mut Contents,
    ) -> Result<(Child, Addresses), CloseReason> {
        let step = Step::Auth;
        let (Some(sa), Some(mut local), Some(remote)) =
            (contents.sa.take(), contents.ts_i.take(), contents.ts_r.take())
        else {
            return Err(CloseReason::Misbehaved(step));
        };
        let chosen = cx.settings.proposals.esp.without_ke().check(&sa);
        let chosen = chosen.map_err(|_| CloseReason::NoProposal(step))?;
        let peer_spi = Spi::try_from(chosen.peer_spi).map_err(|_| CloseReason::Misbehaved(step))?;
        // RFC 7296 §2.9: the responder may narrow, never widen.
        if !lie_within(&local, &connect.local) || !lie_within(&remote, &connect.remote) {
            return Err(CloseReason::ChildRefused(NotifyType::TS_UNACCEPTABLE));
        }
        let mut given = Addresses::default();
        if let Some(wanted) = connect.request {
            given = contents.cp.as_ref().map(config::given).unwrap_or_default();
            given.addresses.retain(|address| wanted.wants(*address));
            if given.addresses.is_empty() {
                return Err(CloseReason::NoAddress);
            }
            // What we send comes from the address we were given and from no other.
            let hosts: Vec<_> = given.addresses.iter().copied().map(TrafficSelector::host).collect();
            local = narrow(&local, &hosts);
            if local.is_empty() {
                return Err(CloseReason::ChildRefused(NotifyType::TS_UNACCEPTABLE));
            }
        }
        let nonces = self.transcript.nonces();
        let ingredients = Ingredients { keys: &self.sa.keys, role: Role::Initiator, nonces, shared: &[] };
        let child = Child::new(cx, FIRST_CHILD, spi, (&chosen, peer_spi), &ingredients, (local, remote));
        Ok((child, given))
    }
}

/// The IKE_SA_INIT request (RFC 7296 appendix C.1), and the message that AUTH covers.
fn init_request(
    cx: &mut Cx<'_>,
    connect: &Connect,
    (spi, nonce, exchange, cookie): (IkeSpi, &[u8], &KeyExchange, Option<&[u8]>),
) -> Vec<u8> {
    let header = Header {
        initiator_spi: spi,
        responder_spi: IkeSpi::ZERO,
        exchange: Exchange::SA_INIT,
        flags: Flags { initiator: true, response: false },
        message_id: MessageId::ZERO,
    };
    let ike = &cx.settings.proposals.ike;
    let intermediate = ike.0.iter().any(|proposal| !proposal.additional.is_empty());
    let mut payloads = Vec::new();
    // RFC 7296 §2.6: the cookie comes first.
    payloads
        .extend(cookie.map(|cookie| Payload::Notify(Notify::with_data(NotifyType::COOKIE, cookie.to_vec()))));
    payloads.push(Payload::Sa(ike.to_wire(None)));
    payloads.push(Payload::Ke { method: exchange.method(), data: exchange.public().to_vec() });
    payloads.push(Payload::Nonce(nonce.to_vec()));
    payloads.extend(notifies(cx, (spi, IkeSpi::ZERO), connect.path, connect.encapsulate, intermediate));
    encode_clear(&header, &payloads)
}

/// The IKE_AUTH request (RFC 7296 appendix C.2). There is nothing in it that tells one client from another:
/// no INITIAL_CONTACT, no MOBIKE_SUPPORTED, no certificates.
fn auth_request(
    cx: &mut Cx<'_>,
    connect: &Connect,
    keyed: &Keyed,
    message_id: MessageId,
    spi: Spi,
) -> Vec<Payload> {
    let id = match &connect.own {
        OwnAuth::Null => Id::NULL,
        OwnAuth::PublishedSecret(_) => Id::key_id(cx.random::<16>().to_vec()),
        OwnAuth::Signature(credentials) => credentials.identity.clone(),
        OwnAuth::SharedSecret { identity, .. } => identity.clone(),
    };
    let covered = Covered {
        transcript: &keyed.transcript,
        intermediate: keyed.intermediate.as_ref(),
        message_id,
        sa: &keyed.sa,
    };
    let auth = prove(&covered, &connect.own, &id);
    let mut payloads = vec![Payload::IdI(id), Payload::IdR(connect.peer.clone()), auth];
    payloads.extend(connect.request.map(|wanted| Payload::Cp(config::request(wanted))));
    payloads.push(Payload::Sa(cx.settings.proposals.esp.without_ke().to_wire(spi.get())));
    payloads.push(Payload::TsI(connect.local.clone()));
    payloads.push(Payload::TsR(connect.remote.clone()));
    payloads
}
