//! A client made by hand, which says to a relay whatever it likes under the right keys.

#![allow(dead_code, reason = "each test uses a part of it")]

use ippriv::entropy::{Entropy, Seeded};
use ippriv::ike::Output;
use ippriv::ike::crypto::auth::AuthOctets;
use ippriv::ike::crypto::protect::protect_plain;
use ippriv::ike::crypto::{KeyExchange, KeySchedule, Nonces, Opened, Outgoing, Role, null_auth, unprotect};
use ippriv::ike::proposal::EspOffer;
use ippriv::ike::wire::{
    AuthMethod, Body, Direction, Exchange, Flags, Header, Id, IkeSpi, Illegal, KeMethod, MessageId, Notify,
    NotifyType, Payload, PayloadType, TrafficSelector, decode, decode_payloads, encode_clear, rules,
};

use crate::ike_pair::{Pair, RELAY};

/// A peer made by hand, with the keys of its IKE SA.
pub(crate) struct Raw {
    pub(crate) pair: Pair,
    keys: KeySchedule,
    outgoing: Outgoing,
    spis: (IkeSpi, IkeSpi),
    request: Vec<u8>,
    nonce_r: Vec<u8>,
    pub(crate) next: u32,
}

impl Raw {
    /// One that has keys with a relay of a pair.
    pub(crate) fn new(mut pair: Pair) -> Self {
        let offer = pair.hosts[RELAY].endpoint.settings().proposals.ike.without_additional();
        let mut entropy = Seeded::new([3; 32]);
        let exchange = KeyExchange::start(KeMethod::X25519, &mut entropy).unwrap();
        let spi = IkeSpi(entropy.u64() | 1);
        let nonce = vec![5; 32];
        let header = Header {
            initiator_spi: spi,
            responder_spi: IkeSpi::ZERO,
            exchange: Exchange::SA_INIT,
            flags: Flags { initiator: true, response: false },
            message_id: MessageId(0),
        };
        let hash = Notify::with_data(NotifyType::SIGNATURE_HASH_ALGORITHMS, vec![0, 5]);
        let request = encode_clear(
            &header,
            &[
                Payload::Sa(offer.to_wire(None)),
                Payload::Ke { method: KeMethod::X25519, data: exchange.public().to_vec() },
                Payload::Nonce(nonce.clone()),
                Payload::Notify(hash),
                Payload::Notify(Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED)),
            ],
        );
        let response = Self::exchange(&mut pair, &request).expect("an answer");
        let packet = decode(&response).unwrap();
        let spis = (spi, packet.header.responder_spi);
        let Body::Clear(payloads) = packet.body else { panic!("expected clear text") };
        let (mut data, mut nonce_r, mut suite) = (Vec::new(), Vec::new(), None);
        for payload in payloads {
            match payload {
                Payload::Ke { data: theirs, .. } => data = theirs,
                Payload::Nonce(theirs) => nonce_r = theirs,
                Payload::Sa(sa) => suite = offer.check(&sa).ok(),
                _ => {}
            }
        }
        let secret = exchange.finish(&data).unwrap();
        let nonces = Nonces { initiator: &nonce, responder: &nonce_r };
        let keys = KeySchedule::initial(&suite.unwrap().suite, nonces, &secret, spis.0, spis.1);
        let outgoing = keys.outgoing(Role::Initiator);
        Self { pair, keys, outgoing, spis, request, nonce_r, next: 1 }
    }

    /// Hands a datagram to the relay, whose owner agrees to everything; its answer.
    fn exchange(pair: &mut Pair, datagram: &[u8]) -> Option<Vec<u8>> {
        let (now, path) = (pair.now, pair.path(RELAY));
        pair.hosts[RELAY].endpoint.handle_datagram(now, path, datagram);
        let mut answer = None;
        let mut events = Vec::new();
        loop {
            while let Some(output) = pair.hosts[RELAY].endpoint.poll_output() {
                match output {
                    Output::Transmit { datagram, .. } => answer = Some(datagram),
                    Output::Event(handle, event) => events.push((handle, event)),
                    Output::Changed(_) => {}
                }
            }
            let Some((handle, event)) = events.pop() else { return answer };
            let endpoint = &mut pair.hosts[RELAY].endpoint;
            match event {
                ippriv::ike::Event::ChildWanted(_) => {
                    endpoint.answer_child(now, handle, pair.hosts[RELAY].answer.clone());
                }
                ippriv::ike::Event::ChildKeys(keys) => {
                    endpoint.child_installed(now, handle, keys.child, Ok(()));
                }
                _ => {}
            }
        }
    }

    /// What IKE_AUTH of a client without identity says.
    pub(crate) fn auth(&self) -> Vec<Payload> {
        let id = Id::NULL;
        let octets = AuthOctets { message: &self.request, nonce: &self.nonce_r, id: &id, intermediate: None }
            .build(&self.keys, Role::Initiator);
        vec![
            Payload::IdI(id),
            Payload::Auth { method: AuthMethod::NULL, data: null_auth(&self.keys, Role::Initiator, &octets) },
            Payload::Sa(EspOffer::default().without_ke().to_wire(0x1234_5678)),
            Payload::TsI(vec![TrafficSelector::any_v4()]),
            Payload::TsR(vec![TrafficSelector::any_v4()]),
        ]
    }

    /// Sends payloads under the keys; the relay's answer as it is.
    pub(crate) fn send(&mut self, exchange: Exchange, first: PayloadType, plain: &[u8]) -> Option<Vec<u8>> {
        let header = Header {
            initiator_spi: self.spis.0,
            responder_spi: self.spis.1,
            exchange,
            flags: Flags { initiator: true, response: false },
            message_id: MessageId(self.next),
        };
        let limit = if plain.len().is_multiple_of(5) { Some(200) } else { None };
        let mut answer = None;
        for datagram in protect_plain(&mut self.outgoing, &header, first, plain, limit) {
            answer = Self::exchange(&mut self.pair, &datagram).or(answer);
        }
        if answer.is_some() {
            self.next += 1;
        }
        answer
    }

    /// Sends payloads; the relay's answer, opened.
    pub(crate) fn ask(
        &mut self,
        exchange: Exchange,
        first: PayloadType,
        plain: &[u8],
    ) -> Option<Vec<Payload>> {
        let datagram = self.send(exchange, first, plain)?;
        let packet = decode(&datagram).expect("the answer is well formed");
        assert_eq!(packet.header.exchange, exchange);
        let opened =
            unprotect(&self.keys.incoming(Role::Initiator), &packet).expect("the answer is authentic");
        let Opened::Whole { first, plain } = opened else { panic!("expected an answer in one piece") };
        let payloads = decode_payloads(first, &plain).expect("the answer is well formed");
        match rules::check(exchange, Direction::Response, true, &payloads) {
            Ok(()) | Err(Illegal::Exchange(_)) => {}
            Err(illegal) => panic!("the answer: {illegal}"),
        }
        Some(payloads)
    }
}
