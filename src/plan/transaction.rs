//! Applying a plan: execute, read back, verify; on failure unwind and verify that.
//!
//! Deterministic: [`Transaction::step`] says what to do, the shell does it and hands the result to
//! [`Transaction::executed`] or [`Transaction::dumped`], until `step` says [`Step::Finished`].

use super::diff::{Plan, changes};
use super::op::{Op, OpError, Outcome};
use crate::state::{Current, State};

/// What the shell has to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Carry these out in order and report an outcome for each.
    Execute(&'a [Op]),
    /// Dump the kernel's state.
    Dump,
    /// Nothing: it is over.
    Finished,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The kernel holds the desired state, as read back.
    Applied {
        /// How many operations it took.
        operations: usize,
    },
    /// An operation failed, and everything before it was undone.
    Unwound(Box<Failure>),
}

/// Why a plan did not work out, and what was undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong.
    pub cause: Cause,
    /// The operations that undid what had been done, in order.
    pub undone: Vec<Op>,
    /// Operations that could not be undone, with the reason; empty when the state is as before.
    pub left: Vec<(Op, OpError)>,
    /// What still differs from the state before; empty when the state is as before.
    pub differs: Vec<Op>,
}

/// What went wrong with a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The kernel refused an operation.
    Operation {
        /// The operation.
        op: Box<Op>,
        /// The kernel's reason.
        error: OpError,
    },
    /// All operations went well, but the kernel does not hold what was asked for.
    Unverified {
        /// What would still be to do.
        missing: Vec<Op>,
    },
}

#[derive(Debug)]
enum Phase {
    Execute,
    Verify,
    Unwind { todo: Vec<Op> },
    VerifyUnwound,
    Finished,
}

/// A plan on its way into the kernel.
#[derive(Debug)]
pub struct Transaction {
    plan: Plan,
    desired: State,
    before: Current,
    phase: Phase,
    failure: Option<Failure>,
}

impl Transaction {
    /// Starts to turn `before` into `desired` by `plan`, which [`diff`](fn@super::diff) gave for these two.
    #[must_use]
    pub const fn new(plan: Plan, desired: State, before: Current) -> Self {
        Self { plan, desired, before, phase: Phase::Execute, failure: None }
    }

    /// What to do next.
    #[must_use]
    pub fn step(&self) -> Step<'_> {
        match &self.phase {
            Phase::Execute => Step::Execute(&self.plan.ops),
            Phase::Unwind { todo } => Step::Execute(todo),
            Phase::Verify | Phase::VerifyUnwound => Step::Dump,
            Phase::Finished => Step::Finished,
        }
    }

    /// Takes the outcomes of the operations of the last [`Step::Execute`], one for each. An operation
    /// without an outcome counts as not tried.
    pub fn executed(&mut self, outcomes: &[Outcome]) {
        match std::mem::replace(&mut self.phase, Phase::Finished) {
            Phase::Execute => {
                let failed = self.plan.ops.iter().zip(outcomes).find_map(|(op, outcome)| match outcome {
                    Outcome::Failed(error) => Some((op.clone(), error.clone())),
                    Outcome::Done | Outcome::NotTried => None,
                });
                match failed {
                    None => self.phase = Phase::Verify,
                    Some((op, error)) => {
                        let tried = self.plan.ops.iter().zip(outcomes).rev();
                        let done = tried.filter(|(_, outcome)| **outcome == Outcome::Done);
                        let todo = done.map(|(op, _)| op.inverse()).collect();
                        self.unwind(Cause::Operation { op: Box::new(op), error }, todo);
                    }
                }
            }
            Phase::Unwind { todo } => self.unwound(todo, outcomes),
            other => self.phase = other,
        }
    }

    /// Takes a dump asked for by [`Step::Dump`].
    pub fn dumped(&mut self, current: &Current) {
        match std::mem::replace(&mut self.phase, Phase::Finished) {
            Phase::Verify => {
                let missing = changes(&self.desired, &current.owned).ops;
                if !missing.is_empty() {
                    // what was done is not what was said, so that the way back starts from what is there
                    let todo = changes(&self.before.owned, &current.owned).ops;
                    self.unwind(Cause::Unverified { missing }, todo);
                }
            }
            Phase::VerifyUnwound => {
                if let Some(failure) = &mut self.failure {
                    failure.differs = changes(&self.before.owned, &current.owned).ops;
                }
            }
            other => self.phase = other,
        }
    }

    /// How it ended, once [`step`](Self::step) says [`Step::Finished`].
    #[must_use]
    pub fn into_ending(self) -> Ending {
        match self.failure {
            None => Ending::Applied { operations: self.plan.ops.len() },
            Some(failure) => Ending::Unwound(Box::new(failure)),
        }
    }

    fn unwind(&mut self, cause: Cause, todo: Vec<Op>) {
        self.failure = Some(Failure { cause, undone: Vec::new(), left: Vec::new(), differs: Vec::new() });
        self.phase = if todo.is_empty() { Phase::VerifyUnwound } else { Phase::Unwind { todo } };
    }

    /// Undoing goes on past failures: what cannot be undone is reported, the rest is tried again.
    fn unwound(&mut self, todo: Vec<Op>, outcomes: &[Outcome]) {
        let Some(failure) = &mut self.failure else { return };
        let mut again = Vec::new();
        let outcomes = outcomes.iter().chain(std::iter::repeat(&Outcome::NotTried));
        let mut tried = false;
        for (op, outcome) in todo.into_iter().zip(outcomes) {
            tried |= *outcome != Outcome::NotTried;
            match outcome {
                Outcome::Done => failure.undone.push(op),
                Outcome::Failed(error) => failure.left.push((op, error.clone())),
                Outcome::NotTried => again.push(op),
            }
        }
        self.phase =
            if again.is_empty() || !tried { Phase::VerifyUnwound } else { Phase::Unwind { todo: again } };
    }
}
