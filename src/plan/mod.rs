//! From what the kernel holds to what it has to hold: operations with inverses.

mod op;

pub use op::{Object, Op, OpError, Outcome};
