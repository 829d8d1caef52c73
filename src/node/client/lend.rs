//! Circuits lent to a command: what they carry is sent and received in another network namespace.
//!
//! A circuit is lent to a process, in whose namespace the interface then is, and for as long as that lives. It
//! comes back earlier when the process says so, and with the end of the circuit. The command has no network
//! then: its interface has no SAs any more.

use serde::{Deserialize, Serialize};

use super::super::kernel::{KernelRefused, Part};
use super::super::{CommandId, Node, Output, Then};
use super::Stage;
use crate::control::{Event, Lend, Refusal, RefusalCode, Reply};
use crate::id::ProcessId;
use crate::plan::OpError;
use crate::telescope::CircuitNumber;

/// Who uses a circuit instead of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::node) struct Lent {
    /// The process.
    pub(in crate::node) to: ProcessId,
    /// Whether the circuit is closed when it comes back.
    close: bool,
}

fn refusal(code: RefusalCode, message: String) -> Reply {
    Reply::Refused(Refusal { code, message })
}

impl Node {
    /// Lends a circuit: the kernel moves its innermost layer to another interface first.
    pub(in crate::node) fn circuit_lend(&mut self, id: CommandId, lend: Lend) {
        let Lend { circuit: number, process, close } = lend;
        if let Err(reply) = self.may_be_lent(number) {
            return self.reply(id, reply);
        }
        if let Some(circuit) = self.circuit_mut(number) {
            circuit.lent = Some(Lent { to: process, close });
        }
        self.kernel.push(Part::Base, Then::Lend(number, id));
    }

    fn may_be_lent(&mut self, number: CircuitNumber) -> Result<(), Reply> {
        if self.stopping {
            return Err(Reply::refused(RefusalCode::Unavailable, "the daemon is stopping"));
        }
        let Some(circuit) = self.circuit_mut(number) else {
            return Err(refusal(RefusalCode::NotFound, format!("no circuit {number}")));
        };
        if let Some(Lent { to, .. }) = circuit.lent {
            let message = format!("circuit {number}: process {to} uses it: expected one that nobody uses");
            return Err(refusal(RefusalCode::Conflict, message));
        }
        if circuit.stage != Stage::Open {
            let message = format!("circuit {number}: expected one that is open");
            return Err(refusal(RefusalCode::Conflict, message));
        }
        Ok(())
    }

    /// The kernel has another interface's SAs and policies: the interface itself is for the shell to make.
    pub(in crate::node) fn circuit_to_lend(
        &mut self,
        number: CircuitNumber,
        id: CommandId,
        refused: Option<&KernelRefused>,
    ) {
        if let Some(refused) = refused {
            let reason = format!("the kernel refused to {}: {}", refused.operation, refused.error);
            return self.not_lent(number, id, &reason);
        }
        let path_mtu = self.client.as_ref().map(|role| role.path_mtu);
        let lent = self.circuit_mut(number).and_then(|circuit| Some((circuit.lent?, circuit.telescope()?)));
        let (Some((lent, telescope)), Some(path_mtu)) = (lent, path_mtu) else {
            return self.not_lent(number, id, "it was closed meanwhile");
        };
        match telescope.lent_link(path_mtu) {
            Ok(link) => self.queue.push_back(Output::Lend { id, circuit: number, link, process: lent.to }),
            Err(error) => self.not_lent(number, id, &error.to_string()),
        }
    }

    /// The interface is there, or cannot be.
    pub(in crate::node) fn circuit_lent(
        &mut self,
        number: CircuitNumber,
        id: CommandId,
        result: Result<(), OpError>,
    ) {
        let lent = self.circuit_mut(number).and_then(|circuit| circuit.lent);
        match (result, lent) {
            (Ok(()), Some(lent)) => {
                self.journal_circuit(number);
                self.event(Event::CircuitLent { circuit: number, process: lent.to });
                self.queue.push_back(Output::Watch(lent.to));
                if let Some(view) = self.circuit_view(number) {
                    self.reply(id, Reply::Circuit(Box::new(view)));
                }
            }
            (Ok(()), None) => {
                self.not_lent(number, id, "it was closed meanwhile");
            }
            (Err(error), _) => self.not_lent(number, id, &error.to_string()),
        }
    }

    fn not_lent(&mut self, number: CircuitNumber, id: CommandId, reason: &str) {
        if let Some(circuit) = self.circuit_mut(number)
            && circuit.lent.take().is_some()
        {
            self.kernel.push(Part::Base, Then::Nothing);
        }
        self.reply(id, refusal(RefusalCode::Failed, format!("circuit {number} cannot be lent: {reason}")));
    }

    /// Takes a circuit back for the process that has it.
    pub(in crate::node) fn circuit_return(
        &mut self,
        id: CommandId,
        number: CircuitNumber,
        process: ProcessId,
    ) {
        let found = self.circuit_mut(number).map(|circuit| circuit.lent);
        match found {
            None => self.reply(id, refusal(RefusalCode::NotFound, format!("no circuit {number}"))),
            Some(Some(Lent { to, close })) if to == process => {
                let closing = close.then(|| self.circuit_mut(number)).flatten();
                if let Some(circuit) = closing {
                    circuit.closing.push(id);
                    self.take_back(number, "the command ended");
                } else {
                    self.take_back(number, "the command ended");
                    self.kernel.push(Part::Base, Then::Reply(id));
                }
            }
            Some(_) => {
                let message = format!("circuit {number}: process {process} does not have it any more");
                self.reply(id, refusal(RefusalCode::Conflict, message));
            }
        }
    }

    /// A process that we watched has ended: what it had comes back.
    pub(in crate::node) fn process_ended(&mut self, process: ProcessId) {
        let circuits = self.client.iter().flat_map(|role| role.circuits.values());
        let had = circuits.filter(|circuit| circuit.lent.is_some_and(|lent| lent.to == process));
        for number in had.map(|circuit| circuit.number).collect::<Vec<_>>() {
            self.take_back(number, "the process ended");
        }
    }

    /// Gives a circuit back to this host, or closes it if that was agreed.
    fn take_back(&mut self, number: CircuitNumber, reason: &str) {
        let Some(lent) = self.end_lending(number, reason) else { return };
        if lent.close {
            return self.close_for_good(number);
        }
        self.kernel.push(Part::Base, Then::Nothing);
        self.journal_circuit(number);
    }

    /// Nobody but this host uses a circuit from now on.
    pub(super) fn end_lending(&mut self, number: CircuitNumber, reason: &str) -> Option<Lent> {
        let lent = self.circuit_mut(number)?.lent.take()?;
        self.event(Event::CircuitReturned { circuit: number, process: lent.to, reason: reason.to_owned() });
        Some(lent)
    }

    /// Goes on watching those who had circuits before a restart.
    pub(in crate::node) fn watch_processes(&mut self) {
        let circuits = self.client.iter().flat_map(|role| role.circuits.values());
        self.queue.extend(circuits.filter_map(|circuit| Some(Output::Watch(circuit.lent?.to))));
    }
}
