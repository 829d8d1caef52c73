//! From what the kernel holds to what it has to hold: operations with inverses.

mod diff;
mod op;
mod transaction;

pub use diff::{Conflict, Plan, changes, diff};
pub use op::{Object, Op, OpError, Outcome};
pub use transaction::{Cause, Ending, Failure, Step, Transaction};
