//! Setting up a connection, step by step, and its end.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/ike_pair.rs"]
mod ike_pair;

use std::sync::Arc;
use std::time::Duration;

use ike_pair::*;
use ippriv::ike::wire::Id;
use ippriv::ike::{Connect, Event, How, OwnAuth, Retransmission, SaHandle};
use ippriv::secret::KeyMaterial;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_client_without_identity_gets_an_address_and_a_child() {
    let mut pair = Pair::new(1);
    let handle = pair.connect(OwnAuth::Null);
    pair.run(SECOND);
    pair.assert_agreement(1);
    assert_eq!([pair.hosts[CLIENT].sent, pair.hosts[RELAY].sent], [2, 2]);
    let installed = pair.hosts[CLIENT].kernel.values().next().unwrap();
    assert_eq!(installed.keys.given.addresses, [address("10.64.0.7")]);
    assert_eq!(installed.keys.given.dns, [address("10.64.0.1")]);
    assert_eq!(installed.keys.encapsulation, None);
    let who = |host: usize| {
        pair.hosts[host].events.iter().find_map(|(_, event)| match event {
            Event::Established(peer) => Some(peer.clone()),
            _ => None,
        })
    };
    assert_eq!(who(CLIENT).unwrap().identity, relay_id());
    assert_eq!(who(CLIENT).unwrap().how, How::Signature);
    assert_eq!(who(RELAY).unwrap().how, How::Null);
    pair.at(CLIENT, |endpoint, now| endpoint.close(now, handle));
    pair.assert_closed_quietly();
}

impl Pair {
    fn assert_closed_quietly(&mut self) {
        self.run(SECOND);
        self.assert_agreement(0);
        self.run(60 * SECOND);
        assert!(self.hosts.iter().all(|host| host.endpoint.is_empty()));
        assert_eq!(self.closed(CLIENT), ["closed here"]);
        assert_eq!(self.closed(RELAY), ["the peer deleted the connection"]);
    }
}

#[test]
fn a_published_secret_and_a_signature_do_as_well() {
    for signs in [false, true] {
        let mut relay = settings();
        let own = if signs {
            let credentials = ippriv::ike::Credentials { identity: Id::fqdn("b"), key: signing_key(9) };
            relay.peers.keys.insert(credentials.identity.clone(), credentials.key.public());
            OwnAuth::Signature(Arc::new(credentials))
        } else {
            OwnAuth::PublishedSecret(published())
        };
        let mut pair = Pair::with(2, settings(), relay);
        pair.connect(own);
        pair.run(SECOND);
        pair.assert_agreement(1);
    }
}

/// A secret of the two stands for both signatures. Who has another one is refused by either side, and the
/// published secret proves nothing of an identity that has one of its own.
#[test]
fn a_secret_of_the_two_proves_both() {
    let secret = |octet: u8| KeyMaterial::new(vec![octet; 32]);
    let neighbour = || Id::fqdn("b");
    let with = |shown: OwnAuth, on_file: KeyMaterial| {
        let mut relay = settings();
        relay.peers.secrets.insert(neighbour(), on_file);
        let mut pair = Pair::with(5, settings(), relay);
        // With a key that is not the relay's, a signature would be refused.
        let wish = Connect { peer_key: signing_key(1).public(), ..pair.wish(shown) };
        pair.at(CLIENT, |endpoint, now| endpoint.connect(now, wish));
        pair.run(SECOND);
        pair
    };
    let shared = |octet| OwnAuth::SharedSecret { identity: neighbour(), secret: secret(octet) };
    with(shared(1), secret(1)).assert_agreement(1);
    let refused = |pair: &Pair| {
        assert!(pair.hosts[CLIENT].kernel.is_empty());
        pair.closed(CLIENT).iter().any(|reason| reason.contains("AUTHENTICATION_FAILED"))
    };
    assert!(refused(&with(shared(2), secret(1))));
    let published_one = || OwnAuth::SharedSecret { identity: neighbour(), secret: published() };
    assert!(refused(&with(published_one(), secret(1))));

    // A peer that answers with anything but the secret of the two is not the one.
    let mut pair = Pair::with(6, settings(), settings());
    pair.connect(published_one());
    pair.run(SECOND);
    assert_eq!(pair.closed(CLIENT), [ippriv::ike::CloseReason::Unsigned.to_string()]);
    assert!(pair.hosts[CLIENT].kernel.is_empty());
}

#[test]
fn a_relay_under_load_wants_a_cookie_first() {
    let mut relay = settings();
    relay.half_open.cookies_from = 0;
    let mut pair = Pair::with(3, settings(), relay);
    pair.connect(OwnAuth::Null);
    pair.run(SECOND);
    pair.assert_agreement(1);
    assert_eq!([pair.hosts[CLIENT].sent, pair.hosts[RELAY].sent], [3, 3]);
}

