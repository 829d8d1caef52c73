//! Other people's daemons: among themselves, and with ours.

mod baseline;
mod cells;
mod circuits;
mod clients;
mod harsh;
mod hosts;
mod ipv6;
mod matrix;
mod mesh;
mod overlays;
mod telescope;
mod wire;

pub use cells::{Place, Role, What};
pub use matrix::{Cell, Matrix, State};

use super::Scenario;

/// All of them.
pub(super) const ALL: &[&[Scenario]] = &[baseline::ALL, circuits::ALL, harsh::ALL, clients::ALL, ipv6::ALL];
