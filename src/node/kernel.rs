//! Changes of the kernel's state, one at a time: the answer to one comes before the next is computed.
//!
//! Each change brings a part of the kernel to what the node wants of it when its turn comes. The books say
//! what the kernel was last told, operation by operation, so that a refusal half-way leaves them right.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::OpId;
use crate::plan::{Object, Op, OpError, Outcome, changes};
use crate::state::State;
use crate::telescope::HopNumber;

/// A part of the kernel's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Everything but the layers that end on this relay.
    Base,
    /// One layer that ends on this relay.
    Layer(HopNumber),
}

/// A change that the kernel works at.
#[derive(Debug)]
struct Pending<T> {
    id: OpId,
    part: Part,
    ops: Vec<Op>,
    /// Why the change is being undone, if it is.
    undone: Option<KernelRefused>,
    /// What could not be removed so far.
    left: Vec<KernelRefused>,
    then: T,
}

/// What came of a change.
#[derive(Debug)]
pub(super) struct Done<T> {
    /// Why nothing has changed, if the kernel refused.
    pub(super) refused: Option<KernelRefused>,
    /// What could not be removed; the change stands all the same.
    pub(super) left: Vec<KernelRefused>,
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
    layers: BTreeMap<HopNumber, Vec<Object>>,
    waiting: VecDeque<(Part, T)>,
    pending: Option<Pending<T>>,
    behind: BTreeSet<Part>,
    last: u64,
}

/// What the queue has to do next.
#[derive(Debug)]
pub(super) enum Next<T> {
    /// Nothing: it is empty, or waits for the kernel.
    Nothing,
    /// The kernel has to do this.
    Execute(OpId, Vec<Op>),
    /// A change is over.
    Done(Done<T>),
}

impl<T> KernelQueue<T> {
    pub(super) fn new() -> Self {
        Self {
            base: State::default(),
            layers: BTreeMap::new(),
            waiting: VecDeque::new(),
            pending: None,
            behind: BTreeSet::new(),
            last: 0,
        }
    }

    /// Says what the kernel holds after a start.
    pub(super) fn set(&mut self, part: Part, state: State) {
        match part {
            Part::Base => self.base = state,
            Part::Layer(number) => drop(self.layers.insert(number, objects(state))),
        }
    }

    /// Adds a change to the end.
    pub(super) fn push(&mut self, part: Part, then: T) {
        self.waiting.push_back((part, then));
    }