#[test]
fn a_wrong_guess_of_the_key_exchange_costs_one_round_trip() {
    let mut relay = settings();
    for proposal in &mut relay.proposals.ike.0 {
        proposal.ke = vec![ippriv::ike::wire::KeMethod::P384];
    }
    relay.half_open.cookies_from = 0;
    let mut pair = Pair::with(4, settings(), relay);
    pair.connect(OwnAuth::Null);
    pair.run(SECOND);
    pair.assert_agreement(1);
    assert_eq!(pair.hosts[CLIENT].sent, 4, "cookie, key exchange, then both");
}

#[test]
fn ml_kem_joins_in_when_both_offer_it() {
    let hybrid = || {
        let mut settings = settings();
        settings.proposals.ike = ippriv::ike::proposal::IkeOffer::default();
        settings
    };
    for (client, relay, messages) in
        [(hybrid(), hybrid(), 3), (hybrid(), settings(), 2), (settings(), hybrid(), 2)]
    {
        let mut pair = Pair::with(5, client, relay);
        pair.link.mtu = 1280 - 48;
        let handle = pair.connect(OwnAuth::Null);
        pair.run(SECOND);
        pair.assert_agreement(1);
        let fragments = if messages == 3 { 1 } else { 0 };
        assert_eq!(pair.hosts[CLIENT].sent, messages + fragments);
        pair.at(CLIENT, |endpoint, now| endpoint.rekey_ike(now, handle));
        pair.run(SECOND);
        pair.assert_agreement(1);
        assert!(pair.closed(CLIENT).is_empty());
    }
}

#[test]
fn ml_kem_under_loss() {
    for seed in 0..40 {
        let mut both = settings();
        both.proposals.ike = ippriv::ike::proposal::IkeOffer::default();
        both.connecting.attempts = 20;
        both.half_open.patience = 1000 * SECOND;
        let mut pair = Pair::with(seed, both.clone(), both);
        pair.link = Link { loss: 300, double: 200, delay: (5, 80), mtu: 1232, nat: None };
        pair.connect(OwnAuth::Null);
        pair.run(200 * SECOND);
        pair.assert_agreement(1);
    }
}

#[test]
fn small_datagrams_are_possible() {
    let mut small = settings();
    small.datagram = 150;
    let mut pair = Pair::with(6, small.clone(), small);
    pair.filter = Some(Box::new(|_, nth, octets| {
        if nth > 1 {
            assert!(octets.len() <= 150, "{}", octets.len());
        }
        Verdict::Pass
    }));
    pair.link.double = 300;
    pair.link.loss = 100;
    pair.link.delay = (5, 50);
    pair.connect(OwnAuth::Null);
    pair.run(30 * SECOND);
    pair.assert_agreement(1);
}

#[test]
fn behind_a_nat_everything_floats_to_port_4500() {
    let mut pair = Pair::new(7);
    pair.link.nat = Some(31_337);
    let handle = pair.connect(OwnAuth::Null);
    pair.run(SECOND);
    pair.assert_agreement(1);
    let ports = |pair: &Pair, host: usize| {
        let child = pair.hosts[host].kernel.values().next().unwrap();
        child.keys.encapsulation.map(|ports| (ports.local, ports.remote))
    };
    assert_eq!(ports(&pair, CLIENT), Some((4500, 4500)));
    assert_eq!(ports(&pair, RELAY), Some((4500, 31_337)));
    // The NAT forgets and gives another port: the relay follows an authentic message.
    pair.link.nat = Some(31_338);
    pair.at(CLIENT, |endpoint, now| endpoint.probe(now, handle));
    pair.run(SECOND);
    let moved =
        pair.count(RELAY, |event| matches!(event, Event::PathChanged(path) if path.remote.port() == 31_338));
    assert_eq!(moved, 1);
}

#[test]
fn encapsulation_can_be_had_without_a_nat() {
    let mut pair = Pair::new(8);
    let mut wish = pair.wish(OwnAuth::Null);
    wish.encapsulate = ippriv::ike::Encapsulate::Always;
    pair.at(CLIENT, |endpoint, now| endpoint.connect(now, wish));
    pair.run(SECOND);
    pair.assert_agreement(1);
    for host in &pair.hosts {
        assert!(host.kernel.values().all(|child| child.keys.encapsulation.is_some()));
    }
}

