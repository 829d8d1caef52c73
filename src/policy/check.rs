//! Whether a policy contradicts itself, or the network it is for.

use std::collections::BTreeMap;
use std::path::Path;

use ipnet::IpNet;

use super::{CipherPolicy, CipherSource, Circuit, Client, DEFAULT, Hops, Policy};
use crate::network::{Document, Ed25519Key, IdentityKey, Name, Role, linked};
use crate::telescope::CircuitNumber;

/// What makes no sense in a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Nothing to do.
    #[error("no role: expected relay, client or both")]
    NoRole,
    /// A cipher policy that nobody defines.
    #[error("ciphers {name}: expected {DEFAULT} or a name under `ciphers`")]
    UnknownCiphers {
        /// Its name.
        name: Name,
        /// Who asks for it.
        by: Part,
    },
    /// Two circuits of one name.
    #[error("circuit {name} is there twice: expected it once")]
    CircuitTwice {
        /// Their name.
        name: Name,
        /// The later one, counted from 0.
        circuit: usize,
    },
    /// More circuits than can be told apart.
    #[error("{found} circuits: expected at most {}", CircuitNumber::LAST)]
    TooManyCircuits {
        /// How many there are.
        found: usize,
    },
    /// The same destinations through two circuits.
    #[error("circuit {name}: traffic {prefix} goes through circuit {other}: expected each prefix once")]
    TrafficTwice {
        /// The later circuit.
        name: Name,
        /// The later one, counted from 0.
        circuit: usize,
        /// The prefix.
        prefix: IpNet,
        /// The earlier circuit.
        other: Name,
    },
    /// A circuit with more room inside than there is outside.
    #[error("circuit {name}: mtu {mtu}: expected less than path_mtu {path}")]
    MtuTooLarge {
        /// The circuit.
        name: Name,
        /// The circuit, counted from 0.
        circuit: usize,
        /// Its MTU in octets.
        mtu: u32,
        /// The path's MTU in octets.
        path: u32,
    },
    /// More time for a relay than for all of them.
    #[error("timeouts: hop is longer than circuit: expected circuit to be at least as long")]
    TimeoutsReversed,
}

/// A part of a policy that an error may be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The relay role.
    Relay,
    /// The client role.
    Client,
}

/// A policy that does not fit its network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// A relay that the network does not have.
    #[error("{by}: relay {relay}: expected one of the network {network}")]
    UnknownRelay {
        /// Who names it.
        by: String,
        /// The relay.
        relay: Name,
        /// The network.
        network: Name,
    },
    /// The policy and the network disagree on whether something leaves at this relay.
    #[error(
        "relay {relay}: {policy} by the policy, {document} by the network document: expected them to agree"
    )]
    Exit {
        /// This relay.
        relay: Name,
        /// What the policy says.
        policy: ExitSaid,
        /// What the document says.
        document: ExitSaid,
    },
    /// A private key that is not the one whose public half the network document has.
    #[error("relay {relay}: identity {found}: expected {expected}, which the network document has")]
    Identity {
        /// This relay.
        relay: Name,
        /// The public half of its key.
        found: Ed25519Key,
        /// What the document has.
        expected: Box<IdentityKey>,
    },
    /// The network document promises clients what this relay refuses.
    #[error(
        "relay {relay}: {protocol} port {port} leaves by the network document and not by the policy: expected it to"
    )]
    Promise {
        /// This relay.
        relay: Name,
        /// TCP or UDP.
        protocol: &'static str,
        /// The first such port.
        port: u16,
    },
    /// A relay at a place that it does not take.
    #[error("circuit {circuit}: relay {relay} is no {role}: expected one that is")]
    Role {
        /// The circuit.
        circuit: Name,
        /// The relay.
        relay: Name,
        /// The place.
        role: Role,
    },
    /// Two relays after each other that keep no tunnel.
    #[error("circuit {circuit}: relays {left} and {right} keep no tunnel: expected neighbours")]
    NotLinked {
        /// The circuit.
        circuit: Name,
        /// One relay.
        left: Name,
        /// The next.
        right: Name,
    },
}

