//! The policy that `ipprivd` runs by: roles of a host, and whom it believes.
//!
//! It holds no keys, only paths of files with keys. `docs/policy-reference.md` is the reference of all fields.

mod check;
mod ciphers;
mod client;
pub mod duration;
mod exit;
mod fragment;
mod kind;
mod offer;
mod parse;
mod relay;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

pub use check::{ExitSaid, Invalid, Mismatch, NotRead, Part};
pub use ciphers::{CipherPolicy, CipherSource, IkeCipher, KeyExchangeMethod, PostQuantum};
pub use client::{Circuit, Client, ClientAddress, Hops, Rebuild, Timeouts};
pub use exit::Exit;
pub use fragment::{BadFragmentSize, FragmentSize};
pub use kind::FileKind;
pub use parse::{ParseError, Problem};
pub use relay::{Lifetimes, Limits, Overlay, Relay, TunnelTime};

use crate::network::{Name, Trust};

/// A whole policy. Paths that are not absolute are relative to the folder of the policy's file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The network document.
    pub network: PathBuf,
    /// Whose signatures it needs.
    pub trust: Trust,
    /// Where the daemon listens for `ippriv`.
    #[serde(default)]
    pub control: Control,
    /// What the daemon says.
    #[serde(default)]
    pub log: Log,
    /// Where the daemon keeps what must not outlive a boot: its journal of SAs.
    #[serde(default = "runtime_directory")]
    pub runtime_directory: PathBuf,
    /// Where the daemon keeps what must: the last serial of the network document that it saw.
    #[serde(default = "state_directory")]
    pub state_directory: PathBuf,
    /// The largest IKE datagram before it goes in fragments.
    #[serde(default)]
    pub fragment_size: FragmentSize,
    /// Named cipher policies; `default` is there even when it is not given.
    #[serde(default)]
    pub ciphers: BTreeMap<Name, CipherSource>,
    /// The relay role.
    pub relay: Option<Relay>,
    /// The client role.
    pub client: Option<Client>,
}

/// The control socket.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Control {
    /// Path of the Unix socket.
    pub socket: PathBuf,
    /// The group whose members may use it beside root; only root when there is none.
    pub group: Option<String>,
}

/// What the daemon says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The least important that is said.
    pub level: LogLevel,
    /// For whom.
    pub format: LogFormat,
}

/// How important a line of the log is. Addresses of peers are said at `debug` and below only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something is broken.
    Error,
    /// Something may break.
    Warn,
    /// What an operator wants to know.
    #[default]
    Info,
    /// What a developer wants to know.
    Debug,
    /// Every message.
    Trace,
}

/// How lines of the log look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

fn runtime_directory() -> PathBuf {
    "/run/ippriv".into()
}

fn state_directory() -> PathBuf {
    "/var/lib/ippriv".into()
}

impl Default for Control {
    fn default() -> Self {
        Self { socket: "/run/ippriv/control.sock".into(), group: None }
    }
}

/// The name of the cipher policy that is always there.
const DEFAULT: &str = "default";

/// The name of the cipher policy of roles that name none.
fn default_ciphers() -> Name {
    DEFAULT.parse().unwrap_or_else(|error| unreachable!("{error}"))
}
