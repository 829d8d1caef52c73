//! What a service manager does for a daemon: keeps sockets open while no daemon runs, and hands them to the next
//! one (`man 3 sd_notify`, `man 3 sd_listen_fds`). In the lab it stands in for systemd.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// Octets of a message.
const MESSAGE: usize = 1024;
/// Open files that come with one message.
const FILES: usize = 4;
/// What ends the thread that listens.
const END: &str = "END=1";

type Kept = Arc<Mutex<BTreeMap<String, OwnedFd>>>;

/// The manager of one host's daemon.
#[derive(Debug)]
pub(super) struct Manager {
    path: PathBuf,
    kept: Kept,
}

impl Manager {
    /// Listens at `path`.
    pub(super) fn listen(path: &Path) -> std::io::Result<Self> {
        let socket = UnixDatagram::bind(path)?;
        let kept = Kept::default();
        let manager = Self { path: path.to_owned(), kept: Arc::clone(&kept) };
        thread::spawn(move || while hear(&socket, &kept) {});
        Ok(manager)
    }

    /// What it keeps at the moment, by name.
    pub(super) fn kept(&self) -> std::io::Result<Vec<(String, OwnedFd)>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().map(|(name, fd)| Ok((name.clone(), fd.try_clone()?))).collect()
    }

    /// The shell's words that let a daemon find it, before the command. The daemon takes over what is open as
    /// standard input, called `given`, if that is something.
    pub(super) fn script(&self, given: Option<&str>) -> String {
        let path = self.path.display();
        let listen = given.map(|name| {
            format!("export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name}; exec 3<&0 </dev/null; ")
        });
        format!("export NOTIFY_SOCKET={path}; {}exec \"$0\" \"$@\"", listen.unwrap_or_default())
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // Fails only when the thread has ended, which is what it is for.
        let _ = UnixDatagram::unbound().and_then(|socket| socket.send_to(END.as_bytes(), &self.path));
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Takes one message; `false` when there will be no more.
fn hear(socket: &UnixDatagram, kept: &Kept) -> bool {
    let mut buffer = [0; MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let slices = &mut [IoSliceMut::new(&mut buffer)];
    let Ok(received) = recvmsg(socket, slices, &mut control, RecvFlags::CMSG_CLOEXEC) else { return false };
    let files = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    let file = files.flatten().next();
    let text = String::from_utf8_lossy(buffer.get(..received.bytes).unwrap_or_default()).into_owned();
    let has = |line: &str| text.lines().any(|other| other == line);
    let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    match (name, file) {
        (Some(name), Some(file)) if has("FDSTORE=1") => drop(kept.insert(name.to_owned(), file)),
        (Some(name), _) if has("FDSTOREREMOVE=1") => drop(kept.remove(name)),
        _ => {}
    }
    !has(END)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr};

    use super::*;

    fn until(manager: &Manager, names: &[&str]) -> bool {
        (0..500).any(|_| {
            thread::sleep(Duration::from_millis(2));
            manager.kept().unwrap().iter().map(|(name, _)| name.as_str()).eq(names.iter().copied())
        })
    }

    #[test]
    fn it_keeps_what_it_is_given_until_it_is_told_to_let_go() {
        let path = std::env::temp_dir().join(format!("lab-manager-{}", std::process::id()));
        let manager = Manager::listen(&path).unwrap();
        let socket = UnixDatagram::unbound().unwrap();
        let file = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let fds = [std::os::fd::AsFd::as_fd(&file)];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let text = [std::io::IoSlice::new(b"FDSTORE=1\nFDNAME=ike\nFDPOLL=0")];
        let address = SocketAddrUnix::new(&path).unwrap();
        sendmsg_addr(&socket, &address, &text, &mut control, SendFlags::empty()).unwrap();
        assert!(until(&manager, &["ike"]));
        socket.send_to(b"READY=1", &path).unwrap();
        socket.send_to(b"FDSTOREREMOVE=1\nFDNAME=ike", &path).unwrap();
        assert!(until(&manager, &[]));
    }
}
