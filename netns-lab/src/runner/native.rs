//! Jobs in namespaces of the running kernel.

use std::ffi::OsString;

use super::{Clock, Finished, Job, RunError, Runner, session};
use crate::program;

/// What the guest's first process finds in its environment when it runs in namespaces.
pub(crate) const MACHINE: &str = "native";

/// Runs jobs in new namespaces of the running kernel, as root of a user namespace.
#[derive(Clone, Copy, Debug)]
pub struct Native;

impl Runner for Native {
    fn name(&self) -> &'static str {
        MACHINE
    }

    fn run(&self, job: &Job) -> Result<Finished, RunError> {
        match job.clock {
            Clock::Real => {}
            Clock::Virtual { .. } => return Err(RunError::NativeVirtual),
            Clock::Instructions => return Err(RunError::OnlyInstructions),
        }
        if job.cpu_marks {
            return Err(RunError::NoMarks);
        }
        let program = program::path().map_err(RunError::host("find the lab's program"))?;
        let mut argv: Vec<OsString> = [
            "unshare",
            "--user",
            "--map-root-user",
            "--net",
            "--mount",
            "--uts",
            "--ipc",
            "--pid",
            "--fork",
            "--kill-child",
            "env",
        ]
        .map(OsString::from)
        .into();
        argv.extend([session::guest_word(MACHINE), program.into()]);
        session::run(job, session::Boot { argv, env: Vec::new(), disk: None, processor: None })
    }
}
