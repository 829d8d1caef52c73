//! A circuit that a command in another network namespace uses.
//!
//! The kernel looks for the SAs of an xfrm interface where the interface was made, wherever it has been moved
//! since (`xfrm_if.net`). But what comes out of an SA arrives where the interface is, and so only the
//! innermost layer can belong to one that was moved: the others would be looked for in a namespace that has no
//! SAs. A circuit that is lent has two interfaces for that time:
//!
//! ```text
//!  command's namespace │ this host's
//!   lo                 │
//!   ippcN ─────────────┼─ layer n ── ippcN ── layers n-1 … 1 ── eth0
//!   (made as ipprN)    │             (IKE with the relays as before)
//! ```
//!
//! The SAs of layer n are given the identifier of the other interface in place, so that they go on counting.

use super::client::{BYPASS_RULE, Way, guarded_route, policy, rule_from};
use super::mtu::{Layer, room, wire_size};
use super::{MAX_HOPS, Refused, Telescope, mtu};
use crate::id::Mtu;
use crate::state::{Link, PolicyDirection, RouteMetrics, RuleAction, Selector, State, Template};

/// RFC 4303 §2: the protocol number of ESP.
const IPPROTO_ESP: u8 = 50;
/// Before everything else, for no destination of the layer may be taken for one that is reached directly.
const LAYER_RULE: u32 = BYPASS_RULE - 1;

/// How large packets may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mtus {
    /// On the interface that is lent.
    pub(super) inside: Mtu,
    /// On the one of the other layers.
    pub(super) around: Mtu,
}

/// The interface of the other layers has to take the innermost one's packets. It keeps the kernel's IPv6 or lack
/// of it, for with that its sockets would go: at a loss of some octets inside, where there is no IPv6 then.
pub(super) fn mtus(inside: Mtu, layers: &[Layer]) -> Mtus {
    let innermost = layers.get(..1).filter(|_| layers.len() > 1).unwrap_or_default();
    let limit = if inside < Mtu::IPV6_MINIMUM { Mtu::IPV6_MINIMUM.get() - 1 } else { u32::MAX };
    let around = Mtu::try_from(wire_size(inside.get(), innermost).min(limit)).unwrap_or(inside);
    let inside = Mtu::try_from(room(around, innermost).min(inside.get())).unwrap_or(inside);
    Mtus { inside, around }
}

impl Telescope {
    /// The interface to be made for the other namespace, and moved there, when this circuit is lent. `path_mtu` is
    /// the client's.
    ///
    /// # Errors
    /// [`Refused`] for a circuit that cannot be.
    pub fn lent_link(&self, path_mtu: Mtu) -> Result<Link, Refused> {
        let layers = self.layers();
        if !(1..=MAX_HOPS).contains(&layers.len()) {
            return Err(Refused::HopCount { circuit: self.number, found: layers.len() });
        }
        let ipv6 = self.hops.last().is_some_and(|exit| exit.address6.is_some());
        let mtu = mtus(mtu::of_circuit(self.mtu, path_mtu, &layers, ipv6)?, &layers).inside;
        Ok(Link { name: self.number.lent_link(), if_id: self.number.lent_if_id(), mtu, up: false })
    }
}

/// The packets of the innermost layer go through the interface of the others, and nowhere without it.
pub(super) fn route_outwards(circuit: &Telescope, state: &mut State) -> Result<(), Refused> {
    let Some(before) = circuit.hops.iter().rev().nth(1) else { return Ok(()) };
    let (table, link) = (circuit.number.table(), circuit.number.link());
    let way = Way { link, preferred_source: Some(before.address), metrics: RouteMetrics::default() };
    guarded_route(state, table, Selector::any(before.address), Some(way))?;
    state.rules.insert(rule_from(LAYER_RULE, before.address, RuleAction::Lookup(table)));
    Ok(())
}

/// The other layers around the innermost one's packets. `templates`, outermost first, loses all but the last.
pub(super) fn innermost_layer(
    circuit: &Telescope,
    templates: &mut Vec<Template>,
    state: &mut State,
) -> Result<(), Refused> {
    let Some(innermost) = templates.pop() else { return Ok(()) };
    let around: Vec<Template> = std::mem::replace(templates, vec![innermost]).into_iter().rev().collect();
    let Some(source) = innermost.source.filter(|_| !around.is_empty()) else { return Ok(()) };
    let selector = Selector::new(source.into(), innermost.destination.into());
    let selector = Selector { protocol: Some(IPPROTO_ESP), ..selector };
    policy(state, circuit.number.if_id(), PolicyDirection::Out, selector, around)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Suite;

    #[test]
    fn the_interface_around_takes_what_the_one_inside_sends() {
        let mtu = |value: u32| Mtu::try_from(value).unwrap();
        for count in 1..=5 {
            let layers = vec![Layer { suite: Suite::AesGcm128, outer_header: 20 }; count];
            for asked in 576..=1334 {
                let asked = mtu(asked);
                let Mtus { inside, around } = mtus(asked, &layers);
                assert!(count == 1 || wire_size(inside.get(), &layers[..1]) <= around.get());
                assert_eq!(around < Mtu::IPV6_MINIMUM, asked < Mtu::IPV6_MINIMUM, "{asked} {count}");
                assert!(inside == asked || inside < asked && asked < Mtu::IPV6_MINIMUM, "{asked} {count}");
                assert!(count > 1 || around == asked);
            }
        }
        let three = [Layer { suite: Suite::AesGcm128, outer_header: 20 }; 3];
        assert_eq!(mtus(mtu(1280), &three[..1]), Mtus { inside: mtu(1280), around: mtu(1280) });
    }
}
