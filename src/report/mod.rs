//! What people and machines read: plans, explanations and the state of a host. No key ever gets in here.

mod explain;
mod object;
mod plan;
mod status;

pub use explain::explain;
pub use object::describe;
pub use plan::{PlanReport, failure};
pub use status::{CircuitStatus, NeighbourStatus, Status};
