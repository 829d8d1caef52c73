//! Runners: one interface to start a program in the lab, natively or in the lab kernel.

mod files;
mod keeper;
mod native;
mod own;
mod processor;
mod qemu;
mod session;
mod uml;

use std::{collections::BTreeMap, ffi::OsString, io, path::PathBuf, process::ExitStatus, time::Duration};

use crate::stock::{Stock, StockError};
use crate::{kernel, system};

pub use keeper::keep;
pub use native::Native;
pub use own::in_lab;
pub use qemu::Qemu;
pub use uml::Uml;

pub(crate) use files::{GuestJob, JobDir, MARK_PREFIX};
pub(crate) use native::MACHINE as NATIVE;
pub(crate) use qemu::{JOB_TAG, MACHINE as QEMU, MODPROBE, MODULES_VARIABLE, OUT_TAG};
pub(crate) use uml::MACHINE as UML;

/// The environment variable, set for the guest's first process, that says which machine it boots.
pub const GUEST_VARIABLE: &str = "IPPRIV_LAB_GUEST";

/// The first argument that makes the program a keeper; the second is the job's directory.
pub const KEEPER_ARGUMENT: &str = "--keeper";

/// Where a job finds [`Job::mounts`].
pub const MOUNTS: &str = "/run/lab/host";

/// Which time a job sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The host's.
    Real,
    /// Virtual: only sleeping and the modelled network take time, and all randomness comes from the seed. The same
    /// job with the same seed does the same, byte for byte.
    Virtual {
        /// Where the guest's randomness starts.
        seed: u64,
    },
    /// That of a processor that executes 10^9 instructions a second, whatever they are; where there is nothing to
    /// execute, time passes as on the host.
    Instructions,
}

/// Where a job's input and output go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// Output is passed on to this process's own standard output and error as it comes.
    Inherit,
    /// Output is collected and returned.
    Capture,
    /// The program gets this process's controlling terminal.
    Terminal,
}

/// A program to run in the lab.
#[derive(Clone, Debug)]
pub struct Job {
    /// The program and its arguments. The program is looked for in the job's PATH.
    pub argv: Vec<OsString>,
    /// Added to the guest's environment, which else has PATH, HOME and LANG only.
    pub env: BTreeMap<OsString, OsString>,
    /// The working directory, an absolute path. The guest sees the host's files.
    pub cwd: PathBuf,
    /// Standard input; empty for none.
    pub stdin: Vec<u8>,
    /// Which time the job sees.
    pub clock: Clock,
    /// Wall time after which the job is ended.
    pub limit: Duration,
    /// A directory of the host the job may write to, as /run/lab/out and LAB_OUT. Everything else it writes is gone
    /// with the guest.
    pub out_dir: Option<PathBuf>,
    /// Directories of the host that the job finds, read-only, in [`MOUNTS`] by these names. The guest does not know
    /// where they come from, so that a job is the same on every host.
    pub mounts: BTreeMap<String, PathBuf>,
    /// The guest's memory in MiB, taken from the host as it is used. The native runner has the host's own.
    pub memory_mib: u32,
    /// Where input and output go.
    pub streams: Streams,
    /// Whether output lines `@cpu-mark NAME` are taken out and answered with a reading of the guest kernel's CPU
    /// time.
    pub cpu_marks: bool,
}

impl Job {
    /// A job with the defaults: real time, a minute, 1 GiB, no output directory, output captured.
    pub fn new<I, S>(argv: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<OsString>,
    {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            cwd: PathBuf::from("/"),
            stdin: Vec::new(),
            clock: Clock::Real,
            limit: Duration::from_secs(60),
            out_dir: None,
            mounts: BTreeMap::new(),
            memory_mib: 1024,
            streams: Streams::Capture,
            cpu_marks: false,
        }
    }
}

