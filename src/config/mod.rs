//! Files with static keys, for labs: circuits and relays as YAML, parsed to [`Host`].
//!
//! Parsed, not validated later: what comes out of [`parse`] compiles. Errors name line and column, what was
//! found and what was expected, and never repeat a key.

mod document;
pub(crate) mod form;

use std::fmt;

use serde_saphyr::{DefaultMessageFormatter, Location, MessageFormatter, Options, budget, options};

use crate::telescope::{Client, Desired, Host, Relay};
use document::Document;

/// What is wrong with a file, and where. Lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Line and column, when the error has a place.
    pub place: Option<(u64, u64)>,
    /// What was found and what was expected.
    pub message: String,
}

impl fmt::Display for ConfigError {
    /// `LINE:COLUMN: message`, to follow a file name and a colon.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{line}:{column}: {}", self.message),
            None => write!(f, " {}", self.message),
        }
    }
}

impl std::error::Error for ConfigError {}

/// What a file asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The roles of this host.
    pub host: Host,
    /// The kernel state they need.
    pub desired: Desired,
}

/// Reads a file with static keys.
///
/// # Errors
/// [`ConfigError`] for text that is not YAML of this form, a file that does not say `lab: true`, and roles
/// that contradict themselves.
pub fn parse(text: &str) -> Result<Config, ConfigError> {
    let document: Document =
        serde_saphyr::from_str_with_options(text, limits(text)).map_err(|error| located(&error))?;
    if !document.lab {
        return Err(ConfigError {
            place: None,
            message: "static keys protect nobody: expected `lab: true`, which says that this is a lab".into(),
        });
    }
    let (host, places) = document.into_host();
    match host.desired() {
        Ok(desired) => Ok(Config { host, desired }),
        Err(refused) => Err(ConfigError { place: places.of(&host), message: refused.to_string() }),
    }
}

/// Limits that a file of honest size never meets: a circuit has about thirty nodes of YAML.
pub(crate) fn limits(text: &str) -> Options {
    let nodes = 250_000 + text.len() / 4;
    options! {
        budget: budget! { max_nodes: nodes, max_events: 4 * nodes },
        with_snippet: false
    }
}

pub(crate) fn located(error: &serde_saphyr::Error) -> ConfigError {
    let error = error.without_snippet();
    let message = without_keys(&DefaultMessageFormatter.format_message(error));
    ConfigError { place: error.location().map(place), message }
}

/// `text` without long runs of hexadecimal digits: a message may repeat what it found, and that may be a key
/// in the wrong place.
fn without_keys(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let (before, run) = rest.split_at(start);
        let end = run.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(run.len());
        kept.push_str(before);
        kept.push_str(if end < SHORTEST_KEY { &run[..end] } else { "(hexadecimal digits)" });
        rest = &run[end..];
    }
    kept + rest
}

/// Hexadecimal digits that are taken for a key, or a piece of one.
const SHORTEST_KEY: usize = 12;

pub(crate) fn place(location: Location) -> (u64, u64) {
    (location.line(), location.column())
}

/// Where the parts of a file are that an error may be about.
#[derive(Debug, Default)]
struct Places {
    client: Option<Location>,
    relay: Option<Location>,
    client_circuits: Vec<Location>,
    neighbours: Vec<Location>,
    relay_circuits: Vec<Location>,
}

impl Places {
    /// The place of the first part that is refused by itself, else of the role that is.
    fn of(&self, host: &Host) -> Option<(u64, u64)> {
        let refused = |host: Host| host.desired().is_err();
        let mut roles = Vec::new();
        if let Some(client) = &host.client {
            let empty = Client { circuits: Vec::new(), ..client.clone() };
            for (circuit, location) in client.circuits.iter().zip(&self.client_circuits) {
                let client = Client { circuits: vec![circuit.clone()], ..empty.clone() };
                if refused(Host { client: Some(client), relay: None }) {
                    return Some(place(*location));
                }
            }
            roles.push((Host { client: host.client.clone(), relay: None }, self.client));
        }
        if let Some(relay) = &host.relay {
            let bare = Relay { circuits: Vec::new(), neighbours: Vec::new(), ..relay.clone() };
            for (neighbour, location) in relay.neighbours.iter().zip(&self.neighbours) {
                let relay = Relay { neighbours: vec![neighbour.clone()], ..bare.clone() };
                if refused(Host { client: None, relay: Some(relay) }) {
                    return Some(place(*location));
                }
            }
            for (circuit, location) in relay.circuits.iter().zip(&self.relay_circuits) {
                let relay = Relay { circuits: vec![circuit.clone()], ..bare.clone() };
                if refused(Host { client: None, relay: Some(relay) }) {
                    return Some(place(*location));
                }
            }
            roles.push((Host { client: None, relay: host.relay.clone() }, self.relay));
        }
        roles.into_iter().find_map(|(host, location)| if refused(host) { location.map(place) } else { None })
    }
}

#[cfg(test)]
mod tests;
