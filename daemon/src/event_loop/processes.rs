//! Processes whose end is waited for.

use std::collections::BTreeMap;
use std::io;

use ippriv::id::ProcessId;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tracing::warn;

/// They end when they end, so that there need be no bound: each has been in a command before.
pub(super) struct Processes {
    ended: mpsc::UnboundedSender<ProcessId>,
    watched: BTreeMap<ProcessId, AbortHandle>,
}

impl Processes {
    /// None yet. Those that end come out of the receiver.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<ProcessId>) {
        let (ended, receiver) = mpsc::unbounded_channel();
        (Self { ended, watched: BTreeMap::new() }, receiver)
    }

    /// Says when a process ends; at once if it cannot be waited for.
    pub(super) fn watch(&mut self, process: ProcessId) {
        self.watched.retain(|_, task| !task.is_finished());
        if self.watched.contains_key(&process) {
            return;
        }
        let ended = self.ended.clone();
        let waiting = open(process);
        let task = tokio::spawn(async move {
            match waiting {
                // It is readable when the process has ended.
                Ok(waiting) => drop(waiting.readable().await),
                Err(error) => warn!(%process, %error, "a process cannot be waited for: taken as ended"),
            }
            // the loop may be over
            let _ = ended.send(process);
        });
        self.watched.insert(process, task.abort_handle());
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.watched.values().for_each(AbortHandle::abort);
    }
}

fn open(process: ProcessId) -> io::Result<Receiver> {
    let number = i32::try_from(process.get()).map_err(io::Error::other)?;
    let pid = Pid::from_raw(number).ok_or(io::ErrorKind::InvalidInput)?;
    Receiver::from_owned_fd_unchecked(pidfd_open(pid, PidfdFlags::NONBLOCK)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn the_end_of_a_process_is_told_and_that_of_no_process_at_once() {
        let (mut processes, mut ended) = Processes::new();
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let process = ProcessId::new(child.id()).unwrap();
        processes.watch(process);
        processes.watch(process);
        tokio::task::yield_now().await;
        assert!(ended.try_recv().is_err());
        drop(child.stdin.take());
        assert_eq!(ended.recv().await, Some(process));
        child.wait().unwrap();
        // nobody has this number: the kernel's own limit is 2^22
        let nobody = ProcessId::new(1 << 23).unwrap();
        processes.watch(nobody);
        assert_eq!(ended.recv().await, Some(nobody));
    }
}
