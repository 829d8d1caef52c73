//! What `ipprivd` and those who control it say to each other: the values of the `/v1` protocol.
//!
//! `docs/control.md` has the paths. Names of fields are stable within a version: some may be added, none is
//! renamed or removed. Nothing here holds a key, and what would tell who a relay's clients are is
//! [`Private`], which no serialisation and no log line shows.

mod command;
mod event;
mod private;
mod reply;
mod view;

pub use command::{Command, Lend, NewCircuit, Rekey, RekeyTarget, RekeyWhat};
pub use event::{Event, Level, Stamped};
pub use private::Private;
pub use reply::{Refusal, RefusalCode, Refused, Reloaded, Reply, Stopping};
pub use view::{
    CircuitState, CircuitView, CircuitsSummary, HopView, NetworkSummary, OverlayState, OverlayView,
    RelaySummary, RelayView, Role, SaView, Status,
};

#[cfg(test)]
mod tests;
