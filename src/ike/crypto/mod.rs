//! What IKEv2 computes: key exchange, key schedule, protected messages, authentication.
//!
//! Everything is a function of its arguments: the same [`crate::entropy::Entropy`] gives the same octets. An
//! idle IKE SA costs one small allocation, the keys of its [`KeySchedule`]: ciphers are set up per message.
//!
//! - [`algorithm`]: names of what a proposal negotiates, [`IkeSuite`];
//! - [`exchange`]: Diffie-Hellman and ML-KEM ([`KeyExchange`], [`respond`]);
//! - [`schedule`]: the SK_ keys and KEYMAT ([`KeySchedule`]);
//! - [`mod@protect`]: the Encrypted payload and its fragments ([`protect()`], [`unprotect`]);
//! - [`key`], [`auth`]: signatures, shared secrets and what the AUTH payload covers;
//! - [`cookie`], [`nat`]: the two hashes of IKE_SA_INIT.

pub mod algorithm;
pub mod auth;
mod cipher;
pub mod cookie;
mod der;
pub mod exchange;
pub mod key;
pub mod nat;
mod prf;
pub mod protect;
pub mod schedule;

pub use algorithm::{Encryption, IkeSuite, Integrity, Prf};
pub use auth::{
    AuthOctets, BadAuth, IntermediateAuth, SIGNATURE_HASHES, null_auth, psk_auth, sign_auth, verify_auth,
    verify_null_auth, verify_psk_auth,
};
pub use cookie::{CookieCheck, CookieJar};
pub use exchange::{KeError, KeyExchange, SharedSecret, respond, supported};
pub use key::{BadKey, PublicKey, SigningKey};
pub use nat::nat_detection_hash;
pub use protect::{Forged, Incoming, Opened, Outgoing, protect, protect_plain, unprotect};
pub use schedule::{ChildKeys, KeySchedule, Nonces, Role, ScheduleLength, SkKeys};