    /// Whether a change waits for the kernel's answer.
    pub(super) const fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether nothing waits or is pending.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_none() && self.waiting.is_empty()
    }

    /// What the next change is of.
    pub(super) fn next(&self) -> Option<Part> {
        self.waiting.front().filter(|_| self.pending.is_none()).map(|(part, _)| *part)
    }

    /// The parts that differ from what was wanted, because the kernel refused: they are to be tried again.
    pub(super) fn take_behind(&mut self) -> BTreeSet<Part> {
        std::mem::take(&mut self.behind)
    }

    /// Whether there are such parts.
    pub(super) fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Begins the next change. On `Err` there is no saying what is wanted, and nothing changes.
    pub(super) fn begin(&mut self, wanted: Result<State, KernelRefused>) -> Next<T> {
        let Some((part, then)) = self.waiting.pop_front() else { return Next::Nothing };
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(refused) => {
                self.behind.insert(part);
                return Next::Done(Done { refused: Some(refused), left: Vec::new(), then });
            }
        };
        let ops = match part {
            Part::Base => changes(&wanted, &self.base).ops,
            Part::Layer(number) => {
                let mut held = State::default();
                for object in self.layers.get(&number).into_iter().flatten() {
                    book(&mut held, &Op::Create(object.clone()));
                }
                changes(&wanted, &held).ops
            }
        };
        self.execute(Pending { id: OpId(0), part, ops, undone: None, left: Vec::new(), then })
    }

    fn execute(&mut self, mut pending: Pending<T>) -> Next<T> {
        if pending.ops.is_empty() {
            return Next::Done(Done { refused: pending.undone, left: pending.left, then: pending.then });
        }
        self.last += 1;
        pending.id = OpId(self.last);
        let next = Next::Execute(pending.id, pending.ops.clone());
        self.pending = Some(pending);
        next
    }

    /// Takes the kernel's answer. What was refused is undone, unless it was a removal: that is left, and the
    /// others are carried out.
    pub(super) fn answered(&mut self, id: OpId, outcomes: &[Outcome]) -> Next<T> {
        let Some(mut pending) = self.pending.take_if(|pending| pending.id == id) else {
            return Next::Nothing;
        };
        let ops = std::mem::take(&mut pending.ops);
        let done = ops.iter().zip(outcomes).take_while(|(_, outcome)| **outcome == Outcome::Done).count();
        for op in ops.iter().take(done) {
            self.book(pending.part, op);
        }
        let Some((op, rest)) = ops.get(done..).and_then(<[Op]>::split_first) else {
            return self.execute(pending);
        };
        let error = match outcomes.get(done) {
            Some(Outcome::Failed(error)) => error.clone(),
            _ => OpError::Tool("no answer: expected one for each operation".to_owned()),
        };
        let refused = KernelRefused { operation: op.to_string(), error };
        self.behind.insert(pending.part);
        if pending.undone.is_some() || std::iter::once(op).chain(rest).all(Op::only_removes) {
            // all that is wanted is there, and an SA that is gone must not come again: it would count from 1
            // under the same key
            pending.left.push(refused);
            pending.ops = rest.iter().filter(|op| !drops_guards(op)).cloned().collect();
        } else {
            pending.undone = Some(refused);
            pending.ops = ops.iter().take(done).rev().map(Op::inverse).filter(|op| !is_new_sa(op)).collect();
        }
        self.execute(pending)
    }

    fn book(&mut self, part: Part, op: &Op) {
        let Part::Layer(number) = part else { return book(&mut self.base, op) };
        let mut held = State::default();
        for object in self.layers.remove(&number).into_iter().flatten() {
            book(&mut held, &Op::Create(object));
        }
        book(&mut held, op);
        let objects = objects(held);
        if !objects.is_empty() {
            self.layers.insert(number, objects);
        }
    }
}

const fn is_removal(op: &Op) -> bool {
    matches!(op, Op::Delete(_))
}

/// Whether the firewall would no longer look at an address. What was refused may have been its removal, so
/// that it is still there.
fn drops_guards(op: &Op) -> bool {
    match op {
        Op::Delete(Object::Nft(_)) => true,
        Op::Replace { old: Object::Nft(old), new: Object::Nft(new) } => new.keeping_addresses_of(old) != *new,
        Op::Create(_) | Op::Replace { .. } | Op::Delete(_) => false,
    }
}

const fn is_new_sa(op: &Op) -> bool {
    matches!(op, Op::Create(Object::Sa(_)))
}

/// What a layer is made of.
fn objects(state: State) -> Vec<Object> {
    let sas = state.sas.into_values().map(Object::Sa);
    sas.chain(state.policies.into_values().map(Object::Policy)).collect()
}

/// Changes the books as the kernel did.
fn book(state: &mut State, op: &Op) {
    macro_rules! book {
        ($map:ident, $key:expr, $object:expr) => {
            match op {
                Op::Delete(_) => drop(state.$map.remove(&$key)),
                Op::Create(_) | Op::Replace { .. } => drop(state.$map.insert($key, $object)),
            }
        };
    }
    match op.object().clone() {
        Object::Link(link) => book!(links, link.name.clone(), link),
        Object::Sa(sa) => book!(sas, sa.id, sa),
        Object::Policy(policy) => book!(policies, policy.id, policy),
        Object::Address(address) => book!(addresses, address.id.clone(), address),
        Object::Route(route) => book!(routes, route.id, route),
        Object::Sysctl(sysctl) => book!(sysctls, sysctl.path.clone(), sysctl),
        Object::Rule(rule) if is_removal(op) => drop(state.rules.remove(&rule)),
        Object::Rule(rule) => drop(state.rules.insert(rule)),
        Object::Nft(table) => state.nft = (!is_removal(op)).then_some(table),
    }
}
