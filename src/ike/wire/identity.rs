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

impl Id {
    pub(super) fn encode(&self, writer: &mut Writer) {
        encode_typed(self.kind.0, &self.data, writer);
    }

    pub(super) fn decode(what: &'static str, body: &[u8]) -> Result<Self, Malformed> {
        let (kind, data) = decode_typed(what, body)?;
        Ok(Self { kind: IdKind(kind), data })
    }
}

/// A type, three reserved octets, data: the form of IDi, IDr and AUTH.
pub(super) fn encode_typed(kind: u8, data: &[u8], writer: &mut Writer) {
    writer.u8(kind);
    writer.zeros(3);
    writer.bytes(data);
}

/// The inverse of [`encode_typed`].
pub(super) fn decode_typed(what: &'static str, body: &[u8]) -> Result<(u8, Vec<u8>), Malformed> {
    let mut reader = Reader::new(what, body);
    let kind = reader.u8()?;
    reader.bytes(3)?;
    Ok((kind, reader.rest().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_what_authentication_covers() {
        assert_eq!(Id::fqdn("a.b").body(), b"\x02\0\0\0a.b");
        assert_eq!(Id::NULL.body(), [13, 0, 0, 0]);
        assert_eq!(Id::key_id(vec![7]).body(), [11, 0, 0, 0, 7]);
    }

    #[test]
    fn reserved_octets_are_ignored() {
        assert_eq!(Id::decode("IDi payload", &[2, 9, 9, 9, b'a']), Ok(Id::fqdn("a")));
        assert!(Id::decode("IDi payload", &[2, 0, 0]).is_err());
    }
}
