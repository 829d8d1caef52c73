//! Setting up a connection, step by step, and its end.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/ike_pair.rs"]
mod ike_pair;

use std::sync::Arc;
use std::time::Duration;

use ike_pair::*;
use ippriv::ike::{Event, How, OwnAuth};

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
            let credentials =
                ippriv::ike::Credentials { identity: ippriv::ike::wire::Id::fqdn("b"), key: signing_key(9) };
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
