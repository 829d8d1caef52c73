//! Documents that make no sense, whoever signs them.

use ippriv::network::{BadKey, IdentityKey, Invalid, Network, Problem, Shared};

use super::{P256, RSA, key, parse, text};

fn refused(from: &str, to: &str) -> (Option<(u64, u64)>, Problem) {
    let changed = text().replacen(from, to, 1);
    assert_ne!(changed, text(), "{from}");
    match Network::parse(&changed) {
        Ok(_) => panic!("{from} -> {to} is accepted"),
        Err(error) => (error.place, error.problem),
    }
}

fn words(from: &str, to: &str) -> String {
    match refused(from, to) {
        (Some((line, column)), problem) => format!("{line}:{column}: {problem}"),
        (None, problem) => problem.to_string(),
    }
}

#[test]
fn two_relays_share_nothing() {
    let name = |name: &str| name.parse().unwrap();
    let shared = |relay, other, what| {
        Problem::Invalid(Invalid::Shared { relay: name(relay), other: name(other), what })
    };
    let (place, problem) = refused("name: b", "name: a");
    assert_eq!(problem, shared("a", "a", Shared::Name(name("a"))));
    assert_eq!(place.unwrap().0, 17);
    let (_, problem) = refused("198.51.100.66", "198.51.100.2");
    assert_eq!(problem, shared("b", "a", Shared::Address("198.51.100.2".parse().unwrap())));
    let (_, problem) = refused(&key(13).public().to_string(), &key(11).public().to_string());
    assert_eq!(problem, shared("c", "a", Shared::Identity));
}

#[test]
fn pools_are_disjoint_and_hold_no_public_address() {
    for (from, to, expected) in [
        (
            "10.65.0.0/16",
            "10.64.0.0/17",
            "17:5: relay b: pool 10.64.0.0/17 overlaps pool 10.64.0.0/16 of relay a: expected disjoint pools",
        ),
        (
            "10.66.0.0/16",
            "10.64.0.0/15",
            "27:5: relay c: pool 10.64.0.0/15 overlaps pool 10.64.0.0/16 of relay a: expected disjoint pools",
        ),
        (
            "10.65.0.0/16",
            "198.51.100.0/24",
            "11:5: relay a: address 198.51.100.2 is in pool 198.51.100.0/24 of relay b: expected one outside of all \
             pools",
        ),
        ("10.65.0.0/16", "10.65.0.1/16", "17:5: relay b: pool 10.65.0.1/16: expected 10.65.0.0/16"),
        (
            "10.65.0.0/16",
            "10.65.0.0/31",
            "17:5: relay b: pool 10.65.0.0/31: expected a prefix of 8 to 30 bits for IPv4, of 32 to 126 for IPv6",
        ),
    ] {
        assert_eq!(words(from, to), expected);
    }
}

#[test]
fn overlap_is_found_among_many_pools() {
    let mut document = parse(&text()).document().clone();
    let template = document.relays.remove(0);
    document.relays.clear();
    for number in 0..200_u8 {
        let mut relay = template.clone();
        relay.name = format!("r{number}").parse().unwrap();
        relay.address = [198, 18, 0, number + 1].into();
        relay.identity = key(number).public().into();
        relay.neighbours = ippriv::network::Neighbours::All;
        relay.pool = format!("10.{number}.0.0/16").parse().unwrap();
        document.relays.push(relay);
    }
    assert_eq!(document.check(), Ok(()));
    document.relays[3].pool = "10.128.0.0/9".parse().unwrap();
    assert!(matches!(document.check(), Err(Invalid::PoolsOverlap { relay, .. }) if relay.as_str() == "r128"));
}

#[test]
fn an_exit_says_what_leaves_and_others_do_not() {
    for (from, to, expected) in [
        (
            "    exit: { tcp_ports: [\"80\", \"8000-8999\"], udp_ports: [] }\n",
            "",
            "27:5: relay c: role exit without `exit`: expected `exit: {}` or the ports that leave",
        ),
        (
            "roles: [exit]",
            "roles: [middle]",
            "27:5: relay c: `exit` without role exit: expected both or none",
        ),
        ("roles: [exit]", "roles: []", "27:5: relay c: no roles: expected some of entry, middle, exit"),
        (
            "[\"80\", \"8000-8999\"]",
            "[]",
            "27:5: relay c: an exit with no ports: expected some of TCP or UDP",
        ),
        ("8000-8999", "8000-7999", "33:31: port \"8000-7999\": expected a port or FIRST-LAST, 0 to 65535"),
    ] {
        assert_eq!(words(from, to), expected);
    }
}

