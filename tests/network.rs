//! Network documents: what is signed, who is believed, and what makes no sense.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;

use ippriv::entropy::{Entropy as _, Seeded};
use ippriv::network::{
    BadTrust, Document, Ed25519Key, Network, PrivateKey, Refused, Role, Signature, Trust, UnixTime,
    Unverified, linked,
};

#[path = "network/edits.rs"]
mod edits;
#[path = "network/invalid.rs"]
mod invalid;

const P256: &str = "ecdsa-p256:MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEft1PYkvtq9RuaIPb1OIGezkiAUJX/4yPxBiarD4KoX8CQzhxpqYE2M89v+0iFwktlTi6JbMvsBNm82WVUPYtcg==";
const P384: &str = "ecdsa-p384:MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEJMiQXiicTlpkFniA9wu+DIFfcj/G+fqynDld0t4pyzhTx6ynsgI+baQH/c8Uq51jvQSHKbk+ll6HmReCMBKVw3uypoCgensHoeArTgakTwpgO9Ry6voyzg/LI0iNyH3J";
const RSA: &str = "rsa:MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAnciIPb2IE9JRqWqjvrbYLZuMgnN0wYEbiOUH7GdN+xjsAVm3rWYHswtBHcbeZ+8PIx1WAQ3/uu8/UVMNjXtbJnx+hREdHwR0BTeAWkwxqa8ougp7RrTgKcWXdm5Hwe5psoNjJ+HJkjjxcvyZr1yiVReUgjrtY66vHGsadAR9B5YGjkiD0Z+AXRVDNZoSd4AcoGvYoKWczmw3ngREI5pvHvDXh5sbOtVsJ65z2W0qYgqgIxtbajIO18LCMRUAgDhNzDRX0nUAH9tEQ6gcp0T6x8gIGaY5DQ8aBuiWKXOX4+su+YD6kfLI8x2S6uql6iSma/gY+IHrwojJf2/9ieNQjQIDAQAB";

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed([seed; 32].into()).unwrap()
}

