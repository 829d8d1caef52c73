//! The UDP sockets for IKE: which there are, and what they are bound to.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::{Binding, Output};
use crate::id::LinkName;
use crate::ike::{Path, SocketId};

/// Port of IKE (RFC 7296 §2).
pub(super) const IKE: u16 = 500;
/// Port of IKE and ESP with UDP encapsulation (RFC 3948 §4).
pub(super) const NAT_TRAVERSAL: u16 = 4500;

/// The sockets that are open or being opened.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    bindings: BTreeMap<SocketId, Binding>,
    last: u32,
}

impl Sockets {
    /// The socket that is bound like this, opened if there is none.
    pub(super) fn open(
        &mut self,
        address: IpAddr,
        port: u16,
        link: Option<LinkName>,
        queue: &mut impl Extend<Output>,
    ) -> SocketId {
        let binding = Binding { address, port, link };
        if let Some((id, _)) = self.bindings.iter().find(|(_, other)| **other == binding) {
            return *id;
        }
        self.last += 1;
        let id = SocketId(self.last);
        self.bindings.insert(id, binding.clone());
        queue.extend([Output::Open(id, binding)]);
        id
    }

    /// Closes a socket.
    pub(super) fn close(&mut self, id: SocketId, queue: &mut impl Extend<Output>) {
        if self.bindings.remove(&id).is_some() {
            queue.extend([Output::Close(id)]);
        }
    }

    /// Forgets a socket that could not be opened.
    pub(super) fn forget(&mut self, id: SocketId) {
        self.bindings.remove(&id);
    }

    /// The path from a socket to a peer.
    pub(super) fn path(&self, socket: SocketId, remote: SocketAddr) -> Option<Path> {
        let binding = self.bindings.get(&socket)?;
        Some(Path { socket, local: SocketAddr::new(binding.address, binding.port), remote })
    }

    /// What a socket is bound to, in words.
    pub(super) fn describe(&self, id: SocketId) -> String {
        self.bindings.get(&id).map_or_else(
            || "open a socket".to_owned(),
            |binding| {
                let link = binding.link.as_ref().map(|link| format!(" on {link}")).unwrap_or_default();
                format!("open a UDP socket at {}{link}", SocketAddr::new(binding.address, binding.port))
            },
        )
    }

    /// The interface that a socket is bound to.
    pub(super) fn link(&self, id: SocketId) -> Option<&LinkName> {
        self.bindings.get(&id)?.link.as_ref()
    }

    /// The sockets on an address, for one that is gone.
    pub(super) fn on(&self, address: IpAddr) -> Vec<SocketId> {
        let here = self.bindings.iter().filter(|(_, binding)| binding.address == address);
        here.map(|(id, _)| *id).collect()
    }
}
