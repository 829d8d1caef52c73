//! Configuration of other people's IKE daemons, so that a host without `ipprivd` can be a relay.
//!
//! What the text has to say was learned by failing (`docs/foreign-relays.md`): stock daemons nest tunnels only
//! with xfrm interfaces, one per neighbour for the overlay and one that all telescopes share.

mod file;
mod host;
mod key;
mod libreswan;
mod strongswan;

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::{Name, PublishedPsk, Relay, Software};
use crate::secret::KeyMaterial;

pub use file::{Access, Export, File};
pub use key::libreswan_key;

/// A relay with somebody else's software, and all it has to know of others.
#[derive(Debug, Clone)]
pub struct ForeignRelay<'a> {
    /// The relay.
    pub relay: &'a Relay,
    /// The relays it keeps overlay tunnels with.
    pub neighbours: Vec<Neighbour<'a>>,
}

/// The other end of an overlay tunnel.
#[derive(Debug, Clone)]
pub struct Neighbour<'a> {
    /// The relay.
    pub relay: &'a Relay,
    /// How the two prove themselves to each other.
    pub auth: NeighbourAuth,
}

/// How two neighbours prove themselves to each other.
#[derive(Debug, Clone)]
pub enum NeighbourAuth {
    /// Each with the identity key that the network document has.
    Keys,
    /// With a secret of these two, where one cannot check the other's key.
    Psk(PairPsk),
}

/// The secret of two neighbours: wiped when dropped, never printed.
#[derive(Clone)]
pub struct PairPsk(Zeroizing<String>);

/// A secret of two neighbours that is too short or that configuration files cannot hold. It is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "secret of two neighbours, {found} octets: expected 32 to 256 printable ASCII characters without \" and \\"
)]
pub struct BadPairPsk {
    found: usize,
}

/// Why a relay cannot be run with that software.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// Our own software needs no export.
    #[error("relay {relay}: software ippriv: expected strongswan or libreswan")]
    Ours {
        /// The relay.
        relay: Name,
    },
    /// strongSwan knows no NULL authentication.
    #[error(
        "relay {relay}: anonymous clients: expected a published psk, for strongSwan has no NULL authentication"
    )]
    NullAuth {
        /// The relay.
        relay: Name,
    },
    /// libreswan up to 5.2 gives a client addresses of one family only.
    #[error("relay {relay}: a pool of IPv6: expected none, for libreswan gives a client one address only")]
    Pool6 {
        /// The relay.
        relay: Name,
    },
    /// The software cannot use a key of that kind.
    #[error("relay {relay}: a key of kind {kind}: expected {expected}, which {software} can use")]
    Key {
        /// The relay whose key it is.
        relay: Name,
        /// The kind of its key.
        kind: &'static str,
        /// What would do.
        expected: &'static str,
        /// The software.
        software: Software,
    },
    /// Two neighbours, one of which cannot check the other's key.
    #[error(
        "relays {relay} and {neighbour}: a key of kind {kind}: expected a secret of the two (psk), for {software} cannot check such keys"
    )]
    NeedsPsk {
        /// The relay.
        relay: Name,
        /// Its neighbour.
        neighbour: Name,
        /// The kind of key that cannot be checked.
        kind: &'static str,
        /// The software that cannot.
        software: Software,
    },
    /// A relay beside itself or twice.
    #[error("relay {relay}: neighbour {neighbour}: expected every other relay at most once")]
    NeighbourTwice {
        /// The relay.
        relay: Name,
        /// The neighbour.
        neighbour: Name,
    },
}

impl ForeignRelay<'_> {
    /// The files and commands that make a host this relay, for the software that its entry in the network document
    /// names.
    ///
    /// # Errors
    /// [`Unsupported`] when the software cannot do what the network document says of the relay.
    pub fn export(&self) -> Result<Export, Unsupported> {
        let mut seen = vec![&self.relay.name];
        for neighbour in &self.neighbours {
            let name = &neighbour.relay.name;
            if seen.contains(&name) {
                let relay = self.relay.name.clone();
                return Err(Unsupported::NeighbourTwice { relay, neighbour: name.clone() });
            }
            seen.push(name);
        }
        match self.relay.software {
            Software::Ippriv => Err(Unsupported::Ours { relay: self.relay.name.clone() }),
            Software::Strongswan => strongswan::export(self),
            Software::Libreswan => libreswan::export(self),
        }
    }

    /// Neighbours with the identifier of their xfrm interface.
    fn overlays(&self) -> impl Iterator<Item = (u32, &Neighbour<'_>)> {
        (host::FIRST_OVERLAY..).zip(&self.neighbours)
    }

    /// The names of their interfaces.
    fn interfaces(&self, name: host::InterfaceName) -> BTreeMap<Name, String> {
        self.overlays().map(|(id, neighbour)| (neighbour.relay.name.clone(), name(id))).collect()
    }

    /// Of two neighbours one begins, the one with the lower address: both at once would leave two tunnels.
    fn begins(&self, neighbour: &Neighbour<'_>) -> bool {
        self.relay.address < neighbour.relay.address
    }
}

impl PairPsk {
    /// The secret as IKE takes it: its ASCII characters (RFC 7296 section 2.15).
    #[must_use]
    pub fn key(&self) -> KeyMaterial {
        KeyMaterial::new(self.0.as_bytes().to_vec())
    }

    /// The secret, for configuration files.
    fn expose(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PairPsk {
    type Error = BadPairPsk;

    fn try_from(text: String) -> Result<Self, BadPairPsk> {
        let text = Zeroizing::new(text);
        if quotable(&text) { Ok(Self(text)) } else { Err(BadPairPsk { found: text.len() }) }
    }
}

impl std::fmt::Debug for PairPsk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PairPsk")
    }
}

/// Whether configuration files of both kinds hold the text between quotation marks as it is.
fn quotable(text: &str) -> bool {
    let plain = |c: u8| matches!(c, b' '..=b'~') && c != b'"' && c != b'\\';
    (32..=256).contains(&text.len()) && text.bytes().all(plain)
}

/// The key that clients of a relay show, if it has one.
fn published(relay: &Relay) -> Option<&PublishedPsk> {
    match &relay.clients {
        super::ClientAuth::Anonymous => None,
        super::ClientAuth::Psk(psk) => Some(psk),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_two_is_long_and_stays_secret() {
        let psk = |text: String| PairPsk::try_from(text);
        assert_eq!(format!("{:?}", psk("s3cret".repeat(8)).unwrap()), "PairPsk");
        for bad in ["k".repeat(31), "k".repeat(257), "k\"".repeat(20), "k\n".repeat(20)] {
            let error = psk(bad.clone()).unwrap_err().to_string();
            assert!(!error.contains(&bad), "{error}");
        }
    }
}
