//! IKEv2 (RFC 7296) for both roles, without IO.
//!
//! [`Endpoint`] holds every IKE SA of a host. It is driven by values: datagrams, the passing of time and
//! commands go in, and after each of them the owner drains [`Endpoint::poll_output`] until it is `None` and
//! asks [`Endpoint::poll_timeout`] when to call [`Endpoint::handle_timeout`]. The same inputs with the same
//! seed give the same octets.
//!
//! ```text
//!            datagram                 Endpoint: finds the SA by SPI, cookies, limits of half-open SAs
//!               │                        │
//!    ┌──────────▼─────────┐   ┌──────────▼─────────┐
//!    │ wire: octets ⇄     │   │ sa: one IKE SA     │  connecting / accepting → established
//!    │       payloads     │◄──┤   exchanges,       │  children, rekeying, deletion
//!    ├────────────────────┤   │   windows, timers  │
//!    │ crypto: keys,      │◄──┤                    │
//!    │   sealing, AUTH    │   └──────────┬─────────┘
//!    ├────────────────────┤              ▼
//!    │ proposal: choice   │          Output::{Transmit, Event, Changed}
//!    └────────────────────┘
//! ```
//!
//! # How a child SA comes to be without a lost packet
//!
//! The engine never touches the kernel: it tells its owner what to install and waits for the answer.
//!
//! | step | initiator of the exchange | responder of the exchange |
//! |---|---|---|
//! | 1 | | [`Event::ChildWanted`] (not for a rekey) → [`Endpoint::answer_child`] |
//! | 2 | | [`Event::ChildKeys`] → installs → [`Endpoint::child_installed`]; only then the response leaves |
//! | 3 | [`Event::ChildKeys`] → installs → [`Endpoint::child_installed`] | |
//! | 4 | deletes the replaced SA (INFORMATIONAL) | [`Event::ChildUse`]: the peer has spoken again, so it has installed |
//! | 5 | [`Event::ChildGone`] of the replaced SA, some seconds after the peer confirmed | the same, after it confirmed |
//!
//! [`ChildKeys::outbound`] says whether the outbound SA may be used at once. It is [`Outbound::Wait`] at the
//! responder of a rekey, where the kernel would otherwise send through the new SA (it takes the newest)
//! before the initiator has installed it; there the owner installs the inbound SA first and the outbound SA
//! at [`Event::ChildUse`]. Old inbound SAs outlive the negotiation by [`Lifetimes::linger`] for packets that
//! are overtaken.

pub mod crypto;
mod endpoint;
mod event;
mod key_log;
pub mod proposal;
mod reason;
mod sa;
mod settings;
mod snapshot;
pub mod wire;

pub use endpoint::{Endpoint, Summary};
pub use event::{
    AddressRequest, Addresses, ChildAnswer, ChildId, ChildKeys, ChildRefusal, ChildWanted, DirectionKeys,
    EspPorts, Event, Family, How, Outbound, Output, Path, PeerAuthenticated, SaHandle, SocketId,
};
pub use reason::{CloseReason, Step};
pub use settings::{
    Anonymous, Connect, Credentials, Encapsulate, HalfOpen, Lifetimes, OwnAuth, PeerTable, Proposals,
    Retransmission, Settings,
};
pub use snapshot::{BadSnapshot, Snapshot};
