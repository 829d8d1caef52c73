//! A processor of the host's for each guest in virtual time.
//!
//! The lab kernel and the process that it lets run are two processes of the host, and one always waits for the other:
//! every system call of the guest goes over and back. On one processor that is a switch; from one to another it is
//! the wake-up of an idle processor, which makes a guest that does little else two to three times slower.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A processor that is nobody else's until this is dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    pub(super) number: usize,
    /// An abstract name is had once on a host and is free again when its holder ends, however it ends.
    _name: UnixDatagram,
}

impl Reserved {
    /// The first of this thread's processors that no other guest has; none if they have all.
    pub(super) fn free() -> Option<Self> {
        let allowed = sched_getaffinity(None).ok()?;
        (0..CpuSet::MAX_CPU).filter(|number| allowed.is_set(*number)).find_map(Self::this)
    }

    fn this(number: usize) -> Option<Self> {
        let address = SocketAddr::from_abstract_name(format!("ippriv-lab-processor-{number}")).ok()?;
        Some(Self { number, _name: UnixDatagram::bind_addr(&address).ok()? })
    }
}

/// Starts something that runs on the processor with this number, if there is one, and on no other. Where that is
/// refused it runs anywhere: it only takes longer.
pub(super) fn on<T>(number: Option<usize>, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let (Some(number), Ok(all)) = (number, sched_getaffinity(None)) else { return start() };
    let mut one = CpuSet::new();
    one.set(number);
    let bound = sched_setaffinity(None, &one).is_ok();
    let started = start();
    if bound {
        sched_setaffinity(None, &all)?;
    }
    started
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_had_once() {
        // No host has it, so no guest beside this test does.
        let number = CpuSet::MAX_CPU - 1;
        let first = Reserved::this(number);
        assert!(first.is_some());
        assert!(Reserved::this(number).is_none());
        drop(first);
        assert!(Reserved::this(number).is_some());
    }

    #[test]
    fn only_what_is_started_is_bound() {
        let before = sched_getaffinity(None).unwrap();
        let number = (0..CpuSet::MAX_CPU).find(|number| before.is_set(*number)).unwrap();
        let during = on(Some(number), || Ok(sched_getaffinity(None)?)).unwrap();
        assert!(during.count() == 1 && during.is_set(number));
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }

    #[test]
    fn without_that_processor_it_runs_anywhere() {
        let before = sched_getaffinity(None).unwrap();
        assert_eq!(on(Some(CpuSet::MAX_CPU - 1), || Ok(sched_getaffinity(None)?)).unwrap(), before);
    }
}