#[test]
fn who_is_not_the_relay_is_refused() {
    let mut pair = Pair::new(9);
    let mut wish = pair.wish(OwnAuth::Null);
    wish.peer_key = signing_key(8).public();
    pair.at(CLIENT, |endpoint, now| endpoint.connect(now, wish));
    pair.run(2 * SECOND);
    pair.assert_agreement(0);
    let reasons = pair.closed(CLIENT);
    assert!(reasons[0].starts_with("IKE_AUTH: authentication data"), "{reasons:?}");
    assert_eq!(pair.closed(RELAY), ["IKE_AUTH: the peer answered AUTHENTICATION_FAILED"]);

    let mut pair = Pair::new(9);
    let mut wish = pair.wish(OwnAuth::Null);
    wish.peer = Id::fqdn("relay-b.example");
    pair.at(CLIENT, |endpoint, now| endpoint.connect(now, wish));
    pair.run(2 * SECOND);
    let expected = "IKE_AUTH: the peer says it is relay-a.example: expected relay-b.example";
    assert_eq!(pair.closed(CLIENT), [expected]);
}

#[test]
fn who_is_not_served_is_told_so() {
    let mut relay = settings();
    relay.peers.anonymous = ippriv::ike::Anonymous::default();
    for own in [OwnAuth::Null, OwnAuth::PublishedSecret(published())] {
        let mut pair = Pair::with(10, settings(), relay.clone());
        pair.connect(own);
        pair.run(20 * SECOND);
        pair.assert_agreement(0);
        assert_eq!(pair.closed(CLIENT), ["IKE_AUTH: the peer answered AUTHENTICATION_FAILED"]);
        assert_eq!(pair.closed(RELAY).len(), 1);
        assert!(pair.hosts.iter().all(|host| host.endpoint.is_empty()));
    }
}

#[test]
fn nobody_there() {
    let mut pair = Pair::new(11);
    pair.link.loss = 1000;
    pair.connect(OwnAuth::Null);
    pair.run(60 * SECOND);
    assert_eq!(pair.hosts[CLIENT].sent, 12);
    assert_eq!(pair.closed(CLIENT), ["IKE_SA_INIT: the peer does not answer"]);
    assert!(pair.hosts[CLIENT].endpoint.poll_timeout().is_none());
}

#[test]
fn a_refused_address_ends_the_connection_at_both_ends() {
    use ippriv::ike::ChildRefusal;
    for (refusal, shown) in [
        (ChildRefusal::NoAddress, "INTERNAL_ADDRESS_FAILURE"),
        (ChildRefusal::Selectors, "TS_UNACCEPTABLE"),
        (ChildRefusal::NoMore, "NO_ADDITIONAL_SAS"),
    ] {
        let mut pair = Pair::new(12);
        pair.hosts[RELAY].answer = Err(refusal);
        pair.connect(OwnAuth::Null);
        pair.run(60 * SECOND);
        pair.assert_agreement(0);
        assert_eq!(pair.closed(CLIENT), [format!("the peer refused the child SA: {shown}")]);
        assert!(pair.hosts.iter().all(|host| host.endpoint.is_empty()));
    }
}

#[test]
fn a_kernel_that_refuses_ends_it_at_both_ends() {
    for side in [CLIENT, RELAY] {
        let mut pair = Pair::new(13);
        pair.hosts[side].install = Err(ippriv::ike::ChildRefusal::Kernel);
        pair.connect(OwnAuth::Null);
        pair.run(120 * SECOND);
        pair.assert_agreement(0);
        assert!(pair.hosts.iter().all(|host| host.endpoint.is_empty()), "{side}");
    }
}

#[test]
fn strangers_are_kept_within_bounds() {
    let mut relay = settings();
    relay.half_open.total = 10;
    relay.half_open.per_prefix = 4;
    relay.half_open.cookies_from = 2;
    let mut pair = Pair::with(14, settings(), relay);
    // Clients that never go on: nothing of the relay's answers reaches them.
    let mut first = Vec::new();
    for _ in 0..20 {
        let wish = pair.wish(OwnAuth::Null);
        let now = pair.now;
        pair.hosts[CLIENT].endpoint.connect(now, wish);
        while let Some(output) = pair.hosts[CLIENT].endpoint.poll_output() {
            if let ippriv::ike::Output::Transmit { datagram, .. } = output {
                first.push(datagram);
            }
        }
    }
    for (nth, datagram) in first.iter().enumerate() {
        let mut path = pair.path(RELAY);
        path.remote.set_port(1000 + u16::try_from(nth).unwrap());
        let now = pair.now;
        pair.hosts[RELAY].endpoint.handle_datagram(now, path, datagram);
    }
    assert_eq!(pair.hosts[RELAY].endpoint.half_open(), 2, "the others owe a cookie");
    pair.hosts[RELAY].endpoint.handle_timeout(pair.now + 31 * SECOND);
    assert!(pair.hosts[RELAY].endpoint.is_empty());
}

