//! The configuration payload, by which a relay hands out addresses (RFC 7296 §3.15).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::codec::{Reader, Writer};
use super::{AttributeType, CpType, Malformed};

/// A question for configuration, or the answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Configuration {
    /// Which of both.
    pub kind: CpType,
    /// What is asked or answered.
    pub attributes: Vec<Attribute>,
}

/// A piece of configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attribute {
    /// What it is.
    pub kind: AttributeType,
    /// Its value; empty in a question that asks for any.
    pub data: Vec<u8>,
}
