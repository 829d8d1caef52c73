//! The time that a Tor network lives in. Keys and the consensus hold for a while only.

use std::process::Command;
use std::time::{Duration, SystemTime};

use super::TorError;

/// When networks are bootstrapped, in seconds since 1970: 2023-11-14 22:10:02 UTC, two seconds after the start of a
/// voting interval, so that all relays are there when it ends, and some minutes before the lab's virtual time starts.
const BOOTSTRAP: u64 = 1_699_999_802;
/// When the lab's virtual time starts.
const START: u64 = 1_700_000_000;
/// How long after that nobody votes or fetches anything yet; the consensus is fresh for half a day.
const FRESH: u64 = 10 * 3600;

/// Goes back to when networks are bootstrapped.
pub(super) fn set_for_bootstrap() -> Result<(), TorError> {
    set(BOOTSTRAP)
}

/// Makes sure that it is a time at which bootstrapped states are fresh. Virtual time is such; in real time the lab
/// kernel's own clock is set.
pub(super) fn align() -> Result<(), TorError> {
    #[expect(clippy::disallowed_methods, reason = "whether the clock has to be set")]
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    if (START..START + FRESH).contains(&now.as_secs()) { Ok(()) } else { set(START) }
}

fn set(seconds: u64) -> Result<(), TorError> {
    run("date", &["--set", &format!("@{seconds}")])
}

/// Runs a small program of the system to its end, outside of all nodes.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<(), TorError> {
    let failed =
        |said: String| TorError::Program { command: format!("{program} {}", arguments.join(" ")), said };
    let output = Command::new(program).args(arguments).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()))
}
