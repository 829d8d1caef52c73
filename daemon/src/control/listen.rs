//! The socket: who may open it, and how much each connection may ask for.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ippriv::id::ProcessId;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tracing::{debug, error, warn};

use super::routes::{Service, router};
use super::{Hub, Request};

/// Connections at a time: twice as many as may follow events.
const CONNECTIONS: usize = 32;
/// Requests that wait for the event loop.
const WAITING: usize = 32;
/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(5);
/// How long answers may take to leave when the daemon stops.
const GRACE: Duration = Duration::from_secs(1);
/// The largest head, in octets.
const LARGEST_HEAD: usize = 16 << 10;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It cannot be made.
    #[error("control socket {}: {error}", path.display())]
    Io {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Something else is there.
    #[error("control socket {}: something else has that name: expected nothing or an old socket", path.display())]
    Occupied {
        /// Its path.
        path: PathBuf,
    },
    /// Its group does not exist.
    #[error("control socket: no group {0:?} in /etc/group: expected one that exists (groupadd --system {0})")]
    NoGroup(String),
}

/// Who may open the socket besides root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Nobody.
    Root,
    /// The members of a group.
    Group(String),
}

/// The open control socket.
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Opens the socket at `path`, in the place of an earlier daemon's. The caller sees to it that there is
    /// only one daemon. Giving it to a group may need privileges that are given up later.
    ///
    /// # Errors
    /// [`ControlError`] when it cannot be made or its group does not exist.
    pub fn open(path: &Path, access: &Access) -> Result<Self, ControlError> {
        let fail = |error| ControlError::Io { path: path.to_owned(), error };
        let group = match access {
            Access::Root => None,
            Access::Group(name) => {
                Some(group_number(&fs::read_to_string("/etc/group").map_err(fail)?, name)?)
            }
        };
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(path).map_err(fail)?,
            Ok(_) => return Err(ControlError::Occupied { path: path.to_owned() }),
            Err(_) => {}
        }
        // A name nobody connects to until the permissions are set.
        let making = path.with_extension("making");
        drop(fs::remove_file(&making));
        let listener = UnixListener::bind(&making).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let mode = if group.is_some() { 0o660 } else { 0o600 };
        std::os::unix::fs::chown(&making, None, group).map_err(fail)?;
        fs::set_permissions(&making, fs::Permissions::from_mode(mode)).map_err(fail)?;
        fs::rename(&making, path).map_err(fail)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves until the event loop is gone. What is asked comes out of the receiver.
    pub(crate) fn serve(self, hub: Hub) -> (impl Future<Output = ()>, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(WAITING);
        (self.accept(Service { requests, peer: None, hub }), receiver)
    }

    async fn accept(self, service: Service) {
        let listener = match self.listener.try_clone().and_then(tokio::net::UnixListener::from_std) {
            Ok(listener) => listener,
            Err(error) => {
                error!(%error, "the control socket cannot be waited for");
                return;
            }
        };
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { break };
            while connections.try_join_next().is_some() {}
            tokio::select! {
                () = service.requests.closed() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let service = service.clone();
                        connections.spawn(async move {
                            connection(stream, service).await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        // Such as too many open files: waiting is all that helps.
                        warn!(%error, "a control connection was not accepted");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                },
            }
        }
        // Answers that are on their way still arrive.
        let last = async { while connections.join_next().await.is_some() {} };
        drop(tokio::time::timeout(GRACE, last).await);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

async fn connection(stream: UnixStream, mut service: Service) {
    if let Ok(who) = stream.peer_cred() {
        service.peer = who.pid().and_then(|pid| ProcessId::new(u32::try_from(pid).ok()?));
        debug!(uid = who.uid(), pid = who.pid(), "control connection");
    }
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(LARGEST_HEAD)
        // One request each: who waits for nothing holds no place.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router(service)))
        .await;
    if let Err(error) = served {
        debug!(%error, "control connection ended");
    }
}

/// The number of the group `name` in the text of `/etc/group`.
fn group_number(text: &str, name: &str) -> Result<u32, ControlError> {
    let number = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    });
    number.ok_or_else(|| ControlError::NoGroup(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::Directory;

    #[test]
    fn groups_are_found_by_their_whole_name() {
        let text = "root:x:0:\nippriv-old:x:7:\nippriv:x:990:alice\n";
        assert_eq!(group_number(text, "ippriv").unwrap(), 990);
        let missing = group_number(text, "ip").unwrap_err().to_string();
        assert!(missing.contains("groupadd --system ip"), "{missing}");
    }

    #[test]
    fn only_root_may_open_it_unless_a_group_is_named() {
        let directory = Directory::new("socket");
        let path = directory.0.join("control");
        let listener = Listener::open(&path, &Access::Root).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_killed_daemon_s_socket_is_replaced_and_nothing_else() {
        let directory = Directory::new("replaced");
        let path = directory.0.join("control");
        drop(UnixListener::bind(&path).unwrap());
        drop(Listener::open(&path, &Access::Root).unwrap());
        fs::write(&path, "not a socket").unwrap();
        let refused = Listener::open(&path, &Access::Root).err().unwrap();
        assert!(matches!(refused, ControlError::Occupied { .. }), "{refused}");
    }
}
