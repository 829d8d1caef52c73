//! The first start of a network, inside the lab, in a job that does nothing else.
//!
//! Neither delays nor clients matter to what relays agree on: all addresses are put on the loopback of the lab, and
//! every relay is run there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::blueprint::Blueprint;
use super::clock;
use super::daemon::{Daemon, Program, make_private};
use super::state::{Directory, State};
use super::torrc::{self, DIR_PORT, NO_FINGERPRINT};
use super::{Scheduler, TorError};
use crate::guest::OUT_DIR;

/// Where the Tors live.
const DIR: &str = "/run/lab/tor";
/// Descriptors still come and go when a client has all it needs.
const SETTLE: Duration = Duration::from_secs(10);
/// Protects the authority's identity key, which never leaves the lab; tor-gencert wants some.
const PASSPHRASE: &[u8] = b"lab\n";

/// Bootstraps a network and leaves its state in the job's output directory.
///
/// # Errors
/// [`TorError`] when a relay is not part of the network in time.
pub fn in_lab(blueprint: &str) -> Result<(), TorError> {
    let blueprint: Blueprint =
        serde_json::from_str(blueprint).map_err(|error| TorError::Job(error.to_string()))?;
    clock::set_for_bootstrap()?;
    let program = Program::find()?;
    let dir = Path::new(DIR);
    for relay in &blueprint.relays {
        let address = format!("{}/32", relay.address);
        clock::run("ip", &["address", "add", &address, "dev", "lo"])?;
        make_private(&relay_dir(dir, &relay.name))?;
    }
    let authority = found_authority(&program, &blueprint, dir)?;

    let mut relays = Vec::new();
    for (number, relay) in blueprint.relays.iter().enumerate() {
        let home = relay_dir(dir, &relay.name);
        let torrc = torrc::relay(&blueprint, number, &home, &authority, Scheduler::default());
        relays.push(Daemon::start(&program, None, &relay.name, &home, &torrc)?);
    }
    let home = client_dir(dir);
    let torrc = torrc::any_client(&home, &authority);
    let mut all = relays;
    all.push(Daemon::start(&program, None, "client", &home, &torrc)?);
    for daemon in &mut all {
        await_directory(daemon, blueprint.relays.len())?;
    }
    thread::sleep(SETTLE);

    let mut fingerprints = BTreeMap::new();
    for (relay, daemon) in blueprint.relays.iter().zip(&mut all) {
        let fingerprint = daemon.control()?.word("fingerprint").map_err(|error| daemon.failed(error))?;
        fingerprints.insert(relay.name.clone(), fingerprint);
    }
    for daemon in all {
        daemon.stop()?;
    }
    State::keep(dir, Path::new(OUT_DIR), &blueprint, &Directory { authority, fingerprints })
}

/// A relay's data directory.
pub(super) fn relay_dir(base: &Path, name: &str) -> PathBuf {
    base.join("relays").join(name)
}

/// The clients' data directory.
pub(super) fn client_dir(base: &Path) -> PathBuf {
    base.join("client")
}

/// Makes the keys of the first relay, those of the authority among them; the line by which others find it.
fn found_authority(program: &Program, blueprint: &Blueprint, dir: &Path) -> Result<String, TorError> {
    let Some(relay) = blueprint.relays.first() else { return Err(TorError::NoRelays("bootstrap".into())) };
    let home = relay_dir(dir, &relay.name);
    let keys = home.join("keys");
    make_private(&keys)?;
    let file = |name: &str| keys.join(name).to_string_lossy().into_owned();
    let certificate = file("authority_certificate");
    let address = format!("{}:{DIR_PORT}", relay.address);
    program.run(
        "tor-gencert",
        &[
            "--create-identity-key",
            "--passphrase-fd",
            "0",
            "-m",
            "12",
            "-a",
            &address,
            "-i",
            &file("authority_identity_key"),
            "-s",
            &file("authority_signing_key"),
            "-c",
            &certificate,
        ],
        PASSPHRASE,
    )?;
    let text = fs::read_to_string(&certificate).map_err(TorError::file("read", Path::new(&certificate)))?;
    let v3ident = text.lines().find_map(|line| line.strip_prefix("fingerprint ")).unwrap_or_default();
    // Everybody's file has the authority's fingerprint, its own too, which it does not have yet.
    let unknown = torrc::authority(relay, v3ident, NO_FINGERPRINT);
    let torrc = torrc::relay(blueprint, 0, &home, &unknown, Scheduler::default());
    let path = dir.join("keys.torrc");
    fs::write(&path, torrc).map_err(TorError::file("write", &path))?;
    let said = program.run("tor", &["--list-fingerprint", "-f", &path.to_string_lossy()], b"")?;
    let fingerprint: String =
        said.lines().last().unwrap_or_default().split(' ').skip(1).collect::<Vec<_>>().concat();
    if fingerprint.len() != NO_FINGERPRINT.len() {
        return Err(TorError::Program { command: "tor --list-fingerprint".to_owned(), said });
    }
    Ok(torrc::authority(relay, v3ident, &fingerprint))
}

/// Waits until a Tor has a consensus in which every relay is, and what it needs of each of them.
fn await_directory(daemon: &mut Daemon, relays: usize) -> Result<(), TorError> {
    let mut control = daemon.control()?;
    daemon.wait_for("a consensus with all relays", |daemon| {
        let failed = |error| daemon.failed(error);
        let listed = control.info("ns/all").map_err(failed)?;
        let count = listed.iter().filter(|line| line.starts_with("r ")).count();
        Ok(count == relays && control.word("status/enough-dir-info").map_err(failed)? == "1")
    })
}
