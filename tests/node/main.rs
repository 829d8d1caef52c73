//! Whole networks of nodes without any IO: circuits are built, live, and go.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod anonymity;
mod build;
mod closed;
mod commands;
mod death;
mod limits;
mod nat;
mod refused;
mod rekey;
mod restart;
mod world;
