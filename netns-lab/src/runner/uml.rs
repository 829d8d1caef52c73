//! Jobs in the lab kernel: User-Mode Linux, an ordinary process on the host's files.

use std::{ffi::OsString, path::Path};

use super::{Clock, Finished, Job, RunError, Runner, Streams, processor::Reserved, session};
use crate::{
    kernel::{Kernel, Version},
    program,
};

/// What the guest's first process finds in its environment when it runs in the lab kernel.
pub(crate) const MACHINE: &str = "uml";

/// When virtual time starts: 2023-11-14 22:13:20 UTC, in nanoseconds since 1970.
const VIRTUAL_START_NS: u64 = 1_700_000_000_000_000_000;

/// What our own program is called on the command line in virtual time; see kernel/seeded.c.
const FIRST: &str = "/.ippriv-lab-first";

/// Where the kernel keeps the guest's memory when there is room: it is much slower on a disk.
const MEMORY_DIR: &str = "/dev/shm";

/// Runs jobs in a lab kernel.
#[derive(Clone, Debug)]
pub struct Uml {
    kernel: Kernel,
}

impl Uml {
    /// A runner that boots `kernel`.
    pub fn new(kernel: Kernel) -> Self {
        Self { kernel }
    }
}

impl Runner for Uml {
    fn name(&self) -> &'static str {
        MACHINE
    }

    fn run(&self, job: &Job) -> Result<Finished, RunError> {
        if job.clock == Clock::Instructions {
            return Err(RunError::OnlyInstructions);
        }
        let program = program::path().map_err(RunError::host("find the lab's program"))?;
        session::run(
            job,
            session::Boot {
                argv: command_line(&self.kernel, &program, job),
                env: environment(&self.kernel, &program, job.clock, memory_fits(job.memory_mib)),
                disk: None,
                processor: match job.clock {
                    Clock::Virtual { .. } => Reserved::free(),
                    Clock::Real | Clock::Instructions => None,
                },
            },
        )
    }
}

/// The kernel's command line. It is mixed into the guest's randomness, so nothing in it may differ between two runs
/// of one job on any machine: the job's directory is the kernel's working directory, and the seed and the path of our
/// own program are in its environment.
fn command_line(kernel: &Kernel, program: &Path, job: &Job) -> Vec<OsString> {
    let mut init = OsString::from("init=");
    match job.clock {
        Clock::Virtual { .. } => init.push(FIRST),
        Clock::Real | Clock::Instructions => init.push(program),
    }
    // A terminal shows only what ends the kernel; else its words go to a log that is shown when it fails.
    let (console, level) = match job.streams {
        Streams::Terminal => ("con0=fd:0,fd:1", "loglevel=1"),
        Streams::Inherit | Streams::Capture => ("con0=null,fd:1", "loglevel=4"),
    };
    let mut words = vec![kernel.path().into(), format!("mem={}M", job.memory_mib).into()];
    words.extend(["seccomp=auto", "quiet", "rootfstype=hostfs", "rootflags=/", "ro"].map(OsString::from));
    // No devices that nobody asked for.
    words.extend(["dummy.numdummies=0", "ifb.numifbs=0"].map(OsString::from));
    words.extend([init, session::guest_word(MACHINE), "con=null".into(), console.into(), level.into()]);
    if let Clock::Virtual { .. } = job.clock {
        words.push("time-travel=inf-cpu".into());
        words.push(format!("time-travel-start={VIRTUAL_START_NS}").into());
        if kernel.version() < &Version::SECCOMP {
            // This self-test of older kernels measures jitter, of which virtual time has none, for ever.
            words.push("initcall_blacklist=jent_mod_init".into());
        }
    }
    words
}

/// The kernel's environment beyond PATH. Its own small files (HOME) go into the job's directory.
fn environment(
    kernel: &Kernel,
    program: &Path,
    clock: Clock,
    memory_fits: bool,
) -> Vec<(OsString, OsString)> {
    let mut env: Vec<(OsString, OsString)> = vec![("HOME".into(), ".".into())];
    if !memory_fits {
        env.push(("TMPDIR".into(), std::env::temp_dir().into()));
    }
    if let Clock::Virtual { seed } = clock {
        env.push(("IPPRIV_LAB_SEED".into(), seed.to_string().into()));
        env.push(("IPPRIV_LAB_FIRST".into(), program.into()));
        env.push(("LD_PRELOAD".into(), kernel.seeded().into()));
    }
    env
}

/// Whether the guest's memory has room in the host's shared memory; containers often have very little.
fn memory_fits(memory_mib: u32) -> bool {
    rustix::fs::statvfs(MEMORY_DIR)
        .is_ok_and(|fs| fs.f_bavail.saturating_mul(fs.f_frsize) >= u64::from(memory_mib) << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(job: &Job, version: &str) -> Vec<String> {
        words_of(Path::new("/bin/ippriv-lab"), job, version)
    }

    fn words_of(program: &Path, job: &Job, version: &str) -> Vec<String> {
        let kernel = Kernel::at("/cache/k", version.parse().unwrap());
        let words = command_line(&kernel, program, job);
        words.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn the_seed_the_job_and_the_checkout_are_not_on_the_command_line() {
        let mut job = Job::new(["true"]);
        job.clock = Clock::Virtual { seed: 1 };
        let first = words(&job, "7.3.4");
        job.clock = Clock::Virtual { seed: 987_654_321 };
        job.argv = vec!["another".into()];
        assert_eq!(first, words(&job, "7.3.4"));
        assert_eq!(first, words_of(Path::new("/elsewhere/ippriv-lab"), &job, "7.3.4"));
    }

    #[test]
    fn the_guest_is_booted_read_only_with_our_first_process() {
        let words = words(&Job::new(["true"]), "7.3.4");
        for word in ["/cache/k/linux", "mem=1024M", "ro", "init=/bin/ippriv-lab", "IPPRIV_LAB_GUEST=uml"] {
            assert!(words.iter().any(|found| found == word), "{word} is not in {words:?}");
        }
        assert!(!words.iter().any(|word| word.contains("time-travel")));
    }

    #[test]
    fn virtual_time_starts_at_a_fixed_date_and_older_kernels_skip_a_test() {
        let mut job = Job::new(["true"]);
        job.clock = Clock::Virtual { seed: 1 };
        let new = words(&job, "7.3.4");
        assert!(new.contains(&"time-travel-start=1700000000000000000".to_owned()));
        assert!(!new.iter().any(|word| word.contains("jent")));
        assert!(words(&job, "6.12.3").contains(&"initcall_blacklist=jent_mod_init".to_owned()));
    }

    #[test]
    fn the_seed_is_in_the_environment_of_virtual_time_only() {
        let kernel = Kernel::at("/cache/k", "7.3.4".parse().unwrap());
        let program = Path::new("/bin/ippriv-lab");
        let env = environment(&kernel, program, Clock::Virtual { seed: 5 }, true);
        assert!(env.contains(&("IPPRIV_LAB_SEED".into(), "5".into())));
        assert!(env.contains(&("IPPRIV_LAB_FIRST".into(), program.into())));
        assert!(env.contains(&("LD_PRELOAD".into(), "/cache/k/seeded.so".into())));
        assert_eq!(environment(&kernel, program, Clock::Real, true), [("HOME".into(), ".".into())]);
    }
}
