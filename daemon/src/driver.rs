//! Drives the core's plans against a kernel: the core decides, the kernel answers.

use ippriv::plan::{Conflict, Ending, Plan, Step, Transaction, diff};
use ippriv::state::{Current, State};

use crate::kernel::{Kernel, KernelError};

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The kernel's state could not be read.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Objects of others are in the way.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Conflicts(Vec<Conflict>),
}

/// A plan, with the two states it leads from and to.
#[derive(Debug)]
pub struct Planned {
    /// What has to be done.
    pub plan: Plan,
    before: Current,
    desired: State,
}

/// Reads the kernel's state and plans the way to `desired`. Changes nothing.
///
/// # Errors
/// [`PlanError`] when the state cannot be read or objects of others are in the way.
pub fn plan(kernel: &mut dyn Kernel, desired: State) -> Result<Planned, PlanError> {
    let before = kernel.dump(&desired)?;
    let plan = diff(&desired, &before).map_err(PlanError::Conflicts)?;
    Ok(Planned { plan, before, desired })
}

/// Carries a plan out, reads the result back, and unwinds what was done if either fails.
///
/// # Errors
/// [`KernelError`] when the state cannot be read back; what was done stays then.
pub fn apply(kernel: &mut dyn Kernel, planned: Planned) -> Result<Ending, KernelError> {
    let Planned { plan, before, desired } = planned;
    // What the plan touches of before and after is all that verification looks at.
    let interest = desired.clone();
    let mut transaction = Transaction::new(plan, desired, before);
    loop {
        match transaction.step() {
            Step::Execute(ops) => {
                let outcomes = kernel.execute(ops);
                transaction.executed(&outcomes);
            }
            Step::Dump => {
                let current = kernel.dump(&interest)?;
                transaction.dumped(&current);
            }
            Step::Finished => return Ok(transaction.into_ending()),
        }
    }
}
