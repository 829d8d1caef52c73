//! Running the soak in the lab from outside: progress comes as lines, the result as one JSON object.

use std::io::{self, Write as _};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Settings, run};
use crate::runner::{self, Clock, Finished, RunError, Runner, Streams};
use crate::scenario::{Verdict, Verdicts};

/// Wall time that an hour may take on the slowest machine.
const HOUR_LIMIT: Duration = Duration::from_secs(600);
/// Memory of the lab for each host, in MiB, and for everything else.
const MEMORY: (usize, usize) = (96, 2048);
/// What the result is called in the directory that the lab shares.
const RESULT: &str = "soak.json";

/// What the soak gave.
#[derive(Debug, Serialize, Deserialize)]
pub struct Soaked {
    /// The seed of its randomness.
    pub seed: u64,
    /// Seconds of wall time.
    pub wall_s: f64,
    /// What had to be so.
    pub verdicts: Vec<Verdict>,
    /// Everything in numbers.
    pub figures: Value,
}

/// Why the soak gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum SoakError {
    /// The lab could not run it.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Files around it could not be read or written.
    #[error("cannot exchange files with the lab: {0}")]
    File(#[from] io::Error),
    /// Its result is none.
    #[error("the soak's result: {0}")]
    Result(#[from] serde_json::Error),
    /// It failed inside the lab.
    #[error("the soak ended with exit code {0}, expected a result; it says why above")]
    Failed(i32),
}

/// Runs the soak in the lab. Its progress goes to standard error.
///
/// # Errors
/// [`SoakError`] when it did not come to its end.
pub fn run_in_lab(runner: &dyn Runner, settings: &Settings, seed: u64) -> Result<Soaked, SoakError> {
    let out = std::env::temp_dir().join(format!("ippriv-soak-{}", std::process::id()));
    std::fs::create_dir_all(&out)?;
    let soaked = run_with(runner, settings, seed, &out);
    std::fs::remove_dir_all(&out)?;
    soaked
}

fn run_with(
    runner: &dyn Runner,
    settings: &Settings,
    seed: u64,
    out: &std::path::Path,
) -> Result<Soaked, SoakError> {
    let mut job = runner::in_lab(&["soak", &serde_json::to_string(settings)?])?;
    job.clock = Clock::Virtual { seed };
    job.limit = HOUR_LIMIT * (settings.rounds + 1);
    job.streams = Streams::Inherit;
    job.out_dir = Some(out.to_owned());
    let (each, rest) = MEMORY;
    job.memory_mib = u32::try_from(each * (settings.clients + settings.relays) + rest).unwrap_or(u32::MAX);
    let Finished { code, wall, .. } = runner.run(&job)?;
    if code != 0 {
        return Err(SoakError::Failed(code));
    }
    let mut soaked: Soaked = serde_json::from_slice(&std::fs::read(out.join(RESULT))?)?;
    (soaked.seed, soaked.wall_s) = (seed, wall.as_secs_f64());
    Ok(soaked)
}

/// Runs the soak in this process, which has to be inside the lab, and leaves the result for [`run_in_lab`].
///
/// # Errors
/// Whatever kept it from its end.
pub fn in_lab(settings: &Settings) -> Result<(), Box<dyn std::error::Error>> {
    let report = run(settings, &mut |line| {
        // Who follows the progress may have gone.
        let _ = writeln!(io::stderr(), "{line}");
    })?;
    let mut verdicts = Verdicts::default();
    report.judge(&mut verdicts);
    let soaked = Soaked { seed: 0, wall_s: 0.0, verdicts: verdicts.into_list(), figures: report.figures() };
    let result = std::path::Path::new(crate::guest::OUT_DIR).join(RESULT);
    Ok(std::fs::write(result, serde_json::to_vec(&soaked)?)?)
}
