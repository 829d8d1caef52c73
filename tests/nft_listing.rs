//! Our nftables table as a script, and read back from real listings of nft 1.0.6 (`tests/data/nft`).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;

use ippriv::nft::{Unreadable, Unwritable, create, delete, parse, replace};
use ippriv::state::{NftChain, NftHook, NftRule, NftSet, NftSetKind, NftTable, SetChange};

fn data(name: &str) -> String {
    fs::read_to_string(format!("{}/tests/data/nft/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn set(name: &str, prefixes: &[&str]) -> NftSet {
    let prefixes = prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect();
    NftSet { name: name.into(), kind: NftSetKind::Prefixes(prefixes) }
}

fn ipv4(addresses: &[&str]) -> NftSetKind {
    NftSetKind::Ipv4(addresses.iter().map(|address| address.parse().unwrap()).collect())
}

fn ipv6(addresses: &[&str]) -> NftSetKind {
    NftSetKind::Ipv6(addresses.iter().map(|address| address.parse().unwrap()).collect())
}

fn chain(name: &str, hook: NftHook, rules: &[&str]) -> NftChain {
    let rules = rules.iter().map(|rule| NftRule((*rule).to_owned())).collect();
    NftChain { name: name.into(), hook, rules }
}

/// The rules are in words that nft does not repeat: `filter`-priority numbers, services, spaces.
fn table() -> NftTable {
    NftTable {
        sets: vec![
            set("private", &["10.0.0.0/8", "127.0.0.1/32", "172.16.0.0/12", "192.168.0.0/16"]),
            set("private6", &["fc00::/7", "fe80::/10"]),
            NftSet { name: "handed_out".into(), kind: ipv4(&["10.65.0.1", "10.65.0.2"]) },
            NftSet { name: "handed_out6".into(), kind: ipv6(&["fd00:65::1"]) },
            NftSet { name: "entries".into(), kind: ipv4(&[]) },
        ],
        chains: vec![
            chain("input", NftHook::Input, &["iifname \"ippt\"  tcp dport { ssh, 80 } counter drop"]),
            chain("forward", NftHook::Forward, &["ip daddr @private drop", "ip6 daddr @private6 drop"]),
            chain("output", NftHook::Output, &[]),
            chain("nat", NftHook::PostroutingNat, &["ip saddr 10.9.0.0/16 masquerade"]),
            chain("mss", NftHook::ForwardMangle, &["tcp flags syn tcp option maxseg size set 1240"]),
        ],
    }
}

#[test]
fn the_script_replaces_the_table_as_a_whole() {
    assert_eq!(create(&table()).unwrap(), data("table.nft"));
    let replacing = "add table inet ippriv\ndelete table inet ippriv\n";
    let definition = data("table.nft").replace("create table inet ippriv\n", "");
    assert_eq!(replace(&table()).unwrap(), format!("{replacing}{definition}"));
    assert_eq!(delete(), "delete table inet ippriv\n");
}

#[test]
fn names_and_rules_that_would_mean_something_else_are_refused() {
    let with = |change: fn(&mut NftTable)| {
        let mut table = table();
        change(&mut table);
        create(&table)
    };
    let refused = with(|table| table.sets[0].name = "a { }".into());
    assert_eq!(refused, Err(Unwritable::Name("a { }".into())));
    let refused = with(|table| table.chains[0].rules[0].0 = "drop\n}".into());
    assert_eq!(refused, Err(Unwritable::Rule("drop\n}".into())));
    assert!(with(|table| table.chains[0].rules[0].0 = "drop comment \"x\"".into()).is_err());
}

#[test]
fn a_listing_is_the_table_it_was_made_from() {
    assert_eq!(parse(&data("table.json"), &data("table.txt"), Some(&table())), Ok(table()));
    // Later versions of nft list a single flag without an array.
    let json = data("table.json").replace("[\"interval\"]", "\"interval\"");
    assert_eq!(parse(&json, &data("table.txt"), Some(&table())), Ok(table()));
}

#[test]
fn rules_that_nobody_knows_come_in_the_words_of_nft() {
    let read = parse(&data("table.json"), &data("table.txt"), None).unwrap();
    assert_eq!(read.sets, table().sets);
    assert_eq!(read.chains[0].rules[0].0, "iifname \"ippt\" tcp dport { 22, 80 } counter drop");
    assert_eq!(read.chains[1..], table().chains[1..]);
    assert!(create(&read).is_ok());
}

#[test]
fn any_change_is_noticed() {
    let json = data("table.json");
    let changes = [
        ("another comment", "\"comment\": \"ippriv ", "\"comment\": \"ippriv_", true),
        ("another address", "\"len\": 12", "\"len\": 13", true),
        ("a missing address", "\"127.0.0.1\", ", "", true),
        ("a range", "\"127.0.0.1\"", "{\"range\": [\"127.0.0.1\", \"127.0.0.3\"]}", false),
        ("another type", "\"type\": \"ipv4_addr\"", "\"type\": \"inet_service\"", false),
        ("a set that forgets", "\"flags\": [\"interval\"]", "\"flags\": [\"interval\", \"timeout\"]", false),
        ("another single address", "\"10.65.0.1\"", "\"10.65.0.3\"", true),
        ("an address that will go", "\"fd00:65::1\"", "{\"elem\": {\"val\": \"fd00:65::1\"}}", false),
        ("another hook", "\"hook\": \"input\"", "\"hook\": \"prerouting\"", false),
        ("another priority", "\"prio\": -150", "\"prio\": -149", false),
        ("another policy", "\"policy\": \"accept\"", "\"policy\": \"drop\"", false),
        (
            "a sleeping table",
            "\"name\": \"ippriv\", ",
            "\"name\": \"ippriv\", \"flags\": \"dormant\", ",
            false,
        ),
        ("another object", "{\"metainfo\"", "{\"counter\": {\"name\": \"c\"}}, {\"metainfo\"", false),
    ];
    for (what, from, to, restorable) in changes {
        let changed = json.replacen(from, to, 1);
        assert_ne!(changed, json, "{what}");
        let read = parse(&changed, &data("table.txt"), Some(&table())).unwrap();
        assert_ne!(read, table(), "{what}");
        assert_eq!(create(&read).is_ok(), restorable, "{what}");
    }
    // Two rules in another order.
    let mut swapped = table();
    swapped.chains[1].rules.swap(0, 1);
    assert_ne!(parse(&json, &data("table.txt"), Some(&swapped)).unwrap(), swapped);
}

/// A table with other elements in its sets, the first set's prefixes and the last one's addresses.
fn with_elements(private: &[&str], entries: &[&str]) -> NftTable {
    let mut table = table();
    table.sets[0] = set("private", private);
    table.sets[4].kind = ipv4(entries);
    table
}

#[test]
fn nothing_but_addresses_changes_in_place() {
    let private = ["10.0.0.0/8"];
    let before = with_elements(&private, &["192.0.2.1", "192.0.2.2"]);
    let after = with_elements(&private, &["192.0.2.2", "192.0.2.3"]);
    let change = SetChange {
        set: "entries".into(),
        add: vec!["192.0.2.3".parse().unwrap()],
        remove: vec!["192.0.2.1".parse().unwrap()],
    };
    assert_eq!(before.changes_in_place(&after), Some(vec![change]));
    assert_eq!(before.changes_in_place(&before), None, "who asks to replace it by itself means it");
    let between = with_elements(&private, &["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    assert_eq!(after.keeping_addresses_of(&before), between);

    let mut others = vec![with_elements(&["10.0.0.0/9"], &["192.0.2.3"])];
    let mut altered = |alter: fn(&mut NftTable)| {
        let mut other = after.clone();
        alter(&mut other);
        others.push(other);
    };
    altered(|table| drop(table.sets.pop()));
    altered(|table| table.sets[4].name = "exits".into());
    altered(|table| table.sets[4].kind = ipv6(&[]));
    altered(|table| drop(table.chains[1].rules.pop()));
    for other in others {
        assert_eq!(before.changes_in_place(&other), None, "{other:?}");
        assert_eq!(other.keeping_addresses_of(&other), other);
    }
}

#[test]
fn what_is_no_listing_is_an_error() {
    assert!(matches!(parse("{", "", None), Err(Unreadable::Json(_))));
    assert_eq!(parse("{}", "", None), Err(Unreadable::Structure("an array called nftables")));
    let whole = data("table.json");
    for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)) {
        let _ = parse(&whole[..end], &whole[..end], None);
    }
}
