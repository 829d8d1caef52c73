//! How our range of numbers ([`ownership`](crate::ownership)) is divided among circuits and neighbours.
//!
//! | use | offset in the range |
//! |---|---|
//! | interface of all telescopes that end on a relay, their pool's table | 1 |
//! | mark of packets that leave at an exit | 1 |
//! | mark of a socket that looks for the host's own address, and sends nothing | 2 |
//! | reqid of the inbound SAs of those telescopes, the neighbours' table | 2 |
//! | table of what goes through a client's circuits by its destination | 3 |
//! | overlay to neighbour n: interface and reqid | 0x100 + n |
//! | circuit c of a client: interface and table | 0x10000 + c |
//! | layer n that ends on a relay: reqid of its outbound SA | 0x20000 + n |
//! | layer l of circuit c of a client: reqid | 0x80000 + 8c + l |
//! | circuit c of a client, lent to another network namespace: interface | 0x80000 + 8c + 7 |

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{IfId, LinkName, Mark, OutOfRange, Reqid, TableId};
use crate::ownership::FIRST;

/// Interface identifier at an offset of our range; the range does not hold 0.
const fn if_id(offset: u32) -> IfId {
    match IfId::new(FIRST + offset) {
        Some(id) => id,
        None => unreachable!(),
    }
}

/// Where all telescopes of a relay end.
pub(super) const TELESCOPES: IfId = if_id(1);
/// The reqid shared by the inbound SAs of a relay's telescopes.
pub(super) const TELESCOPES_IN: Reqid = Reqid(FIRST + 2);
/// Routes to the pools: our own and those of the neighbours.
pub(super) const POOLS_TABLE: TableId = TableId(FIRST + 1);
/// On packets that the firewall of an exit is going to let out under the exit's own address.
pub(super) const LEAVING: Mark = Mark { value: FIRST + 1, mask: u32::MAX };
/// Of a socket that asks which address this host has towards a relay, past the rules that lead to circuits.
pub const LOOKING_OUT: Mark = Mark { value: FIRST + 2, mask: u32::MAX };
/// Routes to the neighbours' public addresses through the overlay.
pub(super) const NEIGHBOURS_TABLE: TableId = TableId(FIRST + 2);
/// What goes through a client's circuits by its destination.
pub(super) const TRAFFIC_TABLE: TableId = TableId(FIRST + 3);

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $what:literal, $last:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
        #[serde(try_from = "u32")]
        pub struct $name(u32);

        impl $name {
            /// The largest number.
            pub const LAST: u32 = $last;

            /// The number.
            #[must_use]
            pub const fn get(self) -> u32 {
                self.0
            }
        }

        impl TryFrom<u32> for $name {
            type Error = OutOfRange;

            fn try_from(value: u32) -> Result<Self, OutOfRange> {
                if (1..=Self::LAST).contains(&value) {
                    Ok(Self(value))
                } else {
                    Err(OutOfRange::new($what, value, concat!("1 to ", $last)))
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// Tells the circuits of one client apart.
    CircuitNumber, "circuit number", 65_535
);
number!(
    /// Tells the layers that end on one relay apart.
    HopNumber, "circuit number", 393_215
);
number!(
    /// Tells the neighbours of one relay apart.
    NeighbourNumber, "neighbour number", 4_095
);

/// The interface all telescopes of a relay end on.
pub(super) fn telescopes_link() -> LinkName {
    known("ippt".to_owned())
}

/// Whether an interface of ours belongs to the relay role.
pub(super) fn is_telescopes_or_overlay(name: &LinkName) -> bool {
    name.as_str() == "ippt" || name.as_str().starts_with("ippo")
}

impl CircuitNumber {
    pub(super) const fn if_id(self) -> IfId {
        if_id(0x1_0000 + self.0)
    }

    /// Of the interface through which another network namespace uses this circuit.
    pub(super) const fn lent_if_id(self) -> IfId {
        if_id(0x8_0000 + 8 * self.0 + 7)
    }

    pub(super) const fn table(self) -> TableId {
        TableId(FIRST + 0x1_0000 + self.0)
    }

    /// The interface of this circuit.
    #[must_use]
    pub fn link(self) -> LinkName {
        known(format!("ippc{}", self.0))
    }

    /// What the interface for another network namespace is called until it is there.
    #[must_use]
    pub fn lent_link(self) -> LinkName {
        known(format!("ippr{}", self.0))
    }

    /// The reqid of layer `layer`, counted from 0.
    pub(super) const fn reqid(self, layer: u32) -> Reqid {
        Reqid(FIRST + 0x8_0000 + 8 * self.0 + layer)
    }
}

impl HopNumber {
    pub(super) const fn reqid(self) -> Reqid {
        Reqid(FIRST + 0x2_0000 + self.0)
    }
}

impl NeighbourNumber {
    pub(super) const fn if_id(self) -> IfId {
        if_id(0x100 + self.0)
    }

    pub(super) const fn reqid(self) -> Reqid {
        Reqid(FIRST + 0x100 + self.0)
    }

    /// The interface of the overlay to this neighbour.
    #[must_use]
    pub fn link(self) -> LinkName {
        known(format!("ippo{}", self.0))
    }
}

/// A name made here, which is valid: at most four letters and five digits.
fn known(name: String) -> LinkName {
    LinkName::try_from(name).unwrap_or_else(|error| unreachable!("{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::in_range;
    use crate::telescope::MAX_HOPS;

    #[test]
    fn the_parts_of_the_range_stay_apart_and_inside() {
        let circuit = CircuitNumber::try_from(CircuitNumber::LAST).unwrap();
        let hop = HopNumber::try_from(HopNumber::LAST).unwrap();
        let neighbour = NeighbourNumber::try_from(NeighbourNumber::LAST).unwrap();
        let first_hop = HopNumber::try_from(1).unwrap();
        let first_circuit = CircuitNumber::try_from(1).unwrap();
        assert!(in_range(circuit.reqid(7).0));
        assert_eq!(circuit.lent_if_id().get(), circuit.reqid(7).0);
        const { assert!(MAX_HOPS < 8) };
        assert!(hop.reqid() < first_circuit.reqid(0));
        assert!(neighbour.reqid() < first_hop.reqid());
        assert!(neighbour.if_id() < first_circuit.if_id());
        assert!(in_range(circuit.if_id().get()));
        assert_eq!(circuit.link().as_str(), "ippc65535");
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert_eq!(
            CircuitNumber::try_from(0).unwrap_err().to_string(),
            "circuit number 0: expected 1 to 65535"
        );
        assert!(NeighbourNumber::try_from(4096).is_err());
    }
}
