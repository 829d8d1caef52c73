//! The files people copy are good, and the bad ones are refused in the words beside them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use ippriv::config;

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    files.sort();
    files
}

#[test]
fn every_policy_compiles() {
    let files = files("policies");
    assert!(files.len() >= 5, "{files:?}");
    for path in files {
        if let Err(error) = config::parse(&fs::read_to_string(&path).unwrap()) {
            panic!("{}:{error}", path.display());
        }
    }
}

/// `IPPRIV_BLESS=1 cargo test` writes the expected texts anew.
#[test]
fn every_invalid_policy_is_refused_in_the_words_expected() {
    #[expect(clippy::disallowed_methods, reason = "asked for by whoever runs the test")]
    let bless = std::env::var_os("IPPRIV_BLESS").is_some();
    let files = files("policies/invalid");
    assert!(files.len() >= 12, "{files:?}");
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let Err(error) = config::parse(&text) else { panic!("{} is accepted", path.display()) };
        let found = format!("{error}\n");
        let expected = path.with_extension("err");
        if bless {
            fs::write(&expected, &found).unwrap();
        }
        assert_eq!(found, fs::read_to_string(&expected).unwrap_or_default(), "{}", path.display());
    }
}

/// The examples are parts of one network: what one end sends with, the other receives with.
#[test]
fn the_ends_of_the_example_circuit_agree() {
    let host = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("policies/{name}.yaml"));
        config::parse(&fs::read_to_string(path).unwrap()).unwrap().host
    };
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
