//! Files with static keys, for labs: circuits and relays as YAML, parsed to [`Host`].
//!
//! Parsed, not validated later: what comes out of [`parse`] compiles. Errors name line and column, what was
//! found and what was expected, and never repeat a key.

mod document;

use serde_saphyr::Location;

use crate::form::{self, Located, place};
use crate::telescope::{Client, Desired, Host, Relay};
use document::Document;

/// What is wrong with a file, and where: what was found and what was expected.
pub type ConfigError = Located<String>;

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
    let document: Document = form::read(text)?;
    if !document.lab {
        return Err(ConfigError {
            place: None,
            problem: "static keys protect nobody: expected `lab: true`, which says that this is a lab".into(),
        });
    }
    let (host, places) = document.into_host();
    match host.desired() {
        Ok(desired) => Ok(Config { host, desired }),
        Err(refused) => Err(ConfigError { place: places.of(&host), problem: refused.to_string() }),
    }
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
