//! Namespace labs for ippriv.

pub mod net;
pub mod topology;
