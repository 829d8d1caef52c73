//! The Notify and the Delete payload (RFC 7296 §3.10, §3.11).

use super::codec::{Reader, Writer, small};
use super::{Malformed, NotifyType, Protocol};

/// An error or a piece of news.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Notify {
    /// The protocol of the SA it is about, or [`Protocol::NONE`].
    pub protocol: Protocol,
    /// The SPI of the SA it is about, or nothing.
    pub spi: Vec<u8>,
    /// What it says.
    pub kind: NotifyType,
    /// More about it, in a form that depends on the kind.
    pub data: Vec<u8>,
}

/// SAs that the sender has removed; its own inbound SPIs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Delete {
    /// [`Protocol::IKE`] for the SA that carries the message, else the protocol of `spis`.
    pub protocol: Protocol,
    /// The SPIs; empty for IKE.
    pub spis: Vec<u32>,
}

impl Notify {
    /// A notification about no SA but the one that carries it, without data.
    #[must_use]
    pub const fn new(kind: NotifyType) -> Self {
        Self::with_data(kind, Vec::new())
    }

    /// A notification about no SA but the one that carries it.
    #[must_use]
    pub const fn with_data(kind: NotifyType, data: Vec<u8>) -> Self {
        Self { protocol: Protocol::NONE, spi: Vec::new(), kind, data }
    }

    /// A notification about a child SA of ESP: `spi` is the one the sender receives on, but in
    /// `CHILD_SA_NOT_FOUND` the one the peer asked for (RFC 7296 §2.25).
    #[must_use]
    pub fn about_child(kind: NotifyType, spi: u32) -> Self {
        Self { protocol: Protocol::ESP, spi: spi.to_be_bytes().to_vec(), kind, data: Vec::new() }
    }

    /// The SPI of the child SA it is about.
    #[must_use]
    pub fn child_spi(&self) -> Option<u32> {
        let spi = <[u8; 4]>::try_from(self.spi.as_slice()).ok()?;
        matches!(self.protocol, Protocol::AH | Protocol::ESP).then_some(u32::from_be_bytes(spi))
    }
}

impl Delete {
    /// The IKE SA that carries the message.
    #[must_use]
    pub const fn ike() -> Self {
        Self { protocol: Protocol::IKE, spis: Vec::new() }
    }

    /// Child SAs of ESP.
    #[must_use]
    pub const fn children(spis: Vec<u32>) -> Self {
        Self { protocol: Protocol::ESP, spis }
    }
}
