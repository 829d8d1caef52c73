use std::fs;
use std::path::PathBuf;

use clap::Args;
use ippriv::plan::Ending;
use ippriv::report::{self, PlanReport};
use ippriv::state::State;
use ippriv::telescope::Requirement;
use ipprivd::driver;
use ipprivd::kernel::LinuxKernel;

use crate::{Failed, file, output};

/// Make the kernel hold exactly what a file asks for, verify it, or undo everything
#[derive(Args)]
pub(crate) struct Apply {
    /// File with static keys, of mode 0600 and with `lab: true`; it says all that ippriv does on this host
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Apply {
    pub(crate) fn run(self) -> Result<(), Failed> {
        let config = file::read(&self.file)?;
        for requirement in &config.desired.requirements {
            require(requirement)?;
        }
        refuse_offload(&fs::read_to_string("/proc/modules").unwrap_or_default())?;
        apply(config.desired.state, self.json)
    }
}

/// Modules that forget the outer SAs of ESP inside ESP when a device has GRO on (`esp4_gro_receive`), so that the
/// kernel would drop every packet of a telescope.
const OFFLOAD: [&str; 2] = ["esp4_offload", "esp6_offload"];

/// Refuses to build what could not carry a packet. `modules` is the text of `/proc/modules`.
fn refuse_offload(modules: &str) -> Result<(), Failed> {
    let mut loaded = modules.lines().filter_map(|line| line.split(' ').next());
    match loaded.find(|name| OFFLOAD.contains(name)) {
        Some(module) => Err(Failed::Offload { module: module.to_owned() }),
        None => Ok(()),
    }
}

/// Makes the kernel hold `desired` and says what was done.
pub(super) fn apply(desired: State, json: bool) -> Result<(), Failed> {
    let mut kernel = LinuxKernel;
    let planned = driver::plan(&mut kernel, desired)?;
    let plan = PlanReport::new(&planned.plan);
    match driver::apply(&mut kernel, planned)? {
        Ending::Applied { .. } if json => Ok(output::json(&plan)?),
        Ending::Applied { operations: 0 } => Ok(output::text(&plan.to_string())?),
        Ending::Applied { .. } => Ok(output::text(&format!(
            "applied and verified: {} created, {} changed, {} removed\n",
            plan.create, plan.replace, plan.delete
        ))?),
        Ending::Unwound(failure) => Err(Failed::Unwound(report::failure(&failure))),
    }
}

/// Others' settings are asked for, not changed.
fn require(requirement: &Requirement) -> Result<(), Failed> {
    let path = format!("/proc/sys/{}", requirement.path);
    let found = match fs::read_to_string(path) {
        Ok(value) => value.trim().to_owned(),
        Err(error) => error.to_string(),
    };
    if found == requirement.value {
        return Ok(());
    }
    Err(Failed::Requirement {
        path: requirement.path.replace('/', "."),
        found,
        expected: requirement.value,
        reason: requirement.reason,
    })
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
}
