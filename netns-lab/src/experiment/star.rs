//! Networks and circuits that are too large to be written out: relays, clients and a server around one router.

use std::fmt::Write as _;

use ippriv::entropy::{Entropy, Seeded};
use serde::Deserialize;

use crate::systems::Circuit;

/// A star. Relays are `relay1`, `relay2`, …, clients `client1`, …; the server is `server`. Every relay is an exit.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Star {
    /// The rate of each relay's link, and thereby how many relays there are.
    pub(super) relays: Vec<String>,
    /// How many clients there are.
    pub(super) clients: u32,
    /// The rate of each client's link.
    pub(super) client_rate: String,
    /// Delays of links; each relay and each client takes the next, over and over.
    pub(super) delays: Vec<String>,
    /// Loss on each relay's link.
    #[serde(default = "no_loss")]
    pub(super) loss: String,
    /// Packets that fit into the queue of a link.
    pub(super) queue: u32,
}

/// Circuits at random, one for each client.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Random {
    /// Relays of a circuit.
    pub(super) hops: u32,
    /// How likely each relay is to be chosen, in the relays' order.
    pub(super) weights: Vec<u32>,
    /// How many clients there are.
    pub(super) clients: u32,
    /// Where randomness starts; the circuits are the same at every point with the same.
    pub(super) seed: u64,
}

fn no_loss() -> String {
    "0%".to_owned()
}

impl Star {
    /// The topology's YAML text.
    pub(super) fn text(&self) -> String {
        let mut text = "description: Relays, clients and a server around one router.\nnodes:\n\
            \x20 - { name: hub, role: router }\n  - { name: server, role: server }\n"
            .to_owned();
        let mut links = "  - { between: [hub, server], rate: 1000mbit, delay: 1ms }\n".to_owned();
        let mut delays = self.delays.iter().cycle();
        let mut delay = || delays.next().map_or("1ms", String::as_str);
        for (place, rate) in self.relays.iter().enumerate() {
            let (name, pool) = (format!("relay{}", place + 1), 64 + place);
            let _ = writeln!(text, "  - {{ name: {name}, role: relay, pool: 10.{pool}.0.0/16, exit: true }}");
            let Self { loss, queue, .. } = self;
            let _ = writeln!(
                links,
                "  - {{ between: [hub, {name}], rate: {rate}, delay: {}, loss: {loss}, queue: {queue} }}",
                delay()
            );
        }
        for number in 1..=self.clients {
            let _ = writeln!(text, "  - {{ name: client{number}, role: client }}");
            let rate = &self.client_rate;
            let _ = writeln!(
                links,
                "  - {{ between: [hub, client{number}], rate: {rate}, delay: {}, queue: {} }}",
                delay(),
                self.queue
            );
        }
        text + "links:\n" + &links
    }
}

impl Random {
    /// The circuits.
    pub(super) fn circuits(&self) -> Result<Vec<Circuit>, String> {
        if (self.weights.len() as u64) < u64::from(self.hops) {
            return Err(format!(
                "found weights for {} relays, expected {} at least",
                self.weights.len(),
                self.hops
            ));
        }
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_be_bytes());
        let mut dice = Seeded::new(seed);
        Ok((1..=self.clients)
            .map(|number| Circuit { client: format!("client{number}"), hops: self.path(&mut dice) })
            .collect())
    }

    fn path(&self, dice: &mut impl Entropy) -> Vec<String> {
        let mut left: Vec<(usize, u32)> = self.weights.iter().copied().enumerate().collect();
        let mut path = Vec::new();
        for _ in 0..self.hops {
            let mut at = dice.below(left.iter().map(|(_, weight)| u64::from(*weight)).sum());
            let chosen = left.iter().position(|(_, weight)| {
                let found = at < u64::from(*weight);
                at = at.saturating_sub(u64::from(*weight));
                found
            });
            let (relay, _) = left.remove(chosen.unwrap_or(0));
            path.push(format!("relay{}", relay + 1));
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Topology;

    #[test]
    fn a_star_is_a_topology() {
        let star = Star {
            relays: ["3mbit", "8mbit"].map(str::to_owned).to_vec(),
            clients: 3,
            client_rate: "20mbit".into(),
            delays: ["5ms", "9ms", "25ms"].map(str::to_owned).to_vec(),
            loss: "1%".into(),
            queue: 50,
        };
        let topology = Topology::parse("star", &star.text()).unwrap();
        assert_eq!(topology.nodes.len(), 7);
        assert_eq!(topology.relays().count(), 2);
    }

    #[test]
    fn circuits_go_through_different_relays_and_heavy_ones_more_often() {
        let random = Random { hops: 3, weights: vec![1, 1, 1, 1, 8], clients: 100, seed: 1 };
        let circuits = random.circuits().unwrap();
        assert_eq!(circuits, random.circuits().unwrap());
        for circuit in &circuits {
            let mut hops = circuit.hops.clone();
            hops.sort();
            hops.dedup();
            assert_eq!(hops.len(), 3, "{circuit:?}");
        }
        let with = |name: &str| circuits.iter().filter(|one| one.hops.iter().any(|hop| hop == name)).count();
        assert!(with("relay5") > with("relay1") + 20, "{} {}", with("relay5"), with("relay1"));
        assert!(Random { hops: 6, ..random }.circuits().is_err());
    }
}
