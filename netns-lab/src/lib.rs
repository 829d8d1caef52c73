//! Namespace labs for ippriv.

pub mod capture;
pub mod net;
pub mod topology;
pub mod traffic;
