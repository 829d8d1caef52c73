//! The UDP sockets that IKE speaks through.
//!
//! Each has a task that reads what arrives, some datagrams at a time, and hands it to the event loop through
//! a queue that holds little: when the loop is busy, datagrams wait in the kernel, which drops what is too
//! much, and peers send again.

mod encapsulation;
mod open;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ippriv::node::{Binding, SocketId};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

use crate::service::Manager;

/// The longest IKE message taken, in octets: larger ones do not come from a peer that speaks RFC 7383.
const LONGEST: usize = 16 << 10;
/// The most datagrams taken from one socket before others have their turn.
const BATCH: usize = 32;
/// How many such batches wait for the event loop.
const WAITING: usize = 64;

/// Datagrams that arrived at one socket.
pub(crate) struct Arrived {
    pub(crate) socket: SocketId,
    /// Where each came from, and its octets without non-ESP marker.
    pub(crate) datagrams: Vec<(SocketAddr, Vec<u8>)>,
}

struct Open {
    socket: Arc<UdpSocket>,
    binding: Binding,
    reader: AbortHandle,
}

/// All open sockets.
pub(crate) struct Sockets {
    open: BTreeMap<SocketId, Open>,
    arrived: mpsc::Sender<Arrived>,
    /// Keeps sockets that take ESP open while no daemon runs.
    manager: Manager,
    /// What the daemon before left there.
    inherited: Vec<open::Inherited>,
}

impl Sockets {
    /// None yet; datagrams will come out of the receiver.
    pub(crate) fn new(manager: Manager) -> (Self, mpsc::Receiver<Arrived>) {
        let (arrived, receiver) = mpsc::channel(WAITING);
        let inherited = open::inherited(manager.inherited());
        (Self { open: BTreeMap::new(), arrived, manager, inherited }, receiver)
    }

    /// Opens a socket, or takes over the one that the daemon before had open with that binding.
    pub(crate) fn open(&mut self, id: SocketId, binding: Binding) -> io::Result<()> {
        let socket = match self.inherited.iter().position(|inherited| inherited.is(&binding)) {
            Some(at) => self.inherited.swap_remove(at).socket,
            None => open::open(&binding)?,
        };
        if binding.encapsulates() {
            self.manager.keep(&name(&binding), &socket);
        }
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        let form = if binding.encapsulates() { Form::Marked } else { Form::Plain };
        let reader = read(id, socket.clone(), form, self.arrived.clone());
        let reader = tokio::spawn(reader).abort_handle();
        if let Some(old) = self.open.insert(id, Open { socket, binding, reader }) {
            old.reader.abort();
        }
        Ok(())
    }

    /// Closes a socket.
    pub(crate) fn close(&mut self, id: SocketId) {
        if let Some(closed) = self.open.remove(&id) {
            closed.reader.abort();
            if closed.binding.encapsulates() {
                self.manager.release(&name(&closed.binding));
            }
        }
    }

    /// Sends an IKE message. What cannot be sent is lost, as on the way, and the peer's answer missed.
    pub(crate) fn send(&self, id: SocketId, remote: SocketAddr, octets: &[u8]) {
        let Some(open) = self.open.get(&id) else {
            debug!(socket = id.0, "no such socket to send through");
            return;
        };
        let sent = if open.binding.encapsulates() {
            open.socket.try_send_to(&encapsulation::mark(octets), remote)
        } else {
            open.socket.try_send_to(octets, remote)
        };
        if let Err(error) = sent {
            debug!(socket = id.0, %remote, octets = octets.len(), %error, "not sent");
        }
    }

    /// Closes what the daemon before left and this one has no use for.
    pub(crate) fn drop_unclaimed(&mut self) {
        for unclaimed in self.inherited.drain(..) {
            info!(name = unclaimed.name, "closing a socket that nothing needs any more");
            self.manager.release(&unclaimed.name);
        }
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        for open in self.open.values() {
            open.reader.abort();
        }
    }
}

/// What a socket is called in the service manager's store: no colon may be in it (`man 3 sd_notify`).
fn name(binding: &Binding) -> String {
    let link = binding.link.as_ref().map_or("any", |link| link.as_str());
    format!("ike-{}-{}-{link}", binding.address.to_string().replace(':', "."), binding.port)
}

/// What datagrams of a socket begin with.
#[derive(Clone, Copy)]
enum Form {
    Plain,
    /// With a non-ESP marker (RFC 3948 §2.2).
    Marked,
}

async fn read(id: SocketId, socket: Arc<UdpSocket>, form: Form, arrived: mpsc::Sender<Arrived>) {
    let mut buffer = vec![0; LONGEST + 1];
    loop {
        if let Err(error) = socket.readable().await {
            warn!(socket = id.0, %error, "no longer reads");
            return;
        }
        let mut datagrams = Vec::new();
        for _ in 0..BATCH {
            match socket.try_recv_from(&mut buffer) {
                Ok((length, remote)) => {
                    let octets = buffer.get(..length.min(LONGEST)).filter(|_| length <= LONGEST);
                    let message = match form {
                        Form::Plain => octets,
                        Form::Marked => octets.and_then(encapsulation::unmark),
                    };
                    datagrams.extend(message.map(|message| (remote, message.to_vec())));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Such as an ICMP error about what was sent before.
                Err(error) => debug!(socket = id.0, %error, "not received"),
            }
        }
        if !datagrams.is_empty() && arrived.send(Arrived { socket: id, datagrams }).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn loopback(port: u16) -> Binding {
        Binding { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port, link: None }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn datagrams_come_and_go() {
        let (mut sockets, mut arrived) = Sockets::new(Manager::none());
        sockets.open(SocketId(1), loopback(0)).unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        sockets.send(SocketId(1), peer.local_addr().unwrap(), b"question");
        let mut buffer = [0; 64];
        let (length, from) = peer.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"question");
        peer.send_to(&vec![1; LONGEST + 1], from).await.unwrap();
        peer.send_to(b"answer", from).await.unwrap();
        let batch = arrived.recv().await.unwrap();
        assert_eq!(batch.socket, SocketId(1));
        // The one too long was dropped, not cut.
        assert_eq!(batch.datagrams, [(peer.local_addr().unwrap(), b"answer".to_vec())]);
        sockets.close(SocketId(1));
        sockets.send(SocketId(1), peer.local_addr().unwrap(), b"nothing");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_address_in_use_is_an_error_with_its_number() {
        let (mut sockets, _arrived) = Sockets::new(Manager::none());
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = sockets.open(SocketId(1), loopback(port)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.raw_os_error().is_some());
    }

    #[test]
    fn names_have_no_colon() {
        let binding = Binding {
            address: "2001:db8::1".parse().unwrap(),
            port: 4500,
            link: Some("ippc1".parse().unwrap()),
        };
        assert_eq!(name(&binding), "ike-2001.db8..1-4500-ippc1");
        assert_eq!(name(&loopback(4500)), "ike-127.0.0.1-4500-any");
    }
}
