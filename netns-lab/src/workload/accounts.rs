//! Whose CPU time it is: of each node, the kernel's work for its interfaces and its system's processes.
//!
//! All nodes share one kernel, whose work for a packet is nobody's by itself. With threaded NAPI
//! (Documentation/networking/napi.rst) each end of a link has a kernel thread that receives: it goes all the way of a
//! packet, through ESP and on to the next link. What it used is the node's; the scheduler counts it to the nanosecond
//! (`schedstat`). Processes are those in the node's namespace before the workload's own began.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::Outcome;
use crate::net::{Net, Node};

/// The parent of all of the kernel's threads.
const KERNEL_THREADS: u32 = 2;

/// CPU time of one node so far, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Used {
    /// The kernel's, for interfaces and in system calls.
    pub(super) kernel: f64,
    /// Of processes themselves.
    pub(super) user: f64,
}

impl Used {
    pub(super) fn since(self, before: Self) -> Self {
        Self { kernel: self.kernel - before.kernel, user: self.user - before.user }
    }
}

/// The threads of one node.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) node: String,
    /// Kernel threads of its interfaces.
    threads: BTreeSet<u32>,
    /// Its system's processes.
    processes: BTreeSet<u32>,
}

impl Account {
    /// Gives the node's interfaces threads of their own, and lists those and its processes.
    pub(super) fn open(node: Node<'_>) -> Outcome<Self> {
        let names: Vec<&str> = node.interfaces().map(|end| end.interface.as_str()).collect();
        let before = napi_threads()?;
        for name in &names {
            // Which interfaces /sys has is decided when it is mounted, and this does that.
            let command = format!("echo 1 >/sys/class/net/{name}/threaded");
            node.run(&["ip", "netns", "exec", node.name(), "sh", "-c", &command])?;
        }
        let threads: BTreeSet<u32> = napi_threads()?.difference(&before).copied().collect();
        if threads.len() != names.len() {
            let found = threads.len();
            return Err(
                format!("{}: found {found} threads of interfaces, expected {names:?}", node.name()).into()
            );
        }
        Ok(Self { node: node.name().to_owned(), threads, processes: processes_of(node)? })
    }

    /// What it has used by now.
    pub(super) fn used(&self) -> Outcome<Used> {
        let mut used = Used::default();
        for pid in &self.threads {
            used.kernel += process_ns(*pid)?;
        }
        for pid in &self.processes {
            let all = process_ns(*pid)?;
            let user = user_share(&fs::read_to_string(format!("/proc/{pid}/stat"))?)
                .ok_or_else(|| format!("/proc/{pid}/stat: found no times"))?;
            used.user += all * user;
            used.kernel += all * (1.0 - user);
        }
        Ok(used)
    }
}

/// The processes in a node's namespace.
pub(super) fn processes_of(node: Node<'_>) -> Outcome<BTreeSet<u32>> {
    let own = node.enter(|| fs::read_link("/proc/thread-self/ns/net"))??;
    let of_node = |pid: &u32| fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|found| found == own);
    Ok(pids()?.into_iter().filter(of_node).collect())
}

/// Has interfaces do what network cards do, receive several packets as one, and leaves out the lab's queues, whose
/// timers' work is nobody's.
pub(super) fn like_cards(net: &Net) -> Outcome<()> {
    for node in net.nodes() {
        for end in node.interfaces() {
            let name = end.interface.as_str();
            node.run(&["tc", "qdisc", "delete", "dev", name, "root"])?;
            node.run(&["ethtool", "-K", name, "gro", "on"])?;
            node.run(&["ip", "link", "set", name, "gso_max_segs", "65535"])?;
        }
    }
    Ok(())
}

/// CPU time so far of the kernel's threads that are in no account: for what interrupts leave over, and for work that
/// is queued.
pub(super) fn left_over(accounts: &[Account]) -> Outcome<f64> {
    let mut sum = 0.0;
    for pid in pids()? {
        // A thread that is gone meanwhile has used next to nothing.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let accounted = accounts.iter().any(|account| account.threads.contains(&pid));
        if parent(&stat) == Some(KERNEL_THREADS) && !accounted {
            sum += process_ns(pid).unwrap_or_default();
        }
    }
    Ok(sum)
}

/// The parent of a process.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The kernel's threads that receive for an interface.
fn napi_threads() -> Outcome<BTreeSet<u32>> {
    let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Ok(pids()?.into_iter().filter(|pid| name(pid).starts_with("napi/")).collect())
}

fn pids() -> Outcome<BTreeSet<u32>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// CPU time of all threads of a process, in nanoseconds.
fn process_ns(pid: u32) -> Outcome<f64> {
    let folder = format!("/proc/{pid}/task");
    let mut sum = 0.0;
    for thread in fs::read_dir(Path::new(&folder)).map_err(|error| format!("{folder}: {error}"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        sum +=
            scheduled_ns(&text).ok_or_else(|| format!("{folder}: found `{text}`, expected three numbers"))?;
    }
    Ok(sum)
}

fn scheduled_ns(schedstat: &str) -> Option<f64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// The part of a process' time that it spent outside of the kernel, by the ticks that its `stat` counts.
fn user_share(stat: &str) -> Option<f64> {
    // The name, in brackets, may have spaces in it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: f64 = fields.nth(11)?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(if user + system > 0.0 { user / (user + system) } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_user_time_is_read_past_any_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 30 10 0 0 20 0 1 0 5 0 0";
        assert_eq!(user_share(stat), Some(0.75));
        assert_eq!(user_share("42 (x) S 1 42 42 0 -1 4194560 100 0 0 0 0 0 0 0"), Some(0.0));
        assert_eq!(user_share("42"), None);
        assert_eq!(parent("15 (ksoftirqd/0) S 2 0 0 0 -1"), Some(KERNEL_THREADS));
    }

    #[test]
    fn scheduled_time_is_the_first_of_three() {
        assert_eq!(scheduled_ns("123456789 42 7\n"), Some(123_456_789.0));
        assert_eq!(scheduled_ns(""), None);
    }

    #[test]
    fn a_process_has_used_some_time() {
        assert!(process_ns(std::process::id()).unwrap() > 0.0);
    }
}