/// What a job that ended by itself left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The exit code; 128 + n when signal n ended the program; 127 when it could not be started.
    pub code: i32,
    /// Its standard output, when captured.
    pub stdout: Vec<u8>,
    /// Its standard error, when captured.
    pub stderr: Vec<u8>,
    /// Wall time from the start to the end, boot and shutdown included.
    pub wall: Duration,
    /// The marks in the order they came, each with the CPU time the guest kernel had used by then.
    pub cpu_marks: Vec<(String, Duration)>,
}

/// Why a job has no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A system program is missing.
    #[error(transparent)]
    System(#[from] system::SystemError),
    /// There is no lab kernel.
    #[error("no lab kernel")]
    Kernel(#[from] kernel::KernelError),
    /// Virtual time was asked of the running kernel.
    #[error("virtual time needs the lab kernel; the native runner has real time only")]
    NativeVirtual,
    /// CPU marks were asked of another than the lab kernel.
    #[error("CPU marks need the lab kernel; of other kernels' time the lab's share is not known")]
    NoMarks,
    /// Another clock was asked of the emulator, or its own of another runner.
    #[error("time by instructions is what the runner `qemu` has, and no other")]
    OnlyInstructions,
    /// A terminal was asked of the emulator.
    #[error("the runner `qemu` has no terminal for its programs")]
    NoTerminal,
    /// There is nothing to boot in the emulator.
    #[error(transparent)]
    Stock(#[from] StockError),
    /// The job names no program.
    #[error("the job names no program")]
    NoProgram,
    /// The job ran longer than it may.
    #[error("ended after {} s, its limit; its last lines:\n{last}", limit.as_secs_f32())]
    TimedOut {
        /// The job's limit.
        limit: Duration,
        /// The last lines of its output, or of the guest kernel's when it wrote none.
        last: String,
    },
    /// The guest could not be set up, or ended without a result.
    #[error("the guest gave no result: {0}")]
    Guest(String),
    /// The process that keeps the guest ended before it.
    #[error("the guest's keeper ended early ({0})")]
    Keeper(ExitStatus),
    /// Something on the host failed.
    #[error("cannot {action}")]
    Host {
        /// What was being done.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl RunError {
    pub(crate) fn host(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Host { action, source }
    }
}

/// A way to run jobs.
pub trait Runner: Sync {
    /// What this runner is called on the command line.
    fn name(&self) -> &'static str;
    /// Runs the job to its end.
    fn run(&self, job: &Job) -> Result<Finished, RunError>;
}

/// Which runner to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// The native one when the running kernel can do everything and time is real, else the lab kernel.
    #[default]
    Auto,
    /// The running kernel.
    Native,
    /// The lab kernel, built when there is none.
    Uml,
    /// The distribution's own kernel on an emulated processor that counts instructions; slow.
    Qemu,
}

impl Choice {
    /// The clock of a job whose user chose so: virtual with a seed, or else what the runner has.
    #[must_use]
    pub fn clock(self, virtual_seed: Option<u64>) -> Clock {
        match (virtual_seed, self) {
            (Some(seed), _) => Clock::Virtual { seed },
            (None, Self::Qemu) => Clock::Instructions,
            (None, _) => Clock::Real,
        }
    }
}

/// The runner for `choice` and for a job that sees `clock`.
pub fn choose(choice: Choice, clock: Clock) -> Result<Box<dyn Runner>, RunError> {
    system::ensure(system::RUNNER)?;
    match (choice, clock) {
        (Choice::Qemu | Choice::Auto, Clock::Instructions) => Ok(Box::new(Qemu::new(Stock::ensure()?))),
        (Choice::Qemu, _) | (_, Clock::Instructions) => Err(RunError::OnlyInstructions),
        (Choice::Native, Clock::Virtual { .. }) => Err(RunError::NativeVirtual),
        (Choice::Native, Clock::Real) => Ok(Box::new(Native)),
        (Choice::Auto, Clock::Real) if kernel::probe::is_complete() => Ok(Box::new(Native)),
        (Choice::Auto | Choice::Uml, _) => Ok(Box::new(Uml::new(kernel::ensure()?))),
    }
}
