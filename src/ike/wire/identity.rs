//! Who a peer is and how it proves that: the bodies of IDi, IDr, CERT, CERTREQ and AUTH
//! (RFC 7296 §3.5 to §3.8).

use serde::{Deserialize, Serialize};

use super::codec::{Reader, Writer};
use super::{IdKind, Malformed};

/// An identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub struct Id {
    /// What it is.
    pub kind: IdKind,
    /// The identity, in a form that depends on the kind.
    pub data: Vec<u8>,
}

impl Id {
    /// No identity (RFC 7619 §2.1).
    pub const NULL: Self = Self { kind: IdKind::NULL, data: Vec::new() };

    /// A domain name.
    #[must_use]
    pub fn fqdn(name: &str) -> Self {
        Self { kind: IdKind::FQDN, data: name.as_bytes().to_vec() }
    }

    /// Octets that mean something to the peers only.
    #[must_use]
    pub const fn key_id(data: Vec<u8>) -> Self {
        Self { kind: IdKind::KEY_ID, data }
    }

    /// The body of the payload, which authentication covers (RFC 7296 §2.15: `IDType | RESERVED | IDData`).
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(4 + self.data.len());
        self.encode(&mut writer);
        writer.finish()
    }
}
