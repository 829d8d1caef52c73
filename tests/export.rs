//! Relays exported for other people's daemons: the files as admins get them, and what is refused.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ippriv::network::export::{Access, ForeignRelay, Neighbour, NeighbourAuth, PairPsk, libreswan_key};
use ippriv::network::{ClientAuth, ExitSummary, Neighbours, Relay, Role, Software, Weight};

const ED25519: &str = "ed25519:iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=";
const P256: &str = "ecdsa-p256:MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE7pMO1Vf41etpQtFvDpP4uvRdf4aDM4BTIObMJHHhOS9CR6/8NAHL3kgTiD9hrDT7r3Nic79UCZlpxTOM6aD6og==";
/// Of 2048 bits.
const RSA: &str = include_str!("exports/rsa.key");
const SECRET: &str = "the secret of two neighbours, and of nobody else";

fn relay(name: &str, software: Software, key: &str, number: u8) -> Relay {
    let psk = "a key that everybody knows, of 32 octets or more".to_owned();
    Relay {
        name: name.parse().unwrap(),
        address: [192, 0, 2, number].into(),
        address6: None,
        identity: key.trim().parse().unwrap(),
        software,
        clients: match software {
            Software::Strongswan => ClientAuth::Psk(psk.try_into().unwrap()),
            Software::Ippriv | Software::Libreswan => ClientAuth::Anonymous,
        },
        pool: format!("10.{number}.0.0/16").parse().unwrap(),
        pool6: None,
        roles: BTreeSet::from([Role::Entry, Role::Middle]),
        exit: None,
        operator: None,
        weight: Weight::default(),
        neighbours: Neighbours::All,
    }
}

fn psk() -> NeighbourAuth {
    NeighbourAuth::Psk(PairPsk::try_from(SECRET.to_owned()).unwrap())
}

/// `IPPRIV_BLESS=1 cargo test` writes the expected texts anew.
fn check(name: &str, of: &ForeignRelay<'_>) {
    #[expect(clippy::disallowed_methods, reason = "asked for by whoever runs the test")]
    let bless = std::env::var_os("IPPRIV_BLESS").is_some();
    let export = of.export().unwrap();
    let mut found = String::new();
    for file in &export.files {
        found += &format!("==> {} (mode {:o})\n{}\n", file.path, file.access.mode(), file.text());
        let secret = file.text().contains(SECRET);
        assert!(!secret || file.access == Access::Root, "{} has a secret in it", file.path);
        assert!(!format!("{file:?}").contains(SECRET));
    }
    found += &format!("==> commands\n{}\n", export.commands.join("\n"));
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/exports/{name}.txt"));
    if bless {
        fs::write(&expected, &found).unwrap();
    }
    assert_eq!(found, fs::read_to_string(&expected).unwrap_or_default(), "{name}");
}

#[test]
fn a_strongswan_middle_between_one_of_ours_and_a_libreswan() {
    let own = relay("middle", Software::Strongswan, ED25519, 2);
    let ours = relay("ours", Software::Ippriv, ED25519, 1);
    let libreswan = relay("other", Software::Libreswan, P256, 3);
    let neighbours = vec![
        Neighbour { relay: &ours, auth: NeighbourAuth::Keys },
        Neighbour { relay: &libreswan, auth: psk() },
    ];
    check("strongswan-middle", &ForeignRelay { relay: &own, neighbours });
}

#[test]
fn a_strongswan_exit_of_both_families() {
    let ports = Some(vec![(80, 80), (443, 443), (8000, 8999)]);
    let own = Relay {
        pool6: Some("fd00:9::/64".parse().unwrap()),
        exit: Some(ExitSummary { tcp_ports: ports, udp_ports: Some(vec![]) }),
        ..relay("exit", Software::Strongswan, P256, 9)
    };
    check("strongswan-exit", &ForeignRelay { relay: &own, neighbours: Vec::new() });
}

#[test]
fn a_libreswan_exit_beside_all_kinds() {
    let own = Relay { exit: Some(ExitSummary::default()), ..relay("exit", Software::Libreswan, P256, 2) };
    let before = relay("before", Software::Libreswan, RSA, 1);
    let strongswan = relay("after", Software::Strongswan, ED25519, 3);
    let neighbours = vec![
        Neighbour { relay: &before, auth: NeighbourAuth::Keys },
        Neighbour { relay: &strongswan, auth: psk() },
    ];
    check("libreswan-exit", &ForeignRelay { relay: &own, neighbours });
}

#[test]
fn what_the_software_cannot_do_is_refused_in_plain_words() {
    let ours = relay("ours", Software::Ippriv, ED25519, 1);
    let strongswan = relay("sw", Software::Strongswan, ED25519, 2);
    let libreswan = relay("lw", Software::Libreswan, P256, 3);
    let refused = |own: &Relay, neighbours: &[&Relay]| {
        let neighbours =
            neighbours.iter().map(|relay| Neighbour { relay, auth: NeighbourAuth::Keys }).collect();
        ForeignRelay { relay: own, neighbours }.export().unwrap_err().to_string()
    };
    assert_eq!(refused(&ours, &[]), "relay ours: software ippriv: expected strongswan or libreswan");
    assert_eq!(
        refused(&Relay { clients: ClientAuth::Anonymous, ..strongswan.clone() }, &[]),
        "relay sw: anonymous clients: expected a published psk, for strongSwan has no NULL authentication"
    );
    let pool6 = Some("fd00:9::/64".parse().unwrap());
    assert_eq!(
        refused(&Relay { pool6, ..libreswan.clone() }, &[]),
        "relay lw: a pool of IPv6: expected none, for libreswan gives a client one address only"
    );
    assert_eq!(
        refused(&relay("lw", Software::Libreswan, ED25519, 3), &[]),
        "relay lw: a key of kind ed25519: expected ecdsa-p256 or rsa, which libreswan can use"
    );
    assert_eq!(
        refused(&libreswan, &[&ours]),
        "relays lw and ours: a key of kind ed25519: expected a secret of the two (psk), for libreswan cannot check such keys"
    );
    assert_eq!(
        refused(&strongswan, &[&libreswan]),
        "relays sw and lw: a key of kind ed25519: expected a secret of the two (psk), for libreswan cannot check such keys"
    );
    for neighbours in [&[&strongswan][..], &[&ours, &ours]] {
        let error = refused(&strongswan, neighbours);
        assert!(error.ends_with("expected every other relay at most once"), "{error}");
    }
}

/// What libreswan itself showed of a key it had made, and a key of OpenSSL's with the form of RFC 3110.
#[test]
fn libreswans_form_of_keys() {
    let shown = "0s7pMO1Vf41etpQtFvDpP4uvRdf4aDM4BTIObMJHHhOS9CR6/8NAHL3kgTiD9hrDT7r3Nic79UCZlpxTOM6aD6og==";
    assert_eq!(libreswan_key(&P256.parse().unwrap()).unwrap(), shown);
    assert_eq!(libreswan_key(&ED25519.parse().unwrap()), None);
    let rsa = libreswan_key(&RSA.trim().parse().unwrap()).unwrap();
    // one octet of length, the exponent 65537, and 256 octets of modulus
    assert!(rsa.starts_with("0sAwEAA") && rsa.len() == 2 + 260_usize.div_ceil(3) * 4, "{rsa}");
}
