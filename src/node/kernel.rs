//! Changes of the kernel's state, one at a time: the answer to one comes before the next is computed.

use std::collections::VecDeque;

use super::OpId;
use crate::plan::{Object, Op, OpError, Outcome, changes};
use crate::state::State;
use crate::telescope::{Relay, RelayCircuit};

/// A part of the kernel's state that is to change.
#[derive(Debug)]
pub(super) enum Change {
    /// Everything but the layers that end on this relay, to what the roles want when its turn comes.
    Base,
    /// One layer that ends on this relay.
    Layer {
        /// As it was.
        before: Option<Box<RelayCircuit>>,
        /// As it is to be.
        after: Option<Box<RelayCircuit>>,
    },
}

/// A change that the kernel works at.
#[derive(Debug)]
struct Pending<T> {
    id: OpId,
    ops: Vec<Op>,
    /// The base as it was before, if this is a change of it.
    base: Option<State>,
    then: T,
}

/// What came of a change.
#[derive(Debug)]
pub(super) struct Done<T> {
    /// Why nothing has changed, if the kernel refused.
    pub(super) refused: Option<KernelRefused>,
    /// What was waiting for it.
    pub(super) then: T,
}

/// An operation that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KernelRefused {
    /// The operation, in words without keys.
    pub(super) operation: String,
    /// The kernel's words.
    pub(super) error: OpError,
}

/// The kernel's state as it was last told, and the changes that wait. `T` is what goes on after a change.
#[derive(Debug)]
pub(super) struct KernelQueue<T> {
    base: State,
    waiting: VecDeque<(Change, T)>,
    pending: Option<Pending<T>>,
    last: u64,
}

/// What the queue has to do next.
#[derive(Debug)]
pub(super) enum Next<T> {
    /// Nothing: it is empty, or waits for the kernel.
    Nothing,
    /// The kernel has to do this.
    Execute(OpId, Vec<Op>),
    /// The change was none.
    Done(Done<T>),
}

impl<T> KernelQueue<T> {
    pub(super) fn new() -> Self {
        Self { base: State::default(), waiting: VecDeque::new(), pending: None, last: 0 }
    }

    /// Says what the kernel holds after a start, but for the layers that end on this relay.
    pub(super) fn set_base(&mut self, base: State) {
        self.base = base;
    }

    /// Adds a change to the end.
    pub(super) fn push(&mut self, change: Change, then: T) {
        self.waiting.push_back((change, then));
    }

    /// Whether a change waits for the kernel's answer.
    pub(super) const fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether nothing waits or is pending.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_none() && self.waiting.is_empty()
    }

    /// Whether the next change is one of the base.
    pub(super) fn next_is_base(&self) -> bool {
        matches!(self.waiting.front(), Some((Change::Base, _)))
    }

    /// Begins the next change, of the base to what the roles want now.
    pub(super) fn next_base(&mut self, wanted: State) -> Next<T> {
        let ops = changes(&wanted, &self.base).ops;
        let before = std::mem::replace(&mut self.base, wanted);
        self.begin(ops, Some(before))
    }

    /// Begins the next change, of a layer that ends on `relay`.
    pub(super) fn next_layer(&mut self, relay: Option<&Relay>) -> Next<T> {
        let Some((Change::Layer { before, after }, _)) = self.waiting.front() else { return Next::Nothing };
        let part = |layer: Option<&RelayCircuit>| {
            // what does not fit the relay was refused before it came here
            layer.zip(relay).and_then(|(layer, relay)| relay.circuit_state(layer).ok()).unwrap_or_default()
        };
        let ops = changes(&part(after.as_deref()), &part(before.as_deref())).ops;
        self.begin(ops, None)
    }

    fn begin(&mut self, ops: Vec<Op>, base: Option<State>) -> Next<T> {
        let Some((_, then)) = self.waiting.pop_front() else { return Next::Nothing };
        if ops.is_empty() {
            return Next::Done(Done { refused: None, then });
        }
        self.last += 1;
        let id = OpId(self.last);
        self.pending = Some(Pending { id, ops: ops.clone(), base, then });
        Next::Execute(id, ops)
    }

    /// Takes the kernel's answer. When it refused, the second value undoes what was done before that.
    pub(super) fn answered(&mut self, id: OpId, outcomes: &[Outcome]) -> Option<(Done<T>, Vec<Op>)> {
        let pending = self.pending.take_if(|pending| pending.id == id)?;
        let refused = pending.ops.iter().zip(outcomes).find_map(|(op, outcome)| match outcome {
            Outcome::Failed(error) => Some(KernelRefused { operation: op.to_string(), error: error.clone() }),
            Outcome::Done | Outcome::NotTried => None,
        });
        let mut undo = Vec::new();
        if refused.is_some() {
            let done =
                pending.ops.iter().zip(outcomes).rev().filter(|(_, outcome)| **outcome == Outcome::Done);
            undo.extend(done.map(|(op, _)| op.inverse()).filter(|op| !is_new_sa(op)));
            if let Some(before) = pending.base {
                self.base = before;
            }
        }
        Some((Done { refused, then: pending.then }, undo))
    }
}

/// An SA that was deleted is not made again: it would count from 1 under the same key.
const fn is_new_sa(op: &Op) -> bool {
    matches!(op, Op::Create(Object::Sa(_)))
}
