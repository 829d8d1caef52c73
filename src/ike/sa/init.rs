//! What both sides say of themselves in IKE_SA_INIT besides keys: NATs, fragments, hashes.

use super::Cx;
use super::contents::Contents;
use super::established::{Nat, Translated};
use crate::entropy::Entropy;
use crate::ike::crypto::{Nonces, SIGNATURE_HASHES, nat_detection_hash};
use crate::ike::event::Path;
use crate::ike::settings::Encapsulate;
use crate::ike::wire::{HashId, IkeSpi, Notify, NotifyType, Payload};

/// IKE_SA_INIT as it was sent and received; authentication covers it (RFC 7296 §2.15).
#[derive(Debug)]
pub(super) struct Transcript {
    pub(super) request: Vec<u8>,
    pub(super) response: Vec<u8>,
    pub(super) nonce_i: Vec<u8>,
    pub(super) nonce_r: Vec<u8>,
}

impl Transcript {
    pub(super) fn nonces(&self) -> Nonces<'_> {
        Nonces { initiator: &self.nonce_i, responder: &self.nonce_r }
    }
}

/// What the peer can do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Abilities {
    /// Puts fragments together (RFC 7383).
    pub(super) fragments: bool,
    /// Verifies Ed25519 (RFC 8420).
    pub(super) ed25519: bool,
    /// Takes part in IKE_INTERMEDIATE (RFC 9242).
    pub(super) intermediate: bool,
    pub(super) nat: Nat,
}

/// The notifications of either side. They are the same for everyone: no vendor ID, nothing about the host.
pub(super) fn notifies(
    cx: &mut Cx<'_>,
    (initiator, responder): (IkeSpi, IkeSpi),
    path: Path,
    encapsulate: Encapsulate,
    intermediate: bool,
) -> Vec<Payload> {
    // RFC 7296 §2.23. The address is that of the socket, which the peer sees anyway: in a telescope the one
    // the relay before has handed out. A wrong hash feigns a NAT and with it UDP encapsulation.
    let source = match encapsulate {
        Encapsulate::BehindNat => nat_detection_hash(initiator, responder, path.local),
        Encapsulate::Always => {
            let mut octets = [0; 20];
            cx.entropy.public_fill(&mut octets);
            octets
        }
    };
    let destination = nat_detection_hash(initiator, responder, path.remote);
    let hashes = SIGNATURE_HASHES.iter().flat_map(|hash| hash.0.to_be_bytes()).collect();
    let mut notifies = vec![
        Notify::with_data(NotifyType::NAT_DETECTION_SOURCE_IP, source.to_vec()),
        Notify::with_data(NotifyType::NAT_DETECTION_DESTINATION_IP, destination.to_vec()),
        Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED),
        // RFC 7427 §4, with Identity for Ed25519 (RFC 8420 §2).
        Notify::with_data(NotifyType::SIGNATURE_HASH_ALGORITHMS, hashes),
    ];
    if intermediate {
        notifies.push(Notify::new(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED));
    }
    notifies.into_iter().map(Payload::Notify).collect()
}

/// Reads the peer's.
pub(super) fn abilities(
    contents: &Contents,
    (initiator, responder): (IkeSpi, IkeSpi),
    path: Path,
) -> Abilities {
    let of = |kind| contents.notifies.iter().filter(move |notify| notify.kind == kind);
    // RFC 7296 §2.23: there may be several source hashes; without any the peer knows nothing of NATs.
    let differs = |kind, address| {
        let hash = nat_detection_hash(initiator, responder, address);
        of(kind).next().is_some() && !of(kind).any(|notify| notify.data == hash)
    };
    let translated = |yes: bool| if yes { Translated::Yes } else { Translated::No };
    let ed25519 = of(NotifyType::SIGNATURE_HASH_ALGORITHMS)
        .flat_map(|notify| notify.data.chunks_exact(2))
        .any(|hash| hash == HashId::IDENTITY.0.to_be_bytes());
    Abilities {
        fragments: contents.has(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED),
        ed25519,
        intermediate: contents.has(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED),
        nat: Nat {
            here: translated(differs(NotifyType::NAT_DETECTION_DESTINATION_IP, path.local)),
            there: translated(differs(NotifyType::NAT_DETECTION_SOURCE_IP, path.remote)),
        },
    }
}
