//! Whole networks of nodes without any IO: circuits are built, live, and go.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod anonymity;
mod build;
mod closed;
mod commands;
mod death;
mod lend;
mod limits;
mod nat;
mod overlay;
mod refused;
mod rekey;
mod reports;
mod restart;
mod silence;
mod world;
