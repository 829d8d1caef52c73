//! Which relay died, when several of a circuit are silent.
//!
//! A relay that dies silences all beyond it, and which of them is missed first is chance. So when one is, those
//! before it are asked at once: the circuit broke at the nearest that does not answer. An answer comes through the
//! layers of all relays nearer than the one that gives it, so those forward, whether their daemons answer or not.

use std::time::Duration;

use super::super::Node;
use super::super::Then;
use super::super::kernel::Part;
use super::circuit::{Circuit, HopState};
use crate::ike::{CloseReason, Step};
use crate::telescope::CircuitNumber;
use crate::time::Instant;

/// How long the relays nearer than a silent one have to answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often is looked whether all have.
const LOOK: Duration = Duration::from_millis(250);

/// A relay of an open circuit that does not answer, while those before it are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::node) struct Suspect {
    /// The nearest that is known to be silent, counted from 0.
    hop: usize,
    reason: String,
    /// When is looked again.
    pub(super) look: Instant,
    until: Instant,
}

impl Suspect {
    /// What a daemon before this one was still finding out: the first of the relays that are missing is silent.
    pub(super) fn inherited(hop: usize, now: Instant) -> Self {
        let reason = CloseReason::Unresponsive(Step::Informational).to_string();
        Self { hop, reason, look: now, until: now + PATIENCE }
    }
}

impl Node {
    /// A relay of an open circuit does not answer, and neither its layer nor those beyond are left: asks the
    /// relays before it.
    pub(super) fn suspect(&mut self, number: CircuitNumber, hop: usize, reason: String) {
        let now = self.now;
        let Some(circuit) = self.circuit_mut(number) else { return };
        if circuit.suspect.is_none() {
            circuit.since = now;
        }
        let until = circuit.suspect.as_ref().map_or(now + PATIENCE, |suspect| suspect.until);
        circuit.suspect = Some(Suspect { hop, reason, look: now, until });
        let before: Vec<_> = circuit.hops.iter().map(|hop| hop.sa).collect();
        for sa in before {
            self.ike.probe(now, sa);
        }
        // no traffic passes from now on
        self.kernel.push(Part::Base, Then::Nothing);
        self.judge(number);
    }

    /// Looks whether it is known which relay died.
    pub(super) fn judge(&mut self, number: CircuitNumber) {
        let now = self.now;
        let Some((circuit, suspect)) = self.circuit(number).and_then(|circuit| {
            let suspect = circuit.suspect.clone()?;
            Some((circuit, suspect))
        }) else {
            return;
        };
        let answered = |hop: &HopState| !self.ike.awaits_answer(hop.sa);
        let vouched = circuit.hops.iter().rposition(answered).map_or(0, |hop| hop + 1);
        let silent = (vouched < circuit.hops.len()).then_some(vouched);
        let (hop, reason) = match silent {
            Some(_) if now < suspect.until => {
                if let Some(waiting) = self.circuit_mut(number).and_then(|circuit| circuit.suspect.as_mut()) {
                    waiting.look = suspect.until.min(now + LOOK);
                }
                return;
            }
            Some(hop) => (hop, CloseReason::Unresponsive(Step::Informational).to_string()),
            None => (suspect.hop, suspect.reason),
        };
        let relay = circuit.relay_name(hop);
        self.fail_circuit(number, Some(hop), format!("{relay}: {reason}"));
    }

    fn circuit(&self, number: CircuitNumber) -> Option<&Circuit> {
        self.client.as_ref()?.circuits.get(&number)
    }
}
