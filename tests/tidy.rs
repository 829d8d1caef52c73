//! Rules of the house that a machine can check.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` with one of the endings, but what is built.
fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != ".git" {
                found.extend(files(&path, endings));
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
    found
}

#[test]
fn no_source_file_is_longer_than_600_lines() {
    for path in files(root(), &[".rs", ".c", ".sh"]) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 600, "{}: {lines} lines", path.display());
    }
}

/// What a deterministic core cannot use, whether or not a lint knows it.
#[test]
fn the_core_has_no_io() {
    let banned = [
        "std::fs",
        "std::thread",
        "std::process",
        "std::env",
        "std::time::Instant",
        "std::time::SystemTime",
        "TcpStream",
        "UdpSocket",
        "UnixStream",
        "async fn",
        "println!",
        "tokio",
        "rustix",
        "netlink_sys",
    ];
    for path in files(&root().join("src"), &[".rs"]) {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for word in banned {
                assert!(!line.contains(word), "{}: {word}: {line}", path.display());
            }
        }
    }
}

/// Every room of the core, and the rooms it may use. There is no way round in a circle.
const ROOMS: [(&str, &[&str]); 21] = [
    ("dns", &[]),
    ("entropy", &[]),
    ("form", &[]),
    ("id", &[]),
    ("secret", &[]),
    ("suite", &[]),
    ("time", &[]),
    ("ownership", &["id"]),
    ("state", &["id", "ownership", "secret", "suite"]),
    ("plan", &["state"]),
    ("netlink", &["id", "ownership", "plan", "secret", "state", "suite"]),
    ("nft", &["ownership", "state"]),
    ("ike", &["entropy", "id", "secret", "suite", "time"]),
    ("telescope", &["id", "ownership", "secret", "state", "suite"]),
    ("report", &["id", "plan", "state", "telescope"]),
    ("config", &["form", "id", "secret", "state", "suite", "telescope"]),
    ("control", &["id", "telescope"]),
    ("network", &["entropy", "form", "id", "ike", "secret", "telescope", "time"]),
    ("policy", &["dns", "form", "id", "ike", "network", "state", "suite", "telescope"]),
    (
        "node",
        &[
            "control",
            "dns",
            "entropy",
            "id",
            "ike",
            "network",
            "plan",
            "policy",
            "secret",
            "state",
            "suite",
            "telescope",
            "time",
        ],
    ),
    ("lib", &[]),
];

#[test]
fn imports_run_one_way() {
    for (at, (room, allowed)) in ROOMS.iter().enumerate() {
        let above: Vec<&str> = ROOMS[..at].iter().map(|(name, _)| *name).collect();
        assert!(allowed.iter().all(|name| above.contains(name)), "{room} uses what comes after it");
    }
    for path in files(&root().join("src"), &[".rs"]) {
        let within = path.strip_prefix(root().join("src")).unwrap().to_string_lossy().into_owned();
        let room = within.split('/').next().unwrap().trim_end_matches(".rs");
        let found = ROOMS.iter().find(|(name, _)| *name == room);
        let (_, allowed) = found.unwrap_or_else(|| panic!("{room}: a room that is not in the list"));
        for used in fs::read_to_string(&path).unwrap().split("crate::").skip(1) {
            let used: String = used.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            assert!(used == room || allowed.contains(&used.as_str()), "{within}: uses {used}");
        }
    }
}

#[test]
fn every_dependency_is_explained() {
    let explained = fs::read_to_string(root().join("docs/decisions/0001-dependencies.md")).unwrap();
    for manifest in files(root(), &["Cargo.toml"]) {
        let text = fs::read_to_string(&manifest).unwrap();
        let section = text.split("\n[dependencies]\n").nth(1).unwrap_or_default();
        let section = section.split("\n[").next().unwrap_or_default();
        for line in section.lines().filter(|line| !line.trim().is_empty()) {
            let name = line.split(['.', ' ', '=']).next().unwrap();
            let ours = name.starts_with("ippriv");
            assert!(ours || explained.contains(&format!("`{name}`")), "{}: {name}", manifest.display());
        }
    }
}

#[test]
fn every_crate_that_dependencies_bring_is_explained() {
    let explained = fs::read_to_string(root().join("docs/decisions/0001-dependencies.md")).unwrap();
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let names = lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    let unexplained: Vec<&str> = names
        .filter(|name| !name.starts_with("ippriv") && !explained.contains(&format!("`{name}`")))
        .collect();
    assert!(unexplained.is_empty(), "{unexplained:?}");
}

/// Scenarios named in the documents exist.
#[test]
fn the_threat_model_names_scenarios_that_exist() {
    let text = fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    let sources: String = files(&root().join("netns-lab/src/scenario"), &[".rs"])
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    for line in text.lines().filter(|line| line.starts_with("| ") && line.ends_with('|')) {
        let Some(shown) = line.split('|').nth(2) else { continue };
        for name in shown.split('`').skip(1).step_by(2).filter(|name| !name.starts_with("cargo")) {
            let stem = name.trim_end_matches('*');
            assert!(sources.contains(&format!("name: \"{stem}")), "no scenario {name}");
        }
    }
}
