//! Payloads and the chain of them (RFC 7296 §3.2).

use super::codec::{Reader, Writer};
use super::identity::{decode_typed, encode_typed};
use super::{
    AuthMethod, CertEncoding, Configuration, Delete, Id, KeMethod, Malformed, Notify, PayloadType, Proposal,
    TrafficSelector,
};

/// A payload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Payload {
    /// Proposals for an SA, or the one chosen.
    Sa(Vec<Proposal>),
    /// Public key exchange data.
    Ke {
        /// The method.
        method: KeMethod,
        /// What the method sends.
        data: Vec<u8>,
    },
    /// Who the initiator is.
    IdI(Id),
    /// Who the responder is, or should be.
    IdR(Id),
    /// A certificate.
    Cert {
        /// How it is encoded.
        encoding: CertEncoding,
        /// The certificate.
        data: Vec<u8>,
    },
    /// Certificates that the sender could check.
    CertReq {
        /// How they are to be encoded.
        encoding: CertEncoding,
        /// The authorities.
        data: Vec<u8>,
    },
    /// The proof of an identity.
    Auth {
        /// How it was made.
        method: AuthMethod,
        /// The proof.
        data: Vec<u8>,
    },
    /// Random octets.
    Nonce(Vec<u8>),
    /// An error or a piece of news.
    Notify(Notify),
    /// SAs the sender has removed.
    Delete(Delete),
    /// What implementation the sender is, or which extensions it has.
    VendorId(Vec<u8>),
    /// What the initiator's end sends.
    TsI(Vec<TrafficSelector>),
    /// What the responder's end sends.
    TsR(Vec<TrafficSelector>),
    /// Configuration.
    Cp(Configuration),
    /// A message of the Extensible Authentication Protocol, unread.
    Eap(Vec<u8>),
    /// One of a type we do not know; its body is dropped.
    Unknown {
        /// The type.
        kind: PayloadType,
        /// Whether the sender wants the message refused by who does not know it.
        critical: bool,
    },
}
