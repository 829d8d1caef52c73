//! Open files that the service manager passes at the start (`man 3 sd_listen_fds`).

use std::os::fd::OwnedFd;

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use tracing::warn;

/// The first of them.
const FIRST: i32 = 3;

/// The `count` files passed, with their names. Duplicates take their place, for a number alone says nothing
/// about who owns the file; the originals are closed.
pub(super) fn take(count: u16, names: &str) -> Vec<(String, OwnedFd)> {
    if count == 0 {
        return Vec::new();
    }
    let this = match pidfd_open(getpid(), PidfdFlags::empty()) {
        Ok(this) => this,
        Err(error) => {
            warn!(%error, "cannot take over what the service manager kept");
            return Vec::new();
        }
    };
    let mut names = names.split(':');
    let mut taken = Vec::new();
    for number in FIRST..FIRST + i32::from(count) {
        let name = names.next().unwrap_or("unknown").to_owned();
        match pidfd_getfd(&this, number, PidfdGetfdFlags::empty()) {
            Ok(fd) => taken.push((name, fd)),
            Err(error) => warn!(name, %error, "cannot take over a socket that the service manager kept"),
        }
        if let Err(error) = nix::unistd::close(number) {
            warn!(name = number, %error, "cannot close what the service manager passed");
        }
    }
    taken
}
