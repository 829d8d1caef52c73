//! `ippriv key` and `ippriv network`, from the first key to a verified document.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// When the example network is valid, whatever the clock says.
const NOVEMBER: &str = "2026-11-21T00:00:00Z";

/// A folder of its own for each test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ippriv")).args(arguments).current_dir(&self.0).output().unwrap()
    }

    fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    }

    fn key(&self, name: &str) -> String {
        let file = format!("{name}.key");
        self.good(&["key", "new", "--for", "operator", "--name", name, "--out", &file]).trim().to_owned()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap()
    }

    fn mode(&self, file: &str) -> u32 {
        fs::metadata(self.0.join(file)).unwrap().permissions().mode() & 0o777
    }

    /// A document of two operators that both have to sign.
    fn network(&self) -> [String; 2] {
        let operators = ["alice", "bob"].map(|name| format!("{name}={}", self.key(name)));
        let [alice, bob] = &operators;
        self.good(&[
            "network",
            "new",
            "--out",
            "n.yaml",
            "--name",
            "testnet",
            "--operator",
            alice,
            "--operator",
            bob,
        ]);
        operators
    }

    fn add(&self, name: &str, number: u8) -> Output {
        let key = self.key(name);
        let (address, pool) = (format!("198.51.100.{number}"), format!("10.{number}.0.0/16"));
        self.run(&[
            "network",
            "add",
            "n.yaml",
            "--name",
            name,
            "--address",
            &address,
            "--identity",
            &key,
            "--pool",
            &pool,
            "--roles",
            "entry,middle,exit",
            "--tcp-ports",
            "80,443,8000-8999",
            "--udp-ports",
            "none",
        ])
    }
}

#[test]
fn a_key_is_in_its_file_and_nowhere_else() {
    let folder = Folder::new("key");
    let output = folder.run(&["key", "new", "--out", "a.key", "--name", "amsterdam"]);
    let public = String::from_utf8(output.stdout).unwrap();
    assert!(output.stderr.is_empty() && public.starts_with("ed25519:"), "{public}");
    assert_eq!(folder.mode("a.key"), 0o600);
    let text = folder.read("a.key");
    let comment = "# ippriv private key of a relay, for its identity: amsterdam\n# public key: ed25519:";
    assert!(text.starts_with(comment), "{comment}");
    assert_eq!(folder.good(&["key", "show", "a.key"]), public);
    let json = folder.good(&["key", "show", "a.key", "--json"]);
    assert_eq!(json, format!("{{\"file\":\"a.key\",\"public_key\":\"{}\"}}\n", public.trim()));
}

