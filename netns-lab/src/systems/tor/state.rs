//! The bootstrapped state of a network: keys, consensus and descriptors, made once and kept in the lab's cache.
//!
//! Every run starts from a kept state, the first one as well: that is what makes them all the same. It is made by a
//! job of its own in virtual time with a seed of its own, and so is the same on every machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::blueprint::Blueprint;
use super::daemon::{Program, make_private};
use super::{TorError, bootstrap};
use crate::runner::{self, Clock, Runner};
use crate::{kernel, program};

/// Where its randomness starts.
const SEED: u64 = 1;
/// Wall time that a bootstrap may take.
const LIMIT: Duration = Duration::from_secs(600);
/// The file that is there when all is.
const DIRECTORY: &str = "directory.json";
/// What is left behind when a data directory is copied.
const LEFT: &[&str] = &["lock", super::torrc::CONTROL];

/// A state that is there.
#[derive(Clone, Debug)]
pub(super) struct State {
    dir: PathBuf,
    pub(super) directory: Directory,
}

/// What everybody has to know of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Directory {
    /// The line by which all find the authority.
    pub(super) authority: String,
    /// The relays' fingerprints, by node.
    pub(super) fingerprints: BTreeMap<String, String>,
}

impl State {
    /// The one of a network, if it was prepared.
    pub(super) fn open(program: &Program, blueprint: &Blueprint) -> Result<Self, TorError> {
        let dir = dir_of(&blueprint.key(&program.version()?))?;
        Self::at(&dir)?.ok_or(TorError::NoState(dir))
    }

    /// Makes it in the lab, unless it is there.
    pub(super) fn prepare(
        program: &Program,
        blueprint: &Blueprint,
        runner: &dyn Runner,
    ) -> Result<(), TorError> {
        let dir = dir_of(&blueprint.key(&program.version()?))?;
        if Self::at(&dir)?.is_some() {
            return Ok(());
        }
        eprintln!("{}: tor: bootstrapping a network of {}", program::NAME, blueprint.relays.len());
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let scratch = dir.with_file_name(format!(".{name}.{}", std::process::id()));
        make_private(&scratch)?;
        let made = bootstrap_in_lab(blueprint, &scratch, runner).and_then(|()| {
            // Another lab may have been faster; the two are the same.
            let _ = fs::remove_dir_all(&dir);
            fs::rename(&scratch, &dir).map_err(TorError::file("make", &dir))
        });
        // Best effort: what is left over is in a place of its own.
        let _ = fs::remove_dir_all(&scratch);
        made?;
        Self::at(&dir)?.map(drop).ok_or(TorError::NoState(dir))
    }

    /// Keeps the state of a network whose Tors have ended.
    pub(super) fn keep(
        from: &Path,
        dir: &Path,
        blueprint: &Blueprint,
        directory: &Directory,
    ) -> Result<(), TorError> {
        for relay in &blueprint.relays {
            copy_tree(&bootstrap::relay_dir(from, &relay.name), &bootstrap::relay_dir(dir, &relay.name))?;
        }
        // No guards and no times that circuits took: every client is a new one that knows the network.
        let (from, to) = (bootstrap::client_dir(from), bootstrap::client_dir(dir));
        make_private(&to)?;
        for entry in fs::read_dir(&from).map_err(TorError::file("list", &from))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("cached-") {
                copy(&entry.path(), &to.join(entry.file_name()))?;
            }
        }
        let text =
            serde_json::to_string_pretty(directory).map_err(|error| TorError::Job(error.to_string()))?;
        let path = dir.join(DIRECTORY);
        fs::write(&path, text).map_err(TorError::file("write", &path))
    }

    /// Gives a relay its data directory.
    pub(super) fn copy_relay(&self, name: &str, to: &Path) -> Result<(), TorError> {
        copy_tree(&bootstrap::relay_dir(&self.dir, name), to)
    }

    /// Gives a client its data directory.
    pub(super) fn copy_client(&self, to: &Path) -> Result<(), TorError> {
        copy_tree(&bootstrap::client_dir(&self.dir), to)
    }

    fn at(dir: &Path) -> Result<Option<Self>, TorError> {
        let path = dir.join(DIRECTORY);
        if !path.is_file() {
            return Ok(None);
        }
        let text = fs::read(&path).map_err(TorError::file("read", &path))?;
        let directory = serde_json::from_slice(&text).map_err(|error| TorError::Job(error.to_string()))?;
        Ok(Some(Self { dir: dir.to_owned(), directory }))
    }
}

