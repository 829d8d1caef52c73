//! The control server: HTTP and JSON over a unix socket, for who may open that.
//!
//! It only turns requests into values for the event loop and answers back; what they mean is the core's.

mod events;
mod http;
mod listen;
mod routes;

use ippriv::control::{Command, Refusal, Reloaded, Reply, Stopping};
use tokio::sync::oneshot;

pub use events::Hub;
pub use listen::{Access, ControlError, Listener};

/// Something asked of the event loop.
pub(crate) enum Request {
    /// The core's business.
    Command(Command, oneshot::Sender<Reply>),
    /// Read policy and network again.
    Reload(oneshot::Sender<Result<Reloaded, Refusal>>),
    /// Stop. Answered when it is done.
    Stop(Stopping, oneshot::Sender<Reply>),
}

#[cfg(test)]
pub(crate) mod tests;
