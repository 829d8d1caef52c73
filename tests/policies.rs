//! The files people copy are good, and the bad ones are refused in the words beside them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use ippriv::config;
use ippriv::ike::wire::KeMethod;
use ippriv::network::{Document, Network, PrivateKey, UnixTime};
use ippriv::policy::{CipherPolicy, ExitSaid, FileKind, Mismatch, Policy, PostQuantum};

#[path = "policies/reference.rs"]
mod reference;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    files.sort();
    files
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join("policies").join(path)).unwrap()
}

/// Reads a file as what it is, as `ippriv check` does.
fn check(text: &str) -> Result<FileKind, String> {
    let kind = FileKind::of(text);
    match kind {
        FileKind::Static => config::parse(text).map(drop).map_err(|error| error.to_string())?,
        FileKind::Policy => Policy::parse(text).map(drop).map_err(|error| error.to_string())?,
        FileKind::Ciphers => CipherPolicy::parse(text).map(drop).map_err(|error| error.to_string())?,
        FileKind::Network => Network::parse(text).map(drop).map_err(|error| error.to_string())?,
    }
    Ok(kind)
}

#[test]
fn every_policy_is_good_and_of_the_kind_of_its_folder() {
    for (folder, kind, least) in [
        ("policies", FileKind::Static, 5),
        ("policies/roles", FileKind::Policy, 5),
        ("policies/ciphers", FileKind::Ciphers, 3),
        ("policies/network", FileKind::Network, 1),
    ] {
        let files = files(folder);
        assert!(files.len() >= least, "{files:?}");
        for path in files {
            match check(&fs::read_to_string(&path).unwrap()) {
                Ok(found) => assert_eq!(found, kind, "{}", path.display()),
                Err(error) => panic!("{}:{error}", path.display()),
            }
        }
    }
}

/// `IPPRIV_BLESS=1 cargo test` writes the expected texts anew.
#[test]
fn every_invalid_policy_is_refused_in_the_words_expected() {
    #[expect(clippy::disallowed_methods, reason = "asked for by whoever runs the test")]
    let bless = std::env::var_os("IPPRIV_BLESS").is_some();
    let files = files("policies/invalid");
    assert!(files.len() >= 40, "{files:?}");
    for path in files {
        let Err(error) = check(&fs::read_to_string(&path).unwrap()) else {
            panic!("{} is accepted", path.display())
        };
        let found = format!("{error}\n");
        let expected = path.with_extension("err");
        if bless {
            fs::write(&expected, &found).unwrap();
        }
        assert_eq!(found, fs::read_to_string(&expected).unwrap_or_default(), "{}", path.display());
    }
}

fn document() -> Document {
    Network::parse(&read("network/testnet.yaml")).unwrap().document().clone()
}

