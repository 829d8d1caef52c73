//! Changes to files that people wrote.

use ippriv::network::edit::{self, EditError};
use ippriv::network::{Invalid, Relay};

use super::{key, november, parse, signatures, text, two_of_three};

fn another() -> Relay {
    let mut relay = parse(&text()).document().relays[0].clone();
    relay.name = "d".parse().unwrap();
    relay.address = "192.0.2.9".parse().unwrap();
    relay.identity = key(14).public().into();
    relay.pool = "10.67.0.0/16".parse().unwrap();
    relay.neighbours = ippriv::network::Neighbours::Only(["b".parse().unwrap()].into());
    relay
}

#[test]
fn adding_a_relay_leaves_the_rest_of_the_file_alone() {
    let written = format!("# ours\n{}# the end\n", text().replace("serial: 7", "serial: 7 # November"));
    let added = edit::add_relay(&written, another()).unwrap();
    let (before, after) = added.split_once("  - name: d\n").unwrap();
    assert_eq!(format!("{before}# the end\n"), written);
    assert!(after.ends_with("# the end\n"), "{after}");
    assert_eq!(parse(&added).document().relays.len(), 4);
    assert_eq!(parse(&added).document().serial, 7, "nobody has signed edition 7 yet");
}

#[test]
fn adding_a_relay_to_a_signed_document_makes_the_next_edition() {
    let signed =
        signatures(&text().replace("serial: 7", "serial: 7 # November"), &[("alice", 1), ("bob", 2)]);
    let added = edit::add_relay(&signed, another()).unwrap();
    assert!(added.contains("serial: 8 # November\n"), "{added}");
    assert_eq!(parse(&added).signatures(), []);
    let signed = signatures(&added, &[("alice", 1), ("bob", 2)]);
    assert!(parse(&signed).verify(&two_of_three(), november(), Some(7)).is_ok());
}

#[test]
fn signing_again_replaces_ones_own_signature() {
    let twice = signatures(&text(), &[("alice", 66), ("bob", 2), ("alice", 1)]);
    assert_eq!(parse(&twice).signatures().len(), 2);
    assert!(parse(&twice).verify(&two_of_three(), november(), None).is_ok());
}

#[test]
fn lists_are_continued_in_their_own_indent_and_begun_when_missing() {
    let flat = text().replace("\n  - name", "\n- name").replace("\n    ", "\n  ");
    assert!(edit::add_relay(&flat, another()).unwrap().contains("\n- name: d\n  address: 192.0.2.9\n"));
    let (head, _) =
        text().split_once("relays:").map(|(head, rest)| (head.to_owned(), rest.to_owned())).unwrap();
    let alone = Relay { neighbours: ippriv::network::Neighbours::All, ..another() };
    for empty in ["", "relays: []\n"] {
        let added = edit::add_relay(&format!("{head}{empty}"), alone.clone()).unwrap();
        assert_eq!(parse(&added).document().relays.first(), Some(&alone), "{added}");
    }
}

#[test]
fn what_would_make_no_sense_is_refused() {
    let twice = Relay { name: "a".parse().unwrap(), ..another() };
    assert!(matches!(edit::add_relay(&text(), twice), Err(EditError::Invalid(Invalid::Shared { .. }))));
    assert!(matches!(edit::add_relay("nothing", another()), Err(EditError::Parse(_))));
    let last = signatures(&text().replace("serial: 7", &format!("serial: {}", u64::MAX)), &[("alice", 1)]);
    assert_eq!(edit::add_relay(&last, another()), Err(EditError::LastSerial { serial: u64::MAX }));
}

#[test]
fn an_odd_layout_is_refused_and_not_damaged() {
    let quoted = text().replace("relays:", "\"relays\":");
    assert_eq!(edit::add_relay(&quoted, another()), Err(EditError::Layout { key: "relays" }));
}
