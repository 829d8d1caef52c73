//! The octets of IKEv2: RFC 7296 §3, fragments (RFC 7383), and the code points of RFC 7427, 7619, 9242 and
//! 9370. Pure encoding; it knows no keys and no state.
//!
//! [`decode`] reads a datagram up to what is encrypted, [`decode_payloads`] what was inside; [`rules::check`]
//! then says whether such a message is allowed at all. [`encode_clear`] and [`encode_encrypted`] are the way
//! back. Nothing here panics or allocates more than a small multiple of what came in: every list has a bound.
//!
//! What a receiver must ignore is ignored and not kept (reserved fields, minor versions, the critical bit of
//! payloads we know); what it may not know is kept as a number or marked as unusable.

mod codec;
mod configuration;
mod error;
mod header;
mod identity;
mod notify;
mod packet;
mod payload;
mod proposal;
mod registry;
pub mod rules;
mod selector;

pub use configuration::{Attribute, Configuration};
pub use error::Malformed;
pub use header::{Direction, Flags, Header, IkeSpi, MessageId, decode_header};
pub use identity::Id;
pub use notify::{Delete, Notify};
pub use packet::{Body, Packet, Room, Sealable, decode, encode_clear, encode_encrypted, intermediate_header};
pub use payload::{MOST_PAYLOADS, Payload, decode_payloads, encode_payloads};
pub use proposal::{Proposal, Transform};
pub use registry::{
    AttributeType, AuthMethod, CertEncoding, CpType, EncryptionId, EsnId, Exchange, HashId, IdKind,
    IntegrityId, KeMethod, NotifyType, PayloadType, PrfId, Protocol, TransformType,
};
pub use rules::Illegal;
pub use selector::TrafficSelector;
