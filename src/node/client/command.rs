//! What people ask of circuits.

use super::super::{CommandId, Node};
use super::circuit::Afterwards;
use super::{Stage, select};
use crate::control::{NewCircuit, RefusalCode, Rekey, RekeyTarget, RekeyWhat, Reply};
use crate::network::Name;
use crate::policy::{Circuit as Spec, Hops, Rebuild};
use crate::state::RouteMetrics;
use crate::telescope::CircuitNumber;

/// Relays of a circuit when nobody says how many.
const USUAL_LENGTH: usize = 3;

impl Node {
    /// Begins a circuit that somebody asked for.
    pub(in crate::node) fn circuit_new(&mut self, id: CommandId, new: NewCircuit) {
        let wait = new.wait;
        match self.spec(new) {
            Err(reply) => self.reply(id, reply),
            Ok(spec) => {
                let now = self.now;
                let added = self.client.as_mut().and_then(|role| role.add(spec, now));
                let Some(number) = added else {
                    return self
                        .reply(id, Reply::refused(RefusalCode::Unavailable, "no circuit number is free"));
                };
                if let Some(circuit) = self.circuit_mut(number) {
                    circuit.afterwards = Afterwards::Forget;
                    if wait {
                        circuit.waiting.push(id);
                    }
                }
                self.begin_circuit(number);
                if !wait && let Some(view) = self.circuit_view(number) {
                    self.reply(id, Reply::Circuit(Box::new(view)));
                }
            }
        }
    }

    /// What was asked for, or why it makes no sense.
    fn spec(&mut self, new: NewCircuit) -> Result<Spec, Reply> {
        let invalid = |message: String| Reply::refused(RefusalCode::Invalid, message);
        if self.stopping {
            return Err(Reply::refused(RefusalCode::Unavailable, "the daemon is stopping"));
        }
        let Some(role) = &self.client else {
            let message = "this host is no client: expected a policy with a client section";
            return Err(Reply::refused(RefusalCode::NotAllowed, message));
        };
        if role.address().is_none() {
            return Err(Reply::refused(
                RefusalCode::Unavailable,
                "this host has no address to reach relays from",
            ));
        }
        let name = match new.name {
            Some(name) => name.parse::<Name>().map_err(|error| invalid(error.to_string()))?,
            None => {
                let free =
                    |n: &u32| format!("circuit-{n}").parse::<Name>().ok().filter(|name| !self.named(name));
                (1..=CircuitNumber::LAST)
                    .find_map(|n| free(&n))
                    .ok_or_else(|| invalid("no name is free: expected one".to_owned()))?
            }
        };
        if self.named(&name) {
            return Err(Reply::refused(RefusalCode::Conflict, format!("there is a circuit {name} already")));
        }
        let hops = match (new.hops, new.length) {
            (Some(_), Some(_)) => return Err(invalid("hops and length: expected one of them".to_owned())),
            (Some(names), None) => {
                let names: Result<Vec<Name>, _> = names.iter().map(|name| name.parse()).collect();
                Hops::Named(names.map_err(|error| invalid(error.to_string()))?)
            }
            (None, length) => Hops::Chosen(length.map_or(USUAL_LENGTH, usize::from)),
        };
        select::path(&self.network, &hops, &mut self.entropy)
            .map_err(|error| Reply::refused(RefusalCode::NoPath, error.to_string()))?;
        let carried = |prefix: &&ipnet::IpNet| {
            role.circuits().values().any(|circuit| circuit.spec.traffic.contains(prefix))
        };
        if let Some(prefix) = new.traffic.iter().find(carried) {
            let message = format!("another circuit is to carry {prefix}: expected another destination");
            return Err(Reply::refused(RefusalCode::Conflict, message));
        }
        Ok(Spec {
            name,
            hops,
            traffic: new.traffic,
            mtu: None,
            rebuild: Rebuild::Never,
            options: RouteMetrics::default(),
        })
    }

    fn named(&self, name: &Name) -> bool {
        self.client
            .as_ref()
            .is_some_and(|role| role.circuits().values().any(|other| other.spec.name == *name))
    }

    /// Closes a circuit for somebody.
    pub(in crate::node) fn circuit_close(&mut self, id: CommandId, number: CircuitNumber) {
        let Some(circuit) = self.circuit_mut(number) else {
            return self.reply(id, Reply::refused(RefusalCode::NotFound, format!("no circuit {number}")));
        };
        circuit.afterwards = Afterwards::Forget;
        circuit.closing.push(id);
        let waiting = std::mem::take(&mut circuit.waiting);
        let closing = matches!(circuit.stage, Stage::Closing { .. });
        for other in waiting {
            self.reply(other, Reply::refused(RefusalCode::Failed, "closed before it was open"));
        }
        if !closing {
            self.close_circuit(number);
        }
    }

    /// Gives an SA new keys.
    pub(in crate::node) fn rekey(&mut self, rekey: &Rekey) -> Reply {
        let not_found = |what: String| Reply::refused(RefusalCode::NotFound, what);
        let (sa, child) = match &rekey.target {
            RekeyTarget::Circuit { circuit, hop } => {
                let place = usize::from(*hop).checked_sub(1);
                let Some(state) =
                    place.and_then(|place| self.hop_mut(*circuit, place)).filter(|hop| hop.done)
                else {
                    return not_found(format!("no hop {hop} of a circuit {circuit}"));
                };
                (state.sa, state.tunnel.in_use())
            }
            RekeyTarget::Overlay { relay } => match self.overlays.connection(relay) {
                Some(found) => found,
                None => return not_found(format!("no overlay to {relay:?} is up")),
            },
        };
        match (rekey.what, child) {
            (RekeyWhat::Ike, _) => self.ike.rekey_ike(self.now, sa),
            (RekeyWhat::Child, Some(child)) => self.ike.rekey_child(self.now, sa, child),
            (RekeyWhat::Child, None) => return not_found("no ESP SA to replace".to_owned()),
        }
        Reply::Done
    }
}
