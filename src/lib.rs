//! The deterministic core of ippriv: onion routing at layer 3 with stock Linux IPsec.
//!
//! A client builds a *telescope*: nested ESP tunnels (RFC 4303), one per relay, so that every relay knows
//! only its neighbours on the path. The kernel forwards every packet; this crate decides what the kernel has
//! to hold for that and how to get it there, and it does so without any IO: no sockets, clocks, threads,
//! environment or files. Everything from outside comes in as a value.
//!
//! The way through the crate:
//!
//! 1. [`config`] parses a file into a [`telescope`] model: circuits of a client, the relay's part of them;
//! 2. [`telescope`] compiles the model to the desired [`state`] of the kernel;
//! 3. [`plan`] compares it with the current state and gives ordered operations with inverses;
//! 4. [`netlink`] and [`nft`] turn operations into bytes and text, and dumps back into [`state`].
//!
//! Without static keys, [`policy`] says what the host does, [`network`] which relays there are and who signed
//! that, and [`ike`] agrees on the keys.
//!
//! What this crate does *not* do: open a socket, run a program, or decide when. That is `ipprivd`'s part.

pub mod config;
pub mod control;
pub mod dns;
pub mod entropy;
pub mod form;
pub mod id;
pub mod ike;
pub mod netlink;
pub mod network;
pub mod nft;
pub mod node;
pub mod ownership;
pub mod plan;
pub mod policy;
pub mod report;
pub mod secret;
pub mod state;
pub mod suite;
pub mod telescope;
pub mod time;
