//! Jobs on the distribution's own kernel, on an emulated processor that counts instructions.

use std::ffi::OsString;
use std::path::Path;

use super::{Clock, Finished, Job, RunError, Runner, Streams, session};
use crate::program;
use crate::stock::Stock;

/// What the guest's first process finds in its environment when it runs in the emulator.
pub(crate) const MACHINE: &str = "qemu";

/// The guest's tag for the job's directory.
pub(crate) const JOB_TAG: &str = "job";
/// The guest's tag for the job's output directory.
pub(crate) const OUT_TAG: &str = "out";
/// The environment variable, set for the guest's first process, with the directory that has `lib/modules`.
pub(crate) const MODULES_VARIABLE: &str = "IPPRIV_LAB_MODULES";

/// What loads modules in the guest.
pub(crate) const MODPROBE: &str = "/run/lab/modprobe";
/// The file of the guest's disk, in the job's directory, and its size: it takes what is written only.
const DISK: (&str, u64) = ("disk", 4 << 30);

/// An instruction takes a nanosecond; where there is nothing to do, time passes as on the host.
const COUNTED: &str = "shift=0,sleep=on";
/// All that the emulated processor can be: with instructions for AES and wide registers.
const PROCESSOR: &str = "max";
/// What the machine's clock says at first: a moment before virtual time starts, so that what holds there holds here.
const CLOCK: &str = "base=2023-11-14T22:13:20,clock=vm";

/// Runs jobs on the distribution's kernel.
#[derive(Clone, Debug)]
pub struct Qemu {
    stock: Stock,
}

impl Qemu {
    /// A runner that boots `stock`.
    #[must_use]
    pub fn new(stock: Stock) -> Self {
        Self { stock }
    }
}

impl Runner for Qemu {
    fn name(&self) -> &'static str {
        MACHINE
    }

    fn run(&self, job: &Job) -> Result<Finished, RunError> {
        if job.clock != Clock::Instructions {
            return Err(RunError::OnlyInstructions);
        }
        if job.cpu_marks {
            return Err(RunError::NoMarks);
        }
        if job.streams == Streams::Terminal {
            return Err(RunError::NoTerminal);
        }
        let program = program::path().map_err(RunError::host("find the lab's program"))?;
        let mut env: Vec<(OsString, OsString)> = Vec::new();
        env.extend(self.stock.environment().map(|(name, path)| (name.into(), path.into())));
        let argv = command_line(&self.stock, &program, job);
        session::run(job, session::Boot { argv, env, disk: Some(DISK), processor: None })
    }
}

fn command_line(stock: &Stock, program: &Path, job: &Job) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![stock.emulator().into()];
    for dir in stock.firmware() {
        words.extend(["-L".into(), dir.into()]);
    }
    let mut add = |option: &str, value: OsString| words.extend([option.into(), value]);
    add("-machine", "q35,accel=tcg,usb=off,graphics=off".into());
    add("-cpu", PROCESSOR.into());
    add("-smp", "1".into());
    add("-m", format!("{}M", job.memory_mib).into());
    add("-icount", COUNTED.into());
    add("-rtc", CLOCK.into());
    add("-serial", "stdio".into());
    add("-display", "none".into());
    add("-kernel", stock.image().into());
    add("-initrd", stock.initramfs().into());
    add("-append", boot_words(stock, program));
    add("-drive", format!("file={},format=raw,if=virtio,cache=unsafe", DISK.0).into());
    add("-virtfs", share("host", Path::new("/"), ",readonly=on"));
    // The keeper's working directory.
    add("-virtfs", share(JOB_TAG, Path::new("."), ""));
    if let Some(out) = &job.out_dir {
        add("-virtfs", share(OUT_TAG, out, ""));
    }
    words.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(OsString::from));
    words
}

/// A directory of the host; a comma in its path is doubled.
fn share(tag: &str, path: &Path, rest: &str) -> OsString {
    let path = path.to_string_lossy().replace(',', ",,");
    // Files of several of the host's file systems are told apart.
    format!("local,path={path},mount_tag={tag},security_model=none,multidevs=remap{rest}").into()
}

/// The kernel's command line. A path may have spaces in it.
fn boot_words(stock: &Stock, program: &Path) -> OsString {
    let mut words = OsString::from("console=ttyS0 quiet loglevel=4 panic=-1 ");
    words.push(session::guest_word(MACHINE));
    for (name, path) in [("IPPRIV_LAB_FIRST", program), (MODULES_VARIABLE, stock.modules())] {
        words.push(format!(" \"{name}="));
        words.push(path);
        words.push("\"");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_a_path_does_not_end_it() {
        let share = share("out", Path::new("/a,b"), "");
        assert!(share.to_string_lossy().starts_with("local,path=/a,,b,mount_tag=out,"), "{share:?}");
    }
}