#[test]
fn a_key_file_is_never_replaced_and_never_read_when_others_can() {
    let folder = Folder::new("key-file");
    folder.key("alice");
    let before = folder.read("alice.key");
    assert!(folder.refused(&["key", "new", "--out", "alice.key"]).contains("cannot be made: File exists"));
    symlink("elsewhere", folder.0.join("link.key")).unwrap();
    folder.refused(&["key", "new", "--out", "link.key"]);
    assert!(!folder.0.join("elsewhere").exists(), "no link is followed to make a key");
    assert_eq!(folder.read("alice.key"), before);
    fs::set_permissions(folder.0.join("alice.key"), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(folder.refused(&["key", "show", "alice.key"]).contains("mode 0640 lets others read its keys"));
}

#[test]
fn a_document_goes_from_its_first_line_to_being_believed() {
    let folder = Folder::new("document");
    let [alice, bob] = folder.network();
    assert!(folder.add("amsterdam", 1).status.success());
    assert!(folder.add("bergen", 2).status.success());
    let trust = ["network", "verify", "n.yaml", "--operator", &alice, "--operator", &bob];
    assert!(folder.refused(&trust).starts_with("ippriv: n.yaml: no signatures"));
    folder.good(&["network", "sign", "n.yaml", "--key", "alice.key"]);
    assert!(folder.refused(&trust).contains("signed by alice: expected 2 trusted operators"));
    folder.good(&["network", "sign", "n.yaml", "--key", "bob.key", "--operator", "bob"]);
    assert!(
        folder.good(&trust).starts_with("n.yaml: verified: network testnet, serial 1, 2 relays, sha256 ")
    );
    let shown = folder.good(&["network", "show", "n.yaml"]);
    assert!(shown.contains("bergen at 198.51.100.2, entry, middle, exit"), "{shown}");
    assert_eq!(shown.matches("  signed\n").count(), 2);
    let json = folder.good(&["network", "show", "n.yaml", "--json"]);
    assert!(json.contains("\"tcp_ports\":[[80,80],[443,443],[8000,8999]],\"udp_ports\":[]"), "{json}");
    assert!(json.ends_with("\"signed_by\":[\"alice\",\"bob\"]}\n"), "{json}");
    let checked = folder.good(&["check", "n.yaml"]);
    assert!(
        checked.contains("good, network testnet of 2 relays, serial 1, signed by alice, bob"),
        "{checked}"
    );

    let late = [&trust[..], &["--at", "2100-01-01T00:00:00Z"]].concat();
    assert!(folder.refused(&late).contains("expected a newer edition"));
    let old = [&trust[..], &["--last-seen", "2"]].concat();
    assert!(folder.refused(&old).contains("serial 1: expected at least 2"));
    let other = [&trust[..], &["--name", "othernet"]].concat();
    assert!(folder.refused(&other).contains("document of network testnet: expected network othernet"));

    assert!(folder.add("cork", 3).status.success());
    let text = folder.read("n.yaml");
    assert!(text.contains("serial: 2\n") && !text.contains("signatures"), "{text}");
}

#[test]
fn only_operators_of_the_document_sign_it() {
    let folder = Folder::new("strangers");
    folder.network();
    folder.key("mallory");
    let before = folder.read("n.yaml");
    let refused = folder.refused(&["network", "sign", "n.yaml", "--key", "mallory.key"]);
    assert!(refused.contains("expected one of the document: alice, bob"), "{refused}");
    let refused = folder.refused(&["network", "sign", "n.yaml", "--key", "mallory.key", "--operator", "bob"]);
    assert!(refused.contains("which the document has for operator bob"), "{refused}");
    assert_eq!(folder.read("n.yaml"), before);
}

#[test]
fn a_document_changes_whole_or_not_at_all() {
    let folder = Folder::new("whole");
    folder.network();
    fs::set_permissions(folder.0.join("n.yaml"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(folder.add("amsterdam", 1).status.success());
    let before = folder.read("n.yaml");
    let twice = folder.add("bergen", 1);
    let words = String::from_utf8(twice.stderr).unwrap();
    assert!(
        words.contains("n.yaml: relay bergen: address 198.51.100.1 is also of relay amsterdam"),
        "{words}"
    );
    // somebody else changes it at this moment
    fs::write(folder.0.join("n.yaml.new"), "").unwrap();
    let busy = folder.refused(&["network", "sign", "n.yaml", "--key", "alice.key"]);
    assert!(busy.contains("n.yaml.new is there: expected nobody else to change"), "{busy}");
    assert!(folder.0.join("n.yaml.new").exists(), "what others made is theirs");
    assert_eq!(folder.read("n.yaml"), before);
    fs::remove_file(folder.0.join("n.yaml.new")).unwrap();
    // through a link, the file changes and the link stays
    symlink("n.yaml", folder.0.join("link.yaml")).unwrap();
    folder.good(&["network", "sign", "link.yaml", "--key", "alice.key"]);
    assert!(fs::symlink_metadata(folder.0.join("link.yaml")).unwrap().is_symlink());
    assert!(folder.read("n.yaml").starts_with(&before) && folder.read("n.yaml").contains("signatures:"));
    assert_eq!(folder.mode("n.yaml"), 0o644);
    assert!(!folder.0.join("n.yaml.new").exists());
}

#[test]
fn check_knows_every_kind_of_file_and_says_where_it_is_wrong() {
    let folder = Folder::new("check");
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    for (file, kind) in [
        ("roles/client.yaml", "policy"),
        ("roles/relay.yaml", "policy"),
        ("ciphers/strong.yaml", "ciphers"),
        ("network/testnet.yaml", "network"),
    ] {
        let json = folder.good(&["check", "--json", "--at", NOVEMBER, policies.join(file).to_str().unwrap()]);
        assert!(json.contains(&format!("\"kind\":\"{kind}\"")), "{json}");
    }
    for file in ["roles/relay.yaml", "network/testnet.yaml"] {
        let text = fs::read_to_string(policies.join(file)).unwrap();
        fs::write(folder.0.join(file.split_once('/').unwrap().1), text).unwrap();
    }
    // the network document is not where the policy says: that much can be checked
    let alone = folder.good(&["check", "--at", NOVEMBER, "relay.yaml"]);
    assert!(alone.contains("is not there to check it with"), "{alone}");
    let text = folder.read("relay.yaml");
    fs::write(folder.0.join("relay.yaml"), text.replace("../network/", "").replace("amsterdam", "athens"))
        .unwrap();
    let refused = folder.refused(&["check", "--at", NOVEMBER, "relay.yaml"]);
    assert!(
        refused.contains("relay.yaml: relay: relay athens: expected one of the network testnet"),
        "{refused}"
    );
    fs::write(folder.0.join("relay.yaml"), text.replace("limits", "limit")).unwrap();
    assert!(
        folder
            .refused(&["check", "--at", NOVEMBER, "relay.yaml"])
            .starts_with("ippriv: relay.yaml:13:3: unknown field `limit`")
    );
    let testnet = folder.read("testnet.yaml").replace("198.51.100.66", "198.51.100.67");
    fs::write(folder.0.join("testnet.yaml"), testnet).unwrap();
    fs::write(folder.0.join("relay.yaml"), text.replace("../network/", "")).unwrap();
    let refused = folder.refused(&["check", "--at", NOVEMBER, "relay.yaml"]);
    assert!(refused.contains("testnet.yaml: signature of alice does not fit"), "{refused}");
}

#[test]
fn a_relay_with_other_software_gets_its_files() {
    let folder = Folder::new("export");
    let testnet = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/network/testnet.yaml");
    let testnet = testnet.to_str().unwrap();
    let export = ["network", "export", testnet, "--relay", "dublin", "--out", "dublin"];
    let secret = "this is shared by two relays only";
    for neighbour in ["amsterdam", "cork"] {
        let path = folder.0.join(neighbour);
        fs::write(&path, format!("{secret}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let other = folder.refused(&[&export[..], &["--for", "libreswan"]].concat());
    assert!(other.contains("relay dublin runs strongswan: expected libreswan"), "{other}");
    let refused = folder.refused(&[&export[..], &["--psk", "bergen=cork"]].concat());
    assert!(
        refused.contains("relay bergen: expected one of the document, and of its neighbours"),
        "{refused}"
    );
    let psks = ["--for", "strongswan", "--psk", "amsterdam=amsterdam", "--psk", "cork=cork", "--json"];
    let said = folder.good(&[&export[..], &psks].concat());
    assert!(said.starts_with("{\"folder\":\"dublin\",\"files\":[\"/etc/"), "{said}");
    assert!(!said.contains(secret));
    let again = folder.refused(&[&export[..], &psks].concat());
    assert!(again.contains("dublin: cannot be written: File exists"), "{again}");
    let ours = folder.refused(&["network", "export", testnet, "--relay", "cork", "--out", "cork.d"]);
    assert!(ours.contains("relay cork: software ippriv"), "{ours}");
}