/// Whether something leaves at a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExitSaid {
    /// Something does.
    #[error("an exit")]
    Exit,
    /// Nothing does.
    #[error("no exit")]
    NoExit,
}

/// A cipher policy that is in a file which nobody has read yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ciphers {name}: expected its file to be read first")]
pub struct NotRead {
    name: Name,
}

impl Policy {
    /// The cipher policies in files of their own, which have to be read before [`Self::cipher_policy`] knows them.
    pub fn cipher_files(&self) -> impl Iterator<Item = (&Name, &Path)> {
        self.ciphers.iter().filter_map(|(name, source)| match source {
            CipherSource::File(path) => Some((name, path.as_path())),
            CipherSource::Inline(_) => None,
        })
    }

    /// Takes what was read for one of [`Self::cipher_files`].
    pub fn set_cipher_policy(&mut self, name: Name, policy: CipherPolicy) {
        self.ciphers.insert(name, CipherSource::Inline(policy));
    }

    /// The cipher policy of that name.
    ///
    /// # Errors
    /// [`NotRead`] for one whose file was not read.
    pub fn cipher_policy(&self, name: &Name) -> Result<CipherPolicy, NotRead> {
        match self.ciphers.get(name) {
            Some(CipherSource::Inline(policy)) => Ok(policy.clone()),
            None if name.as_str() == DEFAULT => Ok(CipherPolicy::default()),
            _ => Err(NotRead { name: name.clone() }),
        }
    }

    /// Checks the policy against the network it is for.
    ///
    /// # Errors
    /// [`Mismatch`] for the first thing that does not fit.
    pub fn check(&self, network: &Document) -> Result<(), Mismatch> {
        if let Some(relay) = &self.relay {
            let described = network
                .relay(relay.name.as_str())
                .ok_or_else(|| unknown("relay".into(), &relay.name, network))?;
            let said = |exit| if exit { ExitSaid::Exit } else { ExitSaid::NoExit };
            let (policy, document) = (said(relay.exit.is_some()), said(described.exit.is_some()));
            if policy != document {
                return Err(Mismatch::Exit { relay: relay.name.clone(), policy, document });
            }
            if let (Some(allowed), Some(promised)) = (&relay.exit, &described.exit) {
                let tcp = broken("TCP", promised.tcp_ports.as_deref(), allowed.leaving.tcp_ports.as_deref());
                let udp = broken("UDP", promised.udp_ports.as_deref(), allowed.leaving.udp_ports.as_deref());
                if let Some((protocol, port)) = tcp.or(udp) {
                    return Err(Mismatch::Promise { relay: relay.name.clone(), protocol, port });
                }
            }
            let mut named = relay.overlay.psk.keys();
            if let Some(name) =
                named.find(|name| **name == relay.name || network.relay(name.as_str()).is_none())
            {
                return Err(unknown("overlay psk".into(), name, network));
            }
        }
        let circuits = self.client.iter().flat_map(|client| &client.circuits);
        circuits.into_iter().try_for_each(|circuit| circuit.check(network))
    }

    /// Checks that the relay's identity key is the one clients expect; nothing to check without that role.
    ///
    /// # Errors
    /// [`Mismatch::Identity`], and [`Mismatch::UnknownRelay`] as in [`Self::check`].
    pub fn check_identity(&self, network: &Document, found: Ed25519Key) -> Result<(), Mismatch> {
        let Some(relay) = self.relay.as_ref().map(|relay| &relay.name) else { return Ok(()) };
        match network.relay(relay.as_str()) {
            Some(described) if described.identity == found.into() => Ok(()),
            Some(described) => {
                let expected = Box::new(described.identity.clone());
                Err(Mismatch::Identity { relay: relay.clone(), found, expected })
            }
            None => Err(unknown("relay".into(), relay, network)),
        }
    }