#[test]
fn neighbours_are_relays_of_the_document_and_want_it_both() {
    for (from, to, expected) in [
        ("[b, c]", "[b, d]", "11:5: relay a: neighbour d: expected another relay of this document"),
        ("[b, c]", "[a, b]", "11:5: relay a: neighbour a: expected another relay of this document"),
        (
            "    weight: 20\n",
            "    neighbours: [c]\n",
            "11:5: relay a: neighbour b does not have it as neighbour: expected both or none",
        ),
    ] {
        assert_eq!(words(from, to), expected);
    }
}

#[test]
fn addresses_are_ones_that_others_reach() {
    for bad in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "169.254.0.1"] {
        let expected = format!("11:5: relay a: address {bad}: expected one that others can reach");
        assert_eq!(words("198.51.100.2\n", &format!("{bad}\n")), expected);
    }
    for bad in ["::", "::1", "ff02::1", "fe80::1", "::ffff:198.51.100.9"] {
        assert!(words("2001:db8:66::2", bad).contains("expected one that others can reach"), "{bad}");
    }
}

#[test]
fn other_contradictions_are_refused() {
    for (from, to, expected) in [
        (
            "2026-12-01T00:00:00Z",
            "2026-11-01T00:00:00Z",
            "valid_until 2026-11-01T00:00:00Z: expected a time after valid_from 2026-11-01T00:00:00Z",
        ),
        ("threshold: 2", "threshold: 4", "threshold 4 of 3 operators: expected 1 to 3"),
        (
            "    software: strongswan\n",
            "",
            "17:5: relay b: identity of kind ecdsa-p256: expected ed25519 for software ippriv",
        ),
        ("weight: 20", "weight: 1000001", "26:13: weight 1000001: expected 0 to 1000000"),
        (
            "everybody knows this pre-shared key",
            "short",
            "22:21: published psk of 5 octets: expected 32 to 256 printable ASCII characters without \" and \\",
        ),
        ("serial: 7", "serial: -7", "2:9:"),
        ("network: testnet", "network: Testnet", "1:10: name \"Testnet\": expected 1 to 63"),
        ("2026-11-01T00:00:00Z", "2026-11-01", "3:13: time \"2026-11-01\": expected RFC 3339"),
    ] {
        let found = words(from, to);
        assert!(found.starts_with(expected), "expected {expected}\n   found {found}");
    }
}

#[test]
fn keys_of_others_are_what_they_say() {
    let read = |text: &str| text.parse::<IdentityKey>();
    for good in [P256, super::P384, RSA] {
        let key = read(good).unwrap();
        assert_eq!(key.to_string(), good);
        assert!(key.to_spki().len() > 64);
    }
    assert_eq!(IdentityKey::from(key(1).public()).to_spki().len(), 44);
    for (bad, expected) in [
        ("", BadKey::Kind),
        ("ed448:AAAA", BadKey::Kind),
        ("ed25519:AAA", BadKey::Base64("ed25519")),
        (
            &P256.replace("ecdsa-p256", "ed25519"),
            BadKey::Octets { kind: "ed25519", octets: 91, expected: "32 octets (RFC 8032)" },
        ),
    ] {
        assert_eq!(read(bad), Err(expected), "{bad}");
    }
    for (kind, other) in [("ecdsa-p256", "ecdsa-p384"), ("ecdsa-p256", "rsa")] {
        let expected = "a SubjectPublicKeyInfo of a key of that kind, in DER";
        let wrong = BadKey::Octets { kind: other, octets: 91, expected };
        assert_eq!(read(&P256.replace(kind, other)), Err(wrong));
    }
    assert!(read(&RSA.replace("rsa", "ecdsa-p384")).is_err());
    // a bare point, which does not say of what curve
    assert!(read("ecdsa-p256:BH7dT2JL7avUbmiD29TiBns5IgFCV/+Mj8QYmqw+CqF/AkM4caamBNjPPb/tIhcJLZU4uiWzL7ATZvNllVD2LXI=").is_err());
}
