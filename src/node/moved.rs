//! Peers behind a NAT that reach us from elsewhere than before (RFC 7296 §2.23).
//!
//! The kernel lets packets of an SA in from wherever they come, and says so; what we send has to follow.

use super::{Node, Purpose, Then};
use crate::ike::{EspPorts, Path, SaHandle};

impl Node {
    /// An authentic packet of a peer came by another path.
    pub(super) fn peer_moved(&mut self, sa: SaHandle, path: Path) {
        let ports = EspPorts { local: path.local.port(), remote: path.remote.port() };
        let layer = match self.purposes.get(&sa).copied() {
            Some(Purpose::Layer(number)) => self.relay.as_ref().and_then(|role| role.layer(number)),
            Some(Purpose::Overlay(_) | Purpose::Hop(..)) | None => None,
        };
        match layer.filter(|layer| layer.peer == path.remote.ip() && layer.encapsulation.is_some()) {
            Some(layer) => {
                let number = layer.number;
                self.change_layer(number, Then::Nothing, |layer| layer.encapsulation = Some(ports));
                self.journal(sa);
            }
            // New keys take the new path: an SA to another address is another SA, and no two may have one key.
            None => self.rekey_in_use(sa),
        }
    }

    fn rekey_in_use(&mut self, sa: SaHandle) {
        let child = match self.purposes.get(&sa).copied() {
            Some(Purpose::Layer(number)) => {
                self.relay.as_ref().and_then(|role| role.layer(number)?.tunnel.in_use())
            }
            Some(Purpose::Overlay(number)) => {
                self.overlays.get_mut(number).and_then(|overlay| overlay.tunnel.in_use())
            }
            Some(Purpose::Hop(circuit, hop)) => {
                self.hop_mut(circuit, hop).and_then(|hop| hop.tunnel.in_use())
            }
            None => None,
        };
        if let Some(child) = child {
            self.ike.rekey_child(self.now, sa, child);
        }
    }
}