    pub(super) fn find_invalid(&self) -> Result<(), Invalid> {
        if self.relay.is_none() && self.client.is_none() {
            return Err(Invalid::NoRole);
        }
        if let Some(relay) = &self.relay {
            self.known_ciphers(&relay.ciphers, Part::Relay)?;
            self.known_ciphers(&relay.overlay.ciphers, Part::Relay)?;
        }
        if let Some(client) = &self.client {
            self.known_ciphers(&client.ciphers, Part::Client)?;
            client.find_invalid()?;
        }
        Ok(())
    }

    fn known_ciphers(&self, name: &Name, by: Part) -> Result<(), Invalid> {
        if name.as_str() == DEFAULT || self.ciphers.contains_key(name) {
            Ok(())
        } else {
            Err(Invalid::UnknownCiphers { name: name.clone(), by })
        }
    }
}

impl Client {
    fn find_invalid(&self) -> Result<(), Invalid> {
        if self.timeouts.hop > self.timeouts.circuit {
            return Err(Invalid::TimeoutsReversed);
        }
        let found = self.circuits.len();
        if u32::try_from(found).is_ok_and(|found| found > CircuitNumber::LAST) {
            return Err(Invalid::TooManyCircuits { found });
        }
        let mut names = BTreeMap::new();
        let mut traffic: BTreeMap<IpNet, &Name> = BTreeMap::new();
        for (at, circuit) in self.circuits.iter().enumerate() {
            let name = &circuit.name;
            if names.insert(name, at).is_some() {
                return Err(Invalid::CircuitTwice { name: name.clone(), circuit: at });
            }
            if let Some(mtu) = circuit.mtu.filter(|mtu| mtu.get() >= self.path_mtu.get()) {
                let (mtu, path) = (mtu.get(), self.path_mtu.get());
                return Err(Invalid::MtuTooLarge { name: name.clone(), circuit: at, mtu, path });
            }
            for prefix in &circuit.traffic {
                if let Some(other) = traffic.insert(prefix.trunc(), name) {
                    let (name, prefix, other) = (name.clone(), *prefix, other.clone());
                    return Err(Invalid::TrafficTwice { name, circuit: at, prefix, other });
                }
            }
        }
        Ok(())
    }
}

impl Circuit {
    fn check(&self, network: &Document) -> Result<(), Mismatch> {
        let Hops::Named(names) = &self.hops else { return Ok(()) };
        let unknown = |relay| unknown(format!("circuit {}", self.name), relay, network);
        let relays = names.iter().map(|name| network.relay(name.as_str()).ok_or_else(|| unknown(name)));
        let relays = relays.collect::<Result<Vec<_>, _>>()?;
        for (at, relay) in relays.iter().enumerate() {
            let first = (at == 0).then_some(Role::Entry);
            let last = (at + 1 == relays.len()).then_some(Role::Exit);
            let between = (first.is_none() && last.is_none()).then_some(Role::Middle);
            let mut places = [first, between, last].into_iter().flatten();
            if let Some(role) = places.find(|role| !relay.may_be(*role)) {
                return Err(Mismatch::Role { circuit: self.name.clone(), relay: relay.name.clone(), role });
            }
        }
        match relays.windows(2).find(|pair| !linked(pair[0], pair[1])) {
            Some(pair) => Err(Mismatch::NotLinked {
                circuit: self.name.clone(),
                left: pair[0].name.clone(),
                right: pair[1].name.clone(),
            }),
            None => Ok(()),
        }
    }
}

fn unknown(by: String, relay: &Name, network: &Document) -> Mismatch {
    Mismatch::UnknownRelay { by, relay: relay.clone(), network: network.network.clone() }
}

/// The first port that is promised and not allowed.
fn broken(
    protocol: &'static str,
    promised: Option<&[(u16, u16)]>,
    allowed: Option<&[(u16, u16)]>,
) -> Option<(&'static str, u16)> {
    let has = |ports: Option<&[(u16, u16)]>, port| {
        ports.is_none_or(|ports| ports.iter().any(|(first, last)| (*first..=*last).contains(&port)))
    };
    let mut ports = 0..=u16::MAX;
    let port = ports.find(|port| has(promised, *port) && !has(allowed, *port))?;
    Some((protocol, port))
}
