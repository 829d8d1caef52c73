//! Which relays a circuit passes.

use crate::entropy::Entropy;
use crate::network::{Name, Network, Relay, Role, linked};
use crate::policy::Hops;
use crate::telescope::MAX_HOPS;

/// Attempts at drawing a path before it is said that there is none.
const DRAWS: usize = 256;

/// Why there is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoPath {
    /// A number of relays that no circuit can have.
    #[error("{0} hops: expected 1 to {MAX_HOPS}")]
    Length(usize),
    /// A relay that the network does not have.
    #[error("no relay {0:?} in the network")]
    Unknown(String),
    /// A relay twice: each adds nothing but its own address to the path.
    #[error("relay {0} twice: expected each relay once")]
    Twice(Name),
    /// A relay at a place that it does not serve.
    #[error("relay {relay} is no {role}: expected a relay with that role")]
    Role {
        /// The relay.
        relay: Name,
        /// The place.
        role: Role,
    },
    /// Two relays that keep no overlay tunnel.
    #[error("relays {0} and {1} are no neighbours: expected relays with an overlay tunnel between them")]
    NotLinked(Name, Name),
    /// Not enough relays that go together.
    #[error("no {0} relays of different operators go together as a path")]
    Nothing(usize),
}

/// The relays for `hops`, entry first. Drawn by weight, no relay and no operator twice.
pub(super) fn path<'a>(
    network: &'a Network,
    hops: &Hops,
    entropy: &mut dyn Entropy,
) -> Result<Vec<&'a Relay>, NoPath> {
    match hops {
        Hops::Named(names) => named(network, names),
        Hops::Chosen(length) if !(1..=MAX_HOPS).contains(length) => Err(NoPath::Length(*length)),
        Hops::Chosen(length) => {
            (0..DRAWS).find_map(|_| draw(network, *length, entropy)).ok_or(NoPath::Nothing(*length))
        }
    }
}

/// The role at a place of a path.
const fn role(place: usize, length: usize) -> Role {
    if place + 1 == length {
        Role::Exit
    } else if place == 0 {
        Role::Entry
    } else {
        Role::Middle
    }
}

/// Whether a relay may be at a place; the only relay of a path is entry and exit at once.
fn fits(relay: &Relay, place: usize, length: usize) -> bool {
    relay.may_be(role(place, length)) && (place > 0 || relay.may_be(Role::Entry))
}

fn named<'a>(network: &'a Network, names: &[Name]) -> Result<Vec<&'a Relay>, NoPath> {
    let length = names.len();
    if !(1..=MAX_HOPS).contains(&length) {
        return Err(NoPath::Length(length));
    }
    let mut path: Vec<&Relay> = Vec::with_capacity(length);
    for (place, name) in names.iter().enumerate() {
        let relay = network.relay(name.as_str()).ok_or_else(|| NoPath::Unknown(name.to_string()))?;
        if path.iter().any(|other| other.name == relay.name) {
            return Err(NoPath::Twice(name.clone()));
        }
        if !fits(relay, place, length) {
            let role =
                if place == 0 && !relay.may_be(Role::Entry) { Role::Entry } else { role(place, length) };
            return Err(NoPath::Role { relay: name.clone(), role });
        }
        if let Some(before) = path.last().filter(|before| !linked(before, relay)) {
            return Err(NoPath::NotLinked(before.name.clone(), name.clone()));
        }
        path.push(relay);
    }
    Ok(path)
}

/// One attempt: place by place, each among the relays that go with those before it.
fn draw<'a>(network: &'a Network, length: usize, entropy: &mut dyn Entropy) -> Option<Vec<&'a Relay>> {
    let mut path: Vec<&Relay> = Vec::with_capacity(length);
    for place in 0..length {
        let suits = |relay: &&Relay| {
            let apart = |other: &&Relay| {
                other.name != relay.name && (other.operator.is_none() || other.operator != relay.operator)
            };
            fits(relay, place, length)
                && path.iter().all(apart)
                && path.last().is_none_or(|before| linked(before, relay))
        };
        let suitable: Vec<&Relay> = network.relays().iter().filter(suits).collect();
        let total: u64 = suitable.iter().map(|relay| u64::from(relay.weight.get())).sum();
        let mut ticket = entropy.below(total);
        let drawn = suitable.into_iter().find(|relay| {
            let weight = u64::from(relay.weight.get());
            let hit = ticket < weight;
            ticket = ticket.saturating_sub(weight);
            hit
        })?;
        path.push(drawn);
    }
    Some(path)
}