fn dir_of(key: &str) -> Result<PathBuf, TorError> {
    let base = kernel::cache_base().ok_or(crate::bundle::BundleError::NoCache)?;
    Ok(base.join("tor").join(key))
}

fn bootstrap_in_lab(blueprint: &Blueprint, out: &Path, runner: &dyn Runner) -> Result<(), TorError> {
    let failed = |error: &dyn std::fmt::Display| TorError::Job(error.to_string());
    let text = serde_json::to_string(blueprint).map_err(|error| failed(&error))?;
    let mut job = runner::in_lab(&["tor-bootstrap", &text]).map_err(|error| failed(&error))?;
    job.clock = Clock::Virtual { seed: SEED };
    job.limit = LIMIT;
    job.out_dir = Some(out.to_owned());
    let finished = runner.run(&job).map_err(|error| failed(&error))?;
    if finished.code == 0 {
        return Ok(());
    }
    Err(failed(&String::from_utf8_lossy(&[finished.stdout, finished.stderr].concat()).trim_end()))
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), TorError> {
    make_private(to)?;
    // Directories have an order of their own on every machine.
    let mut entries: Vec<_> = fs::read_dir(from).map_err(TorError::file("list", from))?.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (name, to) = (entry.file_name(), to.join(entry.file_name()));
        if LEFT.iter().any(|left| name == *left) {
            continue;
        }
        match entry.file_type().map_err(TorError::file("look at", &entry.path()))? {
            kind if kind.is_dir() => copy_tree(&entry.path(), &to)?,
            kind if kind.is_file() => copy(&entry.path(), &to)?,
            _ => {}
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), TorError> {
    fs::copy(from, to).map(drop).map_err(TorError::file("copy", from))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_what_lasts_is_kept() {
        let base = std::env::temp_dir().join(format!("ippriv-tor-state.{}", std::process::id()));
        let (from, to) = (base.join("from"), base.join("to"));
        let blueprint: Blueprint = serde_json::from_str(
            r#"{ "relays": [{ "name": "r", "address": "198.18.1.2", "exit": true }], "params": {} }"#,
        )
        .unwrap();
        let relay = bootstrap::relay_dir(&from, "r");
        make_private(&relay.join("keys")).unwrap();
        make_private(&bootstrap::client_dir(&from)).unwrap();
        for (file, text) in [("lock", ""), ("state", "s"), ("keys/secret_id_key", "k")] {
            fs::write(relay.join(file), text).unwrap();
        }
        let _listener = UnixListener::bind(relay.join("control")).unwrap();
        for file in ["state", "cached-certs"] {
            fs::write(bootstrap::client_dir(&from).join(file), "").unwrap();
        }
        let directory = Directory { authority: "DirAuthority x".into(), fingerprints: BTreeMap::new() };
        make_private(&to).unwrap();
        assert!(State::at(&to).unwrap().is_none());
        State::keep(&from, &to, &blueprint, &directory).unwrap();

        let state = State::at(&to).unwrap().unwrap();
        assert_eq!(state.directory, directory);
        let (again, client) = (base.join("relay"), base.join("client"));
        state.copy_relay("r", &again).unwrap();
        state.copy_client(&client).unwrap();
        let names = |dir: &Path| {
            let entries = fs::read_dir(dir).unwrap().flatten();
            let mut names: Vec<String> =
                entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&again), ["keys", "state"]);
        assert_eq!(names(&again.join("keys")), ["secret_id_key"]);
        assert_eq!(names(&client), ["cached-certs"]);
        fs::remove_dir_all(&base).unwrap();
    }
}