/// The roles believe the example network, which has them, and their cipher policies are there.
#[test]
fn the_example_roles_fit_the_example_network() {
    let now: UnixTime = "2026-11-21T00:00:00Z".parse().unwrap();
    for path in files("policies/roles") {
        let policy = Policy::parse(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(policy.network, Path::new("../network/testnet.yaml"));
        let unverified = Network::parse(&read("network/testnet.yaml")).unwrap();
        let network = unverified.verify(&policy.trust, now, None).unwrap();
        policy.check(network.document()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for (_, file) in policy.cipher_files() {
            let text = fs::read_to_string(path.parent().unwrap().join(file)).unwrap();
            CipherPolicy::parse(&text).unwrap();
        }
    }
}

/// The keys of the examples are no secret: anybody can sign a changed network and try it.
#[test]
fn the_operators_of_the_example_are_everybody() {
    for (name, seed) in [("alice", 1), ("bob", 2), ("carol", 3)] {
        let key = PrivateKey::from_seed([seed; 32].into()).unwrap();
        assert_eq!(document().operators[name], key.public(), "{name}");
    }
}

#[test]
fn the_defaults_are_those_in_the_example_of_everything() {
    let parse = |path| Policy::parse(&read(path)).unwrap();
    assert_eq!(parse("roles/everything.yaml"), parse("roles/least.yaml"));
    assert_eq!(CipherPolicy::parse(&read("ciphers/default.yaml")).unwrap(), CipherPolicy::default());
}

#[test]
fn a_policy_that_does_not_fit_its_network_is_refused() {
    let mismatch = |path: &str, from: &str, to: &str| {
        let text = read(path);
        assert!(text.contains(from), "{from}");
        Policy::parse(&text.replacen(from, to, 1)).unwrap().check(&document()).unwrap_err().to_string()
    };
    for (path, from, to, expected) in [
        (
            "roles/relay.yaml",
            "name: amsterdam",
            "name: athens",
            "relay: relay athens: expected one of the network testnet",
        ),
        (
            "roles/relay.yaml",
            "dublin:",
            "dover:",
            "overlay psk: relay dover: expected one of the network testnet",
        ),
        (
            "roles/relay.yaml",
            "  limits:",
            "  exit: {}\n  limits:",
            "relay amsterdam: an exit by the policy, no exit by the network document: expected them to agree",
        ),
        (
            "roles/exit.yaml",
            "\"80\", ",
            "",
            "relay cork: TCP port 80 leaves by the network document and not by the policy: expected it to",
        ),
        (
            "roles/client.yaml",
            "bergen, ",
            "berlin, ",
            "circuit web: relay berlin: expected one of the network testnet",
        ),
        (
            "roles/client.yaml",
            "[amsterdam, bergen, cork]",
            "[cork, bergen]",
            "circuit web: relay cork is no entry: expected one that is",
        ),
        (
            "roles/client.yaml",
            "[amsterdam, bergen, cork]",
            "[bergen, amsterdam]",
            "circuit web: relay amsterdam is no exit: expected one that is",
        ),
        (
            "roles/client.yaml",
            "[amsterdam, bergen, cork]",
            "[bergen, dublin, cork]",
            "circuit web: relays bergen and dublin keep no tunnel: expected neighbours",
        ),
    ] {
        assert_eq!(mismatch(path, from, to), expected);
    }
    let network = document();
    let policy = Policy::parse(&read("roles/exit.yaml").replace("name: cork", "name: bergen")).unwrap();
    let relay = "bergen".parse().unwrap();
    let expected = Mismatch::Exit { relay, policy: ExitSaid::Exit, document: ExitSaid::NoExit };
    assert_eq!(policy.check(&network), Err(expected));

    let key = |seed: u8| PrivateKey::from_seed([seed; 32].into()).unwrap().public();
    let policy = Policy::parse(&read("roles/exit.yaml")).unwrap();
    assert_eq!(policy.check_identity(&network, key(13)), Ok(()));
    let (relay, expected) = ("cork".parse().unwrap(), Box::new(key(13).into()));
    let refused = Mismatch::Identity { relay, found: key(12), expected };
    assert_eq!(policy.check_identity(&network, key(12)), Err(refused));
}

#[test]
fn cipher_policies_are_offered_in_their_order_with_post_quantum_first() {
    let policy = CipherPolicy::default();
    let offers = policy.ike_offer().0;
    // A proposal for each cipher, so that ciphers and PRFs stay together, with every method in it.
    assert!(offers.len() == 2 * 3 && offers.iter().all(|offer| offer.ke.len() == 3));
    let (first, last) = offers.split_at(3);
    assert!(first.iter().all(|offer| offer.additional == [[KeMethod::MLKEM768]]));
    assert!(last.iter().all(|offer| offer.additional.is_empty()));
    let of = |post_quantum| CipherPolicy { post_quantum, ..policy.clone() };
    assert_eq!(of(PostQuantum::Required).ike_offer().0, first);
    assert_eq!(of(PostQuantum::Off).ike_offer().0, last);
    // Whether it is made again when a child SA is replaced is a choice within one proposal.
    let of_esp = |post_quantum| of(post_quantum).esp_offer().additional;
    assert_eq!(of_esp(PostQuantum::Preferred), [[KeMethod::MLKEM768, KeMethod::NONE]]);
    assert_eq!(of_esp(PostQuantum::Required), [[KeMethod::MLKEM768]]);
    assert!(of_esp(PostQuantum::Off).is_empty());
}

#[test]
fn a_cipher_policy_in_a_file_has_to_be_read_first() {
    let mut policy = Policy::parse(&read("roles/client.yaml")).unwrap();
    let strong = policy.client.clone().unwrap().ciphers;
    assert!(policy.cipher_policy(&strong).is_err());
    let read = CipherPolicy::parse(&read("ciphers/strong.yaml")).unwrap();
    policy.set_cipher_policy(strong.clone(), read.clone());
    assert_eq!(policy.cipher_policy(&strong), Ok(read));
    assert_eq!(policy.cipher_policy(&"default".parse().unwrap()), Ok(CipherPolicy::default()));
}

/// The examples are parts of one network: what one end sends with, the other receives with.
#[test]
fn the_ends_of_the_example_circuit_agree() {
    let host = |name: &str| config::parse(&read(&format!("{name}.yaml"))).unwrap().host;
    let client = host("client").client.unwrap();
    for (hop, name) in client.circuits[0].hops.iter().zip(["entry", "middle", "exit"]) {
        let relay = host(name).relay.unwrap();
        assert_eq!(relay.address, hop.relay, "{name}");
        let circuit = &relay.circuits[0];
        assert_eq!(circuit.address, hop.address, "{name}");
        assert_eq!(circuit.keys.r#in[0], hop.keys.out, "{name}");
        assert_eq!(circuit.keys.out, hop.keys.r#in[0], "{name}");
    }
}
