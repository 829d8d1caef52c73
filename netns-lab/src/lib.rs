//! Namespace labs for ippriv.

pub mod topology;
