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

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::process::{Command, Stdio};

    use super::*;

    /// Tells a process that it is the one to take a socket over.
    const TAKES: &str = "IPPRIV_TEST_TAKES";

    /// A process of its own, for the numbers of open files are a process's.
    #[test]
    fn a_socket_goes_from_one_process_to_the_next() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let taking = ["--exact", "service::inherit::tests::taking", "--nocapture"];
        let output = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 </dev/null"])
            .arg(std::env::current_exe().unwrap())
            .args(taking)
            .env(TAKES, "")
            .stdin(Stdio::from(OwnedFd::from(socket)))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&format!("ike took over port {port}")), "{output:?}");
    }

    /// Does something only in the process that the test above starts.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "how the process knows that it is that one")]
    fn taking() {
        if std::env::var_os(TAKES).is_none() {
            return;
        }
        let taken = take(1, "ike");
        let (name, fd) = taken.into_iter().next().unwrap();
        let socket = UdpSocket::from(fd);
        println!("{name} took over port {}", socket.local_addr().unwrap().port());
        let this = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
        assert!(pidfd_getfd(&this, FIRST, PidfdGetfdFlags::empty()).is_err(), "the original is closed");
    }
}
