//! Waiting for the command, and handing signals on to it.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use nix::libc::SI_KERNEL;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What is handed on. The terminal's stop and continue reach the whole process group: they do to both what they
/// do to one command.
const HANDED_ON: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];
/// When to look again without a signal: only one that no thread blocks may be missed.
const AGAIN: Duration = Duration::from_secs(1);
/// A shell's way to say that a signal ended a command.
const SIGNALLED: u8 = 128;

/// Signals that wait until somebody looks. A command started now gets them as usual: `Command` clears its mask.
pub(super) struct Signals {
    waiting: SignalFd,
}

/// A signal to this process.
pub(super) struct Received {
    signal: Signal,
    /// Whether it is from the kernel, as those of the terminal are.
    of_kernel: bool,
}

impl Received {
    /// The exit code of a program that it ends.
    pub(super) fn exit_code(&self) -> u8 {
        ended_by(self.signal as i32)
    }

    /// Whether it ends a program that does not care.
    pub(super) fn ends(&self) -> bool {
        !matches!(self.signal, Signal::SIGCHLD | Signal::SIGWINCH)
    }
}

impl Signals {
    /// From here on signals end this process no more. To be called by the only thread there is.
    pub(super) fn hold() -> io::Result<Self> {
        let mut set: SigSet = HANDED_ON.into_iter().collect();
        set.add(Signal::SIGCHLD);
        set.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self { waiting: SignalFd::with_flags(&set, flags)? })
    }

    /// The next signal, if there is one before `patience` is over.
    pub(super) fn next(&self, patience: Duration) -> io::Result<Option<Received>> {
        let timeout = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        poll(&mut [PollFd::new(&self.waiting, PollFlags::IN)], Some(&timeout))?;
        let Some(info) = self.waiting.read_signal()? else { return Ok(None) };
        let signal = i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
        Ok(signal.map(|signal| Received { signal, of_kernel: info.ssi_code == SI_KERNEL }))
    }

    /// Waits for the end of the command; its exit code as shells have it.
    pub(super) fn until_end_of(&self, mut child: Child) -> io::Result<u8> {
        let process = i32::try_from(child.id()).map(Pid::from_raw).map_err(io::Error::other)?;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(exit_code(status));
            }
            let received = self.next(AGAIN)?;
            // what the terminal sent, the command has got as well
            let handed_on =
                received.filter(|received| received.signal != Signal::SIGCHLD && !received.of_kernel);
            if let Some(Received { signal, .. }) = handed_on {
                // it may have ended just now
                let _ = kill(process, signal);
            }
        }
    }
}

fn ended_by(signal: i32) -> u8 {
    u8::try_from(signal).map_or(u8::MAX, |signal| SIGNALLED.saturating_add(signal))
}

fn exit_code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(u8::MAX),
        (None, Some(signal)) => ended_by(signal),
        (None, None) => u8::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_shells() {
        assert_eq!(exit_code(ExitStatus::from_raw(0)), 0);
        assert_eq!(exit_code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(exit_code(ExitStatus::from_raw(255 << 8)), 255);
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
        assert_eq!(exit_code(ExitStatus::from_raw(15)), 143);
    }

    #[test]
    fn a_command_gets_the_signals_that_this_process_gets() {
        let signals = Signals::hold().unwrap();
        let child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        // of this thread alone, which is the one that holds it
        nix::sys::signal::raise(Signal::SIGTERM).unwrap();
        assert_eq!(signals.until_end_of(child).unwrap(), 143);
    }
}
