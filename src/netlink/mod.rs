//! Netlink messages as bytes: operations become requests, dumps become [`crate::state`].
//!
//! Nothing here opens a socket. Encoders refuse what the kernel would misunderstand; decoders read any bytes
//! without panicking. Layouts are those of `include/uapi/linux/{netlink,xfrm,rtnetlink,fib_rules}.h` and
//! `include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h`.
//!
//! An object that carries our marks but has a form we never give one (someone changed it) is reported as
//! ours with a *stand-in* value: its identity is real, the rest equals nothing that can be asked for, and
//! the encoders refuse to make it. So a comparison replaces it, and an undoing says that it cannot restore it.

mod addr;
mod attr;
mod exchange;
mod link;
mod message;
mod nftables;
mod notice;
mod request;
mod route;
mod rule;
mod xfrm;

pub use addr::AddressDump;
pub use attr::{Attribute, Attributes, Malformed, Reader, Writer};
pub use exchange::{Answers, Batch, Progress, Unanswered};
pub use link::{LinkDump, LinkEntry, LinkIndexes, delete as remove, move_to, turn_on};
pub use message::{Frame, Frames, Message, Refusal, Reply};
pub use nftables::change_sets;
pub use notice::{Notice, address_changes, xfrm_notice};
pub use request::{Channel, Request, Undo, Unencodable, requests};
pub use route::RouteDump;
pub use rule::RuleDump;
pub use xfrm::{PolicyDump, SaDump, SaPackets};

/// An object found in a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed<T, I> {
    /// It carries our marks.
    Ours(T),
    /// It belongs to others, but has an identity ours could collide with.
    Foreign(I),
    /// It can be neither ours nor in our way.
    Irrelevant,
}

/// A kind of dump: what to ask for and how to read the answers.
pub trait Dump {
    /// What one answer is read to.
    type Item;
    /// The type of the answers.
    const ANSWER: u16;
    /// The question, without a sequence number.
    fn request(&self) -> Message;
    /// Reads the payload of one answer.
    ///
    /// # Errors
    /// [`Malformed`] when the octets end too early.
    fn parse(&self, payload: &[u8]) -> Result<Self::Item, Malformed>;
}
