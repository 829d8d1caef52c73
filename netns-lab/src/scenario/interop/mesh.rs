//! A network where every relay is the neighbour of every other: two of ours, one with strongSwan, one with libreswan.

use ippriv::network::Software;

use super::cells::{Place, Role, What};
use crate::topology::{Topology, TopologyError};

use Software::{Ippriv, Libreswan, Strongswan};

/// Its relays in the order of their addresses. Of two neighbours the one with the lower address begins: the first of
/// ours with all the others, all the others with the last.
pub(super) const RELAYS: [(&str, Software); 4] =
    [(FIRST, Ippriv), ("relay2", Strongswan), ("relay3", Libreswan), (LAST, Ippriv)];
/// Our relay that begins.
pub(super) const FIRST: &str = "relay1";
/// Our relay that waits for others to begin.
pub(super) const LAST: &str = "relay4";
/// Those that are not ours.
pub(super) const FOREIGN: [(&str, Software); 2] = [RELAYS[1], RELAYS[2]];
/// Circuits with either daemon once at every place, each with relays of all three kinds.
pub(super) const CIRCUITS: [[&str; 3]; 3] =
    [["relay2", "relay3", LAST], [FIRST, "relay2", "relay3"], ["relay3", FIRST, "relay2"]];

/// Hosts around one router.
const TOPOLOGY: &str = "
nodes:
  - { name: router, role: router }
  - { name: client, role: client }
  - { name: relay1, role: relay, pool: 10.64.0.0/16, pool6: 'fd00:64::/64', exit: true }
  - { name: relay2, role: relay, pool: 10.65.0.0/16, pool6: 'fd00:65::/64', exit: true }
  - { name: relay3, role: relay, pool: 10.66.0.0/16, pool6: 'fd00:66::/64', exit: true }
  - { name: relay4, role: relay, pool: 10.67.0.0/16, pool6: 'fd00:67::/64', exit: true }
  - { name: server, role: server }
links:
  - { between: [router, client], rate: 100mbit, delay: 3ms }
  - { between: [router, relay1], rate: 100mbit, delay: 3ms }
  - { between: [router, relay2], rate: 100mbit, delay: 3ms }
  - { between: [router, relay3], rate: 100mbit, delay: 3ms }
  - { between: [router, relay4], rate: 100mbit, delay: 3ms }
  - { between: [router, server], rate: 100mbit, delay: 3ms }
";

/// The network.
pub(super) fn topology() -> Result<Topology, TopologyError> {
    Topology::parse("mesh", TOPOLOGY)
}

/// A relay of a circuit that is not ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop {
    pub(super) name: &'static str,
    pub(super) daemon: Software,
    pub(super) role: Role,
    /// Its place in the circuit, from 1.
    pub(super) number: usize,
}

impl Hop {
    /// The cell of this relay.
    pub(super) const fn place(self, what: What) -> Place {
        Place::new(self.daemon, self.role, what)
    }
}

/// The relays of a circuit that are not ours.
pub(super) fn foreign(hops: &[&'static str]) -> Vec<Hop> {
    let last = hops.len();
    let hop = |(number, name): (usize, &&'static str)| {
        let (_, daemon) = FOREIGN.into_iter().find(|(known, _)| known == name)?;
        let role = match number {
            1 => Role::Entry,
            _ if number == last => Role::Exit,
            _ => Role::Middle,
        };
        Some(Hop { name, daemon, role, number })
    };
    (1..).zip(hops).filter_map(hop).collect()
}

/// The cells of all relays of a circuit that are not ours.
pub(super) fn cells(hops: &[Hop], whats: &[What]) -> Vec<Place> {
    hops.iter().flat_map(|hop| whats.iter().map(|what| hop.place(*what))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn circuits_have_either_daemon_at_every_place() {
        let hops: Vec<Hop> = CIRCUITS.iter().flat_map(|hops| foreign(hops)).collect();
        let places: BTreeSet<Place> = hops.iter().map(|hop| hop.place(What::Opens)).collect();
        assert_eq!(places.len(), 6);
        assert!(places.iter().all(|place| place.role.is_hop()));
        assert_eq!(topology().unwrap().relays().count(), RELAYS.len());
    }
}