/// Three operators of whom two sign, and relays that use every field.
fn text() -> String {
    let public = |seed| key(seed).public();
    format!(
        "network: testnet
serial: 7
valid_from: 2026-11-01T00:00:00Z
valid_until: 2026-12-01T00:00:00Z
operators:
  alice: {}
  bob: {}
  carol: {}
threshold: 2
relays:
  - name: a
    address: 198.51.100.2
    identity: {}
    pool: 10.64.0.0/16
    roles: [entry, middle]
    neighbours: [b, c]
  - name: b
    address: 198.51.100.66
    address6: \"2001:db8:66::2\"
    identity: {P256}
    software: strongswan
    clients: {{ psk: \"everybody knows this pre-shared key\" }}
    pool: 10.65.0.0/16
    roles: [middle]
    operator: bob
    weight: 20
  - name: c
    address: 203.0.113.2
    identity: {}
    pool: 10.66.0.0/16
    pool6: \"fd00:66::/64\"
    roles: [exit]
    exit: {{ tcp_ports: [\"80\", \"8000-8999\"], udp_ports: [] }}
",
        public(1),
        public(2),
        public(3),
        public(11),
        public(13),
    )
}

fn parse(text: &str) -> Unverified {
    Network::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn signatures(text: &str, signers: &[(&str, u8)]) -> String {
    let document = parse(text).document().clone();
    let add = |text: String, (name, seed): &(&str, u8)| {
        let signature = key(*seed).sign(&document, name.parse().unwrap());
        ippriv::network::edit::add_signature(&text, &signature).unwrap()
    };
    signers.iter().fold(text.to_owned(), add)
}

fn trust(operators: &[(&str, u8)], threshold: usize) -> Trust {
    let operators = operators.iter().map(|(name, seed)| (name.parse().unwrap(), key(*seed).public()));
    Trust::new(operators.collect(), threshold).unwrap()
}

fn two_of_three() -> Trust {
    trust(&[("alice", 1), ("bob", 2), ("carol", 3)], 2)
}

fn at(text: &str) -> UnixTime {
    text.parse().unwrap()
}

fn november() -> UnixTime {
    at("2026-11-21T00:00:00Z")
}

#[test]
fn a_document_signed_by_enough_is_believed() {
    let signed = signatures(&text(), &[("alice", 1), ("carol", 3)]);
    let network = parse(&signed).verify(&two_of_three(), november(), Some(7)).unwrap();
    assert_eq!(network.serial(), 7);
    assert_eq!(network.name().as_str(), "testnet");
    let names: Vec<&str> = network.relays().iter().map(|relay| relay.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let exit = network.relay("c").unwrap();
    assert!(exit.may_be(Role::Exit) && !exit.may_be(Role::Entry));
    assert!(exit.exit.as_ref().unwrap().allows_tcp(8080) && !exit.exit.as_ref().unwrap().allows_udp(53));
    assert!(network.relay("d").is_none());
    assert!(linked(network.relay("a").unwrap(), exit));
    let neighbours: Vec<&str> = network.neighbours(exit).map(|relay| relay.name.as_str()).collect();
    assert_eq!(neighbours, ["a", "b"]);
}

#[test]
fn what_is_not_to_be_believed_is_refused() {
    let name = |name: &str| name.parse().unwrap();
    let verify = |text: &str, trust: &Trust, now, seen| parse(text).verify(trust, now, seen).map(|_| ());
    let both = signatures(&text(), &[("alice", 1), ("bob", 2)]);
    let trusted = two_of_three();
    let now = november();

    assert_eq!(verify(&text(), &trusted, now, None), Err(Refused::Unsigned { expected: 2 }));
    let one = signatures(&text(), &[("alice", 1)]);
    let found = [name("alice")].into();
    assert_eq!(verify(&one, &trusted, now, None), Err(Refused::UnderSigned { found, expected: 2 }));
    let strangers = signatures(&text(), &[("mallory", 66), ("eve", 67)]);
    let found = [name("eve"), name("mallory")].into();
    assert_eq!(verify(&strangers, &trusted, now, None), Err(Refused::Strangers { found, expected: 2 }));
    let forged = signatures(&text(), &[("alice", 1), ("bob", 66)]);
    let operator = name("bob");
    assert_eq!(verify(&forged, &trusted, now, None), Err(Refused::Forged { operator, expected: 2 }));

    // another document with the signatures of this one
    let other = both.replace("10.64.0.0/16", "10.67.0.0/16");
    let operator = name("alice");
    assert_eq!(verify(&other, &trusted, now, None), Err(Refused::Forged { operator, expected: 2 }));
    let other = trusted.clone().of_network(name("othernet"));
    let (found, expected) = (name("testnet"), name("othernet"));
    assert_eq!(verify(&both, &other, now, None), Err(Refused::OtherNetwork { found, expected }));
    assert_eq!(verify(&both, &trusted, now, Some(8)), Err(Refused::OldSerial { found: 7, seen: 8 }));

    let (from, until) = (at("2026-11-01T00:00:00Z"), at("2026-12-01T00:00:00Z"));
    let before = at("2026-10-31T23:59:59Z");
    let early = Err(Refused::NotYetValid { from, now: before });
    assert_eq!(verify(&both, &trusted, before, None), early);
    assert_eq!(verify(&both, &trusted, from, None), Ok(()));
    assert_eq!(verify(&both, &trusted, at("2026-11-30T23:59:59Z"), None), Ok(()));
    assert_eq!(verify(&both, &trusted, until, None), Err(Refused::Stale { until, now: until }));
}

/// Nobody counts twice: not by signing twice, and not under two names.
#[test]
fn an_operator_counts_once() {
    let signed = signatures(&text(), &[("alice", 1)]);
    let item = signed.split_once("signatures:\n").unwrap().1.to_owned();
    let twice = format!("{signed}{item}");
    assert_eq!(parse(&twice).signatures().len(), 2);
    let found = ["alice".parse().unwrap()].into();
    let refused = parse(&twice).verify(&two_of_three(), november(), None).unwrap_err();
    assert_eq!(refused, Refused::UnderSigned { found, expected: 2 });

    let both = ["alice", "eve"].map(|name| (name.parse().unwrap(), key(1).public()));
    let name = "eve".parse().unwrap();
    assert_eq!(Trust::new(both.into(), 2), Err(BadTrust::SameKey { name }));
}

/// The document's own operators are for people to see; a document that brings its own is not believed.
#[test]
fn a_document_does_not_say_whom_to_believe() {
    let mallory = [("alice", 66), ("bob", 67)];
    let own = text()
        .replace(&key(1).public().to_string(), &key(66).public().to_string())
        .replace(&key(2).public().to_string(), &key(67).public().to_string())
        .replace("threshold: 2", "threshold: 1");
    let signed = signatures(&own, &mallory);
    assert!(matches!(parse(&signed).verify(&two_of_three(), november(), None), Err(Refused::Forged { .. })));
}

/// A bad signature is worth nothing, and takes nothing from good ones.
#[test]
fn a_bad_signature_beside_enough_good_ones_does_no_harm() {
    let signed = signatures(&text(), &[("alice", 1), ("bob", 66), ("carol", 3), ("eve", 67)]);
    assert!(parse(&signed).verify(&two_of_three(), november(), None).is_ok());
}

#[test]
fn a_threshold_out_of_reach_is_refused() {
    let operators: BTreeMap<_, Ed25519Key> = [("alice".parse().unwrap(), key(1).public())].into();
    for threshold in [0, 2] {
        let refused = BadTrust::Threshold { threshold, operators: 1 };
        assert_eq!(Trust::new(operators.clone(), threshold), Err(refused));
    }
    assert_eq!(Trust::new(BTreeMap::new(), 0), Err(BadTrust::Nobody));
}

/// Changing the canonical form silently would make every signature of every network worthless.
#[test]
fn the_canonical_form_is_the_one_documented() {
    let document = parse(&text()).document().clone();
    let canonical = document.canonical();
    assert!(canonical.starts_with(b"ippriv network document v1\0\0\0\0\x07testnet\0\0\0\0\0\0\0\x07"));
    let hex: String = document.digest().iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(canonical.len(), 554);
    assert_eq!(hex, "0e6958f71185b95666b77b824a437b373e71736df785be879e14afee1cb3ef5d");
}

#[test]
fn comments_and_the_order_of_keys_change_nothing() {
    let document = parse(&text()).document().clone();
    let mut moved = text();
    for line in ["threshold: 2\n", "serial: 7\n", "    pool: 10.64.0.0/16\n"] {
        moved = moved.replace(line, "");
    }
    moved = moved
        .replace("    address: 198.51.100.2\n", "    pool: 10.64.0.0/16\n    address: 198.51.100.2 # web\n");
    let moved = format!("# a comment\nthreshold: 2\n{moved}serial: 7\n");
    let moved = moved.replace("[entry, middle]", "[middle, entry]").replace("[b, c]", "[c, b]");
    let moved = moved.replace("2026-11-01T00:00:00Z", "2026-11-01T01:00:00+01:00");
    assert_eq!(parse(&moved).document().canonical(), document.canonical());
}

/// Every change of content changes what is signed.
#[test]
fn every_change_of_content_changes_what_is_signed() {
    let original = parse(&text()).document().canonical();
    let changes = [
        ("testnet", "testne"),
        ("serial: 7", "serial: 8"),
        ("2026-11-01", "2026-11-02"),
        ("2026-12-01", "2026-12-02"),
        ("threshold: 2", "threshold: 3"),
        ("  carol:", "  dave:"),
        ("name: a", "name: aa"),
        ("198.51.100.2\n", "198.51.100.3\n"),
        ("2001:db8:66::2", "2001:db8:66::3"),
        ("    address6: \"2001:db8:66::2\"\n", ""),
        (P256, P384),
        (P256, RSA),
        ("strongswan", "libreswan"),
        ("everybody knows", "anybody knows  "),
        ("    clients: { psk: \"everybody knows this pre-shared key\" }\n", ""),
        ("10.64.0.0/16", "10.64.0.0/17"),
        ("10.65.0.0/16", "10.67.0.0/16"),
        ("fd00:66::/64", "fd00:67::/64"),
        ("    pool6: \"fd00:66::/64\"\n", ""),
        ("[entry, middle]", "[entry]"),
        ("\"8000-8999\"", "\"8000-9000\""),
        (", udp_ports: []", ""),
        ("operator: bob", "operator: bo"),
        ("    operator: bob\n", ""),
        ("weight: 20", "weight: 21"),
        ("    neighbours: [b, c]\n", ""),
        ("[b, c]", "[b]"),
    ];
    let mut seen = vec![original];
    for (from, to) in changes {
        let changed = text().replacen(from, to, 1);
        assert_ne!(changed, text(), "{from}");
        let octets = parse(&changed).document().canonical();
        assert!(!seen.contains(&octets), "{from} -> {to}");
        seen.push(octets);
    }
}

/// What the library writes, it reads.
#[test]
fn a_document_written_is_read_back() {
    let document = parse(&text()).document().clone();
    assert_eq!(*parse(&document.to_yaml()).document(), document);
    let odd = ["no", "7", "0x10", "1e3", "null", "on", "y"];
    for name in odd {
        let renamed = Document { network: name.parse().unwrap(), ..document.clone() };
        assert_eq!(*parse(&renamed.to_yaml()).document(), renamed, "{name}");
    }
}

/// Foreign text is refused or read, and nothing else happens.
#[test]
fn damaged_text_does_no_harm() {
    let signed = signatures(&text(), &[("alice", 1), ("bob", 2)]);
    let original = parse(&signed).document().canonical();
    let mut dice = Seeded::new([5; 32]);
    let mut believed = 0;
    for _ in 0..2000 {
        let mut octets = signed.clone().into_bytes();
        for _ in 0..=dice.below(3) {
            let length = u64::try_from(octets.len()).unwrap();
            let place = usize::try_from(dice.below(length)).unwrap();
            match dice.below(3) {
                0 => octets[place] = u8::try_from(dice.below(128)).unwrap(),
                1 => drop(octets.remove(place)),
                _ => octets.insert(place, u8::try_from(dice.below(128)).unwrap()),
            }
        }
        let Ok(text) = String::from_utf8(octets) else { continue };
        let Ok(unverified) = Network::parse(&text) else { continue };
        if let Ok(network) = unverified.verify(&two_of_three(), november(), Some(7)) {
            assert_eq!(network.document().canonical(), original);
            believed += 1;
        }
    }
    assert!(believed > 0, "some damage is to comments and layout");
}

#[test]
fn a_signature_is_over_the_canonical_form() {
    let document = parse(&text()).document().clone();
    let Signature { octets, .. } = key(1).sign(&document, "alice".parse().unwrap());
    assert!(key(1).public().verifies(&document.canonical(), &octets));
    assert!(!key(2).public().verifies(&document.canonical(), &octets));
}
