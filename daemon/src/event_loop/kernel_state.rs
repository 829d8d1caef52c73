//! Bringing the whole kernel to a state, at the start and at the end.

use std::fs;

use ippriv::plan::{Ending, Op};
use ippriv::report;
use ippriv::state::State;
use ippriv::telescope::Requirement;
use tracing::info;

use crate::driver::{self, PlanError};
use crate::kernel::{Kernel, KernelError};

/// Why the kernel does not hold what it should.
#[derive(Debug, thiserror::Error)]
pub enum NotReached {
    /// There is no way there.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// What it holds is not known.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// It refused, and what was done is undone.
    #[error("{0}")]
    Unwound(String),
}

/// Why this host cannot carry circuits as it is set up.
#[derive(Debug, thiserror::Error)]
pub enum RequirementError {
    /// A setting of others.
    #[error(
        "{path} is {found}: expected {expected}, because {reason}; set it with: sysctl -w {path}={expected}"
    )]
    Setting {
        /// Its name.
        path: String,
        /// Its value, or why it cannot be read.
        found: String,
        /// What it has to be.
        expected: &'static str,
        /// What for.
        reason: &'static str,
    },
    /// A module that drops our packets.
    #[error(
        "the module {module} is loaded: expected it not to be, for with it the kernel drops ESP inside ESP from devices \
         with GRO on; nothing was changed; unload it with: modprobe -r {module}"
    )]
    Offload {
        /// Its name.
        module: String,
    },
}

/// Makes the kernel hold exactly `desired` and reads it back. What it already holds stays untouched, so that
/// packets go on through it.
///
/// # Errors
/// [`NotReached`] when it does not hold that now; it is as before then.
pub fn bring_about(kernel: &mut dyn Kernel, desired: State) -> Result<(), NotReached> {
    let planned = driver::plan(kernel, desired)?;
    let count = |wanted: fn(&Op) -> bool| planned.plan.ops.iter().filter(|op| wanted(op)).count();
    let created = count(|op| matches!(op, Op::Create(_)));
    let replaced = count(|op| matches!(op, Op::Replace { .. }));
    let removed = count(|op| matches!(op, Op::Delete(_)));
    match driver::apply(kernel, planned)? {
        Ending::Applied { .. } => {
            info!(created, replaced, removed, "the kernel holds what it should");
            Ok(())
        }
        Ending::Unwound(failure) => Err(NotReached::Unwound(report::failure(&failure))),
    }
}

/// Others' settings are asked for, not changed; and what would drop every packet of a telescope is refused.
///
/// # Errors
/// [`RequirementError`] for the first that is not met.
pub fn check_requirements(requirements: &[Requirement]) -> Result<(), RequirementError> {
    for requirement in requirements {
        let path = format!("/proc/sys/{}", requirement.path);
        let found =
            fs::read_to_string(path).map_or_else(|error| error.to_string(), |value| value.trim().to_owned());
        if found != requirement.value {
            return Err(RequirementError::Setting {
                path: requirement.path.replace('/', "."),
                found,
                expected: requirement.value,
                reason: requirement.reason,
            });
        }
    }
    refuse_offload(&fs::read_to_string("/proc/modules").unwrap_or_default())
}

/// Modules that forget the outer SAs of ESP inside ESP when a device has GRO on (`esp4_gro_receive`), so that the
/// kernel would drop every packet of a telescope.
const OFFLOAD: [&str; 2] = ["esp4_offload", "esp6_offload"];

/// Refuses to build what could not carry a packet. `modules` is the text of `/proc/modules`.
fn refuse_offload(modules: &str) -> Result<(), RequirementError> {
    let mut loaded = modules.lines().filter_map(|line| line.split(' ').next());
    match loaded.find(|name| OFFLOAD.contains(name)) {
        Some(module) => Err(RequirementError::Offload { module: module.to_owned() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offload_modules_are_refused_by_name() {
        let modules = "xfrm_user 61440 2 - Live 0x0\nesp4_offload 16384 0 - Live 0x0\n";
        let refused = refuse_offload(modules).unwrap_err().to_string();
        assert!(refused.starts_with("the module esp4_offload is loaded"), "{refused}");
        assert!(refuse_offload("esp4 32768 0 - Live 0x0\n").is_ok());
    }

    #[test]
    fn a_setting_that_is_missing_is_told_with_the_remedy() {
        let requirement = Requirement { path: "net/no/such", value: "1", reason: "of this test" };
        let refused = check_requirements(&[requirement]).unwrap_err().to_string();
        assert!(refused.contains("set it with: sysctl -w net.no.such=1"), "{refused}");
    }
}
