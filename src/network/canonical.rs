//! The octets that operators sign: what a document says, in one form that its YAML text has no part in.
//!
//! Numbers are big-endian. A *text* is its length in octets (4 octets) and its UTF-8. A *list* is the number of
//! its items (4 octets) and the items. An *option* is one octet, 0 or 1, and after 1 the value. Two different
//! documents never have the same octets, for each field says itself where it ends.
//! `docs/network-document.md` has the table of fields.

use aws_lc_rs::digest;
use ipnet::{Ipv4Net, Ipv6Net};

use super::{ClientAuth, Document, IdentityKey, Neighbours, Relay, Role, Software};

/// Before everything, so that no signature made for something else fits. The number is that of this form.
const DOMAIN: &[u8] = b"ippriv network document v1\0";

/// Octets in the making.
struct Canonical(Vec<u8>);

impl Document {
    /// The octets that operators sign.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Canonical(DOMAIN.to_vec());
        out.text(self.network.as_str());
        out.u64(self.serial);
        out.u64(self.valid_from.seconds());
        out.u64(self.valid_until.seconds());
        out.list(&self.operators, |out, (name, key)| {
            out.text(name.as_str());
            out.octets(key.octets());
        });
        out.length(self.threshold);
        out.list(&self.relays, Canonical::relay);
        out.0
    }

    /// SHA2-256 of [`Self::canonical`]: the same number means the same document, for people to compare.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut octets = [0; 32];
        octets.copy_from_slice(digest::digest(&digest::SHA256, &self.canonical()).as_ref());
        octets
    }
}

impl Canonical {
    fn relay(&mut self, relay: &Relay) {
        self.text(relay.name.as_str());
        self.octets(&relay.address.octets());
        self.option(relay.address6, |out, address| out.octets(&address.octets()));
        self.octets(&[match relay.identity {
            IdentityKey::Ed25519(_) => 1,
            IdentityKey::EcdsaP256(_) => 2,
            IdentityKey::EcdsaP384(_) => 3,
            IdentityKey::Rsa(_) => 4,
        }]);
        self.length(relay.identity.octets().len());
        self.octets(relay.identity.octets());
        self.octets(&[match relay.software {
            Software::Ippriv => 1,
            Software::Strongswan => 2,
            Software::Libreswan => 3,
        }]);
        let psk = match &relay.clients {
            ClientAuth::Anonymous => None,
            ClientAuth::Psk(psk) => Some(psk),
        };
        self.option(psk, |out, psk| out.text(psk.as_str()));
        self.pool(relay.pool);
        self.option(relay.pool6, Self::pool6);
        self.octets(&[relay.roles.iter().fold(0, |bits, role| bits | bit(*role))]);
        self.option(relay.exit.as_ref(), |out, exit| {
            out.option(exit.tcp_ports.as_deref(), Self::ports);
            out.option(exit.udp_ports.as_deref(), Self::ports);
        });
        self.option(relay.operator.as_ref(), |out, name| out.text(name.as_str()));
        self.octets(&relay.weight.get().to_be_bytes());
        let neighbours = match &relay.neighbours {
            Neighbours::All => None,
            Neighbours::Only(names) => Some(names),
        };
        self.option(neighbours, |out, names| out.list(names, |out, name| out.text(name.as_str())));
    }

    fn octets(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    fn u64(&mut self, value: u64) {
        self.octets(&value.to_be_bytes());
    }

    /// No list or text of a document that was read has 2^32 items.
    fn length(&mut self, length: usize) {
        self.octets(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.octets(text.as_bytes());
    }

    fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.octets(&[u8::from(value.is_some())]);
        if let Some(value) = value {
            put(self, value);
        }
    }

    fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
        put: impl Fn(&mut Self, T),
    ) {
        let items = items.into_iter();
        self.length(items.len());
        for item in items {
            put(self, item);
        }
    }

    fn pool(&mut self, pool: Ipv4Net) {
        self.octets(&pool.addr().octets());
        self.octets(&[pool.prefix_len()]);
    }

    fn pool6(&mut self, pool: Ipv6Net) {
        self.octets(&pool.addr().octets());
        self.octets(&[pool.prefix_len()]);
    }

    fn ports(&mut self, ranges: &[(u16, u16)]) {
        self.list(ranges, |out, (first, last)| {
            out.octets(&first.to_be_bytes());
            out.octets(&last.to_be_bytes());
        });
    }
}

const fn bit(role: Role) -> u8 {
    match role {
        Role::Entry => 1,
        Role::Middle => 2,
        Role::Exit => 4,
    }
}
