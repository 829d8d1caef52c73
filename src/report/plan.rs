//! A plan as people and machines read it.

use std::fmt;

use serde::Serialize;

use super::object::{describe, kind};
use crate::plan::{Cause, Failure, Op, Plan};

/// A plan, in the order it is carried out.
#[derive(Debug, Serialize)]
pub struct PlanReport {
    /// How many objects are made.
    pub create: usize,
    /// How many are changed in place.
    pub replace: usize,
    /// How many are removed.
    pub delete: usize,
    /// The operations.
    pub operations: Vec<Line>,
}

/// One operation.
#[derive(Debug, Serialize)]
pub struct Line {
    /// `create`, `replace` or `delete`.
    pub verb: &'static str,
    /// What kind of object it is about.
    pub kind: &'static str,
    /// The object, as it will be, or as it was for `delete`.
    pub object: String,
    /// The object as it was, for `replace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
}

impl PlanReport {
    /// The report of `plan`.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let operations: Vec<Line> = plan.ops.iter().map(Line::new).collect();
        let count = |verb| operations.iter().filter(|line| line.verb == verb).count();
        Self { create: count("create"), replace: count("replace"), delete: count("delete"), operations }
    }
}

impl Line {
    fn new(op: &Op) -> Self {
        let object = describe(op.object());
        let (verb, was) = match op {
            Op::Create(_) => ("create", None),
            Op::Replace { old, .. } => ("replace", Some(describe(old))),
            Op::Delete(_) => ("delete", None),
        };
        Self { verb, kind: kind(op.object()), object, was }
    }
}

impl fmt::Display for PlanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Line { verb, object, was, .. } in &self.operations {
            match (*verb, was) {
                ("create", _) => writeln!(f, "+ {object}")?,
                ("delete", _) => writeln!(f, "- {object}")?,
                (_, Some(was)) if was != object => writeln!(f, "~ {object}\n    was {was}")?,
                _ => writeln!(f, "~ {object}")?,
            }
        }
        if self.operations.is_empty() {
            return writeln!(f, "nothing to do: the kernel holds what is asked for");
        }
        writeln!(f, "{} to create, {} to change, {} to remove", self.create, self.replace, self.delete)
    }
}

/// What went wrong with a plan and what was undone, in full sentences.
#[must_use]
pub fn failure(failure: &Failure) -> String {
    let mut text = match &failure.cause {
        Cause::Operation { op, error } => format!("cannot {op}: {error}"),
        Cause::Unverified { missing } => {
            let first = missing.first().map(Op::to_string).unwrap_or_default();
            format!("the kernel took every operation, but {} still to do, first: {first}", missing.len())
        }
    };
    if failure.left.is_empty() && failure.differs.is_empty() {
        let undone = failure.undone.len();
        text.push_str(&format!("; {undone} operations were undone, the kernel is as before"));
    } else {
        for (op, error) in &failure.left {
            text.push_str(&format!("; could not undo by {op}: {error}"));
        }
        for op in &failure.differs {
            text.push_str(&format!("; to be as before it would take: {op}"));
        }
    }
    text
}
