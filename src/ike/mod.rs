//! IKEv2 (RFC 7296), which sets up the telescope's tunnels hop by hop.

pub mod crypto;
pub mod proposal;
pub mod wire;
