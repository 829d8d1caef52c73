//! The service manager, if there is one: it is told how the daemon is (`man 3 sd_notify`), and keeps the
//! sockets that take ESP out of UDP open while no daemon runs.
//!
//! That matters: the kernel goes on forwarding without a daemon, but what clients behind NAT send goes
//! through a UDP socket, and a closed one would lose their packets until the next daemon opens it.

mod inherit;

use std::env;
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, sendmsg_addr, socket_with,
};
use tracing::debug;

use crate::clock;

/// A line to whoever started the daemon.
#[derive(Clone)]
pub struct Manager(Option<Rc<Line>>);

struct Line {
    socket: OwnedFd,
    address: SocketAddrUnix,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that started this process, as its environment says.
    #[must_use]
    pub fn from_environment() -> Self {
        let line = variable("NOTIFY_SOCKET").and_then(|path| {
            let address = match path.strip_prefix('@') {
                Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()),
                None => SocketAddrUnix::new(&path),
            };
            let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
            Some(Line { socket: socket.ok()?, address: address.ok()?, watchdog: watchdog() })
        });
        Self(line.map(Rc::new))
    }

    /// Nobody.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// How often it wants to hear that the daemon is alive: half of what it tolerates.
    #[must_use]
    pub fn heartbeat(&self) -> Option<Duration> {
        self.0.as_ref()?.watchdog
    }

    /// The daemon serves.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// It begins to read its files again. The next [`ready`](Self::ready) ends that.
    pub fn reloading(&self) {
        let microseconds = clock::monotonic().as_micros();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    /// It begins to stop.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// It is alive.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// How it is, for people.
    pub fn status(&self, text: &str) {
        self.tell(&format!("STATUS={}", text.replace('\n', " ")));
    }

    /// Keeps `socket` open under `name` when this process is gone.
    pub(crate) fn keep(&self, name: &str, socket: &impl AsFd) {
        let Some(line) = &self.0 else { return };
        // One name has one socket, also when it was kept before.
        self.release(name);
        let fds = [socket.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        line.send(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"), &mut control);
    }

    /// Keeps what is called `name` no longer.
    pub(crate) fn release(&self, name: &str) {
        self.tell(&format!("FDSTOREREMOVE=1\nFDNAME={name}"));
    }

    /// What was kept from the daemon before, with its names. Only the first call gets it.
    pub(crate) fn inherited(&self) -> Vec<(String, OwnedFd)> {
        if self.0.is_none() {
            return Vec::new();
        }
        let mine = variable("LISTEN_PID").and_then(|pid| pid.parse().ok()) == Some(std::process::id());
        let count = variable("LISTEN_FDS").and_then(|count| count.parse().ok()).filter(|_| mine);
        inherit::take(count.unwrap_or(0), &variable("LISTEN_FDNAMES").unwrap_or_default())
    }

    fn tell(&self, text: &str) {
        if let Some(line) = &self.0 {
            line.send(text, &mut SendAncillaryBuffer::default());
        }
    }
}

impl Line {
    fn send(&self, text: &str, control: &mut SendAncillaryBuffer<'_, '_, '_>) {
        let slices = [IoSlice::new(text.as_bytes())];
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        if let Err(error) = sendmsg_addr(&self.socket, &self.address, &slices, control, flags) {
            debug!(%error, "the service manager does not listen");
        }
    }
}

fn watchdog() -> Option<Duration> {
    let mine = variable("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(std::process::id()));
    let microseconds = variable("WATCHDOG_USEC")?.parse().ok().filter(|_| mine)?;
    Some(Duration::from_micros(microseconds) / 2)
}

/// A variable of the environment.
#[expect(clippy::disallowed_methods, reason = "a service manager speaks through the environment")]
fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use rustix::net::{RecvAncillaryBuffer, RecvFlags, recvmsg};

    use super::*;

    /// A line to a socket that a test reads.
    fn line(name: &str) -> (Manager, UnixDatagram) {
        use std::os::linux::net::SocketAddrExt as _;
        let name = format!("ipprivd-test-{name}-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixDatagram::bind_addr(&address).unwrap();
        let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).unwrap();
        let line = Line { socket, address, watchdog: None };
        (Manager(Some(Rc::new(line))), listener)
    }

    fn heard(listener: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = listener.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn the_manager_hears_how_the_daemon_is() {
        let (manager, listener) = line("states");
        manager.ready();
        assert_eq!(heard(&listener), "READY=1");
        manager.reloading();
        assert!(heard(&listener).starts_with("RELOADING=1\nMONOTONIC_USEC="));
        manager.status("two\nlines");
        assert_eq!(heard(&listener), "STATUS=two lines");
    }

    #[test]
    fn a_socket_to_keep_goes_along() {
        let (manager, listener) = line("keep");
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        manager.keep("ike", &socket);
        assert_eq!(heard(&listener), "FDSTOREREMOVE=1\nFDNAME=ike");
        let mut buffer = [0; 256];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let slices = &mut [std::io::IoSliceMut::new(&mut buffer)];
        let got = recvmsg(&listener, slices, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
        assert_eq!(&buffer[..got.bytes], b"FDSTORE=1\nFDNAME=ike\nFDPOLL=0");
        assert_eq!(control.drain().count(), 1);
    }

    #[test]
    fn without_a_manager_nothing_is_told_or_inherited() {
        Manager::none().ready();
        assert!(Manager::none().inherited().is_empty());
    }
}