#[test]
fn a_later_version_is_told_ours() {
    let mut pair = Pair::new(15);
    let mut datagram = vec![0; 28];
    datagram[..8].fill(9);
    datagram[17] = 0x30;
    datagram[18] = 34;
    datagram[19] = 0x08;
    datagram[27] = 28;
    let (now, path) = (pair.now, pair.path(RELAY));
    pair.hosts[RELAY].endpoint.handle_datagram(now, path, &datagram);
    let Some(ippriv::ike::Output::Transmit { datagram, .. }) = pair.hosts[RELAY].endpoint.poll_output()
    else {
        panic!("expected an answer");
    };
    assert_eq!((datagram[17], datagram[19]), (0x20, 0x20));
}

/// Every client looks the same, whoever it is and wherever it is.
#[test]
fn clients_cannot_be_told_apart_by_shape() {
    let shape = |seed: u64, address: &str| {
        let mut pair = Pair::new(seed);
        pair.hosts[CLIENT].address = address.parse().unwrap();
        pair.connect(OwnAuth::Null);
        pair.run(SECOND);
        pair.assert_agreement(1);
        let lines = pair.trace.iter().filter(|line| line.contains(" 0 ") && line.contains('>'));
        lines.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let one = shape(1, "192.0.2.1:500");
    assert_eq!(one.len(), 2);
    for seed in 2..8 {
        assert_eq!(shape(seed, "203.0.113.77:500"), one);
    }
}

/// The relay's IKE messages are lost, but the client sees packets of it every five seconds for some time. Who does
/// not answer for `dead` is dead, or a fifth later.
fn mute_relay(seed: u64, dead: Duration, seconds: u64) -> (Pair, SaHandle) {
    let mut client = settings();
    client.established = Retransmission::lasting(dead);
    let mut pair = Pair::with(seed, client, settings());
    let (ours, _) = pair.connected();
    pair.filter = Some(Box::new(|from, _, _| if from == RELAY { Verdict::Drop } else { Verdict::Pass }));
    pair.at(CLIENT, |endpoint, now| endpoint.probe(now, ours));
    for _ in 0..seconds / 5 {
        pair.run(5 * SECOND);
        pair.at(CLIENT, |endpoint, now| endpoint.traffic_seen(now, ours));
    }
    (pair, ours)
}

#[test]
fn a_peer_that_sends_packets_is_not_dead() {
    let (mut pair, ours) = mute_relay(16, 20 * SECOND, 300);
    assert!(pair.closed(CLIENT).is_empty(), "{:?}", pair.closed(CLIENT));
    assert!(pair.hosts[CLIENT].endpoint.awaits_answer(ours));
    assert_eq!(pair.hosts[CLIENT].endpoint.unanswered().collect::<Vec<_>>(), [ours]);
    // the same request as at first is answered in the end
    pair.filter = None;
    pair.run(3 * SECOND);
    assert!(!pair.hosts[CLIENT].endpoint.awaits_answer(ours));
    assert_eq!(pair.hosts[CLIENT].endpoint.unanswered().count(), 0);
    let child = pair.child(CLIENT, ours);
    pair.at(CLIENT, |endpoint, now| endpoint.rekey_child(now, ours, child));
    pair.run(10 * SECOND);
    assert_ne!(pair.child(CLIENT, ours), child);
}

#[test]
fn a_peer_that_no_longer_sends_packets_has_as_long_as_at_first() {
    let (mut pair, _) = mute_relay(17, 20 * SECOND, 100);
    pair.run(20 * SECOND);
    assert!(pair.closed(CLIENT).is_empty(), "{:?}", pair.closed(CLIENT));
    pair.run(5 * SECOND);
    assert_eq!(pair.closed(CLIENT), ["INFORMATIONAL: the peer does not answer"]);
}

#[test]
fn packets_do_not_keep_a_connection_that_is_being_closed() {
    let (mut pair, ours) = mute_relay(18, 5 * SECOND, 0);
    pair.at(CLIENT, |endpoint, now| endpoint.close(now, ours));
    for _ in 0..7 {
        pair.run(SECOND);
        pair.at(CLIENT, |endpoint, now| endpoint.traffic_seen(now, ours));
    }
    assert_eq!(pair.closed(CLIENT).len(), 1);
}

#[test]
fn a_dead_peer_is_noticed() {
    let mut client = settings();
    client.lifetimes.probe = Some(10 * SECOND);
    let mut pair = Pair::with(16, client, settings());
    pair.connected();
    pair.link.loss = 1000;
    pair.run(600 * SECOND);
    assert_eq!(pair.closed(CLIENT), ["INFORMATIONAL: the peer does not answer"]);
    assert!(pair.hosts[CLIENT].kernel.is_empty());
}
